"""Reviews of break-glass approvals: who may review them, and the texts."""

from dataclasses import replace

import pytest

from engine.model import Options, Review, Run, RunState
from engine.policy.approvals.review import BARRED, Reviewer, judge, request, why_not

RUN = Run(1, "vmm01", "host", "host hv01 to hv02", ("hv01",), ("hv02",), Options(), "slack:dana",
          RunState.ACTIVE, 0.0)  # fmt: skip
OPEN = Review(1, 1, "slack:mei", 1000.0, "the storage of hv01 is on fire")
DONE = replace(OPEN, by="slack:ravi", at=2000.0, in_order=True)
WHO = Reviewer(fit=True, trusted=True)


@pytest.mark.parametrize(
    ("review", "run", "by", "who", "word"),
    [
        pytest.param(OPEN, RUN, "slack:ravi", WHO, "ok", id="somebody else"),
        pytest.param(DONE, RUN, "slack:zoe", WHO, "already", id="reviewed before"),
        pytest.param(OPEN, RUN, "slack:mei", WHO, "broke_it", id="one's own"),
        pytest.param(OPEN, RUN, "slack:dana", WHO, "own_run", id="who asked for the run"),
        pytest.param(
            OPEN, replace(RUN, steered=("slack:zoe",)), "slack:zoe", WHO, "own_run", id="retried it"
        ),
        pytest.param(
            OPEN, RUN, "slack:gus", Reviewer(False, True), "unfit", id="guest and starter"
        ),
        pytest.param(DONE, RUN, "slack:gus", Reviewer(False, True), "unfit", id="guest, too late"),
        pytest.param(OPEN, RUN, "slack:zoe", Reviewer(True, False), "not_trusted", id="no starter"),
    ],
)
def test_judge_decides_who_may_review(review, run, by, who, word):
    assert judge(review, run, by, who) == word
    assert word in ("ok", "already") or BARRED[word] in why_not(review, word, 0.0)


def test_a_person_who_may_not_review_is_not_told_who_reviewed():
    assert why_not(DONE, judge(DONE, RUN, "slack:gus", Reviewer(False, True)), 0.0) == (
        f"A1 stays as it is: {BARRED['unfit']}."
    )


@pytest.mark.parametrize(
    ("review", "told"),
    [
        (DONE, "A1 was reviewed by slack:ravi 1 h ago: in order."),
        (
            replace(DONE, note="looked at the array"),
            'A1 was reviewed by slack:ravi 1 h ago: in order: "looked at the array".',
        ),
        (
            replace(DONE, in_order=False, note="there was no fire"),
            'A1 was reviewed by slack:ravi 1 h ago: not in order: "there was no fire".',
        ),
    ],
    ids=["in order", "in order, with a note of an earlier version", "not in order"],
)
def test_a_closed_review_names_its_reviewer_and_time(review, told):
    assert why_not(review, "already", 5600.0) == told


def test_an_open_review_says_what_to_type():
    assert request(["A1"], "R2") == (
        "Break-glass approval A1 awaits review by a second person: reviewed R2"
    )
    assert request(["A1", "A3"], "R2") == (
        "Break-glass approvals A1, A3 await review by a second person: reviewed R2"
    )
