"""Circuit breakers: no further VM is sent between two hosts, or to a host, after failures in a row.

Derived from the attempts of all living runs, never stored. When three different VMs in a row have
failed between two hosts, none is sent between them for 15 minutes. Then one VM is tried
(half-open). If it arrives, the breaker closes. If it fails as well, the pair is given up until a
person resumes the run. A destination's breaker opens in the same way, but only if the failed VMs
came from two sources or more: one pair that cannot talk (delegation, path) does not open it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.model import MIGRATIONS, Attempt, Result, RunRecord, Wait, short
from engine.policy.facts import Breaker, Breakers, Way
from engine.policy.waits import Rules


def breakers(
    records: Iterable[RunRecord], now: float, rules: Rules, since: float = 0.0
) -> Breakers:
    """Derive the breakers from the attempts that began at ``since`` or later (Unix seconds)."""
    ways: dict[Way, list[Attempt]] = {}
    for record in records:
        for entry in record.moves:
            for attempt in entry.of(*MIGRATIONS):
                if attempt.destination is None or attempt.begun < since:
                    continue
                source, destination = attempt.source.casefold(), attempt.destination.casefold()
                ways.setdefault((source, destination), []).append(attempt)
                ways.setdefault(("", destination), []).append(attempt)
    found = {way: _judge(way, attempts, now, rules) for way, attempts in ways.items()}
    return Breakers({way: one for way, one in found.items() if one is not None})


def _judge(way: Way, attempts: Sequence[Attempt], now: float, rules: Rules) -> Breaker | None:
    row = _failures(attempts)
    broke = _broke_at(row, rules.breaker_failures)
    if broke is None or (not way[0] and len({a.source.casefold() for a in row}) < 2):
        return None
    until = broke + rules.limits[Wait.BREAKER]
    last = row[-1]
    place = f"{short(last.source)} → " if way[0] else ""
    names = len({a.vm_id for a in row})
    text = f"{names} VMs in a row failed on {place}{short(last.destination)}: {last.error}"
    if any(a.begun >= until for a in row):
        return Breaker("spent", until, text)
    if now < until or any(a.open and a.begun >= until for a in attempts):
        return Breaker("open", until, text)
    return Breaker("half_open", until, text)


def _failures(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Charged attempts since the last success, in the order in which they ended."""
    over = [a for a in attempts if a.ended is not None and (a.charged or a.result is Result.OK)]
    row: list[Attempt] = []
    for attempt in sorted(over, key=lambda a: (a.ended or 0.0, a.id), reverse=True):
        if attempt.result is Result.OK:
            break
        row.insert(0, attempt)
    return row


def _broke_at(row: Sequence[Attempt], failures: int) -> float | None:
    """Time at which the number of different VMs in ``row`` reached ``failures``, or ``None``."""
    seen: set[str] = set()
    for attempt in row:
        seen.add(attempt.vm_id)
        if len(seen) >= failures:
            return attempt.ended
    return None
