"""The review of a break-glass approval by a second person: who may review, and the notices."""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import BREAK, REVIEW
from bot.slack.modals.fields import FormPlace, metadata
from engine.commands.steering import Steering
from engine.store import events, queries
from engine.views.needs import needs
from engine.views.report import document
from tests.console import vmferry
from tests.slack.handlers.test_break_glass import WHY, alone, fill, open_form  # noqa: F401 a fixture
from tests.slack.handlers.test_decisions import actions_of, refusals
from tests.slack.handlers.test_verbs import again, carried_out, interrupted

FOUND = "the storage was not on fire at all"


@pytest.fixture
def broken(alone):  # noqa: F811
    """A run of Dana, who is the only approver, with a break-glass approval by Mei. Ravi is a
    third person."""
    night, board, card = alone
    fill(night, open_form(night, night.mei, card))
    return night, board, told_broken(night, board)


def told_broken(night, board):
    """The message that announces it."""
    return night.reply_with("broke the glass", board)


def open_reviews(night):
    return [one for one in queries.reviews(night.store, 1) if one.is_open]


def reviewed(night):
    return [e for e in events.since(night.store) if e.kind == "glass.reviewed"]


def looked_at(night):
    """Wait until the publisher has rendered the run and its messages are sent."""
    night.side.publisher.look_at(1)
    night.slack.wait_for(lambda: not night.side.publisher._asked)
    night.settled()


def test_a_break_glass_approval_opens_a_review_and_says_what_to_type(broken):
    night, _, told = broken

    assert actions_of(told) == []
    assert f"Review: open. A second person, but not <@{night.mei}>" in told.shown
    assert "`/migrate reviewed R1`, followed by anything not in order" in told.shown
    kinds = [e.kind for e in events.since(night.store) if "approval" in e.detail]
    assert kinds == ["approval.requested", "glass.broken", "approval.granted"]
    [review] = open_reviews(night)
    assert (review.label, review.broken_by, review.why) == ("A1", f"slack:{night.mei}", WHY)


def test_a_second_person_marks_the_break_glass_approval_as_in_order_publicly(broken):
    night, board, told = broken

    night.say("reviewed R1", by=night.ravi)

    assert night.told(night.ravi, "Reviewed") == "Reviewed A1 as in order."
    note = night.reply_with("🔎", board).text
    assert note.startswith(
        f"🔎 <@{night.mei}> broke the glass for A1. Review: in order, says <@{night.ravi}>"
    )
    night.slack.wait_for(lambda: "Review: in order" in night.slack.message(told.ts).shown)
    [event] = reviewed(night)
    assert event.by == f"slack:{night.ravi}"
    assert event.detail == {"approval": 1, "in_order": True, "note": ""}


def test_a_negative_review_mentions_all_approvers(make_night, slack):
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
    told_broken(night, board)

    night.say(f"reviewed R1 {FOUND}", by=night.ravi)

    said = night.reply_with("🔎", board).text
    assert said.startswith(f"🔎 <!subteam^{oncall}> <!subteam^{late}> <@{night.mei}>")
    assert f"not in order, says <@{night.ravi}>" in said
    assert FOUND in said


def test_a_review_in_the_thread_of_the_run_need_not_name_the_run(broken):
    night, board, _ = broken

    night.slack.mention(night.ravi, night.ops, f"reviewed {FOUND}", board.ts)

    assert FOUND in night.reply_with("🔎", board).text


def test_a_review_can_be_given_in_a_direct_message(broken):
    night, board, _ = broken

    night.say("reviewed R1", by=night.ravi, channel=night.slack.direct(night.ravi))

    assert "Review: in order" in night.reply_with("🔎", board).text


@pytest.mark.parametrize(
    ("who", "words"),
    [("mei", "the person who broke the glass cannot"), ("dana", "people who requested, resumed")],
)
def test_people_involved_in_the_run_cannot_review_its_break_glass_approval(broken, who, words):
    night, _, _ = broken
    by = getattr(night, who)

    night.say("reviewed R1", by=by)

    assert night.told(by, words).startswith("A1 stays open: ")
    assert "Nothing changed." in night.told(by, words)
    assert open_reviews(night)
    assert refusals(night)[-1].by == f"slack:{by}"


@pytest.mark.parametrize(
    "profile", [{"is_restricted": True}, {"is_bot": True}, {"team_id": "T0ELSEWHERE"}]
)
def test_guests_bots_and_strangers_cannot_review(broken, profile):
    night, _, _ = broken
    guest = night.slack.user("gus", **profile)

    night.say("reviewed R1", by=guest)

    assert "guests, bots" in night.told(guest, "cannot review")
    assert open_reviews(night)


def test_reviews_are_refused_while_slack_cannot_identify_the_reviewer(broken):
    night, _, _ = broken
    night.slack.order("users.info", "fatal_error", times=20)

    night.say("reviewed R1", by=night.ravi)

    assert night.told(night.ravi, "I cannot check")
    assert open_reviews(night)


def test_the_first_of_two_reviews_counts_and_the_second_is_told_who_and_when(broken):
    night, board, _ = broken
    zoe = night.slack.user("zoe")
    night.say("reviewed R1", by=night.ravi)
    night.reply_with("🔎", board)
    night.clock.jump(night.clock.now() + 3600)

    night.say(f"reviewed R1 {FOUND}", by=zoe)

    assert night.told(zoe, "was reviewed").startswith(f"A1 was reviewed by <@{night.ravi}> 1 h")
    assert [e.by for e in reviewed(night)] == [f"slack:{night.ravi}"]


