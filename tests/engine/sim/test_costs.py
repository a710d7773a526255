"""Costs of calls in the simulated world, and servers that are slow or never answer."""

from __future__ import annotations

import math

import pytest

from engine.errors import Refused, VmmUnavailable
from engine.model import Expected, Repair, Reread
from engine.sim.costs import VMM, Costs
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort
from engine.sim.world import World
from tests.engine.sim.test_world import HV1, HV2, Room

REAL = '[costs]\nlike = "vmm"\n'
CALLS = (
    "jobs", "pulse", "shown", "known", "site", "ports", "models", "rights", "start_move",
    "reread", "put_ports", "put_models", "clear", "stop",
)  # fmt: skip


def connected(more: str = REAL) -> Room:
    """A room whose caller has already reached VMM."""
    room = Room(more=more)
    room.port.jobs()
    return room


# --- the fleet file ----------------------------------------------------------------------


def test_calls_cost_nothing_unless_the_fleet_file_says_so() -> None:
    room = Room()
    assert [room.port.seconds(call, [HV1], ["a", "b", "c"]) for call in CALLS] == [0.0] * len(CALLS)


def test_the_file_takes_the_costs_of_a_real_vmm_and_replaces_single_ones() -> None:
    file = parse(f'{REAL}pulse = 9.5\n[[host]]\nname = "hv01"')
    assert file.costs == Costs(**{**VMM, "like": "vmm", "pulse": 9.5})
    assert parse('[[host]]\nname = "hv01"\n[costs]\npulse = 3').costs == Costs(pulse=3)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('like = "hyperv"', 'costs.like cannot be "hyperv"'),
        ("pulse = -1", "costs.pulse must not be negative"),
        ("pulses = 1", "costs.pulses is not a known key"),
    ],
)
def test_an_invalid_cost_is_refused_with_its_place(line: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        parse(f'[[host]]\nname = "hv01"\n[costs]\n{line}')


# --- seconds of a call -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "vms", "seconds"),
    [
        ("jobs", 0, 0.5),
        ("jobs", 2, 1.1),
        ("pulse", 9, 1.0),
        ("shown", 0, 1.08),
        ("known", 0, 0.58),
        ("site", 0, 1.15),
        ("ports", 2, 1.1),
        ("models", 2, 0.6),
        ("rights", 0, 1.0),
        ("start_move", 0, 8.0),
        ("reread", 0, 2.0),
        ("put_ports", 0, 2.0),
        ("put_models", 0, 2.0),
        ("clear", 0, 2.0),
        ("stop", 0, 2.0),
    ],
)
def test_a_call_costs_a_part_for_itself_and_one_for_each_vm(
    call: str, vms: int, seconds: float
) -> None:
    assert connected().port.seconds(call, [HV1], [f"id-{n}" for n in range(vms)]) == pytest.approx(
        seconds
    )


def test_the_vms_of_a_host_are_counted_where_hyper_v_or_vmm_has_them() -> None:
    room = connected()
    assert [room.port.seconds(call, [HV2]) for call in ("shown", "known")] == [1.0, 0.5]


@pytest.mark.parametrize("ends", ["restart", "down"])
def test_the_first_call_to_vmm_connects_and_so_does_the_first_after_an_outage(ends: str) -> None:
    room = Room(more=REAL)
    assert room.port.seconds("pulse", [HV1]) == 1.0
    room.port.pulse(HV1)
    assert room.port.seconds("jobs") == 10.5
    room.port.jobs()
    assert room.port.seconds("jobs") == 0.5
    if ends == "restart":
        room.world.restart(room.now, 5)
    else:
        room.world.down(room.now, "vmm", 5)
    assert room.port.seconds("jobs") == 10.5
    with pytest.raises(VmmUnavailable):
        room.port.jobs()
    assert room.port.seconds("jobs") == 10.5


def test_a_new_caller_connects_anew() -> None:
    room = connected()
    assert SimPort(room.world, room.clock).seconds("jobs") == 10.5


@pytest.mark.parametrize("what", list(Reread))
def test_the_job_of_a_re_read_takes_its_own_time(what: Reread) -> None:
    room = connected()
    name = room.id("web01") if what is Reread.VM else HV1
    room.port.reread(what, name, room.now)
    (job,) = room.world.state.rereads
    assert job.ends == pytest.approx(room.now + {"vms": 8.2, "vm": 4, "host": 8}[what])


