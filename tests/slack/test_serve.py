"""The real process of ``vmferry serve`` against the stand-in: start, kill and end."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from slack_sdk.signature import SignatureVerifier

from bot.standin.slack import NotAcked
from engine.store import queries
from engine.store.store import Store
from tests.hangs import HANGS
from tests.served import OnSlack, Served
from tests.troubled_slack import TroubledSlack

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [{ name = "web01", host = "hv01", minutes = 5.0 }]
"""
SECRET = "a-signing-secret"


def by_http(port: int) -> dict[str, str]:
    """The settings of HTTP mode."""
    said = {"MODE": "http", "APP_TOKEN": "", "SIGNING_SECRET": SECRET, "PORT": str(port)}
    return {f"SLACK__{name}": value for name, value in said.items()}


@pytest.fixture
def serve(tmp_path: Path, slack: TroubledSlack) -> Iterator[Callable[..., Served]]:
    """Start the bot on a simulated fleet. Kill what is left at the end."""
    (tmp_path / "fleet.toml").write_text(FLEET)
    started: list[Served] = []

    def start(*words: str, **settings: str) -> Served:
        simulated = words or ("--fleet", str(tmp_path / "fleet.toml"))
        started.append(Served(tmp_path, slack, *simulated, **settings))
        return started[-1]

    yield start
    for one in started:
        one.popen.kill()
        one.ends()


@pytest.fixture
def dana(slack: TroubledSlack) -> str:
    slack.channel("ops")
    return slack.user("dana")


def test_a_command_moves_vms_and_sigterm_shuts_down_cleanly(serve, slack, dana, tmp_path):
    bot = serve("--fleet", str(tmp_path / "fleet.toml"), "--speed", "100")
    bot.says("Stand-in as @vmferry: listening for /migrate.")

    assert slack.command(dana, "C0OPS", "host hv01 to hv02 now") == ""
    slack.wait_for(lambda: any("1 of 1 moved" in m.text for m in slack.messages("C0OPS")))

    assert bot.end(signal.SIGTERM) == 0, bot.text
    assert slack.sockets == 0
    assert "Traceback" not in bot.text
    assert slack.bot_token not in bot.text
    assert slack.app_token not in bot.text


def test_ctrl_c_exits_with_130(serve, slack):
    bot = serve()
    bot.says("listening for")

    assert bot.end(signal.SIGINT) == 130
    assert "Traceback" not in bot.text


def test_commands_acked_before_sigterm_are_answered_before_exit(serve, slack, dana):
    bot = serve()
    bot.says("listening for")
    for number in range(1000, 1030):
        assert slack.command(dana, "C0OPS", f"status R{number}") == ""

    assert bot.end(signal.SIGTERM) == 0

    told = "\n".join(e.text for e in slack.ephemerals(dana))
    assert [number for number in range(1000, 1030) if f"R{number}" not in told] == []


def test_a_rate_limited_answer_is_still_sent_before_exit(serve, slack, dana):
    bot = serve()
    bot.says("listening for")
    slack.order("chat.postEphemeral", "ratelimited", retry_after=1)
    asked = slack.command_payload(dana, "C0OPS", "status R77")
    slack.deliver("slash_commands", {**asked, "response_url": ""})
    slack.wait_for(lambda: slack.calls("chat.postEphemeral"))

    assert bot.end(signal.SIGTERM) == 0

    assert ["R77" in e.text for e in slack.ephemerals(dana)] == [True]


def test_sigterm_shuts_down_during_a_slack_outage(serve, slack, dana):
    bot = serve()
    bot.says("listening for")
    slack.down(close=True)
    bot.says("Slack cannot be reached")

    assert bot.end(signal.SIGTERM) == 0
    assert "Traceback" not in bot.text


def test_sigterm_shuts_down_while_vmm_hangs_and_the_run_continues_after_a_restart(
    serve, slack, dana, tmp_path
):
    hang, hangs = tmp_path / "hang", tmp_path / "hangs"
    fleet = ("--fleet", str(tmp_path / "fleet.toml"))
    words = (str(tmp_path), "--db", str(tmp_path / "night.db"), "serve", *fleet)
    with OnSlack(tmp_path, slack, "tests.bench.hung", *words) as bot:
        bot.says("listening for")
        hang.touch()
        slack.command(dana, "C0OPS", "host hv01 to hv02 now")
        slack.wait_for(lambda: any("Moving" in m.shown for m in slack.messages("C0OPS")))
        slack.wait_for(hangs.exists)

        assert bot.end(signal.SIGTERM) == -signal.SIGTERM

    assert "VMM does not answer, so the current step is abandoned." in bot.text
    assert slack.sockets == 0
    serve(*fleet, "--speed", "100").says("listening for")
    slack.wait_for(lambda: any("1 of 1 moved" in m.text for m in slack.messages("C0OPS")))


def test_a_kill_during_a_burst_loses_no_acked_command(serve, slack, dana):
    bot = serve()
    bot.says("listening for")
    slack.wait_for(lambda: slack.sockets == 2)
    acked: list[int] = []
    enough = threading.Event()
    slack.ack_within = 3.0  # for each of those that the kill leaves without an ack

    def ask(number: int) -> None:
        try:
            slack.command(dana, "C0OPS", f"status R{number}")
        except NotAcked:
            return
        acked.append(number)
        if len(acked) == 25:
            enough.set()

    with ThreadPoolExecutor(8) as people:
        asked = [people.submit(ask, number) for number in range(1000, 1200)]
        assert enough.wait(HANGS)
        bot.end(signal.SIGKILL)
        for one in asked:
            one.result(timeout=HANGS)
    assert 25 <= len(acked) < 200, "the kill came too late to prove anything"
    again = serve()
    again.says("listening for")

    def unanswered() -> list[int]:
        told = "\n".join(e.text for e in slack.ephemerals(dana))
        return [number for number in acked if f"R{number}" not in told]

    slack.wait_for(lambda: not unanswered())
    assert again.end(signal.SIGTERM) == 0


