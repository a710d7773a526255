"""The fleet file: strict reading of the TOML that describes a simulated fleet, format 1.

Every refusal names the file, the place (``vm[2] "web03": memory_gb``, counted from 0), and
where a name is unknown the nearest one that exists.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import Refused
from engine.model import Acl, Adapter, classic_key, classic_rule
from engine.policy.starts.preflight import drive_of
from engine.sim.table import Table, suggestion

FORMAT = 1
NAMESPACE = uuid.UUID("5d1c8f0a-3b57-4e19-9a64-0c7f5be2a914")
POWERED = ("Running", "PowerOff", "Saved", "Paused")
STATUSES = (
    *POWERED,
    *("PoweringOff", "Saving", "Restoring", "Starting", "Pausing", "Reset", "DiscardSavedState"),
    *("MergingDrives", "DiscardingDrives", "Deleting", "UnderCreation", "CreationFailed"),
    *("Stored", "UnderTemplateCreation", "TemplateCreationFailed", "CustomizationFailed"),
    *("UnderUpdate", "UpdateFailed", "ReplacementFailed", "UnderReplacement", "MigrationFailed"),
    *("CreatingCheckpoint", "DeletingCheckpoint", "RecoveringCheckpoint", "CheckpointFailed"),
    *("InitializingCheckpointOperation", "FinishingCheckpointOperation", "Missing"),
    *("HostNotResponding", "Unsupported", "IncompleteVMConfig", "UnsupportedSharedFiles"),
    *("UnsupportedCluster", "UnderLiveCloning", "DbOnly", "ShieldingFailed"),
    *("P2VCreationFailed", "V2VCreationFailed"),
)
START = datetime(2026, 1, 5, 22, 0, 0, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class HostSpec:
    """One host as the file says it; sizes in GB."""

    name: str
    live: int = 2
    storage: int = 2
    memory_gb: float = 256.0
    volumes: Mapping[str, float] = field(default_factory=lambda: {"D:": 8000.0})
    path: str = "D:\\VMs"
    switches: tuple[str, ...] = ("LS-Main",)
    networks: tuple[str, ...] = ("VM-Net-10",)
    mb_per_s: float = 400.0
    maintenance: bool = False
    acl_rights: bool = True


@dataclass(frozen=True)
class VmSpec:
    """One VM as the file says it; ``host`` is the full name, ``backup`` seconds after the start."""

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
    """Lies of this VMM: chances from 0 to 1, and ranges of seconds."""

    lose_acls_live: float = 0.0
    lose_acls_cold: float = 0.0
    lose_nics_cold: float = 0.0
    refused: float = 0.0
    timeout_before: float = 0.0
    timeout_after: float = 0.0
    delayed: float = 0.0
    failed: float = 0.0
    failed_but_moved: float = 0.0
    stayed: float = 0.0
    job_delay: tuple[float, float] = (0.0, 0.0)
    target_delay: tuple[float, float] = (0.0, 0.0)
    status_stale: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class FleetFile:
    """A whole file. ``digest`` is the SHA-256 of its text; ``name`` is for messages."""

    name: str
    digest: str
    start: float = START
    seed: int = 0
    vmm: str = "vmm01"
    clock_skew: float = 0.0
    hosts: tuple[HostSpec, ...] = ()
    vms: tuple[VmSpec, ...] = ()
    lies: Lies = field(default_factory=Lies)


def load(path: Path) -> FleetFile:
    """Read a fleet file. Raises ``Refused`` with file, place and reason."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise Refused(f"The fleet file {path} cannot be read: {reason}.", what=str(path)) from None
    return parse(text, path.name)


