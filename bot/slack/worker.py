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

from bot.slack import sentences
from bot.slack.listeners import COMMAND
from bot.slack.loops import Loop
from bot.slack.people import Deciders, mention, slack_id
from bot.slack.rows import report_lines, see
from bot.slack.tables import Inbound, Tables
from bot.slack.views import APPROVE, DENY
from engine import grammar
from engine.clock import Clock
from engine.errors import Refused
from engine.grammar import Ask
from engine.model import Request, Run, RunState
from engine.service import Service
from engine.settings import Settings
from engine.store import queries

log = logging.getLogger(__name__)

BUSY_AGAIN = 1.0
VERDICTS: dict[str, Literal["approve", "deny"]] = {APPROVE: "approve", DENY: "deny"}


@dataclass(frozen=True)
class Outcome:
    """What is said to the person (empty: nothing), and the run to tell about from now on."""

    reply: str = ""
    run: Run | None = None


class Worker:
    """``done`` is called after each row, with the run that it touched, if any."""

    def __init__(
        self,
        tables: Tables,
        service: Service,
        settings: Settings,
        clock: Clock,
        done: Callable[[int | None], None],
    ) -> None:
        self.tables, self.service, self.settings, self.clock = tables, service, settings, clock
        self.store = service.store
        self.deciders = Deciders(settings.slack.approvers)
        self.done = done
        self.loop = Loop("slack-worker", self.work_off)

    def work_off(self) -> float | None:
        """Carry out every row that waits."""
        while (row := self.tables.next_inbound()) is not None:
            try:
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
            if unheard and not self.tables.watches(run.id):
                self.service.reject(run.id, "Slack could not be told of it; ask again")

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
                self.tables.watch(db, outcome.run.id, row)
            self.tables.reply(db, row, outcome.reply)
            self.tables.finish(db, row.id, self.clock.now())
        return outcome.run.id if outcome.run else None

    # --- commands ---------------------------------------------------------------------------

    def _command(self, row: Inbound) -> Outcome:
        try:
            command = grammar.parse(str(row.body["text"]))
            forbidden = self._forbidden(row, command)
            if forbidden:
                return Outcome(forbidden)
            if isinstance(command, Ask):
                return Outcome(self._asked(command))
            return self._start(row, command)
        except Refused as error:
            return Outcome(
                self._people_named(sentences.refused(error, self.settings.slack.command))
            )

    def _forbidden(self, row: Inbound, command: Request | Ask) -> str:
        """Why this person may not say this here, or nothing. Help is for everybody."""
        slack = self.settings.slack
        if isinstance(command, Ask) and command.verb == "help":
            return ""
        if slack.channels and row.channel not in slack.channels:
            return sentences.not_here(slack.channels)
        starters = [s.removeprefix("@") for s in slack.starters]
        if isinstance(command, Request) and starters and slack_id(row.by) not in starters:
            return sentences.not_a_starter(starters)
        return ""

    def _start(self, row: Inbound, request: Request) -> Outcome:
        submitted = self.service.submit(request, by=row.by, scheduled=True)
        run = submitted.run
        again = row.begun is not None and run.by == row.by and run.created >= row.received
        if submitted.attached and not again:
            return Outcome(sentences.attached(run))
        if self.deciders.eligible(row.by):
            return Outcome(run=run)
        return Outcome(sentences.started_without_deciders(run), run)

    def _asked(self, ask: Ask) -> str:
        command = self.settings.slack.command
        word = ask.words[0] if ask.words else ""
        if ask.verb == "help":
            return sentences.help_text(command, word)
        now = self.clock.now()
        if not word:
            seen = [see(self.store, self.settings, r.id, now) for r in self._unfinished()]
            return sentences.status([one.board for one in seen if one], command)
        number = grammar.run_number(word)
        one = see(self.store, self.settings, number, now)
        if one is None:
            return sentences.no_run(f"R{number}", command)
        if one.record.run.over:
            return sentences.report(report_lines(self.store, one.record, now))
        return sentences.one_status(one.board, self.deciders)

    def _unfinished(self) -> tuple[Run, ...]:
        return queries.runs(self.store, unfinished=True)

    def _people_named(self, sentence: str) -> str:
        """The engine's sentences name people by id; only people of runs become mentions."""
        for run in self._unfinished():
            sentence = sentence.replace(f"asked by {run.by}", f"asked by {mention(run.by)}")
        return sentence

    # --- clicks -----------------------------------------------------------------------------

    def _click(self, row: Inbound) -> Outcome:
        command = self.settings.slack.command
        verdict = VERDICTS.get(str(row.body.get("action")))
        number, _, digest = str(row.body.get("value")).partition(".")
        if verdict is None or not (number.isascii() and number.isdigit() and digest):
            return Outcome(sentences.unknown_button(command))
        if len(number) > 15:
            return Outcome(sentences.unknown_button(command))
        answer = self.service.decide(
            int(number), verdict, by=row.by, deciders=self.deciders.people(), digest=digest
        )
        own = answer.code == "already" and answer.by == row.by and row.begun is not None
        if own and answer.at is not None and answer.at >= row.received:
            return Outcome()  # carried out before a kill; the card says it
        return Outcome(sentences.decision(answer, row.by, row.received, self.deciders, command))


def _is_busy(error: Exception) -> bool:
    """Did somebody else hold the database for too long? Then the row simply waits."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
