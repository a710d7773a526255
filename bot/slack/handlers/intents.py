"""Intents: the meaning of an inbox row. Each row is read as one of six kinds of intent.

Rows with a common subject (person or run) are carried out in the order of arrival. The worker goes
through the open rows from the oldest to the newest. A row that must wait holds up every later row
that shares a subject with it, and these hold up others in turn; all other rows pass. Requests share
one subject, because their order decides which of two equal requests begins the run. A name that
matches no run may refer to a run that an earlier request creates, so it waits for that request.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.slack.handlers import decisions, run_buttons
from bot.slack.handlers.confirm import Confirmer, Outcome, Taken
from bot.slack.handlers.decisions import DecisionClick
from bot.slack.handlers.threads import Threads
from bot.slack.handlers.verbs import CHANGING, DECISIONS, JUDGED, REVIEWED
from bot.slack.inbox.rows import COMMAND, MENTION, SHORTCUT, Inbound
from bot.slack.kit.buttons import AGAIN, RunButton
from bot.slack.messages.links import Links
from bot.slack.outbox.rows import Tables
from engine.errors import Refused
from engine.language import grammar, names
from engine.language.grammar import Ask, Command
from engine.model import Request
from engine.store import queries
from engine.store.store import Store

Subject = tuple[str, object]
STARTS: Subject = ("starts", "")
LOOKS_AT_NONE = frozenset({"help", "list", "approvals"})


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A person's request, read once from a row of the inbox.

    ``taken``: the row, how long it waited, and the question that it confirms. ``what``: its name in
    the audit. ``command``: the equivalent typed command, whose permissions apply; ``None``: it has
    its own rules. ``changes``: it would start or change something, so its refusal is audited.
    ``is_judged``: the person must be identified for certain and be allowed to decide.
    ``is_for_outsiders``: the person need not be an approver.
    """

    taken: Taken
    what: str = ""
    subjects: frozenset[Subject]
    command: Command | None = None
    changes: bool = True
    is_judged: bool = False
    is_for_outsiders: bool = False

    @property
    def row(self) -> Inbound:
        """The row to carry out."""
        return self.taken.row


@dataclass(frozen=True, kw_only=True)
class Start(Intent):
    """A request for a run."""

    command: Request


@dataclass(frozen=True, kw_only=True)
class Say(Intent):
    """A typed verb."""

    command: Ask


@dataclass(frozen=True, kw_only=True)
class Press(Intent):
    """A click on a button that acts on a run. Its permissions are those of the typed verb."""

    button: RunButton


@dataclass(frozen=True, kw_only=True)
class Decide(Intent):
    """A click on the card of an approval."""

    click: DecisionClick


@dataclass(frozen=True, kw_only=True)
class Answer(Intent):
    """A click or text with a ready answer, such as the end of a question. ``outcome.refused`` is
    the audit's name of a refusal."""

    outcome: Outcome
    changes: bool = False


@dataclass(frozen=True, kw_only=True)
class Unknown(Intent):
    """Unknown words or an unknown button. ``refusal``: why the words were rejected."""

    refusal: Refused | None = None
    changes: bool = False


class Intents:
    """Reader of inbox rows. Reads rows, writes none."""

    def __init__(self, store: Store, tables: Tables, links: Links, confirmer: Confirmer) -> None:
        self.store, self.confirmer = store, confirmer
        self.threads = Threads(store, tables, links)

    def read(self, row: Inbound) -> Intent:
        """Read the meaning of a row; for a mention, shortcut or confirmation, that of its
        request."""
        meant = self.threads.as_command(row) if row.kind in (MENTION, SHORTCUT) else row
        taken = meant if isinstance(meant, Outcome) else self.confirmer.taken(meant)
        if isinstance(taken, Outcome):
            return Answer(taken=Taken(row), what=taken.refused, subjects=_by(row), outcome=taken)
        return self._typed(taken) if taken.row.kind == COMMAND else self._clicked(taken)

    def _typed(self, taken: Taken) -> Intent:
        text, by = str(taken.row.body["text"]), _by(taken.row)
        try:
            command = grammar.parse(text)
        except Refused as error:
            return Unknown(taken=taken, what=text, subjects=by, refusal=error)
        if isinstance(command, Request):
            return Start(taken=taken, what=text, subjects=by | {STARTS}, command=command)
        return Say(
            taken=taken,
            what=text,
            subjects=by | self._about(command),
            command=command,
            changes=command.verb in CHANGING,
            is_judged=command.verb in JUDGED,
            # Neither the person who broke the glass nor the reviewer need be an approver.
            is_for_outsiders=command.verb == REVIEWED,
        )

    def _clicked(self, taken: Taken) -> Intent:
        row, by, button = taken.row, _by(taken.row), run_buttons.read(taken.row)
        if button is not None:
            ask = Ask(button.verb, (button.label,))
            return Press(
                taken=taken,
                what=button.what,
                subjects=by | self._about(ask),
                command=ask,
                changes=ask.verb in CHANGING,
                button=button,
            )
        click = decisions.read(row)
        if click is None:
            what = f"click on {str(row.body.get('action'))[:40]}"
            return Unknown(taken=taken, what=what, subjects=by)
        again = click.verb == AGAIN  # decides nothing
        return Decide(
            taken=taken,
            what=click.what,
            subjects=by | self._of_approval(click.number),
            command=Ask("retry") if again else None,
            is_judged=not again,
            is_for_outsiders=click.breaks,
            click=click,
        )

    def _about(self, ask: Ask) -> frozenset[Subject]:
        """The run that a verb is about, as subjects."""
        if ask.verb in LOOKS_AT_NONE or not ask.words:
            return frozenset()
        try:
            if ask.verb in DECISIONS:
                return self._of_approval(grammar.approval_number(ask.words[0]))
            run = names.find_run(ask.words[0], queries.runs(self.store))
            return frozenset({("run", run.id)})
        except Refused:
            return frozenset({STARTS})

    def _of_approval(self, number: int) -> frozenset[Subject]:
        asked = queries.approval(self.store, number)
        return frozenset({("run", asked.run)}) if asked else frozenset()


def _by(row: Inbound) -> frozenset[Subject]:
    return frozenset({("by", row.by)})
