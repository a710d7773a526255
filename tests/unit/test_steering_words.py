"""What steering answers and writes, word by word: a table of its own beside the engine's, so that
a rule that changes is seen here."""

from __future__ import annotations

import re

import pytest

from engine import grammar, verbs
from engine.clock import VirtualClock
from engine.errors import Refused
from engine.grammar import Ask
from engine.model import (
    ApprovalState,
    AttemptKind,
    Fleet,
    Host,
    MoveState,
    Outcome,
    Result,
    RunState,
    Vm,
)
from engine.policy import approval as approvals
from engine.policy.waits import Rules
from engine.service import Service
from engine.settings import Settings
from engine.sim.story import is_cold_move_granted
from engine.steering import RULES
from engine.store import events, queries
from engine.store.deeds import writing
from engine.store.store import Store
from engine.verbs import Said
from engine.vocabulary import VERBS

NOW = 1_767_650_400.0
HV01, HV02, HV03 = (f"hv0{n}.corp.example" for n in (1, 2, 3))
LAB02 = "hv02.lab.example"
MAY = frozenset({"@bob", "@cy"})
NAMES = ("web01", "web02", "db 01")
ENDED = {MoveState.DAMAGED: Outcome.NETWORK, MoveState.UNKNOWN: Outcome.UNKNOWN}
#: The steps to each state, run by run and move by move.
RUN_WAY = {
    RunState.SCHEDULED: "",
    RunState.ACTIVE: "active",
    RunState.PAUSED: "active paused",
    RunState.STOPPING: "active stopping",
    RunState.STOPPED: "active stopping stopped",
    RunState.COMPLETED: "active completed",
    RunState.INCOMPLETE: "active incomplete",
    RunState.REJECTED: "rejected",
}
MOVE_WAY = {
    MoveState.DAMAGED: "moving restoring damaged",
    MoveState.UNKNOWN: "moving unknown",
    MoveState.DONE: "moving restoring done",
    MoveState.RESTORING: "moving restoring",
}


class Counter:
    """R1 by @ann empties hv01 of three VMs; people type, a second apart. No engine runs."""

    def __init__(self, store: Store) -> None:
        self.store, self.clock = store, VirtualClock(NOW)
        self.service = Service(store, self.clock, Settings())
        vms = tuple(Vm(f"id-{n}", n, HV01, "Running", (HV01,)) for n in NAMES)
        with writing(store, NOW) as pen:
            pen.keep_fleet(Fleet("vmm01", NOW, NOW, tuple(map(Host, (HV01, HV02, HV03))), vms))

    def run(self, state: RunState = RunState.ACTIVE, text: str = "host hv01 to hv02") -> Counter:
        made = self.service.submit(grammar.parse(text), by="@ann", scheduled=True).run
        self.turn(state, made.id)
        return self

    def turn(self, state: RunState, number: int = 1) -> None:
        """Through every step that leads there; those behind it already are left out."""
        now = queries.run(self.store, number).state
        steps = RUN_WAY[state].split()
        for step in steps[steps.index(now) + 1 if now in steps else 0 :]:
            with self.writing() as pen:
                pen.turn_run(queries.run(self.store, number), RunState(step), f"it is {step}")

    def put(
        self,
        state: MoveState,
        name: str = "web01",
        outcome: Outcome = Outcome.STUCK,
        host: str = HV02,
    ) -> Counter:
        for step in MOVE_WAY.get(state, state if state != "pending" else "").split():
            with self.writing() as pen:
                move, step = self.move(name), MoveState(step)
                ends = ENDED.get(step, outcome) if step not in ("moving", "restoring") else None
                pen.turn_move(move, step, f"it is {step}", host=host, outcome=ends)
        return self

    def question(self, *names: str, run: int = 1) -> Counter:
        ids = tuple(f"id-{name}" for name in names)
        with self.writing() as pen:
            pen.ask(run, ids, names, approvals.digest(queries.run(self.store, run), ids))
        return self

    def begin(self, name: str, kind: AttemptKind = AttemptKind.COLD) -> int:
        with self.writing() as pen:
            return pen.begin_attempt(self.move(name), kind, HV01, HV02)

    def say(self, text: str, by: str = "@ann", deciders: frozenset[str] | None = MAY) -> Said:
        self.clock.jump(self.clock.now() + 1)
        command = grammar.parse(text)
        assert isinstance(command, Ask)
        return verbs.carry_out(self.service, command, by=by, deciders=deciders)

    def refused(self, text: str, by: str = "@ann") -> Refused:
        """The refusal of what is said: nothing is written, nobody is woken."""
        before = self.rows(), len(self.told())
        self.service.wake.clear()
        with pytest.raises(Refused) as raised:
            self.say(text, by)
        assert (self.rows(), len(self.told())) == before
        assert not self.service.wake.is_set()
        return raised.value

    def writing(self):
        self.clock.jump(self.clock.now() + 1)
        return writing(self.store, self.clock.now())

    def move(self, name: str = "web01", run: int = 1):
        return next(m.move for m in queries.record(self.store, run).moves if m.move.vm == name)

    def rows(self) -> list[object]:
        return [queries.record(self.store, run.id) for run in queries.runs(self.store)]

    def told(self):
        return events.since(self.store)

    def asked(self, number: int = 1):
        return queries.approval(self.store, number)


