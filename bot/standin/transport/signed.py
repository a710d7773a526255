"""Requests to an app in HTTP mode: signed, as a form or as JSON."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from aiohttp import ClientError, ClientTimeout, request
from slack_sdk.signature import SignatureVerifier

from bot.standin.values import Json

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def request_of(kind: str, payload: Json, secret: str, now: float) -> tuple[str, dict[str, str]]:
    """Body and headers of a request to an app."""
    body, content = json.dumps(payload), JSON
    if kind == "slash_commands":
        body, content = urlencode(payload), FORM
    elif kind == "interactive":
        body, content = urlencode({"payload": body}), FORM
    stamp = str(int(now))
    signed = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    return body, {
        "Content-Type": content,
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": signed or "",
    }


async def posted(url: str, body: str, headers: dict[str, str], seconds: float) -> Json | None:
    """Post a request. Return the app's ack, or ``None`` if there is none."""
    patience = ClientTimeout(seconds)
    try:
        async with request("POST", url, data=body, headers=headers, timeout=patience) as answer:
            text = await answer.text()
    except (ClientError, TimeoutError):
        return None
    if not answer.ok:
        return None
    try:
        said = json.loads(text or "{}")
    except ValueError:
        said = {"text": text}
    return said if isinstance(said, dict) else {}
