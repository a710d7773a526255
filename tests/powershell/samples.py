"""Samples of the JSON of contract 2, kept in ``json/`` for the tests of both sides.

``json/*.json`` are answers of the real functions on stubs; ``json/request.*.json`` are their
parameters. After an intended change write them again: ``python -m tests.powershell.samples``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.powershell import stubs
from tests.powershell.pwsh import Reply
from tests.powershell.scene import HV01, HV02, Scene, opened
from tests.powershell.vmm_side import Row, volume

PLACE = Path(__file__).parent / "json"
WEB, DB = "A1B2C3D4-0000-4000-8000-000000000001", "A1B2C3D4-0000-4000-8000-000000000002"
APP, OLD = "A1B2C3D4-0000-4000-8000-000000000003", "A1B2C3D4-0000-4000-8000-000000000004"
NOBODY = "A1B2C3D4-0000-4000-8000-0000000000FF"
FLEET = f"""
format = 1
[[host]]
name = "{HV01}"
[[host]]
name = "{HV02}"
live = 4
maintenance = true
[[host]]
name = "hv03.corp.example"
[[vm]]
name = "R&D's <web> \\"01\\""
id = "{WEB}"
host = "hv01"
minutes = 10
backup = [["0s", "5m"]]
[[vm.nic]]
mac = "00:1D:D8:B7:2C:01"
subnet = "Subnet-10"
classification = "High bandwidth"
port_acl = "Tenant"
spoofing = "On"
guards = "dhcp,router"
classic_acl = ["Allow Inbound remote 10.0.0.0/8", "Deny Outbound local 00-15-5D-00-00-01"]
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
remote_ip = "10.0.0.0/8"
remote_port = "443"
protocol = "TCP"
stateful = true
idle_timeout = 600
[[vm.nic.acl]]
action = "Deny"
direction = "Outbound"
weight = 1
isolation_id = 7
[[vm]]
name = "db01"
id = "{DB}"
host = "hv01"
status = "PowerOff"
minutes = 10
[[vm.nic]]
mac = "00:1D:D8:B7:2C:02"
[[vm.nic]]
mac = "00:1D:D8:B7:2C:03"
network = "VM-Net-20"
trunk = [20, 30]
native_vlan = 20
[[vm.nic]]
mac = "00:1D:D8:B7:2C:04"
connected = false
[[vm]]
name = "app01"
id = "{APP}"
host = "hv01"
minutes = 10
[[vm]]
name = "old01"
id = "{OLD}"
host = "hv03"
status = "Stored"
blocks = ["ha", "replica"]
"""


ROOM: dict[str, Row] = {
    HV01: {
        "AvailableMemory": 98304,
        "MemoryReserveMB": 2048,
        "DiskSpaceReserveMB": 1024,
        "DiskVolumes": [volume("C:\\", 512), volume("D:\\", 4194304)],
    },
    HV02: {"AvailableMemory": 8192, "DiskVolumes": [volume("D:\\", 2048)]},
    "hv03.corp.example": {},
}
"""What VMM shows of memory and disks: with reserves, without, and not at all."""


def request(name: str) -> list[dict[str, object]]:
    """Read a request of the contract from its file."""
    return json.loads((PLACE / f"request.{name}.json").read_text(encoding="utf-8"))


def _start(scene: Scene, **changes: object) -> Reply:
    plain = {"VmId": APP, "Destination": "hv03.corp.example"}
    return scene.start(**{**plain, **changes})


def _cold(scene: Scene) -> Reply:
    return _start(scene, VmId=DB, Power="down", Pin=json.dumps(request("pin")))


def _locked(scene: Scene) -> Reply:
    scene.world.lock(scene.clock.now(), HV01, 60)
    return _start(scene)


def _busy(scene: Scene) -> Reply:
    scene.world.limit(scene.clock.now(), "hv03", live=0)
    return _start(scene)


def _lost(scene: Scene) -> Reply:
    scene.world.down(scene.clock.now(), "vmm", 60)
    return scene.vmm("Get-VmfSite")


def _agent(scene: Scene) -> Reply:
    scene.world.down(scene.clock.now(), "hv03", 60)
    return _start(scene)


def _jobs(scene: Scene) -> Reply:
    """A running migration, a failed one, a re-read, and an unknown id."""
    scene.world.outcome(scene.clock.now(), "app01", "failed", "source")
    failed = _start(scene).data["job"]
    scene.pass_by(600)
    scene.world.foreign(scene.clock.now(), f"id:{WEB}", "hv02")
    scene.pass_by(60)
    reread = _reread(scene).data["job"]
    return scene.vmm("Get-VmfJobs", Ids=[failed, reread, NOBODY])


def _reread(scene: Scene) -> Reply:
    wanted = {"What": "vms", "Name": HV01, "NotAfter": scene.at(60)}
    return scene.vmm("Start-VmfReread", **wanted)


def _inventory(scene: Scene) -> Reply:
    scene.server.quirks.room = ROOM
    return scene.vmm("Get-VmfInventory", HostName=HV01)


def _site(scene: Scene) -> Reply:
    """A host in maintenance, and a host that VMM does not reach."""
    scene.world.down(scene.clock.now(), "hv03", 60)
    scene.server.quirks.room = ROOM
    return scene.vmm("Get-VmfSite")


def _model(scene: Scene) -> Reply:
    wanted = {"VmId": DB, "HostName": HV01, "Adapters": json.dumps(request("repair"))}
    return scene.vmm("Repair-VmfModel", **wanted, NotAfter=scene.at(60))


def _late(scene: Scene) -> Reply:
    return scene.vmm("Clear-VmfFailure", VmId=DB, HostName=HV01, NotAfter=scene.at(-5))


def _pulse(scene: Scene) -> Reply:
    _start(scene)
    scene.pass_by(60)
    return scene.host("Get-VmfPulse", VmIds=[WEB, DB, NOBODY])


def _blind(scene: Scene) -> Reply:
    problem = {"kind": "cim", "id": "HRESULT 0x80041003", "text": "Access denied"}
    scene.server.quirks.errors["Get-CimInstance"] = problem
    return scene.host("Get-VmfPulse", VmIds=[DB])


def _port(scene: Scene, rows: Sequence[Mapping[str, object]] = ()) -> Reply:
    wanted = {"VmId": WEB, "Adapters": json.dumps(rows or request("add"))}
    return scene.host("Add-VmfHostPort", **wanted, NotAfter=scene.at(60))


def _conflict(scene: Scene) -> Reply:
    (wanted,) = request("add")
    wanted["acls"][0]["remote_port"] = "80"
    return _port(scene, [wanted])


def _moving(scene: Scene) -> Reply:
    scene.world.foreign(scene.clock.now(), f"id:{WEB}", "hv02")
    return _port(scene)


def _no_rights(scene: Scene) -> Reply:
    scene.play(FLEET.replace(f'name = "{HV01}"', f'name = "{HV01}"\nacl_rights = false'))
    return scene.host("Test-VmfRights")


SAMPLES: dict[str, Callable[[Scene], Reply]] = {
    "vmm.version": lambda scene: scene.vmm("Get-VmfVersion"),
    "vmm.network": lambda scene: scene.vmm("Get-VmfNetwork", VmIds=[WEB, DB, NOBODY]),
    "vmm.started": _start,
    "vmm.started_cold": _cold,
    "vmm.jobs": _jobs,
    "vmm.inventory": _inventory,
    "vmm.site": _site,
    "vmm.reread": _reread,
    "vmm.model_done": _model,
    "vmm.late": _late,
    "vmm.locked": _locked,
    "vmm.busy": _busy,
    "vmm.stale": lambda scene: _start(scene, Power="down"),
    "vmm.refused": lambda scene: _start(scene, Destination=HV02),
    "vmm.not_found": lambda scene: scene.vmm(
        "Start-VmfReread", What="vm", Name=NOBODY, NotAfter=scene.at(60)
    ),
    "vmm.unavailable": _lost,
    "vmm.agent_lost": _agent,
    "vmm.done": lambda scene: scene.vmm(
        "Clear-VmfFailure", VmId=DB, HostName=HV01, NotAfter=scene.at(60)
    ),
    "host.state": lambda scene: scene.host("Get-VmfHostState"),
    "host.network": lambda scene: scene.host("Get-VmfHostNetwork", VmIds=[WEB, DB, NOBODY]),
    "host.refused": _conflict,
    "host.pulse": _pulse,
    "host.pulse_blind": _blind,
    "host.port_done": _port,
    "host.moving": _moving,
    "host.rights": lambda scene: scene.host("Test-VmfRights"),
    "host.rights_missing": _no_rights,
}


def make(scene: Scene, name: str) -> dict[str, object]:
    """The answer of a real function on stubs, with fixed values for what differs between shells."""
    scene.play(FLEET)
    document = SAMPLES[name](scene).document
    if name == "vmm.version":
        document["data"]["powershell"] = "5.1.20348.2849"
    return document


def main() -> None:
    """Write all samples again."""
    with (
        tempfile.TemporaryDirectory() as folder,
        opened("injected", stubs.write(Path(folder))) as scene,
    ):
        for name in SAMPLES:
            text = json.dumps(make(scene, name), indent=2, ensure_ascii=False) + "\n"
            (PLACE / f"{name}.json").write_text(text, encoding="utf-8")
            print(PLACE / f"{name}.json")


if __name__ == "__main__":
    main()
