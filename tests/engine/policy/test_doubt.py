"""Attempts of moves that ended with an unknown location: they keep their slots and their VM."""

from dataclasses import replace

import pytest

from engine.model import (
    Age,
    ApprovalState,
    Attempt,
    AttemptKind,
    Doubt,
    Look,
    MoveState,
    Network,
    Options,
    PartKind,
    Result,
    Wait,
)
from engine.policy import waits
from engine.policy.judging import arrival
from engine.policy.steps import Expire, Finish, Hold, LetGo, Start


def lost(scene, vm="web01", **changes) -> Attempt:
    """An open LIVE attempt of run 7, which ended long ago. Its start is void by now."""
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


def is_in_doubt(scene, attempt: Attempt) -> bool:
    """Whether this attempt of an ended move is in doubt after both hosts were heard twice."""
    scene.knowing(lost=(attempt,))
    return arrival.is_in_doubt(arrival.hear(scene._heard(attempt), scene.fleet()), scene.fleet())


def planned(scene, *attempts):
    return scene.knowing(lost=attempts).plan()


@pytest.mark.parametrize(
    "doubtful",
    [
        pytest.param(lambda s: s.silent("hv02"), id="the destination does not answer"),
        pytest.param(lambda s: s.silent("hv01"), id="the source does not answer"),
        pytest.param(lambda s: s.job(), id="a job moves it"),
        pytest.param(
            lambda s: s.vm(hyperv_status=("MigratingVirtualMachine",)), id="Hyper-V says so"
        ),
        pytest.param(lambda s: s.first_word(), id="they have said it once"),
        pytest.param(lambda s: s.gone(), id="no host shows it"),
    ],
)
def test_a_vm_is_in_doubt_until_both_hosts_show_it_at_rest(doubtful, scene):
    before = is_in_doubt(scene, lost(scene))
    doubtful(scene)

    assert not before
    assert is_in_doubt(scene, lost(scene))


def test_a_vm_is_in_doubt_until_the_look_ups_of_its_lost_start_are_over(scene):
    over = scene.fleet().server_time - 30

    assert is_in_doubt(scene, lost(scene, not_after=over))
    assert not is_in_doubt(scene, lost(scene, not_after=over - 1))


def test_a_powered_down_vm_at_rest_on_its_source_stays_in_doubt(scene):
    """Hyper-V shows it so during the whole copy. Only its arrival proves something."""
    cold = lost(scene, kind=AttemptKind.COLD)
    on_source = is_in_doubt(scene, cold)
    scene.vm(at="hv02")

    assert on_source
    assert not is_in_doubt(scene, cold)


def test_no_run_starts_a_vm_with_unknown_location(scene):
    scene.run(destinations=("hv02", "hv03")).silent("hv02")
    steps = planned(scene, lost(scene)).steps

    held = [s for s in steps if isinstance(s, Hold)]
    assert not [s for s in steps if isinstance(s, Start)]
    assert [(h.wait, h.text) for h in held] == [
        (
            Wait.OTHER_RUN,
            "location unknown since R7; find the VM, then: settle R7 web01",
        )
    ]


def test_a_start_with_unknown_result_still_takes_its_slot(scene):
    scene.run(destinations=("hv03",)).host("hv01", live_limit=1).vm("other")
    steps = planned(scene, lost(scene, vm="other", kind=AttemptKind.COLD)).steps

    assert not [s for s in steps if isinstance(s, Start)]


def test_a_running_vm_at_rest_on_two_hosts_is_no_longer_in_doubt(scene):
    scene.seen_on("hv01", "hv02")

    assert not is_in_doubt(scene, lost(scene))


def test_a_vm_seen_at_rest_may_be_moved_again(scene):
    steps = planned(scene, lost(scene)).steps

    assert [s.move.vm for s in steps if isinstance(s, Start)] == ["web01"]


def test_a_host_named_by_vmm_that_was_never_asked_is_asked_before_a_vm_is_judged(scene, told):
    """A stranger took it to a host that is no part of the run: VMM names it, Hyper-V decides."""
    scene.vm(vmm_host="hv04.corp.example").seen_on()
    scene.host("hv04", seen_at=None)
    unasked = {(PartKind.SHOWN, "hv04.corp.example"): Age()}
    scene.with_ages(lambda fleet: replace(fleet, ages={**fleet.ages, **unasked}))
    verdict = scene.pending()

    assert told(verdict) == "nothing"
    assert verdict.looks == (Look(PartKind.SHOWN, "hv04.corp.example"),)


def test_a_move_waits_for_a_destination_in_maintenance_and_names_the_host(scene, told):
    scene.host("hv02", maintenance=True)
    verdict = scene.pending()

    assert told(verdict) == "waits HOST_DOWN"
    assert verdict.step.text == "hv02 is in maintenance mode"


