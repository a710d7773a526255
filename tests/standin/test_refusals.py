"""Calls that the stand-in rejects: arguments, blocks, views, sizes. Tested from outside."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from bot.slack.web_api.client import web_client
from tests.hangs import HANGS


@pytest.fixture
def slack(slack):
    slack.workspace.scopes += ",im:write,im:history,im:read"
    slack.channel("ops")
    slack.user("ann")
    slack.group("oncall")
    return slack


def sent(slack, method, body, kind="application/json"):
    """Answer and status of a raw request body."""
    headers = {"Authorization": f"Bearer {slack.bot_token}", "Content-Type": kind}
    address = method if method.startswith("http") else slack.base_url + method
    request = Request(address, body.encode(), headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=HANGS) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def answer(slack, method, **args):
    """Error code and first message of a JSON call; empty if it is accepted."""
    told = json.loads(sent(slack, method, json.dumps(args))[1])
    words = told.get("response_metadata", {}).get("messages", [""])
    return ("", "") if told["ok"] else (told["error"], words[0])


# --- arguments ------------------------------------------------------------------------------

OPS, ANN = "C0OPS", "U0ANN"


@pytest.mark.parametrize(
    ("method", "args", "error"),
    [
        ("chat.postMessage", {"text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": OPS}, "no_text"),
        ("chat.postMessage", {"channel": OPS, "text": ""}, "no_text"),
        ("chat.postMessage", {"channel": OPS, "text": "", "blocks": []}, "no_text"),
        ("chat.postMessage", {"channel": OPS, "text": 7}, "invalid_arguments"),
        ("chat.postMessage", {"channel": 7, "text": "x"}, "invalid_arguments"),
        ("chat.postMessage", {"channel": OPS, "text": "x", "thread": "1.0"}, "invalid_arguments"),
        ("chat.postMessage", {"channel": OPS, "text": "x", "thread_ts": 1.0}, "invalid_arguments"),
        (
            "chat.postMessage",
            {"channel": OPS, "text": "x", "reply_broadcast": "yes"},
            "invalid_arguments",
        ),
        ("chat.postMessage", {"channel": OPS, "text": "x", "blocks": "x"}, "invalid_blocks_format"),
        ("chat.postMessage", {"channel": OPS, "text": "x", "blocks": {}}, "invalid_blocks_format"),
        ("chat.update", {"channel": OPS, "text": "x"}, "invalid_arguments"),
        ("chat.update", {"ts": "1.0", "text": "x"}, "channel_not_found"),
        (
            "chat.update",
            {"channel": OPS, "ts": "1.0", "text": "x", "thread_ts": "1.0"},
            "invalid_arguments",
        ),
        ("chat.postEphemeral", {"channel": OPS, "text": "x"}, "invalid_arguments"),
        (
            "chat.postEphemeral",
            {"channel": OPS, "user": ANN, "text": "x", "metadata": {}},
            "invalid_arguments",
        ),
        ("chat.getPermalink", {"channel": OPS}, "invalid_arguments"),
        ("chat.getPermalink", {"channel": OPS, "message_ts": "1.0"}, "message_not_found"),
        ("conversations.info", {}, "invalid_arguments"),
        ("conversations.info", {"channel": "C404"}, "channel_not_found"),
        ("conversations.members", {"channel": "C404"}, "channel_not_found"),
        ("conversations.history", {"channel": "C404"}, "channel_not_found"),
        ("conversations.history", {"channel": OPS, "limit": 1000}, "invalid_limit"),
        ("conversations.history", {"channel": OPS, "limit": "many"}, "invalid_arguments"),
        ("conversations.history", {"channel": OPS, "cursor": "?"}, "invalid_cursor"),
        ("conversations.history", {"channel": OPS, "oldest": "noon"}, "invalid_ts_oldest"),
        ("conversations.history", {"channel": OPS, "latest": "noon"}, "invalid_ts_latest"),
        ("conversations.replies", {"channel": OPS}, "thread_not_found"),
        ("conversations.replies", {"channel": OPS, "ts": "1.0"}, "thread_not_found"),
        ("conversations.open", {}, "users_list_not_supplied"),
        ("conversations.open", {"users": "U404"}, "user_not_found"),
        ("conversations.open", {"channel": OPS}, "channel_not_found"),
        ("users.info", {}, "invalid_arguments"),
        ("usergroups.users.list", {}, "invalid_arguments"),
        ("views.open", {"trigger_id": "1.1"}, "invalid_arguments"),
        ("views.open", {"view": {}}, "invalid_arguments"),
        ("chat.shout", {}, "unknown_method"),
    ],
)
def test_arguments_that_slack_rejects_are_rejected(slack, method, args, error):
    assert answer(slack, method, **args)[0] == error
    assert slack.messages(OPS) == ()


def test_an_argument_error_has_a_message_with_a_json_pointer(slack):
    said = answer(slack, "chat.postMessage", channel=OPS, text="x", unfurl_links="soon")

    assert said == ("invalid_arguments", "[ERROR] must be a boolean [json-pointer:/unfurl_links]")
    assert answer(slack, "users.info")[1] == "[ERROR] missing required field: user"


def test_a_urlencoded_form_is_read_like_json(slack):
    blocks = json.dumps([{"type": "divider"}])
    good = urlencode({"channel": OPS, "text": "x", "unfurl_links": "false", "blocks": blocks})
    bad = urlencode({"channel": OPS, "text": "x", "blocks": "[{"})
    kind = "application/x-www-form-urlencoded"

    assert json.loads(sent(slack, "chat.postMessage", good, kind)[1])["ok"]
    assert '"invalid_blocks_format"' in sent(slack, "chat.postMessage", bad, kind)[1]
    assert [m.blocks for m in slack.messages(OPS)] == [({"type": "divider"},)]


@pytest.mark.parametrize(
    ("method", "args", "needed"),
    [
        ("chat.postMessage", {"channel": OPS, "text": "x"}, "chat:write"),
        ("chat.postEphemeral", {"channel": OPS, "user": ANN, "text": "x"}, "chat:write"),
        ("conversations.open", {"users": ANN}, "im:write"),
        ("conversations.info", {"channel": OPS}, "channels:read"),
        ("conversations.info", {"channel": "C0DEN"}, "groups:read"),
        ("conversations.info", {"channel": "D0ANN"}, "im:read"),
        ("conversations.history", {"channel": OPS}, "channels:history"),
        ("conversations.history", {"channel": "C0DEN"}, "groups:history"),
        ("conversations.replies", {"channel": "D0ANN", "ts": "1.0"}, "im:history"),
        ("users.info", {"user": ANN}, "users:read"),
        ("usergroups.users.list", {"usergroup": "S0ONCALL"}, "usergroups:read"),
    ],
)
def test_a_missing_scope_is_named(slack, method, args, needed):
    slack.channel("den", private=True)
    slack.direct(ANN)
    slack.workspace.scopes = ",".join(
        one for one in slack.workspace.scopes.split(",") if one != needed
    )

    told = json.loads(sent(slack, method, json.dumps(args))[1])

    assert (told["error"], told["needed"]) == ("missing_scope", needed)
    slack.workspace.scopes += f",{needed}"
    assert answer(slack, method, **args)[0] in ("", "thread_not_found")


# --- blocks ---------------------------------------------------------------------------------


def plain(text="x", **more):
    return {"type": "plain_text", "text": text, **more}


def mrkdwn(text="x", **more):
    return {"type": "mrkdwn", "text": text, **more}


def section(**more):
    return {"type": "section", "text": mrkdwn(), **more}


def button(**more):
    return {"type": "button", "text": plain(), "action_id": "go", **more}


def confirm(**more):
    words = {part: plain() for part in ("title", "text", "confirm", "deny")}
    return {name: part for name, part in (words | more).items() if part is not None}


def option(text="x", value="1", **more):
    return {"text": plain(text), "value": value, **more}


def select(**more):
    menu = {"type": "multi_static_select", "action_id": "which", "options": [option()]}
    return menu | more


def actions(*elements):
    return {"type": "actions", "elements": list(elements)}


GOOD = [
    section(),
    section(text=plain("x", emoji=True)),
    section(text=mrkdwn("x" * 3000, verbatim=True)),
    {"type": "header", "text": plain("x" * 150)},
    {"type": "divider", "block_id": "b" * 255},
    {"type": "context", "elements": [mrkdwn("x" * 1000)] * 10},
    actions(*[button(action_id=f"go{n}") for n in range(25)]),
    actions(button(text=plain("x" * 75), value="x" * 2000, style="danger")),
    actions(button(confirm=confirm(title=plain("x" * 100), text=mrkdwn("x" * 300)))),
    actions(button(confirm=confirm(style="danger"), accessibility_label="x" * 75)),
    actions({"type": "overflow", "action_id": "more", "options": [option()] * 5}),
]


@pytest.mark.parametrize("block", GOOD, ids=lambda b: b["type"])
def test_blocks_up_to_the_limit_are_accepted(slack, block):
    assert answer(slack, "chat.postMessage", channel=OPS, text="x", blocks=[block]) == ("", "")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("x", "must be an object [json-pointer:/blocks/0]"),
        ({}, "missing required field: type [json-pointer:/blocks/0]"),
        ({"type": "confetti"}, "unsupported type: confetti [json-pointer:/blocks/0/type]"),
        ({"type": "input", "label": plain(), "element": select()}, "unsupported type: input"),
        ({"type": "section"}, "missing required field: text [json-pointer:/blocks/0]"),
        (section(colour="red"), "invalid additional property: colour [json-pointer:/blocks/0]"),
        (section(block_id="b" * 256), "must be less than 256 characters"),
        (section(text="x"), "must be an object [json-pointer:/blocks/0/text]"),
        (section(text=mrkdwn(7)), "must be a string [json-pointer:/blocks/0/text/text]"),
        (section(text=mrkdwn("")), "must be more than 0 characters"),
        (section(text=mrkdwn("x" * 3001)), "must be less than 3001 characters"),
        (section(text=mrkdwn("x", emoji=True)), "invalid additional property: emoji"),
        (section(text=plain("x", verbatim=True)), "invalid additional property: verbatim"),
        (section(text=mrkdwn("x", verbatim="no")), "must be a boolean"),
        (section(text={"type": "html", "text": "x"}), "unsupported type: html"),
        (section(accessory=button()), "invalid additional property: accessory"),
        ({"type": "header", "text": mrkdwn()}, "unsupported type: mrkdwn"),
        ({"type": "header", "text": plain("x" * 151)}, "must be less than 151 characters"),
        ({"type": "header"}, "missing required field: text"),
        ({"type": "divider", "text": plain()}, "invalid additional property: text"),
        ({"type": "context", "elements": [mrkdwn()] * 11}, "no more than 10 items allowed"),
        ({"type": "context", "elements": []}, "must have at least 1 items"),
        ({"type": "context", "elements": [button()]}, "unsupported type: button"),
        (actions(), "must have at least 1 items [json-pointer:/blocks/0/elements]"),
        (actions(*[button(action_id=f"go{n}") for n in range(26)]), "no more than 25 items"),
        (actions(button(), button()), "action_id go already exists"),
        (actions(button(text=mrkdwn())), "unsupported type: mrkdwn"),
        (actions(button(text=plain("x" * 76))), "must be less than 76 characters"),
        (actions(button(value="x" * 2001)), "must be less than 2001 characters"),
        (actions(button(value=7)), "must be a string [json-pointer:/blocks/0/elements/0/value]"),
        (actions(button(action_id="x" * 256)), "must be less than 256 characters"),
        (actions(button(url="x" * 3001)), "must be less than 3001 characters"),
        (actions(button(style="green")), "must be one of primary, danger"),
        (actions(button(accessibility_label="x" * 76)), "must be less than 76 characters"),
        (actions(button(tooltip="x")), "invalid additional property: tooltip"),
        (actions({"type": "button"}), "missing required field: text"),
        (actions(mrkdwn()), "unsupported type: mrkdwn"),
        (actions(button(confirm="sure?")), "must be an object"),
        (actions(button(confirm=confirm(deny=None))), "missing required field: deny"),
        (actions(button(confirm=confirm(title=plain("x" * 101)))), "must be less than 101"),
        (actions(button(confirm=confirm(text=plain("x" * 301)))), "must be less than 301"),
        (actions(button(confirm=confirm(confirm=plain("x" * 31)))), "must be less than 31"),
        (actions(button(confirm=confirm(deny=plain("x" * 31)))), "must be less than 31"),
        (actions(button(confirm=confirm(title=mrkdwn()))), "unsupported type: mrkdwn"),
        (actions(button(confirm=confirm(style="bold"))), "must be one of primary, danger"),
        (actions(select()), "unsupported type: multi_static_select"),
        (
            actions({"type": "overflow", "options": [option()] * 6}),
            "no more than 5 items allowed [json-pointer:/blocks/0/elements/0/options]",
        ),
    ],
)
def test_malformed_blocks_are_refused_with_a_pointer(slack, block, said):
    error, words = answer(slack, "chat.postMessage", channel=OPS, text="x", blocks=[block])

    assert error == "invalid_blocks"
    assert words.startswith(f"[ERROR] {said}")
    assert "[json-pointer:/blocks/0" in words
    assert slack.messages(OPS) == ()


def test_a_message_has_at_most_fifty_blocks_and_unique_block_ids(slack):
    post = {"channel": OPS, "text": "x"}

    assert answer(slack, "chat.postMessage", **post, blocks=[section()] * 50) == ("", "")
    error, words = answer(slack, "chat.postMessage", **post, blocks=[section()] * 51)
    assert (error, words) == (
        "invalid_blocks",
        "[ERROR] no more than 50 items allowed [json-pointer:/blocks]",
    )
    twice = [section(block_id="b")] * 2
    assert "block_id b already exists" in answer(slack, "chat.postMessage", **post, blocks=twice)[1]


def test_a_message_can_be_too_long_although_none_of_its_blocks_is(slack):
    def of(length):
        return [section(text=mrkdwn("x" * 2500))] * 4 + [section(text=mrkdwn("x" * length))]

    room = 13_200 - len(json.dumps(of(0)))

    assert answer(slack, "chat.postMessage", channel=OPS, text="x", blocks=of(room)) == ("", "")
    said = answer(slack, "chat.postMessage", channel=OPS, text="x", blocks=of(room + 1))
    assert said[0] == "msg_blocks_too_long"


def test_overlong_text_is_truncated_in_a_post_and_rejected_in_an_update(slack):
    client = web_client(slack.bot_token, slack.base_url)
    ts = client.chat_postMessage(channel=OPS, text="x" * 41_000)["ts"]

    assert len(slack.message(ts).text) == 40_000
    assert answer(slack, "chat.update", channel=OPS, ts=ts, text="y" * 4_000) == ("", "")
    assert answer(slack, "chat.update", channel=OPS, ts=ts, text="z" * 4_001)[0] == "msg_too_long"
    assert slack.message(ts).text == "y" * 4_000


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"event_type": "posted", "event_payload": {"key": "x"}}, ""),
        ({}, ""),
        ("posted", "invalid_metadata_format"),
        ({"event_type": "posted"}, "invalid_metadata_schema"),
        ({"event_type": "", "event_payload": {}}, "invalid_metadata_schema"),
        ({"event_type": "posted", "event_payload": "x"}, "invalid_metadata_schema"),
        ({"event_type": "posted", "event_payload": {}, "key": "x"}, "invalid_metadata_schema"),
        ({"event_type": "posted", "event_payload": {"key": "x" * 9_000}}, "metadata_too_large"),
    ],
)
def test_metadata_without_a_type_or_payload_is_rejected(slack, metadata, error):
    post = {"channel": OPS, "text": "x", "metadata": metadata}

    assert answer(slack, "chat.postMessage", **post)[0] == error


# --- views ----------------------------------------------------------------------------------


def line(**more):
    field = {"type": "plain_text_input", "action_id": "why", **more}
    return {"type": "input", "label": plain("Why?"), "element": field}


def view(*blocks, **more):
    made = {"type": "modal", "title": plain(), "submit": plain(), "blocks": list(blocks), **more}
    return {name: part for name, part in made.items() if part is not None}


def fill(**more):
    return {"type": "input", "label": plain(), "element": select(**more)}


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (view(line()), ""),
        (view(line(multiline=True, max_length=3000, placeholder=plain("x" * 150))), ""),
        (view(fill(initial_options=[option()], max_selected_items=3)), ""),
        (view(fill(options=[option("x" * 40)] * 100)), ""),
        (view(*[section()] * 100, submit=None), ""),
        (view(section(), private_metadata="x" * 3000, callback_id="x" * 255), ""),
        (view(*[section()] * 101), "no more than 100 items allowed [json-pointer:/view/blocks]"),
        (view(), "must have at least 1 items"),
        (view(section(), type="drawer"), "unsupported type: drawer [json-pointer:/view/type]"),
        (view(section(), size="big"), "invalid additional property: size"),
        (view(section(), title=None), "missing required field: title"),
        (view(section(), title=plain("x" * 25)), "must be less than 25 characters"),
        (view(section(), submit=plain("x" * 25)), "must be less than 25 characters"),
        (view(section(), close=plain("x" * 25)), "must be less than 25 characters"),
        (view(section(), private_metadata="x" * 3001), "must be less than 3001 characters"),
        (view(section(), private_metadata={}), "must be a string"),
        (view(section(), callback_id="x" * 256), "must be less than 256 characters"),
        (view(section(), notify_on_close="yes"), "must be a boolean"),
        (view(line(), submit=None), "missing required field: submit"),
        (view(line(min_length=-1)), "must be between 0 and 3000"),
        (view(line(max_length="10")), "must be an integer"),
        (view(line(placeholder=plain("x" * 151))), "must be less than 151 characters"),
        (view(line(lines=3)), "invalid additional property: lines"),
        (view(line() | {"label": plain("x" * 2001)}), "must be less than 2001 characters"),
        (view(line() | {"hint": plain("x" * 2001)}), "must be less than 2001 characters"),
        (view(line() | {"optional": "yes"}), "must be a boolean"),
        (view({"type": "input", "label": plain()}), "missing required field: element"),
        (view(fill() | {"element": button()}), "unsupported type: button"),
        (view(fill(options=[option()] * 101)), "no more than 100 items allowed"),
        (view(fill(options=[])), "must have at least 1 items"),
        (view(fill(options=[option("x" * 76)])), "must be less than 76 characters"),
        (view(fill(options=[option(value="1" * 151)])), "must be less than 151 characters"),
        (view(fill(options=[{"text": plain()}])), "missing required field: value"),
        (view(fill(option_groups=[])), "must have at least 1 items"),
        (view(fill(initial_options=[])), "must have at least 1 items"),
        (view(fill(max_selected_items=0)), "must be between 1 and 100"),
        (
            view(fill(option_groups=[{"label": plain(), "options": [option()]}])),
            "exactly one of options, option_groups is required",
        ),
        (view(actions(button(value="x" * 2001))), "must be less than 2001 characters"),
    ],
)
def test_forms_are_validated_like_messages(slack, shown, said):
    trigger = slack.command_payload(ANN, OPS, "status")["trigger_id"]

    error, words = answer(slack, "views.open", trigger_id=trigger, view=shown)

    assert error == ("invalid_arguments" if said else "")
    assert words.startswith(f"[ERROR] {said}" if said else "")
    assert "[json-pointer:/view" in words or not said


# --- response_url ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"text": "x"}, 200, "ok"),
        ({"text": ""}, 400, "no_text"),
        ({"text": "x", "blocks": [{"type": "confetti"}]}, 400, "invalid_blocks"),
        ({"text": "x", "blocks": "x"}, 400, "invalid_blocks_format"),
    ],
)
def test_the_body_for_a_response_url_is_validated_like_a_post(slack, body, status, said):
    url = slack.command_payload(ANN, OPS, "status")["response_url"]

    assert sent(slack, url, json.dumps(body)) == (status, said)
    assert len(slack.ephemerals(ANN)) == (status == 200)
