"""Break-glass approvals: who may give them, the form, and the announcement."""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import BREAK
from engine.commands.steering import Steering
from engine.model import ApprovalState
from engine.store import events, queries
from tests.slack.handlers.test_decisions import actions_of, button, refusals

WHY = "the storage of hv01 is on fire"


@pytest.fixture
def alone(make_night, slack):
    """A night in which Dana is the only approver and the requester."""
    slack.user("dana")
    night = make_night(approvers=("U0DANA",), break_glass=True)
    night.start()
    board = night.ask_for()
    return night, board, night.card(board)


def open_form(night, user, card):
    night.slack.click(user, card.ts, BREAK)
    return night.slack.form(user)


def fill(night, form, label="R1", reason=WHY):
    """Submit a form with these two fields."""
    values = {
        "label": {"label": {"type": "plain_text_input", "value": label}},
        "reason": {"reason": {"type": "plain_text_input", "value": reason}},
    }
    payload = {
        "type": "view_submission",
        "team": {"id": night.slack.workspace.team},
        "user": {"id": form.user, "team_id": night.slack.workspace.team},
        "view": {**form.view, "id": form.id, "state": {"values": values}},
    }
    return night.slack.deliver("interactive", payload)


def test_break_glass_is_not_offered_and_is_refused_if_disabled(make_night):
    night = make_night(approvers=("U0DANA",))
    night.start()
    board = night.ask_for()
    card = night.card(board)
    assert actions_of(card) == ["approve", "deny"]

    night.slack.click(night.mei, card.ts, BREAK, value=button(card, "approve")["value"])

    assert "settings approval.break_glass" in night.told(
        night.mei, "not allowed to break the glass"
    )
    assert queries.open_approvals(night.store)
    assert [e.by for e in refusals(night)] == [f"slack:{night.mei}"]


def test_the_card_does_not_offer_break_glass_if_somebody_may_approve(make_night):
    night = make_night(approvers=("U0RAVI",), break_glass=True)
    night.start()

    assert actions_of(night.card(night.ask_for())) == ["approve", "deny"]


def test_break_glass_needs_the_run_label_and_a_reason_and_is_announced(alone):
    night, board, card = alone
    assert actions_of(card) == ["approve", "deny", BREAK]
    form = open_form(night, night.dana, card)
    assert fill(night, form, label="R2").payload["errors"] == {
        "label": "This is about R1. Type R1, or go back."
    }
    assert "15 characters" in fill(night, form, reason="  fire!   ").payload["errors"]["reason"]
    assert queries.open_approvals(night.store)

    assert fill(night, form, label=" r1 ").payload == {}

    shown = night.reply_with("Approved by", board).shown
    assert f'The glass was broken: "{WHY}"' in shown
    told = night.reply_with("broke the glass", board).text
    assert told.startswith(f"🚨 <@{night.dana}> <@{night.dana}> broke the glass and approved A1")
    assert WHY in told
    [granted] = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert granted.detail == {"approval": 1, "reason": WHY, "break_glass": True}
    assert granted.text == f'A1 approved by slack:{night.dana}, who broke the glass: "{WHY}"'
    night.to_the_end()
    report = night.reply_with("R1 ended", board).shown
    assert f"approved by <@{night.dana}>" in report
    assert ", who broke the glass" in report
    assert "3 of 3 moved" in report


def test_break_glass_mentions_both_groups_at_once(make_night, slack):
    slack.user("dana")
    oncall, late = slack.group("oncall", "U0DANA"), slack.group("late")
    night = make_night(approvers=(), oncall=(oncall,), escalation=(late,), break_glass=True)
    night.start()
    board = night.ask_for()
    card = night.card(board)
    card = night.slack.wait_for(
        lambda: next((m for m in [night.slack.message(card.ts)] if BREAK in actions_of(m)), None)
    )

    fill(night, open_form(night, night.mei, card))

    told = night.reply_with("broke the glass", board).text
    assert told.startswith(f"🚨 <!subteam^{oncall}> <!subteam^{late}> <@{night.mei}> broke")


