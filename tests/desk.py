"""Requests, commands and decisions, one second apart, on real rows and without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from engine.clock import VirtualClock
from engine.commands import verbs
from engine.commands.service import Service
from engine.commands.verbs import VerbResult
from engine.errors import Refused
from engine.language import grammar
from engine.language.grammar import Ask
from engine.model import (
    MOVE_ENDS,
    Approval,
    AttemptKind,
    Event,
    Fleet,
    Host,
    HyperVState,
    Move,
    MoveState,
    Outcome,
    Run,
    RunRecord,
    RunState,
    Vm,
)
from engine.policy.approvals import approval as approvals
from engine.settings import Settings
from engine.store import events, queries
from engine.store.pen import Pen, writing
from engine.store.store import Store
from tests.fleets import keep_fleet

NOW = 1_767_650_400.0
HOSTS = tuple(f"hv0{number}.corp.example" for number in range(1, 8))
HV01, HV02, HV03, *_ = HOSTS
NAMES = ("web01", "web02", "web03", "db 01")
DECIDERS = frozenset({"slack:bob", "slack:cy"})
EMPTY = "host hv01 to hv02"
#: The allowed steps that lead a run to each state.
RUN_WAY = {
    RunState.SCHEDULED: "",
    RunState.ACTIVE: "active",
    RunState.PAUSED: "active paused",
    RunState.STOPPING: "active stopping",
    RunState.STOPPED: "active stopping stopped",
    RunState.COMPLETED: "active completed",
    RunState.INCOMPLETE: "active incomplete",
    RunState.REJECTED: "rejected",
}
#: The same for a move.
MOVE_WAY = {
    MoveState.PENDING: "",
    MoveState.MOVING: "moving",
    MoveState.RESTORING: "moving restoring",
    MoveState.DONE: "moving restoring done",
    MoveState.DAMAGED: "moving restoring damaged",
    MoveState.FAILED: "failed",
    MoveState.SKIPPED: "skipped",
    MoveState.UNKNOWN: "moving unknown",
}
#: The outcome in a final state, unless a test gives another one.
ENDED = {MoveState.DAMAGED: Outcome.NETWORK, MoveState.UNKNOWN: Outcome.UNKNOWN}


class Desk:
    """A fleet in which each of ``vms`` runs on its host, and people who type. ``by`` is the
    requester."""

    def __init__(
        self, folder: Path, vms: Mapping[str, str] | None = None, by: str = "slack:ann"
    ) -> None:
        self.store, self.clock = Store(folder / "vmferry.db", durable=False), VirtualClock(NOW)
        self.service, self.by = Service(self.store, self.clock, Settings()), by
        found = tuple(
            Vm(f"id-{name}", name, host, "Running", (host,), HyperVState.RUNNING, ("Ok",))
            for name, host in (vms or dict.fromkeys(NAMES, HV01)).items()
        )
        hosts = tuple(Host(name, seen_at=NOW) for name in HOSTS)
        with writing(self.store, NOW) as pen:
            keep_fleet(pen, Fleet("vmm01", NOW, NOW, hosts, found))

    # --- what people do ---------------------------------------------------------------------

    def ask(self, text: str = EMPTY, by: str = "", begun: bool = True) -> int:
        """Request a run. The first is R1."""
        self._tick()
        request = grammar.parse(text)
        return self.service.submit(request, by=by or self.by, scheduled=not begun).run.id

    def say(
        self, text: str, by: str = "", approvers: frozenset[str] | None = DECIDERS
    ) -> VerbResult:
        self._tick()
        command = grammar.parse(text)
        assert isinstance(command, Ask)
        return verbs.carry_out_verb(self.service, command, by=by or self.by, approvers=approvers)

    def refused(self, text: str, by: str = "") -> Refused:
        """The refusal of a command. Nothing is written and nothing is woken."""
        before = self.rows(), len(self.told())
        self.service.wake.clear()
        with pytest.raises(Refused) as raised:
            self.say(text, by)
        assert (self.rows(), len(self.told())) == before
        assert not self.service.wake.is_set()
        return raised.value

    # --- what an engine would do ------------------------------------------------------------

    def writing(self) -> AbstractContextManager[Pen]:
        self._tick()
        return writing(self.store, self.clock.now())

    def run_in(self, state: RunState = RunState.ACTIVE, text: str = EMPTY) -> Desk:
        """Bring a run into this state."""
        self.turn(state, self.ask(text, begun=False))
        return self

    def turn(self, state: RunState, run: int = 1) -> None:
        """Set every state on the way to this one that the run has not passed yet."""
        for step in _ahead(RUN_WAY[state].split(), self.run(run).state):
            with self.writing() as pen:
                pen.runs.set_state(self.run(run), RunState(step), f"it is {step}")

    def put(
        self,
        state: MoveState,
        name: str = "web01",
        outcome: Outcome | None = None,
        host: str = HV02,
        run: int = 1,
    ) -> Desk:
        """Do the same as ``turn`` for the move of this VM, with an outcome if the move ends."""
        for step in map(MoveState, _ahead(MOVE_WAY[state].split(), self.move(name, run).state)):
            ends = outcome or ENDED.get(step, Outcome.STUCK) if step in MOVE_ENDS else None
            with self.writing() as pen:
                move = self.move(name, run)
                pen.moves.set_state(move, step, f"it is {step}", host=host, outcome=ends)
        return self

    def question(self, *names: str, run: int = 1) -> Desk:
        """An open question about these VMs."""
        ids = tuple(f"id-{name}" for name in names)
        with self.writing() as pen:
            pen.approvals.ask(run, ids, names, approvals.digest(self.run(run), ids))
        return self

    def break_glass(self, name: str, by: str = "slack:mei") -> Desk:
        """A break-glass approval of this VM by a person who may not approve."""
        self.question(name)
        made = self.service.decide(
            queries.open_approvals(self.store)[-1].id,
            "approve",
            by=by,
            approvers=frozenset(),
            reason="the storage is on fire",
            glass=approvals.Glass(allowed=True, fit=True, others=False),
        )
        assert made.accepted
        return self

    def attempt(self, name: str = "web01", kind: AttemptKind = AttemptKind.COLD) -> int:
        with self.writing() as pen:
            return pen.attempts.begin(self.move(name), kind, HV01, HV02)

    # --- what stands in the rows ------------------------------------------------------------

    def record(self, run: int = 1) -> RunRecord:
        return queries.record(self.store, run)

    def run(self, number: int = 1) -> Run:
        return queries.run(self.store, number)

    def move(self, name: str = "web01", run: int = 1) -> Move:
        return next(m.move for m in self.record(run).moves if m.move.vm == name)

    def asked(self, number: int = 1) -> Approval:
        return queries.approval(self.store, number)

    def damage(self) -> list[tuple[str, str]]:
        """The damaged VMs with their hosts."""
        return [(d.vm, d.host) for d in queries.damages(self.store, "vmm01")]

    def doubts(self) -> list[tuple[str, int]]:
        """The VMs with unknown location, with their runs."""
        return [(d.vm_id, d.run) for d in queries.doubts(self.store, "vmm01")]

    def rows(self) -> list[object]:
        """Everything that a verb could change."""
        return [queries.record(self.store, run.id) for run in queries.runs(self.store)]

    def told(self) -> Sequence[Event]:
        return events.since(self.store)

    def _tick(self) -> None:
        self.clock.jump(self.clock.now() + 1)


def _ahead(way: Sequence[str], now: str) -> Sequence[str]:
    return way[way.index(now) + 1 :] if now in way else way
