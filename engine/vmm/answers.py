"""Answers of our PowerShell functions: the envelope around them, and their shape field by field.

Every function returns one JSON text: the number of the contract, and either data or an error with
a class, which the function itself has chosen beside VMM.

A field that is missing or of another kind is another contract; one that we do not know is a newer
module's and is left alone. Dates are ISO 8601 with a zone, enums are words. ``None``, an empty
text and ``*`` in a rule all mean ``ANY``, as Hyper-V reads them; a missing field does not.
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

CONTRACT = 1

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


class FleetHost(ScriptAnswer):
    """A host as VMM knows it. Its own reserves of memory and disk are taken off already."""

    name: str
    live_limit: int
    storage_limit: int
    refreshed: bool
    locked: bool
    responding: bool
    error: str | None
    maintenance: bool
    path: str | None
    free_memory_mb: int | None
    volumes: tuple[Volume, ...] | None


class FleetVm(ScriptAnswer):
    """A VM as VMM knows it. ``replica`` is a copy that Hyper-V Replica keeps."""

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


class FleetJob(ScriptAnswer):
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


class FleetAnswer(ScriptAnswer):
    """``Get-VmfFleet``."""

    server_time: AwareDatetime
    hosts: tuple[FleetHost, ...]
    vms: tuple[FleetVm, ...]
    jobs: tuple[FleetJob, ...]


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
    """``Start-VmfMove``."""

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
    """An adapter as Hyper-V has it; ``classic_acls`` in the words of ``classic_rule``."""

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
    """Data in the one JSON text that a function of ours returned.

    Raises the error that it holds, or ``ContractError`` when it is not of our contract.
    """
    if len(output) != 1 or not isinstance(output[0], str):
        raise _not_ours(where, f"it returned {len(output)} values instead of one text")
    try:
        envelope = json.loads(output[0])
    except ValueError:
        raise _not_ours(where, "its answer is not JSON") from None
    contract = envelope.get("contract") if isinstance(envelope, dict) else None
    if type(contract) is not int or contract != CONTRACT:
        raise _not_ours(where, f"it speaks contract {contract}, we speak {CONTRACT}")
    match envelope:
        case {"ok": True, "data": data}:
            return data
        case {"ok": False, "error": {"class": str(kind), "message": str(text), **more}} if (
            kind in _CLASSES
        ):
            raise _CLASSES[kind](text, code=str(more.get("code") or ""))
        case _:
            raise _not_ours(where, "its answer is neither data nor an error that we know")


def read(shape: type[Shape], data: object, where: str) -> Shape:
    """``data`` in this shape. Raises ``ContractError`` naming the first field that differs."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "data"
        raise _not_ours(where, f"{field}: {first['msg']}") from None


def _not_ours(where: str, why: str) -> ContractError:
    return ContractError(f"{where}: {why}. Install the same version of VMFerry on both sides.")
