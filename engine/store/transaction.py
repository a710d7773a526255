"""One transaction's writing: the database, the time, and the audit of every change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.model import Move
from engine.store import events
from engine.store.database import Database


@dataclass(frozen=True)
class Transaction:
    """A transaction that is open, shared by all parts of a pen. ``now`` (UTC seconds) is the time
    of each of its changes and events, ``cause`` what made them."""

    db: Database
    now: float
    cause: str | None = None

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
        """Append to the audit."""
        events.append(
            self.db,
            at=self.now,
            kind=kind,
            text=text,
            run=run,
            vm=vm,
            by=by,
            detail=detail,
            cause=self.cause,
        )

    def move_event(
        self,
        move: Move,
        kind: str,
        text: str,
        detail: Mapping[str, object],
        by: str | None = None,
    ) -> None:
        """Append an event about one VM of a run to the audit."""
        body = {"vm_id": move.vm_id, **detail}
        self.event(kind, text, run=move.run, vm=move.vm, by=by, detail=body)
