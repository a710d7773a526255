"""One connection to the database: a few ways to read and write rows, and errors of our own.

Statements are written so that SQLite and PostgreSQL take both, where such a spelling exists:
``ON CONFLICT``, ``RETURNING``, values as ``?`` in their order.
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

#: SQLite's primary result codes (sqlite.org/rescode.html) whose cause lies outside VMFerry.
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
    """A connection of one thread. ``name`` is how its errors call the database.

    Every method raises ``StoreBusy``, ``StoreUnwritable``, ``StoreCorrupt`` or ``StoreConflict``;
    what SQLite says of a mistake in a statement is raised as it is.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.raw, self._name = sqlite_utils.Database(connection), name

    def query(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Rows that a statement gives."""
        with our_errors(self._name):
            return list(self.raw.query(sql, list(values)))

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Carry out a statement; returns how many rows it changed."""
        with our_errors(self._name):
            return self.raw.execute(sql, list(values)).rowcount

    def insert(self, table: str, row: Mapping[str, object], number: str = "id") -> int:
        """Insert a row; returns its number, which stands in the column ``number``."""
        sql = f"{_insert(table, row)} RETURNING {number}"
        return int(self.query(sql, list(row.values()))[0][number])

    def upsert(self, table: str, row: Mapping[str, object], *key: str) -> None:
        """Insert a row, or change the columns of the row that has the same ``key``."""
        news = ", ".join(f"{name} = excluded.{name}" for name in row if name not in key)
        then = f"UPDATE SET {news}" if news else "NOTHING"
        sql = f"{_insert(table, row)} ON CONFLICT ({', '.join(key)}) DO {then}"
        self.execute(sql, list(row.values()))

    def update(self, table: str, of: int, change: Mapping[str, object], number: str = "id") -> None:
        """Change columns of the row of this ``number``. Raises ``StoreConflict`` without one."""
        news = ", ".join(f"{name} = ?" for name in change)
        sql = f"UPDATE {table} SET {news} WHERE {number} = ?"
        if self.execute(sql, [*change.values(), of]) != 1:
            raise StoreConflict(f"{self._name} has no row {of} in {table}. Nothing was written.")

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All of it or none of it; other writers wait. Not nestable."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield self
            with our_errors(self._name):
                self.raw.conn.commit()
        except BaseException:
            # Of a commit that failed as well: else this thread begins no transaction any more.
            self.raw.conn.rollback()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        """Several reads that see one moment; inside a transaction, that transaction's. Raises
        ``TypeError`` for a write, which would be lost."""
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
        """Apply those migrations that are not applied yet. Idempotent."""
        with our_errors(self._name):
            migrations.apply(self.raw)

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self.raw.conn.close()


def _insert(table: str, row: Mapping[str, object]) -> str:
    # Not the upsert of sqlite-utils 4.2: on a full disk it finds ON CONFLICT unsupported for as
    # long as the connection lives, and then drops new rows that have NOT NULL columns, silently.
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"


@contextmanager
def our_errors(name: str) -> Iterator[None]:
    """Raise what SQLite says of the database of this ``name`` as an error of ours that says what
    happened and what to do. A mistake in a statement is raised as it is."""
    try:
        yield
    except sqlite3.Error as error:
        ours = _in_our_words(error, name)
        if ours is None:
            raise
        raise ours from error


def corrupt(name: str, error: sqlite3.Error) -> StoreCorrupt:
    """Error about a file that is damaged or none of ours."""
    return StoreCorrupt(
        f"{name} cannot be read as a VMFerry database ({error}). Nothing was changed. "
        "Name another file with --db, or restore a backup."
    )


def _in_our_words(error: sqlite3.Error, name: str) -> StoreError | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    if code in _BUSY:
        return StoreBusy(
            f"{name} was locked for too long by another program ({error}). Nothing was written. "
            "If it stays so, look for a backup or an editor that holds the file open."
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
