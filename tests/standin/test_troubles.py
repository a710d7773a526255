"""Failures on demand: each looks from outside as it does in Slack."""

from __future__ import annotations

import http.client
from urllib.error import URLError

import pytest
from slack_sdk.errors import SlackApiError

from bot.slack.web_api.client import SlackApi, web_client
from bot.slack.web_api.errors import SlackLater, SlackNever

MARKED = {"event_type": "posted", "event_payload": {"key": "board:R1"}}


@pytest.fixture
def slack(slack):
    slack.workspace.scopes += ",im:write,im:history,im:read"
    return slack


@pytest.fixture
def client(slack):
    return web_client(slack.bot_token, slack.base_url)


@pytest.fixture
def ops(slack):
    return slack.channel("ops")


@pytest.fixture
def ann(slack):
    return slack.user("ann")


def error_of(call, **args):
    """Slack's error code, or an empty text."""
    try:
        call(**args)
    except SlackApiError as refused:
        return refused.response["error"]
    return ""


# --- answers that are lost --------------------------------------------------------------------


def test_a_post_whose_answer_is_lost_exists_although_its_caller_gets_an_error(slack, client, ops):
    slack.lose_answer("chat.postMessage")

    with pytest.raises((OSError, http.client.HTTPException)):
        client.chat_postMessage(channel=ops, text="one")

    assert [m.text for m in slack.messages(ops)] == ["one"]
    assert [c.status for c in slack.calls("chat.postMessage")] == [0]
    client.chat_postMessage(channel=ops, text="two")
    assert [m.text for m in slack.messages(ops)] == ["one", "two"]


def test_a_lost_request_has_no_effect(slack, client, ops):
    slack.lose_request("chat.postMessage", times=2)

    for _ in range(2):
        with pytest.raises((OSError, http.client.HTTPException)):
            client.chat_postMessage(channel=ops, text="one")

    assert slack.messages(ops) == ()
    assert error_of(client.chat_postMessage, channel=ops, text="two") == ""


def test_a_post_whose_answer_was_lost_is_found_by_its_metadata(slack, client, ops):
    slack.lose_answer("chat.postMessage")
    with pytest.raises((OSError, http.client.HTTPException)):
        client.chat_postMessage(channel=ops, text="one", metadata=MARKED)

    (blind,) = client.conversations_history(channel=ops)["messages"]
    (told,) = client.conversations_history(channel=ops, include_all_metadata=True)["messages"]

    assert "metadata" not in blind
    assert told["metadata"] == MARKED
    assert told["bot_id"] == "B0VMFERRY"


# --- what was said ----------------------------------------------------------------------------


def texts(answer):
    return [m["text"] for m in answer["messages"]]


def test_history_returns_the_channel_newest_first_in_pages(slack, client, ops, ann):
    lines = [slack.say(ann, ops, str(number)) for number in range(5)]
    slack.say(ann, ops, "in the thread", lines[0].ts)

    first = client.conversations_history(channel=ops, limit=3)
    second = client.conversations_history(
        channel=ops, limit=3, cursor=first["response_metadata"]["next_cursor"]
    )

    assert (texts(first), first["has_more"]) == (["4", "3", "2"], True)
    assert (texts(second), second["has_more"]) == (["1", "0"], False)
    since = client.conversations_history(channel=ops, oldest=lines[2].ts)
    assert texts(since) == ["4", "3"]
    inclusive = client.conversations_history(channel=ops, oldest=lines[3].ts, inclusive=True)
    assert texts(inclusive) == ["4", "3"]
    assert texts(client.conversations_history(channel=ops, latest=lines[1].ts)) == ["0"]


def test_replies_returns_the_parent_and_then_the_thread_oldest_first(slack, client, ops, ann):
    top = slack.say(ann, ops, "top")
    client.chat_postMessage(channel=ops, text="one", thread_ts=top.ts, metadata=MARKED)
    two = client.chat_postMessage(channel=ops, text="two", thread_ts=top.ts)["ts"]
    slack.say(ann, ops, "elsewhere")

    thread = client.conversations_replies(channel=ops, ts=top.ts, include_all_metadata=True)

    assert texts(thread) == ["top", "one", "two"]
    assert thread["messages"][1]["metadata"] == MARKED
    late = client.conversations_replies(channel=ops, ts=top.ts, oldest=two, inclusive=True)
    assert texts(late) == ["top", "two"]


