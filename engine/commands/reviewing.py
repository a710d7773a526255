"""Review of a break-glass approval: one transaction, one that counts, every refusal in the
audit."""

from __future__ import annotations

from dataclasses import dataclass

from engine.commands.service import Service
from engine.model import Review, Run
from engine.policy.approvals import review as reviews
from engine.policy.approvals.review import Reviewer
from engine.store import queries


@dataclass(frozen=True)
class Reviewed:
    """Result of a review. ``code``: ``ok``, or one of ``policy.approvals.review.ANSWERS``; only
    ``ok`` changed anything. ``review`` is as it stands now."""

    code: str
    review: Review | None = None
    run: Run | None = None


def review(
    service: Service, approval_id: int, in_order: bool, *, by: str, who: Reviewer, note: str = ""
) -> Reviewed:
    """Say whether it was in order that the glass was broken. Exactly one review counts. Never
    raises for somebody who may not: the answer says why."""
    store, note = service.store, note.strip()
    with service.writing(by) as pen:
        found = queries.review(store, approval_id)
        run = queries.run(store, found.run) if found else None
        answer = reviews.judge(found, run, by, who, in_order, note)
        if found is None or answer != "ok":
            why = reviews.ANSWERS[answer]
            text = f"{by} wanted to review A{approval_id}. Nothing changed: {why}."
            detail = {"approval": approval_id}
            pen.event("refused", text, run=run.id if run else None, by=by, detail=detail)
            return Reviewed(answer, found, run)
        verdict = "in order" if in_order else "not in order"
        why = f': "{note}"' if note else ""
        text = f"{by} reviewed that {found.broken_by} broke the glass for {found.label}: {verdict}"
        pen.approvals.review(found, text + why, by=by, in_order=in_order, note=note)
    return Reviewed("ok", queries.review(store, approval_id), run)
