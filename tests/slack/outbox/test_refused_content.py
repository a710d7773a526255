"""Messages whose content Slack rejects: sent as plain text, or given up and noted, never lost."""

from __future__ import annotations

import logging

import pytest

from bot.slack.kit.blocks import TEXT, actions, button, section
from bot.slack.kit.mentions import render
from bot.slack.modals.fields import FormPlace, modal
from bot.slack.outbox import plain_text
from bot.slack.outbox.rows import Outbound
from engine.model import ApprovalState, MoveState, RunState
from engine.store import events, queries
from tests.slack.handlers.test_decisions import actions_of

POST, UPDATE = "chat.postMessage", "chat.update"


def tries(night, key, method=POST):
    found = []
    for call in night.slack.calls(method):
        metadata = call.args.get("metadata") or {}
        if metadata.get("event_payload", {}).get("key") == key:
            found.append(call)
    return found


def look(night):
    night.side.publisher.look_at(1)
    night.side.publisher.look()
    night.side.outbox.loop.knock()


def shown_as(night, vm):
    return next(m.move.state for m in queries.record(night.store, 1).moves if m.move.vm == vm)


def notes(night):
    return [e.text for e in events.since(night.store) if e.kind == "run.noted"]


@pytest.mark.parametrize("error", ["invalid_blocks", "msg_blocks_too_long"])
def test_a_card_whose_blocks_slack_rejects_is_sent_as_text_with_commands(night, error):
    board = night.ask_for()
    night.settled()
    night.slack.order(POST, error)

    card = night.card(board)

    assert card.blocks == ()
    assert card.text.startswith("Approve moving 1 powered-down VM?")
    assert card.text.endswith(
        "Slack rejected the buttons. Type in a channel: /migrate approve A1 or /migrate deny A1"
    )
    assert len(tries(night, "card:A1")) == 2
    assert notes(night) == []
    night.say("approve A1", by=night.ravi)
    closed = night.reply_with("Approved by", board)
    assert closed.ts == card.ts
    assert closed.blocks != (), "what it says next may be taken as it is"


@pytest.fixture
def refused(night):
    """A run whose card Slack rejects in every form."""
    board = night.ask_for()
    night.settled()
    night.side.stop()  # a look in mid-step could see a card in two versions
    night.slack.order(POST, "invalid_blocks", times=2)
    night.step(until=lambda: bool(queries.open_approvals(night.store)))
    night.side = night.new_side()
    night.start()
    night.slack.wait_for(lambda: look(night) or notes(night))
    night.settled()
    return night, board


def test_a_message_that_slack_rejects_in_every_form_is_given_up_and_noted_once(refused, caplog):
    night, board = refused
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            night.side.publisher.look_at(1)
            night.slack.wait_for(lambda: not night.side.publisher._asked)
            night.side.outbox.send_due()

    assert len(tries(night, "card:A1")) == 2
    assert notes(night) == [
        "R1: Slack rejected the card of A1, also as plain text (invalid_blocks). "
        "Read it with: approvals"
    ]
    assert "card:A1" not in caplog.text
    assert night.slack.thread(night.ops, board.ts) == ()


def test_a_message_given_up_is_not_retried_by_the_next_process(refused):
    night, _ = refused
    night.side.stop()
    night.side = night.new_side()
    night.start()
    night.settled()

    assert len(tries(night, "card:A1")) == 2
    assert len(notes(night)) == 1


def test_approvers_are_asked_even_if_slack_rejects_the_card(refused):
    night, board = refused
    asked = queries.open_approvals(night.store)[0].requested

    night.step(until=lambda: night.clock.now() >= asked + 300)

    said = night.reply_with("⏰", board).text
    assert said.startswith(f"⏰ <@{night.ravi}> A1 awaits a decision")
    assert said.endswith("type in a channel: /migrate approve A1")


def test_the_outcome_of_a_card_that_was_given_up_is_still_posted(refused):
    night, board = refused

    night.say("approve A1", by=night.ravi)

    assert "Approved by" in night.reply_with("Approved by", board).shown
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED
    night.to_the_end()
    night.reply_with("R1 ended", board)


