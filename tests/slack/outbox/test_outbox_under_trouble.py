"""The outbox while Slack is slow, silent or refuses: nothing is lost or posted twice."""

from __future__ import annotations

from dataclasses import replace

from bot.slack.kit.message_kinds import FIRST, LAST
from bot.slack.outbox.outage import WORTH_TELLING
from bot.slack.outbox.rate_limits import RATES, Rate, RateLimits, Rhythm
from bot.slack.outbox.rows import Outbound
from engine.model import RunState
from engine.store import events, queries
from tests.slack.conftest import HURRIED


def posts(night, key):
    """The successful posts of this message."""
    return [
        call
        for call in night.slack.calls("chat.postMessage")
        if call.args["metadata"]["event_payload"]["key"] == key and call.response.get("ok")
    ]


def tops(night, channel):
    return [m for m in night.slack.messages(channel) if m.thread_ts is None]


def moves(night):
    return [entry.move for entry in queries.record(night.store, 1).moves]


# --- budgets -----------------------------------------------------------------------------------


def outbound(key="board:R1", channel="C1", priority=LAST):
    return Outbound(key, "message", channel, "x", priority=priority)


def test_updates_respect_the_rate_limit_and_reserve_a_share_for_urgent_messages():
    pace = RateLimits(Rhythm(board=0.0))
    now, sent = 1_000.0, []
    while now < 1_060.0:
        at = pace.ready_at("chat.update", outbound(f"board:R{len(sent)}"))
        now = max(now, at)
        pace.called("chat.update", outbound(), now)
        sent.append(now)

    assert len([at for at in sent if at < 1_060.0]) <= 35
    urgent = pace.ready_at("chat.update", outbound("card:A1", priority=FIRST))
    assert urgent <= now
    assert pace.ready_at("chat.update", outbound("board:R999")) > now


def test_urgent_messages_never_exceed_the_rate_limit_per_minute():
    pace = RateLimits(Rhythm())
    now, sent = 0.0, []
    for _ in range(300):
        now = max(now, pace.ready_at("chat.update", outbound(priority=FIRST)))
        pace.called("chat.update", outbound(), now)
        sent.append(now)

    fullest = max(sum(start <= at < start + 60.0 for at in sent) for start in sent)
    assert fullest <= 50


def test_a_limited_method_or_channel_does_not_delay_another():
    pace = RateLimits(Rhythm(post=1.0, rates=RATES | {"chat.postMessage": Rate(60, 5)}))
    pace.called("chat.postMessage", outbound(channel="C1"), 100.0)
    pace.limited("chat.update", outbound(), 130.0)

    assert pace.ready_at("chat.postMessage", outbound("card:A1", "C1")) == 101.0
    assert pace.ready_at("chat.postMessage", outbound("card:A1", "C2")) <= 100.0
    assert pace.ready_at("chat.update", outbound()) == 130.0
    assert pace.ready_at("chat.postEphemeral", outbound()) <= 100.0


# --- an answer that was lost -------------------------------------------------------------------


def test_a_post_whose_answer_was_lost_is_found_and_not_repeated(night):
    night.slack.lose_answer("chat.postMessage")

    board = night.ask_for()

    night.settled()
    assert len(tops(night, night.ops)) == 1
    assert night.side.tables.message("board:R1").ts == board.ts


def test_a_post_that_never_reached_slack_is_repeated(night):
    night.slack.lose_request("chat.postMessage")

    night.ask_for()

    night.settled()
    assert len(tops(night, night.ops)) == 1


def test_a_reply_whose_answer_was_lost_is_found_in_its_thread(night):
    board = night.ask_for()
    night.settled()
    night.slack.lose_answer("chat.postMessage")

    card = night.card(board)

    night.settled()
    assert [m.ts for m in night.slack.thread(night.ops, board.ts)] == [card.ts]
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", board)


def test_a_post_found_again_is_updated(night):
    """The posted version is older than the current one."""
    night.slack.lose_answer("chat.postMessage")
    night.slack.order("conversations.history", "internal_error", times=3)

    night.ask_for("vm web01 to hv02 now")

    night.to_the_end()
    night.board_shows("Completed")
    night.settled()
    assert len(tops(night, night.ops)) == 1


