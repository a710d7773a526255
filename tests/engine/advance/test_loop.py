"""The loop and its timer: requests wake it, and it survives bugs and a dead scheduler."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

import pytest

from engine.advance.engine import Engine
from engine.advance.loop import Bell, Loop
from engine.clock import SystemClock, VirtualClock
from engine.commands.service import Service
from engine.errors import Fenced, StoreConflict, StoreUnwritable, VmmError, VmmUnavailable
from engine.language import grammar
from engine.settings import EngineSettings, Settings
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort, open_world
from engine.store import queries
from engine.store.leases import Advancing
from engine.store.store import Store
from tests.hangs import HANGS

FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[vm]]
name = "web01"
host = "hv01"
"""


class Moody(SimPort):
    """A simulated world that raises each of these errors once."""

    moods: list[Exception]

    def jobs(self, ids=()):
        self._give_way(VmmError)
        return super().jobs(ids)

    def rights(self, host):
        self._give_way(Exception)
        return super().rights(host)

    def _give_way(self, kind: type[Exception]) -> None:
        if self.moods and isinstance(self.moods[0], kind):
            raise self.moods.pop(0)


class House:
    """An engine on a simulated fleet, the service in front of it, and the loop between them."""

    def __init__(self, folder, clock=None, tick: float = 5.0) -> None:
        opened = open_world(parse(FLEET), None, speed=math.inf)
        self.clock = clock or VirtualClock(opened.world.now)
        self.store = Store(folder / "vmferry.db", durable=False)
        settings = Settings(engine=EngineSettings(tick=tick))
        self.service = Service(self.store, self.clock, settings)
        self.port = Moody(opened.world, self.clock)
        self.port.moods = []
        self.engine = Engine(self.store, self.port, self.clock, settings)
        self.engine.take_over()
        self.engine.look()
        self.loop = Loop(self.engine, self.clock, self.service.wake, tick)

    def ask(self) -> None:
        self.service.submit(grammar.parse("host hv01 to hv02"), by="slack:ann")

    def run_until(self, is_over: Callable[[], bool]) -> None:
        self.loop.run(is_over, threading.Event())


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.engine.close()
    made.store.close()


def after(rounds: int) -> Callable[[], bool]:
    """Return a function that is false this many times and then true."""
    left = [rounds]

    def over() -> bool:
        left[0] -= 1
        return left[0] < 0

    return over


def died(bell: Bell) -> None:
    """Let APScheduler's thread end with an error while its scheduler reports that it runs."""
    scheduler = bell._scheduler
    assert scheduler is not None
    thread = scheduler._thread

    def fail() -> None:
        raise RuntimeError("a defect of the library")

    scheduler._process_jobs = fail
    scheduler.wakeup()
    thread.join(HANGS)
    assert not thread.is_alive()
    assert scheduler.running


# --- the loop ------------------------------------------------------------------------------


def test_the_loop_advances_until_all_runs_have_ended(house):
    house.ask()
    house.run_until(lambda: queries.run(house.store, 1).over)

    assert queries.run(house.store, 1).state == "completed"
    assert house.loop.health == ""
    assert not house.loop.bell.is_alive()


def test_the_loop_ends_on_stop(house):
    stop = threading.Event()
    stop.set()
    house.loop.run(lambda: False, stop)

    assert house.loop.last is None
    assert not house.loop.bell.is_alive()


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError("a bug"), StoreConflict("a row that the tables forbid: a bug, too")]
)
def test_a_step_that_raises_sets_health_and_the_loop_continues(house, caplog, bug):
    house.ask()
    house.port.moods = [bug]
    healths = []

    def over() -> bool:
        healths.append(house.loop.health)
        return queries.run(house.store, 1).over

    with caplog.at_level(logging.ERROR):
        house.run_until(over)

    assert "A step of the engine failed" in healths[1]
    assert healths[2] == ""
    assert queries.run(house.store, 1).state == "completed"
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [type(bug)]


