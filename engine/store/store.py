"""The database file: one connection per thread, one kind of transaction.

SQLite in WAL mode with ``synchronous=FULL``: what a transaction wrote survives a power cut. Every
transaction begins IMMEDIATE, so that a read followed by a write cannot fail half-way because
somebody else wrote in between. Anybody may read and write intents; advancing is fenced by
``leases.py``.
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
    """A VMFerry database; safe to share between threads.

    ``durable=False`` trades the promise that a commit survives a power cut for speed: for
    stories and tests that kill nothing but objects. Raises ``StoreNewer``, ``StoreCorrupt``,
    ``StoreBusy`` or ``StoreUnwritable`` before anything is touched.
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
            self.close()  # nobody gets a store to close
            raise

    def database(self) -> Database:
        """This thread's connection."""
        db: Database | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Rows that a statement gives, read by this thread's connection."""
        return self.database().query(sql, values)

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All of it or none of it; other writers wait. Not nestable."""
        with self.database().transaction() as db:
            yield db

    def migrate(self, wanted: Migrations) -> None:
        """Apply those migrations that are not applied yet, in one transaction. Idempotent. Raises
        ``StoreNewer`` if some are applied that this version does not know."""
        with self.transaction() as db:
            self._refuse_newer({m.name for m in wanted.applied(db.raw)}, wanted)
            db.migrate(wanted)

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for db in self._all:
                db.close()
            self._all.clear()
        self._local = threading.local()

    def _connect(self) -> Database:
        with our_errors(str(self.path)):
            # Closing happens in whichever thread stops the program; using stays thread-local.
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        db = Database(connection, str(self.path))
        with self._lock:
            self._all.append(db)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'OFF'}")
        db.execute("PRAGMA foreign_keys=ON")
        return db

    def _refuse_foreign(self) -> None:
        """Look read-only first: a database that is not ours to use is not touched."""
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
        except sqlite3.Error as error:  # both statements are right, so the file is not ours
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
