"""Transcript of a channel as people read it: who said what when, boards when they changed
enough."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

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


class Telling:
    """Writer of the conversation; remembers what was told."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self._before: dict[str, str] = {}
        self._whispered: dict[str, int] = {}
        self._board = ""

    def opening(self, start: float) -> None:
        """Tell what the reader is about to see."""
        self._line("VMFerry empties a Hyper-V host from a chat channel. This is the real bot and")
        self._line("the real engine; Slack and the fleet are simulated, 60 times faster than the")
        self._line(
            "clock. On HV01: 6 running VMs, one of them in a backup, and 2 powered-down ones."
        )
        self._line("Lines after a dot tell what happens behind the channel.")
        self._line("")
        self._line(f"#ops-migrations, the night of {datetime.fromtimestamp(start, UTC):%d %B %Y}")

    def person(self, name: str, what: str, at: float) -> None:
        """Tell what a person types or clicks."""
        self._line("")
        self._line(f"{clock(at)}  @{name}  {what}")

    def tell(self, slack: Standin, channel: str, now: float) -> None:
        """Tell everything that is new in the channel since the last call."""
        for user in ("dana", "eve", "ravi"):
            person = slack.user(user)
            whispers = slack.ephemerals(person)
            for whisper in whispers[self._whispered.get(person, 0) :]:
                self._whisper(slack, whisper, user, now)
            self._whispered[person] = len(whispers)
        for message in slack.messages(channel):
            if message.thread_ts is None:
                self._tell_board(slack, message, now)
                for reply in slack.thread(channel, message.ts):
                    self._tell_reply(slack, reply, now)

    def closing(
        self,
        run: Mapping[str, Any],
        checks: Sequence[tuple[str, bool]],
        audited: int,
        vmm_calls: int,
        slack_calls: int,
    ) -> None:
        """Tell what was proven, with the numbers."""
        self._line("")
        self._line("Checked against the simulated world and the audit:")
        for what, is_so in checks:
            self._line(f"  {'ok ' if is_so else 'NO '} {what}")
        self._line(f"  ok  the audit: {audited} events, each hashed with the one before")
        self._line("")
        makespan, bound = run["makespan"], run["bound"]
        self._line(
            f"Makespan {took(makespan)}; no schedule could beat {took(bound)} "
            f"({makespan / max(bound, 1):.2f} x). {vmm_calls} calls to VMM and hosts, "
            f"{slack_calls} to Slack."
        )

    def aside(self, news: Iterable[Event]) -> None:
        """Tell what nobody in the channel sees at once: failures, retries, networks put back."""
        restored: dict[str, Counter[str]] = {}
        for event in news:
            vm = event.vm or ""
            if event.kind == "network.repaired":
                restored.setdefault(vm, Counter())[str(event.detail["what"])] += 1
            if _is_worth_an_aside(event):
                self._aside(event.at, event.text)
            if event.kind == "move.done" and vm in restored:
                what = ", ".join(f"{n} x {word}" for word, n in sorted(restored[vm].items()))
                self._aside(event.at, f"{vm}: lost on the way, put back and read again: {what}")

    # --- pieces ------------------------------------------------------------------------------

    def _aside(self, at: float, text: str) -> None:
        self._line("")
        first, *more = textwrap.wrap(text, WIDTH)
        self._line(f"{clock(at)}  · {first}")
        for part in more:
            self._line(f"         {part}")

    def _tell_board(self, slack: Standin, message: Message, now: float) -> None:
        """The board, whenever its state or its number of moved VMs changed."""
        text = self._plain(slack, message.shown)
        moved = _COUNTS.search(text)
        stamp = f"{text.splitlines()[0]}{moved[1] if moved else ''}"
        if stamp == self._board:
            return
        verb = "edits its message" if self._board else "posts"
        self._board = stamp
        self._said(f"VMFerry {verb}", text, now)

    def _tell_reply(self, slack: Standin, message: Message, now: float) -> None:
        text = self._plain(slack, message.shown)
        stamp = _TIME.sub("", text)
        before = self._before.get(message.ts)
        if before == stamp:
            return
        self._before[message.ts] = stamp
        who = "VMFerry in the thread" + (", edited" if before else "")
        labels = [words(one) for one in buttons(message)]
        text = text.removesuffix(" ".join(labels)).rstrip()
        self._said(who, f"{text}\n{_in_brackets(message)}".strip(), now)

    def _whisper(self, slack: Standin, whisper: Ephemeral, name: str, now: float) -> None:
        text = f"{whisper.text}\n{_in_brackets(whisper)}".strip()
        self._said(f"VMFerry to @{name} alone", self._plain(slack, text), now)

    def _said(self, who: str, text: str, now: float) -> None:
        self._line("")
        self._line(f"{clock(now)}  {who}")
        for line in text.splitlines():
            for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]:
                self._line(f"       {part}")

    def _plain(self, slack: Standin, text: str) -> str:
        """Slack's mark-up as a reader sees it."""
        text = _DATE.sub(lambda m: clock(float(m[1]), m[2]), text)
        text = _MENTION.sub(lambda m: f"@{slack.name(m[1])}", text)
        text = text.replace("*", "").replace("&lt;", "<").replace("&gt;", ">")
        return text.replace("&amp;", "&")

    def _line(self, text: str) -> None:
        print(text, file=self.out, flush=True)


def _is_worth_an_aside(event: Event) -> bool:
    if event.kind == "attempt.ended":
        return bool(event.detail["result"] == "failed")
    if event.kind == "move.waiting":
        return event.detail["wait"] in ("BACKOFF", "BACKUP")
    return event.kind == "host.empty"


def _in_brackets(shown: Message | Ephemeral) -> str:
    """The buttons below a message, as a reader sees them."""
    return " ".join(f"[{words(button)}]" for button in buttons(shown))
