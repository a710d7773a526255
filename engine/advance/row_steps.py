"""Steps of a plan that only change rows."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import ApprovalState, Difference, Move, MoveState, Result, RunRecord, short
from engine.policy.steps import (
    Adopt,
    Arrive,
    Ask,
    CallOut,
    ComeBack,
    Expire,
    Finish,
    Hear,
    Hold,
    LetGo,
    Quiet,
    Return,
    SeeCalm,
    SeeEmpty,
    SeePower,
    SetRunState,
    Step,
    Unhold,
)
from engine.store.pen import Pen


def write_row_step(pen: Pen, step: Step, runs: Mapping[int, RunRecord]) -> None:
    """Write one step. ``runs`` are the records on which the plan is based."""
    match step:
        case Adopt():
            pen.moves.open(step.run, step.vm, step.source, adopted=True)
        case SeePower():
            pen.moves.note_power(step.move, step.power, step.down_since)
        case Hold():
            pen.moves.hold(step.move, step.wait, step.text, needs_person=step.needs_person)
        case CallOut():
            pen.moves.call_out(step.move, step.text)
        case Unhold():
            pen.moves.end_wait(step.move)
        case Hear():
            pen.attempts.hear(step.attempt)
        case Arrive():
            _arrive(pen, step)
        case Return():
            _repaired(pen, step.move, step.repaired)
            pen.moves.return_to_pending(
                step.move,
                f"{step.move.vm} did not move, and its network is intact. {step.why}",
                None,
            )
        case Finish():
            _end_attempt(pen, step.move, step.ends)
            _repaired(pen, step.move, step.repaired)
            pen.moves.finish(step)
        case _:
            _write_run_note(pen, step, runs)


def _write_run_note(pen: Pen, step: Step, runs: Mapping[int, RunRecord]) -> None:
    match step:
        case LetGo():
            pen.attempts.let_go(step.attempt)
        case Ask():
            names = {m.move.vm_id: m.move.vm for m in runs[step.run].moves}
            pen.approvals.ask(step.run, step.vms, tuple(names[v] for v in step.vms), step.digest)
        case Expire():
            _expire(pen, step, runs)
        case SeeCalm():
            pen.runs.note_calm(step.run, step.calm)
        case SeeEmpty():
            pen.runs.note_empty(runs[step.run].run, step.hosts, step.first, step.proven)
        case Quiet():
            pen.runs.note_quiet(step.run, step.at)
        case ComeBack():
            pen.runs.note_back(step.run, step.gap)
        case SetRunState():
            pen.runs.set_state(runs[step.run].run, step.state, step.text)
        case _:
            raise TypeError(f"{type(step).__name__} is not a note")


def _arrive(pen: Pen, step: Arrive) -> None:
    _end_attempt(pen, step.move, step.ends, step.ran)
    text = f"{step.move.vm} is on {short(step.host)}; its network is being checked"
    pen.moves.set_state(step.move, MoveState.RESTORING, text, host=step.host)


def _end_attempt(
    pen: Pen,
    move: Move,
    ends: tuple[Result, str] | None,
    ran: tuple[float, float] | None = None,
) -> None:
    """End the open LIVE or COLD attempt with the observed result, and VMM's own times."""
    if ends is None:
        return
    attempt = pen.attempts.open_migration(move)
    if attempt is not None:
        pen.attempts.end(move, attempt.id, attempt.kind, *ends)
        if ran is not None:
            pen.attempts.note_times(attempt.id, *ran)


def _repaired(pen: Pen, move: Move, repaired: tuple[Difference, ...]) -> None:
    for difference in repaired:
        pen.networks.note_repair(move, difference.adapter, difference.what, difference.value)


def _expire(pen: Pen, step: Expire, runs: Mapping[int, RunRecord]) -> None:
    for record in runs.values():
        for approval in record.approvals:
            if approval.id == step.approval:
                text = f"{approval.label} expired: {step.why}."
                pen.approvals.set_state(approval, ApprovalState.EXPIRED, text)
