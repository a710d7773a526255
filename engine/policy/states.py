"""Tables of the permitted state changes of runs, moves and approvals.

Rule 1: the function that writes a state checks it against these tables (``store/pen_runs.py``,
``store/pen_moves.py``); nothing else changes a state. Rule 2: a state that is not a key is final.
Rule 3: only a person resumes a run or move that has ended (``RUN_ENDS``, ``MOVE_ENDS``), never the
engine. The diagrams in ``docs/states.md`` are drawn from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import StrEnum
from typing import TypeVar

from engine.errors import IllegalTransition
from engine.model import ApprovalState, MoveState, Outcome, RunState

S = TypeVar("S", bound=StrEnum)

RUN: Mapping[RunState, Set[RunState]] = {
    RunState.SCHEDULED: {RunState.ACTIVE, RunState.REJECTED},
    RunState.ACTIVE: {RunState.PAUSED, RunState.STOPPING, RunState.COMPLETED, RunState.INCOMPLETE},
    RunState.PAUSED: {RunState.ACTIVE, RunState.STOPPING},
    RunState.STOPPING: {RunState.STOPPED},
    # A person retries moves of the run, or settles a VM whose location is unknown.
    RunState.INCOMPLETE: {RunState.ACTIVE, RunState.STOPPING},
    RunState.STOPPED: {RunState.ACTIVE, RunState.STOPPING},
}

MOVE: Mapping[MoveState, Set[MoveState]] = {
    MoveState.PENDING: {
        MoveState.MOVING,
        # Found on an approved destination, whatever moved it: its network is checked.
        MoveState.RESTORING,
        MoveState.DONE,
        MoveState.FAILED,
        MoveState.SKIPPED,
        MoveState.UNKNOWN,
    },
    MoveState.MOVING: {
        # An attempt ended: the VM's network is compared first, on any host.
        MoveState.RESTORING,
        # The start never happened: nothing to compare.
        MoveState.PENDING,
        MoveState.SKIPPED,
        MoveState.UNKNOWN,
    },
    MoveState.RESTORING: {
        MoveState.DONE,
        MoveState.DAMAGED,
        # Back on the source after a failed attempt, network intact: another try.
        MoveState.PENDING,
        MoveState.SKIPPED,
        MoveState.UNKNOWN,
    },
    # A person may retry, skip or settle a move that has ended.
    MoveState.FAILED: {MoveState.PENDING, MoveState.SKIPPED},
    MoveState.SKIPPED: {MoveState.PENDING},
    MoveState.DAMAGED: {MoveState.RESTORING},
    MoveState.UNKNOWN: {MoveState.RESTORING},
}

APPROVAL: Mapping[ApprovalState, Set[ApprovalState]] = {
    ApprovalState.REQUESTED: {
        ApprovalState.GRANTED,
        ApprovalState.DENIED,
        ApprovalState.EXPIRED,
        ApprovalState.WITHDRAWN,
    },
    ApprovalState.GRANTED: {ApprovalState.EXPIRED, ApprovalState.WITHDRAWN},
}

#: The state in which a move ends, by its outcome.
END_OF: Mapping[Outcome, MoveState] = {
    Outcome.MOVED: MoveState.DONE,
    Outcome.ALREADY_THERE: MoveState.DONE,
    Outcome.NETWORK: MoveState.DAMAGED,
    Outcome.NOT_RUNNING: MoveState.DAMAGED,
    Outcome.ATTEMPTS: MoveState.FAILED,
    Outcome.BACKUP_TOO_LONG: MoveState.FAILED,
    Outcome.STUCK: MoveState.FAILED,
    Outcome.NO_ROOM: MoveState.FAILED,
    Outcome.BLOCKED: MoveState.FAILED,
    Outcome.ELSEWHERE: MoveState.SKIPPED,
    Outcome.VANISHED: MoveState.SKIPPED,
    Outcome.DENIED: MoveState.SKIPPED,
    Outcome.EXPIRED: MoveState.SKIPPED,
    Outcome.STOPPED: MoveState.SKIPPED,
    Outcome.EXCLUDED: MoveState.SKIPPED,
    Outcome.TWO_PLACES: MoveState.UNKNOWN,
    Outcome.UNKNOWN: MoveState.UNKNOWN,
}


def may_follow(table: Mapping[S, Set[S]], old: S, new: S) -> bool:
    """Tell whether the table permits the change from ``old`` to ``new``."""
    return new in table.get(old, frozenset())


def check(noun: str, table: Mapping[S, Set[S]], old: S, new: S) -> None:
    """Raise ``IllegalTransition`` unless ``new`` may follow ``old``."""
    if not may_follow(table, old, new):
        raise IllegalTransition(noun, old, new)
