"""Questions that wait for a confirmation, as rows, and their results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlite_utils import Database

from bot.slack.inbox.rows import Inbound
from bot.slack.schema import create_tables
from engine.model import Run
from engine.store.store import Store


class Kind(StrEnum):
    """Reason why a person is asked to confirm."""

    PREVIEW = "preview"
    LATE = "late"
    SURE = "sure"


class DraftState(StrEnum):
    """State of a question. ``REPLACED``: it was asked anew, with newer numbers."""

    OPEN = "open"
    DONE = "done"
    DROPPED = "dropped"
    REPLACED = "replaced"


@dataclass(frozen=True)
class Settled:
    """A draft that is open no more."""

    draft: int
    state: DraftState
    run: int | None = None


@dataclass(frozen=True)
class Draft:
    """Draft of a question. ``row`` is what was asked for, as it came; ``run`` the run that it
    began, if any."""

    kind: Kind
    row: Inbound
    digest: str
    made: float
    id: int = 0
    state: DraftState = DraftState.OPEN
    run: int | None = None

    def done(self, run: Run | None) -> Settled:
        """The result once it was carried out; ``run``: the run that it began or touched."""
        return Settled(self.id, DraftState.DONE, run.id if run else None)


class Drafts:
    """The rows. Functions that take ``db`` write inside the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store
        create_tables(store)

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
        """Close an open question with its result."""
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
