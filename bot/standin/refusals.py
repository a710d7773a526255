"""Validation of messages by Slack's rules, as one pure function.

Each rule yields Slack's error code and the place of the error. The shapes of blocks are in
``blocks.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from bot.standin.blocks import of_a_message
from bot.standin.shapes import Check, a_list, an_object, fits, shape, wrong
from bot.standin.values import Json, Refusal

TEXT_ON_UPDATE = 4_000
TEXT_ON_POST = 40_000
WHOLE_MESSAGE = 13_200
METADATA = 8_000
EVENT_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,255}")

_event = shape(
    "event_type event_payload",
    event_type=fits(
        lambda value: isinstance(value, str) and EVENT_TYPE.fullmatch(value), "must be a name"
    ),
    event_payload=an_object,
)


def refusal(method: str, args: Json) -> Refusal | None:
    """Refusal of an invalid message, for the first broken rule, or ``None``."""
    return next(_refusals(method, args), None)


def _refusals(method: str, args: Json) -> Iterator[Refusal]:
    """Errors of a message. Only the first is reliable: later checks assume that earlier ones
    passed. Slack does not publish the size limit of metadata; ours has to be far below."""
    text, blocks, metadata = args.get("text"), args.get("blocks"), args.get("metadata")
    if not text and not blocks:
        yield Refusal("no_text")
    if text is not None and not isinstance(text, str):
        yield Refusal("invalid_arguments", wrong("must be a string", "/text"))
    if method == "chat.update" and text and len(text) > TEXT_ON_UPDATE:
        yield Refusal("msg_too_long", f"{len(text)} of {TEXT_ON_UPDATE} characters")
    if blocks is not None:
        yield from _broken("invalid_blocks_format", a_list, blocks, "/blocks")
        yield from _broken("invalid_blocks", of_a_message, blocks, "/blocks")
        size = len(json.dumps(blocks, ensure_ascii=False))
        if size > WHOLE_MESSAGE:
            yield Refusal("msg_blocks_too_long", f"{size} characters of {WHOLE_MESSAGE}")
    if metadata is not None:
        yield from _broken("invalid_metadata_format", an_object, metadata, "/metadata")
    if metadata:
        yield from _broken("invalid_metadata_schema", _event, metadata, "/metadata")
        if len(json.dumps(metadata)) > METADATA:
            yield Refusal("metadata_too_large", f"over {METADATA} characters")


def _broken(code: str, check: Check, value: object, where: str) -> Iterator[Refusal]:
    return (Refusal(code, complaint) for complaint in check(value, where))