@pytest.fixture
def counter(tmp_path):
    store = Store(tmp_path / "vmferry.db", durable=False)
    yield Counter(store)
    store.close()


# --- every verb in every state, spelled out ----------------------------------------------------

STATES = tuple(RUN_WAY)
#: In the order of STATES: d does it, s so already, r refused.
TABLE = {
    "pause": "rdsrrrrr",
    "resume": "rsdrrrrr",
    "stop": "dddsssss",
    "abort": "ddddssss",
    "retry": "rddrdrdr",
    "skip": "rddrrrrr",
    "set": "dddrrrrr",
    "own": "ddddrrrr",
    "settle": "rdddd" + "rdr",
    "go-on": "rdddd" + "rdr",
}
SAID = {
    "set": "set R1 parallel 2",
    "abort": "abort R1 yes",
    "settle": "settle R1 web01",
    "go-on": "go-on R1 hv02",
}
FIRST = {
    "retry": MoveState.FAILED,
    "settle": MoveState.UNKNOWN,
    "go-on": MoveState.DAMAGED,
}
#: What is written of a verb that does it, where that is the same in all states.
WRITES = {
    "pause": "run.paused",
    "resume": "run.active",
    "retry": "move.pending",
    "skip": "move.skipped move.skipped move.skipped",
    "set": "run.changed",
    "own": "run.changed",
    "settle": "move.settled move.restoring",
    "go-on": "host.cleared",
    "stop": "run.stopping",
    "abort": "run.stopping run.changed",
}
#: ... and where it is not.
OTHERWISE = {
    ("stop", RunState.SCHEDULED): "run.rejected",
    ("abort", RunState.SCHEDULED): "run.rejected",
    ("abort", RunState.STOPPING): "run.changed",
    ("retry", RunState.STOPPED): "run.active move.pending",
    ("retry", RunState.INCOMPLETE): "run.active move.pending",
    ("settle", RunState.STOPPED): "run.stopping move.settled move.restoring",
    ("settle", RunState.INCOMPLETE): "run.stopping move.settled move.restoring",
}
CELLS = [
    pytest.param(verb, state, row[column], id=f"{verb}-{state}")
    for verb, row in TABLE.items()
    for column, state in enumerate(STATES)
]


def test_the_table_has_every_verb_and_every_state():
    assert set(TABLE) == set(RULES)
    assert {len(row) for row in TABLE.values()} == {len(RunState)}


@pytest.mark.parametrize(("verb", "state", "cell"), CELLS)
def test_what_a_verb_does_in_a_state_and_what_is_written_of_it(verb, state, cell, counter):
    counter.run(state).put(FIRST.get(verb, MoveState.PENDING))
    text = SAID.get(verb, f"{verb} R1")
    if cell == "r":
        error = counter.refused(text, by="@dana")
        assert error.what == "R1"
        assert str(error).startswith(f"{verb} changes nothing on R1: ")
        return
    before, rows = len(counter.told()), counter.rows()
    counter.service.wake.clear()

    said = counter.say(text, by="@dana")

    wrote = counter.told()[before:]
    expected = OTHERWISE.get((verb, state), WRITES[verb]).split() if cell == "d" else []
    assert [event.kind for event in wrote] == expected
    assert said.accepted
    assert counter.service.wake.is_set() is (cell == "d")
    if cell == "d":
        assert wrote[0].by == "@dana"
        assert all("@dana" in event.text for event in wrote[:1])
        assert "Nothing changed" not in said.sentence
    else:
        assert said.sentence.endswith("Nothing changed.")
        assert counter.rows() == rows


@pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.STOPPED, RunState.INCOMPLETE])
def test_the_way_out_that_a_refusal_names_is_open(state, counter):
    counter.run(state).put(MoveState.FAILED)
    hints = {
        re.search(r"with: (\w+ R1)\.$", str(counter.refused(SAID.get(verb, f"{verb} R1"))))
        for verb, row in TABLE.items()
        if row[STATES.index(state)] == "r"
    }
    said = {found[1] for found in hints if found}

    assert len(said) == 1
    assert None not in hints
    assert counter.say(said.pop()).accepted


# --- as they are typed ---------------------------------------------------------------------------

#: What stands for the words in capitals of a usage text.
TYPED = {
    "RUN": "R1",
    "APPROVAL": "A1",
    "[VM...]": "web01",
    "VM": "web01",
    "HOST": "hv02",
    "[WHY]": "vendor works on it, until Monday",
    "parallel|backup": "backup",
    "VALUE": "20m",
}
READY = {
    "resume": RunState.PAUSED,
}


@pytest.mark.parametrize("verb", [v for v in VERBS if v.changes], ids=lambda verb: verb.name)
@pytest.mark.parametrize("whole", [True, False])
def test_every_verb_works_as_its_usage_says(verb, whole, counter):
    """With every word of it, and without those in brackets."""
    counter.run(READY.get(verb.name, RunState.ACTIVE)).question("web01", "web02")
    counter.put(FIRST.get(verb.name, MoveState.PENDING))
    words = [w for w in verb.usage.split() if whole or not w.startswith("[")]
    before = len(counter.told())

    said = counter.say(" ".join(TYPED.get(word, word) for word in words), by="@bob")

    assert said.accepted
    assert said.sentence.endswith((".", "R1"))
    assert len(counter.told()) > before


@pytest.mark.parametrize("text", ["status R1", "list", "report R1", "events", "approvals", "help"])
def test_a_verb_that_only_shows_something_is_not_carried_out_here(text, counter):
    counter.run()

    assert str(counter.refused(text)) == f'"{text.split()[0]}" changes nothing.'


@pytest.mark.parametrize(
    ("text", "what", "says"),
    [
        ("pause R9", "R9", "There is no run R9. The last one is R1."),
        ("pause hv03", "hv03", '"hv03" is not a run.'),
        ("retry R1 web1", "web1", "R1 has no VM web1. Nearest: web01."),
        ("skip R1 web01@hv02", "web01@hv02", "R1 has no VM web01@hv02."),
        ("skip R1 id:nobody", "id:nobody", "R1 has no VM id:nobody."),
        ("settle R1 zzz", "zzz", "R1 has no VM zzz."),
        ("set R1 paralel 2", "paralel", "paralel cannot be set. Did you mean parallel?"),
        ("set R1 path D", "path", "path cannot be set."),
        ("set R1 parallel -1", "-1", 'whole number, 0 or more; "-1" is not one.'),
        ("set R1 parallel now", "now", '"now" is not one.'),
        ("set R1 backup 400d", "400d", "longer than a year"),
        ("go-on R1 hv01", "hv01", "R1 damaged no VM on hv01."),
        ("abort R1", "R1", "If that is meant, type: abort R1 yes"),
        ("abort R1 now", "now", '"now" is too much here.'),
        ("approve B1", "B1", '"B1" is not an approval.'),
        ("deny A7 no", "A7", "There is no approval A7."),
    ],
)
def test_a_refusal_names_the_wrong_word_and_the_way_out(text, what, says, counter):
    error = counter.run().refused(text, by="@bob")

    assert error.what == what
    assert says in str(error)


