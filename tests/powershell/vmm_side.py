"""The SC cmdlets on a simulated world: VMM's answers and actions."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.errors import VmmRefused
from engine.model import Adapter, AdapterRepair, Job, MoveOrder, Network, Repair
from engine.sim import capacity, judge, lies, migrations, network, views
from engine.sim.migrations import reach, unlocked, unlocked_vm
from engine.sim.state import POWER, WORDS, HostState, State, VmState

if TYPE_CHECKING:
    from tests.powershell.world_server import Call, Desk

Row = dict[str, Any]
Answer = dict[str, Any]
SC = "Microsoft.SystemCenter.VirtualMachineManager."
NAMESPACE = uuid.UUID("3f2f6c1e-7c55-4a0f-8d5e-94c6a5d1f0b2")
STATES = {"running": "Running", "completed": "Completed", "failed": "Failed"}
STATES |= {"canceled": "Canceled"}
FLAGS = {
    "ha": "IsHighlyAvailable",
    "pass_through": "HasPassthroughDisk",
    "shared_disk": "ShareSCSIBus",
    "fibre_channel": "HasVirtualFibreChannelAdapters",
    "replica": "IsRecoveryVM",
}


@dataclass
class Reread:
    """A job in which VMM re-reads something. ``read`` does that at the end of the job."""

    id: str
    cmdlet: str
    object: str
    begins: float
    ends: float
    read: Callable[[float], object]
    ended: bool = False
    error: str = ""


def answer(desk: Desk, now: float, call: Call) -> Answer:
    """VMM's answer to one cmdlet. Raises ``VmmError``."""
    if call.cmdlet not in CMDLETS:
        raise VmmRefused(f"{call.cmdlet} is no cmdlet of VMM")
    return CMDLETS[call.cmdlet](desk, now, call.bound)


def iso(seconds: float) -> str:
    """Unix seconds in a form that .NET reads."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def object_id(kind: str, key: str) -> str:
    """VMM's own id of an object: never the Hyper-V id."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}/{key}"))


def _objects(rows: Iterable[Row], job: Row | None = None) -> Answer:
    return {"objects": list(rows), "job": job}


def _server(desk: Desk, now: float, bound: Row) -> Answer:
    name = bound["ComputerName"]
    row = {"type": SC + "ServerConnection", "ID": object_id("server", name), "Name": name}
    return _objects([{**row, "Port": bound.get("TCPPort", 8100), "ProductVersion": "10.22.1711.0"}])


# --- hosts ----------------------------------------------------------------------------------


def _hosts(desk: Desk, now: float, bound: Row) -> Answer:
    state = desk.world.state
    if "ComputerName" in bound:
        found = state.known_host(bound["ComputerName"])
        return _objects([_host(found, now) | _room(desk, found, now)] if found else [])
    return _objects(_host(host, now) | _room(desk, host, now) for host in state.hosts.values())


def _host(host: HostState, now: float) -> Row:
    agent = "NotResponding" if now < host.down_until else "Responding"
    return {
        "type": SC + "Host",
        "ID": object_id("host", host.name),
        "Name": host.name,
        "FullyQualifiedDomainName": host.name,
        "ComputerName": host.name.split(".", 1)[0],
        "OverallState": "OK" if agent == "Responding" else agent,
        "CommunicationState": agent,
        "ComputerState": "MaintenanceMode" if host.spec.maintenance else agent,
        "LiveMigrationMaximum": host.live,
        "LiveStorageMigrationMaximum": host.storage,
        "EnableLiveMigration": True,
        "VMPaths": [host.spec.path],
    }


def _room(desk: Desk, host: HostState, now: float) -> Row:
    """Memory and disks as VMM shows them, including its own reserves."""
    if host.name in desk.quirks.room:
        return desk.quirks.room[host.name]
    state = desk.world.state
    row: Row = {"MemoryReserveMB": 256, "DiskSpaceReserveMB": 100}
    row["AvailableMemory"] = capacity.free_memory_mb(state, host) + 256
    volumes = [(one.name, one.free_mb + 100) for one in capacity.volumes(state, host)]
    return {**row, "DiskVolumes": [volume(f"{name}\\", free) for name, free in volumes]}


