"""Calls of a plan: one change per host at a time, errors as answers, and who makes the calls."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest

from engine.advance.callers import AtOnce, Threads
from engine.advance.calls import CallAnswer, Caps, Lanes, in_order, make
from engine.errors import VmmBusy, VmmError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import (
    Acl,
    AdapterRepair,
    CallKind,
    Expected,
    Look,
    Move,
    MoveOrder,
    Network,
    OpenCall,
    PartKind,
    Repair,
    Reread,
)
from engine.policy.steps import (
    CheckRights,
    Dismiss,
    PutModels,
    PutPorts,
    ReadModels,
    ReadPorts,
    RefreshVm,
    SaveBaselines,
    Start,
    StopJob,
    hosts_of,
    moves_of,
)
from tests.hangs import HANGS


def move(name: str) -> Move:
    return Move(int.from_bytes(name.encode()), 1, f"id-{name}", name, "hv01")


def start(name: str, source: str = "hv01", destination: str = "hv02") -> Start:
    order = MoveOrder(f"id-{name}", source, destination, None, "running", None, 60.0)
    return Start(move(name), order)


def dismiss(name: str, host: str = "hv01") -> Dismiss:
    return Dismiss(move(name), host)


class Room:
    """A port that notes who enters, and in which thread. ``errors`` are raised by VM id."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.threads: set[str] = set()

    def start_move(self, order):
        self.threads.add(threading.current_thread().name)
        if order.vm_id in self.errors:
            raise self.errors[order.vm_id]
        return f"job of {order.vm_id}"


# --- lanes ---------------------------------------------------------------------------------


def under_way(kind: CallKind, *hosts: str, moves: tuple[int, ...] = (9,)) -> OpenCall:
    return OpenCall(1, kind, hosts, moves, (), 1, 0.0, 60.0)


def caps(calls: int, **most: int) -> Caps:
    return Caps(calls, **{"inventory": 2, "rereads": 4, **most})


def admitted(calls, *open_calls: OpenCall, at_most: int = 8) -> list[str]:
    """Names of the VMs whose calls may begin."""
    lanes = Lanes(open_calls, caps(at_most))
    begun = [call for one in calls if (call := lanes.admit(one)) is not None]
    return [m.vm for call in begun for m in moves_of(call)]


def test_two_changing_calls_for_one_host_never_overlap():
    calls = [start("a"), start("b", "HV01", "hv04"), start("c", "hv03", "hv05")]

    assert admitted(calls) == ["a", "c"]
    assert admitted(calls[1:], under_way(CallKind.START, "hv01", "hv02")) == ["c"]


def test_a_start_occupies_its_source_and_its_destination():
    calls = [start("a", "hv01", "hv02"), start("b", "hv02", "hv03"), start("c", "hv04", "hv05")]

    assert admitted(calls) == ["a", "c"]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(CallKind.RESTORE, id="putting back"),
        pytest.param(CallKind.DISMISS, id="dismissing"),
        pytest.param(CallKind.REFRESH, id="refreshing"),
        pytest.param(CallKind.START, id="starting"),
    ],
)
def test_every_kind_of_change_keeps_other_changes_off_its_host(first):
    assert admitted([start("b"), start("c", "hv03", "hv04")], under_way(first, "hv01")) == ["c"]


@pytest.mark.parametrize("kind", [CallKind.BASELINE, CallKind.READING, CallKind.STOP])
def test_reads_and_stops_go_on_beside_a_change(kind):
    assert admitted([start("b")], under_way(kind, "hv01")) == ["b"]
    change = under_way(CallKind.START, "hv01", "hv02")
    calls = [
        SaveBaselines("hv01", (move("a"),)),
        ReadPorts("hv01", (move("b"),)),
        StopJob(move("c"), "job", "hv01"),
    ]
    assert admitted(calls, change) == ["a", "b", "c"]


def test_no_more_calls_begin_than_there_are_sessions():
    calls = [start(f"vm{n}", f"a{n}", f"b{n}") for n in range(9)]

    assert admitted(calls, at_most=3) == ["vm0", "vm1", "vm2"]
    assert admitted(calls, under_way(CallKind.READING, "hv07"), at_most=3) == ["vm0", "vm1"]


def test_a_call_is_not_repeated_while_it_is_under_way():
    a, b = replace(move("a"), id=1), replace(move("b"), id=2)
    saving = under_way(CallKind.BASELINE, "hv01", moves=(1,))
    checking = under_way(CallKind.RIGHTS, "HV01", moves=())

    assert admitted([SaveBaselines("hv01", (a, b))], saving) == ["b"]
    assert admitted([SaveBaselines("hv01", (a,))], saving) == []
    assert Lanes([checking], caps(8)).admit(CheckRights("hv01")) is None
    assert Lanes([checking], caps(8)).admit(CheckRights("hv02")) == CheckRights("hv02")


