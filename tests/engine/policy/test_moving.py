"""The moving and restoring ladders: the location of a VM, the result of its job, and its network.

``scene`` starts as a VM on hv01 whose LIVE attempt to hv02 is open.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    Age,
    AttemptKind,
    Fleet,
    Hearing,
    HyperVState,
    LastWord,
    Look,
    MoveState,
    Network,
    PartKind,
    Result,
    RunState,
    Says,
    Wait,
)
from engine.model.fleet import JobState
from engine.policy.judging import arrival
from engine.policy.judging.arrival import Ending, Whereabouts
from engine.policy.ladders import moving
from engine.policy.plan import plan
from engine.policy.starts import estimate
from engine.policy.steps import (
    Arrive,
    Finish,
    Hear,
    PutBack,
    PutModels,
    PutPorts,
    ReadModels,
    ReadPorts,
    Return,
    Start,
    Unhold,
)
from tests.fleets import HOSTS, JOBS, age

MINUTE, HOUR = 60.0, 3600.0
HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
RULE = Acl("Allow", "Inbound", 10)
OTHER = Acl("Deny", "Inbound", 20)
SAVED = Network((Adapter("nic-1", "001DD8B71C00", "VM-Net-10", None, "LS-Main", 10, acls=(RULE,)),))
LOST = Network((Adapter("nic-1", "001DD8B71C00", "VM-Net-10", None, "LS-Main", 10),))
WORSE = Network((Adapter("nic-9", "001DD8B71CFF", "VM-Net-10", None, "LS-Main", 10),))


@pytest.fixture
def flying(scene):
    """A started move whose job VMM still shows as running."""
    scene.move(state=MoveState.MOVING, destination="hv02", kind=AttemptKind.LIVE)
    return scene.attempt(job="job-web01")


@pytest.fixture
def arrived(scene):
    """A VM on hv02 after a successful attempt, before its network is compared."""
    scene.move(state=MoveState.RESTORING, destination="hv02", host="hv02", kind=AttemptKind.LIVE)
    return scene.attempt(Result.OK).vm(at="hv02").baseline(network=SAVED)


# --- the truth table -----------------------------------------------------------------------

PLACES = {
    "source": lambda s: s.vm(at="hv01"),
    "destination": lambda s: s.vm(at="hv02"),
    "both": lambda s: s.seen_on("hv01", "hv02"),
    "neither": lambda s: s.seen_on(),
    "elsewhere": lambda s: s.vm(at="hv03"),
    "source silent": lambda s: s.vm(at="hv02").silent("hv01"),
    "destination silent": lambda s: s.vm(at="hv01").silent("hv02"),
}
SAID = {
    "ok": lambda s: s.job(state="completed"),
    "failed": lambda s: s.job(state="failed", error="0x80041024 out of memory (12700)"),
    "canceled": lambda s: s.job(state="canceled"),
    "unknown": lambda s: s,
}
ENDED = [
    ("source", "ok", "hv01", Result.FAILED, "VMM says the move completed, but the VM is still on"),
    ("source", "failed", "hv01", Result.FAILED, "0x80041024 out of memory (12700)"),
    ("source", "canceled", "hv01", Result.FAILED, "VMM's job canceled."),
    ("source", "unknown", "hv01", Result.LOST, "No VMM job was found and the VM did not move."),
    ("destination", "ok", "hv02", Result.OK, ""),
    ("destination", "failed", "hv02", Result.OK, "out of memory (12700)), but the VM is on hv02."),
    ("destination", "canceled", "hv02", Result.OK, "canceled, but the VM is on hv02."),
    ("destination", "unknown", "hv02", Result.OK, ""),
    ("elsewhere", "ok", "hv03", Result.FAILED, "completed, and the VM is on another host."),
    (
        "elsewhere",
        "failed",
        "hv03",
        Result.FAILED,
        "out of memory (12700)), and the VM is on another",
    ),
    ("elsewhere", "canceled", "hv03", Result.FAILED, "canceled, and the VM is on another host."),
    ("elsewhere", "unknown", "hv03", Result.FAILED, "VMM shows no job, and the VM is on another"),
]
WAITS = [
    ("both", Wait.TWO_PLACES, "shown on hv01 and hv02 at once"),
    ("neither", Wait.MISSING, "not found on any host"),
    ("source silent", Wait.HOST_DOWN, "hv01 does not answer"),
    ("destination silent", Wait.HOST_DOWN, "hv02 does not answer"),
]


@pytest.mark.parametrize(
    ("place", "job", "host", "result", "why"),
    [pytest.param(*row, id=f"{row[0]}, job {row[1]}") for row in ENDED],
)
def test_the_location_of_the_vm_decides_and_the_job_only_explains(
    place, job, host, result, why, flying
):
    step = SAID[job](PLACES[place](flying)).moving().step

    assert isinstance(step, Arrive)
    assert step.host == f"{host}.corp.example"
    assert step.ends is not None
    assert step.ends[0] is result
    assert why in step.ends[1]
    assert bool(step.ends[1]) == bool(why)


@pytest.mark.parametrize("job", sorted(SAID))
@pytest.mark.parametrize(("place", "wait", "text"), WAITS)
def test_a_move_waits_while_the_location_of_its_vm_is_not_known(place, wait, text, job, flying):
    step = SAID[job](PLACES[place](flying)).moving().step

    assert (step.wait, step.text) == (wait, text)


def test_every_cell_of_the_truth_table_has_a_row():
    """A new location, or a new result of a job, needs its outcome, its sentence and its test."""
    rows = {(place, job) for place, job, *_ in ENDED}
    rows |= {(place, job) for place, *_ in WAITS for job in SAID}
    named = {place for place in PLACES if not place.endswith("silent")}
    ends = {"ok" if state == "completed" else state for state in get_args(JobState)} - {"running"}

    assert rows == set(product(PLACES, SAID))
    assert named == set(map(str, Whereabouts))
    assert set(SAID) == ends | {"unknown"}


@pytest.mark.parametrize(
    ("place", "limit", "ends"),
    [
        ("both", 10 * MINUTE, "unknown TWO_PLACES"),
        ("neither", 10 * MINUTE, "unknown UNKNOWN"),
        ("source silent", HOUR, "unknown UNKNOWN"),
        ("destination silent", HOUR, "unknown UNKNOWN"),
    ],
)
def test_a_move_needs_a_person_after_its_limit(place, limit, ends, flying, told):
    wait = next(w for p, w, _ in WAITS if p == place)
    PLACES[place](SAID["failed"](flying))

    assert told(flying.waiting(wait, limit - 1).moving()) == f"waits {wait}"
    after = flying.waiting(wait, limit).moving()
    assert told(after) == ends
    assert "id-web01" in after.step.next


def test_a_settled_vm_that_no_host_shows_has_vanished(flying, told):
    flying.seen_on().job(state="failed").move(settled=flying.now - 700)
    verdict = flying.waiting(Wait.MISSING, 10 * MINUTE).moving()

    assert told(verdict) == "skipped VANISHED"
    assert "no Hyper-V shows its id" in verdict.step.sentence


def test_a_vm_deleted_during_its_move_has_vanished(flying, told):
    verdict = flying.gone().waiting(Wait.MISSING, 10 * MINUTE).moving()

    assert told(verdict) == "skipped VANISHED"
    assert verdict.step.ends == (Result.LOST, "The VM was not found again.")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "VMM cannot complete the host operation on the hv02.corp.example server because of "
            "the error: There is not enough space.",
            "There is not enough space.",
        ),
        ("There is not enough space.", "There is not enough space."),
        (None, ""),
    ],
)
def test_the_cause_is_reported_without_the_wrapping_of_vmm(said, told):
    assert arrival.plain(said) == told


def in_flight(scene):
    return scene.vm(hyperv_status=("MigratingVirtualMachine",))


# --- still on its way ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(lambda s: s.job(), id="its job runs"),
        pytest.param(lambda s: s.job(id="another"), id="another job of it runs"),
        pytest.param(lambda s: in_flight(s) if s.vms["web01"].seen_on else s.job(), id="its word"),
    ],
)
@pytest.mark.parametrize("place", ["source", "destination", "both", "neither"])
def test_a_migration_in_flight_is_watched(sign, place, flying, told):
    """During a migration the VM may show on both hosts or on neither."""
    PLACES[place](flying)

    assert told(sign(flying.later(24 * HOUR)).moving()) == "nothing"


def asked_before_the_list_of_jobs(*names: str) -> Callable[[Fleet], Fleet]:
    """Let these hosts have been asked before VMM answered about its jobs."""

    def older(fleet: Fleet) -> Fleet:
        before = age(JOBS - 1, fleet.at)
        kinds = (PartKind.KNOWN, PartKind.SHOWN, PartKind.PULSE)
        ages = {(kind, name): before for kind in kinds for name in names}
        words = {key: replace(word, asked=JOBS - 1) for key, word in fleet.words.items()}
        old = {key: word for key, word in words.items() if key[0] in names}
        return replace(fleet, ages={**fleet.ages, **ages}, words={**fleet.words, **old})

    return older


@pytest.mark.parametrize("state", ["completed", "failed"])
@pytest.mark.parametrize("names", [(HV01,), (HV02,), (HV01, HV02)])
def test_the_result_of_a_move_is_open_until_both_hosts_are_asked_after_the_end(
    names, state, flying, told
):
    flying.job(state=state).with_ages(asked_before_the_list_of_jobs(*names))
    verdict = flying.moving()

    assert told(verdict) == "nothing"
    assert verdict.looks == tuple(Look(PartKind.PULSE, name, ("id-web01",)) for name in names)


@pytest.mark.parametrize("place", ["source", "destination", "both", "neither"])
def test_a_job_that_vmm_refuses_to_read_is_no_ended_job(place, flying, told):
    PLACES[place](flying).unread["job-web01"] = "The account was refused (1604)"
    attempt = flying.moves[1, "web01"].attempts[0]
    old = replace(attempt, not_after=flying.now - HOUR)
    flying.moves[1, "web01"] = replace(flying.moves[1, "web01"], attempts=(old,))
    held = flying.moving()
    ending = flying.waiting(Wait.FOREIGN, 4 * HOUR).moving().step

    assert told(held) == "waits FOREIGN"
    assert "The account was refused (1604)" in held.step.text
    assert (ending.state, ending.outcome) == (MoveState.UNKNOWN, "UNKNOWN")
    assert "The account was refused (1604)" in ending.sentence
    assert "job-web01" in ending.next


def test_an_arrival_does_not_count_while_vmm_does_not_tell_of_its_job(flying, told):
    PLACES["destination"](flying).unread["job-web01"] = "refused"
    attempt = flying.moves[1, "web01"].attempts[0]
    young = replace(attempt, not_after=flying.now)
    flying.moves[1, "web01"] = replace(flying.moves[1, "web01"], attempts=(young,))
    before = flying.moving()
    flying.unread.clear()

    assert told(before) == "nothing"
    assert told(flying.later(91).moving()) == "Arrive"


def test_vmms_status_does_not_hold_up_a_move_whose_end_vmm_has_told(flying, told):
    flying.job(state="completed").vm(at="hv02", vmm_status="UnderMigration")

    assert told(flying.moving()) == "Arrive"


def test_vmms_status_does_not_hold_up_a_move_whose_job_was_lost(lost, told):
    """It may stay for ever. What both Hyper-Vs said twice counts."""
    assert told(lost.vm(at="hv02", vmm_status="UnderMigration").moving()) == "Arrive"


def test_a_wait_goes_on_while_the_looks_that_judge_it_are_awaited(lost):
    """Else it begins anew at each look, and its limit never comes."""
    lost.waiting(Wait.MISSING, 60.0).seen_on().first_word()

    assert not [step for step in lost.plan().steps if isinstance(step, Unhold)]


def test_a_wait_ends_when_vmm_shows_the_job_again(flying):
    flying.waiting(Wait.FOREIGN, HOUR).job(state="running")

    assert [step for step in flying.plan().steps if isinstance(step, Unhold)]


@pytest.mark.parametrize("place", ["source", "both"])
def test_a_powered_down_vm_whose_job_is_lost_is_never_tried_again(place, lost, told):
    """VMM copies it without a sign in Hyper-V, so at rest on its source it may still be under
    way."""
    PLACES[place](lost.down())
    lost.moves[1, "web01"] = replace(
        lost.moves[1, "web01"],
        attempts=(replace(lost.moves[1, "web01"].attempts[0], kind=AttemptKind.COLD),),
    )
    held = lost.moving()
    ending = lost.waiting(Wait.DOUBT, 15 * MINUTE).moving().step

    assert told(held) == "waits DOUBT"
    assert held.looks == (Look(PartKind.VM, "id-web01", host=HV01),)
    assert (ending.state, ending.outcome) == (MoveState.UNKNOWN, "UNKNOWN")
    assert "its copy may go on" in ending.sentence


@pytest.fixture
def lost(scene):
    """A start whose job VMM does not show, after the last look-up."""
    scene.move(state=MoveState.MOVING, destination="hv02", kind=AttemptKind.LIVE)
    return scene.attempt(not_after=scene.now - 90)


def test_a_move_without_an_open_attempt_continues_with_its_network_check(scene):
    step = scene.move(state=MoveState.MOVING, host="hv02").moving().step

    assert step == Arrive(scene.view().move, "hv02.corp.example")


# --- a start that nobody answered ----------------------------------------------------------


@pytest.fixture
def doubtful(scene):
    """A start that was sent and has no known job. VMM may begin it for another 60 s."""
    scene.move(state=MoveState.MOVING, destination="hv02", kind=AttemptKind.LIVE)
    return scene.attempt(not_after=scene.now + 60)


@pytest.mark.parametrize("skew", [0.0, 600.0, -600.0])
def test_a_start_without_an_answer_is_lost_only_after_the_lookups_on_the_server_clock(
    skew, scene, told
):
    """not_after and the deadline are in VMM's time: 60 s, then 3 lookups of 10 s."""
    scene.skew = skew
    scene.move(state=MoveState.MOVING, destination="hv02", kind=AttemptKind.LIVE)
    scene.attempt(not_after=scene.now + skew + 60)
    before = told(scene.later(90).moving())
    after = scene.later(0.5).moving()

    assert before == "nothing"
    assert after.step.ends == (Result.LOST, "No VMM job was found and the VM did not move.")


