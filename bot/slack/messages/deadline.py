"""The moment by which a yes is needed, as everything in Slack says it. Pure.

The engine's estimate moves with every look, and a message that followed it would be updated all
night. So one moment is kept for each run: the board, the cards and their copies, reminders, the
pager and answers all say that one, and it follows the estimate when that has moved by ten minutes.
A path that long crosses a full ten minutes at least once, so this takes no more updates than
following the estimate in steps of ten minutes would. Whether a reminder is due is counted from the
estimate itself.
"""

from __future__ import annotations

from dataclasses import replace

from bot.slack.messages.board import STEP
from bot.slack.messages.snapshot import Sight


def moment(said: float | None, estimate: float | None, now: float) -> float | None:
    """What is said from now on, where ``said`` was said before; ``None``: no yes is needed."""
    if said is None or estimate is None:
        return estimate
    if said <= now and estimate <= now:
        return said  # it is needed since then: a moment that has come does not move along
    return said if abs(estimate - said) < STEP else estimate


def told(seen: Sight, said: float | None, now: float) -> Sight:
    """The run with the moment that is said. Its ``estimate`` stays the engine's."""
    board = replace(seen.board, needed_by=moment(said, seen.estimate, now))
    return replace(seen, board=board)
