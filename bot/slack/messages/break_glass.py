"""Messages about break-glass approvals: both groups are notified at once, in the thread, and
reminded until a second person has reviewed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.slack.kit import message_kinds
from bot.slack.kit.blocks import actions, button, date, escape, section
from bot.slack.kit.buttons import REVIEW, value_of
from bot.slack.kit.message_kinds import GLASS, LOOK, Key
from bot.slack.kit.phrases import Post, count, rendered, route
from bot.slack.messages.card import Question
from bot.slack.people.approvers import Approvers
from bot.slack.people.mentions import calls, mention, mentions
from engine.model import Review, RunRecord
from engine.policy.approvals.review import reminders_due
from engine.settings import SlackSettings

WAITING = 10  # reviews that are listed


def announcement(
    question: Question, settings: SlackSettings, approvers: Approvers
) -> Iterator[Post]:
    """Key, words and urgency of the messages about a break-glass approval: once for each approval
    of that kind, whatever becomes of it, and the result of its review."""
    approval, run = question.approval, question.record.run
    review = review_of(question.record, approval.id)
    if review is None:
        return
    who = mention(review.broken_by)
    vms = count(len(approval.vms), "powered-down VM")
    words = [
        f"🚨 {_called(settings, approvers)}{who} broke the glass and approved {approval.label}: "
        f"{vms} of {run.label} · {route(run)}, though they may not decide on it.",
        f'Why: "{escape(review.why)}" {date(review.broken)}',
    ]
    if approval.granted and review.is_open:
        words.append("Whoever may decide can take it back on the card before the first start.")
    words.append(f"Review: {_verdict(review)}" if not review.is_open else _wanted(review))
    text = "\n".join(words)
    blocks = [section(text)]
    if review.is_open:
        about = f"Say whether it was in order to break the glass for {review.label}"
        blocks.append(actions(button("Review…", REVIEW, value_of(approval), about=about)))
    yield Post.of(Key(GLASS, approval.label), rendered(text, blocks, approval.id, review.at))
    if not review.is_open:
        called = "" if review.in_order else _called(settings, approvers)
        text = f"🔎 {called}{who} broke the glass for {review.label}. Review: {_verdict(review)}"
        yield Post.of(Key(message_kinds.REVIEW, approval.label), rendered(text, [section(text)]))


def review_of(record: RunRecord, approval: int) -> Review | None:
    """The review of this approval, where the glass was broken for it."""
    return next((one for one in record.reviews if one.approval == approval), None)


def reminder(
    question: Question, settings: SlackSettings, approvers: Approvers, now: float
) -> Iterator[Post]:
    """The newest reminder of an open review that is due by ``now``; each is said once."""
    review = review_of(question.record, question.approval.id)
    number = reminders_due(review, now) if review is not None else 0
    if review is None or not number:
        return
    text = (
        f"⏰ {_called(settings, approvers)}{mention(review.broken_by)} broke the glass for "
        f"{review.label} {date(review.broken)}, and nobody has looked at that. "
        "Click Review… where it is told in this thread."
    )
    yield Post.of(reminder_key(review, number), rendered(text, [section(text)]))


def reminder_key(review: Review, number: int) -> Key:
    """Key of the reminder of that number."""
    return Key(LOOK, review.label, str(number))


def waiting(reviews: Sequence[Review]) -> str:
    """Break-glass approvals awaiting review, a line each."""
    return "\n".join(
        f"{one.label} · R{one.run} · {mention(one.broken_by)} broke the glass {date(one.broken)} · "
        "to be looked at by somebody else: Review… in its thread"
        for one in reviews[:WAITING]
    )


def _called(settings: SlackSettings, approvers: Approvers) -> str:
    """Mentions of everybody who is notified, with a space behind; empty: nobody is named."""
    groups = dict.fromkeys((*settings.oncall, *settings.escalation))
    asked = (calls(groups), mentions(approvers.listed))
    return "".join(f"{one} " for one in asked if one)


def _wanted(review: Review) -> str:
    return (
        f"Review: open. Somebody else than {mention(review.broken_by)} and those who had the run "
        "go says whether this was in order."
    )


def _verdict(review: Review) -> str:
    """``in order, says @mei 11:02: "..."``."""
    said = "in order" if review.in_order else "not in order"
    note = f': "{escape(review.note)}"' if review.note else ""
    return f"{said}, says {mention(review.by)} {date(review.at or 0.0)}{note}"
