"""The answers and events of steering, word by word.

The table here is kept apart from the table of the engine, so that a changed rule shows.
"""

from __future__ import annotations

import re

import pytest

from engine.commands.steering import RULES
from engine.errors import Refused
from engine.language.vocabulary import VERBS
from engine.model import (
    ApprovalState,
    AttemptKind,
    MoveState,
    Outcome,
    Result,
    RunState,
    Vm,
)
from engine.policy.approvals import approval as approvals
from engine.policy.waits import Rules
from engine.store import queries
from engine.stories.story import is_cold_move_granted
from tests.desk import DECIDERS, HV01, HV02, HV03, Desk

LAB02 = "hv02.lab.example"
NAMES = ("web01", "web02", "db 01")


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path, dict.fromkeys(NAMES, HV01))
    yield made
    made.store.close()


# --- every verb in every state, spelled out ----------------------------------------------------

STATES = tuple(RunState)
#: In the order of STATES: d has an effect, s is so already, r is refused.
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
#: The event of a verb with an effect, if it is the same in all states.
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
#: The event by state, if it differs.
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
def test_each_verb_in_each_state_has_the_effect_and_event_of_the_table(verb, state, cell, desk):
    desk.run_in(state).put(FIRST.get(verb, MoveState.PENDING))
    text = SAID.get(verb, f"{verb} R1")
    if cell == "r":
        error = desk.refused(text, by="slack:dana")
        assert error.what == "R1"
        assert str(error).startswith(f"{verb} has no effect on R1: ")
        return
    before, rows = len(desk.told()), desk.rows()
    desk.service.wake.clear()

    said = desk.say(text, by="slack:dana")

    wrote = desk.told()[before:]
    expected = OTHERWISE.get((verb, state), WRITES[verb]).split() if cell == "d" else []
    assert [event.kind for event in wrote] == expected
    assert said.accepted
    assert desk.service.wake.is_set() is (cell == "d")
    if cell == "d":
        assert wrote[0].by == "slack:dana"
        assert all("slack:dana" in event.text for event in wrote[:1])
        assert "Nothing changed" not in said.sentence
    else:
        assert said.sentence.endswith("Nothing changed.")
        assert desk.rows() == rows


@pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.STOPPED, RunState.INCOMPLETE])
def test_the_command_suggested_by_a_refusal_works(state, desk):
    desk.run_in(state).put(MoveState.FAILED)
    hints = {
        re.search(r": (\w+ R1)\.$", str(desk.refused(SAID.get(verb, f"{verb} R1"))))
        for verb, row in TABLE.items()
        if row[STATES.index(state)] == "r"
    }
    said = {found[1] for found in hints if found}

    assert len(said) == 1
    assert None not in hints
    assert desk.say(said.pop()).accepted


# --- as they are typed ---------------------------------------------------------------------------

#: Values for the placeholders of a usage text.
TYPED = {
    "RUN": "R1",
    "APPROVAL": "A1",
    "[VM...]": "web01",
    "VM": "web01",
    "HOST": "hv02",
    "[WHY]": "vendor works on it, until Monday",
    "[FINDING]": "the ticket number was missing",
    "parallel|backup": "backup",
    "VALUE": "20m",
}
READY = {
    "resume": RunState.PAUSED,
}


@pytest.mark.parametrize("verb", [v for v in VERBS if v.changes], ids=lambda verb: verb.name)
@pytest.mark.parametrize("whole", [True, False])
def test_every_verb_accepts_its_documented_usage(verb, whole, desk):
    """With all optional words, and without them."""
    desk.run_in(READY.get(verb.name, RunState.ACTIVE)).question("web01", "web02")
    desk.put(FIRST.get(verb.name, MoveState.PENDING))
    if verb.name == "reviewed":
        desk.break_glass("web03")
    words = [w for w in verb.usage.split() if whole or not w.startswith("[")]
    before = len(desk.told())

    said = desk.say(" ".join(TYPED.get(word, word) for word in words), by="slack:bob")

    assert said.accepted
    assert said.sentence.endswith((".", "R1"))
    assert len(desk.told()) > before


@pytest.mark.parametrize("text", ["status R1", "list", "report R1", "events", "approvals", "help"])
def test_a_verb_that_only_shows_something_is_refused_by_steering(text, desk):
    desk.run_in()

    assert str(desk.refused(text)) == f'"{text.split()[0]}" changes nothing.'