def volume(name: str, free_mb: int | None) -> Row:
    """A volume as VMM shows it: its name ends with a backslash, its sizes are bytes."""
    free = None if free_mb is None else free_mb * 1024**2
    return {"type": SC + "HostVolume", "ID": object_id("volume", name), "Name": name} | {
        "FreeSpace": free
    }


def _read_host(desk: Desk, now: float, bound: Row) -> Answer:
    """Re-read the properties of a host, in a job of its own. VMM reads nothing of its VMs."""
    assert bound["RunAsynchronously"]
    host = _host_of(desk.world.state, bound["VMHost"])
    unlocked(desk.world.state, now, host.name)

    def read(then: float) -> None:
        reach(desk.world.state, then, host.name)

    job = _reread(desk, now, "Read-SCVMHost", bound["VMHost"], read)
    return _objects([_host(host, now)], job)


def _host_of(state: State, key: str) -> HostState:
    return next(host for host in state.hosts.values() if object_id("host", host.name) == key)


# --- VMs ------------------------------------------------------------------------------------


def _vms(desk: Desk, now: float, bound: Row) -> Answer:
    state = desk.world.state
    vms = [vm for vm in state.vms.values() if vm.vmm_host]
    if "ID" in bound:
        vms = [vm for vm in vms if object_id("vm", vm.id) == bound["ID"]]
    if "Name" in bound:
        vms = [vm for vm in vms if vm.name.casefold() == bound["Name"].casefold()]
    if "VMHost" in bound:
        vms = [vm for vm in vms if vm.vmm_host == _host_of(state, bound["VMHost"]).name]
    reading = {job.object: {"MostRecentTaskID": job.id} for job in desk.rereads if not job.ended}
    rows = (_vm(state, vm, now) for vm in vms)
    return _objects({**row, **reading.get(row["ID"], {})} for row in rows)


def _vm(state: State, vm: VmState, now: float) -> Row:
    host = state.known_host(vm.vmm_host) if vm.vmm_host else None
    power = vm.vmm_status if vm.vmm_status in POWER else WORDS.get(vm.power, "Starting")
    jobs = [m for m in (*state.over, *state.open) if m.vm_id == vm.id]
    jobs = [m for m in jobs if m.phase not in ("void", "waiting")]
    latest = max(jobs, key=lambda m: m.begins).id if jobs else object_id("refresh", vm.id)
    is_stored = host is not None and vm.vmm_status == "Stored"
    return {
        "type": SC + "VM",
        "ID": object_id("vm", vm.id),
        "VMId": vm.id,
        "Name": vm.name,
        "Status": vm.vmm_status,
        "VirtualMachineState": power,
        "VMHost": _host(host, now) if host else None,
        "HostName": vm.vmm_host,
        "Memory": int(vm.spec.memory_gb * 1024),
        "TotalSize": int(vm.spec.disk_gb * 1024**3),
        "VirtualNetworkAdapters": [_adapter(vm.name, nic) for nic in vm.nics],
        "IsUndergoingLiveMigration": vm.vmm_status == "UnderMigration",
        "MostRecentTaskID": latest,
        **{flag: word in vm.spec.blocks for word, flag in FLAGS.items()},
        **({"HostName": None, "LibraryServer": _host(host, now)} if is_stored else {}),
    }


def _vm_of(state: State, key: str) -> VmState:
    found = next((vm for vm in state.vms.values() if object_id("vm", vm.id) == key), None)
    if found is None:
        raise VmmRefused("VMM cannot find the virtual machine", code="801")
    return found


