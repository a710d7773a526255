"""Looks that are due by themselves: jobs each tick, pulses while something moves, inventories.

A pulse of a host follows VMM's list of jobs in each tick while a move there is new, near its end or
gone from the list, and else every ``BREATH`` seconds. An inventory of a host begins a ``pass``
after the last one ended; hosts that no run names are asked seldom. A decision that needs a fresher
part asks for it itself: see ``freshness``. A question that failed is asked again three ticks later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from engine.model import Age, Attempt, Fleet, Look, Options, PartKind, RunRecord
from engine.policy.facts import Facts
from engine.policy.freshness import AGAIN, BREATH, is_overdue
from engine.policy.waits import Rules

NEAR_END = 90
"""Progress in percent from which a move counts as near its end."""
SELDOM = 5
"""Inventories of hosts of runs for each one of another host."""


def looks_due(
    living: Sequence[RunRecord], facts: Facts, fleet: Fleet, now: float, rules: Rules
) -> list[Look]:
    """Return the looks that are due now, the most urgent first. ``living``: runs that have not
    ended, empty while nothing is to do."""
    found: list[Look] = []
    open_moves = [*_open_migrations(living), *facts.lost]
    if living and _is_past(fleet.age(PartKind.JOBS), now, _jobs_due_at(fleet, rules)):
        found.append(look_at_jobs(living, facts, fleet, now, rules))
    if _is_due(fleet.age(PartKind.SITE), rules.sweep, now, rules):
        found.append(Look(PartKind.SITE))
    found += _pulses(open_moves, fleet, now, rules)
    return found + _inventories(living, facts, fleet, now, rules)


def next_look(
    living: Sequence[RunRecord],
    facts: Facts,
    fleet: Fleet,
    rules: Rules,
    since: float = math.inf,
) -> float | None:
    """Return when the next of these looks is due whose part was answered before ``since`` (Unix
    seconds), pulses left out; ``None``: all were answered later."""
    parts = {(PartKind.SITE, ""): rules.sweep}
    for name, interval in _intervals(living, facts, fleet, rules).items():
        parts |= {(kind, name): interval for kind in _INVENTORY}
    ages = [(fleet.age(*key), interval) for key, interval in parts.items()]
    dues = [(a, _due_at(a, i, rules)) for a, i in ages]
    if living:
        dues.append((fleet.age(PartKind.JOBS), _jobs_due_at(fleet, rules)))
    wanted = (due for a, due in dues if a.failed or (a.answered_at or 0.0) < since)
    return min(wanted, default=None)


_INVENTORY = (PartKind.KNOWN, PartKind.SHOWN)


def look_at_jobs(
    living: Sequence[RunRecord], facts: Facts, fleet: Fleet, now: float, rules: Rules
) -> Look:
    """Return the look at VMM's jobs. By itself VMM lists only what runs: it is asked by id for the
    jobs of open attempts and of re-reads."""
    jobs = [attempt.known_job for attempt in (*_open_migrations(living), *facts.lost)]
    jobs += [call.job for call in facts.calls]
    flying = [(a, record.run.options) for record in living for a in _open_migrations([record])]
    flying += [(a, facts.options.get(a.run, Options())) for a in facts.lost]
    overdue = ((a.id, a.vm_id) for a, o in flying if is_overdue(fleet, a, now, o, rules))
    ids = tuple(dict.fromkeys(filter(None, jobs)))
    return Look(PartKind.JOBS, ids=ids, overdue=tuple(overdue))


def _open_migrations(living: Iterable[RunRecord]) -> list[Attempt]:
    return [m.open_migration for r in living for m in r.moves if m.open_migration is not None]


def _is_due(age: Age, interval: float, now: float, rules: Rules) -> bool:
    return _is_past(age, now, _due_at(age, interval, rules))


def _is_past(age: Age, now: float, due: float) -> bool:
    """Tell whether to ask again. A time in the future shows that the clock was set back."""
    last = max(age.answered_at or 0.0, age.tried_at or 0.0)
    return last > now or now >= due


def _jobs_due_at(fleet: Fleet, rules: Rules) -> float:
    """Time of the next list of jobs: at each tick, which may come a little early, whenever the last
    answer came. A VMM that takes long has a rest of half a tick."""
    age = fleet.age(PartKind.JOBS)
    if age.failed or age.answered_at is None or age.asked_at is None:
        return _due_at(age, rules.tick, rules)
    return max(age.asked_at + 0.9 * rules.tick, age.answered_at + 0.5 * rules.tick)


def _due_at(age: Age, interval: float, rules: Rules) -> float:
    if age.failed:
        return (age.tried_at or 0.0) + AGAIN * rules.tick
    return age.answered_at + interval if age.answered_at is not None else 0.0


def _pulses(
    open_moves: Sequence[Attempt], fleet: Fleet, now: float, rules: Rules
) -> Iterable[Look]:
    ids: dict[str, dict[str, None]] = {}
    urgent: set[str] = set()
    for attempt in open_moves:
        for name in filter(None, (attempt.source, attempt.destination)):
            host = fleet.host(name)
            if host is None:
                continue
            ids.setdefault(host.name, {})[attempt.vm_id] = None
            if _is_urgent(attempt, fleet):
                urgent.add(host.name)
    jobs = fleet.age(PartKind.JOBS)
    # The lanes do not suffice for all at once: the one asked longest ago comes first.
    for name, vms in sorted(ids.items(), key=lambda one: _asked_at(fleet, one[0])):
        age = fleet.age(PartKind.PULSE, name)
        if age.failed and not _is_due(age, BREATH, now, rules):
            continue
        follows = name in urgent and max(age.asked, age.tried) <= jobs.answered
        is_new = not set(vms) <= set(age.ids)
        if follows or is_new or _is_due(age, BREATH, now, rules):
            yield Look(PartKind.PULSE, name, tuple(vms))


def _asked_at(fleet: Fleet, host: str) -> int:
    age = fleet.age(PartKind.PULSE, host)
    return max(age.asked, age.tried)


def _is_urgent(attempt: Attempt, fleet: Fleet) -> bool:
    job = fleet.job(attempt.known_job)
    return job is None or job.state != "running" or job.progress >= NEAR_END


def _intervals(
    living: Sequence[RunRecord], facts: Facts, fleet: Fleet, rules: Rules
) -> Mapping[str, float]:
    """Seconds between two inventories of each host. Hosts of unfinished runs come first."""
    found: dict[str, float] = {}
    for name, interval in _concerned(living, facts, fleet):
        host = fleet.host(name)
        if host is not None:
            found[host.name] = min(interval, found.get(host.name, interval))
    usual = rules.sweep * SELDOM if living else rules.sweep
    return {**found, **{h.name: usual for h in fleet.hosts if h.name not in found}}


def _concerned(
    living: Sequence[RunRecord], facts: Facts, fleet: Fleet
) -> Iterable[tuple[str, float]]:
    """Hosts of the runs, of their unfinished moves, and of VMs whose location is unknown."""
    wanted: set[str] = set()
    for record in living:
        interval = record.run.options.pass_
        for name in (*record.run.sources, *record.run.destinations):
            yield name, interval
        for entry in record.moves:
            if entry.move.over:
                continue
            wanted.add(entry.move.vm_id)
            vm = fleet.vm(entry.move.vm_id)
            yield entry.move.source, interval
            if vm is not None and vm.vmm_host:
                yield vm.vmm_host, interval
    for attempt in facts.lost:
        for host in filter(None, (attempt.source, attempt.destination)):
            yield host, BREATH
    for doubt in facts.unknown:
        if doubt.vm_id in wanted:
            yield from ((host, BREATH) for host in doubt.hosts)


def _inventories(
    living: Sequence[RunRecord], facts: Facts, fleet: Fleet, now: float, rules: Rules
) -> list[Look]:
    """Inventories that are due, the hosts of runs first, among them the one answered longest
    ago."""
    intervals = _intervals(living, facts, fleet, rules)
    asked = [
        (interval, fleet.age(kind, name).answered_at or 0.0, Look(kind, name))
        for name, interval in intervals.items()
        for kind in _INVENTORY
        if _is_due(fleet.age(kind, name), interval, now, rules)
    ]
    return [look for _, _, look in sorted(asked, key=lambda one: one[:2])]


def is_looked_at(
    living: Sequence[RunRecord], facts: Facts, fleet: Fleet, since: int, rules: Rules
) -> bool:
    """Tell whether every host of these runs was asked, and answered or failed, after the call
    numbered ``since``."""
    hosts = {n for n, i in _intervals(living, facts, fleet, rules).items() if i < rules.sweep * 5}
    named = [fleet.age(kind, name) for name in hosts for kind in _INVENTORY]
    return all(max(age.asked, age.tried) > since for age in (fleet.age(PartKind.JOBS), *named))
