"""Networks of VMs: adapters, extended ACLs, differences from a baseline, repairs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

_CLASSIC = re.compile(r"(allow|deny) (inbound|outbound)(?: local (\S+))?(?: remote (\S+))?", re.I)


@dataclass(frozen=True)
class Acl:
    """One Hyper-V extended ACL. Direction and weight identify it on its adapter."""

    action: str
    direction: str
    weight: int
    local_ip: str = "ANY"
    remote_ip: str = "ANY"
    local_port: str = "ANY"
    remote_port: str = "ANY"
    protocol: str = "ANY"
    stateful: bool = False
    idle_timeout: int = 0
    isolation_id: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """Direction and weight, which are unique on one adapter."""
        return (self.direction, self.weight)

    def __str__(self) -> str:
        parts = [f"{self.direction} {self.action} weight {self.weight}"]
        if self.protocol != "ANY":
            parts.append(self.protocol)
        parts.append(f"local {self.local_ip}{_port(self.local_port)}")
        parts.append(f"remote {self.remote_ip}{_port(self.remote_port)}")
        if self.stateful:
            parts.append("stateful")
        return ", ".join(parts)


def _port(port: str) -> str:
    return "" if port == "ANY" else f":{port}"


def classic_rule(text: str) -> str | None:
    """Normalise a classic port rule: ``Allow Inbound remote 10.0.0.0/8``. Idempotent.

    Returns ``None`` for a rule that VMFerry cannot restore. Addresses are IP or MAC. A side that
    allows any address is left out. If both do, the rule ends with ``remote ANY``.
    """
    found = _CLASSIC.fullmatch(" ".join(text.split()))
    if found is None or not (found[3] or found[4]):
        return None
    sides = [("local", (found[3] or "ANY").upper()), ("remote", (found[4] or "ANY").upper())]
    remote = [f"{side} {address}" for side, address in sides if address not in ("ANY", "*")]
    return " ".join((found[1].capitalize(), found[2].capitalize(), *(remote or ["remote ANY"])))


def classic_key(rule: str) -> str:
    """Return the part of a classic rule that is unique on one adapter: all but the action."""
    return rule.partition(" ")[2]


def guards_of(text: str | None) -> set[str]:
    """Split ``dhcp,router`` into its guards, in lower case."""
    return {word.strip().casefold() for word in (text or "").split(",")} - {""}


@dataclass(frozen=True)
class Adapter:
    """One virtual network adapter, with the settings of VMM and of Hyper-V.

    ``network`` is the VM network, ``switch`` the virtual switch (``None``: disconnected).
    ``vlan`` 0 is untagged. ``trunk`` lists the allowed VLANs of a trunk; empty: no trunk.
    ``classic_acls`` are Hyper-V's older port rules as text, without metering rules: see
    ``classic_rule``. ``spoofing`` is ``On`` or ``None``. ``guards`` lists the guards that are on,
    such as ``dhcp,router``.
    """

    id: str
    mac: str = ""
    network: str | None = None
    subnet: str | None = None
    switch: str | None = None
    vlan: int = 0
    trunk: tuple[int, ...] = ()
    native_vlan: int = 0
    isolation: int = 0
    connected: bool = True
    classification: str | None = None
    port_acl: str | None = None
    spoofing: str | None = None
    guards: str | None = None
    acls: tuple[Acl, ...] = ()
    classic_acls: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name for people: the adapter's MAC, else its id."""
        return self.mac or self.id


MODELLED = ("network", "subnet", "classification", "port_acl")
"""Settings of an adapter that only VMM keeps: VMM's half. The others are Hyper-V's."""
Half = Literal["ports", "models"]
"""Hyper-V's half of a network, or VMM's."""


@dataclass(frozen=True)
class Network:
    """The adapters of one VM, with all settings that a move must keep."""

    adapters: tuple[Adapter, ...] = ()


def join_halves(ports: Network, models: Network) -> Network:
    """Join Hyper-V's half of a network with VMM's, matched by id, else by a MAC that is unique on
    both sides and not zero."""
    by_id = {one.id.casefold(): one for one in models.adapters}
    by_mac = {_mac(one): one for one in models.adapters}
    times = Counter(map(_mac, models.adapters))
    here = Counter(map(_mac, ports.adapters))
    joined = []
    for port in ports.adapters:
        mac = _mac(port)
        is_unique = mac.strip("0") != "" and times[mac] == 1 and here[mac] == 1
        model = by_id.get(port.id.casefold()) or (by_mac[mac] if is_unique else None)
        joined.append(port if model is None else _modelled(port, model))
    return Network(tuple(joined))


def _modelled(port: Adapter, model: Adapter) -> Adapter:
    return replace(port, **{name: getattr(model, name) for name in MODELLED})


def _mac(adapter: Adapter) -> str:
    return adapter.mac.replace(":", "").replace("-", "").upper()


@dataclass(frozen=True)
class Difference:
    """One difference from the baseline. ``what`` is a word of the public contract (acl, network,
    switch, vlan, adapter, ...). ``repairable``: VMFerry can put the saved value back."""

    adapter: str
    what: str
    value: str
    found: str = ""
    repairable: bool = False

    def __str__(self) -> str:
        """Text of the difference without its adapter: ``vlan 10 (found untagged)``."""
        found = f" (found {self.found})" if self.found else ""
        return f"{self.what} {self.value}{found}"


@dataclass(frozen=True)
class AdapterRepair:
    """Settings to restore on one adapter of one VM. ``None`` or empty: leave the setting alone.

    ``adapter_id`` is the id on the VM's current host. ``guards`` lists the guards to turn on;
    no guard is ever turned off.
    """

    adapter_id: str
    mac: str = ""
    network: str | None = None
    switch: str | None = None
    vlan: int | None = None
    trunk: tuple[int, ...] = ()
    native_vlan: int = 0
    acls: tuple[Acl, ...] = ()
    subnet: str | None = None
    classification: str | None = None
    port_acl: str | None = None
    isolation: int | None = None
    spoofing: str | None = None
    guards: str | None = None
    classic_acls: tuple[str, ...] = ()

    @property
    def is_modelled(self) -> bool:
        """True if VMM has to restore part of this adapter, so that its model agrees. Trunks are
        Hyper-V's alone."""
        is_plugged = self.switch or (self.vlan is not None and not self.trunk)
        return bool(
            self.network or is_plugged or self.subnet or self.classification or self.port_acl
        )

    @property
    def is_port(self) -> bool:
        """True if Hyper-V has to restore part of this adapter."""
        return self.port != AdapterRepair(self.adapter_id, self.mac)

    @property
    def port(self) -> AdapterRepair:
        """The part that Hyper-V has to restore."""
        return replace(self, network=None, subnet=None, classification=None, port_acl=None)


@dataclass(frozen=True)
class Repair:
    """Settings to restore on the adapters of one VM, most urgent adapter first."""

    host: str
    adapters: tuple[AdapterRepair, ...] = ()
