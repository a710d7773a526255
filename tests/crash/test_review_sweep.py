"""Break-glass approvals and their reviews, killed before every statement of the worker.

Each counts once, and the person who made it is not told that somebody else did.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.slack.kit.buttons import BREAK, value_of
from bot.slack.kit.loop import Loop
from bot.slack.modals.fields import FormPlace, metadata
from bot.slack.outbox.rate_limits import Rhythm
from engine.sim.fleet_file import parse
from engine.store import events, queries
from tests.patient import patient_slack
from tests.prove import spread
from tests.slack.mortal import Mortal
from tests.slack.stepped import beginning
from tests.troubled_slack import TroubledSlack

pytestmark = pytest.mark.prove

SLOW = Rhythm(board=30.0, look=5.0)
FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [
  { name = "web01", host = "hv01", minutes = 1.0 },
  { name = "old01", host = "hv01", minutes = 1.0, status = "PowerOff" },
]
"""
HOURS = 3600.0
WHY, NOTE = "the storage of hv01 is on fire", "the storage was not on fire at all"


class Sweep(Mortal):
    """A night in which only the worker can be killed."""

    def can_die(self, loop: Loop | None) -> bool:
        return loop is self.side.worker.loop


def break_glass(night: Sweep, user: str) -> None:
    """Submit the open form of this person."""
    asked = queries.approval(night.store, 1)
    assert asked is not None
    said = {"label": "R1", "reason": WHY}
    values = {name: {name: {"value": value}} for name, value in said.items()}
    view = {
        "id": "V0BREAK",
        "type": "modal",
        "callback_id": BREAK,
        "private_metadata": metadata(FormPlace(value_of(asked), "C0OPS")),
        "state": {"values": values},
    }
    night.deliver({"type": "view_submission", "user": {"id": user}, "view": view, "team": {}})


def play(night: Sweep) -> None:
    """Dana requests a run, Mei approves it by break-glass, and Ravi reviews that."""
    slack = night.slack
    dana, mei, ravi = (slack.user(name) for name in ("dana", "mei", "ravi"))
    night.say(dana, slack.channel("ops"), "host hv01 to hv02 now")
    night.until(lambda: bool(queries.open_approvals(night.store)), HOURS)
    break_glass(night, mei)
    night.until(lambda: bool(queries.reviews(night.store, 1)) and night.quiet(), HOURS)
    night.say(ravi, slack.channel("ops"), f"reviewed R1 {NOTE}")
    night.until(lambda: bool(queries.reviews(night.store, 1)[0].at) and night.quiet(), HOURS)
    night.until(lambda: night.ended(1), 10 * HOURS)
    night.drop()
    assert night.bugs == 0


def played(room: Path, chosen: int) -> tuple[Sweep, TroubledSlack]:
    """One night, killed before the given statement."""
    room.mkdir()
    clock = beginning()
    with patient_slack(clock) as slack:
        night = Sweep(
            room, slack, clock, parse(FLEET), SLOW, approvers=("U0DANA",), break_glass=True
        )
        night.chosen = chosen
        play(night)
        night.begin()
        told = [event.kind for event in events.since(night.store)]
        assert [told.count(kind) for kind in ("glass.broken", "glass.reviewed")] == [1, 1], chosen
        assert events.verify(night.store) == len(told), chosen
        night.drop()
        return night, slack


def test_each_row_takes_effect_and_is_answered_once_after_a_kill_at_any_statement(tmp_path):
    whole, _ = played(tmp_path / "whole", -1)
    assert whole.points > 20, "the night is too quiet to prove anything"

    for point in spread(range(1, whole.points + 1), 6, 15):
        night, slack = played(tmp_path / str(point), point)
        where = f"killed before statement {point} of {whole.points}"
        assert night.deaths == 1, where
        shown = [m.text for m in slack.workspace.in_order()]
        assert sum("broke the glass and approved" in text for text in shown) == 1, where
        assert sum(text.startswith("🔎") for text in shown) == 1, where
        assert [e.text for e in slack.ephemerals("U0MEI")] == [], where
        answer, *more = [e.text for e in slack.ephemerals("U0RAVI")]
        assert NOTE in answer, where
        assert "was reviewed by" not in answer, where
        assert more == [], where
