"""Intents: what a row of the inbox means. Each row is read once, into one of seven values.

Rows about the same subject are carried out in the order they came. The worker goes through the open
rows from the oldest to the newest. A row that has to wait holds up every later row that shares a
subject with it, and these hold up theirs; all others pass it by. Subjects are the person and the
run. Requests have one subject in common, because which of two like requests begins the run depends
on their order. A name that matches no run may refer to a run that an earlier request creates, so it
waits for that request.
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


@dataclass(frozen=True)
class Intent:
    """A wish of somebody. ``what``: its name in the audit. ``taken``: the row, how long it
    waited, and the question that its person has confirmed."""

    taken: Taken
    what: str
    subjects: frozenset[Subject]

    @property
    def row(self) -> Inbound:
        """Row as it is carried out."""
        return self.taken.row

    @property
    def command(self) -> Command | None:
        """Typed command that it amounts to: whoever may type that may do this. ``None``: it has
        rules of its own."""
        return None

    @property
    def changes(self) -> bool:
        """True if it would start or change anything. Then its refusal belongs in the audit."""
        return True

    @property
    def is_judged(self) -> bool:
        """True if it must be sure who this person is, and whether they may decide."""
        return False

    @property
    def is_for_outsiders(self) -> bool:
        """True if somebody may do it who may decide on nothing."""
        return False


@dataclass(frozen=True)
class Start(Intent):
    """A request for a run."""

    request: Request

    @property
    def command(self) -> Command:
        """The request itself."""
        return self.request


@dataclass(frozen=True)
class Look(Intent):
    """A verb that only looks."""

    ask: Ask

    @property
    def command(self) -> Command:
        """The verb itself."""
        return self.ask

    @property
    def changes(self) -> bool:
        """False: it only looks."""
        return False


@dataclass(frozen=True)
class Change(Intent):
    """A verb that changes a run, or says that a broken glass was reviewed."""

    ask: Ask

    @property
    def command(self) -> Command:
        """The verb itself."""
        return self.ask

    @property
    def is_judged(self) -> bool:
        """True for a review, which has rules like a decision's."""
        return self.ask.verb in JUDGED

    @property
    def is_for_outsiders(self) -> bool:
        """True for a review: who broke the glass may be in no list, and so may the reviewer."""
        return self.ask.verb == REVIEWED


@dataclass(frozen=True)
class Decide(Intent):
    """A decision on an approval: typed, or a click on its card."""

    said: Ask | DecisionClick

    @property
    def command(self) -> Command | None:
        """The verb that was typed; ``retry`` for a click on Ask again."""
        if isinstance(self.said, Ask):
            return self.said
        return Ask("retry") if self.said.action == AGAIN else None

    @property
    def is_judged(self) -> bool:
        """True, except for asking again, which decides nothing."""
        return isinstance(self.said, Ask) or self.said.action != AGAIN

    @property
    def is_for_outsiders(self) -> bool:
        """True if the glass is broken."""
        return isinstance(self.said, DecisionClick) and self.said.breaks


@dataclass(frozen=True)
class Press(Intent):
    """A click on a button that acts on a run: a person who may type its verb may click it."""

    button: RunButton

    @property
    def command(self) -> Ask:
        """The verb of the button, about its run."""
        return Ask(self.button.verb, (self.button.label,))

    @property
    def changes(self) -> bool:
        """True, except for Details."""
        return self.button.verb in CHANGING


@dataclass(frozen=True)
class Answer(Intent):
    """An answer to the requester's own question that ends it, or has no effect."""

    outcome: Outcome

    @property
    def changes(self) -> bool:
        """False: what it refuses is kept by the outcome's own word."""
        return False


@dataclass(frozen=True)
class Unknown(Intent):
    """Words or a button that mean nothing here. ``refusal``: why the words mean nothing."""

    outcome: Outcome | None = None
    refusal: Refused | None = None

    @property
    def changes(self) -> bool:
        """False: there is nothing to change."""
        return False


class Intents:
    """Reader of the inbox. Reads rows, writes none."""

    def __init__(self, store: Store, tables: Tables, links: Links, confirmer: Confirmer) -> None:
        self.store, self.confirmer = store, confirmer
        self.threads = Threads(store, tables, links)

    def read(self, row: Inbound) -> Intent:
        """Read what a row means now: for a mention, a shortcut or a confirmation, what is behind
        it."""
        meant = self.threads.as_command(row) if row.kind in (MENTION, SHORTCUT) else row
        if isinstance(meant, Outcome):
            return Unknown(Taken(row), "", _by(row), meant)
        taken = self.confirmer.taken(meant)
        if isinstance(taken, Outcome):
            return Answer(Taken(row), taken.refused, _by(row), taken)
        return self._typed(taken) if taken.row.kind == COMMAND else self._clicked(taken)

    def _typed(self, taken: Taken) -> Intent:
        row, text = taken.row, str(taken.row.body["text"])
        try:
            command = grammar.parse(text)
        except Refused as error:
            return Unknown(taken, text, _by(row), refusal=error)
        if isinstance(command, Request):
            return Start(taken, text, _by(row) | {STARTS}, command)
        subjects = _by(row) | self._about(command)
        if command.verb in DECISIONS:
            return Decide(taken, text, subjects, command)
        kind = Change if command.verb in CHANGING else Look
        return kind(taken, text, subjects, command)

    def _clicked(self, taken: Taken) -> Intent:
        row, button = taken.row, run_buttons.read(taken.row)
        if button is not None:
            about = self._about(Ask(button.verb, (button.label,)))
            return Press(taken, button.what, _by(row) | about, button)
        clicked = decisions.read(row)
        if clicked is None:
            return Unknown(taken, f"click on {str(row.body.get('action'))[:40]}", _by(row))
        about = self._of_approval(clicked.number)
        return Decide(taken, clicked.what, _by(row) | about, clicked)

    def _about(self, ask: Ask) -> frozenset[Subject]:
        """The run that a verb is about."""
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
