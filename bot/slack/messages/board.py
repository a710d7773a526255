"""From rows to messages: board, failure, final report. Pure.

Every message can be built again from rows at any time. ``text`` alone (the notification, and what
a screen reader reads) starts with what matters and suffices. A message's fingerprint is made of
what is worth an update: percentages in steps of five, no "as of".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.slack.kit.blocks import (
    SECTION,
    TEXT,
    Block,
    context,
    date,
    escape,
    fingerprint,
    fit,
    fit_blocks,
    fit_lines,
    section,
)
from bot.slack.people.approvers import Deciders, barred, mention, mentions, slack_id
from bot.slack.people.mentions import reported, typed
from engine.model import (
    Approval,
    ApprovalState,
    MoveState,
    Run,
    RunRecord,
    RunState,
    Wait,
    short,
)
from engine.views.board import Board, Stuck, WaitGroup

APPROVE, DENY, AGAIN = "approve", "deny", "again"
COMMAND = "/migrate"

STATE = {
    RunState.SCHEDULED: "Starting",
    RunState.ACTIVE: "Moving",
    RunState.PAUSED: "Paused",
    RunState.STOPPING: "Stopping",
    RunState.STOPPED: "Stopped",
    RunState.COMPLETED: "Completed",
    RunState.INCOMPLETE: "Ended, not complete",
    RunState.REJECTED: "Rejected",
}
ENDS = {
    MoveState.FAILED: "failed",
    MoveState.DAMAGED: "damaged",
    MoveState.UNKNOWN: "lost sight of",
}
WAITS = {
    Wait.SLOT: "no slot ({})",
    Wait.APPROVAL: "powered down, approval needed",
    Wait.BACKUP: "in backup since {}",
    Wait.RUNNING_FIRST: "powered down, after the running VMs",
    Wait.BACKOFF: "to be tried again ({})",
    Wait.PAUSED: "while the run is paused",
}
LISTED, NAME = 8, 120
HEARTBEAT = 300.0  # seconds
STEP = 600.0  # seconds by which an estimate has to move before it is told anew
MANY = 20  # VMs, from which on a board no longer follows each of them
NEXT = 800  # of what a person is to do
SAID = " Hyper-V said: "
PAUSED_BY = re.compile(r"(R\d+) was paused by (\S+)\. Go on with: resume \1")
URGENT = ("Damaged:", "Needs a person:", "Not moved:")  # lines of the report, in this order


@dataclass(frozen=True)
class Rendered:
    """A message ready to be sent, and the word that tells whether it has to be."""

    text: str
    blocks: tuple[Block, ...]
    fingerprint: str


def rendered(text: str, blocks: Sequence[Block], *worth: object) -> Rendered:
    """A message within Slack's limits; ``worth``: what is worth an update, where not all is."""
    return Rendered(fit(text, TEXT), fit_blocks(blocks), fingerprint(*(worth or (text, blocks))))


