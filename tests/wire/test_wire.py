"""The port over the wire: merged answers of VMM and the hosts, and a whole run."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.advance.engine import Engine
from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.errors import ContractError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.language.grammar import parse
from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    HyperVState,
    MoveOrder,
    Network,
    Repair,
    Volume,
)
from engine.policy.judging import network
from engine.settings import HostAddress
from engine.sim import fleet_file
from engine.sim.lies import unplugged
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.store import queries
from engine.store.store import Store
from engine.views import report
from engine.vmm.wire import WirePort
from tests.hangs import HANGS
from tests.wire.conftest import hang
from tests.wire.endpoint import Reaction
from tests.wire.functions import Asked
from tests.wire.wired import FLEET, HV1, HV2, HV3, Wired
from tests.wire.world import WaitingPort, bad, good

# --- reading ----------------------------------------------------------------------------------


def comparable(fleet):
    """Remove what only the simulated world reports: the speed of hosts, and the switches of hosts
    that are not asked."""
    hosts = [replace(host, mb_per_s=None, switches=None) for host in fleet.hosts]
    vms = [replace(vm, switches=()) for vm in fleet.vms]
    return replace(fleet, hosts=tuple(hosts), vms=tuple(vms))


@pytest.mark.parametrize("asked", [[], [HV1], [HV1, HV2, HV3], ["HV01.CORP.EXAMPLE", "nowhere"]])
def test_an_observation_over_the_wire_equals_the_simulated_one(wired, asked):
    assert comparable(wired.port.observe(asked)) == comparable(wired.sim.observe(asked))


def test_the_time_of_the_last_refresh_of_a_host_is_kept(wired):
    first = wired.port.observe([HV1], refresh=[HV1])
    wired.clock.jump(wired.clock.now() + 30)
    second = wired.port.observe([HV1])

    assert first.host(HV1).refreshed_at == first.at
    assert first.host(HV2).refreshed_at is None
    assert second.host(HV1).refreshed_at == first.at
    assert second.host(HV1).seen_at == second.at == first.at + 30
    assert second.server_time == second.at + 7


def test_a_locked_host_is_marked_and_still_observed(wired):
    wired.world.state.hosts[HV1].locked_until = wired.clock.now() + 60
    fleet = wired.port.observe([HV1], refresh=[HV1, HV2])

    assert (fleet.host(HV1).locked, fleet.host(HV1).refreshed_at) == (True, None)
    assert fleet.host(HV1).seen_at == fleet.at
    assert (fleet.host(HV2).locked, fleet.host(HV2).refreshed_at) == (False, fleet.at)


def test_a_host_that_hangs_is_waited_for_once_and_then_only_briefly(wired):
    wired.port.observe([HV1, HV2])  # opens the sessions
    wired.limit(patience=3.0)
    functions = wired.hosts[HV1].modules["VMFerry.Host"]
    state, over = functions["Get-VmfHostState"], threading.Event()

    def hangs(asked):
        over.wait(HANGS)
        return state(asked)

    functions["Get-VmfHostState"] = hangs
    wired.hosts[HV1].asked.clear()
    first = wired.port.observe([HV1, HV2])
    wired.limit(patience=HANGS)
    second = wired.port.observe([HV1, HV2])
    over.set()
    third = wired.port.observe([HV1, HV2])
    while not third.answers(HV1):
        third = wired.port.observe([HV1, HV2])

    for fleet in (first, second):
        assert (fleet.host(HV1).seen_at, fleet.host(HV1).error) == (None, f"{HV1} does not answer")
        assert fleet.answers(HV2)
        assert fleet.vm(wired.vm("web01")).seen_on == ()
    assert len([one for one in wired.hosts[HV1].asked if one.function == "Get-VmfHostState"]) >= 2
    assert third.vm(wired.vm("web01")).seen_on == (HV1,)


def test_a_late_answer_of_a_host_is_never_taken_for_a_new_one(wired):
    wired.port.observe([HV1])
    functions = wired.hosts[HV1].modules["VMFerry.Host"]
    state, over, end = functions["Get-VmfHostState"], threading.Event(), threading.Event()

    def late(asked):
        answer = state(asked)
        over.wait(HANGS)
        return answer

    def later(asked):
        end.wait(HANGS)
        return state(asked)

    functions["Get-VmfHostState"] = late
    wired.limit(patience=0.1)
    wired.port.observe([HV1])
    functions["Get-VmfHostState"] = later
    over.set()
    for _ in range(2):
        assert not wired.port.observe([HV1]).answers(HV1)
    end.set()
    while not wired.port.observe([HV1]).answers(HV1):
        pass


def test_nobody_waits_for_a_host_whose_reread_hangs(wired):
    wired.limit(limit_reread=1.0)
    functions = wired.vmm.modules["VMFerry.Vmm"]
    reread = functions["Update-VmfHost"]
    functions["Update-VmfHost"] = lambda asked: (hang if asked["HostName"] == HV1 else reread)(
        asked
    )

    begun = wired.port.observe([HV1, HV2], reread=[HV1, HV2])
    again = wired.port.observe([HV1, HV2], reread=[HV1])
    ended = again
    while ended.host(HV1).rereading:
        ended = wired.port.observe([HV1, HV2])
    later = wired.port.observe([HV1, HV2])

    assert begun.host(HV1).rereading
    assert (begun.host(HV1).refreshed_at, begun.host(HV1).reread_failed) == (None, False)
    assert begun.host(HV1).seen_at == begun.host(HV2).seen_at == begun.at
    assert again.host(HV1).rereading
    assert [asked.function for asked in wired.vmm.asked].count("Update-VmfHost") == 2
    assert (ended.host(HV1).rereading, ended.host(HV1).reread_failed) == (False, True)
    why = "Update-VmfHost on vmm01 did not end in time"
    assert ended.host(HV1).error == f"VMM cannot re-read {HV1}: {why}"
    assert ended.host(HV2).refreshed_at == begun.at
    assert (later.host(HV1).error, later.host(HV1).reread_failed) == (None, False)


def test_closing_the_port_does_not_wait_for_a_reread_that_hangs(wired, monkeypatch):
    monkeypatch.setattr("engine.vmm.wire.CLOSING", 0.1)
    begun, over = threading.Event(), threading.Event()

    def hangs(asked):
        begun.set()
        over.wait(HANGS)
        return good({})

    wired.vmm.modules["VMFerry.Vmm"]["Update-VmfHost"] = hangs
    wired.port.observe([], reread=[HV1])
    assert begun.wait(HANGS)

    wired.port.close()

    assert not over.is_set()
    over.set()


def test_a_refresh_that_is_waited_for_follows_a_reread_of_the_same_host(wired):
    functions = wired.vmm.modules["VMFerry.Vmm"]
    reread, at_once = functions["Update-VmfHost"], []

    def refresh(asked):
        at_once.append("begins")
        answer = reread(asked)
        at_once.append("ends")
        return answer

    functions["Update-VmfHost"] = refresh
    wired.port.observe([], reread=[HV1])
    fleet = wired.port.observe([], refresh=[HV1])

    assert at_once == ["begins", "ends"] * 2
    assert (fleet.host(HV1).refreshed_at, fleet.host(HV1).rereading) == (fleet.at, False)


def test_hosts_are_refreshed_at_the_same_time(wired):
    functions = wired.vmm.modules["VMFerry.Vmm"]
    reread, together = functions["Update-VmfHost"], threading.Barrier(2, timeout=HANGS)

    def refresh(asked):
        together.wait()
        return reread(asked)

    functions["Update-VmfHost"] = refresh
    fleet = wired.port.observe([], refresh=[HV1, HV2])

    assert fleet.host(HV1).refreshed_at == fleet.host(HV2).refreshed_at == fleet.at


def test_a_silent_host_proves_nothing_and_does_not_hide_other_hosts(wired):
    wired.hosts[HV1].on = lambda message: Reaction(cut="before")
    fleet = wired.port.observe([HV1, HV2])

    assert fleet.host(HV1).seen_at is None
    assert "hv01.corp.example cannot be reached: the connection was lost" in fleet.host(HV1).error
    assert fleet.host(HV2).seen_at == fleet.at
    assert fleet.vm(wired.vm("web01")).seen_on == ()
    assert fleet.vm(wired.vm("web03")).backing_up


def test_a_host_with_another_contract_counts_as_silent(wired):
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked: good({"vms": {}})
    host = wired.port.observe([HV1]).host(HV1)

    assert host.seen_at is None
    assert "Install the same version" in host.error


def test_an_observation_fails_while_vmm_is_down_and_no_host_is_asked(wired):
    wired.vmm.on = lambda message: Reaction(cut="before")
    with pytest.raises(VmmUnavailable, match="vmm01 cannot be reached"):
        wired.port.observe([HV1, HV2])

    assert wired.hosts[HV1].heard == wired.hosts[HV2].heard == []


def test_a_fleet_without_a_required_field_is_refused_and_the_field_is_named(wired):
    told = {"server_time": "2026-01-05T22:00:00Z", "hosts": [], "jobs": []}
    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfFleet"] = lambda asked: good(told)
    with pytest.raises(ContractError, match="Get-VmfFleet: vms: Field required"):
        wired.port.observe()


def test_hosts_are_asked_in_parallel(wired):
    together = threading.Barrier(3, timeout=HANGS)
    for host in wired.hosts.values():
        answer = host.modules["VMFerry.Host"]["Get-VmfHostState"]

        def meet(asked: Asked, answer=answer):
            together.wait()
            return answer(asked)

        host.modules["VMFerry.Host"]["Get-VmfHostState"] = meet
    fleet = wired.port.observe([HV1, HV2, HV3])

    assert all(host.seen_at == fleet.at for host in fleet.hosts)


def told(vmm, **changes):
    """One VM in VMM's answer."""
    row = {
        "id": "ID-1", "name": "web01", "host": HV1, "status": "Running", "memory_mb": 1,
        "disk_mb": 1, "adapters": 0, "stored": False, "replica": False, "blocks": [],
    }  # fmt: skip
    return row | changes


