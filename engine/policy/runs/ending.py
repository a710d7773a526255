"""End of a run: expired approvals, long backups, and its last words.

A run ends only when every move has ended and no more of its sources can be proven empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.language.sentence import Sentence, join, say
from engine.model import (
    MOVED,
    ApprovalState,
    Fleet,
    Move,
    MoveState,
    Outcome,
    RunRecord,
    RunState,
    Wait,
)
from engine.policy import waits
from engine.policy.runs import emptiness
from engine.policy.steps import (
    Adopt,
    Arrive,
    Expire,
    Finish,
    Hold,
    Plan,
    Quiet,
    Return,
    SetRunState,
    Step,
)
from engine.policy.verdict import ended
from engine.policy.waits import Rules

#: Outcomes that leave nothing for a person to do.
GOOD = frozenset(
    {Outcome.MOVED, Outcome.ALREADY_THERE, Outcome.EXCLUDED, Outcome.ELSEWHERE, Outcome.VANISHED}
)

#: States of moves that leave something for a person to do.
BAD = frozenset({MoveState.FAILED, MoveState.DAMAGED, MoveState.UNKNOWN})


def judge(record: RunRecord, fleet: Fleet, now: float, rules: Rules, steps: Sequence[Step]) -> Plan:
    """Plan the steps that bring this run closer to its end, given the ``steps`` of its moves."""
    if record.run.state is RunState.PAUSED or _pauses(record, steps):
        return Plan()
    stop = _stop_on_failure(record)
    if stop is not None:
        return Plan((stop,))
    if any(isinstance(s, Adopt) and s.run == record.run.id for s in steps):
        return Plan()
    open_moves = [entry.move for entry in record.moves if not entry.move.over]
    if not open_moves:
        return _finish(record, fleet, now, rules)
    idle = _are_idle(record, open_moves, now, steps)
    if not idle:
        return Plan((Quiet(record.run.id, None),)) if record.run.quiet_since is not None else Plan()
    return _wait_for_people(record, open_moves, now, rules, steps)


def _pauses(record: RunRecord, steps: Sequence[Step]) -> bool:
    """Tell whether this very plan already changes the run's state."""
    return any(isinstance(s, SetRunState) and s.run == record.run.id for s in steps)


def _stop_on_failure(record: RunRecord) -> SetRunState | None:
    """Stop an active run with ``stop-on-failure`` after its first failed move. Migrations in flight
    are still watched to their end."""
    run = record.run
    if run.state is not RunState.ACTIVE or not run.options.stop_on_failure:
        return None
    first = next((m.move for m in record.moves if m.move.state in BAD), None)
    if first is None:
        return None
    text = f"{run.label} starts nothing more: {first.vm} could not be moved (stop-on-failure)."
    return SetRunState(run.id, RunState.STOPPING, text)


def _are_idle(record: RunRecord, moves: Sequence[Move], now: float, steps: Sequence[Step]) -> bool:
    """Tell whether every open move waits for approval, ``go-on``, or a backup past its limit."""
    holds = {s.move.id: s for s in steps if isinstance(s, Hold)}
    busy = {s.move.id for s in steps if isinstance(s, Arrive | Return | Finish)}
    for move in moves:
        held = holds.get(move.id)
        if move.id in busy or held is None:
            return False
        if held.wait in (Wait.APPROVAL, Wait.DAMAGE):
            continue
        waited = waits.waited(move, Wait.BACKUP, now)
        if held.wait is not Wait.BACKUP or waited < record.run.options.backup:
            return False
    return True


def _wait_for_people(
    record: RunRecord, moves: Sequence[Move], now: float, rules: Rules, steps: Sequence[Step]
) -> Plan:
    """Expire open approvals after 8 idle hours (default); with none, fail overlong backups."""
    run = record.run
    asked = [m for m in moves if _waits_for(m, Wait.APPROVAL, steps)]
    if not asked:
        late = [m for m in moves if _waits_for(m, Wait.BACKUP, steps)]
        return Plan(tuple(_backup_too_long(m) for m in late))
    if run.quiet_since is None:
        return Plan((Quiet(run.id, now),), due=now + rules.limits[Wait.APPROVAL])
    newest = max((a.requested for a in record.approvals), default=run.quiet_since)
    ends = max(run.quiet_since, newest) + rules.limits[Wait.APPROVAL]
    if now < ends:
        return Plan(due=ends)
    expired = tuple(
        Expire(a.id, "nobody decided in time")
        for a in record.approvals
        if a.state is ApprovalState.REQUESTED
    )
    return Plan(expired + tuple(_expired(m) for m in asked))


def _waits_for(move: Move, wait: Wait, steps: Sequence[Step]) -> bool:
    return any(isinstance(s, Hold) and s.move.id == move.id and s.wait is wait for s in steps)


def _backup_too_long(move: Move) -> Finish:
    form = "{vm} was in backup for longer than the request allows."
    return ended(move, Outcome.BACKUP_TOO_LONG, form, "When the backup is over: {retry}")


def _expired(move: Move) -> Finish:
    form = "{vm} stays on {source}: nobody approved its move."
    return ended(move, Outcome.EXPIRED, form, "To request a new approval: {retry}")


# --- the end -------------------------------------------------------------------------------


def _finish(record: RunRecord, fleet: Fleet, now: float, rules: Rules) -> Plan:
    """Prove the sources of a run empty, then close the run. Every move has ended."""
    run = record.run
    closing: tuple[Step, ...] = tuple(
        Expire(a.id, "the run ended")
        for a in record.approvals
        if a.state is ApprovalState.REQUESTED
    )
    if run.state is RunState.STOPPING:
        return Plan((*closing, SetRunState(run.id, RunState.STOPPED, f"{run.label} was stopped.")))
    if run.kind == "host":
        last_end = max(_last_end(record), run.back or 0.0)
        proof = emptiness.prove(record, fleet, now, last_end, rules)
        if proof is not None:
            return Plan(closing + proof.steps, proof.looks, proof.due)
    good = all(entry.move.outcome in GOOD for entry in record.moves)
    state = RunState.COMPLETED if good else RunState.INCOMPLETE
    return Plan((*closing, SetRunState(run.id, state, _last_words(record, fleet, state))))


def _last_words(record: RunRecord, fleet: Fleet, state: RunState) -> Sentence:
    run = record.run
    moved = sum(m.move.state in MOVED for m in record.moves)
    left = [h for h in run.sources if h not in run.empty] if run.kind == "host" else []
    there = emptiness.name_occupants(left, fleet)
    form = "{} is {}: {} of {} moved."
    return join(" ", [say(form, run.label, str(state), str(moved), str(len(record.moves))), there])


def _last_end(record: RunRecord) -> float:
    ends = [a.ended for m in record.moves for a in m.attempts if a.ended is not None]
    return max(ends, default=record.run.created)
