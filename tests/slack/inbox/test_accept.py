"""Accepting a command: parse, one durable row, one ack. Nothing is lost and nothing raises."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from slack_bolt import BoltRequest

from bot.slack.inbox.rows import COMMAND, Inbound
from bot.standin.slack import NotAcked
from engine.errors import Refused
from engine.language import grammar
from engine.store import events, queries
from tests.hangs import HANGS
from tests.patient import not_acked


def rows(night, table):
    return night.store.query(f"SELECT * FROM {table}")


def test_a_usage_error_is_answered_in_the_ack_and_not_stored(night):
    answer = night.say("hsot hv01 to hv02")

    assert 'I do not know the word "hsot". Nothing started. Did you mean host?' in answer
    assert "hsot hv01 to hv02\n^^^^" in answer
    assert rows(night, "slack_inbox") == []


def test_a_usage_error_shows_the_command_as_typed(make_night):
    night = make_night(command="/move")
    night.start()

    answer = night.slack.command(night.dana, night.ops, "host hv01", command="/move")

    assert "Type: /move host hv01 to HV02" in answer


def test_an_unknown_host_is_reported_only_to_the_requester_with_the_nearest_name(night):
    assert night.say("host hv0l to hv02") == ""

    told = night.told(night.dana, "No host hv0l")

    assert told.startswith("No host hv0l. Nearest: hv0")
    assert "Nothing started." in told
    assert night.slack.messages(night.ops) == ()
    assert night.slack.ephemerals(night.ravi) == ()


def test_the_same_envelope_twice_is_acked_twice_and_carried_out_once(night):
    payload = night.slack.command_payload(night.dana, night.ops, "host hv01 to hv02 now")

    night.slack.deliver("slash_commands", payload, envelope="same")
    night.slack.deliver("slash_commands", payload, envelope="same")

    night.board_shows("Moving")
    night.settled()
    assert len(night.slack.acks("same")) == 2
    assert len(rows(night, "slack_inbox")) == 1
    assert len(queries.runs(night.store)) == 1
    assert night.slack.ephemerals(night.dana) == ()


def test_a_repeated_request_is_answered_with_the_existing_run(night):
    night.ask_for("host hv01 to hv02 now")

    night.say("host HV01 to hv02 now", by=night.mei)

    assert f"R1 is already doing this (requested by <@{night.dana}>" in night.told(night.mei, "R1")
    assert len(queries.runs(night.store)) == 1


def test_the_answer_to_a_repeated_request_links_to_the_board(night):
    board = night.ask_for("host hv01 to hv02 now")
    night.settled()

    night.say("host HV01 to hv02 now", by=night.mei)

    link = night.side.outbox.api.client.chat_getPermalink(channel=night.ops, message_ts=board.ts)
    told = night.told(night.mei, "is already doing this")
    assert f"; see <{link['permalink']}|the status message of R1>. Nothing started." in told


def test_the_answer_names_the_channel_if_the_workspace_url_is_unknown(make_night, slack):
    night = make_night()
    slack.order("auth.test", "internal_error")
    night.start()
    slack.wait_for(lambda: slack.calls("auth.test"))
    night.ask_for("host hv01 to hv02 now")

    night.say("host HV01 to hv02 now", by=night.mei)

    assert f"see the status message of R1 in <#{night.ops}>." in night.told(night.mei, "already")


def test_no_token_response_url_or_used_trigger_stays_in_a_row(night, tmp_path: Path):
    night.say("host hv01 to hv02,hv03")
    night.told(night.dana, "would move")
    card = night.card(night.ask_for())
    night.say("status")
    night.told(night.dana, "R1")
    night.slack.click(night.ravi, card.ts, "deny")
    night.slack.form(night.ravi)
    night.settled()

    dump = "\n".join(night.store.database().raw.conn.iterdump())

    assert "slack_inbox" in dump
    for secret in ("xoxb", "xapp", "/response/", "verification-token", ".stand-in"):
        assert secret not in dump


def test_no_token_trigger_or_response_url_is_logged_even_after_errors(night, caplog):
    caplog.set_level(logging.INFO)
    board = night.ask_for()
    card = night.card(board)
    night.settled()
    asked = night.slack.command_payload(night.dana, night.ops, "status")
    address = str(asked["response_url"])
    for error in ("ratelimited", "internal_error"):
        night.slack.order("response_url", error)
    for method in ("chat.postMessage", "chat.update", "chat.postEphemeral", "views.open"):
        night.slack.order(method, "fatal_error")
        night.slack.order(method, "ratelimited")
    night.slack.lose_answer("users.info")
    night.slack.deliver("slash_commands", asked)
    night.slack.deliver("slash_commands", {**asked, "trigger_id": "1.2", "response_url": "x:/1/y"})
    used_up = {**asked, "trigger_id": "1.3", "response_url": f"{address}0"}
    night.slack.deliver("slash_commands", used_up)
    night.slack.click(night.ravi, card.ts, "deny")
    night.slack.click(night.ravi, card.ts, "deny")
    night.slack.hang_up()
    night.settled()

    for secret in ("xoxb", "xapp", "/response/", "x:/1/y", "verification-token", ".stand-in"):
        assert secret not in caplog.text
    assert len(caplog.records) > 5


GARBAGE_COMMANDS = [
    {},
    {"text": None},
    {"text": "host hv01 to hv02", "user_id": None, "channel_id": 7},
    {"text": "x" * 100_000},
    {"text": "\x00\ud800 host"},
    {"text": "status", "user_id": "U1", "channel_id": "C1", "trigger_id": {"a": 1}},
    {"text": ["host"], "response_url": 5},
]
GARBAGE_CLICKS = [
    {"actions": [{"action_id": "approve"}]},
    {"actions": [{"action_id": "approve", "value": "99.nothing"}], "user": {"id": "U1"}},
    {"actions": [{"action_id": "approve", "value": "9" * 5000 + ".x"}], "channel": None},
    {"actions": [{"action_id": "approve", "value": "²."}], "user": "nobody"},
    {"actions": [{"action_id": "deny", "value": {"id": 1}, "action_ts": 7}], "container": []},
    {"actions": [{"action_id": "pause", "value": "R1"}], "user": {"id": "\ud800"}},
]


@pytest.mark.parametrize("part", GARBAGE_COMMANDS)
def test_every_command_even_a_broken_one_gets_exactly_one_ack(night, part):
    answer = night.side.app.dispatch(
        BoltRequest(mode="socket_mode", body={"command": "/migrate", **part})
    )

    assert answer.status == 200
    night.settled()


@pytest.mark.parametrize("part", GARBAGE_CLICKS)
def test_every_click_even_a_broken_one_gets_exactly_one_ack(night, part):
    answer = night.side.app.dispatch(
        BoltRequest(mode="socket_mode", body={"type": "block_actions", **part})
    )

    assert answer.status == 200
    night.settled()


@pytest.mark.parametrize("actions", [[], [None], ["approve"]])
def test_an_unreadable_payload_is_not_acked_and_the_next_one_is(night, actions):
    with not_acked(night.slack), pytest.raises(NotAcked):
        night.slack.deliver("interactive", {"type": "block_actions", "actions": actions})

    assert night.say("status") == ""


def test_a_button_of_another_version_gets_an_answer(night):
    board = night.ask_for()

    night.slack.click(night.ravi, board.ts, "teleport", value="R1")

    assert "another version" in night.told(night.ravi, "button")
    last = events.since(night.store)[-1]
    assert (last.kind, last.by) == ("refused", f"slack:{night.ravi}")
    assert last.detail["text"] == "click on teleport"


def test_a_command_that_cannot_be_stored_is_refused_and_a_click_is_not_acked(night, caplog):
    board = night.ask_for()
    card = night.card(board)
    night.settled()
    db = night.store.database()
    db.execute("ALTER TABLE slack_inbox RENAME TO slack_inbox_away")

    answer = night.say("host hv01 to hv02")
    with not_acked(night.slack), pytest.raises(NotAcked):
        night.slack.click(night.ravi, card.ts, "approve")
    night.slack.wait_for(lambda: "a click could not be accepted" in caplog.text)

    assert "could not save this" in answer
    db.execute("ALTER TABLE slack_inbox_away RENAME TO slack_inbox")
    assert queries.open_approvals(night.store)


def test_an_internal_error_is_reported_and_the_next_row_is_carried_out(night):
    """The row is one that no listener of this version would write."""
    odd = Inbound(0, COMMAND, f"slack:{night.dana}", night.ops, {}, night.clock.now())
    night.side.tables.inbox.accept(odd, "odd")

    night.say("host hv01 to hv02 now")

    told = night.told(night.dana, "VMFerry has failed internally (inbox 1 in its log)")
    assert "Check with /migrate status before you repeat this." in told
    night.board_shows("Moving")


def test_a_row_that_cannot_be_answered_delays_nobody(night):
    """The answer's address holds a lone surrogate, which no database accepts."""
    odd = {"text": "status", "thread_ts": "\ud800"}
    night.side.tables.inbox.accept(
        Inbound(0, COMMAND, f"slack:{night.dana}", night.ops, odd, night.clock.now()), "odd"
    )

    night.say("host hv01 to hv02 now", by=night.mei)

    night.board_shows("Moving")
    night.settled()
    assert [row["done"] is not None for row in rows(night, "slack_inbox")] == [True, True]


