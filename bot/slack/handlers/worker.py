"""Worker that carries out the rows of the inbox, each about its run in turn, and replies with the
result.

A row is marked ``begun`` before and ``done`` after, the latter in one transaction with the reply.
After a kill in between, the row is carried out again: the engine answers the second time with what
is there already, and a row that had begun takes that as its own success.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from bot.slack.handlers import answers, confirm, decisions, order, run_buttons
from bot.slack.handlers.confirm import Confirmer, Outcome, Taken
from bot.slack.handlers.order import Subject
from bot.slack.handlers.permits import Permits
from bot.slack.handlers.threads import Threads
from bot.slack.handlers.verbs import CHANGING, JUDGED, REVIEWED, Verbs, people_of
from bot.slack.inbox.rows import COMMAND, MENTION, SHORTCUT, Inbound, address_of, spelled
from bot.slack.kit import buttons, refusals
from bot.slack.kit.buttons import AGAIN, RunButton
from bot.slack.kit.loop import Loop
from bot.slack.messages.links import Links
from bot.slack.outbox.rows import Tables
from bot.slack.people.ids import slack_id
from bot.slack.people.mentions import named
from bot.slack.people.roster import Roster, Sure
from engine.clock import Clock, SystemClock
from engine.commands.service import Service
from engine.errors import Refused, StoreBusy, StoreUnwritable
from engine.language import grammar
from engine.language.grammar import Ask, Command
from engine.model import Request, Run, RunState
from engine.settings import Settings
from engine.store import events, queries

log = logging.getLogger(__name__)

#: The database takes nothing for now. Then a row simply waits.
CLOSED_STORE = (StoreBusy, StoreUnwritable)
BUSY_AGAIN = 1.0
NOT_THEIRS = "This question was for somebody else."
STOPS = frozenset({"stop", "abort"})
ROUND = 0.1  # seconds after which those that wait are looked at again
ASKED_AGAIN = 0.02  # seconds of the wall


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
        patience: float = 2.5,
    ) -> None:
        self.patience = patience
        self.tables, self.service, self.settings, self.clock = tables, service, settings, clock
        self.store = service.store
        self.wall = wall or SystemClock()
        self.roster = Roster(tables.store, settings.slack, self.wall)
        self.permits = Permits(settings.slack, self.roster)
        self.verbs = Verbs(service, settings, clock)
        self.decisions = decisions.Decisions(service, settings.slack)
        self.run_buttons = run_buttons.RunButtons(self.verbs)
        self.links = Links(tables, self.roster.lookups)
        self.threads = Threads(self.store, tables, self.links)
        self.confirmer = Confirmer(service, settings.slack, self.links, self.wall)
        self.done = done
        self._asked: dict[int, float] = {}
        self.loop = Loop("slack-worker", self.work_off)

    def work_off(self) -> float | None:
        """Carry out every row that waits for nothing; seconds until the next look, if any does."""
        held: set[Subject] = set()
        begun, row = self.wall.monotonic(), self.tables.inbox.next_inbound()
        while row is not None and not (held and self.wall.monotonic() - begun > ROUND):
            try:
                subjects, waits = self._order_of(row, held)
                if waits:
                    held |= subjects
                else:
                    self.done(self._carry_out(row))
                    self._asked.pop(row.id, None)
            except CLOSED_STORE as error:
                log.warning("inbox %s waits for the database: %s", row.id, error)
                return BUSY_AGAIN
            row = self.tables.inbox.next_inbound(row.id)
        if held:
            return ASKED_AGAIN
        self._reject_unwatched()
        return None

    def _order_of(self, row: Inbound, held: set[Subject]) -> tuple[frozenset[Subject], bool]:
        """Subjects of the row, and whether it has to wait: for an earlier row, or for Slack."""
        try:
            meant = self._meant(row)
            inner = row if isinstance(meant, Outcome) else meant.row
            subjects = order.subjects(self.store, inner)
            return subjects, bool(subjects & held) or self._waits_for_slack(row.id, meant)
        except CLOSED_STORE:
            raise
        except Exception:
            # Carrying it out fails in the same way, and says so to its person.
            log.exception("inbox %s cannot be read", row.id)
            return frozenset(), False

    def _reject_unwatched(self) -> None:
        """Reject runs of people in Slack that still wait for their board though nothing in the
        inbox asks for them: they were interrupted before they could be reported, and never would
        begin."""
        for run in self._unfinished():
            unheard = run.state is RunState.SCHEDULED and run.by.startswith("@")
            if unheard and not self.tables.runs.watches(run.id):
                self.service.reject(run.id, "Slack could not be told of it; ask again")

    def _waits_for_slack(self, inbox: int, meant: Taken | Outcome) -> bool:
        """Tell whether Slack must be asked first who may do this. The row waits no longer than
        ``patience``."""
        missing = [] if isinstance(meant, Outcome) else self.permits.missing(meant.row)
        if not missing:
            return False
        now = self.wall.monotonic()
        if inbox not in self._asked:
            self.roster.ask_about(missing)  # first: if the database takes nothing, we ask again
            self._asked[inbox] = now + self.patience
            self.done(None)
            return True
        return self.roster.asking(missing) is Sure.ASKING and now < self._asked[inbox]

    def _unsure(self, row: Inbound, what: str, breaks: bool = False) -> str:
        """Reason why this person cannot decide now: Slack does not say who they are; kept in the
        audit."""
        sure, error = self.roster.sure_of(slack_id(row.by), breaks)
        if sure is Sure.YES:
            return ""
        said = answers.unsure(error, row.by, self.roster.approvers())
        self._keep_refused(row, what, Refused(said))
        return said

    def _carry_out(self, row: Inbound) -> int | None:
        if row.begun is None:
            self.tables.inbox.begin(row.id, self.clock.now())
        try:
            outcome = self._outcome(row)
        except CLOSED_STORE:
            raise  # the row simply waits
        except Exception:
            log.exception("inbox %s (%s) failed", row.id, row.kind)
            said = refusals.failed_inside(row.id, self._spelled(row))
            outcome = Outcome(said, done=False)
        try:
            self._close(row, outcome)
        except CLOSED_STORE:
            raise
        except Exception:
            # What cannot even be answered must not hold up everybody else for ever.
            log.exception("inbox %s (%s) cannot be answered", row.id, row.kind)
            with self.store.transaction() as db:
                self.tables.inbox.finish(db, row.id, self.clock.now())
            return None
        return outcome.run.id if outcome.run else None

    def _close(self, row: Inbound, outcome: Outcome) -> None:
        """Mark the row as done and keep its result, in one transaction."""
        to = address_of(row)
        with self.store.transaction() as db:
            if outcome.run is not None:
                self.tables.runs.watch(db, outcome.run.id, row.channel, row.by, row.id)
            replaces = outcome.closed is not None
            self.tables.reply(db, to, outcome.reply, outcome.blocks, replaces=replaces)
            if outcome.closed is not None:
                self.confirmer.confirmations.close(db, outcome.closed)
            if outcome.confirmation is not None:
                self.confirmer.confirmations.keep(db, outcome.confirmation)
            if outcome.form is not None:
                trigger = str(row.body.get("trigger") or "")
                self.tables.open_form(db, to, trigger, outcome.form)
            self.tables.inbox.finish(db, row.id, self.clock.now())

    def _outcome(self, row: Inbound) -> Outcome:
        """Carry out what the row says, or what it confirms."""
        taken = self._meant(row)
        if isinstance(taken, Outcome):
            if taken.refused:
                self._keep_refused(row, taken.refused, Refused(NOT_THEIRS))
            return taken
        outcome = self._repeated(taken.row) or self._taken_up(taken)
        if taken.confirmation is None or not outcome.done or outcome.form is not None:
            return outcome
        run = outcome.run
        reply = outcome.reply or (answers.started(run) if run else confirm.carried_out_now())
        return replace(outcome, reply=reply, closed=taken.confirmation.done(run))

    def _taken_up(self, taken: Taken) -> Outcome:
        return self._command(taken) if taken.row.kind == COMMAND else self._click(taken)

    def _repeated(self, row: Inbound) -> Outcome | None:
        """Outcome of a row that was carried out before a kill, whatever its person may do by now;
        ``None``: it was not."""
        if row.begun is None:
            return None
        done = [e for e in events.caused_by(self.store, row.cause) if e.kind != "refused"]
        if not done:
            return None
        begun = [event.run for event in done if event.kind == f"run.{RunState.SCHEDULED}"]
        run = queries.run(self.store, begun[0]) if begun and begun[0] else None
        if run is not None:
            return self._started(run)
        if row.kind != COMMAND and decisions.read(row) is not None:
            return Outcome()  # the card says it
        return Outcome(answers.carried_out_before(done, row.by))

    def _meant(self, row: Inbound) -> Taken | Outcome:
        """Row to carry out: for a mention, a shortcut or a confirmation, the row behind it."""
        if row.kind in (MENTION, SHORTCUT):
            meant = self.threads.as_command(row)
            return meant if isinstance(meant, Outcome) else self.confirmer.taken(meant)
        return self.confirmer.taken(row)

    # --- commands ---------------------------------------------------------------------------

    def _command(self, taken: Taken) -> Outcome:
        row = taken.row
        text, command = str(row.body["text"]), None
        try:
            command = grammar.parse(text)
            forbidden = self._forbidden(row, command, text)
            if forbidden:
                return Outcome(forbidden, done=False)
            if isinstance(command, Ask):
                return self._verb(taken, command, text)
            return self._start(taken, command)
        except Refused as error:
            if _changes(command):
                self._keep_refused(row, text, error)
            nothing = refusals.NOT_STARTED
            if isinstance(command, Ask):
                nothing = refusals.NOTHING if _changes(command) else ""
            return Outcome(self._refused(row, error, nothing), done=False)

    def _verb(self, taken: Taken, ask: Ask, text: str) -> Outcome:
        """Look, change or decide."""
        row = taken.row
        if taken.waited and _changes(ask):
            typed = refusals.as_typed(text, self._spelled(row))
            return self.confirmer.late(taken, typed)
        unsure = self._unsure(row, text, ask.verb == REVIEWED) if ask.verb in JUDGED else ""
        if unsure:
            return Outcome(unsure, done=False)
        if ask.verb in STOPS and row.body.get("spoken") and taken.confirmation is None:
            return self.confirmer.sure(taken, ask)
        # Who may decide is read after it is sure that what is known of it is fresh.
        return Outcome(self.verbs.answer(row, ask, self.roster.approvers()))

    def _spelled(self, row: Inbound) -> str:
        """Beginning of commands where this row came from."""
        return spelled(row, self.settings.slack.command)

    def _refused(self, row: Inbound, error: Refused, nothing: str) -> str:
        """The engine's sentences name people by id; only people of runs and reviewers become
        mentions."""
        told = refusals.refused(error, self._spelled(row), nothing)
        return named(told, [*people_of(self._unfinished()), *queries.reviewers(self.store)])

    def _keep_refused(self, row: Inbound, what: str, error: Refused) -> None:
        """Keep in the audit what this row asked for in vain."""
        self.service.because(row.cause).refuse(row.by, what, error)

    def _forbidden(self, row: Inbound, command: Command, text: str) -> str:
        """Reason why this person may not say this here, kept in the audit; or nothing."""
        said = self.permits.why_not(row, command)
        if said and _changes(command):
            self._keep_refused(row, text, Refused("This person may not say this here."))
        return said

    def _start(self, taken: Taken, request: Request) -> Outcome:
        """Start it, or show first what it would do."""
        row, approvers = taken.row, self.roster.approvers()
        found = self.service.foresee(request)
        if isinstance(found, Run):
            # Not submitted: if it ends just now, another would start that nobody was shown.
            return self._attached(found)
        preview = self.confirmer.preview(taken, request, found, approvers)
        if preview is not None:
            return preview
        shown = found.digest if taken.confirmation is not None else None
        service = self.service.because(row.cause)
        submitted = service.submit(request, by=row.by, scheduled=True, shown=shown)
        return (self._attached if submitted.attached else self._started)(submitted.run)

    def _attached(self, run: Run) -> Outcome:
        return Outcome(answers.attached(run, self.links.to_board(run.id)))

    def _started(self, run: Run) -> Outcome:
        approvers = self.roster.approvers()
        if approvers.eligible(run):
            return Outcome(run=run)
        return Outcome(answers.started_without_approvers(run, approvers), run)

    def _unfinished(self) -> tuple[Run, ...]:
        return queries.runs(self.store, unfinished=True)

    # --- clicks -----------------------------------------------------------------------------

    def _press(self, taken: Taken, control: RunButton) -> Outcome:
        """Carry out a click on a button that acts on a run: a person who may type its verb may
        click it."""
        row, ask = taken.row, Ask(control.verb, (control.label,))
        if taken.waited and _changes(ask):
            return self.confirmer.late(taken, f"{control.verb} {control.label}")
        try:
            said = self._forbidden(row, ask, control.what)
            if said:
                return Outcome(said, done=False)
            answer = self.run_buttons.answer(row, control, self.roster.approvers())
            return Outcome(answer.reply, form=answer.form)
        except Refused as error:
            self._keep_refused(row, control.what, error)
            return Outcome(self._refused(row, error, refusals.NOTHING), done=False)

    def _click(self, taken: Taken) -> Outcome:
        row, control = taken.row, run_buttons.read(taken.row)
        if control is not None:
            return self._press(taken, control)
        clicked = decisions.read(row)
        if clicked is None:
            what = f"click on {str(row.body.get('action'))[:40]}"
            self._keep_refused(row, what, Refused("This version has no such button."))
            return Outcome(self._no_such_button(row), done=False)
        if taken.waited:
            return self.confirmer.late(taken, clicked.what)
        try:
            if clicked.action == AGAIN:
                said = self._forbidden(row, Ask("retry"), clicked.what)
            else:
                said = self._unsure(row, clicked.what, clicked.breaks)
            if said:
                return Outcome(said, done=False)
            answer = self.decisions.answer(row, clicked, self.roster.approvers())
            reply = named(answer.reply, people_of(self._unfinished()))
            return Outcome(reply, form=answer.form)
        except Refused as error:
            self._keep_refused(row, clicked.what, error)
            return Outcome(self._refused(row, error, refusals.NOTHING), done=False)

    def _no_such_button(self, row: Inbound) -> str:
        """Answer to a button of another version: what to type, where a verb has replaced it."""
        command = self._spelled(row)
        shown = buttons.read_value(str(row.body.get("value")))
        asked = queries.approval(self.store, shown[0]) if shown else None
        if asked is None or not str(row.body.get("action")).startswith(buttons.REVIEW):
            return refusals.unknown_button(command)
        return refusals.review_is_typed(command, f"R{asked.run}")


def _changes(command: Command | None) -> bool:
    """Tell whether the command would start or change anything. Then its refusal belongs in the
    audit."""
    return isinstance(command, Request) or (command is not None and command.verb in CHANGING)
