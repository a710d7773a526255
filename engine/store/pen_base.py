"""A pen: one transaction's writing, with the audit's event beside each change."""

from __future__ import annotations

from collections.abc import Mapping

from sqlite_utils import Database

from engine.store import events


class PenBase:
    """Base of every pen: the transaction, the time, the audit."""

    def __init__(self, db: Database, now: float) -> None:
        self.db, self.now = db, now

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
            self.db, at=self.now, kind=kind, text=text, run=run, vm=vm, by=by, detail=detail
        )

    def update(self, table: str, key: int, change: Mapping[str, object]) -> None:
        """Change a row by its number."""
        self.db.table(table).update(key, dict(change))

    def insert(self, table: str, row: Mapping[str, object]) -> int:
        """Insert and say the new row's number."""
        key = self.db.table(table).insert(dict(row)).last_pk
        if not isinstance(key, int):
            raise TypeError(f"{table} gave no number for a new row")
        return key
