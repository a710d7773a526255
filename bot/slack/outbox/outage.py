"""Outages of Slack: from the first unanswered call to the next answered one."""

from __future__ import annotations

from dataclasses import dataclass

from engine.store import events
from engine.store.database import Database
from engine.store.store import Store

WORTH_TELLING = 600.0  # seconds (wall clock)


@dataclass(frozen=True)
class Outage:
    """An outage, from ``since`` to ``until`` (wall clock). ``seq``: the last event before it."""

    since: float
    until: float | None
    seq: int
    error: str


class Outages:
    """The latest outage, stored as a row. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def latest(self) -> Outage | None:
        """The current outage, or a past one that was not reported yet."""
        rows = self.store.query("SELECT since, until, seq, error FROM slack_outage")
        return next((Outage(**row) for row in rows), None)

    def begin(self, since: float, error: str) -> None:
        """Begin an outage. A past one that was not reported yet continues instead."""
        last = events.latest(self.store, 1)
        with self.store.transaction() as db:
            db.execute(
                "INSERT INTO slack_outage (id, since, seq, error) VALUES (1, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET until = NULL",
                [since, last[-1].seq if last else 0, error],
            )

    def end(self, at: float) -> None:
        """End the outage: Slack answers again. If it lasted less than ten minutes, forget it."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM slack_outage WHERE ? - since < ?", [at, WORTH_TELLING])
            db.execute("UPDATE slack_outage SET until = ?", [at])

    def close(self, db: Database) -> None:
        """Forget an outage that is over: the messages about it are in the outbox. Writes inside the
        caller's transaction."""
        db.execute("DELETE FROM slack_outage WHERE until IS NOT NULL")
