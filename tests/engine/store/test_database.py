"""Errors of SQLite become errors that say what happened and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.errors import StoreBusy, StoreConflict, StoreCorrupt, StoreUnwritable
from engine.model import Network, Options, RunState, Vm
from engine.store import queries
from engine.store.pen import writing
from engine.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "vmferry.db", durable=False)
    opened.database().execute("PRAGMA busy_timeout = 1")
    yield opened
    opened.close()


def hold(store: Store) -> Callable[[], None]:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def fill_the_disk(store: Store) -> Callable[[], None]:
    pages = store.query("PRAGMA page_count")[0]["page_count"]
    store.database().execute(f"PRAGMA max_page_count = {pages}")
    return lambda: store.query("PRAGMA max_page_count = 1000000") and None


def make_read_only(store: Store) -> Callable[[], None]:
    store.database().execute("PRAGMA query_only = 1")
    return lambda: store.database().execute("PRAGMA query_only = 0") and None


KEY = {"vmm": "vmm01", "kind": "site", "name": ""}


def write(store: Store, size: int = 100_000) -> None:
    with store.transaction() as db:
        db.upsert("answers", {**KEY, "body": "x" * size}, *KEY)


@pytest.mark.parametrize(
    ("trouble", "error", "way_out"),
    [
        (hold, StoreBusy, "an editor that holds the file open"),
        (fill_the_disk, StoreUnwritable, "free space"),
        (make_read_only, StoreUnwritable, "may this user write there"),
    ],
)
def test_a_failed_write_leaves_nothing_behind_and_says_why(store, trouble, error, way_out):
    over = trouble(store)
    with pytest.raises(error, match="Nothing was written") as refused:
        write(store)

    assert str(store.path) in str(refused.value)
    assert way_out in str(refused.value)
    assert store.query("SELECT vmm FROM answers") == []
    over()
    write(store)
    assert store.query("SELECT vmm FROM answers") == [{"vmm": "vmm01"}]


def test_a_row_that_breaks_a_constraint_is_a_conflict(store):
    with pytest.raises(StoreConflict, match="NOT NULL"), store.transaction() as db:
        db.insert("events", {"seq": 1, "at": 1.0}, "seq")
    assert store.query("SELECT seq FROM events") == []


def test_a_database_damaged_while_in_use_is_reported_as_corrupt(store):
    write(store)
    store.close()
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (store.path.stat().st_size - 4096))

    with pytest.raises(StoreCorrupt, match="restore a backup"):
        store.query("SELECT * FROM answers")


def test_an_error_in_a_statement_is_raised_unchanged(store):
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store.query("SELECT * FROM ferries")


def test_all_reads_of_a_snapshot_see_the_same_moment(store):
    write(store)
    with closing(Store(store.path, durable=False)) as other, store.database().snapshot() as db:
        before = db.query("SELECT length(body) AS size FROM answers")
        write(other, size=5)
        assert db.query("SELECT length(body) AS size FROM answers") == before
    assert store.query("SELECT length(body) AS size FROM answers") == [{"size": 5}]


def test_a_snapshot_inside_a_transaction_sees_its_writes(store):
    with store.transaction() as db:
        db.upsert("answers", {**KEY, "vmm": "vmm02", "body": ""}, *KEY)
        with store.database().snapshot() as seen:
            assert seen.query("SELECT vmm FROM answers") == [{"vmm": "vmm02"}]
    assert store.query("SELECT vmm FROM answers") == [{"vmm": "vmm02"}]


def test_writes_after_a_full_disk_are_kept(store):
    """The upsert of sqlite-utils silently dropped all new rows after a full disk."""
    over = fill_the_disk(store)
    with pytest.raises(StoreUnwritable):
        write(store)
    over()

    with writing(store, 1.0) as pen:
        run = pen.runs.open(
            vmm="vmm01",
            kind="vm",
            request="vm web01 to hv02",
            sources=("hv01",),
            destinations=("hv02",),
            options=Options(),
            by="slack:ann",
            state=RunState.ACTIVE,
        )
        pen.moves.open(run, Vm("id-web01", "web01", "hv01", "Running"), "hv01")
        pen.networks.keep(run, "id-web01", "baseline", "hv01", Network(()))

    [kept] = queries.record(store, run).moves
    assert kept.baseline is not None


def test_an_upsert_of_a_row_that_is_only_a_key_adds_it_once(store):
    with store.transaction() as db:
        db.execute("CREATE TABLE known (name TEXT PRIMARY KEY)")
        for _ in range(2):
            db.upsert("known", {"name": "hv01"}, "name")

    assert store.query("SELECT name FROM known") == [{"name": "hv01"}]


def test_a_write_in_a_snapshot_is_refused(store):
    with pytest.raises(TypeError, match="only reads"), store.database().snapshot() as db:
        db.execute("INSERT INTO answers (vmm, kind, name, body) VALUES ('vmm01', '', '', '')")
    assert store.query("SELECT vmm FROM answers") == []


def test_an_update_of_a_missing_row_is_refused(store):
    with pytest.raises(StoreConflict, match="no row 7 in runs"), store.transaction() as db:
        db.update("runs", 7, {"state": "active"})