def _read_vms(desk: Desk, now: float, bound: Row) -> Answer:
    """Re-read one VM, or the VMs of a host in a job of its own."""
    state = desk.world.state
    cmdlet = "Read-SCVirtualMachine"
    if "VM" in bound:
        vm = _vm_of(state, bound["VM"])
        if "RunAsynchronously" not in bound:
            return _read_vm(state, now, vm)
        unlocked_vm(state, now, vm)
        job = _reread(desk, now, cmdlet, bound["VM"], lambda then: _read_vm(state, then, vm))
        return _objects([_vm(state, vm, now)], job)
    assert bound["RunAsynchronously"]
    host = _host_of(state, bound["VMHost"])
    unlocked(state, now, host.name)

    def read(then: float) -> None:
        reach(state, then, host.name)
        for vm in list(state.vms.values()):
            if views.is_about(vm, host.name) and state.migration_of(vm.id) is None:
                views.reread(state, vm, then)

    return _objects([], _reread(desk, now, cmdlet, bound["VMHost"], read))


def _reread(
    desk: Desk, now: float, cmdlet: str, object: str, read: Callable[[float], object]
) -> Row | None:
    """Begin a job in which VMM re-reads an object."""
    key = object_id("reread", f"{len(desk.rereads)} {now}")
    job = Reread(key, cmdlet, object, now, now + desk.quirks.reread_seconds, read)
    desk.rereads.append(job)
    desk.settle(now)
    return _reread_job(desk, job) if desk.quirks.job_variable else None


def _read_vm(state: State, now: float, vm: VmState) -> Answer:
    if vm.deleted:
        views.reread(state, vm, now)
        return _objects([])
    reach(state, now, *vm.hosts)
    unlocked_vm(state, now, vm)
    views.refresh_vm(state, now, vm)
    return _objects([_vm(state, vm, now)])


def _repair_vm(desk: Desk, now: float, bound: Row) -> Answer:
    """Drop the failed job. VMM then derives the status of the VM anew, without a re-read."""
    state = desk.world.state
    vm = _vm_of(state, bound["VM"])
    if not bound.get("Dismiss"):
        raise VmmRefused("Only -Dismiss is known here")
    reach(state, now, *vm.hosts)
    unlocked_vm(state, now, vm)
    judge.changed(state, now, vm, vm.vmm_host or "")
    vm.overlay, vm.status_due = None, now
    views.catch_up(state, vm, now)
    return _objects([_vm(state, vm, now)])


def _move(desk: Desk, now: float, bound: Row) -> Answer:
    """Start a move without any comparison, from the host where VMM believes the VM to be."""
    state = desk.world.state
    vm = _vm_of(state, bound["VM"])
    group = desk.groups.pop(bound["JobGroup"], {}) if "JobGroup" in bound else {}
    pins = tuple(
        _pinned(desk, nic, group[_nic_id(nic)]) for nic in vm.nics if _nic_id(nic) in group
    )
    source, target = vm.vmm_host or "", _host_of(state, bound["VMHost"]).name
    power: Any = lies.power_class(vm.power)
    pin = Network(pins) if power == "down" else None
    # The world may delay a start; here it must not, since the guard has already checked.
    late = now + state.skew
    order = MoveOrder(vm.id, source, target, None, power, pin, late)
    job_id = desk.world.start_move(now, order)
    job = Job(job_id or "", vm.id, source, None, "running", started=now)
    shown = _job(desk, job) if desk.quirks.job_variable else None
    return _objects([_vm(state, vm, now)], shown)


def _pinned(desk: Desk, nic: Adapter, change: Row) -> Adapter:
    state = desk.world.state
    return Adapter(
        id=nic.id,
        mac=nic.mac,
        network=_name_of(state, "VMNetwork", change),
        subnet=_name_of(state, "VMSubnet", change),
        switch=change.get("VirtualNetwork"),
        vlan=change.get("VLanID", 0) if change.get("VLanEnabled") else 0,
        classification=_name_of(state, "PortClassification", change),
        port_acl=_name_of(state, "PortACL", change),
    )