def test_the_next_process_finds_a_post_whose_row_was_lost_to_a_kill(night):
    night.say("host hv01 to hv02 now")
    night.board_shows("Moving")
    night.settled()
    night.side.stop()
    stood = night.side.tables.message("board:R1")
    [board] = tops(night, night.ops)
    night.side.tables.forget("board:R1")  # as it stood before the answer was written down
    with night.store.transaction() as db:
        again = Outbound("board:R1", "message", night.ops, "x", fingerprint="f", run=1)
        night.side.tables.put(db, again)
        db.execute(
            "UPDATE slack_outbox SET tried = ?, tried_as = ?",
            [night.side.outbox.clock.now(), board.metadata["event_payload"]["version"]],
        )

    night.side = night.new_side()
    night.start()
    night.settled()

    assert [m.ts for m in tops(night, night.ops)] == [stood.ts]
    assert night.side.tables.message("board:R1").ts == stood.ts


def test_a_message_is_repeated_rather_than_lost_without_access_to_the_history(night, caplog):
    night.slack.lose_answer("chat.postMessage")
    night.slack.order("conversations.history", "missing_scope")

    night.ask_for()

    night.settled()
    assert len(tops(night, night.ops)) == 2
    assert "board:R1 may be posted twice: cannot look for it: missing_scope" in caplog.text


def test_a_reverted_message_is_sent_again_after_an_update_with_a_lost_answer(make_night):
    """The answer to an update was lost, and meanwhile the message is as it was before."""
    night = make_night()
    night.side = night.new_side(replace(HURRIED, again=0.5))
    night.start()

    def say(words):
        with night.store.transaction() as db:
            now = Outbound("note:1", "message", night.ops, words, fingerprint=words)
            night.side.tables.put(db, now)
        night.side.outbox.loop.knock()

    say("well")
    night.settled()
    night.slack.lose_answer("chat.update")
    say("not well")
    night.slack.wait_for(lambda: [m for m in tops(night, night.ops) if m.text == "not well"])

    say("well")

    night.settled()
    assert [m.text for m in tops(night, night.ops)] == ["well"]


# --- messages and channels that are gone -------------------------------------------------------


def test_a_deleted_board_is_posted_again(night):
    board = night.ask_for("vm web01 to hv02 now")
    night.settled()
    night.slack.order("chat.update", "message_not_found")

    night.to_the_end()

    night.board_shows("Completed")
    old, new = tops(night, night.ops)
    assert old.ts == board.ts
    assert "Completed" in new.shown


def test_an_approval_whose_board_was_deleted_is_posted_under_a_new_board(night):
    board = night.ask_for("vm old-crm to hv02 now")
    night.settled()
    del night.slack.workspace.messages[night.ops, board.ts]

    night.step(until=lambda: bool(queries.open_approvals(night.store)))

    again = night.board_shows("Moving")
    assert again.ts != board.ts
    card = night.reply_with("Approve moving", again)
    night.slack.click(night.ravi, card.ts, "approve")
    night.reply_with("Approved by", again)
    night.settled()
    assert len(tops(night, night.ops)) == 1


def test_a_board_that_cannot_be_edited_is_reposted_but_not_at_every_change(night):
    night.ask_for()
    night.settled()
    night.slack.order("chat.update", "edit_window_closed", times=1_000)

    night.to_the_end()
    night.reply_with("R1 ended", tops(night, night.ops)[-1])

    assert len(tops(night, night.ops)) == 2


def test_a_run_of_an_archived_channel_continues_in_the_fallback_channel(make_night, slack):
    spare = slack.channel("spare")
    night = make_night(fallback=spare)
    night.start()
    board = night.ask_for()
    night.card(board)
    night.settled()

    night.slack.archive(night.ops)
    night.step(until=lambda: any(m.state == "done" for m in moves(night)))

    here = night.slack.wait_for(lambda: tops(night, spare))[0]
    assert f"Posted here because <#{night.ops}> is archived." in here.shown
    card = night.slack.wait_for(
        lambda: next((m for m in night.slack.thread(spare, here.ts) if "Approve" in m.shown), None)
    )
    night.slack.click(night.ravi, card.ts, "approve")
    night.to_the_end()
    night.slack.wait_for(
        lambda: [m for m in night.slack.thread(spare, here.ts) if "R1 ended" in m.shown]
    )
    assert night.run().state is RunState.COMPLETED
    noted = [e.text for e in events.since(night.store) if e.kind == "run.noted"]
    assert noted == [
        f"Messages about R1 now go to slack:{spare}, no longer to slack:{night.ops} (is_inactive)"
    ]


