"""Looks at the simulated world, each on its own: at VMM's database, and at one host's Hyper-V.

Hyper-V shows live migrations only. VMM copies the disks of a powered-down VM by BITS, so the VM is
at rest on its source for the whole copy. A live migration has its job on the source; the
destination holds a planned VM, which Hyper-V does not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from engine.errors import VmmRefused
from engine.model import (
    Adapter,
    HostInventory,
    HostMigration,
    JobList,
    KnownHost,
    KnownVm,
    Network,
    Pulse,
    ShownVm,
    Site,
    VmmInventory,
    same_host,
)
from engine.sim import capacity, network
from engine.sim.rereads import job_of_reread
from engine.sim.state import HostState, Migration, State, VmState
from engine.sim.views import (
    connected_to,
    job_of,
    operation_at_rest,
    progress,
    shown_jobs,
    silence,
    unlisted_switches,
)


def jobs(state: State, ids: Sequence[str], now: float) -> JobList:
    """See ``VmmPort.jobs``."""
    moving = [job_of(m, now) for m in shown_jobs(state, frozenset(ids), now)]
    found = {job.id: job for job in moving}
    found |= {one.id: job_of_reread(one) for one in state.rereads if one.id in ids}
    unknown = tuple(one for one in dict.fromkeys(ids) if one not in found)
    return JobList(now + state.skew, tuple(found.values()), unknown)


def listed_jobs(state: State) -> set[str]:
    """Return the ids of the migrations that VMM lists without being asked for them by id."""
    return {m.id for m in shown_jobs(state, frozenset(), state.now)}


# --- one host's Hyper-V ---------------------------------------------------------------


def pulse(state: State, host: HostState, vm_ids: Sequence[str], now: float) -> Pulse:
    """See ``VmmPort.pulse``."""
    out = [m for m in _live(state) if same_host(m.source, host.name)]
    into = [m for m in _live(state) if same_host(m.destination, host.name)]
    count = len(out) + (len(into) if state.hyperv.incoming else 0)
    asked = (state.vms[one] for one in dict.fromkeys(vm_ids) if one in state.vms)
    return Pulse(
        host=host.name,
        time=host.clock(now),
        vms=tuple(_shown(state, vm, host, now) for vm in asked if _is_shown(vm, host)),
        migrations=tuple(HostMigration(m.vm_id, m.destination, progress(m, now)) for m in out),
        live=count,
        storage=count,
        live_limit=host.live,
        storage_limit=host.storage,
        live_enabled=True,
    )


def shown(state: State, host: HostState, now: float) -> HostInventory:
    """See ``VmmPort.shown``."""
    return HostInventory(
        host=host.name,
        live_limit=host.live,
        storage_limit=host.storage,
        switches=(*host.spec.switches, *unlisted_switches(state)),
        vms=tuple(
            replace(_shown(state, vm, host, now), switches=connected_to(vm))
            for vm in shown_on(state, host)
        ),
    )


def shown_on(state: State, host: HostState) -> list[VmState]:
    """VMs that the host's Hyper-V shows."""
    return [vm for vm in state.vms.values() if _is_shown(vm, host)]


def _live(state: State) -> Iterable[Migration]:
    return (m for m in state.open if m.phase == "running" and m.kind == "live")


def is_moving_at(state: State, vm: VmState, host: str) -> bool:
    """Tell whether Hyper-V shows on this host that the VM is in flight."""
    return any(m.vm_id == vm.id and same_host(m.source, host) for m in _live(state))


def _is_shown(vm: VmState, host: HostState) -> bool:
    return host.name in vm.hosts and not vm.deleted


def _shown(state: State, vm: VmState, host: HostState, now: float) -> ShownVm:
    status = operation_at_rest(vm, now)
    if is_moving_at(state, vm, host.name):
        status = ("InService", "MigratingVirtualMachine")
    return ShownVm(vm.id, vm.name, vm.power, status)


def ports(state: State, host: HostState, vm_ids: Sequence[str]) -> Mapping[str, Network]:
    """See ``VmmPort.ports``."""
    return {
        vm_id: Network(tuple(map(_port, found.adapters)))
        for vm_id, found in network.networks(state, host.name, vm_ids).items()
    }


def _port(nic: Adapter) -> Adapter:
    return replace(nic, network=None, subnet=None, classification=None, port_acl=None)


# --- VMM's database -------------------------------------------------------------------


def known(state: State, name: str, now: float) -> VmmInventory:
    """See ``VmmPort.known``."""
    host = state.known_host(name)
    if host is None:
        raise VmmRefused(f"VMM knows no host {name}")
    return VmmInventory(
        _known_host(state, host, now), tuple(map(_known, known_on(state, host.name)))
    )


def known_on(state: State, host: str | None) -> list[VmState]:
    """VMs that VMM believes to be on this host; ``None``: in the library."""
    return [
        vm
        for vm in state.vms.values()
        if vm.vmm_host is not None and (None if _is_stored(vm) else vm.vmm_host) == host
    ]


def site(state: State, now: float) -> Site:
    """See ``VmmPort.site``."""
    return Site(
        tuple(_known_host(state, host, now) for host in state.hosts.values()),
        tuple(map(_known, known_on(state, None))),
    )


def models(state: State, vm_ids: Sequence[str]) -> Mapping[str, Network]:
    """See ``VmmPort.models``."""
    found = (state.vms.get(vm_id) for vm_id in dict.fromkeys(vm_ids))
    return {
        vm.id: Network(tuple(map(_model, vm.nics)))
        for vm in found
        if vm is not None and vm.vmm_host is not None
    }


def _model(nic: Adapter) -> Adapter:
    return Adapter(
        id=nic.id,
        mac=nic.mac,
        network=nic.network,
        subnet=nic.subnet,
        classification=nic.classification,
        port_acl=nic.port_acl,
    )


def _is_stored(vm: VmState) -> bool:
    return vm.vmm_status == "Stored"


def _known_host(state: State, host: HostState, now: float) -> KnownHost:
    return KnownHost(
        name=host.name,
        live_limit=host.live,
        storage_limit=host.storage,
        error=silence(host, now),
        maintenance=host.spec.maintenance,
        path=host.spec.path,
        mb_per_s=host.spec.mb_per_s,
        free_memory_mb=capacity.free_memory_mb(state, host),
        volumes=capacity.volumes(state, host),
    )


def _known(vm: VmState) -> KnownVm:
    return KnownVm(
        id=vm.id,
        name=vm.name,
        host=vm.vmm_host,
        status=vm.vmm_status,
        memory_mb=int(vm.spec.memory_gb * 1024),
        disk_mb=int(vm.spec.disk_gb * 1024),
        adapters=len(vm.nics),
        blocks=vm.spec.blocks,
        stored=_is_stored(vm),
    )
