"""The kinds of messages, one row a kind, and the keys by which messages are known in rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.slack.kit.ids import is_direct

FIRST, SECOND, LAST = 0, 1, 2
"""Urgencies: the lowest number is sent first."""


@dataclass(frozen=True)
class Kind:
    """A kind of message.

    ``word``: how its keys begin. ``once``: said once, in the words of that moment, and never drawn
    anew. ``paced``: drawn anew at most once in a board interval. ``starts``: it starts a thread,
    where it stands; all others are said in the thread of one that does. ``broadcast``: shown in the
    channel, too. ``in_direct``: shown in the conversation of a direct message, where nobody need
    follow a thread. ``name`` and ``verb``: what it is called (``{about}``) where Slack takes it in
    no way, and what shows the same. ``over``: what it says once its buttons apply no longer.
    """

    word: str
    urgency: int
    name: str = ""
    verb: str = ""
    over: str = ""
    once: bool = False
    paced: bool = False
    starts: bool = False
    broadcast: bool = False
    in_direct: bool = True


BOARD = Kind("board", LAST, "its board", "status {run}", paced=True, starts=True)
CARD = Kind("card", SECOND, "the card of {about}", "approvals", paced=True, in_direct=False)
LIST = Kind("list", SECOND, "the VMs of {about}", "approvals", in_direct=False)
REMIND = Kind("remind", FIRST, "a reminder of {about}", "approvals", once=True)
ESCALATE = Kind("escalate", FIRST, "the call of the escalation for {about}", "approvals", once=True)
GLASS = Kind("glass", FIRST, "that the glass was broken for {about}", "events {run}")
REVIEW = Kind("review", SECOND, "the review of {about}", "events {run}")
FAILURE = Kind(
    "failure",
    FIRST,
    "what failed",
    "status {run}",
    over="Resolved {date}; see the board.",
)
REPORT = Kind(
    "report",
    SECOND,
    "its report",
    "report {run}",
    over="Resumed {date}; a new report will follow.",
    broadcast=True,
)
AWAY = Kind("away", SECOND, "what was missed", "list", starts=True)
REPLY = Kind("reply", FIRST, "an answer", "help")
FORM = Kind("form", FIRST, "a form", "help")

_ALL = (BOARD, CARD, LIST, REMIND, ESCALATE, GLASS, REVIEW, FAILURE, REPORT, AWAY, REPLY, FORM)
KINDS: Mapping[str, Kind] = {kind.word: kind for kind in _ALL}


@dataclass(frozen=True)
class Key:
    """Name of a message: its kind, what it is about (``R1``, ``A3``), what tells it from others
    about the same (``part``; ``None``: nothing), and the channel, where that is not the run's."""

    kind: Kind
    about: str
    part: str | None = None
    place: str = ""

    def __str__(self) -> str:
        """The key as it stands in rows: ``failure:R1:5d41402a``, ``card:A3@slack:D0123``."""
        part = "" if self.part is None else f":{self.part}"
        return f"{self.kind.word}:{self.about}{part}" + (f"@{self.place}" if self.place else "")

    @classmethod
    def read(cls, text: str) -> Key:
        """The key that stands in a row; a kind that only another version knows is said plainly."""
        name, _, place = text.partition("@")
        word, _, rest = name.partition(":")
        about, *parts = rest.split(":", 1)
        kind = KINDS.get(word) or Kind(word, LAST, "a message of another version", "status {run}")
        return cls(kind, about, parts[0] if parts else None, place)

    def at(self, place: str) -> Key:
        """The same said in another place than the run's thread."""
        return replace(self, place=place)

    @property
    def copy(self) -> Key:
        """The copy of the card in the place where this is said."""
        return Key(CARD, self.about, place=self.place)

    def parent(self, run: str) -> Key | None:
        """The message in whose thread this is said, for a run (``R1``); ``None``: it starts one."""
        if self.kind.starts or (self.place and self.kind is CARD):
            return None
        return self.copy if self.place else Key(BOARD, run)

    @property
    def is_broadcast(self) -> bool:
        """True if it is shown outside of its thread, too."""
        return self.kind.broadcast or (is_direct(self.place) and self.kind.in_direct)

    @property
    def run(self) -> int | None:
        """Number of the run that it is about, if that is what it names."""
        return self._number("R")

    @property
    def approval(self) -> int | None:
        """Number of the approval that it is about, if that is what it names."""
        return self._number("A")

    def _number(self, letter: str) -> int | None:
        number = self.about[1:]
        numbered = self.about[:1] == letter and number.isascii() and number.isdigit()
        return int(number) if numbered else None


def again(at: float | None) -> str | None:
    """Part of the key of a report that follows a person's retry or resume: a new message, since
    somebody waits for it."""
    return None if at is None else str(int(at))
