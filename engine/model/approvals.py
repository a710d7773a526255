"""Approvals, and reviews of break-glass approvals."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ApprovalState(StrEnum):
    """State of an approval: requested -> granted | denied | expired | withdrawn."""

    REQUESTED = "requested"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Approval:
    """One question about powered-down VMs, with its answer. ``vms`` and ``granted`` are Hyper-V
    VM ids. Only VMs in ``granted`` may move, and only as covered by ``digest``. ``glass``: a
    break-glass approval. ``requested`` and ``decided`` are Unix seconds UTC."""

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
        """Name for people: ``A3``."""
        return f"A{self.id}"


@dataclass(frozen=True)
class Review:
    """Review of a break-glass approval by a second person. ``broken_by`` approved at ``broken``
    for the reason ``why``; ``by`` reviewed at ``at`` and found it ``in_order`` or not. The review
    is open while ``at`` is ``None``. Times are Unix seconds UTC."""

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
        """True until a second person has reviewed the approval."""
        return self.at is None

    @property
    def label(self) -> str:
        """Label of the break-glass approval: ``A3``."""
        return f"A{self.approval}"
