"""The engine's sentences as Slack shows them: commands as they are typed there, people as mentions.

Pure. Every part is escaped once, here, so that no name of a VM becomes a mention or a command.
"""

from __future__ import annotations

from collections.abc import Iterable

from bot.slack.kit.blocks import escape
from bot.slack.kit.ids import bare, slack_user
from engine.language.sentence import Channel, Command, Part, Person, Turn, parts_of
from engine.model.ids import TERMINAL, name_at


def render(text: str, command: str, turn: str = " ") -> str:
    """A text of the engine as Slack shows it; what is no sentence is plain words. ``command``:
    what comes before a command where it is typed; ``turn``: what stands where a line may end."""
    return "".join(_rendered(part, command, turn) for part in parts_of(text))


def _rendered(part: Part, command: str, turn: str) -> str:
    match part:
        case Person():
            return mention(part.text)
        case Channel():
            return channels([part.text])
        case Command():
            return f"{command} {escape(part.text)}"
        case Turn():
            return turn
        case _:
            return escape(str(part))


def mention(by: str | None) -> str:
    """Name of a person in a message; Slack people are pinged by it."""
    if user := slack_user(by):
        return f"<@{bare(user)}>"
    at_terminal = name_at(TERMINAL, by)
    if at_terminal is not None:
        return f"{escape(at_terminal)} (terminal)"
    return escape(by or "somebody")


def mentions(users: Iterable[str]) -> str:
    """Several people with commas between them."""
    return ", ".join(mention(user) for user in users)


def channels(named: Iterable[str]) -> str:
    """Several channels with commas between them, as links."""
    return ", ".join(f"<#{bare(channel)}>" for channel in named)


def calls(groups: Iterable[str]) -> str:
    """User groups, pinged."""
    return " ".join(f"<!subteam^{bare(group)}>" for group in groups)
