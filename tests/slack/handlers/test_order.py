"""Rows about one run are carried out in the order they came. Nobody waits for another run."""

from __future__ import annotations

import random

import pytest

from bot.slack.handlers.intents import STARTS
from bot.slack.inbox.rows import Inbound
from bot.slack.kit.ids import in_slack
from engine.store import events


def rows(night):
    return night.store.query("SELECT * FROM slack_inbox ORDER BY id")


def forget(night, *users):
    """Make Slack's answers about these people too old."""
    with night.store.transaction() as db:
        for user in users:
            db.execute("UPDATE slack_lookups SET at = at - 3601 WHERE name = ?", [in_slack(user)])


def subjects(night, row):
    return night.side.worker.intents.read(row).subjects


def typed(night, text, by="slack:U0DANA"):
    return Inbound(1, "command", by, night.ops, {"text": text}, 0.0)


@pytest.fixture
def two_runs(night):
    """R1 by Dana and R2 by Mei. Slack has identified both."""
    night.ask_for("vm web01 to hv02 now")
    night.say("vm web02 to hv03 now", by=night.mei)
    night.board_shows("Moving", "R2")
    night.settled()
    return night


def test_an_intent_waiting_for_slack_delays_no_other_run_or_person(two_runs):
    night = two_runs
    night.side.outbox.loop.stop()  # nobody asks Slack any more
    forget(night, night.dana)

    night.say("pause R1")
    night.say("pause R2", by=night.mei)

    night.slack.wait_for(lambda: rows(night)[-1]["done"])
    assert rows(night)[-2]["done"] is None
    assert (night.run(1).state, night.run(2).state) == ("active", "paused")


def test_later_intents_with_the_same_run_or_person_wait_their_turn(two_runs):
    night = two_runs
    night.side.worker.patience = 0.5
    night.side.outbox.loop.stop()
    forget(night, night.dana)

    night.say("set R1 parallel 3")
    night.say("pause R1", by=night.mei)
    night.say("pause R2")

    night.slack.wait_for(lambda: all(row["done"] for row in rows(night)))
    told = [(e.kind, e.run) for e in events.since(night.store) if e.kind == "run.paused"]
    assert told == [("run.paused", 1)]  # dana could not be checked: both of hers are refused
    refused = [e for e in events.since(night.store) if e.kind == "refused"]
    paused = next(e for e in events.since(night.store) if e.kind == "run.paused")
    assert [e.seq < paused.seq for e in refused] == [True, False]


def test_thread_commands_wait_for_earlier_typed_commands_about_the_same_run(two_runs):
    night = two_runs
    board = night.board_shows("Moving")
    night.side.worker.patience = 0.5
    night.side.outbox.loop.stop()
    forget(night, night.dana)

    night.say("set R1 parallel 3")  # dana has to be asked about first
    night.slack.mention(night.mei, night.ops, "pause", board.ts)

    night.slack.wait_for(lambda: all(row["done"] for row in rows(night)))
    kinds = [e.kind for e in events.since(night.store) if e.kind in ("refused", "run.paused")]
    assert kinds == ["refused", "run.paused"]


@pytest.mark.parametrize("seed", range(3))
def test_intents_about_one_run_are_carried_out_in_order(two_runs, seed):
    night, chance = two_runs, random.Random(seed)
    people = [night.dana, night.ravi, night.mei]
    said = {1: [], 2: []}

    for number in range(3, 33):
        run, by = chance.choice((1, 2)), chance.choice(people)
        if chance.random() < 0.4:
            forget(night, chance.choice(people))
        night.say(f"set R{run} parallel {number}", by=by)
        said[run].append(number)

    night.settled()
    # An intent whose person is forgotten while the gate judges it is refused and leaves the order.
    refused = [e.detail["text"] for e in events.since(night.store) if e.kind == "refused"]
    assert len(refused) < 10
    for run, numbers in said.items():
        numbers = [n for n in numbers if f"set R{run} parallel {n}" not in refused]
        changed = [e for e in events.since(night.store, run=run) if e.kind == "run.changed"]
        assert [int(e.text.rstrip(".").split()[-1]) for e in changed] == numbers


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("pause R1", ("run", 1)),
        ("pause 1", ("run", 1)),
        ("pause hv02", ("run", 1)),
        ("status R2", ("run", 2)),
        ("vm web01 to hv03", STARTS),
        ("pause hv09", STARTS),
        ("pause R9", STARTS),
    ],
)
def test_the_subject_of_a_row_is_the_run_that_it_names_or_may_create(two_runs, text, about):
    night = two_runs

    assert subjects(night, typed(night, text)) == {("by", "slack:U0DANA"), about}


def test_the_subject_of_a_decision_is_the_run_of_its_approval(night):
    card = night.card(night.ask_for())
    value = card.blocks[-1]["elements"][0]["value"]
    click = Inbound(1, "click", "slack:U1", night.ops, {"action": "approve", "value": value}, 0.0)

    assert subjects(night, click) == {("by", "slack:U1"), ("run", 1)}
    assert subjects(night, typed(night, "deny A1", "slack:U1")) == {("by", "slack:U1"), ("run", 1)}


@pytest.mark.parametrize("text", ["status", "list", "help host", "what"])
def test_a_status_of_all_runs_waits_only_for_intents_of_the_same_person(night, text):
    assert subjects(night, typed(night, text)) == {("by", "slack:U0DANA")}
