"""The final report of a run as blocks."""

from __future__ import annotations

from collections.abc import Sequence

from bot.slack.kit.blocks import context, date, fit_lines, section
from bot.slack.kit.mentions import mention, render
from bot.slack.kit.phrases import Rendered, rendered
from bot.slack.messages.board import COMMAND, whose
from bot.slack.messages.break_glass import review_of
from engine.model import Approval, ApprovalState, RunRecord, RunState


def report_view(
    record: RunRecord, lines: Sequence[str], audit: str = "", command: str = COMMAND
) -> Rendered:
    """The final report of a run, posted in its thread and broadcast. ``lines``: its text."""
    run = record.run
    mark = "✅" if run.state is RunState.COMPLETED else "⚠️"
    shown = [render(line, command) for line in lines]
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
    """Note that the approval was break-glass, and whether a second person has reviewed it; empty
    for other approvals."""
    if not approval.glass:
        return ""
    review = review_of(record, approval.id)
    if review is None or review.is_open:
        return ", who broke the glass (nobody has reviewed that)"
    said = "in order" if review.in_order else "not in order"
    return f", who broke the glass ({said}, says {mention(review.by)})"
