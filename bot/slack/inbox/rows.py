"""Inbox rows, and the questions that await confirmation by their requester."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from bot.slack.kit.phrases import SPOKEN
from engine.store.database import Database, Row
from engine.store.store import Store

COMMAND, CLICK, MENTION, SHORTCUT = "command", "click", "mention", "shortcut"
LONGEST = 4_000


@dataclass(frozen=True)
class Inbound:
    """Action of a person, numbered in the order of arrival.

    ``begun`` is set before it is carried out: a row that has begun and is not done was interrupted
    by a kill. ``received`` is engine time, ``heard`` wall-clock time (Unix seconds).
    """

    id: int
    kind: str
    by: str
    channel: str
    body: Mapping[str, object]
    received: float
    begun: float | None = None
    heard: float | None = None

    @property
    def cause(self) -> str:
        """Cause, in the audit, of everything that this row changes."""
        return f"inbox:{self.id}"


@dataclass(frozen=True)
class Address:
    """Address of a reply that only one person sees, about their inbox row ``inbox``.

    ``thread_ts`` ``None``: the channel itself, not a thread.
    """

    inbox: int
    user: str
    channel: str
    thread_ts: str | None = None


def address_of(row: Inbound) -> Address:
    """Address of the reply to this row: its person, in the channel or thread it came from."""
    thread = str(row.body.get("thread_ts") or "") or None
    return Address(row.id, row.by, row.channel, thread)


class ConfirmationKind(StrEnum):
    """Reason why a person is asked to confirm."""

    PREVIEW = "preview"
    LATE = "late"
    SURE = "sure"


class ConfirmationState(StrEnum):
    """State of a question. ``REPLACED``: a newer version of it was asked."""

    OPEN = "open"
    DONE = "done"
    DROPPED = "dropped"
    REPLACED = "replaced"


@dataclass(frozen=True)
class Confirmation:
    """A question that awaits confirmation. ``row``: the original request. ``run``: the run that it
    began, if any."""

    kind: ConfirmationKind
    row: Inbound
    digest: str
    made: float
    id: int = 0
    state: ConfirmationState = ConfirmationState.OPEN
    run: int | None = None


class Inbox:
    """Rows of the inbox, and of questions to requesters. Safe to share between threads. Methods
    that take ``db`` write inside the caller's transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def accept(self, row: Inbound, key: str) -> int | None:
        """Store a row, once per ``key``; returns its number, or ``None`` if it is already
        stored."""
        with self.store.transaction() as db:
            if db.query(_OF_KEY, [key]):
                return None
            return db.insert("slack_inbox", {"key": key, **_columns(row)})

    def is_accepted(self, key: str) -> bool:
        """Tell whether a row with this key is stored, done or not."""
        return bool(self.store.query(_OF_KEY, [key]))

    def next_inbound(self, after: int = 0) -> Inbound | None:
        """The oldest row that is not done and has a higher number than ``after``."""
        rows = self.store.query(
            "SELECT * FROM slack_inbox WHERE done IS NULL AND id > ? ORDER BY id LIMIT 1", [after]
        )
        return _inbound(rows[0]) if rows else None

    def begin(self, inbox: int, at: float) -> None:
        """Mark the row as begun: from now on it may have had effects."""
        with self.store.transaction() as db:
            db.update("slack_inbox", inbox, {"begun": at})

    def finish(self, db: Database, inbox: int, at: float) -> None:
        """Mark the row as done and delete its trigger, which is of no further use."""
        (row,) = db.query("SELECT body FROM slack_inbox WHERE id = ?", [inbox])
        body = _without_trigger(json.loads(row["body"]))
        db.update("slack_inbox", inbox, {"done": at, "body": body})

    def keep(self, db: Database, confirmation: Confirmation) -> None:
        """Store a question that awaits its requester's answer."""
        own = {
            "id": confirmation.id,
            "kind": str(confirmation.kind),
            "row_kind": confirmation.row.kind,
            "body": _without_trigger(confirmation.row.body),
            "digest": confirmation.digest,
            "made": confirmation.made,
        }
        db.upsert("slack_confirmations", {**_columns(confirmation.row), **own}, "id")

    def close(self, db: Database, closed: Confirmation) -> None:
        """Close an open question with its result. Does nothing if it is closed."""
        db.execute(
            "UPDATE slack_confirmations SET state = ?, run = ? WHERE id = ? AND state = 'open'",
            [str(closed.state), closed.run, closed.id],
        )

    def confirmation(self, number: int) -> Confirmation | None:
        """The question with that number; ``None``: there is none."""
        rows = self.store.query("SELECT * FROM slack_confirmations WHERE id = ?", [number])
        return _confirmation(rows[0]) if rows else None


_OF_KEY = "SELECT id FROM slack_inbox WHERE key = ?"


def _columns(row: Inbound) -> Row:
    """Columns that the inbox and the questions share."""
    asked = {"kind": row.kind, "by": row.by, "channel": row.channel, "received": row.received}
    return {**asked, "body": json.dumps(row.body), "heard": row.heard}


def _inbound(row: Row) -> Inbound:
    kept = {field.name: row[field.name] for field in fields(Inbound)}
    return Inbound(**{**kept, "body": json.loads(row["body"])})


def _confirmation(row: Row) -> Confirmation:
    return Confirmation(
        kind=ConfirmationKind(row["kind"]),
        row=_inbound({**row, "kind": row["row_kind"], "begun": None}),
        digest=row["digest"],
        made=row["made"],
        id=row["id"],
        state=ConfirmationState(row["state"]),
        run=row["run"],
    )


def _without_trigger(body: Mapping[str, object]) -> str:
    """The body without its trigger, which opens a form for 3 s and then is only a secret."""
    return json.dumps({name: said for name, said in body.items() if name != "trigger"})


def spelled(row: Inbound, command: str) -> str:
    """Beginning of commands at the place where this row is answered. A mention, or a click in a
    thread, is answered in its thread."""
    return SPOKEN if row.body.get("spoken") or row.body.get("thread_ts") else command