def test_where_there_is_no_run_yet_that_is_said(counter):
    assert "There is no run yet." in str(counter.refused("stop R1"))


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("web01", ["web01"]),
        ("WEB01", ["web01"]),
        ("web*", ["web01", "web02"]),
        ('"db 01"', ["db 01"]),
        ("web01@hv01", ["web01"]),
        ("web01@HV01.corp.example", ["web01"]),
        ("id:ID-web02", ["web02"]),
        ('web01, "db 01"', ["web01", "db 01"]),
        ("web01 web*", ["web01", "web02"]),
    ],
)
def test_vms_of_a_run_are_named_as_in_requests(words, left, counter):
    counter.run().say(f"skip R1 {words}")

    skipped = [name for name in NAMES if counter.move(name).state is MoveState.SKIPPED]
    assert skipped == left


def test_of_two_vms_of_one_name_the_right_one_has_to_be_said(counter):
    counter.run()
    with counter.writing() as pen:
        pen.update("moves", counter.move("web02").id, {"vm": "web01"})
    error = counter.refused("skip R1 web01")

    assert str(error) == "R1 has 2 VMs web01. Write id:id-web01 (on hv01) or id:id-web02 (on hv01)."


def test_more_than_five_names_are_counted(counter):
    counter.run()
    with counter.writing() as pen:
        for n in range(4):
            pen.open_move(1, Vm(f"id-x{n}", f"x{n}", HV01, "Running"), HV01)

    assert counter.say("skip R1").sentence == (
        "web01, web02, db 01, x0, x1 and 2 more stay where they are."
    )


# --- retry ---------------------------------------------------------------------------------------


def test_a_no_of_before_a_retry_no_longer_binds_and_a_yes_does_not_either(counter):
    """Somebody wants it tried after all: on-call are asked anew."""
    counter.run().question("web01").question("web02")
    counter.say("deny A1", by="@bob")
    counter.say("approve A2", by="@bob")
    counter.put(MoveState.SKIPPED, "web01", Outcome.DENIED).put(MoveState.FAILED, "web02")
    record, rules = queries.record(counter.store, 1), Rules()
    now = counter.clock.now()
    assert approvals.denial("id-web01", record.approvals, 0.0) is not None
    assert is_cold_move_granted(counter.store, "id-web02", rules, now)

    counter.say("retry R1")

    for name in ("web01", "web02"):
        since = counter.move(name).retried
        assert approvals.denial(f"id-{name}", record.approvals, since) is None
    assert not is_cold_move_granted(counter.store, "id-web02", rules, now)


def test_whoever_has_a_vm_tried_again_does_not_decide_on_its_run(counter):
    counter.run().put(MoveState.FAILED).question("web02")
    counter.say("retry R1 web01", by="@bob")
    said = counter.say("approve A1", by="@bob")

    assert (said.accepted, said.sentence) == (
        False,
        "Nothing changed on A1: whoever asked for a run, or had it go on, does not decide on it.",
    )
    assert counter.say("approve A1", by="@cy").accepted


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.INCOMPLETE])
def test_an_ended_run_is_not_reopened_into_another_one(state, counter):
    """hv02 is being emptied by R2 meanwhile: R1 must not fill it again."""
    counter.run().put(MoveState.FAILED)
    counter.turn(state)
    counter.run(text="host hv02 to hv03")
    error = counter.refused("retry R1")

    assert error.what == "hv02"
    assert "hv02 is on the other side of R2" in str(error)
    counter.turn(RunState.COMPLETED, 2)
    assert counter.say("retry R1").sentence == "web01 is tried again."


def test_a_reopened_run_ends_grants_keeps_denials_and_is_no_longer_aborting(counter):
    counter.run().question("web01").question("web02")
    counter.say("approve A1", by="@bob")
    counter.say("deny A2", by="@bob")
    counter.put(MoveState.FAILED)
    counter.say("abort R1 yes")
    with counter.writing() as pen:
        pen.turn_run(queries.run(counter.store, 1), RunState.STOPPED, "over")
    counter.say("retry R1", by="@dana")
    run = queries.run(counter.store, 1)

    assert [counter.asked(n).state for n in (1, 2)] == [
        ApprovalState.EXPIRED,
        ApprovalState.DENIED,
    ]
    assert (run.state, run.aborting, run.ended) == (RunState.ACTIVE, False, None)
    assert (run.steered, run.resumed) == (("@dana",), counter.clock.now())