def shown(**changes):
    """One VM in Hyper-V's answer."""
    row = {"id": "ID-1", "name": "web01", "state": "Running", "status": ["Ok"], "replica": False}
    return row | {"switches": None} | changes


def observe(wired, vms, states):
    """An observation of these rows."""
    ours = wired.vmm.modules["VMFerry.Vmm"]
    fleet = ours["Get-VmfFleet"]

    def with_rows(asked):
        data = json.loads(fleet(asked))["data"]
        return good(data | {"vms": vms})

    ours["Get-VmfFleet"] = with_rows
    for name, rows in states.items():
        state = {"live_limit": 1, "storage_limit": 9, "switches": ["LS-Main"], "vms": rows}
        wired.hosts[name].modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked, state=state: (
            good(state)
        )
    return wired.port.observe(list(states))


def test_a_replica_is_neither_a_second_vm_nor_evidence_of_arrival(wired):
    vms = [told(wired, host=HV2, replica=True, status="PowerOff"), told(wired)]
    states = {HV1: [shown()], HV2: [shown(replica=True, state="Off")]}
    (vm,) = observe(wired, vms, states).vms

    assert (vm.vmm_host, vm.seen_on, vm.hyperv_state) == (HV1, (HV1,), HyperVState.RUNNING)


