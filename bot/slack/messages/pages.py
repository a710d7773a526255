"""Pages to the pager: an approval that nobody gives, a VM that is damaged or lost, a host or VMM
that does not answer for long. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bot.pager import Page
from bot.slack.kit.blocks import fit
from bot.slack.kit.phrases import count
from bot.slack.messages import reminders
from bot.slack.messages.card import Question
from bot.slack.messages.failures import by_cause, stalled
from bot.slack.people.approvers import Approvers
from engine.model import MoveState, Run, RunRecord, short
from engine.settings import Settings
from engine.views.board import failed
from engine.views.seen import Seen

BAD = (MoveState.DAMAGED, MoveState.UNKNOWN)
TEXT = 1_000
SILENT = 900.0
"""Seconds without an answer of VMM or of a host of an unfinished run until people are woken."""


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
    return f", needed by {_clock(question.needed_by)}"


def for_run(record: RunRecord) -> Iterator[Page]:
    """Pages for damaged VMs and for VMs whose location is unknown: one per cause."""
    run = record.run
    bad = tuple(stuck for stuck in failed(record) if stuck.state in BAD)
    for name, group in by_cause(bad, record).items():
        first, more = group[0], len(group) - 1
        same = f" The same happened to {count(more, 'more VM')}." if more else ""
        text = f"{run.label} on {short(first.host)}: {fit(first.sentence, TEXT)}{same}"
        yield Page(f"{first.state}:{run.label}:{name}", str(first.state), run.label, text)


def for_stalled(record: RunRecord) -> Iterator[Page]:
    """Pages for migrations that make no progress: one for those that came to a halt together."""
    label = record.run.label
    for name, group in stalled(record).items():
        first, more = group[0], len(group) - 1
        same = f" The same holds for {count(more, 'more VM')}." if more else ""
        text = f"{label}: {fit(first.wait_text, TEXT)}. Look for its job in VMM.{same}"
        yield Page(f"stalled:{label}:{name}", "stalled", label, text)


def for_silence(run: Run, seen: Sequence[Seen], now: float) -> Iterator[Page]:
    """Pages for VMM and hosts of an unfinished run that do not answer for long: one per outage.
    ``seen``: when each was last seen."""
    for one in seen:
        since = one.at if one.at is not None else run.created
        if one.late and now - since >= SILENT:
            text = f"{run.label}: {one.name} has not answered since {_clock(since)}."
            yield Page(f"silent:{run.label}:{one.name}:{since:.0f}", "silent", run.label, text)


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M} UTC"
