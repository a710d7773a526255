"""Asks again before a yes is needed, and then asks the escalation: when, whom, in which words.

Pure. Counted back from the moment when the powered-down VMs would start, so that nobody is woken
at 23:00 for 06:00. Each is said once: its key stands in the rows from then on.
"""

from __future__ import annotations

from collections.abc import Iterator

from bot.slack.blocks import date, section
from bot.slack.card import Question
from bot.slack.people import Deciders, calls, mentions
from bot.slack.views import Rendered, count, nobody, rendered, route
from engine.model import ApprovalState, RunState
from engine.settings import SlackSettings

REST = 300.0  # seconds for which a new card is left alone before somebody is asked again


def due(
    question: Question, deciders: Deciders, settings: SlackSettings, now: float
) -> Iterator[tuple[str, Rendered]]:
    """Key and words of what is due about this question at ``now`` (Unix seconds, engine's)."""
    approval, run = question.approval, question.record.run
    if approval.state is not ApprovalState.REQUESTED or run.state is not RunState.ACTIVE:
        return
    left = (question.estimate or now) - now
    stood = now - approval.requested
    able = deciders.eligible(run)
    leads = [lead for lead in settings.reminders if left <= lead and stood >= min(lead, REST)]
    if able and leads:
        # Of several that are due only the last is said: the others came too late.
        lead = min(leads)
        words = f"⏰ {mentions(able)} {_still(question)} {_do(question, settings)}"
        yield f"remind:{approval.label}:{lead:g}", _told(words)
    helpless = is_helpless(question, deciders)
    if settings.escalation and (helpless or is_late(question, settings, now)):
        why = f"{nobody(run, deciders)}." if helpless else "Nobody has decided yet."
        words = f"📣 {calls(settings.escalation)} {_still(question)} {why[0].upper()}{why[1:]}"
        if deciders.others(run):
            words += f" {_do(question, settings)}"
        yield f"escalate:{approval.label}:", _told(words)


def is_helpless(question: Question, deciders: Deciders) -> bool:
    """Can nobody of those who are asked first decide?"""
    return deciders.known and not deciders.eligible(question.record.run)


def is_late(question: Question, settings: SlackSettings, now: float) -> bool:
    """Is it so near to the need that the escalation is due?"""
    left = (question.estimate or now) - now
    return left <= settings.escalate and now - question.approval.requested >= settings.escalate


def _still(question: Question) -> str:
    approval, run = question.approval, question.record.run
    vms = count(len(approval.vms), "powered-down VM")
    by = f", needed by {date(question.needed_by)}" if question.needed_by else ""
    return f"{approval.label} waits for a yes or no: {vms} of {run.label} · {route(run)}{by}."


def _do(question: Question, settings: SlackSettings) -> str:
    return (
        "Decide on the card in this thread, or type in a channel: "
        f"{settings.command} approve {question.approval.label}"
    )


def _told(words: str) -> Rendered:
    return rendered(words, [section(words)])