def test_the_owner_is_told_if_the_bot_was_removed_from_the_only_channel(night):
    night.ask_for("vm web01 to hv02 now")
    night.settled()

    night.slack.kick(night.ops)
    night.to_the_end()

    gone, home = f"<#{night.ops}> no longer includes me", night.slack.direct(night.dana)
    told = night.slack.wait_for(
        lambda: next((m for m in tops(night, home) if gone in m.shown), None)
    )
    night.slack.wait_for(lambda: "Completed" in night.slack.message(told.ts).shown)
    night.slack.wait_for(
        lambda: any("R1 ended" in m.shown for m in night.slack.thread(told.channel, told.ts))
    )


def test_the_last_message_of_an_archived_channel_goes_to_the_fallback_channel(make_night, slack):
    spare = slack.channel("spare")
    night = make_night(fallback=spare)
    night.start()
    night.ask_for("vm web01 to hv02 now")
    night.settled()
    night.side.outbox.loop.stop()
    night.to_the_end()
    night.slack.wait_for(lambda: not night.side.tables.runs.watched())
    night.side.stop()
    night.slack.archive(night.ops)

    night.side = night.new_side()
    night.start()

    here = night.slack.wait_for(lambda: tops(night, spare))[0]
    night.slack.wait_for(
        lambda: [m for m in night.slack.thread(spare, here.ts) if "R1 ended" in m.shown]
    )


# --- Slack is away -----------------------------------------------------------------------------


def test_moves_continue_during_an_outage_and_one_message_then_sums_it_up(night):
    board = night.ask_for()
    night.card(board)
    night.settled()
    night.slack.down()
    night.side.publisher.look_at(1)
    night.say("status")
    night.slack.wait_for(lambda: night.side.outbox.outages.latest())
    night.step(until=lambda: any(m.state == "done" for m in moves(night)))
    with night.store.transaction() as db:
        db.execute("UPDATE slack_outage SET since = since - ?", [WORTH_TELLING])

    night.slack.up()

    told = night.slack.wait_for(
        lambda: [m for m in tops(night, night.ops) if "did not accept my messages" in m.shown]
    )
    assert len(told) == 1
    assert "(HTTP 503). Moves continued meanwhile:" in told[0].shown
    assert "• R1 · hv01 → hv02, hv03 · Moving · 1 of 3 moved" in told[0].shown
    assert "needs a person" in told[0].shown
    night.settled()
    assert night.side.outbox.outages.latest() is None
    assert len(tops(night, night.ops)) == 2


def test_a_short_outage_is_not_announced(night):
    night.ask_for()
    night.settled()
    night.slack.down()
    night.step(until=lambda: any(m.state == "done" for m in moves(night)))
    night.slack.wait_for(lambda: night.side.outbox.outages.latest())

    night.slack.up()

    night.board_shows("1 of 3 moved")
    night.settled()
    assert night.side.outbox.outages.latest() is None
    assert len(tops(night, night.ops)) == 1


def test_a_revoked_token_stops_no_run_and_a_new_token_sends_missed_messages(night, caplog):
    board = night.ask_for("vm web01 to hv02 now")
    night.settled()
    night.slack.revoke()

    night.to_the_end()

    night.slack.wait_for(lambda: "install the app again" in caplog.text)
    assert night.run().state is RunState.COMPLETED
    night.side.stop()
    night.slack.install()
    night.side = night.new_side()
    night.start()
    night.reply_with("R1 ended", board)
    assert night.board_shows("Completed").ts == board.ts


def test_messages_that_became_obsolete_during_an_outage_are_not_sent(night):
    night.ask_for()
    night.settled()
    night.side.outbox.loop.stop()
    odd = Outbound("remind:A9:1", "message", night.ops, "x", (), "f", run=1, parent="board:R1")
    with night.store.transaction() as db:
        night.side.tables.put(db, odd)

    night.side.publisher.look_at(1)

    waiting = night.side.tables.outbound
    night.slack.wait_for(lambda: "remind:A9:1" not in [out.key for out in waiting()])


def test_an_answer_reaches_a_person_who_has_left_the_channel(night):
    night.slack.order("chat.postEphemeral", "user_not_in_channel")
    night.side.outbox.urls.keep = lambda *_: None

    night.say("status")

    told = night.slack.wait_for(lambda: tops(night, night.slack.direct(night.dana)))
    assert "No run is in progress" in told[0].text
