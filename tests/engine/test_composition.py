"""The fleet, composed from parts of different age."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model import (
    Age,
    HostInventory,
    HyperVState,
    Job,
    JobList,
    KnownHost,
    KnownVm,
    LastWord,
    Look,
    Part,
    PartKind,
    Pulse,
    Says,
    ShownVm,
    Site,
    VmmInventory,
    Word,
    compose,
)
from tests.fleets import age

HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
WEB = ShownVm("id-web", "web", HyperVState.RUNNING, switches=("LS-Main",))


def site() -> Part:
    return Part(PartKind.SITE, "", age(1, 0.0), Site((KnownHost(HV01), KnownHost(HV02))))


def known(host: str, number: int, *vms: KnownVm) -> Part:
    return Part(PartKind.KNOWN, host, age(number, 0.0), VmmInventory(KnownHost(host), vms))


def shown(host: str, number: int, *vms: ShownVm) -> Part:
    return Part(PartKind.SHOWN, host, age(number, 0.0), HostInventory(host, 2, 2, vms=vms))


def pulse(host: str, number: int, *words: Word, **changes: object) -> Part:
    body = Pulse(host, 50.0, words=words, **changes)
    return Part(PartKind.PULSE, host, age(number, 0.0), body)


def places(*parts: Part) -> tuple[str, ...]:
    """Hosts that show the VM."""
    vm = compose("vmm01", [site(), *parts]).vm("id-web")
    return vm.seen_on if vm else ()


@pytest.mark.parametrize(
    ("number", "seen"), [(5, (HV02,)), (3, (HV01, HV02))], ids=["asked later", "asked before"]
)
def test_a_word_on_a_vm_corrects_a_list_that_was_asked_before_it(number, seen):
    gone = pulse(HV01, number, Word("id-web", number, 0.0, None))

    assert places(shown(HV01, 4, WEB), gone, shown(HV02, 6, WEB)) == seen


def test_a_vm_that_only_a_pulse_shows_keeps_its_switches():
    word = Word("id-web", 5, 0.0, replace(WEB, switches=None))
    fleet = compose("vmm01", [site(), shown(HV01, 4, WEB), pulse(HV01, 5, word)])

    assert fleet.vms[0].switches == ("LS-Main",)
    assert fleet.words == {(HV01, "id-web"): LastWord(5, 0.0, Says.AT_REST)}


@pytest.mark.parametrize("kind", [PartKind.SHOWN, PartKind.PULSE])
def test_a_host_whose_latest_question_failed_shows_nothing(kind):
    failed = Age(4, 4, 0.0, 0.0, error="no answer", tries=1, tried=9, tried_at=5.0)
    parts = [shown(HV01, 4, WEB), pulse(HV01, 4)]
    silent = [replace(part, age=failed) if part.kind is kind else part for part in parts]
    fleet = compose("vmm01", [site(), *silent])

    assert fleet.vms == ()
    assert (fleet.answers(HV01), fleet.host(HV01).error) == (False, "no answer")


def test_a_vm_of_two_lists_of_vmm_is_where_the_later_one_says():
    here = [known(HV01, 3, KnownVm("id-web", "web", HV01, "Running"))]
    there = known(HV02, 5, KnownVm("id-web", "web", HV02, "Running"))

    assert compose("vmm01", [site(), *here, there]).vm("id-web").vmm_host == HV02


def test_a_replica_is_neither_a_second_vm_nor_shown_as_one():
    vm = KnownVm("id-web", "web", HV01, "Running")
    copy = replace(vm, host=HV02, replica=True)
    shown_copy = shown(HV02, 4, replace(WEB, replica=True))
    fleet = compose("vmm01", [site(), known(HV01, 3, vm), known(HV02, 5, copy), shown_copy])

    assert [(one.vmm_host, one.seen_on) for one in fleet.vms] == [(HV01, ())]


def test_a_running_job_without_a_source_comes_from_where_vmm_shows_its_vm():
    job = Job("job-1", "id-web", None, HV02, "running")
    jobs = Part(PartKind.JOBS, "", age(2, 10.0), JobList(300.0, (job, replace(job, id="2"))))
    fleet = compose(
        "vmm01", [site(), jobs, known(HV01, 3, KnownVm("id-web", "web", HV01, "UnderMigration"))]
    )

    assert [one.source for one in fleet.jobs] == [HV01, HV01]
    assert (fleet.server_time, fleet.at, fleet.ahead) == (300.0, 10.0, 290.0)


def test_the_counters_and_the_clock_of_a_host_come_from_its_pulse():
    fleet = compose(
        "vmm01", [site(), shown(HV01, 2), pulse(HV01, 3, live=1, storage=2, ahead=50.0)]
    )

    assert (fleet.host(HV01).counted, fleet.host(HV01).ahead) == (2, 50.0)
    assert fleet.host(HV02).counted is None


def test_an_answer_to_an_earlier_question_changes_nothing():
    part = shown(HV01, 7, WEB)
    look = Look(PartKind.SHOWN, HV01)

    assert part.answered(look, 6, 9, 0.0, 1.0) == part
    assert part.failed(6, 0.0, "late", locked=False) == part
    later = part.answered(look, 8, 9, 5.0, 6.0)
    assert (later.age.asked, later.age.answered, later.age.asked_at) == (8, 9, 5.0)


def test_a_failure_of_a_later_question_outlives_the_answer_to_an_earlier_one():
    part = shown(HV01, 3, WEB).failed(9, 5.0, "no answer", locked=False)
    answered = part.answered(Look(PartKind.SHOWN, HV01), 8, 10, 4.0, 6.0)

    assert (answered.age.asked, answered.age.failed, answered.age.error) == (8, True, "no answer")
