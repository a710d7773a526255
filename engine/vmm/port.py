"""The port to SCVMM and Hyper-V: everything that the engine asks of them.

Looks change nothing. Changes return at once or are idempotent; each docstring says which. Errors
answer two questions, did it happen and may I retry: see ``engine.errors``. Two worlds implement the
port: ``engine.sim`` (a simulated fleet) and the real one over PSRP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.model import (
    Expected,
    HostInventory,
    JobList,
    MoveOrder,
    Network,
    Pulse,
    Repair,
    Reread,
    Site,
    VmmInventory,
)


class VmmPort(Protocol):
    """One VMM server and its hosts."""

    def version(self) -> str:
        """Describe the implementation behind the port, in words for people. Changes nothing."""

    def rights(self, host: str) -> str | None:
        """Return the reason why extended ACLs on this host cannot be read or written, or
        ``None``."""

    def start_move(self, order: MoveOrder) -> str | None:
        """Compare and start. Return the id of the running VMM job, or ``None`` if VMM names none.

        VMM's server checks these conditions after a refresh of the VM: it is on the source with the
        same id and power class (running: live; down: Off, Saved or Paused), no migration of it
        runs, and the server's clock is between ``not_before`` and ``not_after``; else ``VmmStale``.
        The pin binds every connected adapter (VM network, subnet, switch, access VLAN, port
        classification; never a trunk) into the job of a powered-down VM. A host without a free slot
        raises ``VmmBusy``; nothing is queued. Not idempotent: write the attempt first. Raises
        ``VmmUnavailable`` (it may have started), ``VmmLocked``, ``VmmRefused``.
        """

    # --- looks, each on its own: these change nothing and raise ``VmmUnavailable`` ----------------

    def jobs(self, ids: Sequence[str] = ()) -> JobList:
        """Ask VMM for all running migration jobs, and by id for those of ``ids`` that are not among
        them. Costs one cmdlet, and one for each job that is gone from the list."""

    def pulse(self, host: str, vm_ids: Sequence[str] = ()) -> Pulse:
        """Ask a host's Hyper-V what moves there now, and for these VMs by id. First its running
        migration jobs are read, then the counters, then the VMs. A VM that is not found there is
        omitted; any other error fails the whole answer. Does not grow with the host's VMs."""

    def shown(self, host: str) -> HostInventory:
        """Ask a host's Hyper-V for all its VMs, its limits and its switches."""

    def known(self, host: str) -> VmmInventory:
        """Ask VMM's database for one host and its VMs. Nothing is re-read. Raises ``VmmRefused`` if
        VMM knows no such host."""

    def site(self) -> Site:
        """Ask VMM's database for all hosts, and for the VMs that are on none of them."""

    def ports(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read Hyper-V's half of the networks of these VMs on that host, in bulk. What only VMM
        models is ``None``. VMs that are not there are omitted."""

    def models(self, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read VMM's half of the networks of these VMs: id, MAC, VM network, subnet, port
        classification, port ACL. VMs that VMM does not know are omitted."""

    # --- changes of one side, each with what it expects -------------------------------------------

    def reread(self, what: Reread, name: str, not_after: float) -> str | None:
        """Make VMM re-read a host (full name) or a VM (id) in a job of its own, and return the id
        of that job; ``jobs`` shows its end. Nothing waits for it. Raises ``VmmLocked``,
        ``VmmStale`` after ``not_after`` (VMM's clock), ``VmmRefused``, ``VmmUnavailable``."""

    def put_ports(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """Restore Hyper-V's half of what ``repair`` names, on the host. Idempotent. Raises
        ``VmmStale`` if the VM is not as expected (nothing was done), ``VmmLocked``, ``VmmRefused``
        and ``VmmUnavailable`` (part of it may be done)."""

    def put_models(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """Restore VMM's half of what ``repair`` names. Idempotent. Raises as ``put_ports``."""

    def clear(self, vm_id: str, expected: Expected) -> None:
        """Drop VMM's failed job on this VM (Repair-SCVirtualMachine -Dismiss). Idempotent; a VM
        without a failed job is left alone. Raises as ``put_ports``."""

    def stop(self, job_id: str, not_after: float) -> None:
        """Ask VMM to stop a job (Stop-SCJob), unless ``not_after`` has passed on VMM's clock.
        Idempotent. Raises ``VmmStale``, ``VmmUnavailable``."""
