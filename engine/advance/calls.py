"""Calls and looks: which of them may begin now, and how one is made. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.errors import VmmError
from engine.model import (
    CHANGING,
    Body,
    CallKind,
    Expected,
    Look,
    Network,
    OpenCall,
    PartKind,
    Reread,
    join_halves,
)
from engine.policy.steps import (
    KIND_OF,
    Call,
    CheckRights,
    Dismiss,
    NetworkRead,
    PutBack,
    PutModels,
    PutPorts,
    ReadModels,
    ReadPorts,
    RefreshVm,
    SaveBaselines,
    Start,
    StopJob,
    hosts_of,
    moves_of,
)
from engine.vmm.port import VmmPort

#: Stops, repairs and reads come before starts, which fill slots.
_URGENCY = (
    StopJob,
    PutPorts,
    PutModels,
    ReadPorts,
    ReadModels,
    Dismiss,
    RefreshVm,
    CheckRights,
    SaveBaselines,
    Start,
)


@dataclass(frozen=True)
class CallAnswer:
    """Result of a call: networks by VM id, a job id, the reason for missing rights, the answer to
    a look, or an error of the port."""

    networks: Mapping[str, Network] | None = None
    job: str | None = None
    why: str | None = None
    body: Body | None = None
    error: VmmError | None = None


def in_order(calls: Sequence[Call]) -> list[Call]:
    """The calls, most urgent kind first, otherwise in the order of the plan."""
    return sorted(calls, key=lambda call: _URGENCY.index(type(call)))


def key_of(call: Call | Look) -> object:
    """Subject of a call or look: two with equal keys are the same."""
    if isinstance(call, Look):
        return call.key
    return KIND_OF[type(call)], tuple(m.id for m in moves_of(call)), hosts_of(call)


_LOOKS = frozenset(map(str, PartKind))


@dataclass(frozen=True)
class Caps:
    """Calls that may be open at a time: ``calls`` of a plan, ``inventory`` questions to VMM's
    database, ``rereads``, ``pulses``, and ``lists`` (full lists of a host's VMs by its Hyper-V),
    which many moves that end at once must not keep away. ``silent``: of pulses and lists, those to
    hosts that did not answer last."""

    calls: int
    inventory: int
    rereads: int
    pulses: int = 12
    lists: int = 4
    silent: int = 4


_GROUPS: Mapping[str, str] = {
    "site": "inventory", "known": "inventory", "shown": "lists", "pulse": "pulses",
    "vms": "rereads", "vm": "rereads", "host": "rereads",
}  # fmt: skip
_OF_HOSTS = frozenset({"pulses", "lists"})


@dataclass
class Lanes:
    """Room for calls. Calls of a plan: at most one that changes something on each host, and none
    that repeats another. ``silent``: hosts that did not answer last, case folded."""

    open: Sequence[OpenCall]
    caps: Caps
    silent: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.held = {host.casefold() for c in self.open if c.changes for host in c.hosts}
        self.about = {(c.kind, move) for c in self.open for move in c.moves}
        self.checked = {
            h.casefold() for c in self.open if c.kind is CallKind.RIGHTS for h in c.hosts
        }
        self.asked = {(str(c.kind), (c.hosts or ("",))[0].casefold()) for c in self.open}
        looks = [kind for kind in (str(c.kind) for c in self.open) if kind in _LOOKS]
        self.groups = Counter(_GROUPS[kind] for kind in looks if kind in _GROUPS)
        self.groups["silent"] = sum(
            c.hosts[0].casefold() in self.silent
            for c in self.open
            if _GROUPS.get(str(c.kind)) in _OF_HOSTS
        )
        self.room = self.caps.calls - (len(self.open) - len(looks))
        reading = sum(not c.changes and str(c.kind) not in _LOOKS for c in self.open)
        self.readings = self.caps.calls - max(1, self.caps.calls // 4) - reading

    def admit_look(self, look: Look) -> bool:
        """Return whether the look may begin now; it then takes its lane."""
        name, group = look.name.casefold(), _GROUPS.get(str(look.kind))
        is_changing = CallKind(str(look.kind)) in CHANGING
        if (str(look.kind), name) in self.asked or (is_changing and name in self.held):
            return False
        groups = [group] if group else []
        if group in _OF_HOSTS and name in self.silent:
            groups.append("silent")
        if any(self.groups[one] >= getattr(self.caps, one) for one in groups):
            return False
        self.groups.update(groups)
        self.asked.add((str(look.kind), name))
        if is_changing:
            self.held.add(name)
        return True

    def admit(self, call: Call) -> Call | None:
        """Return the call, without moves that an open call of this kind covers, if it may begin
        now; it then takes its lanes. ``None``: not now."""
        kind, hosts = KIND_OF[type(call)], {host.casefold() for host in hosts_of(call)}
        asked = self._not_yet(call, kind)
        changes = kind in CHANGING
        if asked is None or self.room < 1 or (changes and hosts & self.held):
            return None
        if not changes and self.readings < 1 < self.caps.calls:
            return None  # hosts that hang while they are read leave lanes for changes
        self.room -= 1
        self.readings -= not changes
        self.about |= {(kind, move.id) for move in moves_of(asked)}
        self.held |= hosts if changes else set()
        return asked

    def _not_yet(self, call: Call, kind: CallKind) -> Call | None:
        if isinstance(call, CheckRights):
            return None if call.host.casefold() in self.checked else call
        left = tuple(move for move in moves_of(call) if (kind, move.id) not in self.about)
        if isinstance(call, NetworkRead) and left:
            return replace(call, moves=left)
        return call if left else None


def make(call: Call | Look, port: VmmPort) -> CallAnswer:
    """Make one call. Errors of the port become answers; other exceptions are bugs and pass."""
    try:
        return _ask(call, port)
    except VmmError as error:
        return CallAnswer(error=error)


def _ask(call: Call | Look, port: VmmPort) -> CallAnswer:
    match call:
        case Look():
            return _look(call, port)
        case SaveBaselines():
            return CallAnswer(networks=_networks(call, port))
        case ReadPorts():
            return CallAnswer(networks=port.ports(call.host, [m.vm_id for m in call.moves]))
        case ReadModels():
            return CallAnswer(networks=port.models([m.vm_id for m in call.moves]))
        case PutBack():
            _put_back(call, port)
        case CheckRights():
            return CallAnswer(why=port.rights(call.host))
        case StopJob():
            port.stop(call.job, call.not_after)
        case Dismiss():
            port.clear(call.move.vm_id, Expected(call.host, call.not_after))
        case RefreshVm():
            return CallAnswer(job=port.reread(Reread.VM, call.move.vm_id, call.not_after))
        case Start():
            return CallAnswer(job=port.start_move(call.order))
    return CallAnswer()


def _networks(call: SaveBaselines, port: VmmPort) -> Mapping[str, Network]:
    ports = port.ports(call.host, [move.vm_id for move in call.moves])
    models = port.models(list(ports)) if ports else {}
    return {id_: join_halves(one, models.get(id_, Network())) for id_, one in ports.items()}


def _put_back(call: PutBack, port: VmmPort) -> None:
    expected = Expected(call.repair.host, call.not_after)
    put = port.put_ports if call.half == "ports" else port.put_models
    put(call.move.vm_id, call.repair, expected)


def _look(look: Look, port: VmmPort) -> CallAnswer:
    match look.kind:
        case PartKind.JOBS:
            return CallAnswer(body=port.jobs(look.ids))
        case PartKind.SITE:
            return CallAnswer(body=port.site())
        case PartKind.KNOWN:
            return CallAnswer(body=port.known(look.name))
        case PartKind.SHOWN:
            return CallAnswer(body=port.shown(look.name))
        case PartKind.PULSE:
            return CallAnswer(body=port.pulse(look.name, look.ids))
        case PartKind.VMS | PartKind.VM | PartKind.HOST:
            what = Reread(str(look.kind))
            return CallAnswer(job=port.reread(what, look.name, look.not_after))
