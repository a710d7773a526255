"""Socket Mode, events and signed requests of the stand-in, received by a minimal app."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from urllib.parse import parse_qs, urlsplit

import pytest
from slack_sdk.signature import SignatureVerifier

from bot.slack.web_api.client import web_client
from bot.standin.slack import NotAcked
from engine.clock import VirtualClock
from tests.hangs import HANGS
from tests.patient import patient_slack
from tests.troubled_slack import TroubledSlack

TEXT, CLOSE = 0x1, 0x8


class App:
    """One socket read by hand: its frames, and how it ended."""

    def __init__(self, slack: TroubledSlack, *, acks: bool = True) -> None:
        client = web_client(None, slack.base_url)
        self.url = client.apps_connections_open(app_token=slack.app_token)["url"]
        self.acks, self.frames, self.ended = acks, [], ""
        self.stream, self.status = connect(self.url)
        self.file = self.stream.makefile("rb")
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self) -> None:
        try:
            while True:
                kind, text = self._frame()
                if kind == CLOSE:
                    self.ended = "close frame"
                    return
                self.frames.append(json.loads(text))
                if self.acks and "envelope_id" in self.frames[-1]:
                    self.send({"envelope_id": self.frames[-1]["envelope_id"]})
        except EOFError:
            self.ended = "fin"
        except ConnectionResetError:
            self.ended = "reset"
        finally:
            self.stream.close()
            self.file.close()

    def _frame(self) -> tuple[int, bytes]:
        head = self.file.read(2)
        if len(head) < 2:
            raise EOFError
        size = head[1]
        if size == 126:
            (size,) = struct.unpack("!H", self.file.read(2))
        return head[0] & 0xF, self.file.read(size)

    def send(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.stream.sendall(bytes([0x80 | TEXT, 0x80 | len(body), 0, 0, 0, 0]) + body)

    def hang_up(self) -> None:
        """Close the socket from this side, unless it has ended."""
        with suppress(OSError):
            self.stream.shutdown(socket.SHUT_RDWR)
        self.reading.join(HANGS)

    def end(self) -> str:
        self.reading.join(HANGS)
        return self.ended

    def envelopes(self, key: str = "envelope_id") -> list[object]:
        return [frame[key] for frame in self.frames if "envelope_id" in frame]


def connect(url: str) -> tuple[socket.socket, bytes]:
    """A WebSocket's stream after its handshake, and the status line of the answer."""
    where = urlsplit(url)
    stream = socket.create_connection((where.hostname, where.port), timeout=HANGS)
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall(
        f"GET {where.path}?{where.query} HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        "".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += stream.recv(1)
    return stream, answer.split(b"\r\n")[0]


@pytest.fixture
def clock():
    return VirtualClock(1_700_000_000.0)


@pytest.fixture
def slack(clock):
    with patient_slack(clock) as standin:
        standin.channel("ops")
        standin.user("ann")
        yield standin


@pytest.fixture
def app(slack):
    """Open sockets and wait for their hello."""

    made = []

    def opened(**how):
        made.append(App(slack, **how))
        slack.wait_for(lambda: made[-1].frames)
        return made[-1]

    yield opened
    for one in made:
        one.hang_up()


OPS, ANN = "C0OPS", "U0ANN"
SOON = 0.1


# --- sockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaks", "ended"),
    [
        (lambda slack: slack.hang_up(), "close frame"),
        (lambda slack: slack.drop(), "reset"),
        (lambda slack: slack.drop(reset=False), "fin"),
    ],
)
def test_a_socket_can_break_in_every_way_that_slack_breaks_it(slack, app, breaks, ended):
    connected = app()

    breaks(slack)

    assert connected.end() == ended
    assert slack.sockets == 0
    with pytest.raises(NotAcked):
        slack.command(ANN, OPS, "status")


def test_a_half_open_socket_receives_nothing_and_does_not_close(slack, app):
    connected = app()
    slack.fall_silent()
    slack.ack_within = SOON

    with pytest.raises(NotAcked):
        slack.command(ANN, OPS, "status")

    assert connected.envelopes() == []
    assert connected.ended == ""
    assert slack.sockets == 1


@pytest.mark.parametrize(
    "reason", ["warning", "refresh_requested", "link_disabled", "too_many_websockets"]
)
def test_a_disconnect_request_leaves_the_socket_open(slack, app, reason):
    connected = app()

    slack.say_disconnect(reason)

    slack.wait_for(lambda: [f for f in connected.frames if f.get("type") == "disconnect"])
    assert connected.frames[-1]["reason"] == reason
    assert slack.command(ANN, OPS, "status") == ""


