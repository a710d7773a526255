r"""Words of typed or pasted text, with their place in it.

:func:`plain` undoes the substitutions of editors and Slack: dashes, curly quotes, odd spaces,
invisible characters, entities, links, emoji made of ``D:`` and ``:\``. :func:`split` cuts the
result into names and commas. Both keep each character's place in the original text, so that an
error can point at the word as it was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.errors import UsageError

Span = tuple[int, int]

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
DOUBLE_QUOTES = "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033"
SINGLE_QUOTES = "\u2018\u2019\u201a\u201b\u2032"
QUOTES = "\"'`"
BOLD_QUOTES = tuple("*" + mark for mark in QUOTES)

# In order of precedence. One scan, so that no replacement is replaced again.
MANGLED = re.compile(
    rf"""
      <(?:https?://|mailto:)(?P<target>[^<>|\s]*)(?:\|(?P<label>[^<>]*))?>
    | (?P<amp>&amp;) | (?P<less>&lt;) | (?P<more>&gt;)
    | (?P<drive>:anguished:|\U0001f627)       # Slack makes it of "D:"
    | (?P<slash>:confused:|\U0001f615)        # Slack makes it of ":\"
    | (?P<dash>[{DASHES}])
    | (?P<double>[{DOUBLE_QUOTES}])
    | (?P<single>[{SINGLE_QUOTES}])
    | (?P<dots>\u2026)
    | (?P<line>\r\n)
    | (?P<nothing>[\x00-\x08\x0e-\x1b\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe0f\ufeff])
    | (?P<broken>[\ud800-\udfff])             # half a character: bytes that were not UTF-8
    | (?P<space>\s)
    """,
    re.VERBOSE,
)
INSTEAD = {
    "amp": "&",
    "less": "<",
    "more": ">",
    "drive": "D:",
    "slash": ":\\",
    "dash": "-",
    "double": '"',
    "single": "'",
    "dots": "...",
    "line": " ",
    "nothing": "",
    "broken": "\ufffd",
    "space": " ",
}
BOLD = re.compile(r"\*([^*?\s](?:[^*?]*[^*?\s])?)\*")


@dataclass(frozen=True)
class Plain:
    """Cleaned text. ``spans`` holds the place of each character in ``original``."""

    original: str
    text: str
    spans: tuple[Span, ...]

    def origin(self, start: int, end: int) -> Span:
        """Return the original place of the characters from ``start`` up to ``end`` (exclusive)."""
        if start >= len(self.spans):
            return (len(self.original), len(self.original))
        return (self.spans[start][0], self.spans[max(start, end - 1)][1])


@dataclass(frozen=True)
class Word:
    """One name, keyword, number or comma. ``typed`` is its original spelling, ``at`` its index in
    the text as shown. A ``quoted`` word is never a keyword and never Slack's bold.
    """

    text: str
    typed: str
    at: int
    quoted: bool = False
    comma: bool = False

    @property
    def key(self) -> str:
        """The word in lower case, to compare with keywords. Empty for quoted words and commas."""
        return "" if self.quoted or self.comma else self.text.casefold()


def plain(text: str) -> Plain:
    """Undo the substitutions that Slack and editors make in text."""
    pieces: list[str] = []
    spans: list[Span] = []
    position = 0
    for match in MANGLED.finditer(text):
        for index in range(position, match.start()):
            pieces.append(text[index])
            spans.append((index, index + 1))
        instead = _instead(match)
        pieces.append(instead)
        spans.extend([match.span()] * len(instead))
        position = match.end()
    pieces.append(text[position:])
    spans.extend((index, index + 1) for index in range(position, len(text)))
    return Plain(text, "".join(pieces), tuple(spans))


def _instead(match: re.Match[str]) -> str:
    if match["target"] is not None:
        label = match["label"]
        return plain(label).text if label else match["target"].rstrip("/")
    return INSTEAD[match.lastgroup or "nothing"]


def split(text: str, *, bold: bool, prose: bool = False) -> tuple[Word, ...]:
    """Split free text into words. ``bold``: ``*web01*`` is Slack's bold, not a wildcard.
    ``prose``: an unclosed quotation mark is an apostrophe; otherwise it raises ``UsageError``."""
    return tuple(_Scanner(plain(text), text, 0, spaces=True, bold=bold, prose=prose).words())


def split_each(texts: Sequence[str], shown: str, *, prose: bool = False) -> tuple[Word, ...]:
    """Split a shell's arguments into words and keep their spaces. ``shown``: the joined text."""
    words: list[Word] = []
    offset = 0
    for text in texts:
        words += _Scanner(plain(text), shown, offset, spaces=False, bold=False, prose=prose).words()
        offset += len(text) + 1
    return tuple(words)


class _Scanner:
    """Scanner of one cleaned text, from left to right."""

    def __init__(
        self, cleaned: Plain, shown: str, offset: int, *, spaces: bool, bold: bool, prose: bool
    ) -> None:
        self.cleaned, self.text = cleaned, cleaned.text
        self.shown, self.offset = shown, offset
        self.spaces, self.bold, self.prose = spaces, bold, prose

    def words(self) -> Iterator[Word]:
        position = self._after_spaces(0)
        if position == len(self.text) and not self.spaces:
            yield self._word("", 0, position, quoted=True)
        while position < len(self.text):
            if self.text[position] == ",":
                yield self._word(",", position, position + 1, comma=True)
                position += 1
            else:
                word, position = self._name(position)
                yield word
            position = self._after_spaces(position)

    def _after_spaces(self, position: int) -> int:
        while position < len(self.text) and self.text[position] == " ":
            position += 1
        return position

    def _name(self, start: int) -> tuple[Word, int]:
        """Return the name that starts here, and the position of its end."""
        inside, position, quoted = "", start, False
        starred = self.bold and self.text[start : start + 2] in BOLD_QUOTES
        if starred:
            position += 1
        if self.text[position] in QUOTES:
            quoted = True
            inside, position = self._quotation(position)
            if starred and self.text[position : position + 1] == "*":
                position += 1
        end = self._end(position)
        rest = self.text[position:end].rstrip(" ")
        if not quoted and self.bold and (match := BOLD.fullmatch(rest)):
            rest = match[1]
        return self._word(inside + rest, start, position + len(rest), quoted=quoted), end

    def _end(self, position: int) -> int:
        stops = ", " if self.spaces else ","
        while position < len(self.text) and self.text[position] not in stops:
            position += 1
        return position

    def _quotation(self, start: int) -> tuple[str, int]:
        """Return the quoted text (a doubled mark means one mark), and the position of its end."""
        mark, letters, position = self.text[start], "", start + 1
        while position < len(self.text):
            if self.text[position] != mark:
                letters += self.text[position]
                position += 1
            elif self.text[position + 1 : position + 2] == mark:
                letters += mark
                position += 2
            else:
                return letters, position + 1
        if self.prose:
            return mark, start + 1
        word = self._word("", start, start + 1)
        raise UsageError(
            f"The quotation mark {word.typed} is opened but never closed.",
            what=word.typed,
            hint=f"Close it after the name, as in {mark}db 01{mark}.",
            text=self.shown,
            at=word.at,
        )

    def _word(
        self, text: str, start: int, end: int, *, quoted: bool = False, comma: bool = False
    ) -> Word:
        first, last = self.cleaned.origin(start, end)
        typed = self.cleaned.original[first:last]
        return Word(text, typed, self.offset + first, quoted, comma)


def is_typeable(name: str) -> bool:
    """Return whether the name, typed as :func:`quoted` gives it, means this VM and no pattern,
    place or id, and survives what Slack and editors make of text."""
    odd = name.startswith("id:") or any(c in "*?@" or (c.isspace() and c != " ") for c in name)
    return bool(name.strip()) and not odd and plain(name).text == name


def quoted(name: str, keywords: frozenset[str]) -> str:
    """Return the name as it can be typed, in quotation marks if the parser needs them."""
    odd = (
        not name
        or name.casefold() in keywords
        or name[0] in QUOTES
        or any(c in ", " for c in name)
        or BOLD.fullmatch(name) is not None
        or name.startswith(BOLD_QUOTES)
    )
    return '"' + name.replace('"', '""') + '"' if odd else name
