"""Answers to one person: refusals and results of requests, clicks and verbs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.slack.kit.blocks import TEXT, date, escape, fit
from bot.slack.kit.mentions import mention, mentions, render
from bot.slack.kit.phrases import SPOKEN
from bot.slack.kit.refusals import NOT_STARTED, NOTHING
from bot.slack.people.approvers import Approvers, nobody
from engine.commands.service import Decision
from engine.model import Approval, ApprovalState, Event, Run

#: Answers to clicks, for codes that need no further detail.
_UNHEEDED = {
    "stale": f"This card is out of date. {NOTHING} Use the newest card.",
    "expired": f"This approval has expired: nobody decided in time. {NOTHING}",
    "started": f"One of its VMs has been started, so the approval stays valid. {NOTHING}",
    "withdrawn": f"This approval was withdrawn. {NOTHING}",
    "no_break_glass": "You are not allowed to break the glass here (settings "
    f"approval.break_glass and approval.starters). {NOTHING}",
    "unfit": f"Guests, bots and people of other organisations cannot break the glass. {NOTHING}",
    "may_decide": f"You are an approver: click Approve instead. {NOTHING}",
    "no_reason": f"The reason is too short. {NOTHING}",
}


def attached(run: Run, link: str = "") -> str:
    """Answer if the same request is already running. ``link``: to its board."""
    asked = f"requested by {mention(run.by)} {date(run.created)}"
    see = f"; see {link}" if link else ""
    return f"{run.label} is already doing this ({asked}){see}. {NOT_STARTED}"


NO_RUN_HERE = f"This message belongs to no run. Choose another one, or type: {SPOKEN} status"


def on_the_card(links: Sequence[str]) -> str:
    """Answer to a decision that was typed in a thread: links to the cards."""
    if not links:
        return f"No approval is open here. {NOTHING} For all: {SPOKEN} approvals"
    return f"Use the buttons on {', '.join(links)}. {NOTHING}"


def started_without_approvers(run: Run, approvers: Approvers) -> str:
    """Warn the requester at once that nobody can approve, before the run waits all night."""
    others = approvers.stand_ins(run)
    instead = f" I will ask {mentions(others)} instead." if others else ""
    return (
        f"{run.label} is starting, but {nobody(run, approvers)}. "
        f"Powered-down VMs will wait; running VMs move.{instead}"
    )


def decision(answer: Decision, by: str, clicked: float, approvers: Approvers, command: str) -> str:
    """Answer to a decision; empty if it was accepted, since the card shows that."""
    if answer.accepted:
        return ""
    run = answer.run.label if answer.run else "this run"
    able = mentions(eligible_for(answer.run, approvers))
    match answer.code:
        case "already":
            return f"{_earlier(answer, by, clicked)} {NOTHING}"
        case "own_run":
            others = f"These people may: {able}." if able else "Nobody else may decide at present."
            asked = answer.run is None or answer.run.by == by
            why = f"You requested {run}" if asked else f"You resumed or retried {run}"
            return f"{why}, so you cannot decide on its approvals. {others} {NOTHING}"
        case "not_a_decider":
            return f"{_not_they(by, able, approvers)} Your click is recorded. {NOTHING}"
        case "others_may":
            others = able or "those of the escalation"
            return f"Approvers are available: {others}. {NOTHING}"
    unknown = f"This approval does not exist. {NOTHING} Type: {command} approvals"
    return _UNHEEDED.get(answer.code, unknown)


def eligible_for(run: Run | None, approvers: Approvers) -> tuple[str, ...]:
    """Approvers who may decide on the run; those of the escalation only if nobody else may."""
    return approvers.eligible(run) or (approvers.stand_ins(run) if run is not None else ())


def _not_they(by: str, able: str, approvers: Approvers) -> str:
    """Reason why this person may not decide, and who may."""
    if by in approvers.unfit and by in approvers.everybody:
        others = f"These people may: {able}." if able else "Nobody else may at present."
        return f"Guests, bots and people of other organisations cannot decide. {others}"
    if approvers.groups:
        return f"You are not on call now ({f'{able} may decide' if able else 'nobody else may'})."
    allowed = f"{able} may decide" if able else "nobody is listed"
    return f"You are not allowed to decide on this approval ({allowed})."


def unsure(error: str, by: str, approvers: Approvers) -> str:
    """Refusal of a decision because Slack did not say whether this person may decide."""
    what = "whether you may decide" if by in approvers.listed else "who is on call"
    if error in ("", "no answer"):
        again = "Try again in a minute; the card stays open."
        return f"I cannot check {what}: Slack did not answer. {again}"
    fix = (
        "The app lacks a scope of manifest.yml: add it and install the app again."
        if error == "missing_scope"
        else "Check the settings approval.oncall and approval.escalation."
    )
    return f"I cannot check {what}: Slack says {escape(error)}. {fix} The card stays open."


def _earlier(answer: Decision, by: str, clicked: float) -> str:
    denied = answer.approval is not None and answer.approval.state is ApprovalState.DENIED
    verb = "denied" if denied else "approved"
    who = "You" if answer.by == by else mention(answer.by)
    if answer.at is None:
        return f"{who} already {verb} this."
    if clicked < answer.at:
        return f"{who} {verb} this while your click was in flight."
    return f"{who} {verb} this {_span(clicked - answer.at)} before your click."


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{int(seconds)} s" if seconds >= 1 else "a moment"
    return f"{int(seconds // 60)} min" if seconds < 7200 else f"{int(seconds // 3600)} h"


def carried_out_before(done: Sequence[Event], command: str) -> str:
    """Answer after a restart: what the audit shows of the first time."""
    lines = [render(event.text, command) for event in done[:5]]
    more = f"… and {len(done) - 5} more" if len(done) > 5 else ""
    return fit(" ".join([*lines, more]).strip(), TEXT)


def undecided(sentence: str, asked: Approval, run: Run, approvers: Approvers) -> str:
    """Answer if a decision changed nothing: why (rendered), and who decided or may."""
    if asked.by is not None:
        at = date(asked.decided or asked.requested)
        return f"{sentence} It was {asked.state} by {mention(asked.by)} {at}."
    if asked.state is not ApprovalState.REQUESTED or run.over:
        return sentence
    able = eligible_for(run, approvers)
    return f"{sentence} " + (
        f"May decide: {mentions(able)}." if able else f"At present {nobody(run, approvers)}."
    )
