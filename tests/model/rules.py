"""The rules of the ladders, and the rooms in which each of them is explored.

What changes in the ladder is changed here first. A rule that is left out does harm in its room, so
nobody removes one whose reason he does not know: ``python -m tests.model --without RULE`` prints
the shortest story of it.
"""

from __future__ import annotations

from tests.model.empty import Room, empty_world
from tests.model.end import COLD, LIVE, SETTLED, End, end_world
from tests.model.explorer import Found, explore
from tests.model.slots import IN, OURS, OUT, Host, slots_world

#: rule: world, the room in which its absence is felt, what it says. Rooms of ``end``: powered down?
#: which troubles may happen, how many tries; of ``slots``: see slots_world; of ``empty``: who moves
#: it, and does the host's pulse show what comes in.
RULES: dict[str, tuple[str, tuple, str]] = {
    "guard-deadline": ("end", (LIVE, (), 1), "the guard in the start refuses after not_after"),
    "asked-after": ("end", (COLD, (), 1), "a look counts by when it was asked, not answered"),
    "not-after": ("end", (LIVE, ("kill",), 1), "job lost: looks count if asked after not_after"),
    "look-ups": ("end", (LIVE, (), 1), "... and after the look-ups that follow it"),
    "own-clock": ("end", (LIVE, ("clock on",), 1), "... on VMM's clock and on the engine's own"),
    "twice": ("end", (LIVE, ("restart",), 1), "job lost: a host's word counts when said twice"),
    "apart": ("end", (LIVE, ("restart",), 1), "the 2nd is asked 30 s after the 1st was *answered*"),
    "jobs-too": ("end", (COLD, (), 1), "'no job' counts if VMM, too, was asked after the look-ups"),
    "own-job": (
        "end",
        (LIVE, ("other",), 1),
        "a job only found in the list may be another's: it, too, waits",
    ),
    "cut-is-lost": (
        "end",
        (COLD, ("cut",), 1),
        "a job that VMM's restart or a lost host failed is lost",
    ),
    "cold-source": (
        "end",
        (COLD, ("restart",), 1),
        "down, job lost: rest on the source proves nothing",
    ),
    "cold-after": (
        "end",
        (COLD, ("other", "other"), 1),
        "down, job lost: arrivals, too, wait for it",
    ),
    "cold-both": ("end", (COLD, ("restart",), 1), "down, job lost: on both is how each copy ends"),
    "limit-alone": (
        "end",
        (COLD, ("restart",), 1),
        "down, in doubt: the limit alone calls a person",
    ),
    "nothing-there": (
        "end",
        (LIVE, ("restart",), 1),
        "job lost: nothing on the destination is no sign",
    ),
    "both-twice": ("end", (LIVE, (), 1), "two places: when both hosts have said it twice"),
    "our-rows": (
        "slots",
        (True, True, OUT, OUT, False),
        "ours count from the row until the host frees it",
    ),
    "sum": (
        "slots",
        (True, True, OUT, OUT, False),
        "ours and others' add up; the larger is not enough",
    ),
    "running-only": ("slots", (True, False, IN, IN, False), "a migration job counts while it runs"),
    "same-attempt": (
        "slots",
        (True, False, IN, IN, False),
        "... for an attempt open when it was asked",
    ),
    "jobs-first": (
        "slots",
        (True, False, IN, IN, False),
        "migration jobs are read before the counter",
    ),
    "others-named": (
        "slots",
        (False, True, IN, OUT, False),
        "others that the host's jobs name count",
    ),
    "others-in-vmm": (
        "slots",
        (False, False, IN, IN, True),
        "others that VMM's jobs bring here count",
    ),
    "far-end": ("slots", (True, False, IN, "", False), "the other host's jobs name what comes in"),
    "never-older": (
        "slots",
        (True, True, OUT, OUT, False),
        "no part replaces one that was asked later",
    ),
    "in-flight": ("empty", ("live by VMM", True), "what is in flight to the host counts"),
    "flight-first": ("empty", ("live by VMM", True), "lists are asked after the answer on flights"),
    "both-lists": ("empty", ("only in VMM", True), "VMM's re-read list is the second witness"),
    "empty-twice": (
        "empty",
        ("live by Hyper-V", True),
        "empty is said after two rounds, 30 s apart",
    ),
}

#: With all rules on, each of these must hold.
ROOMS: dict[str, tuple] = {
    "end": (
        (LIVE, ("restart", "cut"), 1), (LIVE, ("restart", "kill"), 1), (LIVE, ("other",), 1),
        (LIVE, ("kill", "clock on"), 2), (LIVE, ("clock back",), 1),
        (COLD, ("restart", "cut"), 1), (COLD, ("other", "other"), 1),
        (COLD, ("kill", "clock back"), 2)),
    "slots": (
        (True, True, OUT, OUT, False), (True, False, IN, IN, False), (False, True, IN, OUT, False),
        (False, False, IN, IN, True), (True, False, IN, "", False)),
    "empty": tuple((kind, shows) for shows in (False, True)
                   for kind in ("live by VMM", "cold by VMM", "live by Hyper-V", "only in VMM")),
}  # fmt: skip


def run(world: str, room: tuple, off: frozenset = frozenset()) -> Found:
    """Explore one room without the rules in ``off``."""
    if world == "end":
        return explore(
            End(room[0], left=room[1]), end_world(off, room[2]), lambda s: s.ended in SETTLED
        )
    if world == "slots":
        first = Host(retries=int(not room[1]))
        return explore(first, slots_world(off, *room), lambda h: not h.open and h.over >= OURS)
    never = room[0] == "only in VMM"  # somebody has to look: that is no wait of ours
    return explore(
        Room(), empty_world(off, *room), lambda r: never or r.rounds == 9 or r.phase == "here"
    )


def title(world: str, room: tuple) -> str:
    """A room in words."""
    if world == "end":
        return ", ".join(
            ["powered down" if room[0] else "live", *room[1]] + ["a retry"] * (room[2] > 1)
        )
    if world == "empty":
        return f"{room[0]}; the host's pulse {'shows' if room[1] else 'does not show'} incoming"
    other = f", x {room[3]}{' by VMM' * room[4]}" if room[3] else ""
    counted, named = ("" if shown else "not " for shown in room[:2])
    return f"incoming {counted}counted, {named}named; ours {room[2]}{other}"
