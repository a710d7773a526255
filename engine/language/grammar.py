"""The grammar: converts words to a request and back, with the tables of ``vocabulary.py``.

::

    host H[,H] to H[,H] [option...]      vm V[,V*] to H[,H] [option...]      verb [word...]

Every mistake raises :class:`UsageError` with the wrong word, its place in the typed text and a
correction. Names are not looked up here: :mod:`engine.language.names` checks that a host exists.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Literal

from engine.errors import UsageError
from engine.language import text as lexicon
from engine.language.sentence import Command as Words
from engine.language.sentence import Quote, say
from engine.language.text import Word
from engine.language.vocabulary import BY_WORD, KEYWORDS, OPTIONS, VERBS, Option, Verb
from engine.model import Options, Request

Where = Literal["terminal", "slack"]


DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", re.IGNORECASE)
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
LONGEST = 366 * 86400.0
COUNT = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class Ask:
    """A command that is not a request: a verb and its words, such as ``status R1``."""

    verb: str
    words: tuple[str, ...] = ()


Command = Request | Ask
Value = str | int | float | tuple[str, ...] | None


def parse(text: str, where: Where = "slack") -> Command:
    """Parse free text from Slack, a story or a terminal. Raises ``UsageError``."""
    words = lexicon.split(text, bold=where == "slack", prose=_is_prose(text))
    return _Reader(words, text, where).command()


def parse_words(words: Sequence[str]) -> Command:
    """Parse a shell's arguments. Each is one word, spaces included. Raises ``UsageError``.

    A single argument is parsed as free text, because people quote whole requests.
    """
    if len(words) == 1:
        return parse(words[0], "terminal")
    shown = " ".join(words)
    split = lexicon.split_each(words, shown, prose=_is_prose(shown))
    return _Reader(split, shown, "terminal").command()


def _is_prose(text: str) -> bool:
    """Return whether the text begins with a verb that takes a reason in free text."""
    return (
        text.lstrip().casefold().startswith(tuple(f"{verb.name} " for verb in VERBS if verb.free))
    )


def render(request: Request) -> str:
    """Render a request as text. ``parse`` returns an equal request for it, except ``given``."""
    names = request.sources if request.kind == "host" else request.vms
    said = [request.kind, _list(names), "to", _list(request.destinations)]
    usual = Options()
    for option in OPTIONS:
        value = getattr(request.options, option.field)
        if value == getattr(usual, option.field) and option.word not in request.given:
            continue
        if option.takes == "flag":
            said += [option.word] if value else []
        elif value is not None and value != ():
            said += [option.word, _spell(option, value)]
    return " ".join(said)


def duration(text: str) -> float:
    """Convert ``90s``, ``10m``, ``1h`` or ``1d`` to seconds, at most 366 days. Raises
    ``UsageError``."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f'"{text}" is not a duration.', what=text, hint="Write it as 90s, 10m, 1h or 1d."
        )
    seconds = float(match[1]) * UNITS[match[2].lower()]
    if seconds > LONGEST:
        raise UsageError(f'"{text}" is longer than a year.', what=text, hint="The longest is 366d.")
    return seconds


def spell_duration(seconds: float) -> str:
    """Spell seconds in the largest unit that divides them exactly: ``1h`` for 3600."""
    for unit, size in UNITS.items():
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{Decimal(repr(float(seconds))):f}s" if seconds else "0s"


def run_number(word: str) -> int:
    """Return the number of a run: 214 for ``R214`` or ``214``. Raises ``UsageError``."""
    match = re.fullmatch(r"[rR]?([1-9][0-9]{0,8})", word.strip())
    if match is None:
        hint = say("Write a run as R214 or 214. To see the runs: {}", Words("list"))
        raise UsageError(f'"{word}" is not a run.', what=word, hint=hint)
    return int(match[1])


def approval_number(word: str) -> int:
    """Return the number of an approval: 3 for ``A3`` or ``3``. Raises ``UsageError``."""
    match = re.fullmatch(r"[aA]?([1-9][0-9]{0,8})", word.strip())
    if match is None:
        raise UsageError(
            f'"{word}" is not an approval.', what=word, hint="Write an approval as A3 or 3."
        )
    return int(match[1])


