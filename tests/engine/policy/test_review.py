"""Who reviews a broken glass, and when somebody is asked again."""

from dataclasses import replace

import pytest

from engine.model import Options, Review, Run, RunState
from engine.policy.approvals.review import ANSWERS, EVERY, Reviewer, judge, reminders_due

RUN = Run(1, "vmm01", "host", "host hv01 to hv02", ("hv01",), ("hv02",), Options(), "@dana",
          RunState.ACTIVE, 0.0)  # fmt: skip
OPEN = Review(1, 1, "@mei", 1000.0, "the storage of hv01 is on fire")
DONE = replace(OPEN, by="@ravi", at=2000.0, in_order=True)
WHO = Reviewer(fit=True, trusted=True)


@pytest.mark.parametrize(
    ("review", "run", "by", "who", "in_order", "note", "word"),
    [
        pytest.param(OPEN, RUN, "@ravi", WHO, True, "", "ok", id="in order needs no words"),
        pytest.param(OPEN, RUN, "@ravi", WHO, False, "x" * 15, "ok", id="not in order, with words"),
        pytest.param(OPEN, RUN, "@ravi", WHO, False, " " * 20, "no_note", id="spaces say nothing"),
        pytest.param(None, None, "@ravi", WHO, True, "", "unknown", id="nothing was broken"),
        pytest.param(DONE, RUN, "@zoe", WHO, True, "", "already", id="reviewed before"),
        pytest.param(OPEN, RUN, "@mei", WHO, True, "", "broke_it", id="one's own"),
        pytest.param(OPEN, RUN, "@dana", WHO, True, "", "own_run", id="who asked for the run"),
        pytest.param(
            OPEN, replace(RUN, steered=("@zoe",)), "@zoe", WHO, True, "", "own_run", id="retried it"
        ),
        pytest.param(
            OPEN, RUN, "@gus", Reviewer(False, True), True, "", "unfit", id="guest and starter"
        ),
        pytest.param(
            OPEN, RUN, "@zoe", Reviewer(True, False), True, "", "not_trusted", id="no starter"
        ),
    ],
)  # fmt: skip
def test_who_reviews(review, run, by, who, in_order, note, word):
    assert judge(review, run, by, who, in_order, note) == word
    assert word == "ok" or ANSWERS[word]


@pytest.mark.parametrize(
    ("review", "days", "number"),
    [(OPEN, 0.0, 0), (OPEN, 0.99, 0), (OPEN, 1.0, 1), (OPEN, 2.5, 2), (OPEN, 40.0, 3),
     (OPEN, -1.0, 0), (DONE, 2.0, 0)],
)  # fmt: skip
def test_an_open_review_is_asked_about_every_day_three_times(review, days, number):
    assert reminders_due(review, OPEN.broken + days * EVERY) == number
