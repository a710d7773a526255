"""Moves on a fleet with the costs of a real VMM, in virtual time: how close to the best schedule.

Runs empty three hosts to two, 24 VMs of lognormal lengths, each as long as its size says. The lower
bound is computed from the true lengths; see ``engine/views/report/lower_bound.py``.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from engine.model import Attempt
from engine.store import queries
from engine.stories import story_file
from engine.stories.story import Player
from engine.views.report.lower_bound import Copy, least
from tests.bench.looks import Size, write_fleet, write_story
from tests.bench.table import Row, at_most, quantile, told

SLOTS, MB_PER_S = 2, 400.0
#: Cmdlets of each call to VMM, as ``tests/powershell/test_cmdlets.py`` counts them.
CMDLETS = {"known": 2, "site": 2, "models": 2, "start_move": 8, "reread": 2}


@dataclass(frozen=True)
class Night:
    """A played run, in seconds since its request. ``gaps``: from VMM's end of a job to VMM's start
    of the next in that slot of a destination."""

    first: float
    last: float
    ended: float
    bound: float
    gaps: Sequence[float]
    moved: int
    calls: Counter[str]
    violations: int


def play(folder: Path, seed: int, size: Size, happens: str = "") -> Night:
    """Empty all sources, with lengths from this seed."""
    dice = random.Random(seed)
    minutes = [max(1.0, round(dice.lognormvariate(math.log(6), 0.7), 1)) for _ in range(size.total)]
    write_fleet(folder, size, lambda n: minutes[n], lambda n: minutes[n] * 60 * MB_PER_S / 1024)
    write_story(folder, size, "24h", happens)
    player = Player(story_file.load(folder), folder / "night.db")
    try:
        player.play()
        record = queries.record(player.store, 1)
        assert record is not None
        assert record.run.ended is not None
        asked = record.run.created
        ran = [a for entry in record.moves for a in entry.attempts if a.ran_to is not None]
        times = [a.times for a in ran if a.times is not None]
        return Night(
            first=min(began for began, _ in times) - asked,
            last=max(ended for _, ended in times) - asked,
            ended=record.run.ended - asked,
            bound=_bound(minutes, size),
            gaps=_gaps(ran),
            moved=sum(entry.move.state == "done" for entry in record.moves),
            calls=Counter(str(call["call"]) for call in player.port.calls),
            violations=len(player.port.world.violations),
        )
    finally:
        player.close()


def _bound(minutes: Sequence[float], size: Size) -> float:
    """Lower bound in seconds: each source has its slots, and all destinations together theirs."""
    lengths = [60 * one for one in minutes]
    sources = [f"src{n % size.sources}" for n in range(size.total)]
    copies = [
        Copy(n, (source, "all destinations"), one)
        for n, (source, one) in enumerate(zip(sources, lengths, strict=True))
    ]
    slots = dict.fromkeys(sources, SLOTS) | {"all destinations": SLOTS * size.destinations}
    return least(copies, slots, {})


def _gaps(ran: Sequence[Attempt]) -> list[float]:
    """Seconds for which each slot of a destination was free between two moves."""
    found = []
    for host in {a.destination for a in ran}:
        times = [a.times for a in ran if a.destination == host and a.times is not None]
        ends = sorted(ended for _, ended in times)
        begins = sorted(began for began, _ in times)
        found += [began - ended for began, ended in zip(begins[SLOTS:], ends, strict=False)]
    return found


TINY = 2, Size(2, 2, 3), Size(2, 2, 2)
ALL = 10, Size(3, 2, 8), Size(6, 4, 4)
DIES = '[[at]]\nt = "60s"\ndo = "down"\nhost = "dst00"\nfor = "24h"\n'


def measure(folder: Path, nights: int, size: Size, middle: Size) -> Sequence[Row]:
    """Play so many nights of ``size``, and one of ``middle`` in which a destination dies."""
    played = [play(folder / str(seed), seed, size) for seed in range(nights)]
    ratios = [night.last / night.bound for night in played]
    moved = sum(night.moved for night in played)
    cmdlets = sum(CMDLETS.get(c, 0) * n for night in played for c, n in night.calls.items())
    ours = sum(night.calls["start_move"] + night.calls["reread"] for night in played)
    what = f"{nights} runs of {size.total} VMs"
    return [
        at_most(
            "VMM's end of a job to VMM's start of the next in that slot, mean",
            mean(gap for night in played for gap in night.gaps),
            12,
            "s",
        ),
        at_most(f"{what}: last arrival over the lower bound, mean", mean(ratios), 1.04, "", 3),
        at_most("95 of 100", quantile(ratios, 0.95), 1.06, "", 3),
        at_most("first start after the request", max(n.first for n in played), 25, "s"),
        at_most("last arrival to the end", max(n.ended - n.last for n in played), 75, "s"),
        at_most("cmdlets at VMM for each moved VM, without the pulse", cmdlets / moved, 20, ""),
        at_most("jobs of ours in VMM for each moved VM", ours / moved, 5, ""),
        *_one_dies(folder / "dies", middle),
        at_most("Violations of the safety rules", sum(n.violations for n in played), 0, "", 0),
    ]


def _one_dies(folder: Path, size: Size) -> list[Row]:
    """One destination dies for good after a minute. The others, beside a run that never had it."""
    fewer = Size(size.sources, size.destinations - 1, size.vms)
    without, dead = play(folder / "without", 1, fewer), play(folder / "dead", 1, size, DIES)
    name = f"One destination of {size.destinations} dies"
    return [
        at_most(
            f"{name}: the last arrival, beside the run without it",
            dead.last / without.last,
            1.03,
            "",
            3,
        ),
        told("moved", f"{dead.moved} of {size.total}"),
    ]