# --- jobs -----------------------------------------------------------------------------------


def _jobs(desk: Desk, now: float, bound: Row) -> Answer:
    state = desk.world.state
    wanted = bound.get("ID") or bound.get("Job")
    shown = views.shown_jobs(state, frozenset([wanted] if wanted else []), now)
    jobs = [views.job_of(migration, now) for migration in shown]
    if wanted:
        rereads = [_reread_job(desk, job) for job in desk.rereads if job.id == wanted]
        return _objects([*rereads, *(_job(desk, job) for job in jobs if job.id == wanted)])
    judge.listed(state, now)
    rereads = [_reread_job(desk, job) for job in desk.rereads if not job.ended]
    return _objects([*rereads, *(_job(desk, job) for job in jobs if job.state == "running")])


def _reread_job(desk: Desk, job: Reread) -> Row:
    skew = desk.world.state.skew
    status = "Running" if not job.ended else "Failed" if job.error else "Completed"
    return {
        "type": SC + "Task",
        "ID": job.id,
        "Name": "Refresh",
        "CmdletName": job.cmdlet,
        "Status": status,
        "ProgressValue": 100 if job.ended else 50,
        "ErrorInfo": _error(job.error),
        "StartTime": iso(job.begins + skew),
        **({"EndTime": iso(job.ends + skew)} if job.ended else {}),
        "ResultObjectID": job.object,
        "IsCompleted": job.ended,
        "IsStoppable": not job.ended,
    }


def _job(desk: Desk, job: Job) -> Row:
    state = desk.world.state
    vm = state.vms.get(job.vm_id)
    over = job.state != "running"
    said = desk.quirks.job_hosts
    title = f"Migrate virtual machine {vm.name if vm else ''}"
    if not said and job.target:
        title = f"Live migrate virtual machine from {job.source} to {job.target}"
    return {
        "type": SC + "Task",
        "ID": job.id,
        "Name": title,
        "CmdletName": desk.quirks.job_cmdlet,
        "Status": STATES[job.state],
        "ProgressValue": job.progress,
        "ErrorInfo": _error(job.error or ""),
        **({"StartTime": iso(job.started)} if job.started is not None else {}),
        **({"EndTime": iso(job.ended)} if job.ended is not None else {}),
        "ResultName": vm.name if vm else "Object Deleted",
        "ResultObjectID": object_id("vm", job.vm_id),
        "Source": job.source if said else None,
        "Target": job.target if said else None,
        "IsCompleted": over,
        "IsStoppable": not over,
    }


def _error(text: str) -> Row:
    """Sentence and number separately, as VMM has them."""
    number = 0
    if found := re.fullmatch(r"(.*) \((\d+)\)", text, re.DOTALL):
        text, number = found[1], int(found[2])
    row = {"type": "Microsoft.VirtualManager.Utils.ErrorInfo", "Problem": text}
    return {**row, "Code": "Failed" if text else "Success", "DisplayableErrorCode": number}


def _stop_job(desk: Desk, now: float, bound: Row) -> Answer:
    migrations.stop(desk.world.state, now, bound["Job"])
    return _objects([])


# --- networks -------------------------------------------------------------------------------


def _adapters(desk: Desk, now: float, bound: Row) -> Answer:
    vm = _vm_of(desk.world.state, bound["VM"])
    return _objects(_adapter(vm.name, nic) for nic in vm.nics)


def _nic_id(nic: Adapter) -> str:
    return object_id("nic", nic.id)


def _adapter(name: str, nic: Adapter) -> Row:
    return {
        "type": SC + "VirtualNetworkAdapter",
        "ID": _nic_id(nic),
        "Name": name,
        "DeviceID": nic.id,
        "MACAddress": nic.mac,
        "VirtualNetwork": nic.switch,
        "VMNetwork": _named("VMNetwork", nic.network),
        "VMSubnet": _named("VMSubnet", nic.subnet),
        "PortClassification": _named("PortClassification", nic.classification),
        "PortACL": _named("PortACL", nic.port_acl),
        "VLanEnabled": nic.vlan > 0,
        "VLanID": nic.vlan,
    }


