"""``vmferry audit verify``: every change to the audit is detected, and the audit holds refusals."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from engine.store import events
from engine.store.store import Store
from tests.console import sit_down, vmferry

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [{ name = "web01", host = "hv01", minutes = 3 }]
"""


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    sit_down(tmp_path, monkeypatch, FLEET)
    move = ("run", "--fleet", "fleet.toml", "--speed", "max", "host", "hv01", "to", "hv02")
    assert vmferry(*move).code == 0
    assert vmferry("pause", "R1").code == 2  # refused, and kept
    return tmp_path / "vmferry.db"


def rows(db):
    with closing(Store(db)) as store:
        return events.since(store)


def test_an_untouched_audit_is_whole_and_contains_refusals(desk):
    said = vmferry("audit", "verify")

    written = rows(desk)
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        f"The audit is intact: {len(written)} events, the last is {written[-1].hash[:8]}.\n"
    )
    assert written[-1].kind == "refused"
    assert written[-1].detail["text"] == "pause R1"


@pytest.mark.parametrize(
    "column", ["at", "kind", "run", "vm", "by", "text", "detail", "prev", "hash"]
)
def test_a_change_to_any_column_of_an_event_is_detected(column, desk):
    number = len(rows(desk))
    for seq in range(1, number + 1):
        with closing(sqlite3.connect(desk)) as db:
            [before] = db.execute(f"SELECT {column} FROM events WHERE seq = ?", [seq]).fetchone()
            other = "x" if isinstance(before, str) or before is None else before + 1
            other = 7 if column == "run" and before is None else other
            db.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", [other, seq])
            db.commit()
            said = vmferry("audit", "verify")
            db.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", [before, seq])
            db.commit()
        assert said.code == 5, (seq, said)
        assert f"The audit is broken at event {seq}: it was changed" in said.err
    assert vmferry("audit", "verify").code == 0


def test_a_deleted_or_moved_event_is_detected(desk):
    number = len(rows(desk))
    for seq in range(1, number):
        with closing(sqlite3.connect(desk)) as db:
            db.execute("DELETE FROM events WHERE seq = ?", [seq])
            assert vmferry_on(db, desk) == 5
            db.rollback()
            db.execute("UPDATE events SET seq = -1 WHERE seq = ?", [seq])
            db.execute("UPDATE events SET seq = ? WHERE seq = ?", [seq, seq + 1])
            db.execute("UPDATE events SET seq = ? WHERE seq = -1", [seq + 1])
            assert vmferry_on(db, desk) == 5
            db.rollback()


def vmferry_on(db, desk):
    """The exit code of the check on a copy of the database as this connection sees it. The
    caller rolls back."""
    copy = desk.with_name("copy.db")
    copy.unlink(missing_ok=True)
    db.execute("PRAGMA user_version")  # the copy is of one moment
    with closing(sqlite3.connect(copy)) as other:
        other.executescript("\n".join(db.iterdump()))
    return vmferry("--db", str(copy), "audit", "verify").code


def test_events_missing_at_the_end_are_detected_by_a_mark_kept_elsewhere(desk):
    mark = rows(desk)[-1].hash[:8]
    assert f"event {len(rows(desk))} is {mark}." in vmferry("audit", "verify", mark.upper()).out
    with closing(sqlite3.connect(desk)) as db:
        db.execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
        db.commit()

    assert vmferry("audit", "verify").code == 0
    said = vmferry("audit", "verify", mark)
    assert said.code == 5
    assert f"does not contain {mark}: events are missing at its end" in said.err


def test_an_invalid_mark_is_refused_with_an_example():
    for wrong in ("7f3a", "7f3a91cx", "R1"):
        said = vmferry("audit", "verify", wrong)
        assert said.code == 2
        assert "audit verify 7f3a91c2" in said.err


def test_a_missing_database_is_not_created(desk):
    said = vmferry("--db", "other.db", "audit", "verify")

    assert said.code == 2
    assert not desk.with_name("other.db").exists()
