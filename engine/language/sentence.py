"""Sentences for people that remember their parts.

A :class:`Sentence` is a string. Its parts mark the words that name a person, a command, a host or
a VM, and the words that VMFerry quotes. Each door can then spell the parts in its own way, and no
code has to search a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.model import short


@dataclass(frozen=True)
class Term:
    """A marked part of a sentence. The other parts are plain strings."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Person(Term):
    """A person, by id: ``slack:U0123``, ``terminal:ann``."""


@dataclass(frozen=True)
class Channel(Term):
    """A channel, by id: ``slack:C0123``."""


@dataclass(frozen=True)
class Command(Term):
    """Command to type: ``retry R7 "db 01"``. Each door adds its prefix, such as ``vmferry``."""


@dataclass(frozen=True)
class VmName(Term):
    """Name of the VM that the sentence is about. Left out of the cause of a failure."""


@dataclass(frozen=True)
class HostName(Term):
    """A host, shown by its short name."""

    def __str__(self) -> str:
        return short(self.text)


@dataclass(frozen=True)
class Quote(Term):
    """Quoted text of a person, VMM or Hyper-V. Quotes with the same ``kind`` say the same about
    different VMs. Empty: the text itself decides."""

    kind: str = ""


@dataclass(frozen=True)
class Turn(Term):
    """A space that may be shown as a line break if there is room."""

    text: str = " "


Part = str | Term
_KINDS: dict[str, type[Term]] = {
    "person": Person,
    "channel": Channel,
    "command": Command,
    "vm": VmName,
    "host": HostName,
    "quote": Quote,
    "turn": Turn,
}
_WORDS = {kind: word for word, kind in _KINDS.items()}
_PLACE = re.compile(r"\{(\w*)\}")


class Sentence(str):
    """A string with parts. String operations return plain strings, without parts."""

    __slots__ = ("parts",)
    parts: tuple[Part, ...]

    def __new__(cls, *parts: Part) -> Sentence:
        made = super().__new__(cls, "".join(map(str, parts)))
        made.parts = tuple(_merged(parts))
        return made

    @property
    def cause(self) -> str:
        """Cause of a failure: the text without VM names and commands."""
        return "".join(map(_cause, self.parts))

    def as_json(self) -> str | None:
        """Return the parts as JSON text for a row, or ``None`` for plain text."""
        if all(isinstance(part, str) for part in self.parts):
            return None
        return json.dumps([*map(_to_json, self.parts)], ensure_ascii=False)

    @classmethod
    def read(cls, text: str, parts: str | None) -> Sentence:
        """Read a sentence from the text and the parts of a row."""
        return cls(text) if parts is None else cls(*map(_from_json, json.loads(parts)))


def say(form: str, *values: object, **named: object) -> Sentence:
    """Make a sentence from a form such as ``"{} is on {host}."``: ``values`` fill the unnamed
    places in order, ``named`` the others.

    Parts and sentences keep their marks; other values become plain text. The form must be a
    literal: pass text from outside as a value.
    """
    first, *rest = _PLACE.split(form)
    names = rest[::2]
    unnamed = [number for number, name in enumerate(names) if not name]
    in_order = dict(zip(unnamed, values, strict=True))
    parts: list[Part] = [first]
    for number, (name, words) in enumerate(zip(names, rest[1::2], strict=True)):
        parts += [*parts_of(named[name] if name else in_order[number]), words]
    return Sentence(*parts)


def join(mark: str, sentences: Iterable[object]) -> Sentence:
    """Join sentences with ``mark`` between them. Empty ones are left out."""
    parts: list[Part] = []
    for one in sentences:
        if str(one):
            parts += [*([mark] if parts else []), *parts_of(one)]
    return Sentence(*parts)


def parts_of(value: object) -> tuple[Part, ...]:
    """Return the parts of a sentence, or any other value as one part."""
    if isinstance(value, Sentence):
        return value.parts
    return (value,) if isinstance(value, Term) else (str(value),)


def without_stop(sentence: str) -> Sentence:
    """Remove the final full stop, so that a further clause can follow."""
    *rest, last = parts_of(say("{}", sentence)) or ("",)
    if isinstance(last, Quote):
        return Sentence(*rest, Quote(last.text.rstrip("."), last.kind))
    if isinstance(last, str) and last.endswith("."):
        return without_stop(Sentence(*rest, last.rstrip(".")))
    return Sentence(*rest, last)


def upper_first(sentence: str) -> Sentence:
    """Capitalise the first letter, unless the sentence begins with a marked part."""
    first, *rest = parts_of(say("{}", sentence)) or ("",)
    return Sentence(first[:1].upper() + first[1:] if isinstance(first, str) else first, *rest)


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield the parts. Empty strings are dropped, adjacent strings joined."""
    words = ""
    for part in parts:
        if isinstance(part, str):
            words += part
            continue
        if words:
            yield words
        words = ""
        yield part
    if words:
        yield words


def _cause(part: Part) -> str:
    if isinstance(part, Quote):
        return part.kind or part.text
    return "" if isinstance(part, VmName | Command) else str(part)


def _to_json(part: Part) -> object:
    if isinstance(part, str):
        return part
    kind = [part.kind] if isinstance(part, Quote) and part.kind else []
    return [_WORDS[type(part)], part.text, *kind]


def _from_json(part: str | list[str]) -> Part:
    return part if isinstance(part, str) else _KINDS[part[0]](*part[1:])


NOTHING = Sentence()
