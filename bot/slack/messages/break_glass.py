"""Messages about break-glass approvals: on-call and escalation groups are notified at once, and
again when a second person has reviewed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bot.slack.kit.blocks import date, escape, section
from bot.slack.kit.mentions import calls, mention, mentions
from bot.slack.kit.message_kinds import GLASS, REVIEW, Key
from bot.slack.kit.phrases import Post, count, rendered, route
from bot.slack.messages.card import Question
from bot.slack.people.approvers import Approvers
from engine.model import Review, RunRecord
from engine.settings import Settings


def announcement(question: Question, settings: Settings, approvers: Approvers) -> Iterator[Post]:
    """Messages about a break-glass approval, whatever becomes of it: one about the approval, and
    one about its review once there is a verdict. Nothing for other approvals."""
    approval, run = question.approval, question.record.run
    review = review_of(question.record, approval.id)
    if review is None:
        return
    who = mention(review.broken_by)
    vms = count(len(approval.vms), "powered-down VM")
    words = [
        f"🚨 {_called(settings, approvers)}{who} broke the glass and approved {approval.label}: "
        f"{vms} of {run.label} · {route(run)}, without being allowed to decide on it.",
        f'Why: "{escape(review.why)}" {date(review.broken)}',
    ]
    if approval.granted and review.is_open:
        words.append("Approvers can withdraw it on the card before the first start.")
    words.append(f"Review: {_verdict(review)}" if not review.is_open else _wanted(review, settings))
    shown = rendered("\n".join(words), [section("\n".join(words))], approval.id, review.at)
    yield Post.of(Key(GLASS, approval.label), shown)
    if not review.is_open:
        called = "" if review.in_order else _called(settings, approvers)
        text = f"🔎 {called}{who} broke the glass for {review.label}. Review: {_verdict(review)}"
        yield Post.of(Key(REVIEW, approval.label), rendered(text, [section(text)]))


def review_of(record: RunRecord, approval: int) -> Review | None:
    """The review of this approval, if it is a break-glass approval."""
    return next((one for one in record.reviews if one.approval == approval), None)


def _called(settings: Settings, approvers: Approvers) -> str:
    """Mentions of everybody who is notified, with a trailing space; empty: nobody."""
    groups = dict.fromkeys((*settings.approval.oncall, *settings.approval.escalation))
    asked = (calls(groups), mentions(approvers.listed))
    return "".join(f"{one} " for one in asked if one)


def _wanted(review: Review, settings: Settings) -> str:
    return (
        f"Review: open. A second person, but not {mention(review.broken_by)} or anybody who "
        "requested, resumed or retried the run, types in a channel: "
        f"`{settings.slack.command} reviewed R{review.run}`, followed by anything not in order."
    )


def _verdict(review: Review) -> str:
    """Verdict of a review, such as ``in order, says @mei 11:02: "..."``."""
    said = "in order" if review.in_order else "not in order"
    note = f': "{escape(review.note)}"' if review.note else ""
    return f"{said}, says {mention(review.by)} {date(review.at or 0.0)}{note}"
