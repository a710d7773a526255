"""Differences between a VM's network before and after a move, and their repair.

After every attempt, the VM's network is read wherever the VM is, and compared with the saved one
(baseline). Rules:

* Adapters match by id, else by a MAC that is unique and not zero on both sides. An adapter without
  a match is reported as missing.
* Only missing settings count. Rules and adapters that somebody added since are left alone.
* A rule with the same key (adapter, direction, weight) but another body is reported and never
  overwritten.
* A repair never connects an adapter that was saved as disconnected. Changes to its subnet, port
  classification and port ACL are reported.
* A changed MAC is reported, because it cannot be changed while the VM runs.
* Settings that cannot be restored exactly are reported: virtual subnets of network virtualisation,
  and values that VMFerry does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from engine.model import (
    MODELLED,
    Acl,
    Adapter,
    AdapterRepair,
    Difference,
    MoveRecord,
    Network,
    Repair,
    classic_key,
    classic_rule,
    guards_of,
    join_halves,
)

_ZERO_MAC = {"", "000000000000"}
_GUARDS = {"dhcp", "router"}
_LAST_VLAN = 4094
"""Highest isolation id that is a VLAN. A higher one is a virtual subnet: only VMM can set it."""

_TEXTS = ("subnet", "classification", "port_acl", "spoofing", "guards")


def compare(saved: Network, found: Network) -> tuple[Difference, ...]:
    """List the settings of ``saved`` that ``found`` lacks, by adapter; empty: nothing was lost."""
    differences: list[Difference] = []
    for adapter, now in match(saved, found):
        if now is None:
            differences.append(Difference(adapter.label, "adapter", adapter.label, "none"))
            continue
        differences.extend(_compare_connection(adapter, now))
        differences.extend(_compare_settings(adapter, now))
        differences.extend(_compare_classic(adapter, now))
        differences.extend(_compare_acls(adapter, now))
    return tuple(differences)


def repair(host: str, saved: Network, found: Network) -> Repair:
    """Repair of ``found`` on ``host``, as far as ``saved`` can be restored; adapters that need none
    are left out. Allow rules come first, by falling weight, so that the VM is cut off no longer
    than needed."""
    adapters = []
    for adapter, now in match(saved, found):
        if now is None:
            continue
        one = _repair_adapter(adapter, now)
        if one is not None:
            adapters.append(one)
    return Repair(host, tuple(adapters))


def repair_ports(host: str, saved: Network, ports: Network) -> Repair:
    """Repair of Hyper-V's half, as :func:`repair`; VMM's is not known."""
    whole = repair(host, saved, assume_models(saved, ports))
    return Repair(host, tuple(one.port for one in whole.adapters if one.is_port))


def repair_models(
    host: str, saved: Network, found: Network, replugged: Collection[tuple[str, str]] = ()
) -> Repair:
    """Repair of VMM's half. ``replugged``: adapters (labels) whose switch or VLAN was restored in
    Hyper-V and that VMM does not know yet."""
    adapters = []
    for adapter, now in match(saved, found):
        if now is None:
            continue
        none = AdapterRepair(now.id, now.mac)
        lost = _repair_adapter(adapter, now) or none
        one = replace(none, **{name: getattr(lost, name) for name in MODELLED})
        if (adapter.label, "switch") in replugged:
            one = replace(one, switch=adapter.switch)
        if (adapter.label, "vlan") in replugged and not adapter.trunk:  # trunks are Hyper-V's alone
            one = replace(one, vlan=adapter.vlan)
        if one != none:
            adapters.append(one)
    return Repair(host, tuple(adapters))


def assume_models(saved: Network, ports: Network) -> Network:
    """Hyper-V's half with VMM's half as it was saved: what to compare while VMM's is not known."""
    known = {now.id: adapter for adapter, now in match(saved, ports) if now is not None}
    return Network(
        tuple(
            replace(now, **{name: getattr(known.get(now.id, now), name) for name in MODELLED})
            for now in ports.adapters
        )
    )


def found(record: MoveRecord) -> Network:
    """The network that was last read, both halves; VMM's as saved if it was not read."""
    saved, ports, models = record.baseline, record.ports, record.models
    if ports is None:
        return Network()
    if models is not None:
        return join_halves(ports.network, models.network)
    return assume_models(saved.network, ports.network) if saved else ports.network


def pinned(saved: Network) -> Network:
    """Connected adapters of ``saved``, to bind into the job of a powered-down VM."""
    return Network(tuple(a for a in saved.adapters if _is_connected(a)))


def match(saved: Network, found: Network) -> Iterator[tuple[Adapter, Adapter | None]]:
    """Pair each saved adapter with its match in ``found``, or with ``None``."""
    by_id = {a.id: a for a in found.adapters}
    saved_macs = Counter(_mac(a) for a in saved.adapters)
    found_macs = Counter(_mac(a) for a in found.adapters)
    taken = {a.id for a in saved.adapters}
    by_mac = {_mac(a): a for a in found.adapters if a.id not in taken}
    for adapter in saved.adapters:
        mac = _mac(adapter)
        unique = mac not in _ZERO_MAC and saved_macs[mac] == 1 and found_macs[mac] == 1
        yield adapter, by_id.get(adapter.id) or (by_mac.get(mac) if unique else None)


def _mac(adapter: Adapter) -> str:
    """MAC in one spelling: VMM writes ``00:1D:D8:..``, Hyper-V ``001DD8..``."""
    return adapter.mac.replace(":", "").replace("-", "").upper()


def _is_connected(adapter: Adapter) -> bool:
    return adapter.connected and adapter.switch is not None


