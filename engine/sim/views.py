"""VMM's and Hyper-V's views of the world: observations, and how VMM's view catches up."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model import Fleet, Host, HyperVState, Job, JobState, Vm, same_host
from engine.sim import capacity
from engine.sim.state import WORDS, HostState, Migration, State, VmState

REFRESHER = 120.0
"""Seconds until VMM's own light refresh corrects what one of its jobs reported wrongly."""


def reported(state: State, vm: VmState) -> str:
    """The status that VMM derives for this VM from jobs and Hyper-V's events, without a refresh."""
    if state.migration_of(vm.id):
        return "UnderMigration"
    return vm.overlay or WORDS.get(vm.power, "Running")


def true_status(state: State, vm: VmState) -> str:
    """The status that VMM would show after a refresh of this VM."""
    word = reported(state, vm)
    return "Missing" if not vm.hosts and not vm.overlay and word != "UnderMigration" else word


def changed(state: State, vm: VmState, now: float, host_wait: float = 0.0) -> None:
    """Note a change of this VM. VMM sees it at once or, if its view is stale, later."""
    stale = state.between(state.lies.status_stale)
    vm.status_due = _sooner(vm.status_due, now + stale)
    vm.host_due = _sooner(vm.host_due, now + stale + host_wait)
    catch_up(state, vm, now)


def catch_up(state: State, vm: VmState, now: float) -> None:
    """Update VMM's view with what is due by now."""
    if vm.status_due is not None and vm.status_due <= now:
        vm.status_due = None
        vm.vmm_status = reported(state, vm)
    if vm.host_due is not None and vm.host_due <= now:
        vm.host_due = None
        vm.vmm_host = vm.hosts[0] if vm.hosts else vm.vmm_host
        vm.vmm_status = true_status(state, vm)
        if vm.deleted:
            state.vms.pop(vm.id, None)


def reread(state: State, vm: VmState, now: float) -> None:
    """Refresh VMM's view of this VM."""
    vm.status_due = vm.host_due = now
    catch_up(state, vm, now)


def refresh_vm(state: State, now: float, vm: VmState) -> None:
    """Read-SCVirtualMachine: correct VMM's view, and complete an incomplete configuration."""
    if vm.overlay == "IncompleteVMConfig":
        vm.overlay = None
    reread(state, vm, now)


def refresh_host(state: State, host: HostState, now: float) -> None:
    """Refresh VMM's view of a host, of the VMs on it, and of the VMs that VMM believes to be on
    it."""
    host.refreshed_at = now
    for vm in list(state.vms.values()):
        if is_about(vm, host.name):
            reread(state, vm, now)


def is_about(vm: VmState, host: str) -> bool:
    """Tell whether the VM is on this host, or VMM believes it to be there."""
    return host in vm.hosts or same_host(vm.vmm_host, host)


def observe(
    state: State,
    now: float,
    hosts: Sequence[str] = (),
    jobs: Sequence[str] = (),
    refresh: Sequence[str] = (),
) -> Fleet:
    """Make one observation; see ``VmmPort.observe``."""
    refreshed = _known(state, refresh)
    for host in refreshed:
        if now >= host.locked_until and now >= host.down_until:
            refresh_host(state, host, now)
    locked = {h.name for h in refreshed if now < h.locked_until}
    asked = {h.name for h in _known(state, hosts) if now >= h.down_until}
    everywhere = unlisted_switches(state)
    vms = (_vm(state, vm, asked, now) for vm in state.vms.values())
    return Fleet(
        vmm=state.vmm,
        at=now,
        server_time=now + state.skew,
        hosts=tuple(_host(state, h, asked, locked, everywhere, now) for h in state.hosts.values()),
        vms=tuple(vm for vm in vms if vm.vmm_host or vm.seen_on),
        jobs=tuple(job_of(m, now) for m in shown_jobs(state, frozenset(jobs), now)),
    )


def _known(state: State, names: Sequence[str]) -> list[HostState]:
    found = (state.known_host(name) for name in dict.fromkeys(names))
    return [host for host in found if host is not None]


