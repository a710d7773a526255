"""What happened: the JSON document of the public contract, and its words for people.

Everything is derived from rows: attempts give durations and the lower bound, events give how
long each VM waited for what, saved and read networks give what is missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from engine.grammar import took as spell_time
from engine.model import (
    MIGRATIONS,
    RUN_ENDS,
    Approval,
    Attempt,
    Event,
    Fleet,
    MoveRecord,
    MoveState,
    Result,
    Run,
    RunRecord,
    RunState,
    same_host,
    short,
)
from engine.policy import network
from engine.policy.ending import GOOD
from engine.store import events, queries
from engine.store.store import Store

FORMAT = 1
Json = dict[str, Any]


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
    world: Json | None = None,
) -> Json:
    """The whole document of the contract. Times are seconds since ``start`` (the first run).

    ``world``: ``{"calls": [...], "fleet": {...}, "violations": [...]}`` of a simulated world, with
    absolute times; without one these are empty or null.
    """
    runs = [r for r in queries.runs(store) if run_id is None or r.id == run_id]
    origin = start if start is not None else min((r.created for r in runs), default=now)
    fleet = queries.fleet(store, vmm)
    told = events.since(store, run=run_id)
    bodies = [_run(store, run, fleet, told, origin, now) for run in runs]
    world = world or {"calls": [], "fleet": None, "violations": None}
    worst = max((body["exit"] for body in bodies), default=0)
    return {
        "format": FORMAT,
        "story": story,
        "seed": seed,
        "exit": exit_code if exit_code is not None else worst,
        "ended": all(run.over for run in runs),
        "runs": bodies,
        "approvals": [
            _approval(store, a, origin) for run in runs for a in _record(store, run).approvals
        ],
        "events": [_event(e, origin) for e in told],
        "calls": [_shifted(c, origin, "t", "ended") for c in world["calls"]],
        "fleet": world["fleet"],
        "violations": None
        if world["violations"] is None
        else [_shifted(v, origin, "t") for v in world["violations"]],
        "audit": events.head(store)[:8],
    }


def exit_of(record: RunRecord) -> int:
    """0: every move done, or skipped as EXCLUDED, ELSEWHERE or VANISHED; 1: anything else."""
    if record.run.state is not RunState.COMPLETED:
        return 1
    return 0 if all(m.move.outcome in GOOD for m in record.moves) else 1


def _record(store: Store, run: Run) -> RunRecord:
    record = queries.record(store, run.id)
    assert record is not None
    return record


def _at(time: float | None, origin: float) -> float | None:
    return None if time is None else round(time - origin, 1)


def _shifted(entry: Mapping[str, Any], origin: float, *keys: str) -> Json:
    return {**entry, **{key: _at(entry[key], origin) for key in keys}}


def _run(
    store: Store,
    run: Run,
    fleet: Fleet | None,
    told: Sequence[Event],
    origin: float,
    now: float,
) -> Json:
    record = _record(store, run)
    mine = [e for e in told if e.run == run.id]
    began = run.started if run.started is not None else run.created
    end = run.ended if run.ended is not None else now
    return {
        "id": run.label,
        "exit": exit_of(record),
        "request": run.request,
        "by": run.by,
        "state": str(run.state),
        "sources": list(run.sources),
        "destinations": list(run.destinations),
        "empty": {host: host in run.empty for host in run.sources if run.kind == "host"},
        "makespan": round(end - began, 1),
        "bound": round(lower_bound(record, fleet, _releases(record, mine, began, end)), 1),
        "idle": _idle(record, fleet, mine, began, end),
        "moves": [_move(entry, mine, origin, end) for entry in record.moves],
    }


def _move(entry: MoveRecord, told: Sequence[Event], origin: float, end: float) -> Json:
    move = entry.move
    mine = [e for e in told if e.detail.get("vm_id") == move.vm_id]
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
        "waited": _waited(mine, end),
        "repairs": [
            {key: e.detail[key] for key in ("adapter", "what", "value")}
            for e in mine
            if e.kind == "network.repaired"
        ],
        "missing": _missing(entry),
        "sentence": move.sentence,
        "next": move.next,
    }


def _attempt(attempt: Attempt, origin: float) -> Json:
    return {
        "kind": str(attempt.kind),
        "at": _at(attempt.begun, origin),
        "ended": _at(attempt.ended, origin),
        "result": str(attempt.result) if attempt.result else None,
        "job": attempt.job,
        "error": attempt.error,
    }


def _missing(entry: MoveRecord) -> list[Json]:
    """What a damaged VM's network lacks, compared afresh."""
    if entry.move.state is not MoveState.DAMAGED or not entry.baseline or not entry.reading:
        return []
    lacking = network.compare(entry.baseline.network, entry.reading.network)
    return [{"adapter": d.adapter, "what": d.what, "value": d.value} for d in lacking]


