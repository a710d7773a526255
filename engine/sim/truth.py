"""The true state of the world in the words of the fleet file: ``fleet`` of the JSON documents."""

from __future__ import annotations

from dataclasses import asdict

from engine.language.grammar import spell_duration
from engine.model import Adapter
from engine.sim.state import HostState, State, VmState, places
from engine.sim.views import true_status

TEXTS = ("subnet", "classification", "port_acl", "spoofing", "guards")


def truth(state: State) -> dict[str, list[dict[str, object]]]:
    """Hosts and VMs as they really are, with VMM's view."""
    there = [vm for vm in state.vms.values() if not vm.deleted]
    return {
        "host": [_host(host) for host in state.hosts.values()],
        "vm": [_vm(state, vm) for vm in there],
    }


def _host(host: HostState) -> dict[str, object]:
    told = {**asdict(host.spec), "live": host.live, "storage": host.storage}
    skew = told.pop("clock_skew")
    if skew:
        told["clock_skew"] = f"{'-' if skew < 0 else ''}{spell_duration(abs(skew))}"
    return told


def _vm(state: State, vm: VmState) -> dict[str, object]:
    """One VM. ``hosts`` is present only if the VM is not on exactly one host."""
    spec = vm.spec
    found: dict[str, object] = {
        "name": vm.name,
        "host": (places(vm) or [spec.host])[0],
        "id": vm.id,
        "status": true_status(state, vm),
        "memory_gb": spec.memory_gb,
        "disk_gb": spec.disk_gb,
        "backup": [
            [spell_duration(begin - state.start), spell_duration(end - state.start)]
            for begin, end in vm.backups
        ],
        "blocks": list(spec.blocks),
        "nic": [_nic(nic) for nic in vm.nics],
        "vmm_host": vm.vmm_host,
        "vmm_status": vm.vmm_status,
    }
    if spec.minutes is not None:
        found["minutes"] = spec.minutes
    if len(vm.hosts) != 1:
        found["hosts"] = list(vm.hosts)
    return found


def _nic(nic: Adapter) -> dict[str, object]:
    lan: dict[str, object] = {"vlan": nic.vlan}
    if nic.trunk:
        lan = {"trunk": list(nic.trunk), "native_vlan": nic.native_vlan}
    texts = {key: getattr(nic, key) for key in TEXTS if getattr(nic, key) is not None}
    return {
        "mac": nic.mac,
        "network": nic.network,
        "switch": nic.switch,
        "isolation": nic.isolation,
        "connected": nic.connected,
        "acl": [asdict(acl) for acl in nic.acls],
        **({"classic_acl": list(nic.classic_acls)} if nic.classic_acls else {}),
        **lan,
        **texts,
    }