def _host(
    state: State,
    host: HostState,
    asked: set[str],
    locked: set[str],
    everywhere: tuple[str, ...],
    now: float,
) -> Host:
    return Host(
        name=host.name,
        live_limit=host.live,
        storage_limit=host.storage,
        seen_at=now if host.name in asked else None,
        refreshed_at=host.refreshed_at,
        locked=host.name in locked,
        error=silence(host, now),
        maintenance=host.spec.maintenance,
        path=host.spec.path,
        mb_per_s=host.spec.mb_per_s,
        free_memory_mb=capacity.free_memory_mb(state, host),
        volumes=capacity.volumes(state, host),
        switches=(*host.spec.switches, *everywhere),
    )


def silence(host: HostState, now: float) -> str | None:
    """VMM's words about a host that does not answer, or ``None``."""
    is_down = now < host.down_until
    return f"The connection to the agent {host.name} was lost (2916)" if is_down else None


def unlisted_switches(state: State) -> tuple[str, ...]:
    """Switches in use that no host lists: the file does not model them, so every host has them."""
    listed = {name for one in state.hosts.values() for name in one.spec.switches}
    used = {name for vm in state.vms.values() for name in connected_to(vm)}
    return tuple(sorted(used - listed))


def connected_to(vm: VmState) -> tuple[str, ...]:
    """Switches of the VM's connected adapters, each once."""
    return tuple(dict.fromkeys(nic.switch for nic in vm.nics if nic.connected and nic.switch))


def _vm(state: State, vm: VmState, asked: set[str], now: float) -> Vm:
    seen = () if vm.deleted else tuple(host for host in vm.hosts if host in asked)
    return Vm(
        id=vm.id,
        name=vm.name,
        vmm_host=vm.vmm_host,
        vmm_status=vm.vmm_status,
        seen_on=seen,
        hyperv_state=vm.power if seen else None,
        hyperv_status=operation(state, vm, now) if seen else (),
        memory_mb=int(vm.spec.memory_gb * 1024),
        disk_mb=int(vm.spec.disk_gb * 1024),
        adapters=len(vm.nics),
        blocks=vm.spec.blocks,
        stored=vm.spec.status == "Stored",
        switches=connected_to(vm),
    )


def operation(state: State, vm: VmState, now: float) -> tuple[str, ...]:
    """Hyper-V's operational status. A queued migration has not reached Hyper-V yet."""
    migration = state.migration_of(vm.id)
    if migration and migration.phase == "running":
        return ("InService", "MigratingVirtualMachine")
    return operation_at_rest(vm, now)


def operation_at_rest(vm: VmState, now: float) -> tuple[str, ...]:
    """Hyper-V's operational status of a VM that it does not migrate."""
    if vm.backed_up(now):
        return ("InService", "BackingUpVirtualMachine")
    return ("Ok",) if vm.power is not HyperVState.OTHER else ("InService",)


def shown_jobs(state: State, asked: frozenset[str], now: float) -> list[Migration]:
    """Migrations whose jobs VMM shows: the running ones, and those of ``asked`` that are over."""
    running = [m for m in state.open if m.phase != "waiting" and m.visible <= now]
    return [m for m in state.over if m.id in asked and m.phase != "void"] + running


def job_of(migration: Migration, now: float) -> Job:
    """The migration's job as VMM shows it."""
    failed = migration.phase == "failed"
    return Job(
        id=migration.id,
        vm_id=migration.vm_id,
        source=migration.source,
        target=migration.destination if migration.target <= now else None,
        state=job_state(migration),
        progress=progress(migration, now),
        error=migration.fate.error or "The migration failed" if failed else None,
        started=migration.started,
        ended=migration.ended,
    )


def job_state(migration: Migration) -> JobState:
    """State of the migration's job in the words of the port."""
    match migration.phase:
        case "completed" | "failed" | "canceled":
            return migration.phase
        case _:
            return "running"


def progress(migration: Migration, now: float) -> int:
    """Percentage of a migration. Below 100 until it ends."""
    if migration.phase != "running" or migration.started is None or migration.whole <= 0:
        return migration.progress
    return min(99, int(100 * (now - migration.started) / migration.whole))


def _sooner(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
