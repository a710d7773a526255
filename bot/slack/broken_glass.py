"""What is said when somebody broke the glass: both groups are told at once, in the thread. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from bot.slack.blocks import date, escape, section
from bot.slack.card import Question
from bot.slack.people import Deciders, calls, mention, mentions
from bot.slack.tables import FIRST
from bot.slack.views import Rendered, count, rendered, route
from engine.settings import SlackSettings


def told(
    question: Question, settings: SlackSettings, deciders: Deciders
) -> Iterator[tuple[str, Rendered, int]]:
    """Key, words and urgency: once for each approval of that kind, whatever becomes of it."""
    approval, run = question.approval, question.record.run
    if not approval.glass:
        return
    groups = dict.fromkeys((*settings.oncall, *settings.escalation))
    who = question.granter or approval.by
    asked = (calls(groups), mentions(deciders.listed))
    called = "".join(f"{one} " for one in asked if one)
    vms = count(len(approval.vms), "powered-down VM")
    words = [
        f"🚨 {called}{mention(who)} broke the glass and approved {approval.label}: {vms} of "
        f"{run.label} · {route(run)}, though they may not decide on it."
    ]
    if approval.granted:
        words.append(f'Why: "{escape(approval.reason)}" {date(approval.decided or 0.0)}')
        words.append("Whoever may decide can take it back on the card before the first start.")
    text = "\n".join(words)
    yield f"glass:{approval.label}", rendered(text, [section(text)], approval.id), FIRST
