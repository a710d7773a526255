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
    Fleet,
    Host,
    Job,
    MoveOrder,
    Network,
    Repair,
    Vm,
)
from engine.sim import views
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
        self.rereads: dict[str, Mapping[str, object]] = {}

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
                "Get-VmfJobs": self._jobs,
                "Get-VmfInventory": self._inventory,
                "Get-VmfSite": self._site,
                "Start-VmfReread": self._begin_reread,
                "Clear-VmfFailure": self._clear,
                "Repair-VmfModel": self._put_models,
                "Stop-VmfMove": self._stop,
                "Stop-VmfJob": lambda a: self.world.stop_job(self.now, str(a["JobId"])),
            }.items()
        }

    def host(self, name: str) -> dict[str, Function]:
        return {
            "Get-VmfHostState": self._enveloped(lambda a: self._state(name)),
            "Get-VmfHostNetwork": self._enveloped(lambda a: self._ports(name, a)),
            "Add-VmfHostNetwork": self._enveloped(lambda a: self._add(name, a)),
            "Get-VmfPulse": self._enveloped(lambda a: self._pulse(name, a)),
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

    def _reread(self, asked: Asked) -> None:
        self._reread_host(str(asked["HostName"]))

    def _reread_host(self, name: str) -> None:
        host = self.world.observe(self.now, (), (), [name]).host(name)
        if host is None:
            raise VmmRefused(f"VMM knows no host {name}", code="not_found")
        if host.locked:
            raise VmmLocked(f"{name} is locked", code="2606")
        if host.error:
            raise VmmUnavailable(host.error)

    def _fleet(self, asked: Asked) -> object:
        fleet = self.world.observe(self.now, (), asked["Jobs"] or ())
        return {
            "server_time": iso(fleet.server_time),
            "hosts": [host_of(host) for host in fleet.hosts],
            "vms": [vm_of(vm) for vm in fleet.vms],
            "jobs": [job_of(job) for job in fleet.jobs],
        }

    # --- looks ----------------------------------------------------------------------------

    def _jobs(self, asked: Asked) -> object:
        ids = list(asked["Ids"] or ())
        fleet = self.world.observe(self.now, (), ids)
        rereads = {id: self.rereads[id] for id in ids if id in self.rereads}
        known = {*rereads, *(job.id for job in fleet.jobs)}
        return {
            "server_time": iso(fleet.server_time),
            "jobs": [*(job_of(job) for job in fleet.jobs), *rereads.values()],
            "unknown": [id for id in ids if id not in known],
        }

    def _inventory(self, asked: Asked) -> object:
        fleet = self.world.observe(self.now)
        host = fleet.host(str(asked["HostName"]))
        if host is None:
            raise VmmRefused(f"VMM knows no host {asked['HostName']}", code="not_found")
        vms = [vm_of(vm) for vm in fleet.vms if vm.vmm_host == host.name]
        return {"host": host_of(host), "vms": vms}

    def _site(self, asked: Asked) -> object:
        fleet = self.world.observe(self.now)
        vms = [vm_of(vm) for vm in fleet.vms if vm.stored or fleet.host(vm.vmm_host) is None]
        return {"hosts": [host_of(host) for host in fleet.hosts], "vms": vms}

    def _begin_reread(self, asked: Asked) -> object:
        """Re-read at once, in a job that has already ended."""
        self._in_time(asked, self.world.state.skew)
        if asked["What"] == "vm":
            self.world.refresh(self.now, str(asked["Name"]))
        else:
            self._reread_host(str(asked["Name"]))
        id = f"reread-{len(self.rereads)}"
        job = Job(id, "", None, None, "completed", 100, started=self.now, ended=self.now)
        self.rereads[id] = job_of(job)
        return {"job": id}

    def _pulse(self, name: str, asked: Asked) -> object:
        state, now = self.world.state, self.now
        self.world.advance(now)
        if now < state.host(name).down_until:
            raise VmmUnavailable(f"{name} does not answer")
        moving = [m for m in state.open if m.phase == "running" and m.kind == "live"]
        number = sum(migration.touches(name) for migration in moving)
        shown = self._state(name)["vms"]
        return {
            "time": iso(now),
            "migrations": [
                {
                    "vm_id": one.vm_id,
                    "destination": one.destination,
                    "progress": views.progress(one, now),
                }
                for one in moving
                if one.source == name
            ],
            "live": number,
            "storage": number,
            "live_limit": state.host(name).live,
            "storage_limit": state.host(name).storage,
            "live_enabled": True,
            "vms": [{**vm, "switches": None} for vm in shown if vm["id"] in (asked["VmIds"] or ())],
        }

    # --- changes with what they expect ----------------------------------------------------

    def _in_time(self, asked: Asked, skew: float) -> None:
        if self.now + skew > datetime.fromisoformat(str(asked["NotAfter"])).timestamp():
            raise VmmStale("The call came after its deadline", code="deadline")

    def _expected(self, asked: Asked, host: str, skew: float) -> str:
        """The id of the VM, if it is as expected."""
        self.world.advance(self.now)
        self._in_time(asked, skew)
        vm = self.world.state.vms.get(str(asked["VmId"]))
        if vm is None or vm.hosts[:1] != [host]:
            raise VmmStale(f"The VM is not on {host}", code="elsewhere")
        if self.world.state.migration_of(vm.id):
            raise VmmStale("A migration is already running", code="migrating")
        return vm.id

    def _clear(self, asked: Asked) -> None:
        vm_id = self._expected(asked, str(asked["HostName"]), self.world.state.skew)
        self.world.dismiss(self.now, vm_id)

    def _put_models(self, asked: Asked) -> None:
        self._expected(asked, str(asked["HostName"]), self.world.state.skew)
        self._repair(asked)

    def _put_ports(self, name: str, asked: Asked) -> None:
        self._expected(asked, name, 0.0)
        self._add(name, asked)

    def _stop(self, asked: Asked) -> None:
        self._in_time(asked, self.world.state.skew)
        self.world.stop_job(self.now, str(asked["JobId"]))

    # --- networks and moves ---------------------------------------------------------------

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

    def _state(self, name: str) -> dict[str, object]:
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


def host_of(host: Host) -> Mapping[str, object]:
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