def several(names: Sequence[str]) -> str:
    """The first few names; the rest as a number."""
    shown = ", ".join(fit(escape(name), NAME) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def hosts(names: Sequence[str], join: str = ", ") -> str:
    """The short names of hosts."""
    return join.join(escape(short(name)) for name in names)


def route(run: Run, join: str = ", ") -> str:
    """``hv01 → hv02, hv03``."""
    return f"{hosts(run.sources)} → {hosts(run.destinations, join)}".removeprefix(" ")


def count(number: int, noun: str) -> str:
    """``1 VM``, ``4 VMs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


# --- the board ------------------------------------------------------------------------------


def board_view(
    board: Board, deciders: Deciders, command: str = COMMAND, moved: str = ""
) -> Rendered:
    """The one message of a run, updated in place. ``moved``: why it stands where it does."""
    text, blocks = _board(board, deciders, command, moved)
    worth = _board(_coarse(board), deciders, command, moved)
    return rendered(text, blocks, worth)


def _coarse(board: Board) -> Board:
    """The board with everything rounded that is not worth an update of its own.

    Of many VMs each single one is not: their board follows in steps of one in a hundred. What
    people have to act on always is; and a board that goes on says so every five minutes.
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
    """An estimate in steps of ten minutes."""
    return None if at is None else at // STEP * STEP


def _board(board: Board, deciders: Deciders, command: str, moved: str) -> tuple[str, list[Block]]:
    head = f"{board.run.label} · {route(board.run)} · {STATE[board.run.state]}"
    counts = _counts(board)
    lines = [*_board_lines(board, deciders, command), *([moved] if moved else [])]
    foot = f"{_whose(board.run)} · as of {date(board.as_of, '{time_secs}')}"
    blocks = [section("\n".join([f"*{head}*", counts, *_bar(board)]))]
    if lines:
        blocks.append(section(fit_lines(lines, 2_900)))
    blocks.append(context(foot))
    return "\n".join([head, counts, *lines, foot]), blocks


def _whose(run: Run) -> str:
    """Who asked for it and when, and who has taken it over since."""
    owner = "" if run.told == run.by else f" · taken over by {mention(run.told)}"
    return f"Asked by {mention(run.by)} {date(run.created)}{owner}"


def _counts(board: Board) -> str:
    waiting = sum(group.count for group in board.waiting)
    parts = [f"{board.moved} of {board.total} moved"]
    numbers = (
        (len(board.moving), "moving"),
        (len(board.restoring), "being checked"),
        (waiting, "waiting"),
        *((len(ended), ENDS[state]) for state, ended in badly_ended(board)),
        (board.skipped, "skipped"),
    )
    return " · ".join(parts + [f"{number} {word}" for number, word in numbers if number])


def badly_ended(board: Board) -> list[tuple[MoveState, list[str]]]:
    """The VMs that ended badly, by how: one that is damaged has moved, and one that is lost sight
    of may have."""
    by_state = [(state, [s.vm for s in board.failed if s.state is state]) for state in ENDS]
    return [(state, vms) for state, vms in by_state if vms]


def _bar(board: Board) -> list[str]:
    if board.run.over or board.run.state is RunState.SCHEDULED or not board.total:
        return []
    percent = int(min(1.0, max(0.0, board.progress)) * 100)
    full = percent // 10
    about = f" · done about {date(board.done_about)}" if board.done_about else ""
    return [f"{'▓' * full}{'░' * (10 - full)} {percent} %{about}"]


def _board_lines(board: Board, deciders: Deciders, command: str) -> list[str]:
    lines = [] if board.run.over else [_needs(board, q, deciders) for q in board.questions]
    lines += [f"Needs a person: {_need(said, command)}" for said in board.needs]
    if board.moving:
        lines.append("Moving: " + ", ".join(_moving(board)))
    if board.restoring:
        lines.append(f"Network being checked: {several(board.restoring)}")
    if board.waiting:
        lines.append(f"Waiting: {' · '.join(map(_waiting, board.waiting))}")
    for state, ended in badly_ended(board):
        word = ENDS[state]
        lines.append(f"{word[0].upper()}{word[1:]}: {several(ended)}, see the thread")
    return lines


def _need(said: str, command: str) -> str:
    """What the engine says that a person has to do; who paused a run is named as a mention."""
    paused = PAUSED_BY.fullmatch(said)
    if paused is None:
        return typed(escape(said), command)
    run, by = paused.groups()
    return f"{run} was paused by {mention(by)}. Go on with: {command} resume {run}"


def _waiting(group: WaitGroup) -> str:
    """How many wait for what; the numbers are those of the one that waits longest."""
    form = WAITS.get(group.wait, "{}")
    told = date(group.since) if group.wait is Wait.BACKUP else escape(group.text)
    return f"{group.count} {form.format(told)}"


def _moving(board: Board) -> list[str]:
    shown = [
        f"{escape(m.vm)} → {escape(short(m.destination))}"
        + ("" if m.percent is None else f" {m.percent} %")
        for m in board.moving[:LISTED]
    ]
    rest = len(board.moving) - LISTED
    return [*shown, f"{rest} more"] if rest > 0 else shown


def _needs(board: Board, question: Approval, deciders: Deciders) -> str:
    by = f" by {date(board.needed_by)}" if board.needed_by else ""
    what = f"approve {count(len(question.vms), 'powered-down VM')}{by}"
    if deciders.eligible(board.run):
        return f"Needs a person: {what}, see the card in the thread"
    return f"Needs a person: {what}, but {nobody(board.run, deciders)}"


def nobody(run: Run, deciders: Deciders) -> str:
    """Why nobody can decide, and what to do."""
    if not deciders.known:
        return "Slack has not said yet who is on call (setting slack.oncall)"
    if deciders.groups:
        both = "settings slack.oncall and slack.approvers"
        return f"nobody who is on call or listed may decide on {run.label} ({both})"
    listed = [by for by in barred(run) if slack_id(by) in deciders.everybody]
    but = f" except {mentions(listed)}" if listed else ""
    return f"nobody{but} is listed to decide (setting slack.approvers)"


def moved_here(channel: str, error: str) -> str:
    """Why a run is told about elsewhere than it was asked for."""
    why = {
        "is_archived": "is archived",
        "is_inactive": "is archived",
        "not_in_channel": "no longer has me in it",
    }
    if error in why:
        return f"Told here because <#{channel}> {why[error]}."
    return f"Told here because Slack takes nothing for <#{channel}> any more ({escape(error)})."


def away_view(since: float, until: float, error: str, boards: Sequence[Board]) -> Rendered:
    """What a channel missed while Slack was away, in one message."""
    lines = [
        f"Slack did not take my messages from {date(since)} to {date(until)} ({escape(error)}). "
        "Moves went on meanwhile:"
    ]
    for board in boards:
        person = " · needs a person" if board.questions or board.needs else ""
        state = STATE[board.run.state]
        lines.append(
            f"• {board.run.label} · {route(board.run)} · {state} · {_counts(board)}{person}"
        )
    text = fit_lines(lines, 2_900)
    return rendered(text, [section(text)])


# --- failures and the report ----------------------------------------------------------------


def cause(stuck: Stuck) -> str:
    """What makes two failures the same: everything but the VM's own name. What a damaged VM
    misses is its own (a MAC, a VLAN); the cause is what Hyper-V said when it was put back."""
    if stuck.state is MoveState.DAMAGED:
        said = _unnamed(stuck.sentence.partition(SAID)[2], stuck)
        return fingerprint(stuck.state, stuck.outcome, stuck.host, said)
    told = _unnamed(stuck.sentence, stuck) + _unnamed(stuck.next, stuck)
    return fingerprint(stuck.state, stuck.outcome, told)


def _unnamed(text: str, stuck: Stuck) -> str:
    return text.replace(stuck.vm_id, "").replace(stuck.vm, "") if stuck.vm else text


def failure_view(
    run: Run, stuck: Sequence[Stuck], deciders: Deciders, command: str = COMMAND
) -> Rendered:
    """One reply per distinct cause; more VMs of the same cause are added to it."""
    first, others = stuck[0], stuck[1:]
    urgent = first.state in (MoveState.DAMAGED, MoveState.UNKNOWN)
    called = mentions(deciders.asked) if urgent and deciders.asked else mention(run.told)
    told = escape(first.sentence)
    for word in (" Why: ", " Missing: ", SAID):
        told = told.replace(word, f"\n{word.strip()} ", 1)
    tail = []
    if others:
        own = " What each misses is in the report." if first.state is MoveState.DAMAGED else ""
        tail.append(f"The same with {several([one.vm for one in others])}.{own}")
    if first.next:
        tail.append(f"Do: {fit(typed(escape(first.next), command), NEXT)}")
    head = fit(f"{'🛑' if urgent else '❌'} {called} {told}", SECTION - len("\n".join(tail)) - 1)
    text = "\n".join([head, *tail])
    return rendered(text, [section(text)])


def report_view(
    record: RunRecord,
    lines: Sequence[str],
    audit: str = "",
    command: str = COMMAND,
    people: Sequence[str] = (),
) -> Rendered:
    """The last word of a run, in the thread and broadcast; ``lines`` are the report's own, and
    ``people`` those whom they name."""
    run = record.run
    mark = "✅" if run.state is RunState.COMPLETED else "⚠️"
    shown = [reported(typed(escape(line), command), people) for line in urgent_first(lines)]
    head, *rest = shown or [f"{run.label} ended"]
    told = [fit_lines(rest, 2_900)] if rest else []
    foot = " · ".join(
        [_whose(run)]
        + [
            f"approved by {mention(a.by)} {date(a.decided)}{_glass(a, record)}"
            for a in record.approvals
            if a.state is ApprovalState.GRANTED and a.decided is not None
        ]
        + ([f"audit {audit[:8]}"] if audit else [])
    )
    text = "\n".join([f"{mark} {mention(run.told)} {head}", *told, foot])
    blocks = [section(f"{mark} {mention(run.told)} *{head}*"), context(foot)]
    blocks[1:1] = map(section, told)
    return rendered(text, blocks)


def _glass(approval: Approval, record: RunRecord) -> str:
    """That the glass was broken for it, and whether somebody else has looked at that."""
    if not approval.glass:
        return ""
    review = next((one for one in record.reviews if one.approval == approval.id), None)
    if review is None or review.is_open:
        return ", who broke the glass (nobody has reviewed that)"
    said = "in order" if review.in_order else "not in order"
    return f", who broke the glass ({said}, says {mention(review.by)})"


def urgent_first(lines: Sequence[str]) -> list[str]:
    """The report's lines with those right after the headline that need somebody."""

    def rank(line: str) -> int:
        return next((n for n, word in enumerate(URGENT) if line.startswith(word)), len(URGENT))

    return [*lines[:1], *sorted(lines[1:], key=rank)]