def _compare_connection(saved: Adapter, now: Adapter) -> Iterator[Difference]:
    label = saved.label
    if _is_connected(saved):
        if not _is_connected(now) or now.switch != saved.switch:
            found = _spell(now.switch if _is_connected(now) else None)
            yield Difference(label, "switch", str(saved.switch), found, True)
        if saved.network is not None and now.network != saved.network:
            yield Difference(label, "network", saved.network, _spell(now.network), True)
    elif _is_connected(now):
        yield Difference(label, "switch", "disconnected", _spell(now.switch))
    if _vlan(saved) != _vlan(now):
        yield Difference(label, "vlan", _vlan(saved), _vlan(now), True)
    if _mac(saved) not in _ZERO_MAC and _mac(saved) != _mac(now):
        yield Difference(label, "mac", saved.mac, _spell(now.mac))


def _compare_settings(saved: Adapter, now: Adapter) -> Iterator[Difference]:
    if saved.isolation and saved.isolation != now.isolation:
        can = saved.isolation <= _LAST_VLAN
        yield Difference(saved.label, "isolation", str(saved.isolation), str(now.isolation), can)
    for field, wanted in _lost_texts(saved, now).items():
        was, found = getattr(saved, field), _spell(getattr(now, field))
        yield Difference(saved.label, field, was, found, wanted is not None)


def _lost_texts(saved: Adapter, now: Adapter) -> dict[str, str | None]:
    """Settings that are not as saved, each with the value to restore; ``None``: impossible."""
    lost: dict[str, str | None] = {}
    for field in _TEXTS:
        was: str | None = getattr(saved, field)
        is_: str | None = getattr(now, field)
        match field:
            case "guards":
                if missing := guards_of(was) - guards_of(is_):
                    lost[field] = ",".join(sorted(missing)) if missing <= _GUARDS else None
            case "spoofing":
                if was and was.casefold() != (is_ or "").casefold():
                    lost[field] = "On" if was.casefold() == "on" else None
            case _:
                if was and was != is_:
                    lost[field] = was if _is_connected(saved) else None
    return lost


def _spell(value: object) -> str:
    return "none" if value is None or value == "" else str(value)


def _vlan(adapter: Adapter) -> str:
    """The VLAN setting in words, so that a trunk never equals an access port."""
    if adapter.trunk:
        return f"trunk {','.join(map(str, adapter.trunk))} native {adapter.native_vlan}"
    return str(adapter.vlan) if adapter.vlan else "untagged"


def _compare_classic(saved: Adapter, now: Adapter) -> Iterator[Difference]:
    for rule in _lost_classic(saved, now):
        other = _other_classic(rule, now)
        found = f"another rule there: {other}" if other else ""
        can = other is None and classic_rule(rule) == rule
        yield Difference(saved.label, "classic_acl", rule, found, can)


def _lost_classic(saved: Adapter, now: Adapter) -> tuple[str, ...]:
    return tuple(rule for rule in saved.classic_acls if rule not in now.classic_acls)


def _other_classic(rule: str, now: Adapter) -> str | None:
    """Rule of ``now`` with the same key, or ``None``."""
    key = classic_key(rule)
    return next((other for other in now.classic_acls if classic_key(other) == key), None)


def _missing_classic(saved: Adapter, now: Adapter) -> tuple[str, ...]:
    """Missing classic rules that can be restored; Allow comes first, as with extended rules."""
    lost = _lost_classic(saved, now)
    can = [r for r in lost if _other_classic(r, now) is None and classic_rule(r) == r]
    return tuple(sorted(can, key=lambda rule: not rule.startswith("Allow")))


def _compare_acls(saved: Adapter, now: Adapter) -> Iterator[Difference]:
    bodies = Counter(now.acls)
    keys = {acl.key: acl for acl in now.acls}
    for acl in saved.acls:
        if bodies[acl] > 0:
            bodies[acl] -= 1
            continue
        other = keys.get(acl.key)
        if other is None:
            yield Difference(saved.label, "acl", str(acl), repairable=True)
        else:
            yield Difference(saved.label, "acl", str(acl), f"another rule there: {other}")


def _missing_acls(saved: Adapter, now: Adapter) -> tuple[Acl, ...]:
    keys = {acl.key for acl in now.acls}
    missing = [acl for acl in saved.acls if acl not in now.acls and acl.key not in keys]
    return tuple(sorted(missing, key=lambda a: (a.action != "Allow", -a.weight, a.direction)))


def _repair_adapter(saved: Adapter, now: Adapter) -> AdapterRepair | None:
    acls = _missing_acls(saved, now)
    connected = _is_connected(saved)
    astray = not _is_connected(now) or now.switch != saved.switch
    switch = saved.switch if connected and astray else None
    network = saved.network if connected and now.network != saved.network else None
    wrong_vlan = _vlan(saved) != _vlan(now)
    isolated = 0 < saved.isolation <= _LAST_VLAN and saved.isolation != now.isolation
    texts: dict[str, Any] = {**_lost_texts(saved, now)}
    one = AdapterRepair(
        adapter_id=now.id,
        mac=now.mac,
        network=network,
        switch=switch,
        vlan=saved.vlan if wrong_vlan else None,
        trunk=saved.trunk if wrong_vlan else (),
        native_vlan=saved.native_vlan if wrong_vlan else 0,
        acls=acls,
        isolation=saved.isolation if isolated else None,
        classic_acls=_missing_classic(saved, now),
        **texts,
    )
    return None if one == AdapterRepair(now.id, now.mac) else one
