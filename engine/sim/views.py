"""VMM's and Hyper-V's views of the world, and how VMM's view catches up."""

from __future__ import annotations

from engine.model import HyperVState, Job, JobState, same_host
from engine.sim.state import WORDS, HostState, Migration, State, VmState

RESTARTED = "The job was cancelled because the VMM service restarted (1711)"
REFRESHER = 120.0
"""Seconds until VMM's own light refresh corrects what one of its jobs reported wrongly."""


def reported(state: State, vm: VmState) -> str:
    """The status that VMM derives for this VM from jobs and Hyper-V's events, without a refresh."""
    migration = state.migration_of(vm.id)
    if migration is not None and not migration.told:
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


def is_about(vm: VmState, host: str) -> bool:
    """Tell whether the VM is on this host, or VMM believes it to be there."""
    return host in vm.hosts or same_host(vm.vmm_host, host)


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


def operation_at_rest(vm: VmState, now: float) -> tuple[str, ...]:
    """Hyper-V's operational status of a VM that it does not migrate."""
    if vm.backed_up(now):
        return ("InService", "BackingUpVirtualMachine")
    return ("Ok",) if vm.power is not HyperVState.OTHER else ("InService",)


def shown_jobs(state: State, asked: frozenset[str], now: float) -> list[Migration]:
    """Migrations whose jobs VMM shows: the running ones, and those of ``asked`` that are over."""
    there = [m for m in state.open if m.phase != "waiting" and m.visible <= now]
    running = [m for m in there if m.lost is None]
    known = [m for m in [*state.over, *there] if m.lost is None or m.told]
    over = (m for m in known if m not in running and m.phase != "void")
    return [m for m in over if m.id in asked] + running


def job_of(migration: Migration, now: float) -> Job:
    """The migration's job as VMM shows it."""
    state = job_state(migration)
    error = RESTARTED if migration.told else migration.fate.error or "The migration failed"
    return Job(
        id=migration.id,
        vm_id=migration.vm_id,
        source=migration.source,
        target=migration.destination if migration.target <= now else None,
        state=state,
        progress=progress(migration, now),
        error=error if state == "failed" else None,
        started=migration.started,
        ended=migration.ended if migration.lost is None else migration.lost,
    )


def job_state(migration: Migration) -> JobState:
    """State of the migration's job in the words of the port."""
    if migration.told:
        return "failed"
    match migration.phase:
        case "completed" | "failed" | "canceled":
            return migration.phase
        case _:
            return "running"


def progress(migration: Migration, now: float) -> int:
    """Percentage of a migration. Below 100 until it ends."""
    if migration.phase != "running" or migration.started is None or migration.whole <= 0:
        return migration.progress
    since, seconds = migration.stood
    ran = now - migration.started - min(max(0.0, now - since), seconds)
    return min(99, int(100 * ran / migration.whole))


def _sooner(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
