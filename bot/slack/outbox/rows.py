"""Rows of messages: those queued, those posted and where, and those with buttons.

Functions that take ``db`` write inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from bot.slack.inbox.rows import Address, Inbox
from bot.slack.kit.blocks import fingerprint
from bot.slack.kit.message_kinds import FIRST, FORM, LAST, REPLY, Key, Kind
from bot.slack.kit.phrases import Post
from bot.slack.outbox.watched_runs import WatchedRuns
from bot.slack.schema import create_tables
from engine.store.database import Database, Row
from engine.store.store import Store

#: Columns that are the same for every version of a message.
_SAME = ("key", "kind", "channel", "run", "recipient", "inbox", "parent", "thread_ts", "broadcast")
_LIVES = "(o.refused IS NULL OR o.refused <> o.fingerprint)"


@dataclass(frozen=True)
class Outbound:
    """One message, or reply to one person, to be sent; the latest version wins per ``key``.

    ``parent``: key of the message in whose thread it belongs; ``thread_ts``: the thread of a reply,
    which is known. ``priority``: lowest first. ``tried``: when it was posted (as version
    ``tried_as``) with a result that is not known yet. ``replaces``: the reply replaces the question
    that was clicked. ``as_plain_text``: Slack rejected its blocks.
    """

    key: str
    kind: str
    channel: str
    text: str
    blocks: tuple[Mapping[str, object], ...] = ()
    fingerprint: str = ""
    run: int | None = None
    recipient: str | None = None
    inbox: int | None = None
    parent: str | None = None
    thread_ts: str | None = None
    broadcast: bool = False
    priority: int = LAST
    replaces: bool = False
    id: int = field(default=0, compare=False)
    tried: float | None = None
    tried_as: str = ""
    as_plain_text: bool = False

    @property
    def name(self) -> Key:
        """The parsed key."""
        return Key.read(self.key)


@dataclass(frozen=True)
class Sent:
    """A posted message."""

    key: str
    channel: str
    ts: str
    thread_ts: str | None
    fingerprint: str


def outbound(post: Post, channel: str, run: int | None = None) -> Outbound:
    """A message to post or update: in the place of its key, else in ``channel``."""
    parent = post.key.parent(f"R{run}") if run is not None else None
    return Outbound(
        key=str(post.key),
        kind="message",
        channel=post.key.place or channel,
        text=post.content.text,
        blocks=post.content.blocks,
        fingerprint=post.content.fingerprint,
        run=run,
        parent=None if parent is None else str(parent),
        broadcast=post.key.is_broadcast,
        priority=post.urgency,
    )


def _private(
    kind: Kind, to: Address, text: str, blocks: tuple[Mapping[str, object], ...]
) -> Outbound:
    """A reply or a form, which only one person sees."""
    return Outbound(
        key=str(Key(kind, str(to.inbox))),
        kind=kind.word,
        channel=to.channel,
        text=text,
        blocks=blocks,
        recipient=to.user,
        inbox=to.inbox,
        thread_ts=to.thread_ts,
        priority=FIRST,
    )


class Tables:
    """Rows of messages. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store, self.inbox, self.runs = store, Inbox(store), WatchedRuns(store)
        create_tables(store)

    # --- outbox ---------------------------------------------------------------------------

    def put(self, db: Database, out: Outbound) -> bool:
        """Queue a message, unless this content is already queued, or posted with nothing queued;
        returns whether anything changed. A queued version may have been posted, so a return to the
        posted content is queued, too."""
        rows = db.query("SELECT id, fingerprint FROM slack_outbox WHERE key = ?", [out.key])
        sent = db.query("SELECT fingerprint FROM slack_messages WHERE key = ?", [out.key])
        last = rows or sent
        if last and last[0]["fingerprint"] == out.fingerprint:
            return False
        body = json.dumps({"text": out.text, "blocks": out.blocks, "replaces": out.replaces})
        news = {"body": body, "priority": out.priority, "fingerprint": out.fingerprint}
        if rows:
            db.update("slack_outbox", rows[0]["id"], news)
        else:
            db.insert("slack_outbox", {name: getattr(out, name) for name in _SAME} | news)
        return True

    def reply(
        self,
        db: Database,
        to: Address,
        text: str,
        blocks: tuple[Mapping[str, object], ...] = (),
        *,
        replaces: bool = False,
    ) -> None:
        """Queue a reply to one person about what they did; an empty text is not sent."""
        if text:
            out = _private(REPLY, to, text, blocks)
            self.put(db, replace(out, fingerprint=fingerprint(text), replaces=replaces))

    def open_form(
        self, db: Database, to: Address, trigger: str, form: Mapping[str, object]
    ) -> None:
        """Queue a form for the person who clicked; its text is the trigger with which it is
        opened."""
        self.put(db, _private(FORM, to, trigger, (form,)))

    def form_failed(self, out: Outbound, text: str) -> None:
        """Drop a form that was not opened, and tell the person who clicked."""
        to = Address(out.inbox or 0, out.recipient or "", out.channel, out.thread_ts)
        with self.store.transaction() as db:
            db.execute("DELETE FROM slack_outbox WHERE key = ?", [out.key])
            self.reply(db, to, text)

    def withdraw_others(self, db: Database, run: int, keys: Iterable[Key]) -> None:
        """Drop queued first posts about this run with none of these keys: their subject is over, or
        asked elsewhere. Posted messages and their updates are left alone."""
        queued = db.query(
            "SELECT key FROM slack_outbox WHERE run = ? AND kind = 'message'"
            " AND key NOT IN (SELECT key FROM slack_messages)",
            [run],
        )
        for key in {row["key"] for row in queued} - {*map(str, keys)}:
            db.execute("DELETE FROM slack_outbox WHERE key = ?", [key])

    def outbound(self) -> tuple[Outbound, ...]:
        """Queued messages that are not given up, most urgent first."""
        rows = self.store.query(
            f"SELECT * FROM slack_outbox o WHERE {_LIVES} ORDER BY priority, id"
        )
        return tuple(_outbound(row) for row in rows)

    def sendable(self) -> tuple[tuple[Outbound, Sent | None], ...]:
        """Queued messages that could be sent, each with its posted version. A first post whose
        parent is not posted yet is left out."""
        rows = self.store.query(
            "SELECT o.*, m.channel AS in_channel, m.ts, m.thread_ts AS in_thread,"
            " m.fingerprint AS as_version FROM slack_outbox o"
            " LEFT JOIN slack_messages m ON m.key = o.key"
            f" WHERE {_LIVES} AND (o.parent IS NULL OR m.key IS NOT NULL"
            " OR o.parent IN (SELECT key FROM slack_messages)) ORDER BY o.priority, o.id"
        )
        return tuple((_outbound(row), _posted(row)) for row in rows)

    def still_wanted(self, out: Outbound) -> bool:
        """Tell whether exactly this version is still queued."""
        query = "SELECT key FROM slack_outbox WHERE key = ? AND fingerprint = ?"
        return bool(self.store.query(query, [out.key, out.fingerprint]))

    def trying(self, out: Outbound, at: float) -> bool:
        """Note that a message is being posted: from now on it may be posted, whatever happens to
        the answer or to us. ``False``: it was withdrawn just before."""
        with self.store.transaction() as db:
            tried = db.execute(
                "UPDATE slack_outbox SET tried = ?, tried_as = ? WHERE key = ?",
                [at, out.fingerprint, out.key],
            )
            return tried == 1

    def waits(self, db: Database, key: Key) -> bool:
        """Tell whether a message with this key is queued."""
        return bool(db.query("SELECT key FROM slack_outbox WHERE key = ?", [str(key)]))

    def may_stand(self, db: Database, key: Key) -> bool:
        """Tell whether this message is posted, or was tried with an unknown result."""
        found = db.query(
            "SELECT key FROM slack_messages WHERE key = ? UNION ALL"
            " SELECT key FROM slack_outbox WHERE key = ? AND tried IS NOT NULL",
            [str(key)] * 2,
        )
        return bool(found)

    def not_posted(self, out: Outbound) -> None:
        """Note that a message is not posted: Slack rejected it."""
        with self.store.transaction() as db:
            db.execute(
                "UPDATE slack_outbox SET tried = NULL, tried_as = NULL WHERE key = ?", [out.key]
            )

    def send_as_plain_text(self, out: Outbound) -> None:
        """Send this version without blocks, which Slack rejected."""
        self._mark("plain", out)

    def give_up(self, out: Outbound) -> None:
        """Give up this version, which Slack rejects in every form: its row stays, but is not sent.
        A newer version is sent."""
        self._mark("refused", out)

    def gave_up(self, key: Key) -> bool:
        """Tell whether the queued version of this message was given up."""
        query = "SELECT key FROM slack_outbox WHERE key = ? AND refused = fingerprint"
        return bool(self.store.query(query, [str(key)]))

    def _mark(self, column: str, out: Outbound) -> None:
        with self.store.transaction() as db:
            db.execute(
                f"UPDATE slack_outbox SET {column} = fingerprint WHERE key = ? AND fingerprint = ?",
                [out.key, out.fingerprint],
            )

    def forget(self, key: Key) -> None:
        """Forget a posted message, so that its next version is posted as a new one."""
        with self.store.transaction() as db:
            db.execute("DELETE FROM slack_messages WHERE key = ?", [str(key)])

    def posted_as(self, out: Outbound, message: Sent) -> None:
        """Note that a message is posted. A newer version stays queued."""
        with self.store.transaction() as db:
            db.upsert("slack_messages", asdict(message), "key")
            _drop(db, out.key, message.fingerprint)

    def updated(self, out: Outbound, sent: Sent) -> None:
        """Note that a message is updated, or never can be. Does nothing if it is no longer posted
        there (it was moved elsewhere). A newer version stays queued."""
        with self.store.transaction() as db:
            changed = db.execute(
                "UPDATE slack_messages SET fingerprint = ? WHERE key = ? AND ts = ?",
                [out.fingerprint, out.key, sent.ts],
            )
            if changed == 1:
                _drop(db, out.key, out.fingerprint)

    def done(self, out: Outbound) -> None:
        """Drop a message that was sent, or never will be, without recording it as posted."""
        with self.store.transaction() as db:
            _drop(db, out.key, out.fingerprint)

    def message(self, key: Key) -> Sent | None:
        """The posted message with this key; ``None``: it is not posted."""
        rows = self.store.query("SELECT * FROM slack_messages WHERE key = ?", [str(key)])
        return Sent(**rows[0]) if rows else None

    def key_at(self, channel: str, ts: str) -> Key | None:
        """Key of the message posted at this place; ``None``: it is not ours."""
        query = "SELECT key FROM slack_messages WHERE channel = ? AND ts = ?"
        rows = self.store.query(query, [channel, ts])
        return next((Key.read(row["key"]) for row in rows), None)

    def copies_of(self, key: Key) -> tuple[Key, ...]:
        """Keys of the copies of a message that are posted, or may be."""
        prefix = f"{key}@"
        stand = "SELECT key FROM slack_messages WHERE substr(key, 1, ?) = ?"
        may = "SELECT key FROM slack_outbox WHERE substr(key, 1, ?) = ? AND tried IS NOT NULL"
        rows = self.store.query(f"{stand} UNION {may} ORDER BY key", [len(prefix), prefix] * 2)
        return tuple(Key.read(row["key"]) for row in rows)

    # --- cursors ----------------------------------------------------------------------------

    def cursor(self, name: str) -> int:
        """Number of the last event that this reader has seen; 0: none."""
        rows = self.store.query("SELECT seq FROM slack_cursors WHERE name = ?", [name])
        return int(rows[0]["seq"]) if rows else 0

    def advance(self, name: str, seq: int) -> None:
        """Move this reader's cursor: it has seen every event up to ``seq``."""
        with self.store.transaction() as db:
            db.upsert("slack_cursors", {"name": name, "seq": seq}, "name")

    # --- messages with buttons ----------------------------------------------------------------

    def with_buttons(self, db: Database, run: int) -> dict[Key, tuple[str, str]]:
        """Messages of a run that have buttons: by key, the text and blocks (JSON) without the
        buttons."""
        rows = db.query("SELECT key, text, blocks FROM slack_buttons WHERE run = ?", [run])
        return {Key.read(row["key"]): (row["text"], row["blocks"]) for row in rows}

    def keep_buttons(self, db: Database, run: int, key: Key, text: str, blocks: str) -> None:
        """Record that a message has buttons, and its content without them."""
        row = {"key": str(key), "run": run, "text": text, "blocks": blocks}
        db.upsert("slack_buttons", row, "key")

    def drop_buttons(self, db: Database, key: Key) -> None:
        """Record that a message no longer has buttons."""
        db.execute("DELETE FROM slack_buttons WHERE key = ?", [str(key)])


def _drop(db: Database, key: str, version: str) -> None:
    db.execute("DELETE FROM slack_outbox WHERE key = ? AND fingerprint = ?", [key, version])


def _outbound(row: Row) -> Outbound:
    kept = {name: row[name] for name in (*_SAME, "priority", "fingerprint", "id", "tried")}
    body = json.loads(row["body"])
    kept |= {"blocks": tuple(body["blocks"]), "broadcast": bool(row["broadcast"])}
    return Outbound(
        **kept,
        text=body["text"],
        replaces=bool(body.get("replaces")),
        tried_as=row["tried_as"] or "",
        as_plain_text=row["plain"] == row["fingerprint"],
    )


def _posted(row: Row) -> Sent | None:
    """The posted message joined to a row of the outbox; ``None``: it is not posted."""
    if row["ts"] is None:
        return None
    return Sent(row["key"], row["in_channel"], row["ts"], row["in_thread"], row["as_version"])
