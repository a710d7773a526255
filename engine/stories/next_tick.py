"""Steps of virtual time: to the next tick at which the world changes or a deadline passes."""

from __future__ import annotations

import math


def next_tick(now: float, start: float, tick: float, *moments: float | None) -> float:
    """The first tick after ``now``, counted from ``start``, that is not before the earliest of
    ``moments``. ``None`` is ignored; without moments it is the very next tick.

    Nothing that the engine could notice happens at the skipped ticks.
    """
    known = [m for m in moments if m is not None]
    ticks = math.floor((now - start) / tick + 1e-6) + 1
    if known:
        ticks = max(ticks, math.ceil((min(known) - start) / tick - 1e-6))
    return start + ticks * tick
