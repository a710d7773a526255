"""How long to wait before the next socket: at once as a rule, ever longer where it does not last.

A socket whose end Slack has not noticed stays in its books and swallows clicks, ten at most. So
sockets that Slack did not greet as it should are opened at most three times in ten minutes, and
after that once a minute. Time is an argument, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

WITHIN = 600.0
FREE = 3
LONGEST_PAUSE = 30.0
GHOST_PAUSE = 60.0


@dataclass(frozen=True)
class _Try:
    at: float
    opened: bool = False
    greeted: bool = False


class Restraint:
    """The tries of one place among the connections."""

    def __init__(self) -> None:
        self._tries: list[_Try] = []
        self._not_before = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next try may be made; 0: at once."""
        self._tries = [one for one in self._tries if now - one.at < WITHIN]
        due = self._not_before
        if self._tries:
            due = max(due, self._tries[-1].at + self._apart())
        return max(0.0, due - now)

    def _apart(self) -> float:
        tries = len(self._tries)
        if tries == 1:
            return 0.0
        ghosts = sum(one.opened and not one.greeted for one in self._tries)
        if ghosts >= FREE:
            return GHOST_PAUSE
        return min(2.0 ** (tries - 2), LONGEST_PAUSE)

    def tries(self, now: float) -> None:
        """A try begins."""
        self._tries.append(_Try(now))

    def opened(self, *, greeted: bool) -> None:
        """It led to a socket; ``greeted``: with the hello that was expected."""
        self._tries[-1] = replace(self._tries[-1], opened=True, greeted=greeted)

    def told_to_wait(self, until: float) -> None:
        """Slack named a moment."""
        self._not_before = until

    def lasted(self) -> None:
        """The socket has proven itself: what was before does not count any more."""
        self._tries = [one for one in self._tries if one.opened and not one.greeted]
