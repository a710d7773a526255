"""The line that tells which host has not been seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.model import Age, Fleet, Host, Options, PartKind, Run, RunState
from engine.views.seen import Seen, seen, seen_line
from tests.fleets import age

NOW = 1_767_650_400.0
HV01, HV02 = "hv01.corp.example", "hv02.corp.example"


def run(state: RunState = RunState.ACTIVE) -> Run:
    return Run(1, "vmm01", "host", "", (HV01,), (HV02,), Options(), "slack:ann", state, NOW)


def fleet(jobs: Age, **hosts: Age) -> Fleet:
    names = {"hv01": HV01, "hv02": HV02}
    ages = {(PartKind.JOBS, ""): jobs}
    ages |= {(PartKind.SHOWN, names[host]): one for host, one in hosts.items()}
    return Fleet("vmm01", NOW, NOW, (Host(HV01), Host(HV02)), ages=ages)


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


SILENT = Age(5, 5, NOW - 1980, NOW - 1980, error="no answer", tries=9, tried=8, tried_at=NOW)


def test_the_line_names_what_was_seen_and_since_when_a_host_was_not():
    found = seen(run(), fleet(age(9, NOW), hv01=age(9, NOW - 60), hv02=SILENT), NOW)

    assert seen_line(found, clock) == "seen: VMM 22:00, hv02 not since 21:27, hv01 21:59"


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.STOPPED, RunState.SCHEDULED])
def test_a_run_that_is_not_under_way_has_no_such_line(state):
    assert seen(run(state), fleet(age(9, NOW), hv01=SILENT, hv02=SILENT), NOW) == ()


def test_there_is_no_line_while_everything_is_seen():
    found = seen(run(), fleet(age(9, NOW), hv01=age(9, NOW - 60), hv02=age(9, NOW)), NOW)

    assert (found, seen_line(found, clock)) == ((), "")


def test_a_vmm_that_does_not_answer_is_late_although_nothing_has_failed_yet():
    found = seen(run(), fleet(age(9, NOW - 121), hv01=age(9, NOW), hv02=age(9, NOW)), NOW)

    assert found[0] == Seen("VMM", NOW - 121, True)


def test_a_host_is_late_after_two_passes_of_its_run():
    ages = fleet(age(9, NOW), hv01=age(9, NOW - 290), hv02=age(9, NOW))
    slow = replace(run(), options=Options(pass_=150.0))

    assert seen(slow, ages, NOW) == ()
    assert seen(slow, ages, NOW + 11)[1] == Seen("hv01", NOW - 290, True)


def test_of_many_hosts_on_time_only_the_number_is_told():
    late = [Seen(f"hv{n}", None, True) for n in range(2)]
    rest = [Seen(f"hw{n}", NOW, False) for n in range(9)]
    line = seen_line((Seen("VMM", NOW, False), *rest, *late), clock)

    assert line == "seen: VMM 22:00, hv0 not yet, hv1 not yet, hw0 22:00, hw1 22:00, 7 more hosts"
