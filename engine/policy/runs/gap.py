"""Gaps in observation: limits stand still, and after half an hour without an engine runs pause.

Gaps are derived from rows, not from memory: the time of the last observation, and the last time an
engine advanced or tried to. While VMM is silent, an engine still tries. Only a time without an
engine pauses a run, because nobody was told that it stood still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.language.grammar import took
from engine.model import (
    ApprovalState,
    Fleet,
    Move,
    MoveRecord,
    MoveState,
    Run,
    RunRecord,
    RunState,
    same_host,
    short,
)
from engine.policy.facts import Facts
from engine.policy.runs.adoption import newcomers
from engine.policy.steps import ComeBack, SetRunState, Step
from engine.policy.waits import INTERRUPTING, Rules

_NAMED = 5


def resume_after_gap(
    records: Sequence[RunRecord], fleet: Fleet, now: float, rules: Rules, facts: Facts
) -> tuple[list[RunRecord], list[Step]]:
    """Shift limits after a gap, pause runs after an absence; return the runs and these steps."""
    seen: list[RunRecord] = []
    steps: list[Step] = []
    before = facts.before
    for record in records:
        # A run that began after the last observation missed only the time since its beginning.
        # The time that an answer takes is no gap: somebody is looking.
        gap = fleet.at - max(before.answered_at, record.run.began) if before is not None else 0.0
        if gap > rules.gap:
            record = _shifted(record, gap, now)
            steps.append(ComeBack(record.run.id, gap))
        away = _away(record.run, facts, now)
        if away >= rules.away and record.run.state is RunState.ACTIVE:
            said = "; ".join(changes(record, before, fleet, now, rules))
            text = f"{record.run.label} is paused: no engine was running for {took(away)}."
            text += f" Since then: {said or 'nothing relevant has changed'}."
            steps.append(SetRunState(record.run.id, RunState.PAUSED, text))
            record = replace(record, run=replace(record.run, state=RunState.PAUSED))
        seen.append(record)
    return seen, steps


def _away(run: Run, facts: Facts, now: float) -> float:
    """Seconds without an engine: since its last beat, or since the run began or was resumed."""
    return 0.0 if facts.beat is None else now - max(facts.beat, run.anew)


def _shifted(record: RunRecord, gap: float, now: float) -> RunRecord:
    """Shift the limits of a run by ``gap`` seconds, which count against none of them.
    ``RunPen.note_back`` writes the same."""
    run = record.run
    quiet = None if run.quiet_since is None else run.quiet_since + gap
    moves = tuple(replace(entry, move=_later(entry.move, gap)) for entry in record.moves)
    return replace(record, run=replace(run, quiet_since=quiet, back=now), moves=moves)


def _later(move: Move, gap: float) -> Move:
    credit = move.wait_credit
    if move.wait is not None and move.wait not in INTERRUPTING:
        credit -= gap
    down = None if move.down_since is None else move.down_since + gap
    return replace(move, wait_credit=credit, down_since=down)


def changes(
    record: RunRecord, before: Fleet | None, fleet: Fleet, now: float, rules: Rules
) -> list[str]:
    """Changes of VMs, destinations and grants since the observation ``before``, in words."""
    changes = []
    if before is not None:
        changes += [line for entry in record.moves for line in _vm_changes(entry, before, fleet)]
        changes = _some(changes)
        changes += _some([f"{vm.name} is new" for vm, _ in newcomers(record, fleet)])
        changes += [
            line for d in record.run.destinations for line in _host_changes(d, before, fleet)
        ]
    for approval in record.approvals:
        decided = approval.decided or now
        if approval.state is ApprovalState.GRANTED and now - decided >= rules.grant_life:
            changes.append(f"the grant {approval.label} has ended")
    return changes


def _vm_changes(entry: MoveRecord, before: Fleet, fleet: Fleet) -> list[str]:
    move = entry.move
    if move.over:
        return []
    was, is_ = before.vm(move.vm_id), fleet.vm(move.vm_id)
    if is_ is None:
        return [f"{move.vm} is gone"] if was is not None else []
    if was is None or not is_.seen_on:
        return []
    if was.seen_on and not same_host(was.seen_on[0], is_.seen_on[0]):
        return [f"{move.vm} is on {short(is_.seen_on[0])}"]
    if move.state is MoveState.PENDING and was.seen_on and was.down != is_.down:
        return [f"{move.vm} is {'powered down' if is_.down else 'running'}"]
    return []


def _host_changes(name: str, before: Fleet, fleet: Fleet) -> list[str]:
    was, is_ = before.host(name), fleet.host(name)
    if is_ is None:
        return [f"VMM no longer knows {short(name)}"]
    changes = []
    if is_.seen_at is None:
        changes.append(f"{short(name)} does not answer")
    elif is_.maintenance and not (was and was.maintenance):
        changes.append(f"{short(name)} is in maintenance mode")
    if was is not None and (was.live_limit, was.storage_limit) != (
        is_.live_limit,
        is_.storage_limit,
    ):
        limits = f"{is_.live_limit} live, {is_.storage_limit} storage"
        changes.append(f"the limits of {short(name)} are {limits}")
    return changes


def _some(lines: Sequence[str]) -> list[str]:
    """First few lines, then the number of the others."""
    more = [f"and {len(lines) - _NAMED} more VMs"] if len(lines) > _NAMED else []
    return [*lines[:_NAMED], *more]
