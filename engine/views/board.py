"""Board of a run, for terminal and Slack: counts, moves in flight, and waits with their reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from engine.language.sentence import Command, Sentence, say, upper_first
from engine.model import (
    MOVED,
    Approval,
    ApprovalState,
    AttemptKind,
    Fleet,
    MoveRecord,
    MoveState,
    Outcome,
    Run,
    RunRecord,
    RunState,
    Wait,
)
from engine.policy.approvals import review
from engine.policy.runs.ending import BAD
from engine.policy.starts import estimate
from engine.views.seen import Seen, seen

#: Words of all doors for the states of runs, the bad ends of moves, and the waits of VMs.
STATES = {
    RunState.SCHEDULED: "Starting",
    RunState.ACTIVE: "Moving",
    RunState.PAUSED: "Paused",
    RunState.STOPPING: "Stopping",
    RunState.STOPPED: "Stopped",
    RunState.COMPLETED: "Completed",
    RunState.INCOMPLETE: "Incomplete",
    RunState.REJECTED: "Rejected",
}
ENDS = {
    MoveState.FAILED: "failed",
    MoveState.DAMAGED: "damaged",
    MoveState.UNKNOWN: "location unknown",
}
WAITS = {
    Wait.SLOT: "no slot ({})",
    Wait.APPROVAL: "powered down, approval needed",
    Wait.BACKUP: "in backup since {}",
    Wait.RUNNING_FIRST: "powered down, after the running VMs",
    Wait.BACKOFF: "to be tried again ({})",
    Wait.PAUSED: "while the run is paused",
}


@dataclass(frozen=True)
class WaitGroup:
    """VMs with the same wait. ``text`` and ``since`` are those of the longest wait."""

    wait: Wait
    count: int
    text: str
    since: float
    vms: tuple[str, ...]


@dataclass(frozen=True)
class Moving:
    """VM in flight. ``percent`` is VMM's figure; ``None``: it shows none."""

    vm: str
    destination: str
    percent: int | None
    kind: str


@dataclass(frozen=True)
class Stuck:
    """One VM that ended badly: what happened and what a person should do."""

    vm: str
    vm_id: str
    state: MoveState
    outcome: Outcome
    sentence: str
    next: str
    host: str
    cause: str = ""


@dataclass(frozen=True)
class Board:
    """Contents of the status message of a run. Times are Unix seconds UTC.

    ``needed_by``: estimated end of the running VMs, by which open questions need an answer.
    ``seen``: VMM and the hosts, if one of them is late. ``progress``: 0.0 to 1.0, by size.
    ``done_about``: estimated end; ``None``: the run is over."""

    run: Run
    total: int
    moved: int
    moving: tuple[Moving, ...]
    waiting: tuple[WaitGroup, ...]
    restoring: tuple[str, ...]
    failed: tuple[Stuck, ...]
    skipped: int
    questions: tuple[Approval, ...]
    needed_by: float | None
    progress: float
    done_about: float | None
    as_of: float
    needs: tuple[Sentence, ...] = ()
    seen: tuple[Seen, ...] = ()
    unreviewed: tuple[str, ...] = ()


def board(record: RunRecord, fleet: Fleet | None, now: float, mb_per_s: float = 400.0) -> Board:
    """Build the board of one run from its rows and the last observation. Writes nothing."""
    run, moves = record.run, record.moves
    running = [m for m in moves if m.move.power != "down" and m.move.kind is not AttemptKind.COLD]
    open_questions = tuple(a for a in record.approvals if a.state is ApprovalState.REQUESTED)
    rate = estimate.rate(moves, mb_per_s)
    return Board(
        run=run,
        total=len(moves),
        moved=sum(m.move.state in MOVED for m in moves),
        moving=tuple(_moving(m, fleet) for m in moves if m.move.state is MoveState.MOVING),
        waiting=_waiting(moves),
        restoring=tuple(m.move.vm for m in moves if m.move.state is MoveState.RESTORING),
        failed=failed(record),
        skipped=sum(m.move.state is MoveState.SKIPPED for m in moves),
        questions=open_questions,
        needs=needs_of(record),
        unreviewed=unreviewed(record),
        needed_by=ends(running, run.destinations, fleet, rate, now) if open_questions else None,
        progress=_progress(moves, fleet),
        done_about=None if run.over else ends(moves, run.destinations, fleet, rate, now),
        as_of=now,
        seen=seen(run, fleet, now),
    )


def counts(board: Board) -> str:
    """Numbers of a run in one line: ``19 of 42 moved · 2 moving · 20 waiting · 1 damaged``."""
    numbers = (
        (len(board.moving), "moving"),
        (len(board.restoring), "being checked"),
        (sum(group.count for group in board.waiting), "waiting"),
        *((len(vms), ENDS[state]) for state, vms in badly_ended(board)),
        (board.skipped, "skipped"),
    )
    said = [f"{number} {word}" for number, word in numbers if number]
    return " · ".join([f"{board.moved} of {board.total} moved", *said])


