"""The stand-in: it rejects what Slack rejects, and records the messages that people saw."""

from __future__ import annotations

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from bot.slack.web_api.client import SlackApi, web_client
from bot.slack.web_api.errors import SlackLater, SlackNever
from bot.standin.slack import NotAcked
from tests.troubled_slack import TroubledSlack


@pytest.fixture
def client(slack) -> WebClient:
    return web_client(slack.bot_token, slack.base_url)


def section(text):
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def pressed(**change):
    made = {
        "type": "button",
        "text": {"type": "plain_text", "text": "Go"},
        "action_id": "go",
        "value": "1",
    }
    return {"type": "actions", "elements": [made | change]}


def error_of(call, **args):
    with pytest.raises(SlackApiError) as refused:
        call(**args)
    return refused.value.response["error"]


def test_the_stand_in_recognises_its_tokens(slack, client):
    assert client.auth_test()["bot_id"] == "B0VMFERRY"
    assert error_of(web_client("xoxb-other", slack.base_url).auth_test) == "invalid_auth"


def test_channels_that_cannot_accept_a_message_return_the_reason(slack, client):
    attic, den = slack.channel("attic", archived=True), slack.channel("den", bot=False)

    assert error_of(client.chat_postMessage, channel="C404", text="x") == "channel_not_found"
    assert error_of(client.chat_postMessage, channel=attic, text="x") == "is_archived"
    assert error_of(client.chat_postMessage, channel=den, text="x") == "not_in_channel"


@pytest.mark.parametrize(
    ("blocks", "code"),
    [
        ([section("x")] * 51, "invalid_blocks"),
        ([section("x" * 3001)], "invalid_blocks"),
        ([section("")], "invalid_blocks"),
        ([pressed(value="x" * 2001)], "invalid_blocks"),
        ([pressed(style="green")], "invalid_blocks"),
        ([{"type": "actions", "elements": []}], "invalid_blocks"),
        ([{"type": "confetti"}], "invalid_blocks"),
        (["text"], "invalid_blocks"),
        ([section("x" * 2900)] * 5, "msg_blocks_too_long"),
    ],
)
def test_blocks_that_slack_rejects_are_rejected(slack, client, blocks, code):
    ops = slack.channel("ops")

    assert error_of(client.chat_postMessage, channel=ops, text="x", blocks=blocks) == code
    assert slack.messages(ops) == ()


def test_a_message_keeps_its_versions(slack, client):
    ops = slack.channel("ops")
    ts = client.chat_postMessage(channel=ops, text="one")["ts"]

    client.chat_update(channel=ops, ts=ts, text="two")

    assert [v.text for v in slack.message(ts).versions] == ["one", "two"]
    assert error_of(client.chat_update, channel=ops, ts="1.0", text="x") == "message_not_found"
    assert error_of(client.chat_update, channel=ops, ts=ts, text="x" * 4001) == "msg_too_long"
    assert [c.method for c in slack.calls()] == ["chat.postMessage"] + ["chat.update"] * 3


def test_replies_appear_in_the_thread_and_broadcast_replies_also_in_the_channel(slack, client):
    ops = slack.channel("ops")
    ts = client.chat_postMessage(channel=ops, text="top")["ts"]
    reply = client.chat_postMessage(channel=ops, text="quiet", thread_ts=ts)["ts"]
    client.chat_postMessage(channel=ops, text="loud", thread_ts=ts, reply_broadcast=True)

    assert [m.text for m in slack.thread(ops, ts)] == ["quiet", "loud"]
    assert [m.text for m in slack.messages(ops)] == ["top", "loud"]
    assert (
        error_of(client.chat_postMessage, channel=ops, text="x", thread_ts=reply)
        == "cannot_reply_to_message"
    )


def test_an_ephemeral_message_is_shown_only_to_a_member_of_the_channel(slack, client):
    ops, dana = slack.channel("ops"), slack.user("dana")

    client.chat_postEphemeral(channel=ops, user=dana, text="psst")

    assert [e.text for e in slack.ephemerals(dana)] == ["psst"]
    assert slack.messages(ops) == ()
    assert (
        error_of(client.chat_postEphemeral, channel=ops, user="U404", text="x")
        == "user_not_in_channel"
    )


def test_a_response_url_can_be_used_five_times(slack):
    dana, ops = slack.user("dana"), slack.channel("ops")
    api = SlackApi(web_client(slack.bot_token, slack.base_url))
    url = str(slack.command_payload(dana, ops, "status")["response_url"])

    for number in range(5):
        api.respond(url, f"answer {number}", None)
    with pytest.raises(SlackNever):
        api.respond(url, "too much", None)

    assert len(slack.ephemerals(dana)) == 5


