"""Forecast of a request from the last observation alone, shown before anything starts.

Pure. A forecast applies the rules of the plan that need one observation only (VMs that can never
move, VMs that are powered down), and gives the time of that observation. For VMs, it leaves out
conditions that pass by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.language.grammar import matches
from engine.language.names import Chosen
from engine.model import Fleet, Move, MoveRecord, Options, Request, RunRecord, Vm, same_host, short
from engine.policy.approvals.approval import digest_of
from engine.policy.starts import preflight
from engine.views.board import ends

SILENT, MAINTENANCE = "does not answer", "is in maintenance mode"


@dataclass(frozen=True)
class Hindered:
    """A VM that would not move, or a closed host (as ``vm``); ``why`` does not name it."""

    vm: str
    why: str


@dataclass(frozen=True)
class Forecast:
    """Forecast: the VMs that would move and those that would not. ``seconds``: estimated duration.
    ``down``: powered-down VMs among ``moving``. ``held``: VMs of unfinished runs. ``there``: VMs on
    a destination already. ``hosts``: destinations that take nothing now. ``as_of``: time of the
    observation (Unix seconds). ``digest``: hash that binds a start to what was shown."""

    kind: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    options: Options
    moving: tuple[str, ...]
    size_mb: int
    seconds: float
    down: tuple[str, ...]
    stuck: tuple[Hindered, ...]
    held: tuple[Hindered, ...]
    there: tuple[str, ...]
    excluded: int
    hosts: tuple[Hindered, ...]
    as_of: float
    digest: str


def forecast(
    request: Request,
    chosen: Chosen,
    options: Options,
    fleet: Fleet,
    others: Iterable[RunRecord],
    mb_per_s: float,
) -> Forecast:
    """Forecast a request whose names were resolved to ``chosen``. ``others``: unfinished runs."""
    owners = _owners(others)
    moving: list[tuple[Vm, str]] = []
    stuck, held, there = [], [], []
    named = [pair for pair in chosen.vms if not _is_excluded(pair[0], options)]
    for vm, source in named:
        hindered = _hindered(vm, chosen.destinations, options, fleet)
        if any(same_host(source, name) for name in chosen.destinations):
            there.append(vm.name)
        elif vm.id in owners:
            held.append(Hindered(vm.name, f"already in {owners[vm.id]}"))
        elif hindered:
            stuck.append(Hindered(vm.name, hindered))
        else:
            moving.append((vm, source))
    return Forecast(
        kind=request.kind,
        sources=chosen.sources,
        destinations=chosen.destinations,
        options=options,
        moving=tuple(vm.name for vm, _ in moving),
        size_mb=sum(vm.memory_mb + vm.disk_mb for vm, _ in moving),
        seconds=_seconds(moving, chosen.destinations, fleet, mb_per_s),
        down=tuple(vm.name for vm, _ in moving if vm.down),
        stuck=tuple(stuck),
        held=tuple(held),
        there=tuple(there),
        excluded=len(chosen.vms) - len(named),
        hosts=tuple(_closed(chosen.destinations, fleet)),
        as_of=fleet.at,
        digest=shown_digest(chosen, options),
    )


def _owners(others: Iterable[RunRecord]) -> Mapping[str, str]:
    """Label of the first unfinished run that has each VM, by VM id."""
    found: dict[str, str] = {}
    for record in others:
        for entry in record.moves:
            if not entry.move.over:
                found.setdefault(entry.move.vm_id, record.run.label)
    return found


def _is_excluded(vm: Vm, options: Options) -> bool:
    return any(matches(word, vm.name) for word in options.excluding)


def _hindered(vm: Vm, destinations: Iterable[str], options: Options, fleet: Fleet) -> str:
    """Reason why the VM cannot move until a person changes something; empty: it can move."""
    if vm.blocks:
        return preflight.block_in_short(vm)
    lacking = []
    for name in destinations:
        host = fleet.host(name)
        misfit = preflight.misfit(vm, host, options.path) if host is not None else ""
        if not misfit:
            return ""
        lacking.append(misfit)
    return "; ".join(lacking)


def _closed(destinations: Iterable[str], fleet: Fleet) -> Iterable[Hindered]:
    """Destinations that take nothing for now, with the reason."""
    for name in destinations:
        host = fleet.host(name)
        if host is None or host.seen_at is None:
            yield Hindered(short(name), SILENT)
        elif host.maintenance:
            yield Hindered(short(name), MAINTENANCE)


def _seconds(
    moving: Iterable[tuple[Vm, str]], destinations: tuple[str, ...], fleet: Fleet, mb_per_s: float
) -> float:
    """Estimated seconds for the request, by the same estimate as on the board of a new run."""
    moves = [
        Move(n, 0, vm.id, vm.name, source, memory_mb=vm.memory_mb, disk_mb=vm.disk_mb)
        for n, (vm, source) in enumerate(moving)
    ]
    if not moves:
        return 0.0
    return ends(map(MoveRecord, moves), destinations, fleet, mb_per_s, fleet.at) - fleet.at


def shown_digest(chosen: Chosen, options: Options) -> str:
    """Hash of the VM ids, hosts and path that a forecast shows."""
    shown = {
        "vms": sorted(vm.id for vm, _ in chosen.vms if not _is_excluded(vm, options)),
        "sources": sorted(name.casefold() for name in chosen.sources),
        "destinations": sorted(name.casefold() for name in chosen.destinations),
        "path": options.path,
    }
    return digest_of(shown)