def test_an_unknown_start_is_next_checked_at_its_deadline(doubtful):
    doubtful.skew = -30.0
    verdict = doubtful.moving()

    assert verdict.due == pytest.approx(doubtful.now + 120, abs=0.01)


def test_the_request_sets_the_number_and_interval_of_look_ups(doubtful, told):
    doubtful.options(lookups=1, lookup_interval=5.0)

    assert told(doubtful.later(65).moving()) == "nothing"
    assert told(doubtful.later(1).moving()) == "Arrive"


def test_an_arrival_without_a_job_counts_only_after_the_look_ups(doubtful, told):
    """Somebody else may have moved the VM, while our own start can still begin."""
    before = told(doubtful.vm(at="hv02").moving())
    step = doubtful.later(91).moving().step

    assert before == "nothing"
    assert step.ends == (Result.OK, "")


def test_an_arrival_counts_only_from_hosts_asked_after_the_list_of_jobs(lost, told):
    lost.vm(at="hv02").with_ages(asked_before_the_list_of_jobs(HV01))
    verdict = lost.moving()

    assert told(verdict) == "nothing"
    assert verdict.looks == (Look(PartKind.PULSE, HV01, ("id-web01",)),)


@pytest.mark.parametrize("place", ["source", "destination", "both", "neither", "elsewhere"])
def test_a_move_whose_job_was_lost_ends_only_when_both_hosts_have_said_the_same_twice(
    place, lost, told
):
    """A migration shows neither word nor job for a moment."""
    first = PLACES[place](lost.first_word()).moving()
    lost.is_first_word = False

    assert told(first) == "nothing"
    assert told(lost.moving()) != "nothing"


