"""All tables of the Slack side and of the pager, as one list of migrations.

They are in the engine's database. Tokens and response URLs are never stored.
"""

from __future__ import annotations

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from engine.store.store import Store

migrations = Migrations("vmferry.slack")


def create_tables(store: Store) -> None:
    """Create or upgrade all tables, in one transaction. Idempotent."""
    store.migrate(migrations)


@migrations()
def m001_inbox_and_outbox(db: Database) -> None:
    """Create the inbox, the outbox and the table of posted messages."""
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
    """Add when a board began to wait for its post (wall clock), and Slack's last error."""
    db.execute("ALTER TABLE slack_runs ADD COLUMN since REAL")
    db.execute("ALTER TABLE slack_runs ADD COLUMN trouble TEXT NOT NULL DEFAULT ''")


@migrations()
def m003_lookups(db: Database) -> None:
    """Create the look-ups: Slack's answers about groups and people, with their time (wall clock);
    ``wanted``: when a new answer was requested."""
    db.execute(
        "CREATE TABLE slack_lookups (name TEXT PRIMARY KEY, wanted REAL, at REAL, answer TEXT,"
        " error TEXT NOT NULL DEFAULT '') STRICT"
    )


@migrations()
def m004_slack_that_does_not_take_it(db: Database) -> None:
    """Add the time (wall clock) and version of posts whose answer was lost, and the reason why a
    run is reported in another channel. Create the table of outages (wall clock)."""
    db.execute("ALTER TABLE slack_outbox ADD COLUMN tried REAL")
    db.execute("ALTER TABLE slack_outbox ADD COLUMN tried_as TEXT")
    db.execute("ALTER TABLE slack_runs ADD COLUMN lost TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE slack_runs ADD COLUMN moved_from TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE slack_runs ADD COLUMN moved_for TEXT NOT NULL DEFAULT ''")
    db.execute(
        "CREATE TABLE slack_away (id INTEGER PRIMARY KEY CHECK (id = 1), since REAL NOT NULL,"
        " until REAL, seq INTEGER NOT NULL, error TEXT NOT NULL) STRICT"
    )


@migrations()
def m005_when_a_row_was_heard(db: Database) -> None:
    """Add the wall-clock time at which a row came in: the engine's clock may be simulated."""
    db.execute("ALTER TABLE slack_inbox ADD COLUMN heard REAL")
    db.execute("UPDATE slack_inbox SET heard = received")


@migrations()
def m006_by_when_a_yes_is_needed(db: Database) -> None:
    """Add the time by which an approval is needed, as a run's messages show it (engine's clock)."""
    db.execute("ALTER TABLE slack_runs ADD COLUMN needed_by REAL")


@migrations()
def m007_what_slack_does_not_take(db: Database) -> None:
    """Add the version of a message sent as plain text, and the version given up."""
    db.execute("ALTER TABLE slack_outbox ADD COLUMN plain TEXT")
    db.execute("ALTER TABLE slack_outbox ADD COLUMN refused TEXT")


@migrations()
def m008_one_list(db: Database) -> None:
    """Create the tables whose migrations were separate lists: older databases have them already.

    ``slack_pages``: ``due`` is wall-clock time, ``done`` is when the pager took the page or it was
    given up. ``slack_drafts``: questions that await confirmation; ``made`` is wall-clock time.
    ``slack_standing``: messages with buttons, and the content of each without its buttons.
    """
    for statement in _ONCE_APART:
        db.execute(statement)


_ONCE_APART = (
    """CREATE TABLE IF NOT EXISTS slack_pages (
         key TEXT PRIMARY KEY, body TEXT NOT NULL, due REAL NOT NULL,
         tries INTEGER NOT NULL DEFAULT 0, done REAL) STRICT""",
    "CREATE INDEX IF NOT EXISTS slack_pages_open ON slack_pages (due) WHERE done IS NULL",
    """CREATE TABLE IF NOT EXISTS slack_drafts (
         id INTEGER PRIMARY KEY, kind TEXT NOT NULL, by TEXT NOT NULL, channel TEXT NOT NULL,
         row_kind TEXT NOT NULL, body TEXT NOT NULL, received REAL NOT NULL, heard REAL,
         digest TEXT NOT NULL, made REAL NOT NULL, state TEXT NOT NULL DEFAULT 'open',
         run INTEGER) STRICT""",
    """CREATE TABLE IF NOT EXISTS slack_standing (
         key TEXT PRIMARY KEY, run INTEGER NOT NULL, text TEXT NOT NULL,
         blocks TEXT NOT NULL) STRICT""",
    "CREATE INDEX IF NOT EXISTS slack_standing_run ON slack_standing (run)",
)


@migrations()
def m009_one_word_one_meaning(db: Database) -> None:
    """Rename tables and columns as in the code, and away from PostgreSQL's keyword ``user``.

    ``slack_runs.closed``: the last message about a run is in the outbox.
    """
    for statement in _RENAMES:
        db.execute(statement)


@migrations()
def m010_doors(db: Database) -> None:
    """Add the door to each id of a person or channel: ``slack:U0123``, ``slack:C0123``. Deletes all
    look-ups, which are requested again."""
    for statement in _DOORS:
        db.execute(statement)
    for table, column in _CHANNELS:
        db.execute(f"UPDATE {table} SET {column} = 'slack:' || {column} WHERE {column} <> ''")
    for table, column in _PEOPLE:
        db.execute(f"UPDATE {table} SET {column} = 'slack:' || ltrim({column}, '@')")
    for table, column in _KEYS:
        db.execute(f"UPDATE {table} SET {column} = replace({column}, '@', '@slack:')")


_DOORS = (
    "DELETE FROM slack_lookups",
    "UPDATE slack_inbox SET key = replace(key, ':' || by || ':', ':slack:' || substr(by, 2) || ':')"
    " WHERE kind = 'click'",
)
_CHANNELS = (
    ("slack_inbox", "channel"),
    ("slack_outbox", "channel"),
    ("slack_messages", "channel"),
    ("slack_runs", "channel"),
    ("slack_runs", "moved_from"),
    ("slack_confirmations", "channel"),
)
_PEOPLE = (
    ("slack_inbox", "by"),
    ("slack_outbox", "recipient"),
    ("slack_runs", "by"),
    ("slack_confirmations", "by"),
)
_KEYS = (
    ("slack_outbox", "key"),
    ("slack_outbox", "parent"),
    ("slack_messages", "key"),
    ("slack_buttons", "key"),
)

_RENAMES = (
    "ALTER TABLE slack_outbox RENAME COLUMN user TO recipient",
    "ALTER TABLE slack_runs RENAME COLUMN told TO closed",
    "ALTER TABLE slack_drafts RENAME TO slack_confirmations",
    "ALTER TABLE slack_away RENAME TO slack_outage",
    "ALTER TABLE slack_standing RENAME TO slack_buttons",
    "DROP INDEX slack_standing_run",
    "CREATE INDEX slack_buttons_run ON slack_buttons (run)",
)
