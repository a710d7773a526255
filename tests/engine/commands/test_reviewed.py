"""``reviewed``: its effect on the break-glass approvals of a run that this person may review."""

from __future__ import annotations

import pytest

from engine.model import MoveState, RunState
from engine.store import queries
from engine.views.needs import needs

FOUND = "the ticket number was missing"


@pytest.fixture
def broken(desk):
    """A run of Ann, with a break-glass approval by Mei for web01."""
    desk.ask()
    return desk.break_glass("web01")


def said(desk):
    return [(r.label, r.by, r.in_order, r.note) for r in queries.reviews(desk.store, 1)]


def needed(desk):
    return needs(desk.store, "vmm01", [desk.record()])[1]


def test_a_review_without_findings_records_the_approval_as_in_order(broken):
    assert needed(broken) == (
        "Break-glass approval A1 awaits review by a second person: reviewed R1",
    )

    told = broken.say("reviewed R1", by="slack:ravi")

    assert (told.accepted, told.sentence) == (True, "Reviewed A1 as in order.")
    assert said(broken) == [("A1", "slack:ravi", True, "")]
    event = broken.told()[-1]
    assert (event.kind, event.run, event.by) == ("glass.reviewed", 1, "slack:ravi")
    assert event.text == "slack:ravi reviewed the break-glass approval A1 by slack:mei: in order"
    assert event.detail == {"approval": 1, "in_order": True, "note": ""}
    assert needed(broken) == ()


def test_the_text_of_a_review_is_recorded_as_its_finding(broken):
    told = broken.say(f"reviewed R1 {FOUND}", by="slack:ravi").sentence

    assert told == f'Reviewed A1 as not in order: "{FOUND}".'
    assert said(broken) == [("A1", "slack:ravi", False, FOUND)]
    assert broken.told()[-1].detail == {"approval": 1, "in_order": False, "note": FOUND}


def test_a_finding_that_is_too_short_is_refused_with_both_ways_to_review(broken):
    refusal = broken.refused("reviewed R1 all fine", by="slack:ravi")

    assert refusal.sentence == "A finding needs at least 15 characters."
    assert refusal.hint == "If all was in order, type: reviewed R1"


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPED, RunState.COMPLETED])
def test_a_run_can_be_reviewed_in_every_state(state, broken):
    broken.put(MoveState.DONE)
    broken.turn(state)

    assert broken.say("reviewed R1", by="slack:ravi").accepted
    assert broken.run().state is state


def test_a_review_covers_all_approvals_the_reviewer_may_review_and_names_the_others(broken):
    broken.break_glass("web02", by="slack:ravi").break_glass("web03")

    told = broken.say("reviewed R1", by="slack:ravi").sentence

    assert told == (
        "Reviewed A1, A3 as in order. "
        "A2 stays open: the person who broke the glass cannot review the approval."
    )
    assert [by for _, by, *_ in said(broken)] == ["slack:ravi", None, "slack:ravi"]
    assert [e.detail["approval"] for e in broken.told() if e.kind == "glass.reviewed"] == [1, 3]
    assert broken.say("reviewed R1", by="slack:mei").sentence == "Reviewed A2 as in order."


def test_a_second_review_is_refused_and_names_the_first_reviewer_and_time(broken):
    broken.say(f"reviewed R1 {FOUND}", by="slack:ravi")
    broken.clock.jump(broken.clock.now() + 3599)

    refusal = broken.refused("reviewed R1", by="slack:zoe")

    assert refusal.sentence == f'A1 was reviewed by slack:ravi 1 h ago: not in order: "{FOUND}".'
    assert said(broken) == [("A1", "slack:ravi", False, FOUND)]


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("slack:mei", "A1 stays open: the person who broke the glass cannot review the approval."),
        (
            "slack:ann",
            "A1 stays open: people who requested, resumed or retried the run cannot review its "
            "approvals.",
        ),
    ],
)
def test_the_break_glass_approver_and_those_who_ran_the_run_may_not_review(by, why, broken):
    assert broken.refused("reviewed R1", by=by).sentence == why


def test_a_run_without_break_glass_approval_has_nothing_to_review(desk):
    desk.ask()
    desk.question("web01")
    desk.say("approve A1", by="slack:bob")

    refusal = desk.refused("reviewed R1", by="slack:ravi")

    assert refusal.sentence == "R1 has no break-glass approval."
    assert refusal.hint == "To see the runs that need a person: list"
