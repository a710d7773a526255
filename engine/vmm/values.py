"""Answers of our PowerShell functions as values of the model, and values as their parameters."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    HostInventory,
    HostMigration,
    HyperVState,
    Job,
    JobList,
    KnownHost,
    KnownVm,
    Network,
    Pulse,
    ShownVm,
)
from engine.vmm import answers

# --- answers to values --------------------------------------------------------------------------


def power(word: str) -> HyperVState:
    """The power state of Hyper-V's word."""
    return HyperVState(word) if word in set(HyperVState) else HyperVState.OTHER


def job(answer: answers.VmmJob) -> Job:
    """A job; its error ends with VMM's number."""
    error = answer.error
    if answer.code:
        error = _numbered(error or "The job failed", answer.code)
    return Job(
        **answer.model_dump(exclude={"error", "code", "started", "ended"}),
        error=error,
        started=answer.started.timestamp() if answer.started else None,
        ended=answer.ended.timestamp() if answer.ended else None,
    )


def _numbered(error: str, code: str) -> str:
    """Error that ends with VMM's number, if there is one."""
    return f"{error} ({code})" if code and f"{code})" not in error else error


def job_list(answer: answers.JobsAnswer) -> JobList:
    """All jobs of a look."""
    jobs = tuple(map(job, answer.jobs))
    unread = tuple((one.id, _numbered(one.error, one.code)) for one in answer.unread)
    return JobList(answer.server_time.timestamp(), jobs, answer.unknown, unread)


def known_host(answer: answers.VmmHost) -> KnownHost:
    """A host as VMM knows it."""
    silent = None if answer.responding else f"VMM gets no answer from {answer.name}"
    said = answer.model_dump(exclude={"responding", "error", "volumes"})
    return KnownHost(**said, error=answer.error or silent, volumes=answer.volumes)


def known_vms(answer: Iterable[answers.VmmVm]) -> tuple[KnownVm, ...]:
    """VMs as VMM knows them."""
    return tuple(KnownVm(**vm.model_dump()) for vm in answer)


def shown_vms(answer: Iterable[answers.StateVm]) -> tuple[ShownVm, ...]:
    """VMs as Hyper-V shows them."""
    return tuple(ShownVm(**{**dict(vm), "state": power(vm.state)}) for vm in answer)


def inventory(host: str, answer: answers.StateAnswer) -> HostInventory:
    """All VMs of a host."""
    return HostInventory(**{**dict(answer), "vms": shown_vms(answer.vms)}, host=host)


def pulse(host: str, answer: answers.PulseAnswer) -> Pulse:
    """Current migrations of a host."""
    migrations = tuple(HostMigration(**dict(one)) for one in answer.migrations)
    more = {"time": answer.time.timestamp(), "vms": shown_vms(answer.vms)}
    return Pulse(**{**dict(answer), **more, "migrations": migrations}, host=host)


def ports(answer: Iterable[answers.PortAdapter]) -> Network:
    """Hyper-V's half of a network."""
    return Network(
        tuple(
            Adapter(**{**dict(port), "acls": tuple(Acl(**dict(rule)) for rule in port.acls)})
            for port in answer
        )
    )


def models(answer: Iterable[answers.ModelAdapter]) -> Network:
    """VMM's half of a network."""
    return Network(tuple(Adapter(**dict(model)) for model in answer))


# --- values to parameters -----------------------------------------------------------------------


def rows(rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as one JSON text."""
    return json.dumps(list(rows))


def iso(at: float) -> str:
    """A time in ISO 8601, in milliseconds, never later than ``at``."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _fields(one: Adapter | AdapterRepair, *names: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


def pinned(adapter: Adapter) -> Mapping[str, object]:
    """Parameters of a pinned adapter. VMM knows only access VLANs: of a trunk none is bound."""
    names = ("id", "mac", "network", "subnet", "switch", "vlan", "classification")
    return _fields(adapter, *names) | ({"vlan": None} if adapter.trunk else {})


def connection(one: AdapterRepair) -> Mapping[str, object]:
    """Parameters of what VMM restores on an adapter."""
    names = ("mac", "network", "subnet", "switch", "vlan", "classification", "port_acl")
    trunk = {"vlan": None} if one.trunk else {}
    return {"id": one.adapter_id, **_fields(one, *names), **trunk}


def port(one: AdapterRepair) -> Mapping[str, object]:
    """Parameters of what the host restores on an adapter."""
    return {
        "id": one.adapter_id,
        "mac": one.mac,
        "acls": [asdict(acl) for acl in one.acls],
        "classic_acls": one.classic_acls,
        "vlan": None if one.trunk else one.vlan,
        **_fields(one, "trunk", "native_vlan"),
        "switch": one.switch,
        **_fields(one, "isolation", "spoofing", "guards"),
    }