def parse(text: str, name: str = "fleet.toml") -> FleetFile:
    """Read the text of a fleet file; ``name`` is how messages call it."""
    top = Table(_toml(text, name), name)
    if top.count("format", FORMAT) != FORMAT:
        raise Refused(f"{name}: format must be {FORMAT}; this VMFerry reads no other.")
    hosts = tuple(_host(table) for table in top.tables("host", named=True))
    if not hosts:
        top.missing("host")
    _refuse_twice([h.name.casefold() for h in hosts], f"{name}: host", [h.name for h in hosts])
    names = [h.name for h in hosts]
    tables = top.tables("vm", named=True)
    vms = tuple(_vm(table, names, position) for position, table in enumerate(tables))
    _refuse_namesakes(vms, name)
    fleet = FleetFile(
        name=name,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        start=top.instant("start", START),
        seed=top.count("seed", 0),
        vmm=top.text("vmm", "vmm01"),
        clock_skew=top.seconds("clock_skew", 0.0, negative=True),
        hosts=hosts,
        vms=vms,
        lies=_lies(top.table("lies")),
    )
    top.done()
    return fleet


def parse_vm(
    table: Mapping[str, object], hosts: Sequence[str], position: int, where: str = "vm"
) -> VmSpec:
    """One ``[[vm]]`` table on its own: what a story's ``create`` brings."""
    return _vm(Table(table, where), hosts, position)


def find_host(word: str, hosts: Sequence[str], where: str) -> str:
    """The full name behind a full or a unique short name. Raises ``Refused`` with the nearest."""
    wanted = word.casefold()
    exact = [h for h in hosts if h.casefold() == wanted]
    found = exact or [h for h in hosts if h.split(".", 1)[0].casefold() == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f'{where}: host "{word}" is one of {", ".join(found)}.', what=word)
    near = suggestion(word, [*hosts, *(h.split(".", 1)[0] for h in hosts)])
    raise Refused(f'{where}: there is no host "{word}".', what=word, hint=near)


def adapter_id(vm_id: str, position: int) -> str:
    """The id of an adapter in VMM and Hyper-V alike: stable across hosts."""
    port = uuid.uuid5(NAMESPACE, f"adapter/{vm_id}/{position}")
    return f"Microsoft:{vm_id}\\{str(port).upper()}"


def _toml(text: str, name: str) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, line = str(error), text.count("\n") + 1
        if found := re.search(r" \(at line (\d+), column \d+\)$", reason):
            reason, line = reason[: found.start()], int(found[1])
        raise Refused(f"{name}, line {line}: {reason}.", what=name) from None


def _host(table: Table) -> HostSpec:
    plain = HostSpec(name="")
    path = table.text("path", plain.path)
    volumes = {drive_of(path) or "D:": 8000.0}
    host = HostSpec(
        name=table.required("name"),
        live=table.count("live", plain.live),
        storage=table.count("storage", plain.storage),
        memory_gb=table.number("memory_gb", plain.memory_gb),
        volumes=table.numbers("volumes", volumes),
        path=path,
        switches=table.texts("switches", plain.switches),
        networks=table.texts("networks", plain.networks),
        mb_per_s=table.number("mb_per_s", plain.mb_per_s, positive=True),
        maintenance=table.flag("maintenance", plain.maintenance),
        acl_rights=table.flag("acl_rights", plain.acl_rights),
    )
    table.done()
    return host


def _vm(table: Table, hosts: Sequence[str], position: int) -> VmSpec:
    name = table.required("name")
    vm_id = _guid(table, str(uuid.uuid5(NAMESPACE, f"vm/{position}/{name}")))
    vm = VmSpec(
        name=name,
        host=find_host(table.required("host"), hosts, table.path("host")),
        id=vm_id,
        status=table.choice("status", "Running", STATUSES),
        memory_gb=table.number("memory_gb", 4.0),
        disk_gb=table.number("disk_gb", 60.0),
        minutes=table.number("minutes", 0.0) if table.has("minutes") else None,
        backup=table.windows("backup"),
        blocks=table.texts("blocks", ()),
        nics=tuple(_nic(nic, vm_id, place) for place, nic in enumerate(table.tables("nic"))),
    )
    table.done()
    return vm


def _guid(table: Table, default: str) -> str:
    text = table.text("id", "") or default
    try:
        return str(uuid.UUID(text)).upper()
    except ValueError:
        raise Refused(f'{table.path("id")} must be a GUID, not "{text}".', what=text) from None


