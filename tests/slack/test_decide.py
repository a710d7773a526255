"""Clicks on a card: one decision, and a truthful sentence for every other click."""

from __future__ import annotations

import pytest
from slack_bolt import BoltRequest

from engine.model import ApprovalState
from engine.store import events, queries


@pytest.fixture
def asked(night):
    board = night.ask_for()
    return night, board, night.card(board)


def button(card, action):
    elements = [e for b in card.blocks if b["type"] == "actions" for e in b["elements"]]
    return next(e for e in elements if e["action_id"] == action)


def refusals(night):
    return [e for e in events.since(night.store) if e.kind == "refused"]


def test_the_card_says_what_who_where_and_by_when(asked):
    night, _, card = asked

    first = card.text.splitlines()[0]

    assert first.startswith("Approve moving 1 powered-down VM? Needed by <!date^")
    assert "• old-crm  Off  0 adapters  210 GB" in card.shown
    assert f"Asked by <@{night.dana}>, who cannot decide. May decide: <@{night.ravi}>" in card.shown
    assert "Without approval it stays on hv01; the others still move." in card.shown
    assert button(card, "approve")["confirm"]["text"]["text"] == (
        "Move 1 powered-down VM from hv01?"
    )
    approval = queries.open_approvals(night.store)[0]
    assert button(card, "approve")["value"] == f"{approval.id}.{approval.digest}"


def test_somebody_who_may_not_decide_is_told_so_and_it_is_audited(asked):
    night, _, card = asked

    night.slack.click(night.mei, card.ts, "approve")

    told = night.told(night.mei, "may not decide")
    assert told == (
        f"You may not decide on this (<@{night.ravi}> may). "
        "Your click is recorded. Nothing changed."
    )
    assert [e.by for e in refusals(night)] == [f"@{night.mei}"]
    assert queries.open_approvals(night.store)


def test_whoever_asked_cannot_approve_though_listed(asked):
    night, _, card = asked

    night.slack.click(night.dana, card.ts, "approve")

    assert night.told(night.dana, "You asked for R1") == (
        "You asked for R1, so you cannot decide on it. "
        f"These people may: <@{night.ravi}>. Nothing changed."
    )
    assert queries.open_approvals(night.store)


def test_a_grant_shows_who_and_takes_the_buttons_away(asked):
    night, board, card = asked

    night.slack.click(night.ravi, card.ts, "approve")

    shown = night.reply_with("Approved by", board)
    assert shown.ts == card.ts
    assert f"✅ Approved by <@{night.ravi}>" in shown.shown
    assert "R1 · old-crm" in shown.shown
    decided = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert f"Audit {decided[0].hash[:8]}" in shown.shown
    assert all(block["type"] != "actions" for block in shown.blocks)
    assert night.slack.ephemerals(night.ravi) == ()


def test_a_second_click_is_told_who_was_first_and_when(asked):
    night, board, card = asked
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)
    night.clock.jump(night.clock.now() + 12)

    old = button(card, "deny")["value"]
    night.slack.click(night.mei, card.ts, "deny", value=old)

    assert night.told(night.mei, "approved this") == (
        f"<@{night.ravi}> approved this 12 s before your click. Nothing changed."
    )
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED


def test_a_denial_leaves_the_vm_and_the_rest_moves(asked):
    night, board, card = asked

    night.slack.click(night.ravi, card.ts, "deny")

    shown = night.reply_with("Denied by", board)
    assert f"⛔ Denied by <@{night.ravi}>" in shown.shown
    assert "1 VM stays on hv01." in shown.shown
    night.to_the_end()
    assert "2 of 3 moved, hv01 is not empty" in night.reply_with("R1 ended", board).text


def test_a_button_for_another_question_than_the_one_asked_changes_nothing(asked):
    night, _, card = asked

    night.slack.click(night.ravi, card.ts, "approve", value="1.0123456789abcdef")

    assert "older than the question" in night.told(night.ravi, "card")
    assert queries.open_approvals(night.store)


def test_a_question_that_never_was_gets_an_answer(asked):
    night, _, card = asked

    night.slack.click(night.ravi, card.ts, "approve", value="77.0123456789abcdef")

    assert "do not know this question" in night.told(night.ravi, "question")


def test_two_clicks_at_once_are_one_decision(asked):
    night, board, card = asked
    payloads = [night.slack.click_payload(night.ravi, card.ts, "approve") for _ in range(5)]

    for payload in payloads:
        night.slack.deliver("interactive", payload)
        night.slack.deliver("interactive", payload)

    night.reply_with("Approved by", board)
    night.settled()
    granted = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert len(granted) == 1
    assert len(night.slack.ephemerals(night.ravi)) == 4
    assert all("You approved this" in e.text for e in night.slack.ephemerals(night.ravi))


@pytest.mark.parametrize("approvers", [(), ("U0DANA",)])
def test_where_nobody_may_decide_the_requester_the_board_and_the_card_say_so(make_night, approvers):
    night = make_night(approvers=approvers)
    night.start()
    board = night.ask_for()

    card = night.card(board)

    words = f"nobody except <@{night.dana}> is listed to decide (setting slack.approvers)"
    assert words in night.told(night.dana, "R1 starts")
    assert words in night.board_shows("Needs a person").text
    assert words in card.shown


def test_a_click_that_was_carried_out_before_a_kill_is_not_told_that_it_came_late(asked):
    night, board, card = asked
    payload = night.slack.click_payload(night.ravi, card.ts, "approve")
    night.side.stop()
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    row = night.side.tables.next_inbound()
    night.side.tables.begin(row.id, night.clock.now())
    number, _, digest = row.body["value"].partition(".")
    people = frozenset({f"@{night.ravi}"})
    night.service.decide(int(number), "approve", by=row.by, deciders=people, digest=digest)

    night.side = night.new_side()
    night.start()

    night.reply_with("Approved by", board)
    night.settled()
    assert night.slack.ephemerals(night.ravi) == ()
