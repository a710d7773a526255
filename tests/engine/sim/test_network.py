"""Adapters of the simulated world: classic ACLs of the file, losses in moves, repairs."""

from __future__ import annotations

import pytest

from engine.errors import Refused
from engine.model import Adapter, MoveOrder, Network
from engine.sim.fleet_file import parse
from engine.sim.world import World

ALLOW, STOP = "Allow Inbound remote 10.0.0.0/8", "Deny Outbound local 00-15-5D-00-00-01"
FLEET = f"""
[[host]]
name = "hv01"
[[host]]
name = "hv02"
[[vm]]
name = "web01"
host = "hv01"
minutes = 1
[[vm.nic]]
subnet = "Subnet-10"
classification = "Fast"
port_acl = "Web"
spoofing = "On"
guards = "dhcp"
classic_acl = ["{ALLOW}", "{STOP}"]
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
"""
DOWN = FLEET.replace("minutes = 1", 'minutes = 1\nstatus = "PowerOff"')


def nic_of(world: World) -> Adapter:
    (vm,) = world.state.vms.values()
    return vm.nics[0]


def moved(text: str, pin: Network | None = None, **loss: object) -> Adapter:
    """The adapter of web01 after it moved from hv01 to hv02."""
    world = World.of(parse(text))
    (vm,) = world.state.vms.values()
    if loss:
        world.lose(world.now, "web01", **loss)
    power = "running" if vm.power == "Running" else "down"
    order = MoveOrder(vm.id, "hv01", "hv02", None, power, pin, world.now + 60)
    world.start_move(world.now, order)
    world.advance(world.now + 61)
    assert vm.hosts == ["hv02"]
    return nic_of(world)


def test_every_spelling_of_a_classic_rule_is_normalised() -> None:
    text = FLEET.replace(ALLOW, "allow inbound  remote 10.0.0.0/8")

    assert nic_of(World.of(parse(text))).classic_acls == (ALLOW, STOP)


@pytest.mark.parametrize("rule", ["Meter Inbound remote ANY", "Allow Inbound", "Allow 10.0.0.0/8"])
def test_an_invalid_classic_rule_is_refused_with_its_place(rule: str) -> None:
    with pytest.raises(Refused) as caught:
        parse(FLEET.replace(ALLOW, rule))

    assert 'vm[0] "web01"' in str(caught.value)
    assert f'classic_acl[0] must be a rule such as "{ALLOW}", not "{rule}"' in str(caught.value)


def test_two_classic_rules_for_one_direction_and_address_are_refused() -> None:
    with pytest.raises(Refused, match=r"and address \"Inbound remote 10\.0\.0\.0/8\" twice"):
        parse(FLEET.replace(STOP, ALLOW.replace("Allow", "Deny")))


def test_the_truth_has_classic_rules_in_the_words_of_the_file() -> None:
    (vm,) = World.of(parse(FLEET)).truth()["vm"]
    (nic,) = vm["nic"]
    (plain,) = World.of(parse(FLEET.replace("classic_acl", "# "))).truth()["vm"]

    assert nic["classic_acl"] == [ALLOW, STOP]
    assert "classic_acl" not in plain["nic"][0]


def test_a_move_that_loses_acls_loses_extended_and_classic_rules() -> None:
    nic = moved(FLEET + "[lies]\nlose_acls_live = 1.0\n")

    assert (nic.acls, nic.classic_acls) == ((), ())


@pytest.mark.parametrize(
    ("acls", "left"), [(1, (0, 2)), (2, (0, 1)), (3, (0, 0)), ("all", (0, 0)), (0, (1, 2))]
)
def test_a_story_counts_extended_and_classic_rules_together(
    acls: int | str, left: tuple[int, int]
) -> None:
    nic = moved(FLEET, acls=acls)

    assert (len(nic.acls), len(nic.classic_acls)) == left


def test_a_lost_connection_loses_its_network_subnet_classification_and_switch() -> None:
    nic = moved(DOWN)

    assert (nic.network, nic.subnet, nic.classification, nic.switch) == (None,) * 4
    assert (nic.spoofing, nic.guards, nic.port_acl) == ("On", "dhcp", "Web")


def test_a_pin_keeps_subnet_and_classification_unless_it_names_another_network() -> None:
    plain = nic_of(World.of(parse(DOWN)))
    bound = Adapter(plain.id, network="VM-Net-10", switch="LS-Main", vlan=10)
    named = Adapter(plain.id, network="VM-Net-10", subnet="S", switch="LS-Main", classification="C")
    other = Adapter(plain.id, network="VM-Net-20", switch="LS-Main")

    assert moved(DOWN, Network((bound,))) == plain
    kept, gone = moved(DOWN, Network((named,))), moved(DOWN, Network((other,)))
    assert (kept.subnet, kept.classification) == ("S", "C")
    assert (gone.network, gone.subnet, gone.classification) == ("VM-Net-20", None, None)
