"""The port to SCVMM and Hyper-V: everything that the engine asks of them, in nine calls.

Observing is done in bulk and may be stale. Acting returns at once or is idempotent; each docstring
says which. Errors answer two questions, did it happen and may I retry: see ``engine.errors``. Two
worlds implement the port: ``engine.sim`` (a simulated fleet) and the real one over PSRP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.model import Fleet, MoveOrder, Network, Repair


class VmmPort(Protocol):
    """One VMM server and its hosts."""

    def version(self) -> str:
        """Describe the implementation behind the port, in words for people. Changes nothing."""

    def observe(
        self,
        hosts: Sequence[str] = (),
        jobs: Sequence[str] = (),
        refresh: Sequence[str] = (),
        reread: Sequence[str] = (),
    ) -> Fleet:
        """Observe everything at once: VMM's hosts, VMs and running migration jobs.

        ``hosts``: also ask the Hyper-V of these hosts directly (``Vm.seen_on``, power, backup).
        ``jobs``: include these jobs even if they have ended. ``refresh``: make VMM re-read these
        hosts first (Read-SCVMHost), and wait for it. ``reread``: the same without waiting; the
        result belongs to a later observation, and until then ``Host.rereading`` is set. A re-read
        that failed sets ``Host.reread_failed`` and, if the host is locked, ``Host.locked``; nothing
        is raised. A host that does not answer has ``error`` and no ``seen_at``. Changes nothing
        else. Raises ``VmmUnavailable`` only if VMM itself does not answer.
        """

    def networks(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read the adapters of these VMs on that host, in bulk. The answer omits VMs that are not
        there. Changes nothing. Raises ``VmmUnavailable``."""

    def rights(self, host: str) -> str | None:
        """Return the reason why extended ACLs on this host cannot be read or written, or
        ``None``."""

    def start_move(self, order: MoveOrder) -> str | None:
        """Compare and start. Return the id of the running VMM job, or ``None`` if VMM names none.

        VMM's server checks these conditions after a refresh of the VM: it is on the source with the
        same id and power class (running: live; down: Off, Saved or Paused), no migration of it
        runs, and ``not_after`` (server's clock) has not passed; else ``VmmStale``. The pin binds
        every connected adapter (VM network, subnet, switch, access VLAN, port classification; never
        a trunk) into the job of a powered-down VM. A host without a free slot raises ``VmmBusy``;
        nothing is queued. Not idempotent: write the attempt first. Raises ``VmmUnavailable`` (it
        may have started), ``VmmLocked``, ``VmmRefused``.
        """

    def repair_network(self, vm_id: str, repair: Repair) -> None:
        """Restore what ``repair`` names. Adapters are found by id, else by unique MAC.

        Idempotent: a rule that already exists with the same body is no error. Raises ``VmmRefused``
        with Hyper-V's words, ``VmmLocked``, ``VmmUnavailable``.
        """

    def dismiss(self, vm_id: str) -> None:
        """Drop VMM's failed job on this VM (Repair-SCVirtualMachine -Dismiss), then re-read the VM.
        Idempotent. Raises ``VmmLocked``, ``VmmUnavailable``, ``VmmRefused``."""

    def refresh(self, vm_id: str) -> None:
        """Make VMM re-read this VM (Read-SCVirtualMachine). Idempotent. Raises as ``dismiss``."""

    def stop_job(self, job_id: str) -> None:
        """Ask VMM to stop a job (Stop-SCJob). Idempotent. The VM stays on its source."""
