"""Report as CSV (RFC 4180), one row per VM. No cell can run as a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from engine.views.report.as_json import tries

COLUMNS = (
    "run",
    "vm",
    "vm_id",
    "source",
    "destination",
    "host",
    "state",
    "outcome",
    "kind",
    "adopted",
    "attempts",
    "minutes",
    "waited",
    "repairs",
    "missing",
    "sentence",
    "next",
)
#: First characters that make a spreadsheet read a cell as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def spreadsheet(run: Mapping[str, Any]) -> str:
    """Render one run of the document as CSV: a header and one row per VM. Lines end in CR LF."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for move in run["moves"]:
        cells = {**move, "run": run["id"], **_lists(move)}
        rows.writerow(_cell(cells[column]) for column in COLUMNS)
    return text.getvalue()


def _lists(move: Mapping[str, Any]) -> dict[str, object]:
    """Values of the document that are neither text nor numbers, each as one cell."""
    return {
        "adopted": "yes" if move["adopted"] else "no",
        "attempts": tries(move),
        "waited": "; ".join(f"{code}={seconds}" for code, seconds in move["waited"].items()),
        "repairs": _things(move["repairs"]),
        "missing": _things(move["missing"]),
    }


def _things(things: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(f"{one['what']} of {one['adapter']}: {one['value']}" for one in things)


def _cell(value: object) -> str:
    """Text of a cell. A name may begin like a formula: then an apostrophe goes before it."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text
