"""The envelope: samples kept for both sides, classes of errors, and the traps of 5.1's JSON."""

import json

import pytest

from engine.vmm.powershell import module_text
from tests.powershell import samples, stubs
from tests.powershell.pwsh import Shell, needs_checks
from tests.powershell.scene import FLEET, HV01, WEB01

pytestmark = needs_checks

LIMIT = "was not finished because maximum storage migration limit '2' was reached, please wait"
CLASSES = [
    ("vmm", "2606", "locked", "locked"),
    ("vmm", "2602", "locked", "locked"),
    ("vmm", "23234", "locked", "locked"),
    ("vmm", "23007", "Migration timeout", "busy"),
    ("vmm", "21501", "Failed to perform migration", "busy"),
    ("vmm", "12700", f"VMM cannot complete the host operation: migration {LIMIT}", "busy"),
    ("vmm", "12700", "VMM cannot complete the host operation on hv01", "refused"),
    ("vmm", "2912", "An internal error has occurred", "unavailable"),
    ("vmm", "2916", "The connection to the agent was lost", "unavailable"),
    ("vmm", "2927", "A Hardware Management error has occurred", "unavailable"),
    ("vmm", "20506", "WinRM cannot process the request", "unavailable"),
    ("vmm", "1711", "The job was cancelled because VMM restarted", "unavailable"),
    ("vmm", "640", "The virtual machine must be in the Poweroff state", "refused"),
    ("vmm", "26060", "Something else", "refused"),
    ("vmm", "Odd", "No number at all", "refused"),
    ("lost", "ConnectionLost", "The pipe is broken", "unavailable"),
]


# --- samples ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_each_function_returns_its_sample(scene, name):
    kept = json.loads((samples.PLACE / f"{name}.json").read_text(encoding="utf-8"))

    assert samples.make(scene, name) == kept


def test_every_json_file_is_a_sample_or_a_request():
    files = {path.stem for path in samples.PLACE.glob("*.json")}

    assert files == {*samples.SAMPLES, "request.pin", "request.repair", "request.add"}


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "number", "text", "wanted"), CLASSES)
def test_an_error_gets_its_class_number_and_message_on_the_server(
    scene, kind, number, text, wanted
):
    scene.server.quirks.errors["Move-SCVirtualMachine"] = {
        "kind": kind,
        "id": number,
        "text": text,
    }
    error = scene.start().error

    assert error["class"] == wanted
    assert error["code"] == (number if number.isdigit() else "")
    assert error["message"] == text
    assert error["fqeid"] == f"{number},Move-SCVirtualMachine"


def test_every_failure_to_connect_to_vmm_is_unavailable(scene):
    problem = {"kind": "vmm", "id": "1604", "text": "You cannot contact the VMM management server"}
    scene.server.quirks.errors["Get-SCVMMServer"] = problem
    error = scene.vmm("Get-VmfSite", VmmServer="vmm09").error

    assert (error["class"], error["code"]) == ("unavailable", "connect")
    assert error["message"] == "You cannot contact the VMM management server"


def test_an_error_after_the_start_is_not_reported_as_a_refusal(scene):
    scene.server.quirks.job_variable = False
    scene.server.quirks.after_a_move["Get-SCVirtualMachine"] = {
        "kind": "vmm",
        "id": "12711",
        "text": "VMM cannot complete the WMI operation",
    }

    assert scene.start().data["job"] is None
    assert len(scene.world.state.open) == 1


def test_an_error_number_in_the_name_of_a_vm_does_not_change_the_class(scene):
    named = "limit (Error ID: 2606, Detailed Error: ) web"
    scene.play(FLEET.replace('"web01"', f'"{named}"'))
    scene.world.power(scene.clock.now(), f"id:{WEB01}", "MigrationFailed")

    assert scene.start().error["class"] == "refused"


def test_access_denied_on_a_host_is_refused(scene):
    scene.server.quirks.errors["Get-VM"] = {
        "kind": "hyperv",
        "id": "AccessDenied",
        "text": "You do not have the required permission to complete this task.",
    }
    error = scene.host("Get-VmfHostState").error

    assert (error["class"], error["code"]) == ("refused", "")
    assert scene.host("Test-VmfRights").data == {
        "readable": False,
        "writable": False,
        "why": "You do not have the required permission to complete this task.",
    }


