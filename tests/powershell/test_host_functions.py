"""VMFerry.Host on a Hyper-V host: reads, repairs and refusals."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.model import Acl
from engine.vmm.powershell import module_text
from tests.powershell import stubs
from tests.powershell.pwsh import Shell, needs_checks
from tests.powershell.scene import DB01, FLEET, HV01, HV02, WEB01, Scene

pytestmark = needs_checks

BODY = {
    "action": "Allow",
    "direction": "Inbound",
    "weight": 10,
    "local_ip": "ANY",
    "remote_ip": "10.0.0.0/8",
    "local_port": "ANY",
    "remote_port": "443",
    "protocol": "TCP",
    "stateful": True,
    "idle_timeout": 600,
    "isolation_id": 0,
}
DENY = {
    "action": "Deny",
    "direction": "Inbound",
    "weight": 1,
    "local_ip": "ANY",
    "remote_ip": "ANY",
    "local_port": "ANY",
    "remote_port": "ANY",
    "protocol": "ANY",
    "stateful": False,
    "idle_timeout": 0,
    "isolation_id": 7,
}


def state(scene: Scene, on: str = HV01) -> dict:
    return scene.host("Get-VmfHostState", on=on).data


def adapters(scene: Scene, vm_id: str = DB01) -> list[dict]:
    (found,) = scene.host("Get-VmfHostNetwork", VmIds=[vm_id]).data["vms"]
    return found["adapters"]


def put(scene: Scene, **one: object):
    """Restore something on the first adapter of db01."""
    nic = scene.world.state.vms[DB01].nics[0]
    plain = {"id": nic.id, "mac": nic.mac, "acls": [], "vlan": None, "trunk": [], "native_vlan": 0}
    plain |= {"switch": None, "classic_acls": [], "isolation": None, "spoofing": None}
    wanted = json.dumps([{**plain, "guards": None, **one}])
    return scene.host("Add-VmfHostPort", VmId=DB01, Adapters=wanted, NotAfter=scene.at(60))


def lose_acls(scene: Scene) -> None:
    there = scene.world.state.vms[DB01]
    there.nics = [replace(nic, acls=()) for nic in there.nics]


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["injected", "imported"])
def test_a_host_reports_its_vms_with_the_states_of_hyperv(open_scene, way):
    scene = open_scene(way)
    scene.world.backup(scene.clock.now(), "web01", 600)
    found = state(scene)

    assert (found["host"], found["live_limit"], found["storage_limit"]) == (HV01, 2, 2)
    assert [(one["id"], one["name"], one["state"], one["status"]) for one in found["vms"]] == [
        (WEB01, "web01", "Running", ["InService", "BackingUpVirtualMachine"]),
        (DB01, "db01", "Off", ["Ok"]),
    ]


def test_a_migration_shows_in_the_operational_status(scene):
    scene.start()

    assert "MigratingVirtualMachine" in state(scene)["vms"][0]["status"]


def test_an_empty_host_returns_an_empty_list_of_vms(scene):
    assert state(scene, HV02)["vms"] == []


def test_a_host_reports_its_switches_and_the_switches_of_each_vm(scene):
    lan = '[[vm.nic]]\nswitch = "LS-Two"\n'
    off = "[[vm.nic]]\nconnected = false\n"
    vms = f'[[vm]]\nname = "a"\nhost = "hv01"\n{lan}{lan}[[vm.nic]]\n{off}'
    vms += f'[[vm]]\nname = "b"\nhost = "hv01"\n{off}[[vm]]\nname = "c"\nhost = "hv01"\n'
    names = 'switches = ["LS-Main", "LS-Two", "LS-Three"]'
    scene.play(f'format = 1\n[[host]]\nname = "{HV01}"\n{names}\n{vms}')
    found = state(scene)

    assert found["switches"] == ["LS-Main", "LS-Two", "LS-Three"]
    assert [vm["switches"] for vm in found["vms"]] == [["LS-Two", "LS-Main"], [], []]


@pytest.mark.parametrize(
    ("cmdlet", "switches", "used"),
    [("Get-VMSwitch", None, ["LS-Main"]), ("Get-VMNetworkAdapter", ["LS-Main"], None)],
)
def test_a_host_that_fails_to_list_its_switches_still_reports_its_vms(
    scene, cmdlet, switches, used
):
    problem = {"kind": "hyperv", "id": "ObjectNotFound", "text": "Hyper-V found no such object"}
    scene.server.quirks.errors[cmdlet] = problem
    found = state(scene)

    assert found["switches"] == switches
    assert [(vm["id"], vm["switches"]) for vm in found["vms"]] == [(WEB01, used), (DB01, used)]


@pytest.mark.parametrize("cmdlet", ["Get-VMSwitch", "Get-VMNetworkAdapter"])
def test_a_host_that_disconnects_while_listing_its_switches_is_unavailable(scene, cmdlet):
    problem = {"kind": "lost", "id": "ConnectionLost", "text": "The pipe is broken"}
    scene.server.quirks.errors[cmdlet] = problem

    assert scene.host("Get-VmfHostState").error["class"] == "unavailable"


def test_a_replica_is_marked(scene):
    scene.play(
        f'format = 1\n[[host]]\nname = "{HV01}"\n[[vm]]\nname = "twin"\nhost = "hv01"\n'
        'blocks = ["replica"]\n'
    )

    assert state(scene)["vms"][0]["replica"] is True


def test_the_full_host_name_is_built_if_hyperv_reports_only_the_domain(scene):
    scene.server.quirks.domain_only = True

    assert state(scene)["host"] == "HV01.corp.example"


def test_a_host_reports_the_time_of_its_own_clock(scene):
    scene.play(FLEET.replace("format = 1", 'format = 1\nclock_skew = "90s"'))

    assert state(scene)["time"] == "2026-01-05T22:00:00.000000Z"


def test_adapters_are_reported_with_mac_rules_vlan_and_switch(scene):
    first, second, third = adapters(scene)

    assert first["mac"] == "00:1D:D8:B7:2C:02"
    assert first["acls"] == [BODY, DENY]
    assert (first["vlan"], first["trunk"], first["native_vlan"]) == (10, [], 0)
    assert (second["vlan"], second["trunk"], second["native_vlan"]) == (0, [20, 30], 20)
    assert (third["switch"], third["connected"]) == (None, False)


def test_adapters_have_the_same_ids_in_vmm_and_on_the_host(scene):
    (vmm,) = scene.vmm("Get-VmfNetwork", VmIds=[DB01]).data["vms"]

    assert [one["id"] for one in vmm["adapters"]] == [one["id"] for one in adapters(scene)]
    assert [one["mac"] for one in vmm["adapters"]] == [one["mac"] for one in adapters(scene)]


def test_isolation_spoofing_and_guards_are_reported_only_if_they_are_on(scene):
    there = scene.world.state.vms[DB01]
    on = {"isolation": 30, "spoofing": "On", "guards": "dhcp,router"}
    there.nics[0] = replace(there.nics[0], **on)
    first, second, _ = adapters(scene)
    plain = {"isolation": 0, "spoofing": None, "guards": None}

    assert {key: first[key] for key in on} == on
    assert {key: second[key] for key in on} == plain


@pytest.mark.parametrize("word", ["ANY", "any", "*", "", None])
def test_every_spelling_of_an_unrestricted_field_is_read_as_any(scene, word):
    scene.server.quirks.any_word = word

    assert adapters(scene)[0]["acls"] == [BODY, DENY]


def test_networks_leave_out_vms_that_are_not_on_the_host(scene):
    found = scene.host("Get-VmfHostNetwork", on=HV02, VmIds=[DB01, WEB01]).data

    assert found == {"vms": []}


def test_a_disconnected_host_is_unavailable(scene):
    scene.world.down(scene.clock.now(), HV01, 60)

    assert scene.host("Get-VmfHostState").error["class"] == "unavailable"


# --- restoring -------------------------------------------------------------------------------


def test_lost_rules_are_restored_exactly(scene):
    lose_acls(scene)
    assert put(scene, acls=[BODY, DENY]).data == {}

    assert adapters(scene)[0]["acls"] == [BODY, DENY]
    assert scene.world.state.vms[DB01].nics[0].acls == (Acl(**BODY), Acl(**DENY))
    assert scene.world.state.vms[DB01].nics[1].acls == ()


def test_unrestricted_fields_of_a_rule_are_not_passed_as_parameters(scene):
    lose_acls(scene)
    put(scene, acls=[BODY, DENY])
    allow, deny = [set(call.bound) for call in scene.calls("Add-VMNetworkAdapterExtendedAcl")]
    key = {"VMNetworkAdapter", "Action", "Direction", "Weight"}

    assert allow == key | {"RemoteIPAddress", "RemotePort", "Protocol", "Stateful"} | {
        "IdleSessionTimeout"
    }
    assert deny == key | {"IsolationID"}


def test_a_timeout_is_passed_only_with_a_stateful_rule(scene):
    lose_acls(scene)
    put(scene, acls=[{**DENY, "idle_timeout": 255}])

    assert "IdleSessionTimeout" not in scene.calls("Add-VMNetworkAdapterExtendedAcl")[0].bound


def test_existing_rules_are_not_added_again(scene):
    assert put(scene, acls=[BODY, DENY]).data == {}
    assert put(scene, acls=[BODY, BODY]).data == {}

    assert scene.calls("Add-VMNetworkAdapterExtendedAcl") == []


def test_a_rule_requested_twice_is_added_once(scene):
    lose_acls(scene)
    put(scene, acls=[BODY, BODY])

    assert len(scene.calls("Add-VMNetworkAdapterExtendedAcl")) == 1


def test_a_rule_with_the_same_key_is_never_overwritten(scene):
    error = put(scene, acls=[{**BODY, "remote_port": "80"}]).error

    assert (error["class"], error["code"]) == ("refused", "acl_conflict")
    assert error["message"].startswith("Inbound weight 10 on adapter 00:1D:D8:B7:2C:02 is another")
    assert adapters(scene)[0]["acls"] == [BODY, DENY]


@pytest.mark.parametrize("field", sorted(BODY))
def test_a_missing_field_of_a_rule_is_an_error_and_does_not_mean_any(scene, field):
    lose_acls(scene)
    error = put(scene, acls=[{k: v for k, v in BODY.items() if k != field}]).error

    assert (error["class"], error["code"]) == ("refused", "contract")
    assert field in error["message"]
    assert scene.calls("Add-VMNetworkAdapterExtendedAcl") == []


def test_a_rule_of_another_adapter_does_not_conflict(scene):
    second = scene.world.state.vms[DB01].nics[1]
    put(scene, id=second.id, mac=second.mac, acls=[{**BODY, "remote_port": "80"}])

    assert [one["remote_port"] for one in adapters(scene)[1]["acls"]] == ["80"]


def test_an_adapter_with_another_id_is_found_by_its_mac(scene):
    lose_acls(scene)
    put(scene, id="Microsoft:ELSE\\WHERE", mac="001DD8B72C02", acls=[BODY])

    assert adapters(scene)[0]["acls"] == [BODY]


def test_an_adapter_that_cannot_be_identified_is_refused(scene):
    there = scene.world.state.vms[DB01]
    there.nics = [replace(nic, mac="00:1D:D8:B7:2C:02") for nic in there.nics]
    error = put(scene, id="Microsoft:ELSE\\WHERE", acls=[BODY]).error

    assert (error["class"], error["code"]) == ("refused", "no_adapter")


def test_a_trunk_is_restored_only_once(scene):
    put(scene, trunk=[30, 20], native_vlan=20)
    put(scene, trunk=[20, 30], native_vlan=20)
    first = adapters(scene)[0]

    assert (first["vlan"], first["trunk"], first["native_vlan"]) == (0, [20, 30], 20)
    assert len(scene.calls("Set-VMNetworkAdapterVlan")) == 1


@pytest.mark.parametrize(("vlan", "asked"), [(30, "Access"), (0, "Untagged")])
def test_an_access_vlan_or_none_is_restored_only_once(scene, vlan, asked):
    put(scene, vlan=vlan)
    put(scene, vlan=vlan)
    (call,) = scene.calls("Set-VMNetworkAdapterVlan")

    assert call.bound[asked] is True
    assert adapters(scene)[0]["vlan"] == vlan


def test_an_isolated_adapter_gets_no_access_vlan(scene):
    there = scene.world.state.vms[DB01]
    there.nics[0] = replace(there.nics[0], isolation=30, vlan=0)
    put(scene, vlan=30)

    assert scene.calls("Set-VMNetworkAdapterVlan") == []


def test_a_switch_is_connected_only_once(scene):
    third = scene.world.state.vms[DB01].nics[2]
    put(scene, id=third.id, mac=third.mac, switch="LS-Main")
    put(scene, id=third.id, mac=third.mac, switch="LS-Main")

    assert adapters(scene)[2]["switch"] == "LS-Main"
    assert len(scene.calls("Connect-VMNetworkAdapter")) == 1


ALLOW, STOP = "Allow Inbound remote 10.0.0.0/8", "Deny Outbound local 00-15-5D-00-00-01"


def test_classic_rules_are_texts_without_metering_rules(scene):
    there = scene.world.state.vms[DB01]
    there.nics[0] = replace(there.nics[0], classic_acls=(ALLOW, STOP, "Deny Inbound remote ANY"))
    scene.server.quirks.metering = True
    first, second, _ = adapters(scene)

    assert first["classic_acls"] == [ALLOW, STOP, "Deny Inbound remote ANY"]
    assert second["classic_acls"] == []


def test_a_classic_rule_is_restored_only_once_with_the_right_kind_of_address(scene):
    rules = [ALLOW, STOP, "Allow Inbound local 10.0.0.1 remote FE80::1"]
    put(scene, classic_acls=rules)
    put(scene, classic_acls=rules)
    first, second, third = scene.calls("Add-VMNetworkAdapterAcl")

    assert first.bound["RemoteIPAddress"] == ["10.0.0.0/8"]
    assert second.bound["LocalMacAddress"] == ["00-15-5D-00-00-01"]
    assert (third.bound["LocalIPAddress"], third.bound["RemoteIPAddress"]) == (
        ["10.0.0.1"],
        ["FE80::1"],
    )
    assert adapters(scene)[0]["classic_acls"] == rules


def test_a_classic_rule_with_the_opposite_action_is_never_overwritten(scene):
    put(scene, classic_acls=[ALLOW])
    error = put(scene, classic_acls=[ALLOW.replace("Allow", "Deny")]).error

    assert (error["class"], error["code"]) == ("refused", "acl_conflict")
    assert adapters(scene)[0]["classic_acls"] == [ALLOW]


@pytest.mark.parametrize("text", ["Meter Inbound remote ANY", "Allow Inbound", "Allow Both", ""])
def test_an_invalid_classic_rule_is_refused(scene, text):
    error = put(scene, classic_acls=[text]).error

    assert (error["class"], error["code"]) == ("refused", "contract")
    assert scene.calls("Add-VMNetworkAdapterAcl") == []


def test_isolation_is_restored_only_once_and_allows_untagged_traffic(scene):
    put(scene, isolation=77)
    put(scene, isolation=77)
    (call,) = scene.calls("Set-VMNetworkAdapterIsolation")

    assert call.bound["IsolationMode"] == "Vlan"
    assert (call.bound["DefaultIsolationID"], call.bound["AllowUntaggedTraffic"]) == (77, True)
    assert adapters(scene)[0]["isolation"] == 77


def test_spoofing_and_guards_are_turned_on_only_if_they_are_off(scene):
    put(scene, guards="dhcp")
    put(scene, spoofing="On", guards="dhcp,router")
    put(scene, spoofing="On", guards="dhcp,router")
    calls = [dict(call.bound) for call in scene.calls("Set-VMNetworkAdapter")]

    assert [call.pop("VMNetworkAdapter") for call in calls] != []
    assert calls == [{"DhcpGuard": "On"}, {"MacAddressSpoofing": "On", "RouterGuard": "On"}]
    assert (adapters(scene)[0]["spoofing"], adapters(scene)[0]["guards"]) == ("On", "dhcp,router")


def test_a_repair_of_a_vm_in_use_is_refused_as_locked(scene):
    busy = {"kind": "hyperv", "id": "ObjectInUse", "text": "The object is in use."}
    scene.server.quirks.errors["Add-VMNetworkAdapterExtendedAcl"] = busy
    lose_acls(scene)
    error = put(scene, acls=[BODY]).error

    assert error["class"] == "locked"
    assert error["fqeid"] == "ObjectInUse,Add-VMNetworkAdapterExtendedAcl"


def test_invalid_json_is_refused(scene):
    reply = scene.host("Add-VmfHostPort", VmId=DB01, Adapters="[{", NotAfter=scene.at(60))

    assert reply.error["class"] == "refused"


# --- rights ----------------------------------------------------------------------------------


def test_checking_rights_changes_nothing(scene):
    before = scene.world.to_json()

    assert scene.host("Test-VmfRights").data == {"readable": True, "writable": True, "why": None}
    assert all(call.whatif for call in scene.calls("Add-VMNetworkAdapterExtendedAcl"))
    assert scene.calls("Add-VMNetworkAdapterExtendedAcl") != []
    assert scene.world.to_json() == before


def test_missing_rights_have_a_reason(scene):
    scene.play(FLEET.replace(f'name = "{HV01}"', f'name = "{HV01}"\nacl_rights = false'))
    found = scene.host("Test-VmfRights").data

    assert (found["readable"], found["writable"]) == (True, False)
    assert found["why"] == f"Access to the extended ACLs of {HV01} is denied"


@pytest.mark.parametrize("allowed", [True, False])
def test_rights_on_a_host_without_vms_are_checked_on_the_adapter_of_the_host(scene, allowed):
    lower = str(allowed).lower()
    scene.play(FLEET.replace(f'name = "{HV02}"', f'name = "{HV02}"\nacl_rights = {lower}'))
    found = scene.host("Test-VmfRights", on=HV02).data

    assert (found["readable"], found["writable"]) == (True, allowed)
    assert [call.whatif for call in scene.calls("Add-VMNetworkAdapterExtendedAcl")] == [True]


def test_checking_rights_on_a_silent_host_is_unavailable(scene):
    scene.world.down(scene.clock.now(), HV01, 60)

    assert scene.host("Test-VmfRights").error["class"] == "unavailable"


# --- the alias trap --------------------------------------------------------------------------


@pytest.fixture
def trapped(scene, stub_modules) -> Iterator[Shell]:
    """A host with VMM's console, where Get-VM means Get-SCVirtualMachine."""
    environment = stubs.environment(stub_modules, scene.server.port, HV01)
    opening = stubs.opening(HV01, both=True)
    with Shell(environment, f"{opening}\n{module_text('VMFerry.Host')}") as shell:
        yield shell


