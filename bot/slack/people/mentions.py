"""The engine's sentences as Slack shows them: commands as they are typed there, people as mentions.

Pure. All of it takes text that is escaped already, so that no name of a VM becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from bot.slack.kit.blocks import escape
from bot.slack.outbox.rows import Inbound
from bot.slack.people.approvers import mention
from engine.language.vocabulary import VERBS

_VERB = "|".join(verb.name for verb in VERBS)
_TYPED = re.compile(rf"\b(?:[Tt]ype|see): (?=(?:{_VERB})\b)|: (?=(?:{_VERB}) [RA]\d)")

#: How commands begin in a thread, where Slack takes no slash command.
SPOKEN = "@vmferry"


def spelled(row: Inbound, command: str) -> str:
    """How commands begin where this row is answered: what was said to the bot, or clicked in a
    thread, is answered there."""
    return SPOKEN if row.body.get("spoken") or row.body.get("thread_ts") else command


def typed(text: str, command: str) -> str:
    """``with: resume R1`` as ``with: /migrate resume R1``."""
    return _TYPED.sub(lambda found: f"{found[0]}{command} ", text)


def named(text: str, people: Iterable[str]) -> str:
    """An answer with mentions where the engine names one of these people."""
    return _mentioned(text, people, r"(?<=asked by ){}(?![\w@])|(?<=is ){}(?='s\b)")


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