@pytest.mark.parametrize(
    ("text", "what", "says"),
    [
        ("pause R9", "R9", "There is no run R9. The newest run is R1."),
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
        ("abort R1", "R1", "To confirm, type: abort R1 yes"),
        ("abort R1 now", "now", '"now" is one word too many.'),
        ("approve B1", "B1", '"B1" is not an approval.'),
        ("deny A7 no", "A7", "There is no approval A7."),
    ],
)
def test_a_refusal_names_the_wrong_word_and_says_what_to_do(text, what, says, desk):
    error = desk.run_in().refused(text, by="slack:bob")

    assert error.what == what
    assert says in str(error)


def test_a_command_without_any_run_says_that_there_is_no_run(desk):
    assert "There is no run yet." in str(desk.refused("stop R1"))


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
def test_a_command_accepts_the_same_forms_of_vm_names_as_a_request(words, left, desk):
    desk.run_in().say(f"skip R1 {words}")

    skipped = [name for name in NAMES if desk.move(name).state is MoveState.SKIPPED]
    assert skipped == left


def test_an_ambiguous_vm_name_must_be_made_exact(desk):
    desk.run_in()
    with desk.writing() as pen:
        pen.db.update("moves", desk.move("web02").id, {"vm": "web01"})
    error = desk.refused("skip R1 web01")

    assert (
        str(error)
        == "R1 has 2 VMs named web01. Write id:id-web01 (on hv01) or id:id-web02 (on hv01)."
    )


def test_an_answer_names_five_vms_and_counts_the_rest(desk):
    desk.run_in()
    with desk.writing() as pen:
        for n in range(4):
            pen.moves.open(1, Vm(f"id-x{n}", f"x{n}", HV01, "Running"), HV01)

    assert desk.say("skip R1").sentence == (
        "web01, web02, db 01, x0, x1 and 2 more stay where they are."
    )


# --- retry ---------------------------------------------------------------------------------------


def test_a_retry_voids_earlier_denials_and_approvals(desk):
    """A retry asks the on-call approvers again."""
    desk.run_in().question("web01").question("web02")
    desk.say("deny A1", by="slack:bob")
    desk.say("approve A2", by="slack:bob")
    desk.put(MoveState.SKIPPED, "web01", Outcome.DENIED).put(MoveState.FAILED, "web02")
    record, rules = desk.record(), Rules()
    now = desk.clock.now()
    assert approvals.denial("id-web01", record.approvals, 0.0) is not None
    assert is_cold_move_granted(desk.store, "id-web02", rules, now)

    desk.say("retry R1")

    for name in ("web01", "web02"):
        since = desk.move(name).retried
        assert approvals.denial(f"id-{name}", record.approvals, since) is None
    assert not is_cold_move_granted(desk.store, "id-web02", rules, now)


def test_a_person_who_retried_a_vm_may_not_approve_its_run(desk):
    desk.run_in().put(MoveState.FAILED).question("web02")
    desk.say("retry R1 web01", by="slack:bob")
    said = desk.say("approve A1", by="slack:bob")

    assert (said.accepted, said.sentence) == (
        False,
        "Nothing changed on A1: people who requested, resumed or retried a run cannot decide on "
        "its approvals.",
    )
    assert desk.say("approve A1", by="slack:cy").accepted


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.INCOMPLETE])
def test_an_ended_run_in_conflict_with_another_one_is_not_reopened(state, desk):
    """R2 empties hv02 meanwhile, so R1 must not fill it again."""
    desk.run_in().put(MoveState.FAILED)
    desk.turn(state)
    desk.run_in(text="host hv02 to hv03")
    error = desk.refused("retry R1")

    assert error.what == "hv02"
    assert "hv02 is used in the opposite direction by R2" in str(error)
    desk.turn(RunState.COMPLETED, 2)
    assert desk.say("retry R1").sentence == "Retrying web01."


def test_reopening_a_run_expires_grants_keeps_denials_and_ends_its_abort(desk):
    desk.run_in().question("web01").question("web02")
    desk.say("approve A1", by="slack:bob")
    desk.say("deny A2", by="slack:bob")
    desk.put(MoveState.FAILED)
    desk.say("abort R1 yes")
    with desk.writing() as pen:
        pen.runs.set_state(desk.run(), RunState.STOPPED, "over")
    desk.say("retry R1", by="slack:dana")
    run = desk.run()

    assert [desk.asked(n).state for n in (1, 2)] == [
        ApprovalState.EXPIRED,
        ApprovalState.DENIED,
    ]
    assert (run.state, run.aborting, run.ended) == (RunState.ACTIVE, False, None)
    assert (run.steered, run.resumed) == (("slack:dana",), desk.clock.now())


