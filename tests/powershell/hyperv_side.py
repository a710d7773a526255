"""The Hyper-V cmdlets of one host on a simulated world."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from engine.errors import VmmError, VmmRefused, VmmUnavailable
from engine.model import Acl, Adapter, AdapterRepair, HyperVState, Repair
from engine.sim import judge, looks, network, views
from engine.sim.state import HostState, State, VmState

if TYPE_CHECKING:
    from tests.powershell.world_server import Call, Desk

Row = dict[str, Any]
Answer = dict[str, Any]
HV = "Microsoft.HyperV.PowerShell."
FIELDS = {
    "LocalIPAddress": "local_ip",
    "RemoteIPAddress": "remote_ip",
    "LocalPort": "local_port",
    "RemotePort": "remote_port",
    "Protocol": "protocol",
}
STATES = {HyperVState.OTHER: "Starting"}
JOB_STATES = {"completed": 7, "canceled": 8, "failed": 10}


def answer(desk: Desk, now: float, call: Call) -> Answer:
    """Hyper-V's answer to one cmdlet on that host. Raises ``VmmError``."""
    state = desk.world.state
    if call.cmdlet not in CMDLETS:
        raise VmmRefused(f"{call.cmdlet} is no cmdlet of Hyper-V")
    return CMDLETS[call.cmdlet](_Here(desk, state, state.host(call.shell), now), call)


def reach(state: State, now: float, host: str) -> None:
    """Raise ``VmmUnavailable`` if that host does not answer. VMM does not matter here."""
    if now < state.host(host).down_until:
        raise VmmUnavailable(f"The connection to {host} was lost")


class _Here:
    """One host at one instant."""

    def __init__(self, desk: Desk, state: State, host: HostState, now: float) -> None:
        self.desk, self.state, self.host, self.now = desk, state, host, now

    @property
    def own(self) -> str:
        """The id of the host's own adapter."""
        return f"Microsoft:{self.host.name}"

    def vms(self) -> list[VmState]:
        return [
            vm for vm in self.state.vms.values() if self.host.name in vm.hosts and not vm.deleted
        ]

    def adapter(self, call: Call) -> tuple[VmState, Adapter]:
        given = call.bound["VMNetworkAdapter"]
        (key,) = given if isinstance(given, list) else [given]
        for vm in self.vms():
            for nic in vm.nics:
                if nic.id == key:
                    return vm, nic
        raise VmmRefused("Hyper-V was unable to find the network adapter", code="ObjectNotFound")

    def repair(self, vm: VmState, one: AdapterRepair) -> Answer:
        if looks.is_moving_at(self.state, vm, self.host.name):
            text = "The operation cannot be performed while the object is in use."
            raise VmmError(text, code="ObjectInUse")
        judge.changed(self.state, self.now, vm, self.host.name)
        network.repair_ports(self.state, vm, Repair(self.host.name, (one,)))
        return _objects([])


def _objects(rows: Iterable[Row]) -> Answer:
    return {"objects": list(rows), "job": None}


def _vm_host(here: _Here, call: Call) -> Answer:
    short, _, domain = here.host.name.partition(".")
    full = domain if here.desk.quirks.domain_only else here.host.name
    row = {"type": HV + "VMHost", "Name": short.upper(), "ComputerName": short.upper()}
    row |= {"FullyQualifiedDomainName": full, "MaximumStorageMigrations": here.host.storage}
    return _objects([{**row, "MaximumVirtualMachineMigrations": here.host.live}])


def _vms(here: _Here, call: Call) -> Answer:
    found = here.vms()
    if "Id" in call.bound:
        wanted = call.bound["Id"].upper()
        found = [vm for vm in found if vm.id == wanted]
        if not found:
            text = f'Hyper-V was unable to find a virtual machine with id "{wanted}".'
            raise VmmRefused(text, code=here.desk.quirks.no_vm)
    return _objects(_vm(here, vm) for vm in found)


def _vm(here: _Here, vm: VmState) -> Row:
    words: tuple[str, ...] = views.operation_at_rest(vm, here.now)
    if looks.is_moving_at(here.state, vm, here.host.name):
        words = ("InService", "MigratingVirtualMachine")
    return {
        "type": HV + "VirtualMachine",
        "Id": vm.id,
        "Name": vm.name,
        "ComputerName": here.host.name,
        "State": STATES.get(vm.power, vm.power.value),
        "OperationalStatus": list(words),
        "PrimaryOperationalStatus": words[0],
        "SecondaryOperationalStatus": words[1] if len(words) > 1 else None,
        "ReplicationMode": "Replica" if "replica" in vm.spec.blocks else "None",
    }


