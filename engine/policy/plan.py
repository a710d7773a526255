"""Planner for all runs of one VMM server: ``plan(runs, fleet, now) -> Plan``.

Pure: the same rows and the same observation give the same steps, after a crash too. Every move
climbs its own ladder. Ready moves of all runs compete for slots: the longest move at the busiest
host goes first. Questions, adoptions and endings are decided per run. Restores come before starts.
A plan starts a move only if this very observation shows a free slot for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.language.sentence import HostName, say
from engine.model import (
    HYPERV,
    Attempt,
    Fleet,
    Look,
    Move,
    MoveRecord,
    MoveState,
    PartKind,
    RunRecord,
    RunState,
    Wait,
    same_host,
)
from engine.policy.approvals import approval
from engine.policy.facts import Breakers, Facts
from engine.policy.judging import arrival
from engine.policy.ladders import moving, pending, restoring
from engine.policy.looking import look_at_jobs
from engine.policy.plan_builder import PlanBuilder
from engine.policy.runs import ending, gap
from engine.policy.runs.adoption import newcomers
from engine.policy.starts.breakers import breakers
from engine.policy.starts.starts import Ready, assign_slots
from engine.policy.steps import (
    Adopt,
    Arrive,
    Ask,
    CheckRights,
    Expire,
    Finish,
    Hear,
    LetGo,
    Plan,
    PutPorts,
    ReadModels,
    ReadPorts,
    SeePower,
    SetRunState,
    Step,
    Unhold,
)
from engine.policy.verdict import Verdict, View, hold, tell_delay
from engine.policy.waits import Rules

LIVING = frozenset({RunState.ACTIVE, RunState.PAUSED, RunState.STOPPING})


def plan(
    runs: Sequence[RunRecord], fleet: Fleet, now: float, rules: Rules, facts: Facts | None = None
) -> Plan:
    """Plan all writes and calls due now, in order. A run that has not begun gets none; a run
    that is over only ``LetGo``, for starts that can no longer begin."""
    facts = facts or Facts()
    lively = [record for record in runs if record.run.state in LIVING]
    living, steps = gap.resume_after_gap(lively, fleet, now, rules, facts)
    living, heard = _hear_all(living, fleet)
    lost = [arrival.hear(attempt, fleet) for attempt in facts.lost]
    heard += [a for a, old in zip(lost, facts.lost, strict=True) if a != old]
    doubts = [a for a in lost if arrival.is_in_doubt(a, fleet)]
    steps = [*steps, *map(Hear, heard), *(LetGo(a) for a in lost if a not in doubts)]
    builder = PlanBuilder(fleet, rules, now, steps)
    doubted = {a.vm_id: a.run for a in doubts} | {d.vm_id: d.run for d in facts.unknown}
    owners = _owners(living)
    broken: dict[float, Breakers] = {}
    ready: list[Ready] = []
    for record in living:
        since = record.run.resumed or 0.0
        if since not in broken:
            broken[since] = breakers(living, now, rules, since)
        ground = _Ground(fleet, now, rules, facts, broken[since], owners, doubted)
        climbed = _climb(record, ground, builder)
        if _goes_on(record, climbed, builder):
            ready.extend(climbed)
    builder.steps = _in_bulk(builder.steps)
    builder.steps.extend(_check_rights(living, fleet, now, rules, facts))
    assign_slots(living, ready, fleet, rules, doubts, builder)
    for record in living:
        settled = ending.judge(record, fleet, now, rules, builder.steps)
        builder.steps.extend(settled.steps)
        builder.ask(settled.looks, record.run.options)
        builder.plan_by(settled.due)
    builder.steps = _without_ended(builder.steps)
    return Plan(tuple(builder.steps), _together(builder, living, facts), builder.due)


def _hear_all(living: Sequence[RunRecord], fleet: Fleet) -> tuple[list[RunRecord], list[Attempt]]:
    """Return the runs with what the hosts have said of their moves in flight, and the attempts
    that changed by it."""
    found: list[RunRecord] = []
    changed: list[Attempt] = []
    for record in living:
        new = {e.move.id: arrival.hear(a, fleet) for e in record.moves if (a := e.open_migration)}
        moves = tuple(_with_attempt(e, new.get(e.move.id)) for e in record.moves)
        news = (m.open_migration for m, e in zip(moves, record.moves, strict=True) if m is not e)
        changed += filter(None, news)
        found.append(replace(record, moves=moves))
    return found, changed


def _without_ended(steps: Sequence[Step]) -> list[Step]:
    """Drop what was heard of attempts that end in this plan: nobody reads it any more."""
    over = {s.move.id for s in steps if isinstance(s, Arrive | Finish) and s.ends is not None}
    over |= {s.attempt.move for s in steps if isinstance(s, LetGo)}
    return [s for s in steps if not (isinstance(s, Hear) and s.attempt.move in over)]


def _with_attempt(entry: MoveRecord, attempt: Attempt | None) -> MoveRecord:
    if attempt is None or attempt in entry.attempts:
        return entry
    attempts = (attempt if a.id == attempt.id else a for a in entry.attempts)
    return replace(entry, attempts=tuple(attempts))


def plan_without_vmm(
    runs: Sequence[RunRecord], fleet: Fleet, now: float, rules: Rules, facts: Facts
) -> Plan:
    """Plan what needs no answer of VMM while it gives none: Hyper-V's half of the networks of VMs
    that have arrived, and the damage found there. ``fleet`` is what is known from before."""
    builder = PlanBuilder(fleet, rules, now)
    for record in runs:
        ground = _Ground(fleet, now, rules, facts, Breakers(), {}, {})
        for entry in record.moves if record.run.state in LIVING else ():
            if entry.move.state is MoveState.RESTORING:
                view = _view(record, entry, ground)
                verdict = _await_call(view) or restoring.restoring(view)
                if _needs_no_vmm(verdict.step):
                    builder.add(verdict, record.run.options)
    looks = tuple(look for look in builder.looks if look.kind in HYPERV)
    return Plan(tuple(_in_bulk(builder.steps)), looks, builder.due)


def _needs_no_vmm(step: Step | None) -> bool:
    if isinstance(step, Finish):
        return step.state is MoveState.DAMAGED
    return isinstance(step, ReadPorts | PutPorts)


def _view(record: RunRecord, entry: MoveRecord, ground: _Ground) -> View:
    vm_id = entry.move.vm_id
    return View(
        run=record.run,
        record=entry,
        approvals=record.approvals,
        fleet=ground.fleet,
        rules=ground.rules,
        now=ground.now,
        owner=ground.owners.get(vm_id),
        doubted_by=ground.doubted.get(vm_id),
        facts=ground.facts,
        breakers=ground.breakers,
        known=ground.known,
    )


def _check_rights(
    living: Sequence[RunRecord], fleet: Fleet, now: float, rules: Rules, facts: Facts
) -> list[Step]:
    """Check our rights to extended ACLs on each answering host of an active run with pending moves.
    If a check gave no result, it is repeated three ticks later."""
    wanted: dict[str, Step] = {}
    for record in living:
        moves = [entry.move for entry in record.moves if entry.move.state is MoveState.PENDING]
        if record.run.state is not RunState.ACTIVE or not moves:
            continue
        hosts = (*(m.source for m in moves), *record.run.sources, *record.run.destinations)
        for name in dict.fromkeys(hosts):
            host, found = fleet.host(name), facts.rights_on(name, record.run)
            asked = found is not None and (found.ok is not None or now - found.at < 3 * rules.tick)
            if host is not None and fleet.answers(name) and not asked:
                wanted.setdefault(host.name, CheckRights(host.name))
    return list(wanted.values())


@dataclass(frozen=True)
class _Ground:
    """Facts by which all moves of one run are judged."""

    fleet: Fleet
    now: float
    rules: Rules
    facts: Facts
    breakers: Breakers
    owners: Mapping[str, int]
    doubted: Mapping[str, int]
    known: dict[object, Any] = field(default_factory=dict)


def _goes_on(record: RunRecord, ready: Sequence[Ready], builder: PlanBuilder) -> bool:
    """Tell whether the ready moves of this run may start. They may not after a failure with
    ``stop-on-failure``, nor if this plan pauses the run because every way is given up."""
    run = record.run
    if _is_failing(record, builder):
        return False
    flying = any(entry.move.state is MoveState.MOVING for entry in record.moves)
    why = builder.given_up.get(run.id)
    if why and not ready and not flying and run.state is RunState.ACTIVE:
        text = say("{} is paused: {}. Fix the cause.", run.label, why)
        builder.steps.append(SetRunState(run.id, RunState.PAUSED, text))
        return False
    return True


def _is_failing(record: RunRecord, builder: PlanBuilder) -> bool:
    """Tell whether the request forbids further starts after a failure, before or in this plan."""
    if not record.run.options.stop_on_failure:
        return False
    ids = {entry.move.id for entry in record.moves}
    ends = [s.state for s in builder.steps if isinstance(s, Finish) and s.move.id in ids]
    return bool(ending.BAD & {*ends, *(entry.move.state for entry in record.moves)})


def _owners(living: Sequence[RunRecord]) -> dict[str, int]:
    """Owning run by VM id: the run with the VM in flight, else the oldest with it pending."""
    owners: dict[str, int] = {}
    in_order = sorted(living, key=lambda r: r.run.id)
    for states in ((MoveState.MOVING, MoveState.RESTORING), (MoveState.PENDING,)):
        for record in in_order:
            for entry in record.moves:
                if entry.move.state in states:
                    owners.setdefault(entry.move.vm_id, record.run.id)
    return owners


def _climb(record: RunRecord, ground: _Ground, builder: PlanBuilder) -> list[Ready]:
    """Send every unfinished move of one run up its ladder, and return the ready ones."""
    run, fleet, rules, now = record.run, ground.fleet, ground.rules, ground.now
    builder.steps.extend(_adopt(record, fleet))
    for old in approval.outlived(record.approvals, rules, now):
        builder.steps.append(Expire(old.id, "a grant lasts a day at most"))
    ready: list[Ready] = []
    asked: list[str] = []
    for entry in record.moves:
        if entry.move.over:
            continue
        vm_id = entry.move.vm_id
        view = _view(record, _see_power(entry, fleet, rules, now, builder), ground)
        verdict = _await_call(view) or _ladder(view)
        builder.add(verdict, run.options)
        if verdict.pauses:
            builder.given_up[run.id] = verdict.pauses
        if verdict.ready is not None:
            ready.append((view, verdict.ready))
        if verdict.asks or _wants_renewal(view):
            asked.append(vm_id)
    if asked and run.state is RunState.ACTIVE:
        builder.steps.append(Ask(run.id, tuple(asked), approval.digest(run, asked)))
    return ready


def _await_call(view: View) -> Verdict | None:
    """Wait for the answer of a call that changes this VM. Nothing else is decided about it, except
    that a start is watched: it may have happened whatever its call says."""
    call = view.facts.call_about(view.move.id)
    if call is None or view.move.state is MoveState.MOVING:
        return None
    if view.now - call.begun < 3 * view.rules.tick:
        return Verdict(due=call.begun + 3 * view.rules.tick)
    who = HostName(call.server) if call.server else "VMM"
    held = hold(view, Wait.HOST_DOWN, say("{} does not answer a call about it", who))
    return replace(held, due=call.deadline)


def _wants_renewal(view: View) -> bool:
    """Tell whether the grant of a waiting VM ends soon. Renewal is requested early, so that the
    run does not stand still at night."""
    move = view.move
    if move.state is not MoveState.PENDING or move.power != "down":
        return False
    if approval.may_ask_at(view.approvals, view.rules) > view.now:
        return False
    since = move.retried or 0.0
    return approval.is_running_out(move.vm_id, view.approvals, view.rules, view.now, since)


def _ladder(view: View) -> Verdict:
    if view.move.state is MoveState.MOVING:
        verdict = tell_delay(view, moving.moving(view))
        # While answers are awaited nothing is known anew: a wait goes on, and so does its limit.
        is_news = verdict.step is None and not (verdict.looks or verdict.awaits)
        if is_news and view.move.wait is not None:
            return replace(verdict, step=Unhold(view.move))
        return verdict
    if view.move.state is MoveState.RESTORING:
        return tell_delay(view, restoring.restoring(view))
    return tell_delay(view, pending.pending(view))


def _adopt(record: RunRecord, fleet: Fleet) -> list[Step]:
    """Adopt VMs that appeared on a source of an active host run."""
    if record.run.state is not RunState.ACTIVE:
        return []
    return [Adopt(record.run.id, vm, source) for vm, source in newcomers(record, fleet)]


def _see_power(
    entry: MoveRecord, fleet: Fleet, rules: Rules, now: float, builder: PlanBuilder
) -> MoveRecord:
    """Record the first power state of a pending VM and every change; return the updated move."""
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
    builder.steps.append(SeePower(move, power, since))
    return replace(entry, move=replace(move, power=power, down_since=since))


def _together(builder: PlanBuilder, living: Sequence[RunRecord], facts: Facts) -> tuple[Look, ...]:
    """Merge the pulses of each host, and let them ask for all VMs in flight there. The list of
    jobs asks for all jobs of ours by id."""
    looks, vms = builder.looks, dict[str, dict[str, None]]()
    for look in looks:
        if look.kind is PartKind.PULSE:
            vms.setdefault(look.name, {}).update(dict.fromkeys(look.ids))
    flying = [m.open_migration for record in living for m in record.moves if m.open_migration]
    for attempt in flying:
        for host in vms:
            if same_host(host, attempt.source) or same_host(host, attempt.destination):
                vms[host][attempt.vm_id] = None
    pulses = (Look(PartKind.PULSE, host, tuple(ids)) for host, ids in vms.items())
    jobs = look_at_jobs(living, facts, builder.fleet, builder.now, builder.rules)
    rest = (look for look in looks if look.kind is not PartKind.PULSE)
    named = (jobs if look.kind is PartKind.JOBS else look for look in rest)
    return (*dict.fromkeys(named), *pulses)


def _in_bulk(steps: list[Step]) -> list[Step]:
    """Merge the readings of networks: one call per half and host instead of one per VM."""
    together: dict[tuple[type[ReadPorts | ReadModels], str], list[Move]] = {}
    for step in steps:
        if isinstance(step, ReadPorts | ReadModels):
            together.setdefault((type(step), step.host), []).extend(step.moves)
    rest = [step for step in steps if not isinstance(step, ReadPorts | ReadModels)]
    return rest + [read(host, tuple(moves)) for (read, host), moves in together.items()]
