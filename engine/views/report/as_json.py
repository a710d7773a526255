"""Report of a run as the JSON document of the public contract.

Everything is derived from rows. Attempts give durations and the lower bound, events give the waits
of each VM by cause, and saved and read networks give the missing settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.model import (
    MIGRATIONS,
    MOVED,
    Approval,
    Attempt,
    Event,
    Fleet,
    MoveRecord,
    MoveState,
    Run,
    RunRecord,
    RunState,
)
from engine.policy.judging import network
from engine.policy.runs.ending import GOOD
from engine.store import events, queries
from engine.store.store import Store
from engine.views.report import lower_bound, waited

FORMAT = 1
Body = dict[str, Any]


def document(
    store: Store,
    vmm: str,
    now: float,
    *,
    run_id: int | None = None,
    start: float | None = None,
    story: str | None = None,
    seed: int = 0,
    exit_code: int | None = None,
    world: Body | None = None,
) -> Body:
    """Build the whole document of the contract. Times are seconds since ``start``; ``None``: since
    the first of the runs was requested.

    ``world``: ``{"calls": [...], "fleet": {...}, "violations": [...]}`` of a simulated world, with
    times in Unix seconds. Without it, ``calls`` is empty and the others are null."""
    runs = [r for r in queries.runs(store) if run_id is None or r.id == run_id]
    origin = start if start is not None else min((r.created for r in runs), default=now)
    fleet = queries.fleet(store, vmm)
    history = events.since(store, run=run_id)
    records = [_record(store, run) for run in runs]
    bodies = [_run(record, fleet, history, origin, now) for record in records]
    worst = max((body["exit"] for body in bodies), default=0)
    return {
        "format": FORMAT,
        "story": story,
        "seed": seed,
        "exit": exit_code if exit_code is not None else worst,
        "ended": all(run.over for run in runs),
        "runs": bodies,
        "approvals": [
            _approval(store, record, a, origin) for record in records for a in record.approvals
        ],
        "events": [event_body(e, origin) for e in history],
        **_world(world, origin),
        "audit": events.head(store)[:8],
    }


def _world(world: Body | None, origin: float) -> Body:
    """Calls, fleet and violations of a simulated world; empty or null for a real one."""
    if world is None:
        return {"calls": [], "fleet": None, "violations": None}
    broken = world["violations"]
    return {
        "calls": [_shifted(c, origin, "t", "ended") for c in world["calls"]],
        "fleet": world["fleet"],
        "violations": None if broken is None else [_shifted(v, origin, "t") for v in broken],
    }


def exit_of(record: RunRecord) -> int:
    """Exit code of a run. 0: completed, each move done, EXCLUDED, ELSEWHERE or VANISHED; else 1."""
    if record.run.state is not RunState.COMPLETED:
        return 1
    return 0 if all(m.move.outcome in GOOD for m in record.moves) else 1


def tries(move: Mapping[str, Any]) -> int:
    """Number of LIVE and COLD attempts of a move of the document, without those that a lock, a full
    host or a stale observation refused: the request does not count them."""
    free = ("locked", "busy", "stale")
    return sum(a["kind"] in MIGRATIONS and a["result"] not in free for a in move["attempts"])


def _record(store: Store, run: Run) -> RunRecord:
    record = queries.record(store, run.id)
    assert record is not None
    return record


def _at(time: float | None, origin: float) -> float | None:
    return None if time is None else round(time - origin, 1)


def _shifted(entry: Mapping[str, Any], origin: float, *keys: str) -> Body:
    return {**entry, **{key: _at(entry[key], origin) for key in keys}}


def _run(
    record: RunRecord, fleet: Fleet | None, history: Sequence[Event], origin: float, now: float
) -> Body:
    run = record.run
    mine = waited.by_vm(e for e in history if e.run == run.id)
    began = run.started if run.started is not None else run.created
    end = run.ended if run.ended is not None else now
    releases = lower_bound.releases(record, mine, began, end)
    return {
        "id": run.label,
        "exit": exit_of(record),
        "request": run.request,
        "by": run.by,
        "state": str(run.state),
        "sources": list(run.sources),
        "destinations": list(run.destinations),
        "empty": {host: host in run.empty for host in run.sources if run.kind == "host"},
        "source_vms": _names(m for m in record.moves if not m.move.adopted),
        "later_vms": _names(m for m in record.moves if m.move.adopted),
        "unmoved": _names(m for m in record.moves if m.move.state not in MOVED),
        "makespan": round(end - began, 1),
        "bound": round(lower_bound.lower_bound(record, fleet, releases), 1),
        "idle": lower_bound.idle(record, fleet, mine, began, end),
        "moves": [_move(m, mine.get(m.move.vm_id, ()), origin, end) for m in record.moves],
    }


def _names(moves: Iterable[MoveRecord]) -> list[str]:
    return [entry.move.vm for entry in moves]


def _move(entry: MoveRecord, history: Sequence[Event], origin: float, end: float) -> Body:
    move = entry.move
    return {
        "vm": move.vm,
        "vm_id": move.vm_id,
        "source": move.source,
        "destination": move.destination,
        "host": move.host,
        "state": str(move.state),
        "outcome": str(move.outcome) if move.outcome else None,
        "kind": str(move.kind) if move.kind else None,
        "adopted": move.adopted,
        "attempts": [_attempt(a, origin) for a in entry.attempts],
        "minutes": _minutes(entry, end),
        "waited": waited.waited(history, end),
        "repairs": [
            {key: e.detail[key] for key in ("adapter", "what", "value")}
            for e in history
            if e.kind == "network.repaired"
        ],
        "missing": _missing(entry),
        "sentence": move.sentence,
        "next": move.next,
    }


def _minutes(entry: MoveRecord, end: float) -> float | None:
    """Minutes that all LIVE and COLD attempts ran, open ones until ``end``; ``None``: none."""
    migrations = entry.of(*MIGRATIONS)
    if not migrations:
        return None
    times = (a.times or (a.begun, end) for a in migrations)
    seconds = sum(ended - begun for begun, ended in times)
    return round(seconds / 60, 1)


def _attempt(attempt: Attempt, origin: float) -> Body:
    return {
        "kind": str(attempt.kind),
        "at": _at(attempt.begun, origin),
        "ended": _at(attempt.ended, origin),
        "result": str(attempt.result) if attempt.result else None,
        "job": attempt.job,
        "error": attempt.error,
    }


def _missing(entry: MoveRecord) -> list[Body]:
    """Settings that a damaged VM's network lacks, by a new comparison."""
    if entry.move.state is not MoveState.DAMAGED or not entry.baseline or not entry.ports:
        return []
    lacking = network.compare(entry.baseline.network, network.found(entry))
    return [{"adapter": d.adapter, "what": d.what, "value": d.value} for d in lacking]


