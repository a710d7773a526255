"""Databases of older versions: missing tables are added and nothing is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.slack.kit.message_kinds import BOARD, Key
from bot.slack.messages.publisher import CURSOR
from bot.slack.outbox.rows import Tables
from bot.slack.schema import create_tables
from engine.errors import StoreNewer
from engine.model import Network
from engine.store import codec, events, queries
from engine.store.store import Store

BEFORE_ROOMS = Path(__file__).parent / "databases" / "before_rooms.sql"
"""A told night, as the version wrote it that had four lists of migrations for the Slack side."""

RENAMED = {
    "slack_drafts": "slack_confirmations",
    "slack_standing": "slack_buttons",
    "slack_away": "slack_outage",
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BEFORE_ROOMS.read_text(encoding="utf-8"))
    return path


def tables(path: Path) -> dict[str, tuple[list[tuple[object, ...]], int]]:
    """The columns of each table of the Slack side, and its number of rows."""
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'slack%'").fetchall()
        return {
            name: (
                sorted(column[1:] for column in db.execute(f"PRAGMA table_info({name})")),
                db.execute(f"SELECT count(*) FROM {name}").fetchone()[0],
            )
            for (name,) in names
            if not name.endswith(("_open", "_run"))
        }


def upgraded(path: Path) -> dict[str, tuple[list[tuple[object, ...]], int]]:
    with closing(Store(path, durable=False)) as store:
        create_tables(store)
        create_tables(store)
    return tables(path)


def test_a_pre_rooms_database_gets_the_current_schema_and_keeps_its_rows(old, tmp_path):
    before = {name: rows for name, (_, rows) in tables(old).items()}
    after, new = upgraded(old), upgraded(tmp_path / "new.db")

    assert {name: columns for name, (columns, _) in after.items()} == {
        name: columns for name, (columns, _) in new.items()
    }
    kept = {RENAMED.get(name, name): rows for name, rows in before.items()}
    asked_anew = {"slack_lookups": 0}
    assert {name: rows for name, (_, rows) in after.items()} == {**kept, **asked_anew}
    assert before["slack_inbox"] > 3
    assert before["slack_drafts"] > 0
    assert before["slack_messages"] > 1


def test_people_and_channels_of_an_old_database_get_a_door_prefix(old):
    with closing(Store(old, durable=False)) as store:
        tables = Tables(store)
        (run,) = queries.runs(store)
        (asked,) = queries.record(store, run.id).approvals
        rows = store.query("SELECT by, channel FROM slack_inbox")
        clicks = store.query("SELECT key, by FROM slack_inbox WHERE kind = 'click'")
        board = tables.message(Key(BOARD, "R1"))

    assert (run.by, asked.by) == ("slack:U0DANA", "slack:U0RAVI")
    assert {row["channel"] for row in rows} == {"slack:C0OPSMIGRATIONS"}
    assert {row["by"] for row in rows} == {f"slack:{who}" for who in ("U0DANA", "U0EVE", "U0RAVI")}
    assert all(f":{row['by']}:" in row["key"] for row in clicks)
    assert board.channel == "slack:C0OPSMIGRATIONS"


def test_a_pre_doors_event_is_unchanged_and_its_person_is_read_as_a_slack_user(
    old,
):
    with closing(Store(old, durable=False)) as store:
        create_tables(store)
        granted = next(e for e in events.since(store) if e.kind == "approval.granted")
        (row,) = store.query("SELECT by FROM events WHERE seq = ?", [granted.seq])

    assert (row["by"], granted.by) == ("@U0RAVI", "slack:U0RAVI")


def test_the_audit_of_a_pre_rooms_database_is_intact(old):
    with closing(Store(old, durable=False)) as store:
        create_tables(store)
        assert events.verify(store) > 100


def test_events_published_from_a_pre_rooms_database_are_not_published_again(old):
    with closing(Store(old, durable=False)) as store:
        assert Tables(store).cursor(CURSOR) == events.since(store)[-1].seq


def test_no_column_name_is_a_reserved_word_of_postgresql(tmp_path):
    """https://www.postgresql.org/docs/current/sql-keywords-appendix.html: the reserved ones."""
    reserved = {"user", "order", "group", "table", "column", "end", "limit", "references", "check"}
    names = {
        column[0] for columns, _ in upgraded(tmp_path / "new.db").values() for column in columns
    }

    assert "recipient" in names
    assert not names & reserved


def test_slack_tables_of_a_newer_version_are_refused_and_left_unchanged(tmp_path):
    path = tmp_path / "newer.db"
    upgraded(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('vmferry.slack', 'm999_speaks_teams', '2030')"
        )

    with closing(Store(path, durable=False)) as store, pytest.raises(StoreNewer, match="m999"):
        create_tables(store)


def test_saved_networks_are_read_identically_and_the_last_observation_is_dropped(old):
    """What was observed is asked for anew: the next look comes at once."""
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("SELECT count(*) FROM fleets").fetchone() == (1,)
    upgraded(old)
    with closing(Store(old, durable=False)) as store:
        rows = store.query("SELECT role, vm_id, network FROM networks ORDER BY role, vm_id")
        networks = [row["network"] for row in rows]
        halves = {
            role: [(row["vm_id"], row["network"]) for row in rows if row["role"] == role]
            for role in ("baseline", "ports", "models")
        }

        assert queries.fleet(store, "vmm01") is None
        assert store.query("SELECT * FROM parts") == []
    assert [len(halves[role]) for role in halves] == [8, 8, 8]
    assert halves["ports"] == halves["models"]  # one row held both
    assert [codec.to_json(codec.from_json(Network, one)) for one in networks] == networks
