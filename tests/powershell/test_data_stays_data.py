"""Names, paths and hosts are data: they arrive unchanged and run nothing, whatever they contain."""

import json
from pathlib import Path

import pytest

from tests.powershell.pwsh import needs_checks
from tests.powershell.scene import DB01, FLEET, HV01, HV02, WEB01, Scene

pytestmark = needs_checks

EVIL = {
    "single quote": "it's; 'quoted'",
    "double quote": 'say "web" "',
    "backtick": "web`n`t`0`",
    "subexpression": "$(throw 'ran') $env:PATH ${x} @(1)",
    "semicolon": "web; throw 'ran'; #",
    "pipe": "web | ForEach-Object { throw } & calc",
    "newlines": "web\r\nthrow 'ran'\nexit 1",
    "unicode": "Größe-データ-😀-\u202e-\u2019",
    "255 characters": "x" * 255,
    "html": "<b>&amp;</b> <!channel>",
    "json": '{"ok":false,"class":"unavailable"}\\',
    "braces": "{0} } ]] --%",
    "wildcards": "[web]* ?",
}
evil = pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)


def rename(scene: Scene, text: str) -> None:
    """Give both VMs, the network, the switch and the path this text."""
    name = json.dumps(text, ensure_ascii=False)
    fleet = FLEET.replace('"web01"', name).replace('"VM-Net-20"', name)
    scene.play(fleet.replace("path = 'E:\\Machines'", f"path = {name}"))


@evil
def test_a_vm_name_is_returned_unchanged(scene, text):
    rename(scene, text)

    assert scene.vmm("Get-VmfInventory", HostName=HV01).data["vms"][0]["name"] == text
    assert scene.host("Get-VmfHostState").data["vms"][0]["name"] == text


@evil
def test_a_vm_with_a_hostile_name_is_moved(scene, text):
    rename(scene, text)

    assert scene.start().data["job"]
    scene.pass_by(700)
    assert scene.world.state.vms[WEB01].hosts == [HV02]


@evil
def test_a_hostile_name_appears_in_an_error_unchanged(scene, text):
    rename(scene, text)
    error = scene.start(Power="down").error

    assert error["class"] == "stale"
    assert error["message"] == f"{text} is Running, not down"


@evil
def test_a_path_reaches_the_move_unchanged(scene, text):
    scene.start(Path=text)

    assert scene.calls("Move-SCVirtualMachine")[0].bound["Path"] == text


@evil
def test_the_default_path_of_the_destination_reaches_the_move_unchanged(scene, text):
    rename(scene, text)
    scene.start()

    assert scene.calls("Move-SCVirtualMachine")[0].bound["Path"] == text


@evil
def test_a_host_name_is_looked_up_and_not_run(scene, text):
    error = scene.start(Destination=text).error

    assert (error["class"], error["code"]) == ("refused", "not_found")
    assert error["message"] == f"VMM knows no host {text}"
    assert scene.vmm("Get-VmfJobs", Ids=[text]).data["jobs"] == []


@evil
def test_ids_are_looked_up_and_not_run(scene, text):
    assert scene.vmm("Get-VmfNetwork", VmIds=[text]).data == {"vms": []}
    assert scene.host("Get-VmfHostNetwork", VmIds=[text]).data == {"vms": []}
    assert scene.vmm("Get-VmfJobs", Ids=[text]).data["unknown"] == [text]
    assert scene.host("Get-VmfPulse", VmIds=[text]).data["vms"] == []


@evil
def test_names_and_times_of_guarded_calls_are_looked_up_and_not_run(scene, text):
    later = {"NotAfter": scene.at(60)}
    ours = {"VmId": WEB01, "HostName": text, **later}

    assert scene.vmm("Get-VmfInventory", HostName=text).error["message"].endswith(text)
    for what in ("vms", "host", "vm"):
        error = scene.vmm("Start-VmfReread", What=what, Name=text, **later).error
        assert error["code"] == "not_found"
    assert scene.vmm("Stop-VmfMove", JobId=text, **later).error["code"] == "contract"
    assert scene.vmm("Clear-VmfFailure", **ours).error["code"] == "elsewhere"
    assert scene.vmm("Repair-VmfModel", **ours, Adapters="[]").error["code"] == "elsewhere"
    assert (
        scene.host("Add-VmfHostPort", VmId=text, Adapters="[]", **later).error["class"] == "stale"
    )
    assert scene.start(NotBefore=text).error["code"] == "contract"


@evil
def test_networks_with_hostile_names_are_pinned_and_restored(scene, text):
    rename(scene, text)
    (found,) = scene.vmm("Get-VmfNetwork", VmIds=[DB01]).data["vms"]
    second = found["adapters"][1]
    assert second["network"] == text
    keys = ("id", "mac", "network", "subnet", "switch", "vlan", "classification")
    pin = json.dumps([{k: second[k] for k in keys}])
    scene.start(VmId=DB01, Power="down", Pin=pin)
    scene.pass_by(700)

    assert scene.world.state.vms[DB01].nics[1].network == text
    one = {**json.loads(pin)[0], "network": None, "vlan": None, "switch": text}
    repair = json.dumps([{**one, "subnet": None, "port_acl": None}])
    wanted = {"VmId": DB01, "HostName": HV02, "Adapters": repair, "NotAfter": scene.at(60)}
    assert scene.vmm("Repair-VmfModel", **wanted).data == {}
    assert scene.world.state.vms[DB01].nics[1].switch == text


@evil
def test_a_switch_and_a_rule_with_hostile_text_are_restored_unchanged(scene, text):
    nic = scene.world.state.vms[DB01].nics[1]
    acl = {"action": "Allow", "direction": "Inbound", "weight": 5, "local_ip": text.strip()}
    acl |= {"remote_ip": "ANY", "local_port": "ANY", "remote_port": "ANY", "protocol": "ANY"}
    acl |= {"stateful": False, "idle_timeout": 0, "isolation_id": 0}
    one = {"id": nic.id, "mac": nic.mac, "acls": [acl], "vlan": None, "trunk": [], "native_vlan": 0}
    one |= {"classic_acls": [], "isolation": None, "spoofing": None, "guards": None}
    wanted = {"Adapters": json.dumps([{**one, "switch": text}]), "NotAfter": scene.at(60)}

    assert scene.host("Add-VmfHostPort", VmId=DB01, **wanted).data == {}
    assert scene.world.state.vms[DB01].nics[1].switch == text
    assert scene.world.state.vms[DB01].nics[1].acls[0].local_ip == text.strip()


def test_no_answer_contains_a_line_break(scene):
    rename(scene, EVIL["newlines"])

    assert "\n" not in scene.vmm("Get-VmfInventory", HostName=HV01).text
    assert "\n" not in scene.host("Get-VmfHostState").text


def test_no_name_or_path_is_executed(scene, tmp_path: Path):
    file = tmp_path / "ran"
    text = f"$(New-Item '{file}'); Set-Content '{file}' x #"
    rename(scene, text)
    scene.start(Path=text)
    scene.host("Get-VmfHostState")
    scene.vmm("Start-VmfReread", What="host", Name=text, NotAfter=scene.at(60))

    assert not file.exists()
    assert HV01 in scene.vmm("Get-VmfSite").text
