"""VMFerry.Vmm on a VMM server: reads, actions and refusals."""

import json
from dataclasses import replace

import pytest

from engine.sim.lies import unplugged
from tests.powershell.pwsh import needs_checks
from tests.powershell.scene import DB01, FLEET, HV01, HV02, WEB01, Scene
from tests.powershell.stubs import VMM
from tests.powershell.vmm_side import object_id, volume

pytestmark = needs_checks

HOSTS = "".join(f'[[host]]\nname = "{host}"\n' for host in (HV01, HV02))


def hosts(scene: Scene) -> list[dict]:
    return scene.vmm("Get-VmfSite").data["hosts"]


def vms(scene: Scene, host: str = HV01) -> list[dict]:
    return scene.vmm("Get-VmfInventory", HostName=host).data["vms"]


def jobs(scene: Scene, *ids: str) -> list[dict]:
    return scene.vmm("Get-VmfJobs", Ids=list(ids)).data["jobs"]


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["injected", "imported"])
def test_hosts_and_vms_are_reported_as_vmm_knows_them(open_scene, way):
    scene = open_scene(way)
    scene.start()

    assert [host["name"] for host in hosts(scene)] == [HV01, HV02]
    assert [host["path"] for host in hosts(scene)] == ["D:\\VMs", "E:\\Machines"]
    assert [one["name"] for one in vms(scene)] == ["web01", "db01"]
    assert [one["status"] for one in vms(scene)] == ["UnderMigration", "PowerOff"]


def test_vmm_without_vms_and_jobs_returns_empty_lists(scene):
    scene.play(f'format = 1\n[[host]]\nname = "{HV01}"\n')

    assert (vms(scene), jobs(scene)) == ([], [])
    assert scene.vmm("Get-VmfSite").data["vms"] == []
    assert len(hosts(scene)) == 1


def test_an_ended_job_is_shown_only_if_it_is_asked_for(scene):
    job = scene.start().data["job"]
    scene.pass_by(700)

    assert jobs(scene) == []
    (shown,) = jobs(scene, job, "no guid", "00000000-0000-0000-0000-000000000009")
    assert shown["state"] == "completed"
    assert shown["progress"] == 100
    assert shown["ended"] == "2026-01-05T22:10:00.000000Z"


def test_a_failed_job_has_a_message_and_an_error_number(scene):
    scene.world.outcome(scene.clock.now(), "web01", "failed", "source")
    job = scene.start().data["job"]
    scene.pass_by(700)
    (shown,) = jobs(scene, job)

    assert shown["state"] == "failed"
    assert shown["code"] == "12700"
    assert shown["error"].endswith("connection reset (0x80072746)")


def test_the_hosts_of_a_job_are_read_from_its_name_if_no_field_holds_them(scene):
    scene.server.quirks.job_hosts = False
    scene.start()
    (shown,) = jobs(scene)

    assert (shown["source"], shown["target"]) == (HV01, HV02)
    assert "name" not in shown


def test_a_job_has_no_target_until_vmm_reports_one(scene):
    scene.play(FLEET + '[lies]\ntarget_delay = ["20s", "20s"]\n')
    scene.start()
    (shown,) = jobs(scene)

    assert (shown["source"], shown["target"]) == (HV01, None)


def test_jobs_that_move_no_vm_are_not_shown(scene):
    scene.start()
    scene.server.quirks.job_cmdlet = "Set-SCVirtualMachine"

    assert jobs(scene) == []


def test_a_silent_host_has_an_error_without_a_reread(scene):
    scene.world.down(scene.clock.now(), HV01, 60)

    assert "NotResponding" in hosts(scene)[0]["error"]


def test_maintenance_is_reported(scene):
    scene.play(f"format = 1\n{HOSTS}maintenance = true\n")

    assert [host["maintenance"] for host in hosts(scene)] == [False, True]


def test_free_memory_and_disk_exclude_the_hosts_reserves(scene):
    scene.server.quirks.room = {
        HV01: {
            "AvailableMemory": 10000,
            "MemoryReserveMB": 2000,
            "DiskSpaceReserveMB": 500,
            "DiskVolumes": [volume("C:\\", 400), volume("D:\\", 9000)],
        },
        HV02: {"AvailableMemory": 100, "MemoryReserveMB": 256},
    }
    first, second = hosts(scene)

    assert first["free_memory_mb"] == 8000
    assert first["volumes"] == [{"name": "C:", "free_mb": 0}, {"name": "D:", "free_mb": 8500}]
    assert second["free_memory_mb"] == 0


