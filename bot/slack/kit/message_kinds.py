"""The kinds of messages, and the keys by which rows know each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.slack.kit.ids import is_direct

FIRST, SECOND, LAST = 0, 1, 2
"""Urgencies: the lowest number is sent first."""


@dataclass(frozen=True)
class Kind:
    """A kind of message.

    ``word``: how its keys begin. ``once``: sent once and never rendered again. ``paced``: updated
    at most once per board interval. ``starts``: it starts a thread; all other kinds are posted in a
    thread. ``broadcast``: shown in the channel, too. ``in_direct``: shown in the conversation of a
    direct message, where people need not follow a thread. ``name`` and ``verb``: what the audit
    calls it (``{about}``) if Slack rejects it in every form, and the command that shows the same.
    ``over``: text that replaces its buttons once they no longer apply.
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


BOARD = Kind("board", LAST, "its status message", "status {run}", paced=True, starts=True)
CARD = Kind("card", SECOND, "the card of {about}", "approvals", paced=True, in_direct=False)
LIST = Kind("list", SECOND, "the VMs of {about}", "approvals", in_direct=False)
REMIND = Kind("remind", FIRST, "a reminder of {about}", "approvals", once=True)
ESCALATE = Kind("escalate", FIRST, "the escalation of {about}", "approvals", once=True)
GLASS = Kind("glass", FIRST, "the break-glass message of {about}", "events {run}")
REVIEW = Kind("review", SECOND, "the review of {about}", "events {run}")
FAILURE = Kind(
    "failure",
    FIRST,
    "a failure message",
    "status {run}",
    over="Resolved {date}; see the status message.",
)
STALLED = Kind("stalled", FIRST, "a call about a migration that stands still", "status {run}")
REPORT = Kind(
    "report",
    SECOND,
    "its report",
    "report {run}",
    over="Resumed {date}; a new report will follow.",
    broadcast=True,
)
AWAY = Kind("away", SECOND, "the summary of an outage", "list", starts=True)
REPLY = Kind("reply", FIRST, "an answer", "help")
FORM = Kind("form", FIRST, "a form", "help")

_IN_RUNS = (BOARD, CARD, LIST, REMIND, ESCALATE, GLASS, REVIEW, FAILURE, STALLED, REPORT)
KINDS: Mapping[str, Kind] = {kind.word: kind for kind in (*_IN_RUNS, AWAY, REPLY, FORM)}


@dataclass(frozen=True)
class Key:
    """Name of a message: its kind, its subject (``R1``, ``A3``), the ``part`` that distinguishes it
    from others about the same subject (``None``: nothing), and its channel, if not the run's."""

    kind: Kind
    about: str
    part: str | None = None
    place: str = ""

    def __str__(self) -> str:
        """The key as rows store it: ``failure:R1:5d41402a``, ``card:A3@slack:D0123``."""
        part = "" if self.part is None else f":{self.part}"
        return f"{self.kind.word}:{self.about}{part}" + (f"@{self.place}" if self.place else "")

    @classmethod
    def read(cls, text: str) -> Key:
        """Parse a key from a row. A kind that only another version knows gets a placeholder."""
        name, _, place = text.partition("@")
        word, _, rest = name.partition(":")
        about, *parts = rest.split(":", 1)
        kind = KINDS.get(word) or Kind(word, LAST, "a message of another version", "status {run}")
        return cls(kind, about, parts[0] if parts else None, place)

    def at(self, place: str) -> Key:
        """Key of the same message in another channel than the run's."""
        return replace(self, place=place)

    @property
    def copy(self) -> Key:
        """Key of the copy of the card in this message's channel."""
        return Key(CARD, self.about, place=self.place)

    def parent(self, run: str) -> Key | None:
        """Key of the message in whose thread this one belongs; ``None``: it starts a thread."""
        if self.kind.starts or (self.place and self.kind is CARD):
            return None
        return self.copy if self.place else Key(BOARD, run)

    @property
    def is_broadcast(self) -> bool:
        """True if it is shown outside of its thread, too."""
        return self.kind.broadcast or (is_direct(self.place) and self.kind.in_direct)

    @property
    def run(self) -> int | None:
        """Number of the run that it is about; ``None``: it is about something else."""
        return self._number("R")

    @property
    def approval(self) -> int | None:
        """Number of the approval that it is about; ``None``: it is about something else."""
        return self._number("A")

    def _number(self, letter: str) -> int | None:
        number = self.about[1:]
        numbered = self.about[:1] == letter and number.isascii() and number.isdigit()
        return int(number) if numbered else None


def again(at: float | None) -> str | None:
    """Part of the key of a report or failure after a person's retry or resume, so that it is a new
    message, which notifies."""
    return None if at is None else str(int(at))
