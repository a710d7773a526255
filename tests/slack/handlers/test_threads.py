"""Threads, in which Slack allows no slash command: mentions of the bot, and a shortcut."""

from __future__ import annotations

import re

import pytest
import yaml
from slack_bolt import BoltRequest

from bot.slack.inbox import mentions
from bot.slack.kit.buttons import NO, YES
from bot.slack.setup.manifest import EVENTS, SHORTCUT, manifest
from bot.standin.payloads import app_mention, event_callback
from engine.errors import UsageError
from engine.language.grammar import Ask
from engine.language.vocabulary import VERBS
from engine.model import Request
from engine.store import queries
from tests.patient import not_acked

BOT = "U0VMFERRY"


def inbox(night):
    return night.store.query("SELECT * FROM slack_inbox ORDER BY id")


def private(night, user):
    return [e.text for e in night.slack.ephemerals(user)]


@pytest.fixture
def board(night):
    return night.ask_for("vm web01 to hv02 now")


# --- mentions ------------------------------------------------------------------------------------


def test_status_in_the_thread_of_a_run_shows_only_that_run(night, board):
    night.say("vm web02 to hv03 now")
    night.board_shows("Moving", "R2")

    night.slack.mention(night.mei, night.ops, "status", board.ts)

    assert night.told(night.mei, "R1 · hv01 → hv02 · Moving")
    shown = night.slack.ephemerals(night.mei)[-1]
    assert shown.thread_ts == board.ts
    assert "R2" not in shown.text


def test_status_outside_of_threads_is_answered_outside_of_threads(night, board):
    night.slack.mention(night.mei, night.ops, "status")

    assert night.told(night.mei, "R1 · hv01 → hv02 · Moving")
    assert night.slack.ephemerals(night.mei)[-1].thread_ts is None


def test_pause_in_a_thread_pauses_its_run(night, board):
    night.slack.mention(night.mei, night.ops, "pause", board.ts)

    night.board_shows("Paused")


def test_a_named_run_takes_precedence_over_the_thread(night, board):
    night.say("vm web02 to hv03 now")
    night.board_shows("Moving", "R2")

    night.slack.mention(night.mei, night.ops, "pause R2", board.ts)

    night.board_shows("Paused", "R2")
    assert night.run(1).state == "active"


@pytest.mark.parametrize("word", ["stop", "abort"])
def test_stop_in_a_thread_needs_confirmation_and_stops_once(night, board, word):
    night.slack.mention(night.mei, night.ops, word, board.ts)

    told = night.told(night.mei, f"{word.capitalize()} R1 (hv01 → hv02)?")
    assert told.endswith("Nothing changed yet.")
    night.settled()
    assert night.run().state == "active"
    night.slack.click_private(night.mei, YES)
    night.slack.wait_for(lambda: night.run().state != "active")
    night.slack.click_private(night.mei, YES)
    assert night.told(night.mei, "This was already done.")


def test_cancelling_a_stop_changes_nothing(night, board):
    night.slack.mention(night.mei, night.ops, "stop", board.ts)
    night.told(night.mei, "Stop R1")

    night.slack.click_private(night.mei, NO)

    assert night.told(night.mei, "Dropped.")
    assert night.run().state == "active"


def test_approve_in_a_thread_is_answered_with_the_link_to_the_card(night):
    board = night.ask_for()
    card = night.card(board)
    night.settled()

    night.slack.mention(night.ravi, night.ops, "approve", board.ts)

    told = night.told(night.ravi, "Use the buttons on")
    link = night.side.outbox.api.client.chat_getPermalink(channel=night.ops, message_ts=card.ts)
    escaped = link["permalink"].replace("&", "&amp;")
    assert link["permalink"] in told or escaped in told
    assert "the card of A1" in told
    assert queries.open_approvals(night.store)


def test_approve_without_an_open_approval_says_so(night, board):
    night.slack.mention(night.ravi, night.ops, "approve A7", board.ts)

    assert night.told(night.ravi, "No approval is open here.")


