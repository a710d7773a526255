"""Repairs through both ports: networks, failed jobs, VMM's view, running jobs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.errors import VmmError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import Acl, Adapter, AdapterRepair, Expected, Network, Repair
from engine.policy.judging import network
from engine.sim.fleet_file import parse
from engine.sim.lies import unplugged
from tests.contract.conftest import (
    DB01,
    EDGE01,
    FLEET,
    HOSTS,
    HV01,
    HV02,
    HV03,
    NOBODY,
    WEB01,
    WEB02,
    WIRED,
    Scene,
)
from tests.powershell.pwsh import needs_checks

RULE = Acl("Allow", "Inbound", 30, remote_ip="192.0.2.0/24", protocol="TCP", local_port="22")
STATEFUL = Acl("Deny", "Outbound", 31, stateful=True, idle_timeout=60, isolation_id=3)


def fails(kind: type[VmmError], act: Callable[..., object], *arguments: object) -> VmmError:
    with pytest.raises(VmmError) as caught:
        act(*arguments)
    assert type(caught.value) is kind
    return caught.value


def repair(there: Scene, vm: str, place: int = 0, host: str = HV01, **wanted: object) -> None:
    """Restore this on one adapter of a VM."""
    nic = there.nics(vm)[place]
    there.put_back(vm, Repair(host, (AdapterRepair(nic.id, nic.mac, **wanted),)))


# --- networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "then"),
    [
        ({"network": "VM-Net-20"}, {"network": "VM-Net-20"}),
        ({"switch": "LS-Two"}, {"switch": "LS-Two"}),
        ({"vlan": 77}, {"vlan": 77}),
        ({"vlan": 0}, {"vlan": 0}),
        (
            {"trunk": (5, 7), "native_vlan": 5},
            {"vlan": 0, "trunk": (5, 7), "native_vlan": 5},
        ),
        (
            {"network": "VM-Net-20", "switch": "LS-Two", "vlan": 4},
            {"network": "VM-Net-20", "switch": "LS-Two", "vlan": 4},
        ),
        (
            {"network": "VM-Net-20", "subnet": "Subnet-20"},
            {"network": "VM-Net-20", "subnet": "Subnet-20"},
        ),
        ({"classification": "Low bandwidth"}, {"classification": "Low bandwidth"}),
        ({"port_acl": "Back"}, {"port_acl": "Back"}),
        ({"isolation": 30, "vlan": 0}, {"isolation": 30, "vlan": 0}),
        ({"spoofing": "On"}, {"spoofing": "On"}),
        ({"guards": "router"}, {"guards": "router"}),
        ({"guards": "dhcp,router"}, {"guards": "dhcp,router"}),
    ],
    ids=[
        *("VM network", "switch", "VLAN", "untagged", "trunk", "all three", "subnet", "class"),
        *("port ACL", "isolation", "spoofing", "a guard", "both guards"),
    ],
)
def test_the_named_settings_are_restored_and_nothing_else_is_changed(there, wanted, then):
    before = list(there.nics(WEB01))

    for _ in range(2):
        repair(there, WEB01, **wanted)
        assert there.nics(WEB01) == [replace(before[0], **then), *before[1:]]


def test_rules_are_added_to_the_existing_rules(there):
    before = list(there.nics(WEB01))

    for _ in range(2):
        repair(there, WEB01, acls=(RULE, STATEFUL, before[0].acls[0]))
        acls = (*before[0].acls, RULE, STATEFUL)
        assert there.nics(WEB01) == [replace(before[0], acls=acls), *before[1:]]
    assert there.networks(HV01, [WEB01])[WEB01].adapters[0].acls == acls


def test_turning_on_one_guard_leaves_the_other_on(there):
    nics = there.world.state.vms[WEB01].nics
    nics[0] = replace(nics[0], guards="dhcp")

    repair(there, WEB01, guards="router")

    assert there.nics(WEB01)[0].guards == "dhcp,router"


def test_classic_rules_are_added_to_the_existing_classic_rules(there):
    before = list(there.nics(WEB01))
    added = (
        "Deny Inbound remote 00-15-5D-00-00-02",
        "Allow Outbound local 10.0.0.1 remote FE80::1",
    )
    open_ = "Deny Outbound remote ANY"

    for _ in range(2):
        repair(there, WEB01, classic_acls=(*added, open_, before[0].classic_acls[0]))
        rules = (*before[0].classic_acls, *added, open_)
        assert there.nics(WEB01) == [replace(before[0], classic_acls=rules), *before[1:]]
    assert there.networks(HV01, [WEB01])[WEB01].adapters[0].classic_acls == rules


def test_a_classic_rule_with_the_opposite_action_is_refused_and_changes_nothing(there):
    before = list(there.nics(WEB01))

    error = fails(
        VmmRefused,
        lambda: repair(there, WEB01, classic_acls=("Deny Inbound remote 10.0.0.0/8",)),
    )

    assert "Inbound remote 10.0.0.0/8 on adapter" in str(error)
    assert "is another rule already: Allow Inbound remote 10.0.0.0/8" in str(error)
    assert there.nics(WEB01) == before


@needs_checks
def test_an_existing_rule_is_not_added_again(begin, wire):
    there = begin(WIRED, parse(FLEET))

    for _ in range(2):
        repair(there, WEB01, acls=(RULE, *there.nics(WEB01)[0].acls))

    (call,) = wire.calls("Add-VMNetworkAdapterExtendedAcl")
    assert call.bound["Weight"] == RULE.weight


@pytest.mark.parametrize("vm", [WEB01, WEB02, DB01], ids=["running", "isolated", "powered down"])
def test_a_network_that_was_lost_completely_is_restored_completely(there, vm):
    saved = Network(tuple(there.nics(vm)))
    nothing = {"acls": (), "classic_acls": (), "port_acl": None, "spoofing": None, "guards": None}
    there.world.state.vms[vm].nics = [
        replace(unplugged(nic) if nic.connected else nic, **nothing) for nic in saved.adapters
    ]

    found = there.networks(HV01, [vm])[vm]
    there.put_back(vm, network.repair(HV01, saved, found))

    assert there.networks(HV01, [vm])[vm] == saved


def test_a_different_rule_with_the_same_direction_and_weight_is_refused(there):
    before = list(there.nics(WEB01))
    other = replace(before[0].acls[1], action="Allow")

    for body in (other, replace(before[0].acls[0], idle_timeout=301)):
        error = fails(VmmRefused, lambda body=body: repair(there, WEB01, acls=(body,)))
        assert "is another rule already" in str(error)
        assert before[0].mac in str(error)
    assert there.nics(WEB01) == before


def test_a_rule_restored_before_a_refusal_stays(there):
    before = list(there.nics(WEB01))
    other = replace(before[0].acls[1], action="Allow")

    fails(VmmRefused, lambda: repair(there, WEB01, acls=(RULE, other)))

    assert there.nics(WEB01)[0].acls == (*before[0].acls, RULE)


def test_adding_a_rule_without_rights_is_refused(there):
    error = fails(VmmRefused, lambda: repair(there, EDGE01, host=HV03, acls=(RULE,)))

    assert "denied" in str(error)
    assert len(there.nics(EDGE01)[0].acls) == 1


def test_a_switch_missing_on_the_host_is_refused(there):
    before = list(there.nics(WEB01))

    assert "LS-Edge" in str(fails(VmmRefused, lambda: repair(there, WEB01, switch="LS-Edge")))
    assert there.nics(WEB01) == before


@needs_checks
@pytest.mark.parametrize("field", ["subnet", "classification", "port_acl"])
def test_an_unknown_subnet_classification_or_port_acl_is_refused_by_name(begin, field):
    there = begin(WIRED, parse(FLEET))
    before = list(there.nics(WEB01))

    assert "'No such'" in str(fails(VmmRefused, lambda: repair(there, WEB01, **{field: "No such"})))
    assert there.nics(WEB01) == before


def by_mac(there: Scene, mac: str, **wanted: object) -> None:
    one = AdapterRepair("Microsoft:ANOTHER\\ID", mac, **wanted)
    there.put_back(WEB01, Repair(HV01, (one,)))


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"acls": (RULE,)}], ids=["by VMM", "by Hyper-V"])
def test_an_adapter_with_a_new_id_is_found_by_its_mac(there, wanted):
    by_mac(there, there.nics(WEB01)[0].mac, **wanted)

    nic = there.nics(WEB01)[0]
    assert nic.vlan == 77 or RULE in nic.acls


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"acls": (RULE,)}], ids=["by VMM", "by Hyper-V"])
def test_a_mac_shared_by_two_adapters_identifies_neither(there, wanted):
    vm = there.world.state.vms[WEB01]
    vm.nics = before = [replace(nic, mac=vm.nics[0].mac) for nic in vm.nics]

    fails(VmmRefused, lambda: by_mac(there, vm.nics[0].mac, **wanted))
    assert there.nics(WEB01) == before


def one(there: Scene, nic: Adapter, host: str = HV01, vm: str = WEB01) -> Repair:
    return Repair(host, (AdapterRepair(nic.id, nic.mac, vlan=77, acls=(RULE,)),))


def test_a_repair_of_an_unknown_adapter_is_refused(there):
    before = list(there.nics(WEB01))

    error = fails(VmmRefused, there.put_back, WEB01, one(there, there.nics(DB01)[0]))

    assert "'web01' has no adapter" in str(error)
    assert there.nics(WEB01) == before


def test_rules_are_added_only_on_the_host_of_the_vm(there):
    nic = there.nics(WEB01)[0]
    wanted = Repair(HV02, (AdapterRepair(nic.id, nic.mac, acls=(RULE,)),))

    fails(VmmStale, there.put_back, WEB01, wanted)
    assert RULE not in there.nics(WEB01)[0].acls


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"switch": "LS-Two"}, {"network": "VM-Net-20"}])
def test_connections_are_restored_only_on_the_host_of_the_vm(there, wanted):
    before = list(there.nics(WEB01))

    fails(VmmStale, lambda: repair(there, WEB01, host=HV02, **wanted))

    assert there.nics(WEB01) == before


def test_a_repair_of_an_unknown_vm_is_stale(there):
    wanted = one(there, there.nics(WEB01)[0])

    fails(VmmStale, there.put_ports, NOBODY, wanted)
    fails(VmmStale, there.put_models, NOBODY, wanted)


def test_vmm_restores_nothing_on_a_locked_host_and_hyperv_does(there):
    there.world.lock(there.now, HV01, 60)
    before = list(there.nics(WEB01))
    nic = before[0]
    wanted = Repair(HV01, (AdapterRepair(nic.id, nic.mac, network="VM-Net-20", acls=(RULE,)),))

    fails(VmmLocked, there.put_models, WEB01, wanted)
    assert there.nics(WEB01) == before
    there.put_ports(WEB01, wanted)
    assert there.nics(WEB01)[0] == replace(nic, acls=(*nic.acls, RULE))

    there.pass_by(60)
    there.put_models(WEB01, wanted)
    assert there.nics(WEB01)[0].network == "VM-Net-20"


HALVES = pytest.mark.parametrize(
    ("half", "wanted"),
    [("put_models", {"network": "VM-Net-20"}), ("put_ports", {"acls": (RULE,)})],
    ids=["by VMM", "by Hyper-V"],
)


@HALVES
def test_a_repair_of_a_migrating_vm_is_stale(there, half, wanted):
    nic = there.nics(WEB01)[0]
    there.start()

    repair = Repair(HV01, (AdapterRepair(nic.id, nic.mac, **wanted),))
    error = fails(VmmStale, getattr(there, half), WEB01, repair)
    assert error.happened is False
    assert there.nics(WEB01)[0] == nic


@HALVES
def test_a_repair_after_its_deadline_is_stale(there, half, wanted):
    nic = there.nics(WEB01)[0]
    repair = Repair(HV01, (AdapterRepair(nic.id, nic.mac, **wanted),))
    clock = there.until - 60 if half == "put_models" else there.now

    put = getattr(there.port, half)
    fails(VmmStale, put, WEB01, repair, Expected(HV01, clock - 1))
    assert there.nics(WEB01)[0] == nic
    put(WEB01, repair, Expected(HV01, clock))
    assert there.nics(WEB01)[0] != nic


@HALVES
def test_a_repair_on_a_silent_host_may_have_happened(there, half, wanted):
    nic = there.nics(WEB01)[0]
    there.world.down(there.now, HV01, 60)

    repair = Repair(HV01, (AdapterRepair(nic.id, nic.mac, **wanted),))
    assert fails(VmmUnavailable, getattr(there, half), WEB01, repair).happened is None


def test_restoring_a_connection_fails_while_vmm_is_down(there):
    there.world.down(there.now, "vmm", 60)

    fails(VmmUnavailable, lambda: repair(there, WEB01, network="VM-Net-20"))


def test_rules_are_restored_while_vmm_is_down(there):
    nic = there.nics(WEB01)[0]
    there.world.down(there.now, "vmm", 60)

    there.put_ports(WEB01, Repair(HV01, (AdapterRepair(nic.id, nic.mac, acls=(RULE,)),)))

    assert RULE in there.nics(WEB01)[0].acls


# --- failed jobs, VMM's view, jobs that run ---------------------------------------------------


@pytest.fixture
def failed(there) -> Scene:
    """Both ports, after a failed move of web01."""
    there.world.outcome(there.now, "web01", "failed", "source")
    there.start()
    there.pass_by(600)
    assert there.observe().vm(WEB01).failed
    return there


def test_a_failed_job_is_dismissed(failed):
    for _ in range(2):
        failed.clear(WEB01)
        assert failed.observe().vm(WEB01).vmm_status == "Running"
    assert failed.start()


def test_clearing_a_failed_move_re_reads_nothing(there):
    there.world.outcome(there.now, "web01", "failed", "destination")
    there.start()
    there.pass_by(600)

    there.clear(WEB01)

    vm = there.observe(HOSTS).vm(WEB01)
    assert (vm.vmm_status, vm.vmm_host, vm.seen_on) == ("Running", HV01, (HV02,))
    assert there.reread(WEB01).state == "completed"
    assert there.observe().vm(WEB01).vmm_host == HV02


def test_a_re_read_clears_an_incomplete_vm_configuration(there):
    there.world.power(there.now, "web01", "IncompleteVMConfig")

    for _ in range(2):
        assert there.reread(WEB01).state == "completed"
        assert there.observe().vm(WEB01).vmm_status == "Running"


def test_a_re_read_of_a_vm_shows_a_power_change_that_vmm_had_missed(lying):
    there = lying('status_stale = ["1h", "1h"]')
    there.world.power(there.now, "web01", "PowerOff")
    assert there.observe().vm(WEB01).vmm_status == "Running"

    there.reread(WEB01)

    assert there.observe().vm(WEB01).vmm_status == "PowerOff"


def test_stopping_a_job_leaves_the_vm_on_its_source(there):
    job = there.start()
    there.pass_by(60)

    for _ in range(2):
        there.stop(job)
        assert there.observe(jobs=[job]).job(job).state == "canceled"
    there.pass_by(3600)
    assert there.places(WEB01) == [HV01]


def test_stopping_an_ended_or_unknown_job_changes_nothing(there):
    job = there.start()
    there.pass_by(600)

    there.stop(job)
    there.stop(NOBODY)

    assert there.observe(jobs=[job]).job(job).state == "completed"


def why_not(there: Scene, vm: str) -> str:
    """VMM's reason not to re-read a VM: it refuses the job, or the job fails."""
    try:
        job = there.reread(vm)
    except VmmLocked as error:
        return str(error)
    assert job.state == "failed"
    return job.error or ""


