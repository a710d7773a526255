"""A message in words alone, where Slack does not take its blocks; and what is noted where it takes
neither. Pure.

Slack refuses some content for ever: the same call again changes nothing. Its words without blocks
say the same, but have no buttons, so they say what to type instead. Where Slack does not take those
either, that version is given up, and the audit of its run tells where it can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bot.slack.kit.blocks import TEXT, fit
from bot.slack.kit.buttons import APPROVE
from bot.slack.kit.ids import bare
from bot.slack.kit.phrases import SPOKEN
from bot.slack.outbox.rows import Outbound

#: Slack's words for content that it will not take, whenever it is asked.
CONTENT = frozenset(
    {
        "block_mismatch",
        "invalid_arguments",
        "invalid_array_arg",
        "invalid_attachments",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "json_not_object",
        "markdown_text_conflict",
        "metadata_too_large",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "too_many_attachments",
    }
)


def content(out: Outbound, command: str) -> tuple[str, tuple[Mapping[str, object], ...]]:
    """Text and blocks as they are to be sent."""
    if not out.as_plain_text:
        return out.text, out.blocks
    hint = _hint(out, command)
    return (f"{fit(out.text, TEXT - len(hint) - 1)}\n{hint}" if hint else out.text), ()


def _hint(out: Outbound, command: str) -> str:
    """Hint with the command to type instead of the buttons."""
    pressed = [str(one.get("action_id")) for one in _elements(out)]
    if not pressed:
        return ""
    label = out.name.about
    if APPROVE in pressed:
        return (
            f"Slack did not take the buttons. Type in a channel: {command} approve {label} or "
            f"{command} deny {label}"
        )
    said = SPOKEN if out.thread_ts or out.parent else command
    return f"Slack did not take the buttons. What can be typed instead tells: {said} help"


def _elements(out: Outbound) -> Iterator[dict[str, object]]:
    for block in out.blocks:
        listed = block.get("elements") if block.get("type") == "actions" else None
        if isinstance(listed, list):
            yield from (one for one in listed if isinstance(one, dict))


def given_up(out: Outbound, code: str) -> str:
    """Sentence for the audit: what is not told in Slack, and where it can be read."""
    run, key = f"R{out.run}", out.name
    what = key.kind.name.format(about=key.about)
    where = f" in {bare(key.place)}" if key.place else ""
    return (
        f"{run}: Slack took {what}{where} neither with blocks nor in words alone ({code}); "
        f"read it with: {key.kind.verb.format(run=run)}"
    )
