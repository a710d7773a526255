"""Starts: ready moves of all runs compete for slots, in one order.

Each ready move starts, has its network saved first, or waits. Running VMs come before powered-down
ones, and the longest move at the busiest host comes first. A move whose network is being saved
keeps its slot in the plan, so that no later move takes it. A move starts only if this very
observation shows a free slot for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.language.sentence import Quote, say
from engine.model import (
    CHARGED,
    MIGRATIONS,
    Attempt,
    AttemptKind,
    Fleet,
    Move,
    MoveOrder,
    MoveState,
    Outcome,
    Result,
    RunRecord,
    Wait,
)
from engine.policy.judging import network
from engine.policy.plan_builder import PlanBuilder
from engine.policy.starts import capacity, delays, destinations, estimate, ordering, slots
from engine.policy.starts.capacity import Capacity, Load
from engine.policy.starts.destinations import Gate
from engine.policy.steps import Arrive, Finish, SaveBaselines, Start
from engine.policy.verdict import Verdict, View, ended, hold, quote
from engine.policy.waits import Rules

Ready = tuple[View, AttemptKind]
_TOLERANCE = 1.0
"""Seconds by which VMM's clock may have fallen behind since it was last read."""


def assign_slots(
    living: Sequence[RunRecord],
    ready: Sequence[Ready],
    fleet: Fleet,
    rules: Rules,
    doubts: Sequence[Attempt],
    builder: PlanBuilder,
) -> None:
    """Add a start, a saving of the network, a wait or an end for every ready move to the plan.
    ``doubts``: open attempts of moves that have ended, which may still run and keep their slots."""
    landed = _landed(builder)
    flying = _flying(living, landed)
    records = [entry for record in living for entry in record.moves]
    mb_per_s = estimate.rate(records, rules.mb_per_s)
    ledger = slots.ledger(fleet, [*flying, *doubts])
    _Allotment(
        fleet=fleet,
        rules=rules,
        builder=builder,
        ledger=ledger,
        load=ordering.loads(_unfinished(living), ledger, mb_per_s),
        flying=Counter(attempt.run for attempt in flying),
        cold=Counter(a.run for a in flying if a.kind is AttemptKind.COLD),
        capacity=capacity.capacity_of(fleet, living, landed),
        landed=_last_landings(living),
        failed=_failed_ways(living, builder),
        damaged=destinations.damaged_now(records, fleet, builder.steps),
    ).serve(ready, mb_per_s)


def _failed_ways(living: Sequence[RunRecord], builder: PlanBuilder) -> set[tuple[str, str]]:
    """Source and destination of every attempt that this plan ends as charged."""
    failing = {
        s.move.id
        for s in builder.steps
        if isinstance(s, Arrive) and s.ends is not None and s.ends[0] in CHARGED
    }
    flying = _flying(living, landed=set()) if failing else []
    return {(a.source, a.destination) for a in flying if a.move in failing and a.destination}


def _last_landings(living: Sequence[RunRecord]) -> dict[str, float]:
    """Time at which the last LIVE or COLD attempt to each host ended, by host, case folded."""
    last: dict[str, float] = {}
    for record in living:
        for entry in record.moves:
            for attempt in entry.of(*MIGRATIONS):
                if attempt.destination and attempt.ended is not None:
                    host = attempt.destination.casefold()
                    last[host] = max(last.get(host, 0.0), attempt.ended)
    return last


def _landed(builder: PlanBuilder) -> set[int]:
    """Ids of moves whose open attempt this observation shows to be over."""
    return {
        s.move.id
        for s in builder.steps
        if isinstance(s, Arrive) or (isinstance(s, Finish) and s.ends is not None)
    }


def _flying(living: Sequence[RunRecord], landed: set[int]) -> list[Attempt]:
    """Open LIVE and COLD attempts, without those that this observation shows to be over."""
    return [
        entry.open_migration
        for record in living
        for entry in record.moves
        if entry.open_migration and entry.move.id not in landed
    ]


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


