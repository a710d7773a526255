"""The number of calls to Slack: one VM for an hour, a thousand over four hours, twenty runs.

On a virtual clock, with the pauses that ``vmferry serve`` makes. The stand-in enforces the rate
limits of Slack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.slack.setup.manifest import SCOPES
from bot.standin.values import Call
from engine.sim.fleet_file import parse
from tests.bench.table import Row, exactly, told
from tests.slack.stepped import Stepped, beginning
from tests.troubled_slack import TroubledSlack

SOCKETS = ("apps.connections.open", "auth.test")
FOREVER = 48 * 3600.0
LARGE = 10


@dataclass(frozen=True)
class Asked:
    """Runs that are requested at the same moment, one per channel."""

    runs: int
    vms: int  # of each run
    minutes: float  # of each VM, more or less
    tick: float = 5.0  # between two looks of the engine; those at a thousand VMs take their time

    @property
    def pairs(self) -> int:
        """Sources and destinations."""
        return LARGE if self.runs == 1 and self.vms > LARGE else self.runs

    @property
    def fleet(self) -> str:
        """A source and a destination for each run. A large run has ten of each."""
        pairs = self.pairs
        lines = ["format = 1"]
        for number in range(1, pairs + 1):
            for side in "ab":
                lines.append(f'[[host]]\nname = "{side}{number:02}"\nmemory_gb = 9000.0')
                lines.append('volumes = { "D:" = 900000.0 }\nlive = 5\nstorage = 5')
        for number in range(self.runs * self.vms):
            lines.append(f'[[vm]]\nname = "vm{number:04}"\nhost = "a{number % pairs + 1:02}"')
            lines.append(f"minutes = {self.minutes * self._spread(number):.2f}")
        return "\n".join(lines)

    def _spread(self, number: int) -> float:
        """Different durations for the VMs of a host. A single VM takes exactly the given time."""
        return 1.0 if self.vms == 1 else 0.7 + number * 7 % 13 / 20

    def requests(self) -> list[str]:
        """The typed requests."""
        numbers = range(1, self.pairs + 1)
        if self.pairs == self.runs:
            return [f"host a{n:02} to b{n:02} now" for n in numbers]
        sources, destinations = (",".join(f"{side}{n:02}" for n in numbers) for side in "ab")
        return [f"host {sources} to {destinations} now"]


@dataclass(frozen=True)
class Counted:
    """The counts of a night."""

    calls: tuple[Call, ...]
    hours: float
    vms: int
    top_level: int
    replies: int
    limited: int

    @property
    def methods(self) -> str:
        """``12 chat.update, 3 chat.postMessage``."""
        found = Counter(call.method for call in self.calls)
        return ", ".join(f"{number:,} {name}" for name, number in found.most_common())

    def busiest(self, method: str) -> int:
        """The most calls of this method in any minute."""
        times = sorted(call.at for call in self.calls if call.method == method)
        return max((sum(at <= t < at + 60 for t in times) for at in times), default=0)


def count(folder: Path, asked: Asked) -> Counted:
    """Play the night until its last message is sent."""
    clock = beginning()
    with TroubledSlack(clock=clock, limits=True, scopes=SCOPES) as slack:
        dana = slack.user("dana")
        night = Stepped(
            folder,
            slack,
            clock,
            parse(asked.fleet),
            tick=asked.tick,
            approvers=(slack.user("ravi"),),
        )
        begun = clock.now()
        for number, request in enumerate(asked.requests()):
            night.say(dana, slack.channel(f"ops{number}"), request)
        night.until(lambda: night.ended(asked.runs), FOREVER)
        hours = (clock.now() - begun) / 3600
        night.drop()
        assert night.bugs == 0
        assert night.world.violations == ()
        calls = tuple(call for call in slack.calls() if call.method not in SOCKETS)
        messages = slack.workspace.in_order()
        top = sum(m.thread_ts is None for m in messages)
    return Counted(calls, hours, asked.runs * asked.vms, top, len(messages) - top, slack.limited)


def measure(folder: Path, single: Asked, large: Asked, several: Asked) -> list[Row]:
    """The three nights."""
    rooms = [folder / name for name in ("single", "large", "several")]
    for room in rooms:
        room.mkdir()
    one, many, crowd = map(count, rooms, (single, large, several))
    return [
        most(f"1 VM, {one.hours:.1f} h: calls in all", len(one.calls), 40),
        told("by method", one.methods),
        exactly("messages in the channel itself", one.top_level, 1),
        most("replies in its thread", one.replies, 6),
        per_vm(
            f"{many.vms:,} VMs in one run, {many.hours:.1f} h, looked at every {large.tick:g} s: "
            "calls for each VM",
            many,
        ),
        told("by method", many.methods),
        exactly("messages in the channel itself", many.top_level, 1),
        per_vm(f"{several.runs} runs at once, {crowd.hours:.1f} h: calls for each VM", crowd, None),
        told("by method", crowd.methods),
        most("chat.update in the busiest minute", crowd.busiest("chat.update"), 50),
        exactly("answered with 429", crowd.limited, 0),
    ]


def most(what: str, number: int, limit: int) -> Row:
    """A count with an upper limit."""
    return Row(what, f"{number:,}", f"≤ {limit:,}", number <= limit)


def per_vm(what: str, counted: Counted, limit: float | None = 0.3) -> Row:
    """Calls per VM."""
    each = len(counted.calls) / counted.vms
    shown = f"{each:.2f} ({len(counted.calls):,} in all)"
    return told(what, shown) if limit is None else Row(what, shown, f"< {limit}", each < limit)


ALL: Sequence[Asked] = (Asked(1, 1, 60.0), Asked(1, 1000, 12.0, tick=20.0), Asked(20, 12, 10.0))
TINY: Sequence[Asked] = (Asked(1, 1, 3.0), Asked(1, 4, 3.0), Asked(2, 2, 3.0))