def took(seconds: float) -> str:
    """Spell seconds for people: ``45 s``, ``17 min 55 s``, ``6 h 31 min``, ``2 d 3 h``."""
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min")]
    said = [f"{count} {unit}" for count, unit in [*parts, (whole % 60, "s")] if count]
    return " ".join(said[:2]) or "0 s"


def matches(pattern: str, name: str) -> bool:
    """Return whether the name matches ``*`` and ``?``. Case is ignored, brackets are literal."""
    return fnmatchcase(name.casefold(), pattern.casefold().replace("[", "[[]"))


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that most resembles the word, or ``None`` if none does."""
    by_key = {_look(choice): choice for choice in choices}
    found = difflib.get_close_matches(_look(word), list(by_key), n=1, cutoff=0.6)
    return by_key[found[0]] if found else None


def _look(word: str) -> str:
    """Fold case and similar characters: HV0I and hv01 become equal."""
    return word.casefold().translate(str.maketrans("oil", "011"))


def _list(names: Sequence[str]) -> str:
    return ",".join(lexicon.quoted(name, KEYWORDS) for name in names)


def _spell(option: Option, value: Value) -> str:
    if isinstance(value, tuple):
        return _list(value)
    if option.takes == "duration" and isinstance(value, int | float):
        return spell_duration(value)
    return lexicon.quoted(str(value), KEYWORDS)


def option_value(name: str, value: str) -> Value:
    """Parse the value of a single option: ``parallel``, ``2``. Raises ``UsageError``."""
    said = Word(name, name, 0)
    word = Word(value, value, len(name) + 1, quoted=True)
    return _Reader((word,), f"{name} {value}", "terminal").value(BY_WORD[name], said)


def _sentence(said: Sequence[Word]) -> tuple[str, ...]:
    """Join words into one free text, or into nothing if it is blank. A leading ``--reason``, as
    typed at the terminal, is dropped."""
    if said and said[0].key in ("--reason", "-reason"):
        said = said[1:]
    text = ""
    for word in said:
        text += "," if word.comma else f" {word.text}"
    return (text.strip(),) if text.strip() else ()


class _Reader:
    """Parser of the words of one command, from left to right."""

    def __init__(self, words: tuple[Word, ...], text: str, where: Where) -> None:
        self.words, self.text, self.where = words, text, where
        self.position = 0
        self.previous = ""  # the keyword before the current word

    # --- looking at words --------------------------------------------------------------

    def peek(self) -> Word | None:
        return self.words[self.position] if self.position < len(self.words) else None

    def take(self) -> Word | None:
        word = self.peek()
        self.position += 1
        return word

    def wrong(self, word: Word | None, sentence: str, hint: str) -> UsageError:
        """Return an error that points at the word, or at the text's end if a word is missing."""
        at = word.at if word else len(self.text)
        what = word.typed if word else ""
        return UsageError(sentence, what=what, hint=hint, text=self.text, at=at)

    # --- commands ----------------------------------------------------------------------

    def command(self) -> Command:
        first = self.take()
        if first is None or not (first.text or first.comma):
            hint = say("Type: {}, or: {}", Words("host HV01 to HV02"), Words("help"))
            raise UsageError("The command is empty.", hint=hint, says_nothing=True)
        verb = self.verb(first)
        if verb.request:
            return self.request("host" if verb.name == "host" else "vm")
        return self.ask(verb)

    def verb(self, word: Word) -> Verb:
        known = {verb.name: verb for verb in VERBS if verb.where in ("both", self.where)}
        if word.key in known:
            return known[word.key]
        near = nearest(word.text, known)
        hint: str = say("Start with host, vm or status; or type: {}", Words("help"))
        if near:
            hint = f"Did you mean {near}?"
        if not near and any(later.key == "to" for later in self.words[self.position :]):
            host, vm = (Words(f"{kind} {word.typed} to ...") for kind in ("host", "vm"))
            hint = say("Is this a host or a VM? Type: {}, or: {}", host, vm)
        raise self.wrong(word, f'I do not know the word "{word.text}".', hint)

    def ask(self, verb: Verb) -> Ask:
        said, usage = self.words[self.position :], say("Type: {}", Words(verb.usage))
        if verb.free and said:
            return Ask(verb.name, (said[0].text, *_sentence(said[1:])))
        if verb.names:
            said = tuple(word for word in said if not word.comma)
        if len(said) < verb.least:
            raise self.wrong(None, f"{verb.name} needs one more word.", usage)
        if len(said) > verb.most:
            extra = said[verb.most]
            raise self.wrong(extra, f'"{extra.text}" is one word too many.', usage)
        for word in said:
            if word.comma or not word.text:
                raise self.wrong(word, "A name is missing here.", usage)
        return Ask(verb.name, tuple(word.text for word in said))

    def request(self, kind: Literal["host", "vm"]) -> Request:
        names = self.names(kind, hosts=kind == "host")
        destinations: tuple[str, ...] = ()
        values: dict[str, Any] = {}
        given: set[str] = set()
        while (word := self.take()) is not None:
            if word.key not in KEYWORDS:
                raise self.unknown(word, seen=given)
            if word.key in given:
                hint = "Use it once." if word.key != "to" else "Join the hosts: to HV02,HV03"
                raise self.wrong(word, f"{word.key} is used twice.", hint)
            given.add(word.key)
            self.previous = word.key
            if word.key == "to":
                destinations = self.names("to", hosts=True)
            else:
                option = BY_WORD[word.key]
                values[option.field] = self.value(option, word)
        if not destinations:
            hint = say("Type: {}", Words(f"{kind} {_list(names)} to HV02"))
            raise self.wrong(None, 'The word "to" and a destination are missing.', hint)
        return Request(
            kind=kind,
            sources=names if kind == "host" else (),
            vms=names if kind == "vm" else (),
            destinations=destinations,
            options=replace(Options(), **values),
            given=frozenset(given - {"to"}),
        )

    # --- names and values after a keyword ----------------------------------------------

    def names(self, after: str, *, hosts: bool) -> tuple[str, ...]:
        """Take one or more names, separated by commas."""
        self.previous = after
        found = [self.name(after, hosts=hosts)]
        while (word := self.peek()) is not None and word.comma:
            self.take()
            found.append(self.name(",", hosts=hosts))
        return tuple(found)

    def name(self, after: str, *, hosts: bool) -> str:
        word = self.take()
        noun = "host" if hosts else "VM"
        place = "the comma" if after == "," else f'"{after}"'
        examples: dict[str, object] = {
            "host": Words("host HV01 to HV02"),
            "vm": Words("vm web01,web02 to HV02"),
            "to": "to HV02",
        }
        hint = say("Type: {}", examples.get(after, "except web01,web02"))
        if after == ",":
            hint = say("Name one more {}, or leave the comma out", noun)
        if word is None or word.comma:
            raise self.wrong(word, f"There is no {noun} after {place}.", hint)
        if word.key in KEYWORDS:
            form = '{}; if a {} is called "{}", put it in quotation marks.'
            hint = say(form, hint, noun, Quote(word.text))
            raise self.wrong(word, f"There is no {noun} after {place}.", hint)
        if not word.text.strip():
            raise self.wrong(word, f"The name of a {noun} is empty.", hint)
        if hosts and set(word.text) & set("*?"):
            raise self.wrong(
                word, f'Hosts take no wildcards: "{word.text}".', "List them: HV01,HV02"
            )
        if not hosts:
            self.check_vm(word)
        return word.text

    def check_vm(self, word: Word) -> None:
        """Refuse ``name@host`` or ``id:GUID`` with a missing half."""
        if word.text.casefold() == "id:":
            hint = "Type the VM's id directly after the colon."
            raise self.wrong(word, "There is no id after id:.", hint)
        name, at, host = word.text.rpartition("@")
        if at and not (name and host):
            missing = "VM before" if not name else "host after"
            sentence = f'There is no {missing} the @ of "{word.text}".'
            raise self.wrong(word, sentence, "Type: web01@hv03")

    def value(self, option: Option, said: Word) -> Value:
        if option.terminal_only and self.where != "terminal":
            hint = "Leave it out, or set it in the settings file."
            raise self.wrong(said, f"{option.word} works only at the command line.", hint)
        if option.takes == "flag":
            return True
        if option.takes == "names":
            return self.names(option.word, hosts=False)
        if option.takes == "path":
            return self.path(self.take())
        return self.count(option) if option.takes == "count" else self.time(option)

    def number(self, needs: str, hint: str) -> Word:
        """Take the value that an option requires."""
        word = self.take()
        if word is None or word.comma or word.key in KEYWORDS:
            raise self.wrong(word, f"{needs}; there is none.", hint)
        return word

    def path(self, word: Word | None) -> str:
        hint = r"Type: path 'D:\VMs'"
        if word is None or word.comma or word.key in KEYWORDS or not word.text.strip():
            raise self.wrong(word, "There is no folder after path.", hint)
        if re.match(r"[A-Za-z]:(?![\\/]|$)", word.text):
            sentence = f'"{word.text}" has no \\ after the drive.'
            raise self.wrong(word, sentence, f"{hint} (in a shell, quotation marks keep the \\).")
        return word.text

    def count(self, option: Option) -> int:
        needs = f"{option.word} needs a whole number, {option.least} or more"
        hint = f"Type: {option.word} {max(2, option.least)}"
        word = self.number(needs, hint)
        if COUNT.fullmatch(word.text) is None or int(word.text) < option.least:
            raise self.wrong(word, f'{needs}; "{word.text}" is not one.', hint)
        return int(word.text)

    def time(self, option: Option) -> float:
        needs = f"{option.word} needs a duration"
        hint = f"Write it as 90s, 10m, 1h or 1d: {option.word} 10m"
        word = self.number(needs, hint)
        try:
            seconds = duration(word.text)
        except UsageError as error:
            is_one = DURATION.fullmatch(word.text.strip()) is not None
            sentence = error.sentence if is_one else f'{needs}; "{word.text}" is not one.'
            raise self.wrong(word, sentence, hint) from None
        if seconds < option.least:
            raise self.wrong(word, f"{option.word} cannot be shorter than {option.least}s.", hint)
        return seconds

    # --- unexpected words --------------------------------------------------------------

    def unknown(self, word: Word, seen: set[str]) -> UsageError:
        sentence, near = f'I do not know the word "{word.text}".', nearest(word.text, KEYWORDS)
        if word.comma:
            sentence, hint = "A comma is not allowed here.", "Commas only separate names."
        elif near:
            hint = f"Did you mean {near}?"
        elif self.previous == "path":
            hint = r"Put a path with spaces in quotation marks: 'D:\My VMs'"
        elif self.previous in ("host", "vm", "to", "except"):
            hint = self.instead_of(word, seen)
        else:
            known = (o.word for o in OPTIONS if self.where == "terminal" or not o.terminal_only)
            hint = f"Options: {', '.join(known)}."
        return self.wrong(word, sentence, hint)

    def instead_of(self, word: Word, seen: set[str]) -> str:
        """Return a hint for a name after a name: a missing "to", comma or quotation mark."""
        before = self.words[: self.position - 1]
        later = self.words[self.position :]
        if "to" not in seen and all(one.key != "to" for one in later):
            goes_on = later and not later[0].comma and later[0].key not in KEYWORDS
            if len(word.text) <= 2 and goes_on:
                return "Did you mean to?"
            names = _list([early.text for early in before[1:] if not early.comma])
            return say("Type: {}", Words(f"{before[0].key} {names} to {word.text}"))
        last = before[-1].text
        return (
            f"Separate names with a comma: {last},{word.text}. "
            f'Put a name with a space in quotation marks: "{last} {word.text}".'
        )
