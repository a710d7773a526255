"""Approvers: people who are on call, at most a minute out of date, and never guests."""

from __future__ import annotations

import pytest

from bot.slack.people.approvers import Approvers
from bot.slack.people.roster import unfit
from engine.store import events, queries


@pytest.fixture
def on_call(make_night, slack):
    """A night whose only approver is Ravi, through the on-call group."""
    group = slack.group("oncall", slack.user("dana"), slack.user("ravi"))
    night = make_night(approvers=(), oncall=(group,))
    night.start()
    return night


def asked_about_groups(night):
    return len(night.slack.calls("usergroups.users.list"))


def test_the_card_mentions_the_people_on_call(on_call):
    card = on_call.card(on_call.ask_for())

    assert f"On call now: <@{on_call.ravi}>" in card.shown
    assert f"who cannot decide. On call now: <@{on_call.dana}>" not in card.shown


def test_a_person_on_call_may_approve(on_call):
    board = on_call.ask_for()
    card = on_call.card(board)

    on_call.slack.click(on_call.ravi, card.ts, "approve")

    assert f"✅ Approved by <@{on_call.ravi}>" in on_call.reply_with("Approved by", board).shown


def test_only_the_new_on_call_person_may_approve_after_a_shift_change(on_call):
    board = on_call.ask_for()
    card = on_call.card(board)
    on_call.slack.group("oncall", on_call.mei)
    on_call.age_lookups(61)

    on_call.slack.click(on_call.ravi, card.ts, "approve")

    assert on_call.told(on_call.ravi, "not on call") == (
        f"You are not on call now (<@{on_call.mei}> may decide). "
        "Your click is recorded. Nothing changed."
    )
    on_call.slack.click(on_call.mei, card.ts, "approve")
    on_call.reply_with("Approved by", board)


def test_a_group_lookup_is_cached_for_a_minute(on_call):
    card = on_call.card(on_call.ask_for())
    on_call.settled()
    before = asked_about_groups(on_call)

    on_call.slack.click(on_call.mei, card.ts, "approve")

    on_call.told(on_call.mei, "not on call")
    assert asked_about_groups(on_call) == before


def test_nobody_may_approve_while_slack_does_not_say_who_is_on_call(on_call):
    board = on_call.ask_for()
    card = on_call.card(board)
    on_call.slack.order("usergroups.users.list", "internal_error", times=50)
    on_call.age_lookups(61)

    on_call.slack.click(on_call.ravi, card.ts, "approve")

    assert on_call.told(on_call.ravi, "cannot check") == (
        "I cannot check who is on call: Slack did not answer. "
        "Try again in a minute; the card stays open."
    )
    assert queries.open_approvals(on_call.store)
    refused = [e for e in events.since(on_call.store) if e.kind == "refused"]
    assert [e.by for e in refused] == [f"slack:{on_call.ravi}"]

    on_call.slack.workspace.orders.clear()
    on_call.slack.click(on_call.ravi, card.ts, "approve")
    on_call.reply_with("Approved by", board)


def test_a_typed_decision_is_checked_like_a_click(on_call):
    on_call.card(on_call.ask_for())
    on_call.slack.order("usergroups.users.list", "internal_error", times=50)
    on_call.age_lookups(61)

    on_call.say("approve A1", by=on_call.ravi)

    assert "Slack did not answer" in on_call.told(on_call.ravi, "cannot check")
    assert queries.open_approvals(on_call.store)


def test_an_unknown_group_is_reported_as_a_settings_error(make_night):
    night = make_night(approvers=(), oncall=("S0GONE",))
    night.start()
    card = night.card(night.ask_for())

    night.slack.click(night.ravi, card.ts, "approve")

    told = night.told(night.ravi, "cannot check")
    assert "Slack says no_such_subteam. Check the settings approval.oncall" in told


def test_the_on_call_lookup_is_refreshed_while_a_card_is_open(on_call):
    on_call.card(on_call.ask_for())
    on_call.settled()
    before = asked_about_groups(on_call)

    on_call.age_lookups(45)

    on_call.slack.wait_for(lambda: asked_about_groups(on_call) > before)


@pytest.mark.parametrize(
    "profile",
    [
        {"is_restricted": True},
        {"is_ultra_restricted": True},
        {"is_bot": True},
        {"deleted": True},
        {"is_stranger": True},
        {"team_id": "T0OTHER"},
    ],
)
def test_guests_bots_and_strangers_may_not_approve_even_if_listed(make_night, slack, profile):
    eve = slack.user("eve", **profile)
    night = make_night(approvers=(eve, slack.user("ravi")))
    night.start()
    card = night.card(night.ask_for())

    night.slack.click(eve, card.ts, "approve")

    told = night.told(eve, "cannot decide")
    assert "Guests, bots and people of other organisations cannot decide" in told
    assert f"<@{eve}>" not in told
    assert queries.open_approvals(night.store)


def test_a_listed_person_whom_slack_cannot_identify_may_not_approve(night):
    card = night.card(night.ask_for())
    night.settled()
    night.slack.order("users.info", "missing_scope", times=50)
    night.age_lookups(3601)

    night.slack.click(night.ravi, card.ts, "approve")

    told = night.told(night.ravi, "cannot check whether you may decide")
    assert "Slack says missing_scope. The app lacks a scope of manifest.yml" in told
    assert queries.open_approvals(night.store)


def test_a_person_of_another_workspace_of_the_organisation_is_no_stranger():
    profile = {"team_id": "T2", "enterprise_user": {"enterprise_id": "E1"}}

    assert unfit(profile, "T1", "E1") == ""
    assert unfit(profile, "T1", "") == "of another organisation"
    assert unfit({}, "T1", "") == "of another organisation"


def test_the_escalation_is_not_asked_while_somebody_on_call_may_approve():
    approvers = Approvers(on_call=("slack:U1",), backup=("slack:U2",), groups=("S1",))

    assert approvers.eligible(None) == ("slack:U1",)
    assert approvers.people() == {"slack:U1", "slack:U2"}