def test_a_second_rejected_version_is_not_noted_again(refused):
    night, board = refused
    night.slack.order(POST, "invalid_blocks", times=2)

    night.say("approve A1", by=night.ravi)

    night.slack.wait_for(lambda: len(tries(night, "card:A1")) == 4)
    night.settled()
    assert len(notes(night)) == 1
    assert night.slack.thread(night.ops, board.ts) == ()


def test_a_run_starts_with_a_board_sent_as_plain_text(night):
    night.slack.order(POST, "invalid_blocks")

    night.say("host hv01 to hv02 now")

    board = night.board_shows("R1 · hv01 → hv02")
    night.board_shows("Moving")
    assert board.versions[0].blocks == ()
    assert night.run().state is RunState.ACTIVE


def test_a_run_whose_board_slack_rejects_does_not_start_and_says_why(night):
    night.slack.order(POST, "invalid_blocks", times=2)

    night.say("host hv01 to hv02 now")

    assert "invalid_blocks" in night.told(night.dana, "R1")
    assert night.run().state is RunState.REJECTED


def test_a_card_whose_closing_update_is_rejected_still_loses_its_buttons(night):
    board = night.ask_for()
    card = night.card(board)
    night.side.publisher.loop.stop()  # else its last look may put a board that takes the refusal
    night.settled()
    night.slack.order(UPDATE, "invalid_blocks", times=1)
    night.slack.click(night.ravi, card.ts, "approve")
    night.slack.wait_for(lambda: not queries.open_approvals(night.store))
    night.slack.wait_for(lambda: night.side.tables.inbox.next_inbound() is None)

    night.side.publisher.look()
    night.side.outbox.loop.knock()

    closed = night.reply_with("Approved by", board)
    assert actions_of(closed) == []
    assert "Slack rejected the buttons." in closed.text


def test_a_rejected_update_is_noted_and_the_old_version_stays(night):
    board = night.ask_for("vm web01 to hv02 now")
    night.side.publisher.loop.stop()  # else a newer version may take the refusal
    night.settled()
    night.slack.order(UPDATE, "msg_blocks_too_long", times=2)
    night.step(until=lambda: shown_as(night, "web01") is MoveState.MOVING)
    night.slack.wait_for(lambda: look(night) or notes(night))
    night.to_the_end()
    look(night)
    night.reply_with("R1 ended", board)
    night.settled()

    assert "R1: Slack rejected its status message, also as plain text" in notes(night)[0]
    assert len(notes(night)) == 1


def test_an_answer_whose_blocks_slack_rejects_is_sent_as_plain_text(night):
    night.side.outbox.urls.keep = lambda *_: None
    night.slack.order("chat.postEphemeral", "invalid_blocks")

    night.say("host hv01 to hv02,hv03")

    said = night.told(night.dana, "hv01")
    assert said.endswith("To see what to type instead: /migrate help")
    assert night.slack.messages(night.slack.direct(night.dana)) == ()


# --- words ------------------------------------------------------------------------------------


def test_plain_text_messages_fit_within_slack_limits():
    blocks = (section("x"), actions(button("Approve 1", "approve", "1.abc")))
    long = Outbound("card:A1@D0RAVI", "message", "C1", "x" * TEXT, blocks, as_plain_text=True)

    text, none = plain_text.content(long, "/migrate")

    assert none == ()
    assert len(text) <= TEXT
    assert text.endswith("/migrate approve A1 or /migrate deny A1")
    bare = Outbound("remind:A1:900", "message", "C1", "do it", (section("x"),), as_plain_text=True)
    assert plain_text.content(bare, "/migrate") == ("do it", ())


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("board:R3", "its status message"),
        ("card:A7@slack:D0RAVI", "the card of A7 in a direct message"),
        ("list:A7:0", "the VMs of A7"),
        ("remind:A7:900@slack:D0RAVI", "a reminder of A7 in a direct message"),
        ("escalate:A7:", "the escalation of A7"),
        ("glass:A7", "the break-glass message of A7"),
        ("failure:R3:abc", "a failure message"),
        ("report:R3:17", "its report"),
    ],
)
def test_the_audit_names_the_messages_that_were_not_sent(key, told):
    said = plain_text.given_up(Outbound(key, "message", "C1", "x", run=3), "invalid_blocks")

    assert said.startswith(f"R3: Slack rejected {told}, also as plain text (invalid_blocks). Read")


