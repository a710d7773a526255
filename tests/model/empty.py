"""An empty host, and one VM that may come to it, by VMM's hand or by Hyper-V's alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.model.end import Look
from tests.model.explorer import Harm, Rules


class Room(NamedTuple):
    """HV01, and a VM that may come to it. ``phase``: away, moving, pause, late (moving), here."""

    phase: str = "away"
    flight: Look | None = None
    lists: Look | None = None
    calm: bool = False  # this round's answer: nothing is in flight
    bare: bool = False  # this round's answer: the lists are empty
    rounds: int = 0
    rested: bool = False  # 30 s have passed since the last round
    began: str = ""  # it had begun when the first, or only when the last round began to ask


def empty_world(off: frozenset, kind: str, shows: bool) -> Callable:
    """The steps of the third world. ``shows``: does the host's pulse show what comes in?"""
    on = Rules(off)
    could = shows if kind == "live by Hyper-V" else kind.endswith("by VMM")

    def evaluated(r: Room, what: str) -> bool:
        if what == "lists":
            return r.phase == "here" or (kind == "only in VMM" and on["both-lists"])
        by_host = shows and r.phase in ("moving", "late") and kind != "cold by VMM"
        return by_host or (kind.endswith("by VMM") and r.phase in ("moving", "late", "pause"))

    def hear(r: Room, what: str, look: Look) -> tuple[str, Room | Harm]:
        if look.says:
            return "something", Room(r.phase)
        r = r._replace(**{what: None, {"flight": "calm", "lists": "bare"}[what]: True})
        if not r.bare or (on["in-flight"] and not r.calm):
            return "nothing", r
        r = r._replace(rounds=r.rounds + 1, rested=False, calm=False, bare=False)
        if r.rounds < 1 + on["empty-twice"]:
            return "nothing", r
        harm = "in VMM's list" if kind == "only in VMM" else ""
        if r.phase != "away" and r.began and could:
            harm = "on it" if r.phase == "here" else "on its way to it"
        return "nothing; said: empty", Harm(
            f"empty is said while a VM is {harm}"
        ) if harm else r._replace(rounds=9)

    def steps(r: Room) -> Iterator:
        if r.rounds == 9:
            return
        if r.phase == "away" and kind != "only in VMM":
            yield f"a VM begins to move to it, {kind}", r._replace(phase="moving"), ""
        if r.phase in ("moving", "late", "pause"):
            yield "it has arrived", r._replace(phase="here"), "fair"
        if r.phase == "moving" and kind.startswith("live"):
            yield "for a moment neither word nor job shows it", r._replace(phase="pause"), ""
        if r.phase == "pause":
            yield "it shows again", r._replace(phase="late"), "fair"
        if not r.rested and r.phase != "pause":
            yield "30 s pass", r._replace(rested=True), "fair"
        first = "flight" if on["flight-first"] and on["in-flight"] else "lists"
        for what, done in (("flight", r.calm), ("lists", r.bare)):
            look = getattr(r, what)
            turn = what == first or (r.calm if what == "lists" else r.bare and on["in-flight"])
            if look is None and not done and turn and (r.rounds == 0 or r.rested):
                began = r.began
                if (what == "flight" or not on["in-flight"]) and r.phase != "away":
                    began = began or ("last" if r.rounds else "first")
                yield f"asked: {what}", r._replace(**{what: Look(1)}, began=began), "fair"
            elif look is not None and look.says is None:
                hidden = what == "flight" and r.phase == "pause" and r.began == "last"
                look = look._replace(says=evaluated(r, what))
                after = r._replace(**{what: look}, began="" if hidden else r.began)
                yield f"looked: {what}: {'something' if look.says else 'nothing'}", after, "fair"
            elif look is not None:
                label, after = hear(r, what, look)
                yield f"answered: {what}: {label}", after, "fair"

    return steps