def test_a_vm_that_only_hyperv_shows_is_listed_and_is_not_the_library_copy(wired):
    vms = [told(wired, host=None, stored=True, status="Stored")]
    fleet = observe(wired, vms, {HV1: [shown(state="FastSaving")]})

    assert [(vm.vmm_host, vm.seen_on, vm.stored) for vm in fleet.vms] == [
        (None, (), True),
        (None, (HV1,), False),
    ]
    assert fleet.vm("ID-1").hyperv_state is HyperVState.OTHER


def test_a_vm_seen_on_two_hosts_has_the_state_that_its_host_in_vmm_shows(wired):
    states = {HV1: [shown(state="Off")], HV2: [shown()]}
    (vm,) = observe(wired, [told(wired, host=HV2)], states).vms

    assert (vm.seen_on, vm.hyperv_state) == ((HV1, HV2), HyperVState.RUNNING)


def test_the_smaller_of_the_limits_of_vmm_and_the_host_applies(wired):
    host = observe(wired, [], {HV1: []}).host(HV1)

    assert (host.live_limit, host.storage_limit) == (1, 2)


def test_capacity_comes_from_vmm_and_switches_from_the_host(wired):
    ours = wired.vmm.modules["VMFerry.Vmm"]
    fleet = ours["Get-VmfFleet"]

    def with_room(asked):
        data = json.loads(fleet(asked))["data"]
        room = {"free_memory_mb": 8000, "volumes": [{"name": "D:", "free_mb": 70}]}
        first, *others = data["hosts"]
        others = [host | {"free_memory_mb": None, "volumes": None} for host in others]
        return good(data | {"hosts": [first | room, *others]})

    ours["Get-VmfFleet"] = with_room
    state = {"live_limit": 1, "storage_limit": 1, "switches": ["LS-Main", "LS-Other"], "vms": []}
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked: good(state)
    told = wired.port.observe([HV1])

    first, second = told.host(HV1), told.host(HV2)
    assert (first.free_memory_mb, first.volumes) == (8000, (Volume("D:", 70),))
    assert first.switches == ("LS-Main", "LS-Other")
    assert (second.free_memory_mb, second.volumes, second.switches) == (None, None, None)


