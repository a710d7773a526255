"""The outbox, killed before every statement and left without the answer to every call.

No message is lost and none is posted twice. On virtual time: a night without failures is played
and its statements are counted, then the night is played once for each point. ``make prove`` plays
all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.slack.kit.buttons import APPROVE
from bot.slack.kit.loop import Loop
from bot.slack.outbox.rate_limits import Rhythm
from bot.standin.values import Message
from engine.sim.fleet_file import parse
from tests.patient import patient_slack
from tests.prove import size, spread
from tests.slack.mortal import Mortal
from tests.slack.stepped import beginning
from tests.troubled_slack import TroubledSlack

pytestmark = pytest.mark.prove

PARTS = size(1, 4, 4)  # of the sweep, each a test of its own
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


class Sweep(Mortal):
    """A night in which only the outbox can be killed."""

    def can_die(self, loop: Loop | None) -> bool:
        return loop is self.side.outbox.loop


def play(night: Sweep) -> None:
    """Play two requests, an answer to each, a run with an approved card, and its report."""
    slack = night.slack
    dana, ravi, ops = slack.user("dana"), slack.user("ravi"), slack.channel("ops")
    night.say(dana, ops, "status R77")
    night.say(dana, ops, "host hv01 to hv02 now")
    night.until(lambda: card(slack) is not None, HOURS)
    asked = card(slack)
    assert asked is not None
    night.click(ravi, asked.ts, APPROVE)
    night.say(ravi, ops, "status R78")
    night.until(lambda: night.ended(1), 10 * HOURS)
    night.drop()
    assert night.bugs == 0


def card(slack: TroubledSlack) -> Message | None:
    return next((m for m in slack.workspace.in_order() if "Approve moving" in m.shown), None)


def keys(slack: TroubledSlack) -> Counter[str]:
    """The number of posted messages for each key."""
    return Counter(
        str(payload.get("key"))
        for m in slack.workspace.in_order()
        if isinstance(payload := m.metadata.get("event_payload"), dict)
    )


@pytest.fixture
def nights(tmp_path: Path) -> Callable[..., Iterator[tuple[Sweep, TroubledSlack]]]:
    """New nights, one after the other."""
    numbers = iter(range(10_000))

    def one(**chosen: int) -> Iterator[tuple[Sweep, TroubledSlack]]:
        room = tmp_path / str(next(numbers))
        room.mkdir()
        clock = beginning()
        with patient_slack(clock) as slack:
            night = Sweep(room, slack, clock, parse(FLEET), SLOW, approvers=("U0RAVI",))
            for name, value in chosen.items():
                setattr(night, name, value)
            yield night, slack

    return one


def played(nights, **chosen: int) -> tuple[Sweep, TroubledSlack]:
    for night, slack in nights(**chosen):
        play(night)
        return night, slack
    raise AssertionError


def assert_all_is_said(slack: TroubledSlack, usual: Counter[str], where: str) -> None:
    """Check for every message and answer of a night without failures, and for a current board."""
    found = keys(slack)
    assert found == usual, where
    (board, *_) = slack.messages("C0OPS")
    assert "Completed" in board.shown, where
    report = next(m for m in slack.workspace.in_order() if m.broadcast)
    assert "2 of 2 moved" in report.text, where
    for user, words in (("U0DANA", "R77"), ("U0RAVI", "R78")):
        assert [e for e in slack.ephemerals(user) if words in e.text], where


@pytest.mark.parametrize("part", range(PARTS))
def test_the_outbox_sends_every_message_after_a_kill_before_any_statement(nights, part):
    whole, slack = played(nights)
    usual = keys(slack)
    assert whole.points > 40, "the night is too quiet to prove anything"
    assert set(usual.values()) == {1}

    for point in spread(range(1 + part, whole.points + 1, PARTS), 8, 8):
        _, slack = played(nights, chosen=point)
        assert_all_is_said(slack, usual, f"killed before statement {point} of {whole.points}")


def test_a_lost_answer_at_any_call_loses_no_message(nights):
    _, slack = played(nights)
    usual, methods = keys(slack), [call.method for call in slack.calls()]

    # Slack must identify people again. Until then nobody can decide.
    said = [(n, method) for n, method in enumerate(methods) if method.startswith("chat.")]
    for number, method in spread(said, 4, 12):
        for night, other in nights():
            lose(other, number)
            play(night)
            assert_all_is_said(other, usual, f"no answer to call {number}, {method}")


def lose(slack: TroubledSlack, number: int) -> None:
    """Carry out the call with this number and drop its connection without an answer."""
    answer = slack.workspace.answer

    def lost(method: str, args: dict[str, object], token: str) -> object:
        if len(slack.workspace.calls) == number:
            slack.workspace.lose_answer[method] += 1
        return answer(method, args, token)

    slack.workspace.answer = lost
