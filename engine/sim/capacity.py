"""Capacity in the simulated world: free memory and disk of a host, and what a migration lacks.

A VM uses memory unless it is powered down. Its disks use the volume of the path that it was moved
to. A running migration reserves both on its destination from its first second, although the free
space that VMM shows does not include the reservation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.model import DOWN, Volume, short
from engine.policy.starts.preflight import drive_of
from engine.sim.state import HostState, Migration, State, VmState

Coming = tuple[Migration, VmState]


def free_memory_mb(state: State, host: HostState, coming: Iterable[Coming] = ()) -> int:
    """Memory that no VM on the host uses and none of ``coming`` will use, never below 0."""
    taken = sum(
        vm.spec.memory_gb
        for vm in state.vms.values()
        if host.name in vm.hosts and vm.power not in DOWN
    )
    wanted = sum(vm.spec.memory_gb for migration, vm in coming if migration.kind == "live")
    return max(0, int((host.spec.memory_gb - taken - wanted) * 1024))


def volumes(state: State, host: HostState, coming: Iterable[Coming] = ()) -> tuple[Volume, ...]:
    """All volumes with their free space; ``coming`` as in :func:`free_memory_mb`."""
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
    """The volume of this host that holds the VM's disks: the one that it was moved to, else that of
    the host's own path."""
    return vm.drives.get(host.name) or drive_of(host.spec.path)


def drive_to(migration: Migration, host: HostState) -> str:
    """The volume that a migration copies to; ``host`` is its destination."""
    return drive_of(migration.path or host.spec.path)


def lacks_disk(state: State, vm: VmState, migration: Migration) -> str:
    """Reason why the disks do not fit there, in the words of Windows, or an empty string.

    A path without a drive letter (a share) is not modelled: it always has space.
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
    """Error of a live migration that lacks memory, in the words of its job, or an empty string."""
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
    once reserves nothing."""
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
