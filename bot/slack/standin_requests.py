"""What comes to the stand-in over HTTP, as values."""

from __future__ import annotations

import json

from aiohttp import web


def bearer(request: web.Request) -> str:
    """The token of a Web API call."""
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


async def arguments(request: web.Request) -> dict[str, object]:
    """Its arguments, from the query, from JSON or from a form."""
    if request.method == "GET":
        return dict(request.query)
    if request.content_type == "application/json":
        text = await request.text()
        try:
            body = json.loads(text or "{}")
        except ValueError:
            body = None  # Slack says what is missing, not that it could not read
        return body if isinstance(body, dict) else {}
    form = await request.post()
    return {key: value for key, value in form.items() if isinstance(value, str)}
