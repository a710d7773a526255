"""An explorer of small worlds: every order of events, breadth first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Harm(Exception):
    """A promise is broken by this step."""


class Rules:
    """The rules that are on: all but those left out."""

    def __init__(self, off: frozenset) -> None:
        self._off = off

    def __getitem__(self, rule: str) -> bool:
        return rule not in self._off


class Found(NamedTuple):
    """The number of states, the harm if any, and the steps to it."""

    states: int
    harm: str = ""
    trace: tuple[str, ...] = ()


def explore(first: object, steps: Callable, ended: Callable) -> Found:
    """All states, breadth first. ``steps(state)`` yields (label, state or Harm, kind); what is
    "fair" happens sooner or later. From every state an end must stay reachable by fair steps
    alone."""
    came: dict = {first: None}
    back: dict = {}

    def way(state: object, *last: str) -> tuple[str, ...]:
        return last if came[state] is None else way(came[state][0], came[state][1], *last)

    queue = deque([first])
    while queue:
        state = queue.popleft()
        for label, after, kind in steps(state):
            if isinstance(after, Harm):
                return Found(len(came), str(after), way(state, label))
            if after not in came:
                came[after] = (state, label)
                queue.append(after)
            if kind == "fair":
                back.setdefault(after, []).append(state)
    good = {state for state in came if ended(state)}
    new = set(good)
    while new:
        new = {before for state in new for before in back.get(state, ())} - good
        good |= new
    stuck = next((state for state in came if state not in good), None)
    return Found(len(came), "it waits for ever", way(stuck)) if stuck else Found(len(came))
