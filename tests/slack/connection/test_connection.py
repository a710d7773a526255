"""The sockets to Slack: two of them, replaced when they are lost, without a reconnect storm."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import pytest

from bot.slack.connection.socket_mode import LOOK, PING, BackOff
from bot.slack.connection.websocket import SILENT
from bot.slack.outbox.rate_limits import Rhythm
from bot.standin.slack import NotAcked
from bot.standin.workspace import OPEN
from tests.hangs import HANGS
from tests.patient import not_acked

NOTICED = 5.0


@pytest.fixture
def linked(night):
    """A night whose two sockets are connected."""
    night.slack.wait_for(lambda: night.side.connection.num_connections == 2)
    return night


def opened(night):
    return len(night.slack.calls("apps.connections.open"))


def test_two_sockets_are_opened_and_both_receive_commands(linked):
    linked.slack.wait_for(lambda: linked.side.connection.num_connections == 2)

    for _ in range(4):
        assert linked.say("hsot hv01").startswith("I do not know")


def test_a_socket_is_dropped_five_seconds_after_its_last_sign_of_life():
    # The duration in real time is measured by make bench.
    assert PING < SILENT
    assert SILENT + LOOK < NOTICED


def test_silent_sockets_are_detected_and_replaced(linked):
    linked.slack.fall_silent()
    with not_acked(linked.slack), pytest.raises(NotAcked):
        linked.slack.deliver("slash_commands", linked.slack.command_payload("U", "C", "list"))

    linked.slack.wait_for(lambda: opened(linked) == 4)

    linked.slack.wait_for(lambda: linked.slack.sockets == 2)
    assert linked.say("hsot hv01").startswith("I do not know")
    assert linked.say("hsot hv01").startswith("I do not know")


def test_a_socket_that_slack_closes_is_replaced(linked):
    linked.slack.hang_up()

    linked.slack.wait_for(lambda: linked.slack.sockets == 2)
    assert opened(linked) == 4


def test_sockets_are_still_monitored_while_a_listener_waits_for_the_database(linked):
    held = linked.store.database()
    held.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as people:
        said = people.submit(linked.say, "host hv01 to hv02 now")
        linked.slack.wait_for(lambda: linked.side.connection.in_hand == 1)

        pinged = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), linked.side.connection._loop)

        try:
            pinged.result(timeout=HANGS)
        finally:
            held.raw.conn.rollback()
        assert said.result(timeout=HANGS) == ""


def replaced_after(night, caplog, reason):
    """The numbers of connections in the hellos of the two new sockets."""
    caplog.set_level(logging.INFO)
    night.slack.say_disconnect(reason)
    night.slack.wait_for(lambda: caplog.text.count("Slack said hello") == 2)
    night.slack.wait_for(lambda: night.slack.sockets == 2)
    return [int(count) for count in re.findall(r"said hello: connection (\d)", caplog.text)]


def test_a_socket_that_slack_recalls_stays_open_until_its_replacement_is_ready(linked, caplog):
    assert replaced_after(linked, caplog, "refresh_requested")[0] == 3

    assert linked.say("hsot hv01").startswith("I do not know")
    assert opened(linked) == 4


def test_the_oldest_of_too_many_sockets_is_closed_first(linked, caplog):
    assert max(replaced_after(linked, caplog, "too_many_websockets")) <= 2


def open_sockets():
    """The number of open sockets of this process, which holds both ends."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is gone again
            count += stat.S_ISSOCK(os.fstat(int(number)).st_mode)
    return count


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
def test_lost_sockets_are_closed(make_night):
    night = make_night()
    with_none = open_sockets()
    night.start()
    for lose in (night.slack.hang_up, night.slack.drop, night.slack.fall_silent):
        night.slack.wait_for(lambda: night.slack.sockets == 2)
        so_far = opened(night)
        lose()
        night.slack.wait_for(lambda before=so_far: opened(night) == before + 2)

    night.side.stop()

    night.slack.wait_for(lambda: open_sockets() == with_none)


def test_another_connection_with_the_same_app_token_causes_a_warning(make_night, caplog):
    night = make_night()
    night.slack.others = 1
    night.start()

    night.slack.wait_for(lambda: "Another VMFerry may be using the token" in caplog.text)

    assert (
        "Slack counts 2 connections with this app token, but only 1 belong to this process"
        in caplog.text
    )


def test_a_lost_socket_causes_no_warning_about_another_connection(linked, caplog):
    caplog.set_level(logging.INFO)
    linked.slack.hang_up()
    linked.slack.wait_for(lambda: linked.slack.sockets == 2)

    linked.slack.wait_for(lambda: caplog.text.count("Slack said hello") >= 2)

    assert "Another VMFerry may be using the token" not in caplog.text


