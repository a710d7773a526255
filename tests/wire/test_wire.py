"""The port over the wire: merged answers of VMM and the hosts, and a whole run."""

import json
import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.advance.engine import Engine
from engine.clock import SystemClock, VirtualClock
from engine.commands.service import Service
from engine.errors import ContractError, VmmRefused, VmmStale, VmmUnavailable
from engine.language.grammar import parse
from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    Expected,
    Fleet,
    HyperVState,
    MoveOrder,
    Network,
    Repair,
    Reread,
    Volume,
    join_halves,
)
from engine.policy.judging import network
from engine.settings import HostAddress
from engine.sim import fleet_file
from engine.sim.lies import unplugged
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.store import queries
from engine.store.store import Store
from engine.stories.next_tick import Skip, next_tick
from engine.views import report
from engine.vmm.port import VmmPort
from engine.vmm.wire import WirePort
from tests.hangs import HANGS
from tests.wire.endpoint import Reaction
from tests.wire.functions import Asked
from tests.wire.wired import FLEET, HV1, HV2, HV3, Wired
from tests.wire.world import bad, good

SKEW = 7

# --- reading ----------------------------------------------------------------------------------


LOOKS: Mapping[str, Callable[[VmmPort, Wired], object]] = {
    "jobs": lambda port, wired: port.jobs(),
    "site": lambda port, wired: port.site(),
    "known": lambda port, wired: port.known(HV1),
    "known, another case": lambda port, wired: port.known("HV02.CORP.EXAMPLE"),
    "shown": lambda port, wired: port.shown(HV1),
    "pulse": lambda port, wired: port.pulse(HV1, [wired.vm("web01"), wired.vm("web03")]),
    "ports": lambda port, wired: port.ports(HV1, [wired.vm("web01"), wired.vm("web03")]),
    "models": lambda port, wired: port.models([wired.vm("web01"), "no such id"]),
}


def comparable(found: object) -> object:
    """Remove what only the simulated world reports: the speed of hosts."""
    if hasattr(found, "hosts"):
        return replace(found, hosts=tuple(replace(one, mb_per_s=None) for one in found.hosts))
    return replace(found, host=replace(found.host, mb_per_s=None)) if is_inventory(found) else found


def is_inventory(found: object) -> bool:
    return hasattr(getattr(found, "host", None), "mb_per_s")


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_over_the_wire_equals_the_simulated_one(wired, look):
    until = wired.clock.now() + SKEW + 60
    wired.port.start_move(MoveOrder(wired.vm("web01"), HV1, HV2, None, "running", None, until))
    wired.clock.jump(wired.clock.now() + 30)

    assert comparable(LOOKS[look](wired.port, wired)) == comparable(LOOKS[look](wired.sim, wired))


@pytest.fixture
def looks(tmp_path):
    """The fleet after the first look of an engine. ``real``: its calls are threads."""

    def look(wired: Wired, port: VmmPort | None = None, *, real: bool = False, **limits: float):
        vmm = wired.settings.vmm.model_copy(update=limits)
        settings = wired.settings.model_copy(update={"vmm": vmm})
        store = Store(tmp_path / "looks.db")
        clock = SystemClock() if real else wired.clock
        engine = Engine(store, port or wired.port, clock, settings)
        engine.take_over()
        try:
            return engine.look()
        finally:
            engine.close()
            store.close()

    return look


def test_hosts_are_asked_in_parallel(wired, looks):
    together = threading.Barrier(3, timeout=HANGS)
    for host in wired.hosts.values():
        answer = host.modules["VMFerry.Host"]["Get-VmfHostState"]

        def meet(asked: Asked, answer=answer):
            together.wait()
            return answer(asked)

        host.modules["VMFerry.Host"]["Get-VmfHostState"] = meet
    fleet = looks(wired, real=True)

    assert all(host.seen_at is not None for host in fleet.hosts)


