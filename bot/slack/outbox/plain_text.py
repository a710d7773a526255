"""Messages as they are sent: the bot mentioned by its id; as plain text, if Slack rejects their
blocks; the audit's note if it rejects that, too; and the reply if it does not open a form. Pure.

If Slack rejects a message's content, the same call will fail again. The text without blocks says
the same but has no buttons, so it adds the command to type. If Slack rejects the text as well, this
version is given up, and the run's audit says where its content can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bot.slack.kit.blocks import SECTION, TEXT, escape, fit
from bot.slack.kit.buttons import ABORT, APPROVE, CHOOSE, DENY, PREFIX, WITHDRAW, read, read_value
from bot.slack.kit.ids import is_direct
from bot.slack.kit.phrases import SPOKEN
from bot.slack.kit.refusals import NOTHING
from bot.slack.modals.fields import read_place
from bot.slack.outbox.rows import Outbound
from engine.language.sentence import Channel, Command, Quote, Sentence, say

Said = tuple[str, tuple[Mapping[str, object], ...]]
"""Text and blocks of a message."""

#: Slack's errors for content that it will never accept.
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


def content(out: Outbound, command: str) -> Said:
    """Text and blocks to send."""
    if not out.as_plain_text:
        return out.text, out.blocks
    hint = _hint(out, command)
    return (f"{fit(out.text, TEXT - len(hint) - 1)}\n{hint}" if hint else out.text), ()


def with_mention(said: Said, bot: Callable[[], str]) -> Said:
    """The text and blocks with mentions of the bot, whatever the app is called. ``bot`` returns a
    mention and is called only where one is needed."""
    text, blocks = said
    return _mentioned(text, bot), tuple(_with_mention(block, bot) for block in blocks)


def _with_mention(part: Any, bot: Callable[[], str]) -> Any:
    """A part of a block. Only formatted texts can mention; a plain text keeps the name."""
    if isinstance(part, list | tuple):
        return [_with_mention(one, bot) for one in part]
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "mrkdwn":
        return {**part, "text": fit(_mentioned(part["text"], bot), SECTION)}
    return {name: _with_mention(one, bot) for name, one in part.items()}


def _mentioned(text: str, bot: Callable[[], str]) -> str:
    return text.replace(SPOKEN, bot()) if SPOKEN in text else text


def _hint(out: Outbound, command: str) -> str:
    """Sentence with the command to type instead of the buttons; empty: there are none."""
    pressed = [str(one.get("action_id")) for one in _elements(out)]
    if not pressed:
        return ""
    label = out.name.about
    if APPROVE in pressed:
        return (
            f"Slack rejected the buttons. Type in a channel: {command} approve {label} or "
            f"{command} deny {label}"
        )
    said = SPOKEN if out.thread_ts or out.parent else command
    return f"Slack rejected the buttons. To see what to type instead: {said} help"


def _elements(out: Outbound) -> Iterator[dict[str, object]]:
    for block in out.blocks:
        listed = block.get("elements") if block.get("type") == "actions" else None
        if isinstance(listed, list):
            yield from (one for one in listed if isinstance(one, dict))


def given_up(out: Outbound, code: str) -> Sentence:
    """Sentence for the audit: which message is not in Slack, and the command that shows the
    same."""
    run, key = f"R{out.run}", out.name
    what = key.kind.name.format(about=key.about)
    where = say(" in {}", Channel(key.place)) if key.place else ""
    if is_direct(key.place):
        where = " in a direct message"
    form = "{}: Slack rejected {}{}, also as plain text ({}). Read it with: {}"
    command = Command(key.kind.verb.format(run=run))
    return say(form, run, what, where, Quote(code), command)


TOO_LATE = frozenset({"expired_trigger_id", "exchanged_trigger_id"})
_TYPED = {DENY: "deny {}", CHOOSE: "approve {} VM...", WITHDRAW: "withdraw {}"}


def form_not_opened(out: Outbound, code: str, command: str) -> str:
    """Reply to the person who clicked if Slack did not open the form."""
    late = code in TOO_LATE
    again = f"Click again{'.' if late else _instead(out, command)}"
    return f"The form did not open{' in time' if late else ''} ({escape(code)}). {NOTHING} {again}"


def _instead(out: Outbound, command: str) -> str:
    """End of that reply: the command that does the same, if there is one."""
    kind, value = (str(out.blocks[0].get(key)) for key in ("callback_id", "private_metadata"))
    value = read_place(value).value
    run, asked = read(f"{PREFIX}{ABORT}", value), read_value(value)
    if run is not None:
        return f", or type: {SPOKEN if out.thread_ts else command} abort {run.label} yes"
    if asked is not None and kind in _TYPED:
        return f", or type in a channel: {command} {_TYPED[kind].format(f'A{asked[0]}')}"
    return "."
