"""What people's words leave in the rows: damage that is looked at again, VMs that are in doubt."""

from __future__ import annotations

import pytest

from engine.clock import VirtualClock
from engine.errors import Refused
from engine.model import AttemptKind, MoveState, Options, Outcome, RunState, Vm
from engine.service import Service
from engine.settings import Settings
from engine.steering import Steering
from engine.store import events, queries
from engine.store.deeds import writing
from engine.store.store import Store

NOW = 1_767_650_400.0
HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
DAMAGED, UNKNOWN = MoveState.DAMAGED, MoveState.UNKNOWN


class Rows:
    """Runs whose moves end as they are told to, and people who steer them; no engine."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, VirtualClock(NOW)
        self.steering = Steering(Service(store, self.clock, Settings()))

    def run(self, *names: str, **options: object) -> int:
        """A run of these VMs; the first is R1."""
        with self.writing() as pen:
            number = pen.open_run(
                vmm="vmm01",
                kind="host",
                request="host hv01 to hv02",
                sources=(HV01,),
                destinations=(HV02,),
                options=Options(**options),
                by="@ann",
                state=RunState.ACTIVE,
            )
            for name in names:
                pen.open_move(number, Vm(f"id-{name}", name, HV01, "Running"), HV01)
        return number

    def writing(self):
        self.clock.jump(self.clock.now() + 1)
        return writing(self.store, self.clock.now())

    def move(self, name: str = "web01", run: int = 1):
        record = queries.record(self.store, run)
        return next(m.move for m in record.moves if m.move.vm == name)

    def turn(self, *states: MoveState, name: str = "web01", run: int = 1, host: str = HV02) -> None:
        """Through these states; MOVING with an attempt, an end with an outcome."""
        for state in states:
            move = self.move(name, run)
            with self.writing() as pen:
                if state is MoveState.MOVING:
                    pen.begin_attempt(move, AttemptKind.LIVE, HV01, HV02)
                outcome = {DAMAGED: Outcome.NETWORK, UNKNOWN: Outcome.UNKNOWN}.get(state)
                if state is MoveState.FAILED:
                    outcome = Outcome.BLOCKED
                pen.turn_move(move, state, "so it is", host=host, outcome=outcome)

    def damage(self) -> list[str]:
        return [d.vm for d in queries.damages(self.store, "vmm01")]


@pytest.fixture
def rows(tmp_path):
    store = Store(tmp_path / "vmferry.db", durable=False)
    yield Rows(store)
    store.close()


def damaged(rows: Rows) -> Rows:
    rows.run("web01")
    rows.turn(MoveState.MOVING, MoveState.RESTORING, DAMAGED)
    return rows


def test_while_damage_is_looked_at_again_its_host_stays_closed(rows):
    damaged(rows).clock.jump(NOW + 60)
    rows.steering.retry("R1", by="@ann")

    assert rows.move().state is MoveState.RESTORING
    assert rows.damage() == ["web01"]


def test_go_on_can_be_said_while_damage_is_looked_at_again(rows):
    damaged(rows).clock.jump(NOW + 60)
    rows.steering.retry("R1", by="@ann")
    rows.steering.go_on("R1", "hv02", by="@bob")

    assert rows.damage() == []


def test_damage_that_is_found_to_be_mended_is_none(rows):
    damaged(rows).clock.jump(NOW + 60)
    rows.steering.retry("R1", by="@ann")
    rows.turn(MoveState.DONE)

    assert rows.damage() == []


def test_go_on_is_said_about_the_damage_that_was_known_not_about_what_is_found_later(rows):
    damaged(rows).clock.jump(NOW + 60)
    rows.steering.go_on("R1", "hv02", by="@bob")
    rows.steering.retry("R1", by="@ann")
    assert rows.damage() == []
    rows.turn(DAMAGED)

    assert rows.damage() == ["web01"]
    rows.steering.go_on("R1", "hv02", by="@bob")
    assert rows.damage() == []
    with pytest.raises(Refused, match="damaged no VM"):
        rows.steering.go_on("R1", "hv02", by="@bob")


def test_an_arrival_is_no_damage(rows):
    rows.run("web01")
    rows.turn(MoveState.MOVING, MoveState.RESTORING)

    assert rows.damage() == []


# --- doubt -------------------------------------------------------------------------------------


def test_what_another_run_came_to_before_settles_no_doubt(rows):
    rows.run("web01")
    rows.run("web01")
    rows.turn(MoveState.FAILED, run=2)
    rows.turn(MoveState.MOVING, UNKNOWN, run=1)

    assert [(d.vm_id, d.run) for d in queries.doubts(rows.store, "vmm01")] == [("id-web01", 1)]


def test_a_vm_that_is_lost_sight_of_again_is_in_doubt_again(rows):
    rows.run("web01")
    rows.turn(MoveState.MOVING, UNKNOWN)
    rows.steering.settle("R1", "web01", by="@ann")
    assert queries.doubts(rows.store, "vmm01") == ()
    rows.turn(UNKNOWN)

    assert [d.vm_id for d in queries.doubts(rows.store, "vmm01")] == ["id-web01"]
    rows.steering.settle("R1", "web01", by="@ann")
    assert rows.move().state is MoveState.RESTORING


# --- empty -------------------------------------------------------------------------------------


def test_what_was_proven_empty_before_a_retry_is_proven_anew(rows):
    rows.run("web01")
    rows.turn(MoveState.FAILED)
    run = queries.run(rows.store, 1)
    with rows.writing() as pen:
        pen.note_empty(run, (HV01,), rows.clock.now() - 30, proven=True)
        pen.turn_run(run, RunState.INCOMPLETE, "so it is")
    assert queries.run(rows.store, 1).empty == (HV01,)
    rows.steering.retry("R1", by="@ann")

    assert queries.run(rows.store, 1).empty == ()


def test_what_is_no_longer_empty_is_forgotten(rows):
    rows.run("web01")
    with rows.writing() as pen:
        pen.note_empty(queries.run(rows.store, 1), (HV01,), rows.clock.now() - 30, proven=True)
    with rows.writing() as pen:
        pen.note_empty(queries.run(rows.store, 1), (), None, proven=False)

    assert queries.run(rows.store, 1).empty == ()


def test_a_start_that_a_person_settled_is_not_closed_once_more_by_the_engine(rows):
    rows.run("web01")
    rows.turn(MoveState.MOVING, UNKNOWN)
    [attempt] = queries.lost_attempts(rows.store, "vmm01")  # as a plan read it
    rows.steering.settle("R1", "web01", by="@ann")
    with rows.writing() as pen:
        pen.let_go(attempt)

    ends = [e for e in events.since(rows.store) if e.kind == "attempt.ended"]
    [kept] = queries.record(rows.store, 1).moves[0].attempts
    assert len(ends) == 1
    assert kept.error == "Settled by @ann"


# --- stop-on-failure ---------------------------------------------------------------------------


def test_one_of_two_failures_is_not_retried_where_the_other_would_stop_the_run_at_once(rows):
    rows.run("web01", "web02", stop_on_failure=True)
    for name in ("web01", "web02"):
        rows.turn(MoveState.FAILED, name=name)

    with pytest.raises(Refused, match="web01 still is one"):
        rows.steering.retry("R1", ["web02"], by="@ann")
    assert rows.move("web02").state is MoveState.FAILED
    rows.steering.retry("R1", by="@ann")
    assert rows.move("web02").state is MoveState.PENDING


def test_one_of_two_failures_may_be_retried_where_a_run_goes_on(rows):
    rows.run("web01", "web02")
    for name in ("web01", "web02"):
        rows.turn(MoveState.FAILED, name=name)
    rows.steering.retry("R1", ["web02"], by="@ann")

    assert rows.move("web01").state is MoveState.FAILED
