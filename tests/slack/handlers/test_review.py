"""The review of a broken glass by a second person: who, how it is asked, and who is told."""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import BREAK, REVIEW
from engine.commands.steering import Steering
from engine.store import events, queries
from engine.views.needs import needs
from engine.views.report import document
from tests.console import vmferry
from tests.slack.handlers.test_break_glass import WHY, alone, fill, open_form  # noqa: F401 a fixture
from tests.slack.handlers.test_decisions import actions_of, button, refusals

FOUND = "the storage was not on fire at all"
DAY = 24 * 3600.0


@pytest.fixture
def broken(alone):  # noqa: F811
    """Mei broke the glass for the run of dana, who alone is listed; ravi is somebody else."""
    night, board, card = alone
    fill(night, open_form(night, night.mei, card))
    return night, board, told_broken(night, board)


def told_broken(night, board):
    """The message that tells it, with its button."""
    return night.reply_with("broke the glass", board)


def say(night, form, verdict, note=None):
    """Send the form of a review."""
    option = {"value": verdict} if verdict else None
    values = {
        "verdict": {"verdict": {"type": "radio_buttons", "selected_option": option}},
        "reason": {"reason": {"type": "plain_text_input", "value": note}},
    }
    payload = {
        "type": "view_submission",
        "team": {"id": night.slack.workspace.team},
        "user": {"id": form.user, "team_id": night.slack.workspace.team},
        "view": {**form.view, "id": form.id, "state": {"values": values}},
    }
    return night.slack.deliver("interactive", payload)


def review_form(night, user, message):
    night.slack.click(user, message.ts, REVIEW)
    return night.slack.form(user)


def reviewed(night):
    return [e for e in events.since(night.store) if e.kind == "glass.reviewed"]


def looked_at(night):
    """The publisher has seen the run as it stands, and what it had to say was sent."""
    night.side.publisher.look_at(1)
    night.slack.wait_for(lambda: not night.side.publisher._asked)
    night.settled()


def test_a_broken_glass_opens_a_review_and_says_so(broken):
    night, _, told = broken

    assert actions_of(told) == [REVIEW]
    assert f"Review: open. Somebody else than <@{night.mei}>" in told.shown
    kinds = [e.kind for e in events.since(night.store) if "approval" in e.detail]
    assert kinds == ["approval.requested", "glass.broken", "approval.granted"]
    [review] = queries.open_reviews(night.store)
    assert (review.label, review.broken_by, review.why) == ("A1", f"@{night.mei}", WHY)


def test_a_second_person_says_that_it_was_in_order_and_everybody_reads_it(broken):
    night, board, told = broken
    form = review_form(night, night.ravi, told)
    shown = str(form.view)
    assert WHY in shown
    assert "0 of 1 moved so far" in shown
    assert say(night, form, "").payload["errors"] == {"verdict": "Say whether it was in order."}

    assert say(night, form, "in_order", "looked at the array").payload == {}

    note = night.reply_with("🔎", board).text
    assert (
        f"🔎 <@{night.mei}> broke the glass for A1. Review: in order, says <@{night.ravi}>" in note
    )
    assert '"looked at the array"' in note
    night.slack.wait_for(lambda: "Review: in order" in night.slack.message(told.ts).shown)
    assert actions_of(night.slack.message(told.ts)) == []
    [event] = reviewed(night)
    assert event.by == f"@{night.ravi}"
    assert event.detail == {"approval": 1, "in_order": True, "note": "looked at the array"}


def test_what_was_not_in_order_calls_everybody_and_needs_words(make_night, slack):
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
    form = review_form(night, night.ravi, told_broken(night, board))

    assert "15 characters" in say(night, form, "not_in_order", "no!").payload["errors"]["reason"]
    assert say(night, form, "not_in_order", FOUND).payload == {}

    said = night.reply_with("🔎", board).text
    assert said.startswith(f"🔎 <!subteam^{oncall}> <!subteam^{late}> <@{night.mei}>")
    assert f"not in order, says <@{night.ravi}>" in said
    assert FOUND in said


@pytest.mark.parametrize(
    ("who", "words"),
    [("mei", "You broke the glass yourself"), ("dana", "You had R1 go")],
)
def test_neither_whoever_broke_it_nor_whoever_had_the_run_go_reviews(broken, who, words):
    night, _, told = broken

    night.slack.click(getattr(night, who), told.ts, REVIEW)

    assert "somebody else reviews" in night.told(getattr(night, who), words)
    assert night.slack.workspace.forms[1:] == []
    assert queries.open_reviews(night.store)
    assert refusals(night)[-1].text.startswith(f"@{getattr(night, who)} wanted to review A1.")


@pytest.mark.parametrize(
    "profile", [{"is_restricted": True}, {"is_bot": True}, {"team_id": "T0ELSEWHERE"}]
)
def test_guests_bots_and_strangers_never_review(broken, profile):
    night, _, told = broken
    guest = night.slack.user("gus", **profile)

    night.slack.click(guest, told.ts, REVIEW)

    assert "never review" in night.told(guest, "Guests")
    assert queries.open_reviews(night.store)