def test_only_listed_starters_may_review(make_night, slack):
    slack.user("dana")
    movers = slack.group("movers", "U0DANA", slack.user("mei"), slack.user("zoe"))
    night = make_night(approvers=("U0DANA",), starters=(movers,), break_glass=True)
    night.start()
    board = night.ask_for()
    fill(night, open_form(night, night.mei, night.card(board)))
    told_broken(night, board)

    night.say("reviewed R1", by=night.ravi)
    assert "approval.starters" in night.told(night.ravi, "only starters and approvers")

    night.say("reviewed R1", by="U0ZOE")
    assert "Review: in order, says <@U0ZOE>" in night.reply_with("🔎", board).text


def test_an_open_review_appears_in_every_overview(broken):
    night, board, _ = broken
    asks = "Break-glass approval A1 awaits review by a second person: "
    night.board_shows(f"Needs a person: {asks}/migrate reviewed R1")
    night.to_the_end()
    report = night.reply_with("R1 ended", board).shown
    assert "(nobody has reviewed that)" in report
    assert f"Needs a person: {asks}<@U0VMFERRY> reviewed R1" in report
    night.say("list", by=night.ravi)
    listed = night.told(night.ravi, "of 3 moved")
    assert listed.endswith(" · needs a person · A1 to be reviewed: /migrate reviewed R1")
    record = queries.record(night.store, 1)
    assert needs(night.store, "vmm01", [record])[1] == (f"{asks}reviewed R1",)
    for words in (("list",), ("report", "R1")):
        shown = " ".join(vmferry("--db", str(night.store.path), *words).out.split())
        assert f"{asks}vmferry reviewed R1" in shown
    whole = document(night.store, "vmm01", night.clock.now(), run_id=1)
    assert whole["approvals"][0]["review"] == {"in_order": None, "by": None, "t": None, "note": ""}

    night.say("reviewed R1", by=night.ravi)

    night.slack.wait_for(
        lambda: f"(in order, says <@{night.ravi}>)" in night.reply_with("R1 ended", board).shown
    )
    night.slack.wait_for(lambda: "awaits review" not in night.slack.message(board.ts).shown)
    record = queries.record(night.store, 1)
    assert needs(night.store, "vmm01", [record])[1] == ()
    assert "awaits review" not in vmferry("--db", str(night.store.path), "report", "R1").out
    whole = document(night.store, "vmm01", night.clock.now(), run_id=1)
    assert whole["approvals"][0]["review"]["in_order"] is True


def test_an_open_review_of_an_ended_run_sends_no_further_messages(broken):
    night, board, _ = broken
    night.to_the_end()
    night.reply_with("R1 ended", board)
    looked_at(night)
    before = len(night.slack.workspace.in_order())

    night.clock.jump(night.clock.now() + 3 * 24 * 3600.0)
    looked_at(night)

    assert len(night.slack.workspace.in_order()) == before


def test_a_withdrawn_break_glass_approval_still_needs_a_review(broken):
    night, board, _ = broken
    steering, ravi = Steering(night.service), "slack:U0RAVI"
    made = steering.withdraw(1, by=ravi, approvers=frozenset({ravi}), reason="no fire")
    assert made.accepted
    night.reply_with("Withdrawn by", board)

    night.say(f"reviewed R1 {FOUND}", by=night.ravi)

    assert FOUND in night.reply_with("🔎", board).text


def test_a_review_interrupted_by_a_kill_is_credited_to_its_reviewer(broken):
    night, _, _ = broken
    carried_out(night, interrupted(night, "reviewed R1", night.ravi))

    again(night)

    done = night.told(night.ravi, "reviewed the break-glass approval")
    approval = f"the break-glass approval A1 by <@{night.mei}>"
    assert done == f"<@{night.ravi}> reviewed {approval}: in order"
    assert len(reviewed(night)) == 1


def test_a_click_on_an_old_review_button_is_answered_with_the_command_to_type(broken):
    night, _, told = broken
    asked = queries.approval(night.store, 1)

    night.slack.click(night.ravi, told.ts, REVIEW, value=f"1.{asked.digest}")

    said = night.told(night.ravi, "This button no longer works")
    assert "Nothing changed. If all was in order, type: <@U0VMFERRY> reviewed R1" in said
    assert open_reviews(night)


def test_an_old_review_form_is_answered_with_the_command_to_type(broken):
    night, _, _ = broken
    asked = queries.approval(night.store, 1)
    view = {
        "id": "V0OLD",
        "type": "modal",
        "callback_id": REVIEW,
        "private_metadata": metadata(FormPlace(f"1.{asked.digest}", night.ops)),
        "state": {"values": {"verdict": {"verdict": {"selected_option": {"value": "in_order"}}}}},
    }
    payload = {"type": "view_submission", "team": {"id": night.slack.workspace.team}, "view": view}

    night.slack.deliver("interactive", {**payload, "user": {"id": night.ravi}})

    assert "type: /migrate reviewed R1" in night.told(night.ravi, "This button no longer works")
    assert open_reviews(night)
