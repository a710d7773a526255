"""A caller in virtual time: calls take the time that the simulated world charges.

What a call reads is what there was when it began. What it changes happens in the middle of its
time. A call that takes longer than its limit has no answer, whether or not it happened; a call that
hangs never happens. The same story and seed give the same bytes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from engine.advance.callers import Answered
from engine.advance.calls import CallAnswer, make
from engine.clock import VirtualClock
from engine.errors import VmmUnavailable
from engine.model import REREADS, CallKind, Look
from engine.policy.steps import (
    KIND_OF,
    Call,
    CheckRights,
    Dismiss,
    PutBack,
    ReadModels,
    ReadPorts,
    RefreshVm,
    SaveBaselines,
    Start,
    StopJob,
)
from engine.sim.port import SimPort

Asked = tuple[str, tuple[str, ...], Sequence[str]]
"""Name of a call of the port, its hosts, and the VMs or jobs that it is about."""
_READS = frozenset({CallKind.BASELINE, CallKind.READING, CallKind.MODELS, CallKind.RIGHTS})


class Queue:
    """``Caller`` on a simulated world in virtual time. ``limits``: seconds after which a call of
    each kind has no answer."""

    def __init__(
        self, port: SimPort, clock: VirtualClock, limits: Mapping[CallKind, float]
    ) -> None:
        self.port, self.clock, self._limits = port, clock, limits
        self.came: Callable[[], object] = lambda: None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._answers: list[Answered] = []

    def begin(self, number: int, call: Call | Look) -> None:
        """See ``Caller``."""
        now, limit = self.clock.now(), self._limits[_kind_of(call)]
        seconds = sum(self.port.seconds(*asked) for asked in _asks(call))
        if seconds == 0:
            self._answers.append((number, make(call, self.port)))
            return
        if math.isinf(seconds):
            self._answer_at(now + limit, number, _silence(limit))
            return
        if _kind_of(call) in _READS or (isinstance(call, Look) and call.kind not in REREADS):
            answer = make(call, self.port)
            said = answer if seconds <= limit else _silence(limit)
            self._answer_at(now + min(seconds, limit), number, said)
            return
        self._at(now + seconds / 2, lambda: self._act(number, call, now, seconds, limit))
        if seconds > limit:
            self._answer_at(now + limit, number, _silence(limit))

    def _act(
        self, number: int, call: Call | Look, began: float, seconds: float, limit: float
    ) -> None:
        answer = make(call, self.port)
        if seconds <= limit:
            self._answer_at(began + seconds, number, answer)

    def _answer_at(self, at: float, number: int, answer: CallAnswer) -> None:
        self._at(at, lambda: self._answers.append((number, answer)))

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), event))

    def next_event(self) -> float | None:
        """Return when a call acts or ends next (Unix seconds), or ``None``."""
        return self._events[0][0] if self._events else None

    def run_due(self) -> bool:
        """Let happen what is due by now. Return whether an answer waits to be taken."""
        while self._events and self._events[0][0] <= self.clock.now():
            heapq.heappop(self._events)[2]()
        return bool(self._answers)

    def go_on(self, until: float) -> None:
        """Let virtual time pass until an answer has come, or until this time (Unix seconds)."""
        while not self.run_due():
            at = self.next_event()
            if at is None or at > until:
                self.clock.jump(until)
                return
            self.clock.jump(at)

    def ended(self) -> Sequence[Answered]:
        """See ``Caller``."""
        self.run_due()
        came, self._answers = self._answers, []
        return came

    def wait(self, seconds: float) -> None:
        """See ``Caller``. Virtual time goes on meanwhile."""
        ends = self.clock.now() + seconds
        self.run_due()
        while (at := self.next_event()) is not None and at <= ends:
            self.clock.jump(at)
            self.run_due()
        if self._events:
            self.clock.jump(ends)


def _silence(seconds: float) -> CallAnswer:
    return CallAnswer(error=VmmUnavailable(f"There was no answer within {seconds:.0f} s"))


def _kind_of(call: Call | Look) -> CallKind:
    return CallKind(str(call.kind)) if isinstance(call, Look) else KIND_OF[type(call)]


def _asks(call: Call | Look) -> Iterator[Asked]:
    """Calls of the port that a call makes."""
    match call:
        case Look():
            name = "reread" if call.kind in REREADS else str(call.kind)
            yield name, (call.name,) if call.name else (), call.ids
        case SaveBaselines() | ReadPorts() | ReadModels():
            vm_ids = [move.vm_id for move in call.moves]
            if not isinstance(call, ReadModels):
                yield "ports", (call.host,), vm_ids
            if not isinstance(call, ReadPorts):
                yield "models", (), vm_ids
        case CheckRights():
            yield "rights", (call.host,), ()
        case Start():
            yield "start_move", (call.order.source, call.order.destination), ()
        case PutBack():
            yield f"put_{call.half}", (call.repair.host,), ()
        case Dismiss():
            yield "clear", (call.host,), ()
        case RefreshVm():
            yield "reread", (call.host,), ()
        case StopJob():
            yield "stop", (call.host,), ()