def test_two_places_are_told_only_when_both_hosts_have_said_it_twice(flying, told):
    """The source may list a VM for a moment after its arrival."""
    flying.job(state="completed").seen_on("hv01", "hv02").first_word()
    first = told(flying.moving())
    flying.is_first_word = False

    assert (first, told(flying.moving())) == ("nothing", "waits TWO_PLACES")


@pytest.mark.parametrize(
    "said",
    [
        {"state": "canceled"},
        {"state": "failed", "error": "The VMM service was restarted (1711)"},
        {"state": "failed", "error": "The service was stopped while this job ran (1700)"},
        {"state": "failed", "error": "The agent on hv02 does not answer (2916)"},
        {"state": "failed", "error": "A Hardware Management error (2927)"},
        {"state": "failed", "error": "Something that nobody has seen before (4711)"},
        {"state": "failed", "error": None},
    ],
    ids=lambda said: f"{said['state']} {said.get('error')}",
)
def test_the_hosts_may_go_on_after_a_job_that_vmm_gave_up(said, flying, told):
    flying.vm(at="hv02").job(**said).first_word()
    first = told(flying.moving())
    flying.is_first_word = False

    assert (first, told(flying.moving())) == ("nothing", "Arrive")


def test_a_powered_down_vm_whose_job_vmm_gave_up_is_in_doubt_with_vmms_words(flying, told):
    attempt = flying.moves[1, "web01"].attempts[0]
    cold = replace(attempt, kind=AttemptKind.COLD)
    flying.down().moves[1, "web01"] = replace(flying.moves[1, "web01"], attempts=(cold,))
    held = flying.job(state="failed", error="The VMM service was restarted (1711)").moving()

    assert told(held) == "waits DOUBT"
    assert "The VMM service was restarted (1711)" in held.step.text
    assert told(flying.vm(at="hv02").moving()) == "Arrive"


