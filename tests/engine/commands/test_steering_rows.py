"""Effects of commands on the rows: damage that is checked again, VMs with unknown location."""

from __future__ import annotations

import pytest

from engine.errors import Refused
from engine.model import AttemptKind, MoveState, Outcome, RunState
from engine.store import queries
from tests.desk import HV01, HV02, Desk

DAMAGED, UNKNOWN = MoveState.DAMAGED, MoveState.UNKNOWN
DAMAGE = [("web01", HV02)]


def started(desk: Desk, state: MoveState) -> Desk:
    """R1 after an attempt on web01 with this result."""
    desk.ask("vm web01 to hv02")
    desk.attempt(kind=AttemptKind.LIVE)
    return desk.put(state)


def test_a_host_stays_closed_while_its_damage_is_checked_again(desk):
    started(desk, DAMAGED).say("retry R1")

    assert desk.move().state is MoveState.RESTORING
    assert desk.damage() == DAMAGE


def test_go_on_is_accepted_while_damage_is_checked_again(desk):
    started(desk, DAMAGED).say("retry R1")
    desk.say("go-on R1 hv02", by="slack:bob")

    assert desk.damage() == []


def test_repaired_damage_no_longer_counts(desk):
    started(desk, DAMAGED).say("retry R1")
    desk.put(MoveState.DONE)

    assert desk.move().state is MoveState.DONE
    assert desk.damage() == []


def test_go_on_covers_known_damage_but_no_damage_found_later(desk):
    started(desk, DAMAGED).say("go-on R1 hv02", by="slack:bob")
    desk.say("retry R1")
    assert desk.damage() == []
    desk.put(DAMAGED)

    assert desk.damage() == DAMAGE
    desk.say("go-on R1 hv02", by="slack:bob")
    assert desk.damage() == []
    with pytest.raises(Refused, match="damaged no VM"):
        desk.say("go-on R1 hv02", by="slack:bob")


def test_an_arrived_vm_does_not_count_as_damaged(desk):
    started(desk, MoveState.RESTORING)

    assert desk.damage() == []


# --- doubt -------------------------------------------------------------------------------------


def test_the_outcome_of_another_run_does_not_settle_an_unknown_location(desk):
    desk.ask("vm web01 to hv02")
    desk.ask("vm web01 to hv03")
    desk.put(MoveState.FAILED, run=2)
    desk.attempt(kind=AttemptKind.LIVE)
    desk.put(UNKNOWN)

    assert desk.doubts() == [("id-web01", 1)]


def test_a_settled_vm_whose_location_is_unknown_again_can_be_settled_again(desk):
    started(desk, UNKNOWN).say("settle R1 web01")
    assert desk.doubts() == []
    with desk.writing() as pen:
        pen.moves.set_state(desk.move(), UNKNOWN, "so it is", host=HV02, outcome=Outcome.UNKNOWN)

    assert desk.doubts() == [("id-web01", 1)]
    desk.say("settle R1 web01")
    assert desk.move().state is MoveState.RESTORING


# --- empty -------------------------------------------------------------------------------------


def test_a_host_proven_empty_before_a_retry_must_be_proven_empty_again(desk):
    desk.ask()
    desk.put(MoveState.FAILED)
    with desk.writing() as pen:
        pen.runs.note_empty(desk.run(), (HV01,), desk.clock.now() - 30, proven=True)
        pen.runs.set_state(desk.run(), RunState.INCOMPLETE, "so it is")
    assert desk.run().empty == (HV01,)
    desk.say("retry R1")

    assert desk.run().empty == ()


def test_a_host_that_is_no_longer_empty_is_removed_from_the_row(desk):
    desk.ask()
    with desk.writing() as pen:
        pen.runs.note_empty(desk.run(), (HV01,), desk.clock.now() - 30, proven=True)
    with desk.writing() as pen:
        pen.runs.note_empty(desk.run(), (), None, proven=False)

    assert desk.run().empty == ()


def test_the_engine_does_not_close_a_settled_start_again(desk):
    started(desk, UNKNOWN)
    [attempt] = queries.lost_attempts(desk.store, "vmm01")  # as a plan read it
    desk.say("settle R1 web01")
    with desk.writing() as pen:
        pen.attempts.let_go(attempt)

    ends = [e for e in desk.told() if e.kind == "attempt.ended"]
    [kept] = desk.record().moves[0].attempts
    assert len(ends) == 1
    assert kept.error == "Settled by a person"


# --- stop-on-failure ---------------------------------------------------------------------------


def test_stop_on_failure_refuses_a_retry_that_leaves_another_failure(desk):
    desk.ask("vm web01,web02 to hv02 stop-on-failure")
    desk.put(MoveState.FAILED, "web01").put(MoveState.FAILED, "web02")

    with pytest.raises(Refused, match="web01 is still a failure"):
        desk.say("retry R1 web02")
    assert desk.move("web02").state is MoveState.FAILED
    desk.say("retry R1")
    assert desk.move("web02").state is MoveState.PENDING


def test_a_run_without_stop_on_failure_may_retry_one_of_two_failures(desk):
    desk.ask("vm web01,web02 to hv02")
    desk.put(MoveState.FAILED, "web01").put(MoveState.FAILED, "web02")
    desk.say("retry R1 web02")

    assert desk.move("web01").state is MoveState.FAILED
    assert desk.move("web02").state is MoveState.PENDING
