"""Migration slots: the number of further moves that each host can take right now.

A host's limit counts migrations in and out. A shared-nothing move takes one live slot and one
storage slot on both of its hosts, no matter who started it. A VM counts once per host, by any sign:
VMM's status, a running VMM job, Hyper-V's status or migration job, or our own open attempt. A job
whose target VMM does not show yet counts on every host, unless our own attempt names its hosts.
Hyper-V's own counter may show more, which nobody can name: what it counts beyond those of ours that
its running migration jobs name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.model import Attempt, Fleet, PartKind, same_host


@dataclass
class Slots:
    """Ledger of one plan: the VMs that hold slots, by host (case folded) and VM id. ``unnamed``:
    by host, further migrations that only Hyper-V's counter shows."""

    fleet: Fleet
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    unnamed: dict[str, int] = field(default_factory=dict)

    def holders(self, host: str) -> tuple[str, ...]:
        """Names of the VMs that hold a slot of this host, sorted."""
        return tuple(sorted(self.held.get(host.casefold(), {}).values()))

    def free(self, name: str) -> int:
        """Free slots on this host; a host that the fleet does not show has none."""
        host = self.fleet.host(name)
        if host is None:
            return 0
        return max(0, host.slots - self.used(name))

    def used(self, name: str) -> int:
        """Slots of this host in use."""
        key = name.casefold()
        return len(self.held.get(key, {})) + self.unnamed.get(key, 0)

    def hold(self, host: str | None, vm_id: str, name: str) -> None:
        """Count this VM on that host, even past the limit. Idempotent."""
        if host:
            self.held.setdefault(host.casefold(), {})[vm_id] = name

    def take(self, vm_id: str, name: str, source: str, destination: str) -> bool:
        """Take one slot on each host. Return False and take none if either host is full."""
        if self.free(source) < 1 or self.free(destination) < 1:
            return False
        self.hold(source, vm_id, name)
        self.hold(destination, vm_id, name)
        return True

    def says(self, name: str) -> str:
        """Slots of a host in words: ``2 of 2 on hv02: web03, web07``."""
        host = self.fleet.host(name)
        if host is None:
            return f"{name} is not in the fleet"
        holders = self.holders(name)
        more = self.unnamed.get(name.casefold(), 0)
        named = [*holders, *([f"{more} more that Hyper-V counts"] if more else [])]
        names = f": {', '.join(named)}" if named else ""
        return f"{self.used(name)} of {host.slots} on {name.split('.', 1)[0]}{names}"


def ledger(fleet: Fleet, open_attempts: Iterable[Attempt]) -> Slots:
    """Build the ledger of the slots in use, from the fleet and our open attempts."""
    slots = Slots(fleet)
    names = {vm.id: vm.name for vm in fleet.vms}
    for vm in fleet.vms:
        if vm.migrating:
            for host in vm.seen_on or (vm.vmm_host,):
                slots.hold(host, vm.id, vm.name)
    known_target: set[str] = set()
    attempts = list(open_attempts)
    for attempt in attempts:
        name = names.get(attempt.vm_id, attempt.vm_id)
        slots.hold(attempt.source, attempt.vm_id, name)
        slots.hold(attempt.destination, attempt.vm_id, name)
        known_target.add(attempt.vm_id)
    for job in fleet.jobs:
        if job.state != "running":
            continue
        name = names.get(job.vm_id, job.vm_id)
        slots.hold(job.source, job.vm_id, name)
        if job.target is not None:
            slots.hold(job.target, job.vm_id, name)
        elif job.vm_id not in known_target:
            _hold_everywhere(slots, job.vm_id, name)
    _hold_moving_without_job(slots, fleet, known_target)
    for one in fleet.hosts:
        for vm_id, destination in one.moving:
            slots.hold(one.name, vm_id, names.get(vm_id, vm_id))
            slots.hold(destination, vm_id, names.get(vm_id, vm_id))
    _count_unnamed(slots, fleet, attempts)
    return slots


def _count_unnamed(slots: Slots, fleet: Fleet, attempts: Sequence[Attempt]) -> None:
    """Add what each host's counter shows beyond the migrations that can be named."""
    for host in fleet.hosts:
        if host.counted is None:
            continue
        asked = fleet.age(PartKind.PULSE, host.name).asked_at or 0.0
        named = {vm_id for vm_id, _ in host.moving} | {
            vm_id for h in fleet.hosts for vm_id, to in h.moving if same_host(to, host.name)
        }
        ours = {
            a.vm_id
            for a in attempts
            if same_host(a.source, host.name) or same_host(a.destination, host.name)
        }
        counted = {a.vm_id for a in attempts if a.begun <= asked} & ours & named
        others = len(slots.held.get(host.name.casefold(), {}).keys() - ours)
        slots.unnamed[host.name.casefold()] = max(0, host.counted - len(counted) - others)


def _hold_moving_without_job(slots: Slots, fleet: Fleet, known: set[str]) -> None:
    """Hold a slot on every host for a VM that migrates without a visible job or open attempt."""
    with_job = {job.vm_id for job in fleet.jobs if job.state == "running"}
    for vm in fleet.vms:
        if vm.migrating and vm.id not in with_job and vm.id not in known:
            _hold_everywhere(slots, vm.id, vm.name)


def _hold_everywhere(slots: Slots, vm_id: str, name: str) -> None:
    for host in slots.fleet.hosts:
        slots.hold(host.name, vm_id, name)
