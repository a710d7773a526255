"""Circuit breakers: pairs of hosts, and destinations, between which moves keep failing."""

from __future__ import annotations

import pytest

from engine.model import Damage, Result, RunState
from engine.policy.starts.breakers import breakers
from engine.policy.steps import SetRunState, Start

HV1, HV2 = "hv01.corp.example", "hv02.corp.example"
VMS = ("a", "b", "c")


def failures(scene, names=VMS, ended=300.0, result=Result.FAILED, **changes):
    """Add one charged attempt for each VM, the last one this many seconds ago."""
    for place, name in enumerate(names):
        if (1, name) not in scene.moves:
            scene.add(name)
        at = scene.now - ended - 10 * (len(names) - 1 - place)
        scene.attempt(result, name=name, begun=at - 60, ended=at, error="no route", **changes)
    return scene


def state(scene, source=HV1, destination=HV2):
    found = breakers([scene.record(n) for n in scene.runs], scene.now, scene.rules)
    broken = found.between(source, destination)
    return broken.state if broken else None


def test_three_failed_vms_in_a_row_open_the_breaker_between_two_hosts(scene):
    assert state(failures(scene, VMS[:2])) is None
    assert state(failures(scene, VMS[2:])) == "open"
    assert state(scene, source="hv03.corp.example") is None


@pytest.mark.parametrize("result", [Result.REFUSED, Result.LOST])
def test_refused_and_lost_attempts_open_a_breaker(result, scene):
    assert state(failures(scene, result=result)) == "open"


@pytest.mark.parametrize("result", [Result.BUSY, Result.LOCKED, Result.STALE])
def test_free_attempts_do_not_open_the_breaker(result, scene):
    assert state(failures(scene, result=result)) is None


def test_one_vm_failing_three_times_does_not_open_the_breaker(scene):
    assert state(failures(scene, ("a", "a", "a"))) is None


def test_an_arrival_closes_the_breaker(scene):
    failures(scene)
    scene.add("d").attempt(Result.OK, name="d", ended=scene.now - 5)

    assert state(scene) is None


def test_a_breaker_lets_one_vm_try_after_fifteen_minutes(scene):
    failures(scene, ended=900)
    starts = scene.add("d").steps(Start)

    assert state(scene) == "half_open"
    assert len(starts) == 1


def test_the_breaker_stays_open_while_its_trial_vm_is_in_flight(scene):
    failures(scene, ended=1000)
    scene.attempt(name="a", begun=scene.now - 30)

    assert state(scene) == "open"


def test_a_breaker_is_spent_after_its_trial_vm_fails(scene):
    failures(scene, ended=1000)
    scene.attempt(Result.FAILED, name="a", begun=scene.now - 90, ended=scene.now - 10)

    assert state(scene) == "spent"


def test_a_vm_already_in_flight_when_the_breaker_opened_is_no_trial(scene):
    failures(scene, ended=1000)
    scene.add("d").attempt(Result.FAILED, name="d", begun=scene.now - 1100, ended=scene.now - 5)

    assert state(scene) == "half_open"


def test_the_breaker_of_a_destination_opens_after_failures_from_two_sources(scene):
    failures(scene, VMS[:2])
    scene.add("d", source="hv03").attempt(
        Result.FAILED, name="d", source="hv03", ended=scene.now - 20, error="no route"
    )

    assert state(scene) == "open"
    assert state(scene, source="hv04.corp.example") == "open"


def test_a_move_waits_for_an_open_breaker_and_says_why(scene, told):
    failures(scene)
    verdict = scene.pending()

    assert told(verdict) == "waits BREAKER"
    assert verdict.step.text == "3 VMs in a row failed on hv01 → hv02: no route"
    assert verdict.due == scene.now + 600


def test_an_open_breaker_sends_vms_to_another_destination(scene):
    failures(scene.run(destinations=("hv02", "hv03")))

    assert {s.order.destination for s in scene.steps(Start)} == {"hv03.corp.example"}


def spent(scene):
    failures(scene, ended=1000)
    return scene.attempt(Result.FAILED, name="a", begun=scene.now - 90, ended=scene.now - 10)


def test_a_run_pauses_and_asks_when_breakers_leave_no_destination(scene):
    steps = spent(scene).steps(SetRunState)

    assert [(s.state, s.text) for s in steps] == [
        (
            RunState.PAUSED,
            "R1 is paused: 3 VMs in a row failed on hv01 → hv02: . Fix the cause.",
        )
    ]
    assert scene.steps(Start) == []


def test_a_silent_host_does_not_count_as_a_remaining_destination(scene):
    spent(scene.run(destinations=("hv02", "hv03"))).silent("hv03")

    assert [s.state for s in scene.steps(SetRunState)] == [RunState.PAUSED]


def test_resume_resets_the_breakers(scene):
    spent(scene).run(resumed=scene.now - 1)
    for name in ("hv01", "hv02"):
        scene.rights(name)

    assert scene.steps(SetRunState) == []
    assert scene.steps(Start)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.silent("hv03"),
        lambda s: s.host("hv03", maintenance=True),
        lambda s: s.knowing(damages=(Damage(7, "x", "hv03.corp.example"),)),
    ],
    ids=["silent", "in maintenance", "damaged"],
)
def test_a_closed_host_does_not_count_as_a_remaining_destination(change, scene):
    change(spent(scene.run(destinations=("hv02", "hv03"))))

    assert [s.state for s in scene.steps(SetRunState)] == [RunState.PAUSED]


def test_an_open_breaker_of_a_destination_lets_one_vm_of_all_sources_try(scene):
    scene.run(sources=("hv01", "hv03"))
    failures(scene, VMS[:2], ended=1000)
    scene.vm("d", at="hv03").add("d", source="hv03")
    at = scene.now - 1000
    scene.attempt(Result.FAILED, name="d", source="hv03", begun=at - 60, ended=at, error="no route")

    assert state(scene) == state(scene, source="hv03.corp.example") == "half_open"
    assert len(scene.steps(Start)) == 1
