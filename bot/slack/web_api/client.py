"""All calls of Slack's Web API. Every failure is one of two errors: later, or never.

The SDK's own retries are off, since they would post twice. The sender decides which calls are made
and when.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from slack_sdk import WebClient
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.slack_response import SlackResponse
from slack_sdk.webhook import WebhookClient

from bot.slack.kit.ids import bare, in_slack
from bot.slack.web_api.errors import SlackLater, SlackNever, Translated, header, seconds_of

Block = Mapping[str, object]
Marks = tuple[str, str]  # key and version of a message

TIMEOUT, QUICK = 10, 2
MARKED, PAGE, PAGES = "vmferry_message", 200, 5


def web_client(token: str | None, base_url: str | None = None) -> WebClient:
    """A client without retries of its own. It never uses a proxy for a local address."""
    client = WebClient(
        token=token, timeout=TIMEOUT, retry_handlers=[], base_url=base_url or WebClient.BASE_URL
    )
    if _local(base_url):
        client.proxy = None
    return client


def socket_client(base_url: str | None = None) -> AsyncWebClient:
    """A client that asks Slack for the address of a new socket."""
    client = AsyncWebClient(timeout=TIMEOUT, base_url=base_url or WebClient.BASE_URL)
    if _local(base_url):
        client.proxy = None
    return client


def _local(url: str | None) -> bool:
    return urlsplit(url or "").hostname in ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Identity:
    """Identity behind a token. ``scopes``: ``None`` if Slack did not say."""

    team: str
    user: str
    scopes: frozenset[str] | None


async def socket_address(client: AsyncWebClient, app_token: str) -> str:
    """Ask for the address of the next socket, valid once. Raises ``SlackLater``, ``SlackNever``."""
    with Translated():
        answer = await client.apps_connections_open(app_token=app_token)
        return str(answer["url"])


class SlackApi:
    """Calls to Slack: messages, forms, look-ups, and the checks before a start. Ids have their
    door, both as arguments and in results (``slack:U0123``). Raises ``SlackLater`` and
    ``SlackNever``."""

    def __init__(self, client: WebClient) -> None:
        self.client = client
        self._quick = copy.copy(client)  # for calls that a person waits for
        self._quick.timeout = QUICK
        self._mention = ""

    def identity(self) -> Identity:
        """Identity behind this token, and its scopes."""
        with Translated():
            answer = self.client.auth_test()
            said = header(answer.headers, "x-oauth-scopes")
            scopes = frozenset(one.strip() for one in said.split(",")) if said is not None else None
            return Identity(str(answer.get("team", "")), str(answer.get("user", "")), scopes)

    def channel_trouble(self, channel: str) -> str:
        """Slack's error word if nothing can be posted in this channel; empty: it can."""
        with Translated():
            answer = self.client.conversations_info(channel=bare(channel))
        found: Mapping[str, object] = answer.get("channel") or {}
        if found.get("is_archived"):
            return "is_archived"
        return "" if found.get("is_member") else "not_in_channel"

    def place_trouble(self, channel: str) -> str:
        """``shared`` if people of other organisations read this channel or soon will; else
        empty."""
        with Translated():
            found = self._quick.conversations_info(channel=bare(channel)).get("channel") or {}
        others = ("is_ext_shared", "is_pending_ext_shared")
        return "shared" if any(found.get(word) for word in others) else ""

    def try_app_token(self, app_token: str) -> None:
        """Ask for a socket without using it, to check that the token may open one."""
        with Translated():
            self.client.apps_connections_open(app_token=app_token)

    def post(
        self,
        marks: Marks,
        channel: str,
        text: str,
        blocks: Sequence[Block],
        thread_ts: str | None,
        broadcast: bool,
    ) -> tuple[str, str]:
        """Post a new message in a channel or to a person; returns its channel and ts. ``marks`` go
        into its metadata, so that a post whose answer was lost can be found. Not idempotent."""
        key, version = marks
        with Translated():
            answer = self.client.chat_postMessage(
                channel=bare(channel),
                text=text,
                blocks=[dict(block) for block in blocks],
                thread_ts=thread_ts,
                reply_broadcast=broadcast or None,
                unfurl_links=False,
                unfurl_media=False,
                metadata={"event_type": MARKED, "event_payload": {"key": key, "version": version}},
            )
            return in_slack(str(answer["channel"])), str(answer["ts"])

    def find(self, marks: Marks, channel: str, thread_ts: str | None, oldest: float) -> str | None:
        """Find our message with these marks among up to 1,000 not older than ``oldest`` (Slack's
        time); returns its ts. Needs the scopes channels:history or groups:history."""
        where = {"channel": bare(channel), "oldest": f"{oldest:.6f}", "include_all_metadata": True}
        pages = _pages(self.client.conversations_history, **where)
        if thread_ts is not None:
            pages = _pages(self.client.conversations_replies, ts=thread_ts, **where)
        sought = {"key": marks[0], "version": marks[1]}
        for message in (one for page in pages for one in _dicts(page.get("messages"))):
            metadata = message.get("metadata")
            if isinstance(metadata, dict) and metadata.get("event_payload") == sought:
                return str(message["ts"])
        return None

    def update(self, channel: str, ts: str, text: str, blocks: Sequence[Block]) -> None:
        """Replace the content of a message. Idempotent."""
        with Translated():
            self.client.chat_update(
                channel=bare(channel), ts=ts, text=text, blocks=[dict(block) for block in blocks]
            )

    def ephemeral(
        self,
        channel: str,
        user: str,
        text: str,
        thread_ts: str | None,
        blocks: Sequence[Block] = (),
    ) -> None:
        """Post a message that only this person sees. Not idempotent, but a duplicate is
        harmless."""
        with Translated():
            self.client.chat_postEphemeral(
                channel=bare(channel),
                user=bare(user),
                text=text,
                thread_ts=thread_ts,
                blocks=[dict(block) for block in blocks] or None,
            )

    def respond(
        self,
        url: str,
        text: str,
        thread_ts: str | None,
        blocks: Sequence[Block] = (),
        replaces: bool = False,
    ) -> None:
        """Reply through the response_url of an interaction. ``replaces``: the reply replaces the
        message that only this person sees and has clicked."""
        body: dict[str, object] = {
            "text": text,
            "response_type": "ephemeral",
            "replace_original": replaces,
        }
        if blocks:
            body["blocks"] = [dict(block) for block in blocks]
        if thread_ts:
            body["thread_ts"] = thread_ts
        hook = WebhookClient(url, timeout=TIMEOUT, retry_handlers=[])
        if _local(url):
            hook.proxy = None
        with Translated():
            answer = hook.send_dict(body)
        if answer.status_code == 429:
            raise SlackLater("ratelimited", seconds_of(answer.headers), refused=True)
        if answer.status_code != 200:
            raise SlackNever(f"response_url {answer.status_code}")

    def open_view(self, trigger: str, view: Block) -> None:
        """Open a form for the person who clicked. ``trigger`` is valid once, within 3 s of the
        click."""
        with Translated():
            self._quick.views_open(trigger_id=trigger, view=dict(view))

    def members(self, group: str) -> tuple[str, ...]:
        """Ids of the users who are in a user group now."""
        with Translated():
            users = self._quick.usergroups_users_list(usergroup=bare(group)).get("users")
        return _people(users)

    def in_channel(self, channel: str) -> tuple[str, ...]:
        """Ids of a channel's members. Raises ``SlackNever`` if there are more than 1,000."""
        pages = list(_pages(self._quick.conversations_members, channel=bare(channel)))
        if _further(pages[-1]):
            raise SlackNever("too_many_members")
        return tuple(user for page in pages for user in _people(page.get("members")))

    def direct(self, user: str) -> str:
        """Open the channel for direct messages to this user. Idempotent."""
        with Translated():
            found = self._quick.conversations_open(users=bare(user)).get("channel")
        return in_slack(str(found.get("id") or "")) if isinstance(found, Mapping) else ""

    def profile(self, user: str) -> Mapping[str, object]:
        """Slack's profile of a user."""
        with Translated():
            found = self._quick.users_info(user=bare(user)).get("user")
        return found if isinstance(found, Mapping) else {}

    def home(self) -> tuple[str, str]:
        """Ids of our team and its organisation (empty: it has none), without a door."""
        with Translated():
            answer = self._quick.auth_test()
        return str(answer.get("team_id") or ""), str(answer.get("enterprise_id") or "")

    def mention(self) -> str:
        """Mention of the bot, such as ``<@U0123>``. Asked of Slack once."""
        if not self._mention:
            with Translated():
                self._mention = f"<@{self._quick.auth_test()['user_id']}>"
        return self._mention

    def address(self) -> str:
        """Address of the workspace, such as ``https://example.slack.com/``."""
        with Translated():
            return str(self._quick.auth_test().get("url") or "")


def _pages(read: Callable[..., SlackResponse], **asked: object) -> Iterator[SlackResponse]:
    """Up to five pages of 200 of a list, each requested when needed."""
    cursor = None
    for _ in range(PAGES):
        with Translated():
            answer = read(limit=PAGE, cursor=cursor, **asked)
        yield answer
        cursor = _further(answer)
        if cursor is None:
            return


def _further(answer: SlackResponse) -> str | None:
    """Cursor of the next page; ``None``: there is none."""
    more: object = answer.get("response_metadata")
    return str(more.get("next_cursor") or "") or None if isinstance(more, Mapping) else None


def _people(users: object) -> tuple[str, ...]:
    return tuple(in_slack(str(one)) for one in users) if isinstance(users, list) else ()


def _dicts(values: object) -> list[dict[str, object]]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []
