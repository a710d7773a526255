"""Board of a run: its status message, updated in place; and the message after an outage. Pure.

Every message can be rendered again from rows at any time. ``text`` alone (the notification, and
what a screen reader reads) starts with what matters and suffices. A message's fingerprint covers
only changes worth an update: percentages in steps of five, without "as of".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.slack.kit.blocks import Block, context, date, escape, fit_lines, section
from bot.slack.kit.mentions import channels, mention, render
from bot.slack.kit.phrases import LISTED, Rendered, count, rendered, route, several
from bot.slack.people.approvers import Approvers, nobody
from engine.model import Approval, Run, RunState, Wait, short
from engine.views.board import ENDS, STATES, WAITS, Board, WaitGroup, badly_ended, counts
from engine.views.seen import seen_line

COMMAND = "/migrate"

HEARTBEAT = 300.0  # seconds
STEP = 600.0  # seconds by which an estimate must change before a new one is shown
MANY = 20  # VMs; the board of a larger run does not follow each of them


def board_view(
    board: Board, approvers: Approvers, command: str = COMMAND, moved: str = ""
) -> Rendered:
    """The status message of a run. ``moved``: why it is posted in another channel."""
    text, blocks = _board(board, approvers, command, moved)
    worth = _board(_coarse(board), approvers, command, moved)
    return rendered(text, blocks, worth)


def _coarse(board: Board) -> Board:
    """Round everything in the board that is not worth an update of its own.

    In a run of many VMs a single VM is not: the board is updated once per percent of them. Changes
    that people must act on always are. The board of an active run is updated every five minutes.
    """
    still = board.run.over or board.run.state is RunState.PAUSED
    coarse = replace(
        board,
        moving=tuple(replace(m, percent=None) for m in board.moving),
        waiting=tuple(replace(group, text="", since=0.0) for group in board.waiting),
        progress=int(board.progress * 20) / 20,
        done_about=None,
        needed_by=coarse_time(board.needed_by),
        as_of=0.0 if still else board.as_of // HEARTBEAT,
        seen=tuple(one for one in board.seen if one.late),
    )
    if board.total <= MANY:
        return coarse
    step = max(1, board.total // 100)
    return replace(
        coarse,
        moved=board.moved // step,
        moving=(),
        restoring=(),
        waiting=tuple(replace(group, count=0, vms=()) for group in coarse.waiting),
        progress=0.0,
        skipped=board.skipped // step,
    )


def coarse_time(at: float | None) -> float | None:
    """Round an estimate down to ten minutes."""
    return None if at is None else at // STEP * STEP


def _board(board: Board, approvers: Approvers, command: str, moved: str) -> tuple[str, list[Block]]:
    head = f"{board.run.label} · {route(board.run)} · {STATES[board.run.state]}"
    numbers = counts(board)
    lines = [*_board_lines(board, approvers, command), *([moved] if moved else [])]
    foot = f"{whose(board.run)} · as of {date(board.as_of, '{time_secs}')}"
    late = seen_line(board.seen, lambda at: date(at, "{time}"))
    foot += f"\n{late}" if late else ""
    blocks = [section("\n".join([f"*{head}*", numbers, *_bar(board)]))]
    if lines:
        blocks.append(section(fit_lines(lines, 2_900)))
    blocks.append(context(foot))
    return "\n".join([head, numbers, *lines, foot]), blocks


def whose(run: Run) -> str:
    """The requester with the time of the request, and the owner if another person took it over."""
    owner = "" if run.contact == run.by else f" · taken over by {mention(run.contact)}"
    return f"Asked by {mention(run.by)} {date(run.created)}{owner}"


def _bar(board: Board) -> list[str]:
    if board.run.over or board.run.state is RunState.SCHEDULED or not board.total:
        return []
    percent = int(min(1.0, max(0.0, board.progress)) * 100)
    full = percent // 10
    about = f" · done about {date(board.done_about)}" if board.done_about else ""
    return [f"{'▓' * full}{'░' * (10 - full)} {percent} %{about}"]


def _board_lines(board: Board, approvers: Approvers, command: str) -> list[str]:
    lines = [] if board.run.over else [_needs(board, q, approvers) for q in board.questions]
    lines += [f"Needs a person: {render(said, command)}" for said in board.needs]
    if board.moving:
        lines.append("Moving: " + ", ".join(_moving(board)))
    if board.restoring:
        lines.append(f"Network being checked: {several(board.restoring)}")
    if board.waiting:
        waiting = [_waiting(group, command) for group in board.waiting]
        lines.append(f"Waiting: {' · '.join(waiting)}")
    for state, ended in badly_ended(board):
        word = ENDS[state]
        lines.append(f"{word[0].upper()}{word[1:]}: {several(ended)}, see the thread")
    return lines


def _waiting(group: WaitGroup, command: str) -> str:
    """Number of VMs and what they wait for, in the words of the VM that waits longest."""
    form = WAITS.get(group.wait, "{}")
    detail = date(group.since) if group.wait is Wait.BACKUP else render(group.text, command)
    return f"{group.count} {form.format(detail)}"


def _moving(board: Board) -> list[str]:
    shown = [
        f"{escape(m.vm)} → {escape(short(m.destination))}"
        + ("" if m.percent is None else f" {m.percent} %")
        for m in board.moving[:LISTED]
    ]
    rest = len(board.moving) - LISTED
    return [*shown, f"{rest} more"] if rest > 0 else shown


def _needs(board: Board, question: Approval, approvers: Approvers) -> str:
    by = f" by {date(board.needed_by)}" if board.needed_by else ""
    what = f"approve {count(len(question.vms), 'powered-down VM')}{by}"
    if approvers.eligible(board.run):
        return f"Needs a person: {what}, see the card in the thread"
    return f"Needs a person: {what}, but {nobody(board.run, approvers)}"


def moved_here(channel: str, error: str) -> str:
    """Reason why a run is reported in another channel than where it was requested."""
    why = {
        "is_archived": "is archived",
        "is_inactive": "is archived",
        "not_in_channel": "no longer includes me",
    }
    reason = why.get(error, f"no longer accepts messages ({escape(error)})")
    return f"Posted here because {channels([channel])} {reason}."


def away_view(since: float, until: float, error: str, boards: Sequence[Board]) -> Rendered:
    """Message to a channel about its runs during an outage of Slack."""
    lines = [
        f"Slack did not accept my messages from {date(since)} to {date(until)} ({escape(error)}). "
        "Moves continued meanwhile:"
    ]
    for board in boards:
        person = " · needs a person" if board.questions or board.needs else ""
        state = STATES[board.run.state]
        lines.append(
            f"• {board.run.label} · {route(board.run)} · {state} · {counts(board)}{person}"
        )
    text = fit_lines(lines, 2_900)
    return rendered(text, [section(text)])
