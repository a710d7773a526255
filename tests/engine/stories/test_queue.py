"""Calls in virtual time take what the simulated world charges."""

from __future__ import annotations

import math

import pytest

from engine.advance.open_calls import limits_of
from engine.clock import VirtualClock
from engine.errors import VmmUnavailable
from engine.model import Look, Move, MoveOrder, PartKind
from engine.policy.steps import Start
from engine.settings import Settings
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort, open_world
from engine.stories.queue import Queue

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [{ name = "web01", host = "hv01", minutes = 5 }]
"""
SHOWN = Look(PartKind.SHOWN, "hv01")


class Place:
    def __init__(self, costs: str) -> None:
        opened = open_world(parse(FLEET + costs), None, speed=math.inf)
        self.world, self.clock = opened.world, VirtualClock(opened.world.now)
        self.began = self.clock.now()
        port = SimPort(self.world, self.clock)
        self.queue = Queue(port, self.clock, limits_of(Settings()))
        self.port = port

    def start(self) -> Start:
        vm = next(iter(self.world.state.vms))
        order = MoveOrder(vm, "hv01", "hv02", None, "running", None, self.began + 600)
        return Start(Move(1, 1, vm, "web01", "hv01"), order)

    def answers(self, seconds: float) -> list[tuple[float, object]]:
        """Let time pass, and return each answer with the seconds at which it came."""
        found = []
        while self.clock.now() < self.began + seconds:
            self.queue.go_on(self.began + seconds)
            at = self.clock.now() - self.began
            found += [(at, answer) for _, answer in self.queue.ended()]
        return found


def test_a_call_without_a_cost_is_answered_at_once():
    place = Place("")
    place.queue.begin(1, SHOWN)

    [(number, answer)] = place.queue.ended()
    assert (number, answer.body.host, place.queue.next_event()) == (1, "hv01", None)


def test_a_look_shows_what_there_was_when_it_began_and_comes_after_its_time():
    place = Place("[costs]\nshown = 4.0\n")
    place.queue.begin(1, SHOWN)
    place.world.power(place.began, "web01", "PowerOff")
    [(at, answer)] = place.answers(60)

    assert at == 4.0
    assert [vm.state.value for vm in answer.body.vms] == ["Running"]


def test_a_change_happens_in_the_middle_of_its_time():
    place = Place("[costs]\nstart = 8.0\n")
    place.queue.begin(1, place.start())
    [(at, answer)] = place.answers(60)
    [call] = [one for one in place.port.calls if one["call"] == "start_move"]

    assert at == 8.0
    assert answer.job is not None
    assert call["t"] == place.began + 4


def test_a_call_that_takes_longer_than_its_limit_happens_and_has_no_answer():
    place = Place("[costs]\nstart = 200.0\n")
    place.queue.begin(1, place.start())
    [(at, answer)] = place.answers(400)

    assert at == 125.0
    assert isinstance(answer.error, VmmUnavailable)
    assert answer.error.happened is None
    assert len([one for one in place.port.calls if one["call"] == "start_move"]) == 1


def test_a_look_that_takes_longer_than_its_limit_says_how_long_it_was_waited_for():
    place = Place("[costs]\nshown = 200.0\n")
    place.queue.begin(1, SHOWN)
    [(at, answer)] = place.answers(400)

    assert at == 65.0
    assert str(answer.error) == "There was no answer within 65 s"


@pytest.mark.parametrize("end", ["hv01", "hv02"])
def test_a_start_hangs_whichever_of_its_hosts_hangs(end):
    place = Place("")
    place.world.hang(place.began, end, call="start_move")
    place.queue.begin(1, place.start())
    [(at, answer)] = place.answers(400)

    assert at == 125.0
    assert isinstance(answer.error, VmmUnavailable)


@pytest.mark.parametrize("call", [None, "shown"])
def test_a_call_that_hangs_never_happens_and_has_no_answer_at_its_limit(call):
    place = Place("")
    place.world.hang(place.began, "hv01", call=call)
    place.queue.begin(1, SHOWN)
    [(at, answer)] = place.answers(400)

    assert at == 65.0
    assert isinstance(answer.error, VmmUnavailable)
    assert place.port.calls == []


def test_waiting_lets_all_calls_end_but_not_longer_than_asked():
    place = Place("[costs]\nshown = 4.0\n")
    place.queue.begin(1, SHOWN)
    place.queue.begin(2, Look(PartKind.SHOWN, "hv02"))
    place.queue.wait(3)
    early = place.queue.ended()
    place.queue.wait(3)

    assert early == []
    assert [number for number, _ in place.queue.ended()] == [1, 2]
