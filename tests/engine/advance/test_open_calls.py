"""Calls that outlive steps: answers, deadlines, late answers, and the calls of a dead engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.advance.calls import CallAnswer, make
from engine.advance.engine import Engine
from engine.advance.open_calls import OVERDUE
from engine.advance.watchdog import LONG, Watchdog
from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.errors import StoreError, StoreUnwritable, VmmUnavailable
from engine.language import grammar
from engine.model import AttemptKind, CallKind, Look, MoveState, PartKind, Result, Wait
from engine.policy.steps import Dismiss, PutBack, Start
from engine.settings import Settings
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort, open_world
from engine.store import events, queries
from engine.store.store import Store

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [
  { name = "web01", host = "hv01", minutes = 5 },
  { name = "web02", host = "hv01", minutes = 5 },
]
"""


class Held:
    """A caller whose calls of the kinds ``held`` wait until the test lets them go; the others take
    no time."""

    def __init__(self, port: SimPort, held: set[object]) -> None:
        self.port, self.held = port, held
        self.came = lambda: None
        self.waiting: dict[int, object] = {}
        self._answers: list[tuple[int, CallAnswer]] = []

    def begin(self, number, call):
        kind = call.kind if isinstance(call, Look) else type(call)
        if kind in self.held:
            self.waiting[number] = call
        else:
            self._answers.append((number, make(call, self.port)))

    def answer(self, number: int, answer: CallAnswer) -> None:
        self._answers.append((number, answer))

    def let_go(self, answer: CallAnswer | None = None) -> None:
        """Make the waiting calls, or give them this answer."""
        for number, call in self.waiting.items():
            self._answers.append((number, answer or make(call, self.port)))
        self.waiting = {}

    def ended(self):
        came, self._answers = self._answers, []
        return came

    def wait(self, seconds):
        pass


class Place:
    def __init__(self, folder, fleet: str = FLEET) -> None:
        opened = open_world(parse(fleet), None, speed=math.inf)
        self.world, self.clock = opened.world, VirtualClock(opened.world.now)
        self.store = Store(folder / "vmferry.db", durable=False)
        self.port = SimPort(self.world, self.clock)
        self.engine, self.caller = self.new_engine()
        self.engine.look()
        self.service = Service(self.store, self.clock, Settings())
        self.service.submit(grammar.parse("host hv01 to hv02 now"), by="slack:ann")

    def new_engine(self, *held: object) -> tuple[Engine, Held]:
        caller = Held(self.port, set(held))
        engine = Engine(self.store, self.port, self.clock, Settings(), caller=caller)
        engine.take_over()
        return engine, caller

    def steps(self, count: int = 1, seconds: float = 5.0) -> None:
        for _ in range(count):
            self.engine.advance()
            self.clock.jump(self.clock.now() + seconds)

    def entry(self, name: str = "web01"):
        moves = queries.record(self.store, 1).moves
        return next(entry for entry in moves if entry.move.vm == name)

    def kinds(self) -> list[str]:
        return [event.kind for event in events.since(self.store)]

    def open_kinds(self) -> list[CallKind]:
        return [call.kind for call in queries.open_calls(self.store, "vmm01")]


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.engine.close()
    made.store.close()


def started(place: Place) -> Start:
    """Hold the first start, and return it."""
    place.caller.held.add(Start)
    place.steps(3)
    [call] = place.caller.waiting.values()
    return call


def test_a_start_is_written_when_it_is_begun_and_its_answer_in_a_later_step(place):
    start = started(place)
    name = start.move.vm
    before = place.entry(name)
    place.caller.let_go()
    place.steps()

    assert (before.move.state, before.open_migration.job) == (MoveState.MOVING, None)
    assert place.open_kinds() == [CallKind.START]  # the second start, which could begin now
    assert place.entry(name).open_migration.job is not None


@pytest.mark.parametrize(
    ("waited", "first"), [(OVERDUE - 1, CallKind.DISMISS), (OVERDUE, CallKind.VMS)]
)
def test_a_re_read_goes_before_other_changes_on_its_host_once_it_is_ten_passes_old(
    waited, first, place
):
    place.steps()
    change = Dismiss(place.entry("web01").move, "hv01")
    look = Look(PartKind.VMS, "hv01")
    begun = []
    for seconds in (0, waited):
        with place.engine._writing() as pen:
            for (one,) in begun:
                pen.calls.drop("vmm01", one.row.id)
            pen.now += seconds
            begun.append(place.engine.calls.begin(pen, 1, [change], [look]))

    assert [[one.row.kind for one in some] for some in begun] == [[CallKind.DISMISS], [first]]


