"""HTTP mode: no request is trusted before its signature shows that it comes from Slack."""

from __future__ import annotations

import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from slack_sdk.signature import SignatureVerifier

from bot.slack.setup.manifest import PATH
from bot.standin.payloads import app_mention, event_callback
from tests.hangs import HANGS

SECRET = "a-signing-secret"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
STAMP, SIGNATURE = "X-Slack-Request-Timestamp", "X-Slack-Signature"


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def night(make_night, port):
    """A night that Slack reaches over HTTP."""
    made = make_night(mode="http", app_token="", signing_secret=SECRET, port=port)
    made.start()
    return made


def signed(body: bytes, age: float = 0.0, secret: str = SECRET) -> dict[str, str]:
    """The headers of a request that Slack signed ``age`` seconds ago."""
    stamp = str(int(time.time() - age))
    made = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    return {STAMP: stamp, SIGNATURE: made or ""}


def send(port: int, body: bytes, headers: dict[str, str], kind: str = FORM) -> tuple[int, str]:
    """The status and the text of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS)
    try:
        connection.request("POST", PATH, body, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def a_command(night, text="status R77") -> bytes:
    return urlencode(night.slack.command_payload(night.dana, night.ops, text)).encode()


def written(night) -> int:
    return len(night.store.query("SELECT id FROM slack_inbox"))


@pytest.mark.parametrize(
    ("age", "status"), [(-330, 401), (-270, 200), (0, 200), (270, 200), (330, 401)]
)
def test_requests_signed_more_than_five_minutes_ago_or_ahead_are_refused(night, port, age, status):
    body = a_command(night)

    assert send(port, body, signed(body, age))[0] == status

    assert written(night) == (status == 200)


def without(name: str):
    return lambda headers: {k: v for k, v in headers.items() if k != name}


def with_(name: str, value: str):
    return lambda headers: {**headers, name: value}


@pytest.mark.parametrize(
    "change",
    [
        without(STAMP),
        without(SIGNATURE),
        with_(STAMP, ""),
        with_(STAMP, "soon"),
        with_(STAMP, "-1"),
        with_(STAMP, "9" * 5_000),
        lambda headers: {**headers, STAMP: str(int(headers[STAMP]) + 1)},
        with_(SIGNATURE, "v0=" + "0" * 64),
        with_(SIGNATURE, "v0=caf\xe9"),
        with_(SIGNATURE, ""),
    ],
)
def test_a_missing_or_wrong_header_is_refused_without_a_traceback(night, port, change, caplog):
    body = a_command(night)

    assert send(port, body, change(signed(body)))[0] == 401

    assert written(night) == 0
    assert "Traceback" not in caplog.text


def test_the_signature_covers_the_exact_bytes_received(night, port):
    body = a_command(night, "status R77")
    headers = signed(body)

    assert send(port, body.replace(b"R77", b"R78"), headers)[0] == 401
    assert send(port, body + b"&x=1", headers)[0] == 401
    odd = "text=caf%C3%A9+ü&command=%2Fmigrate&user_id=U1&channel_id=C1".encode()
    assert send(port, odd, signed(odd))[0] == 200
    assert send(port, odd, signed(odd, secret="another"))[0] == 401


def test_an_oversized_body_is_not_read(night, port):
    body = b"text=" + b"x" * 3_000_000

    assert send(port, body, signed(body))[0] == 413

    assert written(night) == 0


def test_the_url_verification_challenge_is_answered(night, port):
    body = json.dumps({"type": "url_verification", "challenge": "abc", "token": "x"}).encode()

    status, text = send(port, body, signed(body), JSON)

    assert (status, "abc" in text) == (200, True)
    assert send(port, body, {}, JSON)[0] == 401


def test_a_resent_event_is_carried_out_once_even_if_the_first_delivery_was_missed(night, port):
    """A retry may be the only delivery."""
    said = night.slack.say(night.dana, night.ops, "<@U0VMFERRY> status R77")
    event = app_mention("T0", said)
    body = json.dumps(event_callback("T0", "U0VMFERRY", event, "Ev1", said.versions[0].at)).encode()
    for number in ("2", "3"):
        again = {"X-Slack-Retry-Num": number, "X-Slack-Retry-Reason": "http_timeout"}
        assert send(port, body, {**signed(body), **again}, JSON)[0] == 200

    night.told(night.dana, "R77")
    night.settled()
    assert written(night) == 1


def test_requests_in_progress_at_shutdown_are_answered(night, port):
    held = night.store.database()
    held.execute("BEGIN IMMEDIATE")  # the listener's insert has to wait
    body = a_command(night, "host hv01 to hv02 now")
    with ThreadPoolExecutor(2) as people:
        said = people.submit(send, port, body, signed(body))
        night.slack.wait_for(lambda: night.side.connection.in_hand == 1)
        stopped = people.submit(night.side.connection.stop)
        time.sleep(0.3)  # the stop has begun, and waits
        held.raw.conn.rollback()

        assert said.result(timeout=HANGS) == (200, "")
        stopped.result(timeout=HANGS)

    assert written(night) == 1