def _named(kind: str, name: str | None) -> Row | None:
    return {"type": SC + kind, "ID": object_id(kind, name), "Name": name} if name else None


FIELDS = {"VMNetwork": "network", "VMSubnet": "subnet"}
FIELDS |= {"PortClassification": "classification", "PortACL": "port_acl"}


def _list(kind: str) -> Callable[[Any, float, Row], Answer]:
    """The cmdlet that lists the objects of a kind."""

    def answer(desk: Desk, now: float, bound: Row) -> Answer:
        names = _names(desk.world.state, kind, bound.get("VMNetwork"))
        return _objects(row for name in names if (row := _named(kind, name)))

    return answer


def _names(state: State, kind: str, network: str | None = None) -> list[str]:
    """Names that hosts list, and names that VMs had at the start: a name that no host lists exists
    everywhere. Of subnets, those of VMs in the given VM network."""
    hosts = state.hosts.values() if kind == "VMNetwork" else ()
    nics = [nic for vm in state.vms.values() for nic in (*vm.spec.nics, *vm.nics)]
    if network:
        nics = [
            nic for nic in nics if nic.network and object_id("VMNetwork", nic.network) == network
        ]
    had = [getattr(nic, FIELDS[kind]) for nic in nics]
    return list(dict.fromkeys([*(n for h in hosts for n in h.spec.networks), *filter(None, had)]))


def _name_of(state: State, kind: str, change: Row) -> str | None:
    names = _names(state, kind)
    return next((name for name in names if object_id(kind, name) == change.get(kind)), None)


def _set_adapter(desk: Desk, now: float, bound: Row) -> Answer:
    state = desk.world.state
    key = bound["VirtualNetworkAdapter"]
    vm, nic = next((vm, nic) for vm in state.vms.values() for nic in vm.nics if _nic_id(nic) == key)
    if "JobGroup" in bound:
        desk.groups.setdefault(bound["JobGroup"], {})[key] = dict(bound)
        return _objects([_adapter(vm.name, nic)])
    wanted = _pinned(desk, nic, bound)
    vlan = wanted.vlan if "VLanEnabled" in bound else None
    one = AdapterRepair(
        nic.id,
        nic.mac,
        wanted.network,
        wanted.switch,
        vlan,
        subnet=wanted.subnet,
        classification=wanted.classification,
        port_acl=wanted.port_acl,
    )
    repair = Repair(vm.vmm_host or "", (one,))
    reach(state, now, repair.host)
    unlocked_vm(state, now, vm)
    judge.changed(state, now, vm, repair.host)
    before = list(vm.nics)
    try:
        network.repair_ports(state, vm, repair)
        network.repair_models(state, vm, repair)
    except VmmRefused:
        vm.nics = before
        raise
    return _objects([])


CMDLETS: dict[str, Callable[[Any, float, Row], Answer]] = {
    "Get-SCVMMServer": _server,
    "Get-SCVMHost": _hosts,
    "Read-SCVMHost": _read_host,
    "Get-SCVirtualMachine": _vms,
    "Read-SCVirtualMachine": _read_vms,
    "Repair-SCVirtualMachine": _repair_vm,
    "Move-SCVirtualMachine": _move,
    "Get-SCJob": _jobs,
    "Stop-SCJob": _stop_job,
    "Get-SCVirtualNetworkAdapter": _adapters,
    "Set-SCVirtualNetworkAdapter": _set_adapter,
    "Get-SCVMNetwork": _list("VMNetwork"),
    "Get-SCVMSubnet": _list("VMSubnet"),
    "Get-SCPortClassification": _list("PortClassification"),
    "Get-SCPortACL": _list("PortACL"),
}
