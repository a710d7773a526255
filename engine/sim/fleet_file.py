"""The fleet file: models of the TOML tables that describe a simulated fleet, format 1.

Each model checks its own table. The functions below check relations between tables.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    model_validator,
)

from engine import toml_tables as toml
from engine.errors import Refused
from engine.model import Acl, Adapter, classic_key, classic_rule
from engine.policy.starts.preflight import drive_of
from engine.sim.costs import Costs, with_usual

NAMESPACE = uuid.UUID("5d1c8f0a-3b57-4e19-9a64-0c7f5be2a914")
Status = Literal[
    "Running", "PowerOff", "Saved", "Paused", "PoweringOff", "Saving", "Restoring", "Starting",
    "Pausing", "Reset", "DiscardSavedState", "MergingDrives", "DiscardingDrives", "Deleting",
    "UnderCreation", "CreationFailed", "Stored", "UnderTemplateCreation", "TemplateCreationFailed",
    "CustomizationFailed", "UnderUpdate", "UpdateFailed", "ReplacementFailed", "UnderReplacement",
    "MigrationFailed", "CreatingCheckpoint", "DeletingCheckpoint", "RecoveringCheckpoint",
    "CheckpointFailed", "InitializingCheckpointOperation", "FinishingCheckpointOperation",
    "Missing", "HostNotResponding", "Unsupported", "IncompleteVMConfig", "UnsupportedSharedFiles",
    "UnsupportedCluster", "UnderLiveCloning", "DbOnly", "ShieldingFailed", "P2VCreationFailed",
    "V2VCreationFailed",
]  # fmt: skip
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class HostSpec:
    """A host of the file; sizes in GB."""

    name: toml.Name
    live: toml.Count = 2
    storage: toml.Count = 2
    memory_gb: toml.Number = 256.0
    volumes: Mapping[str, toml.Number] = field(default_factory=lambda: {"D:": 8000.0})
    path: toml.Text = "D:\\VMs"
    switches: tuple[toml.Text, ...] = ("LS-Main",)
    networks: tuple[toml.Text, ...] = ("VM-Net-10",)
    mb_per_s: Annotated[toml.Number, Field(gt=0)] = 400.0
    maintenance: toml.Flag = False
    acl_rights: toml.Flag = True
    clock_skew: toml.Skew = 0.0

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class VmSpec:
    """A VM of the file. ``host`` is the full name; ``backup`` is in seconds after the start."""

    name: str
    host: str
    id: str
    status: str = "Running"
    memory_gb: float = 4.0
    disk_gb: float = 60.0
    minutes: float | None = None
    backup: tuple[tuple[float, float], ...] = ()
    blocks: tuple[str, ...] = ()
    nics: tuple[Adapter, ...] = ()


@dataclass(frozen=True)
class Lies:
    """Misreports and failures of this VMM: probabilities from 0 to 1, and ranges of seconds."""

    lose_acls_live: toml.Chance = 0.0
    lose_acls_cold: toml.Chance = 0.0
    lose_nics_cold: toml.Chance = 0.0
    refused: toml.Chance = 0.0
    timeout_before: toml.Chance = 0.0
    timeout_after: toml.Chance = 0.0
    delayed: toml.Chance = 0.0
    failed: toml.Chance = 0.0
    failed_but_moved: toml.Chance = 0.0
    stayed: toml.Chance = 0.0
    job_delay: toml.Range = (0.0, 0.0)
    target_delay: toml.Range = (0.0, 0.0)
    status_stale: toml.Range = (0.0, 0.0)

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class HyperV:
    """Behaviour of every host's Hyper-V. ``incoming``: its counters count incoming moves, too."""

    incoming: toml.Flag = True

    __pydantic_config__ = ConfigDict(extra="forbid")


# --- tables of the file -------------------------------------------------------------------------


def _guid(text: str) -> str:
    try:
        return str(uuid.UUID(text)).upper() if text else ""
    except ValueError:
        raise toml.refusal(f'must be a GUID, not "{text}"') from None


def _mac(text: str) -> str:
    digits = re.sub(r"[:.-]", "", text).upper()
    if text and not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise toml.refusal(f'must be a MAC address, not "{text}"')
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _classic(text: str) -> str:
    if rule := classic_rule(text):
        return rule
    example = '"Allow Inbound remote 10.0.0.0/8"'
    raise toml.refusal(f'must be a rule such as {example}, not "{text}"')


