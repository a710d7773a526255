"""Repairs through both ports: networks, failed jobs, VMM's view, running jobs."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.errors import VmmError, VmmLocked, VmmRefused, VmmUnavailable
from engine.model import Acl, Adapter, AdapterRepair, Network, Repair
from engine.policy.judging import network
from engine.sim.fleet_file import parse
from engine.sim.lies import unplugged
from tests.contract.conftest import (
    DB01,
    EDGE01,
    FLEET,
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
    there.port.repair_network(vm, Repair(host, (AdapterRepair(nic.id, nic.mac, **wanted),)))


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
    assert there.port.networks(HV01, [WEB01])[WEB01].adapters[0].acls == acls


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
    assert there.port.networks(HV01, [WEB01])[WEB01].adapters[0].classic_acls == rules


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

    found = there.port.networks(HV01, [vm])[vm]
    there.port.repair_network(vm, network.repair(HV01, saved, found))

    assert there.port.networks(HV01, [vm])[vm] == saved


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
    there.port.repair_network(WEB01, Repair(HV01, (one,)))


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

    error = fails(VmmRefused, there.port.repair_network, WEB01, one(there, there.nics(DB01)[0]))

    assert "'web01' has no adapter" in str(error)
    assert there.nics(WEB01) == before


def test_rules_are_added_only_on_the_host_of_the_vm(there):
    nic = there.nics(WEB01)[0]
    wanted = Repair(HV02, (AdapterRepair(nic.id, nic.mac, acls=(RULE,)),))

    fails(VmmRefused, there.port.repair_network, WEB01, wanted)
    assert RULE not in there.nics(WEB01)[0].acls


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"switch": "LS-Two"}, {"network": "VM-Net-20"}])
def test_connections_are_restored_only_on_the_host_of_the_vm(there, wanted):
    before = list(there.nics(WEB01))

    error = fails(VmmRefused, lambda: repair(there, WEB01, host=HV02, **wanted))

    assert "is not on hv02" in str(error)
    assert there.nics(WEB01) == before


def test_a_repair_of_an_unknown_vm_is_refused(there):
    fails(VmmRefused, there.port.repair_network, NOBODY, one(there, there.nics(WEB01)[0]))


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"acls": (RULE,)}], ids=["by VMM", "by Hyper-V"])
def test_a_repair_fails_while_the_host_is_locked_and_succeeds_afterwards(there, wanted):
    there.world.lock(there.now, HV01, 60)
    before = list(there.nics(WEB01))

    fails(VmmLocked, lambda: repair(there, WEB01, **wanted))

    assert there.nics(WEB01) == before
    there.pass_by(60)
    repair(there, WEB01, **wanted)
    assert there.nics(WEB01) != before


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"acls": (RULE,)}], ids=["by VMM", "by Hyper-V"])
def test_a_repair_of_a_migrating_vm_is_refused_as_locked(there, wanted):
    there.start()

    fails(VmmLocked, lambda: repair(there, WEB01, **wanted))


@pytest.mark.parametrize("wanted", [{"vlan": 77}, {"acls": (RULE,)}], ids=["by VMM", "by Hyper-V"])
def test_a_repair_on_a_silent_host_may_have_happened(there, wanted):
    there.world.down(there.now, HV01, 60)

    error = fails(VmmUnavailable, lambda: repair(there, WEB01, **wanted))

    assert error.happened is None


def test_restoring_a_connection_fails_while_vmm_is_down(there):
    there.world.down(there.now, "vmm", 60)

    fails(VmmUnavailable, lambda: repair(there, WEB01, vlan=77))


# --- failed jobs, VMM's view, jobs that run ---------------------------------------------------


@pytest.fixture
def failed(there) -> Scene:
    """Both ports, after a failed move of web01."""
    there.world.outcome(there.now, "web01", "failed", "source")
    there.start()
    there.pass_by(600)
    assert there.port.observe().vm(WEB01).failed
    return there


def test_a_failed_job_is_dismissed(failed):
    for _ in range(2):
        failed.port.dismiss(WEB01)
        assert failed.port.observe().vm(WEB01).vmm_status == "Running"
    assert failed.start()


def test_dismissing_a_failed_move_shows_that_the_vm_has_moved(there):
    there.world.outcome(there.now, "web01", "failed", "destination")
    there.start()
    there.pass_by(600)

    there.port.dismiss(WEB01)

    vm = there.port.observe().vm(WEB01)
    assert (vm.vmm_status, vm.vmm_host) == ("Running", HV02)


def test_a_refresh_clears_an_incomplete_vm_configuration(there):
    there.world.power(there.now, "web01", "IncompleteVMConfig")

    for _ in range(2):
        there.port.refresh(WEB01)
        assert there.port.observe().vm(WEB01).vmm_status == "Running"


def test_a_refresh_of_a_vm_shows_a_power_change_that_vmm_had_missed(lying):
    there = lying('status_stale = ["1h", "1h"]')
    there.world.power(there.now, "web01", "PowerOff")
    assert there.port.observe().vm(WEB01).vmm_status == "Running"

    there.port.refresh(WEB01)

    assert there.port.observe().vm(WEB01).vmm_status == "PowerOff"


def test_stopping_a_job_leaves_the_vm_on_its_source(there):
    job = there.start()
    there.pass_by(60)

    for _ in range(2):
        there.port.stop_job(job)
        assert there.port.observe(jobs=[job]).job(job).state == "canceled"
    there.pass_by(3600)
    assert there.places(WEB01) == [HV01]


def test_stopping_an_ended_or_unknown_job_changes_nothing(there):
    job = there.start()
    there.pass_by(600)

    there.port.stop_job(job)
    there.port.stop_job(NOBODY)

    assert there.port.observe(jobs=[job]).job(job).state == "completed"


@pytest.mark.parametrize("name", ["dismiss", "refresh"])
def test_dismiss_and_refresh_fail_on_a_locked_host_and_succeed_afterwards(failed, name):
    failed.world.lock(failed.now, HV01, 60)

    error = fails(VmmLocked, getattr(failed.port, name), WEB01)

    assert (error.code, error.happened) == ("2606", False)
    failed.pass_by(60)
    getattr(failed.port, name)(WEB01)


@pytest.mark.parametrize("name", ["dismiss", "refresh"])
def test_dismiss_and_refresh_of_a_moving_vm_are_refused_as_locked(there, name):
    there.start()

    fails(VmmLocked, getattr(there.port, name), WEB01)


@pytest.mark.parametrize("name", ["dismiss", "refresh"])
def test_dismiss_and_refresh_of_an_unknown_vm_are_refused(there, name):
    error = fails(VmmRefused, getattr(there.port, name), NOBODY)

    assert f"VMM knows no virtual machine {NOBODY}" in str(error)


@pytest.mark.parametrize("name", ["dismiss", "refresh"])
def test_dismiss_and_refresh_fail_on_a_silent_host(failed, name):
    failed.world.down(failed.now, HV01, 60)

    fails(VmmUnavailable, getattr(failed.port, name), WEB01)


@pytest.mark.parametrize("name", ["dismiss", "refresh", "stop_job"])
def test_dismiss_refresh_and_stop_fail_while_vmm_is_down(there, name):
    job = there.start() if name == "stop_job" else WEB01
    there.world.down(there.now, "vmm", 60)

    fails(VmmUnavailable, getattr(there.port, name), job)