def badly_ended(board: Board) -> list[tuple[MoveState, list[str]]]:
    """Names of the VMs that ended badly, by state, without empty groups."""
    by_state = [(state, [s.vm for s in board.failed if s.state is state]) for state in ENDS]
    return [(state, vms) for state, vms in by_state if vms]


def failed(record: RunRecord) -> tuple[Stuck, ...]:
    """Moves that ended badly, in the order of the moves."""
    return tuple(_stuck(m) for m in record.moves if m.move.state in BAD)


def needs_of(record: RunRecord) -> tuple[Sentence, ...]:
    """Needs of a run that only a person can meet, besides open questions: one sentence each."""
    found: dict[Sentence, None] = {}
    if record.run.state is RunState.PAUSED:
        go_on = Command(f"resume {record.run.label}")
        found[say("{} To resume: {}", record.run.said, go_on)] = None
    if labels := unreviewed(record):
        found[review.request(labels, record.run.label)] = None
    for entry in record.moves:
        move = entry.move
        if not move.over and move.needs_person:
            found.setdefault(upper_first(move.wait_text))
    return tuple(found)


def unreviewed(record: RunRecord) -> tuple[str, ...]:
    """Labels of the break-glass approvals that no second person has reviewed."""
    return tuple(one.label for one in record.reviews if one.is_open)


def stands_still(record: RunRecord) -> bool:
    """Tell whether nothing of this unfinished run goes on before a person acts."""
    open_moves = [entry.move for entry in record.moves if not entry.move.over]
    flying = (MoveState.MOVING, MoveState.RESTORING)
    if record.run.over or any(move.state in flying for move in open_moves):
        return False
    if record.run.state is RunState.PAUSED:
        return True
    return bool(open_moves) and all(move.needs_person for move in open_moves)


def percent(entry: MoveRecord, fleet: Fleet | None) -> int | None:
    """Percent that VMM shows for the job of this move's open attempt, or ``None``."""
    attempt = entry.open_migration
    job = fleet.job(attempt.known_job) if fleet and attempt else None
    return job.progress if job is not None else None


def _moving(entry: MoveRecord, fleet: Fleet | None) -> Moving:
    move = entry.move
    return Moving(move.vm, move.destination or "?", percent(entry, fleet), str(move.kind or "live"))


def _stuck(entry: MoveRecord) -> Stuck:
    move = entry.move
    outcome = move.outcome or Outcome.UNKNOWN
    host = move.host or move.source
    said = (move.sentence, move.next, host, move.cause)
    return Stuck(move.vm, move.vm_id, move.state, outcome, *said)


def _waiting(moves: tuple[MoveRecord, ...]) -> tuple[WaitGroup, ...]:
    """Group waiting moves by code, the largest group first."""
    groups: defaultdict[Wait, list[MoveRecord]] = defaultdict(list)
    for entry in moves:
        if not entry.move.over and entry.move.wait is not None:
            groups[entry.move.wait].append(entry)
    found = []
    for wait, entries in groups.items():
        first = min(entries, key=lambda m: m.move.wait_since or 0.0).move
        names = tuple(m.move.vm for m in entries)
        since = first.wait_since or first.created
        found.append(WaitGroup(wait, len(entries), first.wait_text, since, names))
    return tuple(sorted(found, key=lambda g: (-g.count, g.wait)))


def _progress(moves: tuple[MoveRecord, ...], fleet: Fleet | None) -> float:
    """Share copied so far (0.0 to 1.0), by size, without skipped moves; 1.0 if there are none."""
    moves = tuple(m for m in moves if m.move.state is not MoveState.SKIPPED)
    total = sum(max(1, m.move.size_mb) for m in moves)
    if not total:
        return 1.0
    copied = 0.0
    for entry in moves:
        size = max(1, entry.move.size_mb)
        if entry.move.over or entry.move.state is MoveState.RESTORING:
            copied += size
        elif entry.move.state is MoveState.MOVING:
            copied += size * (percent(entry, fleet) or 0) / 100
    return copied / total


def ends(
    moves: Iterable[MoveRecord],
    destinations: tuple[str, ...],
    fleet: Fleet | None,
    rate: float,
    now: float,
) -> float:
    """Estimate the end of the work left (Unix seconds) by the busiest host. ``rate``: MB/s."""
    work: defaultdict[str, float] = defaultdict(float)
    longest = 0.0
    for entry in moves:
        move = entry.move
        if move.state not in (MoveState.PENDING, MoveState.MOVING):
            continue
        left = estimate.seconds(move, rate) * (1 - (percent(entry, fleet) or 0) / 100)
        longest = max(longest, left)
        targets = (move.destination,) if move.destination else destinations
        work[move.source] += left
        for target in targets:
            work[target] += left / len(targets)
    slots = {name: estimate.slots(name, fleet) for name in work}
    return now + max([longest, *(seconds / slots[name] for name, seconds in work.items())])
