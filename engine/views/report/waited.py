"""Waits of each VM by cause, read from its events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from engine.model import Event, Wait

Span = tuple[str, float, float]
"""A wait: its code, begin and end (Unix seconds)."""


def by_vm(history: Iterable[Event]) -> Mapping[str, Sequence[Event]]:
    """Group events by the VM's Hyper-V id; events without a VM are left out."""
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for event in history:
        vm_id = event.detail.get("vm_id")
        if vm_id:
            found[str(vm_id)].append(event)
    return found


def spans(history: Sequence[Event], end: float) -> list[Span]:
    """List every wait of one VM in order. A wait that goes on counts until ``end``."""
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
    """Seconds that one VM waited, by code, to one decimal."""
    total: defaultdict[str, float] = defaultdict(float)
    for code, since, until in spans(history, end):
        total[code] += until - since
    return {code: round(seconds, 1) for code, seconds in sorted(total.items())}


OUTSIDE = frozenset({Wait.BACKUP, Wait.APPROVAL, Wait.FOREIGN, Wait.TRANSIENT})
"""Waits that VMFerry cannot shorten: a backup, a person's answer, somebody else's migration, a VM
between two states."""


def free_at(history: Sequence[Event], created: float, end: float) -> float:
    """Earliest time at which any schedule could have started one VM (Unix seconds).

    That is its appearance, or the end of the ``OUTSIDE`` waits with which it began. Later waits do
    not count: a schedule that knew of them would have started the VM before.
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