def test_vmm_clears_and_re_reads_nothing_on_a_locked_host_until_it_is_free(failed):
    failed.world.lock(failed.now, HV01, 60)

    error = fails(VmmLocked, failed.clear, WEB01)

    assert (error.code, error.happened) == ("2606", False)
    assert "2606" in why_not(failed, WEB01)
    failed.pass_by(60)
    failed.clear(WEB01)
    assert failed.reread(WEB01).state == "completed"


def test_vmm_clears_and_re_reads_no_vm_in_flight(there):
    there.start()

    fails(VmmStale, there.clear, WEB01)
    assert "2606" in why_not(there, WEB01)


def test_clearing_an_unknown_vm_is_stale_and_re_reading_it_is_refused(there):
    assert f"{NOBODY} is gone" in str(fails(VmmStale, there.clear, NOBODY))
    assert f"VMM knows no virtual machine {NOBODY}" in str(fails(VmmRefused, there.reread, NOBODY))


def test_vmm_clears_and_re_reads_nothing_on_a_silent_host(failed):
    failed.world.down(failed.now, HV01, 60)

    fails(VmmUnavailable, failed.clear, WEB01)
    assert why_not(failed, WEB01)


@pytest.mark.parametrize("name", ["clear", "reread", "stop"])
def test_vmm_clears_re_reads_and_stops_nothing_while_it_is_down(there, name):
    job = there.start() if name == "stop" else WEB01
    there.world.down(there.now, "vmm", 60)

    fails(VmmUnavailable, getattr(there, name), job)