def test_a_socket_url_accepts_one_connection(slack, app):
    connected = app()

    stream, status = connect(connected.url)

    stream.close()
    assert b"404" in status
    assert slack.sockets == 1


def test_stale_sockets_are_counted_and_messages_to_them_are_lost(slack, app):
    slack.others, slack.ack_within = 1, 1.0
    connected = app()

    outcomes = []
    for _ in range(4):
        try:
            slack.command(ANN, OPS, "status")
            outcomes.append("acked")
        except NotAcked:
            outcomes.append("lost")

    assert connected.frames[0]["num_connections"] == 2
    assert outcomes == ["acked", "lost"] * 2
    assert len(connected.envelopes()) == 2


def test_the_eleventh_socket_is_refused(slack, app):
    slack.others = 9
    app()

    eleventh = app()

    assert eleventh.frames[0]["type"] == "disconnect"
    assert eleventh.frames[0]["reason"] == "too_many_websockets"
    assert eleventh.end() == "close frame"
    assert slack.sockets == 1


def test_every_socket_receives_messages_in_turn(slack, app):
    one, two = app(), app()

    for _ in range(4):
        slack.command(ANN, OPS, "status")

    assert [len(one.envelopes()), len(two.envelopes())] == [2, 2]


# --- events -----------------------------------------------------------------------------------


def test_a_mention_appears_in_its_thread_and_reaches_the_app_once(slack, app, clock):
    connected = app()
    top = slack.say(ANN, OPS, "top")

    said = slack.mention(ANN, OPS, "status R1", top.ts)

    clock.jump(clock.now() + 600)
    slack.mention(ANN, OPS, "status R2")
    slack.wait_for(lambda: len(connected.envelopes()) == 2)
    first, second = connected.envelopes("payload")
    event = first["event"]
    assert (event["type"], event["channel"], event["user"]) == ("app_mention", OPS, ANN)
    assert (event["ts"], event["thread_ts"]) == (said.ts, top.ts)
    assert event["text"] == "<@U0VMFERRY> status R1"
    assert "thread_ts" not in second["event"]
    assert [m.text for m in slack.thread(OPS, top.ts)] == [event["text"]]


def test_the_bot_receives_no_mentions_from_channels_it_has_not_joined(slack, app):
    connected, den = app(), slack.channel("den", bot=False)

    slack.mention(ANN, den, "status")

    slack.mention(ANN, OPS, "status")
    assert [payload["event"]["channel"] for payload in connected.envelopes("payload")] == [OPS]


def test_an_unacked_event_is_retried_at_once_and_after_one_and_five_minutes(slack, app, clock):
    deaf, slack.ack_within = app(acks=False), SOON

    sent = slack.event({"type": "channel_archive", "channel": OPS})
    slack.wait_for(lambda: len(deaf.envelopes()) == 2)
    clock.jump(clock.now() + 60)
    slack.wait_for(lambda: len(deaf.envelopes()) == 3)
    clock.jump(clock.now() + 240)
    slack.wait_for(lambda: sent.over)

    assert deaf.envelopes("retry_attempt") == [0, 1, 2, 3]
    assert deaf.envelopes("retry_reason") == ["", "timeout", "timeout", "timeout"]
    assert len(set(deaf.envelopes())) == 4
    assert {payload["event_id"] for payload in deaf.envelopes("payload")} == {sent.event_id}
    assert not slack.heard(sent)


def test_an_event_without_a_connected_app_is_delivered_after_the_next_connect(slack, app, clock):
    patience, slack.ack_within = slack.ack_within, SOON
    sent = slack.event({"type": "app_uninstalled"})
    slack.wait_for(lambda: len(sent.envelopes) == 2)

    slack.ack_within = patience
    connected = app()
    clock.jump(clock.now() + 60)

    slack.wait_for(lambda: slack.heard(sent))
    assert connected.envelopes("retry_attempt") == [2]
    clock.jump(clock.now() + 3600)
    slack.wait_for(lambda: sent.over)
    assert len(connected.envelopes()) == 1