@pytest.mark.parametrize(
    "said",
    [
        "help", "help host", "status", "list", "approvals", "report", "pouse", "xyzzy", "retry",
        "skip web09", "settle web01", "go-on", "set parallel x", "own", "resume", "status R77",
        "host hv01 to hv09", "vm web01 to hv02", "host hv02 to hv01", "approve", "deny A9 no", "",
        "stop R5", "abort R5",
    ],
)  # fmt: skip
def test_answers_in_a_thread_never_suggest_slash_commands(night, board, said):
    night.slack.mention(night.mei, night.ops, said, board.ts)

    told = night.told(night.mei, " ")
    assert "/migrate" not in told, told


def test_commands_in_a_thread_are_shown_as_mentions(night, board):
    night.slack.mention(night.mei, night.ops, "xyzzy", board.ts)
    assert "or type: <@U0VMFERRY> help" in night.told(night.mei, "I do not know the word")

    assert "or type: /migrate help" in night.say("xyzzy", by=night.ravi)


def wordings():
    """Every verb alone, with wrong words, and with a run or a question."""
    for verb in VERBS:
        if verb.where in ("both", "slack"):
            for rest in ("", "xyzzy", "R1", "R1 web09", "R77 web01", "A77"):
                yield f"{verb.name} {rest}".strip()


TO_TYPE = re.compile(r"\b[Tt]ype: (\S+)|: (\S+) (?:retry|status|report|settle|go-on|resume) R\d")


@pytest.mark.parametrize("state", ["moving", "over"])
def test_answers_show_commands_that_work_where_the_command_was_typed(night, board, state):
    if state == "over":
        night.to_the_end()
    begins = {"thread": set(), "channel": set()}
    for said in wordings():
        at_once = night.say(said, by=night.mei)
        begins["channel"] |= {a or b for a, b in TO_TYPE.findall(at_once)}
        assert "<@U0VMFERRY>" not in at_once
        night.slack.mention(night.mei, night.ops, said, board.ts)
        night.settled()
    for shown in night.slack.ephemerals(night.mei):
        place = "thread" if shown.thread_ts else "channel"
        begins[place] |= {a or b for a, b in TO_TYPE.findall(shown.text)}
        if place == "thread":
            assert "/migrate" not in shown.text, shown.text

    assert begins == {"thread": {"<@U0VMFERRY>"}, "channel": {"/migrate"}}


@pytest.mark.parametrize(
    ("action", "value", "words"),
    [
        ("do.retry", "retry.1.0123abcd.0", "<@U0VMFERRY> status R1"),
        ("approve", "77.0123456789abcdef", "Type: <@U0VMFERRY> approvals"),
        ("approve.all", "1.0123456789abcdef", "Type: <@U0VMFERRY> status"),
        (YES, "77.0123456789abcdef", "Type: <@U0VMFERRY> status"),
    ],
)
def test_answers_to_clicks_in_a_thread_show_commands_that_work_there(night, action, value, words):
    card = night.card(night.ask_for())

    night.slack.click(night.mei, card.ts, action, value)

    assert words in night.told(night.mei, "Nothing changed")
    assert night.slack.ephemerals(night.mei)[-1].thread_ts == card.thread_ts


def test_answers_to_clicks_on_a_board_show_commands_that_work_in_the_channel(night, board):
    night.slack.click(night.mei, board.ts, "approve", "77.0123456789abcdef")

    assert "Type: /migrate approvals" in night.told(night.mei, "Nothing changed")


def test_a_failure_shows_commands_that_work_in_its_thread(night):
    night.world.outcome(night.clock.now(), "web01", job="lost", at="source", times=9)
    board = night.ask_for("vm web01 to hv02 attempts 1 now")
    night.to_the_end()
    night.reply_with("R1 ended", board)
    night.settled()

    failures = [m for m in night.slack.thread(night.ops, board.ts) if m.shown[0] in "❌🛑"]
    assert failures
    assert not [m.shown for m in failures if "/migrate" in m.shown]


