"""Limits of waits: what counts against them, and what must not."""

from __future__ import annotations

import pytest

from engine.model import MoveState, Result, RunState, Wait
from engine.policy.steps import ComeBack, Finish, Hold, Unhold

HOUR = 3600.0


def flying(scene, **changes):
    """web01 is on its way from hv01 to hv02."""
    return scene.move(state=MoveState.MOVING, destination="hv02", **changes).attempt(job="job-1")


# --- on its way --------------------------------------------------------------------------------


def test_a_host_that_answers_again_in_mid_move_has_its_whole_hour_the_next_time(scene):
    flying(scene).waiting(Wait.HOST_DOWN, 3 * HOUR).job(id="job-1")

    assert [s.move.vm for s in scene.steps(Unhold)] == ["web01"]

    scene.jobs.clear()
    scene.job(id="job-1", state="completed").silent("hv02")
    scene.move(wait=None, wait_since=None)
    assert scene.steps(Finish) == []
    assert [s.wait for s in scene.steps(Hold)] == [Wait.HOST_DOWN]


def test_a_move_that_waits_for_nothing_is_left_alone(scene):
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
def test_nothing_that_waits_ends_while_the_run_is_paused(wait, change, scene):
    change(scene).run(state=RunState.PAUSED).waiting(wait, 9 * HOUR)

    assert scene.steps(Finish) == []
    assert [s.wait for s in scene.steps(Hold)] == [wait]
    assert scene.plan().due is None

    assert len(scene.run(state=RunState.ACTIVE).steps(Finish)) == 1


# --- starts that were void ---------------------------------------------------------------------


@pytest.mark.parametrize("result", [Result.LOCKED, Result.STALE])
def test_one_void_start_hours_ago_is_no_reason_to_give_up(result, scene, told):
    scene.attempt(result, begun=scene.now - 2 * HOUR, ended=scene.now - 2 * HOUR, error="locked")

    assert told(scene.pending()) == "starts live"


# --- gaps --------------------------------------------------------------------------------------


def test_who_has_a_run_go_on_during_a_gap_does_not_shorten_it(scene):
    flying(scene).silent("hv02").waiting(Wait.HOST_DOWN, 1800)
    before = scene.fleet()
    scene.later(3 * HOUR).run(resumed=scene.now - 60).silent("hv02")
    scene.knowing(before=before, beat=scene.now - 5)

    assert [s.gap for s in scene.steps(ComeBack)] == [3 * HOUR]
    assert scene.steps(Finish) == []
