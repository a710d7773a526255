"""The table of the benchmark: rows with their targets, and the page in the docs."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil
from os import cpu_count
from textwrap import fill

HEAD = ("What", "Measured", "Target", "")
LIBRARIES = ("slack-bolt", "slack-sdk", "aiohttp", "sqlite-utils")
TITLE = "# Benchmarks"
ABOUT = """\
After reading this page you know how fast VMFerry acks, how often it calls Slack, and how soon
it recovers from dead sockets and restarts. `make bench` measures against the stand-in of Slack
(`bot/standin/slack.py`) on the same machine, so nothing has crossed a network. Compare the
ratios within one measurement, not the numbers of two machines.
"""


@dataclass(frozen=True)
class Row:
    """One value. ``met`` is ``None`` if there is no target but only a value to compare with."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The cells of the table."""
        verdict = {True: "met", False: "**missed**", None: ""}[self.met]
        return self.what, self.measured, self.target, verdict


def at_most(what: str, value: float, limit: float, unit: str, digits: int = 1) -> Row:
    """A value with an upper target."""
    shown = f"{value:,.{digits}f} {unit}".strip()
    return Row(what, shown, f"≤ {limit:,g} {unit}".strip(), value <= limit)


def exactly(what: str, value: int, wanted: int, unit: str = "") -> Row:
    """A count with exactly one correct value."""
    return Row(what, f"{value:,} {unit}".strip(), f"{wanted:,}", value == wanted)


def told(what: str, measured: str) -> Row:
    """A value without a target."""
    return Row(what, measured)


def quantile(values: Sequence[float], part: float) -> float:
    """The nearest-rank quantile of the values; infinite if there are none."""
    if not values:
        return float("inf")
    ordered = sorted(values)
    return ordered[max(0, ceil(part * len(ordered) - 1e-9) - 1)]


def table(sections: Iterable[tuple[str, Sequence[Row]]]) -> str:
    """All rows as one table, with a row for the title of each section."""
    lines = [_line(HEAD), "|---|---|---|---|"]
    for name, rows in sections:
        lines.append(_line((f"**{name}**", "", "", "")))
        lines.extend(_line(row.cells) for row in rows)
    return "\n".join(lines) + "\n"


def page(sections: Iterable[tuple[str, Sequence[Row]]], day: str, command: str) -> str:
    """The text of docs/benchmarks.md."""
    made = (
        f"Measured on {day} by `{command}` on {cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        + "."
    )
    return "\n".join([TITLE, "", ABOUT, fill(made, 96), "", table(sections)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
