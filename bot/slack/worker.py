"""Carries out what stands in the inbox, one row after the other, and says what came of it.

A row is marked ``begun`` before and ``done`` after, the latter in one transaction with the reply.
A kill in between has it carried out again: the engine answers such a second time with what is
there already, and a row that had begun takes that as its own success.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bot.slack import clicks, pressed, sentences
from bot.slack.blocks import Block
from bot.slack.controls import Control
from bot.slack.listeners import COMMAND
from bot.slack.loops import Loop
from bot.slack.people import slack_id
from bot.slack.roster import Roster, Sure
from bot.slack.tables import Inbound, Tables
from bot.slack.verbs import CHANGING, DECISIONS, FOR_STARTERS, Verbs, people_of
from bot.slack.views import AGAIN
from bot.slack.wording import named
from engine import grammar
from engine.clock import Clock, SystemClock
from engine.errors import Refused
from engine.grammar import Ask, Command
from engine.model import Request, Run, RunState
from engine.service import Service
from engine.settings import Settings
from engine.store import queries

log = logging.getLogger(__name__)

BUSY_AGAIN = 1.0
ASKED_AGAIN, PATIENCE = 0.02, 2.5  # seconds of the wall; a form can be opened for 3


@dataclass(frozen=True)
class Outcome:
    """What is said to the person (empty: nothing), the run to tell about from now on, and the
    form that is opened."""

    reply: str = ""
    run: Run | None = None
    form: Block | None = None


class Worker:
    """``done`` is called after each row, with the run that it touched, if any."""

    def __init__(
        self,
        tables: Tables,
        service: Service,
        settings: Settings,
        clock: Clock,
        done: Callable[[int | None], None],
        wall: Clock | None = None,
    ) -> None:
        self.tables, self.service, self.settings, self.clock = tables, service, settings, clock
        self.store = service.store
        self.wall = wall or SystemClock()
        self.roster = Roster(tables, settings.slack, self.wall)
        self.verbs = Verbs(service, settings, clock)
        self.clicks = clicks.Clicks(service, settings.slack)
        self.pressed = pressed.Pressed(self.verbs)
        self.done = done
        self._asked: tuple[int, float] = (0, 0.0)
        self.loop = Loop("slack-worker", self.work_off)

    def work_off(self) -> float | None:
        """Carry out every row that waits."""
        while (row := self.tables.next_inbound()) is not None:
            try:
                if self._waits_for_slack(row):
                    return ASKED_AGAIN
                run = self._carry_out(row)
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
                log.warning("inbox %s waits for the database: %s", row.id, error)
                return BUSY_AGAIN
            self.done(run)
        self._reject_unwatched()
        return None

    def _reject_unwatched(self) -> None:
        """A run of somebody in Slack that still waits for its board though nothing in the inbox
        asks for it: it was interrupted before it could be told about, and never would begin."""
        for run in self._unfinished():
            unheard = run.state is RunState.SCHEDULED and run.by.startswith("@")
            if unheard and not self.tables.runs.watches(run.id):
                self.service.reject(run.id, "Slack could not be told of it; ask again")

    def _waits_for_slack(self, row: Inbound) -> bool:
        """Must Slack be asked first who may decide? Not for longer than somebody waits."""
        kind = self._about(row)
        if kind is None:
            return False
        user, breaks = slack_id(row.by) if kind == "decision" else None, _breaks(row)
        sure = self.roster.sure_of(user, breaks)[0] if user else self.roster.sure_of_groups()
        if sure is Sure.YES:
            return False
        inbox, until = self._asked
        now = self.wall.monotonic()
        if inbox != row.id:
            self._asked = (row.id, now + PATIENCE)
            self.roster.ask_about(user, breaks)
            self.done(None)
            return True
        return sure is Sure.ASKING and now < until

    def _about(self, row: Inbound) -> Literal["decision", "start"] | None:
        """Does this row decide, or start something that somebody may have to decide on?"""
        if row.kind != COMMAND:
            clicked = clicks.read(row)
            return "decision" if clicked and clicked.action != AGAIN else None
        try:
            command = grammar.parse(str(row.body.get("text", "")))
        except Refused:
            return None
        if isinstance(command, Request):
            return "start"
        return "decision" if command.verb in DECISIONS else None

    def _unsure(self, row: Inbound, what: str) -> str:
        """Why this person cannot decide now: Slack does not say who they are; kept in the audit."""
        sure, error = self.roster.sure_of(slack_id(row.by), _breaks(row))
        if sure is Sure.YES:
            return ""
        said = sentences.unsure(error, row.by, self.roster.deciders())
        self.service.refuse(row.by, what, Refused(said))
        return said

    def _carry_out(self, row: Inbound) -> int | None:
        if row.begun is None:
            self.tables.begin(row.id, self.clock.now())
        try:
            outcome = self._command(row) if row.kind == COMMAND else self._click(row)
        except Exception as error:
            if _is_busy(error):
                raise
            log.exception("inbox %s (%s) failed", row.id, row.kind)
            outcome = Outcome(sentences.failed_inside(row.id, self.settings.slack.command))
        with self.store.transaction() as db:
            if outcome.run is not None:
                self.tables.runs.watch(db, outcome.run.id, row.channel, row.by, row.id)
            self.tables.reply(db, row, outcome.reply)
            if outcome.form is not None:
                self.tables.open_form(db, row, outcome.form)
            self.tables.finish(db, row.id, self.clock.now())
        return outcome.run.id if outcome.run else None

    # --- commands ---------------------------------------------------------------------------

    def _command(self, row: Inbound) -> Outcome:
        text, command = str(row.body["text"]), None
        try:
            command = grammar.parse(text)
            forbidden = self._forbidden(row, command, text)
            if forbidden:
                return Outcome(forbidden)
            if isinstance(command, Ask):
                unsure = self._unsure(row, text) if command.verb in DECISIONS else ""
                # Who may decide is read after it is sure that what is known of it is fresh.
                return Outcome(unsure or self.verbs.answer(row, command, self.roster.deciders()))
            return self._start(row, command)
        except Refused as error:
            if _changes(command):
                self.service.refuse(row.by, text, error)
            nothing = sentences.NOT_STARTED
            if isinstance(command, Ask):
                nothing = sentences.NOTHING if _changes(command) else ""
            return Outcome(self._refused(error, nothing))

    def _refused(self, error: Refused, nothing: str) -> str:
        """The engine's sentences name people by id; only people of runs become mentions."""
        told = sentences.refused(error, self.settings.slack.command, nothing)
        return named(told, people_of(self._unfinished()))

    def _forbidden(self, row: Inbound, command: Command, text: str) -> str:
        """Why this person may not say this here, kept in the audit; or nothing."""
        said = self._may_not(row, command)
        if said and _changes(command):
            self.service.refuse(row.by, text, Refused("This person may not say this here."))
        return said

    def _may_not(self, row: Inbound, command: Command) -> str:
        """Why this person may not say this here, or nothing. Help is for everybody."""
        slack = self.settings.slack
        verb = command.verb if isinstance(command, Ask) else ""
        if verb == "help":
            return ""
        if slack.channels and row.channel not in slack.channels:
            nothing = sentences.NOTHING if verb in CHANGING else sentences.NOT_STARTED
            return sentences.not_here(slack.channels, nothing)
        starters = [s.removeprefix("@") for s in slack.starters]
        starts = not verb or verb in FOR_STARTERS
        if starts and starters and slack_id(row.by) not in starters:
            return sentences.not_a_starter(starters, verb)
        return ""

    def _start(self, row: Inbound, request: Request) -> Outcome:
        submitted = self.service.submit(request, by=row.by, scheduled=True)
        run = submitted.run
        again = row.begun is not None and run.by == row.by and run.created >= row.received
        if submitted.attached and not again:
            return Outcome(sentences.attached(run))
        deciders = self.roster.deciders()
        if deciders.eligible(run):
            return Outcome(run=run)
        return Outcome(sentences.started_without_deciders(run, deciders), run)

    def _unfinished(self) -> tuple[Run, ...]:
        return queries.runs(self.store, unfinished=True)

    # --- clicks -----------------------------------------------------------------------------

    def _press(self, row: Inbound, control: Control) -> Outcome:
        """A button that acts on a run: whoever may type its verb may click it."""
        try:
            said = self._forbidden(row, Ask(control.verb, (control.label,)), control.what)
            if said:
                return Outcome(said)
            answer = self.pressed.answer(row, control, self.roster.deciders())
            return Outcome(answer.reply, form=answer.form)
        except Refused as error:
            self.service.refuse(row.by, control.what, error)
            return Outcome(self._refused(error, sentences.NOTHING))

    def _click(self, row: Inbound) -> Outcome:
        control = pressed.read(row)
        if control is not None:
            return self._press(row, control)
        clicked = clicks.read(row)
        if clicked is None:
            return Outcome(sentences.unknown_button(self.settings.slack.command))
        try:
            if clicked.action == AGAIN:
                said = self._forbidden(row, Ask("retry"), clicked.what)
            else:
                said = self._unsure(row, clicked.what)
            if said:
                return Outcome(said)
            answer = self.clicks.answer(row, clicked, self.roster.deciders())
            reply = named(answer.reply, people_of(self._unfinished()))
            return Outcome(reply, form=answer.form)
        except Refused as error:
            self.service.refuse(row.by, clicked.what, error)
            return Outcome(self._refused(error, sentences.NOTHING))


def _breaks(row: Inbound) -> bool:
    """Is it a click that breaks the glass?"""
    clicked = clicks.read(row) if row.kind != COMMAND else None
    return clicked is not None and clicked.breaks


def _changes(command: Command | None) -> bool:
    """Would it start or change anything? What was refused then belongs into the audit."""
    return isinstance(command, Request) or (command is not None and command.verb in CHANGING)


def _is_busy(error: Exception) -> bool:
    """Did somebody else hold the database for too long? Then the row simply waits."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