def test_the_first_look_waits_for_a_host_that_hangs_for_its_patience(wired, looks):
    over = threading.Event()
    functions = wired.hosts[HV1].modules["VMFerry.Host"]
    functions["Get-VmfHostState"] = lambda asked: over.wait(HANGS) and good({})
    try:
        fleet = looks(wired, real=True, patience=2.0)
    finally:
        over.set()

    assert fleet.host(HV1).seen_at is None
    assert fleet.vm(wired.vm("web01")).seen_on == ()
    assert fleet.vm(wired.vm("web03")).seen_on == (HV2,)


def test_a_silent_host_proves_nothing_and_does_not_hide_other_hosts(wired, looks):
    wired.hosts[HV1].on = lambda message: Reaction(cut="before")
    fleet = looks(wired)

    assert fleet.host(HV1).seen_at is None
    assert "hv01.corp.example cannot be reached: the connection was lost" in fleet.host(HV1).error
    assert fleet.host(HV2).seen_at == wired.clock.now()
    assert fleet.vm(wired.vm("web01")).seen_on == ()
    assert fleet.vm(wired.vm("web03")).backing_up


def test_a_host_with_another_contract_counts_as_silent(wired, looks):
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked: good({"vms": {}})
    host = looks(wired).host(HV1)

    assert host.seen_at is None
    assert "Install the same version" in host.error


def test_the_first_look_fails_while_vmm_is_down_and_no_host_is_asked(wired, looks):
    wired.vmm.on = lambda message: Reaction(cut="before")
    with pytest.raises(VmmUnavailable, match="vmm01 cannot be reached"):
        looks(wired)

    assert wired.hosts[HV1].heard == wired.hosts[HV2].heard == []


def test_a_site_without_a_required_field_is_refused_and_the_field_is_named(wired):
    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfSite"] = lambda asked: good({"hosts": []})
    with pytest.raises(ContractError, match="Get-VmfSite: vms: Field required"):
        wired.port.site()


def told(**changes):
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


def answer_with(functions, name: str, change: Callable[[dict, Asked], dict]) -> None:
    """Change the data of a function."""
    before = functions[name]
    functions[name] = lambda asked: good(change(json.loads(before(asked))["data"], asked))


@pytest.fixture
def observed(wired, looks):
    """The fleet after a look at these rows: VMs of VMM, and VMs of Hyper-V by host."""

    def observe(vms: list[dict], states: Mapping[str, list[dict]]) -> Fleet:
        ours = wired.vmm.modules["VMFerry.Vmm"]

        def known(data: dict, asked: Asked) -> dict:
            return data | {"vms": [vm for vm in vms if vm["host"] == asked["HostName"]]}

        def site(data: dict, asked: Asked) -> dict:
            return data | {"vms": [vm for vm in vms if vm["host"] is None]}

        answer_with(ours, "Get-VmfInventory", known)
        answer_with(ours, "Get-VmfSite", site)
        for name, host in wired.hosts.items():
            state = {"live_limit": 1, "storage_limit": 9, "switches": ["LS-Main"]}
            row = state | {"vms": states.get(name, [])}
            host.modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked, row=row: good(row)
        return looks(wired)

    return observe


def test_a_replica_is_neither_a_second_vm_nor_evidence_of_arrival(observed):
    vms = [told(host=HV2, replica=True, status="PowerOff"), told()]
    states = {HV1: [shown()], HV2: [shown(replica=True, state="Off")]}
    (vm,) = observed(vms, states).vms

    assert (vm.vmm_host, vm.seen_on, vm.hyperv_state) == (HV1, (HV1,), HyperVState.RUNNING)


def test_a_vm_that_only_hyperv_shows_is_listed_and_is_not_the_library_copy(observed):
    vms = [told(host=None, stored=True, status="Stored")]
    fleet = observed(vms, {HV1: [shown(state="FastSaving")]})

    assert [(vm.vmm_host, vm.seen_on, vm.stored) for vm in fleet.vms] == [
        (None, (), True),
        (None, (HV1,), False),
    ]
    assert fleet.vm("ID-1").hyperv_state is HyperVState.OTHER