def _waits(told: Sequence[Event], end: float) -> list[tuple[str, float, float]]:
    """(code, from, until) of each wait of one VM, from its events."""
    spans: list[tuple[str, float, float]] = []
    code, since = "", 0.0
    for event in told:
        if not event.kind.startswith("move."):
            continue
        if code:
            spans.append((code, since, event.at))
        code = str(event.detail["wait"]) if event.kind == "move.waiting" else ""
        since = event.at
    if code:
        spans.append((code, since, max(since, end)))
    return spans


def _waited(told: Sequence[Event], end: float) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for code, since, until in _waits(told, end):
        total[code] += until - since
    return {code: round(seconds, 1) for code, seconds in sorted(total.items())}


def _event(event: Event, origin: float) -> Json:
    return {
        "seq": event.seq,
        "t": _at(event.at, origin),
        "kind": event.kind,
        "run": f"R{event.run}" if event.run else None,
        "vm": event.vm,
        "by": event.by,
        "text": event.text,
        "detail": dict(event.detail),
    }


def _approval(store: Store, approval: Approval, origin: float) -> Json:
    names = {m.move.vm_id: m.move.vm for m in _record_of(store, approval.run).moves}
    return {
        "id": approval.label,
        "run": f"R{approval.run}",
        "state": str(approval.state),
        "vms": [names.get(v, v) for v in approval.vms],
        "votes": [
            {"by": v["by"], "verdict": v["verdict"], "t": _at(float(str(v["at"])), origin)}
            for v in queries.votes(store, approval.id)
            if v["counted"]
        ],
    }


def _record_of(store: Store, run_id: int) -> RunRecord:
    record = queries.record(store, run_id)
    assert record is not None
    return record


# --- how good it was ------------------------------------------------------------------------


def _copies(record: RunRecord) -> list[Attempt]:
    """The LIVE and COLD attempts that ran, failed ones too: each held a slot at both hosts."""
    ran = (Result.OK, Result.FAILED)
    return [
        a
        for m in record.moves
        for a in m.attempts
        if a.kind in MIGRATIONS and a.result in ran and a.ended is not None
    ]


def _releases(
    record: RunRecord, told: Sequence[Event], began: float, end: float
) -> dict[int, float]:
    """Seconds after the start before which each move could not begin, whatever we did: a backup,
    a person's answer, somebody else's migration, a checkpoint being made."""
    outside = ("BACKUP", "APPROVAL", "FOREIGN", "TRANSIENT")
    releases: dict[int, float] = {}
    for entry in record.moves:
        mine = [e for e in told if e.detail.get("vm_id") == entry.move.vm_id]
        ends = [until for code, _, until in _waits(mine, end) if code in outside]
        releases[entry.move.id] = max((until - began for until in ends), default=0.0)
    return releases


def lower_bound(
    record: RunRecord, fleet: Fleet | None, releases: Mapping[int, float] | None = None
) -> float:
    """Seconds that no schedule could beat: each host's copies over its slots, and for every VM
    the moment it was released plus its copies."""
    work: defaultdict[str, float] = defaultdict(float)
    chains = defaultdict(float, releases or {})
    for copy in _copies(record):
        seconds = (copy.ended or copy.begun) - copy.begun
        chains[copy.move] += seconds
        for host in (copy.source, copy.destination):
            if host:
                work[host] += seconds
    least = max(chains.values(), default=0.0)
    return max([least, *(seconds / _slots(host, fleet) for host, seconds in work.items())])


def _slots(name: str, fleet: Fleet | None) -> int:
    host = fleet.host(name) if fleet else None
    return max(1, min(host.live_limit, host.storage_limit)) if host else 2


def _idle(
    record: RunRecord, fleet: Fleet | None, told: Sequence[Event], began: float, end: float
) -> dict[str, float]:
    """Slot seconds of the sources that nobody used while VMs there waited, by what for.

    Where several things are waited for, the one that most VMs wait for is named.
    """
    idle: defaultdict[str, float] = defaultdict(float)
    for source in record.run.sources:
        here = [m for m in record.moves if same_host(m.move.source, source)]
        spans = [
            span
            for m in here
            for span in _waits([e for e in told if e.detail.get("vm_id") == m.move.vm_id], end)
        ]
        copies = [a for m in here for a in m.attempts if a.kind in MIGRATIONS]
        edges = {began, end, *(t for _, a, b in spans for t in (a, b))}
        edges |= {t for c in copies for t in (c.begun, c.ended or end)}
        ordered = sorted(t for t in edges if began <= t <= end)
        for left, right in pairwise(ordered):
            busy = sum(c.begun <= left and (c.ended or end) >= right for c in copies)
            waiting = [code for code, a, b in spans if a <= left and b >= right]
            free = _slots(source, fleet) - busy
            if free > 0 and waiting:
                cause = max(sorted(set(waiting)), key=waiting.count)
                idle[cause] += min(free, len(waiting)) * (right - left)
    return {code: round(seconds, 1) for code, seconds in sorted(idle.items()) if seconds > 0}


