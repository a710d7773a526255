"""Watched runs: the channel in which each is reported, and problems with that channel.

Functions that take ``db`` write inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bot.slack.kit.message_kinds import Key
from engine.store.database import Database
from engine.store.store import Store


@dataclass(frozen=True)
class Watched:
    """Run that is watched in a channel until it is closed.

    ``since``: when its board began to wait, by the wall clock, as the engine's may be simulated.
    ``error``: why its board cannot be posted. ``trouble``: Slack's last temporary error for the
    board. ``lost``: why nothing can be posted in ``channel`` any more; ``moved_from`` and
    ``moved_for``: the previous channel, and why it was given up.
    """

    run: int
    channel: str
    by: str
    inbox: int
    error: str = ""
    since: float | None = None
    trouble: str = ""
    lost: str = ""
    moved_from: str = ""
    moved_for: str = ""


class WatchedRuns:
    """Rows of watched runs. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def watch(self, db: Database, run: int, channel: str, by: str, inbox: int) -> None:
        """Report this run in the channel where it was requested. Idempotent."""
        db.execute(
            "INSERT INTO slack_runs (run, channel, by, inbox) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (run) DO NOTHING",
            [run, channel, by, inbox],
        )

    def watched(self) -> tuple[Watched, ...]:
        """Runs whose last message is not in the outbox yet."""
        rows = self.store.query(
            "SELECT run, channel, by, inbox, error, since, trouble, lost, moved_from, moved_for"
            " FROM slack_runs WHERE closed = 0 ORDER BY run"
        )
        return tuple(Watched(**row) for row in rows)

    def channels(self) -> tuple[tuple[int, str], ...]:
        """All runs that are or were watched, each with its channel."""
        rows = self.store.query("SELECT run, channel FROM slack_runs ORDER BY run")
        return tuple((row["run"], row["channel"]) for row in rows)

    def watches(self, run: int) -> bool:
        """Tell whether this run is or was watched in Slack."""
        return bool(self.store.query("SELECT run FROM slack_runs WHERE run = ?", [run]))

    def needed_by(self, run: int) -> float | None:
        """Time by which an approval is needed, as the run's messages show it; ``None``: they show
        none."""
        rows = self.store.query("SELECT needed_by FROM slack_runs WHERE run = ?", [run])
        return next((row["needed_by"] for row in rows), None)

    def set_needed_by(self, run: int, at: float | None) -> None:
        """Set the time by which an approval is needed, as the messages show it from now on."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET needed_by = ? WHERE run = ?", [at, run])

    def waits_since(self, run: int, at: float) -> None:
        """Note that the board of this run has been waiting since ``at`` (wall clock)."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET since = ? WHERE run = ?", [at, run])

    def trouble(self, run: int, error: str) -> None:
        """Note Slack's error after a temporary failure of the board."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET trouble = ? WHERE run = ?", [error, run])

    def unposted(self, run: int, error: str) -> None:
        """Note that the board cannot be posted. Drops the run's queued messages, except those that
        may be posted already."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET error = ? WHERE run = ?", [error, run])
            db.execute(
                "DELETE FROM slack_outbox WHERE run = ? AND kind = 'message' AND tried IS NULL",
                [run],
            )

    def given_up(self, run: int) -> bool:
        """Tell whether this run was rejected because its board could not be posted."""
        query = (
            "SELECT run FROM slack_runs JOIN runs ON runs.id = run"
            " WHERE run = ? AND error <> '' AND state = 'rejected'"
        )
        return bool(self.store.query(query, [run]))

    def lose(self, run: int, channel: str, error: str) -> bool:
        """Give up the channel of a run for good, with Slack's error, and watch the run again if it
        was closed. ``False``: the run is not reported there."""
        with self.store.transaction() as db:
            lost = db.execute(
                "UPDATE slack_runs SET lost = ?, closed = 0 WHERE run = ? AND channel = ?",
                [error, run, channel],
            )
            return lost == 1

    def stay(self, run: int) -> None:
        """Keep reporting this run here and try again, since there is no other place."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET lost = '' WHERE run = ?", [run])

    def move(self, db: Database, watched: Watched, channel: str, keys: Iterable[Key]) -> None:
        """Report this run in another channel, and post the messages with these keys again there."""
        db.execute(
            "UPDATE slack_runs SET channel = ?, lost = '', moved_from = ?, moved_for = ?"
            " WHERE run = ?",
            [channel, watched.channel, watched.lost, watched.run],
        )
        for key in keys:
            db.execute("DELETE FROM slack_messages WHERE key = ?", [str(key)])
        db.execute(
            "UPDATE slack_outbox SET channel = ?, tried = NULL, tried_as = NULL"
            " WHERE run = ? AND channel = ? AND kind = 'message'",
            [channel, watched.run, watched.channel],
        )

    def close(self, db: Database, run: int) -> None:
        """Note that the last message of this run is queued, unless its channel was just lost."""
        db.execute("UPDATE slack_runs SET closed = 1 WHERE run = ? AND lost = ''", [run])

    def watch_again(self, run: int) -> None:
        """Watch a closed run again. Does nothing for a run that was never watched."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET closed = 0 WHERE run = ? AND closed = 1", [run])