@dataclass
class _Allotment:
    """Slots of one plan while they are assigned. ``landed``: by host, when a move to it last ended.
    ``tried``: hosts with a half-open breaker to which this plan sends its one VM. ``failed``,
    ``damaged``: ways with a failed move and hosts with a damaged VM in this plan. ``unsaved``: by
    host, moves whose network is saved first. ``turns``: moves served so far, by source."""

    fleet: Fleet
    rules: Rules
    builder: PlanBuilder
    ledger: slots.Slots
    load: Mapping[str, float]
    flying: Counter[int]
    cold: Counter[int]
    capacity: Capacity
    landed: Mapping[str, float]
    failed: set[tuple[str, str]]
    damaged: set[str]
    unsaved: dict[str, list[Move]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)
    running_now: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)

    def serve(self, ready: Sequence[Ready], mb_per_s: float) -> None:
        """Serve every ready move in order, running VMs first, and plan the baselines to save."""
        views = {view.move.id: view for view, _ in ready}
        for wanted in (AttemptKind.LIVE, AttemptKind.COLD):
            group = [(view, _open(view)) for view, kind in ready if kind is wanted]
            choices = {view.move.id: gates for view, gates in group}
            moves = [(view.move, [gate.host for gate in gates]) for view, gates in group]
            for move in ordering.first_to_last(moves, self.load, mb_per_s):
                self._serve_one(views[move.id], wanted, choices[move.id])
        for name, unsaved in self.unsaved.items():
            self.builder.steps.append(SaveBaselines(name, tuple(unsaved)))

    def _serve_one(self, view: View, kind: AttemptKind, gates: Sequence[Gate]) -> None:
        source = here(view)
        if kind is AttemptKind.COLD and source in self.running_now:
            text = "running VMs of its host go first"
            self.builder.add(hold(view, Wait.RUNNING_FIRST, text), view.run.options)
            return
        chosen = self._choose(view, kind, gates)
        target = chosen if isinstance(chosen, str) else None
        self.turns[source] += 1
        if not _has_fresh_baseline(view, self.rules) and not self._save(view, target is not None):
            return
        if isinstance(chosen, Verdict):
            self.builder.add(chosen, view.run.options)
            return
        self._take(view, kind, chosen, gates)
        self._start(view, kind, chosen)

    def _take(self, view: View, kind: AttemptKind, target: str, gates: Sequence[Gate]) -> None:
        """Take the slots and the capacity of this move, so that later moves cannot use them."""
        source = here(view)
        if kind is AttemptKind.LIVE:
            self.running_now.add(source)
        else:
            self.cold[view.run.id] += 1
        self.ledger.take(view.move.vm_id, view.move.vm, source, target)
        self.capacity.take(target, self._weight(view, kind, target))
        self.flying[view.run.id] += 1
        if any(gate.host == target and gate.half_open for gate in gates):
            self.tried.add(target)

    def _start(self, view: View, kind: AttemptKind, target: str) -> None:
        """Start the move if its network is saved and our rights on both hosts are checked."""
        saved, source = view.record.baseline, here(view)
        if saved is None or not _has_fresh_baseline(view, self.rules):
            return
        if any(view.facts.rights_on(name, view.run) is None for name in (source, target)):
            return
        is_cold = kind is AttemptKind.COLD
        stale = delays.for_looks(view, source, target)
        if stale is not None:
            self.builder.add(stale, view.run.options)
            return
        order = MoveOrder(
            vm_id=view.move.vm_id,
            source=source,
            destination=target,
            path=view.run.options.path,
            power="down" if is_cold else "running",
            pin=network.pinned(saved.network) if is_cold else None,
            not_after=view.valid_until,
            not_before=view.now + view.fleet.ahead - _TOLERANCE,
        )
        self.builder.steps.append(Start(view.move, order))

    # --- destination ----------------------------------------------------------------------------

    def _choose(self, view: View, kind: AttemptKind, gates: Sequence[Gate]) -> str | Verdict:
        """Choose the destination for a start now, or return the verdict that delays it."""
        source = here(view)
        ways = [gate.host for gate in gates if gate.host.casefold() not in self.damaged]
        if not ways:
            return hold(view, Wait.DAMAGE, "a VM was damaged there just now")
        stuck = delays.for_call(view, source, ways)
        if stuck is not None:
            return stuck
        ways = delays.open_ways(view, ways)
        half_open = {gate.host for gate in gates if gate.half_open}
        untried = [h for h in ways if h not in half_open & self.tried]
        if not untried:
            return hold(view, Wait.BREAKER, "one VM is tried first, after the failures")
        untried = [h for h in untried if (source, h) not in self.failed]
        if not untried:
            return Verdict()  # the failure is judged before the next VM is sent there
        full = self._own_limit(view, kind)
        if full or self.ledger.free(source) < 1:
            says = full or self.ledger.says(source)
            return delays.for_slot(view, says, (source,), self.ledger)
        lacks = {h: self.capacity.lacks(h, self._weight(view, kind, h)) for h in untried}
        fitting = [h for h in untried if not lacks[h]]
        if not fitting:
            landed = max((self.landed.get(h.casefold(), 0.0) for h in untried), default=0.0)
            coming = not all(self.capacity.is_quiet(h) for h in untried)
            return delays.for_room(view, untried, "; ".join(lacks.values()), coming, landed)
        best = ordering.best_destination(fitting, self.ledger, self.load)
        says = "; ".join(self.ledger.says(h) for h in fitting)
        return best or delays.for_slot(view, says, fitting, self.ledger)

    def _own_limit(self, view: View, kind: AttemptKind) -> str:
        """Limit on moves at once that this run has reached, in words; empty: none."""
        limit = view.run.options.parallel
        if limit > 0 and self.flying[view.run.id] >= limit:
            return f"{limit} of {limit} moves that the request allows"
        cold = self.rules.max_parallel_cold
        if kind is AttemptKind.COLD and 0 < cold <= self.cold[view.run.id]:
            return f"{cold} of {cold} concurrent powered-down moves"
        return ""

    def _weight(self, view: View, kind: AttemptKind, target: str) -> Load:
        host = self.fleet.host(target)
        return capacity.load_of(view.record, kind, view.run.options.path, host)

    def _save(self, view: View, has_slot: bool) -> bool:
        """Plan to save the VM's network, if the VM has a slot or is among the next of its host.
        False: it cannot be saved now, and the plan holds or ends the move."""
        host = self.fleet.host(here(view))
        next_ones = 2 * max(1, host.slots) if host is not None else 0
        if not has_slot and self.turns[here(view)] > next_ones:
            return True
        verdict = _save_first(view)
        if verdict is not None:
            self.builder.add(verdict, view.run.options)
            return False
        self.unsaved.setdefault(here(view), []).append(view.move)
        return True


