"""Gaps, pauses and a silent VMM: which clocks stop, and what people are told afterwards."""

from __future__ import annotations

import pytest

from engine.model import ApprovalState, HyperVState, MoveState, RunState, Wait
from engine.policy import waits
from engine.policy.steps import (
    Ask,
    CallOut,
    ComeBack,
    Expire,
    Finish,
    Hold,
    SaveBaselines,
    SetRunState,
    Start,
)
from engine.policy.waits import Rules

HOUR = 3600.0


def unseen(scene, seconds, engine=True):
    """Add a gap in the observations. With ``engine``, an engine tried to observe all the while."""
    before = scene.fleet()
    beat = scene.now + seconds - 5 if engine else scene.now
    scene.later(seconds)
    return scene.knowing(before=before, beat=beat)


def test_a_gap_counts_against_no_limit(scene):
    scene.vm(vmm_status="CreatingCheckpoint").waiting(Wait.TRANSIENT, 1700)
    unseen(scene, HOUR)

    assert scene.steps(Finish) == []
    assert [s.gap for s in scene.steps(ComeBack)] == [HOUR]


def test_limits_continue_after_a_gap_where_they_stood(scene):
    scene.vm(vmm_status="CreatingCheckpoint").waiting(Wait.TRANSIENT, 1700)
    unseen(scene, HOUR).move(wait_credit=-HOUR).knowing(before=None)

    assert scene.steps(Finish) == []
    assert [f.outcome for f in scene.later(100).steps(Finish)] == ["STUCK"]


def test_consecutive_observations_are_no_gap(scene):
    assert unseen(scene, 119).steps(ComeBack) == []
    assert len(unseen(scene, 121).steps(ComeBack)) == 1


def test_only_observed_time_counts_towards_ten_minutes_powered_down(scene):
    scene.vm(hyperv_state=HyperVState.OFF, vmm_status="PowerOff").move(down_since=scene.now - 60)
    unseen(scene, 2 * HOUR)

    assert [s.wait for s in scene.steps(Hold)] == [Wait.TRANSIENT]
    assert scene.steps(Ask) == []


def test_approvals_do_not_expire_during_a_gap(scene):
    asked = scene.now - 7.9 * HOUR
    scene.down().approval(ApprovalState.REQUESTED, requested=asked).run(quiet_since=asked)
    unseen(scene, 5 * HOUR)

    assert scene.steps(Expire) == []


@pytest.mark.parametrize(("minutes", "paused"), [(29, False), (30, True)])
def test_a_run_without_an_engine_for_half_an_hour_is_paused(minutes, paused, scene):
    unseen(scene, minutes * 60, engine=False)

    assert bool(scene.steps(SetRunState)) is paused
    assert bool(scene.steps(SaveBaselines)) is not paused


def test_a_vmm_outage_with_a_running_engine_pauses_no_run(scene):
    unseen(scene, 3 * HOUR)

    assert scene.steps(SetRunState) == []
    assert scene.steps(SaveBaselines)


def test_the_pause_after_a_gap_says_what_changed_and_how_to_resume(scene):
    scene.add("gone01").add("off01").add("moved01")
    scene.approval(ApprovalState.GRANTED, "off01", decided=scene.now - 10)
    before = scene.fleet()
    scene.later(25 * HOUR).knowing(before=before, beat=before.at)
    scene.gone("gone01").vm("off01", hyperv_state=HyperVState.OFF).vm("moved01", at="hv04")
    scene.vm("new01").host("hv02", maintenance=True)

    [turned] = scene.steps(SetRunState)
    assert turned.state is RunState.PAUSED
    assert turned.text == (
        "R1 is paused: no engine was running for 1 d 1 h. Since then: gone01 is gone; off01 is "
        "powered down; moved01 is on hv04; new01 is new; hv02 is in maintenance mode; the grant "
        "A1 has ended."
    )


def test_the_pause_after_a_gap_says_if_nothing_changed(scene):
    unseen(scene, HOUR, engine=False)

    assert "nothing relevant has changed" in scene.steps(SetRunState)[0].text


