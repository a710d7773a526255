"""Duplicate deliveries: Slack may deliver a click or a form again after it has taken effect.

Each journey is played twice: with a Slack that delivers once, and with one that delivers each click
and each form a second time. People see the same, and the audit holds the same.
"""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import BREAK
from bot.slack.setup.manifest import SCOPES
from engine.model import MoveState
from engine.store import events
from tests.hangs import HANGS
from tests.slack.conftest import Night
from tests.slack.handlers.test_break_glass import fill
from tests.slack.handlers.test_decisions import SEVERAL
from tests.slack.handlers.test_review import looked_at
from tests.slack.handlers.test_run_buttons import choose as choose_in_menu
from tests.slack.handlers.test_run_buttons import state_of
from tests.troubled_slack import TroubledSlack


class Insistent(TroubledSlack):
    """A Slack that delivers everything again after the first delivery was carried out."""

    night: Night | None = None

    def deliver(self, kind, payload, **more):
        first = super().deliver(kind, payload, **more)
        if kind != "interactive" or self.night is None:
            return first
        self.night.settled()
        again = super().deliver(kind, payload, **more)
        assert again.payload == first.payload
        self.night.settled()
        return first


def open_form(night, user, message, action):
    night.slack.click(user, message.ts, action)
    return night.slack.form(user)


def approve(night, board, card):
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)


def deny(night, board, card):
    form = open_form(night, night.ravi, card, "deny")
    night.slack.submit(form, reason=" ")
    night.slack.submit(form, reason="not tonight")
    night.reply_with("Denied by", board)


def choose(night, board, card):
    form = open_form(night, night.ravi, card, "choose")
    names = [o["text"]["text"] for o in form.view["blocks"][1]["element"]["options"]]
    night.slack.submit(form, chosen=names[:1])
    night.reply_with("Approved 1 of 3", board)


def withdraw(night, board, card):
    night.slack.click(night.ravi, card.ts, "approve")
    approved = night.reply_with("Approved by", board)
    night.slack.submit(open_form(night, night.ravi, approved, "withdraw"), reason="wait")
    night.reply_with("Withdrawn by", board)


def break_glass(night, board, card):
    fill(night, open_form(night, night.mei, card, BREAK))
    night.reply_with("broke the glass", board)


def pause_and_resume(night, board, card):
    night.slack.click(night.dana, board.ts, "do.pause")
    night.slack.click(night.dana, night.board_shows("Paused").ts, "do.resume")
    night.board_shows("Moving")


def abort(night, board, card):
    night.step(until=lambda: state_of(night, "web01") is MoveState.MOVING)
    choose_in_menu(night, night.dana, board, "Abort…")
    night.slack.submit(night.slack.form(night.dana))
    night.board_shows("Stopping")


def everything_seen(night):
    looked_at(night)
    private = {u: [e.text for e in night.slack.ephemerals(u)] for u in night.slack.workspace.users}
    # Boards and open cards are rendered at every change. Their current content depends on
    # chance, but the number of messages does not.
    said = len(night.slack.workspace.in_order())
    return private, said, [(e.kind, e.by) for e in events.since(night.store)]


@pytest.mark.parametrize(
    "journey", [approve, deny, choose, withdraw, break_glass, pause_and_resume, abort]
)
def test_a_second_delivery_changes_nothing_and_sends_no_message(journey, tmp_path):
    seen = []
    for kind in (TroubledSlack, Insistent):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        alone = {"approvers": ("U0DANA",), "break_glass": True}
        options = alone if journey is break_glass else {}
        with kind(ack_within=HANGS, trigger_life=HANGS, patience=HANGS, scopes=SCOPES) as slack:
            night = Night(folder, slack, fleet=SEVERAL, **options)
            night.start()
            board = night.ask_for("host hv01 to hv02 now")
            card = night.card(board)
            slack.night = night
            journey(night, board, card)
            seen.append(everything_seen(night))
            night.stop()

    assert seen[0] == seen[1]


def test_resubmitting_a_form_with_other_text_says_that_the_first_text_counted(night):
    card = night.card(night.ask_for())
    form = open_form(night, night.ravi, card, "deny")
    night.slack.submit(form, reason="not tonight")
    night.settled()

    again = night.slack.submit(form, reason="never")

    assert again.payload["response_action"] == "errors"
