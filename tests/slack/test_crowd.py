"""A crowd on one card over real sockets: one decision, and a correct answer to everybody else."""

from __future__ import annotations

import random
import threading

import pytest

from bot.slack.kit.ids import bare
from bot.standin.slack import NotAcked
from engine.model import ApprovalState
from engine.store import events, queries

PEOPLE = ("ravi", "mei", "dana", "gus", "omar")
DECIDERS = ("U0RAVI", "U0MEI", "U0OMAR")


def crowd(night, card, seed, clicks=3):
    """Let everybody click at once. Return the acked payloads."""
    dice = random.Random(seed)
    users = [night.slack.user(name) for name in PEOPLE]
    payloads = [
        night.slack.click_payload(user, card.ts, "approve") for user in users for _ in range(clicks)
    ]
    dice.shuffle(payloads)
    heaps = [payloads[n::6] for n in range(6)]
    acked, start = [], threading.Barrier(len(heaps))

    def click(heap):
        start.wait()
        for payload in heap:
            try:
                night.slack.deliver("interactive", payload)
            except NotAcked:
                continue  # Slack shows that it failed: nothing was promised
            acked.append(payload["user"]["id"])

    threads = [threading.Thread(target=click, args=(heap,)) for heap in heaps]
    for thread in threads:
        thread.start()
    return threads, acked


def judged(night, acked):
    """Check for one decision, and one correct answer to every other click."""
    night.slack.wait_for(lambda: night.side.tables.inbox.next_inbound() is None)
    night.settled()
    granted = [e for e in events.since(night.store) if e.kind == "approval.granted"]
    assert len(granted) == 1
    winner = bare(granted[0].by)
    assert winner in DECIDERS
    assert queries.approval(night.store, 1).state is ApprovalState.GRANTED
    rows = night.store.database().query("SELECT by FROM slack_inbox WHERE kind = 'click'")
    accepted = [bare(row["by"]) for row in rows]
    for user in set(accepted):
        assert accepted.count(user) >= acked.count(user)
        told = [e.text for e in night.slack.ephemerals(user) if "R1 is starting" not in e.text]
        assert len(told) == accepted.count(user) - (user == winner)
        for text in told:
            assert _is_true(text, user, winner), text


def _is_true(text, user, winner):
    if text.startswith("You approved this"):
        return user == winner
    if f"<@{winner}> approved this" in text:
        return user != winner
    if text.startswith("You requested R1"):
        return user == "U0DANA"
    return text.startswith("You are not allowed to decide on this approval") and user == "U0GUS"


@pytest.mark.parametrize("seed", range(12))
def test_many_clicks_make_one_decision_and_each_gets_one_correct_answer(make_night, slack, seed):
    for name in PEOPLE:
        slack.user(name)
    night = make_night(approvers=DECIDERS)
    night.start()
    card = night.card(night.ask_for())

    threads, acked = crowd(night, card, seed)
    for thread in threads:
        thread.join()

    assert len(acked) == 15
    judged(night, acked)


@pytest.mark.parametrize("seed", range(6))
def test_a_restart_amid_many_clicks_loses_and_duplicates_nothing(make_night, slack, seed):
    for name in PEOPLE:
        slack.user(name)
    slack.ack_within = 0.5
    night = make_night(approvers=DECIDERS)
    night.start()
    card = night.card(night.ask_for())

    threads, acked = crowd(night, card, seed, clicks=6)
    night.side.stop()
    night.side = night.new_side()
    night.start()
    for thread in threads:
        thread.join()
    if not any(user in DECIDERS for user in acked):
        night.slack.click(night.ravi, card.ts, "approve")
        acked.append(night.ravi)

    judged(night, acked)
