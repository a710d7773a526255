"""``make bench``: measure, print one table, and write it to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import acks, economy, gaps, looks, moves, ready
from tests.bench.table import Row, page, table
from tests.served import ROOT

Section = tuple[str, Callable[[Path], Sequence[Row]]]
PAGE = ROOT / "docs" / "benchmarks.md"


def sections(seconds: float, quick: bool) -> dict[str, Section]:
    """The sections of the table by their keywords. ``quick`` only checks that they work."""
    runs, burst = (3, 40) if quick else (20, 1000)
    return {
        "acks": (
            f"Acks while {runs} runs are going and no host answers",
            lambda folder: acks.measure(folder, seconds, burst, runs),
        ),
        "economy": (
            "Calls of Slack's Web API",
            lambda folder: economy.measure(folder, *(economy.TINY if quick else economy.ALL)),
        ),
        "gaps": (
            "After all sockets have died at once",
            lambda folder: gaps.measure(folder, gaps.QUICK if quick else gaps.DEATHS),
        ),
        "looks": (
            "Looks and starts with the costs of a real VMM, in virtual time",
            lambda folder: looks.measure(folder, *(looks.TINY if quick else looks.ALL)),
        ),
        "moves": (
            "Moves with the costs of a real VMM, in virtual time",
            lambda folder: moves.measure(folder, *(moves.TINY if quick else moves.ALL)),
        ),
        "ready": (
            "Restart, and the cost of writing down",
            lambda folder: ready.measure(folder, *((1, 20) if quick else (5, 500))),
        ),
    }


def main(words: Sequence[str]) -> int:
    """Measure the selected sections. Write the page only if all are selected."""
    reader = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    reader.add_argument("--seconds", type=float, default=60.0, help="of clicks at 50 a second")
    reader.add_argument("--quick", action="store_true", help="tiny numbers: does it run?")
    reader.add_argument("--out", type=Path, default=PAGE)
    reader.add_argument(
        "--only", default="", help="acks,economy,gaps,looks,moves,ready; nothing is written"
    )
    said = reader.parse_args(words)
    known = sections(said.seconds, said.quick)
    wanted = [word for word in said.only.split(",") if word] or list(known)
    measured: list[tuple[str, Sequence[Row]]] = []
    for word in wanted:
        name, measure = known[word]
        print(f"{name} ...", file=sys.stderr)
        with tempfile.TemporaryDirectory() as room:
            measured.append((name, measure(Path(room))))
    print(table(measured))
    if not said.only:
        command = "make bench" if not words else f"python -m tests.bench {' '.join(words)}"
        day = f"{datetime.now(UTC):%d %B %Y}".lstrip("0")
        said.out.write_text(page(measured, day, command), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