def test_the_end_of_a_job_that_was_only_found_counts_after_the_look_ups(doubtful, told):
    """It may be somebody else's, while our own start can still begin."""
    found = replace(doubtful.moves[1, "web01"].attempts[0], found="job-web01")
    doubtful.moves[1, "web01"] = replace(doubtful.moves[1, "web01"], attempts=(found,))
    doubtful.job(state="failed", error="There is not enough space. (12700)").first_word()
    doubtful.asked = lambda fleet: replace(fleet, over={"job-web01": JOBS})
    before = told(doubtful.moving())

    assert (before, told(doubtful.later(91).moving())) == ("nothing", "Arrive")


def test_a_job_that_moves_the_vm_of_a_start_without_an_answer_is_remembered(doubtful):
    [heard] = doubtful.first_word().job(id="job-7").steps(Hear)

    assert heard.attempt.found == "job-7"


def test_a_word_that_differs_begins_both_hosts_anew(lost):
    """The rules of both words, one after another: see ``tests/model``."""
    attempt = lost.moves[1, "web01"].attempts[0]
    heard = Hearing(100).hear(HV01, word(101, 0.0, Says.AT_REST), 105, 30.0)
    heard = heard.hear(HV02, word(102, 0.0, Says.ABSENT), 105, 30.0)
    moved = heard.hear(HV02, word(106, 10.0, Says.MOVING), 107, 30.0)
    early = moved.hear(HV01, word(107, 20.0, Says.AT_REST), 108, 30.0)
    anew = moved.hear(HV01, word(108, 20.0, Says.AT_REST), 109, 30.0)

    assert {w.host for w in heard.words} == {HV01, HV02}
    assert moved == early == Hearing(107)
    assert anew.of(HV01).asked == 108
    assert arrival.judge(replace(attempt, hearing=anew), Ending(True, 100)) is None


@pytest.mark.parametrize(
    ("asked_at", "clock", "twice"),
    [
        (29.9, 29.9, False),
        (30.0, 30.0, True),
        (3600.0, 5.0, False),
        (5.0, 3600.0, False),
        (-3600.0, 30.0, False),
        (30.0, -3600.0, False),
    ],
    ids=[
        "too soon",
        "30 s after the first answer",
        "our clock was set forward",
        "the host's clock was set forward",
        "our clock was set back",
        "the host's clock was set back",
    ],
)
def test_a_word_counts_twice_if_it_is_asked_for_thirty_seconds_after_the_first_answer(
    asked_at, clock, twice
):
    first = LastWord(101, -40.0, Says.AT_REST, 0.0, 0.0)
    heard = Hearing(100).hear(HV01, first, 105, 30.0)
    second = LastWord(106, asked_at, Says.AT_REST, asked_at, clock)
    again = heard.hear(HV01, second, 107, 30.0)
    later = replace(second, asked=110, asked_at=asked_at + 60, clock=clock + 60)

    assert again.of(HV01).twice is twice
    assert again.hear(HV01, second, 109, 30.0) == again
    assert again.hear(HV01, later, 111, 30.0).of(HV01).twice


def word(asked: int, at: float, says: Says) -> LastWord:
    return LastWord(asked, at, says, at, at)


def test_a_start_without_an_answer_keeps_its_slots(doubtful):
    doubtful.host("hv01", live_limit=1).add("web02")
    [hold] = [s for s in doubtful.plan().steps if s.move.vm == "web02"]

    assert hold.wait is Wait.SLOT
    assert hold.text == "1 of 1 on hv01: web01"


def test_a_move_seen_to_have_ended_frees_its_slot_in_the_same_plan(flying):
    flying.job(state="completed").vm(at="hv02").host("hv01", live_limit=1).add("web02")
    flying.host("hv02", live_limit=1)

    assert [step.move.vm for step in flying.steps(Start)] == ["web02"]


