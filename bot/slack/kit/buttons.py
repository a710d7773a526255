"""Names and values of buttons. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.slack.kit.blocks import fingerprint
from engine.model import Approval, Move, MoveRecord, Run

APPROVE, DENY, AGAIN = "approve", "deny", "again"
CHOOSE, WITHDRAW, BREAK = "choose", "withdraw", "break"
FORMS = frozenset({DENY, CHOOSE, WITHDRAW, BREAK})
REVIEW = "review"  # on messages of earlier versions; reviews are typed now
SAID = ".said"  # a submitted form becomes an inbox row of its own: "deny.said"


def value_of(approval: Approval) -> str:
    """Value of a button of this card: the approval's number and the digest of the card."""
    return f"{approval.id}.{approval.digest}"


def read_value(value: str) -> tuple[int, str] | None:
    """Number and digest from a button's value; ``None`` if VMFerry did not make it."""
    number, _, digest = value.partition(".")
    whole = number.isascii() and number.isdigit() and len(number) <= 15 and digest
    return (int(number), digest) if whole else None


RUN, FORM = "run", "form"  # subjects other than a cause of failures; FORM opens a form first
PREFIX, MORE = "do.", "more"
DETAILS = "status"
VERBS = frozenset({DETAILS, "pause", "resume", "stop", "abort", "retry", "skip", "settle", "go-on"})
#: Verbs whose buttons are never stale.
ANYTIME = frozenset({DETAILS, "pause", "stop"})


@dataclass(frozen=True)
class RunButton:
    """A button that acts on a run: verb, run, subject in the run, and the version that was
    shown."""

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
        """Label of the run, such as ``R3``."""
        return f"R{self.run}"

    @property
    def what(self) -> str:
        """Name of the click for the audit: ``retry R3 (button)``."""
        return f"{self.verb} {self.label} (button)"


def read(action: str, value: str) -> RunButton | None:
    """The run button that was clicked; ``None`` for any other button."""
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
    """Short hash that changes when the subject of the button changes."""
    whole = run.resumed if control.subject in (RUN, FORM) else None
    shown = [_shown(entry.move) for entry in moves]
    return fingerprint(whole, shown)[:12]


def _shown(move: Move) -> tuple[object, ...]:
    """Properties of a move that its button depends on. A doubt or damage that returns after a
    person settled or cleared it differs from the first one."""
    return move.id, str(move.state), move.retried, move.settled, move.cleared


def is_stale(control: RunButton, run: Run, moves: Sequence[MoveRecord]) -> bool:
    """Tell whether the button's subject has changed since the button was shown."""
    return control.verb not in ANYTIME and control.version != version(control, run, moves)


YES, NO = "draft.yes", "draft.no"  # the values in messages already posted
ABORT = "abort"
