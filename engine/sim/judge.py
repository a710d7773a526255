"""Violations by the caller: a second start, a start without a free slot, a change in flight.

A caller is judged by what it could know. After an observation that is the load that it showed, and
the caller's own starts since. After a pulse of a host that is the true load of the host, without
moves of others that began after the pulse was asked. Limits that are lowered later do not count.
"""

from __future__ import annotations

from engine.model import Fleet, same_host
from engine.sim.state import HostState, Judged, Migration, State, VmState


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
        listed=fleet.at,
    )


def pulsed(state: State, host: HostState, now: float) -> None:
    """Remember that the caller asked for the pulse of this host."""
    state.judged.pulsed[host.name] = (now, state.limit(host))


def listed(state: State, now: float) -> None:
    """Remember that the caller asked for VMM's jobs."""
    state.judged.listed = now


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
        load, limit = _known_load(state, host)
        if load >= limit:
            violation(state, now, "over_limit", name, host)


def _known_load(state: State, host: str) -> tuple[int, int]:
    """Load and limit of a host that the caller could know."""
    judged = state.judged
    if host in judged.pulsed:
        asked, limit = judged.pulsed[host]
        return sum(m.touches(host) for m in state.open if m.ours or _had_begun(m, asked)), limit
    if host in judged.limits:
        load = sum(same_host(host, a) or same_host(host, b) for _, a, b in judged.moving)
        return load, judged.limits[host]
    ours = sum(m.touches(host) for m in state.open if m.ours)
    return ours, state.limit(state.hosts[host])


def _had_begun(migration: Migration, asked: float) -> bool:
    return migration.started is not None and migration.started <= asked


def changed(state: State, now: float, vm: VmState, host: str) -> None:
    """Check a change of a VM that took effect: record ``changed_in_flight``.

    A migration of somebody else counts only if VMM showed its job when the caller last asked.
    """
    migration, asked = state.migration_of(vm.id), state.judged.listed
    if migration is None:
        return
    if migration.ours or asked is None or migration.visible <= asked:
        violation(state, now, "changed_in_flight", vm.name, host)


def violation(state: State, now: float, kind: str, vm: str, host: str) -> None:
    """Record a violation."""
    state.violations.append({"t": now, "kind": kind, "vm": vm, "host": host})
