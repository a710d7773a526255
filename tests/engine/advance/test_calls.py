"""Calls of a plan: one call per host at a time, answers in step order, errors as answers.

The port is real, but its world is a room: calls enter, are counted per host, and leave when the
test lets them go.
"""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from engine.advance.calls import CallAnswer, in_order, make, make_all
from engine.errors import VmmBusy, VmmError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import Move, MoveOrder, Network, Repair
from engine.policy.steps import (
    Dismiss,
    PutBack,
    ReadNetworks,
    RefreshVm,
    SaveBaselines,
    Start,
)
from tests.hangs import HANGS


def move(name: str) -> Move:
    return Move(1, 1, f"id-{name}", name, "hv01")


def start(name: str, source: str = "hv01", destination: str = "hv02") -> Start:
    order = MoveOrder(f"id-{name}", source, destination, None, "running", None, 60.0)
    return Start(move(name), order)


def dismiss(name: str, host: str = "hv01") -> Dismiss:
    return Dismiss(move(name), host)


class Room:
    """A port whose calls wait inside until ``crowd`` of them are there at once (or have been).

    ``overlaps`` are the hosts with two calls inside at the same time, ``most`` is the largest
    number inside at once, and ``order`` the order of entry.
    """

    def __init__(self, crowd: int = 1, hosts: dict[str, tuple[str, ...]] | None = None) -> None:
        self.crowd = crowd
        self.hosts = hosts or {}
        self.inside: Counter[str] = Counter()
        self.overlaps: set[str] = set()
        self.order: list[str] = []
        self.most = 0
        self.here = 0
        self.errors: dict[str, Exception] = {}
        self.threads: set[str] = set()
        self._door = threading.Condition()

    def _visit(self, vm_id: str, hosts: tuple[str, ...]) -> None:
        with self._door:
            self.order.append(vm_id)
            self.threads.add(threading.current_thread().name)
            for host in {h.casefold() for h in hosts}:
                self.inside[host] += 1
                if self.inside[host] > 1:
                    self.overlaps.add(host)
            self.here += 1
            self.most = max(self.most, self.here)
            self._door.notify_all()
            assert self._door.wait_for(lambda: self.most >= self.crowd, HANGS)
            for host in {h.casefold() for h in hosts}:
                self.inside[host] -= 1
            self.here -= 1
        error = self.errors.get(vm_id)
        if error is not None:
            raise error

    def networks(self, host, vm_ids):
        self._visit("networks", (host,))
        return {vm_id: Network() for vm_id in vm_ids}

    def start_move(self, order):
        self._visit(order.vm_id, (order.source, order.destination))
        return f"job of {order.vm_id}"

    def repair_network(self, vm_id, repair):
        self._visit(vm_id, (repair.host,))

    def dismiss(self, vm_id):
        self._visit(vm_id, self.hosts[vm_id])

    def refresh(self, vm_id):
        self._visit(vm_id, self.hosts[vm_id])


# --- lanes ---------------------------------------------------------------------------------


def test_two_calls_for_one_host_never_overlap():
    """Although a lane is free, the second call for hv01 waits, and the one for hv03 goes first."""
    room = Room(crowd=2)
    calls = [start("a"), start("b", "HV01", "hv04"), start("c", "hv03", "hv05")]
    answers = make_all(calls, room, lanes=2)

    assert room.overlaps == set()
    assert room.most == 2
    assert set(room.order[:2]) == {"id-a", "id-c"}
    assert [a.job for a in answers] == ["job of id-a", "job of id-b", "job of id-c"]


def test_a_call_occupies_its_source_and_its_destination():
    room = Room(crowd=2)
    calls = [start("a", "hv01", "hv02"), start("b", "hv02", "hv03"), start("c", "hv04", "hv05")]
    make_all(calls, room, lanes=2)

    assert room.overlaps == set()
    assert set(room.order[:2]) == {"id-a", "id-c"}


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(SaveBaselines("hv01", (move("a"),)), id="reading to save"),
        pytest.param(ReadNetworks("hv01", (move("a"),)), id="reading to compare"),
        pytest.param(PutBack(move("a"), Repair("hv01"), ()), id="putting back"),
        pytest.param(dismiss("a"), id="dismissing"),
        pytest.param(RefreshVm(move("a"), "hv01"), id="refreshing"),
    ],
)
def test_no_kind_of_call_shares_its_host_with_another_call(first):
    room = Room(crowd=2, hosts={"id-a": ("hv01",)})
    make_all([first, start("b"), start("c", "hv03", "hv04")], room, lanes=2)

    assert room.overlaps == set()
    assert "id-b" not in room.order[:2]


def test_calls_run_in_parallel_up_to_the_number_of_lanes():
    room = Room(crowd=3)
    calls = [start(f"vm{n}", f"a{n}", f"b{n}") for n in range(9)]
    make_all(calls, room, lanes=3)

    assert room.most == 3
    assert len(room.order) == 9