def test_a_volume_mounted_as_a_folder_keeps_its_path(scene):
    path = "C:\\ClusterStorage\\Volume1"
    scene.server.quirks.room[HV01] = {"DiskVolumes": [volume(path, 9)]}

    assert hosts(scene)[0]["volumes"] == [{"name": path, "free_mb": 9}]


def test_unknown_memory_and_disk_of_a_host_are_null_and_not_zero(scene):
    some = [volume("C:\\", 10), volume("D:\\", None)]
    scene.server.quirks.room = {HV01: {}, HV02: {"DiskVolumes": some}}

    for host in hosts(scene):
        assert (host["free_memory_mb"], host["volumes"]) == (None, None)


def test_blocks_of_a_vm_are_reported_in_our_words(scene):
    words = ["ha", "pass_through", "shared_disk", "fibre_channel", "replica"]
    scene.play(f'format = 1\n{HOSTS}[[vm]]\nname = "big"\nhost = "hv01"\nblocks = {words}\n')
    (found,) = vms(scene)

    assert found["blocks"] == words
    assert found["replica"] is True


@pytest.mark.parametrize("word", ["ha", "pass_through", "shared_disk", "fibre_channel", "replica"])
def test_each_block_is_read_from_its_own_property_of_the_vm(scene, word):
    scene.play(f'format = 1\n{HOSTS}[[vm]]\nname = "big"\nhost = "hv01"\nblocks = ["{word}"]\n')
    (found,) = vms(scene)

    assert found["blocks"] == [word]


def test_a_vm_in_the_library_is_reported_as_stored(scene):
    scene.play(f'format = 1\n{HOSTS}[[vm]]\nname = "old"\nhost = "hv01"\nstatus = "Stored"\n')
    (found,) = scene.vmm("Get-VmfSite").data["vms"]

    assert (found["stored"], found["status"]) == (True, "Stored")
    assert found["host"] == "hv01.corp.example"  # the server of its library


def test_vmm_reports_the_network_switch_and_vlan_of_each_adapter(scene):
    (found,) = scene.vmm(
        "Get-VmfNetwork", VmIds=[DB01, "33333333-CCCC-4CCC-8CCC-000000000003"]
    ).data["vms"]

    assert found["id"] == DB01
    assert [one["vlan"] for one in found["adapters"]] == [10, 0, 10]
    assert [one["network"] for one in found["adapters"]] == ["VM-Net-10", "VM-Net-20", "VM-Net-10"]
    assert [one["switch"] for one in found["adapters"]] == ["LS-Main", "LS-Main", None]
    first = found["adapters"][0]
    assert (first["subnet"], first["classification"]) == ("Subnet-10", "High bandwidth")
    assert (first["mac"], first["port_acl"]) == ("00:1D:D8:B7:2C:02", None)


def test_a_vm_id_is_found_in_lower_case_and_braces(scene):
    (found,) = scene.vmm("Get-VmfNetwork", VmIds=["{" + WEB01.lower() + "}"]).data["vms"]

    assert found["id"] == WEB01


def test_vms_are_listed_once_and_later_read_by_id(scene):
    scene.vmm("Get-VmfNetwork", VmIds=[WEB01])
    scene.server.calls.clear()
    scene.vmm("Get-VmfNetwork", VmIds=[WEB01, DB01])

    assert {call.set for call in scene.calls("Get-SCVirtualMachine")} == {"ID"}


# --- moving ----------------------------------------------------------------------------------


def test_a_live_move_starts_and_returns_its_job(scene):
    job = scene.start().data["job"]
    (move,) = scene.calls("Move-SCVirtualMachine")

    assert [one.id for one in scene.world.state.open] == [job]
    assert move.bound["BlockLiveMigrationIfHostBusy"] is True
    assert move.bound["RunAsynchronously"] is True
    assert move.bound["Path"] == "E:\\Machines"
    assert "JobGroup" not in move.bound
    assert scene.calls("Set-SCVirtualNetworkAdapter") == []


def test_the_vm_is_re_read_before_the_move(scene):
    scene.start()
    cmdlets = [call.cmdlet for call in scene.server.calls]

    assert cmdlets.index("Read-SCVirtualMachine") < cmdlets.index("Move-SCVirtualMachine")


