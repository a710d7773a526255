"""Approvals, the answers of on-call engineers, and reviews of break-glass approvals."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ApprovalState(StrEnum):
    """The life of an approval: requested -> granted | denied | expired | withdrawn."""

    REQUESTED = "requested"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Approval:
    """One question to on-call engineers. ``vms`` are Hyper-V ids; only what ``digest``
    covers may move, and only the VMs in ``granted``. ``glass``: granted by somebody whom the
    rules bar, who broke the glass."""

    id: int
    run: int
    state: ApprovalState
    digest: str
    vms: tuple[str, ...]
    requested: float
    granted: tuple[str, ...] = ()
    decided: float | None = None
    by: str | None = None
    reason: str = ""
    glass: bool = False

    @property
    def label(self) -> str:
        """``A3``: how people name it."""
        return f"A{self.id}"


@dataclass(frozen=True)
class Review:
    """Review of a break-glass approval by somebody else: who broke the glass for ``approval``, when
    (Unix seconds UTC) and why; then who looked (``by``), when (``at``), and what they say of it.
    Open while nobody has."""

    approval: int
    run: int
    broken_by: str
    broken: float
    why: str
    by: str | None = None
    at: float | None = None
    in_order: bool | None = None
    note: str = ""

    @property
    def is_open(self) -> bool:
        """True until somebody has reviewed."""
        return self.at is None

    @property
    def label(self) -> str:
        """``A3``: the question for which the glass was broken."""
        return f"A{self.approval}"
