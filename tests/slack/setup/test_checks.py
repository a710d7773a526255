"""Setup checks: everything that is missing is named before the start, each with what to do."""

from __future__ import annotations

import pytest

from bot.slack.setup.checks import refuse_unless_ready
from engine.errors import Refused
from engine.settings import Settings
from tests.slack.said import sections


def settings(slack, **other):
    said = {
        "bot_token": slack.bot_token,
        "app_token": slack.app_token,
        "api_url": slack.base_url,
        **other,
    }
    return Settings(**sections(**said))


def refusal(slack, **other):
    with pytest.raises(Refused) as refused:
        refuse_unless_ready(settings(slack, **other))
    return str(refused.value)


def test_a_complete_setup_identifies_the_workspace(slack):
    ops = slack.channel("ops")

    identity = refuse_unless_ready(settings(slack, channels=(ops,)))

    assert identity is not None
    assert (identity.team, identity.user) == ("Stand-in", "vmferry")


def test_all_missing_parts_are_named_at_once(slack):
    slack.workspace.scopes = (
        "app_mentions:read,channels:read,chat:write,groups:read,usergroups:read"
    )
    here = slack.group("here", slack.user("ravi"))
    uninvited, old = slack.channel("uninvited", bot=False), slack.channel("old", archived=True)

    said = refusal(
        slack,
        app_token="",
        channels=(uninvited, old, "C0NOWHERE"),
        fallback="C0FALL",
        approvals_channel="C0ASK",
        oncall=(here, "S0GONE"),
    )

    assert said.startswith("8 things are missing:")
    assert "the channel C0FALL of slack.fallback (channel_not_found)" in said
    assert "the channel C0ASK of approval.channel (channel_not_found)" in said
    assert "who is in the user group S0GONE of approval.oncall (no_such_subteam)" in said
    assert here not in said
    assert "slack.app_token is not set. Set VMFERRY_SLACK__APP_TOKEN" in said
    assert "lacks the scopes channels:history" in said
    assert "commands (to hear the slash command)" in said
    assert "chat:write" not in said
    assert f"cannot see the channel {uninvited} of slack.channels (not_in_channel)" in said
    assert "/invite @vmferry" in said
    assert f"The channel {old} of slack.channels is archived" in said
    assert "cannot see the channel C0NOWHERE of slack.channels (channel_not_found)" in said


def test_an_unknown_user_group_is_named_with_its_setting(slack):
    there = slack.group("oncall", slack.user("ravi"))

    said = refusal(slack, oncall=(there,), escalation=("S0GONE",), starters=("S0LEFT", "U0RAVI"))

    assert "the user group S0GONE of approval.escalation (no_such_subteam)" in said
    assert "the user group S0LEFT of approval.starters" in said
    assert there not in said
    assert "U0RAVI" not in said


def test_missing_tokens_are_both_named_without_asking_slack(slack):
    said = refusal(slack, bot_token="", app_token="xoxb-the-wrong-one")

    assert "slack.bot_token is not set" in said
    assert "slack.app_token is no token that begins with xapp-" in said
    assert "xoxb-the-wrong-one" not in said
    assert slack.calls() == ()


def test_rejected_tokens_are_both_named_and_never_shown(slack):
    said = refusal(slack, bot_token="xoxb-mistyped", app_token="xapp-mistyped")

    assert "rejects slack.bot_token (invalid_auth)" in said
    assert "rejects slack.app_token (invalid_auth)" in said
    assert "mistyped" not in said


def test_a_removed_bot_must_be_installed_again(slack):
    slack.order("auth.test", "account_inactive")

    assert "Install the app again" in refusal(slack)


def test_an_app_token_without_a_socket_is_reported_with_the_slack_error(slack):
    slack.order("apps.connections.open", "missing_scope")

    assert "no socket for slack.app_token (missing_scope)" in refusal(slack)


def test_http_mode_needs_the_signing_secret_and_no_app_token(slack):
    said = refusal(slack, mode="http", app_token="")

    assert said.startswith("The setting slack.signing_secret is not set.")
    assert "app_token" not in said
    assert refuse_unless_ready(settings(slack, mode="http", app_token="", signing_secret="s"))


def test_an_unreachable_slack_does_not_prevent_the_start(slack, caplog):
    slack.order("auth.test", "internal_error")
    slack.order("apps.connections.open", "ratelimited")

    assert refuse_unless_ready(settings(slack)) is None
    assert "The bot token, its scopes, channels and groups could not be checked" in caplog.text


def test_a_missing_scope_that_hides_the_channels_is_named_once(slack):
    slack.order("conversations.info", "missing_scope")
    slack.workspace.scopes = slack.workspace.scopes.replace("channels:read,", "")

    said = refusal(slack, channels=(slack.channel("ops"),))

    assert said.startswith("The bot token lacks the scope channels:read (to see")
    assert "missing_scope" not in said


def test_setup_problems_are_named_but_do_not_stop_unfinished_runs(slack, caplog):
    old = slack.channel("old", archived=True)

    identity = refuse_unless_ready(settings(slack, channels=(old,)), runs_wait=True)

    assert identity is not None
    assert f"Runs continue all the same: The channel {old} of slack.channels is arch" in caplog.text
    with pytest.raises(Refused, match="app_token is not set"):
        refuse_unless_ready(settings(slack, app_token=""), runs_wait=True)
