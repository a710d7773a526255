"""The open transaction of a pen: its database, its time, and its events."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import Move
from engine.store import codec, events
from engine.store.database import Database


class Transaction:
    """An open transaction that all parts of a pen share. ``now`` (Unix seconds UTC) and ``cause``
    are the time and the cause of all its events."""

    def __init__(self, db: Database, now: float, cause: str | None = None) -> None:
        self.db, self.now, self.cause = db, now, cause

    def event(
        self,
        kind: str,
        text: str,
        *,
        run: int | None = None,
        vm: str | None = None,
        by: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Append an event to the audit, chained to the last one."""
        last = self.db.query("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1")
        seq, prev = (last[0]["seq"] + 1, last[0]["hash"]) if last else (1, events.GENESIS)
        body = {
            "seq": seq,
            "at": float(self.now),
            "kind": kind,
            "run": run,
            "vm": vm,
            "by": by,
            **codec.sentence_columns("text", text),
            "detail": codec.dumps(detail or {}),
            "cause": self.cause,
        }
        hashed = {"prev": prev, "hash": events.digest(prev, body)}
        self.db.insert("events", {**body, **hashed}, "seq")

    def move_event(
        self, move: Move, kind: str, text: str, detail: Mapping[str, object], by: str | None = None
    ) -> None:
        """Append an event about one VM of a run to the audit."""
        body = {"vm_id": move.vm_id, **detail}
        self.event(kind, text, run=move.run, vm=move.vm, by=by, detail=body)