@pytest.mark.parametrize(
    ("outcome", "stands"),
    [
        (Outcome.ELSEWHERE, "web01 is on another host"),
        (Outcome.VANISHED, "web01 is nowhere any more"),
    ],
)
def test_a_vm_that_is_not_where_it_was_is_not_said_to_be(outcome, stands, counter):
    counter.run().put(MoveState.SKIPPED, outcome=outcome)

    assert str(counter.refused("retry R1 web01")) == f"There is nothing to try again: {stands}."
    assert str(counter.refused("skip R1 web01")) == f"It cannot be left out: {stands}."


# --- skip, settle, go-on, own --------------------------------------------------------------------


def test_where_nothing_waits_there_is_nothing_to_leave_out(counter):
    counter.run()
    counter.say("skip R1")

    assert str(counter.refused("skip R1")) == "Nothing of R1 waits."


def test_settling_closes_open_migrations_and_nothing_else(counter):
    counter.run()
    ended, begun = counter.begin("web01"), None
    with counter.writing() as pen:
        pen.end_attempt(counter.move(), ended, AttemptKind.COLD, Result.FAILED, "disk full")
    begun = counter.begin("web01", AttemptKind.LIVE)
    other = counter.begin("web02")
    counter.put(MoveState.UNKNOWN)
    counter.say("settle R1 web01", by="@bob")
    kept = {a.id: a for m in queries.record(counter.store, 1).moves for a in m.attempts}

    assert (kept[ended].result, kept[ended].error) == (Result.FAILED, "disk full")
    assert (kept[begun].result, kept[begun].error) == (Result.LOST, "Settled by @bob")
    assert kept[other].open


def test_what_another_run_has_on_its_way_is_not_settled(counter):
    counter.run(text="vm web01 to hv02").put(MoveState.UNKNOWN)
    counter.run(text="vm web01 to hv03")
    with counter.writing() as pen:
        pen.turn_move(counter.move(run=2), MoveState.MOVING, "it moves", host=HV01)
    error = counter.refused("settle R1 web01")

    assert str(error) == "R2 has web01 on its way. Wait for R2."


def test_each_host_with_damage_is_gone_on_with_on_its_own(counter):
    counter.run().put(MoveState.DAMAGED, "web01").put(MoveState.DAMAGED, "web02", host=HV03)
    counter.say("go-on R1 HV02.corp.example")

    assert [d.host for d in queries.damages(counter.store, "vmm01")] == [HV03]
    assert "There was damage on hv03." in str(counter.refused("go-on R1 hv02"))


def test_a_short_name_that_two_hosts_with_damage_share_is_not_guessed(counter):
    counter.run().put(MoveState.DAMAGED, "web01").put(MoveState.DAMAGED, "web02", host=LAB02)
    error = counter.refused("go-on R1 hv02")

    assert str(error) == f'"hv02" may be {HV02} or {LAB02}. Write the full name.'
    counter.say(f"go-on R1 {LAB02.upper()}")
    assert [d.host for d in queries.damages(counter.store, "vmm01")] == [HV02]
    assert counter.say("go-on R1 hv02").sentence == "hv02 takes VMs again."


def test_a_run_may_come_back_to_whoever_asked_for_it(counter):
    counter.run()
    assert counter.say("own R1", by="@cy").sentence == "R1 is @cy's now."
    assert counter.say("own R1", by="@ann").sentence == "R1 is @ann's now."
    assert counter.say("own R1", by="@ann").sentence == "R1 is @ann's already. Nothing changed."


# --- decide, withdraw ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "granted"),
    [
        ("", ["id-web01", "id-web02", "id-db 01"]),
        ("web02", ["id-web02"]),
        ("web*", ["id-web01", "id-web02"]),
        ('"db 01", web01', ["id-web01", "id-db 01"]),
        ("id:id-web01", ["id-web01"]),
        ("web01@hv01", ["id-web01"]),
    ],
)
def test_exactly_the_vms_that_were_named_are_granted(words, granted, counter):
    counter.run().question(*NAMES)
    said = counter.say(f"approve A1 {words}", by="@bob")
    asked = counter.asked()

    assert list(asked.granted) == granted
    assert said.sentence == f"A1 is approved: {len(granted)} of 3 VMs may move."
    others = [vm for vm in asked.vms if vm not in granted]
    assert [vm for vm in asked.vms if approvals.denial(vm, [asked])] == others
    now = counter.clock.now()
    bound = [vm for vm in asked.vms if is_cold_move_granted(counter.store, vm, Rules(), now)]
    assert bound == granted


