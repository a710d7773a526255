"""Pages to the pager: an approval that nobody gives, a VM that is damaged or lost. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from bot.pager import Page
from bot.slack.kit.blocks import fit
from bot.slack.kit.phrases import count
from bot.slack.messages import reminders
from bot.slack.messages.card import Question
from bot.slack.messages.failures import by_cause
from bot.slack.people.approvers import Approvers
from engine.model import MoveState, RunRecord, short
from engine.settings import Settings
from engine.views.board import failed

BAD = (MoveState.DAMAGED, MoveState.UNKNOWN)
TEXT = 1_000


def for_question(
    question: Question, approvers: Approvers, settings: Settings, now: float
) -> Iterator[Page]:
    """Pages for an approval that nobody can decide on, or that is still open shortly before it is
    needed."""
    approval, run = question.approval, question.record.run
    if not reminders.is_asked(question):
        return
    vms = count(len(approval.vms), "powered-down VM")
    waits = f"{approval.label} awaits a decision: {vms} of {run.label}{_by(question)}."
    if reminders.is_helpless(question, approvers):
        text = f"{waits} Nobody who is on call or listed may decide."
        yield Page(f"nobody:{approval.label}", "nobody_may_decide", run.label, text)
    elif reminders.is_late(question, settings, now):
        text = f"{waits} Nobody has decided yet."
        yield Page(f"escalate:{approval.label}", "escalation", run.label, text)


def _by(question: Question) -> str:
    if not question.needed_by:
        return ""
    return f", needed by {datetime.fromtimestamp(question.needed_by, UTC):%H:%M} UTC"


def for_run(record: RunRecord) -> Iterator[Page]:
    """Pages for damaged VMs and for VMs whose location is unknown: one per cause."""
    run = record.run
    bad = tuple(stuck for stuck in failed(record) if stuck.state in BAD)
    for name, group in by_cause(bad, record).items():
        first, more = group[0], len(group) - 1
        same = f" The same happened to {count(more, 'more VM')}." if more else ""
        text = f"{run.label} on {short(first.host)}: {fit(first.sentence, TEXT)}{same}"
        yield Page(f"{first.state}:{run.label}:{name}", str(first.state), run.label, text)
