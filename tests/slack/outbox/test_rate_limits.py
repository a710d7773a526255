"""Rate limits: Retry-After is obeyed to the second, and only for the method that it names."""

from __future__ import annotations

import pytest

from bot.slack.kit.buttons import DENY
from bot.slack.outbox.rate_limits import RateLimits, Rhythm
from bot.slack.outbox.rows import Outbound, Sent
from bot.slack.people.rows import Lookup
from bot.slack.web_api.client import SlackApi, web_client
from bot.slack.web_api.errors import seconds_of
from engine.sim.fleet_file import parse
from engine.store import queries
from tests.patient import patient_slack
from tests.slack.stepped import Stepped, beginning

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [{ name = "old01", host = "hv01", status = "PowerOff" }]
"""
CHANNELS = ("C0OPS", "C0LAB")


@pytest.fixture
def night(tmp_path):
    """A night on one thread, with Slack on its virtual clock."""
    clock = beginning()
    with patient_slack(clock) as slack:
        for name in ("dana", "ravi"):
            slack.user(name)
        for name in ("ops", "lab"):
            slack.channel(name)
        made = Stepped(tmp_path, slack, clock, parse(FLEET), approvers=("U0RAVI",))
        yield made
        made.drop()
        assert made.bugs == 0


def put(night, key, channel="C0OPS", words="x", **more):
    out = Outbound(key, "message", channel, words, fingerprint=words, **more)
    with night.store.transaction() as db:
        night.side.tables.put(db, out)
    night.side.outbox.loop.knock()
    return out


def wait(night, seconds):
    """Let this many seconds pass, with everything that is due in them."""
    until = night.clock.now() + seconds
    while night.clock.now() < until:
        night.step()


def times(night, method):
    return [call.at for call in night.slack.calls(method)]


def test_a_rate_limit_in_one_channel_does_not_delay_another(night):
    night.slack.order("chat.postMessage", "ratelimited", retry_after=30)
    put(night, "one", "C0OPS")
    put(night, "two", "C0LAB")

    wait(night, 40)

    here, there = (night.slack.messages(channel) for channel in CHANNELS)
    refused, other, again = times(night, "chat.postMessage")
    assert other - refused < 2.0
    assert 30.0 <= again - refused < 31.0
    assert (len(here), len(there)) == (1, 1)


def test_a_rejected_post_is_not_looked_up(night):
    night.slack.order("chat.postMessage", "ratelimited", retry_after=3)
    put(night, "one")

    wait(night, 10)

    assert len(night.slack.messages("C0OPS")) == 1
    assert night.slack.calls("conversations.history") == ()


def test_a_rate_limited_answer_is_sent_after_retry_after(night):
    night.slack.order("response_url", "ratelimited", retry_after=25)
    night.say("U0DANA", "C0OPS", "status")

    wait(night, 40)

    refused, again = times(night, "response_url")
    assert 25.0 <= again - refused < 26.0
    assert len(night.slack.ephemerals("U0DANA")) == 1


def test_a_rate_limited_lookup_delays_every_other_lookup(night):
    """Two posts may or may not exist, and Slack allows no lookup for a while."""
    for key, channel in zip(("one", "two"), CHANNELS, strict=True):
        night.side.tables.trying(put(night, key, channel), night.clock.now())
    night.slack.order("conversations.history", "ratelimited", retry_after=30)

    wait(night, 60)

    refused, *later = times(night, "conversations.history")
    assert len(later) == 2
    assert min(later) - refused >= 30.0


def test_a_rate_limited_lookup_waits_and_other_messages_are_sent(night):
    night.slack.order("usergroups.users.list", "ratelimited", retry_after=20)
    lookups = night.side.publisher.roster.lookups
    wanted = ["S0ONE", "S0TWO", "U0DANA"]
    for _ in range(30):
        lookups.want(wanted)
        night.side.outbox.loop.knock()
        wait(night, 1)
        if len(times(night, "usergroups.users.list")) > 1:
            break

    refused, *later = times(night, "usergroups.users.list")
    assert min(later) - refused >= 20.0
    assert night.slack.calls("users.info")


def test_messages_are_sent_between_lookups(night):
    night.side.publisher.roster.lookups.want([f"U0{number:02}" for number in range(30)])
    put(night, "one", priority=0)

    night.step()

    before = [c for c in night.slack.calls() if c.method in ("users.info", "chat.postMessage")]
    assert [c.method for c in before].index("chat.postMessage") < 10


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_retry_after_is_read_in_any_header_case(name):
    assert seconds_of({name: "17"}) == 17.0


# --- forms, which cannot wait --------------------------------------------------------------------


def test_a_rate_limited_form_is_reported_at_once_and_the_limit_is_respected(night):
    night.say("U0DANA", "C0OPS", "host hv01 to hv02 now")
    night.until(lambda: bool(queries.open_approvals(night.store)) and night.quiet(), 3600)
    card = next(m for m in night.slack.workspace.in_order() if "Approve moving" in m.shown)
    night.slack.order("views.open", "ratelimited", retry_after=30)
    begun = night.clock.now()

    for _ in range(2):
        night.click("U0RAVI", card.ts, DENY)
        wait(night, 1)

    told = night.slack.ephemerals("U0RAVI")
    assert ["The form did not open (ratelimited)" in e.text for e in told] == [True, True]
    assert max(e.at for e in told) - begun < 3.0
    assert len(times(night, "views.open")) == 1
    wait(night, 30)
    night.click("U0RAVI", card.ts, DENY)
    night.until(night.quiet, 60)
    assert len(times(night, "views.open")) == 2


# --- what else the sender must not forget --------------------------------------------------------


def test_a_new_version_is_sent_if_it_arrives_while_another_is_being_sent(night):
    tables = night.side.tables
    first = put(night, "board:R9", words="first")
    stands = Sent("board:R9", "C0OPS", "1.1", None, "first")
    second = put(night, "board:R9", words="second")
    tables.posted_as(first, stands)
    assert [out.text for out in tables.outbound()] == ["second"]

    put(night, "board:R9", words="third")
    tables.updated(second, stands)

    assert [out.text for out in tables.outbound()] == ["third"]


def test_a_lookup_searches_for_the_version_that_was_tried(night):
    """The channel holds an older message with the same key, which can no longer be edited."""
    put(night, "board:R9", words="old")
    night.until(night.quiet, 60)
    night.slack.order("chat.update", "edit_window_closed")
    night.slack.lose_request("chat.postMessage")
    put(night, "board:R9", words="new")

    night.until(night.quiet, 600)

    assert [m.text for m in night.slack.messages("C0OPS")] == ["old", "new"]


def test_a_message_is_found_behind_hundreds_of_newer_ones(night):
    api = SlackApi(web_client(night.slack.bot_token, night.slack.base_url))
    marks = ("board:R9", "v1")
    _, ts = api.post(marks, "C0OPS", "x", [], None, False)
    for _ in range(450):
        night.slack.say("U0DANA", "C0OPS", "y")

    assert api.find(marks, "C0OPS", None, 0.0) == ts


def test_attempts_become_rarer_during_an_outage(night):
    put(night, "one")
    night.until(night.quiet, 60)
    night.slack.down()
    before = len(night.slack.calls())
    for number in range(20):
        put(night, f"more:{number}", CHANNELS[number % 2])

    wait(night, 7200)

    assert len(night.slack.calls()) - before <= 150  # about one a minute
    night.slack.up()
    wait(night, 300)
    assert night.quiet()


def test_an_outage_is_announced_even_after_a_restart(night):
    night.say("U0DANA", "C0OPS", "host hv01 to hv02 now")
    night.until(lambda: bool(queries.open_approvals(night.store)) and night.quiet(), 3600)
    night.slack.down()
    night.service.decide(1, "deny", by="terminal:ann")
    wait(night, 1800)

    night.drop()
    night.begin()
    night.slack.up()
    wait(night, 300)

    told = [m for m in night.slack.messages("C0OPS") if "did not accept my messages" in m.shown]
    assert len(told) == 1


def test_an_answer_dated_in_the_future_is_not_fresh():
    """The clock was set back, so the age of the answer is unknown."""
    said = Lookup("S0ONCALL", at=1_000.0)

    assert [said.fresh(now) for now in (999.0, 1_000.0, 1_060.0, 1_061.0)] == [
        False,
        True,
        True,
        False,
    ]


def test_retry_after_of_a_post_applies_to_its_channel_only():
    pace = RateLimits(Rhythm())
    pace.limited("chat.postMessage", Outbound("a", "message", "C1", "x"), 130.0)

    assert pace.ready_at("chat.postMessage", Outbound("b", "message", "C1", "x")) == 130.0
    assert pace.ready_at("chat.postMessage", Outbound("b", "message", "C2", "x")) <= 100.0
