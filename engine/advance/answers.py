"""Attempts of calls, and what their answers change: written before a call, and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.advance.calls import CallAnswer
from engine.errors import (
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from engine.model import AttemptKind, Look, Move, MoveState, OpenCall, Result, Rights, Wait, short
from engine.policy.steps import (
    Call,
    CheckRights,
    Dismiss,
    NetworkRead,
    PutBack,
    PutModels,
    PutPorts,
    ReadModels,
    ReadPorts,
    RefreshVm,
    SaveBaselines,
    Start,
    StopJob,
)
from engine.store.pen import Pen
from engine.store.pen_attempts import Role

_KINDS: dict[type, AttemptKind] = {
    SaveBaselines: AttemptKind.BASELINE,
    PutPorts: AttemptKind.RESTORE,
    PutModels: AttemptKind.RESTORE,
    Dismiss: AttemptKind.DISMISS,
    RefreshVm: AttemptKind.REFRESH,
}
_RESULTS: dict[type[VmmError], Result] = {
    VmmLocked: Result.LOCKED,
    VmmBusy: Result.BUSY,
    VmmStale: Result.STALE,
    VmmRefused: Result.REFUSED,
}


def begin_attempts(pen: Pen, call: Call) -> list[tuple[Move, int]]:
    """Begin the attempts of one call. Calls that only read or stop have none."""
    if isinstance(call, ReadPorts | ReadModels | CheckRights | StopJob):
        return []
    if isinstance(call, Start):
        order = call.order
        attempt = pen.attempts.begin(
            call.move, call.kind, order.source, order.destination, order.not_after
        )
        text = f"{call.move.vm} moves to {short(order.destination)} ({call.kind})"
        pen.moves.set_state(
            call.move,
            MoveState.MOVING,
            text,
            host=order.source,
            destination=order.destination,
            kind=call.kind,
        )
        return [(call.move, attempt)]
    moves = call.moves if isinstance(call, SaveBaselines) else (call.move,)
    host = call.repair.host if isinstance(call, PutBack) else call.host
    detail = _detail_of(call)
    return [
        (move, pen.attempts.begin(move, _KINDS[type(call)], host, detail=detail)) for move in moves
    ]


def _detail_of(call: Call) -> Mapping[str, object]:
    """Differences that an attempt is to restore: known even if it is never answered."""
    if not isinstance(call, PutBack):
        return {}
    rows = [[one.adapter, one.what, one.value] for one in call.differences]
    return {"differences": rows, "half": call.half}


@dataclass(frozen=True)
class BegunCall:
    """A call under way: its row, the step or look that it carries out, and its attempts."""

    row: OpenCall
    step: Call | Look
    attempts: Sequence[tuple[Move, int]]


def write_answer(pen: Pen, vmm: str, begun: BegunCall, answer: CallAnswer) -> None:
    """Write the end of a plan's call, and what its answer changes."""
    call, attempts = begun.step, begun.attempts
    pen.calls.end(vmm, begun.row.id, result_of(answer.error)[0], answer.job)
    match call:
        case Start():
            _write_start(pen, call, attempts[0][1], answer)
        case SaveBaselines() | ReadPorts() | ReadModels():
            _write_networks(pen, call, begun, answer)
        case CheckRights():
            pen.keep_rights(vmm, _rights(call, answer, begun.row.begun))
        case StopJob():
            said = f" VMM said: {answer.error}" if answer.error else ""
            text = f"{call.move.vm}: VMM was asked to stop job {call.job}.{said}"
            pen.moves.note_stop(call.move, call.job, text)
        case _:
            for move, attempt in attempts:
                kind, ended = _KINDS[type(call)], result_of(answer.error)
                pen.attempts.end(move, attempt, kind, *ended)


def result_of(error: VmmError | None) -> tuple[Result, str]:
    """Result of a synchronous call."""
    if error is None:
        return Result.OK, ""
    result = Result.STALE if _never_left(error) else _RESULTS.get(type(error), Result.LOST)
    return result, str(error)


def _never_left(error: VmmError) -> bool:
    """Tell whether the request never reached the server, so that nothing can have happened."""
    return isinstance(error, VmmUnavailable) and error.happened is False


def _rights(call: CheckRights, answer: CallAnswer, asked: float) -> Rights:
    if answer.error is not None:
        return Rights(call.host, asked, None, str(answer.error))
    return Rights(call.host, asked, answer.why is None, answer.why or "")


def _write_start(pen: Pen, call: Start, attempt: int, answer: CallAnswer) -> None:
    """Write the result of a start. Accepted: keep VMM's job. Refused: back to pending. No answer:
    the attempt stays open and keeps its slot until an observation shows its result. An observation
    may have shown it before the answer came: then only the job is kept."""
    error = answer.error
    if error is None:
        pen.attempts.issue(call.move, attempt, answer.job)
        return
    if not pen.attempts.is_open(attempt):
        return
    result, text = result_of(error)
    if result is Result.LOST:
        pen.attempts.doubt(call.move, attempt, text)
        return
    pen.attempts.end(call.move, attempt, call.kind, result, text)
    if pen.moves.read(call.move).state is MoveState.MOVING:
        pen.moves.return_to_pending(
            call.move, f"{call.move.vm} was not started: {text}", call.order.source
        )


_ROLES: dict[type, tuple[Role, MoveState, str]] = {
    SaveBaselines: ("baseline", MoveState.PENDING, ""),
    ReadPorts: ("ports", MoveState.RESTORING, "Hyper-V does not show the VM"),
    ReadModels: ("models", MoveState.RESTORING, "VMM does not know the VM"),
}
"""Row that each reading becomes, while the move is in this state, and why it has no answer."""


def _write_networks(pen: Pen, call: NetworkRead, begun: BegunCall, answer: CallAnswer) -> None:
    """Keep the networks that were read, as of the time of the question. A baseline is kept only
    while its VM has not been started: after that it would be no baseline."""
    found = answer.networks or {}
    role, state, absent = _ROLES[type(call)]
    for said in call.moves:
        move = pen.moves.read(said)
        if move.state is not state:
            continue
        if move.vm_id in found:
            network = found[move.vm_id]
            when = begun.row.id, begun.row.begun
            pen.networks.keep(move.run, move.vm_id, role, call.host, network, *when)
            if move.wait is Wait.HOST_DOWN:  # it waited for this answer
                pen.moves.end_wait(move)
        elif absent:
            why = str(answer.error) if answer.error else absent
            pen.moves.hold(move, Wait.HOST_DOWN, f"its network cannot be read: {why}")
    for move, attempt in begun.attempts:
        result, error = result_of(answer.error)
        if answer.error is None and move.vm_id not in found:
            result, error = Result.STALE, "The VM was not there when its network was read"
        pen.attempts.end(move, attempt, AttemptKind.BASELINE, result, error)
