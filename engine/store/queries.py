"""Queries: rows as values. They write nothing and take no lock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from engine.model import (
    RUN_ENDS,
    Approval,
    Attempt,
    Damage,
    Doubt,
    Fleet,
    Move,
    MoveRecord,
    OpenCall,
    Options,
    Part,
    PartKind,
    Review,
    Rights,
    Run,
    RunRecord,
    compose,
)
from engine.store import codec, part_rows
from engine.store.database import Row
from engine.store.store import Store

_ENDS = tuple(str(s) for s in RUN_ENDS)
_UNFINISHED = f"state NOT IN ({', '.join('?' * len(_ENDS))})"


def run(store: Store, run_id: int) -> Run | None:
    """Return one run, or ``None``."""
    rows = store.query("SELECT * FROM runs WHERE id = ?", [run_id])
    return codec.of_row(Run, rows[0]) if rows else None


def runs(store: Store, unfinished: bool = False) -> tuple[Run, ...]:
    """Return all runs, oldest first. ``unfinished``: only runs that have not ended."""
    where, args = (f"WHERE {_UNFINISHED}", list(_ENDS)) if unfinished else ("", [])
    rows = store.query(f"SELECT * FROM runs {where} ORDER BY id", args)
    return codec.of_rows(Run, rows)


def record(store: Store, run_id: int) -> RunRecord | None:
    """Return one run with its moves, attempts, networks, approvals and reviews, or ``None``."""
    one = run(store, run_id)
    return _records(store, [one])[0] if one else None


def records(store: Store, vmm: str) -> tuple[RunRecord, ...]:
    """Return every unfinished run of one VMM server, with all its rows as in :func:`record`."""
    return tuple(_records(store, [r for r in runs(store, unfinished=True) if r.vmm == vmm]))


def _records(store: Store, chosen: Iterable[Run]) -> list[RunRecord]:
    """Read any number of runs with five queries in one snapshot."""
    chosen = list(chosen)
    ids = [r.id for r in chosen]
    if not ids:
        return []
    marks = ", ".join("?" * len(ids))
    with store.database().snapshot() as db:
        read = {
            table: db.query(f"SELECT * FROM {table} WHERE run IN ({marks}) ORDER BY {order}", ids)
            for table, order in _OF_A_RUN.items()
        }
    return [_assemble(one, read) for one in chosen]


_OF_A_RUN = {
    "moves": "id",
    "attempts": "id",
    "networks": "vm_id",
    "reviews": "approval",
    "approvals": "id",
}
"""Tables whose rows belong to a run, each with its order."""


def _assemble(one: Run, read: Mapping[str, Sequence[Row]]) -> RunRecord:
    rows = {table: [r for r in found if r["run"] == one.id] for table, found in read.items()}
    attempts: defaultdict[int, list[Attempt]] = defaultdict(list)
    for attempt in codec.of_rows(Attempt, rows["attempts"]):
        attempts[attempt.move].append(attempt)
    networks = {(row["vm_id"], row["role"]): codec.reading(row) for row in rows["networks"]}
    return RunRecord(
        run=one,
        moves=tuple(
            MoveRecord(
                move=move,
                attempts=tuple(attempts[move.id]),
                baseline=networks.get((move.vm_id, "baseline")),
                ports=networks.get((move.vm_id, "ports")),
                models=networks.get((move.vm_id, "models")),
            )
            for move in codec.of_rows(Move, rows["moves"])
        ),
        approvals=codec.of_rows(Approval, rows["approvals"]),
        reviews=codec.of_rows(Review, rows["reviews"]),
    )


_LOST = """FROM attempts JOIN moves ON moves.id = attempts.move
    JOIN runs ON runs.id = attempts.run
    WHERE attempts.ended IS NULL AND attempts.kind IN ('live', 'cold')
    AND moves.state NOT IN ('pending', 'moving', 'restoring') AND runs.vmm = ?"""


def lost_attempts(store: Store, vmm: str) -> tuple[Attempt, ...]:
    """Return LIVE and COLD attempts of all runs that are open although their move has ended."""
    rows = store.query(f"SELECT attempts.* {_LOST} ORDER BY attempts.id", [vmm])
    return codec.of_rows(Attempt, rows)


def options_of_lost(store: Store, vmm: str) -> dict[int, Options]:
    """Return the options of the runs of :func:`lost_attempts`, by run."""
    rows = store.query(f"SELECT DISTINCT runs.id, runs.options {_LOST}", [vmm])
    return {row["id"]: codec.from_json(Options, row["options"]) for row in rows}


def doubts(store: Store, vmm: str) -> tuple[Doubt, ...]:
    """Return the VMs whose location is unknown and not settled, with all hosts of the run. Other
    runs prove nothing: a move with a higher number may have ended long before."""
    rows = store.query(
        """SELECT moves.vm_id, moves.run, moves.host, runs.sources, runs.destinations
           FROM moves JOIN runs ON runs.id = moves.run
           WHERE moves.state = 'unknown' AND moves.settled IS NULL AND runs.vmm = ?
           ORDER BY moves.id""",
        [vmm],
    )
    return tuple(codec.doubt(row) for row in rows)


def damages(store: Store, vmm: str) -> tuple[Damage, ...]:
    """Return the damaged VMs of all runs that are not cleared. VMs whose network is being checked
    again (``MoveRecord.looked_at_again``) count as damaged until the result is known."""
    rows = store.query(
        """SELECT moves.run, moves.vm, moves.host FROM moves JOIN runs ON runs.id = moves.run
           WHERE moves.cleared IS NULL AND runs.vmm = ? AND moves.host IS NOT NULL
           AND (moves.state = 'damaged' OR moves.state = 'restoring' AND moves.retried IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.move = moves.id
               AND attempts.kind IN ('live', 'cold') AND attempts.begun >= moves.retried))
           ORDER BY moves.id""",
        [vmm],
    )
    return tuple(Damage(row["run"], row["vm"], row["host"]) for row in rows)


def verdicts(store: Store, vmm: str) -> dict[str, Move]:
    """Return the latest done or damaged move, in any run, of each VM that has a pending move. The
    keys are VM ids."""
    rows = store.query(
        """SELECT moves.* FROM moves JOIN runs ON runs.id = moves.run
           WHERE moves.state IN ('done', 'damaged') AND runs.vmm = ?
           AND moves.vm_id IN (SELECT vm_id FROM moves WHERE state = 'pending')
           ORDER BY moves.id""",
        [vmm],
    )
    return {row["vm_id"]: codec.of_row(Move, row) for row in rows}


def open_calls(store: Store, vmm: str) -> tuple[OpenCall, ...]:
    """Return the calls that have no answer yet, of earlier engines, too, in the order in which they
    were begun."""
    rows = store.query(
        """SELECT id, kind, hosts, moves, attempts, epoch, begun, deadline, not_after, job
           FROM calls WHERE vmm = ? AND ended IS NULL ORDER BY id""",
        [vmm],
    )
    return codec.of_rows(OpenCall, rows)


def rights(store: Store, vmm: str) -> tuple[Rights, ...]:
    """Return the rights last found on each host."""
    rows = store.query("SELECT host, at, ok, why FROM rights WHERE vmm = ? ORDER BY host", [vmm])
    return codec.of_rows(Rights, rows)


def beat(store: Store, vmm: str) -> float | None:
    """Return when an engine last advanced this VMM server, or tried to. ``None``: never."""
    rows = store.query("SELECT beat FROM leases WHERE vmm = ?", [vmm])
    return rows[0]["beat"] if rows else None


def newest(store: Store) -> float:
    """Return the time of the newest event, or 0 if there is no event."""
    (row,) = store.query("SELECT coalesce(max(at), 0) AS at FROM events")
    return float(row["at"])


def parts(store: Store, vmm: str) -> tuple[Part, ...]:
    """Return the parts of what is known of this VMM server."""
    return part_rows.read(store, vmm)


def fleet(store: Store, vmm: str) -> Fleet | None:
    """Return what is known of this VMM server, or ``None`` if VMM has not answered yet."""
    found = part_rows.read(store, vmm)
    is_known = any(p.kind is PartKind.SITE and p.body is not None for p in found)
    return compose(vmm, found) if is_known else None


def approval(store: Store, approval_id: int) -> Approval | None:
    """Return one approval, or ``None``."""
    rows = store.query("SELECT * FROM approvals WHERE id = ?", [approval_id])
    return codec.of_row(Approval, rows[0]) if rows else None


def names_on(store: Store, approval_id: int) -> tuple[str, ...]:
    """Return the names of the VMs of an approval, in its order. Faster than ``record``."""
    asked = approval(store, approval_id)
    if asked is None:
        return ()
    rows = store.query("SELECT vm_id, vm FROM moves WHERE run = ?", [asked.run])
    names = {row["vm_id"]: row["vm"] for row in rows}
    return tuple(names.get(vm_id, vm_id) for vm_id in asked.vms)


def open_approvals(store: Store) -> tuple[Approval, ...]:
    """Return the approvals that await a decision, oldest first."""
    rows = store.query("SELECT * FROM approvals WHERE state = 'requested' ORDER BY id")
    return codec.of_rows(Approval, rows)


def reviews(store: Store, run_id: int) -> tuple[Review, ...]:
    """Return the reviews of this run's break-glass approvals, open or not."""
    rows = store.query("SELECT * FROM reviews WHERE run = ? ORDER BY approval", [run_id])
    return codec.of_rows(Review, rows)


def votes(store: Store, approval_id: int) -> tuple[Row, ...]:
    """Return every vote on this approval, counted or not, oldest first."""
    return tuple(store.query("SELECT * FROM votes WHERE approval = ? ORDER BY id", [approval_id]))
