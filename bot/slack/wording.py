"""The engine's sentences as Slack shows them: commands as they are typed there, people as mentions.

Pure. All of it takes text that is escaped already, so that no name of a VM becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bot.slack.people import mention
from engine.vocabulary import VERBS

_VERB = "|".join(verb.name for verb in VERBS)
_TYPED = re.compile(rf"\b(?:[Tt]ype|see): (?=(?:{_VERB})\b)|: (?=(?:{_VERB}) [RA]\d)")
_NAMED = ("asked by {}", "is {}'s")


def typed(text: str, command: str) -> str:
    """``with: resume R1`` as ``with: /migrate resume R1``."""
    return _TYPED.sub(lambda found: f"{found[0]}{command} ", text)


def named(text: str, people: Iterable[str]) -> str:
    """An answer with mentions where the engine names one of these people."""
    for by in people:
        for form in _NAMED:
            text = text.replace(form.format(by), form.format(mention(by)))
    return text


def acted(text: str, people: Iterable[str]) -> str:
    """A line of the audit with mentions for these people, wherever it names them."""
    for by in people:
        text = re.sub(rf"(?<![\w@<:]){re.escape(by)}(?!\w)", mention(by), text)
    return text
