"""Violations by the caller: a second start of a VM, or a start without a free slot.

A caller is judged by what it could know: the load that its last observation showed, and its own
starts since. Starts by others and lowered limits after that observation do not count.
"""

from __future__ import annotations

from engine.model import Fleet, same_host
from engine.sim.state import Judged, Migration, State


def looked(state: State, fleet: Fleet) -> None:
    """Remember the load that this observation showed."""
    jobs = {job.id for job in fleet.jobs}
    moving = {vm.id for vm in fleet.vms if vm.migrating}
    state.judged = Judged(
        limits={h.name: h.slots for h in fleet.hosts},
        moving=[
            (m.id, m.source, m.destination)
            for m in state.open
            if m.ours or (m.phase == "running" and (m.id in jobs or m.vm_id in moving))
        ],
    )


def started(state: State, migration: Migration) -> None:
    """Remember a start of ours, whether the migration runs or is delayed."""
    known = (migration.id, migration.source, migration.destination)
    if known not in state.judged.moving:
        state.judged.moving.append(known)


def sent(state: State, now: float, vm_id: str, source: str, destination: str) -> None:
    """Check a start that was sent: record ``double`` or ``over_limit``."""
    vm = state.vms.get(vm_id)
    name = vm.name if vm else vm_id
    if any(m.vm_id == vm_id and m.ours for m in state.open):
        violation(state, now, "double", name, destination)
    for host in (source, destination):
        limit = state.judged.limits.get(host, state.limit(state.hosts[host]))
        load = sum(same_host(host, a) or same_host(host, b) for _, a, b in state.judged.moving)
        if load >= limit:
            violation(state, now, "over_limit", name, host)


def violation(state: State, now: float, kind: str, vm: str, host: str) -> None:
    """Record a violation."""
    state.violations.append({"t": now, "kind": kind, "vm": vm, "host": host})
