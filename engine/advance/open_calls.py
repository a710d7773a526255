"""Calls under way: begun by one step of the engine, answered in a later one.

A call is written before it is begun, and its answer is written by the engine's own thread. A call
that has no answer at its deadline ends with an unknown outcome; a later answer is dropped, except
the job of a start, which helps to find the VM. Calls of an earlier engine may still act until their
``not_after``; after that they end, and what they were to do is planned again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from engine.advance.answers import BegunCall, begin_attempts, write_answer
from engine.advance.callers import Answered, Caller
from engine.advance.calls import CallAnswer, Caps, Lanes
from engine.advance.looks import Key, Parts, reread_error
from engine.errors import CLOSED, VmmUnavailable
from engine.model import (
    MIGRATIONS,
    REREADS,
    CallKind,
    Look,
    OpenCall,
    PartKind,
    Result,
    RunRecord,
)
from engine.policy.freshness import AGAIN
from engine.policy.steps import KIND_OF, Call, ReadModels, ReadPorts, Start, hosts_of, moves_of
from engine.settings import Settings
from engine.store import queries
from engine.store.pen import Pen
from engine.store.store import Store

Writing = Callable[[], AbstractContextManager[Pen]]
_MARGIN = 5.0
"""Seconds after the port's own time limit at which the engine stops waiting for an answer."""


def limits_of(settings: Settings) -> Mapping[CallKind, float]:
    """Seconds after which the engine stops waiting for a call of each kind."""
    vmm = settings.vmm
    limits = dict.fromkeys(CallKind, vmm.limit_change)
    # A baseline is read on the host and in VMM, one after the other.
    limits |= {CallKind.BASELINE: 2 * vmm.limit_read, CallKind.READING: vmm.limit_read}
    limits[CallKind.MODELS] = vmm.limit_read
    limits |= {CallKind.RIGHTS: vmm.limit_quick, CallKind.STOP: vmm.limit_quick}
    limits |= {CallKind(str(kind)): vmm.limit_read for kind in PartKind}
    limits |= {CallKind(str(kind)): vmm.limit_reread for kind in REREADS}
    # The call of a refresh is open until VMM's job has ended.
    limits[CallKind.REFRESH] = max(vmm.limit_change, vmm.limit_reread)
    return {kind: seconds + _MARGIN for kind, seconds in limits.items()}


_REREADS = frozenset(CallKind(str(kind)) for kind in REREADS) | {CallKind.REFRESH}
"""Kinds whose call only begins a job of VMM."""

OVERDUE = 600.0
"""Seconds, ten passes, after which a re-read goes before the starts and repairs on its host."""


def _reading(call: Call) -> tuple[type, str] | None:
    """Kind and host of a reading of networks that nothing else counts; ``None``: another call."""
    return (type(call), call.host) if isinstance(call, ReadPorts | ReadModels) else None


