"""The store: durable, one writer at a time, fenced, with an audit that shows tampering."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from engine.errors import (
    Fenced,
    IllegalTransition,
    StoreConflict,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
    StoreUnwritable,
)
from engine.language.sentence import Command, Person, VmName, say
from engine.model import (
    Acl,
    Adapter,
    ApprovalState,
    AttemptKind,
    Fleet,
    HostInventory,
    HostMigration,
    HyperVState,
    Job,
    JobList,
    KnownHost,
    KnownVm,
    Move,
    MoveState,
    Network,
    Options,
    Outcome,
    Part,
    PartKind,
    Pulse,
    Result,
    Review,
    RunState,
    ShownVm,
    Site,
    Vm,
    VmmInventory,
    Volume,
    Wait,
    Word,
)
from engine.policy.facts import Facts
from engine.policy.runs import gap
from engine.policy.steps import Finish
from engine.policy.waits import Rules
from engine.store import codec, events, queries
from engine.store.leases import Advancing, is_advanced
from engine.store.pen import Pen, writing
from engine.store.schema import migrations
from engine.store.store import Store
from engine.store.transaction import Transaction
from tests.console import ROOT
from tests.fleets import age, keep_fleet
from tests.hangs import HANGS

NOW = 1_767_650_400.0
HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
WEB01 = Vm("id-web01", "web01", HV01, "Running", memory_mb=4096, disk_mb=61440)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "vmferry.db")
    yield made
    made.close()


def open_run(pen: Pen, state: RunState = RunState.ACTIVE, by: str = "slack:ann") -> int:
    return pen.runs.open(
        vmm="vmm01",
        kind="host",
        request="host hv01 to hv02",
        sources=(HV01,),
        destinations=(HV02,),
        options=Options(excluding=("db*",)),
        by=by,
        state=state,
    )


@pytest.fixture
def run(store):
    """R1 with one move."""
    with writing(store, NOW) as pen:
        number = open_run(pen)
        pen.moves.open(number, WEB01, HV01)
    return number


def the_move(store, number: int = 1):
    return codec.of_row(Move, store.query("SELECT * FROM moves WHERE run = ?", [number])[0])


# --- the file ------------------------------------------------------------------------------


def test_a_new_database_has_every_table_and_an_empty_valid_audit(store):
    strict = {t.name: t.strict for t in store.database().raw.tables if not t.name.startswith("_")}
    strict.pop("sqlite_sequence", None)

    assert set(strict) == {
        "runs", "moves", "attempts", "networks", "approvals", "votes", "events", "leases",
        "answers", "parts", "rights", "reviews", "calls",
    }  # fmt: skip
    assert all(strict.values())
    assert events.verify(store) == 0
    assert events.head(store) == events.GENESIS


def test_a_break_glass_approval_older_than_reviews_still_awaits_review(tmp_path):
    path = tmp_path / "old.db"
    with closing(Store(path, durable=False)) as old, old.transaction() as db:
        pen = Pen(db, NOW)
        number = open_run(pen)
        asked = pen.approvals.ask(number, ("id-web01",), ("web01",), "digest")
        detail = {"approval": asked, "reason": "the storage is on fire", "break_glass": True}
        pen.event("approval.granted", "A1 approved", run=number, by="slack:mei", detail=detail)
        db.execute("DROP TABLE reviews")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm006_reviews'")

    store = Store(path, durable=False)

    [review] = queries.reviews(store, number)
    store.close()
    assert review == Review(asked, number, "slack:mei", NOW, "the storage is on fire")


def test_opening_a_database_again_changes_nothing(tmp_path, run, store):
    before = store.database().raw.schema
    store.close()
    again = Store(store.path)

    assert again.database().raw.schema == before
    assert [r.label for r in queries.runs(again)] == ["R1"]
    again.close()


def test_an_older_database_is_upgraded(tmp_path):
    path = tmp_path / "vmferry.db"
    old = Database(path)
    migrations.apply(old, stop_before="m003_leases_and_fleets")
    old.execute("INSERT INTO events VALUES (1, 1.0, 'x', NULL, NULL, NULL, 't', '{}', 'p', 'h')")
    old.conn.commit()
    old.close()
    store = Store(path)

    assert {"leases", "parts"} <= set(store.database().raw.table_names())
    assert events.head(store) == "h"
    store.close()


def test_a_failed_schema_migration_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "vmferry.db"
    broken = "CREATE TABLE runs (broken"
    monkeypatch.setattr("engine.store.schema._FIRST", ("CREATE TABLE kept (x)", broken))
    with pytest.raises(sqlite3.OperationalError, match="incomplete input"):
        Store(path)
    monkeypatch.undo()

    with closing(sqlite3.connect(path)) as left:
        assert left.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    Store(path).close()


def test_no_connection_to_a_closed_or_refused_database_stays_open(tmp_path, monkeypatch):
    opened, connect = [], sqlite3.connect

    def remembered(*args, **kwargs):
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr("engine.store.store.sqlite3.connect", remembered)
    for _ in range(2):
        Store(tmp_path / "vmferry.db").close()
    with monkeypatch.context() as patched:
        patched.setattr("engine.store.schema._FIRST", ("CREATE TABLE runs (broken",))
        with pytest.raises(sqlite3.OperationalError):
            Store(tmp_path / "other.db")

    assert len(opened) > 4
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_a_database_of_a_newer_version_is_refused_and_left_unchanged(store):
    with store.transaction() as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('vmferry', 'm999_teleports', '2030')"
        )
    store.close()
    before = store.path.read_bytes()

    with pytest.raises(StoreNewer, match="m999_teleports"):
        Store(store.path)
    assert store.path.read_bytes() == before
    wal = store.path.with_name("vmferry.db-wal")
    assert not wal.exists() or wal.stat().st_size == 0


def not_a_database(path: Path) -> None:
    path.write_bytes(b"This is a shopping list, not a database.\n" * 40)


def torn(path: Path) -> None:
    Store(path).close()
    path.write_bytes(path.read_bytes()[:50] + b"\xff" * 50)


def of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE tickets (id INTEGER)")
        db.commit()


def of_another_format(path: Path) -> None:
    Store(path).close()
    with path.open("r+b") as file:
        file.seek(44)  # the schema format number, https://www.sqlite.org/fileformat.html
        file.write((9).to_bytes(4, "big"))


def of_another_tool(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE _sqlite_migrations (id INTEGER, name TEXT)")
        db.commit()


@pytest.mark.parametrize(
    "what", [not_a_database, torn, of_something_else, of_another_format, of_another_tool]
)
def test_a_foreign_file_is_refused_and_not_changed(what, tmp_path):
    path = tmp_path / "vmferry.db"
    what(path)
    before = path.read_bytes()

    with pytest.raises(StoreCorrupt, match="Nothing was changed"):
        Store(path)
    assert path.read_bytes() == before


def test_an_unwritable_folder_is_reported_in_words(tmp_path):
    with pytest.raises(StoreUnwritable, match="Does its folder exist"):
        Store(tmp_path / "nowhere" / "vmferry.db")


@pytest.mark.parametrize("name", ["night#1.db", "what?.db", "50%20.db"])
def test_a_database_name_may_contain_characters_special_in_a_uri(name, tmp_path):
    """A newer database with such a name is refused as well, and no other file appears."""
    path = tmp_path / name
    store = Store(path)
    with store.transaction() as db:
        db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('vmferry', 'm999_teleports', '2030')"
        )
    store.close()
    before = path.read_bytes()

    with pytest.raises(StoreNewer):
        Store(path)
    assert path.read_bytes() == before
    assert {p.name.removesuffix("-wal").removesuffix("-shm") for p in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("name", ["night 1.db", "nächtlich.db"])
def test_a_database_name_may_contain_spaces_and_umlauts(name, tmp_path):
    Store(tmp_path / name).close()
    store = Store(tmp_path / name)

    assert queries.runs(store) == ()
    store.close()


def test_an_empty_file_becomes_a_database(tmp_path):
    path = tmp_path / "vmferry.db"
    path.touch()
    store = Store(path)

    assert queries.runs(store) == ()
    store.close()


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 0)])
def test_only_a_durable_store_syncs_every_commit_to_disk(durable, synchronous, tmp_path):
    store = Store(tmp_path / "vmferry.db", durable=durable)
    pragma = {
        name: store.query(f"PRAGMA {name}")[0][name]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }

    assert pragma == {"journal_mode": "wal", "synchronous": synchronous, "foreign_keys": 1}
    store.close()


def test_a_store_is_durable_by_default(tmp_path):
    store = Store(tmp_path / "vmferry.db")

    assert store.query("PRAGMA synchronous") == [{"synchronous": 2}]
    store.close()


# --- transactions and threads --------------------------------------------------------------


class Interrupted(BaseException):
    """An exception that a signal handler might raise."""


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_a_transaction_is_all_or_nothing(error, store):
    def interrupted() -> None:
        with writing(store, NOW) as pen:
            open_run(pen)
            pen.event("refused", "one more")
            raise error

    with pytest.raises(error):
        interrupted()
    assert queries.runs(store) == ()
    assert events.since(store) == ()
    with writing(store, NOW) as pen:
        open_run(pen)
    assert len(queries.runs(store)) == 1


def test_a_failed_commit_leaves_nothing_behind_and_blocks_no_later_write(store):
    with pytest.raises(StoreConflict), store.transaction() as db:
        db.execute("PRAGMA defer_foreign_keys=ON")  # so that only the commit finds it
        db.execute("INSERT INTO networks VALUES (7, 'id-web01', 'before', 'hv01', '{}', 0, 0)")

    with writing(store, NOW) as pen:
        number = open_run(pen)
    assert queries.run(store, number) is not None


def test_every_thread_has_its_own_connection(store):
    mine = store.database()
    theirs = []
    thread = threading.Thread(target=lambda: theirs.extend([store.database(), store.database()]))
    thread.start()
    thread.join()

    assert store.database() is mine
    assert theirs[0] is theirs[1]
    assert theirs[0] is not mine


def test_uncommitted_writes_cannot_be_read(store, run):
    """Another thread reads during a transaction of this one."""
    with writing(store, NOW) as pen:
        open_run(pen)
        seen = []
        reader = threading.Thread(target=lambda: seen.append(len(queries.runs(store))))
        reader.start()
        reader.join()

    assert seen == [1]
    assert len(queries.runs(store)) == 2


def test_concurrent_writers_lose_no_event(store, run):
    together = threading.Barrier(4)

    def write() -> None:
        together.wait(HANGS)
        for _ in range(10):
            with writing(store, NOW) as pen:
                pen.event("refused", threading.current_thread().name)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert events.verify(store) == 41


def test_closing_closes_the_connections_of_every_thread(store):
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(store.database()))
    thread.start()
    thread.join()
    store.close()

    with pytest.raises(sqlite3.ProgrammingError):
        theirs[0].execute("SELECT 1")
    assert queries.runs(store) == ()


# --- the fences ----------------------------------------------------------------------------


def test_a_replaced_engine_cannot_write(store, run):
    first = Advancing(store)
    old = first.acquire("vmm01", NOW)
    first.release()
    second = Advancing(store)
    new = second.acquire("vmm01", NOW)
    before = len(events.since(store))

    with pytest.raises(Fenced, match="epoch 2, ours 1"), writing(store, NOW, old) as pen:
        pen.event("refused", "too late")
    with writing(store, NOW, new) as pen:
        pen.event("refused", "in time")

    assert [e.text for e in events.since(store)[before:]] == ["in time"]
    second.release()


def test_a_fence_is_checked_in_the_writing_transaction(store, run):
    """The epoch rises after the fence was made, so the fence is void."""
    lock = Advancing(store)
    fence = lock.acquire("vmm01", NOW)
    with store.transaction() as db:
        db.execute("UPDATE leases SET epoch = epoch + 1")

    with pytest.raises(Fenced), writing(store, NOW, fence) as pen:
        open_run(pen)
    assert len(queries.runs(store)) == 1
    lock.release()


def test_a_fence_without_a_lease_is_void(store):
    lock = Advancing(store)
    fence = lock.acquire("vmm01", NOW)
    with store.transaction() as db:
        db.execute("DELETE FROM leases")

    with pytest.raises(Fenced), writing(store, NOW, fence):
        pass
    lock.release()


def test_requests_need_no_lease(store):
    lock = Advancing(store)
    lock.acquire("vmm01", NOW)
    with writing(store, NOW) as pen:
        open_run(pen)

    assert len(queries.runs(store)) == 1
    lock.release()


ELSEWHERE = """
import sys
from engine.errors import StoreLocked
from engine.store import queries
from engine.store.pen import writing
from engine.store.leases import Advancing, is_advanced
from engine.store.store import Store