def test_a_server_without_the_vmm_module_is_unavailable(tmp_path):
    environment = {"PSModulePath": str(tmp_path)}
    with Shell(environment, module_text("VMFerry.Vmm")) as shell:
        error = shell.call("Get-VmfVersion").error

    assert error["class"] == "unavailable"
    assert "virtualmachinemanager" in error["message"]


def test_a_host_without_the_hyperv_module_refuses_calls(tmp_path):
    with Shell({"PSModulePath": str(tmp_path)}, module_text("VMFerry.Host")) as shell:
        error = shell.call("Get-VmfHostState").error

    assert error["class"] == "refused"
    assert "Hyper-V" in error["message"]


# --- 5.1's JSON ------------------------------------------------------------------------------


def test_characters_that_powershell_51_escapes_are_read_back_unchanged(scene):
    name = "R&D's <web>"
    scene.play(FLEET.replace('"web01"', f'"{name}"'))
    reply = scene.vmm("Get-VmfInventory", HostName=HV01)

    assert "R\\u0026D\\u0027s \\u003cweb\\u003e" in reply.text
    assert reply.data["vms"][0]["name"] == name


def test_a_list_of_one_item_stays_a_list(scene):
    scene.play(
        f'format = 1\n[[host]]\nname = "{HV01}"\n[[vm]]\nname = "a"\nhost = "hv01"\n'
        '[[vm.nic]]\ntrunk = [5]\n[[vm.nic.acl]]\naction = "Allow"\ndirection = "Inbound"\n'
        "weight = 1\n"
    )
    hosts = scene.vmm("Get-VmfSite").data["hosts"]
    vms = scene.vmm("Get-VmfInventory", HostName=HV01).data["vms"]
    state = scene.host("Get-VmfHostState").data
    vm_id = vms[0]["id"]
    (network,) = scene.host("Get-VmfHostNetwork", VmIds=[vm_id]).data["vms"]

    assert isinstance(hosts, list)
    assert isinstance(vms, list)
    assert state["vms"][0]["status"] == ["Ok"]
    assert network["adapters"][0]["trunk"] == [5]
    assert isinstance(network["adapters"][0]["acls"], list)


def test_no_answer_is_nested_deeper_than_the_limit_for_json(scene):
    """Deeper values would come as text such as System.Collections.Hashtable."""
    scene.play(samples.FLEET)
    texts = [
        scene.host("Get-VmfHostNetwork", VmIds=[samples.WEB]).text,
        scene.vmm("Get-VmfInventory", HostName=HV01).text,
        scene.vmm("Get-VmfSite").text,
    ]

    assert [text for text in texts if "System." in text or "@{" in text] == []


def test_times_are_utc_in_any_time_zone(scene, stub_modules):
    environment = stubs.environment(stub_modules, scene.server.port, stubs.VMM)
    zone = "function Get-Zone { [string] [TimeZoneInfo]::Local.BaseUtcOffset.TotalHours }"
    opening = f"{stubs.opening(stubs.VMM)}\n{zone}\n{module_text('VMFerry.Vmm')}"
    with Shell({**environment, "TZ": "America/New_York"}, opening) as shell:
        if shell.call("Get-Zone").output != ["-5"]:
            pytest.skip("this machine knows no time zones")
        scene.start()
        found = shell.call("Get-VmfJobs").data

    assert found["server_time"] == "2026-01-05T22:00:00.000000Z"
    assert found["jobs"][0]["started"] == "2026-01-05T22:00:00.000000Z"


# --- the stubs themselves --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cmdlet", "parameters"),
    [
        ("Get-SCJob", {"Running": True, "ID": "00000000-0000-0000-0000-000000000001"}),
        ("Get-SCVMHost", {"Hostname": "hv01"}),
        ("Stop-SCJob", {"Job": "not a job"}),
        ("Read-SCVirtualMachine", {"VM": "web01"}),
        ("Get-SCVMHost", {"ComputerName": ""}),
    ],
)
def test_a_stub_refuses_arguments_that_the_real_cmdlet_refuses(scene, cmdlet, parameters):
    reply = scene.vmm(cmdlet, **parameters)

    assert len(reply.errors) == 1
    assert scene.calls(cmdlet) == []


def test_stub_shells_use_the_clock_of_the_world(scene):
    scene.pass_by(3600)

    assert scene.vmm("Get-VmfJobs").data["server_time"] == "2026-01-05T23:00:00.000000Z"
    assert scene.host("Get-VmfHostState").data["time"] == "2026-01-05T23:00:00.000000Z"
