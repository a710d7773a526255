"""Answers to looks: what VMM knows, and what one host's Hyper-V shows.

Each look is asked and answered on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.model.fleet import HyperVState, Job, Volume, is_migrating
from engine.model.hearing import Says


@dataclass(frozen=True)
class JobList:
    """VMM's jobs: all running migrations, and the jobs that were asked for by id, even if ended.

    ``server_time`` is VMM's clock (Unix seconds) before the list was read. ``unknown``: ids that
    were asked for and that VMM does not know; ``unread``: those that it refused to read, with its
    reason: nothing is known of them. A job that moves no VM has an empty ``vm_id``.
    ``over``: of jobs that were asked for and do not run, the newest call when VMM first said so.
    ``idle``: the same of attempts past their look-ups whose VM no running job moves. ``stood``: of
    running jobs, since when their progress is the same (Unix seconds). Ports leave all three
    empty.
    """

    server_time: float
    jobs: tuple[Job, ...] = ()
    unknown: tuple[str, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    over: tuple[tuple[str, int], ...] = ()
    idle: tuple[tuple[int, int], ...] = ()
    stood: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ShownVm:
    """A VM as one host's Hyper-V shows it. ``replica``: a copy made by Hyper-V Replica.
    ``switches``: those of its connected adapters; ``None``: not asked."""

    id: str
    name: str
    state: HyperVState
    status: tuple[str, ...] = ()
    replica: bool = False
    switches: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Word:
    """Word of a host's Hyper-V on one VM; ``vm`` is ``None`` if the VM is not there. ``asked`` is
    the number of the question, ``asked_at`` and ``answered_at`` are Unix seconds. ``moving``: a
    running migration job of this host moves the VM. ``clock``: the host's own (Unix seconds)."""

    vm_id: str
    asked: int
    asked_at: float
    vm: ShownVm | None = None
    answered_at: float = 0.0
    moving: bool = False
    clock: float = 0.0

    @property
    def says(self) -> Says:
        """The word. A copy that Hyper-V Replica made is not the VM."""
        if self.moving or (self.vm is not None and is_migrating(self.vm.status)):
            return Says.MOVING
        return Says.ABSENT if self.vm is None or self.vm.replica else Says.AT_REST


@dataclass(frozen=True)
class HostMigration:
    """A running migration job of one host's Hyper-V (``Msvm_MigrationJob``)."""

    vm_id: str
    destination: str | None = None
    progress: int = 0


@dataclass(frozen=True)
class Pulse:
    """One host's Hyper-V while something moves. Its size does not depend on the host's VMs.

    ``time`` is the host's clock (Unix seconds). ``vms``: those of the VMs asked for that are there.
    ``migrations``: its running migration jobs, read before the counters. ``live``, ``storage``:
    Hyper-V's counters of active migrations, ``live_limit``, ``storage_limit`` their maxima,
    ``live_enabled``: whether live migration is switched on; ``None``: it cannot be read. ``words``:
    latest word on each VM that a pulse asked for since the last full list; ``ahead``: seconds by
    which the host's clock was ahead when this was answered. Ports leave both empty.
    """

    host: str
    time: float
    vms: tuple[ShownVm, ...] = ()
    migrations: tuple[HostMigration, ...] = ()
    live: int | None = None
    storage: int | None = None
    live_limit: int | None = None
    storage_limit: int | None = None
    live_enabled: bool | None = None
    words: tuple[Word, ...] = ()
    ahead: float | None = None


@dataclass(frozen=True)
class HostInventory:
    """All VMs that one host's Hyper-V shows, its limits and its switches (``None``: unreadable)."""

    host: str
    live_limit: int
    storage_limit: int
    switches: tuple[str, ...] | None = None
    vms: tuple[ShownVm, ...] = ()


@dataclass(frozen=True)
class KnownHost:
    """A host as VMM knows it. Memory and disk are without the host's reserves. ``error``: VMM's
    own words about a host that it cannot reach."""

    name: str
    live_limit: int = 2
    storage_limit: int = 2
    error: str | None = None
    maintenance: bool = False
    path: str | None = None
    mb_per_s: float | None = None
    free_memory_mb: int | None = None
    volumes: tuple[Volume, ...] | None = None


@dataclass(frozen=True)
class KnownVm:
    """A VM as VMM knows it; its host and status may be out of date. ``stored``: in the library of
    the server ``host``."""

    id: str
    name: str
    host: str | None
    status: str
    memory_mb: int = 0
    disk_mb: int = 0
    adapters: int = 0
    blocks: tuple[str, ...] = ()
    stored: bool = False
    replica: bool = False


@dataclass(frozen=True)
class VmmInventory:
    """One host and its VMs as VMM knows them, from VMM's database."""

    host: KnownHost
    vms: tuple[KnownVm, ...] = ()


@dataclass(frozen=True)
class Site:
    """All hosts that VMM knows, and the VMs that are on none of them (the library's)."""

    hosts: tuple[KnownHost, ...] = ()
    vms: tuple[KnownVm, ...] = ()


class Reread(StrEnum):
    """A kind of re-read by VMM, as a job of its own. VMS: the VMs of a host (light refresh).
    VM: one VM in full. HOST: a host's own properties; it never shows where a VM is."""

    VMS = "vms"
    VM = "vm"
    HOST = "host"


@dataclass(frozen=True)
class Expected:
    """Expectation of a changing call; the machine that acts checks it beside the change.

    The VM is on ``host``, at rest (nothing migrates it), and ``not_after`` has not passed, in Unix
    seconds on the clock of the machine that checks: VMM's for calls to VMM, the host's own else.
    """

    host: str
    not_after: float