@pytest.mark.parametrize(
    ("outcome", "stands"),
    [
        (Outcome.ELSEWHERE, "web01 is on another host"),
        (Outcome.VANISHED, "web01 no longer exists"),
    ],
)
def test_a_refusal_states_where_the_vm_is_now(outcome, stands, desk):
    desk.run_in().put(MoveState.SKIPPED, outcome=outcome)

    assert str(desk.refused("retry R1 web01")) == f"There is nothing to retry: {stands}."
    assert str(desk.refused("skip R1 web01")) == f"skip has no effect: {stands}."


# --- skip, settle, go-on, own --------------------------------------------------------------------


def test_skip_is_refused_if_no_vm_is_waiting(desk):
    desk.run_in()
    desk.say("skip R1")

    assert str(desk.refused("skip R1")) == "R1 has no waiting VM."


def test_settle_closes_only_open_migrations(desk):
    desk.run_in()
    ended, begun = desk.attempt("web01"), None
    with desk.writing() as pen:
        pen.attempts.end(desk.move(), ended, AttemptKind.COLD, Result.FAILED, "disk full")
    begun = desk.attempt("web01", AttemptKind.LIVE)
    other = desk.attempt("web02")
    desk.put(MoveState.UNKNOWN)
    desk.say("settle R1 web01", by="slack:bob")
    kept = {a.id: a for m in desk.record().moves for a in m.attempts}

    assert (kept[ended].result, kept[ended].error) == (Result.FAILED, "disk full")
    assert (kept[begun].result, kept[begun].error) == (Result.LOST, "Settled by a person")
    assert kept[other].open


def test_a_vm_in_flight_in_another_run_cannot_be_settled(desk):
    desk.run_in(text="vm web01 to hv02").put(MoveState.UNKNOWN)
    desk.run_in(text="vm web01 to hv03")
    with desk.writing() as pen:
        pen.moves.set_state(desk.move(run=2), MoveState.MOVING, "it moves", host=HV01)
    error = desk.refused("settle R1 web01")

    assert str(error) == "R2 has web01 in flight. Wait for R2."


def test_each_host_with_damage_needs_its_own_go_on(desk):
    desk.run_in().put(MoveState.DAMAGED, "web01").put(MoveState.DAMAGED, "web02", host=HV03)
    desk.say("go-on R1 HV02.corp.example")

    assert desk.damage() == [("web02", HV03)]
    assert "It damaged VMs on hv03." in str(desk.refused("go-on R1 hv02"))


def test_a_short_name_shared_by_two_hosts_with_damage_is_refused(desk):
    desk.run_in().put(MoveState.DAMAGED, "web01").put(MoveState.DAMAGED, "web02", host=LAB02)
    error = desk.refused("go-on R1 hv02")

    assert str(error) == f'"hv02" matches {HV02} and {LAB02}. Write the full name.'
    desk.say(f"go-on R1 {LAB02.upper()}")
    assert desk.damage() == [("web01", HV02)]
    assert desk.say("go-on R1 hv02").sentence == "hv02 receives VMs again."


def test_the_requester_may_take_the_run_back(desk):
    desk.run_in()
    assert desk.say("own R1", by="slack:cy").sentence == "slack:cy is now the owner of R1."
    assert desk.say("own R1", by="slack:ann").sentence == "slack:ann is now the owner of R1."
    assert (
        desk.say("own R1", by="slack:ann").sentence == "slack:ann already owns R1. Nothing changed."
    )


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
def test_an_approval_grants_exactly_the_named_vms(words, granted, desk):
    desk.run_in().question(*NAMES)
    said = desk.say(f"approve A1 {words}", by="slack:bob")
    asked = desk.asked()

    assert list(asked.granted) == granted
    assert said.sentence == f"A1 is approved: {len(granted)} of 3 VMs may move."
    others = [vm for vm in asked.vms if vm not in granted]
    assert [vm for vm in asked.vms if approvals.denial(vm, [asked])] == others
    now = desk.clock.now()
    bound = [vm for vm in asked.vms if is_cold_move_granted(desk.store, vm, Rules(), now)]
    assert bound == granted


