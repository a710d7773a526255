"""The clocks: real time, accelerated time and virtual time.

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
        """Wait until ``wake`` is set or ``seconds`` have passed. Return whether it is set."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        return wake.wait(max(0.0, seconds))


class ScaledClock:
    """A clock that showed ``start`` at wall time ``wall`` and runs ``speed`` times faster.

    Another clock with the same three numbers shows the same time, so a simulated world continues
    while no engine runs.
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
    """A clock that moves only on ``wait`` and ``jump``, for stories and tests."""

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
        """Move forward to ``to``. Times in the past are ignored."""
        self.time = max(self.time, to)
