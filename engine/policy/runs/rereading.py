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
    those waiting for a retry and those being read. At most ``at_most`` are being read at a time,
    because a refresh takes 8 seconds and more. The others wait for a later observation."""
    found: dict[str, str] = {}
    for record in living:
        for name in (*record.run.sources, *record.run.destinations):
            host = last.host(name) if last else None
            is_gone = last is not None and host is None  # VMM does not know it
            if not is_gone and _is_due(host, record.run.options, now):
                found.setdefault(name.casefold(), name)
    free = max(0, at_most - sum(host.rereading for host in last.hosts)) if last else at_most
    return sorted(found.values(), key=lambda name: _last_read(last, name))[:free]


def _last_read(last: Fleet | None, name: str) -> float:
    """Time of the last refresh of a host, or of the last try; 0: never."""
    host = last.host(name) if last else None
    return max(host.refreshed_at or 0.0, host.tried_at or 0.0) if host else 0.0


def _is_due(host: Host | None, options: Options, now: float) -> bool:
    if host is not None and host.rereading:
        return False
    if host is not None and host.tries and host.tried_at is not None:
        return now >= next_try(host, options)
    if options.bulletproof or host is None or host.refreshed_at is None:
        return True
    return not 0 <= now - host.refreshed_at < options.pass_  # below 0: the clock was set back


def next_try(host: Host, options: Options) -> float:
    """Time of the next refresh of a host whose last one failed (Unix seconds)."""
    wait = options.refresh_interval if host.tries <= options.refreshes else options.pass_
    return (host.tried_at or 0.0) + wait


def keep_last_reads(fleet: Fleet, last: Fleet | None, asked: Sequence[str]) -> Fleet:
    """Carry failed refreshes over from ``last``; ``asked``: hosts to refresh for this ``fleet``."""
    wanted = {name.casefold() for name in asked}
    hosts = (
        _kept(host, last.host(host.name) if last else None, host.name.casefold() in wanted, fleet)
        for host in fleet.hosts
    )
    return replace(fleet, hosts=tuple(hosts))


def _kept(host: Host, last: Host | None, asked: bool, fleet: Fleet) -> Host:
    """A host with its failed refreshes, those before this observation included."""
    before = last.refreshed_at if last else None
    is_read = host.refreshed_at is not None and (before is None or host.refreshed_at > before)
    if (is_read or host.refreshed_at == fleet.at) and not host.reread_failed and not host.locked:
        return host
    if host.reread_failed or (asked and not host.rereading):
        return replace(host, tries=(last.tries if last else 0) + 1, tried_at=fleet.at)
    if last is None or not last.tries:
        return host
    return replace(host, tries=last.tries, tried_at=last.tried_at, locked=last.locked)
