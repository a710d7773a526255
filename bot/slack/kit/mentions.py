"""The engine's sentences as Slack shows them: commands as they are typed there, people as mentions.

Pure. Every part is escaped once, here, so that no VM name becomes a mention or a command.
"""

from __future__ import annotations

from collections.abc import Iterable

from bot.slack.kit.blocks import escape
from bot.slack.kit.ids import bare, slack_user
from engine.language.sentence import Channel, Command, Part, Person, Turn, parts_of
from engine.model.ids import TERMINAL, name_at


def render(text: str, command: str, turn: str = " ") -> str:
    """Render a text of the engine for Slack. ``command`` goes before each command; ``turn``
    replaces each place where a line may end. A plain string is only escaped."""
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
    """Mention of a person. People in Slack are pinged by it."""
    if user := slack_user(by):
        return f"<@{bare(user)}>"
    at_terminal = name_at(TERMINAL, by)
    if at_terminal is not None:
        return f"{escape(at_terminal)} (terminal)"
    return escape(by or "somebody")


def mentions(users: Iterable[str]) -> str:
    """Mentions of several people, separated by commas."""
    return ", ".join(mention(user) for user in users)


def channels(named: Iterable[str]) -> str:
    """Links to several channels, separated by commas."""
    return ", ".join(f"<#{bare(channel)}>" for channel in named)


def calls(groups: Iterable[str]) -> str:
    """Mentions of user groups, whose members are pinged."""
    return " ".join(f"<!subteam^{bare(group)}>" for group in groups)
