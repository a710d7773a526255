"""Checks before the bot starts. They report everything that is missing at once.

A start is not refused because Slack does not answer: runs go on without Slack, and so must a start.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bot.slack.kit.ids import bare, is_group
from bot.slack.setup.manifest import SCOPES
from bot.slack.web_api.client import Identity, SlackApi, web_client
from bot.slack.web_api.errors import AUTH, SlackLater, SlackTrouble
from engine.errors import Refused
from engine.settings import Settings, SlackSettings

log = logging.getLogger(__name__)

PAGE = "https://api.slack.com/apps"
GONE = frozenset({"token_revoked", "token_expired", "account_inactive"})
AT_ONCE = 8


def refuse_unless_ready(settings: Settings, *, runs_wait: bool = False) -> Identity | None:
    """Check settings, token, scopes, channels and groups. Returns the identity behind the token;
    ``None`` if Slack does not say. Raises ``Refused``, with everything that is missing and the fix.

    ``runs_wait``: unfinished runs wait for this start. Then problems that Slack reports are only
    logged: moves go on without Slack, and the problems can be fixed meanwhile. Missing settings are
    refused all the same.
    """
    slack = settings.slack
    absent = missing(slack)
    api = SlackApi(web_client(slack.bot_token.get_secret_value(), slack.api_url))
    found: list[str] = []
    identity = None
    if "bot_token" not in absent:
        identity = _identity(api, found)
    if identity is not None:
        found += _scopes(identity)
        found += _named(api, settings)
    if slack.mode == "socket" and "app_token" not in absent:
        found += _app_token(api, slack.app_token.get_secret_value())
    if runs_wait and not absent:
        for sentence in found:
            log.error("Runs continue all the same: %s", sentence)
        return identity
    refuse([*absent.values(), *found])
    return identity


def missing(slack: SlackSettings) -> dict[str, str]:
    """Settings without which no connection is possible, each with a sentence."""
    wanted = {
        "bot_token": ("xoxb-", "OAuth & Permissions, Bot User OAuth Token"),
        "app_token": ("xapp-", "Basic Information, App-Level Tokens, with connections:write"),
        "signing_secret": ("", "Basic Information, Signing Secret"),
    }
    del wanted["signing_secret" if slack.mode == "socket" else "app_token"]
    sentences = {}
    for name, (begin, place) in wanted.items():
        value = getattr(slack, name).get_secret_value()
        wrong = "is not set" if not value else f"is no token that begins with {begin}"
        if not value or not value.startswith(begin):
            sentences[name] = (
                f"The setting slack.{name} {wrong}. Set VMFERRY_SLACK__{name.upper()}. Its value "
                f"is on the page of the app ({PAGE}) under {place}."
            )
    return sentences


def refuse(sentences: list[str]) -> None:
    """Raise ``Refused`` with all these sentences; do nothing if there are none."""
    if len(sentences) == 1:
        raise Refused(sentences[0], what="slack")
    if sentences:
        listed = "".join(f"\n- {one}" for one in sentences)
        raise Refused(f"{len(sentences)} things are missing:{listed}", what="slack")


def _identity(api: SlackApi, found: list[str]) -> Identity | None:
    try:
        return api.identity()
    except SlackTrouble as trouble:
        if _silent(trouble, "The bot token, its scopes, channels and groups"):
            return None
        found.append(_token_sentence("bot_token", trouble.code))
        return None


def _token_sentence(name: str, code: str) -> str:
    if code in GONE:
        return f"Slack rejects slack.{name} ({code}). Install the app again and set the new token."
    return (
        f"Slack rejects slack.{name} ({code}). Copy it again from the page of the app "
        f"({PAGE}) into VMFERRY_SLACK__{name.upper()}."
    )


def _silent(trouble: SlackTrouble, what: str) -> bool:
    """Tell whether Slack did not answer, rather than rejected the call."""
    if not isinstance(trouble, SlackLater) or trouble.code in AUTH:
        return False
    log.warning("%s could not be checked, Slack does not answer: %s", what, trouble.code)
    return True


def _scopes(identity: Identity) -> list[str]:
    if identity.scopes is None:
        return []
    lacking = [scope for scope in SCOPES if scope not in identity.scopes]
    if not lacking:
        return []
    shown = "; ".join(f"{scope} (to {SCOPES[scope]})" for scope in lacking)
    noun = "scope" if len(lacking) == 1 else "scopes"
    return [
        f"The bot token lacks the {noun} {shown}. Add what is missing under OAuth & Permissions, "
        "or paste the manifest again (vmferry manifest), and install the app again."
    ]


def _named(api: SlackApi, settings: Settings) -> Iterator[str]:
    """Sentences about the channels and user groups in the settings that Slack does not show."""
    asked: list[tuple[Callable[[SlackApi, str, str], str], str, str]] = []
    slack, approval = settings.slack, settings.approval
    asked += [(_channel, one, "slack.channels") for one in slack.channels]
    asked += [(_channel, slack.fallback, "slack.fallback")] if slack.fallback else []
    asked += [(_channel, approval.channel, "approval.channel")] if approval.channel else []
    for name in ("oncall", "escalation", "starters"):
        groups = filter(is_group, getattr(approval, name))
        asked += [(_group, one, f"approval.{name}") for one in groups]
    with ThreadPoolExecutor(AT_ONCE) as asking:
        yield from filter(None, asking.map(lambda one: one[0](api, *one[1:]), asked))


def _channel(api: SlackApi, channel: str, setting: str) -> str:
    code = _answer(lambda: api.channel_trouble(channel), f"The channel {channel}")
    if code == "":
        return ""
    if code == "is_archived":
        return f"The channel {bare(channel)} of {setting} is archived. Remove or unarchive it."
    return (
        f"The bot cannot see the channel {bare(channel)} of {setting} ({code}). Type there: "
        "/invite @vmferry. A channel's id (C0123) is at the end of the channel's details."
    )


def _group(api: SlackApi, group: str, setting: str) -> str:
    code = _answer(lambda: "" if api.members(group) else "no members", f"The group {group}")
    if code == "":
        return ""
    return (
        f"Slack does not say who is in the user group {bare(group)} of {setting} ({code}). A "
        "group's id (S0123) is behind the three dots of the group's page. Until this works, nobody "
        "can decide or start a run as a member of this group."
    )


def _answer(ask: Callable[[], str], what: str) -> str:
    """Slack's error about a channel or group in the settings; empty: none."""
    try:
        return ask()
    except SlackTrouble as trouble:
        # A missing scope is reported once, by its name.
        if trouble.code == "missing_scope" or _silent(trouble, what):
            return ""
        return trouble.code


def _app_token(api: SlackApi, app_token: str) -> list[str]:
    try:
        api.try_app_token(app_token)
    except SlackTrouble as trouble:
        if _silent(trouble, "The app token"):
            return []
        if trouble.code in AUTH:
            return [_token_sentence("app_token", trouble.code)]
        return [
            f"Slack opens no socket for slack.app_token ({trouble.code}). Switch Socket Mode on, "
            f"and take an app-level token with connections:write, on the page of the app ({PAGE})."
        ]
    return []
