"""Slack's requests to an app in HTTP mode: signed, in a form or in JSON."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from slack_sdk.signature import SignatureVerifier

from bot.standin.values import Json

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def request_of(kind: str, payload: Json, secret: str, now: float) -> tuple[bytes, dict[str, str]]:
    """The body and the headers in which this goes to an app."""
    body, content = json.dumps(payload), JSON
    if kind == "slash_commands":
        body, content = urlencode(payload), FORM
    elif kind == "interactive":
        body, content = urlencode({"payload": body}), FORM
    stamp = str(int(now))
    signed = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    headers = {
        "Content-Type": content,
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": signed or "",
    }
    return body.encode(), headers


def posted(
    url: str, body: bytes, headers: Mapping[str, str], timeout: float
) -> dict[str, object] | None:
    """Ack of the app; ``None``: it does not ack."""
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(Request(url, body, dict(headers)), timeout=timeout) as answer:
            text = answer.read().decode()
    except (HTTPError, OSError, http.client.HTTPException):
        return None
    try:
        said = json.loads(text) if text else {}
    except ValueError:
        said = {"text": text}
    return said if isinstance(said, dict) else {}
