"""Verbs of people on runs, VMs and approvals, in each of their states."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from engine.commands.steering import DO, RULES, Steering
from engine.errors import Refused
from engine.language import grammar
from engine.language.names import find_run, moves_named
from engine.language.sentence import Command, say
from engine.model import (
    ApprovalState,
    MoveState,
    Outcome,
    RunState,
)
from engine.policy.steps import Finish
from engine.policy.verdict import typed
from engine.store import queries
from tests.desk import HV01, HV03

#: Words after ``R1`` that complete the command of a verb.
MORE = {"set": " parallel 2", "settle": " web01", "go-on": " hv02", "abort": " yes"}


# --- the table ---------------------------------------------------------------------------------

#: The state of a run after a verb that had an effect.
AFTER = {
    ("pause", RunState.ACTIVE): RunState.PAUSED,
    ("resume", RunState.PAUSED): RunState.ACTIVE,
    ("stop", RunState.SCHEDULED): RunState.REJECTED,
    ("stop", RunState.ACTIVE): RunState.STOPPING,
    ("stop", RunState.PAUSED): RunState.STOPPING,
    ("abort", RunState.SCHEDULED): RunState.REJECTED,
    ("abort", RunState.ACTIVE): RunState.STOPPING,
    ("abort", RunState.PAUSED): RunState.STOPPING,
    ("retry", RunState.STOPPED): RunState.ACTIVE,
    ("retry", RunState.INCOMPLETE): RunState.ACTIVE,
    ("settle", RunState.STOPPED): RunState.STOPPING,
    ("settle", RunState.INCOMPLETE): RunState.STOPPING,
}
#: The state of web01 in which a verb about VMs has an effect.
NEEDS = {
    "retry": MoveState.FAILED,
    "skip": MoveState.PENDING,
    "settle": MoveState.UNKNOWN,
    "go-on": MoveState.DAMAGED,
}


@pytest.mark.parametrize(("verb", "state"), list(product(RULES, RunState)))
def test_every_verb_follows_its_table_in_every_run_state(verb, state, desk):
    desk.run_in(state)
    desk.put(NEEDS.get(verb, MoveState.PENDING))
    before, rule = desk.rows(), RULES[verb][state]
    text = f"{verb} R1{MORE.get(verb, '')}"
    by = "slack:dana" if verb == "own" else "slack:ann"

    if rule == DO:
        assert desk.say(text, by).sentence
        assert desk.rows() != before
        assert desk.run().state is AFTER.get((verb, state), state)
    elif rule.so:
        assert desk.say(text, by).sentence == f"R1 {rule.so}. Nothing changed."
        assert desk.rows() == before
    else:
        with pytest.raises(Refused, match=f"{verb} has no effect on R1: "):
            desk.say(text, by)
        assert desk.rows() == before


def test_the_table_of_verbs_has_a_rule_for_every_run_state():
    assert all(set(rules) == set(RunState) for rules in RULES.values())


def test_every_verb_that_changes_something_has_rules():
    from engine.language.vocabulary import VERBS

    named = {verb.name for verb in VERBS if verb.changes}
    assert named == set(RULES) | {"approve", "deny", "withdraw", "reviewed"}


def test_a_verb_that_changes_something_wakes_the_engine(desk):
    desk.ask()
    desk.service.wake.clear()
    desk.say("pause R1")

    assert desk.service.wake.is_set()


@pytest.mark.parametrize("word", ["R9", "hv09", "x"])
def test_a_run_that_does_not_exist_is_refused_by_name(word, desk):
    desk.ask()

    with pytest.raises(Refused, match=word.upper() if word == "R9" else word):
        desk.say(f"pause {word}")


def test_a_run_is_found_by_its_number_or_by_a_host_of_no_other_run(desk):
    desk.ask("vm web01 to hv02")
    desk.say("pause 1")
    desk.say("resume hv02")
    desk.ask("vm web02 to hv03")

    with pytest.raises(Refused, match="hv01 is used by R1, R2"):
        desk.say("pause hv01")


def test_a_label_means_its_run_even_if_a_host_has_that_name(desk):
    desk.ask()
    run = queries.run(desk.store, 1)
    other = replace(run, id=5, sources=("r1.corp.example",))

    assert find_run("R1", (run, other)) is run
    assert find_run("r1.corp.example", (run, other)) is other


# --- pause, resume, stop, abort ----------------------------------------------------------------


def test_pause_and_stop_name_the_vms_in_flight(desk):
    desk.ask()
    desk.put(MoveState.MOVING)

    assert desk.say("pause R1").sentence == (
        "R1 is paused. Still in flight, and watched to the end: web01. To resume: resume R1"
    )
    assert "web01" in desk.say("stop R1").sentence


def test_a_person_who_resumed_a_run_may_not_approve_it(desk):
    desk.ask()
    desk.question("web01")
    desk.say("pause R1")
    desk.say("resume R1", by="slack:bob")

    assert not desk.say("approve A1", by="slack:bob").accepted
    assert desk.say("approve A1", by="slack:cy").accepted


def test_a_run_in_conflict_with_another_one_is_not_resumed(desk):
    desk.ask("host hv01 to hv02")
    with desk.writing() as pen:
        pen.runs.set_state(desk.run(), RunState.PAUSED, "it is paused")
        pen.db.update("runs", 1, {"destinations": f'["{HV03}"]'})
    desk.ask("vm web01 to hv02")
    with desk.writing() as pen:
        pen.db.update("runs", 2, {"kind": "host", "sources": f'["{HV03}"]'})

    with pytest.raises(Refused, match="hv03 is used in the opposite direction by R2"):
        desk.say("resume R1")


def test_abort_needs_a_confirmation(desk):
    desk.ask()

    with pytest.raises(Refused, match="type: abort R1 yes"):
        desk.say("abort R1")
    with pytest.raises(Refused, match='"really" is one word too many'):
        desk.say("abort R1 really")
    assert not desk.run().aborting


def test_a_stopping_run_can_still_be_aborted_once(desk):
    desk.ask()
    desk.put(MoveState.MOVING)
    desk.say("stop R1")

    assert (
        desk.say("abort R1 yes").sentence
        == "R1 is aborted. VMM is asked to cancel the migration of web01."
    )
    assert desk.run().aborting
    assert "already" in desk.say("abort R1 yes").sentence


# --- set, own ----------------------------------------------------------------------------------


def test_parallel_and_backup_can_be_set_in_the_words_of_a_request(desk):
    desk.ask()
    desk.say("set R1 parallel 3")
    desk.say("set R1 backup 20m")

    assert (desk.run().options.parallel, desk.run().options.backup) == (3, 1200.0)
    assert "already" in desk.say("set R1 parallel 3").sentence


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("set R1 attempts 9", "attempts cannot be set"),
        ("set R1 parallel many", "needs a whole number"),
        ("set R1 backup 20", "needs a duration"),
    ],
)
def test_an_option_that_cannot_be_set_is_named(text, why, desk):
    desk.ask()

    with pytest.raises(Refused, match=why):
        desk.say(text)


def test_own_makes_the_person_who_types_it_the_owner(desk):
    desk.ask()
    desk.say("own R1", by="slack:cy")

    assert (desk.run().by, desk.run().contact) == ("slack:ann", "slack:cy")
    assert "already" in desk.say("own R1", by="slack:cy").sentence


# --- retry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", MoveState)
def test_only_failed_skipped_and_damaged_moves_can_be_retried(state, desk):
    desk.ask()
    desk.put(state, outcome=Outcome.DENIED if state is MoveState.SKIPPED else None)
    goes = {
        MoveState.FAILED: MoveState.PENDING,
        MoveState.SKIPPED: MoveState.PENDING,
        MoveState.DAMAGED: MoveState.RESTORING,
    }

    if state in goes:
        desk.say("retry R1 web01")
        assert desk.move().state is goes[state]
        assert desk.move().retried == desk.clock.now()
        assert desk.move().outcome is None
    else:
        with pytest.raises(Refused, match="web01"):
            desk.say("retry R1 web01")


@pytest.mark.parametrize("outcome", Outcome)
def test_skipped_vms_are_retried_by_default_or_only_by_name(outcome, desk):
    desk.ask()
    desk.put(MoveState.SKIPPED, outcome=outcome)
    by_itself = outcome in (Outcome.DENIED, Outcome.EXPIRED, Outcome.STOPPED)

    if by_itself:
        assert "Retrying web01." in desk.say("retry R1").sentence
    else:
        with pytest.raises(Refused, match="R1 has no VM to retry"):
            desk.say("retry R1")
    if outcome is Outcome.EXCLUDED:
        desk.say("retry R1 web01")
        assert desk.move().state is MoveState.PENDING


def test_a_retry_of_an_ended_run_ends_its_grants_and_bars_the_retrier_from_approving(desk):
    desk.ask()
    desk.question("web02")
    desk.say("approve A1", by="slack:bob")
    desk.put(MoveState.FAILED)
    with desk.writing() as pen:
        pen.runs.set_state(desk.run(), RunState.INCOMPLETE, "ended")
    desk.say("retry R1", by="slack:cy")

    assert [a.state for a in desk.record().approvals] == [ApprovalState.EXPIRED]
    assert desk.run().steered == ("slack:cy",)
    assert desk.run().ended is None


def test_the_answer_to_a_retry_in_a_paused_run_says_that_the_run_is_paused(desk):
    desk.run_in(RunState.PAUSED)
    desk.put(MoveState.FAILED)

    assert desk.say("retry R1 web01").sentence == (
        "Retrying web01. R1 is still paused. To resume: resume R1"
    )


def test_a_retry_accepts_quoted_names_and_lists_and_refuses_names_without_effect(desk):
    desk.ask()
    for name in ("web01", "web02", "db 01"):
        desk.put(MoveState.FAILED, name)

    assert "Retrying db 01." in desk.say('retry R1 "db 01"').sentence
    assert desk.say("retry R1 web01,web02").sentence == "Retrying web01, web02."
    with pytest.raises(Refused, match="nothing to retry: web01 waits"):
        desk.say("retry R1 web*")
    with pytest.raises(Refused, match=r"R1 has no VM web09\. Nearest"):
        desk.say("retry R1 web09")


def test_a_vm_in_flight_in_another_run_is_not_retried(desk):
    desk.ask("vm web01 to hv02")
    desk.put(MoveState.FAILED)
    desk.ask("vm web01 to hv03")
    with desk.writing() as pen:
        pen.moves.set_state(desk.move(run=2), MoveState.MOVING, "it moves", host=HV01)

    with pytest.raises(Refused, match="R2 has web01 in flight"):
        desk.say("retry R1 web01")


# --- skip --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", MoveState)
def test_only_pending_and_failed_moves_can_be_skipped(state, desk):
    desk.ask()
    desk.put(state)

    if state in (MoveState.PENDING, MoveState.FAILED):
        desk.say("skip R1 web01")
        assert (desk.move().state, desk.move().outcome) == (MoveState.SKIPPED, Outcome.EXCLUDED)
    else:
        with pytest.raises(Refused, match="skip has no effect: web01"):
            desk.say("skip R1 web01")


def test_a_skip_with_one_invalid_name_skips_nothing(desk):
    desk.ask()
    desk.put(MoveState.MOVING, "web02")

    with pytest.raises(Refused):
        desk.say("skip R1 web01,web02")
    assert desk.move("web01").state is MoveState.PENDING


def test_skip_without_names_skips_all_waiting_vms(desk):
    desk.ask()
    desk.put(MoveState.MOVING)
    desk.say("skip R1")

    assert {m.move.vm: m.move.state for m in desk.record().moves} == {
        "web01": MoveState.MOVING,
        "web02": MoveState.SKIPPED,
        "web03": MoveState.SKIPPED,
        "db 01": MoveState.SKIPPED,
    }


# --- settle, go-on -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", MoveState)
def test_only_a_vm_with_unknown_location_can_be_settled(state, desk):
    desk.ask()
    desk.put(state)

    if state is MoveState.UNKNOWN:
        desk.say("settle R1 web01")
        assert desk.move().state is MoveState.RESTORING
        assert desk.doubts() == []
    else:
        with pytest.raises(Refused, match="nothing to settle: web01"):
            desk.say("settle R1 web01")


def test_a_vm_whose_location_is_unknown_again_must_be_settled_again(desk):
    """Else another run would start it though nobody knows where it is."""
    desk.ask()
    desk.put(MoveState.UNKNOWN)
    desk.say("settle R1 web01")
    with desk.writing() as pen:
        pen.moves.set_state(desk.move(), MoveState.UNKNOWN, "lost again", outcome=Outcome.UNKNOWN)

    assert desk.doubts() == [("id-web01", 1)]
    desk.say("settle R1 web01")
    assert desk.doubts() == []


def test_a_retry_reports_that_damaged_vms_are_checked_again_not_retried(desk):
    desk.ask()
    desk.put(MoveState.DAMAGED, "web01")
    desk.put(MoveState.FAILED, "web02")

    assert desk.say("retry R1").sentence == "Retrying web02. Checking the network of web01 again."


@pytest.mark.parametrize("text", ['retry R1 "db 01"', 'skip R1 "db 01"', "retry R1"])
def test_the_settle_command_suggested_for_an_unknown_vm_works(text, desk):
    desk.ask()
    desk.put(MoveState.UNKNOWN, "db 01")

    with pytest.raises(Refused) as refused:
        desk.say(text)
    told = str(refused.value).partition("then: ")[2]
    assert "db 01 is settled" in desk.say(told).sentence


def test_settle_refuses_a_wildcard_that_matches_several_vms(desk):
    """A person has located one VM: a wildcard must not settle others without a word."""
    desk.ask()
    desk.put(MoveState.UNKNOWN, "web01")
    desk.put(MoveState.UNKNOWN, "web02")
    before = desk.rows()

    with pytest.raises(Refused, match=r"web\* matches 3 VMs"):
        desk.say("settle R1 web*")
    assert desk.rows() == before


def test_a_vm_with_unknown_location_cannot_be_skipped_and_the_refusal_says_why(desk):
    desk.ask()
    desk.put(MoveState.UNKNOWN)

    with pytest.raises(Refused, match=r"web01 has an unknown location.*settle R1 web01"):
        desk.say("skip R1 web01")


def test_a_skipped_vm_loses_the_advice_and_cause_of_its_failure(desk):
    desk.ask()
    retry = say("Fix the cause, then: {}", Command("retry R1 web01"))
    with desk.writing() as pen:
        failed = Finish(desk.move(), Outcome.ATTEMPTS, say("web01 did not move."), retry)
        pen.moves.finish(failed)
    desk.say("skip R1 web01")

    left = desk.move()
    assert (left.outcome, left.next, left.after_go_on, left.cause) == (Outcome.EXCLUDED, "", "", "")


def test_settle_closes_the_lost_attempt(desk):
    desk.ask()
    desk.attempt("web01")
    desk.put(MoveState.UNKNOWN)
    desk.say("settle R1 web01")

    assert queries.lost_attempts(desk.store, "vmm01") == ()
    [attempt] = desk.record().moves[0].attempts
    assert (attempt.result, attempt.error) == ("lost", "Settled by a person")


def test_go_on_is_refused_if_more_vms_were_damaged_since_it_was_shown(desk):
    desk.ask()
    desk.put(MoveState.DAMAGED).put(MoveState.DAMAGED, "web02")
    steer = Steering(desk.service)

    with pytest.raises(Refused, match="web02 was damaged there after this message"):
        steer.go_on("R1", "hv02", "id:id-web01", by="slack:ann")
    assert len(desk.damage()) == 2

    steer.go_on("R1", "hv02", "id:id-web01", "id:id-web02", "id:id-web03", by="slack:ann")
    assert desk.damage() == []


def test_go_on_reopens_one_host_and_a_refusal_names_the_damaged_hosts(desk):
    desk.ask()
    desk.put(MoveState.DAMAGED)

    with pytest.raises(Refused, match=r"no VM on hv03\. It damaged VMs on hv02"):
        desk.say("go-on R1 hv03")
    assert desk.say("go-on R1 hv02").sentence == "hv02 receives VMs again."
    assert desk.damage() == []
    assert "host.cleared" in [event.kind for event in desk.told()]


# --- approvals ---------------------------------------------------------------------------------


def test_an_approval_of_some_vms_leaves_the_others_out(desk):
    desk.ask()
    desk.question("web01", "web02", "web03")
    said = desk.say("approve A1 web01 web03", by="slack:bob")

    assert said.sentence == "A1 is approved: 2 of 3 VMs may move."
    assert desk.record().approvals[0].granted == ("id-web01", "id-web03")


def test_a_vm_missing_from_the_card_is_refused_and_the_approval_stays_open(desk):
    desk.ask()
    desk.question("web01")

    with pytest.raises(Refused, match="A1 has no VM web02"):
        desk.say("approve A1 web02", by="slack:bob")
    assert desk.record().approvals[0].state is ApprovalState.REQUESTED


@pytest.mark.parametrize("said", ["", "--reason ", "\u2014reason "])
def test_a_denial_keeps_its_reason(said, desk):
    """At the terminal as well, and with the dashes that Slack substitutes."""
    desk.ask()
    desk.question("web01")
    desk.say(f"deny A1 {said}vendor works on it, until Monday", by="slack:bob")

    assert desk.record().approvals[0].reason == "vendor works on it, until Monday"


@pytest.mark.parametrize("verb", ["approve", "deny", "withdraw"])
@pytest.mark.parametrize(("by", "why"), [("slack:ann", "own"), ("slack:eve", "not one of those")])
def test_a_person_who_may_not_approve_changes_nothing_and_is_audited(verb, by, why, desk):
    desk.ask()
    desk.question("web01")
    said = desk.say(f"{verb} A1", by=by)

    assert not said.accepted
    assert desk.record().approvals[0].state is ApprovalState.REQUESTED
    assert desk.told()[-1].kind == "refused"
    assert queries.votes(desk.store, 1)[-1]["by"] == by


def test_an_approval_can_be_withdrawn_until_its_first_vm_is_started(desk):
    desk.ask()
    desk.question("web01", "web02")
    desk.question("web03")
    desk.say("approve A1", by="slack:bob")
    desk.say("approve A2", by="slack:bob")
    desk.attempt("web01")

    assert (
        "one of the approved VMs has been started"
        in desk.say("withdraw A1", by="slack:bob").sentence
    )
    assert desk.say("withdraw A2 wrong one", by="slack:cy").accepted
    assert [a.state for a in desk.record().approvals] == ["granted", "withdrawn"]


@pytest.mark.parametrize("verb", ["approve", "deny", "withdraw"])
def test_an_approval_that_does_not_exist_is_refused_by_name(verb, desk):
    desk.ask()

    with pytest.raises(Refused, match="no approval A9"):
        desk.say(f"{verb} A9", by="slack:bob")


def test_the_terminal_user_may_approve_their_own_runs(desk):
    desk.ask(by="terminal:ann")
    desk.question("web01")

    assert desk.say("approve A1", by="terminal:ann", approvers=None).accepted


@pytest.mark.parametrize(
    "name", ["a\u2013b", "a\u00a0b", "tab\there", "web*", "x@hv01", "id:7", "my vm", "to"]
)
def test_a_suggested_command_about_a_vm_of_any_name_means_that_vm(name, desk):
    desk.ask()
    with desk.writing() as pen:
        pen.db.update("moves", desk.move().id, {"vm": name})
    [entry] = [m for m in desk.record().moves if m.move.vm == name]
    said = grammar.parse(typed("settle", 1, entry.move).text)

    assert moves_named(said.words[1:], desk.record().moves, "R1") == [entry]
