"""A pen: one transaction's writing, with the audit's event beside each change."""

from __future__ import annotations

from collections.abc import Mapping

from engine.store import events
from engine.store.database import Database


class PenBase:
    """Base of every pen: the transaction, the time, the cause of its changes, the audit."""

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
