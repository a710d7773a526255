"""Commands and clicks, killed before every statement of the worker, and again during the recovery.

Each counts once, and its author is told once that it took effect. A restart takes a while, so the
events before the kill are older than those after it.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from bot.slack.kit.buttons import APPROVE
from bot.slack.kit.loop import Loop
from bot.slack.outbox.rate_limits import Rhythm
from engine.sim.fleet_file import parse
from engine.store import events, queries
from tests.patient import patient_slack
from tests.prove import size, spread
from tests.slack.mortal import Mortal
from tests.slack.stepped import beginning

pytestmark = pytest.mark.prove

PARTS = size(1, 4, 4)  # of the sweep, each a test of its own
SLOW = Rhythm(board=30.0, look=5.0)
RESTART = 7.0  # seconds
FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [
  { name = "web01", host = "hv01", minutes = 12.0 },
  { name = "web02", host = "hv01", minutes = 12.0 },
  { name = "web03", host = "hv01", minutes = 12.0 },
  { name = "old01", host = "hv01", minutes = 1.0, status = "PowerOff" },
]
"""
HOURS = 3600.0
MOMENTS = re.compile(r"<!date\^\d+\^[^>]*>|\d+ s ago")


class Sweep(Mortal):
    """A night in which only the worker can be killed. ``gap``: kill it again that many
    statements later; 0: kill once."""

    gap = 0

    def can_die(self, loop: Loop | None) -> bool:
        return loop is self.side.worker.loop

    def begin(self) -> None:
        if self.deaths:
            self.clock.jump(self.clock.now() + RESTART)
        if self.deaths == 1 and self.gap:
            self.chosen = self.points + self.gap
        super().begin()

    def does(self, user: str, text: str) -> None:
        """Type a command and wait until it is carried out and answered."""
        self.say(user, "C0OPS", text)
        self.until(self.quiet, HOURS)


def play(night: Sweep) -> None:
    """Play a run that is requested, steered, decided, withdrawn and stopped."""
    slack = night.slack
    dana, ravi, mei = (slack.user(name) for name in ("dana", "ravi", "mei"))
    slack.channel("ops")
    night.does(dana, "host hv01 to hv02 now")
    night.until(lambda: bool(queries.open_approvals(night.store)) and night.quiet(), HOURS)
    night.does(dana, "host hv01 to hv02 now")  # the same again
    for by, text in ((mei, "pause R1"), (mei, "resume R1"), (dana, "set R1 parallel 1")):
        night.does(by, text)
    card = next(m for m in slack.workspace.in_order() if "Approve moving" in m.shown)
    night.click(ravi, card.ts, APPROVE)
    night.until(night.quiet, HOURS)
    for by, text in ((ravi, "withdraw A1 wait"), (dana, "skip R1 web03"), (mei, "stop R1")):
        night.does(by, text)
    night.until(lambda: night.ended(1), 10 * HOURS)


Told = Counter[tuple[str, str]]


def played(room: Path, chosen: int = -1, gap: int = 0) -> tuple[Sweep, Counter[str], Told]:
    """One night: its audit, and the answers to each person."""
    room.mkdir()
    clock = beginning()
    with patient_slack(clock) as slack:
        night = Sweep(room, slack, clock, parse(FLEET), SLOW, approvers=("U0RAVI",))
        night.chosen, night.gap = chosen, gap
        play(night)
        kept = events.since(night.store)
        assert events.verify(night.store) == len(kept)
        done = Counter(f"{e.kind} by {e.by}" for e in kept if e.by is not None)
        users = ("U0DANA", "U0RAVI", "U0MEI")
        told = Counter(
            (user, MOMENTS.sub("then", e.text)) for user in users for e in slack.ephemerals(user)
        )
        night.drop()
        assert night.bugs == 0
        return night, done, told


@pytest.mark.parametrize("part", range(PARTS))
def test_each_row_takes_effect_and_is_answered_once_after_a_kill_at_any_statement(tmp_path, part):
    whole, done, told = played(tmp_path / "whole")
    assert whole.points > 80, "the night is too quiet to prove anything"

    for point in spread(range(1 + part, whole.points + 1, PARTS), 5, 10):
        gap = point // 4 % 7
        where = f"killed before statement {point} of {whole.points}, and {gap} after that"
        night, again, said = played(tmp_path / f"{point}-{gap}", point, gap)
        assert night.deaths >= 1, where
        assert again == done, where
        assert Counter(user for user, _ in said) == Counter(user for user, _ in told), where
        # Effects from before the kill are answered from the audit.
        assert [one for one in said - told if f"<@{one[0]}>" not in one[1]] == [], where
