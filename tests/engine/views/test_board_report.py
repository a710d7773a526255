"""Reports for people and scripts: the board of a run, its JSON document, its final page."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.cells import cell_len

from bot.terminal.report_page import page, wrapped
from engine.language.sentence import VmName, say
from engine.model import (
    Acl,
    Adapter,
    ApprovalState,
    AttemptKind,
    Fleet,
    Host,
    MoveState,
    Network,
    Options,
    Outcome,
    Result,
    RunState,
    Vm,
    Wait,
)
from engine.policy.steps import Finish
from engine.store import events, queries
from engine.store.pen import writing
from engine.store.store import Store
from engine.views.board import board
from engine.views.report import (
    document,
    exit_of,
    headline,
    idle_line,
    lower_bound,
    span_words,
    spreadsheet,
    summary,
)
from tests.fleets import keep_fleet

T0 = 1_767_650_400.0
HV01, HV02, HV03 = (f"{name}.corp.example" for name in ("hv01", "hv02", "hv03"))


# --- the board -----------------------------------------------------------------------------


def shown(scene, run: int = 1):
    return board(scene.record(run), scene.fleet(), scene.now)


def crowd(scene):
    """One VM in each state: waiting, moving, restoring, done, damaged, failed, skipped, unknown."""
    states = {
        "done": (MoveState.DONE, Outcome.MOVED),
        "hurt": (MoveState.DAMAGED, Outcome.NETWORK),
        "bad": (MoveState.FAILED, Outcome.ATTEMPTS),
        "left": (MoveState.SKIPPED, Outcome.DENIED),
        "lost": (MoveState.UNKNOWN, Outcome.TWO_PLACES),
    }
    for name, (state, outcome) in states.items():
        scene.add(name, state=state, outcome=outcome, sentence=f"{name}!", next=f"{name}?")
    scene.add("flies", state=MoveState.MOVING, destination="hv02", kind=AttemptKind.COLD)
    scene.attempt(name="flies", job="job-flies").job("flies", progress=50)
    scene.add("lands", state=MoveState.RESTORING, destination="hv02", host="hv02")
    return scene.move(wait=Wait.BACKUP, wait_since=scene.now - 60, wait_text="in backup")


def test_the_board_counts_every_vm_by_its_state(scene):
    seen = shown(crowd(scene))

    assert (seen.total, seen.moved, seen.skipped) == (8, 2, 1)
    assert [(m.vm, m.destination, m.percent, m.kind) for m in seen.moving] == [
        ("flies", HV02, 50, "cold")
    ]
    assert seen.restoring == ("lands",)
    assert [g.vms for g in seen.waiting] == [("web01",)]


def test_the_board_names_vms_that_need_a_person(scene):
    seen = shown(crowd(scene)).failed

    assert [(s.vm, s.state, s.outcome, s.sentence, s.next) for s in seen] == [
        ("hurt", MoveState.DAMAGED, Outcome.NETWORK, "hurt!", "hurt?"),
        ("bad", MoveState.FAILED, Outcome.ATTEMPTS, "bad!", "bad?"),
        ("lost", MoveState.UNKNOWN, Outcome.TWO_PLACES, "lost!", "lost?"),
    ]
    assert {(s.vm_id, s.host) for s in seen if s.vm == "bad"} == {("id-bad", HV01)}


def test_waiting_vms_are_grouped_by_cause_the_largest_group_first(scene):
    for number, (wait, since) in enumerate(
        [(Wait.SLOT, 30), (Wait.SLOT, 90), (Wait.BACKUP, 300), (Wait.APPROVAL, 5)], 2
    ):
        text = f"{wait} since {since}"
        scene.add(f"web0{number}", wait=wait, wait_since=scene.now - since, wait_text=text)
    groups = shown(scene).waiting

    assert [(g.wait, g.count, g.vms) for g in groups] == [
        (Wait.SLOT, 2, ("web02", "web03")),
        (Wait.APPROVAL, 1, ("web05",)),
        (Wait.BACKUP, 1, ("web04",)),
    ]
    assert (groups[0].text, groups[0].since) == ("SLOT since 90", scene.now - 90)


def test_an_ended_move_is_not_shown_as_waiting(scene):
    scene.move(state=MoveState.FAILED, wait=Wait.SLOT, wait_since=scene.now)

    assert shown(scene).waiting == ()


def test_the_board_shows_the_wait_of_a_vm_in_flight(scene):
    scene.move(state=MoveState.MOVING, wait=Wait.HOST_DOWN, wait_since=scene.now, wait_text="?")

    assert [g.wait for g in shown(scene).waiting] == [Wait.HOST_DOWN]


@pytest.mark.parametrize(
    ("state", "percent", "progress"),
    [
        (MoveState.PENDING, None, 0.0),
        (MoveState.MOVING, None, 0.0),
        (MoveState.MOVING, 40, 0.4),
        (MoveState.RESTORING, None, 1.0),
        (MoveState.DONE, None, 1.0),
        (MoveState.FAILED, None, 1.0),
    ],
)
def test_progress_measures_copied_data(state, percent, progress, scene):
    scene.move(state=state).attempt(job="job-web01")
    if percent is not None:
        scene.job(progress=percent)

    assert shown(scene).progress == pytest.approx(progress)


def test_progress_counts_megabytes_and_not_vms(scene):
    scene.move(memory_mb=0, disk_mb=9000, state=MoveState.DONE)
    scene.add("small", memory_mb=0, disk_mb=1000)

    assert shown(scene).progress == pytest.approx(0.9)


def test_a_run_without_vms_needs_no_copying(scene):
    scene.moves.clear()
    seen = shown(scene)

    assert (seen.total, seen.progress) == (0, 1.0)


def test_the_end_is_estimated_from_the_busiest_host(scene):
    """Three VMs of 100 s through two slots; one alone takes 100 s."""
    scene.move(memory_mb=0, disk_mb=40_000)
    one = shown(scene).done_about
    for name in ("b", "c"):
        scene.add(name, memory_mb=0, disk_mb=40_000)

    assert one == scene.now + 100
    assert shown(scene).done_about == scene.now + 150
    assert shown(scene.host("hv02", storage_limit=1)).done_about == scene.now + 300


def test_copied_data_does_not_count_towards_the_estimated_end(scene):
    scene.move(memory_mb=0, disk_mb=40_000, state=MoveState.MOVING, destination="hv02")
    scene.attempt(job="job-web01").job(progress=75)

    assert shown(scene).done_about == scene.now + 25


def test_the_board_is_shown_without_an_observation(scene):
    crowd(scene)
    seen = board(scene.record(), None, scene.now)

    assert seen.moving[0].percent is None
    assert seen.done_about is not None


def test_an_ended_run_has_no_estimated_end(scene):
    assert shown(scene.run(state=RunState.COMPLETED)).done_about is None


def test_an_approval_is_needed_when_the_running_vms_are_done(scene):
    scene.move(memory_mb=0, disk_mb=40_000)
    scene.add("old", memory_mb=0, disk_mb=400_000).down("old")
    quiet = shown(scene)
    scene.approval(ApprovalState.REQUESTED, "old").approval(ApprovalState.DENIED, "other")
    asked = shown(scene)

    assert (quiet.questions, quiet.needed_by) == ((), None)
    assert [q.label for q in asked.questions] == ["A1"]
    assert asked.needed_by == scene.now + 100
    assert asked.done_about == scene.now + 1000


def test_an_approval_is_needed_now_if_nothing_else_is_left(scene):
    scene.down().approval(ApprovalState.REQUESTED)

    assert shown(scene).needed_by == scene.now


# --- the document --------------------------------------------------------------------------

KEYS = {
    "document": "format story seed exit ended runs approvals events calls fleet violations",
    "run": "id exit request by state sources destinations empty source_vms later_vms unmoved "
    "makespan bound idle moves",
    "move": "vm vm_id source destination host state outcome kind attempts waited repairs missing "
    "next",
    "attempt": "kind at ended result job error",
    "repair": "adapter what value",
    "approval": "id run vms state votes",
    "vote": "by verdict t",
    "event": "seq t kind run vm by text detail",
    "call": "t ended call host vms result error",
    "violation": "t kind vm host",
}
#: Keys beyond the contract: adding one is no breaking change, removing one is.
ADDED = {
    "document": "audit",
    "move": "adopted sentence minutes",
    "approval": "break_glass review",
    "event": "cause",
}

RULE = Acl("Allow", "Inbound", 10)
NIC = Adapter("nic-1", "001DD8B71C00", "VM-Net-10", None, "LS-Main", 10, acls=(RULE,))
WHOLE, BARE = Network((NIC,)), Network((Adapter("nic-1", "001DD8B71C00", switch="LS-Main"),))


class Told:
    """A store with one run, whose rows are written second by second. Times count from its start."""

    def __init__(self, store: Store, kind: str = "host", vms: tuple[str, ...] = ("web01",)) -> None:
        self.store = store
        with writing(store, T0) as pen:
            keep_fleet(pen, Fleet("vmm01", T0, T0, (Host(HV01), Host(HV02)), ()))
            self.run = pen.runs.open(
                vmm="vmm01",
                kind=kind,
                request="host hv01 to hv02",
                sources=(HV01,),
                destinations=(HV02,),
                options=Options(),
                by="slack:ann",
                state=RunState.ACTIVE,
            )
            for name in vms:
                vm = Vm(f"id-{name}", name, HV01, "Running", memory_mb=0, disk_mb=40_000)
                pen.moves.open(self.run, vm, HV01)

    def at(self, seconds: float):
        return writing(self.store, T0 + seconds)

    def move(self, name: str = "web01"):
        moves = queries.record(self.store, self.run).moves
        return next(m.move for m in moves if m.move.vm == name)

    def hold(self, seconds: float, wait: Wait, name: str = "web01") -> None:
        move = self.move(name)
        with self.at(seconds) as pen:
            pen.moves.hold(move, wait, f"waits for {wait}")

    def baseline(self, seconds: float, name: str = "web01", network: Network = WHOLE) -> None:
        move = self.move(name)
        with self.at(seconds) as pen:
            attempt = pen.attempts.begin(move, AttemptKind.BASELINE, HV01)
            pen.networks.keep(self.run, move.vm_id, "baseline", HV01, network)
            pen.attempts.end(move, attempt, AttemptKind.BASELINE, Result.OK)

    def copy(
        self,
        begun: float,
        ended: float,
        name: str = "web01",
        result: Result = Result.OK,
        kind: AttemptKind = AttemptKind.LIVE,
    ) -> None:
        """Add one attempt from start to end. After a failure the move is pending again."""
        move = self.move(name)
        with self.at(begun) as pen:
            attempt = pen.attempts.begin(move, kind, HV01, HV02, T0 + begun + 60)
            pen.moves.set_state(move, MoveState.MOVING, "moves", destination=HV02, kind=kind)
            pen.attempts.issue(move, attempt, f"job-{attempt}")
        moving = self.move(name)
        with self.at(ended) as pen:
            error = "" if result is Result.OK else "no space on D:"
            pen.attempts.end(moving, attempt, kind, result, error)
            host = HV02 if result is Result.OK else HV01
            pen.moves.set_state(moving, MoveState.RESTORING, "is looked at", host=host)
        if result is not Result.OK:
            resting = self.move(name)
            with self.at(ended) as pen:
                pen.moves.return_to_pending(resting, "again", None)

    def finish(
        self,
        seconds: float,
        outcome: Outcome = Outcome.MOVED,
        name: str = "web01",
        next_step: str = "",
    ) -> None:
        move = self.move(name)
        with self.at(seconds) as pen:
            words = say("{} {}.", VmName(name), outcome)
            pen.moves.finish(Finish(move, outcome, words, say(next_step)))

    def end(self, seconds: float, state: RunState = RunState.COMPLETED) -> None:
        run = queries.run(self.store, self.run)
        with self.at(seconds) as pen:
            if state is RunState.COMPLETED:
                pen.runs.note_empty(run, (HV01,), T0, proven=True)
            pen.runs.set_state(run, state, f"R1 ended {state}")

    def document(self, now: float = 9999.0, **words: object):
        return document(self.store, "vmm01", T0 + now, **words)

    def told_run(self, now: float = 9999.0):
        return self.document(now)["runs"][0]

    def told_move(self, name: str = "web01"):
        return next(m for m in self.told_run()["moves"] if m["vm"] == name)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "vmferry.db", durable=False)
    yield made
    made.close()


@pytest.fixture
def told(store):
    return Told(store)


@pytest.fixture
def night(store):
    """Two VMs: web01 fails once, loses a rule and gets it back; old-crm needs an approval and is
    damaged."""
    night = Told(store, vms=("web01", "old-crm"))
    night.hold(0, Wait.BACKUP)
    night.hold(0, Wait.APPROVAL, "old-crm")
    with night.at(0) as pen:
        approval = pen.approvals.ask(night.run, ("id-old-crm",), ("old-crm",), "digest")
        pen.approvals.vote(approval, "slack:eve", "approve", "not_a_decider")
    night.baseline(100)
    night.copy(100, 150, result=Result.FAILED)
    night.hold(150, Wait.BACKOFF)
    night.copy(210, 310)
    web01 = night.move()
    with night.at(320) as pen:
        pen.networks.note_repair(web01, NIC.mac, "acl", str(RULE))
    night.finish(330)
    with night.at(330) as pen:
        pen.approvals.vote(approval, "slack:bob", "approve", "ok")
        asked = queries.approval(night.store, approval)
        pen.approvals.set_state(asked, ApprovalState.GRANTED, "A1 approved", by="slack:bob")
    night.baseline(340, "old-crm")
    night.copy(340, 540, "old-crm", kind=AttemptKind.COLD)
    old = night.move("old-crm")
    with night.at(545) as pen:
        pen.networks.keep(night.run, old.vm_id, "ports", HV02, BARE)
        pen.networks.keep(night.run, old.vm_id, "models", HV02, BARE)
    night.finish(550, Outcome.NETWORK, "old-crm", "Put it back by hand.")
    night.end(600, RunState.INCOMPLETE)
    return night


WORLD = {
    "calls": [
        {
            "t": T0 + 1,
            "ended": T0 + 2,
            "call": "observe",
            "host": None,
            "vms": [],
            "result": "ok",
            "error": None,
        }
    ],
    "fleet": {"host": [], "vm": []},
    "violations": [{"t": T0 + 3, "kind": "double", "vm": "web01", "host": HV02}],
}


def test_the_document_has_exactly_the_keys_of_the_contract(night):
    whole = night.document(world=WORLD)
    run = whole["runs"][0]
    web01, old_crm = run["moves"]
    levels = {
        "document": whole,
        "run": run,
        "move": web01,
        "attempt": web01["attempts"][0],
        "repair": web01["repairs"][0],
        "approval": whole["approvals"][0],
        "vote": whole["approvals"][0]["votes"][0],
        "event": whole["events"][0],
        "call": whole["calls"][0],
        "violation": whole["violations"][0],
    }

    assert {level: set(body) for level, body in levels.items()} == {
        level: {*KEYS[level].split(), *ADDED.get(level, "").split()} for level in KEYS
    }
    assert set(old_crm["missing"][0]) == set(KEYS["repair"].split())


def test_the_document_is_json_and_the_same_rows_give_the_same_text(night):
    one, other = (json.dumps(night.document(world=WORLD), sort_keys=True) for _ in range(2))

    assert one == other


def test_times_in_the_document_are_seconds_since_the_first_run(night):
    whole = night.document(world=WORLD)
    attempts = [a for m in whole["runs"][0]["moves"] for a in m["attempts"]]

    assert [(a["kind"], a["at"], a["ended"], a["result"]) for a in attempts] == [
        ("baseline", 100.0, 100.0, "ok"),
        ("live", 100.0, 150.0, "failed"),
        ("live", 210.0, 310.0, "ok"),
        ("baseline", 340.0, 340.0, "ok"),
        ("cold", 340.0, 540.0, "ok"),
    ]
    assert (whole["calls"][0]["t"], whole["calls"][0]["ended"]) == (1.0, 2.0)
    assert whole["violations"][0]["t"] == 3.0
    assert whole["events"][0]["t"] == 0.0
    assert night.document(start=T0 - 10)["events"][0]["t"] == 10.0


def test_a_document_without_a_simulated_world_has_no_violations(night):
    whole = night.document()

    assert (whole["calls"], whole["fleet"], whole["violations"]) == ([], None, None)


def test_the_document_shows_only_the_votes_that_counted(night):
    assert night.document()["approvals"] == [
        {
            "id": "A1",
            "run": "R1",
            "state": "granted",
            "vms": ["old-crm"],
            "break_glass": False,
            "review": None,
            "votes": [{"by": "slack:bob", "verdict": "approve", "t": 330.0}],
        }
    ]


def test_the_head_of_the_audit_is_in_the_document(night):
    assert night.document()["audit"] == events.head(night.store)[:8]


def test_the_document_can_show_a_single_run(night):
    Told(night.store)
    alone = night.document(run_id=2)

    assert [r["id"] for r in alone["runs"]] == ["R2"]
    assert {e["run"] for e in alone["events"]} == {"R2"}
    assert alone["approvals"] == []
    assert [r["id"] for r in night.document()["runs"]] == ["R1", "R2"]


def test_a_document_without_runs_is_empty_and_valid(store):
    whole = document(store, "vmm01", T0)

    assert (whole["runs"], whole["ended"], whole["exit"]) == ([], True, 0)


def test_the_document_holds_the_story_the_seed_and_the_given_exit_code(told):
    whole = told.document(story="09_nobody_decides", seed=7, exit_code=5)

    assert (whole["story"], whole["seed"], whole["exit"]) == ("09_nobody_decides", 7, 5)


# --- how it ended --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "outcome", "run", "code"),
    [
        (MoveState.DONE, Outcome.MOVED, RunState.COMPLETED, 0),
        (MoveState.DONE, Outcome.ALREADY_THERE, RunState.COMPLETED, 0),
        (MoveState.SKIPPED, Outcome.EXCLUDED, RunState.COMPLETED, 0),
        (MoveState.SKIPPED, Outcome.ELSEWHERE, RunState.COMPLETED, 0),
        (MoveState.SKIPPED, Outcome.VANISHED, RunState.COMPLETED, 0),
        (MoveState.SKIPPED, Outcome.DENIED, RunState.INCOMPLETE, 1),
        (MoveState.FAILED, Outcome.ATTEMPTS, RunState.INCOMPLETE, 1),
        (MoveState.FAILED, Outcome.ATTEMPTS, RunState.COMPLETED, 1),
        (MoveState.DONE, Outcome.MOVED, RunState.ACTIVE, 1),
        (MoveState.DONE, Outcome.MOVED, RunState.STOPPED, 1),
    ],
)
def test_the_exit_code_is_zero_only_if_no_move_needs_a_person(state, outcome, run, code, scene):
    scene.run(state=run).move(state=state, outcome=outcome)

    assert exit_of(scene.record()) == code


def test_the_exit_code_of_a_document_with_damage_is_1(night):
    whole = night.document()

    assert (whole["exit"], whole["ended"], whole["runs"][0]["exit"]) == (1, True, 1)


def test_an_active_run_has_no_end(told):
    assert told.document()["ended"] is False


def test_a_host_is_empty_in_the_document_only_if_proven_empty(told):
    before = told.told_run()["empty"]
    told.copy(10, 110)
    told.finish(120)
    told.end(150)

    assert before == {HV01: False}
    assert told.told_run()["empty"] == {HV01: True}


def test_the_report_of_a_vm_run_says_nothing_about_empty_hosts(store):
    assert Told(store, kind="vm").told_run()["empty"] == {}


# --- what waited, what was lost ------------------------------------------------------------


def test_waiting_time_of_a_vm_is_listed_by_cause(told):
    told.hold(0, Wait.BACKUP)
    told.hold(100, Wait.SLOT)
    told.hold(130, Wait.BACKUP)
    told.copy(150, 250)
    told.finish(260)
    told.end(300)

    assert told.told_move()["waited"] == {"BACKUP": 120.0, "SLOT": 30.0}


def test_an_unfinished_wait_is_counted_until_now(told):
    told.hold(40, Wait.BACKUP)

    assert told.told_run(now=100)["moves"][0]["waited"] == {"BACKUP": 60.0}


def test_a_wait_is_counted_no_longer_than_its_run(told):
    told.hold(40, Wait.APPROVAL)
    told.end(90, RunState.INCOMPLETE)

    assert told.told_move()["waited"] == {"APPROVAL": 50.0}


def test_the_minutes_of_a_vm_are_the_sum_of_its_migrations(night):
    """50 s of a failed and 100 s of a successful migration. Saving the network does not count."""
    assert night.told_move()["minutes"] == 2.5
    assert night.told_move("old-crm")["minutes"] == 3.3


def test_a_vm_that_never_migrated_has_no_minutes(told):
    told.baseline(10)

    assert told.told_move()["minutes"] is None


def test_a_migration_in_flight_is_counted_until_now(told):
    with told.at(0) as pen:
        pen.attempts.begin(told.move(), AttemptKind.LIVE, HV01, HV02, T0 + 60)

    assert told.told_run(now=90)["moves"][0]["minutes"] == 1.5


def adopt(told, name: str, seconds: float) -> None:
    """Add a VM that appears on the source during the run."""
    with told.at(seconds) as pen:
        vm = Vm(f"id-{name}", name, HV01, "Running", memory_mb=0, disk_mb=40_000)
        pen.moves.open(told.run, vm, HV01, adopted=True)


def test_vms_adopted_later_are_listed_apart_from_the_first_ones(store):
    several = Told(store, vms=("stays", "web01"))
    several.finish(0, Outcome.EXCLUDED, "stays")
    adopt(several, "late", 50)
    several.copy(60, 160, "late")
    several.finish(170, name="late")
    run = several.told_run()

    assert run["source_vms"] == ["stays", "web01"]
    assert run["later_vms"] == ["late"]
    assert run["unmoved"] == ["stays", "web01"]


def test_a_damaged_vm_counts_as_moved(night):
    assert night.told_run()["unmoved"] == []


def test_a_restored_setting_is_reported_with_its_adapter(night):
    assert night.told_move()["repairs"] == [{"adapter": NIC.mac, "what": "acl", "value": str(RULE)}]
    assert night.told_move()["missing"] == []


def test_the_missing_settings_of_a_damaged_vm_are_reported_exactly(night):
    missing = {(m["what"], m["value"]) for m in night.told_move("old-crm")["missing"]}

    assert missing == {("acl", str(RULE)), ("network", "VM-Net-10"), ("vlan", "10")}
    assert night.told_move("old-crm")["next"] == "Put it back by hand."


# --- how good it was -----------------------------------------------------------------------


def test_the_lower_bound_of_one_copy_is_its_length(told):
    told.copy(0, 100)
    told.finish(110)
    told.end(150)

    assert (told.told_run()["bound"], told.told_run()["makespan"]) == (100.0, 150.0)


def test_the_lower_bound_divides_the_copies_among_the_slots_of_the_busiest_host(store):
    """Two slots and three copies of 100 s: one slot takes two."""
    names = ("a", "b", "c")
    three = Told(store, vms=names)
    for number, name in enumerate(names):
        three.copy(100 * number, 100 * number + 100, name)
        three.finish(305, name=name)
    three.end(310)

    assert three.told_run()["bound"] == 200.0


def test_a_limit_lowered_afterwards_does_not_raise_the_lower_bound(store):
    """Three copies ran at once when that was allowed, so the bound is not 300 s."""
    names = ("a", "b", "c")
    three = Told(store, vms=names)
    for name in names:
        three.copy(0, 100, name)
        three.finish(110, name=name)
    with three.at(120) as pen:
        hosts = tuple(Host(name, live_limit=1, storage_limit=1) for name in (HV01, HV02))
        keep_fleet(pen, Fleet("vmm01", T0, T0, hosts, ()))
    three.end(120)

    assert three.told_run()["bound"] == 100.0


@pytest.mark.parametrize(
    ("result", "bound"),
    [(Result.FAILED, 600.0), (Result.LOST, 100.0), (Result.BUSY, 100.0), (Result.REFUSED, 100.0)],
)
def test_only_attempts_that_held_slots_raise_the_lower_bound(result, bound, told):
    """A copy that failed after 500 s held its slots. A refused start did not."""
    told.copy(0, 500, result=result)
    told.copy(560, 660)
    told.finish(670)
    told.end(700)

    assert told.told_run()["bound"] == bound


@pytest.mark.parametrize(
    ("wait", "bound"),
    [
        (Wait.BACKUP, 300.0),
        (Wait.APPROVAL, 300.0),
        (Wait.FOREIGN, 300.0),
        (Wait.TRANSIENT, 300.0),
        (Wait.SLOT, 100.0),
        (Wait.BACKOFF, 100.0),
        (Wait.RUNNING_FIRST, 100.0),
    ],
)
def test_the_lower_bound_includes_waits_for_others(wait, bound, told):
    told.hold(0, wait)
    told.copy(200, 300)
    told.finish(310)
    told.end(320)

    assert told.told_run()["bound"] == bound


def test_consecutive_waits_for_others_all_count_for_the_lower_bound(told):
    told.hold(0, Wait.BACKUP)
    told.hold(100, Wait.APPROVAL)
    told.copy(300, 400)
    told.finish(410)
    told.end(420)

    assert told.told_run()["bound"] == 400.0


def test_a_wait_that_a_better_schedule_avoids_does_not_raise_the_lower_bound(told):
    """The backup began while the VM waited for a slot. With a slot, the VM would have moved
    earlier."""
    told.hold(0, Wait.SLOT)
    told.hold(100, Wait.BACKUP)
    told.copy(300, 400)
    told.finish(410)
    told.end(420)

    assert told.told_run()["bound"] == 100.0


def test_a_wait_after_a_failed_copy_is_not_counted_before_it(told):
    """Otherwise the bound would exceed the duration of the whole run."""
    told.copy(0, 200, result=Result.FAILED)
    told.hold(200, Wait.BACKUP)
    told.copy(260, 360)
    told.finish(365)
    told.end(370)

    assert told.told_run()["bound"] == 300.0


def test_the_lower_bound_counts_an_adopted_vm_from_its_arrival(told):
    with told.at(500) as pen:
        pen.moves.open(told.run, Vm("id-late", "late", HV01, "Running"), HV01, adopted=True)
    told.copy(510, 610, "late")
    told.finish(620, name="late")
    told.end(700)

    assert told.told_run()["bound"] == 600.0


def test_the_lower_bound_without_copies_and_waits_is_zero(scene):
    assert lower_bound(scene.record(), None) == 0.0


@pytest.mark.parametrize(
    ("wait", "idle"),
    [(Wait.SLOT, {"SLOT": 50.0}), (Wait.BACKUP, {"BACKUP": 50.0}), (None, {})],
)
def test_free_slots_are_idle_only_while_a_vm_waits_there(wait, idle, told):
    if wait is not None:
        told.hold(0, wait)
    told.copy(50, 150)
    told.finish(160)
    told.end(200)

    assert told.told_run()["idle"] == idle


def test_slots_in_use_do_not_count_as_idle(store):
    names = ("a", "b", "c")
    three = Told(store, vms=names)
    three.hold(0, Wait.SLOT, "c")
    three.copy(0, 100, "a")
    three.copy(0, 100, "b")
    three.copy(100, 200, "c")
    for name in names:
        three.finish(210, name=name)
    three.end(210)

    assert three.told_run()["idle"] == {}


def test_idle_slots_are_attributed_to_the_most_common_wait(store):
    names = ("a", "b", "c")
    three = Told(store, vms=names)
    three.hold(0, Wait.BACKUP, "a")
    three.hold(0, Wait.APPROVAL, "b")
    three.hold(0, Wait.APPROVAL, "c")

    assert three.told_run(now=10)["idle"] == {"APPROVAL": 20.0}


# --- last words ----------------------------------------------------------------------------


def test_the_summary_names_damage_durations_retries_repairs_and_the_requester(night):
    assert summary(night.told_run()) == [
        "R1 ended: 2 of 2 moved, hv01 is not proven empty",
        "Damaged: old-crm NETWORK. Put it back by hand.",
        "1 live, 1 powered down, 10 min (1.11 x the lower bound of 9 min)",
        "Retried: web01 (2 attempts)",
        "Network: 1 of 2 match their saved state; restored 1 extended ACL on web01",
        "Asked by slack:ann",
    ]


def test_the_summary_says_that_vmm_and_hyper_v_showed_the_host_empty_twice(told):
    told.baseline(0)
    told.copy(0, 100)
    told.finish(110)
    told.end(150)

    assert summary(told.told_run()) == [
        "R1 ended: 1 of 1 moved, hv01 is empty",
        "1 live, 0 powered down, 2 min 30 s (1.50 x the lower bound of 1 min 40 s)",
        "hv01: VMM and Hyper-V showed no VM in two observations",
        "Network: 1 of 1 match their saved state",
        "Asked by slack:ann",
    ]


@pytest.mark.parametrize(
    ("outcome", "line", "empty"),
    [
        (Outcome.STUCK, "Not moved: web01 STUCK. Look at it.", "not empty"),
        (Outcome.DENIED, "Left: web01 DENIED. Look at it.", "not empty"),
        (Outcome.VANISHED, "Left: web01 VANISHED.", "not proven empty"),
        (Outcome.UNKNOWN, "Needs a person: web01 UNKNOWN. Look at it.", "not proven empty"),
    ],
)
def test_vms_that_did_not_move_are_named_with_the_next_step(outcome, line, empty, told):
    told.finish(10, outcome, next_step="Look at it.")
    told.end(20, RunState.INCOMPLETE)
    lines = summary(told.told_run())

    assert any(one.startswith(line) for one in lines)
    assert lines[0] == f"R1 ended: 0 of 1 moved, hv01 is {empty}"
    assert not any(one.startswith("Network:") for one in lines), "none moved, none compared"
    assert "0 live, 0 powered down, 20 s" in lines[1:]


@pytest.mark.parametrize(
    ("what", "number", "words"),
    [
        ("acl", 1, "1 extended ACL"),
        ("acl", 3, "3 extended ACLs"),
        ("switch", 2, "2 switches"),
        ("network", 2, "2 VM networks"),
        ("vlan", 1, "1 VLAN"),
        ("mac", 2, "2 macs"),
    ],
)
def test_the_summary_counts_restored_settings_in_words(what, number, words, told):
    told.copy(0, 100)
    move = told.move()
    with told.at(110) as pen:
        for n in range(number):
            pen.networks.note_repair(move, "a", what, str(n))
    told.finish(120)
    told.end(130)

    assert f"restored {words} on web01" in "\n".join(summary(told.told_run()))


def test_the_summary_of_a_run_of_single_vms_does_not_mention_empty_hosts(store):
    several = Told(store, kind="vm", vms=("a", "b"))
    several.copy(0, 100, "a")
    several.finish(110, name="a")
    several.finish(110, Outcome.VANISHED, "b")
    several.end(120)

    assert headline(several.told_run()) == "R1 ended: 1 of 2 moved"


def test_the_summary_of_an_active_run_does_not_say_that_it_ended(told):
    told.copy(0, 100)
    run = told.told_run()

    assert headline(run) == "R1 is active: 0 of 1 moved so far"
    assert "lower bound" not in "\n".join(summary(run))


def test_the_summary_shortens_long_lists_of_names(told):
    told.copy(0, 100)
    told.finish(110)
    told.end(120)
    run = told.told_run()
    (move,) = run["moves"]
    many = {**run, "moves": [{**move, "vm": f"vm{n:03}", "attempts": move["attempts"] * 2,
                              "repairs": [{"what": "acl", "adapter": "a", "value": "x"}]}
                             for n in range(300)]}  # fmt: skip

    assert max(map(len, summary(many))) < 400
    assert "and 292 more" in "\n".join(summary(many))


def test_a_free_start_is_not_counted_as_an_attempt(told):
    """A lost race for a slot is not charged, so the report must not mention a retry."""
    told.copy(0, 5, result=Result.BUSY)
    told.copy(60, 160)
    told.finish(170)
    told.end(180)

    assert "Retried" not in "\n".join(summary(told.told_run()))


@pytest.mark.parametrize("wait", Wait)
def test_every_wait_has_a_phrase_for_the_time_waited(wait):
    words = span_words({str(wait): 90.0})

    assert words.startswith("1 min 30 s ")
    assert str(wait) not in words


def test_waits_are_listed_longest_first():
    waited = {"APPROVAL": 180.0, "BACKUP": 540.0}

    assert span_words(waited) == "9 min in backup, 3 min for approval"


def test_a_wait_of_zero_seconds_is_not_listed(told):
    told.hold(40, Wait.SLOT)

    assert span_words({"SLOT": 0.0, "BACKUP": 60.0}) == "1 min in backup"
    assert "waited" not in "\n".join(page(told.told_run(now=40)))


def test_idle_slots_are_listed_by_cause_and_omitted_if_there_were_none(night):
    run = {"sources": [HV01, HV02], "idle": {"APPROVAL": 180.0, "BACKUP": 540.0}}

    assert idle_line(run) == (
        "Slots of hv01, hv02 were idle for 12 min: 9 min in backup, 3 min for approval"
    )
    assert idle_line({**run, "idle": {}}) == ""


# --- the page ------------------------------------------------------------------------------


def test_the_page_lists_each_vm_with_its_waits_repairs_and_missing_settings(night):
    assert page(night.told_run())[5:] == [
        "Asked by slack:ann",
        "Slots of hv01 were idle for 8 min 20 s: 8 min 20 s for approval",
        "",
        "On hv01 when asked: 2 VMs",
        "VM       from  to    kind  attempts  minutes  outcome",
        "web01    hv01  hv02  live         2      2.5  MOVED",
        "  waited: 1 min 40 s in backup, 1 min between attempts",
        "  restored: 1 extended ACL",
        "old-crm  hv01  hv02  cold         1      3.3  NETWORK",
        "  waited: 5 min 40 s for approval",
        "  missing: VM network of adapter 001DD8B71C00: VM-Net-10",
        "  missing: VLAN of adapter 001DD8B71C00: 10",
        "  missing: extended ACL of adapter 001DD8B71C00: Inbound Allow weight 10, local",
        "    ANY, remote ANY",
        "  Next: Put it back by hand.",
    ]


def test_the_report_page_begins_with_the_summary(night):
    run = night.told_run()

    assert page(run)[:5] == summary(run)[:5]


def test_vms_that_arrived_later_have_a_table_of_their_own(told):
    adopt(told, "late", 50)
    lines = page(told.told_run())
    later = lines.index("Came later: 1 VM")

    assert lines.index("On hv01 when asked: 1 VM") < later
    assert [line.split()[0] for line in lines[later + 2 :]] == ["late"]


def test_the_page_does_not_call_a_list_of_vms_a_whole_host(store):
    assert "Asked for: 1 VM" in page(Told(store, kind="vm").told_run())


def test_the_page_shows_no_table_for_a_host_without_vms(store):
    assert page(Told(store, vms=()).told_run())[-1] == "On hv01 when asked: no VM"


def test_the_page_says_why_a_vm_stayed_and_what_to_do(told):
    told.finish(10, Outcome.STUCK, next_step="Look at it.")
    told.end(20, RunState.INCOMPLETE)

    assert page(told.told_run())[-3:] == [
        "web01  hv01  -   -            0        -  STUCK",
        "  web01 STUCK.",
        "  Next: Look at it.",
    ]


def test_the_page_shows_the_current_host_of_a_moved_vm(told):
    """Somebody else moved the VM to a destination other than ours."""
    told.copy(0, 10, result=Result.FAILED)
    with told.at(20) as pen:
        pen.moves.set_state(
            told.move(), MoveState.RESTORING, "is looked at", host=HV03, destination=HV02
        )
    told.finish(30)

    assert "web01  hv01  hv03  live" in page(told.told_run())[-1]


WIDE = "客" * 30


@pytest.mark.parametrize("name", ["web01", "a" * 60, WIDE, "a b " * 15 + "c"])
def test_three_hundred_vms_fit_into_eighty_columns_and_every_name_is_whole(name, night):
    run = night.told_run()
    host = "hypervisor-with-a-long-name-"
    many = [
        {**move, "vm": f"{name}{n}", "source": f"{host}{n:02}", "outcome": "BACKUP_TOO_LONG"}
        for n in range(150)
        for move in run["moves"]
    ]
    lines = page({**run, "moves": many})

    assert max(map(cell_len, lines)) <= 80
    assert sum(line == f"{name}149" or line.startswith(f"{name}149  ") for line in lines) == 2
    assert sum("  …ng-name-149  " in line for line in lines) == 2


def test_a_name_in_the_report_cannot_control_the_terminal(told):
    told.finish(10, Outcome.STUCK, next_step="\x1b[2JLook.")
    run = told.told_run()
    (move,) = run["moves"]
    missing = [{"what": "acl", "adapter": "\x07", "value": "\x1b]0;\u202e"}]
    evil = {"vm": "web\x1b[31m\n01", "source": "h\rv", "missing": missing, "waited": {"SLOT": 9.0}}
    text = "\n".join(page({**run, "moves": [{**move, **evil}], "by": "\x1b"}))

    assert {c for c in text if ord(c) < 32 or c in "\x7f\u202e"} == {"\n"}
    assert "web\ufffd[31m\ufffd01" in text


def test_no_line_breaks_between_a_number_and_its_unit():
    text = "x" * 70 + " waited 12 min 5 s in backup"

    assert list(wrapped(text)) == ["x" * 70 + " waited", "  12 min 5 s in backup"]


def test_a_word_longer_than_a_line_is_not_broken():
    assert list(wrapped(f"see {'y' * 90} now")) == ["see", f"  {'y' * 90}", "  now"]


# --- the spreadsheet -------------------------------------------------------------------------


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_spreadsheet_has_a_row_for_every_vm(night):
    web01, old_crm = read(spreadsheet(night.told_run()))

    assert web01 == {
        "run": "R1",
        "vm": "web01",
        "vm_id": "id-web01",
        "source": HV01,
        "destination": HV02,
        "host": HV02,
        "state": "done",
        "outcome": "MOVED",
        "kind": "live",
        "adopted": "no",
        "attempts": "2",
        "minutes": "2.5",
        "waited": "BACKOFF=60.0; BACKUP=100.0",
        "repairs": f"acl of {NIC.mac}: {RULE}",
        "missing": "",
        "sentence": "web01 MOVED.",
        "next": "",
    }
    assert old_crm["missing"].count("; ") == 2
    assert (old_crm["kind"], old_crm["next"]) == ("cold", "Put it back by hand.")


def test_the_spreadsheet_is_valid_csv(told):
    run = told.told_run()
    (move,) = run["moves"]
    odd = 'a "b", c\r\nd'
    text = spreadsheet({**run, "moves": [{**move, "sentence": odd}]})

    assert text.startswith("run,vm,vm_id,source,destination,host,state,outcome,kind,adopted,")
    assert text.endswith("\r\n")
    assert '"a ""b"", c\r\nd"' in text
    assert [row["sentence"] for row in read(text)] == [odd]


def test_an_unknown_value_is_an_empty_cell(told):
    (row,) = read(spreadsheet(told.told_run()))

    assert {row[key] for key in ("destination", "outcome", "kind", "minutes")} == {""}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_spreadsheet_is_a_formula(first, told):
    run = told.told_run()
    (move,) = run["moves"]
    name = f'{first}HYPERLINK("x")'
    (row,) = read(spreadsheet({**run, "moves": [{**move, "vm": name, "vm_id": f"a{name}"}]}))

    assert row["vm"] == f"'{name}"
    assert row["vm_id"] == f"a{name}"  # in the middle of a cell it is nothing
