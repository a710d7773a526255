"""Starts whose move ended without anybody knowing where the VM is: they keep slot and VM."""

from dataclasses import replace

import pytest

from engine.model import Attempt, AttemptKind, MoveState, Outcome, Wait
from engine.policy import outcome
from engine.policy.plan import plan
from engine.policy.steps import Hold, Start


def lost(scene, vm="web01", **changes) -> Attempt:
    """An open LIVE attempt of run 7, which ended long ago; its start can no longer begin."""
    known = Attempt(
        id=99,
        run=7,
        move=99,
        vm_id=f"id-{vm}",
        kind=AttemptKind.LIVE,
        source="hv01.corp.example",
        destination="hv02.corp.example",
        begun=scene.now - 4000,
        not_after=scene.fleet().server_time - 3900,
    )
    return replace(known, **changes)


def planned(scene, *attempts):
    runs = [scene.record(number) for number in scene.runs]
    return plan(runs, scene.fleet(), scene.now, scene.rules, attempts)


@pytest.mark.parametrize(
    "doubtful",
    [
        pytest.param(lambda s: s.silent("hv02"), id="the destination does not answer"),
        pytest.param(lambda s: s.silent("hv01"), id="the source does not answer"),
        pytest.param(lambda s: s.job(), id="a job moves it"),
        pytest.param(lambda s: s.vm(vmm_status="UnderMigration"), id="VMM says it migrates"),
    ],
)
def test_it_is_in_doubt_until_both_hosts_show_it_at_rest(doubtful, scene):
    before = outcome.is_in_doubt(lost(scene), scene.fleet())
    doubtful(scene)

    assert not before
    assert outcome.is_in_doubt(lost(scene), scene.fleet())


def test_it_is_in_doubt_as_long_as_the_guard_would_let_it_begin(scene):
    open_until = scene.fleet().server_time

    assert outcome.is_in_doubt(lost(scene, not_after=open_until), scene.fleet())
    assert not outcome.is_in_doubt(lost(scene, not_after=open_until - 1), scene.fleet())


def test_no_run_starts_a_vm_that_is_in_doubt(scene):
    scene.run(destinations=("hv02", "hv03")).silent("hv02")
    steps = planned(scene, lost(scene)).steps

    held = [s for s in steps if isinstance(s, Hold)]
    assert not [s for s in steps if isinstance(s, Start)]
    assert [(h.wait, h.text) for h in held] == [
        (Wait.OTHER_RUN, "R7 started it, and nobody has seen yet what became of that")
    ]


def test_a_start_in_doubt_keeps_its_slot_for_other_vms(scene):
    scene.run(destinations=("hv03",)).host("hv01", live_limit=1).silent("hv02")
    steps = planned(scene, lost(scene, vm="other")).steps

    assert not [s for s in steps if isinstance(s, Start)]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda s: s.seen_on("hv01", "hv02"), id="on two hosts"),
        pytest.param(lambda s: s.gone(), id="nowhere"),
    ],
)
def test_what_rests_holds_no_slot_wherever_it_is(odd, scene):
    odd(scene)

    assert not outcome.is_in_doubt(lost(scene), scene.fleet())


def test_once_it_is_seen_at_rest_it_may_be_moved_again(scene):
    steps = planned(scene, lost(scene)).steps

    assert [s.move.vm for s in steps if isinstance(s, Start)] == ["web01"]


def test_a_host_that_nobody_asked_is_asked_before_anything_is_concluded(scene, told):
    """A stranger took it to a host that is no part of the run: VMM names it, Hyper-V decides."""
    scene.vm(vmm_host="hv04.corp.example").seen_on()
    scene.host("hv04", seen_at=None)
    verdict = scene.pending()

    assert told(verdict) == "nothing"
    assert verdict.refresh == ("hv04.corp.example",)


def test_a_destination_in_maintenance_is_waited_for_by_name(scene, told):
    scene.host("hv02", maintenance=True)
    verdict = scene.pending()

    assert told(verdict) == "waits HOST_DOWN"
    assert verdict.step.text == "hv02 is in maintenance mode"


def test_a_status_that_never_clears_is_handed_to_a_person(scene, told):
    scene.move(state=MoveState.MOVING, destination="hv02", host="hv01", kind=AttemptKind.LIVE)
    scene.attempt(job="job-web01").job(state="completed").vm(at="hv02", vmm_status="UnderMigration")
    scene.waiting(Wait.FOREIGN, 4 * 3600.0)
    step = scene.moving().step

    assert (step.state, step.outcome) == (MoveState.UNKNOWN, Outcome.UNKNOWN)
    assert "though no job of it runs" in step.sentence