def test_an_update_keeps_the_metadata_unless_it_replaces_them(slack, client, ops):
    ts = client.chat_postMessage(channel=ops, text="one", metadata=MARKED)["ts"]

    client.chat_update(channel=ops, ts=ts, text="two")
    assert slack.message(ts).metadata == MARKED
    client.chat_update(channel=ops, ts=ts, text="three", metadata={})
    assert slack.message(ts).metadata == {}


def test_a_message_of_another_author_cannot_be_updated(slack, client, ops, ann):
    said = slack.say(ann, ops, "mine")

    error = error_of(client.chat_update, channel=ops, ts=said.ts, text="ours")

    assert error == "cant_update_message"
    assert slack.message(said.ts).text == "mine"


# --- people in private ------------------------------------------------------------------------


def test_a_person_has_exactly_one_direct_channel(slack, client, ann):
    once = client.conversations_open(users=[ann])["channel"]["id"]
    again = client.conversations_open(users=[ann])["channel"]["id"]

    client.chat_postMessage(channel=once, text="to the place")
    direct = client.chat_postMessage(channel=ann, text="to the person")

    assert once == again == direct["channel"] == slack.direct(ann)
    assert once.startswith("D")
    assert [m.text for m in slack.messages(once)] == ["to the place", "to the person"]
    info = client.conversations_info(channel=once)["channel"]
    assert (info["is_im"], info["user"]) == (True, ann)


def test_an_ephemeral_message_in_a_thread_without_replies_is_not_shown(slack, client, ops, ann):
    ts = client.chat_postMessage(channel=ops, text="top")["ts"]

    client.chat_postEphemeral(channel=ops, user=ann, text="lost", thread_ts=ts)
    client.chat_postMessage(channel=ops, text="reply", thread_ts=ts)
    client.chat_postEphemeral(channel=ops, user=ann, text="seen", thread_ts=ts)

    assert [e.text for e in slack.ephemerals(ann)] == ["seen"]


def test_an_ephemeral_message_to_a_former_member_is_refused(slack, client, ops, ann):
    slack.kick(ops, ann)

    error = error_of(client.chat_postEphemeral, channel=ops, user=ann, text="psst")

    assert error == "user_not_in_channel"
    assert ann not in client.conversations_members(channel=ops)["members"]
    slack.invite(ops, ann)
    assert ann in client.conversations_members(channel=ops)["members"]


