"""Capacity of hosts: free memory and disk, less the moves in flight to the host.

VMM's figures are as old as its last refresh of the host. So every move in flight to the host is
subtracted, and every move that has arrived since that refresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.model import MIGRATIONS, AttemptKind, Fleet, Host, MoveRecord, Result, RunRecord, short
from engine.policy.starts.preflight import drive_of


@dataclass(frozen=True)
class Load:
    """Memory and disk (MB) that a VM takes on its destination; empty ``drive``: unknown."""

    vm_id: str
    memory_mb: int
    disk_mb: int
    drive: str


@dataclass
class Capacity:
    """Load in flight, by host (case folded) and VM id. One per plan; only ``take`` changes it."""

    fleet: Fleet
    coming: dict[str, dict[str, Load]] = field(default_factory=dict)

    def take(self, host: str, load: Load) -> None:
        """Count this VM as in flight to the host. Idempotent."""
        self.coming.setdefault(host.casefold(), {})[load.vm_id] = load

    def is_quiet(self, host: str) -> bool:
        """Tell whether nothing is in flight to this host."""
        return not self.coming.get(host.casefold())

    def lacks(self, name: str, load: Load) -> str:
        """Shortage on this host, with the numbers; empty: the load fits, or capacity is unknown."""
        host = self.fleet.host(name)
        if host is None:
            return ""
        coming = self.coming.get(name.casefold(), {})
        others = [one for vm_id, one in coming.items() if vm_id != load.vm_id]
        if host.free_memory_mb is not None and load.memory_mb:
            left = host.free_memory_mb - sum(one.memory_mb for one in others)
            if load.memory_mb > left:
                return _too_little("memory", load.memory_mb, left, host)
        for volume in host.volumes or ():
            if volume.name.casefold() != load.drive.casefold():
                continue
            left = volume.free_mb - sum(o.disk_mb for o in others if o.drive == load.drive)
            if load.disk_mb > left:
                return _too_little(f"space on {volume.name}", load.disk_mb, left, host)
        return ""


def _too_little(what: str, wanted: int, left: int, host: Host) -> str:
    free = f"{short(host.name)} has only {max(0, left) / 1024:.0f} GB"
    return f"needs {wanted / 1024:.0f} GB of {what} but {free} after the migrations in flight"


def load_of(entry: MoveRecord, kind: AttemptKind, path: str | None, host: Host | None) -> Load:
    """Load of this move on ``host``. A cold move needs no memory."""
    move = entry.move
    memory = move.memory_mb if kind is AttemptKind.LIVE else 0
    drive = drive_of(path or (host.path if host else None))
    return Load(move.vm_id, memory, move.disk_mb, drive)


def capacity_of(fleet: Fleet, living: Sequence[RunRecord], landed: Iterable[int]) -> Capacity:
    """Sum up the load in flight to each host, from our own attempts and the jobs of others.

    ``landed``: ids of moves whose open attempt this observation shows to be over.
    """
    made = Capacity(fleet)
    over = set(landed)
    for job in fleet.jobs:
        vm = fleet.vm(job.vm_id)
        if job.state == "running" and job.target and vm is not None:
            memory = 0 if vm.down else vm.memory_mb
            made.take(job.target, Load(vm.id, memory, vm.disk_mb, _drive(fleet, job.target)))
    for record in living:
        for entry in record.moves:
            _take_ours(made, record, entry, over)
    return made


def _take_ours(made: Capacity, record: RunRecord, entry: MoveRecord, over: set[int]) -> None:
    for attempt in entry.of(*MIGRATIONS):
        host = made.fleet.host(attempt.destination)
        if attempt.destination is None or host is None:
            continue
        flying = attempt.open and entry.move.id not in over
        just_came = (
            attempt.result is Result.OK
            and attempt.ended is not None
            and (host.refreshed_at is None or attempt.ended >= host.refreshed_at)
        )
        if flying or just_came:
            load = load_of(entry, attempt.kind, record.run.options.path, host)
            made.take(attempt.destination, load)


def _drive(fleet: Fleet, name: str) -> str:
    host = fleet.host(name)
    return drive_of(host.path if host else None)
