"""Migration slots: the number of further moves that each host can take right now.

A host's limit counts migrations in and out. A shared-nothing move takes one live slot and one
storage slot on both of its hosts, no matter who started it. A VM counts once per host, by any sign:
VMM's status, a running VMM job, Hyper-V's status, or our own open attempt. A job whose target VMM
does not show yet counts on every host, unless our own attempt names its hosts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.model import Attempt, Fleet


@dataclass
class Slots:
    """Ledger of one plan: the VMs that hold slots, by host (case folded) and VM id."""

    fleet: Fleet
    held: dict[str, dict[str, str]] = field(default_factory=dict)

    def holders(self, host: str) -> tuple[str, ...]:
        """Names of the VMs that hold a slot of this host, sorted."""
        return tuple(sorted(self.held.get(host.casefold(), {}).values()))

    def free(self, name: str) -> int:
        """Free slots on this host; a host that the fleet does not show has none."""
        host = self.fleet.host(name)
        if host is None:
            return 0
        return max(0, host.slots - len(self.held.get(name.casefold(), {})))

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
        names = f": {', '.join(holders)}" if holders else ""
        return f"{len(holders)} of {host.slots} on {name.split('.', 1)[0]}{names}"


def ledger(fleet: Fleet, open_attempts: Iterable[Attempt]) -> Slots:
    """Build the ledger of the slots in use, from the fleet and our open attempts."""
    slots = Slots(fleet)
    names = {vm.id: vm.name for vm in fleet.vms}
    for vm in fleet.vms:
        if vm.migrating:
            for host in vm.seen_on or (vm.vmm_host,):
                slots.hold(host, vm.id, vm.name)
    known_target: set[str] = set()
    for attempt in open_attempts:
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
    return slots


def _hold_moving_without_job(slots: Slots, fleet: Fleet, known: set[str]) -> None:
    """Hold a slot on every host for a VM that migrates without a visible job or open attempt."""
    with_job = {job.vm_id for job in fleet.jobs if job.state == "running"}
    for vm in fleet.vms:
        if vm.migrating and vm.id not in with_job and vm.id not in known:
            _hold_everywhere(slots, vm.id, vm.name)


def _hold_everywhere(slots: Slots, vm_id: str, name: str) -> None:
    for host in slots.fleet.hosts:
        slots.hold(host.name, vm_id, name)
