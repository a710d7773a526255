"""Worker that carries out inbox rows, in order per subject, and replies with the result.

A row is marked ``begun`` before and ``done`` after, the latter in one transaction with the reply.
After a kill in between, the row is carried out again: the engine answers the second time with what
already exists, and a row that had begun takes that as its own success.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from bot.slack.handlers import answers, run_buttons
from bot.slack.handlers.confirm import Confirmer, Outcome
from bot.slack.handlers.decisions import Decisions
from bot.slack.handlers.intents import (
    Answer,
    Decide,
    Intent,
    Intents,
    Press,
    Say,
    Start,
    Subject,
    Unknown,
)
from bot.slack.handlers.permits import Permits
from bot.slack.handlers.verbs import Verbs
from bot.slack.inbox.rows import COMMAND, ConfirmationState, Inbound, address_of, spelled
from bot.slack.kit import buttons, refusals
from bot.slack.kit.ids import slack_user
from bot.slack.kit.loop import Loop
from bot.slack.messages.links import Links
from bot.slack.outbox.rows import Tables
from bot.slack.people.approvers import Approvers
from bot.slack.people.roster import Roster, Sure
from engine.clock import Clock, SystemClock
from engine.commands.service import Service
from engine.errors import Refused, StoreBusy, StoreUnwritable
from engine.model import Run, RunState
from engine.settings import Settings
from engine.store import events, queries

log = logging.getLogger(__name__)

#: The database takes no writes for now: the row waits, and the loop tries it again.
CLOSED_STORE = (StoreBusy, StoreUnwritable)
NOT_THEIRS = "This question is for somebody else."
STOPS = frozenset({"stop", "abort"})
ROUND = 0.1  # seconds after which waiting rows are looked at again
ASKED_AGAIN = 0.02  # seconds between two looks at waiting rows


class Worker:
    """Worker on the inbox. ``done`` is called after each row with the run that it touched, if any,
    and with ``None`` when Slack is to be asked. ``patience``: seconds to wait for Slack's
    answer."""

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
        self.roster = Roster(tables.store, settings.approval, self.wall)
        self.permits = Permits(settings, self.roster)
        self.verbs = Verbs(service, settings, clock)
        self.decisions = Decisions(service, settings)
        self.links = Links(tables, self.roster.lookups)
        self.confirmer = Confirmer(service, settings, self.links, self.wall)
        self.intents = Intents(self.store, tables, self.links, self.confirmer)
        self.done = done
        self._asked: dict[int, float] = {}
        self.loop = Loop("slack-worker", self.work_off)

    def work_off(self) -> float | None:
        """Carry out every row that need not wait; returns the seconds until the next look."""
        held: set[Subject] = set()
        begun, row = self.wall.monotonic(), self.tables.inbox.next_inbound()
        while row is not None and not (held and self.wall.monotonic() - begun > ROUND):
            intent = self._read(row)
            if intent and (intent.subjects & held or self._waits_for_slack(intent)):
                held |= intent.subjects
            else:
                self.done(self._carry_out(row, intent))
                self._asked.pop(row.id, None)
            row = self.tables.inbox.next_inbound(row.id)
        if held:
            return ASKED_AGAIN
        self._reject_unwatched()
        return None

    def _read(self, row: Inbound) -> Intent | None:
        """Meaning of the row; ``None``: it cannot be read, which the person is told."""
        try:
            return self.intents.read(row)
        except CLOSED_STORE:
            raise
        except Exception:
            log.exception("inbox %s cannot be read", row.id)
            return None

    def _reject_unwatched(self) -> None:
        """Reject runs from Slack that wait for their board though no open inbox row belongs to
        them. They were interrupted before they were watched, and would never begin."""
        for run in queries.runs(self.store, unfinished=True):
            unheard = run.state is RunState.SCHEDULED and slack_user(run.by) is not None
            if unheard and not self.tables.runs.watches(run.id):
                self.service.reject(run.id, "VMFerry was interrupted; repeat the request")

    def _waits_for_slack(self, intent: Intent) -> bool:
        """Tell whether the row must wait for Slack's answers about permissions. It waits at most
        ``patience`` seconds."""
        missing = self.permits.missing(intent)
        if not missing:
            return False
        now, inbox = self.wall.monotonic(), intent.row.id
        if inbox not in self._asked:
            self.roster.ask_about(missing)  # first: if the write fails, it is tried again
            self._asked[inbox] = now + self.patience
            self.done(None)
            return True
        return self.roster.asking(missing) is Sure.ASKING and now < self._asked[inbox]

    def _carry_out(self, row: Inbound, intent: Intent | None) -> int | None:
        if row.begun is None:
            self.tables.inbox.begin(row.id, self.clock.now())
        try:
            outcome = self._failed(row) if intent is None else self._outcome(intent)
        except CLOSED_STORE:
            raise  # the row simply waits
        except Exception:
            log.exception("inbox %s (%s) failed", row.id, row.kind)
            outcome = self._failed(row)
        try:
            self._close(row, outcome)
        except CLOSED_STORE:
            raise
        except Exception:
            # A row that cannot even be answered must not block the inbox for ever.
            log.exception("inbox %s (%s) cannot be answered", row.id, row.kind)
            with self.store.transaction() as db:
                self.tables.inbox.finish(db, row.id, self.clock.now())
            return None
        return outcome.run.id if outcome.run else None

    def _close(self, row: Inbound, outcome: Outcome) -> None:
        """Mark the row as done and store its outcome, in one transaction."""
        to = address_of(row)
        with self.store.transaction() as db:
            if outcome.run is not None:
                self.tables.runs.watch(db, outcome.run.id, row.channel, row.by, row.id)
            replaces = outcome.closed is not None
            self.tables.reply(db, to, outcome.reply, outcome.blocks, replaces=replaces)
            if outcome.closed is not None:
                self.tables.inbox.close(db, outcome.closed)
            if outcome.confirmation is not None:
                self.tables.inbox.keep(db, outcome.confirmation)
            if outcome.form is not None:
                trigger = str(row.body.get("trigger") or "")
                self.tables.open_form(db, to, trigger, outcome.form)
            self.tables.inbox.finish(db, row.id, self.clock.now())

    def _failed(self, row: Inbound) -> Outcome:
        return Outcome(refusals.failed_inside(row.id, self._spelled(row)), done=False)

    # --- gates, in their order ------------------------------------------------------------------

    def _outcome(self, intent: Intent) -> Outcome:
        """Pass the intent through the gates and carry it out; then close the question it
        confirms."""
        outcome, confirmed = self._through(intent), intent.taken.confirmation
        if confirmed is None or not outcome.done or outcome.form is not None:
            return outcome
        run = outcome.run
        closed = replace(confirmed, state=ConfirmationState.DONE, run=run.id if run else None)
        starts = (
            f"{run.label} is starting. Its status message will appear in the channel."
            if run
            else "Done."
        )
        return replace(outcome, reply=outcome.reply or starts, closed=closed)

    def _through(self, intent: Intent) -> Outcome:
        try:
            for gate in (self._known, self._repeated, self._permitted, self._late, self._judged):
                outcome = gate(intent)
                if outcome is not None:
                    return outcome
            return self._do(intent)
        except Refused as error:
            return self._refused(intent, error)

    def _known(self, intent: Intent) -> Outcome | None:
        """Answer unknown words and buttons, and clicks with a ready answer."""
        match intent:
            case Answer(outcome=outcome):
                if outcome.refused:
                    self._keep_refused(intent, Refused(NOT_THEIRS))
                return outcome
            case Unknown(refusal=Refused() as error):
                raise error
            case Unknown():
                self._keep_refused(intent, Refused("This version has no such button."))
                return Outcome(self._no_such_button(intent.row), done=False)
        return None

    def _repeated(self, intent: Intent) -> Outcome | None:
        """Answer for what the row did before a kill, whatever the person may do by now."""
        if intent.row.begun is None:
            return None
        caused = events.caused_by(self.store, intent.row.cause)
        done = [event for event in caused if event.kind != "refused"]
        if not done:
            return None
        begun = [event.run for event in done if event.kind == f"run.{RunState.SCHEDULED}"]
        run = queries.run(self.store, begun[0]) if begun and begun[0] else None
        if run is not None:
            return self._started(run)
        if isinstance(intent, Decide):
            return Outcome()  # the card shows it
        return Outcome(answers.carried_out_before(done, self._spelled(intent.row)))

    def _permitted(self, intent: Intent) -> Outcome | None:
        """Refuse a person who may not do this here. A refused change is audited."""
        said = self.permits.why_not(intent.row, intent.command) if intent.command else ""
        if said and intent.changes:
            self._keep_refused(intent, Refused("This person is not allowed to use this here."))
        return Outcome(said, done=False) if said else None

    def _late(self, intent: Intent) -> Outcome | None:
        """Ask whether a late change is still meant. A late request gets a new preview instead."""
        if not intent.taken.waited or not intent.changes or isinstance(intent, Start):
            return None
        what = intent.what
        if isinstance(intent, Press):
            what = f"{intent.button.verb} {intent.button.label}"
        elif intent.row.kind == COMMAND:
            what = refusals.as_typed(what, self._spelled(intent.row))
        return self.confirmer.late(intent.taken, what)

    def _judged(self, intent: Intent) -> Outcome | None:
        """Refuse a decision by a person whom Slack did not identify for certain. It is audited."""
        if not intent.is_judged:
            return None
        by = intent.row.by
        sure, error = self.roster.sure_of(slack_user(by), intent.is_for_outsiders)
        if sure is Sure.YES:
            return None
        said = answers.unsure(error, by, self.roster.approvers())
        self._keep_refused(intent, Refused(said))
        return Outcome(said, done=False)

    def _do(self, intent: Intent) -> Outcome:
        """Carry out the intent, with the approvers as known now: the look-ups are fresh."""
        row, approvers = intent.row, self.roster.approvers()
        match intent:
            case Start():
                return self._start(intent, approvers)
            case Say(command=ask) if self._is_asked_back(intent):
                return self.confirmer.sure(intent.taken, ask)
            case Say(command=ask):
                return Outcome(self.verbs.answer(row, ask, approvers))
            case Press(button=button):
                return run_buttons.answer(self.verbs, row, button, approvers)
            case Decide(click=click):
                return self.decisions.answer(row, click, approvers)
        raise TypeError(f"{type(intent).__name__} is no intent that is carried out")

    def _is_asked_back(self, intent: Say) -> bool:
        """Tell whether a stop or an abort was typed in a thread, perhaps in the wrong one."""
        spoken = bool(intent.row.body.get("spoken"))
        return intent.command.verb in STOPS and spoken and intent.taken.confirmation is None

    def _refused(self, intent: Intent, error: Refused) -> Outcome:
        """Answer to a refusal; the refusal of a change is audited."""
        if intent.changes:
            self._keep_refused(intent, error)
        is_start = isinstance(intent, Start | Unknown)
        nothing = refusals.NOT_STARTED if is_start else refusals.NOTHING
        if isinstance(intent, Say) and not intent.changes:
            nothing = ""
        return Outcome(refusals.refused(error, self._spelled(intent.row), nothing), done=False)

    def _keep_refused(self, intent: Intent, error: Refused) -> None:
        """Record a refused request in the audit."""
        row = intent.row
        self.service.because(row.cause).refuse(row.by, intent.what, error)

    # --- runs -----------------------------------------------------------------------------------

    def _start(self, intent: Start, approvers: Approvers) -> Outcome:
        """Start the run, or show a preview first."""
        row, taken, request = intent.row, intent.taken, intent.command
        found = self.service.foresee(request)
        if isinstance(found, Run):
            # Not submitted: if this run ends just now, another would start without a preview.
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

    def _spelled(self, row: Inbound) -> str:
        """Beginning of commands at the place where this row came from."""
        return spelled(row, self.settings.slack.command)

    def _no_such_button(self, row: Inbound) -> str:
        """Answer to an unknown button; for a review button, the verb that replaced it."""
        command = self._spelled(row)
        shown = buttons.read_value(str(row.body.get("value")))
        asked = queries.approval(self.store, shown[0]) if shown else None
        if asked is None or not str(row.body.get("action")).startswith(buttons.REVIEW):
            return refusals.unknown_button(command)
        return refusals.review_is_typed(command, f"R{asked.run}")
