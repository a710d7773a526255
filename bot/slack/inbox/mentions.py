"""Commands in a message to the bot: ``@vmferry status`` in the thread of a run. Pure.

Slash commands cannot be typed in threads. In a run's thread, the command need not name the run.
"""

from __future__ import annotations

import re

from engine.errors import UsageError
from engine.language import grammar
from engine.language import text as words
from engine.language.grammar import Ask, Command
from engine.language.vocabulary import VERBS

_TO_SOMEBODY = re.compile(r"\s*<@([UW][A-Z0-9]+)(?:\|[^<>]*)?>[\s:,]*")
_FIRST_WORD = re.compile(r"\s*\S+")
_LABEL = re.compile(r"[rR][0-9]+")
_OF_A_RUN = frozenset(v.name for v in VERBS if v.usage.split()[1:2] in (["RUN"], ["[RUN]"]))


def said_to(text: str, bot: str) -> str | None:
    """The text after the bot's name; ``None`` if the message does not begin with it."""
    found = _TO_SOMEBODY.match(text)
    return text[found.end() :] if found is not None and found[1] == bot else None


def first_word(text: str) -> str:
    """The first word, normally the verb, as the grammar reads it; empty: none."""
    said = words.split(text, bold=True, prose=True)
    return said[0].key if said else ""


def read(text: str, label: str) -> tuple[Command, str]:
    """Parse a command; returns it and its text, with the thread's run inserted if it names none.
    ``label``: that run (empty: none). Only ``R12`` names another run where VMs or a finding could
    follow: a host or a number could be the name of a VM. Raises ``UsageError``."""
    try:
        command = grammar.parse(text)
    except UsageError:
        with_run = _with_run(text, label)
        if with_run is None:
            raise
        return with_run
    if _names_its_run(command):
        return command, text
    return _with_run(text, label) or (command, text)


def _names_its_run(command: Command) -> bool:
    if not isinstance(command, Ask) or command.verb not in _OF_A_RUN:
        return True
    return bool(command.words) and _LABEL.fullmatch(command.words[0]) is not None


def _with_run(text: str, label: str) -> tuple[Command, str] | None:
    """The command with the run after the verb; ``None`` if that is not a command."""
    if not label or first_word(text) not in _OF_A_RUN:
        return None
    found = _FIRST_WORD.match(text)
    assert found is not None
    longer = f"{found[0]} {label}{text[found.end() :]}"
    try:
        return grammar.parse(longer), longer
    except UsageError:
        return None