# --- restoring -----------------------------------------------------------------------------


def test_the_network_of_an_arrived_vm_is_read_before_the_move_ends(arrived):
    assert arrived.restoring().step == ReadPorts("hv02.corp.example", (arrived.view().move,))


@pytest.mark.parametrize(
    ("host", "age"),
    [
        pytest.param("hv01", 1.0, id="read where it was before"),
        pytest.param("hv02", 11.0, id="read before the move ended"),
        pytest.param("hv02", 10.0, id="read in the moment it ended"),
    ],
)
def test_an_outdated_reading_of_the_network_is_taken_again(host, age, arrived, told):
    assert told(arrived.reading(SAVED, host, age).restoring()) == "ReadPorts"


UNNAMED = Network(tuple(replace(one, network=None) for one in SAVED.adapters))
UNPLUGGED = Network(
    tuple(replace(one, switch=None, connected=False, network=None) for one in SAVED.adapters)
)
REREAD = (Look(PartKind.VM, "id-web01", host=HV02),)


def half_read(scene, network: Network, age: float = 1.0):
    """Only Hyper-V's half was read; VMM's is as before."""
    return scene.reading(network, age=age)._record("web01", 1, models=None)


def test_vmm_re_reads_a_vm_while_hyper_vs_half_is_read_and_put_back(arrived):
    first = arrived.restoring()
    then = half_read(arrived, LOST).restoring
    arrived.rereads.clear()

    assert (type(first.step), first.looks) == (ReadPorts, REREAD)
    assert (type(then().step), then().looks) == (PutPorts, REREAD)


def test_vmms_half_is_read_only_after_its_re_read_of_the_vm(arrived):
    half_read(arrived, SAVED).rereads.clear()
    before = arrived.restoring()
    after = arrived.reread().restoring()

    assert (before.step, before.looks) == (None, REREAD)
    assert after.step == ReadModels(HV02, (arrived.view().move,))
    assert after.looks == ()


def test_a_re_read_before_the_end_of_the_move_does_not_count(arrived):
    assert half_read(arrived, SAVED).reread(age=12.0).restoring().looks == REREAD


def test_a_re_read_that_fails_again_and_again_is_given_up(arrived):
    half_read(arrived, SAVED)
    failed = Age(tried=arrived.number(arrived.now), tried_at=arrived.now, error="locked")
    arrived.rereads[PartKind.VM, "id-web01"] = replace(failed, tries=3)
    still = arrived.restoring()
    arrived.rereads[PartKind.VM, "id-web01"] = replace(failed, tries=4)

    assert still.looks == REREAD
    assert isinstance(arrived.restoring().step, ReadModels)


def test_what_only_vmm_lost_is_put_back_by_vmm(arrived):
    step = arrived.reading(UNNAMED).restoring().step

    assert isinstance(step, PutModels)
    assert step.repair.adapters == (AdapterRepair("nic-1", "001DD8B71C00", network="VM-Net-10"),)
    assert [one.what for one in step.differences] == ["network"]


def test_a_switch_that_hyper_v_has_again_is_told_to_vmm_once(arrived, told):
    detail = {"differences": [["001DD8B71C00", "switch", "LS-Main"]]}
    lost = half_read(arrived, UNPLUGGED, age=9.0).restoring().step
    ended = {"kind": AttemptKind.RESTORE, "result": Result.OK}
    arrived.attempt(**ended, ended=arrived.now - 8, detail={**detail, "half": "ports"})
    tell = arrived.reading(SAVED).restoring().step
    arrived.attempt(**ended, ended=arrived.now - 1, detail={**detail, "half": "models"})

    assert isinstance(lost, PutPorts)
    assert lost.repair.adapters[0].switch == "LS-Main"
    assert lost.repair.adapters[0].network is None
    assert isinstance(tell, PutModels)
    assert tell.repair.adapters == (AdapterRepair("nic-1", "001DD8B71C00", switch="LS-Main"),)
    assert told(arrived.reading(SAVED, age=0.0).restoring()) == "done MOVED"


def test_a_retry_by_a_person_makes_vmm_re_read_the_vm_again(arrived):
    half_read(arrived, SAVED, age=0.5).reread(age=2.0)
    before = arrived.restoring()
    arrived.move(state=MoveState.RESTORING, retried=arrived.now - 1)

    assert before.looks == ()
    assert arrived.restoring().looks == REREAD


@pytest.mark.parametrize("result", [Result.LOST, Result.REFUSED])
def test_a_switch_that_an_unanswered_repair_restored_is_told_to_vmm_too(result, arrived):
    detail = {"differences": [["001DD8B71C00", "switch", "LS-Main"]], "half": "ports"}
    arrived.attempt(result, AttemptKind.RESTORE, ended=arrived.now - 8, detail=detail)

    assert isinstance(arrived.reading(SAVED).restoring().step, PutModels)


def test_a_lock_at_vmm_does_not_make_a_restored_switch_a_damage(arrived, told):
    detail = {"differences": [["001DD8B71C00", "switch", "LS-Main"]], "half": "ports"}
    kind = AttemptKind.RESTORE
    arrived.attempt(Result.OK, kind, ended=arrived.now - 9, detail=detail)
    arrived.attempt(Result.LOCKED, kind, ended=arrived.now - 8, detail={**detail, "half": "models"})
    arrived.reading(SAVED)

    assert told(arrived.restoring()) == "waits HOST_LOCKED"
    assert told(arrived.waiting(Wait.HOST_LOCKED, 10 * HOUR).restoring()) == "done MOVED"


