"""Needs that only a person can meet, by run: the reasons why ``list`` puts a run first.

Besides its open questions, a run needs a person if it is paused, has a VM with an unknown location,
damaged a VM (until ``go-on``), or has a move that waits for a person. So does an ended run with
failed VMs that no later run has, and a break-glass approval that awaits review. VMs that people
denied or skipped need nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.language.sentence import Command, HostName, Sentence, say
from engine.model import MoveState, RunRecord
from engine.policy.verdict import typed
from engine.store import queries
from engine.store.store import Store
from engine.views.board import needs_of


def needs(store: Store, vmm: str, records: Sequence[RunRecord]) -> dict[int, tuple[Sentence, ...]]:
    """List the reasons by run id, one sentence each. ``records``: all runs, oldest first."""
    found = {record.run.id: list(needs_of(record)) for record in records}
    for damage in queries.damages(store, vmm):
        label, host = f"R{damage.run}", HostName(damage.host)
        look, go_on = Command(f"report {label}"), Command(f"go-on {label} {host}")
        form = "{} is damaged on {}: {}, then: {}"
        found[damage.run].append(say(form, damage.vm, host, look, go_on))
    lost = {(doubt.run, doubt.vm_id) for doubt in queries.doubts(store, vmm)}
    latest = {entry.move.vm_id: record.run.id for record in records for entry in record.moves}
    for record in records:
        found[record.run.id] += _lost(record, lost) + _left(record, latest)
    return {run: tuple(reasons) for run, reasons in found.items()}


def _lost(record: RunRecord, lost: set[tuple[int, str]]) -> list[Sentence]:
    moves = [entry.move for entry in record.moves if (record.run.id, entry.move.vm_id) in lost]
    form = "The location of {} is unknown. Find the VM, then: {}"
    return [say(form, move.vm, typed("settle", move.run, move)) for move in moves]


def _left(record: RunRecord, latest: Mapping[str, int]) -> list[Sentence]:
    """Sentence about the failed VMs of an ended run that no later run has; else empty."""
    run = record.run
    if not run.over:
        return []
    failed = [
        entry.move.vm
        for entry in record.moves
        if entry.move.state is MoveState.FAILED and latest[entry.move.vm_id] == run.id
    ]
    if not failed:
        return []
    names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
    look, again = Command(f"report {run.label}"), Command(f"retry {run.label}")
    return [say("{} did not move: {}, then: {}", names, look, again)]
