"""Networks: which differences count as lost, which are restored, and that a repair is complete."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Acl, Adapter, AdapterRepair, Network, Repair, classic_rule
from engine.policy.judging.network import compare, match, pinned, repair

HOST = "hv02.corp.example"
MAC = "00:1D:D8:B7:1C:00"
ALLOW = Acl("Allow", "Inbound", 10)
DENY = Acl("Deny", "Inbound", 20)
SAVED = Adapter("nic-1", MAC, "VM-Net-10", None, "LS-Main", 10, acls=(ALLOW, DENY))


def net(*adapters: Adapter) -> Network:
    return Network(adapters)


def differences(saved: Adapter, found: Adapter) -> list[tuple[str, str, str, bool]]:
    return [(d.what, d.value, d.found, d.repairable) for d in compare(net(saved), net(found))]


# --- which adapter is which ----------------------------------------------------------------

A = Adapter("a", "001DD8B71C01")
B = Adapter("b", "001DD8B71C02")


@pytest.mark.parametrize(
    ("saved", "found", "pairs"),
    [
        pytest.param((A, B), (B, A), {"a": "a", "b": "b"}, id="by id, in any order"),
        pytest.param(
            (A,), (replace(A, mac="001DD8B71CFF"),), {"a": "a"}, id="by id, whatever the MAC says"
        ),
        pytest.param((A,), (replace(A, id="new"),), {"a": "new"}, id="by a unique MAC"),
        pytest.param(
            (replace(A, mac="00:1d:d8:b7:1c:01"),),
            (replace(A, id="new", mac="00-1D-D8-B7-1C-01"),),
            {"a": "new"},
            id="MACs however they are written",
        ),
        pytest.param((A,), (), {"a": None}, id="gone"),
        pytest.param((A,), (B,), {"a": None}, id="neither id nor MAC"),
        pytest.param(
            (replace(A, mac="00:00:00:00:00:00"),),
            (replace(A, id="new", mac="000000000000"),),
            {"a": None},
            id="a zero MAC is nobody's",
        ),
        pytest.param(
            (replace(A, mac=""),), (replace(A, id="new", mac=""),), {"a": None}, id="no MAC at all"
        ),
        pytest.param(
            (A, replace(B, mac=A.mac)),
            (replace(A, id="new"),),
            {"a": None, "b": None},
            id="a MAC saved twice",
        ),
        pytest.param(
            (A,),
            (replace(A, id="new"), replace(A, id="newer")),
            {"a": None},
            id="a MAC found twice",
        ),
    ],
)
def test_adapters_are_matched_by_id_and_then_by_a_unique_mac(saved, found, pairs):
    matched = match(net(*saved), net(*found))

    assert {was.id: now.id if now else None for was, now in matched} == pairs


def test_one_adapter_never_matches_two_saved_adapters():
    """The adapter that kept its id has the MAC of a removed one."""
    found = net(replace(A, mac=B.mac))

    assert [now.id if now else None for _, now in match(net(A, B), found)] == ["a", None]


def test_a_missing_adapter_is_reported_and_not_recreated():
    [difference] = compare(net(SAVED), net())

    assert (difference.what, difference.value, difference.repairable) == ("adapter", MAC, False)
    assert repair(HOST, net(SAVED), net()) == Repair(HOST)


# --- what is compared ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({}, [], id="as saved"),
        pytest.param({"acls": (DENY, ALLOW)}, [], id="rules in another order"),
        pytest.param(
            {"acls": (ALLOW, DENY, Acl("Allow", "Outbound", 99))}, [], id="somebody added a rule"
        ),
        pytest.param({"acls": (DENY,)}, [("acl", str(ALLOW), "", True)], id="a rule is gone"),
        pytest.param(
            {"acls": ()},
            [("acl", str(ALLOW), "", True), ("acl", str(DENY), "", True)],
            id="all rules are gone",
        ),
        pytest.param(
            {"acls": (ALLOW, Acl("Allow", "Inbound", 20))},
            [("acl", str(DENY), "another rule there: Inbound Allow weight 20, local ANY, "
              "remote ANY", False)],
            id="another rule under the same key",
        ),
        pytest.param(
            {"acls": (ALLOW, replace(DENY, direction="Outbound"))},
            [("acl", str(DENY), "", True)],
            id="the same weight in the other direction is another key",
        ),
        pytest.param(
            {"network": "VM-Net-20"},
            [("network", "VM-Net-10", "VM-Net-20", True)],
            id="on another VM network",
        ),
        pytest.param(
            {"network": None}, [("network", "VM-Net-10", "none", True)], id="off its VM network"
        ),
        pytest.param(
            {"switch": None, "network": None},
            [("switch", "LS-Main", "none", True), ("network", "VM-Net-10", "none", True)],
            id="disconnected",
        ),
        pytest.param({"vlan": 20}, [("vlan", "10", "20", True)], id="on another VLAN"),
        pytest.param({"vlan": 0}, [("vlan", "10", "untagged", True)], id="untagged"),
        pytest.param(
            {"trunk": (10, 20), "native_vlan": 10},
            [("vlan", "10", "trunk 10,20 native 10", True)],
            id="a trunk instead of an access port",
        ),
        pytest.param({"native_vlan": 5}, [], id="a native VLAN without a trunk says nothing"),
        pytest.param(
            {"mac": "001DD8B71C77"},
            [("mac", MAC, "001DD8B71C77", False)],
            id="another MAC on the same adapter",
        ),
        pytest.param({"mac": "001dd8b71c00"}, [], id="the same MAC, written otherwise"),
        pytest.param({"mac": "000000000000"}, [("mac", MAC, "000000000000", False)], id="no MAC"),
    ],
)  # fmt: skip
def test_only_missing_settings_are_a_difference(change, told):
    assert differences(SAVED, replace(SAVED, **change)) == told


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ({"trunk": (1, 2), "native_vlan": 1}, {"trunk": (1, 2), "native_vlan": 1}, []),
        ({"trunk": (1, 2)}, {"trunk": (1,)}, [("vlan", "trunk 1,2 native 0", "trunk 1 native 0")]),
        ({"trunk": (7,)}, {"vlan": 7}, [("vlan", "trunk 7 native 0", "7")]),
        (
            {"trunk": (1, 2), "native_vlan": 1},
            {"trunk": (1, 2), "native_vlan": 2},
            [("vlan", "trunk 1,2 native 1", "trunk 1,2 native 2")],
        ),
    ],
)
def test_a_changed_trunk_or_access_vlan_is_a_difference(was, now, told):
    saved, found = Adapter("a", switch="LS", **was), Adapter("a", switch="LS", **now)

    assert [d[:3] for d in differences(saved, found)] == told


@pytest.mark.parametrize("zero", ["", "000000000000", "00:00:00:00:00:00"])
def test_a_mac_that_is_not_assigned_yet_is_no_difference(zero):
    assert differences(replace(SAVED, mac=zero), SAVED) == []


@pytest.mark.parametrize(
    ("was", "now", "put_back"),
    [
        pytest.param({"subnet": "Sub-10"}, {}, {"subnet": "Sub-10"}, id="subnet"),
        pytest.param(
            {"subnet": "Sub-10"}, {"subnet": "Sub-11"}, {"subnet": "Sub-10"}, id="another subnet"
        ),
        pytest.param({"classification": "Fast"}, {}, {"classification": "Fast"}, id="class"),
        pytest.param({"port_acl": "Web"}, {}, {"port_acl": "Web"}, id="port ACL"),
        pytest.param({"isolation": 7}, {}, {"isolation": 7}, id="isolation"),
        pytest.param({"isolation": 4094}, {"isolation": 7}, {"isolation": 4094}, id="another id"),
        pytest.param({"spoofing": "On"}, {}, {"spoofing": "On"}, id="spoofing"),
        pytest.param({"guards": "dhcp,router"}, {}, {"guards": "dhcp,router"}, id="both guards"),
        pytest.param(
            {"guards": "dhcp,router"}, {"guards": "dhcp"}, {"guards": "router"}, id="one guard"
        ),
    ],
)
def test_a_lost_setting_is_restored_and_nothing_else_is_changed(was, now, put_back):
    saved, found = replace(SAVED, **was), replace(SAVED, **now)
    [(what, value, shown, repairable)] = differences(saved, found)
    [(field, before)] = was.items()

    assert (what, value, repairable) == (field, str(before), True)
    assert shown == str(now.get(field, 0 if field == "isolation" else "none"))
    [one] = repair(HOST, net(saved), net(found)).adapters
    assert one == AdapterRepair("nic-1", MAC, **put_back)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({}, {"subnet": "S", "classification": "C", "port_acl": "P", "isolation": 9}),
        ({}, {"spoofing": "On", "guards": "dhcp", "classic_acls": ("Deny Inbound remote ANY",)}),
        ({"guards": "dhcp"}, {"guards": "dhcp,router"}),
        ({"guards": "router,dhcp"}, {"guards": "dhcp,router"}),
        ({"spoofing": "on"}, {"spoofing": "On"}),
    ],
)
def test_settings_changed_by_others_since_the_baseline_are_kept(was, now):
    saved, found = replace(SAVED, **was), replace(SAVED, **now)

    assert differences(saved, found) == []
    assert repair(HOST, net(saved), net(found)) == Repair(HOST)


@pytest.mark.parametrize(
    "was",
    [
        pytest.param({"isolation": 4095}, id="a virtual subnet is VMM's to give"),
        pytest.param({"spoofing": "sometimes"}, id="a word for spoofing that we do not know"),
        pytest.param({"guards": "dhcp,ra"}, id="a guard that we do not know"),
        pytest.param({"classic_acls": ("Allow Inbound",)}, id="a rule without an address"),
        pytest.param({"classic_acls": ("4 Inbound remote ANY",)}, id="a rule of a new kind"),
    ],
)
def test_an_unrepairable_difference_is_reported_and_left_alone(was):
    saved = replace(SAVED, **was)
    [difference] = compare(net(saved), net(SAVED))

    assert not difference.repairable
    assert repair(HOST, net(saved), net(SAVED)) == Repair(HOST)


@pytest.mark.parametrize("field", ["subnet", "classification", "port_acl"])
def test_a_repair_adds_no_subnet_class_or_port_acl_to_a_disconnected_adapter(field):
    """VMM connects an adapter that is given a VM subnet."""
    unplugged = replace(SAVED, switch=None, network=None)
    saved = replace(unplugged, **{field: "was"})

    assert differences(saved, unplugged) == [(field, "was", "none", False)]
    assert repair(HOST, net(saved), net(unplugged)) == Repair(HOST)


# --- classic rules -------------------------------------------------------------------------

CLASSIC = "Allow Inbound remote 10.0.0.0/8"
STOP = "Deny Outbound local 00-15-5D-00-00-01"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (CLASSIC, CLASSIC),
        (STOP, STOP),
        ("  allow   INBOUND Remote 10.0.0.0/8 ", CLASSIC),
        ("deny outbound local 00-15-5d-00-00-01", STOP),
        ("Deny Inbound remote any", "Deny Inbound remote ANY"),
        ("Deny Inbound local * remote *", "Deny Inbound remote ANY"),
        ("Allow Inbound local ANY remote fe80::1", "Allow Inbound remote FE80::1"),
        ("Allow Inbound local 10.0.0.1 remote 10.0.0.2",) * 2,
        ("Meter Inbound remote ANY", None),
        ("Allow Both remote ANY", None),
        ("Allow Inbound", None),
        ("Allow Inbound remote", None),
        ("Allow Inbound remote 10.0.0.1 local 10.0.0.2", None),
        ("Allow Inbound remote 10.0.0.1 10.0.0.2", None),
    ],
)
def test_every_spelling_of_a_classic_rule_is_normalised(text, rule):
    assert classic_rule(text) == rule


@pytest.mark.parametrize(
    ("found", "told", "put_back"),
    [
        pytest.param((STOP, CLASSIC), [], (), id="in another order"),
        pytest.param((STOP,), [(CLASSIC, "", True)], (CLASSIC,), id="one is gone"),
        pytest.param(
            (), [(STOP, "", True), (CLASSIC, "", True)], (CLASSIC, STOP), id="Allow first"
        ),
        pytest.param(
            (STOP, "Deny Inbound remote 10.0.0.0/8"),
            [(CLASSIC, "another rule there: Deny Inbound remote 10.0.0.0/8", False)],
            (),
            id="another action for the same address is never overwritten",
        ),
        pytest.param(
            (STOP, "Allow Outbound remote 10.0.0.0/8"),
            [(CLASSIC, "", True)],
            (CLASSIC,),
            id="the other direction is another key",
        ),
    ],
)
def test_a_repair_only_adds_classic_rules(found, told, put_back):
    saved = replace(SAVED, classic_acls=(STOP, CLASSIC))
    now = replace(SAVED, classic_acls=found)

    assert differences(saved, now) == [("classic_acl", *one) for one in told]
    repairs = repair(HOST, net(saved), net(now)).adapters
    assert tuple(rule for one in repairs for rule in one.classic_acls) == put_back


@pytest.mark.parametrize(
    "unplugged",
    [
        pytest.param({"switch": None}, id="no switch"),
        pytest.param({"connected": False}, id="switched off"),
    ],
)
def test_a_disconnected_adapter_stays_disconnected(unplugged):
    """Connected by somebody since: reported. Still disconnected elsewhere: fine."""
    saved = replace(SAVED, network=None, **unplugged)

    assert differences(saved, SAVED) == [("switch", "disconnected", "LS-Main", False)]
    assert repair(HOST, net(saved), net(SAVED)) == Repair(HOST)
    elsewhere = replace(saved, switch=None, connected=True)
    assert differences(saved, elsewhere) == []
    assert repair(HOST, net(saved), net(elsewhere)) == Repair(HOST)


def test_an_adapter_that_lost_its_connection_is_a_difference():
    assert differences(SAVED, replace(SAVED, connected=False)) != []


def test_lost_rules_of_a_disconnected_adapter_are_restored():
    saved = replace(SAVED, switch=None, network=None)
    found = replace(saved, acls=())
    [one] = repair(HOST, net(saved), net(found)).adapters

    assert (one.acls, one.switch, one.network) == ((ALLOW, DENY), None, None)


def test_a_pin_holds_only_connected_adapters():
    plugged, unplugged = Adapter("a", switch="LS"), Adapter("b", switch=None)
    switched_off = Adapter("c", switch="LS", connected=False)

    assert pinned(net(plugged, unplugged, switched_off)) == net(plugged)


# --- what is put back ----------------------------------------------------------------------


def test_a_repair_uses_the_current_id_of_the_adapter():
    [one] = repair(HOST, net(SAVED), net(replace(SAVED, id="new", acls=()))).adapters

    assert (one.adapter_id, one.mac) == ("new", MAC)


def test_a_rule_under_the_same_key_is_never_overwritten():
    found = replace(SAVED, acls=(Acl("Allow", "Inbound", 20),))
    [one] = repair(HOST, net(SAVED), net(found)).adapters

    assert one.acls == (ALLOW,)


def test_a_repair_adds_allow_before_deny_and_heavier_rules_first():
    rules = tuple(
        Acl(action, direction, weight)
        for action, direction, weight in [
            ("Deny", "Inbound", 90),
            ("Allow", "Inbound", 10),
            ("Deny", "Outbound", 95),
            ("Allow", "Outbound", 30),
            ("Allow", "Inbound", 30),
        ]
    )
    saved = replace(SAVED, acls=rules)
    [one] = repair(HOST, net(saved), net(replace(saved, acls=()))).adapters

    assert [(a.action, a.weight, a.direction) for a in one.acls] == [
        ("Allow", 30, "Inbound"),
        ("Allow", 30, "Outbound"),
        ("Allow", 10, "Inbound"),
        ("Deny", 95, "Outbound"),
        ("Deny", 90, "Inbound"),
    ]


@pytest.mark.parametrize(
    ("lost", "put_back"),
    [
        pytest.param({"acls": (DENY,)}, {"acls": (ALLOW,)}, id="a rule"),
        pytest.param({"network": None}, {"network": "VM-Net-10"}, id="the VM network"),
        pytest.param({"switch": "LS-Else"}, {"switch": "LS-Main"}, id="the switch"),
        pytest.param({"vlan": 0}, {"vlan": 10}, id="the VLAN"),
    ],
)
def test_a_repair_holds_only_what_was_lost(lost, put_back):
    [one] = repair(HOST, net(SAVED), net(replace(SAVED, **lost))).adapters

    assert one == AdapterRepair("nic-1", MAC, **put_back)


@pytest.mark.parametrize(
    ("saved", "put_back"),
    [
        pytest.param({"vlan": 0}, (0, (), 0), id="untagged"),
        pytest.param({"vlan": 30}, (30, (), 0), id="access"),
        pytest.param({"vlan": 0, "trunk": (1, 2), "native_vlan": 1}, (0, (1, 2), 1), id="trunk"),
    ],
)
def test_a_vlan_is_restored_in_its_saved_mode(saved, put_back):
    was = replace(SAVED, **saved)
    now = replace(SAVED, vlan=99)
    [one] = repair(HOST, net(was), net(now)).adapters

    assert (one.vlan, one.trunk, one.native_vlan) == put_back


def test_an_adapter_that_lost_nothing_is_not_repaired():
    whole = Adapter("whole", "001DD8B71C44", switch="LS-Main", acls=(ALLOW,))
    found = net(whole, replace(SAVED, acls=()))

    assert [a.adapter_id for a in repair(HOST, net(whole, SAVED), found).adapters] == ["nic-1"]


# --- for any network -----------------------------------------------------------------------

acls = st.builds(
    Acl,
    action=st.sampled_from(["Allow", "Deny"]),
    direction=st.sampled_from(["Inbound", "Outbound"]),
    weight=st.integers(1, 4),
    remote_ip=st.sampled_from(["ANY", "10.0.0.0/8"]),
    stateful=st.booleans(),
)
classic = st.lists(
    st.builds(
        "{} {} remote {}".format,
        st.sampled_from(["Allow", "Deny", "Odd"]),
        st.sampled_from(["Inbound", "Outbound"]),
        st.sampled_from(["10.0.0.0/8", "ANY"]),
    ),
    max_size=3,
    unique_by=lambda rule: rule.partition(" ")[2],
).map(tuple)
SETTINGS = {
    "subnet": st.sampled_from([None, "S-10", "S-20"]),
    "classification": st.sampled_from([None, "Fast"]),
    "port_acl": st.sampled_from([None, "Web"]),
    "isolation": st.sampled_from([0, 7, 5000]),
    "spoofing": st.sampled_from([None, "On", "on", "odd"]),
    "guards": st.sampled_from([None, "dhcp", "dhcp,router", "router", "odd,dhcp"]),
}
rule_sets = st.lists(acls, max_size=5, unique_by=lambda a: a.key).map(tuple)


def adapters(number: int) -> st.SearchStrategy[Adapter]:
    return st.builds(
        Adapter,
        id=st.just(f"nic-{number}"),
        mac=st.sampled_from([f"001DD8B71C{number:02X}", "", "000000000000", "001DD8B7AAAA"]),
        network=st.sampled_from([None, "VM-Net-10", "VM-Net-20"]),
        switch=st.sampled_from([None, "LS-Main", "LS-Backup"]),
        vlan=st.integers(0, 3),
        trunk=st.sampled_from([(), (), (1, 2)]),
        native_vlan=st.integers(0, 1),
        connected=st.booleans(),
        acls=rule_sets,
        classic_acls=classic,
        **SETTINGS,
    )


networks = st.integers(0, 3).flatmap(lambda n: st.tuples(*map(adapters, range(n)))).map(Network)


@st.composite
def losses(draw, saved: Network) -> Network:
    """The network of a VM after losses in a move and changes by people."""
    found = []
    for adapter in saved.adapters:
        if draw(st.integers(0, 9)) == 0:
            continue
        kept = tuple(acl for acl in adapter.acls if draw(st.booleans()))
        keys = {acl.key for acl in kept}
        added = tuple(acl for acl in draw(rule_sets) if acl.key not in keys)
        change: dict[str, object] = {"acls": kept + added}
        if draw(st.booleans()):
            change |= {"network": None, "switch": None}
        if draw(st.booleans()):
            change |= {"vlan": draw(st.integers(0, 3)), "trunk": draw(st.sampled_from([(), (9,)]))}
        for setting, values in SETTINGS.items():
            if draw(st.booleans()):
                change[setting] = draw(values)
        if draw(st.booleans()):
            change["classic_acls"] = draw(classic)
        if draw(st.booleans()):
            change["id"] = f"new-{adapter.id}"
        found.append(replace(adapter, **change))
    return Network(tuple(found))


def applied(found: Network, work: Repair) -> Network:
    """The network after a repair: additions and named settings, and no other change."""
    by_id = {one.adapter_id: one for one in work.adapters}
    healed = []
    for adapter in found.adapters:
        one = by_id.get(adapter.id)
        if one is not None:
            change: dict[str, object] = {"acls": (*adapter.acls, *one.acls)}
            change["classic_acls"] = (*adapter.classic_acls, *one.classic_acls)
            for setting in SETTINGS:
                if (wanted := getattr(one, setting)) is not None:
                    change[setting] = wanted
            if one.guards:
                change["guards"] = f"{adapter.guards or ''},{one.guards}"
            if one.switch is not None:
                change |= {"switch": one.switch, "connected": True}
            if one.network is not None:
                change["network"] = one.network
            if one.vlan is not None:
                change |= {
                    "vlan": one.vlan,
                    "trunk": one.trunk,
                    "native_vlan": one.native_vlan,
                }
            adapter = replace(adapter, **change)
        healed.append(adapter)
    return Network(tuple(healed))


pairs = networks.flatmap(lambda saved: st.tuples(st.just(saved), losses(saved)))


@given(pairs)
def test_a_repair_leaves_no_repairable_difference(pair):
    saved, found = pair
    healed = applied(found, repair(HOST, saved, found))

    assert [str(d) for d in compare(saved, healed) if d.repairable] == []


@given(pairs)
def test_a_second_repair_is_empty(pair):
    saved, found = pair
    healed = applied(found, repair(HOST, saved, found))

    assert repair(HOST, saved, healed) == Repair(HOST)


@given(pairs)
def test_a_repair_removes_nothing_and_adds_only_what_was_saved(pair):
    saved, found = pair
    healed = applied(found, repair(HOST, saved, found))
    was = {acl for adapter in saved.adapters for acl in adapter.acls}

    for before, after in zip(found.adapters, healed.adapters, strict=True):
        assert set(before.acls) <= set(after.acls)
        assert set(after.acls) - set(before.acls) <= was
        assert len({acl.key for acl in after.acls}) == len(after.acls)
    rules = {rule for adapter in saved.adapters for rule in adapter.classic_acls}
    for before, after in zip(found.adapters, healed.adapters, strict=True):
        assert set(before.classic_acls) <= set(after.classic_acls)
        assert set(after.classic_acls) - set(before.classic_acls) <= rules
        keys = [rule.partition(" ")[2] for rule in after.classic_acls]
        assert len(set(keys)) == len(keys)


@given(networks)
def test_a_network_does_not_differ_from_itself(network):
    assert compare(network, network) == ()


@given(pairs)
def test_a_repair_covers_exactly_the_repairable_differences(pair):
    saved, found = pair
    promised = any(d.repairable for d in compare(saved, found))

    assert promised == bool(repair(HOST, saved, found).adapters)