def test_a_vm_seen_on_two_hosts_has_the_state_that_its_host_in_vmm_shows(observed):
    states = {HV1: [shown(state="Off")], HV2: [shown()]}
    (vm,) = observed([told(host=HV2)], states).vms

    assert (vm.seen_on, vm.hyperv_state) == ((HV1, HV2), HyperVState.RUNNING)


def test_the_smaller_of_the_limits_of_vmm_and_the_host_applies(observed):
    host = observed([], {HV1: []}).host(HV1)

    assert (host.live_limit, host.storage_limit) == (1, 2)


def test_capacity_comes_from_vmm_and_switches_from_the_host(wired, looks):
    ours = wired.vmm.modules["VMFerry.Vmm"]
    room = {"free_memory_mb": 8000, "volumes": [{"name": "D:", "free_mb": 70}]}
    nothing = {"free_memory_mb": None, "volumes": None}

    def with_room(data: dict, asked: Asked) -> dict:
        return data | {"host": data["host"] | (room if asked["HostName"] == HV1 else nothing)}

    answer_with(ours, "Get-VmfInventory", with_room)
    state = {"live_limit": 1, "storage_limit": 1, "switches": ["LS-Main", "LS-Other"], "vms": []}
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked: good(state)
    wired.hosts[HV2].on = lambda message: Reaction(cut="before")
    found = looks(wired)

    first, second = found.host(HV1), found.host(HV2)
    assert (first.free_memory_mb, first.volumes) == (8000, (Volume("D:", 70),))
    assert first.switches == ("LS-Main", "LS-Other")
    assert (second.free_memory_mb, second.volumes, second.switches) == (None, None, None)


def test_the_switches_of_a_vm_are_those_that_hyperv_shows(observed):
    states = {HV1: [shown(switches=["LS-Main"]), shown(id="ID-2", switches=["LS-B", "LS-A"])]}
    first, second = observed([told()], states).vms

    assert (first.switches, second.switches) == (("LS-Main",), ("LS-B", "LS-A"))


def test_a_vm_that_no_host_shows_has_no_switches(observed):
    (unseen,) = observed([told()], {HV2: []}).vms

    assert unseen.switches == ()


def test_version_and_rights_are_texts(wired):
    assert wired.port.version() == "VMM 10.22.1287 on vmm01, PowerShell 5.1.20348, module 2"
    assert wired.port.rights(HV1) is None
    assert "denied" in wired.port.rights(HV3)


# --- networks ---------------------------------------------------------------------------------


def networks(port: VmmPort, host: str, ids: list[str]) -> Mapping[str, Network]:
    """Both halves of the networks, joined."""
    ports, models = port.ports(host, ids), port.models(ids)
    return {vm: join_halves(half, models.get(vm, Network())) for vm, half in ports.items()}


def test_networks_of_vmm_and_the_host_are_joined(wired):
    ids = [wired.vm("web01"), wired.vm("web03"), "no such id"]
    nics = tuple(wired.world.state.vms[ids[0]].nics)

    assert networks(wired.port, HV1, ids) == {ids[0]: Network(nics)}
    assert networks(wired.sim, HV1, ids) == {ids[0]: Network(nics)}
    assert networks(wired.port, HV3, ids) == {}


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
    return networks(wired.port, HV1, ["ID-1"])["ID-1"].adapters


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


def put_back(wired: Wired, vm: str, repair: Repair) -> None:
    """Restore Hyper-V's half, then VMM's."""
    now = wired.clock.now()
    wired.port.put_ports(vm, repair, Expected(HV1, now + 60))
    wired.port.put_models(vm, repair, Expected(HV1, now + SKEW + 60))