def test_the_same_envelope_and_the_same_event_can_be_delivered_twice(slack, app):
    connected = app()

    for _ in range(2):
        slack.event({"type": "app_mention"}, event_id="Ev1", envelope="again")

    assert connected.envelopes() == ["again", "again"]
    assert [payload["event_id"] for payload in connected.envelopes("payload")] == ["Ev1", "Ev1"]
    assert len(slack.acks("again")) == 2


def test_clicks_commands_and_shortcuts_are_never_retried(slack, app, clock):
    deaf, slack.ack_within = app(acks=False), SOON
    top = slack.say(ANN, OPS, "top")

    for deed in (
        lambda: slack.command(ANN, OPS, "status"),
        lambda: slack.click(ANN, top.ts, "go", "1"),
        lambda: slack.shortcut(ANN, top.ts, "status"),
    ):
        with pytest.raises(NotAcked):
            deed()
    clock.jump(clock.now() + 600)
    sent = slack.event({"type": "app_mention"})

    slack.wait_for(lambda: len(sent.envelopes) == 2)
    slack.wait_for(lambda: len(deaf.envelopes()) == 5)
    kinds = [frame["type"] for frame in deaf.frames[1:]]
    assert kinds == ["slash_commands", "interactive", "interactive", "events_api", "events_api"]


def test_a_shortcut_payload_holds_its_message(slack, app):
    connected = app()
    top = slack.say(ANN, OPS, "top")

    slack.shortcut(ANN, top.ts, "vm_status")

    (payload,) = connected.envelopes("payload")
    assert (payload["type"], payload["callback_id"]) == ("message_action", "vm_status")
    assert (payload["channel"]["id"], payload["user"]["id"]) == (OPS, ANN)
    assert (payload["message_ts"], payload["message"]["text"]) == (top.ts, "top")
    assert payload["trigger_id"] in slack.workspace.triggers
    assert payload["response_url"]


@pytest.mark.parametrize(
    ("private", "name"), [(False, "ops-night"), (True, "privategroup")], ids=["public", "private"]
)
def test_a_command_payload_names_only_public_channels(slack, private, name):
    made = slack.channel("ops-night", private=private)

    assert slack.command_payload(ANN, made, "status")["channel_name"] == name
    direct = slack.command_payload(ANN, slack.direct(ANN), "status")
    assert direct["channel_name"] == "directmessage"


# --- HTTP mode --------------------------------------------------------------------------------

SECRET = "shhh"


class Receiver(BaseHTTPRequestHandler):
    """Checks the signature as an app does, and gives the answers of the test."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        good = SignatureVerifier(SECRET).is_valid_request(body, dict(self.headers))
        self.server.heard.append((good, self.headers, body))
        status, text = self.server.answers[next(self.server.turns) % len(self.server.answers)]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def receiving(slack, *answers):
    """An app in HTTP mode that gives these answers in turn."""
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    server.heard, server.answers, server.turns = [], answers, count()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    slack.http = (f"http://127.0.0.1:{server.server_port}/slack/events", SECRET)
    try:
        yield server
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_http_requests_are_signed_and_the_answer_is_the_ack(slack):
    top = slack.say(ANN, OPS, "top")

    with receiving(slack, (200, "not so"), (200, ""), (200, "")) as server:
        assert slack.command(ANN, OPS, "status") == "not so"
        assert slack.click(ANN, top.ts, "go", "1").text == ""
        slack.mention(ANN, OPS, "status")

    assert all(good for good, _, _ in server.heard)
    command, click, mention = (body for _, _, body in server.heard)
    assert parse_qs(command)["text"] == ["status"]
    assert json.loads(parse_qs(click)["payload"][0])["type"] == "block_actions"
    assert json.loads(mention)["event"]["type"] == "app_mention"


def test_unacked_events_are_retried_over_http(slack, clock):
    with receiving(slack, (503, ""), (503, ""), (200, "")) as server:
        sent = slack.event({"type": "app_mention"})
        slack.wait_for(lambda: len(server.heard) == 2)
        clock.jump(clock.now() + 60)
        slack.wait_for(lambda: slack.heard(sent))

    numbers = [headers["X-Slack-Retry-Num"] for _, headers, _ in server.heard]
    assert numbers == [None, "1", "2"]


def test_a_click_that_fails_over_http_is_not_acked(slack):
    top = slack.say(ANN, OPS, "top")

    with receiving(slack, (503, "")) as server, pytest.raises(NotAcked):
        slack.click(ANN, top.ts, "go", "1")

    assert len(server.heard) == 1
