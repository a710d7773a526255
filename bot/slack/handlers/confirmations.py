"""What waits for the yes of whoever asked for it: previews, what came too late, stops in a thread.

A draft keeps the row of the inbox that it is about, so that a yes carries out exactly that. Its
number is that of the row: one row never makes two. The button carries the number and a digest of
what was shown, never the request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from bot.slack.outbox.rows import Inbound
from engine.store.store import Store

migrations = Migrations("vmferry.slack.drafts")


@migrations()
def m001_drafts(db: Database) -> None:
    """What waits for a yes, and what became of it; ``made`` is of the wall."""
    db.execute(
        "CREATE TABLE slack_drafts (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, by TEXT NOT NULL,"
        " channel TEXT NOT NULL, row_kind TEXT NOT NULL, body TEXT NOT NULL,"
        " received REAL NOT NULL, heard REAL, digest TEXT NOT NULL, made REAL NOT NULL,"
        " state TEXT NOT NULL DEFAULT 'open', run INTEGER) STRICT"
    )


class Kind(StrEnum):
    """Why somebody is asked back."""

    PREVIEW = "preview"
    LATE = "late"
    SURE = "sure"


class DraftState(StrEnum):
    """What became of it. ``REPLACED``: it was asked anew, with newer numbers."""

    OPEN = "open"
    DONE = "done"
    DROPPED = "dropped"
    REPLACED = "replaced"


@dataclass(frozen=True)
class Draft:
    """``row`` is what was asked for, as it came; ``run`` what it came to, if it began a run."""

    kind: Kind
    row: Inbound
    digest: str
    made: float
    id: int = 0
    state: DraftState = DraftState.OPEN
    run: int | None = None


@dataclass(frozen=True)
class Settled:
    """A draft that is open no more."""

    draft: int
    state: DraftState
    run: int | None = None


class Drafts:
    """The rows. Functions that take ``db`` write inside the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.transaction() as db:
            migrations.apply(db)

    def keep(self, db: Database, draft: Draft) -> None:
        """Write it down, once."""
        row = draft.row
        db.execute(
            "INSERT OR IGNORE INTO slack_drafts (id, kind, by, channel, row_kind, body, received,"
            " heard, digest, made) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                draft.id,
                str(draft.kind),
                row.by,
                row.channel,
                row.kind,
                json.dumps({name: said for name, said in row.body.items() if name != "trigger"}),
                row.received,
                row.heard,
                draft.digest,
                draft.made,
            ],
        )

    def settle(self, db: Database, settled: Settled) -> None:
        """It is open no more."""
        db.execute(
            "UPDATE slack_drafts SET state = ?, run = ? WHERE id = ? AND state = 'open'",
            [str(settled.state), settled.run, settled.draft],
        )

    def of(self, number: int) -> Draft | None:
        """The draft of that number, or ``None``."""
        query = "SELECT * FROM slack_drafts WHERE id = ?"
        row = next(self.store.database().query(query, [number]), None)
        return None if row is None else _draft(row)


def _draft(row: Mapping[str, object]) -> Draft:
    asked = Inbound(
        id=int(str(row["id"])),
        kind=str(row["row_kind"]),
        by=str(row["by"]),
        channel=str(row["channel"]),
        body=json.loads(str(row["body"])),
        received=float(str(row["received"])),
        heard=None if row["heard"] is None else float(str(row["heard"])),
    )
    return Draft(
        kind=Kind(str(row["kind"])),
        row=asked,
        digest=str(row["digest"]),
        made=float(str(row["made"])),
        id=asked.id,
        state=DraftState(str(row["state"])),
        run=None if row["run"] is None else int(str(row["run"])),
    )
