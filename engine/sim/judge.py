"""Violations by the caller: a second start, a start without a free slot, a change in flight.

A caller is judged by the true load of a host, without moves of others that began after it asked for
the pulse of that host, or, if they are powered down, for VMM's jobs. Limits that are lowered later
do not count.
"""

from __future__ import annotations

from engine.sim.state import HostState, Migration, State, VmState


def pulsed(state: State, host: HostState, now: float) -> None:
    """Remember that the caller asked for the pulse of this host."""
    state.judged.pulsed[host.name] = (now, state.limit(host))


def listed(state: State, now: float) -> None:
    """Remember that the caller asked for VMM's jobs."""
    state.judged.listed = now


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
        return sum(m.touches(host) for m in state.open if _is_known(state, m, asked)), limit
    ours = sum(m.touches(host) for m in state.open if m.ours)
    return ours, state.limit(state.hosts[host])


def _is_known(state: State, migration: Migration, asked: float) -> bool:
    """Tell whether the caller could know of this migration. Hyper-V shows a live one to a pulse;
    the copy of a powered-down VM only VMM's list shows."""
    if migration.ours:
        return True
    if migration.kind == "cold":
        asked = min(asked, state.judged.listed or asked)
    return migration.started is not None and migration.started < asked


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
