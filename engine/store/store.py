"""The database file: one connection per thread, one kind of transaction.

SQLite in WAL mode with ``synchronous=FULL``: a committed transaction survives a power cut. Every
transaction begins IMMEDIATE, so that no other writer can come between its reads and its writes.
Any process may read, and may write the commands of people. ``leases.py`` fences the writes of the
engine.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from engine.errors import StoreCorrupt, StoreNewer
from engine.store.database import Database, Row, corrupt, our_errors
from engine.store.schema import migrations

_BUSY_SECONDS = 10.0


class Store:
    """A VMFerry database. Threads may share a store; each gets a connection of its own.

    ``durable=False`` is faster, but a power cut may lose commits: for stories and tests. Opening
    applies pending migrations. Raises ``StoreNewer``, ``StoreCorrupt``, ``StoreBusy`` or
    ``StoreUnwritable``, and then leaves the tables as they were.
    """

    def __init__(self, path: Path | str, *, durable: bool = True) -> None:
        self.path = Path(path)
        self.durable = durable
        self._local = threading.local()
        self._all: list[Database] = []
        self._lock = threading.Lock()
        self._refuse_foreign()
        try:
            self.migrate(migrations)
        except BaseException:
            self.close()  # the caller gets no store to close
            raise

    def database(self) -> Database:
        """Return this thread's connection. Opens it on first use."""
        db: Database | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a statement, read by this thread's connection."""
        return self.database().query(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """Open a transaction, rolled back on any error. Other writers wait. Not nestable."""
        with self.database().transaction() as db:
            yield db

    def migrate(self, wanted: Migrations) -> None:
        """Apply pending migrations in one transaction. Idempotent. Raises ``StoreNewer`` if the
        database has migrations that are unknown to this version."""
        with self.transaction() as db:
            self._refuse_newer({m.name for m in wanted.applied(db.raw)}, wanted)
            db.migrate(wanted)

    def close(self) -> None:
        """Close every thread's connection. Idempotent."""
        with self._lock:
            for db in self._all:
                db.close()
            self._all.clear()
        self._local = threading.local()

    def _connect(self) -> Database:
        with our_errors(str(self.path)):
            # Any thread may close the connection, but only its own thread uses it.
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        db = Database(connection, str(self.path))
        with self._lock:
            self._all.append(db)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'OFF'}")
        db.execute("PRAGMA foreign_keys=ON")
        return db

    def _refuse_foreign(self) -> None:
        """Refuse another program's or a newer database. Reads only, so the file stays untouched."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        read_only = f"{self.path.resolve().as_uri()}?mode=ro"
        try:
            with (
                our_errors(str(self.path)),
                closing(sqlite3.connect(read_only, uri=True)) as connection,
            ):
                applied = {m.name for m in migrations.applied(sqlite_utils.Database(connection))}
                strange = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.Error as error:  # both statements are correct, so the file is wrong
            raise corrupt(str(self.path), error) from error
        if not applied and strange:
            raise StoreCorrupt(
                f"{self.path} is a database of something else. Nothing was changed. "
                "Name another file with --db."
            )
        self._refuse_newer(applied, migrations)

    def _refuse_newer(self, applied: set[str], ours: Migrations) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            known = {m.name for m in ours.pending(sqlite_utils.Database(connection))}
        unknown = sorted(applied - known)
        if unknown:
            raise StoreNewer(
                f"{self.path} was written by a newer VMFerry (it has {unknown[-1]}). Nothing was "
                "changed. Use that version, or name another file with --db."
            )