@pytest.mark.parametrize("seed", range(8))
def test_random_calls_never_overlap_on_a_host_and_are_each_made_once(seed):
    chance = random.Random(seed)
    hosts = [f"hv{n:02}" for n in range(6)]
    calls = [start(f"vm{n}", *chance.sample(hosts, 2)) for n in range(40)]
    room = Room()
    answers = make_all(calls, room, lanes=4)

    assert room.overlaps == set()
    assert sorted(room.order) == sorted(f"id-vm{n}" for n in range(40))
    assert [a.job for a in answers] == [f"job of id-vm{n}" for n in range(40)]


def test_one_lane_makes_every_call_in_order_on_the_calling_thread():
    room = Room()
    calls = [start(f"vm{n}") for n in range(5)]
    make_all(calls, room, lanes=1)

    assert room.order == [f"id-vm{n}" for n in range(5)]
    assert room.threads == {threading.current_thread().name}


def test_an_empty_list_of_calls_returns_no_answers():
    assert make_all([], Room(), lanes=1) == make_all([], Room(), lanes=4) == []


# --- answers -------------------------------------------------------------------------------


def test_answers_keep_the_order_of_their_steps():
    """The first call returns last: it waits until all others have been made."""
    first_may_leave = threading.Event()

    class Slow(Room):
        def start_move(self, order):
            if order.vm_id == "id-a":
                assert first_may_leave.wait(HANGS)
            elif order.vm_id == "id-c":
                first_may_leave.set()
            return f"job of {order.vm_id}"

    calls = [start("a", "h1", "h2"), start("b", "h3", "h4"), start("c", "h5", "h6")]

    assert [a.job for a in make_all(calls, Slow(), lanes=3)] == [
        "job of id-a",
        "job of id-b",
        "job of id-c",
    ]


@pytest.mark.parametrize(
    "error",
    [
        VmmUnavailable("no answer"),
        VmmLocked("locked", code="2606"),
        VmmBusy("no slot"),
        VmmStale("another world"),
        VmmRefused("no"),
    ],
)
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_port_error_is_returned_as_an_answer_and_other_calls_continue(error, lanes):
    room = Room()
    room.errors["id-b"] = error
    calls = [start("a", "h1", "h2"), start("b", "h3", "h4"), start("c", "h5", "h6")]
    answers = make_all(calls, room, lanes)

    assert [a.error for a in answers] == [None, error, None]
    assert [a.job for a in answers] == ["job of id-a", None, "job of id-c"]


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_unexpected_exception_is_raised_instead_of_returned_as_an_answer(lanes):
    room = Room()
    room.errors["id-a"] = KeyError("a bug")

    with pytest.raises(KeyError):
        make_all([start("a", "h1", "h2"), start("b", "h3", "h4")], room, lanes)


def test_each_kind_of_call_calls_its_own_method_of_the_port():
    asked = []

    class Listening(Room):
        def networks(self, host, vm_ids):
            asked.append(("networks", host, tuple(vm_ids)))
            return {vm_ids[0]: Network()}

        def start_move(self, order):
            asked.append(("start_move", order))

        def repair_network(self, vm_id, repair):
            asked.append(("repair_network", vm_id, repair))

        def dismiss(self, vm_id):
            asked.append(("dismiss", vm_id))

        def refresh(self, vm_id):
            asked.append(("refresh", vm_id))

    a, b = move("a"), move("b")
    order = MoveOrder("id-a", "hv01", "hv02", r"E:\VMs", "down", Network(), 60.0)
    cold = Start(a, order)
    put_back = PutBack(a, Repair("hv02"), ())
    calls = [SaveBaselines("hv01", (a, b)), ReadNetworks("hv02", (b,)), cold, put_back]
    calls += [dismiss("a"), RefreshVm(b, "hv01")]
    answers = [make(call, Listening()) for call in calls]

    assert asked == [
        ("networks", "hv01", ("id-a", "id-b")),
        ("networks", "hv02", ("id-b",)),
        ("start_move", order),
        ("repair_network", "id-a", Repair("hv02")),
        ("dismiss", "id-a"),
        ("refresh", "id-b"),
    ]
    assert (
        answers
        == [CallAnswer(networks={"id-a": Network()}), CallAnswer(networks={"id-b": Network()})]
        + [CallAnswer()] * 4
    )


def test_networks_are_restored_before_new_moves_are_started():
    put_back = PutBack(move("z"), Repair("hv02"), ())
    read = ReadNetworks("hv02", (move("y"),))
    save = SaveBaselines("hv01", (move("x"),))
    calls = [
        start("a"),
        start("b"),
        save,
        RefreshVm(move("c"), "hv01"),
        dismiss("d"),
        read,
        put_back,
    ]

    assert [type(call).__name__ for call in in_order(calls)] == [
        "PutBack",
        "ReadNetworks",
        "Dismiss",
        "RefreshVm",
        "SaveBaselines",
        "Start",
        "Start",
    ]
    assert in_order(calls)[-2:] == [start("a"), start("b")]


def test_the_world_raises_only_port_errors():
    """A subclass that is added later is an answer as well."""

    class Newer(VmmError):
        pass

    room = Room()
    room.errors["id-a"] = Newer("?")

    assert isinstance(make(start("a"), room).error, Newer)