@pytest.mark.parametrize("seed", range(8))
def test_random_calls_never_overlap_on_a_host_and_are_each_begun_in_the_end(seed):
    chance = random.Random(seed)
    hosts = [f"hv{n:02}" for n in range(6)]
    waiting = [start(f"vm{n}", *chance.sample(hosts, 2)) for n in range(40)]
    begun = []
    while waiting:
        lanes = Lanes([], caps(4))
        now = [call for one in waiting if (call := lanes.admit(one)) is not None]
        at = [host for call in now for host in hosts_of(call)]
        assert now
        assert len(at) == len(set(at))
        assert len(now) <= 4
        begun += now
        waiting = [call for call in waiting if call not in now]

    assert len(begun) == 40


# --- callers -------------------------------------------------------------------------------


def test_a_caller_of_virtual_time_makes_each_call_at_once_on_the_calling_thread():
    room, rang = Room(), []
    caller = AtOnce(room)
    caller.came = lambda: rang.append(1)
    for n in range(3):
        caller.begin(n, start(f"vm{n}"))

    assert room.threads == {threading.current_thread().name}
    assert [(n, a.job) for n, a in caller.ended()] == [(n, f"job of id-vm{n}") for n in range(3)]
    assert (len(rang), caller.ended()) == (3, [])


def test_a_call_that_hangs_keeps_no_other_from_being_answered():
    """Each answer rings, and comes once; the one that hangs comes when it comes."""
    may_leave, rang = threading.Event(), threading.Semaphore(0)

    class Slow(Room):
        def start_move(self, order):
            if order.vm_id == "id-a":
                assert may_leave.wait(HANGS)
            return f"job of {order.vm_id}"

    caller = Threads(Slow())
    caller.came = rang.release
    for number, name in enumerate("abc"):
        caller.begin(number, start(name, f"{name}1", f"{name}2"))
    assert rang.acquire(timeout=HANGS)
    assert rang.acquire(timeout=HANGS)

    caller.wait(0.01)  # ends after its time
    assert {n: a.job for n, a in caller.ended()} == {1: "job of id-b", 2: "job of id-c"}
    may_leave.set()
    caller.wait(HANGS)
    assert [(n, a.job) for n, a in caller.ended()] == [(0, "job of id-a")]


def test_a_bug_in_a_call_is_logged_and_its_outcome_is_unknown(caplog):
    room = Room()
    room.errors["id-a"] = KeyError("a bug")
    caller = Threads(room)
    caller.begin(1, start("a"))
    caller.wait(HANGS)
    ((number, answer),) = caller.ended()

    assert (number, type(answer.error), answer.error.happened) == (1, VmmUnavailable, None)
    assert "a bug" in caplog.text


# --- answers -------------------------------------------------------------------------------


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
def test_a_port_error_is_returned_as_an_answer(error):
    room = Room()
    room.errors["id-b"] = error

    assert make(start("b"), room) == CallAnswer(error=error)
    assert make(start("a"), room) == CallAnswer(job="job of id-a")


def test_an_unexpected_exception_is_raised_instead_of_returned_as_an_answer():
    room = Room()
    room.errors["id-a"] = KeyError("a bug")

    with pytest.raises(KeyError):
        make(start("a"), room)


class Listening:
    """A port that notes every call with its arguments."""

    def __init__(self) -> None:
        self.asked = []
        self.errors: dict[str, Exception] = {}

    def __getattr__(self, name):
        def call(*args):
            self.asked.append((name, *args))
            if name in self.errors:
                raise self.errors[name]
            return {"id-a": Network()} if name in ("ports", "models") else None

        return call


def test_each_kind_of_call_calls_its_own_methods_of_the_port():
    a, port = move("a"), Listening()
    order = MoveOrder("id-a", "hv01", "hv02", r"E:\VMs", "down", Network(), 60.0)
    calls = [
        SaveBaselines("hv01", (a, move("b"))),
        ReadPorts("hv02", (a,)),
        ReadModels("hv02", (a,)),
        Start(a, order),
        Dismiss(a, "hv01", 9.0),
        RefreshVm(a, "hv01", 9.0),
        StopJob(a, "job-1", "hv01", 9.0),
        CheckRights("hv01"),
    ]
    answers = [make(call, port) for call in calls]

    assert port.asked == [
        ("ports", "hv01", ["id-a", "id-b"]),
        ("models", ["id-a"]),
        ("ports", "hv02", ["id-a"]),
        ("models", ["id-a"]),
        ("start_move", order),
        ("clear", "id-a", Expected("hv01", 9.0)),
        ("reread", Reread.VM, "id-a", 9.0),
        ("stop", "job-1", 9.0),
        ("rights", "hv01"),
    ]
    read = CallAnswer(networks={"id-a": Network()})
    assert answers == [read, read, read, *[CallAnswer()] * 5]


