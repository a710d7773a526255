"""Fields that forms share, and the place where a form was opened. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from bot.slack.kit.blocks import Block, fit
from bot.slack.kit.ids import bare, in_slack

REASON, VMS, LABEL = "reason", "vms", "label"
REASON_LONGEST, OPTIONS, LISTED = 500, 100, 1_000


@dataclass(frozen=True)
class FormPlace:
    """Place of the card, for the answer to the form, and the value of its button."""

    value: str
    channel: str
    thread_ts: str = ""


@dataclass(frozen=True)
class FormInput:
    """Input of a form: a reason, VMs by their index on the card, and the typed label."""

    reason: str = ""
    vms: tuple[int, ...] = ()
    label: str = ""


def metadata(place: FormPlace) -> str:
    """Metadata that a form carries and returns with its input."""
    return json.dumps(asdict(place))


def plain(text: str, longest: int) -> Block:
    """A text without markup, in which nothing becomes an emoji."""
    return {"type": "plain_text", "text": fit(text, longest), "emoji": False}


def modal(kind: str, place: FormPlace, title: str, submit: str, blocks: Sequence[Block]) -> Block:
    """A form: its kind, the place of its answer, its title, the label of its button, its
    content."""
    return {
        "type": "modal",
        "callback_id": kind,
        "private_metadata": metadata(place),
        "title": plain(title, 24),
        "submit": plain(submit, 24),
        "close": plain("Go back", 24),
        "blocks": list(blocks),
    }


def reason(label: str, *, optional: bool) -> Block:
    """A text field for a reason."""
    line: Block = {"type": "plain_text_input", "action_id": REASON, "max_length": REASON_LONGEST}
    return field(REASON, label, line, optional=optional)


def field(name: str, label: str, element: Block, *, optional: bool) -> Block:
    """An input field of a form."""
    return {
        "type": "input",
        "block_id": name,
        "label": plain(label, 2_000),
        "element": element,
        "optional": optional,
    }


def read_place(private_metadata: str) -> FormPlace:
    """Read the place of a form. Raises ``ValueError`` for metadata that is no JSON object."""
    kept = json.loads(private_metadata)
    if not isinstance(kept, dict):
        raise ValueError("private_metadata is no object")
    place = FormPlace(*(str(kept.get(one.name) or "") for one in fields(FormPlace)))
    # A form that was opened before ids had doors names its channel as Slack does.
    return replace(place, channel=in_slack(bare(place.channel)))


def state_of(values: object, name: str) -> Mapping[str, object]:
    """State of one field of a submitted form; empty if the form has no such field."""
    block = values.get(name) if isinstance(values, Mapping) else None
    field = block.get(name) if isinstance(block, Mapping) else None
    return field if isinstance(field, Mapping) else {}