def _nic(table: Table, vm_id: str, place: int) -> Adapter:
    connected = table.flag("connected", True)
    switch = table.text("switch", "LS-Main")
    trunk = table.counts("trunk", 4094)
    if trunk and table.has("vlan"):
        raise Refused(f"{table.path('trunk')} and vlan exclude each other.", what="trunk")
    acls = tuple(_acl(acl) for acl in table.tables("acl"))
    _refuse_twice(
        [f"{acl.direction} {acl.weight}" for acl in acls],
        table.path("acl") + ": direction and weight",
        [f"{acl.direction} {acl.weight}" for acl in acls],
    )
    nic = Adapter(
        id=adapter_id(vm_id, place),
        mac=_mac(table, vm_id, place),
        network=table.text("network", "VM-Net-10") or None,
        subnet=table.optional("subnet"),
        switch=switch if connected and switch else None,
        vlan=0 if trunk else table.count("vlan", 10, most=4094),
        trunk=trunk,
        native_vlan=table.count("native_vlan", 0, most=4094),
        isolation=table.count("isolation", 0),
        connected=connected and bool(switch),
        classification=table.optional("classification"),
        port_acl=table.optional("port_acl"),
        spoofing=table.optional("spoofing"),
        guards=table.optional("guards"),
        acls=acls,
        classic_acls=_classic(table),
    )
    table.done()
    return nic


def _classic(table: Table) -> tuple[str, ...]:
    rules = []
    for text in table.texts("classic_acl", ()):
        rule = classic_rule(text)
        if rule is None:
            raise Refused(
                f'{table.path("classic_acl")} must be rules such as "Allow Inbound remote '
                f'10.0.0.0/8", not "{text}".',
                what=text,
            )
        rules.append(rule)
    keys = [classic_key(rule) for rule in rules]
    _refuse_twice(keys, table.path("classic_acl") + ": direction and address", keys)
    return tuple(rules)


def _mac(table: Table, vm_id: str, place: int) -> str:
    given = table.text("mac", "")
    if not given:
        tail = uuid.uuid5(NAMESPACE, f"mac/{vm_id}/{place}").bytes[:3]
        return "00:1D:D8:" + ":".join(f"{byte:02X}" for byte in tail)
    digits = re.sub(r"[:.-]", "", given).upper()
    if not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise Refused(f'{table.path("mac")} must be a MAC address, not "{given}".', what=given)
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def _acl(table: Table) -> Acl:
    acl = Acl(
        action=table.choice("action", None, ("Allow", "Deny")),
        direction=table.choice("direction", None, ("Inbound", "Outbound")),
        weight=table.count("weight", None, most=65535),
        local_ip=table.word("local_ip", "ANY"),
        remote_ip=table.word("remote_ip", "ANY"),
        local_port=table.word("local_port", "ANY"),
        remote_port=table.word("remote_port", "ANY"),
        protocol=table.word("protocol", "ANY"),
        stateful=table.flag("stateful", False),
        idle_timeout=table.count("idle_timeout", 0),
        isolation_id=table.count("isolation_id", 0),
    )
    table.done()
    return acl


def _lies(table: Table) -> Lies:
    lies = Lies(
        lose_acls_live=table.chance("lose_acls_live"),
        lose_acls_cold=table.chance("lose_acls_cold"),
        lose_nics_cold=table.chance("lose_nics_cold"),
        refused=table.chance("refused"),
        timeout_before=table.chance("timeout_before"),
        timeout_after=table.chance("timeout_after"),
        delayed=table.chance("delayed"),
        failed=table.chance("failed"),
        failed_but_moved=table.chance("failed_but_moved"),
        stayed=table.chance("stayed"),
        job_delay=table.range("job_delay"),
        target_delay=table.range("target_delay"),
        status_stale=table.range("status_stale"),
    )
    table.done()
    return lies


def _refuse_twice(keys: Sequence[str], where: str, names: Sequence[str]) -> None:
    for position, key in enumerate(keys):
        if key in keys[:position]:
            raise Refused(f'{where} "{names[position]}" stands there twice.', what=names[position])


def _refuse_namesakes(vms: Sequence[VmSpec], name: str) -> None:
    """Refuse a second VM of one name on one host (two hosts may have one each), or an id given
    twice."""
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
