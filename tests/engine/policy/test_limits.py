"""Limits of waits: the time that counts against them, and the time that must not."""

from __future__ import annotations

import pytest

from engine.model import ApprovalState, MoveState, Outcome, Result, RunState, Wait
from engine.policy.steps import Ask, ComeBack, Finish, Hold, SeeEmpty, SetRunState, Unhold

HOUR = 3600.0


def flying(scene, **changes):
    """web01 in flight from hv01 to hv02."""
    return scene.move(state=MoveState.MOVING, destination="hv02", **changes).attempt(job="job-1")


# --- on its way --------------------------------------------------------------------------------


def test_a_host_that_answers_again_gets_its_full_limit_for_the_next_silence(scene):
    flying(scene).waiting(Wait.HOST_DOWN, 3 * HOUR).job(id="job-1")

    assert [s.move.vm for s in scene.steps(Unhold)] == ["web01"]

    scene.jobs.clear()
    scene.job(id="job-1", state="completed").silent("hv02")
    scene.move(wait=None, wait_since=None)
    assert scene.steps(Finish) == []
    assert [s.wait for s in scene.steps(Hold)] == [Wait.HOST_DOWN]


def test_a_move_in_flight_that_waits_for_nothing_gets_no_step(scene):
    flying(scene).job(id="job-1")

    assert scene.plan().steps == ()


# --- paused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "change"),
    [
        (Wait.HOST_DOWN, lambda s: s.silent("hv01").gone()),
        (Wait.MISSING, lambda s: s.gone()),
        (Wait.FOREIGN, lambda s: s.job()),
        (Wait.TWO_PLACES, lambda s: s.seen_on("hv01", "hv02")),
    ],
)
def test_no_wait_reaches_its_limit_while_the_run_is_paused(wait, change, scene):
    change(scene).run(state=RunState.PAUSED).waiting(wait, 9 * HOUR)

    assert scene.steps(Finish) == []
    assert [s.wait for s in scene.steps(Hold)] == [wait]
    assert scene.plan().due is None

    assert len(scene.run(state=RunState.ACTIVE).steps(Finish)) == 1


# --- starts that were void ---------------------------------------------------------------------


@pytest.mark.parametrize("result", [Result.LOCKED, Result.STALE])
def test_one_void_start_hours_ago_does_not_end_the_move(result, scene, told):
    scene.attempt(result, begun=scene.now - 2 * HOUR, ended=scene.now - 2 * HOUR, error="locked")

    assert told(scene.pending()) == "starts live"


# --- gaps --------------------------------------------------------------------------------------


def test_resuming_a_run_during_a_gap_does_not_shorten_the_gap(scene):
    flying(scene).silent("hv02").waiting(Wait.HOST_DOWN, 1800)
    before = scene.fleet()
    scene.later(3 * HOUR).run(resumed=scene.now - 60).silent("hv02")
    scene.knowing(before=before, beat=scene.now - 5)

    assert [s.gap for s in scene.steps(ComeBack)] == [3 * HOUR]
    assert scene.steps(Finish) == []


# --- another run has it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (RunState.ACTIVE, "waits OTHER_RUN"),
        (RunState.PAUSED, "waits OTHER_RUN"),
        # The other run may be paused for days.
        (RunState.STOPPING, "skipped STOPPED"),
    ],
)
def test_a_vm_of_a_stopping_run_does_not_wait_for_another_run(state, says, scene, told):
    scene.owned_by(2).job().run(state=state)

    assert told(scene.pending()) == says


# --- empty -------------------------------------------------------------------------------------


def test_a_source_that_is_no_longer_empty_is_not_reported_as_empty(scene):
    scene.move(state=MoveState.DONE, outcome=Outcome.MOVED).run(empty=("hv01.corp.example",))
    scene.vm(at="hv02").vm("late").move("late", state=MoveState.FAILED, outcome=Outcome.BLOCKED)

    [seen] = scene.steps(SeeEmpty)
    assert (seen.hosts, seen.first, seen.proven) == ((), None, False)
    assert scene.steps(SetRunState) == []
    assert [s.state for s in scene.run(empty=()).steps(SetRunState)] == [RunState.INCOMPLETE]


# --- what to type ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [MoveState.PENDING, MoveState.MOVING, MoveState.RESTORING])
@pytest.mark.parametrize(
    ("wait", "change"),
    [
        (Wait.FOREIGN, lambda s: s.job(id="foreign")),
        (Wait.FOREIGN, lambda s: s.vm(vmm_status="UnderMigration")),
        (Wait.TWO_PLACES, lambda s: s.seen_on("hv01", "hv02")),
        (Wait.MISSING, lambda s: s.seen_on()),
        (Wait.HOST_DOWN, lambda s: s.silent("hv01", "hv02")),
    ],
    ids=["foreign", "endless", "two places", "missing", "silent"],
)
def test_a_vm_with_unknown_location_is_settled_and_never_retried(wait, change, state, scene):
    """``retry`` of such a VM is refused, so no text may suggest it."""
    scene.move(state=state, destination="hv02").attempt(None if state == "moving" else Result.LOST)
    change(scene).waiting(wait, 9 * HOUR)
    hints = [(s.state, s.next) for s in scene.steps(Finish)]

    for end, hint in hints:
        verb = "settle" if end is MoveState.UNKNOWN else "retry"
        assert f"{verb} R1 web01" in hint


# --- grants that run out -----------------------------------------------------------------------


@pytest.mark.parametrize(("granted", "asked"), [(("id-web01",), 1), (("id-web02",), 0)])
def test_only_a_grant_is_requested_again_when_it_expires(granted, asked, scene):
    """The VM is in backup for a day, so nobody has reached the point of leaving it out."""
    scene.down().vm(hyperv_status=("Ok", "BackingUpVirtualMachine")).add("web02")
    scene.approval(
        ApprovalState.GRANTED,
        "web01",
        "web02",
        granted=granted,
        requested=scene.now - 23.6 * HOUR,
        decided=scene.now - 23.5 * HOUR,
    )

    assert len(scene.steps(Ask)) == asked


# --- settled -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("settled", "says"), [(True, "Arrive"), (False, "waits HOST_DOWN")])
def test_a_settled_vm_is_trusted_where_it_is_seen_despite_a_silent_source(
    settled, says, scene, told
):
    scene.move(
        state=MoveState.RESTORING, destination="hv02", settled=scene.now if settled else None
    )
    scene.attempt(Result.LOST).seen_on("hv02").silent("hv01")

    assert told(scene.restoring()) == says


def test_a_settled_vm_that_no_host_shows_keeps_waiting(scene, told):
    scene.move(state=MoveState.RESTORING, destination="hv02", settled=scene.now)
    scene.attempt(Result.LOST).seen_on().silent("hv01")

    assert told(scene.restoring()) == "waits HOST_DOWN"