def test_a_command_is_not_acked_if_no_app_is_connected(slack):
    with pytest.raises(NotAcked):
        slack.command(slack.user("dana"), slack.channel("ops"), "status")


def test_failed_calls_are_classified_as_temporary_or_permanent(slack):
    ops = slack.channel("ops")
    api = SlackApi(web_client(slack.bot_token, slack.base_url))
    slack.order("chat.postMessage", "ratelimited", retry_after=17)
    slack.order("chat.postMessage", "internal_error")

    seconds = []
    for _ in range(2):
        with pytest.raises(SlackLater) as later:
            api.post(("board:R1", "v1"), ops, "x", [], None, False)
        seconds.append(later.value.seconds)
    with pytest.raises(SlackNever) as never:
        api.post(("board:R1", "v1"), "C404", "x", [], None, False)
    gone = SlackApi(web_client(slack.bot_token, "http://127.0.0.1:9/api/"))
    with pytest.raises(SlackLater):
        gone.post(("board:R1", "v1"), ops, "x", [], None, False)

    assert seconds == [17.0, None]
    assert never.value.code == "channel_not_found"


def test_the_sdk_does_not_repeat_a_failed_post(slack):
    ops = slack.channel("ops")
    api = SlackApi(web_client(slack.bot_token, slack.base_url))
    slack.order("chat.postMessage", "internal_error")

    with pytest.raises(SlackLater):
        api.post(("board:R1", "v1"), ops, "x", [], None, False)

    assert len(slack.calls("chat.postMessage")) == 1


# --- people and forms -----------------------------------------------------------------------


def modal(**change):
    reason = {"type": "plain_text_input", "action_id": "reason"}
    label = {"type": "plain_text", "text": "Why?"}
    made = {
        "type": "modal",
        "title": label,
        "submit": {"type": "plain_text", "text": "Deny"},
        "blocks": [{"type": "input", "block_id": "reason", "label": label, "element": reason}],
    }
    return {name: part for name, part in (made | change).items() if part is not None}


@pytest.fixture
def trigger(slack):
    ann, ops = slack.user("ann"), slack.channel("ops")
    return lambda: slack.command_payload(ann, ops, "status")["trigger_id"]


def test_a_trigger_opens_one_form_and_an_unknown_trigger_opens_none(slack, client, trigger):
    once = trigger()

    client.views_open(trigger_id=once, view=modal())

    assert error_of(client.views_open, trigger_id=once, view=modal()) == "exchanged_trigger_id"
    assert error_of(client.views_open, trigger_id="7.7", view=modal()) == "invalid_trigger_id"
    assert slack.form(slack.user("ann")).view["title"]["text"] == "Why?"


def test_a_trigger_expires_after_three_seconds(slack, client, trigger):
    slack.trigger_life = TroubledSlack().trigger_life
    late = trigger()
    slack.workspace.triggers[late].until -= 3.5

    assert error_of(client.views_open, trigger_id=late, view=modal()) == "expired_trigger_id"


@pytest.mark.parametrize(
    "change",
    [
        {"title": {"type": "plain_text", "text": "x" * 25}},
        {"title": {"type": "mrkdwn", "text": "x"}},
        {"submit": None},
        {"private_metadata": "x" * 3001},
        {"blocks": [section("x" * 3001)]},
        {"blocks": []},
        {"type": "home"},
    ],
)
def test_forms_that_slack_rejects_are_rejected(client, trigger, change):
    broken = modal(**change)

    assert error_of(client.views_open, trigger_id=trigger(), view=broken) == "invalid_arguments"


def choice(options):
    select = {"type": "multi_static_select", "action_id": "vms", "options": options}
    label = {"type": "plain_text", "text": "VMs"}
    return modal(blocks=[{"type": "input", "block_id": "vms", "label": label, "element": select}])


def test_a_select_with_no_options_or_over_a_hundred_is_refused(client, trigger):
    option = {"text": {"type": "plain_text", "text": "a"}, "value": "0"}

    client.views_open(trigger_id=trigger(), view=choice([option] * 100))
    for options in ([option] * 101, []):
        broken = choice(options)
        assert error_of(client.views_open, trigger_id=trigger(), view=broken) == "invalid_arguments"


def test_the_stand_in_knows_its_people_and_groups(slack, client):
    ann = slack.user("ann", is_restricted=True)
    group = slack.group("oncall", ann)

    assert client.users_info(user=ann)["user"]["is_restricted"]
    assert client.usergroups_users_list(usergroup=group)["users"] == [ann]
    assert error_of(client.users_info, user="U404") == "user_not_found"
    assert error_of(client.usergroups_users_list, usergroup="S404") == "no_such_subteam"
