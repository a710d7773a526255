"""The stand-in's forms: validation, triggers and submissions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bot.standin.blocks import modal
from bot.standin.payloads import interaction
from bot.standin.shapes import wrong
from bot.standin.values import Json, Refusal, words

ASKING = "multi_external_select"
VIEW_SIZE = 250_000


@dataclass
class Trigger:
    """Permission to open one form shortly after an interaction."""

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
        """The whole form as JSON text."""
        return json.dumps(self.view, ensure_ascii=False)


def view_refusal(view: Any) -> Refusal | None:
    """Refusal of an invalid form, for the first broken rule, or ``None``."""
    found = next(_complaints(view), None)
    return Refusal("invalid_arguments", found) if found else None


def _complaints(view: Any) -> Iterator[str]:
    """Errors of a form. Only the first is reliable: later checks expect a form without it."""
    yield from modal(view, "/view")
    if len(json.dumps(view)) > VIEW_SIZE:
        yield wrong(f"must be less than {VIEW_SIZE} characters", "/view")
    if "submit" not in view and _inputs(view):
        yield wrong("missing required field: submit", "/view")


def _inputs(view: Json) -> list[Json]:
    return [block for block in view["blocks"] if block["type"] == "input"]


def submission(
    form: Form, user: Json, reason: str | None, chosen: Sequence[str], found: Sequence[Json] = ()
) -> dict[str, object]:
    """Payload of a submission of this form. ``chosen`` holds texts of options: options of the form,
    or options ``found`` while the person typed."""
    values: dict[str, object] = {}
    for block in _inputs(form.view):
        field = block["element"]
        said: dict[str, object] = {"type": field["type"], "value": reason}
        if field["type"] in ("multi_static_select", ASKING):
            of = found if field["type"] == ASKING else _all_options(field)
            options = [o for o in of if words(o) in chosen]
            said = {"type": field["type"], "selected_options": options}
        values[block["block_id"]] = {field["action_id"]: said}
    view = _sent(form, user, values)
    return interaction("view_submission", user, view=view, response_urls=[])


def suggestion(form: Form, user: Json, typed: str) -> dict[str, object]:
    """Payload of a request for options, sent while a person types into the external menu of this
    form. Raises ``LookupError`` if the form has no such menu."""
    asking = next((b for b in _inputs(form.view) if b["element"]["type"] == ASKING), None)
    if asking is None:
        raise LookupError(f"no external menu in: {form.shown}")
    return interaction(
        "block_suggestion",
        user,
        container={"type": "view", "view_id": form.id},
        action_id=asking["element"]["action_id"],
        block_id=asking["block_id"],
        value=typed,
        view=_sent(form, user, {}),
    )


def _sent(form: Form, user: Json, values: Json) -> Json:
    return {**form.view, "id": form.id, "team_id": user["team_id"], "state": {"values": values}}


def _all_options(menu: Json) -> Iterator[Json]:
    for group in menu.get("option_groups", [menu]):
        yield from group["options"]
