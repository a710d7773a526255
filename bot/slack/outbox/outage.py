"""Outages of Slack: from the first call that it did not answer to the next one that it did."""

from __future__ import annotations

from dataclasses import dataclass

from engine.store import events
from engine.store.database import Database
from engine.store.store import Store

WORTH_TELLING = 600.0  # seconds of the wall


@dataclass(frozen=True)
class Outage:
    """An outage: ``since`` and ``until`` by the wall clock; ``seq`` is the last event before it."""

    since: float
    until: float | None
    seq: int
    error: str


class Outages:
    """The latest outage, as a row. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def latest(self) -> Outage | None:
        """Outage that goes on, or that is over and was not reported yet."""
        rows = self.store.query("SELECT since, until, seq, error FROM slack_outage")
        return next((Outage(**row) for row in rows), None)

    def begin(self, since: float, error: str) -> None:
        """Begin an outage. An outage that was over and not reported yet simply goes on."""
        last = events.latest(self.store, 1)
        with self.store.transaction() as db:
            db.execute(
                "INSERT INTO slack_outage (id, since, seq, error) VALUES (1, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET until = NULL",
                [since, last[-1].seq if last else 0, error],
            )

    def end(self, at: float) -> None:
        """End an outage: Slack answers again. An outage that was too short to be noticed is
        forgotten."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM slack_outage WHERE ? - since < ?", [at, WORTH_TELLING])
            db.execute("UPDATE slack_outage SET until = ?", [at])

    def close(self, db: Database) -> None:
        """Forget the outage: messages about what was missed are in the outbox (within the caller's
        transaction)."""
        db.execute("DELETE FROM slack_outage WHERE until IS NOT NULL")
