"""The engine's sentences as Slack shows them: commands as they are typed there, people as mentions.

Pure. All of it takes text that is escaped already, so that no name of a VM becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from bot.slack.kit.blocks import escape
from bot.slack.kit.ids import bare, slack_user
from engine.model.ids import TERMINAL, name_at


def named(text: str, people: Iterable[str]) -> str:
    """An answer with mentions where the engine names one of these people."""
    said = r"(?<=asked by ){}(?![\w@])|(?<=reviewed by ){}(?![\w@])|(?<=is ){}(?='s\b)"
    return _mentioned(text, people, said)


def reported(text: str, people: Iterable[str]) -> str:
    """A line of the report with mentions of these people, where it says that they left VMs."""
    did = "left it out|said no|took the approval back|approved others only"
    return _mentioned(text, people, rf"(?<=: ){{}}(?= (?:{did})\b)")


def acted(text: str, people: Iterable[str]) -> str:
    """A line of the audit with mentions for these people, wherever it names them."""
    return _mentioned(text, people, r"(?<![\w@<:]){}(?!\w)")


def _mentioned(text: str, people: Iterable[str], place: str) -> str:
    """Mentions where these people stand in such a place; of two that begin alike the longer one
    first."""
    for by in sorted(people, key=len, reverse=True):
        name = re.escape(escape(by))
        text = re.sub(place.replace("{}", name), partial(_mention, by), text)
    return text


def _mention(by: str, _: re.Match[str]) -> str:
    return mention(by)


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