# --- channels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "cure", "posting", "updating"),
    [
        ("archive", "unarchive", "is_archived", "is_inactive"),
        ("kick", "invite", "not_in_channel", "not_in_channel"),
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_a_closed_channel_rejects_messages_until_it_is_open_again(
    slack, client, trouble, cure, posting, updating, private
):
    den = slack.channel("den", private=private)
    ts = client.chat_postMessage(channel=den, text="x")["ts"]

    getattr(slack, trouble)(den)
    hidden = private and trouble == "kick"
    expected = ["channel_not_found"] * 2 if hidden else [posting, updating]
    assert [
        error_of(client.chat_postMessage, channel=den, text="y"),
        error_of(client.chat_update, channel=den, ts=ts, text="y"),
    ] == expected

    getattr(slack, cure)(den)
    assert error_of(client.chat_update, channel=den, ts=ts, text="y") == ""
    assert [m.text for m in slack.messages(den)] == ["y"]


def test_a_channel_has_a_description(slack, client, ops):
    def is_(channel):
        said = client.conversations_info(channel=channel)["channel"]
        return {word[3:] for word in said if word.startswith("is_") and said[word]}

    den = slack.channel("den", private=True)

    assert is_(ops) == {"channel", "member"}
    assert is_(den) == {"group", "private", "member"}
    slack.share(ops)
    assert is_(ops) == {"channel", "member", "shared", "ext_shared"}
    slack.archive(ops)
    assert "archived" in is_(ops)
    slack.kick(ops)
    assert "member" not in is_(ops)
    slack.kick(den)
    assert error_of(client.conversations_info, channel=den) == "channel_not_found"


def test_a_deleted_channel_is_gone_with_all_its_messages(slack, client, ops):
    ts = client.chat_postMessage(channel=ops, text="x")["ts"]

    slack.delete(ops)

    for call in (
        lambda: error_of(client.chat_postMessage, channel=ops, text="x"),
        lambda: error_of(client.chat_update, channel=ops, ts=ts, text="x"),
        lambda: error_of(client.conversations_info, channel=ops),
        lambda: error_of(client.conversations_history, channel=ops),
    ):
        assert call() == "channel_not_found"
    assert slack.messages(ops) == ()


def test_a_message_has_a_permalink(slack, client, ops):
    ts = client.chat_postMessage(channel=ops, text="x")["ts"]

    link = client.chat_getPermalink(channel=ops, message_ts=ts)["permalink"]

    assert link.endswith(f"/archives/{ops}/p{ts.replace('.', '')}")


# --- the whole of it --------------------------------------------------------------------------


def test_a_revoked_token_is_invalid_until_the_app_is_installed_again(slack, client, ops):
    slack.revoke()

    assert error_of(client.auth_test) == "token_revoked"
    assert error_of(client.chat_postMessage, channel=ops, text="x") == "token_revoked"
    assert error_of(client.users_info, user="U404") == "token_revoked"
    assert client.apps_connections_open(app_token=slack.app_token)["ok"]

    slack.install()
    assert error_of(client.chat_postMessage, channel=ops, text="x") == ""


def test_a_call_without_a_token_or_with_the_wrong_kind_is_refused(slack, client):
    assert error_of(web_client(None, slack.base_url).auth_test) == "not_authed"
    assert error_of(web_client(slack.app_token, slack.base_url).auth_test) == "invalid_auth"
    assert error_of(client.apps_connections_open, app_token=slack.bot_token) == "invalid_auth"


def test_the_stand_in_returns_an_error_page_and_does_nothing_during_an_outage(slack, ops, ann):
    api = SlackApi(web_client(slack.bot_token, slack.base_url))
    url = str(slack.command_payload(ann, ops, "status")["response_url"])
    slack.down()

    with pytest.raises(SlackLater) as later:
        api.ephemeral(ops, ann, "x", None)
    assert later.value.seconds is None
    with pytest.raises((SlackLater, SlackNever)):
        api.respond(url, "x", None)
    with pytest.raises(SlackLater):
        api.try_app_token(slack.app_token)

    assert slack.ephemerals(ann) == ()
    assert [c.status for c in slack.calls()] == [503] * 3
    slack.up()
    api.respond(url, "x", None)
    assert [e.text for e in slack.ephemerals(ann)] == ["x"]


def test_a_stopped_stand_in_answers_nothing(slack, client):
    slack.stop()

    with pytest.raises(URLError):
        client.auth_test()


# --- triggers ---------------------------------------------------------------------------------


def modal():
    text = {"type": "plain_text", "text": "Why?"}
    field = {"type": "plain_text_input", "action_id": "why"}
    asked = {"type": "input", "block_id": "why", "label": text, "element": field}
    return {"type": "modal", "title": text, "submit": text, "blocks": [asked]}


def test_a_submitted_form_has_a_trigger_that_opens_one_more_form(slack, client, ops, ann):
    trigger = slack.command_payload(ann, ops, "status")["trigger_id"]
    client.views_open(trigger_id=trigger, view=modal())

    first, second = (
        slack.submit_payload(slack.form(ann), reason="because")["trigger_id"] for _ in range(2)
    )

    assert error_of(client.views_open, trigger_id=first, view=modal()) == ""
    again = error_of(client.views_open, trigger_id=first, view=modal())
    assert again == "exchanged_trigger_id"
    slack.workspace.triggers[second].until = 0.0
    late = error_of(client.views_open, trigger_id=second, view=modal())
    assert late == "expired_trigger_id"
