"""Refreshes of hosts (Read-SCVMHost): hosts that are due, and the memory of failed refreshes.

A host is refreshed once per ``pass``. A refresh that failed (a lock, any error) is tried again
every ``refresh-interval``, ``refreshes`` times, and then once per ``pass``. Until one succeeds, the
host stays ``locked`` if it was: that nobody asked again proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.model import Fleet, Host, Options, RunRecord


def due(living: Sequence[RunRecord], last: Fleet | None, now: float, at_most: int) -> list[str]:
    """Hosts due for a refresh now, those read longest ago first: all of a bulletproof run, except
    those waiting for a retry. Beyond ``at_most`` they wait for the next observation, because a
    refresh takes 8 seconds and more."""
    found: dict[str, str] = {}
    for record in living:
        for name in (*record.run.sources, *record.run.destinations):
            host = last.host(name) if last else None
            if _is_due(host, record.run.options, now):
                found.setdefault(name.casefold(), name)
    return sorted(found.values(), key=lambda name: _last_read(last, name))[:at_most]


def _last_read(last: Fleet | None, name: str) -> float:
    """Time of the last refresh of a host, or of the last try; 0: never."""
    host = last.host(name) if last else None
    return max(host.refreshed_at or 0.0, host.tried_at or 0.0) if host else 0.0


def _is_due(host: Host | None, options: Options, now: float) -> bool:
    if host is not None and host.tries and host.tried_at is not None:
        return now >= next_try(host, options)
    if options.bulletproof or host is None or host.refreshed_at is None:
        return True
    return now - host.refreshed_at >= options.pass_


def next_try(host: Host, options: Options) -> float:
    """Time of the next refresh of a host whose last one failed (Unix seconds)."""
    wait = options.refresh_interval if host.tries <= options.refreshes else options.pass_
    return (host.tried_at or 0.0) + wait


def keep_last_reads(fleet: Fleet, last: Fleet | None, asked: Sequence[str]) -> Fleet:
    """Carry failed refreshes over from ``last``; ``asked``: hosts to refresh for this ``fleet``."""
    wanted = {name.casefold() for name in asked}
    hosts = tuple(
        _tried(host, last.host(host.name) if last else None, fleet.at)
        if host.name.casefold() in wanted
        else _remembered(host, last.host(host.name) if last else None)
        for host in fleet.hosts
    )
    return replace(fleet, hosts=hosts)


def _tried(host: Host, last: Host | None, at: float) -> Host:
    if host.refreshed_at is not None and host.refreshed_at >= at and not host.locked:
        return host
    return replace(host, tries=(last.tries if last else 0) + 1, tried_at=at)


def _remembered(host: Host, last: Host | None) -> Host:
    if last is None or not last.tries:
        return host
    return replace(host, tries=last.tries, tried_at=last.tried_at, locked=last.locked)