@pytest.mark.parametrize("way", ["injected", "imported"])
@pytest.mark.parametrize("filled", [True, False])
def test_a_start_returns_the_job_of_the_move_even_if_vmm_leaves_the_variable_empty(
    open_scene, way, filled
):
    scene = open_scene(way)
    scene.server.quirks.job_variable = filled
    job = scene.start().data["job"]

    assert job == scene.world.state.open[0].id


def test_a_start_returns_no_job_rather_than_a_wrong_one_if_vmm_shows_none_yet(scene):
    scene.play(FLEET + '[lies]\njob_delay = ["20s", "20s"]\n')
    scene.server.quirks.job_variable = False

    assert scene.start().data["job"] is None


def test_a_given_path_reaches_the_move_unchanged(scene):
    scene.start(Path="F:\\Kunden\\web01")

    assert scene.calls("Move-SCVirtualMachine")[0].bound["Path"] == "F:\\Kunden\\web01"


def stale(reply) -> str:
    assert reply.error["class"] == "stale", reply.error
    return reply.error["code"]


def test_a_start_after_its_deadline_starts_nothing(scene):
    assert stale(scene.start(NotAfter=scene.at(-1))) == "deadline"
    assert scene.calls("Move-SCVirtualMachine") == []


def test_the_deadline_is_checked_against_the_clock_of_the_server(scene):
    scene.play(FLEET.replace("format = 1", 'format = 1\nclock_skew = "90s"'))

    assert stale(scene.start(NotAfter=scene.at(60))) == "deadline"
    assert scene.start(NotAfter=scene.at(150)).data["job"]


def test_a_deadline_in_another_time_zone_is_the_same_instant(scene):
    assert scene.start(NotAfter="2026-01-06T00:01:00+02:00").data["job"]
    assert stale(scene.start(NotAfter="2026-01-05T23:59:00+02:00")) == "deadline"


def test_an_invalid_deadline_is_refused(scene):
    assert scene.start(NotAfter="soon").error["code"] == "contract"


def test_a_vm_that_is_not_on_the_named_source_is_not_moved(scene):
    reply = scene.start(Source=HV02, Destination=HV01)

    assert stale(reply) == "elsewhere"
    assert reply.error["message"] == "web01 is not on hv02: VMM shows it on hv01"
    assert scene.calls("Move-SCVirtualMachine") == []


def test_a_vm_is_moved_if_only_vmms_stale_view_shows_it_elsewhere(scene):
    there = scene.world.state.vms[WEB01]
    there.vmm_host = HV02

    assert scene.start().data["job"]


@pytest.mark.parametrize(
    ("status", "power", "said"),
    [
        ("PowerOff", "running", "web01 is Off, not running"),
        ("Saved", "running", "web01 is Saved, not running"),
        ("Running", "down", "web01 is Running, not down"),
        ("Starting", "running", "web01 is Other, not running"),
        ("Starting", "down", "web01 is Other, not down"),
    ],
)
def test_a_vm_in_another_power_state_is_not_moved(scene, status, power, said):
    scene.world.power(scene.clock.now(), "web01", status)
    reply = scene.start(Power=power)

    assert stale(reply) == "power"
    assert reply.error["message"] == said
    assert scene.calls("Move-SCVirtualMachine") == []


@pytest.mark.parametrize("status", ["PowerOff", "Saved", "Paused"])
def test_off_saved_and_paused_vms_count_as_powered_down(scene, status):
    scene.world.power(scene.clock.now(), "web01", status)

    assert scene.start(Power="down", Pin="[]").data["job"]


def test_a_vm_that_others_are_moving_is_not_moved(scene):
    scene.world.foreign(scene.clock.now(), "web01", "hv02")

    assert stale(scene.start()) == "migrating"
    assert scene.calls("Move-SCVirtualMachine") == []


def test_a_second_start_is_stale_so_a_lost_reply_cannot_double_a_move(scene):
    assert scene.start().data["job"]
    assert stale(scene.start()) == "migrating"
    assert scene.world.violations == ()


def test_a_start_of_a_deleted_vm_is_stale(scene):
    scene.world.delete(scene.clock.now(), "web01")

    assert stale(scene.start()) == "gone"


def test_a_start_of_an_unknown_vm_is_stale(scene):
    assert stale(scene.start(VmId="44444444-DDDD-4DDD-8DDD-000000000004")) == "gone"


@pytest.mark.parametrize("end", ["Source", "Destination"])
def test_an_unknown_host_is_refused(scene, end):
    reply = scene.start(**{end: "hv77.corp.example"})

    assert reply.error["class"] == "refused"
    assert reply.error["code"] == "not_found"
    assert "hv77.corp.example" in reply.error["message"]


