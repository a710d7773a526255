"""Reviews of break-glass approvals by a second person: who may, what counts, when they are asked
again.

Pure. The person who broke the glass was barred by the rules, and those who started, resumed or
retried the run wanted it to go: neither judges it. Anybody else may who would be trusted to break
the glass.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.model import Review, Run

NOTE_LEAST = 15  # characters of what was not in order
EVERY, TIMES = 24 * 3600.0, 3  # seconds between reminders of an open review, and how many


@dataclass(frozen=True)
class Reviewer:
    """Facts about a reviewer: whether they are a full member of our own organisation, and whether
    they may start runs."""

    fit: bool
    trusted: bool


#: Why a review changes nothing, in words for the audit.
ANSWERS = {
    "unknown": "the glass was not broken there",
    "already": "it was reviewed before",
    "broke_it": "whoever broke the glass does not review that",
    "own_run": "whoever asked for a run, or had it go on, does not review what it was allowed",
    "unfit": "guests, bots, deactivated people and those of other organisations never review",
    "not_trusted": "only those who may start runs review",
    "no_note": f"what was not in order is said in {NOTE_LEAST} characters at least",
}


def judge(
    review: Review | None, run: Run | None, by: str, who: Reviewer, in_order: bool, note: str
) -> str:
    """The one word that answers a review: ``ok``, or why it changes nothing."""
    if review is None or run is None:
        return "unknown"
    if not review.is_open:
        return "already"
    if not who.fit:
        return "unfit"
    if by == review.broken_by:
        return "broke_it"
    if by == run.by or by in run.steered:
        return "own_run"
    if not who.trusted:
        return "not_trusted"
    return "ok" if in_order or len(note.strip()) >= NOTE_LEAST else "no_note"


def reminders_due(review: Review, now: float) -> int:
    """Number of reminders of an open review that are due by ``now`` (Unix seconds), the last
    included."""
    if not review.is_open:
        return 0
    return min(TIMES, max(0, int((now - review.broken) // EVERY)))
