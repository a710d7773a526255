"""Actions of people as rows, and the table of such rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from bot.slack.kit.columns import Row, as_float, as_int
from bot.slack.kit.phrases import SPOKEN
from engine.store.store import Store

COMMAND, CLICK, MENTION, SHORTCUT = "command", "click", "mention", "shortcut"
LONGEST = 4_000


@dataclass(frozen=True)
class Inbound:
    """Action of a person, in the order in which it came.

    ``begun`` is set before it is carried out: a row that has begun and is not done was
    interrupted by a kill. ``received`` is of the engine's clock, ``heard`` of the wall.
    """

    id: int
    kind: str
    by: str
    channel: str
    body: Mapping[str, object]
    received: float
    begun: float | None = None
    heard: float | None = None


class Inbox:
    """The rows of what people did. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def accept(self, row: Inbound, key: str) -> int | None:
        """Write down what a person did, once per ``key``; ``None`` when it is known already."""
        with self.store.transaction() as db:
            body, times = json.dumps(row.body), (row.received, row.heard)
            written = db.execute(
                "INSERT OR IGNORE INTO slack_inbox (key, kind, by, channel, body, received, heard)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [key, row.kind, row.by, row.channel, body, *times],
            )
            return int(written.lastrowid or 0) if written.rowcount == 1 else None

    def is_accepted(self, key: str) -> bool:
        """Tell whether a row of this key is in the inbox, carried out or not."""
        return bool(self._query("SELECT 1 FROM slack_inbox WHERE key = ?", [key]))

    def next_inbound(self, after: int = 0) -> Inbound | None:
        """The oldest row that is not done, of those with a higher number than ``after``."""
        query = "SELECT * FROM slack_inbox WHERE done IS NULL AND id > ? ORDER BY id LIMIT 1"
        rows = self._query(query, [after])
        if not rows:
            return None
        row = rows[0]
        return Inbound(
            as_int(row["id"]),
            str(row["kind"]),
            str(row["by"]),
            str(row["channel"]),
            json.loads(str(row["body"])),
            as_float(row["received"]),
            None if row["begun"] is None else as_float(row["begun"]),
            None if row["heard"] is None else as_float(row["heard"]),
        )

    def begin(self, inbox: int, at: float) -> None:
        """Mark the row as begun: from here on it may have had effects."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_inbox SET begun = ? WHERE id = ?", [at, inbox])

    def finish(self, db: Database, inbox: int, at: float) -> None:
        """The row is done. What would have opened a form is of no use any more."""
        db.execute(
            "UPDATE slack_inbox SET done = ?, body = json_remove(body, '$.trigger') WHERE id = ?",
            [at, inbox],
        )

    def _query(self, query: str, values: list[object] | None = None) -> list[Row]:
        return list(self.store.database().query(query, values or []))


def spelled(row: Inbound, command: str) -> str:
    """Beginning of commands where this row is answered: a mention, or a click in a thread, is
    answered in its thread."""
    return SPOKEN if row.body.get("spoken") or row.body.get("thread_ts") else command