def test_the_switches_of_a_vm_are_those_that_hyperv_shows(wired):
    states = {HV1: [shown(switches=["LS-Main"]), shown(id="ID-2", switches=["LS-B", "LS-A"])]}
    first, second = observe(wired, [told(wired)], states).vms

    assert (first.switches, second.switches) == (("LS-Main",), ("LS-B", "LS-A"))
    (unseen,) = observe(wired, [told(wired)], {HV2: []}).vms
    assert unseen.switches == ()


def test_version_and_rights_are_texts(wired):
    assert wired.port.version() == "VMM 10.22.1287 on vmm01, PowerShell 5.1.20348, module 2"
    assert wired.port.rights(HV1) is None
    assert "denied" in wired.port.rights(HV3)


# --- networks ---------------------------------------------------------------------------------


def test_networks_of_vmm_and_the_host_are_merged(wired):
    ids = [wired.vm("web01"), wired.vm("web03"), "no such id"]

    assert wired.port.networks(HV1, ids) == wired.sim.networks(HV1, ids)
    assert wired.port.networks(HV3, ids) == {}


PORT = {
    "id": "P1", "mac": "001DD8000001", "name": "Network Adapter", "switch": None,
    "connected": False, "vlan": 0, "trunk": [], "native_vlan": 0, "isolation": 0,
    "spoofing": None, "guards": None, "acls": [], "classic_acls": [],
}  # fmt: skip
MODEL = {
    "id": "M1", "mac": "00:1D:D8:00:00:01", "network": "VM-Net-10", "subnet": None,
    "switch": None, "vlan": 0, "classification": None, "port_acl": None,
}  # fmt: skip
ACL = {
    "action": "Deny", "direction": "Inbound", "weight": 1, "local_ip": None, "remote_ip": "",
    "local_port": "*", "remote_port": "ANY", "protocol": "UDP", "stateful": False,
    "idle_timeout": 0, "isolation_id": 0,
}  # fmt: skip


def read_networks(wired, ports, models):
    host = wired.hosts[HV1].modules["VMFerry.Host"]
    host["Get-VmfHostNetwork"] = lambda asked: good({"vms": [{"id": "ID-1", "adapters": ports}]})
    vmm = wired.vmm.modules["VMFerry.Vmm"]
    vmm["Get-VmfNetwork"] = lambda asked: good({"vms": [{"id": "ID-1", "adapters": models}]})
    return wired.port.networks(HV1, ["ID-1"])["ID-1"].adapters


