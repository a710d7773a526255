"""Builders of Slack blocks that stay within Slack's limits and ping nobody by accident.

Text from outside (VM names, VMM's errors) passes through :func:`escape` exactly once, where it is
put into a sentence. :func:`fit` cuts everything built here to Slack's limits.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

Block = dict[str, object]

SECTION, TEXT, CONTEXT, MESSAGE, BLOCKS = 3_000, 3_900, 2_000, 12_000, 50
BUTTON, CONFIRM = 75, {"title": 100, "text": 300, "confirm": 30, "deny": 30}
CUT_SHORT = re.compile(r"(&[^;]{0,5}|<[^>]*)$")


def escape(text: str) -> str:
    """Escape a text so that Slack shows it literally, without pings or links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def date(at: float, form: str = "{time}") -> str:
    """Format a Unix time in the reader's own time zone; UTC if the client cannot."""
    fallback = datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")
    return f"<!date^{int(at)}^{form}|{fallback}>"


def fit(text: str, longest: int) -> str:
    """Cut a text to ``longest`` characters, never inside an entity, a mention or a date."""
    if len(text) <= longest:
        return text
    return CUT_SHORT.sub("", text[: longest - 2]).rstrip() + " …"


def fit_lines(lines: Iterable[str], longest: int, rest: str = "… and {} more") -> str:
    """Join as many lines as fit into ``longest`` characters; a last line counts the others. If not
    all fit, lines that would crowd out others are shortened."""
    kept: list[str] = []
    left = list(lines)
    if sum(len(line) + 1 for line in left) <= longest:
        return "\n".join(left)
    room = longest - len(rest) - 8
    most = min(room, max(longest // 4, longest // len(left)))
    left = [fit(line, most) for line in left]
    while left and sum(len(line) + 1 for line in kept) + len(left[0]) <= room:
        kept.append(left.pop(0))
    if left:
        kept.append(rest.format(len(left)))
    return fit("\n".join(kept), longest)


def section(text: str) -> Block:
    """A paragraph, in which Slack turns no address or name into a link."""
    shown = {"type": "mrkdwn", "text": fit(text, SECTION), "verbatim": True}
    return {"type": "section", "text": shown}


def context(text: str) -> Block:
    """A small grey line."""
    shown = {"type": "mrkdwn", "text": fit(text, CONTEXT), "verbatim": True}
    return {"type": "context", "elements": [shown]}


def actions(*buttons: Block) -> Block:
    """A row of buttons."""
    return {"type": "actions", "elements": list(buttons)}


def button(
    label: str,
    action_id: str,
    value: str,
    *,
    style: str = "",
    about: str = "",
    confirm: Block | None = None,
) -> Block:
    """One button. ``about``: text for screen readers. ``style``: primary, danger or empty."""
    made: Block = {
        "type": "button",
        "text": {"type": "plain_text", "text": fit(label, BUTTON), "emoji": False},
        "action_id": action_id,
        "value": value,
    }
    if style:
        made["style"] = style
    if about:
        made["accessibility_label"] = fit(about, BUTTON)
    if confirm:
        made["confirm"] = confirm
    return made


def confirm(title: str, text: str, yes: str, no: str) -> Block:
    """Slack's confirmation dialog for a button."""
    words = {"title": title, "text": text, "confirm": yes, "deny": no}
    return {
        part: {"type": "plain_text", "text": fit(words[part], longest), "emoji": False}
        for part, longest in CONFIRM.items()
    }


def size(blocks: Sequence[Block]) -> int:
    """Size of the blocks, in characters of JSON."""
    return len(json.dumps(list(blocks), ensure_ascii=False))


def fit_blocks(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Cut to one message: drop the last paragraphs, but never the first block or a button."""
    kept = list(blocks)
    while len(kept) > BLOCKS or size(kept) > MESSAGE:
        spare = [n for n, block in enumerate(kept) if n and block["type"] == "section"]
        if not spare:
            break
        del kept[spare[-1]]
    return tuple(kept)


def fingerprint(*parts: object) -> str:
    """Short hash (20 hex digits) that changes when any of the parts changes."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
