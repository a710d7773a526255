"""Errors of Web API calls: try again later, or never."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping

from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_slack_response import AsyncSlackResponse
from slack_sdk.web.slack_response import SlackResponse

WORD = re.compile(r"\w+")  # the form of Slack's error words
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
    """A call that did not succeed. ``code``: Slack's error word. ``refused``: Slack rejected the
    call, so it had no effect; otherwise its result is unknown."""

    def __init__(self, code: str, *, refused: bool = True) -> None:
        super().__init__(code)
        self.code, self.refused = code, refused


class SlackLater(SlackTrouble):
    """A call to try again; ``seconds``: how long to wait first, if known."""

    def __init__(self, code: str, seconds: float | None = None, *, refused: bool = False) -> None:
        super().__init__(code, refused=refused)
        self.seconds = seconds


class SlackNever(SlackTrouble):
    """A call that had no effect and will fail again."""


class Translated:
    """Context that translates the SDK's exceptions into ``SlackLater`` or ``SlackNever``."""

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
        return SlackLater("ratelimited", seconds_of(headers), refused=True)
    if code in AUTH:
        return SlackLater(code, 60.0, refused=True)
    if status >= 500 or code in PASSING or code.startswith("HTTP"):
        return SlackLater(code)
    return SlackNever(code)


def _field(answer: object, name: str) -> object:
    data = answer.data if isinstance(answer, SlackResponse | AsyncSlackResponse) else answer
    return data.get(name) if isinstance(data, dict) else None


def seconds_of(headers: Mapping[str, object]) -> float:
    """Seconds in the header Retry-After, at least 1; 30 if it is missing or no number."""
    try:
        return max(1.0, float(header(headers, "retry-after") or "30"))
    except ValueError:
        return 30.0


def header(headers: Mapping[str, object], name: str) -> str | None:
    """The header of that name (in lower case), whatever its case; ``None``: there is none."""
    said = next((v for k, v in headers.items() if k.casefold() == name), None)
    text = said[0] if isinstance(said, (list, tuple)) and said else said
    return None if text is None else str(text)
