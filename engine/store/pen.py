"""The pen: writes each change of a row, checked against the state tables, with its event.

A :class:`Pen` lives for one transaction. Only pens write runs, moves, attempts, networks, rights,
approvals and events. The engine writes behind a fence, people do not. Each part of a pen writes
one kind of row, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from engine.errors import Overtaken
from engine.model import Part, Rights, RunRecord
from engine.store import codec, part_rows
from engine.store.database import Database
from engine.store.leases import Fence
from engine.store.pen_attempts import AttemptPen, CallPen, NetworkPen
from engine.store.pen_moves import MovePen
from engine.store.pen_runs import ApprovalPen, RunPen
from engine.store.store import Store
from engine.store.transaction import Transaction


@contextmanager
def writing(
    store: Store, now: float, fence: Fence | None = None, *, cause: str | None = None
) -> Iterator[Pen]:
    """Open a pen in a transaction of its own. Its events carry ``cause``. With a ``fence``, raises
    ``Fenced`` if another engine took over."""
    with store.transaction() as db:
        if fence is not None:
            fence.check(db)
        yield Pen(db, now, cause)


class Pen(Transaction):
    """Writer of one transaction. Rows of a whole VMM server are written by the pen itself, other
    rows by its parts."""

    def __init__(self, db: Database, now: float, cause: str | None = None) -> None:
        super().__init__(db, now, cause)
        self.runs, self.approvals = RunPen(db, now, cause), ApprovalPen(db, now, cause)
        self.moves, self.attempts = MovePen(db, now, cause), AttemptPen(db, now, cause)
        self.networks, self.calls = NetworkPen(db, now, cause), CallPen(db, now, cause)

    def keep_part(self, vmm: str, part: Part, *, with_answer: bool = True) -> None:
        """Replace one part of what is known of a VMM server, or only its age."""
        part_rows.write(self.db, vmm, part, with_answer)

    def drop_part(self, vmm: str, part: Part) -> None:
        """Delete one part, of a host that VMM no longer knows."""
        part_rows.drop(self.db, vmm, part)

    def expect(self, records: Sequence[RunRecord]) -> None:
        """Raise ``Overtaken`` if a run, its options, a move or an approval has changed since these
        records were read: the plan made from them is void."""
        for record in records:
            run = record.run
            (row,) = self.db.query("SELECT state, options FROM runs WHERE id = ?", [run.id])
            same = row["state"] == run.state and row["options"] == codec.to_json(run.options)
            moves = {m.move.id: str(m.move.state) for m in record.moves}
            asked = {a.id: str(a.state) for a in record.approvals}
            if not same or self._states("moves", run.id) != moves:
                raise Overtaken(f"{run.label} was changed meanwhile; planning again.")
            if self._states("approvals", run.id) != asked:
                raise Overtaken(f"{run.label} was decided on meanwhile; planning again.")

    def _states(self, table: str, run: int) -> dict[int, str]:
        rows = self.db.query(f"SELECT id, state FROM {table} WHERE run = ?", [run])
        return {row["id"]: row["state"] for row in rows}

    def keep_beat(self, vmm: str) -> None:
        """Write that an engine advances this VMM server now, or tries to."""
        self.db.execute("UPDATE leases SET beat = ? WHERE vmm = ?", [self.now, vmm])

    def keep_rights(self, vmm: str, rights: Rights) -> None:
        """Replace the rights found on one host."""
        ok = None if rights.ok is None else int(rights.ok)
        row = {"vmm": vmm, "host": rights.host, "at": rights.at, "ok": ok, "why": rights.why}
        self.db.upsert("rights", row, "vmm", "host")
