"""Display of a run: a live board in a terminal, or one line per event in a pipe.

The words are the same as on the board in Slack. :func:`board_lines` is a pure function of a
:class:`Board`. The two screens only print its lines, or events.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.errors import Refused, UsageError, VMFerryError
from engine.language.sentence import Command, Part, join, parts_of, say
from engine.language.vocabulary import VERBS
from engine.model import Event, Run, Wait, short
from engine.views.board import ENDS, STATES, WAITS, Board, Stuck, WaitGroup, counts
from engine.views.seen import seen_line

STYLES = {
    "Failed": "bold red",
    "Damaged": "bold red",
    "Location unknown": "bold red",
    "Needs a person": "bold yellow",
    "Waiting": "yellow",
}
BAR = 20
SHOWN_FAILURES = 8


def safe(text: str) -> str:
    """Return the text for a terminal: commands spelled for a shell, control characters replaced, so
    that the name of a VM cannot control the terminal."""
    said = spelled(text)
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf") else c for c in said)


def spelled(text: str) -> str:
    """Return the text with its commands spelled for a shell: ``vmferry retry R2 db01``."""
    return "".join(map(_as_typed, parts_of(text)))


def _as_typed(part: Part) -> str:
    if not isinstance(part, Command):
        return str(part)
    return f"vmferry {'run ' if part.text.split()[0] in _REQUESTS else ''}{part.text}"


_REQUESTS = [verb.name for verb in VERBS if verb.request]


def error_lines(error: VMFerryError) -> list[str]:
    """Return the lines of an error for a terminal, with a caret under the wrong word, if known."""
    said = join(" ", [error.sentence, error.hint]) if isinstance(error, Refused) else str(error)
    pointer = error.pointer() if isinstance(error, UsageError) else ()
    return [*map(safe, [*pointer, *spelled(said).split("\n")])]


def clock_time(at: float | None) -> str:
    """Return ``02:31`` in the local time zone, or ``?`` for ``None``."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M") if at is not None else "?"


def since_start(at: float, start: float) -> str:
    """Return hours, minutes and seconds since ``start``: ``0:01:05``."""
    seconds = int(max(0.0, at - start))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def title(run: Run) -> str:
    """Return the title of a run: ``R214 · hv01 → hv02, hv03 · Moving``."""
    sources = ", ".join(short(host) for host in run.sources) or run.request
    places = ", ".join(short(host) for host in run.destinations)
    return safe(f"{run.label} · {sources} → {places} · {STATES[run.state]}")


def board_lines(board: Board, plain_bar: bool = False) -> list[str]:
    """Return the lines of a board. ``plain_bar``: draw the progress bar in ASCII."""
    lines = [title(board.run), counts(board), _progress(board, plain_bar)]
    if board.questions:
        lines.append(_question(board))
    lines += [say("Needs a person: {}", said) for said in board.needs]
    if board.moving:
        lines.append("Moving: " + ", ".join(_moving(board)))
    if board.restoring:
        lines.append("Network: " + ", ".join(board.restoring))
    if board.waiting:
        lines.append("Waiting: " + " · ".join(_waiting(group) for group in board.waiting))
    lines += _failures(board.failed, board.run.label)
    asked = f"Asked by {board.run.by} {clock_time(board.run.created)}"
    lines.append(f"{asked} · as of {clock_time(board.as_of)}")
    lines.append(seen_line(board.seen, clock_time))
    return [safe(line) for line in lines if line]


def _progress(board: Board, plain_bar: bool) -> str:
    if board.run.over:
        return ""
    full = min(BAR, int(board.progress * BAR))
    on, off = ("#", ".") if plain_bar else ("▓", "░")
    done = f" · done about {clock_time(board.done_about)}" if board.done_about is not None else ""
    return f"{on * full}{off * (BAR - full)} {board.progress * 100:.0f} %{done}"


def _question(board: Board) -> str:
    count = sum(len(question.vms) for question in board.questions)
    needed = f" by {clock_time(board.needed_by)}" if board.needed_by is not None else ""
    labels = ", ".join(question.label for question in board.questions)
    noun = "VM" if count == 1 else "VMs"
    return f"Needs a person: approve {count} powered-down {noun}{needed} ({labels})"


def _moving(board: Board) -> list[str]:
    return [
        f"{move.vm} → {short(move.destination)}"
        + (f" {move.percent} %" if move.percent is not None else "")
        for move in board.moving
    ]


def _waiting(group: WaitGroup) -> str:
    """Return the number of VMs in a wait, and the text of the VM that has waited longest."""
    detail = clock_time(group.since) if group.wait is Wait.BACKUP else group.text
    return f"{group.count} {WAITS.get(group.wait, '{}').format(detail)}"


def _failures(stuck: Sequence[Stuck], run: str) -> list[str]:
    lines: list[str] = []
    for one in stuck[:SHOWN_FAILURES]:
        lines.append(say("{}: {}", ENDS[one.state].capitalize(), one.sentence))
        if one.next:
            lines.append(say("  Next: {}", one.next))
    if len(stuck) > SHOWN_FAILURES:
        more, report = len(stuck) - SHOWN_FAILURES, Command(f"report {run}")
        lines.append(say("  and {} more; see: {}", more, report))
    return lines


def event_line(event: Event, start: float) -> str:
    """Return one event as one line: time since ``start``, run, kind, text. Scripts rely on this
    format."""
    run = f"R{event.run}" if event.run is not None else "-"
    said = say("{} {} {} {}", since_start(event.at, start), run, event.kind, event.text)
    return safe(said)


_BAD = ("move.damaged", "move.failed")


class LiveScreen:
    """The board of a terminal, redrawn in place."""

    draws = True  # redraw the board at news, not only at questions

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None

    def show(self, board: Board, asking: Sequence[str] = ()) -> None:
        """Draw the prompt ``asking`` and, below it, the board. A small screen cuts off the end."""
        lines = [Text(safe(line), style="bold") for line in asking]
        for line in board_lines(board, self.console.options.ascii_only):
            lines.append(Text(line, style=STYLES.get(line.split(":", 1)[0], "")))
        if self.live is None:
            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
        self.live.update(Text("\n").join(lines), refresh=True)

    def tell(self, events: Iterable[Event]) -> None:
        """Print important events above the board. The board itself shows the others."""
        kept = ("approval.", "glass.", "host.empty", "network.repaired", *_BAD)
        self.say(safe(event.text) for event in events if event.kind.startswith(kept))

    def say(self, lines: Iterable[str]) -> None:
        """Print lines above the board."""
        for line in lines:
            self.console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        """Leave the last board on the screen. Later text appears below it."""
        if self.live is not None:
            self.live.stop()
            self.live = None


class PlainScreen:
    """One line per event, for a pipe, a file or a CI log."""

    draws = False

    def __init__(self, start: float, stream: TextIO) -> None:
        self.start, self.stream = start, stream

    def show(self, board: Board, asking: Sequence[str] = ()) -> None:
        """Do nothing: a pipe gets events, not boards."""

    def tell(self, events: Iterable[Event]) -> None:
        """Print each event at once, on one line."""
        self.say(event_line(event, self.start) for event in events)

    def say(self, lines: Iterable[str]) -> None:
        """Print and flush each line, so that a reader of a pipe sees it at once."""
        for line in lines:
            # On an old code page print a question mark; an encoding error would end the run.
            coding = self.stream.encoding or "utf-8"
            print(line.encode(coding, "replace").decode(coding), file=self.stream, flush=True)

    def close(self) -> None:
        """Do nothing: there is nothing to restore."""


Screen = LiveScreen | PlainScreen
