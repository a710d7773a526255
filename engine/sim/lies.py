"""Misreports and losses: how a migration ends, and what a VM loses by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from engine.model import Adapter, HyperVState, Network
from engine.sim import capacity
from engine.sim.state import Fate, HostState, Loss, Migration, State, VmState

SOON = 10.0
"""Seconds after which a hopeless job fails."""


def fate(state: State, vm: VmState, migration: Migration, now: float) -> Fate:
    """Decide how this migration ends. Outcomes that a story sets take precedence over chance."""
    if reason := _hopeless(state, vm, migration, now):
        return Fate(job="failed", at="source", error=reason, seconds=SOON, hopeless=True)
    if vm.fates:
        return _wish(vm, migration)
    if state.chance(state.lies.failed):
        share = 0.1 + 0.9 * state.roll()
        return Fate("failed", "source", broken(vm, migration), seconds=migration.whole * share)
    if state.chance(state.lies.failed_but_moved):
        return Fate("failed", "destination", broken(vm, migration))
    if state.chance(state.lies.stayed):
        return Fate("ok", "source")
    return Fate()


def broken(vm: VmState, migration: Migration) -> str:
    """Error of a migration whose connection broke: worth a retry."""
    return (
        f"VMM cannot complete the host operation on the {migration.source} server because of the "
        f"error: Live migration of '{vm.name}' failed, connection reset (0x80072746) (12700)"
    )


def _wish(vm: VmState, migration: Migration) -> Fate:
    wish = vm.fates[0]
    wish.times -= 1
    if wish.times <= 0:
        vm.fates.pop(0)
    error = broken(vm, migration) if wish.job == "failed" else ""
    return replace(wish, error=wish.error or error, times=1)


def _hopeless(state: State, vm: VmState, migration: Migration, now: float) -> str:
    if vm.backed_up(now):
        return f"'{vm.name}' cannot be migrated while it is being backed up"
    destination = state.hosts[migration.destination]
    for nic in vm.nics:
        is_plugged = migration.kind == "live" and nic.connected
        if is_plugged and lacks(state, destination, "switches", nic.switch):
            return (
                f"Live migration of '{vm.name}' failed: Could not find Ethernet switch "
                f"'{nic.switch}' (33012)"
            )
    return capacity.lacks_disk(state, vm, migration) or capacity.lacks_memory(state, vm, migration)


def lacks(
    state: State, host: HostState, kind: Literal["switches", "networks"], name: str | None
) -> bool:
    """Tell whether other hosts of the fleet have this switch or VM network, but not this host.

    A name that no host lists is assumed to exist everywhere: the file does not model it.
    """
    others = (one for h in state.hosts.values() for one in getattr(h.spec, kind))
    return name is not None and name not in getattr(host.spec, kind) and name in others


def arrive(state: State, vm: VmState, migration: Migration) -> None:
    """Apply the losses of a VM's adapters after it arrived on another host."""
    lies = state.lies
    cold = migration.kind == "cold"
    if cold:
        host = state.hosts[migration.destination]
        vm.nics = [
            _carried(state, host, nic, migration.pin, state.chance(lies.lose_nics_cold))
            for nic in vm.nics
        ]
    if state.chance(lies.lose_acls_cold if cold else lies.lose_acls_live):
        _lose_some(state, vm)
    if vm.losses:
        _lose(vm, vm.losses.pop(0))


def unplugged(nic: Adapter) -> Adapter:
    """The adapter without its connection and everything that VMM sets with it."""
    return replace(
        nic,
        network=None,
        subnet=None,
        switch=None,
        vlan=0,
        trunk=(),
        native_vlan=0,
        isolation=0,
        connected=False,
        classification=None,
    )


def _carried(
    state: State, host: HostState, nic: Adapter, pin: Network | None, lost: bool
) -> Adapter:
    """One adapter after a cold move: VMM keeps only what the job bound to it.

    A disconnected adapter has nothing to lose. VMM cannot bind a trunk: it arrives untagged.
    """
    if not nic.connected:
        return nic
    pinned = find_adapter(pin.adapters, nic.id, nic.mac) if pin else None
    if lost or pinned is None or not pinned.switch:
        return unplugged(nic)
    switch, network = pinned.switch, pinned.network
    if lacks(state, host, "switches", switch) or lacks(state, host, "networks", network):
        return unplugged(nic)
    stays = pinned.network == nic.network
    return replace(
        nic,
        network=pinned.network,
        subnet=pinned.subnet or (nic.subnet if stays else None),
        classification=pinned.classification or (nic.classification if stays else None),
        switch=pinned.switch,
        vlan=pinned.vlan,
        trunk=(),
        native_vlan=0,
    )


def find_adapter(adapters: Sequence[Adapter], wanted: str, mac: str) -> Adapter | None:
    """The adapter with this id, else the only one with this MAC."""
    for adapter in adapters:
        if adapter.id == wanted:
            return adapter
    same = [adapter for adapter in adapters if mac and adapter.mac == mac]
    return same[0] if len(same) == 1 else None


def _lose_some(state: State, vm: VmState) -> None:
    """Remove the ACLs of at least one adapter that has any, sometimes of all."""
    having = [place for place, nic in enumerate(vm.nics) if nic.acls or nic.classic_acls]
    if not having:
        return
    chosen = {having[int(state.roll() * len(having))]}
    everything = state.roll() < 0.5
    chosen |= {place for place in having if everything or state.roll() < 0.5}
    vm.nics = [
        replace(nic, acls=(), classic_acls=()) if place in chosen else nic
        for place, nic in enumerate(vm.nics)
    ]


def _lose(vm: VmState, loss: Loss) -> None:
    """Apply a loss of a story: so many rules in the order of the adapters, all connections.

    Each adapter loses its extended rules first, then the classic ones.
    """
    rules = sum(len(nic.acls) + len(nic.classic_acls) for nic in vm.nics)
    left = rules if loss.acls is None else loss.acls
    kept = []
    for nic in vm.nics:
        extended, classic = nic.acls[:left], nic.classic_acls[: max(0, left - len(nic.acls))]
        nic = replace(
            nic, acls=nic.acls[len(extended) :], classic_acls=nic.classic_acls[len(classic) :]
        )
        left -= len(extended) + len(classic)
        kept.append(unplugged(nic) if loss.nics and nic.connected else nic)
    vm.nics = kept
    vm.power = HyperVState.OFF if loss.power else vm.power


def power_class(state: HyperVState) -> str:
    """Class of a power state: running, down or changing. It decides which migration VMM chooses."""
    if state is HyperVState.RUNNING:
        return "running"
    return "changing" if state is HyperVState.OTHER else "down"
