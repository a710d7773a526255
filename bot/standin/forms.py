"""The stand-in's forms: what Slack refuses about them, who may open one, what is sent in one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.standin.blocks import modal, offered
from bot.standin.refusals import Refusal
from bot.standin.shapes import wrong
from bot.standin.values import Json

ASKING = "multi_external_select"
VIEW_SIZE = 250_000


@dataclass
class Trigger:
    """Trigger that lets an app open one form shortly after an interaction."""

    user: str
    until: float
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
    return "expired_trigger_id" if now > trigger.until else ""


def view_refusal(view: object) -> Refusal | None:
    """Refusal of a form that Slack would not open: the first rule that is broken."""
    found = next(_complaints(view), None)
    return Refusal("invalid_arguments", found) if found else None


def _complaints(view: object) -> Iterator[str]:
    yield from modal(view, "/view")
    if not isinstance(view, Mapping):
        return
    if len(json.dumps(view)) > VIEW_SIZE:
        yield wrong(f"must be less than {VIEW_SIZE} characters", "/view")
    blocks = view.get("blocks")
    if "submit" not in view and isinstance(blocks, Sequence) and any(map(_is_input, blocks)):
        yield wrong("missing required field: submit", "/view")


def option_refusal(answer: object) -> str:
    """Reason why Slack would show none of these options; empty: it shows them."""
    return next(offered(answer, "/options"), "")


def _is_input(block: object) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "input"


def submission(
    form: Form, team: str, reason: str | None, chosen: Sequence[str], found: Sequence[Json] = ()
) -> dict[str, object]:
    """Payload that Slack sends when a person submits this form; ``chosen`` are texts of options, of
    those in the form or of those that were ``found`` while somebody typed."""
    values: dict[str, object] = {}
    blocks = form.view["blocks"]
    for block in blocks if isinstance(blocks, Sequence) else ():
        if not _is_input(block):
            continue
        field = block["element"]
        assert isinstance(field, Mapping)
        said: dict[str, object] = {"type": field["type"], "value": reason}
        if field["type"] in ("multi_static_select", ASKING):
            of = found if field["type"] == ASKING else _all_options(field)
            options = [o for o in of if _text(o) in chosen]
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


def suggestion(form: Form, team: str, typed: str) -> dict[str, object]:
    """Payload that Slack sends while a person types into the menu of this form that asks for
    options. Raises ``LookupError`` if the form has none."""
    blocks = form.view["blocks"]
    inputs = [b for b in (blocks if isinstance(blocks, Sequence) else ()) if _is_input(b)]
    asking = next((b for b in inputs if b["element"]["type"] == ASKING), None)
    if asking is None:
        raise LookupError(f"no menu that asks in: {form.shown}")
    return {
        "type": "block_suggestion",
        "team": {"id": team, "domain": "stand-in"},
        "user": {"id": form.user, "team_id": team},
        "api_app_id": "A0VMFERRY",
        "token": "verification-token",
        "container": {"type": "view", "view_id": form.id},
        "action_id": asking["element"]["action_id"],
        "block_id": asking["block_id"],
        "value": typed,
        "view": {**form.view, "id": form.id, "team_id": team, "state": {"values": {}}},
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
