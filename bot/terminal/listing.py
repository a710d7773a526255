"""All runs as lines of 80 columns: those that need a person, those that go on, those that ended."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.terminal.board import safe
from engine.board import board
from engine.model import MoveState, Run, RunRecord, short
from engine.service import Service
from engine.store import queries
from engine.vocabulary import KEYWORDS
from engine.words import quoted

WIDTH = 80
WHO = 12
"""Columns for whose run it is; longer names are cut."""


@dataclass(frozen=True)
class _Row:
    """One run in a list, and what a person has to do about it: a sentence each."""

    run: Run
    moved: str
    needs: tuple[str, ...]

    @property
    def at(self) -> float:
        """When it ended, or else was asked for."""
        return self.run.ended if self.run.over and self.run.ended else self.run.created


def list_lines(service: Service) -> list[str]:
    """Every run with what it needs; within each group the newest first."""
    rows = _rows(service)
    if not rows:
        return ["There is no run yet."]
    groups: dict[str, list[_Row]] = {"Needs a person:": [], "Going on:": [], "Ended:": []}
    for row in sorted(rows, key=lambda row: (-row.at, -row.run.id)):
        going = "Ended:" if row.run.over else "Going on:"
        groups["Needs a person:" if row.needs else going].append(row)
    lines = []
    for title, group in groups.items():
        lines += [title] if group else []
        for row in group:
            lines.append(_line(row, rows))
            for need in row.needs:
                lines += textwrap.wrap(
                    safe(need), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 8
                )
    return lines


def _line(row: _Row, rows: Sequence[_Row]) -> str:
    """Label, state, moved, when, whose, request; the request gives way where 80 are too few."""
    labels = max(len(one.run.label) for one in rows)
    counts = max(len(one.moved) for one in rows)
    when = datetime.fromtimestamp(row.at).astimezone().strftime("%Y-%m-%d %H:%M")
    who = _cut(safe(row.run.told.removeprefix("terminal:")), WHO)
    begin = f"  {row.run.label:<{labels}} {row.run.state:<10} {row.moved:<{counts}} {when} {who} "
    return begin + _cut(safe(row.run.request), WIDTH - len(begin))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _rows(service: Service) -> list[_Row]:
    store = service.store
    found = [queries.record(store, run.id) for run in queries.runs(store)]
    records = [record for record in found if record is not None]
    lost: defaultdict[int, set[str]] = defaultdict(set)
    for doubt in queries.doubts(store, service.vmm):
        lost[doubt.run].add(doubt.vm_id)
    damaged: defaultdict[int, list[str]] = defaultdict(list)
    for one in queries.damages(store, service.vmm):
        label, host = f"R{one.run}", short(one.host)
        looked = f"report {label}, then: go-on {label} {host}"
        damaged[one.run].append(f"{one.vm} is damaged on {host}: {looked}")
    latest = {entry.move.vm_id: record.run.id for record in records for entry in record.moves}
    now, rows = service.clock.now(), []
    for record in records:
        run, shown = record.run, board(record, None, now)
        needs = [f"{asked.label} waits for a yes or no: approvals" for asked in shown.questions]
        needs += [*shown.needs, *damaged[run.id], *_lost(record, lost[run.id])]
        needs += _left(record, latest)
        rows.append(_Row(run, f"{shown.moved} of {shown.total} moved", tuple(needs)))
    return rows


def _lost(record: RunRecord, vm_ids: set[str]) -> list[str]:
    lost = [entry.move.vm for entry in record.moves if entry.move.vm_id in vm_ids]
    settle = f"settle {record.run.label}"
    return [
        f"Nobody knows where {vm} is. Look for it, then: {settle} {quoted(vm, KEYWORDS)}"
        for vm in lost
    ]


def _left(record: RunRecord, latest: dict[str, int]) -> list[str]:
    """An ended run that stopped short: VMs failed, and no later run has taken them up. What
    people denied or left out stays by their own word."""
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
    return [f"{names} did not move: report {run.label}, then: retry {run.label}"]
