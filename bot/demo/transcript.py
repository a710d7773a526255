"""Transcript of a channel: who said what and when, and boards whenever they changed enough."""

from __future__ import annotations

import html
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bot.standin.slack import Standin
from bot.standin.values import Ephemeral, Message, buttons, words
from engine.language.grammar import took
from engine.model import Event

_DATE = re.compile(r"<!date\^(\d+)\^\{(\w+)\}[^|>]*\|[^>]*>")
_MENTION = re.compile(r"<@(\w+)>")
_TIME = re.compile(r"\d\d:\d\d")
_COUNTS = re.compile(r"(\d+) of \d+ moved")
WIDTH = 100


def clock(at: float, form: str = "time") -> str:
    """``22:14`` of a Unix time, in UTC; with seconds for Slack's ``time_secs``."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S" if form == "time_secs" else "%H:%M")


OPENING = """\
VMFerry empties a Hyper-V host from a chat channel. This is the real bot and
the real engine; Slack and the fleet are simulated, 60 times faster than the
clock. On HV01: 6 running VMs, one of them in a backup, and 2 powered-down ones.
Lines that begin with a dot are events that the channel does not show.
"""


class Telling:
    """Writer of the transcript of one channel. Remembers what it has printed."""

    def __init__(self, slack: Standin, channel: str, people: Mapping[str, str]) -> None:
        self.slack, self.channel, self.people = slack, channel, people
        self._before: dict[str, str] = {}
        self._whispered = dict.fromkeys(people, 0)
        self._board = ""

    def opening(self, start: float) -> None:
        """Print what the reader is about to see."""
        night = datetime.fromtimestamp(start, UTC).strftime("%d %B %Y")
        _line(f"{OPENING}\n#ops-migrations, the night of {night}")

    def person(self, name: str, what: str, at: float) -> None:
        """Print what a person types or clicks."""
        _line(f"\n{clock(at)}  @{name}  {what}")

    def tell(self, now: float) -> None:
        """Print everything new in the channel since the last call."""
        for name, person in self.people.items():
            whispers = self.slack.ephemerals(person)
            for whisper in whispers[self._whispered[name] :]:
                text = f"{whisper.text}\n{_in_brackets(whisper)}".strip()
                self._said(f"VMFerry to @{name} alone", self._plain(text), now)
            self._whispered[name] = len(whispers)
        for message in self.slack.messages(self.channel):
            if message.thread_ts is None:
                self._tell_board(message, now)
                for reply in self.slack.thread(self.channel, message.ts):
                    self._tell_reply(reply, now)

    def closing(
        self,
        run: Mapping[str, Any],
        checks: Mapping[str, bool],
        audited: int,
        vmm_calls: int,
        slack_calls: int,
    ) -> None:
        """Print what was proven, with the numbers."""
        _line("\nChecked against the simulated world and the audit:")
        for what, is_so in checks.items():
            _line(f"  {'ok ' if is_so else 'NO '} {what}")
        _line(f"  ok  the audit: {audited} events, each hashed with the one before")
        makespan, bound = run["makespan"], run["bound"]
        _line(
            f"\nThe run took {took(makespan)}. No schedule could have taken less than "
            f"{took(bound)}. {vmm_calls} calls to VMM and hosts, {slack_calls} to Slack."
        )

    def aside(self, news: Iterable[Event]) -> None:
        """Print what the channel does not show at once: failures, retries, repaired networks."""
        restored: dict[str, Counter[str]] = {}
        for event in news:
            vm = event.vm or ""
            if event.kind == "network.repaired":
                restored.setdefault(vm, Counter())[str(event.detail["what"])] += 1
            if _is_worth_an_aside(event):
                _aside(event.at, event.text)
            if event.kind == "move.done" and vm in restored:
                what = ", ".join(f"{n} x {word}" for word, n in sorted(restored[vm].items()))
                _aside(event.at, f"{vm}: lost in the move, restored and verified: {what}")

    # --- pieces ------------------------------------------------------------------------------

    def _tell_board(self, message: Message, now: float) -> None:
        """The board, whenever its state or its number of moved VMs changed."""
        text = self._plain(message.shown)
        moved = _COUNTS.search(text)
        stamp = f"{text.splitlines()[0]}{moved[1] if moved else ''}"
        if stamp == self._board:
            return
        verb = "edits its message" if self._board else "posts"
        self._board = stamp
        self._said(f"VMFerry {verb}", text, now)

    def _tell_reply(self, message: Message, now: float) -> None:
        text = self._plain(message.shown)
        stamp = _TIME.sub("", text)
        before = self._before.get(message.ts)
        if before == stamp:
            return
        self._before[message.ts] = stamp
        who = "VMFerry in the thread" + (", edited" if before else "")
        labels = [words(one) for one in buttons(message)]
        text = text.removesuffix(" ".join(labels)).rstrip()
        self._said(who, f"{text}\n{_in_brackets(message)}".strip(), now)

    def _said(self, who: str, text: str, now: float) -> None:
        _line(f"\n{clock(now)}  {who}")
        for line in text.splitlines():
            for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]:
                _line(f"       {part}")

    def _plain(self, text: str) -> str:
        """Slack's mark-up as readable text."""
        text = _DATE.sub(lambda m: clock(float(m[1]), m[2]), text)
        text = _MENTION.sub(lambda m: f"@{self.slack.name(m[1])}", text)
        return html.unescape(text.replace("*", ""))


def _line(text: str) -> None:
    print(text, flush=True)


def _aside(at: float, text: str) -> None:
    shown = textwrap.wrap(text, WIDTH)
    _line(f"\n{clock(at)}  · " + "\n         ".join(shown))


def _is_worth_an_aside(event: Event) -> bool:
    if event.kind == "attempt.ended":
        return bool(event.detail["result"] == "failed")
    if event.kind == "move.waiting":
        return event.detail["wait"] in ("BACKOFF", "BACKUP")
    return event.kind == "host.empty"


def _in_brackets(shown: Message | Ephemeral) -> str:
    """The buttons below a message, in brackets."""
    return " ".join(f"[{words(button)}]" for button in buttons(shown))