def test_a_late_approval_has_its_own_eight_hours(scene):
    """A powered-down VM that arrived late is not skipped together with the earlier ones."""
    scene.down().approval(ApprovalState.REQUESTED, requested=scene.now - 300)
    scene.run(quiet_since=scene.now - 9 * 3600)

    assert scene.steps(Expire) == []


def test_a_vm_with_unknown_location_is_not_touched_before_a_person_settles_it(scene):
    """Even when all hosts answer and show it in one place: they did not say so in time."""
    doubt = Doubt("id-web01", 7, ("hv01.corp.example", "hv04.corp.example"))
    doubted = scene.knowing(unknown=(doubt,)).plan()
    settled = scene.knowing(unknown=()).plan()

    assert [s.wait for s in doubted.steps if isinstance(s, Hold)] == [Wait.OTHER_RUN]
    assert [s.move.vm for s in settled.steps if isinstance(s, Start)] == ["web01"]


def test_a_vm_that_another_run_is_moving_waits_for_that_run(scene, told):
    """The reason is the other run, not a foreign migration and not an arrival."""
    on_its_way = scene.owned_by(7).vm(vmm_status="UnderMigration").pending()
    landed = scene.vm(at="hv02", vmm_status="Running").pending()

    assert told(on_its_way) == told(landed) == "waits OTHER_RUN"


def test_an_attempt_whose_start_can_no_longer_happen_is_closed(scene):
    attempt = lost(scene)
    [step] = [s for s in planned(scene, attempt).steps if isinstance(s, LetGo)]

    assert step.attempt.id == attempt.id


def test_void_starts_are_retried_with_growing_pauses_until_the_move_fails(scene, told):
    seconds = []
    while told(scene.pending()) != "failed STUCK":
        scene.attempt(Result.STALE, begun=scene.now, ended=scene.now, error="no")
        again = waits.requeue_at(scene.record().moves[0].attempts, Options(), scene.rules)
        seconds.append(again - scene.now)
        scene.later(again - scene.now)

    assert seconds == [15, 30, 60, 120, 240, 480, 900, 900, 900]


def test_a_network_that_cannot_be_read_ends_as_damage(scene, told):
    scene.move(state=MoveState.RESTORING, destination="hv02", host="hv02", kind=AttemptKind.LIVE)
    scene.attempt(Result.OK).vm(at="hv02").baseline(network=Network())
    reading = scene.restoring()
    scene.waiting(Wait.HOST_DOWN, 3600.0)
    ended = scene.restoring()

    assert told(reading) == "ReadPorts"
    assert told(ended) == "damaged NETWORK"
    assert "could not be checked" in ended.step.sentence


def test_a_host_that_falls_silent_during_a_move_is_awaited_until_a_person_is_needed(scene, told):
    scene.move(state=MoveState.MOVING, destination="hv02", host="hv01", kind=AttemptKind.LIVE)
    scene.attempt(job="job-web01").silent("hv02")
    waiting = scene.moving()
    scene.waiting(Wait.HOST_DOWN, 3600.0)

    assert told(waiting) == "waits HOST_DOWN"
    assert told(scene.moving()) == "unknown UNKNOWN"


def test_a_vm_with_unknown_location_does_not_count_as_arrived(scene):
    """One destination shows the VM, and the silent host may show it, too."""
    scene.vm(at="hv02").host("hv04", seen_at=None)
    doubt = Doubt("id-web01", 7, ("hv02.corp.example", "hv04.corp.example"))
    made = scene.knowing(unknown=(doubt,)).plan()

    assert [s.wait for s in made.steps if isinstance(s, Hold)] == [Wait.OTHER_RUN]


# --- what is told to whoever has to look -------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "wait", "befalls"),
    [
        pytest.param(
            MoveState.PENDING,
            Wait.TWO_PLACES,
            lambda s: s.seen_on("hv01", "hv02"),
            id="on two hosts",
        ),
        pytest.param(
            MoveState.RESTORING, Wait.FOREIGN, lambda s: s.job(), id="somebody else's migration"
        ),
        pytest.param(
            MoveState.MOVING, Wait.HOST_DOWN, lambda s: s.silent("hv02"), id="a silent host"
        ),
        pytest.param(MoveState.RESTORING, Wait.MISSING, lambda s: s.seen_on(), id="on no host"),
        pytest.param(
            MoveState.RESTORING,
            Wait.FOREIGN,
            lambda s: s.vm(hyperv_status=("MigratingVirtualMachine",)),
            id="Hyper-V says it migrates for ever",
        ),
    ],
)
def test_an_unknown_outcome_names_the_settle_command(state, wait, befalls, scene):
    befalls(scene.move(state=state, destination="hv02").attempt(not_after=scene.now - 90))
    [ending] = scene.waiting(wait, 9 * 3600.0).steps(Finish)

    assert ending.state is MoveState.UNKNOWN
    assert ending.next.endswith("No run starts the VM until you type: settle R1 web01")
    assert "retry" not in ending.next, "it is refused for a VM that has an unknown location"
