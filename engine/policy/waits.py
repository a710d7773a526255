"""Limits of waits, back-off, and the numbers that all rungs share.

A wait without an entry in :attr:`Rules.limits` has no limit of its own. It ends when a slot comes
free, a person decides or another run ends. For a backup, the request's ``backup`` is the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.model import Attempt, Move, Options, Result, Wait

DEFAULT_LIMITS: Mapping[Wait, float] = {
    Wait.APPROVAL: 8 * 3600.0,
    Wait.HOST_LOCKED: 3600.0,
    Wait.HOST_DOWN: 3600.0,
    Wait.TRANSIENT: 1800.0,
    Wait.MISSING: 600.0,
    Wait.FOREIGN: 4 * 3600.0,
    Wait.DOUBT: 900.0,
    Wait.TWO_PLACES: 600.0,
    Wait.ROOM: 600.0,
    Wait.BREAKER: 900.0,
}


@dataclass(frozen=True)
class Rules:
    """Numbers of the policy that no request sets. All durations are seconds."""

    tick: float = 5.0
    sweep: float = 60.0
    start_window: float = 60.0
    down_after: float = 600.0
    baseline_age: float = 600.0
    backoff_max: float = 900.0
    empty_gap: float = 30.0
    card_gap: float = 1800.0
    grant_life: float = 24 * 3600.0
    grant_renewal: float = 3600.0
    breaker_failures: int = 3
    max_parallel_cold: int = 0
    slot_notice: float = 7200.0
    stalled: float = 1800.0
    gap: float = 120.0
    away: float = 1800.0
    restores: int = 3
    mb_per_s: float = 400.0
    limits: Mapping[Wait, float] = field(default_factory=lambda: dict(DEFAULT_LIMITS))

    def limit(self, wait: Wait, options: Options) -> float | None:
        """Limit of this wait (seconds) in a run with these options; ``None``: no limit."""
        if wait is Wait.BACKUP:
            return options.backup
        return self.limits.get(wait)


#: Waits that interrupt another wait, whose limit stands still meanwhile.
INTERRUPTING = frozenset({Wait.PAUSED, Wait.VMM_DOWN})


def waited(move: Move, wait: Wait, now: float) -> float:
    """Seconds that count against the limit of this wait, without gaps, pauses and VMM outages. 0 if
    the move waits for something else."""
    if move.wait is wait and move.wait_since is not None:
        credit = 0.0 if wait in INTERRUPTING else move.wait_credit
        return now - move.wait_since + credit
    if move.wait in INTERRUPTING and move.wait_kept is wait:
        return move.wait_credit
    return 0.0


def too_long(move: Move, wait: Wait, rules: Rules, options: Options, now: float) -> bool:
    """Tell whether the move has reached the limit of this wait."""
    limit = rules.limit(wait, options)
    return limit is not None and waited(move, wait, now) >= limit


def begin(move: Move, wait: Wait, now: float, seen: float | None = None) -> Move:
    """Return the move with a new wait from now on. A wait that ``INTERRUPTING`` waits interrupt
    keeps its seconds up to ``seen``, the last observation (``None``: now), and goes on from there.
    """
    kept, credit = None, 0.0
    if wait in INTERRUPTING:
        kept, credit = move.wait_kept, move.wait_credit
        if move.wait is not None and move.wait not in INTERRUPTING:
            until = now if seen is None else max(seen, move.wait_since or seen)
            kept, credit = move.wait, waited(move, move.wait, min(until, now))
    elif move.wait in INTERRUPTING and move.wait_kept is wait:
        credit = move.wait_credit
    return replace(
        move, wait=wait, wait_since=now, wait_noted=now, wait_kept=kept, wait_credit=credit
    )


def backoff(charged: tuple[Attempt, ...], options: Options, rules: Rules) -> float:
    """Seconds to wait after the last charged attempt: ``pass``, doubling, 15 min at most."""
    if not charged:
        return 0.0
    return min(options.pass_ * 2.0 ** (len(charged) - 1), rules.backoff_max)


def requeue_at(attempts: tuple[Attempt, ...], options: Options, rules: Rules) -> float:
    """Earliest time of the next LIVE or COLD start, from the attempts so far (Unix seconds).

    After a charged attempt the back-off applies. A lost slot, a lock or a stale observation costs
    only a short pause, which also doubles.
    """
    ended = [a for a in attempts if a.ended is not None and a.result is not None]
    if not ended:
        return 0.0
    last = max(ended, key=lambda a: a.ended or 0.0)
    at = last.ended or 0.0
    if last.charged:
        return at + backoff(tuple(a for a in ended if a.charged), options, rules)
    if last.result is Result.OK:
        return 0.0
    return at + _void_pause(len(_void(attempts)), rules)


def _void(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Latest starts in a row that did not happen and were not charged, oldest first."""
    row: list[Attempt] = []
    for attempt in reversed(attempts):
        if attempt.charged or attempt.result in (None, Result.OK):
            break
        row.insert(0, attempt)
    return tuple(row)


def refused_for(attempts: tuple[Attempt, ...], rules: Rules, now: float) -> float:
    """Seconds for which a lock or a stale observation has made every start void. Only the pauses
    after them count, not other waits in between. 0 if a slot was lost: slots come free."""
    row = _void(attempts)
    if any(a.result is Result.BUSY for a in row):
        return 0.0
    pauses = [_void_pause(number, rules) for number in range(1, len(row))]
    latest = now - (row[-1].ended or now) if row else 0.0
    return sum(pauses) + min(latest, _void_pause(len(row), rules))


def _void_pause(number: int, rules: Rules) -> float:
    """Seconds to wait after ``number`` void starts: three ticks, doubling, 15 min at most."""
    return min(3 * rules.tick * 2.0 ** (number - 1), rules.backoff_max)