def test_the_audit_of_a_rejected_card_links_its_channel_and_shows_the_command():
    out = Outbound("card:A7@slack:C0ROOM", "message", "C1", "x", run=3)

    assert render(plain_text.given_up(out, "invalid_blocks"), "/migrate") == (
        "R3: Slack rejected the card of A7 in <#C0ROOM>, also as plain text (invalid_blocks). "
        "Read it with: /migrate approvals"
    )


@pytest.mark.parametrize(
    ("place", "begins"),
    [
        ({}, "/migrate help"),
        ({"thread_ts": "1.2"}, "@vmferry help"),
        ({"parent": "board:R1"}, "@vmferry help"),
    ],
)
def test_a_message_without_its_buttons_shows_commands_that_work_there(place, begins):
    blocks = ({"type": "actions", "elements": [{"type": "button", "action_id": "do.retry"}]},)
    out = Outbound("failure:R1:x", "message", "C1", "x", blocks, as_plain_text=True, **place)

    assert plain_text.content(out, "/migrate")[0].endswith(f"type instead: {begins}")


@pytest.mark.parametrize(
    ("kind", "value", "thread", "instead"),
    [
        ("abort", "abort.3.run.x", None, ", or type: /migrate abort R3 yes"),
        ("abort", "abort.3.run.x", "1.2", ", or type: @vmferry abort R3 yes"),
        ("deny", "7.x", "1.2", ", or type in a channel: /migrate deny A7"),
        ("choose", "7.x", "1.2", ", or type in a channel: /migrate approve A7 VM..."),
        ("withdraw", "7.x", None, ", or type in a channel: /migrate withdraw A7"),
        ("break", "7.x", "1.2", "."),
    ],
)
def test_the_answer_to_a_form_that_does_not_open_says_what_to_type(kind, value, thread, instead):
    form = modal(kind, FormPlace(value, "slack:C0OPS"), "", "", [])
    out = Outbound("form:5", "form", "slack:C0OPS", "x", (form,), thread_ts=thread)

    said = plain_text.form_not_opened(out, "internal_error", "/migrate")

    nothing = "The form did not open (internal_error). Nothing changed."
    assert said == f"{nothing} Click again{instead}"


def test_the_bot_is_mentioned_by_its_id_in_formatted_texts_only():
    button = {"type": "button", "text": {"type": "plain_text", "text": "Tell @vmferry"}}
    line = {"type": "mrkdwn", "text": "Type: @vmferry retry R1"}
    blocks = ({"type": "section", "text": line}, {"type": "actions", "elements": [button]})

    text, shown = plain_text.with_mention(("See @vmferry status", blocks), lambda: "<@U7>")

    assert text == "See <@U7> status"
    assert shown[0]["text"] == {"type": "mrkdwn", "text": "Type: <@U7> retry R1"}
    assert shown[1]["elements"] == [button]


def test_a_text_with_mentions_stays_within_the_limit_of_a_section():
    full = {"type": "mrkdwn", "text": "@vmferry status\n" * 187}

    _, (shown,) = plain_text.with_mention(("", ({"text": full},)), lambda: "<@U0123456789>")

    assert 2_900 < len(shown["text"]["text"]) <= 3_000


def test_slack_is_not_asked_for_the_bot_where_nothing_mentions_it():
    def asked():
        raise AssertionError

    said = ("R1 ended", ({"type": "section", "text": {"type": "mrkdwn", "text": "R1 ended"}},))

    assert plain_text.with_mention(said, asked) == said
