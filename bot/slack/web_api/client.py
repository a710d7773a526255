"""The only calls of Slack's Web API, with every failure as one of two answers: later, or never.

The SDK's own retries are switched off: it would post twice. Who may call what and when is the
outbox's business.
"""

from __future__ import annotations

import copy
import http.client
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import ClientError
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse
from slack_sdk.web.slack_response import SlackResponse
from slack_sdk.webhook import WebhookClient

Block = Mapping[str, object]
Marks = tuple[str, str]  # key and version of a message

TIMEOUT, QUICK = 10, 2
MARKED, PAGE, PAGES = "vmferry_message", 200, 5
REPLIES, REPLIES_FOR = 5, 29 * 60.0
WORD = re.compile(r"\w+")  # Slack's own names of what is wrong
SLOW_DOWN = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
AUTH = frozenset(
    {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"}
)
PASSING = frozenset(
    {
        "fatal_error",
        "internal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
        "external_channel_migrating",
        "update_failed",
    }
)


class SlackTrouble(Exception):
    """A call that did not succeed; ``code`` is Slack's word. ``refused``: Slack said no, so it did
    not happen; otherwise nobody knows."""

    def __init__(self, code: str, *, refused: bool = True) -> None:
        super().__init__(code)
        self.code, self.refused = code, refused


class SlackLater(SlackTrouble):
    """Try again, in ``seconds`` where Slack says so."""

    def __init__(self, code: str, seconds: float | None = None, *, refused: bool = False) -> None:
        super().__init__(code, refused=refused)
        self.seconds = seconds


class SlackNever(SlackTrouble):
    """It did not happen, and trying again will not help."""


def web_client(token: str | None, base_url: str | None = None) -> WebClient:
    """A client that never retries by itself. A proxy is never used for this machine itself."""
    client = WebClient(
        token=token,
        timeout=TIMEOUT,
        retry_handlers=[],
        base_url=base_url or WebClient.BASE_URL,
    )
    if _local(base_url):
        client.proxy = None
    return client


def socket_client(base_url: str | None = None) -> AsyncWebClient:
    """What asks Slack for the address of a new socket."""
    client = AsyncWebClient(timeout=TIMEOUT, base_url=base_url or WebClient.BASE_URL)
    if _local(base_url):
        client.proxy = None
    return client


def _local(url: str | None) -> bool:
    return urlsplit(url or "").hostname in ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Identity:
    """Whose token it is. ``scopes`` is ``None`` where Slack did not say."""

    team: str
    user: str
    scopes: frozenset[str] | None


async def socket_address(client: AsyncWebClient, app_token: str) -> str:
    """Where the next socket connects to; used once. Raises ``SlackLater`` and ``SlackNever``."""
    with _Translated():
        answer = await client.apps_connections_open(app_token=app_token)
        return str(answer["url"])


class SlackApi:
    """Post, update, tell one person, open a form; look up people and what is checked at a start."""

    def __init__(self, client: WebClient) -> None:
        self.client = client
        self._quick = copy.copy(client)  # for what somebody waits for, finger on the button
        self._quick.timeout = QUICK

    def identity(self) -> Identity:
        """Whose token this is, and what it may do."""
        with _Translated():
            answer = self.client.auth_test()
            said = _header(answer.headers, "x-oauth-scopes")
            scopes = frozenset(one.strip() for one in said.split(",")) if said is not None else None
            return Identity(str(answer.get("team", "")), str(answer.get("user", "")), scopes)

    def channel_trouble(self, channel: str) -> str:
        """Slack's word for why nothing can be said in this channel; empty: it can."""
        with _Translated():
            answer = self.client.conversations_info(channel=channel)
        found: Mapping[str, object] = answer.get("channel") or {}
        if found.get("is_archived"):
            return "is_archived"
        return "" if found.get("is_member") else "not_in_channel"

    def place_trouble(self, channel: str) -> str:
        """``shared``, where people of other organisations read this channel or soon will."""
        with _Translated():
            found = self._quick.conversations_info(channel=channel).get("channel") or {}
        others = ("is_ext_shared", "is_pending_ext_shared")
        return "shared" if any(found.get(word) for word in others) else ""

    def try_app_token(self, app_token: str) -> None:
        """Ask for a socket and do not use it: is this an app-level token that may?"""
        with _Translated():
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
        """A new message, in a channel or to a person; returns where it stands: channel and ts.
        ``marks`` go along, so that a post whose answer was lost can be found. Not idempotent."""
        key, version = marks
        with _Translated():
            answer = self.client.chat_postMessage(
                channel=channel,
                text=text,
                blocks=[dict(block) for block in blocks],
                thread_ts=thread_ts,
                reply_broadcast=broadcast or None,
                unfurl_links=False,
                unfurl_media=False,
                metadata={"event_type": MARKED, "event_payload": {"key": key, "version": version}},
            )
            return str(answer["channel"]), str(answer["ts"])

    def find(self, marks: Marks, channel: str, thread_ts: str | None, oldest: float) -> str | None:
        """The ts of the message of ours with these marks, not older than ``oldest`` (Slack's
        time). Needs the scopes channels:history or groups:history."""
        cursor, sought = "", {"key": marks[0], "version": marks[1]}
        for _ in range(PAGES):
            with _Translated():
                answer = self._page(channel, thread_ts, oldest, cursor)
            for message in _dicts(answer.get("messages")):
                metadata = message.get("metadata")
                if isinstance(metadata, dict) and metadata.get("event_payload") == sought:
                    return str(message["ts"])
            further = answer.get("response_metadata")
            cursor = str(further.get("next_cursor") or "") if isinstance(further, dict) else ""
            if not cursor:
                break
        return None

    def _page(
        self, channel: str, thread_ts: str | None, oldest: float, cursor: str
    ) -> SlackResponse:
        since = f"{oldest:.6f}"
        if thread_ts is None:
            return self.client.conversations_history(
                channel=channel,
                oldest=since,
                include_all_metadata=True,
                limit=PAGE,
                cursor=cursor or None,
            )
        return self.client.conversations_replies(
            channel=channel,
            ts=thread_ts,
            oldest=since,
            include_all_metadata=True,
            limit=PAGE,
            cursor=cursor or None,
        )

    def update(self, channel: str, ts: str, text: str, blocks: Sequence[Block]) -> None:
        """Another content for a message. Idempotent."""
        with _Translated():
            self.client.chat_update(
                channel=channel, ts=ts, text=text, blocks=[dict(block) for block in blocks]
            )

    def ephemeral(
        self,
        channel: str,
        user: str,
        text: str,
        thread_ts: str | None,
        blocks: Sequence[Block] = (),
    ) -> None:
        """Something that only this person sees; a second time does no harm."""
        with _Translated():
            self.client.chat_postEphemeral(
                channel=channel,
                user=user,
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
        """The same through the response_url of what the person did; ``replaces``: in the place of
        what only this person sees and has clicked."""
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
        with _Translated():
            answer = hook.send_dict(body)
        if answer.status_code == 429:
            raise SlackLater("ratelimited", _seconds(answer.headers), refused=True)
        if answer.status_code != 200:
            raise SlackNever(f"response_url {answer.status_code}")

    def open_view(self, trigger: str, view: Block) -> None:
        """A form for whoever clicked; ``trigger`` opens one, within 3 s of the click."""
        with _Translated():
            self._quick.views_open(trigger_id=trigger, view=dict(view))

    def members(self, group: str) -> tuple[str, ...]:
        """The user ids that are in a user group now."""
        with _Translated():
            users = self._quick.usergroups_users_list(usergroup=group).get("users")
        return tuple(map(str, users)) if isinstance(users, list) else ()

    def in_channel(self, channel: str) -> tuple[str, ...]:
        """The user ids that are in a channel. Raises ``SlackNever`` where it has too many."""
        found: list[str] = []
        cursor = ""
        for _ in range(PAGES):
            with _Translated():
                answer = self._quick.conversations_members(
                    channel=channel, limit=PAGE, cursor=cursor or None
                )
            users: object = answer.get("members")
            found += map(str, users) if isinstance(users, list) else []
            more: object = answer.get("response_metadata")
            cursor = str(more.get("next_cursor") or "") if isinstance(more, Mapping) else ""
            if not cursor:
                return tuple(found)
        raise SlackNever("too_many_members")

    def direct(self, user: str) -> str:
        """The channel in which this user is written to directly."""
        with _Translated():
            found = self._quick.conversations_open(users=user).get("channel")
        return str(found.get("id") or "") if isinstance(found, Mapping) else ""

    def profile(self, user: str) -> Mapping[str, object]:
        """What Slack knows of a user."""
        with _Translated():
            found = self._quick.users_info(user=user).get("user")
        return found if isinstance(found, Mapping) else {}

    def home(self) -> tuple[str, str]:
        """Our own team, and its organisation (empty where it has none)."""
        with _Translated():
            answer = self._quick.auth_test()
        return str(answer.get("team_id") or ""), str(answer.get("enterprise_id") or "")

    def address(self) -> str:
        """Where the workspace is, such as ``https://example.slack.com/``."""
        with _Translated():
            return str(self._quick.auth_test().get("url") or "")


class _Translated:
    """Turns what the SDK raises into ``SlackLater`` or ``SlackNever``."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SlackApiError):
            raise _translated(error) from error
        if isinstance(error, (OSError, http.client.HTTPException, SlackClientError, ClientError)):
            raise SlackLater(type(error).__name__) from error


def _translated(error: SlackApiError) -> SlackTrouble:
    answer = error.response
    heard = isinstance(answer, SlackResponse | AsyncSlackResponse)
    status, headers = (answer.status_code, answer.headers) if heard else (200, {})
    code = str(_field(answer, "error") or "")
    if not WORD.fullmatch(code):
        code = f"HTTP {status}"  # a page instead of an answer
    if status == 429 or code in SLOW_DOWN:
        return SlackLater("ratelimited", _seconds(headers), refused=True)
    if code in AUTH:
        return SlackLater(code, 60.0, refused=True)
    if status >= 500 or code in PASSING or code.startswith("HTTP"):
        return SlackLater(code)
    return SlackNever(code)


def _field(answer: object, name: str) -> object:
    data = answer.data if isinstance(answer, SlackResponse | AsyncSlackResponse) else answer
    return data.get(name) if isinstance(data, dict) else None


def _dicts(values: object) -> list[dict[str, object]]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _seconds(headers: Mapping[str, object]) -> float:
    """Retry-After, whatever the case of the header; 30 s where Slack does not say."""
    try:
        return max(1.0, float(_header(headers, "retry-after") or "30"))
    except ValueError:
        return 30.0


def _header(headers: Mapping[str, object], name: str) -> str | None:
    """The header of that name, whatever its case; ``None``: there is none."""
    said = next((v for k, v in headers.items() if k.casefold() == name), None)
    text = said[0] if isinstance(said, (list, tuple)) and said else said
    return None if text is None else str(text)


@dataclass
class _Url:
    address: str
    until: float
    left: int = REPLIES


class ReplyUrls:
    """The response URLs of the last interactions, in memory only: they are secrets.

    Five uses within 30 minutes each; after a restart people are told by ``chat.postEphemeral``.
    """

    def __init__(self, most: int = 2_000) -> None:
        self._urls: OrderedDict[int, _Url] = OrderedDict()
        self._lock = threading.Lock()
        self._most = most

    def keep(self, inbox: int, address: str, now: float) -> None:
        """Remember where this row can be answered. ``now`` is monotonic."""
        with self._lock:
            self._urls[inbox] = _Url(address, now + REPLIES_FOR)
            while len(self._urls) > self._most:
                self._urls.popitem(last=False)

    def has(self, inbox: int | None, now: float) -> bool:
        """Is there an address for this row that can still be used?"""
        with self._lock:
            url = self._urls.get(inbox) if inbox is not None else None
            return url is not None and url.left > 0 and url.until >= now

    def drop(self, inbox: int | None) -> None:
        """It does not work. Idempotent."""
        with self._lock:
            if inbox is not None:
                self._urls.pop(inbox, None)

    def use(self, inbox: int | None, now: float) -> str | None:
        """An address that can still be used, counted; ``None`` where there is none."""
        with self._lock:
            url = self._urls.get(inbox) if inbox is not None else None
            if url is None or url.left < 1 or url.until < now:
                return None
            url.left -= 1
            return url.address
