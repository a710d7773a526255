"""The clocks: real time, accelerated time and virtual time.

Only this module reads the time. Code that lets time pass calls ``wait``.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Source of time. ``now`` is Unix seconds UTC; ``monotonic`` is seconds that never go back."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        """Wait until ``wake`` is set or ``seconds`` have passed. Return whether ``wake`` is set."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        return wake.wait(max(0.0, seconds))


class ScaledClock:
    """Clock that showed ``start`` at wall time ``wall`` and runs ``speed`` times as fast.

    Every clock with the same three numbers shows the same time, so a simulated world's time
    passes even while no engine runs.
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
    """Clock for stories and tests, advanced only by ``wait`` and ``jump``."""

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
        """Move forward to ``to`` (Unix seconds UTC). A time in the past changes nothing."""
        self.time = max(self.time, to)