def _open(view: View) -> list[Gate]:
    return [gate for gate in destinations.gates(view) if gate.open]


def here(view: View) -> str:
    """Host that the VM is on: its source, or another source of the run."""
    vm = view.vm
    return vm.seen_on[0] if vm is not None and vm.seen_on else view.move.source


def _has_fresh_baseline(view: View, rules: Rules) -> bool:
    """Tell whether the baseline is ``baseline_age`` seconds old at most, or frozen by a start."""
    saved = view.record.baseline
    if saved is None:
        return False
    return bool(view.record.counted(*MIGRATIONS)) or view.now - saved.taken <= rules.baseline_age


def _save_first(view: View) -> Verdict | None:
    """Verdict that delays the saving of the VM's network or fails the move; ``None``: save now."""
    bad: list[Attempt] = []
    for attempt in view.record.counted(AttemptKind.BASELINE):
        if attempt.result is Result.OK:
            bad.clear()  # in a long night a host may be slow now and then: count failures in a row
        elif attempt.result is not None:
            bad.append(attempt)
    if not bad:
        return None
    last = bad[-1]
    charged = [a for a in bad if a.charged]
    if len(charged) >= view.run.options.attempts:
        return unreadable(view.move, last.error)
    again = (last.ended or view.now) + 3 * view.rules.tick
    if again <= view.now:
        return None
    return hold(
        view, Wait.BACKOFF, say("its network could not be saved: {}", Quote(last.error)), again
    )


def unreadable(move: Move, error: str) -> Verdict:
    """Fail a move whose VM's network cannot be saved: without a baseline, no VM is started."""
    form = "The network of {vm} could not be saved, so the VM was not moved: {error}"
    hint = "Fix the cause (rights, WinRM on {source}), then: {retry}"
    return Verdict(ended(move, Outcome.BLOCKED, form, hint, error=quote(error, move)))