def test_only_help_is_answered_outside_the_allowed_channels(make_night):
    night = make_night(channels=("C0OPS",))
    night.start()
    other = night.slack.channel("random")

    night.say("host hv01 to hv02", channel=other)
    night.say("help", channel=other)
    night.say("status", channel=other, by=night.mei)

    assert "I work only in <#C0OPS>. Nothing started." in night.told(night.dana, "work only")
    assert "/migrate host" in night.told(night.dana, "/migrate host")
    assert night.told(night.mei, "work only").endswith("Nothing changed."), "a look starts nothing"
    assert queries.runs(night.store) == ()


def test_only_starters_may_start_runs_but_everybody_may_view_them(make_night):
    night = make_night(starters=("U0RAVI",))
    night.start()

    night.say("host hv01 to hv02")
    night.say("status")

    assert "You are not allowed to start moves; these people may: <@U0RAVI>." in night.told(
        night.dana, "may"
    )
    assert night.told(night.dana, "No run is in progress")


def test_status_and_report_are_answered_from_rows(night):
    night.ask_for()

    night.say("status", by=night.mei)
    night.say("status r1", by=night.mei)
    night.say("report R7", by=night.mei)

    assert night.told(night.mei, "R1 · hv01 → hv02, hv03 · Moving · 0 of 3 moved")
    assert night.told(night.mei, "as of")
    assert night.told(night.mei, "There is no run R7.")


