"""Migration slots: the number of further moves that each host can take right now.

A host's limit counts migrations in and out. A shared-nothing move takes one live slot and one
storage slot on both of its hosts, no matter who started it. Used slots of a host are

* our own open attempts, from their rows until the host frees them by its own word, and
* the migrations of others: the larger of those that running jobs, VMM's or a host's own, place on
  it by name, and of what Hyper-V's own counter shows beyond those of ours that running migration
  jobs name. Only attempts that were open when the reading was asked are subtracted.

Where the counters cannot be read, the status words of the VMs on the host serve instead. No sign
counts on a host on which it does not place the VM. ``tests/model`` explores these rules.

At every start, ours that move or can still begin, the others that began before that reading was
asked and that VMM or this host can show, and the new one are within the limit. What others begin
after the question cannot be known, nor an incoming migration by Hyper-V's own tools to a host whose
counter and jobs both leave out incoming ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.model import Attempt, Fleet, Host, PartKind, Vm, same_host
from engine.policy.judging import arrival

Names = dict[str, dict[str, str]]
"""By host (case folded) and VM id: the name of the VM."""


@dataclass
class Slots:
    """Ledger of one plan. ``ours``: VMs that hold slots by attempts of ours and by starts of this
    plan; ``others``: those that somebody else moves; ``beyond``: by host, the migrations
    that Hyper-V's counter shows and its jobs do not name as ours."""

    fleet: Fleet
    ours: Names = field(default_factory=dict)
    others: Names = field(default_factory=dict)
    beyond: dict[str, int] = field(default_factory=dict)

    def holders(self, host: str) -> tuple[str, ...]:
        """Names of the VMs that hold a slot of this host, sorted."""
        return tuple(sorted([*self._ours(host).values(), *self._others(host).values()]))

    def unnamed(self, host: str) -> int:
        """Migrations of others that only Hyper-V's counter shows."""
        return max(0, self.beyond.get(host.casefold(), 0) - len(self._others(host)))

    def free(self, name: str) -> int:
        """Free slots on this host; a host that the fleet does not show has none."""
        host = self.fleet.host(name)
        if host is None:
            return 0
        return max(0, host.slots - self.used(name))

    def used(self, name: str) -> int:
        """Slots of this host in use."""
        return len(self._ours(name)) + len(self._others(name)) + self.unnamed(name)

    def _ours(self, host: str) -> dict[str, str]:
        return self.ours.get(host.casefold(), {})

    def _others(self, host: str) -> dict[str, str]:
        ours = self._ours(host)
        return {k: v for k, v in self.others.get(host.casefold(), {}).items() if k not in ours}

    def take(self, vm_id: str, name: str, source: str, destination: str) -> bool:
        """Take one slot on each host. Return False and take none if either host is full."""
        if self.free(source) < 1 or self.free(destination) < 1:
            return False
        _note(self.ours, source, vm_id, name)
        _note(self.ours, destination, vm_id, name)
        return True

    def says(self, name: str) -> str:
        """Slots of a host in words: ``2 of 2 on hv02: web03, web07``."""
        host = self.fleet.host(name)
        if host is None:
            return f"{name} is not in the fleet"
        more = self.unnamed(name)
        named = [*self.holders(name), *([f"{more} more that Hyper-V counts"] if more else [])]
        names = f": {', '.join(named)}" if named else ""
        return f"{self.used(name)} of {host.slots} on {name.split('.', 1)[0]}{names}"


def ledger(fleet: Fleet, open_attempts: Iterable[Attempt]) -> Slots:
    """Build the ledger of the slots in use, from the fleet and our open attempts."""
    slots = Slots(fleet)
    attempts = list(open_attempts)
    for attempt in attempts:
        for host in filter(None, (attempt.source, attempt.destination)):
            if not arrival.frees(attempt, host, fleet):
                _note(slots.ours, host, attempt.vm_id, _name(fleet, attempt.vm_id))
    _note_jobs(slots, fleet)
    for one in fleet.hosts:
        if one.counted is None:
            _note_words(slots, fleet, one)
        else:
            ours = [a for a in attempts if a.vm_id in slots.ours.get(one.name.casefold(), {})]
            named = sum(_is_counted(fleet, one, attempt) for attempt in ours)
            slots.beyond[one.name.casefold()] = max(0, one.counted - named)
    return slots


def _note(names: Names, host: str | None, vm_id: str, name: str) -> None:
    """Count this VM on that host, even past the limit. Idempotent."""
    if host:
        names.setdefault(host.casefold(), {})[vm_id] = name


def _name(fleet: Fleet, vm_id: str) -> str:
    vm = fleet.vm(vm_id)
    return vm.name if vm is not None else vm_id


def _note_jobs(slots: Slots, fleet: Fleet) -> None:
    """Count what running jobs move, on the hosts that they name."""
    running = [job for job in fleet.jobs if job.state == "running" and job.vm_id]
    ways = [(job.vm_id, job.source, job.target) for job in running]
    ways += [(vm_id, one.name, to) for one in fleet.hosts for vm_id, to in one.moving]
    for vm_id, source, target in ways:
        for host in (source, target):
            _note(slots.others, host, vm_id, _name(fleet, vm_id))


def _note_words(slots: Slots, fleet: Fleet, host: Host) -> None:
    """Count the VMs that status words show in flight on a host whose counters cannot be read."""
    for vm in fleet.vms:
        if vm.migrating and _is_on(vm, host):
            _note(slots.others, host.name, vm.id, vm.name)


def _is_on(vm: Vm, host: Host) -> bool:
    return any(same_host(name, host.name) for name in vm.seen_on or (vm.vmm_host,))


def _is_counted(fleet: Fleet, host: Host, attempt: Attempt) -> bool:
    """Tell whether a reading of this host's counter, or of the other host's jobs, that was asked
    while the attempt was open names the VM: then the counter shows it, too."""
    if attempt.opened >= fleet.age(PartKind.PULSE, host.name).asked:
        return False
    ends = (fleet.host(h) for h in (attempt.source, attempt.destination))
    return any(
        attempt.opened < fleet.age(PartKind.PULSE, end.name).asked
        and any(vm_id == attempt.vm_id for vm_id, _ in end.moving)
        for end in ends
        if end is not None
    )
