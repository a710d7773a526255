"""The list of runs in 80 columns: runs that need a person, other unfinished runs, ended runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len, set_cell_size

from bot.terminal.board import safe
from bot.terminal.report_page import WIDTH, wrapped
from engine.commands.service import Service
from engine.model import Run
from engine.model.ids import TERMINAL, name_at
from engine.store import queries
from engine.views.board import STATES, board
from engine.views.needs import needs

WHO = 12
"""Columns for the owner's name. Longer names are cut."""


@dataclass(frozen=True)
class _Row:
    """One run of the list. ``needs`` holds one sentence for each thing that a person must do."""

    run: Run
    moved: str
    needs: tuple[str, ...]

    @property
    def at(self) -> float:
        """End time of the run, or the time of its request if it has not ended."""
        return self.run.ended if self.run.over and self.run.ended else self.run.created


def list_lines(service: Service) -> list[str]:
    """Return the lines of all runs in three groups, each with the newest run first."""
    rows = _rows(service)
    if not rows:
        return ["There is no run yet."]
    groups: dict[str, list[_Row]] = {"Needs a person:": [], "In progress:": [], "Ended:": []}
    for row in sorted(rows, key=lambda row: (-row.at, -row.run.id)):
        going = "Ended:" if row.run.over else "In progress:"
        groups["Needs a person:" if row.needs else going].append(row)
    lines = []
    for title, group in groups.items():
        lines += [title] if group else []
        for row in group:
            lines.append(_line(row, rows))
            for need in row.needs:
                lines += wrapped(need, " " * 6)
    return lines


def _line(row: _Row, rows: Sequence[_Row]) -> str:
    """Return label, state, moved VMs, time, owner and request of a run, cut to 80 columns."""
    labels = max(len(one.run.label) for one in rows)
    counts = max(len(one.moved) for one in rows)
    when = datetime.fromtimestamp(row.at).astimezone().strftime("%Y-%m-%d %H:%M")
    who = _cut(safe(name_at(TERMINAL, row.run.contact) or row.run.contact), WHO)
    state = STATES[row.run.state]
    begin = f"  {row.run.label:<{labels}} {state:<10} {row.moved:<{counts}} {when} {who} "
    return begin + _cut(safe(row.run.request), WIDTH - len(begin))


def _cut(text: str, width: int) -> str:
    """Cut the text to ``width`` columns, the last of which is then ``…``."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _rows(service: Service) -> list[_Row]:
    store, now = service.store, service.clock.now()
    found = [queries.record(store, run.id) for run in queries.runs(store)]
    records = [record for record in found if record is not None]
    reasons, rows = needs(store, service.vmm, records), []
    for record in records:
        shown = board(record, None, now)
        asked = [f"{one.label} awaits a decision: approvals" for one in shown.questions]
        moved = f"{shown.moved} of {shown.total} moved"
        rows.append(_Row(record.run, moved, (*asked, *reasons[record.run.id])))
    return rows
