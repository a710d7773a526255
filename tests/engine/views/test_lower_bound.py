"""The lower bound: tight, and never above a possible schedule."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Attempt, AttemptKind
from engine.views.report.lower_bound import Copy, least

SLOTS = {"hv01": 2, "hv02": 2, "hv03": 1}


def copies(*lengths: float, hosts: tuple[str, ...] = ("hv01", "hv02")) -> list[Copy]:
    """One copy of each length, each of its own VM, between the same two hosts."""
    return [Copy(number, hosts, seconds) for number, seconds in enumerate(lengths)]


@pytest.mark.parametrize(
    ("lengths", "slots", "bound"),
    [
        ((), 2, 0),
        ((100,), 2, 100),
        ((100, 40), 2, 100),  # side by side
        ((100, 100, 100), 2, 200),  # some slot takes two
        ((90, 80, 70, 60), 2, 150),  # the sum over the slots
        ((100, 90, 20), 2, 110),  # the two shortest of three
        ((50, 50, 50, 50, 50), 2, 150),  # the three shortest of five
        ((60, 60, 60, 60, 10, 10), 4, 70),  # the five longest: 60 and 10 share
        ((60, 60, 60, 60, 50), 4, 110),
        ((30, 20, 10), 1, 60),
    ],
)
def test_the_copies_of_a_host_are_divided_among_its_slots(lengths, slots, bound):
    assert least(copies(*lengths), {"hv01": slots, "hv02": 9}, {}) == bound
    assert least(copies(*lengths), {"hv01": 9, "hv02": slots}, {}) == bound


@pytest.mark.parametrize(
    ("releases", "bound"),
    [
        ({}, 200),
        ({0: 300}, 400),  # its own copy after its release
        ({0: 300, 1: 300}, 400),  # two together then
        ({0: 300, 1: 300, 2: 300}, 500),  # three then, in two slots
        ({0: 300, 1: 310, 2: 320}, 500),  # counted from the first of them
        ({0: 300, 1: 300, 2: 10}, 400),  # what was free long before does not count
        ({7: 900}, 900),  # one that had to wait and never moved
    ],
)
def test_a_slot_that_becomes_free_late_counts_from_that_time(releases, bound):
    assert least(copies(100, 100, 100), SLOTS, releases) == bound


def test_the_copies_of_one_vm_follow_one_another():
    again = [Copy(1, ("hv01", "hv02"), 100), Copy(1, ("hv01", "hv03"), 100)]

    assert least(again, SLOTS, {}) == 200
    assert least(again, SLOTS, {1: 50}) == 250


def test_the_busiest_host_sets_the_lower_bound():
    """hv03 has one slot and gets the short copies, which take longer than all copies of hv01."""
    spread = [Copy(n, ("hv01", "hv03" if n % 2 else "hv02"), 10 + 50 * (n % 2)) for n in range(6)]

    assert least(spread, SLOTS, {}) == 180


# --- held against schedules ------------------------------------------------------------------


def scheduled(order, slots, releases) -> float:
    """The end of a schedule that places each copy, in this order, as early as possible."""
    placed: list[tuple[float, float, Copy]] = []
    for copy in order:
        moments = {releases.get(copy.move, 0), *(end for _, end, _ in placed)}
        start = next(
            t
            for t in sorted(moments)
            if t >= releases.get(copy.move, 0) and fits(copy, t, placed, slots)
        )
        placed.append((start, start + copy.seconds, copy))
    return max([0, *releases.values(), *(end for _, end, _ in placed)])


def fits(copy, start, placed, slots) -> bool:
    """Check that a slot is free at both ends all the time and that the VM is not in flight."""
    end = start + copy.seconds
    beside = [(a, b, other) for a, b, other in placed if a < end and start < b]
    if any(other.move == copy.move for _, _, other in beside):
        return False
    for moment in {start, *(a for a, _, _ in beside if a > start)}:
        now = [other for a, b, other in beside if a <= moment < b]
        if any(sum(host in o.hosts for o in now) >= slots[host] for host in copy.hosts):
            return False
    return True


@st.composite
def nights(draw, most: int):
    """Copies in order, the slots of their hosts, and the times at which their VMs were free."""
    names = ("a", "b", "c", "d")
    slots = {name: draw(st.integers(1, 3)) for name in names}
    ways = st.permutations(names).map(lambda hosts: (hosts[0], hosts[1]))
    one = st.builds(Copy, st.integers(0, most), ways, st.integers(1, 60))
    order = draw(st.lists(one, min_size=1, max_size=most))
    releases = draw(st.dictionaries(st.integers(0, most), st.integers(0, 90)))
    return order, slots, releases


@given(nights(most=12))
def test_no_list_schedule_beats_the_lower_bound(night):
    order, slots, releases = night

    assert least(order, slots, releases) <= scheduled(order, slots, releases) + 1e-6


@given(nights(most=5))
def test_the_best_of_all_schedules_does_not_beat_the_lower_bound(night):
    order, slots, releases = night
    best = min(scheduled(one, slots, releases) for one in permutations(order))

    assert least(order, slots, releases) <= best + 1e-6


@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(0, 50))
def test_the_lower_bound_is_exact_for_up_to_three_copies_and_two_slots(lengths, moment):
    """The best schedule reaches the bound."""
    together = copies(*lengths)
    releases = dict.fromkeys(range(len(lengths)), moment)
    best = min(scheduled(one, SLOTS, releases) for one in permutations(together))

    assert least(together, SLOTS, releases) == best


@pytest.mark.parametrize(
    ("ran", "times"),
    [
        ((None, None), (100.0, 400.0)),
        ((110.0, 350.0), (110.0, 350.0)),
        ((350.0, 350.0), (100.0, 400.0)),
    ],
    ids=["VMM told nothing", "VMM told both", "VMM told nonsense"],
)
def test_a_copy_counts_as_long_as_vmm_says_that_it_ran(ran, times):
    attempt = Attempt(1, 1, 1, "vm", AttemptKind.LIVE, "hv01", "hv02", 100.0, ended=400.0)

    assert replace(attempt, ran_from=ran[0], ran_to=ran[1]).times == times
