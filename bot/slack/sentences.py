"""What one person is told: refusals of requests and clicks, status, help. Pure, plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bot.slack.blocks import TEXT, date, escape, fit, fit_lines
from bot.slack.people import Deciders, mention, mentions
from bot.slack.views import STATE, board_view, nobody, route, urgent_first
from engine.board import Board
from engine.errors import Refused, UsageError
from engine.model import ApprovalState, Run
from engine.service import Decision
from engine.vocabulary import OPTIONS, VERBS

TYPE = re.compile(rf"Type: (?=(?:{'|'.join(verb.name for verb in VERBS)})\b)")
NOTHING = "Nothing changed."
NOT_STARTED = "Nothing started."


def usage(error: UsageError, command: str) -> str:
    """Which word is wrong, what was typed, and what to type instead."""
    shown = f"\n```{escape(_pointer(error))}```" if error.at >= 0 and error.text else ""
    return fit(_told(error, command), 2_000) + shown


def _told(error: Refused, command: str) -> str:
    """What is wrong, that nothing happened, what to do last."""
    hint = TYPE.sub(f"Type: {command} ", error.hint)
    if "Nothing" in error.sentence + hint:
        return escape(f"{error.sentence} {hint}".strip())
    return escape(f"{error.sentence} {NOT_STARTED} {hint}".strip())


def _pointer(error: UsageError) -> str:
    """The text with a caret under the wrong word, cut so that the caret stays in sight."""
    start = max(0, error.at - 60)
    shown = error.text[start : start + 120].replace("\n", " ").replace("`", "'")
    return f"{shown}\n{' ' * (error.at - start)}{'^' * max(1, min(len(error.what), 60))}"


def refused(error: Refused, command: str) -> str:
    """A request that cannot be carried out."""
    return _told(error, command)


def attached(run: Run) -> str:
    """The same request is on its way already."""
    asked = f"asked by {mention(run.by)} {date(run.created)}"
    return f"{run.label} does this already ({asked}). {NOT_STARTED}"


def started_without_deciders(run: Run) -> str:
    """Said to the requester at once, so that nobody waits all night for an impossible click."""
    return (
        f"{run.label} starts, but {nobody(run.by)}. "
        "VMs that are powered down will wait; running VMs move."
    )


def not_here(channels: Sequence[str]) -> str:
    """The channel is not one where the bot works."""
    places = ", ".join(f"<#{channel}>" for channel in channels)
    return f"I work only in {places}. {NOT_STARTED}"


def not_a_starter(starters: Sequence[str]) -> str:
    """The person may look, but not start."""
    return f"You may not start moves; these people may: {mentions(starters)}. {NOT_STARTED}"


def not_posted(run: Run, channel: str, error: str) -> str:
    """The board could not be posted, so the run does not start."""
    invite = "Type there: /invite @vmferry, then ask again."
    why = {
        "is_archived": f"<#{channel}> is archived. Ask again in another channel.",
        "not_in_channel": f"I am not in <#{channel}>. {invite}",
        "channel_not_found": f"I cannot see <#{channel}>. {invite}",
    }
    reason = why.get(error, f"Slack refused the message ({escape(error)}).")
    return f"{run.label} was rejected: {reason} {NOT_STARTED}"


def unknown_button(command: str) -> str:
    """A button that this version does not have, or one with a value that we did not make."""
    return f"This button is from another version of VMFerry. {NOTHING} Type: {command} status"


def failed_inside(inbox: int, command: str) -> str:
    """Our own fault."""
    return (
        f"Something went wrong inside VMFerry (inbox {inbox} in its log). "
        f"Look with {command} status before you type it again."
    )


def not_saved() -> str:
    """The row could not be written, so nothing was promised."""
    return (
        f"I could not write this down, so I do not do it. {NOT_STARTED} Type it again in a minute."
    )


def decision(answer: Decision, by: str, clicked: float, deciders: Deciders, command: str) -> str:
    """The truthful sentence for a click; empty where the card itself says it."""
    if answer.accepted:
        return ""
    run = answer.run.label if answer.run else "this run"
    able = mentions(deciders.eligible(answer.run.by if answer.run else ""))
    match answer.code:
        case "already":
            return f"{_earlier(answer, by, clicked)} {NOTHING}"
        case "own_run":
            others = f"These people may: {able}." if able else "Nobody else is listed to decide."
            return f"You asked for {run}, so you cannot decide on it. {others} {NOTHING}"
        case "not_a_decider":
            others = f"{able} may" if able else "nobody is listed"
            return f"You may not decide on this ({others}). Your click is recorded. {NOTHING}"
        case "stale":
            return f"This card is older than the question. {NOTHING} Use the newest card."
        case "expired":
            return f"This question is closed: nobody decided in time. {NOTHING}"
        case "withdrawn":
            return f"This question was withdrawn. {NOTHING}"
    return f"I do not know this question any more. {NOTHING} Type: {command} status"


def _earlier(answer: Decision, by: str, clicked: float) -> str:
    denied = answer.approval is not None and answer.approval.state is ApprovalState.DENIED
    verb = "denied" if denied else "approved"
    who = "You" if answer.by == by else mention(answer.by)
    if answer.at is None:
        return f"{who} {verb} this before."
    return f"{who} {verb} this {_span(max(0.0, clicked - answer.at))} before your click."


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{int(seconds)} s"
    return f"{int(seconds // 60)} min" if seconds < 7200 else f"{int(seconds // 3600)} h"


def status(boards: Sequence[Board], command: str) -> str:
    """One line a run, what needs a person first."""
    if not boards:
        return f"Nothing moves. Start with: {command} host HV01 to HV02"
    ordered = sorted(boards, key=lambda b: (not b.questions, b.run.id))
    return fit_lines([_status_line(board) for board in ordered], TEXT)


def _status_line(board: Board) -> str:
    run = board.run
    parts = [f"{run.label} · {route(run)} · {STATE[run.state]}"]
    parts.append(f"{board.moved} of {board.total} moved")
    if board.questions and not run.over:
        parts.append("needs an approval")
    if board.failed:
        parts.append(f"{len(board.failed)} failed")
    return " · ".join(parts)


def one_status(board: Board, deciders: Deciders) -> str:
    """The board of one run, to one person, in words."""
    return board_view(board, deciders).text


def report(lines: Sequence[str]) -> str:
    """The report of one run, to one person."""
    return fit_lines([escape(line) for line in urgent_first(lines)], TEXT)


def no_run(label: str, command: str) -> str:
    """A run that never was."""
    return f"There is no run {escape(label)}. Type: {command} status"


def help_text(command: str, topic: str = "") -> str:
    """What can be typed, out of the one table of verbs."""
    verbs = [v for v in VERBS if v.where in ("both", "slack")]
    asked = [v for v in verbs if v.name == topic.casefold()]
    lines = [f"`{command} {v.usage}`  {escape(v.about)}" for v in asked or verbs]
    if not asked or asked[0].request:
        options = ", ".join(o.word for o in OPTIONS if not o.terminal_only)
        lines.append(f"Then, as you like: {options}")
    lines.append("In threads slash commands do not work: type them in the channel.")
    return "\n".join(lines)
