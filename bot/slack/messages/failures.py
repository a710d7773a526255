"""What failed, by what makes a message of its own: the cause, and the try of a person. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.slack.messages.board import cause
from engine.model import RunRecord
from engine.views.board import Stuck


def by_cause(failed: Sequence[Stuck], record: RunRecord) -> dict[str, list[Stuck]]:
    """The groups that are told in one message each, by the name that their keys end with."""
    retried = {entry.move.vm_id: entry.move.retried for entry in record.moves}
    groups: dict[str, list[Stuck]] = {}
    for stuck in failed:
        name = f"{cause(stuck)[:8]}{again(retried.get(stuck.vm_id))}"
        groups.setdefault(name, []).append(stuck)
    return groups


def again(at: float | None) -> str:
    """What is told anew after a person had it go on is another message: somebody waits for it."""
    return "" if at is None else f":{int(at)}"
