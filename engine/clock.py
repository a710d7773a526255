"""One clock for everything: the real one, one that runs faster, and one that jumps.

Nothing else in VMFerry reads the time. ``wait`` is the only way to let time pass.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the engine sees it. ``now`` is Unix seconds UTC; ``monotonic`` never goes back."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        """Wait until ``wake`` is set or ``seconds`` have passed; say whether it was set."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        return wake.wait(max(0.0, seconds))


class ScaledClock:
    """A clock that was at ``start`` when the wall said ``wall`` and runs ``speed`` times faster.

    Built again from the same three numbers it shows the same time: a simulated world goes on
    while the engine is dead.
    """

    def __init__(self, start: float, wall: float, speed: float) -> None:
        self.start, self.wall, self.speed = start, wall, speed

    def now(self) -> float:
        return self.start + (time.time() - self.wall) * self.speed

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        return wake.wait(max(0.0, seconds) / self.speed)


class VirtualClock:
    """A clock that stands still until somebody jumps it forward; for stories and tests."""

    def __init__(self, start: float) -> None:
        self.time = start

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        self.jump(self.time + seconds)
        return wake.is_set()

    def jump(self, to: float) -> None:
        """Go to ``to``; a jump back is ignored."""
        self.time = max(self.time, to)
