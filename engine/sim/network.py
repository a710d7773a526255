"""Reads and repairs of the adapters of simulated VMs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.errors import VmmRefused
from engine.model import Acl, Adapter, AdapterRepair, Network, Repair, classic_key, guards_of, short
from engine.sim.lies import find_adapter, lacks
from engine.sim.state import HostState, State, VmState


def networks(state: State, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
    """The adapters of those of these VMs that Hyper-V shows on that host."""
    found = (state.vms.get(vm_id) for vm_id in dict.fromkeys(vm_ids))
    return {
        vm.id: Network(tuple(vm.nics))
        for vm in found
        if vm is not None and not vm.deleted and host in vm.hosts
    }


def rights(host: HostState) -> str | None:
    """Reason why extended ACLs cannot be read or written on this host, or ``None``."""
    if host.spec.acl_rights:
        return None
    return f"Access to the extended ACLs of {host.name} is denied"


def repair_ports(state: State, vm: VmState, wanted: Repair) -> None:
    """Restore Hyper-V's half: the rules of all adapters, then the connections. What was restored
    before a refusal stays."""
    host = _host_of(state, vm, wanted)
    _repair_host(host, vm, wanted)
    for one in wanted.adapters:
        place = _place(vm, one)
        vm.nics[place] = _plugged(state, host, vm.nics[place], one)


def repair_models(state: State, vm: VmState, wanted: Repair) -> None:
    """Restore VMM's half, adapter by adapter. What was restored before a refusal stays."""
    host = _host_of(state, vm, wanted)
    for one in wanted.adapters:
        place = _place(vm, one)
        vm.nics[place] = _modelled(state, host, vm.nics[place], one)


def _host_of(state: State, vm: VmState, wanted: Repair) -> HostState:
    host = state.known_host(wanted.host)
    if host is None or host.name not in vm.hosts or vm.deleted:
        raise VmmRefused(f"'{vm.name}' is not on {short(wanted.host)}")
    return host


def _repair_host(host: HostState, vm: VmState, wanted: Repair) -> None:
    """Restore the settings of the adapters that VMM does not model."""
    for one in wanted.adapters:
        place = _place(vm, one)
        vm.nics[place] = nic = _set(vm.nics[place], one)
        for rule in one.classic_acls:
            vm.nics[place] = nic = _with_classic(nic, rule)
        for acl in one.acls:
            vm.nics[place] = nic = _with_acl(host, nic, acl)


def _place(vm: VmState, wanted: AdapterRepair) -> int:
    nic = find_adapter(vm.nics, wanted.adapter_id, wanted.mac)
    if nic is None:
        raise VmmRefused(f"'{vm.name}' has no adapter {wanted.mac or wanted.adapter_id}")
    return vm.nics.index(nic)


def _modelled(state: State, host: HostState, nic: Adapter, wanted: AdapterRepair) -> Adapter:
    """The adapter with the wanted settings that only VMM models."""
    if wanted.network and lacks(state, host, "networks", wanted.network):
        raise VmmRefused(f"{host.name} has no VM network '{wanted.network}'")
    return replace(
        nic,
        network=wanted.network or nic.network,
        subnet=wanted.subnet or nic.subnet,
        classification=wanted.classification or nic.classification,
        port_acl=wanted.port_acl or nic.port_acl,
    )


def _plugged(state: State, host: HostState, nic: Adapter, wanted: AdapterRepair) -> Adapter:
    """The adapter on the wanted switch and VLAN. An access VLAN replaces a trunk."""
    if wanted.switch and lacks(state, host, "switches", wanted.switch):
        raise VmmRefused(f"{host.name} has no virtual switch '{wanted.switch}'")
    if wanted.vlan is not None and not wanted.trunk:
        nic = replace(nic, vlan=wanted.vlan, trunk=(), native_vlan=0)
    return replace(
        nic, switch=wanted.switch or nic.switch, connected=nic.connected or bool(wanted.switch)
    )


def _set(nic: Adapter, wanted: AdapterRepair) -> Adapter:
    """The adapter with the wanted settings of the host. Guards are only turned on."""
    on = guards_of(nic.guards) | guards_of(wanted.guards)
    if wanted.trunk:
        nic = replace(nic, vlan=0, trunk=wanted.trunk, native_vlan=wanted.native_vlan)
    return replace(
        nic,
        isolation=nic.isolation if wanted.isolation is None else wanted.isolation,
        spoofing=wanted.spoofing or nic.spoofing,
        guards=",".join(sorted(on)) if wanted.guards else nic.guards,
    )


def _with_classic(nic: Adapter, rule: str) -> Adapter:
    if rule in nic.classic_acls:
        return nic
    key = classic_key(rule)
    for other in nic.classic_acls:
        if classic_key(other) == key:
            raise VmmRefused(f"{key} on adapter {nic.label} is another rule already: {other}")
    return replace(nic, classic_acls=(*nic.classic_acls, rule))


def _with_acl(host: HostState, nic: Adapter, acl: Acl) -> Adapter:
    if reason := rights(host):
        raise VmmRefused(reason)
    there = next((one for one in nic.acls if one.key == acl.key), None)
    if there == acl:
        return nic
    if there is not None:
        raise VmmRefused(
            f"{acl.direction} weight {acl.weight} on adapter {nic.label} is another rule already: "
            f"{there}"
        )
    return replace(nic, acls=(*nic.acls, acl))
