"""One connection to the database: reads and writes of rows, with errors of ``engine.errors``.

Statements use syntax that both SQLite and PostgreSQL accept, where it exists: ``ON CONFLICT``,
``RETURNING``, positional values.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlite_utils
from sqlite_utils.migrations import Migrations

from engine.errors import StoreBusy, StoreConflict, StoreCorrupt, StoreError, StoreUnwritable

Row = dict[str, Any]

#: SQLite's primary result codes (sqlite.org/rescode.html) for causes outside VMFerry.
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNWRITABLE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    }
)


class Database:
    """A connection of one thread. Error messages call the database ``name``.

    Methods raise ``StoreBusy``, ``StoreUnwritable``, ``StoreCorrupt`` or ``StoreConflict``. A
    faulty statement raises SQLite's own error.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.raw, self._name = sqlite_utils.Database(connection), name

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a statement."""
        with our_errors(self._name):
            rows = self.raw.execute(sql, list(values))
            names = [column[0] for column in rows.description]
            return [dict(zip(names, row, strict=True)) for row in rows]

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Execute a statement. Returns the number of changed rows."""
        with our_errors(self._name):
            return self.raw.execute(sql, list(values)).rowcount

    def insert(self, table: str, row: Mapping[str, object], number: str = "id") -> int:
        """Insert a row. Returns its number, the value of the column ``number``."""
        sql = f"{_insert(table, row)} RETURNING {number}"
        return int(self.query(sql, list(row.values()))[0][number])

    def upsert(self, table: str, row: Mapping[str, object], *key: str) -> None:
        """Insert a row, or update the row with the same values in the columns ``key``."""
        news = ", ".join(f"{name} = excluded.{name}" for name in row if name not in key)
        then = f"UPDATE SET {news}" if news else "NOTHING"
        sql = f"{_insert(table, row)} ON CONFLICT ({', '.join(key)}) DO {then}"
        self.execute(sql, list(row.values()))

    def update(self, table: str, of: int, change: Mapping[str, object], number: str = "id") -> None:
        """Change columns of the row numbered ``of``. Raises ``StoreConflict`` if it is missing."""
        news = ", ".join(f"{name} = ?" for name in change)
        sql = f"UPDATE {table} SET {news} WHERE {number} = ?"
        if self.execute(sql, [*change.values(), of]) != 1:
            raise StoreConflict(f"{self._name} has no row {of} in {table}. Nothing was written.")

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """Open a transaction, rolled back on any error. Other writers wait. Not nestable."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield self
            with our_errors(self._name):
                self.raw.conn.commit()
        except BaseException:
            # Also after a failed commit; otherwise this thread could begin no other transaction.
            self.raw.conn.rollback()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        """Open a read-only transaction whose reads see one moment. Inside a transaction, use that
        one. Raises ``TypeError`` after a write, which is rolled back."""
        if self.raw.conn.in_transaction:
            yield self
            return
        self.execute("BEGIN")
        before = self.raw.conn.total_changes
        try:
            yield self
            if self.raw.conn.total_changes != before:
                raise TypeError("a snapshot only reads; write in a transaction")
        finally:
            self.raw.conn.rollback()

    def migrate(self, migrations: Migrations) -> None:
        """Apply pending migrations. Idempotent."""
        with our_errors(self._name):
            migrations.apply(self.raw)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self.raw.conn.close()


def _insert(table: str, row: Mapping[str, object]) -> str:
    # Not the upsert of sqlite-utils 4.2: after a full disk it treats ON CONFLICT as unsupported
    # until the connection closes, and then silently drops new rows that have NOT NULL columns.
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"


@contextmanager
def our_errors(name: str) -> Iterator[None]:
    """Turn SQLite's errors about the database ``name`` into ``StoreError`` with a remedy. The error
    of a faulty statement is raised unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        ours = _in_our_words(error, name)
        if ours is None:
            raise
        raise ours from error


def corrupt(name: str, error: sqlite3.Error) -> StoreCorrupt:
    """Return the error for a file that is damaged or not a VMFerry database."""
    return StoreCorrupt(
        f"{name} cannot be read as a VMFerry database ({error}). Nothing was changed. "
        "Name another file with --db, or restore a backup."
    )


def _in_our_words(error: sqlite3.Error, name: str) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code in _BUSY:
        return StoreBusy(
            f"{name} was locked for too long by another program ({error}). Nothing was written. "
            "If this persists, look for a backup or an editor that holds the file open."
        )
    if code in _UNWRITABLE:
        return StoreUnwritable(
            f"{name} cannot be written ({error}). Nothing was written. Does its "
            "folder exist, on a local disk with free space, and may this user write there?"
        )
    if code in _CORRUPT:
        return corrupt(name, error)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return StoreConflict(f"{name} refused a row ({error}). Nothing was written.")
    return None