@pytest.mark.parametrize(
    ("ports", "models", "networks"),
    [
        ([PORT | {"id": "m1", "mac": "another"}], [MODEL], ["VM-Net-10"]),
        ([PORT], [MODEL], ["VM-Net-10"]),
        ([PORT], [MODEL, MODEL | {"id": "M2"}], [None]),
        ([PORT, PORT | {"id": "P2"}], [MODEL], [None, None]),
        ([PORT | {"mac": "000000000000"}], [MODEL | {"mac": "00:00:00:00:00:00"}], [None]),
        ([PORT], [], [None]),
    ],
    ids=["by id", "by mac", "mac twice in VMM", "mac twice on the host", "zero mac", "unknown"],
)
def test_adapters_are_matched_by_id_or_else_by_a_unique_mac(wired, ports, models, networks):
    assert [adapter.network for adapter in read_networks(wired, ports, models)] == networks


def test_an_empty_field_of_a_rule_is_any_and_a_missing_field_breaks_the_contract(wired):
    (adapter,) = read_networks(wired, [PORT | {"acls": [ACL]}], [MODEL])
    assert adapter.acls == (Acl("Deny", "Inbound", 1, protocol="UDP"),)

    lacking = {key: value for key, value in ACL.items() if key != "local_ip"}
    with pytest.raises(ContractError, match=r"acls\.0\.local_ip: Field required"):
        read_networks(wired, [PORT | {"acls": [lacking]}], [MODEL])


def test_a_repair_is_split_between_vmm_and_the_host(wired):
    vm = wired.vm("web01")
    before = wired.port.networks(HV1, [vm])[vm]
    state = wired.world.state.vms[vm]
    state.nics = [
        replace(unplugged(nic), connected=True, acls=(), classic_acls=(), guards=None)
        for nic in state.nics
    ]
    found = wired.port.networks(HV1, [vm])[vm]
    wired.vmm.asked.clear()
    wired.port.repair_network(vm, network.repair(HV1, before, found))

    assert wired.port.networks(HV1, [vm])[vm] == before
    (asked, *_) = wired.vmm.asked
    rows = json.loads(asked["Adapters"])
    assert [(row["network"], row["switch"], row["vlan"]) for row in rows] == [
        ("VM-Net-10", "LS-Main", 10),
        ("VM-Net-10", "LS-Main", None),
    ]


def test_only_the_side_that_has_something_to_restore_is_called(wired):
    vm = wired.vm("web01")
    nic = wired.world.state.vms[vm].nics[0]
    wired.port.repair_network(vm, Repair(HV1, (AdapterRepair(nic.id, acls=nic.acls),)))
    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (0, 1)

    trunk = AdapterRepair(nic.id, vlan=0, trunk=(1, 2), native_vlan=1)
    wired.port.repair_network(vm, Repair(HV1, (trunk,)))
    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (0, 2)

    wired.port.repair_network(vm, Repair(HV1, (AdapterRepair(nic.id, vlan=0),)))
    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (1, 2)


@pytest.mark.parametrize(
    ("wanted", "by_vmm"),
    [
        ({"subnet": "Subnet 10"}, True),
        ({"classification": "Fast"}, True),
        ({"port_acl": "Web"}, True),
        ({"isolation": 7}, False),
        ({"spoofing": "On"}, False),
        ({"guards": "dhcp"}, False),
        ({"classic_acls": ("Deny Inbound remote ANY",)}, False),
    ],
)
def test_each_setting_is_restored_by_the_side_that_keeps_it(wired, wanted, by_vmm):
    vm = wired.vm("web01")
    nic = wired.world.state.vms[vm].nics[1]
    wired.port.repair_network(vm, Repair(HV1, (AdapterRepair(nic.id, **wanted),)))

    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (by_vmm, not by_vmm)
    assert wired.world.state.vms[vm].nics[1] == replace(nic, **wanted)