def test_a_repair_is_split_between_vmm_and_the_host(wired):
    vm = wired.vm("web01")
    before = networks(wired.port, HV1, [vm])[vm]
    state = wired.world.state.vms[vm]
    state.nics = [
        replace(unplugged(nic), connected=True, acls=(), classic_acls=(), guards=None)
        for nic in state.nics
    ]
    found = networks(wired.port, HV1, [vm])[vm]
    wired.vmm.asked.clear()
    put_back(wired, vm, network.repair(HV1, before, found))

    assert networks(wired.port, HV1, [vm])[vm] == before
    (asked, *_) = wired.vmm.asked
    rows = json.loads(asked["Adapters"])
    assert [(row["network"], row["switch"], row["vlan"]) for row in rows] == [
        ("VM-Net-10", "LS-Main", 10),
        ("VM-Net-10", "LS-Main", None),
    ]


def test_only_the_sides_that_have_something_to_restore_are_called(wired):
    vm = wired.vm("web01")
    nic = wired.world.state.vms[vm].nics[0]
    put_back(wired, vm, Repair(HV1, (AdapterRepair(nic.id, acls=nic.acls),)))
    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (0, 1)

    trunk = AdapterRepair(nic.id, vlan=0, trunk=(1, 2), native_vlan=1)
    put_back(wired, vm, Repair(HV1, (trunk,)))
    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (0, 2)

    put_back(wired, vm, Repair(HV1, (AdapterRepair(nic.id, vlan=0),)))
    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (1, 3)


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
    put_back(wired, vm, Repair(HV1, (AdapterRepair(nic.id, **wanted),)))

    assert (len(wired.vmm.asked), len(wired.hosts[HV1].asked)) == (by_vmm, not by_vmm)
    assert wired.world.state.vms[vm].nics[1] == replace(nic, **wanted)


def test_rules_are_restored_even_if_vmm_refuses_the_switch(wired):
    vm = wired.vm("web01")
    state = wired.world.state.vms[vm]
    acls = state.nics[0].acls
    state.nics[0] = replace(state.nics[0], acls=())
    repair = AdapterRepair(state.nics[0].id, switch="LS-Other", acls=acls)
    with pytest.raises(VmmRefused, match="no virtual switch"):
        put_back(wired, vm, Repair(HV1, (repair,)))

    assert state.nics[0].acls == acls


# --- acting -----------------------------------------------------------------------------------


def test_a_start_sends_everything_that_the_guard_compares(wired):
    vm, at = wired.vm("db 01; Stop-Computer $(x)"), wired.world.start + 60.25
    nic = Adapter("A", "00:1D", "VM-Net-10", "Subnet 10", "LS-Main", 10, classification="Fast")
    pin = Network((nic,))
    order = MoveOrder(vm, HV1, HV2, r"D:\VMs; x", "down", pin, at, at - 60)
    job = wired.port.start_move(order)
    (asked,) = wired.vmm.asked

    assert job in {job.id for job in wired.sim.jobs([job]).jobs}
    assert asked["Path"] == r"D:\VMs; x"
    assert (asked["Source"], asked["Destination"], asked["Power"]) == (HV1, HV2, "down")
    assert json.loads(asked["Pin"]) == [
        {"id": "A", "mac": "00:1D", "network": "VM-Net-10", "subnet": "Subnet 10"}
        | {"switch": "LS-Main", "vlan": 10, "classification": "Fast"}
    ]
    assert datetime.fromisoformat(asked["NotAfter"]) == datetime.fromtimestamp(at, UTC)
    assert asked["NotAfter"].endswith(".250Z")
    assert datetime.fromisoformat(asked["NotBefore"]) == datetime.fromtimestamp(at - 60, UTC)
    assert (asked["VmmServer"], asked["Port"]) == ("localhost", 8100)


def test_a_start_before_its_time_is_stale(wired):
    now = wired.clock.now() + SKEW
    plain = MoveOrder(wired.vm("web01"), HV1, HV2, None, "running", None, now + 60)
    with pytest.raises(VmmStale, match="5 s before it may take effect"):
        wired.port.start_move(replace(plain, not_before=now + 5))

    assert wired.port.start_move(replace(plain, not_before=now))


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

    assert {"path", "pin", "notbefore"} & set(wired.vmm.asked[0].parameters) == set()


