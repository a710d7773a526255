"""Clicks on buttons that act on a run: the typed verb, applied to what was shown.

Permissions, effect and answer are those of the verb.
"""

from __future__ import annotations

from dataclasses import replace

from bot.slack.handlers.confirm import Outcome
from bot.slack.handlers.decisions import place_of
from bot.slack.handlers.verbs import Verbs
from bot.slack.inbox.rows import Inbound
from bot.slack.kit import buttons
from bot.slack.kit.buttons import DETAILS, FORM, RUN, RunButton
from bot.slack.messages import controls
from bot.slack.modals import abort
from bot.slack.people.approvers import Approvers
from engine.errors import Refused
from engine.language.grammar import Ask
from engine.language.sentence import Command, say
from engine.model import MoveRecord, Run
from engine.store import queries


def read(row: Inbound) -> RunButton | None:
    """The run button that was clicked; ``None`` for any other button."""
    return buttons.read(str(row.body.get("action")), str(row.body.get("value")))


def answer(verbs: Verbs, row: Inbound, control: RunButton, approvers: Approvers) -> Outcome:
    """Answer to the person who clicked, or the form to open. Raises ``Refused``."""
    record = queries.record(verbs.store, control.run)
    if record is None:
        raise Refused(f"{control.label} does not exist.")
    if control.verb == DETAILS:
        return Outcome(verbs.answer(row, Ask(DETAILS, (control.label,)), approvers))
    moves = controls.aimed(control, record)
    _refuse_stale(control, record.run, moves)
    if control.subject == FORM:
        value = replace(control, subject=RUN).value
        return Outcome(form=abort.abort_form(record, place_of(row, value)))
    return Outcome(verbs.answer(row, Ask(control.verb, _words(control, moves)), approvers))


def _refuse_stale(control: RunButton, run: Run, moves: list[MoveRecord]) -> None:
    """Raise ``Refused`` if the button's subject is gone or differs from what was shown."""
    if not controls.may(control.verb, run):
        return  # the verb itself says why not, or that it is already done
    about_vms = control.subject not in (RUN, FORM)
    if about_vms and not moves:
        raise Refused(
            f"This button no longer applies to {run.label}.",
            hint=say("See: {}", Command(f"status {run.label}")),
        )
    if buttons.is_stale(control, run, moves):
        raise Refused(
            f"{run.label} has changed since this button was shown.",
            hint="Read the updated message, and click again if you still want to.",
        )


def _words(control: RunButton, moves: list[MoveRecord]) -> tuple[str, ...]:
    """Words of the equivalent typed verb, with VMs by id. Without a VM the words are incomplete,
    since the verb refuses the state of the run first."""
    ids = [f"id:{entry.move.vm_id}" for entry in moves]
    match control.verb:
        case "abort":
            return control.label, "yes"
        case "go-on":
            return control.label, str(moves[0].move.host) if moves else "?", *ids
        case "settle":
            return control.label, ids[0] if ids else "?"
        case "retry" | "skip":
            return control.label, *ids
    return (control.label,)
