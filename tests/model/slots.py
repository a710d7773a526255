"""The slots of one host: two VMs of ours, one of somebody else's, in or out.

Its counter may or may not count what comes in, its jobs may or may not name it; ended jobs stay in
the list.

Promised: at every start, ours that move or may still begin, and those of others that began before
the reading was *asked* and that VMM or this host can show, and the new one, are within the limit.
What others begin after that question nobody can count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.model.explorer import Harm, Rules

OUT, IN = "out", "in"
LIMIT = 2
OURS = frozenset("ab")


class Pulse(NamedTuple):
    """One reading of the host, with VMM's running jobs."""

    before: frozenset  # others that moved already when it was asked: what it must show
    rows: frozenset  # of ours: open when it was asked, and the same attempt still
    jobs: frozenset | None = None
    ended: frozenset = frozenset()  # by jobs that the list still shows
    vmm: frozenset = frozenset()
    counter: int | None = None
    quiet: bool = True  # nothing has begun or ended since


class Host(NamedTuple):
    """a and b are ours, x is somebody else's."""

    open: frozenset = frozenset()  # rows that this host has not freed
    sent: frozenset = frozenset()  # starts that can still begin
    runs: frozenset = frozenset()  # what really moves
    over: frozenset = frozenset()  # what has ended
    linger: frozenset = frozenset()  # ended jobs that the list still shows
    asked: tuple = ()  # readings under way, the oldest first
    have: Pulse | None = None
    newest: frozenset | None = None  # ``before`` of the newest reading that was answered
    retries: int = 1


def slots_world(
    off: frozenset, counts_in: bool, names_in: bool, ours: str, other: str, vmm: bool
) -> Callable:
    """The steps of the second world without the rules in ``off``: do the counter and the jobs show
    what comes in; which way do ours go, which way x ('' for no x), and is x VMM's job?"""
    on = Rules(off)
    way = {"a": ours, "b": ours, "x": other}
    theirs = frozenset("x" if other else "")
    can_be_seen = other == OUT or counts_in or names_in or vmm

    def used(h: Host) -> int:
        """The formula."""
        p, none = h.have, frozenset()
        jobs = p.jobs if on["running-only"] else p.jobs | p.ended
        mine = jobs & h.open & (p.rows if on["same-attempt"] else h.open)
        beyond = max(0, p.counter - len(mine))
        known = (jobs - OURS if on["others-named"] else none) | (
            p.vmm if on["others-in-vmm"] else none
        )
        if not on["our-rows"]:
            return max(p.counter, len(jobs | p.vmm))
        if not on["sum"]:
            return max(len(h.open), p.counter, len(known))
        return len(h.open) + max(beyond, len(known))

    def change(h: Host, **what: object) -> Host:
        asked = tuple(p._replace(quiet=False) for p in h.asked)
        return h._replace(asked=asked, have=h.have and h.have._replace(quiet=False), **what)

    def steps(h: Host) -> Iterator:
        for name in sorted(OURS - h.open):
            if h.have is None or used(h) >= LIMIT or (name in h.over and not h.retries):
                continue
            holders = (h.runs & OURS) | h.sent | (h.runs & h.newest if can_be_seen else frozenset())
            harm = Harm(f"a start beyond the limit: {' and '.join(sorted(holders))} hold it")
            after = h._replace(open=h.open | {name}, sent=h.sent | {name}, over=h.over - {name})
            after = (
                harm
                if len(holders) >= LIMIT
                else after._replace(retries=h.retries - (name in h.over))
            )
            yield f"the start of {name} is written ({used(h)} of {LIMIT} counted)", after, "fair"
        for name in sorted(h.sent):
            yield (
                f"{name} begins to move",
                change(h, sent=h.sent - {name}, runs=h.runs | {name}),
                "fair",
            )
        for name in sorted(theirs - h.runs - h.over):
            yield (
                f"{name} begins to move {way[name]}, by another hand",
                change(h, runs=h.runs | {name}),
                "",
            )
        for name in sorted(h.runs):
            gone = change(
                h, runs=h.runs - {name}, over=h.over | {name}, linger=h.linger | ({name} & OURS)
            )
            yield f"{name} has moved or failed", gone, "fair"
        for name in sorted(h.open & h.over):
            asked = tuple(p._replace(rows=p.rows - {name}) for p in h.asked)
            have = h.have and h.have._replace(rows=h.have.rows - {name})
            yield (
                f"the host frees the slot of {name}",
                h._replace(open=h.open - {name}, asked=asked, have=have),
                "fair",
            )
        if len(h.asked) < (1 if on["never-older"] else 2):
            yield (
                "the host is asked",
                h._replace(asked=(*h.asked, Pulse(h.runs & theirs, h.open))),
                "fair",
            )
        for i, p in enumerate(h.asked):
            yield from reading(h, i, p)

    def reading(h: Host, i: int, p: Pulse) -> Iterator:
        older, newer = h.asked[:i], h.asked[i + 1 :]
        if p.jobs is None and (on["jobs-first"] or p.counter is not None):
            jobs = frozenset(
                n for n in h.runs if way[n] == OUT or names_in or (on["far-end"] and n in OURS)
            )
            p = p._replace(
                jobs=jobs, ended=h.linger - h.runs, vmm=h.runs & theirs if vmm else frozenset()
            )
            label = "the jobs are read: " + (", ".join(sorted(p.jobs | p.vmm)) or "none runs")
            yield label, h._replace(asked=(*older, p, *newer)), "fair"
        elif p.counter is None:
            counter = sum(way[n] == OUT or counts_in for n in h.runs)
            asked = (*older, p._replace(counter=counter), *newer)
            yield f"the counter is read: {counter}", h._replace(asked=asked), "fair"
        else:
            stale = h.newest is not None and i == 0 and h.newest > p.before
            after = h._replace(asked=older + newer, have=p, newest=h.newest if stale else p.before)
            alone = p.quiet and not h.sent | h.linger | (h.open ^ h.runs)
            idle = Harm(
                f"{used(after)} counted where {len(h.open)} moves and nobody else: a slot idles"
            )
            yield (
                "the reading is answered",
                idle if alone and used(after) > len(h.open) else after,
                "fair",
            )

    return steps