def test_a_locked_host_is_reported_with_the_error_number_of_vmm(scene):
    scene.world.lock(scene.clock.now(), HV02, 60)
    error = scene.start().error

    assert (error["class"], error["code"]) == ("locked", "2606")
    assert error["message"] == f"{HV02} is locked by another job"
    assert error["fqeid"] == "2606,Move-SCVirtualMachine"


def test_a_start_without_a_free_slot_is_refused_as_busy_and_not_queued(scene):
    scene.world.limit(scene.clock.now(), HV02, live=0)

    assert scene.start().error["class"] == "busy"
    assert scene.world.state.open == []


def test_a_refusal_of_vmm_keeps_its_message(scene):
    scene.world.power(scene.clock.now(), "web01", "MigrationFailed")
    error = scene.start().error

    assert error["class"] == "refused"
    assert error["message"] == "'web01' is in the state MigrationFailed and cannot be migrated"


def test_a_lost_answer_is_unavailable(scene):
    scene.play(FLEET + "[lies]\ntimeout_after = 1.0\n")

    assert scene.start().error["class"] == "unavailable"
    assert len(scene.world.state.open) == 1


def test_calls_fail_while_vmm_is_down_and_the_next_call_reconnects(scene):
    hosts(scene)
    scene.world.down(scene.clock.now(), "vmm", 60)
    assert scene.vmm("Get-VmfSite").error["class"] == "unavailable"
    assert scene.vmm("Get-VmfVersion").error["class"] == "unavailable"
    scene.pass_by(61)
    scene.server.calls.clear()

    assert len(hosts(scene)) == 2
    assert len(scene.calls("Get-SCVMMServer")) == 1


def test_the_connection_to_vmm_is_reused(scene):
    hosts(scene)
    scene.server.calls.clear()
    hosts(scene)

    assert scene.calls("Get-SCVMMServer") == []


def test_another_server_or_port_opens_another_connection(scene):
    scene.vmm("Get-VmfVersion", VmmServer="vmm02", Port=8101)

    assert scene.calls("Get-SCVMMServer")[-1].bound == {"ComputerName": "vmm02", "TCPPort": 8101}


# --- pinning ---------------------------------------------------------------------------------


def pins(scene: Scene, vm_id: str = DB01) -> str:
    (found,) = scene.vmm("Get-VmfNetwork", VmIds=[vm_id]).data["vms"]
    keys = ("id", "mac", "network", "subnet", "switch", "vlan", "classification")
    return json.dumps([{k: one[k] for k in keys} for one in found["adapters"] if one["switch"]])


def cold(scene: Scene, **changes: object):
    return scene.start(VmId=DB01, Power="down", **{"Pin": pins(scene), **changes})


def test_connected_adapters_and_the_move_share_one_job_group(scene):
    cold(scene)
    queued, (move,) = (
        scene.calls("Set-SCVirtualNetworkAdapter"),
        scene.calls("Move-SCVirtualMachine"),
    )

    assert len(queued) == 2
    assert {call.bound["JobGroup"] for call in queued} == {move.bound["JobGroup"]}
    assert [call.bound["VirtualNetwork"] for call in queued] == ["LS-Main", "LS-Main"]
    assert [call.bound["VLanEnabled"] for call in queued] == [True, False]
    assert [call.bound.get("VLanID") for call in queued] == [10, None]
    assert scene.server.calls.index(queued[-1]) < scene.server.calls.index(move)


def test_a_pinned_vm_arrives_with_its_networks(scene):
    cold(scene)
    scene.pass_by(700)
    arrived = scene.world.state.vms[DB01]

    assert arrived.hosts == [HV02]
    assert [nic.network for nic in arrived.nics[:2]] == ["VM-Net-10", "VM-Net-20"]
    assert [nic.switch for nic in arrived.nics] == ["LS-Main", "LS-Main", None]


def test_every_start_has_a_job_group_of_its_own(scene):
    scene.world.limit(scene.clock.now(), HV02, live=0)
    cold(scene)
    cold(scene)
    groups = [call.bound["JobGroup"] for call in scene.calls("Move-SCVirtualMachine")]

    assert len(set(groups)) == 2


def test_subnet_and_classification_are_pinned_only_if_the_adapter_has_them(scene):
    cold(scene)
    first, second = scene.calls("Set-SCVirtualNetworkAdapter")

    assert {"VMSubnet", "PortClassification"} <= set(first.bound)
    assert not {"VMSubnet", "PortClassification"} & set(second.bound)