def test_a_start_says_that_it_waits_for_a_re_read(place):
    place.caller.held.add(PartKind.VMS)
    with place.engine._writing() as pen:
        look = Look(PartKind.VMS, "hv01")
        begun = place.engine.calls.begin(pen, 1, [], [look])
    place.engine.calls.make(begun)
    place.steps(6)

    waits = {place.entry(name).move.wait_text for name in ("web01", "web02")}
    assert "VMM re-reads hv01 first" in waits


def test_a_start_that_hangs_keeps_every_other_change_off_its_hosts_and_says_so(place):
    start = started(place)
    other = {"web01": "web02", "web02": "web01"}[start.move.vm]
    place.steps(3)

    assert place.open_kinds() == [CallKind.START]
    assert place.entry(other).move.wait is Wait.SLOT
    assert "does not answer an earlier call" in place.entry(other).move.wait_text


def test_a_start_without_an_answer_at_its_deadline_has_an_unknown_outcome(place):
    start = started(place)
    place.caller.held.clear()
    place.clock.jump(place.clock.now() + 126)
    place.steps()

    assert CallKind.START not in [
        c.kind for c in queries.open_calls(place.store, "vmm01") if start.move.id in c.moves
    ]
    attempt = place.entry(start.move.vm).attempts[-1]
    assert attempt.result in (None, Result.LOST)
    assert "There was no answer within" in attempt.error or attempt.result is Result.LOST


def test_the_job_of_a_start_is_kept_even_if_its_answer_comes_after_the_deadline(place):
    start = started(place)
    attempt = place.entry(start.move.vm).open_migration.id
    place.clock.jump(place.clock.now() + 126)
    place.engine.advance()
    place.caller.let_go(CallAnswer(job="job-late"))
    place.engine.advance()

    found = {a.id: a for a in place.entry(start.move.vm).attempts}
    assert found[attempt].job == "job-late"


def test_a_refusal_that_comes_after_the_deadline_changes_nothing(place):
    start = started(place)
    place.clock.jump(place.clock.now() + 126)
    place.steps(3)
    before = place.entry(start.move.vm)
    place.caller.let_go(CallAnswer(error=VmmUnavailable("late")))
    place.engine.calls.take_answers()

    assert place.entry(start.move.vm) == before


def test_a_dead_engines_start_counts_as_acting_until_it_is_void(place):
    """A minute after it was begun, the guard at VMM refuses it."""
    start = started(place)
    place.engine.close()
    place.engine, place.caller = place.new_engine()
    place.engine.advance()
    early = place.open_kinds()
    place.clock.jump(place.clock.now() + 61)
    place.engine.advance()
    about = [c for c in queries.open_calls(place.store, "vmm01") if start.move.id in c.moves]

    assert CallKind.START in early
    assert about == []
    assert place.entry(start.move.vm).open_migration is not None  # observed, never assumed


def test_a_dead_engines_look_is_dropped_at_the_takeover(place):
    place.caller.held.add(PartKind.SITE)
    place.clock.jump(place.clock.now() + 120)
    place.engine.advance()
    before = place.open_kinds()
    place.engine.close()
    place.engine, place.caller = place.new_engine()

    assert before == [CallKind.SITE]
    assert place.open_kinds() == []


def test_an_answer_never_replaces_one_to_a_later_question(place):
    place.caller.held.add(PartKind.SHOWN)
    place.clock.jump(place.clock.now() + 120)
    place.engine.advance()
    late = dict(place.caller.waiting)
    number = max(late)
    place.caller.waiting = {}
    place.engine.calls.give_up(place.clock.now() + 1000)
    place.caller.held.clear()
    place.clock.jump(place.clock.now() + 20)
    place.engine.advance()
    asked = place.engine.calls.parts.fleet().age(PartKind.SHOWN, "hv01").asked
    place.caller.waiting = late
    place.caller.let_go()
    place.engine.calls.take_answers()

    assert asked > number
    assert place.engine.calls.parts.fleet().age(PartKind.SHOWN, "hv01").asked == asked