def test_a_repeated_event_is_carried_out_once(night, board):
    said = night.slack.say(night.mei, night.ops, f"<@{BOT}> pause", board.ts)
    event = app_mention(night.slack.workspace.team, said)

    for number in range(3):
        night.slack.event(event, event_id=f"Ev{number}")

    night.board_shows("Paused")
    assert [row["kind"] for row in inbox(night)].count("mention") == 1


def test_an_edit_that_keeps_the_command_does_not_repeat_it(night, board):
    said = night.slack.say(night.mei, night.ops, f"<@{BOT}> pause", board.ts)
    event = app_mention(night.slack.workspace.team, said)
    night.slack.event(event)
    night.board_shows("Paused")
    night.say("resume R1", by=night.ravi)
    night.board_shows("Moving")

    edited = {"edited": {"user": night.mei, "ts": "9999999999.000001"}}
    night.slack.event(event | edited | {"event_ts": "9999999999.000001"})

    night.settled()
    assert night.run().state == "active"


def test_a_command_corrected_by_an_edit_is_carried_out(night, board):
    said = night.slack.say(night.mei, night.ops, f"<@{BOT}> pouse", board.ts)
    event = app_mention(night.slack.workspace.team, said)
    night.slack.event(event)
    assert night.told(night.mei, "I do not know the word")

    night.slack.event(event | {"text": f"<@{BOT}> pause", "event_ts": "9999999999.000001"})

    night.board_shows("Paused")


def test_an_unknown_command_changes_nothing_and_only_its_author_is_answered(night, board):
    night.slack.mention(night.mei, night.ops, "please stop that thing", board.ts)

    assert night.told(night.mei, "I do not know the word")
    night.settled()
    assert night.run().state == "active"
    assert night.slack.ephemerals(night.ravi) == ()


def test_a_message_that_only_mentions_the_bot_in_passing_is_ignored(night, board):
    said = night.slack.say(night.mei, night.ops, f"ask <@{BOT}> to stop R1", board.ts)
    before = len(inbox(night))

    night.slack.event(app_mention(night.slack.workspace.team, said))

    assert len(inbox(night)) == before
    assert private(night, night.mei) == []


def test_messages_from_bots_are_ignored(night, board):
    said = night.slack.say(night.mei, night.ops, f"<@{BOT}> pause", board.ts)
    before = len(inbox(night))

    event = app_mention(night.slack.workspace.team, said) | {"bot_id": "B0OTHER"}
    night.slack.event(event)

    assert len(inbox(night)) == before


def test_a_request_in_a_mention_shows_a_preview_first(night):
    night.slack.mention(night.dana, night.ops, "host <http://hv01|hv01> to hv02")

    assert night.told(night.dana, "hv01 → hv02 would move 3 VMs")


def test_a_guest_cannot_change_anything_with_a_mention(night, board, slack):
    eve = slack.user("eve", is_restricted=True)

    night.slack.mention(eve, night.ops, "pause", board.ts)

    assert night.told(eve, "Only full members")
    assert night.run().state == "active"


def test_a_mention_that_cannot_be_stored_is_not_acked_and_is_sent_again(night, board, caplog):
    db = night.store.database()
    db.execute("ALTER TABLE slack_inbox RENAME TO slack_inbox_away")

    said = night.slack.say(night.mei, night.ops, f"<@{BOT}> pause", board.ts)
    event = app_mention(night.slack.workspace.team, said)
    with not_acked(night.slack):
        sent = night.slack.event(event)
    night.slack.wait_for(lambda: "a mention could not be accepted" in caplog.text)
    assert not night.slack.heard(sent)
    db.execute("ALTER TABLE slack_inbox_away RENAME TO slack_inbox")
    night.slack.event(event)

    night.board_shows("Paused")


# --- the shortcut --------------------------------------------------------------------------------


def test_the_shortcut_shows_the_status_of_the_run_of_a_message(night):
    board = night.ask_for()
    card = night.card(board)

    night.slack.shortcut(night.mei, board.ts, SHORTCUT)
    assert night.told(night.mei, "R1 · hv01 → hv02, hv03 · Moving")
    night.slack.shortcut(night.ravi, card.ts, SHORTCUT)
    assert night.told(night.ravi, "R1 · hv01 → hv02, hv03 · Moving")


