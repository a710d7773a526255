"""``advance``: one whole step of the engine. Observe, plan, write, call, write the results.

Each step makes one observation and one pure plan. If the plan needs hosts re-read before it can
decide, they are re-read and the plan is made again. One transaction then writes all row steps and
the attempt of every call. Then the calls are made, and each result is written in step order.

Rules: a start is written before it is made, and whether it happened is observed, never assumed. No
state is kept between steps: another engine on the same rows would do the same. Every write checks
the fence, so that an engine that was replaced writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from engine.advance.calls import CallAnswer, in_order, make_all
from engine.advance.row_steps import write_row_step
from engine.clock import Clock
from engine.errors import (
    Overtaken,
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from engine.language.sentence import Quote, say
from engine.model import (
    MIGRATIONS,
    AttemptKind,
    Fleet,
    Move,
    MoveState,
    Result,
    Rights,
    RunRecord,
    Wait,
    short,
)
from engine.policy.facts import Facts
from engine.policy.plan import LIVING, plan
from engine.policy.runs import rereading
from engine.policy.steps import (
    Call,
    CheckRights,
    Dismiss,
    Hold,
    Plan,
    PutBack,
    ReadNetworks,
    RefreshVm,
    SaveBaselines,
    Start,
    Step,
    StopJob,
)
from engine.settings import Settings
from engine.store import queries
from engine.store.leases import Advancing, Fence
from engine.store.pen import Pen, writing
from engine.store.store import Store
from engine.vmm.port import VmmPort

log = logging.getLogger(__name__)

TICK = "tick"  # cause of all changes by a step of the engine


@dataclass(frozen=True)
class Advanced:
    """Result of one step: whether anything changed, the deadline of the next step (``None``: at the
    next request), and the error if VMM cannot be used."""

    acted: bool
    next_due: float | None
    error: VmmError | None = None


class Engine:
    """The engine of one VMM server: :meth:`take_over` once, then :meth:`advance` in a loop."""

    def __init__(
        self,
        store: Store,
        port: VmmPort,
        clock: Clock,
        settings: Settings,
        *,
        vmm: str = "vmm01",
        lanes: int | None = None,
    ) -> None:
        self.store, self.port, self.clock, self.vmm = store, port, clock, vmm
        self.rules = settings.rules()
        self.lanes = lanes if lanes is not None else settings.engine.lanes
        self.sweep = settings.engine.sweep
        self.rereads = min(settings.engine.rereads, max(1, settings.vmm.sessions // 2))
        self._advancing = Advancing(store)
        self._fence: Fence | None = None

    def take_over(self) -> None:
        """Become the only engine of this database. Raises ``StoreLocked``. Calls that an earlier
        engine left open are closed by the next :meth:`advance`."""
        self._fence = self._advancing.acquire(self.vmm, self.clock.now())
        with self._writing() as pen:
            pen.event(
                "engine.started", f"The engine of {self.vmm} started (epoch {self._fence.epoch})."
            )

    def close(self) -> None:
        """Release the database for the next engine. Idempotent."""
        self._advancing.release()

    def look(self) -> Fleet:
        """Observe all hosts and store the result for names and views. Raises ``VmmUnavailable``."""
        known = queries.fleet(self.store, self.vmm)
        hosts = [h.name for h in known.hosts] if known else []
        fleet = self.port.observe(hosts=hosts)
        if not known:
            fleet = self.port.observe(hosts=[h.name for h in fleet.hosts])
        with self._writing() as pen:
            pen.keep_fleet(fleet)
        return fleet

    def advance(self) -> Advanced:
        """Make one step for this VMM server. Idempotent: an unchanged world changes nothing."""
        try:
            return self._advance()
        except Overtaken as error:
            log.info("%s", error)
            return Advanced(True, self.clock.now())
        except VmmError as error:  # of the observation: without it nothing can be decided
            news = self._hold_all(error)
            log.log(
                logging.WARNING if news else logging.DEBUG,
                "VMM %s cannot be used: %s",
                self.vmm,
                error,
            )
            return Advanced(False, self.clock.now() + 3 * self.rules.tick, error)

    def _advance(self) -> Advanced:
        records = queries.records(self.store, self.vmm)
        living = [r for r in records if r.run.state in LIVING]
        if not living:
            return self._idle()
        self._close_interrupted(living)
        last = queries.fleet(self.store, self.vmm)
        facts = self._facts(last)
        reread = rereading.due(living, last, self.clock.now(), self.rereads)
        fleet = self._observe(living, last, reread=reread)
        looked_for = {r.run.id for r in living}
        everything = queries.records(self.store, self.vmm)
        # A run that was requested during the observation is planned after the next one.
        records = tuple(r for r in everything if r.run.id in looked_for)
        made = plan(records, fleet, self.clock.now(), self.rules, facts)
        if made.refresh:
            fleet = self._observe(living, fleet, refresh=made.refresh)
            made = plan(records, fleet, self.clock.now(), self.rules, facts)
        calls = in_order([step for step in made.steps if isinstance(step, Call)])
        opened = self._write(records, fleet, made.steps, calls)
        answers = make_all(calls, self.port, self.lanes)
        for call, attempts, answer in zip(calls, opened, answers, strict=True):
            self._write_answer(call, attempts, answer)
        return Advanced(any(map(_changes, made.steps)), self._next_due(living, fleet, made))

    def _hold_all(self, error: VmmError) -> bool:
        """Hold all moves that are not in flight while VMM cannot be used. Return whether any hold
        is new."""
        news = False
        with self._writing() as pen:
            pen.keep_beat(self.vmm)
            last = queries.fleet(self.store, self.vmm)
            seen = last.at if last else None
            for record in queries.records(self.store, self.vmm):
                for entry in record.moves if record.run.state in LIVING else ():
                    if entry.move.state in (MoveState.PENDING, MoveState.RESTORING):
                        news = news or entry.move.wait is not Wait.VMM_DOWN
                        text = say("VMM cannot be used: {}", Quote(str(error)))
                        pen.moves.hold(entry.move, Wait.VMM_DOWN, text, seen)
        return news

    def _idle(self) -> Advanced:
        """Observe at most once per sweep while there is nothing to do, to keep names up to date."""
        now = self.clock.now()
        known = queries.fleet(self.store, self.vmm)
        if known is None or now - known.at >= self.sweep:
            self.look()
            return Advanced(False, now + self.sweep)
        return Advanced(False, known.at + self.sweep)

    def _writing(self) -> AbstractContextManager[Pen]:
        return writing(self.store, self.clock.now(), self._fence, cause=TICK)

    def _observe(
        self,
        living: Sequence[RunRecord],
        last: Fleet | None,
        refresh: Sequence[str] = (),
        reread: Sequence[str] = (),
    ) -> Fleet:
        hosts = dict.fromkeys((*_hosts_to_ask(living, last), *self._doubtful_hosts(living)))
        jobs = [a.job for r in living for m in r.moves for a in m.attempts if a.open and a.job]
        seen = self.port.observe(
            hosts=list(hosts), jobs=jobs, refresh=list(refresh), reread=list(reread)
        )
        return rereading.keep_last_reads(seen, last, (*refresh, *reread))

    def _doubtful_hosts(self, living: Sequence[RunRecord]) -> list[str]:
        """Hosts that may hold VMs of starts without an observed end, and VMs whose location is
        unknown."""
        wanted = {m.move.vm_id for r in living for m in r.moves if not m.move.over}
        lost = queries.lost_attempts(self.store, self.vmm)
        hosts = [h for a in lost for h in (a.source, a.destination) if h]
        unknown = queries.doubts(self.store, self.vmm)
        return hosts + [h for d in unknown if d.vm_id in wanted for h in d.hosts]

    def _facts(self, last: Fleet | None) -> Facts:
        return Facts(
            lost=queries.lost_attempts(self.store, self.vmm),
            unknown=queries.doubts(self.store, self.vmm),
            damages=queries.damages(self.store, self.vmm),
            rights={r.host.casefold(): r for r in queries.rights(self.store, self.vmm)},
            verdicts=queries.verdicts(self.store, self.vmm),
            before=last,
            beat=queries.beat(self.store, self.vmm),
        )

    def _next_due(self, living: Sequence[RunRecord], fleet: Fleet, made: Plan) -> float | None:
        """The earliest of the plan's deadline, the next pass over the hosts and the next sweep."""
        due = [fleet.at + self.sweep, *([made.due] if made.due is not None else [])]
        for record in living:
            for name in (*record.run.sources, *record.run.destinations):
                host = fleet.host(name)
                if host is not None and host.tries:
                    again = rereading.next_try(host, record.run.options)
                elif host is not None and host.refreshed_at is not None:
                    again = host.refreshed_at + record.run.options.pass_
                else:
                    continue
                # A host that is being read, or waits for its turn, is looked at in the next tick.
                due.append(again if again > fleet.at else fleet.at + self.rules.tick)
        return min(due)

    # --- writing --------------------------------------------------------------------------

    def _close_interrupted(self, living: Sequence[RunRecord]) -> None:
        """Close calls of an engine that died during the call. They are idempotent, so they are made
        again. LIVE and COLD stay open: whether they happened is observed."""
        cut = [
            (record.move, attempt)
            for run in living
            for record in run.moves
            for attempt in record.attempts
            if attempt.open and attempt.kind not in MIGRATIONS
        ]
        if not cut:
            return
        with self._writing() as pen:
            for move, attempt in cut:
                pen.attempts.end(
                    move, attempt.id, attempt.kind, Result.STALE, "The engine ended during the call"
                )

    def _write(
        self,
        records: Sequence[RunRecord],
        fleet: Fleet,
        steps: Sequence[Step],
        calls: Sequence[Call],
    ) -> list[list[tuple[Move, int]]]:
        """Write all row steps, and the attempt of every call to make, in one transaction."""
        runs = {r.run.id: r for r in records}
        with self._writing() as pen:
            pen.expect(records)
            pen.keep_beat(self.vmm)
            pen.keep_fleet(fleet)
            for step in steps:
                if not isinstance(step, Call):
                    write_row_step(pen, step, runs)
            return [_open(pen, call) for call in calls]

    def _write_answer(
        self, call: Call, attempts: list[tuple[Move, int]], answer: CallAnswer
    ) -> None:
        with self._writing() as pen:
            match call:
                case Start():
                    _write_start(pen, call, attempts[0][1], answer)
                case SaveBaselines() | ReadNetworks():
                    _write_networks(pen, call, attempts, answer)
                case CheckRights():
                    pen.keep_rights(self.vmm, _rights(call, answer, self.clock.now()))
                case StopJob():
                    said = f" VMM said: {answer.error}" if answer.error else ""
                    text = f"{call.move.vm}: VMM was asked to stop job {call.job}.{said}"
                    pen.moves.note_stop(call.move, call.job, text)
                case _:
                    detail = {}
                    if isinstance(call, PutBack):
                        rows = [[d.adapter, d.what, d.value] for d in call.differences]
                        detail = {"differences": rows}
                    for move, attempt in attempts:
                        kind, ended = _KINDS[type(call)], _result(answer.error)
                        pen.attempts.end(move, attempt, kind, *ended, detail)


