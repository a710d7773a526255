"""Estimates of the duration of moves, from their size, the slots and earlier moves."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from engine.model import MIGRATIONS, Fleet, Host, Move, MoveRecord, Result


def seconds(move: Move, mb_per_s: float) -> float:
    """Estimated seconds for one move: its memory and disk at ``mb_per_s``, at least ten seconds."""
    return max(10.0, move.size_mb / max(mb_per_s, 1.0))


def rate(records: Iterable[MoveRecord], default: float) -> float:
    """Median MB/s of the moves that arrived, so that one slow VM does not distort it.

    ``default`` if fewer than three have arrived.
    """
    ran = [
        (record.move.size_mb, attempt.times)
        for record in records
        for attempt in record.attempts
        if attempt.kind in MIGRATIONS and attempt.result is Result.OK and record.move.size_mb > 0
    ]
    rates = [mb / (t[1] - t[0]) for mb, t in ran if t is not None and t[1] > t[0]]
    return median(rates) if len(rates) >= 3 else default


def slots(name: str, fleet: Fleet | None) -> int:
    """Slots of this host for estimates: at least one. A host that the fleet does not show counts
    with the default limits."""
    host = fleet.host(name) if fleet else None
    return max(1, (host or Host(name)).slots)