def test_a_yes_to_no_vm_at_all_is_none(counter):
    counter.run().question("web01")
    with pytest.raises(Refused, match=r"No VM of A1 was chosen\. Name one, or deny A1\."):
        counter.service.decide(1, "approve", by="@bob", deciders=MAY, vms=[])

    assert counter.asked().state is ApprovalState.REQUESTED
    assert queries.votes(counter.store, 1) == ()


def test_an_unknown_name_leaves_the_question_and_no_vote_behind(counter):
    counter.run().question("web01")
    error = counter.refused("approve A1 web01 web2", by="@bob")

    assert str(error) == "A1 has no VM web2. Nearest: web01."
    assert queries.votes(counter.store, 1) == ()


@pytest.mark.parametrize(
    ("names", "verb", "sentence"),
    [
        (["web01"], "deny", "A1 is denied: 1 VM stays where it is."),
        (["web01", "web02"], "deny", "A1 is denied: 2 VMs stay where they are."),
        (["web01"], "withdraw", "A1 is withdrawn: 1 VM stays where it is."),
        (["web01"], "approve", "A1 is approved: 1 of 1 VM may move."),
    ],
)
def test_an_answer_counts_vms_as_people_do(names, verb, sentence, counter):
    assert counter.run().question(*names).say(f"{verb} A1", by="@bob").sentence == sentence


def test_a_question_that_is_taken_back_is_a_no_with_its_reason(counter):
    counter.run().question("web01")
    counter.say("withdraw A1 wrong card, sorry", by="@bob")
    asked = counter.asked()

    assert (asked.state, asked.by, asked.reason) == ("withdrawn", "@bob", "wrong card, sorry")
    assert approvals.denial("id-web01", [asked]) == asked
    assert counter.told()[-1].kind == "approval.withdrawn"
    assert counter.told()[-1].text == 'A1 withdrawn by @bob: "wrong card, sorry"'


def test_starts_of_before_the_yes_and_of_other_vms_do_not_bind_it(counter):
    counter.run().question("web01", "web02")
    counter.begin("web01")
    counter.say("approve A1 web01", by="@bob")
    counter.begin("web02")
    counter.begin("web01", AttemptKind.BASELINE)

    assert counter.say("withdraw A1", by="@cy").accepted


@pytest.mark.parametrize("kind", [AttemptKind.COLD, AttemptKind.LIVE])
def test_a_yes_is_not_taken_back_once_a_vm_of_it_was_started(kind, counter):
    counter.run().question("web01", "web02")
    counter.say("approve A1", by="@bob")
    counter.begin("web02", kind)
    said = counter.say("withdraw A1", by="@bob")

    assert said.sentence == "Nothing changed on A1: a VM that it approved has been started since."
    assert (said.accepted, counter.asked().state) == (False, ApprovalState.GRANTED)
    assert queries.votes(counter.store, 1)[-1]["answer"] == "started"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("deny A1", "it was decided before"),
        ("withdraw A1", "the question was withdrawn"),
    ],
)
def test_what_is_settled_already_is_not_taken_back(first, why, counter):
    counter.run().question("web01").say(first, by="@bob")
    before = counter.asked()

    assert counter.say("withdraw A1", by="@cy").sentence == f"Nothing changed on A1: {why}."
    assert counter.asked() == before


@pytest.mark.parametrize("yes", [True, False])
def test_when_its_run_has_ended_nothing_is_taken_back(yes, counter):
    counter.run().question("web01")
    if yes:
        counter.say("approve A1", by="@bob")
    counter.turn(RunState.INCOMPLETE)

    assert "the question has expired" in counter.say("withdraw A1", by="@bob").sentence
    assert counter.asked().state is not ApprovalState.WITHDRAWN


def test_a_question_that_expired_is_neither_decided_nor_taken_back(counter):
    counter.run().question("web01")
    with counter.writing() as pen:
        pen.turn_approval(counter.asked(), ApprovalState.EXPIRED, "nobody decided")

    for verb in ("approve", "deny", "withdraw"):
        said = counter.say(f"{verb} A1", by="@bob")
        assert said.sentence == "Nothing changed on A1: the question has expired."
