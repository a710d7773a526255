"""What Slack refuses about a message, as one pure function: the stand-in's strictness.

A rule answers with Slack's error code and, for blocks, a line that says where. Rules are added
to the tables below; nothing else of the stand-in knows a limit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Json = Mapping[str, object]

TEXT_ON_UPDATE = 4_000
TEXT_ON_POST = 40_000
BLOCKS = 50
WHOLE_MESSAGE = 13_200
SECTION = 3_000
FIELDS, FIELD = 10, 2_000
HEADER = 150
BUTTONS, CONTEXTS = 25, 10
BUTTON_TEXT, BUTTON_VALUE, IDENTIFIER = 75, 2_000, 255
CONFIRM = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
KNOWN_BLOCKS = frozenset({"section", "header", "context", "divider", "actions", "image"})


@dataclass(frozen=True)
class Refusal:
    """Slack's error code and where it is."""

    code: str
    where: str = ""


def refusal(method: str, args: Json) -> Refusal | None:
    """Why Slack would not take this message, or ``None``: the first rule that is broken."""
    text, blocks = args.get("text"), args.get("blocks")
    if not text and not blocks:
        return Refusal("no_text")
    if text is not None and not isinstance(text, str):
        return Refusal("invalid_arguments", "text is no string")
    longest = TEXT_ON_UPDATE if method == "chat.update" else TEXT_ON_POST
    if isinstance(text, str) and len(text) > longest:
        return Refusal("msg_too_long", f"text has {len(text)} of {longest} characters")
    return _blocks(blocks) if blocks else None


def _blocks(blocks: object) -> Refusal | None:
    if not isinstance(blocks, Sequence) or isinstance(blocks, str):
        return Refusal("invalid_blocks_format", "blocks is no list")
    if len(blocks) > BLOCKS:
        return Refusal("invalid_blocks", f"{len(blocks)} blocks of {BLOCKS}")
    for number, block in enumerate(blocks):
        complaint = next(complaints(block), None)
        if complaint:
            return Refusal("invalid_blocks", f"/blocks/{number}: {complaint}")
    size = len(json.dumps(blocks, ensure_ascii=False))
    if size > WHOLE_MESSAGE:
        return Refusal("msg_blocks_too_long", f"{size} characters of {WHOLE_MESSAGE}")
    return None


def complaints(block: object) -> Iterator[str]:
    """What is wrong about one block of a message or a form."""
    if not isinstance(block, Mapping):
        yield "no object"
        return
    kind = block.get("type")
    if kind not in KNOWN_BLOCKS:
        yield f"unknown type {kind}"
    if kind == "section":
        yield from _section(block)
    if kind == "header":
        yield from _text(block.get("text"), HEADER, "header", ("plain_text",))
    if kind == "context":
        yield from _listed(block, CONTEXTS)
    if kind == "actions":
        yield from _actions(block)


def _section(block: Json) -> Iterator[str]:
    fields = block.get("fields")
    if block.get("text") is None and not fields:
        yield "section without text"
    if block.get("text") is not None:
        yield from _text(block["text"], SECTION, "section")
    if isinstance(fields, Sequence):
        if len(fields) > FIELDS:
            yield f"{len(fields)} fields of {FIELDS}"
        for each in fields:
            yield from _text(each, FIELD, "field")
    if isinstance(block.get("accessory"), Mapping):
        yield from _button(block["accessory"])


def _listed(block: Json, most: int) -> Iterator[str]:
    elements = block.get("elements")
    if not isinstance(elements, Sequence) or not 1 <= len(elements) <= most:
        yield f"elements must be 1 to {most}"


def _actions(block: Json) -> Iterator[str]:
    yield from _listed(block, BUTTONS)
    elements = block.get("elements")
    if not isinstance(elements, Sequence):
        return
    names = [each.get("action_id") for each in elements if isinstance(each, Mapping)]
    if len(set(names)) != len(names):
        yield "action_id twice in one block"
    for each in elements:
        yield from _button(each)


def _button(element: object) -> Iterator[str]:
    if not isinstance(element, Mapping):
        yield "element is no object"
        return
    if element.get("type") != "button":
        return
    yield from _text(element.get("text"), BUTTON_TEXT, "button", ("plain_text",))
    if len(str(element.get("value", ""))) > BUTTON_VALUE:
        yield f"button value over {BUTTON_VALUE}"
    if len(str(element.get("action_id", ""))) > IDENTIFIER:
        yield f"action_id over {IDENTIFIER}"
    if element.get("style") not in (None, "primary", "danger"):
        yield f"unknown style {element.get('style')}"
    confirm = element.get("confirm")
    if isinstance(confirm, Mapping):
        for part, longest in CONFIRM.items():
            yield from _text(confirm.get(part), longest, f"confirm {part}")


def plain(thing: object, longest: int, what: str) -> Iterator[str]:
    """What is wrong about a plain text."""
    yield from _text(thing, longest, what, ("plain_text",))


def _text(
    thing: object, longest: int, what: str, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")
) -> Iterator[str]:
    if not isinstance(thing, Mapping) or thing.get("type") not in kinds:
        yield f"{what} text must be {' or '.join(kinds)}"
        return
    text = thing.get("text")
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        yield f"{what} text must have 1 to {longest} characters"
