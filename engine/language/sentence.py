"""Sentences for people that remember what their parts are.

A :class:`Sentence` is its plain text, as a terminal shows it and a row keeps it. Its parts say
which words name a person, a command, a host or a VM, and which ones somebody else wrote, so that
each door spells them in its own way and no code has to search a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.model import short


@dataclass(frozen=True)
class Term:
    """A part that is more than words of ours."""

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
    """Words to type: ``retry R7 "db 01"``. Each door says what comes before them."""


@dataclass(frozen=True)
class VmName(Term):
    """The VM that the sentence is about, by name. It is no part of a cause."""


@dataclass(frozen=True)
class HostName(Term):
    """A host, whose short name is shown."""

    def __str__(self) -> str:
        return short(self.text)


@dataclass(frozen=True)
class Quote(Term):
    """Words that somebody else wrote: a person, VMM, Hyper-V. ``kind`` is what two of them have in
    common that say the same of different VMs; empty: nothing but their words."""

    kind: str = ""


@dataclass(frozen=True)
class Turn(Term):
    """A space at which a message with room begins a new line."""

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
    """A text and its parts. Anything that a string can do makes a plain string of it."""

    __slots__ = ("parts",)
    parts: tuple[Part, ...]

    def __new__(cls, *parts: Part) -> Sentence:
        made = super().__new__(cls, "".join(map(str, parts)))
        made.parts = tuple(_merged(parts))
        return made

    @property
    def cause(self) -> str:
        """Words that two sentences of one cause share: those without VMs and commands."""
        return "".join(map(_cause, self.parts))

    def as_json(self) -> str | None:
        """The parts as a row keeps them; ``None``: plain words."""
        if all(isinstance(part, str) for part in self.parts):
            return None
        return json.dumps([*map(_to_json, self.parts)], ensure_ascii=False)

    @classmethod
    def read(cls, text: str, parts: str | None) -> Sentence:
        """The sentence that a row keeps as this text and these parts."""
        return cls(text) if parts is None else cls(*map(_from_json, json.loads(parts)))


def say(form: str, *values: object, **named: object) -> Sentence:
    """The sentence of a form of ours, such as ``"{} is on {host}."``, with a value in each place:
    ``values`` in those without a name, in their order.

    Parts and sentences stay what they are; every other value is plain words. The form is a literal:
    what comes from outside is a value.
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
    """All of them with a mark of ours in between; those that say nothing are left out."""
    parts: list[Part] = []
    for one in sentences:
        if str(one):
            parts += [*([mark] if parts else []), *parts_of(one)]
    return Sentence(*parts)


def parts_of(value: object) -> tuple[Part, ...]:
    """The parts of a sentence; of any other value, itself."""
    if isinstance(value, Sentence):
        return value.parts
    return (value,) if isinstance(value, Term) else (str(value),)


def without_stop(sentence: str) -> Sentence:
    """The sentence without a full stop at its end, to go on with a clause of ours."""
    *rest, last = parts_of(say("{}", sentence)) or ("",)
    if isinstance(last, Quote):
        return Sentence(*rest, Quote(last.text.rstrip("."), last.kind))
    if isinstance(last, str) and last.endswith("."):
        return without_stop(Sentence(*rest, last.rstrip(".")))
    return Sentence(*rest, last)


def upper_first(sentence: str) -> Sentence:
    """The sentence with a capital letter, where it begins with words of ours."""
    first, *rest = parts_of(say("{}", sentence)) or ("",)
    return Sentence(first[:1].upper() + first[1:] if isinstance(first, str) else first, *rest)


def _merged(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts without empty words, with neighbouring words as one."""
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
