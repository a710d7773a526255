"""Our PowerShell functions in Python, on a simulated world: the answers of VMM and the hosts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from engine.clock import Clock
from engine.errors import (
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    Expected,
    Job,
    KnownHost,
    KnownVm,
    MoveOrder,
    Network,
    Repair,
    Reread,
    ShownVm,
)
from engine.sim import network
from engine.sim.world import World
from tests.wire.functions import Asked, Function

CLASSES: Mapping[type[VmmError], str] = {
    VmmLocked: "locked",
    VmmBusy: "busy",
    VmmStale: "stale",
    VmmRefused: "refused",
    VmmUnavailable: "unavailable",
}


def good(data: object) -> str:
    return json.dumps({"contract": 2, "ok": True, "data": data})


def bad(kind: str, text: str, code: str = "") -> str:
    error = {"class": kind, "code": code, "fqeid": f"{code},Cmdlet", "message": text}
    return json.dumps({"contract": 2, "ok": False, "error": error})


def iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def seconds(text: object) -> float:
    """A time of a caller in Unix seconds."""
    return datetime.fromisoformat(str(text)).timestamp()


class Answering:
    """The functions of one world, for its VMM server and for each of its hosts."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.lock = threading.Lock()

    def vmm(self) -> dict[str, Function]:
        return {
            name: self._enveloped(answer)
            for name, answer in {
                "Get-VmfVersion": self._version,
                "Get-VmfJobs": self._jobs,
                "Get-VmfInventory": self._inventory,
                "Get-VmfSite": self._site,
                "Get-VmfNetwork": self._models,
                "Start-VmfMove": self._start,
                "Start-VmfReread": self._reread,
                "Stop-VmfMove": self._stop,
                "Clear-VmfFailure": self._clear,
                "Repair-VmfModel": self._put_models,
            }.items()
        }

    def host(self, name: str) -> dict[str, Function]:
        return {
            "Get-VmfHostState": self._enveloped(lambda a: self._state(name)),
            "Get-VmfPulse": self._enveloped(lambda a: self._pulse(name, a)),
            "Get-VmfHostNetwork": self._enveloped(lambda a: self._ports(name, a)),
            "Add-VmfHostPort": self._enveloped(lambda a: self._put_ports(name, a)),
            "Test-VmfRights": self._enveloped(lambda a: self._rights(name)),
        }

    @property
    def now(self) -> float:
        return self.clock.now()

    def _enveloped(self, answer: Callable[[Asked], object]) -> Function:
        def function(asked: Asked) -> str:
            with self.lock:
                try:
                    return good(answer(asked) or {})
                except VmmError as error:
                    return bad(CLASSES[type(error)], error.text, error.code)

        return function

    def _version(self, asked: Asked) -> object:
        return {"module": "2", "powershell": "5.1.20348", "vmm": "10.22.1287"}

    # --- looks ----------------------------------------------------------------------------

    def _jobs(self, asked: Asked) -> object:
        found = self.world.jobs(self.now, asked["Ids"] or ())
        return {
            "server_time": iso(found.server_time),
            "jobs": [job_of(job) for job in found.jobs],
            "unknown": found.unknown,
            "unread": [],
        }

    def _inventory(self, asked: Asked) -> object:
        found = self.world.known(self.now, str(asked["HostName"]))
        return {"host": host_of(found.host), "vms": [vm_of(vm) for vm in found.vms]}

    def _site(self, asked: Asked) -> object:
        found = self.world.site(self.now)
        vms = [vm_of(vm) for vm in found.vms]
        return {"hosts": [host_of(host) for host in found.hosts], "vms": vms}

    def _state(self, name: str) -> dict[str, object]:
        found = self.world.shown(self.now, name)
        return {
            "host": name,
            "time": iso(self.now),
            "live_limit": found.live_limit,
            "storage_limit": found.storage_limit,
            "switches": found.switches,
            "vms": [shown_of(vm) for vm in found.vms],
        }

    def _pulse(self, name: str, asked: Asked) -> object:
        found = self.world.pulse(self.now, name, asked["VmIds"] or ())
        row = {key: value for key, value in asdict(found).items() if key != "words"}
        return {**row, "time": iso(found.time), "vms": [shown_of(vm) for vm in found.vms]}

    def _models(self, asked: Asked) -> object:
        found = self.world.models(self.now, asked["VmIds"])
        return {
            "vms": [
                {"id": vm_id, "adapters": [model_of(nic) for nic in network.adapters]}
                for vm_id, network in found.items()
            ]
        }

    def _ports(self, host: str, asked: Asked) -> object:
        found = self.world.ports(self.now, host, asked["VmIds"])
        return {
            "vms": [
                {"id": vm_id, "adapters": [port_of(nic) for nic in network.adapters]}
                for vm_id, network in found.items()
            ]
        }

    def _rights(self, host: str) -> object:
        why = self.world.rights(self.now, host)
        return {"readable": True, "writable": why is None, "why": why}

    # --- changes --------------------------------------------------------------------------

    def _start(self, asked: Asked) -> object:
        pin = None
        if asked["Pin"]:
            rows = json.loads(str(asked["Pin"]))
            pin = Network(tuple(Adapter(**row | {"vlan": row["vlan"] or 0}) for row in rows))
        order = MoveOrder(
            str(asked["VmId"]),
            str(asked["Source"]),
            str(asked["Destination"]),
            None,
            asked["Power"],
            pin,
            seconds(asked["NotAfter"]),
            seconds(asked["NotBefore"]) if asked["NotBefore"] else None,
        )
        return {"job": self.world.start_move(self.now, order)}

    def _reread(self, asked: Asked) -> object:
        what, until = Reread(str(asked["What"])), seconds(asked["NotAfter"])
        return {"job": self.world.reread(self.now, what, str(asked["Name"]), until)}

    def _stop(self, asked: Asked) -> None:
        self.world.stop(self.now, str(asked["JobId"]), seconds(asked["NotAfter"]))

    def _clear(self, asked: Asked) -> None:
        self.world.clear(self.now, str(asked["VmId"]), self._expected(asked))

    def _expected(self, asked: Asked) -> Expected:
        return Expected(str(asked["HostName"]), seconds(asked["NotAfter"]))

    def _put_models(self, asked: Asked) -> None:
        """Restore what VMM models, and the switch and VLAN, which VMM sets on the host."""
        names = ("mac", "network", "switch", "vlan", "subnet", "classification", "port_acl")
        rows = json.loads(str(asked["Adapters"]))
        repairs = [AdapterRepair(row["id"], **{key: row[key] for key in names}) for row in rows]
        repair = Repair(str(asked["HostName"]), tuple(repairs))
        vm_id = str(asked["VmId"])
        self.world.put_models(self.now, vm_id, repair, self._expected(asked))
        network.repair_ports(self.world.state, self.world.state.vms[vm_id], repair)

    def _put_ports(self, host: str, asked: Asked) -> None:
        rows = json.loads(str(asked["Adapters"]))
        repairs = tuple(
            AdapterRepair(
                row["id"],
                row["mac"],
                switch=row["switch"],
                vlan=row["vlan"],
                trunk=tuple(row["trunk"]),
                native_vlan=row["native_vlan"],
                acls=tuple(Acl(**acl) for acl in row["acls"]),
                classic_acls=tuple(row["classic_acls"]),
                isolation=row["isolation"],
                spoofing=row["spoofing"],
                guards=row["guards"],
            )
            for row in rows
        )
        expected = Expected(host, seconds(asked["NotAfter"]))
        self.world.put_ports(self.now, str(asked["VmId"]), Repair(host, repairs), expected)