_KINDS: dict[type, AttemptKind] = {
    SaveBaselines: AttemptKind.BASELINE,
    PutBack: AttemptKind.RESTORE,
    Dismiss: AttemptKind.DISMISS,
    RefreshVm: AttemptKind.REFRESH,
}
_RESULTS: dict[type[VmmError], Result] = {
    VmmLocked: Result.LOCKED,
    VmmBusy: Result.BUSY,
    VmmStale: Result.STALE,
    VmmRefused: Result.REFUSED,
}


def _open(pen: Pen, call: Call) -> list[tuple[Move, int]]:
    """Begin the attempts of one call. Calls that only read or stop have none."""
    if isinstance(call, ReadNetworks | CheckRights | StopJob):
        return []
    if isinstance(call, Start):
        order = call.order
        attempt = pen.attempts.begin(
            call.move, call.kind, order.source, order.destination, order.not_after
        )
        text = f"{call.move.vm} moves to {short(order.destination)} ({call.kind})"
        pen.moves.set_state(
            call.move,
            MoveState.MOVING,
            text,
            host=order.source,
            destination=order.destination,
            kind=call.kind,
        )
        return [(call.move, attempt)]
    moves = call.moves if isinstance(call, SaveBaselines) else (call.move,)
    host = call.repair.host if isinstance(call, PutBack) else call.host
    return [(move, pen.attempts.begin(move, _KINDS[type(call)], host)) for move in moves]