def test_a_lost_subnet_and_classification_are_pinned_by_their_saved_names(scene):
    wanted = pins(scene)
    lose_connections(scene)
    cold(scene, Pin=wanted)
    first, second = scene.calls("Set-SCVirtualNetworkAdapter")

    assert first.bound["VMSubnet"] == object_id("VMSubnet", "Subnet-10")
    assert first.bound["PortClassification"] == object_id("PortClassification", "High bandwidth")
    assert not {"VMSubnet", "PortClassification"} & set(second.bound)


@pytest.mark.parametrize("gone", ["Subnet-10", "High bandwidth"])
def test_a_saved_name_that_vmm_no_longer_knows_does_not_prevent_a_move(scene, gone):
    wanted = pins(scene).replace(gone, "renamed since")
    assert cold(scene, Pin=wanted).data["job"]
    (first, _) = scene.calls("Set-SCVirtualNetworkAdapter")

    assert first.bound["VMSubnet"] == object_id("VMSubnet", "Subnet-10")
    assert first.bound["PortClassification"] == object_id("PortClassification", "High bandwidth")


def test_a_trunk_is_never_pinned_as_an_access_vlan(scene):
    wanted = json.loads(pins(scene))
    wanted[1]["vlan"] = None
    cold(scene, Pin=json.dumps(wanted))
    first, second = scene.calls("Set-SCVirtualNetworkAdapter")

    assert (first.bound["VLanEnabled"], first.bound["VLanID"]) == (True, 10)
    assert not {"VLanEnabled", "VLanID"} & set(second.bound)


def test_a_removed_adapter_is_not_pinned(scene):
    wanted = pins(scene)
    there = scene.world.state.vms[DB01]
    there.nics = there.nics[1:]
    cold(scene, Pin=wanted)

    assert len(scene.calls("Set-SCVirtualNetworkAdapter")) == 1


def test_a_pin_keeps_a_vlan_that_only_vmm_knows(scene):
    wanted = pins(scene).replace('"vlan": 10', '"vlan": 0')
    cold(scene, Pin=wanted)

    assert scene.calls("Set-SCVirtualNetworkAdapter")[0].bound["VLanID"] == 10


def test_a_lost_network_is_pinned_by_its_saved_name(scene):
    wanted = pins(scene)
    before = scene.world.state.vms[DB01].nics
    lose_connections(scene)
    cold(scene, Pin=wanted)
    first, second = scene.calls("Set-SCVirtualNetworkAdapter")

    assert first.bound["VMNetwork"] == object_id("VMNetwork", before[0].network)
    assert second.bound["VMNetwork"] == object_id("VMNetwork", before[1].network)
    assert first.bound["VirtualNetwork"] == "LS-Main"


def test_a_running_vm_is_never_pinned(scene):
    scene.start(Pin=pins(scene, WEB01))

    assert scene.calls("Set-SCVirtualNetworkAdapter") == []


def test_a_pin_with_a_missing_field_is_refused_before_the_move(scene):
    error = cold(scene, Pin='[{"id": "x", "mac": ""}]').error

    assert (error["class"], error["code"]) == ("refused", "contract")
    assert scene.calls("Move-SCVirtualMachine") == []


# --- repairing, re-reading, stopping -----------------------------------------------------------


def repair(scene: Scene, **one: object):
    nic = scene.world.state.vms[DB01].nics[0]
    plain = {"id": nic.id, "mac": nic.mac, "network": None, "switch": None, "vlan": None}
    plain |= {"subnet": None, "classification": None, "port_acl": None}
    wanted = {"VmId": DB01, "HostName": HV01, "Adapters": json.dumps([{**plain, **one}])}
    return scene.vmm("Repair-VmfModel", **wanted, NotAfter=scene.at(60))


def lose_connections(scene: Scene) -> None:
    there = scene.world.state.vms[DB01]
    there.nics = [unplugged(nic) for nic in there.nics]


def test_network_switch_and_vlan_are_restored_on_the_named_adapter_only(scene):
    lose_connections(scene)
    assert repair(scene, network="VM-Net-10", switch="LS-Main", vlan=10).data == {}
    first, second, _ = scene.world.state.vms[DB01].nics

    assert (first.network, first.switch, first.vlan) == ("VM-Net-10", "LS-Main", 10)
    assert (second.network, second.switch) == (None, None)