def test_the_report_of_an_unfinished_run_is_its_status(night):
    night.ask_for()

    night.say("report R1", by=night.mei)

    told = night.told(night.mei, "R1")
    assert "Moving" in told
    assert "as of" in told
    assert "ended" not in told


def test_an_interrupted_row_is_carried_out_once(make_night):
    """Killed between the engine's transaction and the one that marks the row done."""
    night = make_night()
    night.slack.user("dana")
    listener = night.side.app
    payload = night.slack.command_payload(night.dana, night.ops, "host hv01 to hv02 now")
    listener.dispatch(BoltRequest(mode="socket_mode", body=payload))
    row = night.side.tables.inbox.next_inbound()
    night.side.tables.inbox.begin(row.id, night.clock.now())

    service = night.service.because(row.cause)
    service.submit(grammar.parse(row.body["text"]), by=row.by, scheduled=True)

    night.start()

    night.board_shows("Moving")
    night.settled()
    assert len(queries.runs(night.store)) == 1
    assert night.slack.ephemerals(night.dana) == ()
    assert json.loads(rows(night, "slack_inbox")[0]["body"]) == {"text": "host hv01 to hv02 now"}


def test_a_command_after_slack_closed_the_socket_is_received(night):
    night.slack.hang_up()

    night.slack.wait_for(lambda: night.slack.sockets)

    assert night.say("host hv01 to hv02 now") == ""
    night.board_shows("Moving")


def test_commands_in_progress_at_shutdown_are_acked_before_the_socket_closes(night):
    held = night.store.database()
    held.execute("BEGIN IMMEDIATE")  # the listener's insert has to wait
    with ThreadPoolExecutor(2) as people:
        said = people.submit(night.say, "host hv01 to hv02 now")
        night.slack.wait_for(lambda: night.side.connection.in_hand == 1)
        stopped = people.submit(night.side.connection.stop)
        held.raw.conn.rollback()

        assert said.result(timeout=HANGS) == ""
        stopped.result(timeout=HANGS)

    assert len(rows(night, "slack_inbox")) == 1


def test_an_invalid_app_token_is_refused_at_the_start_with_its_setting(make_night):
    with pytest.raises(Refused, match=r"slack\.app_token is no token that begins with xapp-"):
        make_night(app_token="xoxb-wrong")