def _result(error: VmmError | None) -> tuple[Result, str]:
    """Result of a synchronous call."""
    if error is None:
        return Result.OK, ""
    result = Result.STALE if _never_left(error) else _RESULTS.get(type(error), Result.LOST)
    return result, str(error)


def _never_left(error: VmmError) -> bool:
    """Tell whether the request never reached the server, so that nothing can have happened."""
    return isinstance(error, VmmUnavailable) and error.happened is False


def _rights(call: CheckRights, answer: CallAnswer, now: float) -> Rights:
    if answer.error is not None:
        return Rights(call.host, now, None, str(answer.error))
    return Rights(call.host, now, answer.why is None, answer.why or "")


def _write_start(pen: Pen, call: Start, attempt: int, answer: CallAnswer) -> None:
    """Write the result of a start. Accepted: keep VMM's job. Refused: back to pending. No answer:
    the attempt stays open and keeps its slot until an observation shows its result."""
    error = answer.error
    if error is None:
        pen.attempts.issue(call.move, attempt, answer.job)
        return
    result, text = _result(error)
    if result is Result.LOST:
        pen.attempts.doubt(call.move, attempt, text)
        return
    pen.attempts.end(call.move, attempt, call.kind, result, text)
    pen.moves.return_to_pending(
        call.move, f"{call.move.vm} was not started: {text}", call.order.source
    )


