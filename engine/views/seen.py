"""Times at which VMM and each host of a run were last seen, if one of them is late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.model import HYPERV, Age, Fleet, PartKind, Run, RunState, short

LATE = 120.0
"""Seconds after which an answer of VMM is late. A host has two passes, if these are longer."""
UNFINISHED = frozenset({RunState.ACTIVE, RunState.PAUSED, RunState.STOPPING})


@dataclass(frozen=True)
class Seen:
    """VMM or a host: ``at`` is when it was asked for its latest answer (Unix seconds; ``None``:
    never), ``late``: it has not answered since then."""

    name: str
    at: float | None
    late: bool


def seen(run: Run, fleet: Fleet | None, now: float) -> tuple[Seen, ...]:
    """Return VMM and the hosts of an unfinished run, if any of them is late; else nothing."""
    if fleet is None or run.state not in UNFINISHED:
        return ()
    found = [Seen("VMM", *_state(fleet.age(PartKind.JOBS), now, LATE))]
    late_after = max(LATE, 2 * run.options.pass_)
    for name in dict.fromkeys((*run.sources, *run.destinations)):
        if fleet.host(name) is not None:
            ages = (fleet.age(kind, name) for kind in HYPERV)
            found.append(Seen(short(name), *_state(max(ages, key=_asked), now, late_after)))
    return tuple(found) if any(one.late for one in found) else ()


def _asked(age: Age) -> int:
    return max(age.asked, age.tried)


def _state(age: Age, now: float, late_after: float) -> tuple[float | None, bool]:
    """Time of the question that was answered last, and whether it is late: the latest question
    failed, or that time is longer ago than ``late_after`` seconds."""
    is_old = age.asked_at is not None and now - age.asked_at > late_after
    return age.asked_at, age.failed or is_old


def together(found: Sequence[Seen], most: int = 4) -> tuple[tuple[Seen, ...], int]:
    """Return those to name, late ones first after VMM, and the number of further hosts that are on
    time."""
    vmm, hosts = found[:1], found[1:]
    late = [one for one in hosts if one.late]
    rest = [one for one in hosts if not one.late]
    room = max(0, most - len(late))
    return (*vmm, *late, *rest[:room]), len(rest[room:])


def seen_line(found: Sequence[Seen], clock: Callable[[float], str]) -> str:
    """Return one line, ``seen: VMM 02:31, hv02 not since 01:58, hv01 02:31``; empty for none."""
    if not found:
        return ""
    named, others = together(found)
    words = [_word(one, clock) for one in named]
    if others:
        words.append(f"{others} more host{'s' if others > 1 else ''}")
    return f"seen: {', '.join(words)}"


def _word(one: Seen, clock: Callable[[float], str]) -> str:
    if one.at is None:
        return f"{one.name} not yet"
    return f"{one.name} {'not since ' if one.late else ''}{clock(one.at)}"