def _cim(here: _Here, call: Call) -> Answer:
    assert call.bound["Namespace"] == "root/virtualization/v2"
    name = call.bound["ClassName"]
    return _objects({"type": f"VMFerry.Tests.Cim.{name}", **row} for row in CLASSES[name](here))


def _migration_jobs(here: _Here) -> Iterable[Row]:
    """Jobs of the source, ended ones for five minutes. VMM copies powered-down VMs without one."""
    for migration in (*here.state.over, *here.state.open):
        begun = migration.started is not None and migration.kind == "live"
        kept = migration.ended is None or here.now - migration.ended < 300
        if migration.source == here.host.name and begun and kept:
            yield {
                "VirtualSystemName": migration.vm_id,
                "DestinationHost": migration.destination,
                "JobState": JOB_STATES.get(migration.phase, 4),
                "PercentComplete": views.progress(migration, here.now),
            }


def _counters(here: _Here) -> Iterable[Row]:
    moving = [m for m in here.state.open if m.phase == "running" and m.kind == "live"]
    incoming = here.state.hyperv.incoming
    number = sum(
        one.touches(here.host.name) if incoming else one.source == here.host.name for one in moving
    )
    judge.pulsed(here.state, here.host, here.now)
    return [{"ActiveVirtualSystemMigrationCount": number, "ActiveStorageMigrationCount": number}]


def _maxima(here: _Here) -> Iterable[Row]:
    row = {"MaximumActiveVirtualSystemMigration": here.host.live}
    row["MaximumActiveStorageMigration"] = here.host.storage
    return [{**row, "EnableVirtualSystemMigration": True}]


def _adapters(here: _Here, call: Call) -> Answer:
    if call.bound.get("ManagementOS"):
        own = {"Id": here.own, "Name": "vEthernet", "SwitchName": "LS-Main", "Connected": True}
        return _objects([{"type": HV + "VMNetworkAdapter", **own}])
    keys = [key.upper() for key in call.bound["VM"]]
    vms = [vm for vm in here.vms() if vm.id in keys]
    return _objects(_adapter(vm, nic) for vm in vms for nic in vm.nics)


def _adapter(vm: VmState, nic: Adapter) -> Row:
    guards = (nic.guards or "").casefold()
    return {
        "type": HV + "VMNetworkAdapter",
        "Id": nic.id,
        "Name": "Network Adapter",
        "VMId": vm.id,
        "VMName": vm.name,
        "MacAddress": nic.mac.replace(":", ""),
        "SwitchName": nic.switch,
        "Connected": nic.connected,
        "MacAddressSpoofing": "On" if (nic.spoofing or "").casefold() == "on" else "Off",
        "DhcpGuard": "On" if "dhcp" in guards else "Off",
        "RouterGuard": "On" if "router" in guards else "Off",
    }


def _switches(here: _Here, call: Call) -> Answer:
    names = (*here.host.spec.switches, *views.unlisted_switches(here.state))
    return _objects({"type": HV + "VMSwitch", "Name": name} for name in names)


def _vlan(here: _Here, call: Call) -> Answer:
    _, nic = here.adapter(call)
    row: Row = {"type": HV + "VMNetworkAdapterVlanSetting", "OperationMode": "Untagged"}
    if nic.trunk:
        row |= {"OperationMode": "Trunk", "AllowedVlanIdList": list(nic.trunk)}
        row["NativeVlanId"] = nic.native_vlan
    elif nic.vlan:
        row |= {"OperationMode": "Access", "AccessVlanId": nic.vlan}
    return _objects([row])


def _isolation(here: _Here, call: Call) -> Answer:
    _, nic = here.adapter(call)
    row = {"type": HV + "VMNetworkAdapterIsolationSetting", "DefaultIsolationID": nic.isolation}
    return _objects([{**row, "IsolationMode": "Vlan" if nic.isolation else "None"}])


def _classic(here: _Here, call: Call) -> Answer:
    _, nic = here.adapter(call)
    kind = {"type": HV + "VMNetworkAdapterAclSetting"}
    rows: list[Row] = []
    for rule in nic.classic_acls:
        action, direction, *words = rule.split()
        sides = dict(zip(words[::2], words[1::2], strict=True))
        row = {"Action": action, "Direction": direction, "LocalAddress": sides.get("local", "")}
        rows.append({**kind, **row, "RemoteAddress": sides.get("remote", "")})
    if here.desk.quirks.metering:
        meter = {"Action": "Meter", "Direction": "Inbound", "LocalAddress": ""}
        rows.append({**kind, **meter, "RemoteAddress": "0.0.0.0/0"})
    return _objects(rows)