def test_each_look_calls_its_own_method_of_the_port():
    port = Listening()
    looks = [Look(kind, "hv01", ("a",), not_after=9.0) for kind in PartKind]
    for look in looks:
        make(look, port)

    assert port.asked == [
        ("jobs", ("a",)),
        ("site",),
        ("known", "hv01"),
        ("shown", "hv01"),
        ("pulse", "hv01", ("a",)),
        ("reread", Reread.VMS, "hv01", 9.0),
        ("reread", Reread.VM, "hv01", 9.0),
        ("reread", Reread.HOST, "hv01", 9.0),
    ]


RULES = AdapterRepair("nic-1", acls=(Acl("Deny", "Inbound", 1),))
NAMED = AdapterRepair("nic-1", network="VM-Net-10")


@pytest.mark.parametrize(
    ("step", "adapters", "called"),
    [(PutPorts, (RULES,), "put_ports"), (PutModels, (NAMED,), "put_models")],
)
def test_each_half_of_a_network_is_put_back_by_a_call_of_its_own(step, adapters, called):
    port, repair = Listening(), Repair("hv02", adapters)
    make(step(move("a"), repair, (), 9.0), port)

    assert port.asked == [(called, "id-a", repair, Expected("hv02", 9.0))]


def test_readings_that_hang_leave_lanes_for_changes():
    reading = [under_way(CallKind.RIGHTS, f"hv1{n}", moves=()) for n in range(6)]
    lanes = Lanes(reading, caps(8))

    assert lanes.admit(CheckRights("hv02")) is None
    assert lanes.admit(start("a")) == start("a")


# --- looks ---------------------------------------------------------------------------------


def looks_admitted(looks, *open_calls: OpenCall, silent=(), **most: int) -> list[str]:
    lanes = Lanes(open_calls, caps(8, **most), frozenset(silent))
    return [f"{look.kind} {look.name}" for look in looks if lanes.admit_look(look)]


def test_a_look_is_not_repeated_while_it_is_under_way():
    jobs = under_way(CallKind.JOBS, moves=())
    shown = under_way(CallKind.SHOWN, "HV01", moves=())
    looks = [Look(PartKind.JOBS), Look(PartKind.SHOWN, "hv01"), Look(PartKind.SHOWN, "hv02")]

    assert looks_admitted(looks, jobs, shown) == ["shown hv02"]


def test_inventories_of_vmm_take_a_few_sessions_and_leave_the_list_of_jobs_alone():
    looks = [Look(PartKind.KNOWN, f"hv{n}") for n in range(4)] + [Look(PartKind.JOBS)]

    assert looks_admitted(looks, inventory=2) == ["known hv0", "known hv1", "jobs "]


def test_hosts_that_do_not_answer_leave_room_for_those_that_do():
    names = [f"hv{n}" for n in range(4)]
    lanes = Lanes([], caps(8, lists=4, silent=1), frozenset(names[:3]))
    looks = [Look(PartKind.SHOWN, name) for name in names]

    assert [look.name for look in looks if lanes.admit_look(look)] == ["hv0", "hv3"]


def test_a_re_read_of_a_host_waits_for_the_change_there_and_keeps_others_off():
    looks = [Look(PartKind.VMS, "hv01"), Look(PartKind.HOST, "hv02"), Look(PartKind.VM, "id-a")]

    assert looks_admitted(looks, under_way(CallKind.START, "hv01", "hv03")) == [
        "host hv02",
        "vm id-a",
    ]
    assert admitted([start("a")], under_way(CallKind.VMS, "hv02", moves=())) == []


def test_looks_take_no_room_from_the_calls_of_a_plan():
    looks = [under_way(CallKind.SHOWN, f"hv1{n}", moves=()) for n in range(9)]

    assert admitted([start("a")], *looks, at_most=1) == ["a"]


def test_networks_are_restored_before_new_moves_are_started():
    put_back = PutPorts(move("z"), Repair("hv02"), ())
    read = ReadPorts("hv02", (move("y"),))
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
        "PutPorts",
        "ReadPorts",
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
