"""Answers to verbs that change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.slack.handlers.answers import eligible_for
from bot.slack.kit.blocks import TEXT, date, escape, fit, fit_lines
from bot.slack.kit.mentions import mentions, render
from bot.slack.kit.phrases import NAME, SPOKEN, as_code, count, route, several
from bot.slack.people.approvers import Approvers, nobody
from engine.language.grammar import nearest
from engine.language.vocabulary import OPTIONS, VERBS, example
from engine.model import Approval, Event
from engine.views.board import ENDS, STATES, Board, badly_ended


def status(boards: Sequence[Board], command: str) -> str:
    """One line per run; runs with an open approval first."""
    if not boards:
        return f"No run is in progress. Start with: {command} host HV01 to HV02"
    ordered = sorted(boards, key=lambda b: (not b.questions, b.run.id))
    return fit_lines([_status_line(board, command) for board in ordered], TEXT)


def listing(boards: Sequence[Board], needy: Iterable[int], hidden: int, command: str) -> str:
    """One line per run in the given order. ``needy``: runs that need a person."""
    if not boards:
        return f"There is no run yet. Start with: {command} host HV01 to HV02"
    helpless = frozenset(needy)
    lines = [_status_line(board, command, board.run.id in helpless) for board in boards]
    return fit_lines([*lines, *([f"… and {count(hidden, 'run')} more"] if hidden else [])], TEXT)


def _status_line(board: Board, command: str, needy: bool = False) -> str:
    run = board.run
    parts = [f"{run.label} · {route(run)} · {STATES[run.state]}"]
    parts.append(f"{board.moved} of {board.total} moved")
    if board.questions and not run.over:
        parts.append("needs an approval")
    if needy or board.needs:
        parts.append("needs a person")
    parts += [f"{len(vms)} {ENDS[state]}" for state, vms in badly_ended(board)]
    if board.unreviewed:
        labels = ", ".join(board.unreviewed)
        parts.append(f"{labels} to be reviewed: {command} reviewed {run.label}")
    return " · ".join(parts)


def report(lines: Sequence[str], command: str) -> str:
    """The report of one run, as a reply."""
    return fit_lines([render(line, command) for line in lines], TEXT)


def open_questions(
    asked: Sequence[tuple[Approval, Board, Sequence[str]]], approvers: Approvers, command: str
) -> str:
    """Open approvals, one line each, and how to decide on them."""
    if not asked:
        return "No approval is open."
    lines = [_open_question(*one, approvers) for one in asked]
    how = f"Click on the card, or type: {command} approve {asked[0][0].label}"
    return f"{fit_lines(lines, TEXT - len(how) - 1)}\n{how}"


def _open_question(
    approval: Approval, board: Board, names: Sequence[str], approvers: Approvers
) -> str:
    run, able = board.run, eligible_for(board.run, approvers)
    by = f" · needed by {date(board.needed_by)}" if board.needed_by else ""
    who = f"may decide: {mentions(able)}" if able else nobody(run, approvers)
    return f"{approval.label} · {run.label} · {route(run)} · {several(names)}{by} · {who}"


def happened(lines: Sequence[Event], command: str) -> str:
    """The given lines of the audit, in their order."""
    shown = [f"{date(e.at, '{time_secs}')} {render(e.text, command)}" for e in lines]
    return fit_lines(shown, TEXT) or "Nothing has happened yet."


def help_text(command: str, topic: str = "") -> str:
    """Commands that can be typed in Slack; for a verb, with an example and a request's options."""
    verbs = [v for v in VERBS if v.where in ("both", "slack")]
    asked = [v for v in verbs if v.name == topic.casefold()]
    lines = [f"{as_code(command, v.usage)}  {escape(v.about)}" for v in asked or verbs]
    if topic and not asked:
        near = nearest(topic, [v.name for v in verbs])
        meant = f" Did you mean {near}?" if near else ""
        lines.insert(0, f'I do not know the verb "{fit(escape(topic), NAME)}".{meant}')
    options = [o for o in OPTIONS if not o.terminal_only]
    lines += [f"Example: {as_code(command, example(v.usage))}" for v in asked]
    if not asked:
        lines.append(f"Options: {', '.join(o.word for o in options)}")
    elif asked[0].request:
        lines += ["Options:", *(f"`{o.word}`  {escape(o.about)}" for o in options)]
    hint = f"Slash commands do not work in threads. Type there, for example: {SPOKEN} status"
    return "\n".join(lines if command == SPOKEN else [*lines, hint])
