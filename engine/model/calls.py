"""Calls of the engine to VMM and Hyper-V: their subjects, and until when they may act."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CallKind(StrEnum):
    """Deed of a call. BASELINE reads both halves of networks, READING Hyper-V's, MODELS VMM's.
    RESTORE puts Hyper-V's half back, RESTORE_MODELS VMM's. RIGHTS reads our rights. From JOBS on
    they are looks, named like their parts."""

    BASELINE = "baseline"
    READING = "reading"
    MODELS = "models"
    RIGHTS = "rights"
    START = "start"
    RESTORE = "restore"
    RESTORE_MODELS = "restore_models"
    DISMISS = "dismiss"
    REFRESH = "refresh"
    STOP = "stop"
    JOBS = "jobs"
    SITE = "site"
    KNOWN = "known"
    SHOWN = "shown"
    PULSE = "pulse"
    VMS = "vms"
    VM = "vm"
    HOST = "host"


CHANGING = frozenset(
    {CallKind.START, CallKind.RESTORE, CallKind.RESTORE_MODELS, CallKind.DISMISS}
    | {CallKind.REFRESH, CallKind.VMS, CallKind.HOST}
)
"""Kinds of which each host has one at a time. A re-read of one VM locks nothing else. STOP is left
out: it must not queue behind a start that hangs, and it names a job, not a host."""


AT_HOST = frozenset(
    {CallKind.BASELINE, CallKind.READING, CallKind.RIGHTS, CallKind.RESTORE}
    | {CallKind.SHOWN, CallKind.PULSE}
)
"""Kinds that a host answers, the others VMM. A baseline is VMM's, too, after the host's."""


@dataclass(frozen=True)
class OpenCall:
    """A call without an answer.

    ``hosts`` of a look at one VM is its id. ``moves`` and ``attempts`` are row ids, in the same
    order; reading calls have no attempts except BASELINE. ``epoch``: the engine that made it.
    ``not_after``: the call does not act later (Unix seconds on the clock of the machine that
    checks). At ``deadline`` the engine stops waiting. ``job``: VMM's job of a re-read under way.
    """

    id: int
    kind: CallKind
    hosts: tuple[str, ...]
    moves: tuple[int, ...]
    attempts: tuple[int, ...]
    epoch: int
    begun: float
    deadline: float
    not_after: float | None = None
    job: str | None = None

    @property
    def server(self) -> str:
        """Name of the host that has to answer; empty: VMM."""
        return self.hosts[0] if self.kind in AT_HOST and self.hosts else ""

    @property
    def changes(self) -> bool:
        """True if the call changes or locks a host's VMs, so that none may run beside it."""
        return self.kind in CHANGING
