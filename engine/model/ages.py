"""Ages of parts: when VMM and Hyper-V were asked, and when they answered.

Questions and answers are ordered by the numbers of calls, not by clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PartKind(StrEnum):
    """Kind of a part. JOBS: VMM's jobs. SITE: all hosts. KNOWN: one host and its VMs by VMM. SHOWN:
    the VMs of one host by its Hyper-V. PULSE: what moves there. VMS, VM, HOST: VMM's own re-reads
    (``Reread``), which have no body."""

    JOBS = "jobs"
    SITE = "site"
    KNOWN = "known"
    SHOWN = "shown"
    PULSE = "pulse"
    VMS = "vms"
    VM = "vm"
    HOST = "host"


HYPERV = frozenset({PartKind.SHOWN, PartKind.PULSE})
"""Parts that a host's own Hyper-V answers."""
REREADS = frozenset({PartKind.VMS, PartKind.VM, PartKind.HOST})
"""Parts that VMM reads anew, in jobs of its own."""


@dataclass(frozen=True)
class Look:
    """A question. ``name``: a host, the id of a VM, or empty. ``ids``: of a pulse the VMs, of JOBS
    the jobs that are asked for by id. ``overdue``: of JOBS the attempts past their look-ups, with
    the ids of their VMs. ``host``: of a VM its host. ``not_after``: a re-read must reach VMM by
    then (VMM's clock)."""

    kind: PartKind
    name: str = ""
    ids: tuple[str, ...] = ()
    overdue: tuple[tuple[int, str], ...] = ()
    host: str = ""
    not_after: float = 0.0

    @property
    def key(self) -> tuple[PartKind, str]:
        """Part that the answer becomes. The case of a host's name is ignored."""
        return self.kind, self.name.casefold()


@dataclass(frozen=True)
class Age:
    """Age of a part: its latest question and its latest answer.

    ``asked`` and ``answered`` are numbers of calls: of the question, and of the newest call when
    its answer was written; 0: never. ``asked_at`` and ``answered_at`` are for people and for
    limits (Unix seconds). ``ids``: what was asked for by id. ``error``: why the questions since
    that answer failed, ``tries``: how many, ``tried_at`` and ``tried``: when the latest was asked
    and its number. ``locked``: a lock was the reason.
    """

    asked: int = 0
    answered: int = 0
    asked_at: float | None = None
    answered_at: float | None = None
    ids: tuple[str, ...] = ()
    error: str = ""
    tries: int = 0
    tried: int = 0
    tried_at: float | None = None
    locked: bool = False

    @property
    def failed(self) -> bool:
        """True if the latest question failed."""
        return self.tries > 0


NEVER = Age()
