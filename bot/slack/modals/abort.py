"""Form behind Abort in the overflow menu of a board, which cannot confirm a single entry. Pure.

The form is about the run, not about the jobs that it names. A person who pulls the emergency brake
means jobs that begin meanwhile, too, and is not refused because a job has ended.
"""

from __future__ import annotations

from bot.slack.kit import buttons
from bot.slack.kit.blocks import Block, section
from bot.slack.kit.buttons import ABORT
from bot.slack.kit.phrases import several
from bot.slack.modals.fields import FormPlace, modal
from engine.model import MoveState, RunRecord


def abort_form(record: RunRecord, place: FormPlace) -> Block:
    """The confirmation before jobs are stopped in mid-copy. ``place.value``: the button's value."""
    run = record.run
    flying = [e.move.vm for e in record.moves if e.move.state is MoveState.MOVING]
    effect = (
        "No migration is in flight now. Migrations that begin before you confirm are cancelled, "
        "too. "
    )
    if flying:
        effect = (
            "VMM is asked to cancel all migrations in flight when you confirm, now "
            f"{len(flying)}: {several(flying)}. "
        )
    stay = "Their VMs stay on their sources. " if flying else ""
    said = section(f"{effect}{stay}{run.label} ends; nothing more is started.")
    return modal(ABORT, place, f"Abort {run.label}", "Abort", [said])


def action_behind(place: FormPlace) -> str:
    """Action of the button that opened the form. Raises ``ValueError`` for a value that VMFerry did
    not write."""
    action = f"{buttons.PREFIX}{ABORT}"
    if buttons.read(action, place.value) is None:
        raise ValueError(f"the form of no run: {place.value[:40]}")
    return action
