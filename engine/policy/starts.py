"""Starts: ready moves compete for slots, across runs, in one order.

Each ready move starts, has its network saved first, or waits for a slot. Running VMs are served
before powered-down ones, the busiest host's longest first. A move whose network is being saved
holds its place: a later one must not take the slot that it waits for. Nothing starts that this
very observation does not show a free slot for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.model import (
    MIGRATIONS,
    Attempt,
    AttemptKind,
    Fleet,
    Move,
    MoveState,
    RunRecord,
    Wait,
)
from engine.policy import eligibility, ending, estimate, ladder, network, ordering, slots
from engine.policy.draft import Draft
from engine.policy.ladder import Verdict, View
from engine.policy.steps import Arrive, Finish, SaveBaselines, Start
from engine.policy.waits import Rules

Ready = tuple[View, AttemptKind]


def hand_out(
    living: Sequence[RunRecord],
    ready: Sequence[Ready],
    fleet: Fleet,
    rules: Rules,
    doubts: Sequence[Attempt],
    draft: Draft,
) -> None:
    """Add to the draft what becomes of every ready move. ``doubts`` are attempts of moves that
    ended without anybody knowing where their VM is: they keep their slots."""
    flying = _flying(living, draft)
    records = [entry for record in living for entry in record.moves]
    mb_per_s = estimate.rate(records, rules.mb_per_s)
    ledger = slots.ledger(fleet, [*flying, *doubts])
    _Allotment(
        fleet=fleet,
        rules=rules,
        draft=draft,
        ledger=ledger,
        load=ordering.loads(_unfinished(living), ledger, mb_per_s),
        flying=Counter(attempt.run for attempt in flying),
    ).serve(ready, mb_per_s)


def _flying(living: Sequence[RunRecord], draft: Draft) -> list[Attempt]:
    """Open LIVE and COLD attempts, without those that this observation shows to be over."""
    landed = {
        s.move.id
        for s in draft.steps
        if isinstance(s, Arrive) or (isinstance(s, Finish) and s.settle is not None)
    }
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
    """The slots of one plan while they are handed out."""

    fleet: Fleet
    rules: Rules
    draft: Draft
    ledger: slots.Slots
    load: Mapping[str, float]
    flying: Counter[int]
    unsaved: dict[str, list[Move]] = field(default_factory=dict)
    turns: Counter[str] = field(default_factory=Counter)
    running_now: set[str] = field(default_factory=set)

    def serve(self, ready: Sequence[Ready], mb_per_s: float) -> None:
        """Every ready move in order, running VMs first."""
        views = {view.move.id: view for view, _ in ready}
        for wanted in (AttemptKind.LIVE, AttemptKind.COLD):
            group = [
                (view.move, eligibility.usable(view)) for view, kind in ready if kind is wanted
            ]
            choices = {move.id: hosts for move, hosts in group}
            for move in ordering.first_to_last(group, self.load, mb_per_s):
                self._serve_one(views[move.id], wanted, choices[move.id])
        for name, moves in self.unsaved.items():
            self.draft.steps.append(SaveBaselines(name, tuple(moves)))

    def _serve_one(self, view: View, kind: AttemptKind, choices: Sequence[str]) -> None:
        source = here(view)
        if kind is AttemptKind.COLD and source in self.running_now:
            text = "running VMs of its host go first"
            self.draft.add(ladder.hold(view, Wait.RUNNING_FIRST, text))
            return
        target = self._free(view, choices)
        self.turns[source] += 1
        if not _has_fresh_baseline(view, self.rules) and not self._save(view, target is not None):
            return
        if target is None:
            self.draft.add(self._no_slot(view, choices))
            return
        if kind is AttemptKind.LIVE:
            self.running_now.add(source)
        self.ledger.take(view.move.vm_id, view.move.vm, source, target)
        self.flying[view.run.id] += 1
        saved = view.record.baseline
        if saved is None or not _has_fresh_baseline(view, self.rules):
            return
        self.draft.steps.append(
            Start(
                move=view.move,
                kind=kind,
                source=source,
                destination=target,
                path=view.run.options.path,
                pin=network.pinned(saved.network) if kind is AttemptKind.COLD else None,
                not_after=view.fleet.server_time + self.rules.start_window,
            )
        )

    def _free(self, view: View, choices: Sequence[str]) -> str | None:
        """The destination that it could start to now, or ``None``."""
        if self._is_full(view) or self.ledger.free(here(view)) < 1:
            return None
        return ordering.best_destination(choices, self.ledger, self.load)

    def _is_full(self, view: View) -> bool:
        """Has its run as many moves in flight as the request allows?"""
        limit = view.run.options.parallel
        return limit > 0 and self.flying[view.run.id] >= limit

    def _save(self, view: View, has_slot: bool) -> bool:
        """Have its network saved, if it is among the next of its host; False: it cannot be now,
        and the draft says why."""
        host = self.fleet.host(here(view))
        next_ones = 2 * max(1, self.ledger.limit(host)) if host is not None else 0
        if not has_slot and self.turns[here(view)] > next_ones:
            return True
        verdict = _save_first(view)
        if verdict is not None:
            self.draft.add(verdict)
            return False
        self.unsaved.setdefault(here(view), []).append(view.move)
        return True

    def _no_slot(self, view: View, choices: Sequence[str]) -> Verdict:
        """Which limit it waits for, with its holders."""
        if self._is_full(view):
            limit = view.run.options.parallel
            return ladder.hold(view, Wait.SLOT, f"{limit} of {limit} moves that the request allows")
        source = here(view)
        if self.ledger.free(source) < 1:
            return ladder.hold(view, Wait.SLOT, self.ledger.says(source))
        return ladder.hold(view, Wait.SLOT, "; ".join(self.ledger.says(d) for d in choices))


def here(view: View) -> str:
    """The host that the VM is on: its source, or another source of the run."""
    vm = view.vm
    return vm.seen_on[0] if vm is not None and vm.seen_on else view.move.source


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