def test_rules_are_restored_even_if_vmm_refuses_the_switch(wired):
    vm = wired.vm("web01")
    state = wired.world.state.vms[vm]
    acls = state.nics[0].acls
    state.nics[0] = replace(state.nics[0], acls=())
    repair = AdapterRepair(state.nics[0].id, switch="LS-Other", acls=acls)
    with pytest.raises(VmmRefused, match="no virtual switch"):
        wired.port.repair_network(vm, Repair(HV1, (repair,)))

    assert state.nics[0].acls == acls


# --- acting -----------------------------------------------------------------------------------


def test_a_start_sends_everything_that_the_guard_compares(wired):
    vm, at = wired.vm("db 01; Stop-Computer $(x)"), wired.world.start + 60.25
    nic = Adapter("A", "00:1D", "VM-Net-10", "Subnet 10", "LS-Main", 10, classification="Fast")
    pin = Network((nic,))
    job = wired.port.start_move(MoveOrder(vm, HV1, HV2, r"D:\VMs; x", "down", pin, at))
    (asked,) = wired.vmm.asked

    assert job in {job.id for job in wired.sim.observe(jobs=[job]).jobs}
    assert asked["Path"] == r"D:\VMs; x"
    assert (asked["Source"], asked["Destination"], asked["Power"]) == (HV1, HV2, "down")
    assert json.loads(asked["Pin"]) == [
        {"id": "A", "mac": "00:1D", "network": "VM-Net-10", "subnet": "Subnet 10"}
        | {"switch": "LS-Main", "vlan": 10, "classification": "Fast"}
    ]
    assert datetime.fromisoformat(asked["NotAfter"]) == datetime.fromtimestamp(at, UTC)
    assert asked["NotAfter"].endswith(".250Z")
    assert (asked["VmmServer"], asked["Port"]) == ("localhost", 8100)


def test_a_trunk_is_never_pinned_as_an_access_vlan(wired):
    vm = wired.vm("db 01; Stop-Computer $(x)")
    pin = Network((Adapter("A", "00:1D", switch="LS-Main", vlan=1, trunk=(1, 2), native_vlan=1),))
    wired.port.start_move(MoveOrder(vm, HV1, HV2, None, "down", pin, wired.world.start + 60))
    (row,) = json.loads(wired.vmm.asked[0]["Pin"])

    assert row["vlan"] is None
    assert "trunk" not in row


def test_a_missing_value_is_not_sent_as_a_parameter(wired):
    wired.port.start_move(
        MoveOrder(wired.vm("web01"), HV1, HV2, None, "running", None, math.floor(2e9))
    )

    assert {"path", "pin"} & set(wired.vmm.asked[0].parameters) == set()


def test_stale_locked_and_refused_errors_of_vmm_keep_their_class(wired):
    vm, late = wired.vm("web01"), wired.world.start - 1
    with pytest.raises(VmmStale, match="after its deadline"):
        wired.port.start_move(MoveOrder(vm, HV1, HV2, None, "running", None, late))
    wired.world.state.hosts[HV1].locked_until = wired.world.start + 60
    with pytest.raises(VmmLocked) as caught:
        wired.port.refresh(vm)
    assert caught.value.code == "2606"
    with pytest.raises(VmmRefused, match="knows no virtual machine"):
        wired.port.dismiss("no such id")


def test_a_stopped_job_is_canceled_and_the_vm_can_be_refreshed_and_dismissed(wired):
    vm = wired.vm("web01")
    job = wired.port.start_move(
        MoveOrder(vm, HV1, HV2, None, "running", None, wired.world.start + 60)
    )
    wired.port.stop_job(job)
    wired.port.refresh(vm)
    wired.port.dismiss(vm)

    assert wired.port.observe(jobs=[job]).job(job).state == "canceled"


