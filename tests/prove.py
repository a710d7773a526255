"""The extent of random nights, kill sweeps and floods.

``make test`` plays a small fixed part, continuous integration a middle one, ``make prove`` the full
one, with other nights each time. ``VMFERRY_PROVE`` is ``small``, ``middle``, ``full``, or a number:
that many times the full size, for a hunt over a weekend.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

SIZE = os.environ.get("VMFERRY_PROVE", "small")
#: Random nights are the same each time, except in a hunt.
REPEATABLE = SIZE in ("small", "middle")

T = TypeVar("T")


def size(small: int, middle: int, full: int) -> int:
    """The number to play."""
    if SIZE in ("small", "middle", "full"):
        return {"small": small, "middle": middle, "full": full}[SIZE]
    return max(2, int(full * float(SIZE)))


def spread(everything: Sequence[T], small: int, middle: int) -> Sequence[T]:
    """Evenly spaced items, including the first and the last. All of them in the full size."""
    wanted, there = size(small, middle, len(everything)), len(everything)
    if wanted >= there:
        return everything
    return [everything[round(n * (there - 1) / (wanted - 1))] for n in range(wanted)]
