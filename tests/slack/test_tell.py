"""Telling: what stands in the channel, when it is sent, and what happens when Slack says no."""

from __future__ import annotations

from itertools import pairwise

from slack_bolt import BoltRequest

from bot.slack.outbox import Rhythm
from bot.slack.slack_api import REPLIES
from engine.model import RunState
from engine.store import events

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
    assert not any("link_names" in c.args or "parse" in c.args for c in night.slack.calls())


def test_an_unknown_vm_named_like_a_ping_pings_nobody(night):
    night.say("vm '<!channel>x' to hv03")

    assert "<!channel" not in night.told(night.dana, "channel")


def test_nothing_is_sent_when_nothing_changed_but_the_time(night):
    night.ask_for()
    night.settled()
    before = len(night.slack.calls())

    night.clock.jump(night.clock.now() + 2)
    for _ in range(5):
        night.side.teller.look()

    assert night.side.tables.outbound() == ()
    assert len(night.slack.calls()) == before


def test_a_board_waits_for_its_interval_and_only_its_latest_version_is_sent(make_night):
    night = make_night()
    night.side = night.new_side(Rhythm(post=0.0, board=0.6, look=0.02))
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


def test_where_the_bot_is_not_invited_the_run_is_rejected_and_says_what_to_do(night):
    den = night.slack.channel("den", bot=False)

    night.say("host hv01 to hv02", channel=den)

    told = night.told(night.dana, "R1 was rejected")
    assert f"I am not in <#{den}>. Type there: /invite @vmferry" in told
    assert told.endswith("Nothing started.")
    night.settled()
    assert night.run().state is RunState.REJECTED
    assert "/invite @vmferry" in [e for e in events.since(night.store) if e.run == 1][-1].text


def test_an_archived_channel_rejects_the_run(night):
    attic = night.slack.channel("attic", archived=True)

    night.say("host hv01 to hv02", channel=attic)

    assert "is archived" in night.told(night.dana, "R1 was rejected")


def test_a_limit_is_obeyed_and_does_not_delay_another_method(night):
    night.slack.order("chat.postMessage", "ratelimited", retry_after=1)

    night.say("host hv01 to hv02")
    night.say("status")

    assert night.told(night.dana, "R1")  # the answer did not wait for the post
    night.board_shows("Moving")
    refused, posted = night.slack.calls("chat.postMessage")[:2]
    assert refused.response["error"] == "ratelimited"
    assert posted.response["ok"]
    assert posted.at - refused.at >= 1.0


def test_what_slack_does_not_take_just_now_is_tried_again(night):
    night.slack.order("chat.postMessage", "internal_error")

    night.say("host hv01 to hv02")

    night.board_shows("Moving")


def test_failures_of_one_cause_are_one_reply_and_the_next_one_is_added(make_night):
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
    assert "\nDo: " in failures[0].shown
    assert "The same with web02." in failures[0].shown
    assert "Failed: web01, web02, see thread" in night.slack.message(board.ts).shown


def test_a_new_process_goes_on_with_the_messages_that_stand(night):
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
    night.side.teller.loop.stop()  # dies after the post, before the run begins
    night.say("host hv01 to hv02 now")
    night.settled()
    night.side.teller.look()
    night.settled()
    assert night.run().state is RunState.SCHEDULED
    night.side.stop()

    night.side = night.new_side()
    night.start()

    night.board_shows("Moving")
    assert len(night.slack.messages(night.ops)) == 1


def test_after_a_restart_an_answer_goes_as_an_ephemeral_message(make_night):
    night = make_night()
    payload = night.slack.command_payload(night.dana, night.ops, "status")
    night.side.app.dispatch(BoltRequest(mode="socket_mode", body=payload))
    night.side = night.new_side()

    night.start()

    assert night.told(night.dana, "Nothing moves")
    assert [e.via for e in night.slack.ephemerals(night.dana)] == ["chat.postEphemeral"]


def test_an_answer_to_a_click_in_a_thread_is_in_the_thread(night):
    board = night.ask_for()
    card = night.card(board)

    night.slack.click(night.mei, card.ts, "approve")

    night.told(night.mei, "may not decide")
    assert night.slack.ephemerals(night.mei)[-1].thread_ts == board.ts
    assert night.slack.ephemerals(night.mei)[-1].via == "response_url"
    assert REPLIES == 5


def test_every_post_carries_its_key_so_that_it_can_be_found_again(night):
    board = night.ask_for()

    assert board.metadata == {"event_type": "vmferry_message", "event_payload": {"key": "board:R1"}}