def test_stale_and_refused_errors_of_vmm_keep_their_class(wired):
    vm, late = wired.vm("web01"), wired.world.start - 1
    with pytest.raises(VmmStale, match="after its deadline"):
        wired.port.start_move(MoveOrder(vm, HV1, HV2, None, "running", None, late))
    with pytest.raises(VmmRefused, match="knows no virtual machine"):
        wired.port.reread(Reread.VM, "no such id", wired.world.start + SKEW + 60)


def test_a_stopped_job_is_canceled(wired):
    until = wired.world.start + SKEW + 60
    vm = wired.vm("web01")
    job = wired.port.start_move(MoveOrder(vm, HV1, HV2, None, "running", None, until))
    wired.port.stop(job, until)

    assert [one.state for one in wired.port.jobs([job]).jobs] == ["canceled"]


def test_a_failed_job_has_a_reason_and_an_error_number(wired):
    job = {
        "id": "J", "vm_id": "ID-1", "source": HV1, "target": None, "state": "failed",
        "progress": 7, "error": "The connection was lost", "code": "2916",
        "started": "2026-01-05T22:00:00Z", "ended": "2026-01-05T23:00:00.5+01:00",
    }  # fmt: skip
    ours = wired.vmm.modules["VMFerry.Vmm"]
    answer_with(ours, "Get-VmfJobs", lambda data, asked: data | {"jobs": [job]})
    (read,) = wired.port.jobs(["J"]).jobs

    assert read.error == "The connection was lost (2916)"
    assert read.ended - read.started == 0.5


def test_many_threads_share_the_port_within_the_limits_on_sessions(wired):
    ids = [wired.vm("web01"), wired.vm("web03")]

    def ask(number):
        if number % 3 == 0:
            return len(wired.port.site().hosts)
        return len(networks(wired.port, (HV1, HV2)[number % 2], ids))

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(48))) == {1, 3}
    assert wired.vmm.most <= 8
    assert wired.hosts[HV1].most <= 2


def test_an_error_of_vmm_keeps_its_message_and_number(wired):
    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfSite"] = lambda asked: bad(
        "unavailable", "The VMM service is not running", "1615"
    )
    with pytest.raises(VmmUnavailable, match=r"The VMM service is not running \(1615\)"):
        wired.port.site()


def test_a_wrong_address_of_one_host_affects_only_that_host(wired, looks):
    hosts = dict(wired.settings.hosts) | {HV2: HostAddress(address="127.0.0.1", port=1)}
    settings = wired.settings.model_copy(update={"hosts": hosts})
    with closing(WirePort(settings, wired.clock)) as port:
        fleet = looks(wired, port)

    assert fleet.host(HV1).seen_at == wired.clock.now()
    assert "it refused the connection" in fleet.host(HV2).error


# --- a whole run ------------------------------------------------------------------------------


def play(port, clock, world, folder, settings):
    """Play an approved `host hv01 to hv02` to its end. Return the report without the calls."""
    store = Store(folder)
    engine = Engine(store, port, clock, settings)
    engine.take_over()
    skip = Skip(clock.now())
    try:
        engine.look()
        service = Service(store, clock, settings)
        run = service.submit(parse("host hv01 to hv02"), by="terminal:ann").run
        for _ in range(2000):
            advanced = engine.advance()
            for approval in queries.open_approvals(store):
                service.decide(approval.id, "approve", by="terminal:ann")
                skip.note_change(clock.now())
            if queries.run(store, run.id).over:
                break
            moments = skip.moments(engine, world, advanced, clock.now())
            clock.jump(next_tick(clock.now(), world.start, 5.0, *moments))
        told = {"calls": [], "fleet": world.truth(), "violations": list(world.violations)}
        return report.document(store, "vmm01", clock.now(), world=told)
    finally:
        engine.close()
        store.close()


def test_a_whole_run_over_the_wire_has_the_same_report_as_the_simulated_run(ground, tmp_path):
    wired = Wired(ground)
    over = play(wired.port, wired.clock, wired.world, tmp_path / "wire.db", wired.settings)
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
