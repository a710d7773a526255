"""Looks that are due by themselves: jobs, pulses, inventories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model import Age, Doubt, Fleet, Look, PartKind
from engine.policy.looking import is_looked_at, look_at_jobs, looks_due, next_look
from tests.fleets import HOSTS, JOBS

HV01, HV02, HV03 = (f"hv0{n}.corp.example" for n in (1, 2, 3))


def due(scene, living: bool = True) -> list[Look]:
    records = [scene.record()] if living else []
    return looks_due(records, scene.facts, scene.fleet(), scene.now, scene.rules)


def kinds(looks: list[Look]) -> list[tuple[str, str]]:
    return [(str(look.kind), look.name.split(".")[0]) for look in looks]


def parts(*keys: tuple[PartKind, str], **changes: object):
    """A change of the ages of these parts."""

    def change(fleet: Fleet) -> Fleet:
        ages = {key: replace(fleet.age(*key), **changes) for key in keys}
        return replace(fleet, ages={**fleet.ages, **ages})

    return change


@pytest.fixture
def flying(scene):
    scene.move(state="moving", destination="hv02")
    return scene.attempt(job="job-web01").job(progress=50)


def test_nothing_is_due_when_everything_was_asked_just_now(scene):
    assert due(scene) == []


def test_vmms_jobs_are_asked_for_each_tick_while_a_run_is_unfinished(scene):
    five_ago = scene.now - 5
    scene.with_ages(parts((PartKind.JOBS, ""), asked_at=five_ago, answered_at=five_ago))

    assert due(scene) == [Look(PartKind.JOBS)]
    assert due(scene, living=False) == []


@pytest.mark.parametrize(
    ("asked", "answered", "asks"),
    [(5.0, 4.5, True), (4.4, 4.4, False), (20.0, 2.4, False), (20.0, 2.5, True)],
)
def test_a_slow_answer_makes_vmms_jobs_miss_no_tick_but_a_very_slow_vmm_has_a_rest(
    asked, answered, asks, scene
):
    ages = {"asked_at": scene.now - asked, "answered_at": scene.now - answered}
    scene.with_ages(parts((PartKind.JOBS, ""), **ages))

    assert due(scene) == ([Look(PartKind.JOBS)] if asks else [])


def test_the_jobs_of_open_attempts_are_asked_for_by_id(flying):
    five_ago = flying.now - 5
    flying.with_ages(parts((PartKind.JOBS, ""), asked_at=five_ago, answered_at=five_ago))

    assert due(flying)[0] == Look(PartKind.JOBS, ids=("job-web01",), overdue=((1, "id-web01"),))


def test_a_host_with_a_move_in_the_middle_is_pulsed_every_thirty_seconds(flying):
    old = [(PartKind.PULSE, HV01), (PartKind.PULSE, HV02)]
    flying.with_ages(parts(*old, ids=("id-web01",), answered_at=flying.now - 29))
    early = due(flying)
    flying.with_ages(parts(*old, ids=("id-web01",), answered_at=flying.now - 30))

    assert early == []
    assert due(flying) == [Look(PartKind.PULSE, name, ("id-web01",)) for name in (HV01, HV02)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"progress": 90}, id="near its end"),
        pytest.param({"state": "completed"}, id="ended"),
        pytest.param({"id": "another"}, id="its job is gone from the list"),
    ],
)
def test_a_pulse_follows_each_list_of_jobs_when_a_move_is_about_to_end(change, flying):
    flying.jobs[0] = replace(flying.jobs[0], **change)
    both = [(PartKind.PULSE, HV01), (PartKind.PULSE, HV02)]
    flying.with_ages(parts(*both, ids=("id-web01",), asked=JOBS))
    before = due(flying)
    flying.with_ages(parts(*both, ids=("id-web01",), asked=HOSTS))

    assert kinds(before) == [("pulse", "hv01"), ("pulse", "hv02")]
    assert due(flying) == []


def test_a_vm_that_no_pulse_has_asked_for_is_asked_for_at_once(flying):
    assert kinds(due(flying)) == [("pulse", "hv01"), ("pulse", "hv02")]


def test_an_inventory_is_due_a_pass_after_the_last_one_ended_and_seldom_elsewhere(scene):
    names = (HV01, HV02, HV03)
    every = [(kind, name) for name in names for kind in (PartKind.KNOWN, PartKind.SHOWN)]
    scene.with_ages(parts(*every, asked_at=scene.now - 90, answered_at=scene.now - 59))
    early = due(scene)
    scene.with_ages(parts(*every, asked_at=scene.now - 90, answered_at=scene.now - 60))
    later = due(scene)
    scene.with_ages(parts(*every, answered_at=scene.now - 300))

    assert early == []
    assert {name for _, name in kinds(later)} == {"hv01", "hv02"}
    assert [name for _, name in kinds(due(scene))] == ["hv01"] * 2 + ["hv02"] * 2 + ["hv03"] * 2


def test_without_runs_every_host_is_asked_once_per_sweep(scene):
    scene.with_ages(parts((PartKind.KNOWN, HV03), answered_at=scene.now - 60))

    assert due(scene) == []
    assert kinds(due(scene, living=False)) == [("known", "hv03")]


@pytest.mark.parametrize(("seconds", "asks"), [(14.9, False), (15.0, True)])
def test_a_host_that_did_not_answer_is_asked_again_three_ticks_later(seconds, asks, scene):
    failed = {"tries": 2, "tried": HOSTS + 1, "tried_at": scene.now - seconds}
    scene.with_ages(parts((PartKind.SHOWN, HV02), **failed))

    assert (Look(PartKind.SHOWN, HV02) in due(scene)) is asks


def test_everything_is_asked_again_after_the_clock_was_set_back(scene):
    scene.with_ages(parts((PartKind.KNOWN, HV01), answered_at=scene.now + 600))

    assert due(scene) == [Look(PartKind.KNOWN, HV01)]


def test_a_host_of_a_vm_whose_location_is_unknown_is_asked_often(scene):
    scene.knowing(unknown=(Doubt("id-web01", 9, (HV03,)),))
    scene.with_ages(parts((PartKind.SHOWN, HV03), answered_at=scene.now - 30))

    assert due(scene) == [Look(PartKind.SHOWN, HV03)]


def test_the_first_plan_waits_until_all_hosts_of_the_runs_were_asked(scene):
    def looked(since: int) -> bool:
        return is_looked_at([scene.record()], scene.facts, scene.fleet(), since, scene.rules)

    assert looked(JOBS - 1)
    assert not looked(JOBS)  # VMM's jobs were asked before
    scene.with_ages(parts((PartKind.SHOWN, HV02), asked=3))
    assert not looked(JOBS - 1)
    scene.with_ages(parts((PartKind.SHOWN, HV02), asked=3, tried=HOSTS, tries=1))
    assert looked(JOBS - 1)  # it does not answer: that is known, too


def test_virtual_time_goes_on_to_the_first_part_that_has_not_seen_a_change(scene):
    old = (PartKind.KNOWN, HV01)
    scene.with_ages(parts(old, answered_at=scene.now - 20))
    arguments = [scene.record()], scene.facts, scene.fleet(), scene.rules

    assert next_look(*arguments, since=scene.now - 20) is None
    assert next_look(*arguments, since=scene.now - 10) == scene.now + 40


def test_a_part_that_was_never_asked_is_due_at_once(scene):
    scene.with_ages(lambda fleet: replace(fleet, ages={**fleet.ages, (PartKind.SITE, ""): Age()}))

    assert due(scene) == [Look(PartKind.SITE)]


@pytest.mark.parametrize(("seconds", "watched"), [(89, ()), (91, ((1, "id-web01"),))])
def test_a_vm_whose_start_named_no_job_is_watched_after_the_look_ups(scene, seconds, watched):
    scene.move(state="moving", destination="hv02")
    scene.attempt(not_after=scene.now - seconds + 60)
    look = look_at_jobs([scene.record()], scene.facts, scene.fleet(), scene.now, scene.rules)

    assert look == Look(PartKind.JOBS, overdue=watched)
