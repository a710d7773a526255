"""The stand-in's rate limits, on its clock, and the Retry-After that it reports."""

from __future__ import annotations

import pytest
from slack_sdk.errors import SlackApiError

from bot.slack.web_api.client import web_client
from bot.standin.catalogue import METHODS
from engine.clock import VirtualClock
from tests.patient import patient_slack

START = 1_700_000_000.25


@pytest.fixture
def clock():
    return VirtualClock(START)


@pytest.fixture
def slack(clock):
    with patient_slack(clock, limits=True) as standin:
        yield standin


@pytest.fixture
def client(slack):
    return web_client(slack.bot_token, slack.base_url)


def wait_said(call, **args):
    """The seconds of Retry-After, or 0 if the call was accepted."""
    try:
        call(**args)
    except SlackApiError as error:
        limited = error.response
    else:
        return 0
    assert limited.status_code == 429
    assert limited.data == {"ok": False, "error": "ratelimited"}
    return int(limited.headers["Retry-After"])


def calls_of(slack, client):
    """A valid call of each method."""
    ops, ann, group = slack.channel("ops"), slack.user("ann"), slack.group("oncall")
    slack.workspace.scopes += ",im:write"
    top = slack.say(ann, ops, "top")
    ours = slack.direct(ann)
    client.chat_postMessage(channel=ours, text="x")
    ts = slack.messages(ours)[0].ts
    return {
        "apps.connections.open": lambda: client.apps_connections_open(app_token=slack.app_token),
        "auth.test": client.auth_test,
        "chat.getPermalink": lambda: client.chat_getPermalink(channel=ops, message_ts=top.ts),
        "chat.postEphemeral": lambda: client.chat_postEphemeral(channel=ops, user=ann, text="x"),
        "chat.postMessage": lambda: client.chat_postMessage(channel=ops, text="x"),
        "chat.update": lambda: client.chat_update(channel=ours, ts=ts, text="x"),
        "conversations.history": lambda: client.conversations_history(channel=ops),
        "conversations.info": lambda: client.conversations_info(channel=ops),
        "conversations.members": lambda: client.conversations_members(channel=ops),
        "conversations.open": lambda: client.conversations_open(users=[ann]),
        "conversations.replies": lambda: client.conversations_replies(channel=ops, ts=top.ts),
        "usergroups.users.list": lambda: client.usergroups_users_list(usergroup=group),
        "users.info": lambda: client.users_info(user=ann),
        "views.open": lambda: client.views_open(
            trigger_id=slack.command_payload(ann, ops, "x")["trigger_id"],
            view={
                "type": "modal",
                "title": {"type": "plain_text", "text": "x"},
                "blocks": [{"type": "divider"}],
            },
        ),
    }


@pytest.mark.parametrize(
    ("method", "most", "seconds"),
    [
        ("apps.connections.open", 5, 300),
        ("auth.test", 600, 60),
        ("chat.getPermalink", 600, 60),
        ("chat.postEphemeral", 100, 60),
        ("chat.postMessage", 5, 5),
        ("chat.update", 50, 60),
        ("conversations.history", 50, 60),
        ("conversations.info", 50, 60),
        ("conversations.members", 100, 60),
        ("conversations.open", 50, 60),
        ("conversations.replies", 50, 60),
        ("usergroups.users.list", 20, 60),
        ("users.info", 100, 60),
        ("views.open", 100, 60),
    ],
)
def test_every_method_rejects_the_first_call_above_its_tier(
    slack, client, clock, method, most, seconds
):
    call = calls_of(slack, client)[method]

    assert [wait_said(call) for _ in range(most)] == [0] * most
    clock.jump(clock.now() + 0.5)
    assert wait_said(call) == seconds

    assert slack.limited == 1
    assert [c.status for c in slack.calls(method)][-1] == 429


def test_every_method_has_a_tier_and_a_call_in_the_tests(slack, client):
    known = set(slack.workspace.methods)

    assert set(calls_of(slack, client)) == set(METHODS) == known


def test_a_call_is_accepted_after_retry_after_and_not_earlier(slack, client, clock):
    ops = slack.channel("ops")
    for _ in range(5):
        client.chat_postMessage(channel=ops, text="x")
        clock.jump(clock.now() + 0.3)
    wait = wait_said(client.chat_postMessage, channel=ops, text="x")
    assert wait == 4  # the first one leaves the window 3.5 s from now, and seconds are whole

    refused_at = clock.now()
    clock.jump(refused_at + wait - 1)
    assert wait_said(client.chat_postMessage, channel=ops, text="x") == 1
    clock.jump(refused_at + wait)
    assert wait_said(client.chat_postMessage, channel=ops, text="x") == 0


def test_a_rate_limited_call_has_no_effect_and_does_not_count(slack, client, clock):
    ops = slack.channel("ops")
    for _ in range(20):
        wait_said(client.chat_postMessage, channel=ops, text="x")
    assert len(slack.messages(ops)) == 5

    clock.jump(clock.now() + 5)

    assert wait_said(client.chat_postMessage, channel=ops, text="x") == 0


def test_one_message_per_second_is_always_accepted(slack, client, clock):
    ops = slack.channel("ops")
    for _ in range(90):
        assert wait_said(client.chat_postMessage, channel=ops, text="x") == 0
        clock.jump(clock.now() + 1)
    assert slack.limited == 0


def test_each_channel_and_the_workspace_have_their_own_message_limits(slack, client):
    channels = [slack.channel(f"c{number}") for number in range(61)]

    waits = [
        wait_said(client.chat_postMessage, channel=one, text="x")
        for one in channels
        for _ in range(5)
    ]

    assert waits == [0] * 300 + [60] * 5


def test_a_rate_limit_of_one_method_does_not_affect_another(slack, client):
    calls = calls_of(slack, client)
    for _ in range(51):
        wait_said(calls["chat.update"])

    assert slack.limited == 1
    assert wait_said(calls["chat.postMessage"]) == 0
    assert wait_said(calls["conversations.info"]) == 0


def test_no_call_waits_if_limits_are_off():
    with patient_slack() as slack:
        ops, client = slack.channel("ops"), web_client(slack.bot_token, slack.base_url)

        assert [wait_said(client.chat_postMessage, channel=ops, text="x") for _ in range(8)] == [
            0
        ] * 8
        assert slack.limited == 0
