"""What hosts have room for: the memory and the volumes that VMs take, and what on-coming ones lack.

Two numbers are kept apart. What VMM shows as free knows only the VMs that rest on a host. What a
new move finds is less: every running migration has reserved its memory and its disk space there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.model import DOWN, short
from engine.sim.fleet_file import HostSpec
from engine.sim.state import Migration, State, VmState


@dataclass
class Free:
    """What is left on one host, in MB: of its memory, and of each of its volumes."""

    memory_mb: int
    volumes: dict[str, int]

    def take(self, memory_mb: int, volume: str, disk_mb: int) -> None:
        """Less is left now. A volume that the host does not have has nothing to lose."""
        self.memory_mb -= memory_mb
        if volume in self.volumes:
            self.volumes[volume] -= disk_mb


def free(state: State) -> Mapping[str, Free]:
    """What the VMs that rest there leave on each host; below 0 where they never fitted."""
    left = {host.name: _capacity(host.spec) for host in state.hosts.values()}
    for vm in state.vms.values():
        if vm.deleted:
            continue
        for name in vm.hosts:
            left[name].take(_memory_mb(vm), _lies_on(state, vm, name), vm.disk_mb)
    return left


def volume_of(host: HostSpec, path: str | None) -> str:
    r"""The volume of a folder (``D:`` of ``D:\VMs``) on that host, whose own one is the default.

    Spelled as the host spells it. Empty: the folder names no drive, so no room is counted.
    """
    found = re.match(r"[A-Za-z]:", path or host.path)
    if found is None:
        return ""
    drive = found[0].upper()
    return next((name for name in host.volumes if name.upper() == drive), drive)


def unfit(state: State, vm: VmState, migration: Migration) -> str:
    """What the volume at the destination lacks for this VM, in words; empty: nothing."""
    host = state.hosts[migration.destination]
    volume = volume_of(host.spec, migration.path)
    if not volume:
        return ""
    if volume not in host.spec.volumes:
        return f"{host.name} has no volume {volume}"
    left = _left(state, host.name, migration).volumes[volume]
    if vm.disk_mb > left:
        numbers = _numbers(vm.disk_mb, left)
        return f"'{vm.name}' does not fit on {volume} of {host.name}: {numbers}"
    return ""


def crowded(state: State, vm: VmState, migration: Migration) -> str:
    """What Hyper-V says where a running VM finds too little memory; empty: it finds enough."""
    left = _left(state, migration.destination, migration).memory_mb
    needed = _needed_memory_mb(vm, migration)
    if needed <= left or not needed:
        return ""
    return (
        f"VMM cannot complete the host operation on the {migration.source} server because of the "
        f"error: Live migration of '{vm.name}' failed, not enough memory on "
        f"{short(migration.destination)}: {_numbers(needed, left)} (0x800705AA) (12700)"
    )


def reserve(vm: VmState, migration: Migration) -> None:
    """Nobody else may have what this migration needs at its destination until it is over."""
    migration.memory_mb = _needed_memory_mb(vm, migration)
    migration.disk_mb = vm.disk_mb


def settle(state: State, vm: VmState, migration: Migration, before: list[str]) -> None:
    """Its disks lie where it went; nothing of it is left on the hosts that it has gone from."""
    for name in set(before) - set(vm.hosts):
        vm.volumes.pop(name, None)
    for name in set(vm.hosts) - set(before):
        host = state.hosts[name]
        path = migration.path if name == migration.destination else None
        vm.volumes[name] = volume_of(host.spec, path)


def _capacity(host: HostSpec) -> Free:
    volumes = {name: int(size * 1024) for name, size in host.volumes.items()}
    return Free(int(host.memory_gb * 1024), volumes)


def _memory_mb(vm: VmState) -> int:
    return 0 if vm.power in DOWN else vm.memory_mb


def _needed_memory_mb(vm: VmState, migration: Migration) -> int:
    return vm.memory_mb if migration.power == "running" else 0


def _lies_on(state: State, vm: VmState, host: str) -> str:
    """The volume of its disks there: where a move put them, else where the host puts VMs."""
    moved = vm.volumes.get(host)
    return volume_of(state.hosts[host].spec, None) if moved is None else moved


def _left(state: State, host: str, migration: Migration) -> Free:
    left = free(state)[host]
    spec = state.hosts[host].spec
    for other in state.open:
        if other.phase == "running" and other.destination == host and other is not migration:
            left.take(other.memory_mb, volume_of(spec, other.path), other.disk_mb)
    return left


def _numbers(needed_mb: int, left_mb: int) -> str:
    return f"{needed_mb / 1024:.1f} GB needed, {max(0, left_mb) / 1024:.1f} GB left"