def test_a_form_that_was_open_while_somebody_became_a_guest_does_not_count(broken):
    night, _, told = broken
    form = review_form(night, night.ravi, told)
    with night.slack.workspace.changed:
        night.slack.workspace.profiles[night.ravi] = {"is_restricted": True}
    night.side.tables.store.database().execute("UPDATE slack_lookups SET at = 0")

    say(night, form, "in_order")

    assert "never review" in night.told(night.ravi, "Guests")
    assert queries.open_reviews(night.store)


def test_while_slack_does_not_say_who_somebody_is_nothing_is_reviewed(broken):
    night, _, told = broken
    night.slack.order("users.info", "fatal_error", times=20)

    night.slack.click(night.ravi, told.ts, REVIEW)

    assert night.told(night.ravi, "I cannot check")
    assert queries.open_reviews(night.store)


def test_of_two_reviews_one_counts_and_the_other_is_told_whose(broken):
    night, board, told = broken
    zoe = night.slack.user("zoe")
    forms = {user: review_form(night, user, told) for user in (night.ravi, zoe)}
    late = {"response_action", "errors"}

    assert say(night, forms[night.ravi], "in_order").payload == {}
    night.reply_with("🔎", board)
    answer = say(night, forms[zoe], "not_in_order", FOUND).payload

    assert set(answer) == late
    assert answer["errors"]["reason"].startswith("A1 is reviewed already.")
    night.slack.click(zoe, told.ts, REVIEW, value=button(told, REVIEW)["value"])
    assert f"A1 was reviewed by <@{night.ravi}>" in night.told(zoe, "was reviewed by")
    assert [e.by for e in reviewed(night)] == [f"@{night.ravi}"]


def test_where_starters_are_named_nobody_else_reviews(make_night, slack):
    slack.user("dana")
    movers = slack.group("movers", "U0DANA", slack.user("mei"))
    night = make_night(approvers=("U0DANA",), starters=(movers,), break_glass=True)
    night.start()
    board = night.ask_for()
    fill(night, open_form(night, night.mei, night.card(board)))

    night.slack.click(night.ravi, told_broken(night, board).ts, REVIEW)

    assert "slack.starters" in night.told(night.ravi, "Only those who may start runs")


def test_an_open_review_is_seen_wherever_people_look(broken):
    night, board, told = broken
    night.to_the_end()
    assert "(nobody has reviewed that)" in night.reply_with("R1 ended", board).shown
    assert "A1 · R1 · " in night.say("approvals", by=night.ravi) or night.told(night.ravi, "A1 ·")
    records = [queries.record(night.store, 1)]
    [need] = needs(night.store, "vmm01", records)[1]
    assert need == (
        f"@{night.mei} broke the glass for A1. Somebody else has to look at that: "
        "Review in the thread of R1"
    )
    for verb, words in (
        ("approvals", "broke the glass for A1 of R1"),
        ("list", "Somebody else has to look"),
    ):
        assert words in vmferry("--db", str(night.store.path), verb).out
    whole = document(night.store, "vmm01", night.clock.now(), run_id=1)
    assert whole["approvals"][0]["review"] == {"in_order": None, "by": None, "t": None, "note": ""}

    say(night, review_form(night, night.ravi, told), "in_order")

    night.slack.wait_for(
        lambda: f"(in order, says <@{night.ravi}>)" in night.reply_with("R1 ended", board).shown
    )
    assert needs(night.store, "vmm01", records)[1] == ()
    whole = document(night.store, "vmm01", night.clock.now(), run_id=1)
    assert whole["approvals"][0]["review"]["in_order"] is True


def test_an_open_review_of_a_run_that_is_over_is_asked_about_on_three_days(broken):
    night, board, told = broken
    night.to_the_end()
    night.reply_with("R1 ended", board)

    def asked():
        thread = night.slack.thread(night.ops, board.ts)
        return [m for m in thread if "nobody has looked at that" in m.text]

    looked_at(night)
    assert asked() == []
    for days in (1, 2, 3, 4, 9):
        night.clock.jump(queries.review(night.store, 1).broken + days * DAY)
        most = min(days, 3)
        night.slack.wait_for(lambda most=most: len(asked()) == most)
        looked_at(night)
    assert len(asked()) == 3
    assert asked()[0].text.startswith(f"⏰ <@{night.dana}> <@{night.mei}> broke the glass for A1")

    say(night, review_form(night, night.ravi, told), "in_order")
    night.reply_with("🔎", board)


def test_a_yes_that_was_taken_back_is_reviewed_all_the_same(broken):
    night, board, told = broken
    steering = Steering(night.service)
    made = steering.withdraw(1, by="@U0RAVI", approvers=frozenset({"@U0RAVI"}), reason="no fire")
    assert made.accepted
    night.reply_with("Withdrawn by", board)

    form = review_form(night, night.ravi, told)

    assert WHY in str(form.view)
    assert f"<@{night.mei}> approved" in str(form.view)
    say(night, form, "not_in_order", FOUND)
    night.reply_with("🔎", board)