# --- words ----------------------------------------------------------------------------------


def headline(run: Mapping[str, Any]) -> str:
    """The first line of the final report: ``R214 ended: 41 of 42 moved, HV01 is not empty``."""
    moves = run["moves"]
    moved = sum(m["state"] in ("done", "damaged") for m in moves)
    if not _is_over(run):
        return f"{run['id']} is {run['state']}: {moved} of {len(moves)} moved so far"
    hosts = [
        f"{short(host)} is {'empty' if empty else 'not empty'}"
        for host, empty in run["empty"].items()
    ]
    return ", ".join([f"{run['id']} ended: {moved} of {len(moves)} moved", *hosts])


def summary(run: Mapping[str, Any]) -> list[str]:
    """The final report of one run, a fact a line, what to do last. Terminal and Slack share it."""
    moves = run["moves"]
    moved = [m for m in moves if m["state"] in ("done", "damaged")]
    live, cold = (sum(m["kind"] == kind for m in moved) for kind in ("live", "cold"))
    took = spell_time(run["makespan"])
    pace = _pace(run) if _is_over(run) else " until now"
    lines = [headline(run), f"{live} live, {cold} powered down, {took}{pace}"]
    for host, empty in run["empty"].items():
        if empty:
            lines.append(f"{short(host)}: VMM and Hyper-V both showed no VM, twice")
    retried = [m for m in moved if len(_migrations(m)) > 1]
    if retried:
        names = [f"{m['vm']} ({len(_migrations(m))} attempts)" for m in retried]
        lines.append(f"Retried: {_some(names)}")
    lines.append(_network_line(moved))
    for move in moves:
        if move["state"] in ("failed", "unknown", "damaged", "skipped"):
            lines.append(f"{_WORDS[move['state']]} {move['sentence']} {move['next']}".strip())
    lines.append(f"Asked by {run['by']}")
    return lines


def _is_over(run: Mapping[str, Any]) -> bool:
    return RunState(run["state"]) in RUN_ENDS


def _some(names: Sequence[str]) -> str:
    """The first few names; the rest as a number, so that what follows is still read."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_NAMED = 8
_WORDS = {
    "failed": "Not moved:",
    "unknown": "Needs a person:",
    "damaged": "Damaged:",
    "skipped": "Left:",
}


def _migrations(move: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [a for a in move["attempts"] if a["kind"] in ("live", "cold")]


def _pace(run: Mapping[str, Any]) -> str:
    bound = run["bound"]
    if bound <= 0:
        return ""
    return f" ({run['makespan'] / bound:.2f} x the lower bound of {spell_time(bound)})"


def _network_line(moved: Sequence[Mapping[str, Any]]) -> str:
    saved = [m for m in moved if any(a["kind"] == "baseline" for a in m["attempts"])]
    intact = sum(not m["missing"] for m in saved)
    line = f"Network: {intact} of {len(saved)} match their saved state"
    repairs: defaultdict[str, set[str]] = defaultdict(set)
    counts: defaultdict[str, int] = defaultdict(int)
    for move in moved:
        for repair in move["repairs"]:
            counts[repair["what"]] += 1
            repairs[repair["what"]].add(move["vm"])
    if counts:
        told = "; ".join(
            f"{_count(counts[what], what)} on {_some(sorted(repairs[what]))}"
            for what in sorted(counts)
        )
        line += f"; put back {told}"
    return line


_NAMES = {
    "acl": "extended ACL",
    "classic_acl": "classic ACL",
    "network": "VM network",
    "subnet": "subnet",
    "switch": "switch",
    "vlan": "VLAN",
    "isolation": "isolation setting",
    "classification": "port classification",
    "port_acl": "port ACL",
    "spoofing": "spoofing setting",
    "guards": "guard setting",
}


def _count(number: int, what: str) -> str:
    name = _NAMES.get(what, what)
    if number == 1:
        return f"1 {name}"
    return f"{number} {name}{'es' if name.endswith('h') else 's'}"