def test_a_network_that_vmm_cannot_read_waits_and_hyper_vs_half_does_not(arrived, told):
    arrived.waiting(Wait.HOST_DOWN, 10 * HOUR)

    assert told(half_read(arrived, SAVED).restoring()) == "damaged NETWORK"
    assert told(half_read(arrived, LOST).restoring()) == "PutPorts"


def test_an_unchanged_network_ends_the_move_as_moved(arrived, told):
    verdict = arrived.reading(SAVED).restoring()

    assert told(verdict) == "done MOVED"
    assert verdict.step.repaired == ()


def test_network_settings_added_since_the_baseline_are_kept(arrived, told):
    more = Network((*SAVED.adapters, Adapter("nic-2", "001DD8B71C99")))

    assert told(arrived.reading(more).restoring()) == "done MOVED"


def test_missing_network_settings_are_restored_on_the_host_of_the_vm(arrived):
    step = arrived.reading(LOST).restoring().step

    assert isinstance(step, PutBack)
    assert step.repair.host == "hv02.corp.example"
    assert step.repair.adapters[0].acls == (RULE,)
    assert [(d.adapter, str(d)) for d in step.differences] == [("001DD8B71C00", f"acl {RULE}")]


def restored(scene, result=Result.OK, ended=5.0, error=""):
    detail = {"differences": [["001DD8B71C00", "acl", str(RULE)]], "half": "ports"}
    return scene.attempt(
        result, AttemptKind.RESTORE, ended=scene.now - ended, detail=detail, error=error
    )


def test_a_network_is_read_again_after_its_repair(arrived, told):
    assert told(restored(arrived.reading(LOST, age=6)).restoring()) == "ReadPorts"


def test_a_repair_that_held_is_reported(arrived, told):
    verdict = restored(arrived).reading(SAVED).restoring()

    assert told(verdict) == "done MOVED"
    assert [(d.adapter, d.what, d.value) for d in verdict.step.repaired] == [
        ("001DD8B71C00", "acl", str(RULE))
    ]


@pytest.mark.parametrize(
    ("repairs", "says"), [(1, "PutPorts"), (2, "PutPorts"), (3, "damaged NETWORK")]
)
@pytest.mark.parametrize("result", [Result.OK, Result.REFUSED, Result.LOST])
def test_three_repairs_that_do_not_hold_end_as_damage(repairs, says, result, arrived, told):
    for _ in range(repairs):
        restored(arrived, result)

    assert told(arrived.reading(LOST).restoring()) == says


def test_damage_is_reported_with_the_exact_difference_and_the_hyper_v_message(arrived):
    for _ in range(3):
        restored(arrived, Result.REFUSED, error="Access is denied")
    finish = arrived.reading(LOST).restoring().step

    assert f"adapter 001DD8B71C00: acl {RULE}" in finish.sentence
    assert "Hyper-V said: Access is denied." in finish.sentence
    assert "hv02" in finish.next


def test_settings_that_cannot_be_restored_end_as_damage_at_once(arrived, told):
    assert told(arrived.reading(WORSE).restoring()) == "damaged NETWORK"


def test_repairable_settings_are_restored_before_the_rest_ends_as_damage(arrived, told):
    """One rule is missing, under the other key stands another body: the first is repaired."""
    both = Adapter("nic-1", "001DD8B71C00", switch="LS-Main", acls=(RULE, OTHER))
    twisted = Adapter(
        "nic-1", "001DD8B71C00", switch="LS-Main", acls=(Acl("Allow", "Inbound", 20),)
    )
    arrived.baseline(network=Network((both,))).reading(Network((twisted,)))
    step = arrived.restoring().step
    healed = Adapter(
        "nic-1", "001DD8B71C00", switch="LS-Main", acls=(RULE, Acl("Allow", "Inbound", 20))
    )
    after = restored(arrived).reading(Network((healed,))).restoring()

    assert isinstance(step, PutBack)
    assert step.repair.adapters[0].acls == (RULE,)
    assert told(after) == "damaged NETWORK"
    assert [d.value for d in after.step.repaired] == [str(RULE)]
    assert str(OTHER) in after.step.sentence
    assert str(RULE) not in after.step.sentence


@pytest.mark.parametrize("free", [Result.LOCKED, Result.BUSY, Result.STALE])
def test_a_lock_delays_a_repair_without_using_up_one_of_the_three(free, scene, told):
    scene.move(state=MoveState.RESTORING, destination="hv02", host="hv02", kind=AttemptKind.LIVE)
    arrived = scene.attempt(Result.OK, ended=scene.now - 90).vm(at="hv02").baseline(network=SAVED)
    for _ in range(9):
        restored(arrived, free, ended=14.0)
    early = arrived.reading(LOST).restoring()
    late = arrived.later(1).restoring()

    assert told(early) == "waits HOST_LOCKED"
    assert early.due == arrived.now
    assert told(late) == "PutPorts"


def test_each_attempt_may_use_three_repairs(arrived, told):
    """Three attempts lost the rule and each time it was restored. The fourth may be repaired,
    too."""
    arrived.options(attempts=9)
    for minutes in (9, 6, 3):
        arrived.attempt(Result.FAILED, ended=arrived.now - 60 * minutes)
        restored(arrived, ended=60 * minutes - 10)
    arrived.attempt(Result.OK)

    assert told(arrived.reading(LOST).restoring()) == "PutPorts"


