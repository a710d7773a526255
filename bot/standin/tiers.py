"""Slack's rate limits: how many calls of a method it takes in which time.

The numbers are the published floors: Slack may let more pass, and who stays below is never refused.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """At most ``calls`` in any ``seconds``; ``each`` channel for itself or the workspace."""

    calls: int
    seconds: float = 60.0
    each: bool = False


T1 = Window(5, 300.0)  # one a minute, and "a small amount of burst behavior is tolerated"
T2, T3, T4, SPECIAL = (Window(calls) for calls in (20, 50, 100, 600))
ROUNDING = 1e-6
A_SECOND_WITH_BURSTS = Window(5, 5.0, each=True)
SEVERAL_HUNDRED = Window(300)

TIERS: dict[str, tuple[Window, ...]] = {
    "apps.connections.open": (T1,),
    "auth.test": (SPECIAL,),
    "chat.getPermalink": (SPECIAL,),
    "chat.postEphemeral": (T4,),
    "chat.postMessage": (A_SECOND_WITH_BURSTS, SEVERAL_HUNDRED),
    "chat.update": (T3,),
    "conversations.history": (T3,),
    "conversations.info": (T3,),
    "conversations.members": (T4,),
    "conversations.open": (T3,),
    "conversations.replies": (T3,),
    "usergroups.users.list": (T2,),
    "users.info": (T4,),
    "views.open": (T4,),
}


class Limits:
    """What was called when, as far back as it counts. Calls that were refused do not count."""

    def __init__(self) -> None:
        self._taken: defaultdict[tuple[str, Window, str], deque[float]] = defaultdict(deque)

    def take(self, method: str, channel: str, now: float) -> int:
        """Count a call; 0, or after how many whole seconds it would be taken."""
        books = [
            (window, self._taken[method, window, channel if window.each else ""])
            for window in TIERS.get(method, (T3,))
        ]
        for window, taken in books:
            while taken and taken[0] <= now - window.seconds + ROUNDING:
                taken.popleft()
        free = [
            taken[-window.calls] + window.seconds
            for window, taken in books
            if len(taken) >= window.calls
        ]
        if free:
            return max(1, math.ceil(max(free) - now - ROUNDING))
        for _, taken in books:
            taken.append(now)
        return 0