@pytest.mark.parametrize(
    "profile",
    [
        {"is_restricted": True},
        {"is_bot": True},
        {"deleted": True},
        {"team_id": "T0ELSEWHERE"},
    ],
)
def test_guests_bots_deactivated_people_and_strangers_cannot_break_glass(alone, profile):
    night, _, card = alone
    guest = night.slack.user("gus", **profile)

    night.slack.click(guest, card.ts, BREAK)

    assert "cannot break the glass" in night.told(guest, "Guests")
    assert night.slack.workspace.forms == []
    assert queries.open_approvals(night.store)


def test_a_form_of_a_person_who_became_a_guest_meanwhile_is_refused(alone):
    night, _, card = alone
    form = open_form(night, night.mei, card)
    with night.slack.workspace.changed:
        night.slack.workspace.profiles[night.mei] = {"is_restricted": True}
    night.side.tables.store.database().execute("UPDATE slack_lookups SET at = 0")

    fill(night, form)

    assert "cannot break the glass" in night.told(night.mei, "Guests")
    assert queries.open_approvals(night.store)


def test_break_glass_is_refused_while_slack_cannot_identify_people(alone):
    night, _, card = alone
    night.slack.order("users.info", "fatal_error", times=20)

    night.slack.click(night.mei, card.ts, BREAK)

    assert "I cannot check" in night.told(night.mei, "cannot check")
    assert night.slack.workspace.forms == []


def test_only_listed_starters_may_break_glass(make_night, slack):
    slack.user("dana")
    night = make_night(approvers=("U0DANA",), starters=("U0DANA",), break_glass=True)
    night.start()
    card = night.card(night.ask_for())

    night.slack.click(night.mei, card.ts, BREAK)

    assert "approval.starters" in night.told(night.mei, "not allowed to break the glass")


def test_only_members_of_the_starters_group_may_break_glass(make_night, slack):
    movers = slack.group("movers", slack.user("dana"), slack.user("mei"))
    night = make_night(approvers=("U0DANA",), starters=(movers,), break_glass=True)
    night.start()
    board = night.ask_for()
    card = night.card(board)

    night.slack.click(night.ravi, card.ts, BREAK)
    assert "approval.starters" in night.told(night.ravi, "not allowed to break the glass")
    fill(night, open_form(night, night.mei, card))

    assert f"Approved by <@{night.mei}>" in night.reply_with("Approved by", board).shown


def test_two_break_glass_forms_make_one_decision_and_one_answer(alone):
    night, board, card = alone
    forms = [open_form(night, user, card) for user in (night.dana, night.mei)]

    for form in forms:
        fill(night, form)
        fill(night, form)

    night.reply_with("Approved by", board)
    night.settled()
    granted = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert len(granted) == 1
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED
    told = [m for m in night.slack.thread(night.ops, board.ts) if "broke the glass" in m.text]
    assert len(told) == 1


def test_an_approver_withdraws_a_break_glass_approval_and_the_announcement_stays(make_night, slack):
    slack.user("dana")
    night = make_night(approvers=("U0DANA",), escalation=(), break_glass=True)
    night.start()
    board = night.ask_for()
    card = night.card(board)
    fill(night, open_form(night, night.mei, card))
    night.reply_with("broke the glass", board)
    approval = queries.approval(night.store, 1)

    steering = Steering(night.service)
    made = steering.withdraw(1, by="slack:U0RAVI", approvers=frozenset({"slack:U0RAVI"}))

    assert made.accepted
    assert approval.glass
    assert queries.approval(night.store, 1).glass
    night.reply_with("Withdrawn by", board)
    told = [m for m in night.slack.thread(night.ops, board.ts) if "broke the glass" in m.text]
    assert len(told) == 1
