"""Needs that only a person can meet, run by run: the reasons why ``list`` puts a run first.

A run needs a person beside its open questions if it is paused, does not know the location of a VM,
damaged a VM (until ``go-on``), or ended with failed VMs that no later run has taken up; also if a
break-glass approval awaits review. VMs that people denied or left out need nobody: people decided
that.
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
    """The reasons by run, each a sentence that says what to type. ``records``: all runs."""
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
    form = "Nobody knows where {} is. Look for it, then: {}"
    return [say(form, move.vm, typed("settle", move.run, move)) for move in moves]


def _left(record: RunRecord, latest: Mapping[str, int]) -> list[Sentence]:
    """An ended run that stopped short: VMs failed, and no later run has taken them up."""
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
