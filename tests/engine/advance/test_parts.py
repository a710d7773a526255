"""Parts of what is known: which answers become rows, and which parts are forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.advance.calls import CallAnswer
from engine.advance.looks import KEPT, Parts
from engine.errors import VmmUnavailable
from engine.model import CallKind, Job, JobList, KnownHost, Look, OpenCall, PartKind, Pulse, Site
from engine.store import queries
from engine.store.leases import Advancing
from engine.store.pen import writing
from engine.store.store import Store

NOW = 1_767_650_400.0
JOBS, HV01 = Look(PartKind.JOBS, ids=("job-0",)), Look(PartKind.PULSE, "hv01", ("id-a",))


class Taker:
    """Parts of a store, and the answers that become them, five seconds apart."""

    def __init__(self, folder) -> None:
        self.store, self.now, self.number = Store(folder / "a.db", durable=False), NOW, 0
        self.engine = Advancing(self.store)
        self.engine.acquire("vmm01", NOW)
        self.parts = Parts(self.store, "vmm01")

    def take(self, look: Look, body: object = None, **answer: object) -> None:
        self.number, self.now = self.number + 1, self.now + 5
        kind = CallKind(str(look.kind))
        row = OpenCall(self.number, kind, (), (), (), 1, self.now, self.now + 60)
        with writing(self.store, self.now) as pen:
            self.parts.take(pen, look, row, CallAnswer(body=body, **answer))

    def row(self, kind: PartKind) -> object:
        return next(p.body for p in queries.parts(self.store, "vmm01") if p.kind is kind)


@pytest.fixture
def taker(tmp_path):
    made = Taker(tmp_path)
    yield made
    made.engine.release()
    made.store.close()


def jobs(number: int, progress: int, **more: object) -> JobList:
    some = (Job(f"job-{n}", f"id-{n}", "hv01", "hv02", "running", progress) for n in range(number))
    return JobList(NOW, tuple(some), **more)


@pytest.mark.parametrize(("number", "kept"), [(1, 7), (8, 7), (100, 1)])
def test_the_progress_of_a_few_jobs_is_kept_at_each_tick_and_of_many_now_and_then(
    number, kept, taker
):
    for progress in range(1, 8):
        taker.take(JOBS, jobs(number, progress))

    assert taker.row(PartKind.JOBS).jobs[0].progress == kept
    assert taker.parts.fleet().jobs[0].progress == 7


def test_the_progress_of_many_jobs_is_kept_within_a_minute(taker):
    for progress in range(1, 13):
        taker.take(JOBS, jobs(100, progress))

    assert taker.row(PartKind.JOBS).jobs[0].progress == 11


def test_a_job_that_ends_is_kept_at_once(taker):
    before = jobs(100, 10)
    ended = replace(before.jobs[7], state="completed", progress=100)
    taker.take(JOBS, before)
    taker.take(JOBS, replace(before, jobs=(*before.jobs[:7], ended, *before.jobs[8:])))

    assert taker.row(PartKind.JOBS).jobs[7] == ended


def test_a_pulse_in_which_only_clocks_changed_is_not_kept_again(taker):
    taker.take(HV01, Pulse("hv01", NOW, live=1))
    taker.take(HV01, Pulse("hv01", NOW + 5, live=1))
    first = taker.row(PartKind.PULSE)
    taker.take(HV01, Pulse("hv01", NOW + 10, live=2))

    assert (first.time, first.live) == (NOW, 1)
    assert (taker.row(PartKind.PULSE).time, taker.row(PartKind.PULSE).live) == (NOW + 10, 2)


@pytest.mark.parametrize(
    ("answer", "is_over"),
    [
        (JobList(NOW, unknown=("job-0",)), True),
        (JobList(NOW, unread=(("job-0", "refused"),)), False),
        (jobs(1, 50), False),
    ],
    ids=["VMM does not know it", "VMM refuses to read it", "it runs"],
)
def test_only_a_job_of_which_vmm_has_told_is_over(answer, is_over, taker):
    taker.take(JOBS, answer)

    assert ("job-0" in taker.parts.fleet().over) is is_over


def test_a_re_read_of_a_vm_is_forgotten_after_a_day(taker):
    taker.take(Look(PartKind.VM, "id-a"), error=VmmUnavailable("no answer"))
    taker.take(Look(PartKind.SITE), Site())
    kept = taker.parts.fleet().age(PartKind.VM, "id-a").tries
    taker.now += KEPT
    taker.take(Look(PartKind.SITE), Site())

    assert kept == 1
    assert taker.parts.fleet().age(PartKind.VM, "id-a").tries == 0
    assert [part.kind for part in queries.parts(taker.store, "vmm01")] == [PartKind.SITE]


def test_a_late_attempt_is_idle_from_the_first_list_that_shows_no_job_of_its_vm(taker):
    look = Look(PartKind.JOBS, overdue=((7, "id-0"), (8, "id-1")))
    idle = []
    for answer in (jobs(1, 50), jobs(1, 60), jobs(0, 0)):
        taker.take(look, answer)
        idle.append(dict(taker.parts.fleet().idle))

    first = idle[0][8]
    assert idle[:2] == [{8: first}] * 2
    assert idle[2][8] == first
    assert 7 in idle[2]


def test_a_hosts_clock_stays_as_it_was_answered_after_a_restart(taker):
    """The age is written at each answer, the answer only with news: both clocks belong together."""
    host = KnownHost("hv01.corp.example")
    taker.take(Look(PartKind.SITE), Site((host,)))
    for hours in (0, 1):
        taker.now = NOW + 3600 * hours
        taker.take(Look(PartKind.PULSE, host.name), Pulse(host.name, taker.now + 5 + 50))
    taker.parts.forget()

    assert taker.parts.fleet().host(host.name).ahead == 50
