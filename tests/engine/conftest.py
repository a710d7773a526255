"""A scene for the policy: one VM that is ready to move. Each row of a table changes it a little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.model import (
    MIGRATIONS,
    Age,
    Approval,
    ApprovalState,
    Attempt,
    AttemptKind,
    CallKind,
    Fleet,
    Host,
    HyperVState,
    Job,
    LastWord,
    Move,
    MoveRecord,
    Network,
    OpenCall,
    Options,
    PartKind,
    Reading,
    Result,
    Rights,
    Run,
    RunRecord,
    RunState,
    Says,
    Vm,
)
from engine.policy.approvals import approval as approvals
from engine.policy.facts import Facts
from engine.policy.freshness import is_overdue
from engine.policy.judging import arrival
from engine.policy.ladders import moving, restoring
from engine.policy.ladders import pending as eligibility
from engine.policy.plan import plan
from engine.policy.starts.breakers import breakers
from engine.policy.steps import Finish, Hold, Plan
from engine.policy.verdict import Verdict, View
from engine.policy.waits import Rules
from tests.fleets import HOSTS, JOBS, fresh
from tests.fleets import age as asked

NOW = 1_767_650_400.0


def fqdn(name: str) -> str:
    return f"{name}.corp.example"


class Scene:
    """R1 empties hv01 to hv02; web01 runs on hv01, baseline saved, slots free: it may start now.

    Every method changes one thing and returns the scene, so that rows of a table compose. VMs
    are called by name; the id of ``web01`` is ``id-web01``.
    """

    def __init__(self) -> None:
        self.now = NOW
        self.skew = 0.0
        self.owner: int | None = None
        self.rules = Rules()
        self.hosts: dict[str, Host] = {}
        self.vms: dict[str, Vm] = {}
        self.runs: dict[int, Run] = {}
        self.moves: dict[tuple[int, str], MoveRecord] = {}
        self.jobs: list[Job] = []
        self.approvals: list[Approval] = []
        self.facts = Facts()
        self.asked: Callable[[Fleet], Fleet] = lambda fleet: fleet
        self.rereads: dict[tuple[PartKind, str], Age] = {}
        self.unread: dict[str, str] = {}
        self.is_first_word = False
        self._attempts = 0
        for name in ("hv01", "hv02", "hv03", "hv04"):
            self.host(name)
            self.rights(name)
        self.run()
        self.add("web01")

    # --- changing one thing -----------------------------------------------------------------

    def host(self, name: str, **changes: object) -> Scene:
        known = self.hosts.get(name) or Host(fqdn(name), seen_at=self.now, refreshed_at=self.now)
        self.hosts[name] = replace(known, **changes)
        return self

    def rights(self, name: str, ok: bool | None = True, why: str = "") -> Scene:
        """The result of a recent check of the account's rights on a host."""
        found = Rights(fqdn(name), self.now, ok, why)
        return self.knowing(rights={**self.facts.rights, found.host: found})

    def knowing(self, **facts: object) -> Scene:
        """Rows that belong to no unfinished run."""
        self.facts = replace(self.facts, **facts)
        return self

    def first_word(self) -> Scene:
        """Let both hosts be heard for the first time since the job was over."""
        self.is_first_word = True
        return self

    def with_ages(self, change: Callable[[Fleet], Fleet]) -> Scene:
        """Change the ages of what is known, in each fleet from now on."""
        self.asked = change
        return self

    def silent(self, *names: str) -> Scene:
        for name in names:
            self.host(name, seen_at=None, error="no answer")
        return self

    def run(self, number: int = 1, **changes: object) -> Scene:
        """Change the run: ``sources`` and ``destinations`` as short names, options by their own
        names."""
        known = self.runs.get(number) or Run(
            id=number,
            vmm="vmm01",
            kind="host",
            request="host hv01 to hv02",
            sources=(fqdn("hv01"),),
            destinations=(fqdn("hv02"),),
            options=Options(),
            by="slack:ann",
            state=RunState.ACTIVE,
            created=self.now - 900,
            started=self.now - 900,
        )
        for side in ("sources", "destinations"):
            if side in changes:
                changes[side] = tuple(map(fqdn, changes[side]))
        self.runs[number] = replace(known, **changes)
        return self

    def options(self, run: int = 1, **changes: object) -> Scene:
        return self.run(run, options=replace(self.runs[run].options, **changes))

    def vm(self, name: str = "web01", at: str | None = None, **changes: object) -> Scene:
        known = self.vms.get(name) or Vm(
            id=f"id-{name}",
            name=name,
            vmm_host=fqdn("hv01"),
            vmm_status="Running",
            seen_on=(fqdn("hv01"),),
            hyperv_state=HyperVState.RUNNING,
            hyperv_status=("Ok", "InService"),
            memory_mb=4096,
            disk_mb=61440,
        )
        if at is not None:
            known = replace(known, vmm_host=fqdn(at), seen_on=(fqdn(at),))
        self.vms[name] = replace(known, **changes)
        return self

    def gone(self, name: str = "web01") -> Scene:
        """Remove the VM from VMM and Hyper-V."""
        del self.vms[name]
        return self

    def seen_on(self, *hosts: str, name: str = "web01") -> Scene:
        """Change only the hosts on which Hyper-V shows the VM."""
        return self.vm(name, seen_on=tuple(map(fqdn, hosts)))

    def move(self, name: str = "web01", run: int = 1, **changes: object) -> Scene:
        known = self.moves.get((run, name)) or MoveRecord(
            Move(
                id=100 * run + len(self.moves) + 1,
                run=run,
                vm_id=f"id-{name}",
                vm=name,
                source=fqdn("hv01"),
                host=fqdn("hv01"),
                power="running",
                memory_mb=4096,
                disk_mb=61440,
                created=self.now - 900,
            )
        )
        for side in ("source", "destination", "host"):
            if changes.get(side) is not None:
                changes[side] = fqdn(str(changes[side]))
        self.moves[run, name] = replace(known, move=replace(known.move, **changes))
        return self

    def add(self, name: str, run: int = 1, **changes: object) -> Scene:
        """Add a VM on hv01 to a run, as ready as web01."""
        if name not in self.vms:
            self.vm(name)
        return self.move(name, run, **changes).baseline(name, run)

    def down(self, name: str = "web01", run: int = 1) -> Scene:
        """Power the VM down since the first observation of the run."""
        self.vm(name, hyperv_state=HyperVState.OFF, vmm_status="PowerOff")
        return self.move(name, run, power="down")

    def baseline(
        self,
        name: str = "web01",
        run: int = 1,
        network: Network | None = None,
        age: float = 60.0,
    ) -> Scene:
        """Set the age of the saved network."""
        read = Reading(f"id-{name}", fqdn("hv01"), network or Network(), self.now - age)
        return self._record(name, run, baseline=read)

    def no_baseline(self, name: str = "web01", run: int = 1) -> Scene:
        return self._record(name, run, baseline=None)

    def reading(
        self, network: Network, host: str = "hv02", age: float = 1.0, name: str = "web01"
    ) -> Scene:
        """Set both halves of the network that was last read, VMM's after a re-read of the VM."""
        at = self.now - age
        read = Reading(f"id-{name}", fqdn(host), network, at, self.number(at))
        self.reread(name, age + 1)
        return self._record(name, 1, ports=read, models=read)

    def reread(self, name: str = "web01", age: float = 1.0) -> Scene:
        """Let VMM have re-read a VM, asked so many seconds ago."""
        at = self.now - age
        self.rereads[PartKind.VM, f"id-{name}"] = asked(self.number(at), at)
        return self

    def attempt(
        self,
        result: Result | None = None,
        kind: AttemptKind = AttemptKind.LIVE,
        name: str = "web01",
        run: int = 1,
        **changes: object,
    ) -> Scene:
        """Add an attempt, oldest first. With a result it ended 10 s ago, otherwise it is open."""
        self._attempts += 1
        known = Attempt(
            id=self._attempts,
            run=run,
            move=self.moves[run, name].move.id,
            vm_id=f"id-{name}",
            kind=kind,
            source=fqdn("hv01"),
            destination=fqdn("hv02"),
            begun=self.now - 100,
            not_after=self.now - 40,
            ended=None if result is None else self.now - 10,
            result=result,
        )
        for side in ("source", "destination"):
            if changes.get(side) is not None:
                changes[side] = fqdn(str(changes[side]))
        known = replace(known, **changes)
        if known.ended is not None and "closed" not in changes:
            known = replace(known, closed=self.number(known.ended))
        if "opened" not in changes and known.kind not in MIGRATIONS:
            known = replace(known, opened=self.number(known.ended or known.begun))
        before = self.moves[run, name].attempts
        return self._record(name, run, attempts=(*before, known))

    def job(self, name: str = "web01", state: str = "running", **changes: object) -> Scene:
        """Add a VMM job that moves the VM from hv01 to hv02."""
        known = Job(f"job-{name}", f"id-{name}", fqdn("hv01"), fqdn("hv02"), "running")
        for side in ("source", "target"):
            if changes.get(side) is not None:
                changes[side] = fqdn(str(changes[side]))
        self.jobs.append(replace(known, state=state, **changes))
        return self

    def approval(self, state: ApprovalState, *names: str, run: int = 1, **changes: object) -> Scene:
        """Add a question about these VMs (by default web01), asked 5 minutes ago."""
        vms = tuple(f"id-{name}" for name in names or ("web01",))
        granted = vms if state is ApprovalState.GRANTED else ()
        asked = state is ApprovalState.REQUESTED
        known = Approval(
            id=len(self.approvals) + 1,
            run=run,
            state=state,
            digest=approvals.digest(self.runs[run], vms),
            vms=vms,
            requested=self.now - 300,
            granted=granted,
            decided=None if asked else self.now - 200,
            by=None if asked else "slack:bob",
        )
        self.approvals.append(replace(known, **changes))
        return self

    def owned_by(self, run: int) -> Scene:
        self.owner = run
        return self

    def later(self, seconds: float) -> Scene:
        """Let time pass. Hosts keep answering, and fresh ones stay fresh."""
        before, self.now = self.now, self.now + seconds
        for name, host in self.hosts.items():
            seen = self.now if host.seen_at == before else host.seen_at
            fresh = self.now if host.refreshed_at == before else host.refreshed_at
            self.hosts[name] = replace(host, seen_at=seen, refreshed_at=fresh)
        return self

    def waiting(self, wait: object, for_: float, name: str = "web01", run: int = 1) -> Scene:
        """Let the VM wait for this reason since this many seconds ago."""
        return self.move(name, run, wait=wait, wait_since=self.now - for_)

    def _record(self, name: str, run: int, **changes: object) -> Scene:
        self.moves[run, name] = replace(self.moves[run, name], **changes)
        return self

    # --- asking the policy ------------------------------------------------------------------

    def fleet(self) -> Fleet:
        fleet = Fleet(
            vmm="vmm01",
            at=self.now,
            server_time=self.now + self.skew,
            hosts=tuple(self.hosts.values()),
            vms=tuple(self.vms.values()),
            jobs=tuple(self.jobs),
            over={job: JOBS for job in self._asked_jobs() if job not in self.unread},
            unread=self.unread,
        )
        known = fresh(replace(fleet, idle=self._idle(fleet)))
        gone = {a.vm_id for a in self._open_attempts()} - {vm.id for vm in self.vms.values()}
        absent = LastWord(HOSTS, self.now, Says.ABSENT, self.now, self.now)
        none = {
            (host.name, vm): absent for host in self.hosts.values() if host.seen_at for vm in gone
        }
        known = replace(known, words={**known.words, **none})
        return self.asked(replace(known, ages={**known.ages, **self.rereads}))

    def _idle(self, fleet: Fleet) -> dict[int, int]:
        """Open attempts past their look-ups whose VM no running job moves."""
        options = {number: run.options for number, run in self.runs.items()}
        return {
            a.id: JOBS
            for a in self._open_attempts()
            if not fleet.running_jobs(a.vm_id)
            and is_overdue(fleet, a, self.now, options.get(a.run, Options()), self.rules)
        }

    def _open_attempts(self) -> list[Attempt]:
        found = [a for m in self.moves.values() for a in m.attempts if a.open]
        return found + [a for a in self.facts.lost if a.open]

    def _heard(self, attempt: Attempt) -> Attempt:
        """The attempt as both hosts were heard of it 40 s ago, in the same state, unless this is
        the first time that they are heard."""
        if not attempt.open or attempt.kind not in MIGRATIONS or self.is_first_word:
            return attempt
        fleet = self.fleet()
        at = self.now - 40
        words = {
            key: replace(w, asked=w.asked - 1, asked_at=at, answered_at=at, clock=at)
            for key, w in fleet.words.items()
        }
        return arrival.hear(attempt, replace(fleet, words=words))

    def _asked_jobs(self) -> set[str]:
        """Jobs of open attempts that do not run: VMM was asked for them by their ids."""
        running = {job.id for job in self.jobs if job.state == "running"}
        return {a.job for a in self._open_attempts() if a.job is not None} - running

    def number(self, at: float) -> int:
        """Number of a call at this time: later calls have higher ones, up to 90 for now."""
        return max(1, 90 - round(self.now - at))

    def record(self, run: int = 1) -> RunRecord:
        return RunRecord(
            self.runs[run],
            tuple(self._entry(run, name) for (number, name) in self.moves if number == run),
            tuple(a for a in self.approvals if a.run == run),
        )

    def _entry(self, run: int, name: str) -> MoveRecord:
        entry = self.moves[run, name]
        return replace(entry, attempts=tuple(map(self._heard, entry.attempts)))

    def view(self, name: str = "web01", run: int = 1) -> View:
        fleet, entry = self.fleet(), self._entry(run, name)
        heard = (arrival.hear(a, fleet) if a is entry.open_migration else a for a in entry.attempts)
        return View(
            self.runs[run],
            replace(entry, attempts=tuple(heard)),
            tuple(a for a in self.approvals if a.run == run),
            fleet,
            self.rules,
            self.now,
            self.owner,
            facts=self.facts,
            breakers=breakers([self.record(n) for n in self.runs], self.now, self.rules),
        )

    def pending(self) -> Verdict:
        return eligibility.pending(self.view())

    def moving(self) -> Verdict:
        return moving.moving(self.view())

    def restoring(self) -> Verdict:
        return restoring.restoring(self.view())

    def plan(self) -> Plan:
        return plan(
            [self.record(number) for number in self.runs],
            self.fleet(),
            self.now,
            self.rules,
            replace(self.facts, lost=tuple(map(self._heard, self.facts.lost))),
        )

    def steps(self, kind: type, name: str | None = None) -> list:
        """The planned steps of this kind; of this VM, if named."""
        found = [step for step in self.plan().steps if isinstance(step, kind)]
        return found if name is None else [step for step in found if step.move.vm == name]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def new_scene() -> Callable[[], Scene]:
    """A factory for tests that compare several scenes."""
    return Scene


def _told(verdict: Verdict) -> str:
    step = verdict.step
    if verdict.ready is not None:
        return f"starts {verdict.ready}"
    if isinstance(step, Hold):
        return f"waits {step.wait}{' and asks' if verdict.asks else ''}"
    if isinstance(step, Finish):
        return f"{step.state} {step.outcome}"
    return type(step).__name__ if step is not None else "nothing"


@pytest.fixture
def told() -> Callable[[Verdict], str]:
    """The verdict of a ladder in short: ``waits SLOT``, ``failed STUCK``, ``Dismiss``."""
    return _told


@pytest.fixture
def look_under_way(scene: Scene) -> Callable[[PartKind, str, float], OpenCall]:
    """A factory of looks that began so many seconds ago and have no answer."""

    def make(kind: PartKind, name: str, seconds: float) -> OpenCall:
        begun = scene.now - seconds
        return OpenCall(7, CallKind(str(kind)), (name,), (), (), 1, begun, begun + 60)

    return make
