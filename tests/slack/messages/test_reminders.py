"""Reminders before an approval is needed, and the escalation."""

from __future__ import annotations

import pytest

from bot.slack.messages.snapshot import take_snapshot
from bot.slack.outbox.rows import Outbound
from engine.store import queries

LONG = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[vm]]
name = "big01"
host = "hv01"
disk_gb = 4000
minutes = 120.0
[[vm]]
name = "old-crm"
host = "hv01"
status = "PowerOff"
disk_gb = 10
minutes = 3.0
"""


@pytest.fixture
def long_night(make_night):
    """One VM that takes two hours, and one that needs an approval afterwards. Ravi may approve."""

    def make(**options):
        night = make_night(fleet=LONG, **options)
        night.start()
        return night

    return make


def asked_again(night, board, mark):
    return [m for m in night.slack.thread(night.ops, board.ts) if mark in m.shown]


def at(night, seconds_before):
    """Step until the approval is needed in less than this many seconds."""

    def near():
        seen = take_snapshot(night.store, night.settings, 1, night.clock.now())
        return seen.board.needed_by - night.clock.now() <= seconds_before

    night.step(until=near, most=20_000)
    looked_at(night)


def looked_at(night):
    """Wait until the publisher has rendered the run and its messages are sent."""
    night.side.publisher.look_at(1)
    night.slack.wait_for(lambda: not night.side.publisher._asked)
    night.settled()


def test_no_reminder_is_sent_long_before_an_approval_is_needed(long_night):
    night = long_night()
    board = night.ask_for("host hv01 to hv02 now")
    night.card(board)

    at(night, 1800)

    assert asked_again(night, board, "⏰") == []


def test_approvers_are_reminded_once_even_after_a_restart(long_night):
    night = long_night()
    board = night.ask_for("host hv01 to hv02 now")
    night.card(board)

    at(night, 890)

    again = night.reply_with("⏰", board)
    assert again.text.startswith(
        f"⏰ <@{night.ravi}> A1 awaits a decision: 1 powered-down VM of R1 · hv01 → hv02, "
        "needed by <!date^"
    )
    assert again.text.endswith(": /migrate approve A1")
    night.side.stop()
    night.side = night.new_side()
    night.start()
    at(night, 600)
    [only] = asked_again(night, board, "⏰")
    assert len(only.versions) == 1


def test_a_sent_reminder_does_not_change_if_the_on_call_person_changes(long_night, slack):
    oncall = slack.group("oncall", slack.user("ravi"))
    night = long_night(approvers=(), oncall=(oncall,))
    board = night.ask_for("host hv01 to hv02 now")
    card = night.card(board)
    at(night, 890)
    night.reply_with(f"⏰ <@{night.ravi}>", board)

    slack.group("oncall", night.ravi, slack.user("zoe"))
    night.store.database().execute("UPDATE slack_lookups SET at = 0")
    night.slack.wait_for(lambda: "U0ZOE" in night.slack.message(card.ts).shown)
    looked_at(night)

    [only] = asked_again(night, board, "⏰")
    assert len(only.versions) == 1


def test_the_escalation_is_asked_if_nobody_has_decided_shortly_before_the_deadline(
    long_night, slack
):
    boss = slack.user("boss")
    group = slack.group("bosses", boss)
    night = long_night(escalation=(group,))
    board = night.ask_for("host hv01 to hv02 now")
    card = night.card(board)
    at(night, 600)
    assert asked_again(night, board, "📣") == []

    at(night, 290)

    told = night.reply_with("📣", board).text
    assert told.startswith(f"📣 <!subteam^{group}> A1 awaits a decision")
    do = "Decide on the card in this thread, or type in a channel: /migrate approve A1"
    assert told.endswith(f"Nobody has decided yet. {do}")
    night.slack.click(boss, card.ts, "approve")
    night.reply_with("Approved by", board)


def test_no_reminder_is_sent_after_a_decision(long_night):
    night = long_night()
    board = night.ask_for("host hv01 to hv02 now")
    card = night.card(board)
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)

    night.to_the_end()
    night.reply_with("R1 ended", board)

    assert asked_again(night, board, "⏰") == []


def test_the_escalation_is_asked_at_once_if_nobody_else_may_approve(long_night, slack):
    boss = slack.user("boss")
    night = long_night(approvers=(slack.user("dana"),), escalation=(slack.group("bosses", boss),))
    board = night.ask_for("host hv01 to hv02 now")

    card = night.card(board)

    assert f"I will ask <@{boss}> instead." in night.told(night.dana, "R1 is starting, but")
    asked = night.reply_with("📣", board)
    assert float(asked.ts) > float(card.ts), "it speaks of a card that does not stand yet"
    told = asked.text
    assert f"Nobody except <@{night.dana}> is listed to decide" in told
    assert queries.open_approvals(night.store)


def test_an_urgent_card_is_not_followed_by_a_reminder_for_five_minutes(night):
    board = night.ask_for("vm web01,web02,old-crm to hv02 now")
    night.card(board)
    asked = queries.open_approvals(night.store)[0].requested

    night.step(until=lambda: night.clock.now() >= asked + 290, at_most=5.0)
    looked_at(night)
    assert asked_again(night, board, "⏰") == []

    night.step(until=lambda: night.clock.now() >= asked + 300, at_most=5.0)
    assert night.reply_with("⏰", board)


def test_a_queued_reminder_is_not_sent_after_the_decision(long_night):
    night = long_night()
    night.card(night.ask_for("host hv01 to hv02 now"))
    night.settled()
    night.slack.order("chat.postMessage", "ratelimited", retry_after=3_600)
    reminder = Outbound(
        "remind:A1:900", "message", night.ops, "x", (), "f", run=1, parent="board:R1"
    )
    night.side.publisher.loop.stop()  # its next look is ours, below
    tables = night.side.tables
    with night.store.transaction() as db:
        tables.put(db, reminder)

    night.service.decide(1, "approve", by="terminal:ravi")
    night.side.publisher.look()

    assert "remind:A1:900" not in [out.key for out in tables.outbound()]
    assert tables.message("remind:A1:900") is None
    assert night.side.outbox.loop.bugs == 0


def test_a_reminder_being_sent_keeps_its_text(long_night):
    night = long_night()
    board = night.ask_for("host hv01 to hv02 now")
    night.card(board)
    night.settled()
    night.side.outbox.loop.stop()
    night.side.publisher.loop.stop()
    publisher = night.side.publisher
    first = Outbound("remind:A1:900", "message", night.ops, "x", fingerprint="f", run=1)
    with night.store.transaction() as db:
        night.side.tables.put(db, first)

    def near():
        seen = take_snapshot(night.store, night.settings, 1, night.clock.now())
        return seen.board.needed_by - night.clock.now() <= 890

    night.step(until=near, most=20_000)

    publisher.look_at(1)
    publisher.look()

    [waits] = [out for out in night.side.tables.outbound() if out.key == "remind:A1:900"]
    assert waits.text == "x"
