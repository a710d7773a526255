"""The fleet: what is known of one VMM server, as VMM and as Hyper-V report it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal

from engine.model.ages import NEVER, Age, PartKind
from engine.model.hearing import LastWord


def same_host(one: str | None, other: str | None) -> bool:
    """Return whether both names are the same host. Case is ignored; ``None`` matches no host."""
    return one is not None and other is not None and one.casefold() == other.casefold()


def short(host: str | None) -> str:
    """Return the short name of a host: ``hv01`` for ``hv01.corp.example``, ``?`` for ``None``."""
    return (host or "?").split(".", 1)[0]


def is_called(host: str, word: str | None) -> bool:
    """Return whether ``word`` is the full or short name of this host. Case is ignored."""
    return same_host(host, word) or same_host(short(host), word)


class HyperVState(StrEnum):
    """Power state of a VM as Hyper-V reports it. OTHER covers all remaining states."""

    RUNNING = "Running"
    OFF = "Off"
    SAVED = "Saved"
    PAUSED = "Paused"
    OTHER = "Other"


DOWN = frozenset({HyperVState.OFF, HyperVState.SAVED, HyperVState.PAUSED})

_MIGRATING = {"MigratingVirtualMachine", "StorageMigrationPhaseOne", "StorageMigrationPhaseTwo"}


def is_migrating(status: Iterable[str]) -> bool:
    """Return whether Hyper-V's operational status words show a migration."""
    return not _MIGRATING.isdisjoint(status)


JobState = Literal["running", "completed", "failed", "canceled"]
Power = Literal["running", "down"]


@dataclass(frozen=True)
class Volume:
    """One volume of a host: VMM's name for it (``D:``) and its free space in MB."""

    name: str
    free_mb: int


@dataclass(frozen=True)
class Host:
    """One Hyper-V host.

    ``seen_at`` is the time at which Hyper-V was asked for its latest complete answer. ``None``: the
    host was not asked, or is silent, which proves nothing. ``refreshed_at`` is the time of VMM's
    last re-read of the host. ``free_memory_mb``, ``volumes`` and ``switches`` are available to an
    arriving VM; ``None``: unknown. ``locked``: VMM cannot re-read it, because another job locks it.
    ``tries`` counts the failed re-reads since the last successful one. ``ahead``: seconds by which
    the host's clock is ahead of VMFerry's, at least; ``counted``: active migrations by Hyper-V's
    own counters; ``None``: unknown. ``moving``: VM id and destination of its running migration
    jobs, read before the counters. ``replicas``: names of the VMs of which it has a copy that
    Hyper-V Replica made.
    """

    name: str
    live_limit: int = 2
    storage_limit: int = 2
    seen_at: float | None = None
    refreshed_at: float | None = None
    locked: bool = False
    error: str | None = None
    maintenance: bool = False
    path: str | None = None
    mb_per_s: float | None = None
    free_memory_mb: int | None = None
    volumes: tuple[Volume, ...] | None = None
    switches: tuple[str, ...] | None = None
    tries: int = 0
    ahead: float | None = None
    counted: int | None = None
    moving: tuple[tuple[str, str | None], ...] = ()
    replicas: tuple[str, ...] = ()

    @property
    def slots(self) -> int:
        """The smaller of both limits, because a shared-nothing move counts against both."""
        return min(self.live_limit, self.storage_limit)


@dataclass(frozen=True)
class Vm:
    """One VM, as VMM and as Hyper-V report it.

    ``vmm_host`` and ``vmm_status`` come from VMM and may be out of date. ``seen_on`` lists the
    hosts whose Hyper-V shows the VM (replica copies do not count). ``hyperv_state`` and
    ``hyperv_status`` (operational status words such as ``BackingUpVirtualMachine``) come from
    those hosts. ``switches`` are the switches of its connected adapters.
    """

    id: str
    name: str
    vmm_host: str | None
    vmm_status: str
    seen_on: tuple[str, ...] = ()
    hyperv_state: HyperVState | None = None
    hyperv_status: tuple[str, ...] = ()
    memory_mb: int = 0
    disk_mb: int = 0
    adapters: int = 0
    blocks: tuple[str, ...] = ()
    stored: bool = False
    switches: tuple[str, ...] = ()

    @property
    def down(self) -> bool:
        """True if Hyper-V reports Off, Saved or Paused."""
        return self.hyperv_state in DOWN

    @property
    def backing_up(self) -> bool:
        """True if Hyper-V's operational status shows a backup. VMM still reports Running then."""
        return "BackingUpVirtualMachine" in self.hyperv_status

    @property
    def migrating(self) -> bool:
        """True if VMM's status or Hyper-V's operational status shows the VM in flight."""
        return self.vmm_status == "UnderMigration" or self.migrating_by_hyperv

    @property
    def migrating_by_hyperv(self) -> bool:
        """True if Hyper-V shows the VM in flight. Unlike VMM's status, this is up to date."""
        return is_migrating(self.hyperv_status)

    @property
    def failed(self) -> bool:
        """True in VMM's ``*Failed`` states, which stay until ``Repair -Dismiss`` clears them."""
        return self.vmm_status.endswith("Failed")


