"""The audit: an append-only chain of events, each hashed together with the one before.

An edited, deleted or reordered row breaks the chain at that row. The head hash goes into the
report, so that a copy of it lives outside the database.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

from engine.errors import StoreError
from engine.model import Event
from engine.store import codec
from engine.store.database import Row
from engine.store.store import Store

GENESIS = "0" * 64
AT_ONCE = 1_000  # events that are read at once


class AuditBroken(StoreError):
    """A row of the audit is not what was written. ``seq`` says which."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"The audit is broken at event {seq}: {why}.")
        self.seq = seq


_LATER = ("cause", "text_parts")


def digest(prev: str, body: Mapping[str, object]) -> str:
    """Hash of an event; what older events do not have is part of it where there is any."""
    hashed = {name: said for name, said in body.items() if name not in _LATER or said is not None}
    return hashlib.sha256((prev + codec.dumps(hashed)).encode()).hexdigest()


def since(store: Store, seq: int = 0, run: int | None = None) -> tuple[Event, ...]:
    """Events after number ``seq``, oldest first; of one run if named."""
    of_run, values = ("", [seq]) if run is None else (" AND run = ?", [seq, run])
    rows = store.query(f"SELECT * FROM events WHERE seq > ?{of_run} ORDER BY seq", values)
    return tuple(codec.event(row) for row in rows)


def caused_by(store: Store, cause: str) -> tuple[Event, ...]:
    """All changes that this cause made, oldest first."""
    rows = store.query("SELECT * FROM events WHERE cause = ? ORDER BY seq", [cause])
    return tuple(codec.event(row) for row in rows)


def latest(store: Store, most: int, run: int | None = None) -> tuple[Event, ...]:
    """The last ``most`` events, oldest first; of one run if named."""
    of_run, values = ("", [most]) if run is None else ("WHERE run = ? ", [run, most])
    rows = store.query(f"SELECT * FROM events {of_run}ORDER BY seq DESC LIMIT ?", values)
    return tuple(codec.event(row) for row in reversed(rows))


def head(store: Store) -> str:
    """The hash of the newest event; zeros where there is none."""
    rows = store.query("SELECT hash FROM events ORDER BY seq DESC LIMIT 1")
    return str(rows[0]["hash"]) if rows else GENESIS


def marked(store: Store, mark: str) -> Event | None:
    """The event whose hash begins so (lower-case hexadecimal)."""
    rows = store.query(
        "SELECT * FROM events WHERE substr(hash, 1, ?) = ? ORDER BY seq DESC LIMIT 1",
        [len(mark), mark],
    )
    return codec.event(rows[0]) if rows else None


def _all(store: Store) -> Iterator[Row]:
    """Every event, read a few at a time: an audit of years does not fit in memory."""
    query, last = "SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", -math.inf
    while rows := store.query(query, [last, AT_ONCE]):
        yield from rows
        last = rows[-1]["seq"]


def verify(store: Store) -> int:
    """Walk the whole chain; returns the number of events. Raises ``AuditBroken``."""
    prev, count = GENESIS, 0
    for row in _all(store):
        body = {k: v for k, v in row.items() if k not in ("prev", "hash")}
        count += 1
        if row["seq"] != count:
            raise AuditBroken(count, "it is missing")
        if row["prev"] != prev or row["hash"] != digest(prev, body):
            raise AuditBroken(row["seq"], "it was changed after it was written")
        prev = row["hash"]
    return count