def test_a_paused_run_still_watches_its_migrations_in_flight(scene):
    scene.move(state=MoveState.MOVING, destination="hv02").attempt(job="job-web01")
    scene.job(state="completed").vm(at="hv02").run(state=RunState.PAUSED)

    assert [type(s).__name__ for s in scene.plan().steps] == ["Arrive"]


# --- waits that interrupt ----------------------------------------------------------------------


def test_a_wait_interrupted_by_a_pause_keeps_its_elapsed_time(scene):
    move = scene.waiting(Wait.BACKUP, 600).record().moves[0].move
    paused = waits.begin(move, Wait.PAUSED, scene.now)
    down = waits.begin(paused, Wait.VMM_DOWN, scene.now + 50)
    again = waits.begin(down, Wait.BACKUP, scene.now + HOUR)

    assert waits.waited(again, Wait.BACKUP, scene.now + HOUR + 10) == 610
    assert waits.waited(paused, Wait.PAUSED, scene.now + 7) == 7


def test_a_wait_for_another_reason_after_a_pause_starts_at_zero(scene):
    move = scene.waiting(Wait.BACKUP, 600).record().moves[0].move
    paused = waits.begin(move, Wait.PAUSED, scene.now)
    other = waits.begin(paused, Wait.FOREIGN, scene.now + 5)

    assert waits.waited(other, Wait.FOREIGN, scene.now + 6) == 1
    assert other.wait_kept is None


# --- slots that do not come free ----------------------------------------------------------------


def full(scene, noted, text="2 of 2 on hv02: x, y"):
    for name in ("x", "y"):
        scene.vm(name, at="hv02").job(name, source="hv03", target="hv02")
    return scene.move(
        wait=Wait.SLOT, wait_since=scene.now - 9000, wait_noted=scene.now - noted, wait_text=text
    )


def test_a_wait_for_a_slot_is_reported_after_two_hours_without_change(scene):
    assert full(scene, 7199).steps(CallOut) == []
    [called] = full(scene, 7200).steps(CallOut)

    assert called.text == "2 of 2 on hv02: x, y, without change for 2 h"


def test_a_change_of_slot_holders_restarts_the_two_hours(scene):
    assert full(scene, 7200, "2 of 2 on hv02: x, z").steps(CallOut) == []


# --- grants --------------------------------------------------------------------------------------


def granted(scene, hours):
    at = scene.now - hours * HOUR
    return scene.down().approval(ApprovalState.GRANTED, requested=at, decided=at)


def test_a_grant_expires_after_a_day(scene):
    granted(scene, 24)

    assert [s.approval for s in scene.steps(Expire)] == [1]
    assert scene.steps(Start) == []


def test_an_expiring_grant_is_requested_again_and_still_binds(scene):
    granted(scene, 23.5)

    assert len(scene.steps(Ask)) == 1
    assert scene.steps(Start)


def test_an_expiring_grant_is_requested_again_only_once(scene):
    granted(scene, 23.5).approval(ApprovalState.REQUESTED)

    assert scene.steps(Ask) == []


def test_the_latest_decision_on_an_approval_counts(scene, told):
    granted(scene, 23.5).approval(ApprovalState.DENIED, decided=scene.now - 60)

    assert told(scene.pending()) == "skipped DENIED"


def test_a_decision_made_before_the_retry_does_not_bind(scene, told):
    scene.down().approval(ApprovalState.DENIED, requested=scene.now - HOUR)
    scene.move(retried=scene.now - 5)

    assert told(scene.pending()) == "waits APPROVAL and asks"


def test_a_vm_left_out_of_a_partial_approval_is_skipped_as_denied(scene, told):
    scene.down().approval(ApprovalState.GRANTED, "web01", "other", granted=("id-other",))

    assert told(scene.pending()) == "skipped DENIED"
    assert "not approved by slack:bob" in scene.pending().step.sentence


def test_the_defaults_of_the_settings_equal_the_defaults_of_the_rules():
    from engine.settings import Settings

    assert Settings().rules() == Rules()