@dataclass(frozen=True)
class Job:
    """A VMM job that moves a VM. ``target`` is ``None`` for the first seconds of a job.
    ``progress`` is a percentage."""

    id: str
    vm_id: str
    source: str | None
    target: str | None
    state: JobState
    progress: int = 0
    error: str | None = None
    started: float | None = None
    ended: float | None = None


@dataclass(frozen=True)
class Fleet:
    """One VMM server as far as it is known, composed from parts of different age.

    ``at`` is when VMM was asked for its jobs, ``answered_at`` when it had answered (Unix seconds on
    VMFerry's clock), ``server_time`` VMM's clock then: deadlines that VMM checks use it. ``ages``
    tells of each part when it was asked and answered, ``words`` what a host's Hyper-V said last
    when it was asked for one VM, by host (case folded) and VM id. ``over``: by job, the newest call
    when VMM first said that it does not run; ``idle``: by attempt past its look-ups, the newest
    call when VMM first said that no job of its VM runs. ``unread``: by job, why VMM refused to read
    it; ``stood``: by running job, since when its progress is the same (Unix seconds).
    """

    vmm: str
    at: float
    server_time: float
    hosts: tuple[Host, ...] = ()
    vms: tuple[Vm, ...] = ()
    jobs: tuple[Job, ...] = ()
    answered_at: float = 0.0
    ages: Mapping[tuple[PartKind, str], Age] = field(default_factory=dict)
    words: Mapping[tuple[str, str], LastWord] = field(default_factory=dict)
    over: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[int, int] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    stood: Mapping[str, float] = field(default_factory=dict)

    @property
    def ahead(self) -> float:
        """Seconds by which VMM's clock is ahead of VMFerry's, at least."""
        return self.server_time - (self.answered_at or self.at)

    def age(self, kind: PartKind, name: str = "") -> Age:
        """Return the age of a part. The case of a host's name is ignored."""
        return self.ages.get((kind, name.casefold()), NEVER)

    @cached_property
    def newest(self) -> int:
        """Number of the newest call when the latest of all answers was written."""
        return max((age.answered for age in self.ages.values()), default=0)

    def host(self, name: str | None) -> Host | None:
        """Return the host of that name, or ``None``. Case is ignored."""
        return self._hosts.get(name.casefold()) if name else None

    def answers(self, name: str | None) -> bool:
        """Return whether the host's Hyper-V answers. False for unknown hosts."""
        host = self.host(name)
        return host is not None and host.seen_at is not None

    def vm(self, vm_id: str) -> Vm | None:
        """Return the VM of that Hyper-V id, or ``None``. Stored (library) VMs never match."""
        return self._vms.get(vm_id)

    def running_jobs(self, vm_id: str) -> tuple[Job, ...]:
        """Return the running jobs that move this VM."""
        return self._running.get(vm_id, ())

    def job(self, job_id: str | None) -> Job | None:
        """Return the job of that id, or ``None`` if VMM does not, or no longer, show it."""
        return next((j for j in self.jobs if j.id == job_id), None) if job_id else None

    # A plan asks for each VM many times, so these are indexes.

    @cached_property
    def _hosts(self) -> dict[str, Host]:
        return {host.name.casefold(): host for host in self.hosts}

    @cached_property
    def _vms(self) -> dict[str, Vm]:
        return {vm.id: vm for vm in self.vms if not vm.stored}

    @cached_property
    def _running(self) -> dict[str, tuple[Job, ...]]:
        found: dict[str, tuple[Job, ...]] = {}
        for job in self.jobs:
            if job.state == "running":
                found[job.vm_id] = (*found.get(job.vm_id, ()), job)
        return found
