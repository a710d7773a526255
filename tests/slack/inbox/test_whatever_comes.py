"""Arbitrary payloads and database errors: no exception escapes a listener, each gets one answer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slack_bolt import Ack, BoltRequest, BoltResponse
from slack_sdk import WebClient

from bot.slack.connection.bolt_app import build_app, dispatch
from bot.slack.handlers.confirm import late_view, preview_view
from bot.slack.inbox import mentions
from bot.slack.inbox.listeners import Listeners
from bot.slack.inbox.rows import Confirmation, ConfirmationKind, Inbound
from bot.slack.kit import refusals
from bot.slack.kit.buttons import ABORT, RUN, RunButton
from bot.slack.modals.fields import FormPlace, metadata
from bot.slack.outbox.rows import Tables
from bot.slack.people.approvers import Approvers
from bot.slack.web_api.reply_urls import ReplyUrls
from bot.standin.refusals import refusal
from engine.clock import SystemClock
from engine.commands.forecast import Forecast, Hindered
from engine.errors import UsageError
from engine.language import grammar
from engine.language.sentence import Command, HostName, say
from engine.model import Options
from engine.store.store import Store

KEPT = ("command", "click", "submitted", "mention", "shortcut")
"""What is worth a row; options are only offered."""
KINDS = (*KEPT, "offered")
BOT = "U0VMFERRY"
FIXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Counted(Ack):
    """Bolt's own ack, counted."""

    def __init__(self) -> None:
        super().__init__()
        self.acks = 0

    def __call__(self, *args: object, **said: object) -> BoltResponse:
        self.acks += 1
        return super().__call__(*args, **said)


@dataclass
class Door:
    """The listeners over a real database."""

    store: Store
    listeners: Listeners

    def knock(self, kind: str, body: object) -> tuple[BoltResponse, int]:
        ack = Counted()
        return getattr(self.listeners, kind)(ack, body), ack.acks

    @property
    def written(self) -> int:
        return self.store.query("SELECT count(*) n FROM slack_inbox")[0]["n"]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    store = Store(tmp_path / "vmferry.db", durable=False)
    tables = Tables(store)
    yield Door(
        store,
        Listeners(tables.inbox, ReplyUrls(), SystemClock(), "/migrate", accepted=lambda: None),
    )
    store.close()


TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
"""Any characters, halves of some among them."""

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
HUGE = st.sampled_from(["x" * 100_000, "\ud800" * 5_000, "host " * 2_000, "9" * 5_000])


