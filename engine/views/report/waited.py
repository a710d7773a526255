"""Waits of each VM by cause, read from its events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from engine.model import Event, Wait

Span = tuple[str, float, float]
"""A wait: its code, since when, until when (Unix seconds)."""


def by_vm(history: Iterable[Event]) -> Mapping[str, Sequence[Event]]:
    """The events of each VM, by Hyper-V id; those of no VM are left out."""
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history:
        vm_id = event.detail.get("vm_id")
        if vm_id:
            found[str(vm_id)].append(event)
    return found


def spans(history: Sequence[Event], end: float) -> list[Span]:
    """Every wait of one VM in its order; one that goes on is counted until ``end``."""
    found: list[Span] = []
    code, since = "", 0.0
    for event in history:
        if not event.kind.startswith("move."):
            continue
        if code:
            found.append((code, since, event.at))
        code = str(event.detail["wait"]) if event.kind == "move.waiting" else ""
        since = event.at
    if code:
        found.append((code, since, max(since, end)))
    return found


def waited(history: Sequence[Event], end: float) -> dict[str, float]:
    """Seconds by code that one VM waited, with one decimal."""
    total: defaultdict[str, float] = defaultdict(float)
    for code, since, until in spans(history, end):
        total[code] += until - since
    return {code: round(seconds, 1) for code, seconds in sorted(total.items())}


OUTSIDE = frozenset({Wait.BACKUP, Wait.APPROVAL, Wait.FOREIGN, Wait.TRANSIENT})
"""Waits that nobody of us can shorten: a backup, a person's answer, somebody else's migration, a VM
between two states."""


def free_at(history: Sequence[Event], created: float, end: float) -> float:
    """Time before which one VM could not have been started, whatever we did.

    That is when it appeared, and then the end of the waits for others that it began with. What came
    later, a schedule that knew of it would have forestalled.
    """
    free, outside = created, False
    for event in history:
        if not event.kind.startswith("move.") or event.kind == "move.adopted":
            continue
        if outside:
            free = event.at
        outside = event.kind == "move.waiting" and event.detail["wait"] in OUTSIDE
        if not outside:
            return free
    return max(free, end) if outside else free
