"""Callers: they make the calls of an engine, for which no step of the engine waits.

The engine begins a call after it has written it, and takes the answers at its next step. ``AtOnce``
serves virtual time without costs and tests; ``Threads`` serves real and accelerated time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.advance.calls import CallAnswer, make
from engine.clock import SystemClock
from engine.errors import VmmUnavailable
from engine.model import Look
from engine.policy.steps import Call
from engine.vmm.port import VmmPort

log = logging.getLogger(__name__)

Answered = tuple[int, CallAnswer]
"""Number of a call, and its answer."""


class Caller(Protocol):
    """Maker of calls. ``came`` is called, in any thread, after each answer."""

    came: Callable[[], object]

    def begin(self, number: int, call: Call | Look) -> None:
        """Begin a call, and return without its answer."""

    def ended(self) -> Sequence[Answered]:
        """Return the answers that have come since the last time, each once."""

    def wait(self, seconds: float) -> None:
        """Wait until all calls have ended, for so many seconds of wall time at most."""


class AtOnce:
    """A caller whose calls take no time. Unexpected exceptions pass."""

    def __init__(self, port: VmmPort) -> None:
        self.port = port
        self.came: Callable[[], object] = lambda: None
        self._answers: list[Answered] = []

    def begin(self, number: int, call: Call | Look) -> None:
        """See ``Caller``."""
        self._answers.append((number, make(call, self.port)))
        self.came()

    def ended(self) -> Sequence[Answered]:
        """See ``Caller``."""
        came, self._answers = self._answers, []
        return came

    def wait(self, seconds: float) -> None:
        """See ``Caller``."""


class Threads:
    """A caller with one thread per call."""

    def __init__(self, port: VmmPort) -> None:
        self.port = port
        self.came: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._running: dict[int, threading.Thread] = {}
        self._answers: list[Answered] = []

    def begin(self, number: int, call: Call | Look) -> None:
        """See ``Caller``. Raises ``RuntimeError`` if the system has no thread left."""
        name = f"call {number}"
        thread = threading.Thread(target=self._run, args=(number, call), name=name, daemon=True)
        with self._lock:
            thread.start()
            self._running[number] = thread

    def _run(self, number: int, call: Call | Look) -> None:
        answer = _make(call, self.port)
        with self._lock:
            self._answers.append((number, answer))
            del self._running[number]
        self.came()

    def ended(self) -> Sequence[Answered]:
        """See ``Caller``."""
        with self._lock:
            came, self._answers = self._answers, []
            return came

    def wait(self, seconds: float) -> None:
        """See ``Caller``."""
        with self._lock:
            threads = list(self._running.values())
        clock = SystemClock()
        ends = clock.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, ends - clock.monotonic()))


def _make(call: Call | Look, port: VmmPort) -> CallAnswer:
    """Make a call. A bug is logged and answered as an unknown outcome."""
    try:
        return make(call, port)
    except Exception:
        log.exception("A call failed because of a bug in VMFerry. Its outcome is unknown.")
        return CallAnswer(
            error=VmmUnavailable("VMFerry itself failed during the call; see the log")
        )
