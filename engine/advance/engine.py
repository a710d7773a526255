"""``advance``: one whole step of the engine. Take answers, look, plan, write, begin calls.

Each step writes the answers that have come, begins the looks that are due and makes one pure plan
from what is known. One transaction then writes all row steps, and the calls and looks of the plan
that may begin now, and these are begun. No step waits for a call: its answer is taken by a later
one.

Rules: a start is written before it is made, and whether it happened is observed, never assumed.
Another engine on the same rows would do the same, except that it cannot hear the answers to this
one's calls. Every write checks the fence, so that an engine that was replaced writes nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from engine.advance.answers import BegunCall
from engine.advance.callers import AtOnce, Caller, Threads
from engine.advance.calls import in_order, key_of
from engine.advance.open_calls import OpenCalls
from engine.advance.row_steps import write_row_step
from engine.clock import Clock, VirtualClock
from engine.errors import Overtaken, VmmError
from engine.language.sentence import Quote, say
from engine.model import Fleet, Look, MoveState, PartKind, RunRecord, Wait
from engine.policy.facts import Facts
from engine.policy.looking import is_looked_at, looks_due, next_look
from engine.policy.plan import LIVING, plan, plan_without_vmm
from engine.policy.steps import Arrive, Call, Hold, Plan, SeeCalm, Step
from engine.settings import Settings
from engine.store import queries
from engine.store.leases import Advancing, Fence
from engine.store.pen import Pen, writing
from engine.store.store import Store
from engine.vmm.port import VmmPort

log = logging.getLogger(__name__)

AT_ONCE = 3
"""Times that the same call or look is made at one moment, at most."""
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
    """One plan. ``ended``: subjects of the calls and looks of the plan that ended at once.
    ``goes_on``: the next plan can do more at once, because a move has ended or a host is calm."""

    done: Advanced
    ended: Sequence[object] = ()
    goes_on: bool = False


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
        self.store, self.clock, self.vmm = store, clock, vmm
        self.rules = settings.rules()
        if caller is None:
            caller = AtOnce(port) if isinstance(clock, VirtualClock) else Threads(port)
        self.calls = OpenCalls(store, vmm, caller, settings, self._writing)
        self.patience = settings.vmm.patience
        self._advancing = Advancing(store)
        self._fence: Fence | None = None
        self._before: Fleet | None = None  # of the last plan
        self._since, self._since_at, self._looked = 0, 0.0, False

    def take_over(self) -> None:
        """Become the only engine of this database. Raises ``StoreLocked``. Calls that an earlier
        engine left open are closed by the next :meth:`advance`."""
        self._fence = self._advancing.acquire(self.vmm, self.clock.now())
        self._before = queries.fleet(self.store, self.vmm)
        self._since_at, self._looked = self.clock.now(), False
        with self._writing() as pen:
            self._since = pen.calls.newest(self.vmm)
            self.calls.drop_looks(pen)
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
        """Ask for everything, and wait for it, but not for silent hosts. Raises ``VmmError`` if VMM
        itself does not answer."""
        for kind in (PartKind.SITE, PartKind.JOBS):
            self._ask_and_wait([Look(kind)])
            error = self.calls.parts.errors.get((kind, ""))
            if error is not None:
                raise error
        hosts = [host.name for host in self.calls.parts.fleet().hosts]
        self._ask_and_wait([Look(k, h) for h in hosts for k in (PartKind.KNOWN, PartKind.SHOWN)])
        return self.calls.parts.fleet()

    def _ask_and_wait(self, looks: Sequence[Look]) -> None:
        """Make these looks, as many at a time as may be, and wait for the answers."""
        left, patience = list(looks), self.patience
        while left:
            begun = self._begin(left)
            self.calls.make(begun)
            steps = {one.step for one in begun}
            left = [look for look in left if look not in steps]
            began = self.clock.monotonic()
            self.calls.caller.wait(patience)
            patience -= self.clock.monotonic() - began
            if not (self.calls.take_answers() or begun) or patience <= 0.0:
                return

    def _begin(self, looks: Sequence[Look]) -> list[BegunCall]:
        assert self._fence is not None
        with self._writing() as pen:
            return self.calls.begin_looks(pen, self._fence.epoch, looks)

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
        """Advance until nothing more can be done at this moment: answers that come at once may
        allow more, so the plan is made anew."""
        acted, times = False, Counter[object]()
        while True:
            step = self._step()
            acted = acted or step.done.acted
            times.update(step.ended)
            again = any(times[key] <= AT_ONCE for key in step.ended)
            if not (again or step.goes_on):
                return replace(step.done, acted=acted)

    def _step(self) -> _Step:
        acted = bool(self.calls.take_answers())
        now = self.clock.now()
        self.calls.give_up(now)
        records, living, facts = self._read()
        if self.calls.close_interrupted(records, now):
            records, living, facts = self._read()
        if self._look_round(living, facts):
            records, living, facts = self._read()
        fleet = self.calls.parts.fleet()
        error = self.calls.parts.errors.get((PartKind.JOBS, ""))
        if living and error is not None:
            self._repair_without_vmm(records, facts, fleet)
            raise error
        if not living:
            return _Step(Advanced(acted, self._earliest(next_look((), facts, fleet, self.rules))))
        if not self._has_looked(living, facts, fleet):
            return _Step(Advanced(acted, self._earliest(now + self.rules.tick)))
        facts = replace(facts, calls=queries.open_calls(self.store, self.vmm))
        made = plan(records, fleet, self.clock.now(), self.rules, facts)
        begun = self._write(records, fleet, made)
        self.calls.make(begun)
        ended = self.calls.take_answers()
        notes = any(_changes(step) for step in made.steps if not isinstance(step, Call))
        return _Step(
            Advanced(
                acted or notes or _are_acts(begun), self._earliest(now + self.rules.sweep, made.due)
            ),
            ended=[key_of(one.step) for one in ended],
            goes_on=any(isinstance(step, Arrive | SeeCalm) for step in made.steps),
        )

    def _repair_without_vmm(self, records: Sequence[RunRecord], facts: Facts, fleet: Fleet) -> None:
        """Put back Hyper-V's half of networks: that needs no answer of VMM."""
        facts = replace(facts, calls=queries.open_calls(self.store, self.vmm))
        made = plan_without_vmm(records, fleet, self.clock.now(), self.rules, facts)
        if made.steps or made.looks:
            self.calls.make(self._write(records, fleet, made))

    def _read(self) -> tuple[Sequence[RunRecord], Sequence[RunRecord], Facts]:
        """Read all runs, those that have not ended, and the facts."""
        records = queries.records(self.store, self.vmm)
        return records, [r for r in records if r.run.state in LIVING], self._facts()

    def _look_round(self, living: Sequence[RunRecord], facts: Facts) -> bool:
        """Begin the looks that are due. Answers that come at once may make others due. Return
        whether answers to other calls came meanwhile, which change the records."""
        changed = False
        for _ in range(AT_ONCE):
            fleet = self.calls.parts.fleet()
            looks = looks_due(living, facts, fleet, self.clock.now(), self.rules)
            if not looks:
                break
            self.calls.make(self._begin(looks))
            ended = self.calls.take_answers()
            changed = changed or _are_acts(ended)
            if not ended:
                break
        return changed

    def _has_looked(self, living: Sequence[RunRecord], facts: Facts, fleet: Fleet) -> bool:
        """Tell whether all that the first plan needs was asked since this engine took over. It does
        not wait for hosts longer than ``patience``."""
        if self._looked:
            return True
        is_late = self.clock.now() - self._since_at >= self.patience
        self._looked = is_late or is_looked_at(living, facts, fleet, self._since, self.rules)
        return self._looked

    def _earliest(self, *dues: float | None) -> float | None:
        known = [at for at in (*dues, self.calls.next_deadline()) if at is not None]
        return min(known, default=None)

    def next_look(self, since: float) -> float | None:
        """Return when the next regular look is due whose part was answered before ``since``, while
        runs are unfinished, or of the list of jobs that shows the end of a re-read; ``None``: all
        were answered later. For virtual time, which skips."""
        _, living, facts = self._read()
        if any(call.job is not None for call in facts.calls):
            return self.clock.now() + self.rules.tick
        return next_look(living, facts, self.calls.parts.fleet(), self.rules, since)

    def _write(self, records: Sequence[RunRecord], fleet: Fleet, made: Plan) -> list[BegunCall]:
        """Write all row steps, and the calls and looks that may begin now, in one transaction."""
        assert self._fence is not None
        runs = {r.run.id: r for r in records}
        calls = in_order([step for step in made.steps if isinstance(step, Call)])
        until = self.clock.now() + fleet.ahead + self.rules.start_window
        looks = [replace(look, not_after=until) for look in made.looks]
        with self._writing() as pen:
            pen.expect(records)
            pen.keep_beat(self.vmm)
            for step in made.steps:
                if not isinstance(step, Call):
                    write_row_step(pen, step, runs)
            self._before = fleet
            return self.calls.begin(pen, self._fence.epoch, calls, looks)

    def _hold_all(self, error: VmmError) -> bool:
        """Hold all moves that are not in flight while VMM cannot be used. Return whether any hold
        is new."""
        news = False
        with self._writing() as pen:
            pen.keep_beat(self.vmm)
            seen = self._before.answered_at if self._before else None
            for record in queries.records(self.store, self.vmm):
                for entry in record.moves if record.run.state in LIVING else ():
                    if entry.move.state in (MoveState.PENDING, MoveState.RESTORING):
                        news = news or entry.move.wait is not Wait.VMM_DOWN
                        text = say("VMM cannot be used: {}", Quote(str(error)))
                        pen.moves.hold(entry.move, Wait.VMM_DOWN, text, seen)
        return news

    def _writing(self) -> AbstractContextManager[Pen]:
        return writing(self.store, self.clock.now(), self._fence, cause=TICK)

    def _facts(self) -> Facts:
        return Facts(
            lost=queries.lost_attempts(self.store, self.vmm),
            options=queries.options_of_lost(self.store, self.vmm),
            unknown=queries.doubts(self.store, self.vmm),
            damages=queries.damages(self.store, self.vmm),
            calls=queries.open_calls(self.store, self.vmm),
            rights={r.host.casefold(): r for r in queries.rights(self.store, self.vmm)},
            verdicts=queries.verdicts(self.store, self.vmm),
            before=self._before,
            beat=queries.beat(self.store, self.vmm),
        )


def _are_acts(calls: Sequence[BegunCall]) -> bool:
    """Tell whether one of these calls is more than a look."""
    return any(not isinstance(one.step, Look) for one in calls)


def _changes(step: Step) -> bool:
    """Tell whether this step is more than a hold for the same reason as before."""
    return not (isinstance(step, Hold) and step.move.wait is step.wait)