def test_one_host_that_is_never_answered_leaves_the_others_as_they_are(place):
    place.world.down(place.clock.now(), "hv02", 3600)
    place.steps(14)
    fleet = place.engine.calls.parts.fleet()

    assert (fleet.answers("hv01"), fleet.answers("hv02")) == (True, False)
    assert place.entry().move.wait is Wait.HOST_DOWN


def test_rows_of_looks_exist_only_while_they_are_open(place):
    place.steps(5)
    rows = place.store.query("SELECT kind FROM calls WHERE ended IS NULL")
    kept = {row["kind"] for row in place.store.query("SELECT kind FROM calls")}

    assert rows == []
    assert kept <= {"baseline", "reading", "rights", "start"}


# --- the watchdog ------------------------------------------------------------------------------


@contextmanager
def closed_file(place: Place) -> Iterator[None]:
    place.store.database().execute("PRAGMA query_only = 1")
    yield
    place.store.database().execute("PRAGMA query_only = 0")


def test_answers_that_cannot_be_written_are_kept_until_the_file_is_open_again(place):
    start = started(place)
    place.caller.held.add(PartKind.JOBS)
    place.steps(2)
    with closed_file(place):
        place.caller.let_go()
        for _ in range(2):
            with pytest.raises(StoreUnwritable):
                place.engine.advance()
    place.caller.held.clear()
    place.engine.advance()

    assert place.entry(start.move.vm).open_migration.job is not None


def test_the_engine_does_not_know_what_could_not_be_written(place):
    place.caller.held.add(PartKind.JOBS)
    place.steps(2)
    place.store.database().execute(
        """CREATE TEMP TRIGGER fails BEFORE DELETE ON calls
           BEGIN SELECT RAISE(ABORT, 'broken'); END"""
    )
    place.caller.let_go()
    with pytest.raises(StoreError):
        place.engine.advance()

    assert place.engine.calls.parts.fleet() == queries.fleet(place.store, "vmm01")


def test_an_answer_that_cannot_be_written_because_of_a_bug_holds_up_no_other(place):
    start = started(place)
    place.caller.held.add(PartKind.JOBS)
    place.steps(2)
    jobs = next(number for number, one in place.caller.waiting.items() if isinstance(one, Look))
    del place.caller.waiting[jobs]
    place.caller.answer(jobs, CallAnswer(body=object()))
    place.caller.let_go()
    place.caller.held.clear()
    with pytest.raises(TypeError):
        place.engine.advance()
    place.steps()

    assert place.entry(start.move.vm).open_migration.job is not None


class AnswersLate(Held):
    """A caller whose held calls are answered while the next list of jobs is asked for."""

    def begin(self, number, call):
        super().begin(number, call)
        if isinstance(call, Look) and call.kind is PartKind.JOBS:
            self.let_go()


LOSES_RULES = """
format = 1
lies = { lose_acls_live = 1.0 }
host = [{ name = "hv01" }, { name = "hv02" }]
[[vm]]
name = "web01"
host = "hv01"
minutes = 1
[[vm.nic]]
acl = [{ action = "Deny", direction = "Inbound", weight = 1 }]
"""


def test_a_network_is_put_back_once_though_the_answer_comes_during_the_looks(tmp_path):
    place = Place(tmp_path, LOSES_RULES)
    place.engine.close()
    place.caller = AnswersLate(place.port, {PutBack})
    place.engine = Engine(place.store, place.port, place.clock, Settings(), caller=place.caller)
    place.engine.take_over()
    place.steps(30)

    entry = place.entry()
    assert entry.move.state is MoveState.DONE
    assert [a.result for a in entry.of(AttemptKind.RESTORE)] == [Result.OK]
    place.engine.close()
    place.store.close()


def test_the_watchdog_tells_of_a_call_that_hangs_while_it_hangs(place):
    started(place)
    dog = Watchdog(place.store, "vmm01", place.clock)
    soon = dog.says()
    place.clock.jump(place.clock.now() + LONG)

    assert soon == ""
    assert dog.says() == "VMM has not answered a call to start a move since 22:00:00 UTC."


def test_the_watchdog_tells_of_a_step_that_hangs(place):
    dog = Watchdog(place.store, "vmm01", place.clock)
    dog.begin()
    place.clock.jump(place.clock.now() + LONG)
    hangs = dog.says()
    dog.end()

    assert hangs == "The engine's step has not ended since 22:00:00 UTC."
    assert dog.says() == ""
