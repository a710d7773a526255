"""What to do now, for all runs of one VMM server: ``plan(runs, fleet, now) -> Plan``.

Pure: the same rows and the same observation give the same steps, after a crash too. How it
works: every move climbs its own ladder; those that are ready compete for slots across runs,
the busiest host's longest first; questions, adoptions and endings are decided per run. Restores
come before starts. A plan never starts what this very observation does not show a free slot for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from engine.model import (
    MIGRATIONS,
    AttemptKind,
    Fleet,
    Move,
    MoveRecord,
    MoveState,
    RunRecord,
    RunState,
    Vm,
    Wait,
    same_host,
)
from engine.policy import approval, eligibility, ending, estimate, ladder, network, ordering, slots
from engine.policy.ladder import Verdict, View
from engine.policy.steps import (
    Adopt,
    Arrive,
    Ask,
    Finish,
    Plan,
    ReadNetworks,
    SaveBaselines,
    SeePower,
    Start,
    Step,
)
from engine.policy.waits import Rules

LIVING = frozenset({RunState.ACTIVE, RunState.PAUSED, RunState.STOPPING})


@dataclass
class Draft:
    """A plan in the making: steps so far, hosts to re-read, the earliest time to look again."""

    steps: list[Step] = field(default_factory=list)
    refresh: set[str] = field(default_factory=set)
    due: float | None = None

    def add(self, verdict: Verdict) -> None:
        """Take over what a ladder said."""
        if verdict.step is not None:
            self.steps.append(verdict.step)
        self.refresh.update(verdict.refresh)
        self.look_at(verdict.due)

    def look_at(self, at: float | None) -> None:
        """The plan comes out differently at ``at``, if nothing changes before."""
        if at is not None:
            self.due = at if self.due is None else min(self.due, at)


def plan(runs: Sequence[RunRecord], fleet: Fleet, now: float, rules: Rules) -> Plan:
    """Everything to write and to call now, in order. Moves of runs that are scheduled or over
    are left alone."""
    living = [record for record in runs if record.run.state in LIVING]
    draft = Draft()
    owners = _owners(living)
    ready: list[tuple[View, AttemptKind]] = []
    for record in living:
        ready.extend(_climb(record, fleet, now, rules, owners, draft))
    draft.steps = _in_bulk(draft.steps)
    _start(living, ready, fleet, rules, draft)
    for record in living:
        settled = ending.judge(record, fleet, now, rules, draft.steps)
        draft.steps.extend(settled.steps)
        draft.refresh.update(settled.refresh)
        draft.look_at(settled.due)
    return Plan(tuple(draft.steps), tuple(sorted(draft.refresh)), draft.due)


def _owners(living: Sequence[RunRecord]) -> dict[str, int]:
    """A VM belongs to the first unfinished run that has it."""
    owners: dict[str, int] = {}
    for record in sorted(living, key=lambda r: r.run.id):
        for entry in record.moves:
            if not entry.move.over:
                owners.setdefault(entry.move.vm_id, record.run.id)
    return owners


def _climb(
    record: RunRecord,
    fleet: Fleet,
    now: float,
    rules: Rules,
    owners: dict[str, int],
    draft: Draft,
) -> list[tuple[View, AttemptKind]]:
    """Every move of one run up its ladder; the ready ones are handed back."""
    draft.steps.extend(_adopt(record, fleet))
    ready: list[tuple[View, AttemptKind]] = []
    asked: list[str] = []
    for entry in record.moves:
        if entry.move.over:
            continue
        seen = _see_power(entry, fleet, rules, now, draft)
        view = View(
            record.run, seen, record.approvals, fleet, rules, now, owners.get(entry.move.vm_id)
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


# --- starts: across moves and runs ----------------------------------------------------------


@dataclass
class _Counts:
    """How many moves of each run are in flight, for its own limit."""

    by_run: dict[int, int]

    def full(self, view: View) -> bool:
        limit = view.run.options.parallel
        return limit > 0 and self.by_run.get(view.run.id, 0) >= limit

    def take(self, view: View) -> None:
        self.by_run[view.run.id] = self.by_run.get(view.run.id, 0) + 1


def _start(
    living: Sequence[RunRecord],
    ready: list[tuple[View, AttemptKind]],
    fleet: Fleet,
    rules: Rules,
    draft: Draft,
) -> None:
    """Hand out slots: each ready move in order starts, has its network saved first, or waits."""
    # What this observation shows to be over no longer holds a slot.
    landed = {s.move.id for s in draft.steps if isinstance(s, Arrive | Finish)}
    flying = [
        m.open_migration
        for r in living
        for m in r.moves
        if m.open_migration and m.move.id not in landed
    ]
    ledger = slots.ledger(fleet, flying)
    counts = _Counts(Counter(attempt.run for attempt in flying))
    records = [entry for record in living for entry in record.moves]
    mb_per_s = estimate.rate(records, rules.mb_per_s)
    load = ordering.loads(_unfinished(living), ledger, mb_per_s)
    views = {view.move.id: (view, kind) for view, kind in ready}
    choices = {view.move.id: eligibility.usable(view) for view, _ in ready}
    order = ordering.first_to_last(
        [(view.move, choices[view.move.id]) for view, _ in ready], load, mb_per_s
    )
    running_at = {_here(view) for view, kind in ready if kind is AttemptKind.LIVE}
    unsaved: dict[str, list[Move]] = {}
    turns: dict[str, int] = {}
    for move in order:
        view, kind = views[move.id]
        source = _here(view)
        if kind is AttemptKind.COLD and source in running_at:
            draft.add(ladder.hold(view, Wait.RUNNING_FIRST, "running VMs of its host go first"))
            continue
        turns[source] = turns.get(source, 0) + 1
        fresh = _has_fresh_baseline(view, rules)
        host = fleet.host(source)
        if not fresh and host is not None and turns[source] <= 2 * max(1, ledger.limit(host)):
            verdict = _save_first(view)
            if verdict is not None:
                draft.add(verdict)
                continue
            unsaved.setdefault(source, []).append(move)
        if not fresh:
            # It holds its place in the order: a later move must not take the slot it waits for.
            _reserve(view, choices[move.id], ledger, load, counts, draft)
            continue
        _begin(view, kind, choices[move.id], ledger, load, counts, draft)
    for name, moves in unsaved.items():
        draft.steps.append(SaveBaselines(name, tuple(moves)))


def _here(view: View) -> str:
    """The host that the VM is on: its source, or another source of the run."""
    vm = view.vm
    return vm.seen_on[0] if vm is not None and vm.seen_on else view.move.source


def _unfinished(living: Sequence[RunRecord]) -> list[tuple[Move, Sequence[str]]]:
    return [
        (
            entry.move,
            (entry.move.destination,) if entry.move.destination else record.run.destinations,
        )
        for record in living
        for entry in record.moves
        if entry.move.state in (MoveState.PENDING, MoveState.MOVING)
    ]


def _has_fresh_baseline(view: View, rules: Rules) -> bool:
    """Saved at most ten minutes ago, or frozen by the first start."""
    saved = view.record.baseline
    if saved is None:
        return False
    return bool(view.record.of(*MIGRATIONS)) or view.now - saved.taken <= rules.baseline_age


def _save_first(view: View) -> Verdict | None:
    """May its network be read now? ``None``: yes; else the wait or the end."""
    tries = view.record.of(AttemptKind.BASELINE)
    bad = [a for a in tries if a.result is not None and a.result.value != "ok"]
    if not bad:
        return None
    last = bad[-1]
    charged = [a for a in bad if a.charged]
    if len(charged) >= view.run.options.attempts:
        return ending.unreadable(view.move, last.error)
    again = (last.ended or view.now) + 3 * view.rules.tick
    if again <= view.now:
        return None
    return ladder.hold(view, Wait.BACKOFF, f"its network could not be saved: {last.error}", again)


def _reserve(
    view: View,
    choices: Sequence[str],
    ledger: slots.Slots,
    load: Mapping[str, float],
    counts: _Counts,
    draft: Draft,
) -> None:
    """Keep the slot of a move whose network is being saved; say so if there is none."""
    target = ordering.best_destination(choices, ledger, load)
    source = _here(view)
    if counts.full(view) or target is None or ledger.free(source) < 1:
        draft.add(_no_slot(view, choices, ledger, counts))
        return
    ledger.take(view.move.vm_id, view.move.vm, source, target)
    counts.take(view)


def _begin(
    view: View,
    kind: AttemptKind,
    choices: Sequence[str],
    ledger: slots.Slots,
    load: Mapping[str, float],
    counts: _Counts,
    draft: Draft,
) -> None:
    """Start it to the destination that is free, or wait for a slot."""
    source = _here(view)
    target = ordering.best_destination(choices, ledger, load)
    saved = view.record.baseline
    if target is None or saved is None or counts.full(view):
        draft.add(_no_slot(view, choices, ledger, counts))
        return
    if not ledger.take(view.move.vm_id, view.move.vm, source, target):
        draft.add(_no_slot(view, choices, ledger, counts))
        return
    counts.take(view)
    draft.steps.append(
        Start(
            move=view.move,
            kind=kind,
            source=source,
            destination=target,
            path=view.run.options.path,
            pin=network.pinned(saved.network) if kind is AttemptKind.COLD else None,
            not_after=view.fleet.server_time + view.rules.start_window,
        )
    )


def _no_slot(view: View, choices: Sequence[str], ledger: slots.Slots, counts: _Counts) -> Verdict:
    """Which limit it waits for, with its holders."""
    if counts.full(view):
        limit = view.run.options.parallel
        return ladder.hold(view, Wait.SLOT, f"{limit} of {limit} moves that the request allows")
    source = _here(view)
    if ledger.free(source) < 1:
        return ladder.hold(view, Wait.SLOT, ledger.says(source))
    return ladder.hold(view, Wait.SLOT, "; ".join(ledger.says(d) for d in choices))