def test_the_shortcut_on_another_message_says_that_it_belongs_to_no_run(night):
    said = night.slack.say(night.mei, night.ops, "lunch?")

    night.slack.shortcut(night.mei, said.ts, SHORTCUT)

    assert night.told(night.mei, "This message belongs to no run.")


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("status", Ask("status", ("R1",))),
        ("STATUS", Ask("status", ("R1",))),
        ("status R2", Ask("status", ("R2",))),
        ("status 2", Ask("status", ("2",))),
        ("status hv02", Ask("status", ("hv02",))),
        ("status hv99", Ask("status", ("hv99",))),
        ("retry web01", Ask("retry", ("R1", "web01"))),
        ("retry", Ask("retry", ("R1",))),
        ("retry R2 web01", Ask("retry", ("R2", "web01"))),
        ("skip hv02", Ask("skip", ("R1", "hv02"))),
        ("skip 5", Ask("skip", ("R1", "5"))),
        ("pause 2", Ask("pause", ("2",))),
        ("reviewed 2 VMs were off", Ask("reviewed", ("R1", "2 VMs were off"))),
        ("set parallel 2", Ask("set", ("R1", "parallel", "2"))),
        ("go-on hv02", Ask("go-on", ("R1", "hv02"))),
        ("go\u2010on\u00a0hv02", Ask("go-on", ("R1", "hv02"))),
        ("settle \u201cdb 01\u201d", Ask("settle", ("R1", "db 01"))),
        ("*pause*", Ask("pause", ("R1",))),
        ("list", Ask("list")),
        ("help host", Ask("help", ("host",))),
        ("\u00a0pause ", Ask("pause", ("R1",))),
    ],
)
def test_a_command_in_a_thread_need_not_name_the_run(text, command):
    read, _ = mentions.read(text, "R1")

    assert read == command


def test_a_request_in_a_thread_is_still_a_request():
    read, _ = mentions.read("vm web01 to hv02", "R1")

    assert isinstance(read, Request)


@pytest.mark.parametrize("text", ["thanks", "", "pause the run please", "status R1 R2 R3"])
def test_an_unknown_command_stays_unknown_in_a_thread(text):
    with pytest.raises(UsageError):
        mentions.read(text, "R1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"<@{BOT}> status", "status"),
        (f"  <@{BOT}|vmferry>: status", "status"),
        (f"<@{BOT}>\u00a0status", "status"),
        ("<@U0OTHER> status", None),
        (f"hey <@{BOT}> status", None),
        ("status", None),
        ("", None),
    ],
)
def test_only_messages_that_begin_with_the_bot_mention_are_commands(text, said):
    assert mentions.said_to(text, BOT) == said


# --- the manifest --------------------------------------------------------------------------------

OTHER_EVENTS = (
    "message",
    "reaction_added",
    "app_home_opened",
    "member_joined_channel",
    "pin_added",
)


def test_the_app_handles_exactly_the_events_of_its_manifest(night):
    def answer(kind):
        event = {"type": kind, "user": "U1", "channel": "C1", "ts": "1.1", "text": "x"}
        body = event_callback("T1", BOT, event, "Ev1", 0.0)
        return night.side.app.dispatch(BoltRequest(mode="socket_mode", body=body)).status

    declared = yaml.safe_load(manifest())["settings"]["event_subscriptions"]["bot_events"]

    assert [kind for kind in (*EVENTS, *OTHER_EVENTS) if answer(kind) == 200] == declared


def test_the_shortcut_of_the_manifest_is_answered(night):
    (declared,) = yaml.safe_load(manifest())["features"]["shortcuts"]
    body = {"type": "message_action", "callback_id": declared["callback_id"], "user": {"id": "U1"}}

    assert night.side.app.dispatch(BoltRequest(mode="socket_mode", body=body)).status == 200