def host_of(host: KnownHost) -> Mapping[str, object]:
    return {
        "name": host.name,
        "live_limit": host.live_limit,
        "storage_limit": host.storage_limit,
        "responding": host.error is None,
        "error": host.error,
        "maintenance": host.maintenance,
        "path": host.path,
        "free_memory_mb": host.free_memory_mb,
        "volumes": host.volumes and [asdict(one) for one in host.volumes],
    }


def job_of(job: Job) -> Mapping[str, object]:
    return {
        "id": job.id,
        "vm_id": job.vm_id,
        "source": job.source,
        "target": job.target,
        "state": job.state,
        "progress": job.progress,
        "error": job.error,
        "code": None,
        "started": iso(job.started),
        "ended": iso(job.ended),
    }


def vm_of(vm: KnownVm) -> Mapping[str, object]:
    return {**asdict(vm), "blocks": list(vm.blocks)}


def shown_of(vm: ShownVm) -> Mapping[str, object]:
    return {**asdict(vm), "state": str(vm.state)}


def model_of(nic: Adapter) -> Mapping[str, object]:
    names = ("id", "mac", "network", "subnet", "switch", "vlan", "classification", "port_acl")
    return {name: getattr(nic, name) for name in names}


def port_of(nic: Adapter) -> Mapping[str, object]:
    """An adapter as Hyper-V shows it, with its own spelling of the id and without a VM network."""
    return {
        "id": nic.id,
        "mac": nic.mac,
        "name": "Network Adapter",
        "switch": nic.switch,
        "connected": nic.connected,
        "vlan": nic.vlan,
        "trunk": list(nic.trunk),
        "native_vlan": nic.native_vlan,
        "isolation": nic.isolation,
        "spoofing": nic.spoofing,
        "guards": nic.guards,
        "acls": [rule_of(acl) for acl in nic.acls],
        "classic_acls": list(nic.classic_acls),
    }


def rule_of(acl: Acl) -> Mapping[str, object]:
    return {
        "action": acl.action,
        "direction": acl.direction,
        "weight": acl.weight,
        "local_ip": acl.local_ip,
        "remote_ip": acl.remote_ip,
        "local_port": acl.local_port,
        "remote_port": acl.remote_port,
        "protocol": acl.protocol,
        "stateful": acl.stateful,
        "idle_timeout": acl.idle_timeout,
        "isolation_id": acl.isolation_id,
    }
