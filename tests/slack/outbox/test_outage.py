"""Messages without a run, and messages while Slack is down or answers incorrectly."""

from __future__ import annotations

import time

from bot.slack.outbox.outage import WORTH_TELLING
from bot.slack.outbox.rows import Outbound


def put(night, *outs):
    with night.store.transaction() as db:
        for out in outs:
            night.side.tables.put(db, out)


def waiting(night):
    return [out.key for out in night.side.tables.outbound()]


def test_an_outage_summary_for_a_deleted_channel_is_not_sent_forever(night):
    night.side.outbox.loop.stop()
    night.slack.archive(night.ops)
    put(night, Outbound(f"away:1:{night.ops}", "message", night.ops, "x", fingerprint="f"))

    night.side.outbox.send_due()

    assert waiting(night) == []


def test_a_refused_lookup_does_not_end_an_outage(night, caplog):
    """A post whose answer was lost is looked up with an invalid token."""
    night.side.outbox.loop.stop()
    board = Outbound("board:R1", "message", night.ops, "x", fingerprint="f", run=1)
    put(night, board)
    night.side.tables.trying(board, time.time())
    outbox = night.side.outbox
    outbox._away = True
    outbox.outages.begin(time.time() - WORTH_TELLING, "token_revoked")
    night.slack.revoke()

    outbox.send_due()

    assert "Slack answers again" not in caplog.text
    assert outbox.outages.latest() is None or outbox.outages.latest().until is None
    assert night.slack.calls("conversations.history")


def test_an_unreadable_run_does_not_block_other_runs_after_an_outage(make_night):
    night = make_night()
    night.trips = True
    night.start()
    night.ask_for("vm web01 to hv02 now")
    night.settled()
    with night.store.transaction() as db:
        db.execute("UPDATE runs SET state = 'completed', options = '[]' WHERE id = 1")
    night.say("vm web02 to hv03 now")
    night.board_shows("Moving", "R2")

    with night.store.transaction() as db:
        db.execute(
            "INSERT INTO slack_outage (id, since, until, seq, error)"
            " VALUES (1, 1.0, 5000.0, 0, 'x')"
        )

    assert night.side.bugs > 0
    told = night.slack.wait_for(
        lambda: [m for m in night.slack.messages(night.ops) if "did not accept" in m.shown]
    )
    assert "R2" in told[0].shown


def test_a_malformed_lookup_answer_does_not_block_the_outbox(night):
    night.side.outbox.loop.stop()
    night.slack.workspace.methods["conversations.info"] = lambda _: {"ok": True, "channel": ["?"]}
    night.side.publisher.roster.lookups.want(["C0ODD"])
    put(night, Outbound("away:1:C", "message", night.ops, "x", fingerprint="f"))

    night.side.outbox.send_due()

    assert [m.text for m in night.slack.messages(night.ops)] == ["x"]


def test_a_message_withdrawn_just_before_posting_is_not_posted(night):
    night.side.outbox.loop.stop()
    gone = Outbound("remind:A9:1", "message", night.ops, "x", fingerprint="f")

    assert night.side.outbox._post(gone) is None

    assert night.slack.messages(night.ops) == ()
