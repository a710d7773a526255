"""The publisher: messages in the channel, when they are sent, and the effects of a refusal."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from time import monotonic

from slack_bolt import BoltRequest

from bot.slack.kit.message_kinds import FIRST, SECOND
from bot.slack.messages.publisher import CURSOR
from bot.slack.outbox.rate_limits import RateLimits, Rhythm
from bot.slack.outbox.rows import Outbound, Tables
from bot.slack.outbox.watched_runs import Watched
from bot.slack.schema import migrations
from bot.slack.web_api.reply_urls import REPLIES
from engine.language import grammar
from engine.model import RunState
from engine.store import events
from engine.store.store import Store
from tests.hangs import HANGS

PAIR = """
format = 1
[[host]]
name = "hv01"
[[host]]
name = "hv02"
"""


def vms(*names, status="Running"):
    return PAIR + "".join(
        f"[[vm]]\nname = '{name}'\nhost = 'hv01'\nminutes = 2.0\nstatus = '{status}'\n"
        for name in names
    )


def test_a_vm_named_like_a_ping_pings_nobody(make_night):
    names = ("<!channel>", "<@U0RAVI>", "a&b", "@here")
    night = make_night(fleet=vms(*names, status="PowerOff"))
    night.start()
    board = night.ask_for("host hv01 to hv02 now")
    card = night.card(board)
    night.slack.click(night.ravi, card.ts, "approve")
    night.to_the_end()
    night.reply_with("R1 ended", board)
    night.settled()

    told = str([(m.text, m.blocks, m.versions) for m in night.slack.workspace.in_order()])

    assert "&lt;!channel&gt;" in told
    assert "a&amp;b" in told
    assert "<!channel" not in told
    assert "<!here" not in told
    calls = night.slack.calls("chat.postMessage")
    assert all(c.args["unfurl_links"] is False for c in calls)
    assert all(c.args["unfurl_media"] is False for c in calls)
    assert not any("link_names" in c.args or "parse" in c.args for c in night.slack.calls())


def test_an_unknown_vm_named_like_a_ping_pings_nobody(night):
    night.say("vm '<!channel>x' to hv03")

    assert "<!channel" not in night.told(night.dana, "channel")


def test_nothing_is_sent_if_only_the_time_has_changed(night):
    night.ask_for()
    night.settled()
    before = len(night.slack.calls())

    night.clock.jump(night.clock.now() + 2)
    for _ in range(5):
        night.side.publisher.look()

    assert night.side.tables.outbound() == ()
    assert len(night.slack.calls()) == before


def test_a_board_waits_for_its_interval_and_only_its_latest_version_is_sent(make_night):
    night = make_night()
    night.side = night.new_side(Rhythm(patience=HANGS, post=0.0, board=0.6, look=0.02))
    night.start()
    board = night.ask_for("vm web01,web02 to hv02 now")

    night.to_the_end()

    final = night.board_shows("Completed")
    night.settled()
    assert final.ts == board.ts
    versions = night.slack.message(board.ts).versions
    assert len(versions) < len([e for e in events.since(night.store) if e.run == 1])
    gaps = [b.at - a.at for a, b in pairwise(versions)]
    assert min(gaps) > 0.55


def test_updates_of_an_open_card_are_paced_and_a_decision_is_sent_at_once():
    pace = RateLimits(Rhythm(board=5.0))
    card = Outbound("card:A1", "message", "C1", "asked", priority=SECOND)
    pace.sent(card, now=100.0)

    assert pace.ready_at("chat.update", card) == 105.0
    assert pace.ready_at("chat.update", replace(card, priority=FIRST)) <= 100.0


def test_a_decision_does_not_wait_for_the_interval_of_its_card(make_night):
    night = make_night()
    night.side = night.new_side(Rhythm(patience=HANGS, post=0.0, board=0.6, look=0.02))
    night.start()
    board = night.ask_for()
    card = night.card(board)
    night.side.outbox.limits.rhythm = Rhythm(post=0.0, board=600.0)
    night.settled()
    night.side.outbox.limits.sent(Outbound("card:A1", "message", "", ""), monotonic())

    night.slack.click(night.ravi, card.ts, "approve")

    assert night.reply_with("Approved by", board).ts == card.ts


def test_a_run_that_cannot_be_rendered_does_not_block_the_others(make_night):
    night = make_night()
    night.trips = True
    night.start()
    night.ask_for("vm web01 to hv02 now")
    night.settled()
    with night.store.transaction() as db:
        db.execute("UPDATE runs SET state = 'completed', options = '[]' WHERE id = 1")

    night.say("vm web02 to hv03 now")

    night.board_shows("Moving", "R2")
    assert night.side.bugs > 0
    night.slack.wait_for(
        lambda: night.side.tables.cursor(CURSOR) == events.since(night.store)[-1].seq
    )


def test_a_message_that_cannot_be_sent_does_not_delay_the_others(make_night):
    """The row is one that no version would write: the Slack SDK itself fails on it."""
    night = make_night()
    night.trips = True
    odd = Outbound("failure:R9:odd", "message", night.ops, "x", (7,), "f", priority=FIRST)
    with night.store.transaction() as db:
        night.side.tables.put(db, odd)
    night.start()

    night.ask_for("vm web01 to hv02 now")

    assert night.side.outbox.loop.bugs > 0
    left = night.side.tables.outbound
    night.slack.wait_for(lambda: [out.key for out in left()] == ["failure:R9:odd"])


def test_a_run_is_rejected_if_slack_does_not_accept_its_board_for_15_minutes(night):
    night.slack.order("chat.postMessage", "internal_error", times=10_000)
    night.say("host hv01 to hv02 now")
    watched = night.side.tables.runs.watched
    night.slack.wait_for(lambda: any(w.since and w.trouble for w in watched()))
    assert night.run().state is RunState.SCHEDULED

    with night.store.transaction() as db:
        db.execute("UPDATE slack_runs SET since = since - 15 * 60")

    told = night.told(night.dana, "R1 was rejected")
    assert "internal_error for 15 min" in told
    assert told.endswith("Nothing started.")
    assert night.run().state is RunState.REJECTED
    last = [e for e in events.since(night.store) if e.run == 1][-1].text
    assert "internal_error for 15 min" in last
    night.settled()


def test_the_board_of_a_rejected_run_does_not_say_that_the_run_starts(night):
    night.slack.lose_answer("chat.postMessage")
    night.slack.order("conversations.history", "internal_error", times=10_000)
    night.say("host hv01 to hv02 now")
    watched = night.side.tables.runs.watched
    night.slack.wait_for(lambda: any(w.since and w.trouble for w in watched()))
    board = night.board_shows("Starting")
    with night.store.transaction() as db:
        db.execute("UPDATE slack_runs SET since = since - 15 * 60")
    night.told(night.dana, "R1 was rejected")

    night.slack.workspace.orders["conversations.history"].clear()

    assert night.board_shows("Rejected").ts == board.ts
    night.settled()


def test_a_run_killed_before_it_was_watched_is_rejected_at_the_next_start(make_night):
    night = make_night()
    request = grammar.parse("host hv01 to hv02")
    night.service.submit(request, by=f"slack:{night.dana}", scheduled=True)
    terminal = grammar.parse("vm '<!channel>' to hv03")
    night.service.submit(terminal, by="terminal:ann", scheduled=True)

    night.start()

    night.slack.wait_for(lambda: night.run().state is RunState.REJECTED)
    last = [e for e in events.since(night.store) if e.run == 1][-1].text
    assert last == "R1 was not started: VMFerry was interrupted; repeat the request"
    assert night.run(2).state is RunState.SCHEDULED


def test_watched_runs_of_the_first_version_are_still_read(tmp_path):
    store = Store(tmp_path / "vmferry.db", durable=False)
    with store.transaction() as db:
        migrations.apply(db.raw, stop_before="m002_boards_that_wait_for_slack")
        db.execute("INSERT INTO slack_runs (run, channel, by, inbox) VALUES (1, 'C1', '@U1', 3)")

    assert Tables(store).runs.watched() == (Watched(1, "slack:C1", "slack:U1", 3),)
    store.close()


def test_a_run_is_rejected_with_advice_if_the_bot_is_not_invited(night):
    den = night.slack.channel("den", bot=False)

    night.say("host hv01 to hv02 now", channel=den)

    told = night.told(night.dana, "R1 was rejected")
    assert f"I am not in <#{den}>. Type /invite <@U0VMFERRY> there" in told
    assert told.endswith("Nothing started.")
    night.settled()
    assert night.run().state is RunState.REJECTED
    assert "/invite @vmferry" in [e for e in events.since(night.store) if e.run == 1][-1].text


def test_an_archived_channel_rejects_the_run(night):
    attic = night.slack.channel("attic", archived=True)

    night.say("host hv01 to hv02 now", channel=attic)

    assert "is archived" in night.told(night.dana, "R1 was rejected")


def test_a_rate_limit_is_respected_and_does_not_delay_another_method(night):
    night.slack.order("chat.postMessage", "ratelimited", retry_after=1)

    night.say("host hv01 to hv02 now")
    night.say("status")

    assert night.told(night.dana, "R1")  # the answer did not wait for the post
    night.board_shows("Moving")
    refused, posted = night.slack.calls("chat.postMessage")[:2]
    assert refused.response["error"] == "ratelimited"
    assert posted.response["ok"]
    assert posted.at - refused.at >= 1.0


def test_a_message_is_retried_after_a_temporary_slack_error(night):
    night.slack.order("chat.postMessage", "internal_error")

    night.say("host hv01 to hv02 now")

    night.board_shows("Moving")


def test_failures_with_one_cause_share_a_reply_that_later_ones_extend(make_night):
    night = make_night(fleet=vms("web01", "web02"))
    night.start()
    for name in ("web01", "web02"):
        night.world.outcome(night.clock.now(), name, job="failed", at="source", times=9)
    board = night.ask_for("host hv01 to hv02 attempts 1 now")
    night.to_the_end()

    night.reply_with("R1 ended", board)
    night.settled()

    failures = [m for m in night.slack.thread(night.ops, board.ts) if m.shown.startswith("❌")]
    assert len(failures) == 1
    assert f"❌ <@{night.dana}> web01 did not move (1 of 1 attempts)" in failures[0].shown
    assert "\nWhy: " in failures[0].shown
    assert "\nNext: " in failures[0].shown
    assert "The same happened to web02." in failures[0].shown
    assert "Failed: web01, web02, see the thread" in night.slack.message(board.ts).shown


def test_a_new_process_continues_with_the_existing_messages(night):
    board = night.ask_for()
    card = night.card(board)
    night.settled()
    night.side.stop()
    night.service.decide(1, "approve", by="terminal:ann")

    night.side = night.new_side()
    night.start()

    assert night.reply_with("Approved by ann (terminal)", board).ts == card.ts
    night.to_the_end()
    night.reply_with("R1 ended", board)
    night.settled()
    assert len([m for m in night.slack.messages(night.ops) if m.thread_ts is None]) == 1
    assert len(night.slack.thread(night.ops, board.ts)) == 2


def test_a_new_process_starts_a_run_whose_board_was_posted_just_before_a_kill(night):
    night.side.publisher.loop.stop()  # dies after the post, before the run begins
    night.say("host hv01 to hv02 now")
    night.settled()
    night.side.publisher.look()
    night.settled()
    assert night.run().state is RunState.SCHEDULED
    night.side.stop()

    night.side = night.new_side()
    night.start()

    night.board_shows("Moving")
    assert len(night.slack.messages(night.ops)) == 1


def test_an_answer_is_sent_as_an_ephemeral_message_after_a_restart(make_night):
    night = make_night()
    payload = night.slack.command_payload(night.dana, night.ops, "status")
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    night.side = night.new_side()

    night.start()

    assert night.told(night.dana, "No run is in progress")
    assert [e.via for e in night.slack.ephemerals(night.dana)] == ["chat.postEphemeral"]


def ask_where_nothing_can_be_answered(night):
    """Type a command, as Dana, with a response URL that does not work."""
    payload = night.slack.command_payload(night.dana, night.ops, "status")
    address = str(payload["response_url"]).rpartition("/")[0]
    night.slack.deliver("slash_commands", payload | {"response_url": f"{address}/0"})


def test_a_rate_limit_on_one_way_to_answer_delays_no_other_way(night):
    night.slack.order("chat.postEphemeral", "ratelimited", retry_after=3_600)
    ask_where_nothing_can_be_answered(night)
    night.slack.wait_for(lambda: night.slack.calls("chat.postEphemeral"))

    night.say("status", by=night.mei)

    assert night.told(night.mei, "No run is in progress")
    assert night.slack.ephemerals(night.dana) == ()


def test_a_person_who_left_the_channel_is_answered_by_direct_message(night):
    night.slack.order("chat.postEphemeral", "user_not_in_channel")

    ask_where_nothing_can_be_answered(night)

    night.slack.wait_for(
        lambda: [c for c in night.slack.calls("chat.postMessage") if c.args["channel"] == "U0DANA"]
    )
    night.settled()
    assert len(night.slack.calls("chat.postEphemeral")) == 1
    ways = [c.method for c in night.slack.calls() if c.method.startswith(("chat.", "response"))]
    assert ways == ["response_url", "chat.postEphemeral", "chat.postMessage"]


def test_a_click_in_a_thread_is_answered_in_the_thread(night):
    board = night.ask_for()
    card = night.card(board)

    night.slack.click(night.mei, card.ts, "approve")

    night.told(night.mei, "not allowed to decide")
    assert night.slack.ephemerals(night.mei)[-1].thread_ts == board.ts
    assert night.slack.ephemerals(night.mei)[-1].via == "response_url"
    assert REPLIES == 5


def test_the_metadata_of_a_post_holds_its_key_and_version(night):
    board = night.ask_for()

    assert board.metadata["event_type"] == "vmferry_message"
    marks = board.metadata["event_payload"]
    assert marks == {"key": "board:R1", "version": marks["version"]}
    assert marks["version"]


def test_the_report_shows_people_as_mentions(night):
    board = night.ask_for("host hv01 to hv02,hv03 now parallel 1")
    night.card(board)
    night.say("skip R1 web02", night.mei)
    night.settled()
    night.service.decide(1, "deny", by=f"slack:{night.ravi}", reason="vendor")
    night.to_the_end()

    shown = night.reply_with("R1 ended", board).text
    night.say("report R1")

    for text in (shown, night.told(night.dana, "R1 ended")):
        assert f"web02 stays where it is: skipped by <@{night.mei}>." in text
        assert f'old-crm stays where it is: denied by <@{night.ravi}>: "vendor".' in text
        assert "slack:U0RAVI" not in text.replace("<@", "")