def test_host_functions_ignore_the_aliases_of_the_vmm_console(scene, trapped):
    trapped.call("Get-VM")
    assert [call.cmdlet for call in scene.server.calls] == ["Get-SCVirtualMachine"]
    scene.server.calls.clear()
    lose_acls(scene)
    nic = scene.world.state.vms[DB01].nics[0]
    wanted = {"id": nic.id, "mac": nic.mac, "acls": [BODY], "vlan": None, "trunk": [5]}
    wanted |= {"native_vlan": 5, "switch": "LS-Main", "isolation": 7, "spoofing": "On"}
    wanted |= {"guards": "dhcp", "classic_acls": ["Deny Inbound remote ANY"]}

    assert len(trapped.call("Get-VmfHostState").data["vms"]) == 2
    assert len(trapped.call("Get-VmfHostNetwork", VmIds=[DB01]).data["vms"]) == 1
    assert trapped.call("Test-VmfRights").data["readable"] is True
    assert len(trapped.call("Get-VmfPulse", VmIds=[DB01]).data["vms"]) == 1
    guarded = {"Adapters": json.dumps([wanted]), "NotAfter": scene.at(60)}
    assert trapped.call("Add-VmfHostPort", VmId=DB01, **guarded).data == {}
    assert [call.cmdlet for call in scene.server.calls if "-SC" in call.cmdlet] == []
