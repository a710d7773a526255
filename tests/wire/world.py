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
from engine.model import Acl, Adapter, AdapterRepair, Fleet, MoveOrder, Network, Repair, Vm
from engine.sim.world import World
from engine.vmm.wire import WirePort
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


class WaitingPort(WirePort):
    """The port, waiting for every re-read. A re-read takes no time in virtual time, but on the wire
    it ends at any moment."""

    def observe(self, hosts=(), jobs=(), refresh=(), reread=()) -> Fleet:
        """Observe after all re-reads."""
        return super().observe(hosts, jobs, (*refresh, *reread))


def iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


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
                "Get-VmfFleet": self._fleet,
                "Get-VmfNetwork": self._models,
                "Start-VmfMove": self._start,
                "Repair-VmfNetwork": self._repair,
                "Clear-VmfFailedJob": lambda a: self.world.dismiss(self.now, str(a["VmId"])),
                "Update-VmfHost": self._reread,
                "Update-VmfVm": lambda a: self.world.refresh(self.now, str(a["VmId"])),
                "Stop-VmfJob": lambda a: self.world.stop_job(self.now, str(a["JobId"])),
            }.items()
        }

    def host(self, name: str) -> dict[str, Function]:
        return {
            "Get-VmfHostState": self._enveloped(lambda a: self._state(name)),
            "Get-VmfHostNetwork": self._enveloped(lambda a: self._ports(name, a)),
            "Add-VmfHostNetwork": self._enveloped(lambda a: self._add(name, a)),
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

    def _reread(self, asked: Asked) -> None:
        name = str(asked["HostName"])
        host = self.world.observe(self.now, (), (), [name]).host(name)
        if host.locked:
            raise VmmLocked(f"{name} is locked", code="2606")
        if host.error:
            raise VmmUnavailable(host.error)

    def _fleet(self, asked: Asked) -> object:
        fleet = self.world.observe(self.now, (), asked["Jobs"] or ())
        return {
            "server_time": iso(fleet.server_time),
            "hosts": [
                {
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
                for host in fleet.hosts
            ],
            "vms": [vm_of(vm) for vm in fleet.vms],
            "jobs": [
                {
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
                for job in fleet.jobs
            ],
        }

    def _models(self, asked: Asked) -> object:
        wanted = [vm for vm in self.world.state.vms.values() if vm.id in asked["VmIds"]]
        return {
            "vms": [
                {
                    "id": vm.id,
                    "adapters": [
                        {
                            "id": nic.id,
                            "mac": nic.mac,
                            "network": nic.network,
                            "subnet": nic.subnet,
                            "switch": nic.switch,
                            "vlan": nic.vlan,
                            "classification": nic.classification,
                            "port_acl": nic.port_acl,
                        }
                        for nic in vm.nics
                    ],
                }
                for vm in wanted
            ]
        }

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
            datetime.fromisoformat(str(asked["NotAfter"])).timestamp(),
        )
        return {"job": self.world.start_move(self.now, order)}

    def _repair(self, asked: Asked) -> None:
        vm_id = str(asked["VmId"])
        rows = json.loads(str(asked["Adapters"]))
        here = str(asked["HostName"])
        repairs = tuple(
            AdapterRepair(
                row["id"],
                row["mac"],
                row["network"],
                row["switch"],
                row["vlan"],
                subnet=row["subnet"],
                classification=row["classification"],
                port_acl=row["port_acl"],
            )
            for row in rows
        )
        self.world.repair_network(self.now, vm_id, Repair(here, repairs))

    def _add(self, host: str, asked: Asked) -> None:
        rows = json.loads(str(asked["Adapters"]))
        repairs = tuple(
            AdapterRepair(
                row["id"],
                row["mac"],
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
        self.world.repair_network(self.now, str(asked["VmId"]), Repair(host, repairs))

    def _state(self, name: str) -> object:
        fleet = self.world.observe(self.now, [name])
        host = fleet.host(name)
        if host is None or host.seen_at is None:
            raise VmmUnavailable(f"{name} does not answer")
        return {
            "host": name,
            "time": iso(self.now),
            "live_limit": host.live_limit,
            "storage_limit": host.storage_limit,
            "switches": host.switches,
            "vms": [
                {
                    "id": vm.id,
                    "name": vm.name,
                    "state": str(vm.hyperv_state),
                    "status": list(vm.hyperv_status),
                    "replica": False,
                    "switches": vm.switches,
                }
                for vm in fleet.vms
                if name in vm.seen_on
            ],
        }

    def _ports(self, host: str, asked: Asked) -> object:
        found = self.world.networks(self.now, host, asked["VmIds"])
        return {
            "vms": [
                {"id": vm_id, "adapters": [port_of(nic) for nic in network.adapters]}
                for vm_id, network in found.items()
            ]
        }

    def _rights(self, host: str) -> object:
        why = self.world.rights(self.now, host)
        return {"readable": True, "writable": why is None, "why": why}


def vm_of(vm: Vm) -> Mapping[str, object]:
    return {
        "id": vm.id,
        "name": vm.name,
        "host": vm.vmm_host,
        "status": vm.vmm_status,
        "memory_mb": vm.memory_mb,
        "disk_mb": vm.disk_mb,
        "adapters": vm.adapters,
        "stored": vm.stored,
        "replica": False,
        "blocks": list(vm.blocks),
    }


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
