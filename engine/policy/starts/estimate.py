"""Estimates of how long moves take, from their size, the slots and the moves before them."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from engine.model import MIGRATIONS, Fleet, Host, Move, MoveRecord, Result


def seconds(move: Move, mb_per_s: float) -> float:
    """Estimated seconds for one move: memory and disk at that rate, at least ten seconds."""
    return max(10.0, move.size_mb / max(mb_per_s, 1.0))


def rate(records: Iterable[MoveRecord], default: float) -> float:
    """MB/s of the moves that arrived; the median, so that one slow VM does not spoil it.

    Three arrivals are needed before experience outweighs ``default``.
    """
    rates = [
        record.move.size_mb / (attempt.ended - attempt.begun)
        for record in records
        for attempt in record.attempts
        if attempt.kind in MIGRATIONS
        and attempt.result is Result.OK
        and attempt.ended is not None
        and attempt.ended > attempt.begun
        and record.move.size_mb > 0
    ]
    return median(rates) if len(rates) >= 3 else default


def slots(name: str, fleet: Fleet | None) -> int:
    """Number of moves at once to reckon with on this host: at least one, and a host's default where
    the fleet does not show the host."""
    host = fleet.host(name) if fleet else None
    return max(1, (host or Host(name)).slots)