def _write_networks(
    pen: Pen,
    call: SaveBaselines | ReadNetworks,
    attempts: list[tuple[Move, int]],
    answer: CallAnswer,
) -> None:
    found = answer.networks or {}
    role = "baseline" if isinstance(call, SaveBaselines) else "reading"
    for move in call.moves:
        if move.vm_id in found:
            pen.networks.keep(move.run, move.vm_id, role, call.host, found[move.vm_id])
        elif role == "reading":
            why = str(answer.error) if answer.error else "Hyper-V does not show the VM"
            pen.moves.hold(move, Wait.HOST_DOWN, f"its network cannot be read: {why}")
    for move, attempt in attempts:
        result, error = _result(answer.error)
        if answer.error is None and move.vm_id not in found:
            result, error = Result.STALE, "The VM was not there when its network was read"
        pen.attempts.end(move, attempt, AttemptKind.BASELINE, result, error)


# --- observations -------------------------------------------------------------------------------


def _changes(step: Step) -> bool:
    """Tell whether this step is more than a hold for the same reason as before."""
    return not (isinstance(step, Hold) and step.move.wait is step.wait)


def _hosts_to_ask(living: Sequence[RunRecord], last: Fleet | None) -> list[str]:
    """The hosts of all runs, and the sources and last VMM hosts of their unfinished moves."""
    names: dict[str, str] = {}
    for record in living:
        for name in (*record.run.sources, *record.run.destinations):
            names.setdefault(name.casefold(), name)
        for entry in record.moves:
            vm = last.vm(entry.move.vm_id) if last and not entry.move.over else None
            if vm is not None and vm.vmm_host:
                names.setdefault(vm.vmm_host.casefold(), vm.vmm_host)
            if not entry.move.over:
                names.setdefault(entry.move.source.casefold(), entry.move.source)
    return list(names.values())
