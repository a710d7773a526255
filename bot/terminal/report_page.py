"""The report of one run in 80 columns: summary, idle slots, every VM."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from bot.terminal.board import safe
from engine.language.sentence import say
from engine.model import MOVED, short
from engine.views import report

WIDTH = 80
HOST = 12
"""Maximum width of a host's name. Longer names show their end, because names differ there."""
HEADS = ("VM", "from", "to", "kind", "attempts", "minutes", "outcome")
NUMBERS = ("attempts", "minutes")
BREAK = re.compile(r" (?!(?:s|min|h|d)\b)|(?<!\d) ")
"""Places where a line may end: not between a number and its unit."""


def page(run: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Return the lines of a run of the report document: the summary, then every VM."""
    top = [*report.summary(run, approvals), report.idle_line(run)]
    lines = [part for line in top if line for part in wrapped(line)]
    seen = [move for move in run["moves"] if not move["adopted"]]
    later = [move for move in run["moves"] if move["adopted"]]
    lines += ["", *wrapped(f"{_asked(run)}: {_vms(len(seen))}"), *_table(seen)]
    if later:
        lines += ["", f"Came later: {_vms(len(later))}", *_table(later)]
    return lines


def wrapped(text: str, indent: str = "") -> Iterator[str]:
    """Wrap text at 80 columns, without control characters. Continuation lines are indented two
    columns more. Long words stay whole."""
    line, start = indent, indent
    for word in BREAK.split(safe(text)):
        longer = f"{line}{word}" if line == start else f"{line} {word}"
        if cell_len(longer) > WIDTH and line != start:
            yield line
            start = f"{indent}  "
            longer = f"{start}{word}"
        line = longer
    if line != start:
        yield line


def _asked(run: Mapping[str, Any]) -> str:
    """Return the heading of the requested VMs, or for a host run, of the VMs first found there."""
    if not run["empty"]:
        return "Asked for"
    return f"On {', '.join(short(host) for host in run['sources'])} when asked"


def _vms(count: int) -> str:
    return f"{count or 'no'} VM{'' if count < 2 else 's'}"


# --- the table -------------------------------------------------------------------------------


def _table(moves: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield one row per VM, followed by the details of that VM."""
    if not moves:
        return
    rows = [_cells(move) for move in moves]
    widths = _widths([HEADS, *rows])
    yield from _row(HEADS, widths)
    for move, cells in zip(moves, rows, strict=True):
        yield from _row(cells, widths)
        for line in _details(move):
            yield from wrapped(line, "  ")


def _cells(move: Mapping[str, Any]) -> tuple[str, ...]:
    moved = move["state"] in MOVED
    minutes = move["minutes"]
    return (
        safe(move["vm"]),
        _host(move["source"]),
        _host(move["host"] if moved else move["destination"]),
        move["kind"] or "-",
        str(report.tries(move)),
        "-" if minutes is None else f"{minutes:.1f}",
        move["outcome"] or move["state"],
    )


def _host(name: str | None) -> str:
    shown = safe(short(name)) if name else "-"
    return shown if len(shown) <= HOST else f"…{shown[1 - HOST :]}"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the column widths by content. VM names get at most the remaining width."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    left = WIDTH - sum(widths[1:]) - 2 * (len(HEADS) - 1)
    return [min(widths[0], left), *widths[1:]]


def _row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield one row. A VM name that is too long for its column gets a line of its own."""
    name, *rest = cells
    if cell_len(name) > widths[0]:
        yield name
        name = ""
    padded = [name + " " * (widths[0] - cell_len(name))]
    for head, cell, width in zip(HEADS[1:], rest, widths[1:], strict=True):
        blank = " " * (width - cell_len(cell))
        padded.append(blank + cell if head in NUMBERS else cell + blank)
    yield "  ".join(padded).rstrip()


def _details(move: Mapping[str, Any]) -> Iterable[str]:
    """Yield the details of one VM: waits, repairs, missing settings, outcome, what to do."""
    if waited := report.span_words(move["waited"]):
        yield f"waited: {waited}"
    if move["repairs"]:
        yield f"restored: {report.counted(move['repairs'])}"
    for missing in move["missing"]:
        yield f"missing: {report.lack(missing)}"
    if move["sentence"] and move["state"] != "done" and not move["missing"]:
        yield move["sentence"]
    if move["next"]:
        yield say("Next: {}", move["next"])
