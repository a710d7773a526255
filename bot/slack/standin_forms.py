"""The stand-in's forms: what Slack refuses about them, who may open one, what is sent in one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.slack.standin_rules import Refusal, complaints, plain

Json = Mapping[str, object]

TRIGGER_LIFE = 3.0
VIEW_BLOCKS, VIEW_SIZE, METADATA, IDENTIFIER = 100, 250_000, 3_000, 255
LABEL, OPTIONS, OPTION_TEXT, OPTION_VALUE = 2_000, 100, 75, 150
WORDS = {"title": 24, "submit": 24, "close": 24}


@dataclass
class Trigger:
    """What lets an app open one form, for 3 seconds after an interaction."""

    user: str
    at: float
    used: bool = False


@dataclass(frozen=True)
class Form:
    """A form that was opened for one person."""

    id: str
    user: str
    view: Json

    @property
    def shown(self) -> str:
        """All words in it."""
        return json.dumps(self.view, ensure_ascii=False)


def trigger_error(trigger: Trigger | None, now: float) -> str:
    """Slack's error for this trigger; empty: it is good."""
    if trigger is None:
        return "invalid_trigger_id"
    if trigger.used:
        return "exchanged_trigger_id"
    return "expired_trigger_id" if now - trigger.at > TRIGGER_LIFE else ""


def view_refusal(view: object) -> Refusal | None:
    """Why Slack would not open this form: the first rule that is broken."""
    found = next(_complaints(view), None)
    return Refusal("invalid_arguments", found) if found else None


def _complaints(view: object) -> Iterator[str]:
    if not isinstance(view, Mapping) or view.get("type") != "modal":
        yield "view is no modal"
        return
    for part, longest in WORDS.items():
        if part == "title" or part in view:
            yield from plain(view.get(part), longest, part)
    if len(str(view.get("private_metadata", ""))) > METADATA:
        yield f"private_metadata over {METADATA}"
    if len(str(view.get("callback_id", ""))) > IDENTIFIER:
        yield f"callback_id over {IDENTIFIER}"
    if len(json.dumps(view)) > VIEW_SIZE:
        yield "view too large"
    blocks = view.get("blocks")
    if not isinstance(blocks, Sequence) or not 1 <= len(blocks) <= VIEW_BLOCKS:
        yield f"blocks must be 1 to {VIEW_BLOCKS}"
        return
    if any(_is_input(block) for block in blocks) and "submit" not in view:
        yield "input blocks need submit"
    for block in blocks:
        yield from _input(block) if _is_input(block) else complaints(block)


def _is_input(block: object) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "input"


def _input(block: Json) -> Iterator[str]:
    yield from plain(block.get("label"), LABEL, "label")
    field = block.get("element")
    if not isinstance(field, Mapping):
        yield "input without element"
        return
    if field.get("type") == "plain_text_input":
        return
    if field.get("type") != "multi_static_select":
        yield f"unknown element {field.get('type')}"
        return
    if ("options" in field) == ("option_groups" in field):
        yield "either options or option_groups"
        return
    groups = field.get("option_groups", [{"options": field.get("options")}])
    if not isinstance(groups, Sequence) or not 1 <= len(groups) <= OPTIONS:
        yield f"option_groups must be 1 to {OPTIONS}"
        return
    for group in groups:
        if "label" in group:
            yield from plain(group["label"], OPTION_TEXT, "group")
        yield from _options(group.get("options"))


def _options(options: object) -> Iterator[str]:
    if not isinstance(options, Sequence) or not 1 <= len(options) <= OPTIONS:
        yield f"options must be 1 to {OPTIONS}"
        return
    for option in options:
        yield from plain(option.get("text"), OPTION_TEXT, "option")
        if not 1 <= len(str(option.get("value", ""))) <= OPTION_VALUE:
            yield f"option value must have 1 to {OPTION_VALUE} characters"


def submission(
    form: Form, team: str, reason: str | None, chosen: Sequence[str]
) -> dict[str, object]:
    """What Slack sends when a person fills this form in; ``chosen`` are texts of options."""
    values: dict[str, object] = {}
    blocks = form.view["blocks"]
    for block in blocks if isinstance(blocks, Sequence) else ():
        if not _is_input(block):
            continue
        field = block["element"]
        assert isinstance(field, Mapping)
        said: dict[str, object] = {"type": field["type"], "value": reason}
        if field["type"] == "multi_static_select":
            options = [o for o in _all_options(field) if _text(o) in chosen]
            said = {"type": field["type"], "selected_options": options}
        values[block["block_id"]] = {field["action_id"]: said}
    return {
        "type": "view_submission",
        "team": {"id": team, "domain": "stand-in"},
        "user": {"id": form.user, "team_id": team},
        "api_app_id": "A0VMFERRY",
        "token": "verification-token",
        "view": {**form.view, "id": form.id, "team_id": team, "state": {"values": values}},
        "response_urls": [],
        "is_enterprise_install": False,
        "enterprise": None,
    }


def _text(option: Json) -> object:
    text = option.get("text")
    return text.get("text") if isinstance(text, Mapping) else None


def _all_options(field: Json) -> Iterator[Json]:
    groups = field.get("option_groups", [field])
    for group in groups if isinstance(groups, Sequence) else ():
        yield from group["options"]