def test_a_run_continues_after_a_kill(serve, slack, dana, tmp_path):
    fast = ("--fleet", str(tmp_path / "fleet.toml"), "--speed", "40")
    bot = serve(*fast)
    bot.says("listening for")
    slack.command(dana, "C0OPS", "host hv01 to hv02 now")
    slack.wait_for(lambda: any("1 moving" in m.shown for m in slack.messages("C0OPS")))
    bot.end(signal.SIGKILL)

    again = serve(*fast)

    slack.wait_for(lambda: any("1 of 1 moved" in m.text for m in slack.messages("C0OPS")))
    assert again.end(signal.SIGTERM) == 0
    store = Store(tmp_path / "night.db")
    assert len(queries.runs(store)) == 1
    store.close()


def test_a_token_revoked_during_a_run_does_not_stop_the_run(serve, slack, dana, tmp_path):
    fast = ("--fleet", str(tmp_path / "fleet.toml"), "--speed", "40")
    bot = serve(*fast)
    bot.says("listening for")
    slack.command(dana, "C0OPS", "host hv01 to hv02 now")
    slack.wait_for(lambda: any("1 moving" in m.shown for m in slack.messages("C0OPS")))
    bot.end(signal.SIGKILL)
    slack.revoke()

    serve(*fast).says("Runs continue all the same: Slack rejects slack.bot_token (token_revoked).")

    with closing(Store(tmp_path / "night.db")) as store:
        slack.wait_for(lambda: queries.runs(store)[0].over)


# --- what it refuses ----------------------------------------------------------------------------


def test_all_missing_settings_are_named_and_nothing_is_created(serve, slack, tmp_path):
    uninvited = slack.channel("ops", bot=False)
    slack.workspace.scopes = "app_mentions:read,channels:read"

    bot = serve(SLACK__APP_TOKEN="", SLACK__CHANNELS=uninvited)

    assert bot.ends() == 2
    assert bot.text.startswith("3 things are missing:\n- The setting slack.app_token is not set.")
    assert "lacks the scopes channels:history" in bot.text
    assert "/invite @vmferry" in bot.text
    assert [path.name for path in tmp_path.iterdir()] == ["fleet.toml"]


def test_serve_refuses_a_simulated_world_at_maximum_speed(serve, tmp_path):
    bot = serve("--fleet", str(tmp_path / "fleet.toml"), "--speed", "max")

    assert bot.ends() == 2
    assert "Name a number: --speed 60." in bot.text


def test_a_second_process_on_the_same_database_is_refused(serve, slack):
    serve().says("listening for")

    second = serve()

    assert second.ends() == 4
    assert "Another VMFerry is running on" in second.text


def test_runs_continue_while_slack_does_not_answer(serve, slack, dana, tmp_path):
    slack.order("auth.test", "internal_error")
    slack.order("apps.connections.open", "internal_error", times=2)

    bot = serve()

    bot.says("could not be checked, Slack does not answer: internal_error")
    bot.says("Slack: listening for /migrate.")
    assert slack.command(dana, "C0OPS", "list") == ""


# --- HTTP mode ----------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def post(port: int, payload: dict[str, object], secret: str = SECRET, age: float = 0) -> tuple:
    """Send a request that Slack signed ``age`` seconds ago. Return the status and the text."""
    body = urlencode(payload)
    stamp = str(int(time.time() - age))
    signed = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    return raw(port, body, {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signed})


def raw(port: int, body: str, headers: dict[str, str]) -> tuple[int, str]:
    request = Request(
        f"http://127.0.0.1:{port}/slack/events",
        body.encode(),
        {"Content-Type": "application/x-www-form-urlencoded", **headers},
    )
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=HANGS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_only_freshly_signed_http_requests_are_accepted(serve, slack, dana, port):
    bot = serve(**by_http(port))
    bot.says("listening for")
    payload = slack.command_payload(dana, "C0OPS", "status R77")

    assert post(port, payload, secret="another")[0] == 401
    assert post(port, payload, age=301)[0] == 401
    assert raw(port, urlencode(payload), {})[0] == 401
    assert raw(port, "payload={", {"X-Slack-Request-Timestamp": "soon"})[0] == 401
    assert post(port, payload) == (200, "")

    slack.wait_for(lambda: any("R77" in e.text for e in slack.ephemerals(dana)))
    wrong = slack.command_payload(dana, "C0OPS", "hsot hv01")
    status, text = post(port, wrong)
    assert (status, "Did you mean host?" in text) == (200, True)
    assert post(port, {"payload": "{"})[0] == 400
    assert slack.calls("apps.connections.open") == ()
    assert bot.end(signal.SIGTERM) == 0
    assert "Traceback" not in bot.text


def test_an_address_already_in_use_is_refused(serve, tmp_path, port):
    with socket.create_server(("127.0.0.1", port)):
        bot = serve(**by_http(port))

        assert bot.ends() == 2

    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in bot.text
    assert "Set another slack.port" in bot.text
