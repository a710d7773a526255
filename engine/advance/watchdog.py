"""Watchdog of a loop: it tells of a step or a call that hangs, while it hangs.

It runs in the thread that asks, reads rows and the time, and takes no part in a step.
"""

from __future__ import annotations

from datetime import UTC, datetime

from engine.clock import Clock
from engine.model import CallKind, OpenCall, short
from engine.store import queries
from engine.store.store import Store

LONG = 90.0
"""Seconds after which a step or a call that has not ended is told. A start takes about ten."""

_DEEDS = {
    CallKind.BASELINE: "to save networks",
    CallKind.READING: "to read networks",
    CallKind.MODELS: "to read networks",
    CallKind.RIGHTS: "to check rights",
    CallKind.START: "to start a move",
    CallKind.RESTORE: "to restore a network",
    CallKind.RESTORE_MODELS: "to restore a network",
    CallKind.DISMISS: "to dismiss a failed job",
    CallKind.REFRESH: "to re-read a VM",
    CallKind.STOP: "to stop a job",
}


class Watchdog:
    """Observer of one engine's step and calls. ``begin`` and ``end`` are called by the step."""

    def __init__(self, store: Store, vmm: str, clock: Clock) -> None:
        self.store, self.vmm, self.clock = store, vmm, clock
        self._since: tuple[float, float] | None = None

    def begin(self) -> None:
        """Note that a step begins."""
        self._since = self.clock.monotonic(), self.clock.now()

    def end(self) -> None:
        """Note that the step has ended."""
        self._since = None

    def says(self) -> str:
        """Describe what has been hanging for long; empty: nothing."""
        since = self._since
        if since is not None and self.clock.monotonic() - since[0] >= LONG:
            return f"The engine's step has not ended since {_time(since[1])}."
        now = self.clock.now()
        calls = queries.open_calls(self.store, self.vmm)
        return next((_say(call) for call in calls if now - call.begun >= LONG), "")


def _say(call: OpenCall) -> str:
    who = short(call.server) if call.server else "VMM"
    deed = _DEEDS.get(call.kind, "to look")
    return f"{who} has not answered a call {deed} since {_time(call.begun)}."


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
