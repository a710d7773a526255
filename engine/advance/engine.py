"""``advance``: one whole step of the engine. Take answers, observe, plan, write, begin calls.

Each step writes the answers that have come, makes one observation and one pure plan. If the plan
needs hosts re-read before it can decide, they are re-read and the plan is made again. One
transaction then writes all row steps and the calls that may begin now, and these are begun. No step
waits for a call: its answer is taken by a later one.

Rules: a start is written before it is made, and whether it happened is observed, never assumed.
Another engine on the same rows would do the same, except that it cannot hear the answers to this
one's calls. Every write checks the fence, so that an engine that was replaced writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from engine.advance.answers import BegunCall
from engine.advance.callers import AtOnce, Caller, Threads
from engine.advance.calls import in_order
from engine.advance.open_calls import OpenCalls, keys_of
from engine.advance.row_steps import write_row_step
from engine.clock import Clock, VirtualClock
from engine.errors import Overtaken, VmmError
from engine.language.sentence import Quote, say
from engine.model import Fleet, MoveState, RunRecord, Wait
from engine.policy.facts import Facts
from engine.policy.plan import LIVING, plan
from engine.policy.runs import rereading
from engine.policy.steps import Call, Hold, Plan, Step
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


@dataclass(frozen=True)
class _Step:
    """One look and one plan. ``left``: calls of the plan could not begin. ``ended``: calls that
    ended at once."""

    done: Advanced
    left: bool = False
    ended: Sequence[BegunCall] = ()


class Engine:
    """The engine of one VMM server: :meth:`take_over` once, then :meth:`advance` in a loop.

    ``caller`` makes its calls. By default they take no time in virtual time, and else run in
    threads.
    """

    def __init__(
        self,
        store: Store,
        port: VmmPort,
        clock: Clock,
        settings: Settings,
        *,
        vmm: str = "vmm01",
        caller: Caller | None = None,
    ) -> None:
        self.store, self.port, self.clock, self.vmm = store, port, clock, vmm
        self.rules = settings.rules()
        if caller is None:
            caller = AtOnce(port) if isinstance(clock, VirtualClock) else Threads(port)
        self.calls = OpenCalls(store, vmm, caller, settings, self._writing)
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
        """Release the database for the next engine. Calls under way go on, and nobody hears their
        answers. Idempotent."""
        self._advancing.release()

    def finish(self, seconds: float) -> None:
        """Wait for the calls under way, for so many seconds of wall time at most, and write their
        answers. Raises ``Fenced``."""
        self.calls.caller.wait(seconds)
        self.calls.take_answers()

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
        """Advance until nothing more can be done at this moment: calls that end at once make room
        for others of the same plan, which is then made anew."""
        acted, made = False, set[object]()
        while True:
            step = self._step()
            acted = acted or step.done.acted
            keys = keys_of(step.ended)
            if not step.left or not keys - made:
                return replace(step.done, acted=acted)
            made |= keys

    def _step(self) -> _Step:
        acted = bool(self.calls.take_answers())
        now = self.clock.now()
        self.calls.give_up(now)
        living = [r for r in queries.records(self.store, self.vmm) if r.run.state in LIVING]
        if not living:
            return _Step(self._idle())
        self.calls.close_interrupted(living, now)
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
        begun = self._write(records, fleet, made.steps)
        self.calls.make(begun)
        ended = self.calls.take_answers()
        notes = any(_changes(step) for step in made.steps if not isinstance(step, Call))
        wanted = sum(isinstance(step, Call) for step in made.steps)
        return _Step(
            Advanced(acted or notes or bool(begun), self._next_due(living, fleet, made)),
            left=len(begun) < wanted,
            ended=ended,
        )

    def _write(
        self, records: Sequence[RunRecord], fleet: Fleet, steps: Sequence[Step]
    ) -> list[BegunCall]:
        """Write all row steps, and the calls that may begin now, in one transaction."""
        assert self._fence is not None
        runs = {r.run.id: r for r in records}
        calls = in_order([step for step in steps if isinstance(step, Call)])
        with self._writing() as pen:
            pen.expect(records)
            pen.keep_beat(self.vmm)
            pen.keep_fleet(fleet)
            for step in steps:
                if not isinstance(step, Call):
                    write_row_step(pen, step, runs)
            return self.calls.begin(pen, self._fence.epoch, calls)

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
            calls=queries.open_calls(self.store, self.vmm),
            rights={r.host.casefold(): r for r in queries.rights(self.store, self.vmm)},
            verdicts=queries.verdicts(self.store, self.vmm),
            before=last,
            beat=queries.beat(self.store, self.vmm),
        )

    def _next_due(self, living: Sequence[RunRecord], fleet: Fleet, made: Plan) -> float | None:
        """The earliest of the plan's deadline, the next pass over the hosts and the next sweep."""
        due = [fleet.at + self.sweep]
        due += [at for at in (made.due, self.calls.next_deadline()) if at is not None]
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
