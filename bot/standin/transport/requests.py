"""What comes to the stand-in over HTTP, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

IN_JSON = ("blocks", "metadata", "view")


def bearer(request: web.Request) -> str:
    """The token of a Web API call."""
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


async def arguments(request: web.Request) -> dict[str, object]:
    """Its arguments, from the query, from JSON or from a form."""
    if request.method == "GET":
        return _read(dict(request.query))
    if request.content_type == "application/json":
        text = await request.text()
        try:
            body = json.loads(text or "{}")
        except ValueError:
            body = None  # Slack says what is missing, not that it could not read
        return _read(body) if isinstance(body, dict) else {}
    form = await request.post()
    return _read({key: value for key, value in form.items() if isinstance(value, str)})


def _read(args: Mapping[str, object]) -> dict[str, object]:
    """Lists and objects may come as text; what cannot be read stays one."""
    return {name: _parsed(value) if name in IN_JSON else value for name, value in args.items()}


def _parsed(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
