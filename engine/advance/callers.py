"""Callers: they make the calls of an engine, for which no step of the engine waits.

The engine begins a call after it has written it, and takes the answers at its next step. ``AtOnce``
serves virtual time without costs and tests; ``Threads`` serves real and accelerated time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from engine.advance.calls import CallAnswer, make
from engine.clock import SystemClock
from engine.errors import VmmUnavailable
from engine.model import Look
from engine.policy.steps import Call
from engine.vmm.pending import PendingCalls
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
        self._calls = PendingCalls[CallAnswer](SystemClock(), lambda: self.came())

    def begin(self, number: int, call: Call | Look) -> None:
        """See ``Caller``."""
        self._calls.begin(str(number), partial(_make, call, self.port))

    def ended(self) -> Sequence[Answered]:
        """See ``Caller``."""
        return [(int(key), answer) for key, answer in self._calls.ended().items()]

    def wait(self, seconds: float) -> None:
        """See ``Caller``."""
        self._calls.wait(seconds=seconds)


def _make(call: Call | Look, port: VmmPort) -> CallAnswer:
    """Make a call. A bug is logged and answered as an unknown outcome."""
    try:
        return make(call, port)
    except Exception:
        log.exception("A call failed because of a bug in VMFerry. Its outcome is unknown.")
        return CallAnswer(
            error=VmmUnavailable("VMFerry itself failed during the call; see the log")
        )
