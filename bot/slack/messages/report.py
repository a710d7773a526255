"""The final report of a run as blocks."""

from __future__ import annotations

from collections.abc import Sequence

from bot.slack.kit.blocks import (
    context,
    date,
    escape,
    fit_lines,
    section,
)
from bot.slack.kit.phrases import Rendered, rendered, typed
from bot.slack.messages.board import COMMAND, whose
from bot.slack.messages.break_glass import review_of
from bot.slack.people.mentions import mention, reported
from engine.model import (
    Approval,
    ApprovalState,
    RunRecord,
    RunState,
)

URGENT = ("Damaged:", "Needs a person:", "Not moved:")  # lines of the report, in this order


def report_view(
    record: RunRecord,
    lines: Sequence[str],
    audit: str = "",
    command: str = COMMAND,
    people: Sequence[str] = (),
) -> Rendered:
    """The last word of a run, in the thread and broadcast; ``lines`` are the report's own, and
    ``people`` those whom they name."""
    run = record.run
    mark = "✅" if run.state is RunState.COMPLETED else "⚠️"
    shown = [reported(typed(escape(line), command), people) for line in urgent_first(lines)]
    head, *rest = shown or [f"{run.label} ended"]
    body = [fit_lines(rest, 2_900)] if rest else []
    foot = " · ".join(
        [whose(run)]
        + [
            f"approved by {mention(a.by)} {date(a.decided)}{_glass(a, record)}"
            for a in record.approvals
            if a.state is ApprovalState.GRANTED and a.decided is not None
        ]
        + ([f"audit {audit[:8]}"] if audit else [])
    )
    text = "\n".join([f"{mark} {mention(run.contact)} {head}", *body, foot])
    blocks = [section(f"{mark} {mention(run.contact)} *{head}*"), context(foot)]
    blocks[1:1] = map(section, body)
    return rendered(text, blocks)


def _glass(approval: Approval, record: RunRecord) -> str:
    """Note that the glass was broken for the approval, and whether somebody else has reviewed
    that."""
    if not approval.glass:
        return ""
    review = review_of(record, approval.id)
    if review is None or review.is_open:
        return ", who broke the glass (nobody has reviewed that)"
    said = "in order" if review.in_order else "not in order"
    return f", who broke the glass ({said}, says {mention(review.by)})"


def urgent_first(lines: Sequence[str]) -> list[str]:
    """The report's lines with those right after the headline that need somebody."""

    def rank(line: str) -> int:
        return next((n for n, word in enumerate(URGENT) if line.startswith(word)), len(URGENT))

    return [*lines[:1], *sorted(lines[1:], key=rank)]