def _add_classic(here: _Here, call: Call) -> Answer:
    vm, nic = here.adapter(call)
    bound = call.bound
    words = [bound["Action"], bound["Direction"]]
    for side in ("Local", "Remote"):
        for kind in ("IPAddress", "MacAddress"):
            (address,) = bound.get(f"{side}{kind}", [""])
            words += [side.lower(), address] if address else []
    return here.repair(vm, AdapterRepair(nic.id, nic.mac, classic_acls=(" ".join(words),)))


def _set_isolation(here: _Here, call: Call) -> Answer:
    vm, nic = here.adapter(call)
    assert call.bound["IsolationMode"] == "Vlan"
    isolation = call.bound["DefaultIsolationID"]
    return here.repair(vm, AdapterRepair(nic.id, nic.mac, isolation=isolation))


def _set_adapter(here: _Here, call: Call) -> Answer:
    vm, nic = here.adapter(call)
    guards = {"DhcpGuard": "dhcp", "RouterGuard": "router"}
    on = ",".join(word for name, word in guards.items() if call.bound.get(name) == "On")
    spoofing = call.bound.get("MacAddressSpoofing")
    return here.repair(vm, AdapterRepair(nic.id, nic.mac, spoofing=spoofing, guards=on or None))


def _acls(here: _Here, call: Call) -> Answer:
    if call.bound["VMNetworkAdapter"] == [here.own]:
        return _objects([])
    _, nic = here.adapter(call)
    return _objects(_acl(here, acl) for acl in nic.acls)


def _acl(here: _Here, acl: Acl) -> Row:
    nothing = here.desk.quirks.any_word
    texts = {
        name: nothing if getattr(acl, field) == "ANY" else getattr(acl, field)
        for name, field in FIELDS.items()
    }
    return {
        "type": HV + "VMNetworkAdapterExtendedAclSetting",
        "Direction": acl.direction,
        "Action": acl.action,
        "Weight": acl.weight,
        "Stateful": acl.stateful,
        "IdleSessionTimeout": acl.idle_timeout if acl.stateful else 255,
        "IsolationID": acl.isolation_id,
        **texts,
    }


def _add_acl(here: _Here, call: Call) -> Answer:
    if reason := network.rights(here.host):
        raise VmmRefused(reason, code="AccessDenied")
    if call.whatif:
        return _objects([])
    vm, nic = here.adapter(call)
    bound = call.bound
    stateful = bool(bound.get("Stateful", False))
    acl = Acl(
        action=bound["Action"],
        direction=bound["Direction"],
        weight=bound["Weight"],
        stateful=stateful,
        idle_timeout=bound.get("IdleSessionTimeout", 255 if stateful else 0),
        isolation_id=bound.get("IsolationID", 0),
        **{field: bound.get(name, "ANY") for name, field in FIELDS.items()},
    )
    return here.repair(vm, AdapterRepair(nic.id, nic.mac, acls=(acl,)))


def _set_vlan(here: _Here, call: Call) -> Answer:
    vm, nic = here.adapter(call)
    if call.bound.get("Trunk"):
        trunk = tuple(int(one) for one in call.bound["AllowedVlanIdList"].split(","))
        native = call.bound["NativeVlanId"]
        return here.repair(vm, AdapterRepair(nic.id, nic.mac, trunk=trunk, native_vlan=native))
    return here.repair(vm, AdapterRepair(nic.id, nic.mac, vlan=call.bound.get("VlanId", 0)))


def _connect(here: _Here, call: Call) -> Answer:
    vm, nic = here.adapter(call)
    return here.repair(vm, AdapterRepair(nic.id, nic.mac, switch=call.bound["SwitchName"]))


CLASSES: dict[str, Callable[[_Here], Iterable[Row]]] = {
    "Msvm_MigrationJob": _migration_jobs,
    "Msvm_VirtualSystemMigrationService": _counters,
    "Msvm_VirtualSystemMigrationServiceSettingData": _maxima,
}
CMDLETS: dict[str, Callable[[_Here, Any], Answer]] = {
    "Get-VMHost": _vm_host,
    "Get-VM": _vms,
    "Get-VMSwitch": _switches,
    "Get-CimInstance": _cim,
    "Get-VMNetworkAdapter": _adapters,
    "Get-VMNetworkAdapterVlan": _vlan,
    "Get-VMNetworkAdapterIsolation": _isolation,
    "Set-VMNetworkAdapterIsolation": _set_isolation,
    "Set-VMNetworkAdapter": _set_adapter,
    "Get-VMNetworkAdapterAcl": _classic,
    "Add-VMNetworkAdapterAcl": _add_classic,
    "Get-VMNetworkAdapterExtendedAcl": _acls,
    "Add-VMNetworkAdapterExtendedAcl": _add_acl,
    "Set-VMNetworkAdapterVlan": _set_vlan,
    "Connect-VMNetworkAdapter": _connect,
}