class OpenCalls:
    """The calls of one engine. ``store`` and ``vmm`` are the engine's, ``writing`` opens its
    pen."""

    def __init__(
        self, store: Store, vmm: str, caller: Caller, settings: Settings, writing: Writing
    ) -> None:
        self.store, self.vmm, self.caller, self._writing = store, vmm, caller, writing
        self.parts = Parts(store, vmm)
        sessions = settings.vmm.sessions
        rereads = min(settings.engine.rereads, max(1, sessions // 2))
        calls = min(settings.engine.lanes, sessions)
        self._caps = Caps(calls, max(1, sessions // 4), rereads)
        self._limits, self._window = limits_of(settings), settings.engine.start_window
        self._tick = settings.engine.tick
        self._came: deque[Answered] = deque()
        self._begun: dict[int, BegunCall] = {}
        self._waiting: dict[Key, float] = {}  # re-reads that a plan wants, since when
        self._late: dict[int, BegunCall] = {}  # given up, but still running
        self._failed: dict[tuple[type, str] | None, float] = {}  # readings that failed, and when

    def begin(
        self, pen: Pen, epoch: int, calls: Sequence[Call], looks: Sequence[Look]
    ) -> list[BegunCall]:
        """Write those calls and looks of a plan that may begin now. ``make`` makes them. Calls come
        first, except that a re-read has waited long enough for them."""
        rereads = [look for look in looks if look.kind in REREADS]
        self._waiting = {k.key: self._waiting.get(k.key, pen.now) for k in rereads}
        first = [look for look in rereads if pen.now - self._waiting[look.key] >= OVERDUE]
        lanes = self._lanes()
        begun = [self._write_look(pen, epoch, k) for k in first if lanes.admit_look(k)]
        rested = [call for call in calls if not self._is_at_rest(call, pen.now)]
        admitted = [call for one in rested if (call := lanes.admit(one)) is not None]
        begun += [self._write(pen, epoch, call) for call in admitted]
        rest = (look for look in looks if look not in first)
        return begun + [self._write_look(pen, epoch, k) for k in rest if lanes.admit_look(k)]

    def _is_at_rest(self, call: Call, now: float) -> bool:
        """Tell whether this reading of networks failed a moment ago: it is not repeated at once."""
        at = self._failed.get(_reading(call)) if _reading(call) is not None else None
        return at is not None and at <= now < at + AGAIN * self._tick

    def begin_looks(self, pen: Pen, epoch: int, looks: Sequence[Look]) -> list[BegunCall]:
        """Write those regular looks that may begin now. ``make`` makes them."""
        lanes = self._lanes()
        return [self._write_look(pen, epoch, look) for look in looks if lanes.admit_look(look)]

    def _lanes(self) -> Lanes:
        silent = frozenset(h.name.casefold() for h in self.parts.fleet().hosts if h.seen_at is None)
        return Lanes(queries.open_calls(self.store, self.vmm), self._caps, silent)

    def _write(self, pen: Pen, epoch: int, call: Call) -> BegunCall:
        attempts = begin_attempts(pen, call)
        row = replace(
            self._row(KIND_OF[type(call)], hosts_of(call), pen.now, epoch),
            moves=tuple(move.id for move in moves_of(call)),
            attempts=tuple(attempt for _, attempt in attempts),
            not_after=call.order.not_after if isinstance(call, Start) else None,
        )
        return BegunCall(replace(row, id=pen.calls.begin(self.vmm, row)), call, attempts)

    def _write_look(self, pen: Pen, epoch: int, look: Look) -> BegunCall:
        self._waiting.pop(look.key, None)
        hosts = (look.name,) if look.name else ()
        row = self._row(CallKind(str(look.kind)), hosts, pen.now, epoch)
        if look.kind in REREADS:
            row = replace(row, not_after=look.not_after)
        return BegunCall(replace(row, id=pen.calls.begin(self.vmm, row)), look, ())

    def _row(self, kind: CallKind, hosts: tuple[str, ...], now: float, epoch: int) -> OpenCall:
        return OpenCall(0, kind, hosts, (), (), epoch, now, now + self._limits[kind])

    def make(self, calls: Sequence[BegunCall]) -> None:
        """Begin calls that are written."""
        for one in calls:
            self._begun[one.row.id] = one
            self.caller.begin(one.row.id, one.step)

    def take_answers(self) -> list[BegunCall]:
        """Write all answers that have come, each in its own transaction. Return their calls."""
        self._came.extend(self.caller.ended())
        ended = []
        while self._came:  # an answer that cannot be written now is kept for the next step
            one = self._take(*self._came[0])
            self._came.popleft()
            if one is not None:
                ended.append(one)
        return ended + self._end_rereads()

    def _take(self, number: int, answer: CallAnswer) -> BegunCall | None:
        late = self._late.get(number)
        if late is not None:
            with self._ending(number) as pen:
                self._keep_job(pen, late, answer)
            return None
        begun = self._begun.get(number)
        if begun is None:  # its answer could not be written because of a bug
            return None
        if begun.row.kind in _REREADS and answer.error is None:
            if answer.job is not None:
                self._note_job(begun, answer.job)
                return None
            answer = CallAnswer(error=VmmUnavailable("VMM did not name the job of a re-read"))
        with self._ending(number) as pen:
            self._end(pen, begun, answer)
        return begun

    @contextmanager
    def _ending(self, number: int) -> Iterator[Pen]:
        """Pen that writes the end of a call. While the file cannot be written, the call is kept for
        the next step. A call whose end cannot be written because of a bug must not hold up the
        others: it ends like the calls of an earlier engine."""
        try:
            with self._writing() as pen:
                yield pen
        except CLOSED:
            self.parts.forget()
            raise
        except Exception:
            self.parts.forget()
            self._drop(number)
            raise
        self._drop(number)

    def _drop(self, number: int) -> None:
        self._begun.pop(number, None)
        self._late.pop(number, None)

    def _note_job(self, begun: BegunCall, job: str) -> None:
        """Keep a re-read open until its job of VMM has ended."""
        number = begun.row.id
        with self._writing() as pen:
            pen.calls.note_job(self.vmm, number, job)
        self._begun[number] = replace(begun, row=replace(begun.row, job=job))

    def _end(self, pen: Pen, begun: BegunCall, answer: CallAnswer) -> None:
        if not isinstance(begun.step, Look):
            write_answer(pen, self.vmm, begun, answer)
            self._failed.pop(_reading(begun.step), None)
            if answer.error is not None:
                self._failed[_reading(begun.step)] = pen.now
            return
        self.parts.take(pen, begun.step, begun.row, answer)
        pen.calls.drop(self.vmm, begun.row.id)

    def _end_rereads(self) -> list[BegunCall]:
        """End the re-reads whose jobs VMM shows as ended."""
        ended = []
        for number, begun in list(self._begun.items()):
            if begun.row.job is None:
                continue
            is_over, found = self.parts.ended_job(begun.row.job)
            if not is_over:
                continue
            with self._ending(number) as pen:
                self._end(pen, begun, CallAnswer(error=reread_error(found)))
            ended.append(begun)
        return ended

    def _keep_job(self, pen: Pen, late: BegunCall, answer: CallAnswer) -> None:
        if isinstance(late.step, Start) and answer.job is not None:
            pen.calls.end(self.vmm, late.row.id, Result.LOST, answer.job)
            pen.attempts.issue(late.step.move, late.row.attempts[0], answer.job)

    def give_up(self, now: float) -> None:
        """End our calls whose deadline has passed, with an unknown outcome."""
        for number, begun in list(self._begun.items()):
            if now <= begun.row.deadline:
                continue
            waited = round(now - begun.row.begun)
            error = VmmUnavailable(f"There was no answer within {waited} s")
            with self._ending(number) as pen:
                self._end(pen, begun, CallAnswer(error=error))
            if begun.row.job is None:
                self._late[number] = begun

    def drop_looks(self, pen: Pen) -> None:
        """Drop the looks of earlier engines, which nobody waits for. They change nothing."""
        for call in queries.open_calls(self.store, self.vmm):
            if str(call.kind) in set(PartKind) and call.id not in self._begun:
                pen.calls.drop(self.vmm, call.id)

    def close_interrupted(self, records: Sequence[RunRecord], now: float) -> bool:
        """End calls of earlier engines that cannot act any more, and their attempts. What they were
        to do is idempotent and is planned again. LIVE and COLD attempts stay open: whether they
        happened is observed. Return whether anything was ended."""
        foreign = [c for c in queries.open_calls(self.store, self.vmm) if c.id not in self._begun]
        over = [c for c in foreign if not c.changes or now > c.begun + self._window]
        acting = {a for c in foreign if c not in over for a in c.attempts}
        acting |= {a for begun in self._begun.values() for a in begun.row.attempts}
        cut = [
            (record.move, attempt)
            for run in records
            for record in run.moves
            for attempt in record.attempts
            if attempt.open and attempt.kind not in MIGRATIONS and attempt.id not in acting
        ]
        if not over and not cut:
            return False
        with self._writing() as pen:
            for call in over:
                pen.calls.end(self.vmm, call.id, Result.STALE)
            for move, attempt in cut:
                said = "The engine ended during the call"
                pen.attempts.end(move, attempt.id, attempt.kind, Result.STALE, said)
        return True

    def next_deadline(self) -> float | None:
        """Time at which the engine stops waiting for an answer, or may act again in place of an
        earlier engine; ``None``: no call is under way."""
        open_calls = queries.open_calls(self.store, self.vmm)
        ends = (c.deadline if c.id in self._begun else c.begun + self._window for c in open_calls)
        return min(ends, default=None)
