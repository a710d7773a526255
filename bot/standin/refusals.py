"""Messages that Slack refuses, as one pure function: the stand-in's strictness.

A rule answers with Slack's error code and a line that says where. The shapes of blocks are in
``blocks.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from bot.standin.blocks import of_a_message
from bot.standin.shapes import wrong
from bot.standin.values import Json, Refusal

TEXT_ON_UPDATE = 4_000
TEXT_ON_POST = 40_000
WHOLE_MESSAGE = 13_200
METADATA = 8_000
EVENT_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,255}")


def refusal(method: str, args: Json) -> Refusal | None:
    """Refusal of a message that Slack would not take, or ``None``: the first rule that is
    broken."""
    text, blocks, metadata = args.get("text"), args.get("blocks"), args.get("metadata")
    if not text and not blocks:
        return Refusal("no_text")
    if text is not None and not isinstance(text, str):
        return Refusal("invalid_arguments", wrong("must be a string", "/text"))
    if method == "chat.update" and isinstance(text, str) and len(text) > TEXT_ON_UPDATE:
        return Refusal("msg_too_long", f"{len(text)} of {TEXT_ON_UPDATE} characters")
    broken = _blocks(blocks) if blocks is not None else None
    return broken or (_metadata(metadata) if metadata is not None else None)


def _blocks(blocks: object) -> Refusal | None:
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        return Refusal("invalid_blocks_format", wrong("must be a list", "/blocks"))
    complaint = next(of_a_message(blocks, "/blocks"), None)
    if complaint:
        return Refusal("invalid_blocks", complaint)
    size = len(json.dumps(blocks, ensure_ascii=False))
    if size > WHOLE_MESSAGE:
        return Refusal("msg_blocks_too_long", f"{size} characters of {WHOLE_MESSAGE}")
    return None


def _metadata(metadata: object) -> Refusal | None:
    """Refusal of a message's metadata. Slack does not publish its size limit; ours has to be far
    below."""
    if not isinstance(metadata, Mapping):
        return Refusal("invalid_metadata_format", wrong("must be an object", "/metadata"))
    if not metadata:
        return None
    kind, payload = metadata.get("event_type"), metadata.get("event_payload")
    if set(metadata) - {"event_type", "event_payload"}:
        return Refusal("invalid_metadata_schema", wrong("unknown property", "/metadata"))
    if not isinstance(kind, str) or not EVENT_TYPE.fullmatch(kind):
        return Refusal("invalid_metadata_schema", wrong("must be a name", "/metadata/event_type"))
    if not isinstance(payload, Mapping):
        where = "/metadata/event_payload"
        return Refusal("invalid_metadata_schema", wrong("must be an object", where))
    if len(json.dumps(metadata)) > METADATA:
        return Refusal("metadata_too_large", f"over {METADATA} characters")
    return None
