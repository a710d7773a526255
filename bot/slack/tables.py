"""Slack's own rows: what came in, what goes out, where every message stands.

They live in the engine's database but in migrations of their own. Tokens and response URLs are
never in a row. Functions that take ``db`` write inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from bot.slack.blocks import fingerprint
from engine.store.store import Store

migrations = Migrations("vmferry.slack")
Row = Mapping[str, object]


@migrations()
def m001_inbox_and_outbox(db: Database) -> None:
    """What people did, what we still have to say, and the messages that stand."""
    for statement in _FIRST:
        db.execute(statement)


_FIRST = (
    """CREATE TABLE slack_inbox (
         id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
         by TEXT NOT NULL, channel TEXT NOT NULL, body TEXT NOT NULL, received REAL NOT NULL,
         begun REAL, done REAL) STRICT""",
    "CREATE INDEX slack_inbox_open ON slack_inbox (id) WHERE done IS NULL",
    """CREATE TABLE slack_outbox (
         id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
         channel TEXT NOT NULL, run INTEGER, user TEXT, inbox INTEGER, parent TEXT,
         thread_ts TEXT, broadcast INTEGER NOT NULL, priority INTEGER NOT NULL,
         body TEXT NOT NULL, fingerprint TEXT NOT NULL) STRICT""",
    """CREATE TABLE slack_messages (
         key TEXT PRIMARY KEY, channel TEXT NOT NULL, ts TEXT NOT NULL, thread_ts TEXT,
         fingerprint TEXT NOT NULL) STRICT""",
    """CREATE TABLE slack_runs (
         run INTEGER PRIMARY KEY, channel TEXT NOT NULL, by TEXT NOT NULL,
         inbox INTEGER NOT NULL, error TEXT NOT NULL DEFAULT '',
         told INTEGER NOT NULL DEFAULT 0) STRICT""",
    "CREATE TABLE slack_cursors (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT",
)


@migrations()
def m002_boards_that_wait_for_slack(db: Database) -> None:
    """Since when (wall clock) a board waits to be posted, and what Slack said last."""
    db.execute("ALTER TABLE slack_runs ADD COLUMN since REAL")
    db.execute("ALTER TABLE slack_runs ADD COLUMN trouble TEXT NOT NULL DEFAULT ''")


@migrations()
def m003_lookups(db: Database) -> None:
    """What Slack said when it was asked who is in a group or who somebody is, and when (wall
    clock); ``wanted``: since when it is to be asked (again)."""
    db.execute(
        "CREATE TABLE slack_lookups (name TEXT PRIMARY KEY, wanted REAL, at REAL, answer TEXT,"
        " error TEXT NOT NULL DEFAULT '') STRICT"
    )


FIRST, SECOND, LAST = 0, 1, 2


@dataclass(frozen=True)
class Inbound:
    """One thing that a person did, in the order in which it came.

    ``begun`` is set before it is carried out: a row that has begun and is not done was
    interrupted by a kill.
    """

    id: int
    kind: str
    by: str
    channel: str
    body: Mapping[str, object]
    received: float
    begun: float | None = None


@dataclass(frozen=True)
class Outbound:
    """One message (or reply to one person) that is to be sent; the latest wins per ``key``.

    ``parent`` is the key of the message in whose thread it belongs; ``thread_ts`` says the same
    for replies, whose thread is known. ``priority`` 0 goes first.
    """

    key: str
    kind: str
    channel: str
    text: str
    blocks: tuple[Mapping[str, object], ...] = ()
    fingerprint: str = ""
    run: int | None = None
    user: str | None = None
    inbox: int | None = None
    parent: str | None = None
    thread_ts: str | None = None
    broadcast: bool = False
    priority: int = LAST
    id: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Sent:
    """A message that stands in Slack."""

    key: str
    channel: str
    ts: str
    thread_ts: str | None
    fingerprint: str


@dataclass(frozen=True)
class Watched:
    """A run that is told about in a channel until ``told``.

    ``since`` is when its board was first looked at, by the wall clock: the engine's may be a
    simulated one. ``trouble`` is what Slack last said instead of posting it.
    """

    run: int
    channel: str
    by: str
    inbox: int
    error: str = ""
    since: float | None = None
    trouble: str = ""


class Tables:
    """Reads and writes of these tables. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.transaction() as db:
            migrations.apply(db)

    # --- inbox ----------------------------------------------------------------------------

    def accept(self, row: Inbound, key: str) -> int | None:
        """Write down what a person did, once per ``key``; ``None`` when it is known already."""
        with self.store.transaction() as db:
            written = db.execute(
                "INSERT OR IGNORE INTO slack_inbox (key, kind, by, channel, body, received)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [key, row.kind, row.by, row.channel, json.dumps(row.body), row.received],
            )
            return int(written.lastrowid or 0) if written.rowcount == 1 else None

    def next_inbound(self) -> Inbound | None:
        """The oldest row that is not done."""
        rows = self._rows("SELECT * FROM slack_inbox WHERE done IS NULL ORDER BY id LIMIT 1")
        if not rows:
            return None
        row = rows[0]
        return Inbound(
            _int(row["id"]),
            str(row["kind"]),
            str(row["by"]),
            str(row["channel"]),
            json.loads(str(row["body"])),
            _float(row["received"]),
            None if row["begun"] is None else _float(row["begun"]),
        )

    def begin(self, inbox: int, at: float) -> None:
        """From here on the row may have had effects."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_inbox SET begun = ? WHERE id = ?", [at, inbox])

    def finish(self, db: Database, inbox: int, at: float) -> None:
        """The row is done."""
        db.execute("UPDATE slack_inbox SET done = ? WHERE id = ?", [at, inbox])

    # --- outbox ---------------------------------------------------------------------------

    def put(self, db: Database, out: Outbound) -> bool:
        """Have a message sent unless it stands like that already; whether anything changed."""
        rows = list(db.query("SELECT fingerprint FROM slack_outbox WHERE key = ?", [out.key]))
        if rows and rows[0]["fingerprint"] == out.fingerprint:
            return False
        sent = list(db.query("SELECT fingerprint FROM slack_messages WHERE key = ?", [out.key]))
        if sent and sent[0]["fingerprint"] == out.fingerprint:
            db.execute("DELETE FROM slack_outbox WHERE key = ?", [out.key])
            return False
        body = json.dumps({"text": out.text, "blocks": out.blocks})
        db.execute(
            "INSERT INTO slack_outbox (key, kind, channel, run, user, inbox, parent, thread_ts,"
            " broadcast, priority, body, fingerprint) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET body = excluded.body,"
            " priority = excluded.priority, fingerprint = excluded.fingerprint",
            [
                out.key,
                out.kind,
                out.channel,
                out.run,
                out.user,
                out.inbox,
                out.parent,
                out.thread_ts,
                int(out.broadcast),
                out.priority,
                body,
                out.fingerprint,
            ],
        )
        return True

    def reply(self, db: Database, row: Inbound, text: str) -> None:
        """Have one person told something about what they did; an empty text is nothing."""
        if not text:
            return
        thread = row.body.get("thread_ts")
        self.put(
            db,
            Outbound(
                key=f"reply:{row.id}",
                kind="reply",
                channel=row.channel,
                text=text,
                fingerprint=fingerprint(text),
                user=row.by.removeprefix("@"),
                inbox=row.id,
                thread_ts=str(thread) if thread else None,
                priority=FIRST,
            ),
        )

    def open_form(self, db: Database, row: Inbound, form: Mapping[str, object]) -> None:
        """Have a form opened for whoever clicked; its ``text`` is what lets it be opened."""
        self.put(
            db,
            Outbound(
                key=f"form:{row.id}",
                kind="form",
                channel=row.channel,
                text=str(row.body.get("trigger") or ""),
                blocks=(form,),
                user=row.by.removeprefix("@"),
                inbox=row.id,
                thread_ts=str(row.body.get("thread_ts") or "") or None,
                priority=FIRST,
            ),
        )

    def form_failed(self, out: Outbound, text: str) -> None:
        """A form could not be opened: whoever clicked is told instead."""
        body: dict[str, object] = {"thread_ts": out.thread_ts}
        clicked = Inbound(out.inbox or 0, "", out.user or "", out.channel, body, 0.0)
        with self.store.transaction() as db:
            db.execute("DELETE FROM slack_outbox WHERE key = ?", [out.key])
            self.reply(db, clicked, text)

    def unsay(self, db: Database, prefix: str) -> None:
        """Messages whose key begins so and that were not sent yet are not sent any more."""
        db.execute("DELETE FROM slack_outbox WHERE substr(key, 1, ?) = ?", [len(prefix), prefix])

    def outbound(self) -> tuple[Outbound, ...]:
        """Everything that is still to be sent, most urgent first."""
        rows = self._rows("SELECT * FROM slack_outbox ORDER BY priority, id")
        return tuple(_outbound(row) for row in rows)

    def sent(self, out: Outbound, message: Sent | None) -> None:
        """It was sent (or never will be, where the message is ``None``). A newer version that
        was put meanwhile stays."""
        with self.store.transaction() as db:
            if message is not None:
                db.execute(
                    "INSERT OR REPLACE INTO slack_messages (key, channel, ts, thread_ts,"
                    " fingerprint) VALUES (?, ?, ?, ?, ?)",
                    [
                        message.key,
                        message.channel,
                        message.ts,
                        message.thread_ts,
                        message.fingerprint,
                    ],
                )
            db.execute(
                "DELETE FROM slack_outbox WHERE key = ? AND fingerprint = ?",
                [out.key, out.fingerprint],
            )

    def message(self, key: str) -> Sent | None:
        """Where this message stands, if it was posted."""
        rows = self._rows("SELECT * FROM slack_messages WHERE key = ?", [key])
        if not rows:
            return None
        row = rows[0]
        thread = row["thread_ts"]
        return Sent(
            str(row["key"]),
            str(row["channel"]),
            str(row["ts"]),
            None if thread is None else str(thread),
            str(row["fingerprint"]),
        )

    def posted(self, prefix: str) -> tuple[str, ...]:
        """The keys that begin so and whose messages stand in Slack."""
        select = "SELECT key FROM slack_messages WHERE substr(key, 1, ?) = ? ORDER BY key"
        return tuple(str(row["key"]) for row in self._rows(select, [len(prefix), prefix]))

    def is_known(self, key: str) -> bool:
        """Was this message ever put into the outbox?"""
        waits = "SELECT key FROM slack_outbox WHERE key = ?"
        stands = "SELECT key FROM slack_messages WHERE key = ?"
        return bool(self._rows(f"{waits} UNION {stands}", [key, key]))

    # --- runs that are told about -----------------------------------------------------------

    def watch(self, db: Database, run: int, row: Inbound) -> None:
        """Tell about this run where it was asked for."""
        db.execute(
            "INSERT OR IGNORE INTO slack_runs (run, channel, by, inbox) VALUES (?, ?, ?, ?)",
            [run, row.channel, row.by, row.id],
        )

    def watched(self) -> tuple[Watched, ...]:
        """The runs whose last word has not been put into the outbox."""
        rows = self._rows("SELECT * FROM slack_runs WHERE told = 0 ORDER BY run")
        return tuple(
            Watched(
                _int(row["run"]),
                str(row["channel"]),
                str(row["by"]),
                _int(row["inbox"]),
                str(row["error"]),
                None if row["since"] is None else _float(row["since"]),
                str(row["trouble"]),
            )
            for row in rows
        )

    def watches(self, run: int) -> bool:
        """Is or was this run told about in Slack?"""
        return bool(self._rows("SELECT run FROM slack_runs WHERE run = ?", [run]))

    def waits_since(self, run: int, at: float) -> None:
        """The board of this run waits to be posted from now on."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET since = ? WHERE run = ?", [at, run])

    def trouble(self, run: int, error: str) -> None:
        """What Slack said when the board of this run could not be sent for now."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET trouble = ? WHERE run = ?", [error, run])

    def unposted(self, run: int, error: str) -> None:
        """The board of this run cannot be posted; whatever else was to follow is dropped."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET error = ? WHERE run = ?", [error, run])
            db.execute("DELETE FROM slack_outbox WHERE run = ? AND kind = 'message'", [run])

    def told(self, db: Database, run: int) -> None:
        """The last word about this run is in the outbox."""
        db.execute("UPDATE slack_runs SET told = 1 WHERE run = ?", [run])

    def watch_again(self, run: int) -> None:
        """A run goes on after its end: there is more to tell, if it was ever told about."""
        with self.store.transaction() as db:
            db.execute("UPDATE slack_runs SET told = 0 WHERE run = ? AND told = 1", [run])

    # --- cursors ----------------------------------------------------------------------------

    def cursor(self, name: str) -> int:
        """The last event that this reader has seen."""
        rows = self._rows("SELECT seq FROM slack_cursors WHERE name = ?", [name])
        return _int(rows[0]["seq"]) if rows else 0

    def advance(self, name: str, seq: int) -> None:
        """This reader has seen everything up to ``seq``."""
        with self.store.transaction() as db:
            db.execute(
                "INSERT INTO slack_cursors (name, seq) VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",
                [name, seq],
            )

    def _rows(self, query: str, values: list[object] | None = None) -> list[Row]:
        return list(self.store.database().query(query, values or []))


def _outbound(row: Row) -> Outbound:
    body = json.loads(str(row["body"]))

    def text(name: str) -> str | None:
        return None if row[name] is None else str(row[name])

    def number(name: str) -> int | None:
        return None if row[name] is None else _int(row[name])

    return Outbound(
        key=str(row["key"]),
        kind=str(row["kind"]),
        channel=str(row["channel"]),
        text=body["text"],
        blocks=tuple(body["blocks"]),
        fingerprint=str(row["fingerprint"]),
        run=number("run"),
        user=text("user"),
        inbox=number("inbox"),
        parent=text("parent"),
        thread_ts=text("thread_ts"),
        broadcast=bool(row["broadcast"]),
        priority=_int(row["priority"]),
        id=_int(row["id"]),
    )


def _int(value: object) -> int:
    return int(str(value))


def _float(value: object) -> float:
    return float(str(value))
