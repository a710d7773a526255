"""Passage of virtual time: to the next tick at which the world or a deadline changes."""

from __future__ import annotations

import math


def next_tick(now: float, start: float, tick: float, *moments: float | None) -> float:
    """The first tick after ``now``, counted from ``start``, that is not before the earliest of
    ``moments`` (``None`` ones do not count; none at all: the very next tick).

    Nothing that the engine could notice happens at the ticks that are left out.
    """
    known = [m for m in moments if m is not None]
    ticks = math.floor((now - start) / tick + 1e-6) + 1
    if known:
        ticks = max(ticks, math.ceil((min(known) - start) / tick - 1e-6))
    return start + ticks * tick
