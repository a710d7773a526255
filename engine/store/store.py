"""The database: one connection per thread, one kind of transaction.

SQLite in WAL mode with ``synchronous=FULL``: what a transaction wrote survives a power cut. Every
transaction begins IMMEDIATE, so that a read followed by a write cannot fail half-way because
somebody else wrote in between. Anybody may read and write intents; advancing is fenced by
``leases.py``.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from engine.errors import StoreCorrupt, StoreLocked, StoreNewer
from engine.store.schema import migrations

_BUSY_SECONDS = 10.0


class Store:
    """A VMFerry database; safe to share between threads.

    ``durable=False`` trades the promise that a commit survives a power cut for speed: for
    stories and tests that kill nothing but objects. Raises ``StoreNewer`` or ``StoreCorrupt``
    before anything is touched.
    """

    def __init__(self, path: Path | str, *, durable: bool = True) -> None:
        self.path = Path(path)
        self.durable = durable
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._refuse_foreign()
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def database(self) -> Database:
        """This thread's connection."""
        db = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
        return db

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All of it or none of it; other writers wait. Not nestable."""
        db = self.database()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.conn.commit()
        except BaseException:
            db.conn.rollback()  # of a commit that failed as well: else this thread begins none more
            raise

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
        self._local = threading.local()

    def _connect(self) -> Database:
        # Closing happens in whichever thread stops the program; using stays thread-local.
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'OFF'}")
        connection.execute("PRAGMA foreign_keys=ON")
        with self._lock:
            self._all.append(connection)
        return Database(connection)

    def _refuse_foreign(self) -> None:
        """Look read-only first: a database that is not ours to use is not touched."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        try:
            with closing(
                sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            ) as connection:
                applied = {m.name for m in migrations.applied(Database(connection))}
                strange = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(
                f"{self.path} cannot be read as a VMFerry database ({error}). Nothing was changed. "
                "Name another file with --db, or restore a backup."
            ) from None
        if not applied and strange:
            raise StoreCorrupt(
                f"{self.path} is a database of something else. Nothing was changed. "
                "Name another file with --db."
            )
        with closing(sqlite3.connect(":memory:")) as empty:
            known = {m.name for m in migrations.pending(Database(empty))}
        unknown = sorted(applied - known)
        if unknown:
            raise StoreNewer(
                f"{self.path} was written by a newer VMFerry (it has {unknown[-1]}). Nothing was "
                "changed. Use that version, or name another file with --db."
            )

    def _migrate(self) -> None:
        try:
            with self.transaction() as db:
                migrations.apply(db)
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise StoreLocked(
                    f"{self.path} was locked for too long by another program."
                ) from None
            raise StoreCorrupt(
                f"{self.path} cannot be used as a database ({error}). Is it on a local disk that "
                "can be written?"
            ) from None
