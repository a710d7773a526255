"""Rules of reviews: a second person judges a break-glass approval.

Pure. Full members who may start runs may review. The person who broke the glass may not, because
the rules barred them. People who started, resumed or retried the run may not, because they wanted
it to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.language.grammar import took
from engine.language.sentence import Command, Person, Quote, Sentence, say
from engine.model import Review, Run

NOTE_LEAST = 15  # characters of a note that says why something was not in order


@dataclass(frozen=True)
class Reviewer:
    """Facts about a reviewer. ``fit``: a full member of our own organisation. ``trusted``: a
    starter."""

    fit: bool
    trusted: bool


#: Reasons why a person may not review.
BARRED = {
    "unfit": "guests, bots, deactivated people and people of other organisations cannot review",
    "broke_it": "the person who broke the glass cannot review the approval",
    "own_run": "people who requested, resumed or retried the run cannot review its approvals",
    "not_trusted": "only starters and approvers can review (setting approval.starters)",
}


def judge(review: Review, run: Run, by: str, who: Reviewer) -> str:
    """Judge whether ``by`` may close this review: ``ok``, ``already``, or a key of ``BARRED``."""
    if not who.fit:
        return "unfit"  # checked first: the other answers would tell a stranger about people
    if not review.is_open:
        return "already"
    if by == review.broken_by:
        return "broke_it"
    if by == run.by or by in run.steered:
        return "own_run"
    return "ok" if who.trusted else "not_trusted"


def why_not(review: Review, answer: str, now: float) -> Sentence:
    """Sentence that says why ``answer`` leaves this review as it is."""
    if answer in BARRED:
        stays = "open" if review.is_open else "as it is"
        return say("{} stays {}: {}.", review.label, stays, BARRED[answer])
    ago = f"{took(now - review.at)} ago" if review.at is not None else "before"
    said = verdict(bool(review.in_order), review.note)
    form = "{} was reviewed by {} {}: {}."
    return say(form, review.label, Person(review.by or "nobody"), ago, said)


def verdict(in_order: bool, note: str) -> Sentence:
    """Result of a review in words."""
    said = "in order" if in_order else "not in order"
    return say('{}: "{}"', said, Quote(note)) if note else say("{}", said)


def request(labels: Sequence[str], run: str) -> Sentence:
    """Sentence that asks for the review of these approvals of a run, with what to type."""
    awaits = "approval {} awaits" if len(labels) == 1 else "approvals {} await"
    named = awaits.format(", ".join(labels))
    reviewed = Command(f"reviewed {run}")
    return say("Break-glass {} review by a second person: {}", named, reviewed)
