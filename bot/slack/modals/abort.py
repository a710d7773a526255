"""Form behind Abort in the menu of a board: a menu cannot ask for confirmation of one of its
entries. Pure.

The form is about the run, not about the jobs that it names: a person who pulls the emergency brake
means what has begun in the meantime, too, and is not refused because a job has ended.
"""

from __future__ import annotations

from bot.slack.kit import buttons
from bot.slack.kit.blocks import Block, section
from bot.slack.kit.buttons import ABORT
from bot.slack.kit.phrases import count, several
from bot.slack.modals.fields import FormPlace, modal
from engine.model import MoveState, RunRecord


def abort_form(record: RunRecord, place: FormPlace) -> Block:
    """The question before jobs are stopped in mid-copy; ``place.value`` is the button's own."""
    run = record.run
    flying = [e.move.vm for e in record.moves if e.move.state is MoveState.MOVING]
    effect = (
        "No migration is in flight now; migrations that begin before you confirm are stopped as "
        "well. "
    )
    if flying:
        effect = (
            "VMM is asked to stop what is in mid-copy when you confirm, now "
            f"{count(len(flying), 'job')}: {several(flying)}. "
        )
    stay = "Their VMs stay where they were. " if flying else ""
    said = section(f"{effect}{stay}{run.label} ends; nothing more is started.")
    return modal(ABORT, place, f"Abort {run.label}", "Abort", [said])


def action_behind(place: FormPlace) -> str:
    """The action of the button for which the form stands. Raises ``ValueError`` for what we did
    not write."""
    action = f"{buttons.PREFIX}{ABORT}"
    if buttons.read(action, place.value) is None:
        raise ValueError(f"the form of no run: {place.value[:40]}")
    return action