def test_a_restored_setting_is_reported_only_once(arrived, told):
    """The rule was restored and reported after the first attempt. The second attempt lost
    nothing."""
    arrived.attempt(Result.FAILED, ended=arrived.now - 500)
    restored(arrived, ended=490).attempt(Result.OK)
    finish = arrived.reading(SAVED).restoring().step

    assert finish.repaired == ()


def test_a_vm_back_on_its_source_with_its_network_is_retried(scene):
    scene.move(state=MoveState.RESTORING, host="hv01").baseline(network=SAVED)
    scene.attempt(Result.FAILED, error="no space on D:").reading(SAVED, "hv01")
    step = scene.restoring().step

    assert isinstance(step, Return)
    assert step.why == "no space on D:"


def test_a_vm_back_on_its_source_has_its_network_compared_before_a_retry(scene, told):
    scene.move(state=MoveState.RESTORING, host="hv01").baseline(network=SAVED)
    scene.attempt(Result.FAILED)

    assert told(scene.restoring()) == "ReadPorts"
    assert told(scene.reading(LOST, "hv01").restoring()) == "PutPorts"


def test_a_vm_on_an_unrequested_host_is_skipped_once_its_network_is_restored(arrived, told):
    arrived.vm(at="hv03").move(host="hv03")

    assert told(arrived.reading(LOST, "hv03").restoring()) == "PutPorts"
    assert told(arrived.reading(SAVED, "hv03").restoring()) == "skipped ELSEWHERE"


def test_a_vm_that_moved_on_is_checked_on_its_current_host(arrived):
    step = arrived.vm(at="hv03").restoring().step

    assert step == Arrive(arrived.view().move, "hv03.corp.example")


def test_a_vm_moved_by_others_with_its_network_intact_counts_as_moved(scene, told):
    scene.move(state=MoveState.RESTORING, host="hv02").vm(at="hv02").baseline(network=SAVED)
    verdict = scene.reading(SAVED).restoring()

    assert told(verdict) == "done MOVED"
    assert "somebody else" in verdict.step.sentence


def test_an_arrived_vm_without_a_saved_network_counts_as_moved(arrived, told):
    assert told(arrived.no_baseline().restoring()) == "done MOVED"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.gone(), "waits MISSING"),
        (lambda s: s.seen_on(), "waits MISSING"),
        (lambda s: s.seen_on().silent("hv02"), "waits HOST_DOWN"),
        (lambda s: s.seen_on("hv01", "hv02"), "waits TWO_PLACES"),
        (lambda s: s.job(), "waits FOREIGN"),
        (lambda s: s.vm(hyperv_status=("MigratingVirtualMachine",)), "waits FOREIGN"),
        (lambda s: s.vm(vmm_status="MigrationFailed"), "Dismiss"),
    ],
)
def test_a_network_is_not_repaired_before_the_vm_is_known_to_rest_on_this_host(
    change, says, arrived, told
):
    assert told(change(arrived.reading(LOST)).restoring()) == says


@pytest.mark.parametrize(
    ("change", "wait", "limit", "ends"),
    [
        (lambda s: s.seen_on(), Wait.MISSING, 10 * MINUTE, "unknown UNKNOWN"),
        (lambda s: s.gone(), Wait.MISSING, 10 * MINUTE, "skipped VANISHED"),
        (lambda s: s.silent("hv02"), Wait.HOST_DOWN, HOUR, "unknown UNKNOWN"),
        (lambda s: s.job(), Wait.FOREIGN, 4 * HOUR, "unknown UNKNOWN"),
    ],
)
def test_each_wait_of_restoring_ends_at_its_limit_and_not_before(
    change, wait, limit, ends, arrived, told
):
    change(arrived)

    assert told(arrived.waiting(wait, limit - 1).restoring()) == f"waits {wait}"
    assert told(arrived.waiting(wait, limit).restoring()) == ends


def test_the_network_is_read_even_if_three_dismissals_did_not_clear_a_failed_state(arrived, told):
    arrived.vm(vmm_status="MigrationFailed")
    for _ in range(3):
        arrived.attempt(Result.OK, AttemptKind.DISMISS, begun=arrived.now - 9)

    assert told(arrived.restoring()) == "ReadPorts"


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPING])
def test_a_network_is_restored_even_if_the_run_is_paused_or_stopping(state, arrived):
    arrived.run(state=state).reading(LOST)

    assert len(arrived.steps(PutBack)) == 1


def test_the_networks_of_all_arrivals_on_a_host_are_read_in_one_step(arrived):
    arrived.add("web02").vm("web02", at="hv02")
    arrived.move("web02", state=MoveState.RESTORING, host="hv02")
    steps = [s for s in arrived.plan().steps if isinstance(s, ReadPorts)]

    assert [(s.host, [m.vm for m in s.moves]) for s in steps] == [
        ("hv02.corp.example", ["web01", "web02"])
    ]


def test_an_ended_move_is_left_alone(scene):
    for state in (MoveState.DONE, MoveState.DAMAGED, MoveState.FAILED, MoveState.UNKNOWN):
        scene.move(state=state)
        planned = plan([scene.record()], scene.fleet(), scene.now, scene.rules, scene.facts)
        assert not any(isinstance(s, Start | Finish | PutBack) for s in planned.steps)


