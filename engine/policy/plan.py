"""What to do now, for all runs of one VMM server: ``plan(runs, fleet, now) -> Plan``.

Pure: the same rows and the same observation give the same steps, after a crash too. How it
works: every move climbs its own ladder; those that are ready compete for slots across runs,
the busiest host's longest first; questions, adoptions and endings are decided per run. Restores
come before starts. A plan never starts what this very observation does not show a free slot for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.model import (
    Attempt,
    Doubt,
    Fleet,
    Move,
    MoveRecord,
    MoveState,
    RunRecord,
    RunState,
    Vm,
    same_host,
)
from engine.policy import approval, eligibility, ending, ladder, outcome
from engine.policy.draft import Draft
from engine.policy.ladder import Verdict, View
from engine.policy.starts import Ready, hand_out
from engine.policy.steps import Adopt, Ask, Finish, LetGo, Plan, ReadNetworks, SeePower, Step
from engine.policy.waits import Rules

LIVING = frozenset({RunState.ACTIVE, RunState.PAUSED, RunState.STOPPING})


def plan(
    runs: Sequence[RunRecord],
    fleet: Fleet,
    now: float,
    rules: Rules,
    lost: Sequence[Attempt] = (),
    unknown: Sequence[Doubt] = (),
) -> Plan:
    """Everything to write and to call now, in order. Moves of runs that are scheduled or over
    are left alone. ``lost``: open LIVE and COLD attempts of moves that have ended; ``unknown``:
    VMs whose last move ended so."""
    living = [record for record in runs if record.run.state in LIVING]
    doubts = [a for a in lost if outcome.is_in_doubt(a, fleet)]
    draft = Draft(steps=[LetGo(a) for a in lost if a not in doubts])
    doubted = {a.vm_id: a.run for a in doubts}
    doubted |= {d.vm_id: d.run for d in unknown if outcome.is_hidden(d, fleet)}
    owners = _owners(living)
    ready: list[Ready] = []
    for record in living:
        climbed = _climb(record, fleet, now, rules, owners, doubted, draft)
        ready.extend(climbed if not _is_failing(record, draft) else ())
    draft.steps = _in_bulk(draft.steps)
    hand_out(living, ready, fleet, rules, doubts, draft)
    for record in living:
        settled = ending.judge(record, fleet, now, rules, draft.steps)
        draft.steps.extend(settled.steps)
        draft.refresh.update(settled.refresh)
        draft.look_at(settled.due)
    return Plan(tuple(draft.steps), tuple(sorted(draft.refresh)), draft.due)


def _is_failing(record: RunRecord, draft: Draft) -> bool:
    """Does the request want nothing more started, because of what failed before or just now?"""
    if not record.run.options.stop_on_failure:
        return False
    ids = {entry.move.id for entry in record.moves}
    ends = [s.state for s in draft.steps if isinstance(s, Finish) and s.move.id in ids]
    return bool(ending.BAD & {*ends, *(entry.move.state for entry in record.moves)})


def _owners(living: Sequence[RunRecord]) -> dict[str, int]:
    """A VM belongs to the run that has it in flight, else to the first unfinished run."""
    owners: dict[str, int] = {}
    in_order = sorted(living, key=lambda r: r.run.id)
    for states in ((MoveState.MOVING, MoveState.RESTORING), (MoveState.PENDING,)):
        for record in in_order:
            for entry in record.moves:
                if entry.move.state in states:
                    owners.setdefault(entry.move.vm_id, record.run.id)
    return owners


def _climb(
    record: RunRecord,
    fleet: Fleet,
    now: float,
    rules: Rules,
    owners: dict[str, int],
    doubted: Mapping[str, int],
    draft: Draft,
) -> list[Ready]:
    """Every move of one run up its ladder; the ready ones are handed back."""
    draft.steps.extend(_adopt(record, fleet))
    ready: list[Ready] = []
    asked: list[str] = []
    for entry in record.moves:
        if entry.move.over:
            continue
        seen = _see_power(entry, fleet, rules, now, draft)
        vm_id = entry.move.vm_id
        view = View(
            run=record.run,
            record=seen,
            approvals=record.approvals,
            fleet=fleet,
            rules=rules,
            now=now,
            owner=owners.get(vm_id),
            doubted_by=doubted.get(vm_id),
        )
        verdict = _ladder(view)
        draft.add(verdict)
        if verdict.ready is not None:
            ready.append((view, verdict.ready))
        if verdict.asks:
            asked.append(entry.move.vm_id)
    if asked and record.run.state is RunState.ACTIVE:
        draft.steps.append(Ask(record.run.id, tuple(asked), approval.digest(record.run, asked)))
    return ready


def _ladder(view: View) -> Verdict:
    if view.move.state is MoveState.MOVING:
        return ladder.moving(view)
    if view.move.state is MoveState.RESTORING:
        return ladder.restoring(view)
    return eligibility.pending(view)


def _adopt(record: RunRecord, fleet: Fleet) -> list[Step]:
    """VMs that appeared on a source of an active host run since it began."""
    run = record.run
    if run.kind != "host" or run.state is not RunState.ACTIVE:
        return []
    known = {entry.move.vm_id for entry in record.moves}
    steps: list[Step] = []
    for vm in fleet.vms:
        source = _source_of(vm, run.sources)
        if source is not None and vm.id not in known and not vm.stored:
            steps.append(Adopt(run.id, vm, source))
    return steps


def _source_of(vm: Vm, sources: Sequence[str]) -> str | None:
    """The source that Hyper-V shows this VM on, alone; what only VMM says may be stale."""
    if len(vm.seen_on) != 1:
        return None
    return next((s for s in sources if same_host(s, vm.seen_on[0])), None)


def _see_power(
    entry: MoveRecord, fleet: Fleet, rules: Rules, now: float, draft: Draft
) -> MoveRecord:
    """Note the first look at a VM's power and every change since, and go on with it."""
    move, vm = entry.move, fleet.vm(entry.move.vm_id)
    if move.state is not MoveState.PENDING or vm is None or vm.hyperv_state is None:
        return entry
    power, since = move.power, move.down_since
    if not vm.down:
        if vm.hyperv_state.value == "Running":
            power, since = "running", None
    elif power is None:
        power = "down"
    elif power == "running":
        since = since if since is not None else now
        if now - since >= rules.down_after:
            power = "down"
    if (power, since) == (move.power, move.down_since) or power is None:
        return entry
    draft.steps.append(SeePower(move, power, since))
    return replace(entry, move=replace(move, power=power, down_since=since))


def _in_bulk(steps: list[Step]) -> list[Step]:
    """One reading of networks per host instead of one per VM."""
    together: dict[str, list[Move]] = {}
    for step in steps:
        if isinstance(step, ReadNetworks):
            together.setdefault(step.host, []).extend(step.moves)
    rest = [step for step in steps if not isinstance(step, ReadNetworks)]
    return rest + [ReadNetworks(host, tuple(moves)) for host, moves in together.items()]