def test_a_silent_vmm_is_reported_and_retried(house):
    house.ask()
    house.clock.jump(house.clock.now() + 5)
    house.port.moods = [VmmUnavailable("connection reset")]
    house.loop.step()
    red = house.loop.health
    house.clock.jump(house.clock.now() + 15)
    house.loop.step()

    assert red == "VMM does not answer: connection reset"
    assert house.loop.health == ""
    assert queries.record(house.store, 1).moves[0].attempts != ()


def test_a_full_disk_stops_the_engine_and_is_reported_in_health(house, caplog):
    house.ask()
    db = house.store.database()
    (pages,) = db.query("PRAGMA page_count")
    db.execute(f"PRAGMA max_page_count = {pages['page_count']}")
    with pytest.raises(StoreUnwritable):
        while True:
            house.service.note(1, "one more line for a full disk")
    house.loop.step()
    red = house.loop.health
    db.execute("PRAGMA max_page_count = 1000000")
    house.loop.step()

    assert "disk is full" in red
    assert "Traceback" not in caplog.text
    assert house.loop.health == ""


def test_a_replaced_engine_stops_and_starts_nothing(house):
    house.ask()
    house.engine.close()
    other = Advancing(house.store)
    other.acquire("vmm01", house.clock.now())

    with pytest.raises(Fenced):
        house.run_until(after(3))
    assert not house.loop.bell.is_alive()
    assert queries.record(house.store, 1).moves[0].attempts == ()
    other.release()


# --- the bell ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_scheduler_thread_is_replaced_and_logged(house, caplog):
    rounds = after(4)
    seen = []

    def over() -> bool:
        seen.append((house.loop.restarts, house.loop.bell.is_alive()))
        if len(seen) == 2:
            died(house.loop.bell)
        return rounds()

    with caplog.at_level(logging.ERROR):
        house.run_until(over)

    assert seen == [(0, True), (0, True), (1, True), (1, True), (1, True)]
    assert [r.message for r in caplog.records] == ["The scheduler thread died. Starting a new one."]


def test_the_bell_rings_repeatedly():
    rang = threading.Event()
    bell = Bell(0.05, rang)
    bell.start()
    try:
        assert rang.wait(HANGS)
        rang.clear()
        assert rang.wait(HANGS)
    finally:
        bell.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bell_that_died_can_be_started_again():
    rang = threading.Event()
    bell = Bell(0.05, rang)
    bell.start()
    died(bell)
    assert not bell.is_alive()
    bell.stop()
    bell.start()
    try:
        rang.clear()
        assert rang.wait(HANGS)
    finally:
        bell.stop()


def test_a_bell_starts_once_and_may_be_stopped_repeatedly():
    bell = Bell(60.0, threading.Event())
    bell.start()
    thread = bell._scheduler._thread
    bell.start()
    assert bell._scheduler._thread is thread
    bell.stop()
    bell.stop()

    assert not bell.is_alive()
    assert not thread.is_alive()


# --- woken by people -----------------------------------------------------------------------


def test_a_request_wakes_the_loop_before_the_next_tick(tmp_path):
    """The next tick is ten minutes away, so the test would time out if the loop waited for it."""
    house = House(tmp_path, SystemClock(), tick=600.0)
    stepped, stop = threading.Semaphore(0), threading.Event()
    step = house.loop.step

    def step_and_tell() -> None:
        step()
        stepped.release()

    house.loop.step = step_and_tell
    thread = threading.Thread(target=house.loop.run, args=(lambda: False, stop))
    thread.start()
    try:
        assert stepped.acquire(timeout=HANGS)
        house.ask()
        assert stepped.acquire(timeout=HANGS)
        assert queries.record(house.store, 1).moves[0].attempts != ()
    finally:
        stop.set()
        house.service.wake.set()
        thread.join(HANGS)
        house.engine.close()
        house.store.close()
    assert not thread.is_alive()


def test_the_loop_advances_every_three_ticks_without_a_bell(house):
    """Virtual time passes only during waits: three rounds are three times three ticks."""
    before = house.clock.now()
    house.run_until(after(3))

    assert house.clock.now() == before + 3 * 3 * 5.0
