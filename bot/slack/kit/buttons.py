"""Buttons: their names, and what they carry. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.slack.kit.blocks import fingerprint
from engine.model import Approval, Move, MoveRecord, Run

APPROVE, DENY, AGAIN = "approve", "deny", "again"
CHOOSE, WITHDRAW, BREAK = "choose", "withdraw", "break"
FORMS = frozenset({DENY, CHOOSE, WITHDRAW, BREAK})
REVIEW = "review"  # on messages of earlier versions; a review is typed now
SAID = ".said"  # what was said in a form comes in as a row of its own: "deny.said"


def value_of(approval: Approval) -> str:
    """Value of a button of this card: the approval, and the digest of what was shown."""
    return f"{approval.id}.{approval.digest}"


def read_value(value: str) -> tuple[int, str] | None:
    """The number and the digest on a button; ``None`` for one that we did not make."""
    number, _, digest = value.partition(".")
    whole = number.isascii() and number.isdigit() and len(number) <= 15 and digest
    return (int(number), digest) if whole else None


RUN, FORM = "run", "form"  # what a button is about, where it is not a cause; FORM asks first
PREFIX, MORE = "do.", "more"
DETAILS = "status"
VERBS = frozenset({DETAILS, "pause", "resume", "stop", "abort", "retry", "skip", "settle", "go-on"})
#: These say the same whatever has happened since the button was shown.
ANYTIME = frozenset({DETAILS, "pause", "stop"})


@dataclass(frozen=True)
class RunButton:
    """Meaning of one button: a verb, the run, the subject in it, and the version that was shown."""

    verb: str
    run: int
    subject: str = RUN
    version: str = ""

    @property
    def value(self) -> str:
        """Value on the button."""
        return f"{self.verb}.{self.run}.{self.subject}.{self.version}"

    @property
    def label(self) -> str:
        """The run, as people call it."""
        return f"R{self.run}"

    @property
    def what(self) -> str:
        """Name of the click for the audit: ``retry R3 (button)``."""
        return f"{self.verb} {self.label} (button)"


def read(action: str, value: str) -> RunButton | None:
    """Button that was clicked; ``None`` for a button that is not one of these."""
    if action != MORE and not action.startswith(PREFIX):
        return None
    parts = value.split(".")
    if len(parts) != 4 or parts[0] not in VERBS:
        return None
    verb, run, subject, version = parts
    if action not in (MORE, f"{PREFIX}{verb}"):
        return None
    number = run.isascii() and run.isdigit() and len(run) <= 15
    return RunButton(verb, int(run), subject, version) if number else None


def version(control: RunButton, run: Run, moves: Sequence[MoveRecord]) -> str:
    """The short word that changes with what a click would be about."""
    whole = run.resumed if control.subject in (RUN, FORM) else None
    shown = [_shown(entry.move) for entry in moves]
    return fingerprint(whole, shown)[:12]


def _shown(move: Move) -> tuple[object, ...]:
    """Properties of a VM that were shown; a doubt or damage that comes back after a person's word
    differs."""
    return move.id, str(move.state), move.retried, move.settled, move.cleared


def is_stale(control: RunButton, run: Run, moves: Sequence[MoveRecord]) -> bool:
    """Tell whether the subject of the button has changed since it was shown."""
    return control.verb not in ANYTIME and control.version != version(control, run, moves)


YES, NO = "draft.yes", "draft.no"  # as in messages that are posted already
ABORT = "abort"
