"""The rules of arrival, slots and empty hold in every order of events, and each has its reason."""

from __future__ import annotations

import pytest

from tests.model.rules import ROOMS, RULES, run, title
from tests.prove import size

pytestmark = pytest.mark.prove
_LARGE = {"end"}
_WORLDS = [world for world in ROOMS if world not in _LARGE or size(0, 1, 1)]
_ROOMS = [(world, room) for world in _WORLDS for room in ROOMS[world]]


@pytest.mark.parametrize(("world", "room"), _ROOMS, ids=[title(*one) for one in _ROOMS])
def test_no_order_of_events_does_harm_and_none_waits_for_ever(world, room):
    found = run(world, room)

    assert found.harm == "", "\n".join(found.trace)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_prevents_a_harm(rule):
    world, room, _ = RULES[rule]

    assert run(world, room, frozenset({rule})).harm
