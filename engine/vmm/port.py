"""The port to the world: everything the engine asks of SCVMM and Hyper-V, in nine calls.

Observing is bulk and may be stale. Acting returns at once or is idempotent; each docstring
says which. Errors answer two questions, did it happen and may I retry: see ``engine.errors``.
Two worlds stand behind it: ``engine.sim`` (a simulated fleet) and the real one over PSRP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.model import Fleet, MoveOrder, Network, Repair


class VmmPort(Protocol):
    """One VMM server and its hosts."""

    def version(self) -> str:
        """Name of what stands behind the port, in words for people. Changes nothing."""

    def observe(
        self,
        hosts: Sequence[str] = (),
        jobs: Sequence[str] = (),
        refresh: Sequence[str] = (),
    ) -> Fleet:
        """Look at everything at once: VMM's hosts, VMs and running migration jobs.

        ``hosts``: ask the Hyper-V of these directly as well (``Vm.seen_on``, power, backup).
        ``jobs``: show these jobs even when they have ended. ``refresh``: have VMM re-read these
        hosts first (Read-SCVMHost); where that meets a lock, ``Host.locked`` is set and nothing
        is raised. A host that does not answer has ``error`` and no ``seen_at``. Changes nothing
        else. Raises ``VmmUnavailable`` only when VMM itself does not answer.
        """

    def networks(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read the adapters of these VMs on that host, in bulk. A VM that is not there is
        left out of the answer. Changes nothing. Raises ``VmmUnavailable``."""

    def rights(self, host: str) -> str | None:
        """Reason why extended ACLs on this host can be neither read nor written, in words;
        ``None``: they can."""

    def start_move(self, order: MoveOrder) -> str | None:
        """Compare and start: returns the id of a VMM job that runs, ``None`` if VMM did not say.

        Checked where VMM runs, after a refresh of the VM: still the same id on the source, still
        of that power class (running: live; down: Off, Saved or Paused), no migration of it runs,
        and ``not_after`` (server's clock) has not passed; else ``VmmStale``. The pin binds every
        connected adapter (VM network, subnet, switch, access VLAN, port classification; never a
        trunk) into the job of a powered-down VM. A host
        without a free slot: ``VmmBusy``, never queued. Not idempotent: write the attempt first.
        Raises ``VmmUnavailable`` (it may have started), ``VmmLocked``, ``VmmRefused``.
        """

    def repair_network(self, vm_id: str, repair: Repair) -> None:
        """Put back what ``repair`` names, adapter by adapter, found by id, else unique MAC.

        Adding a rule that is already there with the same body is no error: idempotent. Raises
        ``VmmRefused`` with Hyper-V's words, ``VmmLocked``, ``VmmUnavailable``.
        """

    def dismiss(self, vm_id: str) -> None:
        """Drop VMM's failed job on this VM (Repair-SCVirtualMachine -Dismiss), then re-read it.
        Idempotent. Raises ``VmmLocked``, ``VmmUnavailable``, ``VmmRefused``."""

    def refresh(self, vm_id: str) -> None:
        """Make VMM re-read this VM (Read-SCVirtualMachine). Idempotent. Raises as ``dismiss``."""

    def stop_job(self, job_id: str) -> None:
        """Ask VMM to stop a job (Stop-SCJob). Idempotent; the VM stays where it was."""