# --- slow servers ------------------------------------------------------------------------


def test_a_slow_host_is_slow_for_a_while_and_others_are_not() -> None:
    room = connected()
    room.world.slow(room.now, "hv01", 4, 60)
    found = [room.port.seconds(*one) for one in (("pulse", [HV1]), ("pulse", [HV2]), ("jobs",))]
    assert found == [4.0, 1.0, 0.5]
    assert room.world.next_change(room.now) == room.now + 60
    room.at(60)
    assert room.port.seconds("pulse", [HV1]) == 1.0


def test_a_slow_vmm_is_slow_about_every_host() -> None:
    room = connected()
    room.world.slow(room.now, "vmm01", 4, 60)
    room.world.slow(room.now, "vmm", 2, 60)
    assert [room.port.seconds("clear", [HV1]), room.port.seconds("pulse", [HV1])] == [16.0, 1.0]


def test_a_slow_host_makes_its_re_reads_slow() -> None:
    room = connected()
    room.world.slow(room.now, "hv01", 4, 60)
    for host in (HV1, HV2):
        room.port.reread(Reread.HOST, host, room.now)
    assert [job.ends for job in room.world.state.rereads] == [room.now + 32, room.now + 8]


# --- servers that never answer -----------------------------------------------------------


def answers(room: Room, host: str = HV1) -> set[str]:
    """The calls that are answered; each call that is not takes for ever."""
    port, vm, late = room.port, room.id("web01"), room.now + 60
    expected, repair = Expected(host, late), Repair(host)
    acts = {
        "jobs": port.jobs,
        "pulse": lambda: port.pulse(host),
        "shown": lambda: port.shown(host),
        "known": lambda: port.known(host),
        "site": port.site,
        "ports": lambda: port.ports(host, ()),
        "models": lambda: port.models(()),
        "rights": lambda: port.rights(host),
        "reread": lambda: port.reread(Reread.HOST, host, late),
        "put_ports": lambda: port.put_ports(vm, repair, expected),
        "put_models": lambda: port.put_models(vm, repair, expected),
        "clear": lambda: port.clear(vm, expected),
        "stop": lambda: port.stop("nothing", late),
        "start_move": lambda: room.start(),
    }
    found = set()
    for call, act in acts.items():
        at = HV2 if call == "start_move" else host
        is_endless = math.isinf(port.seconds(call, [at], ["a"]))
        try:
            act()
        except VmmUnavailable:
            assert is_endless, call
        else:
            assert not is_endless, call
            found.add(call)
    return found


AT_HOST = {"pulse", "shown", "ports", "rights", "put_ports"}


def test_a_host_that_hangs_answers_none_of_its_calls_for_a_while() -> None:
    room = connected("")
    room.world.hang(room.now, "hv01", seconds=60)
    assert answers(room) == set(CALLS) - AT_HOST
    room.at(60)
    assert math.isfinite(room.port.seconds("pulse", [HV1]))
    room.port.pulse(HV1)


def test_a_vmm_that_hangs_answers_none_of_its_calls_for_ever() -> None:
    room = connected("")
    room.world.hang(room.now, "vmm")
    assert answers(room) == AT_HOST
    assert room.kinds() == []
    room.at(1e6)
    assert math.isinf(room.port.seconds("jobs"))
    assert World.from_json(room.world.to_json()).seconds("jobs") == math.inf


@pytest.mark.parametrize("call", ["pulse", "put_ports", "known", "clear", "start_move"])
def test_a_single_call_hangs_at_or_about_one_host(call: str) -> None:
    room = connected("")
    room.world.hang(room.now, "hv02" if call == "start_move" else "hv01", call)
    assert answers(room) == set(CALLS) - {call}
    assert call == "start_move" or math.isfinite(room.port.seconds(call, [HV2]))


def test_a_single_call_to_vmm_hangs() -> None:
    room = connected("")
    room.world.hang(room.now, "vmm", "site")
    assert answers(room) == set(CALLS) - {"site"}


def test_a_call_that_hangs_has_no_effect() -> None:
    room = connected("")
    room.world.hang(room.now, "vmm")
    with pytest.raises(VmmUnavailable):
        room.start()
    with pytest.raises(VmmUnavailable):
        room.port.reread(Reread.HOST, HV1, room.now)
    assert (room.world.state.open, room.world.state.rereads) == ([], [])
