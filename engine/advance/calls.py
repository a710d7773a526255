"""Calls of a plan's steps: which of them may begin now, and how one is made. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.errors import VmmError
from engine.model import CHANGING, CallKind, Network, OpenCall
from engine.policy.steps import (
    KIND_OF,
    Call,
    CheckRights,
    Dismiss,
    PutBack,
    ReadNetworks,
    RefreshVm,
    SaveBaselines,
    Start,
    StopJob,
    hosts_of,
    moves_of,
)
from engine.vmm.port import VmmPort

#: Stops, repairs and reads come before starts, which fill slots.
_URGENCY = (StopJob, PutBack, ReadNetworks, Dismiss, RefreshVm, CheckRights, SaveBaselines, Start)


@dataclass(frozen=True)
class CallAnswer:
    """Result of a call: networks by VM id, a job id, the reason for missing rights, or an error of
    the port."""

    networks: Mapping[str, Network] | None = None
    job: str | None = None
    why: str | None = None
    error: VmmError | None = None


def in_order(calls: Sequence[Call]) -> list[Call]:
    """The calls, most urgent kind first, otherwise in the order of the plan."""
    return sorted(calls, key=lambda call: _URGENCY.index(type(call)))


def key_of(call: Call) -> tuple[CallKind, tuple[int, ...], tuple[str, ...]]:
    """Subject of a call: two calls of a plan with equal keys are the same."""
    return KIND_OF[type(call)], tuple(m.id for m in moves_of(call)), hosts_of(call)


@dataclass
class Lanes:
    """Room for calls. At most ``at_most`` calls are open at a time, at most one that changes
    something on each host, and none that repeats another."""

    open: Sequence[OpenCall]
    at_most: int

    def __post_init__(self) -> None:
        self.held = {host.casefold() for c in self.open if c.changes for host in c.hosts}
        self.about = {(c.kind, move) for c in self.open for move in c.moves}
        self.checked = {
            h.casefold() for c in self.open if c.kind is CallKind.RIGHTS for h in c.hosts
        }
        self.room = self.at_most - len(self.open)

    def admit(self, call: Call) -> Call | None:
        """Return the call, without moves that an open call of this kind covers, if it may begin
        now; it then takes its lanes. ``None``: not now."""
        kind, hosts = KIND_OF[type(call)], {host.casefold() for host in hosts_of(call)}
        asked = self._not_yet(call, kind)
        changes = kind in CHANGING
        if asked is None or self.room < 1 or (changes and hosts & self.held):
            return None
        self.room -= 1
        self.about |= {(kind, move.id) for move in moves_of(asked)}
        self.held |= hosts if changes else set()
        return asked

    def _not_yet(self, call: Call, kind: CallKind) -> Call | None:
        if isinstance(call, CheckRights):
            return None if call.host.casefold() in self.checked else call
        left = tuple(move for move in moves_of(call) if (kind, move.id) not in self.about)
        if isinstance(call, SaveBaselines | ReadNetworks) and left:
            return replace(call, moves=left)
        return call if left else None


def make(call: Call, port: VmmPort) -> CallAnswer:
    """Make one call. Errors of the port become answers; other exceptions are bugs and pass."""
    try:
        return _ask(call, port)
    except VmmError as error:
        return CallAnswer(error=error)


def _ask(call: Call, port: VmmPort) -> CallAnswer:
    match call:
        case SaveBaselines() | ReadNetworks():
            return CallAnswer(networks=port.networks(call.host, [m.vm_id for m in call.moves]))
        case PutBack():
            port.repair_network(call.move.vm_id, call.repair)
        case CheckRights():
            return CallAnswer(why=port.rights(call.host))
        case StopJob():
            port.stop_job(call.job)
        case Dismiss():
            port.dismiss(call.move.vm_id)
        case RefreshVm():
            port.refresh(call.move.vm_id)
        case Start():
            return CallAnswer(job=port.start_move(call.order))
    return CallAnswer()
