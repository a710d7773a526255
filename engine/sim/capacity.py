"""Room in the simulated world: what is free on a host, and what of a migration does not fit there.

Memory is taken by VMs that are not powered down, disks lie on the volume of the path that a VM
was moved to. A running migration has both reserved on its destination from its first second,
though what VMM shows as free does not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.model import DOWN, Volume, short
from engine.policy.starts.preflight import drive_of
from engine.sim.state import HostState, Migration, State, VmState

Coming = tuple[Migration, VmState]


def free_memory_mb(state: State, host: HostState, coming: Iterable[Coming] = ()) -> int:
    """Memory that nobody there uses and none of ``coming`` will, never below 0."""
    taken = sum(
        vm.spec.memory_gb
        for vm in state.vms.values()
        if host.name in vm.hosts and vm.power not in DOWN
    )
    wanted = sum(vm.spec.memory_gb for migration, vm in coming if migration.kind == "live")
    return max(0, int((host.spec.memory_gb - taken - wanted) * 1024))


def volumes(state: State, host: HostState, coming: Iterable[Coming] = ()) -> tuple[Volume, ...]:
    """Every volume with what is free on it; ``coming`` as in :func:`free_memory_mb`."""
    taken = {name.casefold(): 0.0 for name in host.spec.volumes}
    for vm in state.vms.values():
        drive = drive_on(vm, host).casefold()
        if host.name in vm.hosts and drive in taken:
            taken[drive] += vm.spec.disk_gb
    for migration, vm in coming:
        drive = drive_to(migration, host).casefold()
        if drive in taken:
            taken[drive] += vm.spec.disk_gb
    return tuple(
        Volume(name, max(0, int((size - taken[name.casefold()]) * 1024)))
        for name, size in host.spec.volumes.items()
    )


def drive_on(vm: VmState, host: HostState) -> str:
    """The volume of this host that the VM's disks lie on: where it was moved to, else the
    host's own path."""
    return vm.drives.get(host.name) or drive_of(host.spec.path)


def drive_to(migration: Migration, host: HostState) -> str:
    """The volume that a migration copies to; ``host`` is its destination."""
    return drive_of(migration.path or host.spec.path)


def lacks_disk(state: State, vm: VmState, migration: Migration) -> str:
    """Reason why the disks cannot go there, in the words of Windows; empty: they can.

    A path without a drive letter (a share) is not modelled: there is always room.
    """
    host = state.hosts[migration.destination]
    drive = drive_to(migration, host)
    if not drive:
        return ""
    there = volumes(state, host, _coming(state, host, migration.id))
    found = [v for v in there if v.name.casefold() == drive.casefold()]
    path = migration.path or host.spec.path
    if not found:
        return (
            f"{host.name} has no volume {drive} for '{path}': the system cannot find the path "
            "specified (0x80070003)"
        )
    wanted = int(vm.spec.disk_gb * 1024)
    if wanted > found[0].free_mb:
        return (
            f"There is not enough space on the disk {drive} of {short(host.name)} for '{vm.name}': "
            f"{wanted} MB wanted, {found[0].free_mb} MB free (0x80070070)"
        )
    return ""


def lacks_memory(state: State, vm: VmState, migration: Migration) -> str:
    """Reason why a live migration fails for want of memory, in its job's words; empty: none."""
    host = state.hosts[migration.destination]
    free = free_memory_mb(state, host, _coming(state, host, migration.id))
    wanted = int(vm.spec.memory_gb * 1024)
    if migration.kind == "cold" or wanted <= free:
        return ""
    return (
        f"VMM cannot complete the host operation on the {migration.source} server because of the "
        f"error: Live migration of '{vm.name}' failed: not enough memory on {short(host.name)}, "
        f"{wanted} MB wanted, {free} MB free (0x800705AA) (12700)"
    )


def _coming(state: State, host: HostState, without: str) -> Iterator[Coming]:
    """VMs in flight to this host that were not there before. A migration that is bound to fail at
    once takes nothing."""
    for migration in state.open:
        vm = state.vms.get(migration.vm_id)
        if (
            vm is not None
            and migration.id != without
            and migration.phase == "running"
            and migration.destination == host.name
            and host.name not in vm.hosts
            and not migration.fate.hopeless
        ):
            yield migration, vm
