"""Looks and moves on a fleet with the costs of a real VMM, in virtual time.

Fifty hosts are emptied at once; one host of many hangs for ever; and what a tick asks for and
writes while nothing changes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.store import events, queries
from engine.stories import story_file
from engine.stories.story import Player
from tests.bench.table import Row, at_most, told

TARGET_START, TARGET_OTHERS = 60.0, 1.03
TARGET_BYTES = 4096.0


@dataclass(frozen=True)
class Size:
    """Sources, destinations, VMs of each source."""

    sources: int
    destinations: int
    vms: int

    @property
    def total(self) -> int:
        """Number of VMs."""
        return self.sources * self.vms


@dataclass(frozen=True)
class Night:
    """Times of a played run, in seconds since its request. ``left``: VMs that did not move,
    ``told``: those of them whose move ended with a reason."""

    first: float
    last: dict[str, float]
    violations: int
    left: int
    told: int


def play(folder: Path, size: Size, happens: str = "", until: str = "24h") -> Night:
    """Empty all sources. VMs take 3 to 9 minutes."""
    write_fleet(folder, size, lambda number: 3 + number * 7 % 13 / 2)
    write_story(folder, size, until, happens)
    return _times(Player(story_file.load(folder), folder / "night.db"))


def write_fleet(
    folder: Path,
    size: Size,
    minutes: Callable[[int], float],
    disk_gb: Callable[[int], float] = lambda _: 60.0,
) -> None:
    """Write a fleet of this size: minutes and disk of each VM by its number."""
    folder.mkdir(parents=True)
    lines = ["format = 1"]
    for number in range(size.sources):
        lines.append(f'[[host]]\nname = "src{number:02}"')
    for number in range(size.destinations):
        lines.append(f'[[host]]\nname = "dst{number:02}"\nmemory_gb = 9000.0')
        lines.append('volumes = { "D:" = 900000.0 }')
    for number in range(size.total):
        lines.append(f'[[vm]]\nname = "vm{number:04}"\nhost = "src{number % size.sources:02}"')
        lines.append(f"minutes = {minutes(number):.1f}\ndisk_gb = {disk_gb(number):.1f}")
    lines.append('[costs]\nlike = "vmm"\n')
    (folder / "fleet.toml").write_text("\n".join(lines), encoding="utf-8")


def _empty_all(size: Size) -> str:
    sources = ",".join(f"src{number:02}" for number in range(size.sources))
    names = ",".join(f"dst{number:02}" for number in range(size.destinations))
    return f"host {sources} to {names}"


def write_story(folder: Path, size: Size, until: str, happens: str = "", request: str = "") -> None:
    """Write a story with one request: empty all sources, if no other is given."""
    story = f'about = "A night"\nuntil = "{until}"\n[people]\nann = ["operator"]\n{happens}\n'
    story += '[[at]]\nt = "0s"\ndo = "say"\nby = "ann"\n'
    story += f'text = "{request or _empty_all(size)}"\n'
    (folder / "story.toml").write_text(story, encoding="utf-8")


def _times(player: Player) -> Night:
    try:
        player.play()
        told_ = events.since(player.store)
        asked = next(e.at for e in told_ if e.kind == "run.active")
        starts = [e.at - asked for e in told_ if e.kind == "move.moving"]
        record = queries.record(player.store, 1)
        assert record is not None
        last = {
            entry.move.vm: max(a.ended or 0.0 for a in entry.attempts) - asked
            for entry in record.moves
            if entry.attempts
        }
        sources = {entry.move.vm: entry.move.source for entry in record.moves}
        by_source: dict[str, float] = {}
        for vm, at in last.items():
            by_source[sources[vm]] = max(by_source.get(sources[vm], 0.0), at)
        left = [entry.move for entry in record.moves if entry.move.state != "done"]
        reasons = sum(move.over and bool(move.sentence) for move in left)
        violations = len(player.port.world.violations)
        return Night(min(starts, default=1e9), by_source, violations, len(left), reasons)
    finally:
        player.close()


TINY = Size(2, 2, 2), Size(2, 2, 2), Size(2, 2, 1), (5,)
ALL = Size(50, 50, 20), Size(50, 50, 2), Size(20, 8, 4), (10, 100, 1000)
HANGS = '[[at]]\nt = "60s"\ndo = "hang"\nhost = "src00"\n'


def measure(
    folder: Path, large: Size, long: Size, middle: Size, crowds: Sequence[int]
) -> Sequence[Row]:
    """Play the nights and count what a quiet tick asks for. Of the ``large`` one only the first two
    minutes, the ``long`` one to its end."""
    first = play(folder / "first", large, until="2m")
    crowd = play(folder / "crowd", long)
    whole, hung = play(folder / "whole", middle), play(folder / "hung", middle, HANGS)
    others = [name for name in whole.last if name != "src00"]
    slower = max(hung.last[name] for name in others) / max(whole.last[name] for name in others)
    name = f"{large.sources} hosts emptied at once"
    return [
        at_most(f"{name}, {large.total} VMs: the first start", first.first, TARGET_START, "s"),
        told(f"{name}, {long.total} VMs: moved", f"{long.total - crowd.left} of {long.total}"),
        told("the last arrival", f"{max(crowd.last.values()) / 60:.1f} min"),
        at_most(
            f"One of {middle.sources} hosts hangs for ever: the others, beside the run without it",
            slower,
            TARGET_OTHERS,
            "",
            digits=3,
        ),
        told("its own VMs that ended with a reason", f"{hung.told} of {hung.left} that were left"),
        at_most(
            "Violations of the safety rules",
            sum(night.violations for night in (first, crowd, whole, hung)),
            0,
            "",
            digits=0,
        ),
        *(row for vms in crowds for row in _quiet(folder / f"quiet {vms}", vms)),
        *_whole_site(folder / "site", large),
    ]


def _quiet(folder: Path, vms: int) -> list[Row]:
    """What a tick asks for and writes in the middle of the only move, with so many VMs a host."""
    counted, rows, written = _ticks(folder, "vm vm0000 to dst00", Size(1, 1, vms))
    per_tick = ", ".join(f"{call} {number:.2f}" for call, number in sorted(counted.items()))
    what = f"A quiet tick while a move runs, {vms} VMs on its host"
    return [
        at_most(f"{what}: remote calls", sum(counted.values()), 4, "", digits=2),
        told("of these", per_tick),
        at_most("values written: bytes", written, TARGET_BYTES, ""),
        told("rows", f"{rows:.1f}"),
    ]


def _whole_site(folder: Path, large: Size) -> list[Row]:
    """What a tick writes on a large site: while one move runs, and while all hosts are emptied."""
    _, _, one = _ticks(folder / "one", "vm vm0000 to dst00", large)
    _, _, all_ = _ticks(folder / "all", _empty_all(large), replace(large, vms=2))
    what = f"A quiet tick on {large.sources} hosts with {large.total} VMs"
    return [
        at_most(f"{what}, one move runs: values written: bytes", one, TARGET_BYTES, ""),
        told(f"all {large.sources} hosts are emptied at once: bytes", f"{all_:,.0f}"),
    ]


TICKS = 60
_VALUES = re.compile(r"'(?:[^']|'')*'|(?<![a-z_])-?\d[\d.e+]*|NULL")
"""Values in a statement as SQLite traces it."""


def _ticks(folder: Path, request: str, size: Size) -> tuple[dict[str, float], float, float]:
    """Calls by name, rows, and bytes of values written in one tick, on average over ``TICKS`` of
    them. VMs take two hours."""
    write_fleet(folder, size, lambda number: 120.0)
    write_story(folder, size, "20m", request=request)
    player = Player(story_file.load(folder), folder / "night.db")
    try:
        player.play()
        since, store = len(player.port.calls), player.engine.store
        raw = store.database().raw.conn
        before = raw.total_changes
        statements: list[str] = []
        raw.set_trace_callback(statements.append)
        for _ in range(TICKS):
            tick = player.clock.now() + 5
            while player.clock.now() < tick:
                player.engine.calls.caller.go_on(tick)  # or until an answer has come
                player.engine.advance()
        raw.set_trace_callback(None)
        changes = [s for s in statements if s.lstrip().startswith(("INSERT", "UPDATE", "DELETE"))]
        written = sum(len(value) for s in changes for value in _VALUES.findall(s))
        counted = Counter(str(call["call"]) for call in player.port.calls[since:])
        rows = raw.total_changes - before
        return {n: k / TICKS for n, k in counted.items()}, rows / TICKS, written / TICKS
    finally:
        player.close()
