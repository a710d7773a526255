"""How fresh a decision needs what it rests on, and which looks it asks for otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model import Age, Fleet, LastWord, Look, Options, PartKind, Result, Says
from engine.policy import freshness
from engine.policy.steps import Hold, Start
from tests.fleets import age

HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
PULSES = (
    Look(PartKind.JOBS),
    Look(PartKind.PULSE, HV01, ("id-web01",)),
    Look(PartKind.PULSE, HV02, ("id-web01",)),
)


def aged(*keys: tuple[PartKind, str], by: float, fleet: Fleet) -> Fleet:
    """The fleet as if these parts had been asked so many seconds earlier."""
    ages = {key: age(fleet.age(*key).asked, fleet.at - by) for key in keys}
    return replace(fleet, ages={**fleet.ages, **ages})


# --- starts ------------------------------------------------------------------------------------


def test_a_vm_starts_on_fresh_looks_without_asking_again(scene):
    assert [step.move.vm for step in scene.steps(Start)] == ["web01"]
    assert scene.plan().looks == ()


@pytest.mark.parametrize(
    "key", [(PartKind.JOBS, ""), (PartKind.PULSE, HV01), (PartKind.PULSE, HV02)]
)
@pytest.mark.parametrize(("by", "starts"), [(10.0, True), (10.1, False), (-1.0, False)])
def test_no_vm_starts_on_a_look_older_than_two_ticks_or_from_the_future(key, by, starts, scene):
    """A pulse of this tick is not asked for again: else one slow look repeats the others at once,
    for ever."""
    scene.with_ages(lambda fleet: aged(key, by=by, fleet=fleet))
    plan = scene.plan()

    assert bool([s for s in plan.steps if isinstance(s, Start)]) is starts
    assert [look.key for look in plan.looks] == ([] if starts else [key])


def test_two_pulses_that_are_a_tick_old_are_asked_again_together(scene):
    """One after another, the first would be old again when the second is answered."""
    old = {(PartKind.PULSE, HV01): 10.1, (PartKind.PULSE, HV02): 5.0}
    for key, by in old.items():
        before = scene.asked
        scene.with_ages(lambda fleet, b=before, k=key, s=by: aged(k, by=s, fleet=b(fleet)))

    assert set(PULSES[-2:]) <= set(scene.plan().looks)


@pytest.mark.parametrize("host", [HV01, HV02])
def test_no_vm_starts_on_a_pulse_that_did_not_ask_for_it(host, scene):
    old = {(host, "id-web01"): LastWord(1, scene.now - 60, Says.AT_REST)}

    def without(fleet: Fleet) -> Fleet:
        shown = {(PartKind.SHOWN, host): age(1, fleet.at - 60)}
        return replace(fleet, words={**fleet.words, **old}, ages={**fleet.ages, **shown})

    scene.with_ages(without)

    assert scene.steps(Start) == []
    assert Look(PartKind.PULSE, host, ("id-web01",)) in scene.plan().looks


@pytest.mark.parametrize("kind", [PartKind.KNOWN, PartKind.SHOWN])
def test_no_vm_starts_if_room_and_switches_were_read_longer_than_a_pass_ago(kind, scene):
    scene.with_ages(lambda fleet: aged((kind, HV02), by=60.0, fleet=fleet))
    assert len(scene.steps(Start)) == 1

    scene.with_ages(lambda fleet: aged((kind, HV02), by=60.1, fleet=fleet))
    assert scene.steps(Start) == []
    assert scene.plan().looks == (Look(kind, HV02),)


def test_a_bulletproof_run_wants_both_hosts_re_read_before_a_start(scene):
    scene.options(bulletproof=True)
    assert len(scene.steps(Start)) == 1

    keys = [(PartKind.VMS, HV01), (PartKind.VMS, HV02)]
    scene.with_ages(lambda fleet: aged(*keys, by=61.0, fleet=fleet))
    assert scene.steps(Start) == []
    assert scene.plan().looks == (Look(PartKind.VMS, HV01), Look(PartKind.VMS, HV02))


def test_people_are_told_when_a_look_that_a_start_needs_takes_long(scene, look_under_way):
    scene.with_ages(lambda fleet: aged((PartKind.PULSE, HV02), by=30.0, fleet=fleet))
    scene.knowing(calls=(look_under_way(PartKind.PULSE, HV02, 16.0),))
    [held] = scene.steps(Hold)

    assert held.text == "hv02 takes long to answer what runs now"


# --- empty hosts -------------------------------------------------------------------------------


def known(**ages: Age) -> Fleet:
    parts = {(PartKind(kind), HV01): one for kind, one in ages.items()}
    return Fleet("vmm01", 0.0, 0.0, ages=parts)


@pytest.mark.parametrize(
    ("ages", "asks"),
    [
        pytest.param({}, [PartKind.VMS], id="nothing was asked since the end"),
        pytest.param(
            {"vms": Age(11, 12), "shown": age(13, 5.0), "known": age(12, 5.0)},
            [PartKind.KNOWN],
            id="VMM's list is not younger than the end of the re-read",
        ),
        pytest.param(
            {"vms": Age(11, 12), "shown": age(11, 5.0), "known": age(13, 5.0)},
            [PartKind.SHOWN],
            id="Hyper-V's list is older than the answer about what is in flight",
        ),
        pytest.param(
            {"vms": Age(9, 10), "shown": age(13, 5.0), "known": age(13, 5.0)},
            [PartKind.VMS],
            id="VMM's re-read is older than the end of the last attempt",
        ),
        pytest.param(
            {"vms": Age(11, 12), "shown": age(13, 5.0), "known": age(13, 5.0)},
            [],
            id="both lists are young enough",
        ),
        pytest.param(
            {"vms": Age(tries=4, tried=11), "shown": age(13, 5.0), "known": age(12, 5.0)},
            [],
            id="the re-read failed again and again",
        ),
        pytest.param({"vms": Age(tries=3, tried=11)}, [PartKind.VMS], id="it failed three times"),
    ],
)
def test_a_host_is_called_empty_only_by_lists_asked_after_its_flights(ages, asks):
    """The last attempt ended at call 10, and nothing was in flight at call 11."""
    looks = freshness.to_prove_empty(known(**ages), HV01, 10, 11, Options())

    assert [look.kind for look in looks] == asks


@pytest.mark.parametrize(
    ("jobs", "pulse", "asks"),
    [
        (age(11, 5.0), age(11, 5.0), []),
        (age(10, 5.0), age(11, 5.0), [PartKind.JOBS]),
        (age(11, 5.0), age(10, 5.0), [PartKind.PULSE]),
        (age(11, 4.9), age(11, 4.9), [PartKind.JOBS, PartKind.PULSE]),
    ],
    ids=["both young enough", "VMM's jobs too old", "the host's pulse too old", "an earlier round"],
)
def test_flights_are_asked_after_the_last_end_and_in_each_round(jobs, pulse, asks):
    fleet = Fleet("vmm", 0.0, 0.0, ages={(PartKind.JOBS, ""): jobs, (PartKind.PULSE, HV01): pulse})

    assert [look.kind for look in freshness.to_see_flights(fleet, HV01, 10, 5.0)] == asks


# --- re-reads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "seconds", "may"),
    [(1, 19, False), (1, 20, True), (3, 20, True), (4, 20, False), (4, 60, True), (1, -5, True)],
)
def test_a_re_read_that_failed_is_tried_again_at_intervals_and_then_once_a_pass(
    tries, seconds, may
):
    options = Options(refreshes=3, refresh_interval=20.0)
    failed = Age(tries=tries, tried=7, tried_at=1000.0 - seconds, error="any", locked=True)

    look = Look(PartKind.VMS, HV01)
    assert freshness.may_reread(known(vms=failed), look, 1000.0, options) is may
    assert freshness.to_unlock(known(vms=failed), [HV01], 1000.0, options) == (look,) * may


def test_a_re_read_that_succeeded_is_repeated_once_a_pass_at_most():
    read = known(host=age(7, 1000.0))
    look = Look(PartKind.HOST, HV01)

    assert not freshness.may_reread(read, look, 1059.0, Options())
    assert freshness.may_reread(read, look, 1060.0, Options())
    assert freshness.to_unlock(read, [HV01], 2000.0, Options()) == ()


# --- VMM's status ------------------------------------------------------------------------------


def test_a_status_that_was_asked_for_before_the_last_end_is_asked_for_again(scene):
    scene.attempt(Result.FAILED, closed=99).vm(vmm_status="MigrationFailed")
    scene.with_ages(lambda f: replace(f, ages={**f.ages, (PartKind.KNOWN, HV01): age(99, f.at)}))

    assert scene.pending().step is None
    assert scene.pending().looks == (Look(PartKind.KNOWN, HV01),)


def test_a_migration_that_only_an_old_status_shows_is_asked_for_again(scene, told):
    scene.vm(vmm_status="UnderMigration")
    fresh = told(scene.pending())
    scene.with_ages(lambda fleet: aged((PartKind.KNOWN, HV01), by=11.0, fleet=fleet))

    assert fresh == "waits FOREIGN"
    assert (told(scene.pending()), scene.pending().looks) == (
        "nothing",
        (Look(PartKind.KNOWN, HV01),),
    )


@pytest.mark.parametrize(
    ("answered", "said"), [(10.0, "waits FOREIGN"), (10.1, "nothing"), (-1.0, "nothing")]
)
def test_a_vmm_that_takes_long_for_a_hosts_vms_is_not_asked_for_ever(answered, said, scene, told):
    """Its word would never be fresh if its age counted from the question."""
    scene.vm(vmm_status="UnderMigration")

    def answer_late(fleet: Fleet) -> Fleet:
        asked = fleet.age(PartKind.KNOWN, HV01)
        late = replace(asked, asked_at=fleet.at - 60, answered_at=fleet.at - answered)
        return replace(fleet, ages={**fleet.ages, (PartKind.KNOWN, HV01): late})

    scene.with_ages(answer_late)

    assert told(scene.pending()) == said