def test_an_approval_of_no_vms_is_refused(desk):
    desk.run_in().question("web01")
    with pytest.raises(Refused, match=r"No VM of A1 was chosen\. Name one, or deny A1\."):
        desk.service.decide(1, "approve", by="slack:bob", approvers=DECIDERS, vms=[])

    assert desk.asked().state is ApprovalState.REQUESTED
    assert queries.votes(desk.store, 1) == ()


def test_an_approval_with_an_unknown_vm_is_refused_without_a_vote(desk):
    desk.run_in().question("web01")
    error = desk.refused("approve A1 web01 web2", by="slack:bob")

    assert str(error) == "A1 has no VM web2. Nearest: web01."
    assert queries.votes(desk.store, 1) == ()


@pytest.mark.parametrize(
    ("names", "verb", "sentence"),
    [
        (["web01"], "deny", "A1 is denied: 1 VM stays where it is."),
        (["web01", "web02"], "deny", "A1 is denied: 2 VMs stay where they are."),
        (["web01"], "withdraw", "A1 is withdrawn: 1 VM stays where it is."),
        (["web01"], "approve", "A1 is approved: 1 of 1 VM may move."),
    ],
)
def test_decision_messages_use_the_right_singular_or_plural(names, verb, sentence, desk):
    assert desk.run_in().question(*names).say(f"{verb} A1", by="slack:bob").sentence == sentence


def test_a_withdrawn_approval_counts_as_a_denial_with_its_reason(desk):
    desk.run_in().question("web01")
    desk.say("withdraw A1 wrong card, sorry", by="slack:bob")
    asked = desk.asked()

    assert (asked.state, asked.by, asked.reason) == ("withdrawn", "slack:bob", "wrong card, sorry")
    assert approvals.denial("id-web01", [asked]) == asked
    assert desk.told()[-1].kind == "approval.withdrawn"
    assert desk.told()[-1].text == 'A1 withdrawn by slack:bob: "wrong card, sorry"'


def test_starts_before_the_approval_or_of_other_vms_do_not_prevent_withdrawal(desk):
    desk.run_in().question("web01", "web02")
    desk.attempt("web01")
    desk.say("approve A1 web01", by="slack:bob")
    desk.attempt("web02")
    desk.attempt("web01", AttemptKind.BASELINE)

    assert desk.say("withdraw A1", by="slack:cy").accepted


@pytest.mark.parametrize("kind", [AttemptKind.COLD, AttemptKind.LIVE])
def test_an_approval_cannot_be_withdrawn_after_one_of_its_vms_was_started(kind, desk):
    desk.run_in().question("web01", "web02")
    desk.say("approve A1", by="slack:bob")
    desk.attempt("web02", kind)
    said = desk.say("withdraw A1", by="slack:bob")

    assert said.sentence == "Nothing changed on A1: one of the approved VMs has been started."
    assert (said.accepted, desk.asked().state) == (False, ApprovalState.GRANTED)
    assert queries.votes(desk.store, 1)[-1]["answer"] == "started"


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("deny A1", "the approval was already decided"),
        ("withdraw A1", "the approval was withdrawn"),
    ],
)
def test_a_closed_approval_cannot_be_withdrawn(first, why, desk):
    desk.run_in().question("web01").say(first, by="slack:bob")
    before = desk.asked()

    assert desk.say("withdraw A1", by="slack:cy").sentence == f"Nothing changed on A1: {why}."
    assert desk.asked() == before


@pytest.mark.parametrize("yes", [True, False])
def test_an_approval_of_an_ended_run_cannot_be_withdrawn(yes, desk):
    desk.run_in().question("web01")
    if yes:
        desk.say("approve A1", by="slack:bob")
    desk.turn(RunState.INCOMPLETE)

    assert "the approval has expired" in desk.say("withdraw A1", by="slack:bob").sentence
    assert desk.asked().state is not ApprovalState.WITHDRAWN


def test_an_expired_approval_can_be_neither_decided_nor_withdrawn(desk):
    desk.run_in().question("web01")
    with desk.writing() as pen:
        pen.approvals.set_state(desk.asked(), ApprovalState.EXPIRED, "nobody decided")

    for verb in ("approve", "deny", "withdraw"):
        said = desk.say(f"{verb} A1", by="slack:bob")
        assert said.sentence == "Nothing changed on A1: the approval has expired."
