"""Copies of a card for approvers who cannot see the channel. One decision closes all copies."""

from __future__ import annotations

import logging

import pytest

from bot.slack.kit.buttons import WITHDRAW
from bot.slack.outbox.rows import Outbound
from engine.store import events, queries
from tests.slack.handlers.test_decisions import actions_of


def leave(night, user, channel=None):
    night.slack.workspace.channels[channel or night.ops].members.discard(user)


def copy_in(night, channel, words="Approve moving"):
    return night.slack.wait_for(
        lambda: next((m for m in night.slack.messages(channel) if words in m.shown), None)
    )


@pytest.fixture
def outside(make_night):
    """A night in which Ravi may approve and is not in the channel, and Mei may approve and is."""
    night = make_night(approvers=("U0RAVI", "U0MEI"))
    leave(night, night.ravi)
    night.start()
    board = night.ask_for()
    card = night.card(board)
    return night, board, card, copy_in(night, night.slack.direct(night.ravi))


def test_an_approver_outside_the_channel_gets_a_copy_that_links_the_thread(outside):
    night, _, card, copy = outside

    assert actions_of(copy) == actions_of(card)
    assert f"thread of R1 in <#{night.ops}>" in copy.shown
    assert copy.text.startswith("Approve moving 1 powered-down VM?")
    assert night.slack.messages(night.slack.direct(night.mei)) == ()
    assert night.slack.messages(night.slack.direct(night.dana)) == ()


def test_a_click_on_a_copy_decides_and_closes_the_card_and_the_copy(outside):
    night, board, card, copy = outside

    night.slack.click(night.ravi, copy.ts, "approve")

    assert night.reply_with("Approved by", board).ts == card.ts
    closed = copy_in(night, copy.channel, "Approved by")
    assert closed.ts == copy.ts
    assert actions_of(closed) == [WITHDRAW]
    assert night.slack.ephemerals(night.ravi) == ()


def test_a_decision_on_the_card_closes_the_copy_and_a_late_click_there_is_answered(outside):
    night, _, card, copy = outside
    old = next(e["value"] for b in copy.blocks if b["type"] == "actions" for e in b["elements"])
    night.slack.click(night.mei, card.ts, "approve")
    copy_in(night, copy.channel, "Approved by")
    night.clock.jump(night.clock.now() + 12)

    night.slack.click(night.ravi, copy.ts, "approve", value=old)

    assert f"<@{night.mei}> approved this 12 s before" in night.told(night.ravi, "approved")
    granted = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert len(granted) == 1


def test_a_form_opened_from_a_copy_is_answered_at_the_copy(outside):
    night, board, _, copy = outside
    night.slack.click(night.ravi, copy.ts, "deny")

    night.slack.submit(night.slack.form(night.ravi), reason="not tonight")

    night.reply_with("Denied by", board)
    night.step(until=lambda: "again" in str(night.slack.thread(night.ops, board.ts)))
    night.settled()
    assert actions_of(copy_in(night, copy.channel, "Denied by")) == []


def test_copies_go_to_the_configured_channel(make_night, slack):
    place = slack.channel("approvals")
    night = make_night(approvals_channel=place)
    leave(night, night.ravi)
    night.start()
    board = night.ask_for()
    night.card(board)

    copy = copy_in(night, place)

    assert night.slack.messages(night.slack.direct(night.ravi)) == ()
    night.slack.click(night.ravi, copy.ts, "approve")
    night.reply_with("Approved by", board)
    copy_in(night, place, "Approved by")
    assert len(night.slack.messages(place)) == 1


def test_a_run_in_the_approvals_channel_has_one_card_and_no_copy(make_night, slack):
    night = make_night(approvals_channel=slack.channel("ops"))
    night.start()
    board = night.ask_for()
    night.card(board)
    night.settled()

    cards = [m for m in night.slack.workspace.in_order() if "Approve moving" in m.shown]

    assert len(cards) == 1


@pytest.mark.parametrize("error", ["missing_scope", "fatal_error"])
def test_no_copies_are_sent_if_slack_does_not_list_members_and_it_is_logged(
    make_night, slack, error, caplog
):
    night = make_night()
    leave(night, night.ravi)
    slack.order("conversations.members", error, times=3)
    night.start()

    with caplog.at_level(logging.WARNING):
        night.card(night.ask_for())
        slack.wait_for(lambda: slack.calls("conversations.members"))
        night.settled()

    assert slack.messages(slack.direct(night.ravi)) == ()
    said = [r.message for r in caplog.records if "nobody outside is sent" in r.message]
    assert said == [
        f"Slack does not say who is in {night.ops}: {error}; "
        "nobody outside is sent a copy of a card"
    ]
    assert night.slack.calls("conversations.open") == ()


def test_an_existing_copy_is_closed_and_not_sent_again_after_a_restart(outside):
    night, _, card, copy = outside
    night.side.stop()
    night.side = night.new_side()
    night.start()
    night.settled()

    night.slack.click(night.mei, card.ts, "approve")

    copy_in(night, copy.channel, "Approved by")
    assert len(night.slack.messages(copy.channel)) == 1


def test_no_copy_is_sent_after_the_decision(outside):
    night, _, _, copy = outside
    night.side.outbox.loop.stop()
    tables = night.side.tables
    unsent = Outbound("card:A1@D0MEI", "message", "D0MEI", "Approve?", fingerprint="x", run=1)
    posted = Outbound(f"card:A1@{copy.channel}", "message", copy.channel, "y", fingerprint="y")
    with night.store.transaction() as db:
        tables.put(db, unsent)
        tables.put(db, posted)
    night.service.decide(1, "approve", by="terminal:ann")

    night.side.publisher.look_at(1)

    keys = night.slack.wait_for(
        lambda: [k for k in [[o.key for o in tables.outbound()]] if unsent.key not in k]
    )[0]
    assert posted.key in keys


def test_the_end_of_a_run_closes_an_undecided_copy(outside):
    night, _, _, copy = outside
    night.say("stop R1")
    night.board_shows("Stopping")

    night.to_the_end()

    assert actions_of(copy_in(night, copy.channel, "Nobody decided")) == []


def test_approvers_still_decide_on_a_run_reported_only_to_its_owner(night):
    night.ask_for()
    night.settled()
    night.slack.kick(night.ops)

    night.step(until=lambda: bool(queries.open_approvals(night.store)))

    copy = copy_in(night, night.slack.direct(night.ravi))
    assert f"thread of R1 for <@{night.dana}> alone" in copy.shown
    night.slack.click(night.ravi, copy.ts, "approve")
    copy_in(night, copy.channel, "Approved by")
    told = copy_in(night, night.slack.direct(night.dana), "Posted here because")
    night.slack.wait_for(
        lambda: any("Approved by" in m.shown for m in night.slack.thread(told.channel, told.ts))
    )


def test_a_decision_closes_a_copy_whose_post_answer_was_lost(outside):
    night, board, _, copy = outside
    night.settled()
    night.side.stop()
    tables, key = night.side.tables, f"card:A1@{copy.channel}"
    version = copy.metadata["event_payload"]["version"]
    tables.forget(key)  # as it stood before the answer was written down
    again = Outbound(key, "message", copy.channel, "x", fingerprint=version, run=1)
    with night.store.transaction() as db:
        tables.put(db, again)
    tables.trying(again, night.side.outbox.clock.now())
    night.service.decide(1, "approve", by="terminal:ann")
    night.side.publisher.look()

    night.side = night.new_side()
    night.start()

    night.reply_with("Approved by", board)
    night.settled()
    assert "Approved by" in night.slack.message(copy.ts).shown