store = Store(sys.argv[1])
print(len(queries.runs(store)), flush=True)
try:
    lock = Advancing(store)
    lock.acquire("vmm01", 1.0)
    print("advancing", flush=True)
except StoreLocked as error:
    print(error, flush=True)
with writing(store, 1.0) as pen:
    pen.event("refused", "asked from another process")
sys.stdin.readline()
"""


def another_process(store: Store) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_second_engine_is_refused_while_reads_and_requests_work(store, run):
    lock = Advancing(store)
    fence = lock.acquire("vmm01", NOW)
    with another_process(store) as other:
        out, _ = other.communicate("\n", timeout=HANGS)
    runs, answer = out.splitlines()

    assert runs == "1"
    assert f"Another VMFerry is running on {store.path}." in answer
    assert "vmferry status" in answer
    assert [e.text for e in events.since(store)][-1] == "asked from another process"
    with writing(store, NOW, fence) as pen:
        pen.event("refused", "and ours still writes")
    lock.release()


def test_the_next_engine_gets_the_lock_of_a_dead_engine(store, run):
    with another_process(store) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        assert other.stdout.readline() == "advancing\n"
        with pytest.raises(StoreLocked):
            Advancing(store).acquire("vmm01", NOW)
        other.kill()
        other.wait(HANGS)
    lock = Advancing(store)

    assert lock.acquire("vmm01", NOW).epoch == 2
    lock.release()


def test_checking_for_a_running_engine_never_prevents_a_start(store):
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_advanced(store)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(20):
            lock = Advancing(store)
            lock.acquire("vmm01", NOW)
            lock.release()
    finally:
        over.set()
        looking.join(HANGS)


def test_releasing_a_lease_twice_is_no_error(store):
    lock = Advancing(store)
    lock.acquire("vmm01", NOW)
    lock.release()
    lock.release()


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ("moving", "moving", False),
        ("moving", "restoring", False),
        ("restoring", "moving", False),
        ("moving", "pending", True),
        ("done", "moving", True),
    ],
)
def test_one_vm_is_never_in_flight_twice(first, second, allowed, store):
    with writing(store, NOW) as pen:
        for _ in range(2):
            pen.moves.open(open_run(pen), WEB01, HV01)
    with store.transaction() as db:
        db.execute("UPDATE moves SET state = ? WHERE id = 1", [first])

    def turn() -> None:
        with store.transaction() as db:
            db.execute("UPDATE moves SET state = ? WHERE id = 2", [second])

    if allowed:
        turn()
        return
    with pytest.raises(StoreConflict):
        turn()
    assert the_move(store, 2).state is MoveState.PENDING


def test_a_vm_has_only_one_move_in_a_run(store, run):
    with pytest.raises(StoreConflict), writing(store, NOW) as pen:
        pen.moves.open(run, WEB01, HV01)


# --- the audit -----------------------------------------------------------------------------


def filled(store: Store, count: int = 5) -> None:
    with writing(store, NOW, cause="tick") as pen:
        for number in range(1, count + 1):
            pen.event(
                "refused", f"event {number}", by="slack:ann", detail={"n": number, "wo": "Köln"}
            )


def test_events_are_read_back_unchanged(store):
    filled(store)
    third = events.since(store, seq=2)[0]

    assert (third.seq, third.text, third.by, third.at) == (3, "event 3", "slack:ann", NOW)
    assert third.detail == {"n": 3, "wo": "Köln"}
    assert third.hash != events.head(store)
    assert events.since(store)[-1].hash == events.head(store)
    assert events.verify(store) == 5


def test_events_can_be_filtered_by_run(store, run):
    with writing(store, NOW) as pen:
        open_run(pen)
        pen.event("refused", "nobody's")

    assert {e.run for e in events.since(store, run=2)} == {2}
    assert len(events.since(store)) == 3


TAMPERED = {
    "text": ("UPDATE events SET text = 'nothing happened' WHERE seq = 3", 3),
    "time": ("UPDATE events SET at = at + 1 WHERE seq = 3", 3),
    "who": ("UPDATE events SET by = 'slack:eve' WHERE seq = 3", 3),
    "detail": ("UPDATE events SET detail = '{}' WHERE seq = 3", 3),
    "hash": (f"UPDATE events SET hash = '{'f' * 64}' WHERE seq = 3", 3),
    "chain": (f"UPDATE events SET prev = '{'f' * 64}' WHERE seq = 3", 3),
    "deleted": ("DELETE FROM events WHERE seq = 3", 3),
    "first deleted": ("DELETE FROM events WHERE seq = 1", 1),
    "reordered": (
        "UPDATE events SET seq = CASE seq WHEN 3 THEN -4 WHEN 4 THEN -3 END WHERE seq IN (3, 4);"
        "UPDATE events SET seq = -seq WHERE seq < 0",
        3,
    ),
    "renumbered": (
        "DELETE FROM events WHERE seq = 3; UPDATE events SET seq = 3 WHERE seq = 4;"
        "UPDATE events SET seq = 4 WHERE seq = 5",
        3,
    ),
    "inserted": (
        "INSERT INTO events SELECT 6, at, kind, run, vm, by, text, detail, prev, 'x', cause, NULL "
        "FROM events WHERE seq = 5",
        6,
    ),
    "cause": ("UPDATE events SET cause = 'inbox:1' WHERE seq = 3", 3),
    "cause removed": ("UPDATE events SET cause = NULL WHERE seq = 4", 4),
}


def test_an_audit_older_than_event_causes_is_whole_and_continues(tmp_path):
    path = tmp_path / "old.db"
    with closing(Store(path, durable=False)) as old:
        with writing(old, NOW) as pen:
            pen.event("refused", "an event of a version that kept no causes", by="slack:ann")
        with old.transaction() as db:
            db.execute("DROP INDEX events_of_cause")
            db.execute("ALTER TABLE events DROP COLUMN cause")
            db.execute("DELETE FROM _sqlite_migrations WHERE name = 'm007_causes'")

    with closing(Store(path, durable=False)) as store:
        with writing(store, NOW, cause="inbox:17") as pen:
            pen.event("refused", "an event of this version", by="slack:ann")
        assert events.verify(store) == 2
        assert [e.seq for e in events.caused_by(store, "inbox:17")] == [2]
        assert [e.cause for e in events.since(store)] == [None, "inbox:17"]


def test_an_audit_is_verified_to_its_end_in_batches_of_any_size(store, monkeypatch):
    monkeypatch.setattr(events, "AT_ONCE", 2)
    filled(store)
    assert events.verify(store) == 5

    with store.transaction() as db:
        db.execute("UPDATE events SET text = 'nothing happened' WHERE seq = 5")
    with pytest.raises(events.AuditBroken) as broken:
        events.verify(store)
    assert broken.value.seq == 5


@pytest.mark.parametrize("what", sorted(TAMPERED))
def test_a_row_that_was_tampered_with_is_named(what, store):
    filled(store)
    sql, seq = TAMPERED[what]
    with store.transaction() as db:
        for statement in sql.split(";"):
            db.execute(statement)

    with pytest.raises(events.AuditBroken, match=f"event {seq}") as broken:
        events.verify(store)
    assert broken.value.seq == seq


def test_a_rehashed_row_breaks_the_hash_of_the_next_row(store):
    """To hide a changed row, every later row must be rehashed, and then the head differs."""
    filled(store)
    head = events.head(store)
    row = dict(store.query("SELECT * FROM events WHERE seq = 3")[0])
    row["text"] = "nothing happened"
    body = {k: v for k, v in row.items() if k not in ("prev", "hash")}
    forged = events.digest(row["prev"], body)
    with store.transaction() as db:
        db.execute("UPDATE events SET text = ?, hash = ? WHERE seq = 3", [row["text"], forged])

    with pytest.raises(events.AuditBroken) as broken:
        events.verify(store)
    assert broken.value.seq == 4
    assert events.head(store) == head


# --- deeds ---------------------------------------------------------------------------------


def test_every_change_of_a_run_is_checked_and_audited(store, run):
    one = queries.run(store, run)
    with writing(store, NOW + 60) as pen:
        pen.runs.set_state(one, RunState.STOPPING, "R1 was stopped", by="slack:bob")
    stopping = queries.run(store, run)
    with pytest.raises(IllegalTransition), writing(store, NOW + 90) as pen:
        pen.runs.set_state(stopping, RunState.ACTIVE, "no")
    with writing(store, NOW + 120) as pen:
        pen.runs.set_state(stopping, RunState.STOPPED, "over")
    stopped = queries.run(store, run)

    assert (stopping.ended, stopped.ended) == (None, NOW + 120)
    assert [(e.kind, e.by) for e in events.since(store)] == [
        ("run.active", "slack:ann"),
        ("run.stopping", "slack:bob"),
        ("run.stopped", None),
    ]


def test_the_start_time_of_a_scheduled_run_is_that_of_its_activation(store):
    with writing(store, NOW) as pen:
        open_run(pen, RunState.SCHEDULED)
    waiting = queries.run(store, 1)
    with writing(store, NOW + 5) as pen:
        pen.runs.set_state(waiting, RunState.ACTIVE, "begins")

    assert waiting.started is None
    assert queries.run(store, 1).started == NOW + 5


def test_a_wait_writes_an_event_only_if_its_code_changes(store, run):
    said = [
        (Wait.SLOT, "2 of 2 on hv02: a, b"),
        (Wait.SLOT, "2 of 2 on hv02: a, c"),
        (Wait.BACKUP, "in backup"),
        (Wait.SLOT, "2 of 2 on hv02: a, c"),
    ]
    since = []
    for minute, (wait, text) in enumerate(said):
        with writing(store, NOW + minute) as pen:
            pen.moves.hold(the_move(store), wait, text)
        move = the_move(store)
        assert (move.wait, move.wait_text) == (wait, text)
        since.append(move.wait_since)

    assert since == [NOW, NOW, NOW + 2, NOW + 3]
    told = [e.detail["wait"] for e in events.since(store) if e.kind == "move.waiting"]
    assert told == ["SLOT", "BACKUP", "SLOT"]


def test_a_change_of_state_ends_the_wait_of_a_move(store, run):
    with writing(store, NOW) as pen:
        pen.moves.hold(the_move(store), Wait.SLOT, "2 of 2")
        pen.moves.set_state(the_move(store), MoveState.MOVING, "moves", destination=HV02)
    moving = the_move(store)

    assert (moving.wait, moving.wait_since, moving.wait_text) == (None, None, "")
    assert (moving.host, moving.destination) == (HV01, HV02)


def test_an_illegal_change_of_state_rolls_back_its_transaction(store, run):
    def damage() -> None:
        with writing(store, NOW) as pen:
            pen.event("refused", "with it")
            pen.moves.set_state(the_move(store), MoveState.DAMAGED, "never")

    with pytest.raises(IllegalTransition):
        damage()
    assert the_move(store).state is MoveState.PENDING
    assert [e.kind for e in events.since(store)] == ["run.active"]


def test_an_attempt_is_written_before_its_call_and_open_until_its_end_is_seen(store, run):
    with writing(store, NOW) as pen:
        number = pen.attempts.begin(
            the_move(store), AttemptKind.LIVE, HV01, HV02, NOW + 60, {"n": 1}
        )
        pen.moves.set_state(the_move(store), MoveState.MOVING, "moves", destination=HV02)
    begun = queries.record(store, run).moves[0]
    with writing(store, NOW + 1) as pen:
        pen.attempts.issue(begun.move, number, "job-7")
        assert pen.attempts.open_migration(begun.move).job == "job-7"
    with writing(store, NOW + 99) as pen:
        pen.attempts.end(begun.move, number, AttemptKind.LIVE, Result.FAILED, "no space")
        assert pen.attempts.open_migration(begun.move) is None
        pen.moves.return_to_pending(begun.move, "again", None)
    ended = queries.record(store, run).moves[0].attempts[0]

    assert begun.open_migration is not None
    assert (begun.open_migration.not_after, begun.open_migration.result) == (NOW + 60, None)
    assert (ended.result, ended.error, ended.ended) == (Result.FAILED, "no space", NOW + 99)
    assert ended.detail == {"n": 1}
    assert the_move(store).state is MoveState.PENDING


def test_a_start_without_an_answer_stays_open(store, run):
    with writing(store, NOW) as pen:
        number = pen.attempts.begin(the_move(store), AttemptKind.LIVE, HV01, HV02, NOW + 60)
        pen.attempts.doubt(the_move(store), number, "timed out")
    attempt = queries.record(store, run).moves[0].open_migration

    assert attempt is not None
    assert (attempt.job, attempt.error) == (None, "timed out")


def test_the_latest_answer_replaces_the_previous_one(store):
    for at in (NOW, NOW + 5):
        with writing(store, at) as pen:
            keep_fleet(pen, Fleet("vmm01", at, at))
    found = queries.fleet(store, "vmm01")

    assert found is not None
    assert (found.at, found.answered_at, found.server_time) == (NOW + 5, NOW + 5, NOW + 5)
    assert queries.fleet(store, "vmm02") is None


def test_a_run_is_read_with_exactly_its_own_rows(store):
    with writing(store, NOW) as pen:
        for number in (1, 2):
            open_run(pen)
            pen.moves.open(number, WEB01, HV01, adopted=number == 2)
            pen.approvals.ask(number, ("id-web01",), ("web01",), "digest")
            pen.networks.keep(number, "id-web01", "baseline", HV01, Network())
    record = queries.record(store, 2)

    assert record.run.options.excluding == ("db*",)
    assert [(m.move.run, m.move.adopted) for m in record.moves] == [(2, True)]
    assert [a.label for a in record.approvals] == ["A2"]
    assert record.moves[0].baseline is not None
    assert record.moves[0].ports is None
    assert queries.record(store, 3) is None
    assert queries.approval(store, 3) is None
    assert [a.id for a in queries.open_approvals(store)] == [1, 2]


def test_records_are_the_unfinished_runs_of_one_server(store):
    with writing(store, NOW) as pen:
        for state in (RunState.ACTIVE, RunState.SCHEDULED):
            open_run(pen, state)
        pen.runs.set_state(queries.run(store, 1) or pytest.fail("R1"), RunState.COMPLETED, "over")

    assert [r.run.id for r in queries.records(store, "vmm01")] == [2]
    assert queries.records(store, "vmm02") == ()
    assert [r.id for r in queries.runs(store, unfinished=True)] == [2]


def test_noting_and_clearing_quiet_writes_no_event(store, run):
    told = len(events.since(store))
    for at in (NOW, None):
        with writing(store, NOW) as pen:
            pen.runs.note_quiet(run, at)
        assert queries.run(store, run).quiet_since == at

    assert len(events.since(store)) == told


def test_each_empty_host_is_stored_once(store, run):
    for _ in range(2):
        with writing(store, NOW) as pen:
            pen.runs.note_empty(queries.run(store, run), (HV01,), NOW, proven=False)
            pen.runs.note_empty(queries.run(store, run), (HV01,), NOW, proven=True)

    assert queries.run(store, run).empty == (HV01,)
    assert [e.kind for e in events.since(store)].count("host.empty") == 1


@pytest.mark.parametrize("wait", [None, *Wait])
def test_the_rows_after_a_gap_match_the_planned_ones(wait, store, run):
    with writing(store, NOW + 50) as pen:
        pen.runs.note_quiet(run, NOW + 10)
        pen.moves.note_power(the_move(store), "running", NOW + 20)
        if wait is not None:
            pen.moves.hold(the_move(store), wait, "for a reason")
    times = (NOW + 100, NOW + 1100)
    looks = [Fleet("vmm01", at, at, answered_at=at) for at in times]
    record = queries.record(store, run)
    [seen], _ = gap.resume_after_gap(
        [record], looks[1], NOW + 1101, Rules(), Facts(before=looks[0])
    )
    with writing(store, NOW + 1101) as pen:
        pen.runs.note_back(run, 1000.0)

    assert seen != record
    assert queries.record(store, run) == seen


def test_an_approval_can_be_decided_only_once(store, run):
    with writing(store, NOW) as pen:
        number = pen.approvals.ask(run, ("id-web01",), ("web01",), "digest")
    asked = queries.approval(store, number)
    with writing(store, NOW + 1) as pen:
        pen.approvals.set_state(
            asked, ApprovalState.DENIED, "no", by="slack:bob", reason="month-end"
        )
    denied = queries.approval(store, number)

    assert (denied.state, denied.by, denied.reason) == (
        ApprovalState.DENIED,
        "slack:bob",
        "month-end",
    )
    with pytest.raises(IllegalTransition), writing(store, NOW + 2) as pen:
        pen.approvals.set_state(denied, ApprovalState.GRANTED, "yes after all")


def test_an_outcome_is_stored_with_its_sentence_and_next_step(store, run):
    with writing(store, NOW) as pen:
        stuck = say("{} is stuck.", VmName("web01"))
        again = say("Look at it, then: {}", Command("retry R1 web01"))
        pen.moves.finish(Finish(the_move(store), Outcome.STUCK, stuck, again))
    move, event = the_move(store), events.latest(store, 1)[0]

    assert move.outcome is Outcome.STUCK
    assert (move.sentence, move.next) == ("web01 is stuck.", "Look at it, then: retry R1 web01")
    assert (move.sentence.parts, move.next.parts) == (stuck.parts, again.parts)
    assert (event.text, event.text.parts) == (move.sentence, stuck.parts)
    assert events.verify(store) > 1


# --- values to JSON and back ---------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
maybe = st.none() | texts
numbers = st.integers(0, 4095)
times = st.floats(0, 4e9, allow_nan=False)

rules = st.builds(
    Acl,
    action=texts,
    direction=texts,
    weight=numbers,
    local_ip=texts,
    remote_port=texts,
    stateful=st.booleans(),
    idle_timeout=numbers,
    isolation_id=numbers,
)
nics = st.builds(
    Adapter,
    id=texts,
    mac=texts,
    network=maybe,
    subnet=maybe,
    switch=maybe,
    vlan=numbers,
    trunk=st.lists(numbers, max_size=3).map(tuple),
    native_vlan=numbers,
    isolation=numbers,
    connected=st.booleans(),
    classification=maybe,
    port_acl=maybe,
    spoofing=maybe,
    guards=maybe,
    acls=st.lists(rules, max_size=3).map(tuple),
)
networks = st.lists(nics, max_size=3).map(lambda found: Network(tuple(found)))
words = st.lists(texts, max_size=3).map(tuple)
shown_vms = st.builds(
    ShownVm,
    id=texts,
    name=texts,
    state=st.sampled_from(HyperVState),
    status=words,
    replica=st.booleans(),
    switches=st.none() | words,
)
known_hosts = st.builds(
    KnownHost,
    name=texts,
    live_limit=numbers,
    error=maybe,
    maintenance=st.booleans(),
    path=maybe,
    mb_per_s=st.none() | times,
    volumes=st.none() | st.just((Volume("D:", 5),)),
)
known_vms = st.builds(KnownVm, id=texts, name=texts, host=maybe, status=texts, blocks=words)
jobs = st.builds(
    Job,
    id=texts,
    vm_id=texts,
    source=maybe,
    target=maybe,
    state=st.sampled_from(["running", "completed", "failed", "canceled"]),
    progress=st.integers(0, 100),
    error=maybe,
    started=st.none() | times,
    ended=st.none() | times,
)
several = {"max_size": 3}
bodies = {
    PartKind.JOBS: st.builds(JobList, times, st.lists(jobs, **several).map(tuple), unknown=words),
    PartKind.SITE: st.builds(
        Site,
        st.lists(known_hosts, **several).map(tuple),
        st.lists(known_vms, **several).map(tuple),
    ),
    PartKind.KNOWN: st.builds(VmmInventory, known_hosts, st.lists(known_vms, **several).map(tuple)),
    PartKind.SHOWN: st.builds(
        HostInventory, texts, numbers, numbers, vms=st.lists(shown_vms, **several).map(tuple)
    ),
    PartKind.PULSE: st.builds(
        Pulse,
        texts,
        times,
        vms=st.lists(shown_vms, **several).map(tuple),
        migrations=st.lists(st.builds(HostMigration, texts, maybe), **several).map(tuple),
        live=st.none() | numbers,
        words=st.lists(
            st.builds(Word, texts, numbers, times, st.none() | shown_vms), **several
        ).map(tuple),
    ),
}


def rows_written(store, part: Part) -> int:
    before = store.database().raw.conn.total_changes
    with writing(store, NOW) as pen:
        pen.keep_part("vmm01", part)
    return store.database().raw.conn.total_changes - before


def test_an_answer_is_written_only_if_it_has_changed(store):
    one = KnownVm("ID-1", "web01", "hv01", "Running")
    part = Part(PartKind.KNOWN, "hv01", age(1, NOW), VmmInventory(KnownHost("hv01"), (one,)))
    later = replace(part, age=age(2, NOW + 60))
    moved = replace(later, body=VmmInventory(KnownHost("hv01"), ()))

    assert [rows_written(store, each) for each in (part, later, moved)] == [2, 1, 2]
    assert queries.parts(store, "vmm01") == (moved,)


def test_a_fleet_is_known_once_vmm_has_named_its_hosts(store):
    site = Part(PartKind.SITE, "", age(1, NOW), Site((KnownHost("hv01"),)))
    with writing(store, NOW) as pen:
        pen.keep_part("vmm01", replace(site, body=None))
    assert queries.fleet(store, "vmm01") is None

    with writing(store, NOW) as pen:
        pen.keep_part("vmm01", site)
    assert [host.name for host in queries.fleet(store, "vmm01").hosts] == ["hv01"]


def test_a_part_that_is_dropped_leaves_nothing_behind(store):
    part = Part(PartKind.SHOWN, "hv01", age(1, NOW), HostInventory("hv01", 2, 2))
    with writing(store, NOW) as pen:
        pen.keep_part("vmm01", part)
        pen.drop_part("vmm01", part)

    assert queries.parts(store, "vmm01") == ()
    assert store.query("SELECT * FROM answers") == []


@given(networks)
def test_a_network_survives_the_round_trip_through_the_store(network):
    assert codec.from_json(Network, codec.to_json(network)) == network


@given(st.sampled_from(sorted(bodies)).flatmap(lambda kind: bodies[kind]))
def test_the_answer_to_a_look_survives_the_round_trip_through_the_store(body):
    assert codec.from_json(type(body), codec.to_json(body)) == body


options = st.builds(
    Options,
    path=maybe,
    parallel=numbers,
    backup=times,
    now=st.booleans(),
    excluding=words,
    pass_=times,
)


@given(bodies[PartKind.PULSE], networks, options)
def test_a_value_is_encoded_exactly_like_its_fields(pulse, network, said):
    for value, text in (
        (pulse, codec.to_json(pulse)),
        (network, codec.to_json(network)),
        (said, codec.to_json(said)),
    ):
        assert text == codec.dumps(asdict(value))


@pytest.mark.parametrize(
    "text",
    [
        '{"adapters":[{"id":"a","quantum":1}]}',
        '{"adapters":[{"id":"a","acls":[{"action":"a","direction":"b","weight":1,"quantum":1}]}]}',
        '{"adapters":[],"quantum":1}',
    ],
)
def test_an_unknown_field_is_an_error_and_is_not_dropped(text):
    with pytest.raises(ValueError, match="quantum"):
        codec.from_json(Network, text)


def test_an_answer_of_an_older_version_without_later_fields_is_read():
    vm = '{"id":"A","name":"a","state":"Off"}'
    text = f'{{"host":"hv01","live_limit":2,"storage_limit":2,"vms":[{vm}]}}'
    found = codec.from_json(HostInventory, text)

    assert found.switches is None
    assert found.vms == (ShownVm("A", "a", HyperVState.OFF),)
    assert found.vms[0].state is HyperVState.OFF


def test_equal_values_are_encoded_as_the_same_text():
    one, other = {"b": 1, "a": "ü"}, {"a": "ü", "b": 1}

    assert codec.dumps(one) == codec.dumps(other) == '{"a":"ü","b":1}'


def test_the_latest_events_come_oldest_first_and_may_be_limited_to_one_run(store):
    with store.transaction() as db:
        for number in range(6):
            Transaction(db, float(number)).event("x", f"{number}", run=1 + number % 2)

    assert [e.text for e in events.latest(store, 3)] == ["3", "4", "5"]
    assert [e.text for e in events.latest(store, 2, run=1)] == ["2", "4"]


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("R1 was taken over by @U02 from @U01.", ["slack:U02", "slack:U01"]),
        ("@U02 reviewed that @U021 broke the glass", ["slack:U02", "slack:U021"]),
        ("<@U02> was left out by @U02: mail admin@WEB01", ["slack:U02"]),
    ],
)
def test_an_event_of_an_older_version_names_each_person_and_nobody_else(text, people):
    row = {"seq": 1, "at": NOW, "kind": "run.owned", "run": 1, "vm": None, "by": "@U02"}
    row |= {"text": text, "text_parts": None, "detail": "{}", "hash": "", "cause": None}

    read = codec.event(row)

    assert [part.text for part in read.text.parts if isinstance(part, Person)] == people
    assert read.by == "slack:U02"
