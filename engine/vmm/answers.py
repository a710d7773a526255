"""Answers of our PowerShell functions: their envelope, and the shape of their data.

Every function returns one JSON text: the number of the contract, and either data or an error. The
function itself chooses the error's class, where the error occurs.

A field that is missing or has another type breaks the contract. Unknown fields come from a newer
module and are ignored. Dates are ISO 8601 with a zone, enums are words. In a rule ``None``, an
empty text and ``*`` all mean ``ANY``, as in Hyper-V; a missing field does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from engine.errors import (
    ContractError,
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from engine.model import Volume

CONTRACT = 2

_CLASSES: Mapping[str, type[VmmError]] = {
    "locked": VmmLocked,
    "busy": VmmBusy,
    "stale": VmmStale,
    "refused": VmmRefused,
    "unavailable": VmmUnavailable,
}

Shape = TypeVar("Shape", bound="ScriptAnswer")


def _any(value: object) -> object:
    return "ANY" if value is None or value in ("", "*") else value


AclText = Annotated[str, BeforeValidator(_any)]


class ScriptAnswer(BaseModel):
    """Data of one function."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=False)


class Version(ScriptAnswer):
    """``Get-VmfVersion``."""

    module: str
    powershell: str
    vmm: str


class VmmHost(ScriptAnswer):
    """A host as VMM knows it. Memory and disk are already without the host's reserves."""

    name: str
    live_limit: int
    storage_limit: int
    responding: bool
    error: str | None
    maintenance: bool
    path: str | None
    free_memory_mb: int | None
    volumes: tuple[Volume, ...] | None


class VmmVm(ScriptAnswer):
    """A VM as VMM knows it. ``replica`` marks a copy made by Hyper-V Replica; the ``host`` of a
    ``stored`` VM is its library server."""

    id: str
    name: str
    host: str | None
    status: str
    memory_mb: int
    disk_mb: int
    adapters: int
    stored: bool
    replica: bool
    blocks: tuple[str, ...]


class VmmJob(ScriptAnswer):
    """A migration job of VMM."""

    id: str
    vm_id: str
    source: str | None
    target: str | None
    state: Literal["running", "completed", "failed", "canceled"]
    progress: int
    error: str | None
    code: str | None
    started: AwareDatetime | None
    ended: AwareDatetime | None


class UnreadJob(ScriptAnswer):
    """A job that VMM refused to read."""

    id: str
    error: str
    code: str


class JobsAnswer(ScriptAnswer):
    """``Get-VmfJobs``. A job that moves no VM has an empty ``vm_id``."""

    server_time: AwareDatetime
    jobs: tuple[VmmJob, ...]
    unknown: tuple[str, ...]
    unread: tuple[UnreadJob, ...]


class InventoryAnswer(ScriptAnswer):
    """``Get-VmfInventory``."""

    host: VmmHost
    vms: tuple[VmmVm, ...]


class SiteAnswer(ScriptAnswer):
    """``Get-VmfSite``."""

    hosts: tuple[VmmHost, ...]
    vms: tuple[VmmVm, ...]


class ModelAdapter(ScriptAnswer):
    """An adapter as VMM models it; ``id`` is its DeviceID."""

    id: str
    mac: str
    network: str | None
    subnet: str | None
    classification: str | None
    port_acl: str | None


class ModelVm(ScriptAnswer):
    """The adapters of a VM in VMM."""

    id: str
    adapters: tuple[ModelAdapter, ...]


class ModelAnswer(ScriptAnswer):
    """``Get-VmfNetwork``."""

    vms: tuple[ModelVm, ...]


class Started(ScriptAnswer):
    """``Start-VmfMove`` and ``Start-VmfReread``."""

    job: str | None


class StateVm(ScriptAnswer):
    """A VM as Hyper-V shows it."""

    id: str
    name: str
    state: str
    status: tuple[str, ...]
    replica: bool
    switches: tuple[str, ...] | None


class StateAnswer(ScriptAnswer):
    """``Get-VmfHostState``."""

    live_limit: int
    storage_limit: int
    switches: tuple[str, ...] | None
    vms: tuple[StateVm, ...]


class PulseMigration(ScriptAnswer):
    """A running migration job of Hyper-V."""

    vm_id: str
    destination: str | None
    progress: int


class PulseAnswer(ScriptAnswer):
    """``Get-VmfPulse``. Counters and limits are ``None`` if Hyper-V's classes cannot be read."""

    time: AwareDatetime
    vms: tuple[StateVm, ...]
    migrations: tuple[PulseMigration, ...]
    live: int | None
    storage: int | None
    live_limit: int | None
    storage_limit: int | None
    live_enabled: bool | None


class Rule(ScriptAnswer):
    """An extended ACL."""

    action: str
    direction: str
    weight: int
    local_ip: AclText
    remote_ip: AclText
    local_port: AclText
    remote_port: AclText
    protocol: AclText
    stateful: bool
    idle_timeout: int
    isolation_id: int


class PortAdapter(ScriptAnswer):
    """An adapter as Hyper-V has it; ``classic_acls`` are in the words of ``classic_rule``."""

    id: str
    mac: str
    switch: str | None
    connected: bool
    vlan: int
    trunk: tuple[int, ...]
    native_vlan: int
    isolation: int
    spoofing: str | None
    guards: str | None
    acls: tuple[Rule, ...]
    classic_acls: tuple[str, ...]


class PortVm(ScriptAnswer):
    """The adapters of a VM in Hyper-V."""

    id: str
    adapters: tuple[PortAdapter, ...]


class PortAnswer(ScriptAnswer):
    """``Get-VmfHostNetwork``."""

    vms: tuple[PortVm, ...]


class RightsAnswer(ScriptAnswer):
    """``Test-VmfRights``."""

    readable: bool
    writable: bool
    why: str | None


def data_of(where: str, output: Sequence[object]) -> object:
    """Return the data in the single JSON text of one of our functions.

    Raises the error in that text, or ``ContractError`` if it does not follow our contract.
    """
    if len(output) != 1 or not isinstance(output[0], str):
        raise _not_ours(where, f"it returned {len(output)} values instead of one text")
    try:
        envelope = json.loads(output[0])
    except ValueError:
        raise _not_ours(where, "its answer is not JSON") from None
    contract = envelope.get("contract") if isinstance(envelope, dict) else None
    if type(contract) is not int or contract != CONTRACT:
        raise _not_ours(where, f"it uses contract {contract}, VMFerry uses {CONTRACT}")
    match envelope:
        case {"ok": True, "data": data}:
            return data
        case {"ok": False, "error": {"class": str(kind), "message": str(text), **more}} if (
            kind in _CLASSES
        ):
            raise _CLASSES[kind](text, code=str(more.get("code") or ""))
        case _:
            raise _not_ours(where, "its answer is neither data nor a known error")


def read(shape: type[Shape], data: object, where: str) -> Shape:
    """Validate ``data`` as this shape. Raises ``ContractError`` naming the first wrong field."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "data"
        raise _not_ours(where, f"{field}: {first['msg']}") from None


def _not_ours(where: str, why: str) -> ContractError:
    return ContractError(f"{where}: {why}. Install the same version of VMFerry on both sides.")
