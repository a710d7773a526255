"""The whole engine: a silent VMM, gaps, commands during planning, jobs to stop."""

from __future__ import annotations

import math

import pytest

from engine.advance.callers import AtOnce
from engine.advance.engine import Engine
from engine.clock import VirtualClock
from engine.commands import verbs
from engine.commands.service import Service
from engine.errors import Overtaken, VmmUnavailable
from engine.language import grammar
from engine.language.grammar import Ask
from engine.model import MoveState, RunState, Wait
from engine.policy import waits
from engine.settings import Settings
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort, open_world
from engine.store import events, queries
from engine.store.pen import writing
from engine.store.store import Store

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [
  { name = "web01", host = "hv01", minutes = 5 },
  { name = "web02", host = "hv01", minutes = 5, backup = [["0s", "3h"]] },
]
"""


class Place:
    """An engine on a simulated fleet in virtual time, and requests of people."""

    def __init__(self, folder) -> None:
        opened = open_world(parse(FLEET), None, speed=math.inf)
        self.world, self.clock = opened.world, VirtualClock(opened.world.now)
        self.store = Store(folder / "vmferry.db", durable=False)
        self.service = Service(self.store, self.clock, Settings())
        self.port = SimPort(self.world, self.clock)
        self.engine = self.new_engine()
        self.engine.look()
        self.service.submit(grammar.parse("host hv01 to hv02"), by="slack:ann")

    def new_engine(self) -> Engine:
        engine = Engine(self.store, self.port, self.clock, Settings())
        engine.take_over()
        return engine

    def ask(self, port: SimPort) -> None:
        """Let the engine ask another port from now on."""
        self.port = port
        self.engine.calls.caller = AtOnce(port)

    def ticks(self, count: int = 1, seconds: float = 5.0) -> None:
        for _ in range(count):
            self.engine.advance()
            self.clock.jump(self.clock.now() + seconds)

    def say(self, text: str, by: str = "slack:ann") -> str:
        command = grammar.parse(text, "terminal")
        assert isinstance(command, Ask)
        return verbs.carry_out_verb(self.service, command, by=by, approvers=None).sentence

    @property
    def record(self):
        return queries.record(self.store, 1)

    def move(self, name: str = "web01"):
        return next(m.move for m in self.record.moves if m.move.vm == name)

    def kinds(self) -> list[str]:
        return [e.kind for e in events.since(self.store)]

    def called(self, name: str) -> int:
        return sum(call["call"] == name for call in self.port.calls)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.engine.close()
    made.store.close()


# --- VMM is silent --------------------------------------------------------------------------------


def test_moves_wait_for_a_silent_vmm_while_migrations_in_flight_continue(place):
    place.ticks(3)
    place.world.down(place.clock.now(), "vmm", 600)
    place.ticks(2)

    assert place.move("web02").wait is Wait.VMM_DOWN
    assert "does not answer" in place.move("web02").wait_text
    assert (place.move().state, place.move().wait) == (MoveState.MOVING, None)


def test_the_backup_limit_is_unchanged_after_a_vmm_outage(place):
    place.ticks(240)
    place.world.down(place.clock.now(), "vmm", 1200)
    place.ticks(242)
    move = place.move("web02")

    assert move.wait is Wait.BACKUP
    assert 1100 <= move.wait_credit <= 1300


def test_a_vmm_outage_of_hours_pauses_no_run(place):
    place.world.down(place.clock.now(), "vmm", 4 * 3600)
    place.ticks(100, 180)

    assert "run.paused" not in place.kinds()
    assert place.record.run.state is not RunState.PAUSED


# --- gaps -----------------------------------------------------------------------------------------


def test_an_engine_that_was_down_for_an_hour_pauses_its_runs_and_reports_changes(place):
    place.ticks(3)
    place.engine.close()
    place.world.create(place.clock.now(), {"name": "new01", "host": "hv01"})
    place.clock.jump(place.clock.now() + 3600)
    place.engine = place.new_engine()
    place.ticks(2)

    assert place.record.run.state is RunState.PAUSED
    assert "for 1 h" in place.record.run.said
    assert "new01 is new" in place.record.run.said
    assert place.move().state is not MoveState.PENDING
    place.say("resume R1")
    place.ticks(80)
    assert place.move("new01").state is MoveState.DONE


def test_a_wait_does_not_expire_at_the_first_observation_after_a_gap(place):
    place.ticks(3)
    before = place.move("web02")
    place.engine.close()
    place.clock.jump(place.clock.now() + 1700)
    place.engine = place.new_engine()
    place.ticks(1)
    move = place.move("web02")

    assert (before.wait, move.wait) == (Wait.BACKUP, Wait.BACKUP)
    assert move.wait_credit == pytest.approx(-1700, abs=30)


# --- people act while it plans --------------------------------------------------------------------


@pytest.mark.parametrize("word", ["pause R1", "skip R1 web01", "stop R1", "set R1 parallel 1"])
def test_a_plan_made_before_a_command_is_not_written(word, place):
    planned_on = place.record
    place.say(word)

    with pytest.raises(Overtaken), writing(place.store, place.clock.now()) as pen:
        pen.expect([planned_on])


def test_a_plan_is_written_if_no_command_intervened(place):
    with writing(place.store, place.clock.now()) as pen:
        pen.expect([place.record])


class Interrupted(SimPort):
    """A world in which a person types while VMM is asked for our rights."""

    speak = staticmethod(lambda: None)

    def rights(self, host):
        self.speak()
        return super().rights(host)


def test_a_pause_during_a_step_takes_effect_in_the_next_step(place):
    port = Interrupted(place.world, place.clock)
    place.ask(port)
    port.speak = lambda: (setattr(port, "speak", lambda: None), place.say("pause R1"))
    place.ticks(4)

    assert place.record.run.state is RunState.PAUSED
    assert place.move().wait is Wait.PAUSED
    assert "start_move" not in [call["call"] for call in port.calls]


# --- abort ----------------------------------------------------------------------------------------


def test_abort_stops_the_job_once_and_the_vm_ends_as_stopped(place):
    place.ticks(4)
    assert place.move().state is MoveState.MOVING
    said = place.say("abort R1 yes")
    place.ticks(30)  # after a canceled job the hosts may go on: they are heard twice

    assert said == "R1 is aborted. VMM is asked to cancel the migration of web01."
    assert place.called("stop") == 1
    assert (place.move().state, place.move().outcome) == (MoveState.SKIPPED, "STOPPED")
    assert place.record.run.state is RunState.STOPPED


def test_a_job_that_does_not_stop_is_stopped_again_after_a_pass(place):
    class Deaf(SimPort):
        def stop(self, job_id, not_after):
            self.calls.append({"call": "stop"})
            raise VmmUnavailable("no answer")

    place.ticks(4)
    place.ask(Deaf(place.world, place.clock))
    place.say("abort R1 yes")
    place.ticks(14)

    assert [call["call"] for call in place.port.calls].count("stop") == 2
    assert "attempt.stopping" in place.kinds()


# --- rights ---------------------------------------------------------------------------------------


def test_rights_are_checked_once_per_host_and_run_before_the_first_start(place):
    place.ticks(4)
    calls = [call["call"] for call in place.port.calls]

    assert calls.count("rights") == 2
    assert max(i for i, c in enumerate(calls) if c == "rights") < calls.index("start_move")


def test_a_reopened_run_checks_the_rights_again(place):
    place.ticks(4)
    place.say("stop R1")
    place.ticks(70)
    assert place.record.run.state is RunState.STOPPED
    place.say("retry R1 web02")
    place.ticks(2)

    assert place.called("rights") == 4


def test_a_wait_of_a_move_in_flight_ends_with_its_reason(place):
    place.ticks(4)
    with writing(place.store, place.clock.now()) as pen:
        pen.moves.hold(place.move(), Wait.HOST_DOWN, "hv02 does not answer")
    place.ticks(1)

    assert place.move().state is MoveState.MOVING
    assert (place.move().wait, place.move().wait_since, place.move().wait_text) == (None, None, "")


def test_the_limit_of_a_wait_starts_again_after_a_pause(place):
    place.ticks(1)
    place.say("pause R1")
    with writing(place.store, place.clock.now()) as pen:
        pen.moves.hold(place.move("web02"), Wait.HOST_DOWN, "hv01 does not answer")
    place.clock.jump(place.clock.now() + 7200)
    place.say("resume R1")

    assert waits.waited(place.move("web02"), Wait.HOST_DOWN, place.clock.now()) == 0


def test_a_retry_in_an_active_run_sees_rights_granted_since(place, monkeypatch):
    why = "Access is denied"
    monkeypatch.setattr(place.port, "rights", lambda host: why or None)
    place.ticks(1)
    assert place.move().outcome == "BLOCKED"
    assert not place.record.run.over

    why = ""
    place.say("retry R1 web01")
    place.ticks(4)
    assert place.move().state is MoveState.MOVING


def test_time_without_an_answer_from_vmm_counts_against_no_limit(place, monkeypatch):
    place.ticks(1)
    with writing(place.store, place.clock.now()) as pen:
        pen.moves.hold(place.move("web02"), Wait.MISSING, "not found on any host")
    place.ticks(12)
    seen = waits.waited(place.move("web02"), place.move("web02").wait, place.clock.now() - 5)

    def slow(_):
        place.clock.jump(place.clock.now() + 1200)
        raise VmmUnavailable("no answer for 20 min")

    monkeypatch.setattr(place.port, "jobs", slow)
    place.engine.advance()
    kept = place.move("web02").wait_kept
    assert place.move("web02").wait is Wait.VMM_DOWN
    assert kept is not None
    assert waits.waited(place.move("web02"), kept, place.clock.now()) == seen
