"""The audit: an append-only chain of events, each hashed together with the one before.

An edited, deleted or reordered row breaks the chain at that row. Reports show the head hash, so
that a copy exists outside the database.
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
AT_ONCE = 1_000  # events per read


class AuditBroken(StoreError):
    """The audit was changed or lacks an event. ``seq`` is the number of the first wrong event."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"The audit is broken at event {seq}: {why}.")
        self.seq = seq


_LATER = ("cause", "text_parts")


def digest(prev: str, body: Mapping[str, object]) -> str:
    """Hash an event with its predecessor's hash. Columns newer than the event are left out."""
    hashed = {name: said for name, said in body.items() if name not in _LATER or said is not None}
    return hashlib.sha256((prev + codec.dumps(hashed)).encode()).hexdigest()


def since(store: Store, seq: int = 0, run: int | None = None) -> tuple[Event, ...]:
    """Return the events after number ``seq``, oldest first, of all runs or of one."""
    of_run, values = ("", [seq]) if run is None else (" AND run = ?", [seq, run])
    rows = store.query(f"SELECT * FROM events WHERE seq > ?{of_run} ORDER BY seq", values)
    return tuple(codec.event(row) for row in rows)


def caused_by(store: Store, cause: str) -> tuple[Event, ...]:
    """Return all events with this cause, oldest first."""
    rows = store.query("SELECT * FROM events WHERE cause = ? ORDER BY seq", [cause])
    return tuple(codec.event(row) for row in rows)


def latest(store: Store, most: int, run: int | None = None) -> tuple[Event, ...]:
    """Return the last ``most`` events, oldest first, of all runs or of one."""
    of_run, values = ("", [most]) if run is None else ("WHERE run = ? ", [run, most])
    rows = store.query(f"SELECT * FROM events {of_run}ORDER BY seq DESC LIMIT ?", values)
    return tuple(codec.event(row) for row in reversed(rows))


def head(store: Store) -> str:
    """Return the hash of the newest event, or zeros if there is no event."""
    rows = store.query("SELECT hash FROM events ORDER BY seq DESC LIMIT 1")
    return str(rows[0]["hash"]) if rows else GENESIS


def marked(store: Store, mark: str) -> Event | None:
    """Return the newest event whose hash begins with ``mark`` (lower-case hexadecimal)."""
    rows = store.query(
        "SELECT * FROM events WHERE substr(hash, 1, ?) = ? ORDER BY seq DESC LIMIT 1",
        [len(mark), mark],
    )
    return codec.event(rows[0]) if rows else None


def _all(store: Store) -> Iterator[Row]:
    """Yield every event, ``AT_ONCE`` per read: an audit of years may not fit in memory."""
    query, last = "SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", -math.inf
    while rows := store.query(query, [last, AT_ONCE]):
        yield from rows
        last = rows[-1]["seq"]


def verify(store: Store) -> int:
    """Check the whole chain. Returns the number of events. Raises ``AuditBroken``."""
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