@pytest.mark.parametrize("status", ["Running", "UnderMigration"])
def test_a_vm_that_hyper_v_shows_migrating_is_in_flight_for_any_vmm_status(status, flying, told):
    """No job to be seen, and long past the look-ups: it is watched, not given up."""
    flying.vm(vmm_status=status, hyperv_status=("InService", "MigratingVirtualMachine"))

    assert told(flying.later(3600).moving()) == "nothing"


@pytest.mark.parametrize("status", ["Running", "UnderMigration"])
def test_a_vm_that_leaves_again_during_its_network_check_is_not_done(status, arrived, told):
    """A stranger takes it away while its network is being checked; his job is not shown yet."""
    arrived.vm(at="hv02", vmm_status=status, hyperv_status=("InService", "MigratingVirtualMachine"))

    assert told(arrived.reading(SAVED).restoring()) == "waits FOREIGN"


# --- a VM that stopped ---------------------------------------------------------------------


@pytest.mark.parametrize("state", [HyperVState.OFF, HyperVState.SAVED, HyperVState.PAUSED])
def test_a_vm_that_ran_and_does_not_run_after_its_move_is_damaged_at_once(state, arrived, told):
    """VMM's half of its network is not waited for."""
    half_read(arrived, SAVED).rereads.clear()
    step = arrived.vm(hyperv_state=state).restoring().step

    assert (step.state, step.outcome) == (MoveState.DAMAGED, "NOT_RUNNING")
    assert step.sentence == f"web01 ran before its move. It arrived on hv02, but is {state}."
    assert "go-on R1 hv02" in step.next


def test_the_acls_of_a_vm_that_stopped_come_back_first(arrived, told):
    half_read(arrived, LOST).vm(hyperv_state=HyperVState.OFF)

    assert told(arrived.restoring()) == "PutPorts"


def test_a_powered_down_vm_that_is_still_off_has_moved(arrived, told):
    attempt = arrived.moves[1, "web01"].attempts[0]
    cold = replace(attempt, kind=AttemptKind.COLD)
    arrived.moves[1, "web01"] = replace(arrived.moves[1, "web01"], attempts=(cold,))
    arrived.vm(hyperv_state=HyperVState.OFF)

    assert told(arrived.reading(SAVED).restoring()) == "done MOVED"


# --- a move that does not move -------------------------------------------------------------


@pytest.mark.parametrize(
    ("disk_mb", "minutes", "said"),
    [(60_000, 29, "nothing"), (60_000, 30, "waits STALLED"), (900_000, 59, "nothing")],
    ids=["not for long", "for half an hour", "a large VM has longer"],
)
def test_people_are_told_of_a_migration_without_progress(disk_mb, minutes, said, flying, told):
    since = flying.now - minutes * MINUTE
    flying.move(disk_mb=disk_mb).job(progress=40)
    flying.with_ages(lambda fleet: replace(fleet, stood={"job-web01": since}))
    held = flying.moving()

    assert told(held) == said
    if said != "nothing":
        assert held.step.text == "the migration of web01 to hv02 has stood at 40 % for 30 min"
        assert held.step.needs_person


def test_a_migration_that_goes_on_no_longer_waits(flying):
    flying.waiting(Wait.STALLED, HOUR).job(progress=41)

    assert [step for step in flying.plan().steps if isinstance(step, Unhold)]


def test_noisy_progress_gives_a_false_alarm_in_less_than_one_move_of_a_hundred(new_scene):
    """Progress in steps of 1 to 5 %, whose lengths vary widely, on a line that is up to four times
    as slow as the estimate says."""
    dice = random.Random(7)
    alarms = sum(_stands_too_long(new_scene(), dice) for _ in range(1000))

    assert alarms < 10


def _stands_too_long(scene, dice: random.Random) -> bool:
    size = dice.choice([20_000, 100_000, 500_000, 2_000_000])
    view = scene.move(disk_mb=size).view()
    expected = estimate.seconds(view.move, view.rules.mb_per_s) * dice.uniform(0.5, 4.0)
    window = moving.patience(view)
    done = 0.0
    while done < 100:
        step = dice.uniform(1, 5)
        if step / 100 * expected * dice.lognormvariate(-0.18, 0.6) >= window:
            return True
        done += step
    return False


def test_vmms_half_is_read_again_if_it_was_read_before_vmms_re_read(arrived):
    arrived.reading(SAVED, age=3.0).reread(age=1.0)

    assert isinstance(arrived.restoring().step, ReadModels)


def test_the_hosts_clock_is_asked_for_again_before_a_repair_that_came_too_late_is_repeated(arrived):
    arrived.reading(LOST).attempt(Result.STALE, AttemptKind.RESTORE, ended=arrived.now - 2)
    arrived.with_ages(
        lambda fleet: replace(
            fleet, ages={**fleet.ages, (PartKind.PULSE, HV02): age(HOSTS, fleet.at - 60)}
        )
    )

    assert arrived.restoring().looks == (Look(PartKind.PULSE, HV02),)


def test_repairs_are_counted_though_the_clock_was_set_back(arrived, told):
    """Order is decided by the numbers of calls."""
    arrived.reading(LOST)
    for _ in range(3):
        arrived.attempt(
            Result.REFUSED, AttemptKind.RESTORE, begun=0.0, ended=1.0, opened=85, closed=86
        )

    assert told(arrived.restoring()) == "damaged NETWORK"


def test_a_persons_retry_is_no_reason_to_read_for_ever_after_the_clock_was_set_back(arrived, told):
    arrived.reading(SAVED).move(retried=arrived.now + HOUR)

    assert told(arrived.restoring()) == "done MOVED"
