"""Reminders before an approval is needed, and then the escalation: when, to whom, in which words.

Pure. Times count back from the moment when the powered-down VMs would start, so that nobody is
woken at 23:00 for 06:00. Each message is posted once per place: rows keep its key.

Places: the thread of the run, where all recipients are mentioned; and the thread of each copy of
the card, where only recipients outside the run's channel are mentioned. Once the escalation is due,
its people outside the channel get a copy, too: nobody is called to a card that they cannot see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bot.slack.kit.blocks import date, section
from bot.slack.kit.mentions import calls, mentions
from bot.slack.kit.message_kinds import ESCALATE, REMIND, Key
from bot.slack.kit.phrases import Rendered, count, rendered, route
from bot.slack.messages.card import Question
from bot.slack.people.approvers import Approvers, nobody
from engine.model import ApprovalState, RunState
from engine.settings import Settings

REST = 300.0  # seconds from the question to its first reminder, if the lead is not shorter


@dataclass(frozen=True)
class Due:
    """Message that is due now, under ``key``, to ``users``. ``called``: their mentions, if all are
    meant. ``do``: what they can do in the run's thread; empty: nothing."""

    key: Key
    mark: str
    users: tuple[str, ...]
    called: str
    said: str
    do: str

    def in_thread(self) -> Rendered:
        """The message for the thread of the run."""
        return _told(f"{self.mark} {self.called}", self.said, self.do)

    def at_copy(self, users: Sequence[str] | None) -> Rendered:
        """The message for the thread of a copy of the card, which mentions only ``users``;
        ``None``: Slack did not say who reads there, so everybody is mentioned."""
        called = self.called if users is None else mentions(users)
        return _told(f"{self.mark} {called}", self.said, self.do and "Decide on the card above.")


def due(question: Question, approvers: Approvers, settings: Settings, now: float) -> Iterator[Due]:
    """Messages that are due about this question at ``now`` (Unix seconds, engine's clock)."""
    approval, run = question.approval, question.record.run
    if not is_asked(question):
        return
    left = (question.estimate or now) - now
    stood = now - approval.requested
    able, still, do = approvers.eligible(run), _still(question), _do(question, settings)
    leads = [
        lead for lead in settings.approval.reminders if left <= lead and stood >= min(lead, REST)
    ]
    if able and leads:
        # Of several due reminders only the last is posted: the others come too late.
        key = Key(REMIND, approval.label, f"{min(leads):g}")
        yield Due(key, "⏰", able, mentions(able), still, do)
    if asks_others(question, approvers, settings, now):
        helpless = is_helpless(question, approvers)
        why = f"{nobody(run, approvers)}." if helpless else "Nobody has decided yet."
        said = f"{still} {why[0].upper()}{why[1:]}"
        called, others = calls(settings.approval.escalation), approvers.stand_ins(run)
        do = do if approvers.others(run) else ""
        yield Due(Key(ESCALATE, approval.label, ""), "📣", others, called, said, do)


def asked(
    question: Question, approvers: Approvers, settings: Settings, now: float
) -> tuple[str, ...]:
    """Approvers who are to see the card: those asked first, then the escalation once it is due.
    After break-glass all of them, since they can withdraw the approval."""
    run = question.record.run
    first, others = approvers.eligible(run), approvers.stand_ins(run)
    if question.approval.glass or asks_others(question, approvers, settings, now):
        return tuple(dict.fromkeys((*first, *others)))
    return first


def asks_others(question: Question, approvers: Approvers, settings: Settings, now: float) -> bool:
    """Tell whether the escalation is due, because those asked first cannot decide or have not
    decided in time."""
    if not settings.approval.escalation or not is_asked(question):
        return False
    return is_helpless(question, approvers) or is_late(question, settings, now)


def is_helpless(question: Question, approvers: Approvers) -> bool:
    """Tell whether none of those asked first can decide."""
    return approvers.known and not approvers.eligible(question.record.run)


def is_late(question: Question, settings: Settings, now: float) -> bool:
    """Tell whether the approval is needed so soon that the escalation is due."""
    stood, lead = now - question.approval.requested, settings.approval.escalate
    return (question.estimate or now) - now <= lead <= stood


def is_asked(question: Question) -> bool:
    """Tell whether the question is open and its run active."""
    is_open = question.approval.state is ApprovalState.REQUESTED
    return is_open and question.record.run.state is RunState.ACTIVE


def _still(question: Question) -> str:
    approval, run = question.approval, question.record.run
    vms = count(len(approval.vms), "powered-down VM")
    by = f", needed by {date(question.needed_by)}" if question.needed_by else ""
    return f"{approval.label} awaits a decision: {vms} of {run.label} · {route(run)}{by}."


def _do(question: Question, settings: Settings) -> str:
    return (
        "Decide on the card in this thread, or type in a channel: "
        f"{settings.slack.command} approve {question.approval.label}"
    )


def _told(*parts: str) -> Rendered:
    words = " ".join(filter(None, parts))
    return rendered(words, [section(words)])