def event_body(event: Event, origin: float) -> Body:
    """Render one event for the document. ``t`` is seconds since ``origin``."""
    return {
        "seq": event.seq,
        "t": _at(event.at, origin),
        "kind": event.kind,
        "run": f"R{event.run}" if event.run else None,
        "vm": event.vm,
        "by": event.by,
        "text": event.text,
        "cause": event.cause,
        "detail": dict(event.detail),
    }


def _review(record: RunRecord, approval: Approval, origin: float) -> Body | None:
    """Review of a break-glass approval: reviewer, time, verdict and note; ``None``: no review."""
    found = next((one for one in record.reviews if one.approval == approval.id), None)
    if found is None:
        return None
    t = None if found.at is None else _at(found.at, origin)
    return {"in_order": found.in_order, "by": found.by, "t": t, "note": found.note}


def _approval(store: Store, record: RunRecord, approval: Approval, origin: float) -> Body:
    names = {m.move.vm_id: m.move.vm for m in record.moves}
    return {
        "id": approval.label,
        "run": record.run.label,
        "state": str(approval.state),
        "vms": [names.get(v, v) for v in approval.vms],
        "break_glass": approval.glass,
        "review": _review(record, approval, origin),
        "votes": [
            {"by": v["by"], "verdict": v["verdict"], "t": _at(float(str(v["at"])), origin)}
            for v in queries.votes(store, approval.id)
            if v["counted"]
        ],
    }