def test_a_refused_socket_is_requested_again(make_night):
    night = make_night()
    night.slack.order("apps.connections.open", "internal_error", times=1)

    night.start()

    night.slack.wait_for(lambda: night.slack.sockets == 2)
    assert opened(night) == 3


class NoObject(list):
    """A list over the wire: no answer of Slack, but perhaps of a proxy."""

    def get(self, _):
        return None

    def __getitem__(self, _):
        return False


def test_a_malformed_answer_is_requested_again(make_night):
    night = make_night()
    right = night.slack.workspace.methods[OPEN]
    odd = iter([NoObject([("ok", "?")])] * 2)
    night.slack.workspace.methods[OPEN] = lambda args: next(odd, None) or right(args)

    night.start()

    night.slack.wait_for(lambda: night.slack.sockets == 2)
    assert opened(night) == 4


def test_the_ticket_of_a_rejected_socket_is_not_logged(make_night, caplog):
    caplog.set_level(logging.INFO)
    night = make_night()
    right, used_up = night.slack.workspace.methods[OPEN], []

    def first_used_up(args):
        answer = right(args)
        if not used_up:
            used_up.append(answer["url"].partition("ticket=")[2])
            night.slack._tickets.discard(used_up[0])
        return answer

    night.slack.workspace.methods[OPEN] = first_used_up
    night.start()

    night.slack.wait_for(lambda: night.slack.sockets == 2)
    assert "Slack cannot be reached (" in caplog.text
    assert used_up[0] not in caplog.text


# --- back_off --------------------------------------------------------------------------------


def losing(back_off, now, times, *, greeted):
    """The times of the attempts to connect, if every socket is lost as soon as it is connected."""
    moments = []
    for _ in range(times):
        now += back_off.pause(now)
        moments.append(now)
        back_off.tries(now)
        back_off.opened(greeted=greeted)
    return moments


def test_sockets_are_opened_once_a_minute_after_three_without_a_hello():
    moments = losing(BackOff(), 0.0, 6, greeted=False)

    assert moments[2] < 5.0
    assert [b - a for a, b in pairwise(moments[2:])] == [60.0, 60.0, 60.0]


def test_short_lived_sockets_are_reopened_ever_more_slowly():
    moments = losing(BackOff(), 0.0, 10, greeted=True)
    apart = [b - a for a, b in pairwise(moments)]

    assert apart == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_a_socket_that_lasted_is_replaced_at_once():
    back_off = BackOff()
    last = losing(back_off, 0.0, 8, greeted=True)[-1]

    back_off.lasted()

    assert back_off.pause(last) == 0.0


def test_a_socket_that_lasted_does_not_reset_the_ungreeted_back_off():
    back_off = BackOff()
    last = losing(back_off, 0.0, 4, greeted=False)[-1]

    back_off.lasted()

    assert back_off.pause(last) == 60.0
    assert back_off.pause(last + 601.0) == 0.0


def test_the_back_off_waits_until_the_time_that_slack_gives():
    back_off = BackOff()
    back_off.tries(0.0)

    back_off.wait_until(45.0)

    assert back_off.pause(1.0) == 44.0


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last_words", "told"), [(0.0, False), (5.0, True)])
def test_queued_messages_are_sent_before_exit_within_the_time_limit(make_night, last_words, told):
    night = make_night()
    night.side = night.new_side(Rhythm(patience=HANGS, post=0.0, board=0.0, look=0.02, again=0.5))
    night.slack.order("chat.postEphemeral", "internal_error")
    night.start()
    payload = night.slack.command_payload(night.dana, night.ops, "status R77")
    del payload["response_url"]
    night.slack.deliver("slash_commands", payload)
    night.slack.wait_for(lambda: night.slack.calls("chat.postEphemeral"))

    night.side.stop(last_words)

    assert bool(night.slack.ephemerals(night.dana)) is told
    assert bool(night.side.tables.outbound()) is not told, "what was not said waits in its row"


@pytest.mark.parametrize("close", [False, True])
def test_sockets_recover_after_an_outage_whether_slack_closed_them_or_not(night, close):
    night.slack.wait_for(lambda: night.slack.sockets == 2)

    night.slack.down(close=close)

    if close:
        with pytest.raises(NotAcked):
            night.say("hsot hv01")
    else:
        assert night.say("hsot hv01").startswith("I do not know")
    night.slack.up()
    night.slack.wait_for(lambda: night.slack.sockets == 2)
    assert night.say("hsot hv01").startswith("I do not know")