def test_an_adapter_with_another_id_is_found_by_its_mac(scene):
    lose_connections(scene)
    repair(scene, id="Microsoft:ELSE\\WHERE", network="VM-Net-10", switch="LS-Main")

    assert scene.world.state.vms[DB01].nics[0].switch == "LS-Main"


@pytest.mark.parametrize("mac", ["", "00:00:00:00:00:00", "00:1D:D8:FF:FF:FF"])
def test_an_adapter_that_cannot_be_identified_is_refused(scene, mac):
    error = repair(scene, id="Microsoft:ELSE\\WHERE", mac=mac, switch="LS-Main").error

    assert (error["class"], error["code"]) == ("refused", "no_adapter")


def test_a_vlan_of_zero_means_untagged_and_null_changes_nothing(scene):
    repair(scene, vlan=0)
    assert scene.world.state.vms[DB01].nics[0].vlan == 0
    scene.server.calls.clear()
    repair(scene)

    assert scene.calls("Set-SCVirtualNetworkAdapter") == []


def test_restoring_a_switch_alone_keeps_the_network(scene):
    repair(scene, switch="LS-Main")

    assert {"VMNetwork", "VirtualNetwork"} <= set(
        scene.calls("Set-SCVirtualNetworkAdapter")[0].bound
    )


def test_subnet_classification_and_port_acl_are_restored_by_name(scene):
    there, other = scene.world.state.vms[DB01], scene.world.state.vms[WEB01]
    other.nics[0] = replace(other.nics[0], port_acl="Tenant")
    there.nics[0] = replace(there.nics[0], subnet=None, classification=None)
    wanted = {"subnet": "Subnet-10", "classification": "High bandwidth", "port_acl": "Tenant"}
    repair(scene, **wanted)

    nic = there.nics[0]
    assert (nic.subnet, nic.classification, nic.port_acl) == tuple(wanted.values())
    bound = scene.calls("Set-SCVirtualNetworkAdapter")[0].bound
    assert {"VMNetwork", "VirtualNetwork"} <= set(bound)


def test_a_subnet_is_found_only_in_the_vm_network_of_the_adapter(scene):
    there = scene.world.state.vms[DB01]
    there.nics[1] = replace(there.nics[1], subnet="Subnet-20")
    second = there.nics[1]
    error = repair(scene, subnet="Subnet-20").error

    assert (error["class"], error["code"]) == ("refused", "no_subnet")
    assert "no VM subnet named 'Subnet-20'" in error["message"]
    assert repair(scene, id=second.id, mac=second.mac, subnet="Subnet-20").data == {}


def test_restoring_a_port_acl_alone_changes_no_connection(scene):
    scene.world.state.vms[WEB01].nics[0] = replace(
        scene.world.state.vms[WEB01].nics[0], port_acl="Tenant"
    )
    repair(scene, port_acl="Tenant")

    bound = scene.calls("Set-SCVirtualNetworkAdapter")[0].bound
    assert set(bound) == {"VirtualNetworkAdapter", "PortACL"}


def test_an_unknown_network_is_refused_by_name(scene):
    error = repair(scene, network="VM-Net-99").error

    assert (error["class"], error["code"]) == ("refused", "no_network")
    assert "VM-Net-99" in error["message"]


def reread(scene: Scene):
    return scene.vmm("Start-VmfReread", What="vm", Name=WEB01, NotAfter=scene.at(60))


def test_re_reading_a_vm_clears_an_outdated_status(scene):
    scene.world.power(scene.clock.now(), "web01", "IncompleteVMConfig")
    reread(scene)

    assert vms(scene)[0]["status"] == "Running"


def test_a_reread_of_a_migrating_vm_is_refused_as_locked(scene):
    scene.start()
    error = reread(scene).error

    assert (error["class"], error["code"]) == ("locked", "2606")


def test_a_lost_connection_is_not_taken_for_an_unknown_job(scene):
    job = scene.start().data["job"]
    problem = {"kind": "lost", "id": "ConnectionLost", "text": "The connection was lost."}
    scene.server.quirks.errors["Get-SCJob"] = problem

    reply = scene.vmm("Stop-VmfMove", JobId=job, NotAfter=scene.at(60))
    assert reply.error["class"] == "unavailable"


def test_vmm_functions_run_only_on_the_vmm_server(scene):
    hosts(scene)
    scene.start()

    assert {call.shell for call in scene.server.calls} == {VMM}