def part(**parts: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """A part of a payload: as Slack sends it, with missing or wrong parts, or something else."""
    fields = {name: given_ | JUNK | HUGE for name, given_ in parts.items()}
    return st.fixed_dictionaries({}, optional=fields) | JUNK


ID = st.sampled_from(["U0DANA", "C0OPS", "D0DANA", "", "1767650400.000100"]) | TEXT
SAID = st.sampled_from(["status", "host hv01 to hv02 now", "pause R1", f"<@{BOT}> status"]) | TEXT
ACTION = st.sampled_from(["approve", "deny", "deny.said", "draft.yes", "draft.no", "again"])
VALUE = st.sampled_from(["1.abc", "1.", "²." + "x", "9" * 400 + ".x", '{"value": "1.x"}'])
USER, CHANNEL = part(id=ID), part(id=ID)
BODY = part(
    text=SAID,
    user_id=ID,
    channel_id=ID,
    trigger_id=ID,
    response_url=SAID,
    user=USER,
    channel=CHANNEL,
    container=part(channel_id=ID, message_ts=ID, thread_ts=ID, is_ephemeral=st.booleans()),
    actions=st.lists(part(action_id=ACTION, value=VALUE, action_ts=ID), max_size=2),
    view=part(
        id=ID,
        callback_id=ACTION,
        private_metadata=VALUE,
        state=part(values=part(reason=part(reason=part(value=SAID)), vms=part(vms=JUNK))),
    ),
    event=part(
        type=st.just("app_mention"),
        user=ID,
        text=SAID,
        channel=ID,
        ts=ID,
        event_ts=ID,
        thread_ts=ID,
        bot_id=ID,
    ),
    authorizations=st.lists(part(user_id=st.just(BOT)), max_size=2),
    message=part(ts=ID, thread_ts=ID),
    message_ts=ID,
    callback_id=ACTION,
).filter(lambda body: isinstance(body, dict))


@FIXED
@given(kind=st.sampled_from(KINDS), body=BODY)
def test_every_payload_gets_exactly_one_ack_or_an_honest_error(door, kind, body):
    before = door.written

    answer, acks = door.knock(kind, body)

    written = door.written - before
    assert (answer.status, acks) in ((200, 1), (503, 0))
    assert written <= 1
    assert not written or answer.status == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_deeply_nested_payload_does_not_crash_the_listener(door, kind):
    body: dict[str, object] = {}
    for _ in range(5_000):
        body = {"user": body, "event": body, "view": body, "actions": [body], "text": [body]}

    answer, acks = door.knock(kind, body)

    assert (answer.status, acks) in ((200, 1), (503, 0))


def bodies(kind: str) -> dict[str, object]:
    """A payload of this kind that makes a row."""
    who = {"user": {"id": "U1"}, "channel": {"id": "C1"}, "user_id": "U1", "channel_id": "C1"}
    said = {"type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.1", "event_ts": "1.1"}
    return who | {
        "text": "host hv01 to hv02",
        "trigger_id": f"t-{kind}",
        "actions": [{"action_id": "approve", "value": "1.abc", "action_ts": "1.2"}],
        "event": {**said, "text": f"<@{BOT}> status"},
        "authorizations": [{"user_id": BOT}],
        "callback_id": "run_status",
        "message_ts": "1.1",
        "view": abort_form("R1"),
    }


def abort_form(where: str) -> dict[str, object]:
    """A submitted form that was opened in this thread."""
    place = FormPlace(RunButton(ABORT, 1, RUN, "0" * 8).value, "C1", where)
    return {"id": "V1", "callback_id": ABORT, "private_metadata": metadata(place)}


@contextmanager
def busy(door: Door) -> Iterator[None]:
    """Another writer that does not finish."""
    db = door.store.database()
    (path,) = [row["file"] for row in db.query("PRAGMA database_list") if row["name"] == "main"]
    db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@contextmanager
def full(door: Door) -> Iterator[None]:
    """A full disk."""
    first = Inbound(0, "command", "slack:U1", "C1", {"text": "x" * 3_800}, 0.0)
    door.listeners.inbox.accept(first, "fills the first page of the table")
    db = door.store.database()
    pages = db.query("PRAGMA page_count")[0]["page_count"]
    db.execute(f"PRAGMA max_page_count = {pages}")
    yield
    db.execute("PRAGMA max_page_count = 1000000")


@contextmanager
def gone(door: Door) -> Iterator[None]:
    """A missing table."""
    db = door.store.database()
    db.execute("ALTER TABLE slack_inbox RENAME TO slack_inbox_away")
    yield
    db.execute("ALTER TABLE slack_inbox_away RENAME TO slack_inbox")


@pytest.mark.parametrize("trouble", [busy, full, gone])
@pytest.mark.parametrize("kind", KEPT)
def test_a_payload_that_the_database_rejects_is_refused_or_not_acked(door, kind, trouble):
    big = bodies(kind) | {"text": "vm " + "x" * 3_900 + " to hv02"}
    big["event"] = {**bodies(kind)["event"], "text": f"<@{BOT}> " + "x" * 3_900}
    big["actions"] = [{"action_id": "approve", "value": "1." + "x" * 3_900, "action_ts": "1.2"}]
    big["message_ts"] = "1" * 3_900
    big["view"] = abort_form("1" * 3_900)
    with trouble(door):
        answer, acks = door.knock(kind, big)

    if kind == "command":
        assert (answer.status, acks) == (200, 1)
        assert "could not save this" in answer.body
    else:
        assert (answer.status, acks) == (503, 0)


@pytest.mark.parametrize("kind", KEPT)
def test_every_payload_acked_after_the_store_was_closed_is_stored(door, kind):
    door.store.close()

    answer, acks = door.knock(kind, bodies(kind))

    assert (answer.status, acks, door.written) in ((200, 1, 1), (503, 0, 0))


@pytest.mark.parametrize("kind", KEPT)
def test_a_healthy_database_stores_each_payload_once(door, kind):
    for _ in range(2):
        answer, acks = door.knock(kind, bodies(kind))
        assert (answer.status, acks) == (200, 1)

    assert door.written == 1


def test_clicks_by_two_people_at_the_same_moment_are_two_clicks(door):
    for user in ("U1", "U2"):
        door.knock("click", bodies("click") | {"user": {"id": user}})

    assert door.written == 2


@pytest.mark.parametrize("kind", ["block_actions", "command"])
def test_a_listener_runs_at_once_in_the_thread_that_received_the_payload(door, kind):
    """And not in Bolt's own five, where its answer waits for the next poll."""
    ran: list[threading.Thread] = []
    door.listeners.accepted = lambda: ran.append(threading.current_thread())
    app = build_app(door.listeners, WebClient(), "xoxb-1", "/migrate")
    named = {"command": "/migrate"} if kind == "command" else {"type": kind}

    dispatch(app, lambda: BoltRequest(mode="socket_mode", body={**bodies("click"), **named}))

    assert ran == [threading.current_thread()]


@FIXED
@given(
    body=BODY,
    kind=st.sampled_from(
        [
            "block_actions",
            "view_submission",
            "block_suggestion",
            "message_action",
            "event_callback",
            "command",
        ]
    ),
)
def test_no_payload_raises_an_exception_out_of_bolt(door, body, kind):
    app = build_app(door.listeners, WebClient(), "xoxb-1", "/migrate")
    named = {"command": "/migrate"} if kind == "command" else {"type": kind}

    answer = dispatch(app, lambda: BoltRequest(mode="socket_mode", body={**body, **named}))

    assert isinstance(answer, BoltResponse)
    assert answer.status in (200, 404, 503)


# --- nothing pings -------------------------------------------------------------------------------

PINGS = ("<!", "<@", "<#")
NAMES = TEXT.filter(bool) | st.sampled_from(
    ["<!channel>", "<!here>", "<@U0RAVI>", "@here", "<http://evil.example|web01>", "a" * 255, "`x`"]
)


def pings(text: str) -> list[str]:
    """The mentions that a text would ping."""
    return [one for one in PINGS if one in text.replace("<!date^", "")]


@FIXED
@given(text=TEXT | NAMES)
def test_no_refusal_pings_anybody_named_in_the_refused_text(text):
    for said in (text, f"vm {text} to hv02", f"host {text}"):
        try:
            grammar.parse(said)
        except UsageError as error:
            told = refusals.usage(error, "/migrate")
            assert pings(told) == []
            assert len(told) < 4_000
        assert pings(refusals.as_typed(said, "/migrate")) == []


@FIXED
@given(text=TEXT | NAMES | SAID, bot=st.just(BOT))
def test_every_mention_is_either_parsed_or_refused(text, bot):
    said = mentions.said_to(text, bot)
    for one in (text, said or ""):
        mentions.first_word(one)
        with suppress(UsageError):
            mentions.read(one, "R1")


def test_the_reasons_in_a_preview_show_full_commands_and_short_host_names():
    row = Inbound(1, "command", "slack:U1", "C1", {"text": "x"}, 0.0)
    draft = Confirmation(ConfirmationKind.PREVIEW, row, "0" * 16, 0.0, 1)
    why = say("in {}; see: {}", HostName("hv01.corp.example"), Command("status R1"))
    one = (Hindered("web01", why),)
    found = Forecast(
        kind="vm",
        sources=("hv01",),
        destinations=("hv02",),
        options=Options(),
        moving=(),
        size_mb=0,
        seconds=0.0,
        down=(),
        stuck=one,
        held=one,
        there=(),
        excluded=0,
        hosts=one,
        as_of=0.0,
        digest="0" * 16,
    )

    assert preview_view(found, draft, Approvers(), 0.0, "/migrate").text.splitlines()[1:4] == [
        "1 (web01) cannot move: in hv01; see: /migrate status R1.",
        "1 (web01) would wait: in hv01; see: /migrate status R1.",
        "web01 in hv01; see: /migrate status R1 now; its VMs would wait.",
    ]


@FIXED
@given(names=st.lists(NAMES, min_size=1, max_size=60), whys=st.lists(NAMES, max_size=4))
def test_a_preview_with_any_names_pings_nobody_and_fits_slack_limits(names, whys):
    row = Inbound(1, "command", "slack:U1", "C1", {"text": "x"}, 0.0)
    draft = Confirmation(ConfirmationKind.PREVIEW, row, "0" * 16, 0.0, 1)
    stuck = tuple(Hindered(name, why) for name, why in zip(names, whys * 60, strict=False))
    found = Forecast(
        kind="vm",
        sources=tuple(names[:3]),
        destinations=("hv02",),
        options=Options(),
        moving=tuple(names),
        size_mb=10_000,
        seconds=400.0,
        down=tuple(names),
        stuck=stuck,
        held=stuck,
        there=tuple(names),
        excluded=1,
        hosts=tuple(Hindered(name, "does not answer") for name in names[:2]),
        as_of=0.0,
        digest="0" * 16,
    )

    for shown in (
        preview_view(found, draft, Approvers(), 0.0, "/migrate"),
        late_view("x" * 300, draft, 2520.0),
    ):
        assert pings(shown.text) == []
        assert [p for b in shown.blocks for p in pings(str(b))] == []
        text = {"channel": "C1", "user": "U1", "text": shown.text, "blocks": list(shown.blocks)}
        assert refusal("chat.postEphemeral", text) is None
        assert shown.blocks[-1]["type"] == "actions"