def test_a_failed_job_has_a_reason_and_an_error_number(wired):
    ours = wired.vmm.modules["VMFerry.Vmm"]
    fleet = ours["Get-VmfFleet"]
    job = {
        "id": "J", "vm_id": "ID-1", "source": HV1, "target": None, "state": "failed",
        "progress": 7, "error": "The connection was lost", "code": "2916",
        "started": "2026-01-05T22:00:00Z", "ended": "2026-01-05T23:00:00.5+01:00",
    }  # fmt: skip
    ours["Get-VmfFleet"] = lambda asked: good(json.loads(fleet(asked))["data"] | {"jobs": [job]})
    (read,) = wired.port.observe(jobs=["J"]).jobs

    assert read.error == "The connection was lost (2916)"
    assert read.ended - read.started == 0.5


def test_many_threads_share_the_port_within_the_limits_on_sessions(wired):
    ids = [wired.vm("web01"), wired.vm("web03")]

    def ask(number):
        if number % 3 == 0:
            return len(wired.port.observe([HV1, HV2]).vms)
        return len(wired.port.networks((HV1, HV2)[number % 2], ids))

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(48))) == {1, 3}
    assert wired.vmm.most <= 8
    assert wired.hosts[HV1].most <= 2


# --- a whole run ------------------------------------------------------------------------------


def play(port, clock, world, folder, settings):
    """Play an approved `host hv01 to hv02` to its end. Return the report without the calls."""
    store = Store(folder)
    engine = Engine(store, port, clock, settings)
    engine.take_over()
    try:
        engine.look()
        service = Service(store, clock, settings)
        run = service.submit(parse("host hv01 to hv02"), by="terminal:ann").run
        for _ in range(2000):
            advanced = engine.advance()
            for approval in queries.open_approvals(store):
                service.decide(approval.id, "approve", by="terminal:ann")
            if queries.run(store, run.id).over:
                break
            changes = [advanced.next_due, world.next_change(clock.now())]
            later = [at for at in changes if at is not None and at > clock.now() + 5]
            clock.jump(clock.now() + 5 if advanced.acted or not later else min(later))
        told = {"calls": [], "fleet": world.truth(), "violations": list(world.violations)}
        return report.document(store, "vmm01", clock.now(), world=told)
    finally:
        engine.close()
        store.close()


def test_a_whole_run_over_the_wire_has_the_same_report_as_the_simulated_run(ground, tmp_path):
    wired = Wired(ground)
    with closing(WaitingPort(wired.settings, wired.clock)) as port:
        over = play(port, wired.clock, wired.world, tmp_path / "wire.db", wired.settings)
    world = World.of(fleet_file.parse(FLEET))
    clock = VirtualClock(world.start)
    alone = play(SimPort(world, clock), clock, world, tmp_path / "sim.db", wired.settings)

    assert (over["ended"], over["exit"], over["violations"]) == (True, 0, [])
    moves = {move["vm"]: move for move in over["runs"][0]["moves"]}
    assert {name: move["state"] for name, move in moves.items()} == {
        "web01": "done",
        "db 01; Stop-Computer $(x)": "done",
    }
    assert {repair["what"] for repair in moves["web01"]["repairs"]} == {*("acl", "classic_acl")}
    assert over == alone


def test_a_wrong_address_of_one_host_affects_only_that_host(wired):
    hosts = dict(wired.settings.hosts) | {HV2: HostAddress(address="127.0.0.1", port=1)}
    port = WirePort(wired.settings.model_copy(update={"hosts": hosts}), wired.clock)
    fleet = port.observe([HV1, HV2])
    port.close()

    assert fleet.host(HV1).seen_at == fleet.at
    assert "it refused the connection" in fleet.host(HV2).error


def test_an_error_of_vmm_keeps_its_message_and_number(wired):
    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfFleet"] = lambda asked: bad(
        "unavailable", "The VMM service is not running", "1615"
    )
    with pytest.raises(VmmUnavailable, match=r"The VMM service is not running \(1615\)"):
        wired.port.observe()
