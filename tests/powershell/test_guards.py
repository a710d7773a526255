"""Guards of changes: nothing is done to a VM that is not as the caller saw it, or too late."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.sim.lies import unplugged
from tests.powershell.pwsh import Reply, needs_checks
from tests.powershell.scene import DB01, FLEET, HV01, HV02, WEB01, Scene

pytestmark = needs_checks

NOBODY = "55555555-EEEE-4EEE-8EEE-000000000005"
RULE = {"action": "Allow", "direction": "Inbound", "weight": 10, "local_ip": "ANY"}
RULE |= {"remote_ip": "ANY", "local_port": "ANY", "remote_port": "ANY", "protocol": "ANY"}
RULE |= {"stateful": False, "idle_timeout": 0, "isolation_id": 0}


def clear(scene: Scene, **changes: object) -> Reply:
    """Drop the failed job of web01 on hv01, with a minute left."""
    plain = {"VmId": WEB01, "HostName": HV01, "NotAfter": scene.at(60)}
    return scene.vmm("Clear-VmfFailure", **{**plain, **changes})


def model(scene: Scene, **changes: object) -> Reply:
    """Restore the connections of all adapters of web01 in VMM."""
    nics = scene.world.state.vms[WEB01].nics
    rest = dict.fromkeys(("subnet", "vlan", "classification", "port_acl"))
    rest |= {"network": "VM-Net-10", "switch": "LS-Main"}
    rows = [{"id": nic.id, "mac": nic.mac, **rest} for nic in nics]
    plain = {"VmId": WEB01, "HostName": HV01, "NotAfter": scene.at(60)}
    return scene.vmm("Repair-VmfModel", **{**plain, "Adapters": json.dumps(rows), **changes})


def port(scene: Scene, **changes: object) -> Reply:
    """Restore a rule on all adapters of web01 in Hyper-V."""
    rest = {"classic_acls": [], "vlan": None, "trunk": [], "native_vlan": 0, "switch": None}
    rest |= {"isolation": None, "spoofing": None, "guards": None, "acls": [RULE]}
    nics = scene.world.state.vms[WEB01].nics
    rows = json.dumps([{"id": nic.id, "mac": nic.mac, **rest} for nic in nics])
    plain = {"VmId": WEB01, "Adapters": rows, "NotAfter": scene.at(60)}
    return scene.host("Add-VmfHostPort", **{**plain, **changes})


CHANGES = {
    "clear": (clear, "Repair-SCVirtualMachine"),
    "model": (model, "Set-SCVirtualNetworkAdapter"),
    "port": (port, "Add-VMNetworkAdapterExtendedAcl"),
}
Change = tuple[Callable[..., Reply], str]


@pytest.fixture(params=CHANGES)
def change(request) -> Change:
    """A guarded change, and the cmdlet that makes it."""
    return CHANGES[request.param]


@pytest.fixture
def broken(scene) -> Scene:
    """web01 with two adapters, without switches and rules, and with a failed job."""
    there = scene.world.state.vms[WEB01]
    first = unplugged(there.nics[0])
    second = {"id": first.id[:-4] + "FFFF", "mac": "00:1D:D8:B7:2C:FF"}
    there.nics = [first, replace(first, **second)]
    scene.world.power(scene.clock.now(), "web01", "MigrationFailed")
    return scene


def stale(reply: Reply, scene: Scene, cmdlet: str) -> str:
    """The code of the error, after checking that nothing was done."""
    assert reply.error["class"] == "stale", reply.error
    assert scene.calls(cmdlet) == []
    return reply.error["code"]


# --- every change ----------------------------------------------------------------------------


def test_a_vm_that_is_as_expected_is_changed_once(broken, change):
    make, cmdlet = change
    assert make(broken).data == {}
    number = len(broken.calls(cmdlet))
    broken.world.power(broken.clock.now(), "web01", "Running")
    assert make(broken).data == {}

    assert number > 0
    if cmdlet != "Set-SCVirtualNetworkAdapter":  # VMM is told the same again
        assert len(broken.calls(cmdlet)) == number


def test_a_change_that_comes_late_is_stale(broken, change):
    make, cmdlet = change

    assert stale(make(broken, NotAfter=broken.at(-1)), broken, cmdlet) == "deadline"
    assert broken.calls("Read-SCVirtualMachine") == []


def test_the_deadline_is_checked_against_the_clock_of_the_machine_that_acts(broken, change):
    make, cmdlet = change
    broken.world.state.skew = 90

    reply = make(broken, NotAfter=broken.at(60))
    if make is port:
        assert reply.data == {}
    else:
        assert stale(reply, broken, cmdlet) == "deadline"


def test_a_change_of_a_vm_on_another_host_is_stale(broken, change):
    make, cmdlet = change
    there = broken.world.state.vms[WEB01]
    there.hosts, there.vmm_host = [HV02], HV02

    assert stale(make(broken), broken, cmdlet) == "elsewhere"


def test_a_change_of_an_unknown_vm_is_stale(broken, change):
    make, cmdlet = change

    assert stale(make(broken, VmId=NOBODY), broken, cmdlet) in ("gone", "elsewhere")


def test_a_change_of_a_migrating_vm_is_stale_and_not_locked(broken, change):
    make, cmdlet = change
    broken.world.foreign(broken.clock.now(), "web01", "hv02")

    assert stale(make(broken), broken, cmdlet) == "migrating"


def test_a_deadline_that_is_no_time_is_refused(broken, change):
    make, cmdlet = change

    assert make(broken, NotAfter="soon").error["code"] == "contract"
    assert broken.calls(cmdlet) == []


# --- VMM's failed job ------------------------------------------------------------------------


def test_a_failed_job_is_dismissed_and_nothing_is_re_read(broken):
    clear(broken)
    (call,) = broken.calls("Repair-SCVirtualMachine")

    assert (call.bound["Dismiss"], call.bound["Force"]) == (True, True)
    assert broken.calls("Read-SCVirtualMachine") == []
    assert broken.server.calls[-1] == call


def test_a_vm_without_a_failed_job_is_left_alone(scene):
    assert clear(scene).data == {}
    assert scene.calls("Repair-SCVirtualMachine") == []


def test_a_running_job_makes_a_dismissal_stale_even_if_vmms_status_is_outdated(broken):
    broken.world.foreign(broken.clock.now(), "web01", "hv02")
    broken.world.state.vms[WEB01].vmm_status = "MigrationFailed"

    assert stale(clear(broken), broken, "Repair-SCVirtualMachine") == "migrating"


def test_vmms_status_makes_a_dismissal_stale_even_if_no_job_is_shown(broken):
    broken.server.quirks.job_cmdlet = "Something-Else"
    broken.world.foreign(broken.clock.now(), "web01", "hv02")

    assert stale(clear(broken), broken, "Repair-SCVirtualMachine") == "migrating"


def nothing() -> None:
    pass


def test_a_migration_that_begins_between_the_checks_makes_a_dismissal_stale(broken):
    def begin() -> None:
        broken.world.foreign(broken.clock.now(), "web01", "hv02")
        broken.world.state.vms[WEB01].vmm_status = "MigrationFailed"

    broken.server.quirks.meanwhile["Get-SCJob"] = [nothing, begin]

    assert stale(clear(broken), broken, "Repair-SCVirtualMachine") == "migrating"


def test_a_vm_that_leaves_between_the_checks_makes_a_dismissal_stale(broken):
    def leave() -> None:
        broken.world.state.vms[WEB01].vmm_host = HV02

    broken.vmm("Get-VmfInventory", HostName=HV01)
    broken.server.quirks.meanwhile["Get-SCVirtualMachine"] = [nothing, leave]

    assert stale(clear(broken), broken, "Repair-SCVirtualMachine") == "elsewhere"


def test_a_deadline_that_passes_between_the_checks_makes_a_dismissal_stale(broken):
    broken.server.quirks.meanwhile["Get-SCJob"] = [nothing, lambda: broken.pass_by(61)]

    assert stale(clear(broken), broken, "Repair-SCVirtualMachine") == "deadline"


def test_a_job_that_somebody_else_dismissed_between_the_checks_is_left_alone(broken):
    def dismiss() -> None:
        there = broken.world.state.vms[WEB01]
        there.overlay, there.vmm_status = None, "Running"

    broken.vmm("Get-VmfInventory", HostName=HV01)
    broken.server.quirks.meanwhile["Get-SCVirtualMachine"] = [nothing, dismiss]

    assert clear(broken).data == {}
    assert broken.calls("Repair-SCVirtualMachine") == []


# --- networks --------------------------------------------------------------------------------


def test_vmm_re_reads_the_vm_before_its_model_is_repaired(broken):
    broken.world.state.vms[WEB01].vmm_host = HV02
    assert model(broken).data == {}
    cmdlets = [call.cmdlet for call in broken.server.calls]

    read = cmdlets.index("Read-SCVirtualMachine")
    assert read < cmdlets.index("Set-SCVirtualNetworkAdapter")


def test_a_vm_that_vmm_finds_elsewhere_when_it_re_reads_is_not_repaired(broken):
    broken.world.state.vms[WEB01].hosts = [HV02]

    assert stale(model(broken), broken, "Set-SCVirtualNetworkAdapter") == "elsewhere"


def test_a_migration_that_begins_during_the_re_read_prevents_the_repair(broken):
    def begin() -> None:
        broken.world.foreign(broken.clock.now(), "web01", "hv02")

    broken.server.quirks.meanwhile["Get-SCJob"] = [nothing, begin]

    assert stale(model(broken), broken, "Set-SCVirtualNetworkAdapter") == "migrating"


def test_a_deadline_that_passes_between_two_adapters_ends_the_repair_of_the_model(broken):
    broken.server.quirks.meanwhile["Set-SCVirtualNetworkAdapter"] = [lambda: broken.pass_by(61)]
    reply = model(broken)

    assert (reply.error["class"], reply.error["code"]) == ("stale", "deadline")
    assert len(broken.calls("Set-SCVirtualNetworkAdapter")) == 1


def test_ports_are_looked_at_again_before_each_adapter(broken):
    def begin() -> None:
        broken.world.foreign(broken.clock.now(), "web01", "hv02")

    broken.server.quirks.meanwhile["Get-VM"] = [nothing, nothing, begin]
    reply = port(broken)

    assert (reply.error["class"], reply.error["code"]) == ("stale", "migrating")
    assert len(broken.calls("Add-VMNetworkAdapterExtendedAcl")) == 1


def test_a_deadline_that_passes_between_two_adapters_ends_the_repair_of_the_ports(broken):
    add = "Add-VMNetworkAdapterExtendedAcl"
    broken.server.quirks.meanwhile[add] = [lambda: broken.pass_by(61)]
    reply = port(broken)

    assert (reply.error["class"], reply.error["code"]) == ("stale", "deadline")
    assert len(broken.calls(add)) == 1


def test_the_ports_of_a_vm_are_found_without_a_list_of_all_vms(broken):
    port(broken)

    assert all("Id" in call.bound for call in broken.calls("Get-VM"))


# --- stopping and starting -------------------------------------------------------------------


def stop(scene: Scene, job: str, **changes: object) -> Reply:
    return scene.vmm("Stop-VmfMove", **{"JobId": job, "NotAfter": scene.at(60), **changes})


def test_stopping_a_move_twice_is_no_error(scene):
    job = scene.start().data["job"]

    assert stop(scene, job).data == {}
    assert scene.world.state.open == []
    assert stop(scene, job).data == {}
    assert stop(scene, NOBODY).data == {}
    assert len(scene.calls("Stop-SCJob")) == 1


def test_a_stop_that_comes_late_is_stale(scene):
    job = scene.start().data["job"]

    assert stale(stop(scene, job, NotAfter=scene.at(-1)), scene, "Stop-SCJob") == "deadline"
    assert len(scene.world.state.open) == 1


def test_a_deadline_that_passes_while_the_job_is_looked_up_makes_a_stop_stale(scene):
    job = scene.start().data["job"]
    scene.server.quirks.meanwhile["Get-SCJob"] = [lambda: scene.pass_by(61)]

    assert stale(stop(scene, job, NotAfter=scene.at(60)), scene, "Stop-SCJob") == "deadline"


def test_only_a_job_that_moves_a_vm_is_stopped(scene):
    scene.server.quirks.reread_seconds = 60
    wanted = {"What": "host", "Name": HV01, "NotAfter": scene.at(60)}
    job = scene.vmm("Start-VmfReread", **wanted).data["job"]
    error = stop(scene, job).error

    assert (error["class"], error["code"]) == ("refused", "no_move")
    assert scene.calls("Stop-SCJob") == []


def test_an_id_of_a_job_that_is_no_guid_is_refused(scene):
    assert stop(scene, "the last one").error["code"] == "contract"


def test_a_start_before_its_time_is_stale(scene):
    reply = scene.start(NotBefore=scene.at(5))

    assert stale(reply, scene, "Move-SCVirtualMachine") == "early"
    assert reply.error["message"] == "The call for web01 came 5 s before it may take effect"
    assert scene.start(NotBefore=scene.at(0)).data["job"]


def test_the_begin_of_a_start_is_checked_against_the_clock_of_the_server(scene):
    scene.play(FLEET.replace("format = 1", 'format = 1\nclock_skew = "90s"'))

    assert scene.start(NotBefore=scene.at(60), NotAfter=scene.at(120)).data["job"]


@pytest.mark.parametrize("empty", ["", None])
def test_a_start_without_a_begin_is_valid_at_once(scene, empty):
    assert scene.start(VmId=DB01, Power="down", NotBefore=empty).data["job"]


def test_a_begin_that_is_no_time_is_refused(scene):
    assert scene.start(NotBefore="soon").error["code"] == "contract"


def test_a_failure_is_not_dismissed_while_vmms_latest_job_about_the_vm_runs(scene):
    scene.server.quirks.reread_seconds = 60
    scene.world.power(scene.clock.now(), "web01", "MigrationFailed")
    scene.vmm("Start-VmfReread", What="vm", Name=WEB01, NotAfter=scene.at(60))
    early = clear(scene)
    scene.pass_by(61)
    late = clear(scene)

    assert (early.error["class"], early.error["code"]) == ("stale", "busy")
    assert late.document["ok"]
    assert len(scene.calls("Repair-SCVirtualMachine")) == 1