Vlan = Annotated[toml.Count, Field(le=4094)]


class AclTable(toml.Table):
    """``[[vm.nic.acl]]``: an extended ACL."""

    action: Literal["Allow", "Deny"]
    direction: Literal["Inbound", "Outbound"]
    weight: Annotated[toml.Count, Field(le=65535)]
    local_ip: toml.Word = "ANY"
    remote_ip: toml.Word = "ANY"
    local_port: toml.Word = "ANY"
    remote_port: toml.Word = "ANY"
    protocol: toml.Word = "ANY"
    stateful: toml.Flag = False
    idle_timeout: toml.Count = 0
    isolation_id: toml.Count = 0


class NicTable(toml.Table):
    """``[[vm.nic]]``: an adapter."""

    mac: Annotated[toml.Text, AfterValidator(_mac)] = ""
    network: toml.Text = "VM-Net-10"
    switch: toml.Text = "LS-Main"
    vlan: Vlan = 10
    trunk: tuple[Vlan, ...] = ()
    native_vlan: Vlan = 0
    isolation: toml.Count = 0
    connected: toml.Flag = True
    subnet: toml.Maybe = None
    classification: toml.Maybe = None
    port_acl: toml.Maybe = None
    spoofing: toml.Maybe = None
    guards: toml.Maybe = None
    classic_acl: tuple[Annotated[toml.Text, AfterValidator(_classic)], ...] = ()
    acl: tuple[AclTable, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if self.trunk and "vlan" in self.model_fields_set:
            raise toml.refusal("and vlan exclude each other", key="trunk")
        acls = [f"{acl.direction} {acl.weight}" for acl in self.acl]
        if at := _repeated(acls):
            why = f'has direction and weight "{acls[at]}" twice'
            raise toml.refusal(why, key="acl")
        rules = [classic_key(rule) for rule in self.classic_acl]
        if at := _repeated(rules):
            why = f'has direction and address "{rules[at]}" twice'
            raise toml.refusal(why, key="classic_acl")
        return self


class VmTable(toml.Table):
    """``[[vm]]``, and a VM that a story creates."""

    name: toml.Name
    host: toml.Name
    id: Annotated[toml.Text, AfterValidator(_guid)] = ""
    status: Status = "Running"
    memory_gb: toml.Number = 4.0
    disk_gb: toml.Number = 60.0
    minutes: toml.Number | None = None
    backup: tuple[toml.Window, ...] = ()
    blocks: tuple[toml.Text, ...] = ()
    nic: tuple[NicTable, ...] = ()


def _with_volume(host: object) -> object:
    """Add the drive of the host's path if its table names no volumes."""
    if isinstance(host, Mapping) and isinstance(path := host.get("path"), str):
        return {"volumes": {drive_of(path) or "D:": 8000.0}, **host}
    return host


class FleetTable(toml.Table):
    """A whole fleet file."""

    format: Literal[1] = 1
    start: Annotated[AwareDatetime, Strict()] = datetime(2026, 1, 5, 22, 0, 0, tzinfo=UTC)
    seed: toml.Count = 0
    vmm: toml.Text = "vmm01"
    clock_skew: toml.Skew = 0.0
    host: Annotated[
        tuple[Annotated[HostSpec, BeforeValidator(_with_volume)], ...], Field(min_length=1)
    ]
    vm: tuple[VmTable, ...] = ()
    lies: Lies = Field(default_factory=Lies)
    hyperv: HyperV = Field(default_factory=HyperV)
    costs: Annotated[Costs, BeforeValidator(with_usual)] = Field(default_factory=Costs)


START = FleetTable.model_fields["start"].default.timestamp()


@dataclass(frozen=True)
class FleetFile:
    """A parsed fleet file. ``digest`` is the SHA-256 of its text; ``name`` is for messages."""

    name: str
    digest: str
    start: float = START
    seed: int = 0
    vmm: str = "vmm01"
    clock_skew: float = 0.0
    hosts: tuple[HostSpec, ...] = ()
    vms: tuple[VmSpec, ...] = ()
    lies: Lies = field(default_factory=Lies)
    hyperv: HyperV = field(default_factory=HyperV)
    costs: Costs = field(default_factory=Costs)


def load(path: Path) -> FleetFile:
    """Read a fleet file. Raises ``Refused`` with file, place and reason."""
    return parse(toml.load_text(path, "The fleet file"), path.name)


def parse(text: str, name: str = "fleet.toml") -> FleetFile:
    """Parse the text of a fleet file; ``name`` is its name in messages."""
    file = toml.read(FleetTable, toml.parse_toml(text, f"The fleet file {name}"), name)
    hosts = [host.name for host in file.host]
    if twin := _repeated([host.casefold() for host in hosts]):
        raise Refused(f'{name}: host "{hosts[twin]}" is listed twice.', what=hosts[twin])
    vms = tuple(
        _vm(table, hosts, position, f'{name}: vm[{position}] "{table.name}"')
        for position, table in enumerate(file.vm)
    )
    _refuse_namesakes(vms, name)
    said = {**dict(file), "name": name, "digest": hashlib.sha256(text.encode()).hexdigest()}
    said |= {"start": file.start.timestamp(), "hosts": said.pop("host"), "vms": vms}
    return FleetFile(**{key: said[key] for key in FleetFile.__dataclass_fields__})


def parse_vm(
    table: Mapping[str, object] | VmTable, hosts: Sequence[str], position: int, where: str = "vm"
) -> VmSpec:
    """Parse a single ``[[vm]]`` table, as a story's ``create`` uses it."""
    return _vm(toml.read(VmTable, table, where), hosts, position, where)


def find_host(word: str, hosts: Sequence[str], where: str) -> str:
    """Find the host of a full or unique short name. Raises ``Refused`` with the nearest."""
    wanted = word.casefold()
    exact = [h for h in hosts if h.casefold() == wanted]
    found = exact or [h for h in hosts if h.split(".", 1)[0].casefold() == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f'{where}: host "{word}" is one of {", ".join(found)}.', what=word)
    near = toml.suggestion(word, [*hosts, *(h.split(".", 1)[0] for h in hosts)])
    raise Refused(f'{where}: there is no host "{word}".', what=word, hint=near)


def adapter_id(vm_id: str, position: int) -> str:
    """The id of an adapter, the same in VMM and Hyper-V and on all hosts."""
    port = uuid.uuid5(NAMESPACE, f"adapter/{vm_id}/{position}")
    return f"Microsoft:{vm_id}\\{str(port).upper()}"


def _vm(table: VmTable, hosts: Sequence[str], position: int, where: str) -> VmSpec:
    said = dict(table)
    host = find_host(table.host, hosts, f"{where}: host")
    vm_id = table.id or str(uuid.uuid5(NAMESPACE, f"vm/{position}/{table.name}")).upper()
    nics = tuple(_adapter(nic, vm_id, place) for place, nic in enumerate(said.pop("nic")))
    return VmSpec(**{**said, "host": host, "id": vm_id, "nics": nics})


def _adapter(nic: NicTable, vm_id: str, place: int) -> Adapter:
    said = dict(nic)
    tail = uuid.uuid5(NAMESPACE, f"mac/{vm_id}/{place}").bytes[:3]
    acls, is_connected = said.pop("acl"), nic.connected and bool(nic.switch)
    said |= {
        "id": adapter_id(vm_id, place),
        "mac": nic.mac or "00:1D:D8:" + tail.hex(":").upper(),
        "network": nic.network or None,
        "switch": nic.switch if is_connected else None,
        "vlan": 0 if nic.trunk else nic.vlan,
        "connected": is_connected,
        "acls": tuple(Acl(**dict(acl)) for acl in acls),
        "classic_acls": said.pop("classic_acl"),
    }
    return Adapter(**said)


def _repeated(keys: Sequence[str]) -> int:
    """Position of the first key that repeats an earlier one, or 0."""
    return next((at for at, key in enumerate(keys) if key in keys[:at]), 0)


def _refuse_namesakes(vms: Sequence[VmSpec], name: str) -> None:
    """Refuse two VMs of the same name on one host, or of the same id. Two hosts may have a VM of
    the same name."""
    seen: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for position, vm in enumerate(vms):
        where = f'{name}: vm[{position}] "{vm.name}"'
        if (vm.name.casefold(), vm.host) in seen:
            raise Refused(f"{where}: {vm.host} already has a VM of this name.", what=vm.name)
        if vm.id in ids:
            raise Refused(f"{where}: another VM has the id {vm.id}.", what=vm.id)
        seen.add((vm.name.casefold(), vm.host))
        ids.add(vm.id)
