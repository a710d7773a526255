"""Moves of a run that a retry takes up, and the answer to it."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import Refused
from engine.language import names
from engine.language.sentence import Command, say
from engine.model import Move, MoveRecord, MoveState, Outcome, RunRecord
from engine.policy.runs.ending import BAD
from engine.policy.verdict import typed

#: Outcomes of skipped moves that a person may retry; EXCLUDED only by naming the VM.
_RETRIED = frozenset({Outcome.DENIED, Outcome.EXPIRED, Outcome.STOPPED, Outcome.EXCLUDED})
_BY_ITSELF = _RETRIED - {Outcome.EXCLUDED}


def chosen(record: RunRecord, vms: Sequence[str]) -> list[MoveRecord]:
    """Choose the moves for a retry: those of the named VMs, else all that may be tried again.

    Raises ``Refused`` if a named VM may not be tried again, or if no move may."""
    run = record.run
    if not vms:
        moves = [m for m in record.moves if _may_retry(m.move, _BY_ITSELF)]
        if not moves:
            lost = [m.move for m in record.moves if m.move.state is MoveState.UNKNOWN]
            hint = ""
            if lost:
                settle = typed("settle", run.id, lost[0])
                hint = say("Find {}, then: {}", lost[0].vm, settle)
            raise Refused(f"{run.label} has no VM to retry.", what=run.label, hint=hint)
        return moves
    named = names.moves_named(vms, record.moves, run.label)
    for entry in named:
        move = entry.move
        if move.state is MoveState.UNKNOWN:
            hint = say("Find the VM, then: {}", typed("settle", run.id, move))
            raise Refused(f"The location of {move.vm} is unknown.", what=move.vm, hint=hint)
        if not _may_retry(move, _RETRIED):
            raise Refused(f"There is nothing to retry: {names.stands(move)}.", what=move.vm)
    return named


def refuse_stopping_again(record: RunRecord, chosen: Sequence[MoveRecord]) -> None:
    """Raise ``Refused`` for a retry that leaves out a failed VM of a run with ``stop-on-failure``:
    the run would stop again at once."""
    run, again = record.run, {entry.move.id for entry in chosen}
    stays = [m.move for m in record.moves if m.move.state in BAD and m.move.id not in again]
    if not run.options.stop_on_failure or not stays:
        return
    move = stays[0]
    hint = say("Retry that VM as well: {}", Command(f"retry {run.label}"))
    if move.state is MoveState.UNKNOWN:
        hint = say("Find the VM, then: {}", typed("settle", run.id, move))
    sentence = f"{run.label} would stop again: with stop-on-failure, {move.vm} is still a failure."
    raise Refused(sentence, what=move.vm, hint=hint)


def tried(chosen: Sequence[MoveRecord]) -> str:
    """Answer to a retry. A damaged VM is checked again, not moved again."""
    parts = []
    for form, damaged in (("Retrying {}.", False), ("Checking the network of {} again.", True)):
        moves = [m.move for m in chosen if (m.move.state is MoveState.DAMAGED) is damaged]
        if moves:
            parts.append(form.format(names.names(moves)))
    return " ".join(parts)


def _may_retry(move: Move, skipped: frozenset[Outcome]) -> bool:
    if move.state in (MoveState.FAILED, MoveState.DAMAGED):
        return True
    return move.state is MoveState.SKIPPED and move.outcome in skipped
