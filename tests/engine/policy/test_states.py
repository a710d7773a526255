"""The state tables: allowed transitions, refused transitions, and final states.

The rows are generated from the tables. The transitions that people rely on are listed by name.
"""

from __future__ import annotations

import runpy
from itertools import product
from pathlib import Path

import pytest

from engine.errors import IllegalTransition
from engine.model import MOVE_ENDS, RUN_ENDS, ApprovalState, MoveState, Outcome, RunState
from engine.policy import states

TABLES = {
    "run": (states.RUN, RunState),
    "move": (states.MOVE, MoveState),
    "approval": (states.APPROVAL, ApprovalState),
}
PAIRS = [
    (noun, old, new, new in table.get(old, frozenset()))
    for noun, (table, kind) in TABLES.items()
    for old, new in product(kind, kind)
]


@pytest.mark.parametrize(
    ("noun", "old", "new"), [pytest.param(*p[:3], id="-".join(p[:3])) for p in PAIRS if p[3]]
)
def test_every_transition_of_the_tables_is_allowed(noun, old, new):
    states.check(noun, TABLES[noun][0], old, new)


@pytest.mark.parametrize(
    ("noun", "old", "new"), [pytest.param(*p[:3], id="-".join(p[:3])) for p in PAIRS if not p[3]]
)
def test_every_other_transition_is_refused_by_name(noun, old, new):
    with pytest.raises(IllegalTransition, match=f"A {noun} never goes from {old} to {new}."):
        states.check(noun, TABLES[noun][0], old, new)


def test_the_state_diagrams_in_the_docs_match_the_tables():
    """If this test fails, run ``make docs``."""
    path = Path(__file__).resolve().parents[3] / "docs" / "make_states.py"
    made = runpy.run_path(str(path))["page"]()

    assert path.with_name("states.md").read_text(encoding="utf-8") == made


def finals(noun: str) -> set:
    table, kind = TABLES[noun]
    return {state for state in kind if state not in table}


def test_only_states_that_leave_nothing_to_do_are_final():
    assert finals("run") == {RunState.COMPLETED, RunState.REJECTED}
    assert finals("move") == {MoveState.DONE}


def test_only_a_person_can_reopen_an_ended_run_or_move():
    assert {s: states.RUN[s] for s in RUN_ENDS - finals("run")} == {
        RunState.INCOMPLETE: {RunState.ACTIVE, RunState.STOPPING},
        RunState.STOPPED: {RunState.ACTIVE, RunState.STOPPING},
    }
    assert {s: states.MOVE[s] for s in MOVE_ENDS - finals("move")} == {
        MoveState.FAILED: {MoveState.PENDING, MoveState.SKIPPED},
        MoveState.SKIPPED: {MoveState.PENDING},
        MoveState.DAMAGED: {MoveState.RESTORING},
        MoveState.UNKNOWN: {MoveState.RESTORING},
    }


def test_only_a_requested_or_granted_approval_can_still_change():
    assert finals("approval") == {
        ApprovalState.DENIED,
        ApprovalState.EXPIRED,
        ApprovalState.WITHDRAWN,
    }


@pytest.mark.parametrize("noun", sorted(TABLES))
def test_every_state_can_be_reached_and_no_state_follows_itself(noun):
    table, kind = TABLES[noun]
    reached, first = set(), next(iter(kind))
    edge = {first}
    while edge:
        reached |= edge
        edge = {new for old in edge for new in table.get(old, ())} - reached

    assert reached == set(kind)
    assert not any(state in table.get(state, ()) for state in kind)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(MoveState.MOVING, MoveState.DONE, id="done without a look at the network"),
        pytest.param(MoveState.MOVING, MoveState.FAILED, id="failed without a look at the network"),
        pytest.param(MoveState.DAMAGED, MoveState.PENDING, id="a damaged VM is moved again"),
        pytest.param(MoveState.DAMAGED, MoveState.MOVING, id="a damaged VM is started again"),
        pytest.param(MoveState.UNKNOWN, MoveState.PENDING, id="unknown is tried again"),
        pytest.param(MoveState.PENDING, MoveState.DAMAGED, id="damaged without a move"),
        pytest.param(MoveState.RESTORING, MoveState.MOVING, id="started before it was compared"),
    ],
)
def test_the_tables_contain_no_forbidden_transition_of_a_move(old, new):
    assert not states.may_follow(states.MOVE, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(RunState.STOPPING, RunState.ACTIVE, id="a stop is not taken back"),
        pytest.param(RunState.STOPPING, RunState.COMPLETED, id="a stop is not called complete"),
        pytest.param(RunState.ACTIVE, RunState.STOPPED, id="stopped without watching to the end"),
        pytest.param(RunState.PAUSED, RunState.COMPLETED, id="a paused run does not end"),
        pytest.param(RunState.ACTIVE, RunState.REJECTED, id="rejected after it began"),
    ],
)
def test_the_tables_contain_no_forbidden_transition_of_a_run(old, new):
    assert not states.may_follow(states.RUN, old, new)


@pytest.mark.parametrize("new", [ApprovalState.GRANTED, ApprovalState.REQUESTED])
@pytest.mark.parametrize("old", [ApprovalState.DENIED, ApprovalState.EXPIRED])
def test_denied_and_expired_approvals_are_final(old, new):
    assert not states.may_follow(states.APPROVAL, old, new)


def test_every_outcome_belongs_to_one_final_state_of_a_move():
    assert set(states.END_OF) == set(Outcome)
    assert set(states.END_OF.values()) == MOVE_ENDS
