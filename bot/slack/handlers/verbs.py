"""Answers to typed verbs: those that change nothing, and those that change something."""

from __future__ import annotations

from bot.slack.handlers import answers, looks
from bot.slack.inbox.rows import Inbound, spelled
from bot.slack.kit.mentions import render
from bot.slack.kit.phrases import vm_names
from bot.slack.messages import snapshot
from bot.slack.messages.board import board_view
from bot.slack.messages.snapshot import RunSnapshot, report_lines, take_snapshot
from bot.slack.outbox.watched_runs import WatchedRuns
from bot.slack.people.approvers import Approvers
from engine.clock import Clock
from engine.commands import verbs
from engine.commands.service import Service
from engine.language import grammar
from engine.language import names as naming
from engine.language.grammar import Ask
from engine.language.vocabulary import VERBS
from engine.policy.approvals.review import Reviewer
from engine.settings import Settings
from engine.store import events, queries
from engine.views.needs import needs

LISTED, LINES = 20, 15
FOR_EVERYBODY = frozenset({"pause", "stop"})
DECISIONS = frozenset({"approve", "deny", "withdraw"})
REVIEWED = "reviewed"
#: Verbs with their own rules about who may use them.
JUDGED = DECISIONS | {REVIEWED}
CHANGING = frozenset(verb.name for verb in VERBS if verb.changes)
FOR_STARTERS = CHANGING - FOR_EVERYBODY - JUDGED


class Verbs:
    """Answers to verbs, each for one person. All state is read from rows."""

    def __init__(self, service: Service, settings: Settings, clock: Clock) -> None:
        self.service, self.settings, self.clock = service, settings, clock
        self.store, self.watched_runs = service.store, WatchedRuns(service.store)
        self.command = settings.slack.command

    def answer(self, row: Inbound, ask: Ask, approvers: Approvers) -> str:
        """Carry out a verb and return the answer. Raises ``Refused``. ``approvers``: as known
        now."""
        word, command = ask.words[0] if ask.words else "", spelled(row, self.command)
        match ask.verb:
            case "help":
                return looks.help_text(command, word)
            case "list":
                return self._list(command)
            case "approvals":
                return self._approvals(approvers, command)
            case "events":
                return self._events(word, command)
            case "status" | "report":
                return self._one(word, approvers, command) if word else self._status(command)
        return self._change(row, ask, approvers)

    # --- looking ----------------------------------------------------------------------------

    def _see(self, run: int) -> RunSnapshot:
        seen = take_snapshot(self.store, self.settings, run, self.clock.now())
        assert seen is not None
        return snapshot.with_deadline(seen, self.watched_runs.needed_by(run), self.clock.now())

    def _status(self, command: str) -> str:
        unfinished = queries.runs(self.store, unfinished=True)
        return looks.status([self._see(run.id).board for run in unfinished], command)

    def _one(self, word: str, approvers: Approvers, command: str) -> str:
        """A run as it is now: the board, or the report once it has ended."""
        seen = self._see(naming.find_run(word, queries.runs(self.store)).id)
        if seen.record.run.over:
            lines = report_lines(self.store, seen.record, self.clock.now())
            return looks.report(lines, command)
        return board_view(seen.board, approvers, command).text

    def _list(self, command: str) -> str:
        """List of runs: first those that need a person, then active ones, then ended ones; newest
        first."""
        runs = queries.runs(self.store)
        seen = {run.id: self._see(run.id) for run in runs}
        reasons = needs(self.store, self.service.vmm, [sight.record for sight in seen.values()])
        helpless = {run for run, why in reasons.items() if why}
        needy = helpless | {number for number, sight in seen.items() if sight.board.questions}
        ordered = sorted(runs, key=lambda run: (run.id not in needy, run.over, -run.id))
        shown = [seen[run.id].board for run in ordered[:LISTED]]
        return looks.listing(shown, helpless, len(ordered) - len(shown), command)

    def _approvals(self, approvers: Approvers, command: str) -> str:
        asked = []
        for approval in queries.open_approvals(self.store):
            seen = self._see(approval.run)
            asked.append((approval, seen.board, vm_names(seen.record, approval.vms)))
        return looks.open_questions(asked, approvers, command)

    def _events(self, word: str, command: str) -> str:
        run = naming.find_run(word, queries.runs(self.store)) if word else None
        lines = events.latest(self.store, LINES, run.id if run else None)
        return looks.happened(lines, command)

    # --- changing ---------------------------------------------------------------------------

    def _change(self, row: Inbound, ask: Ask, approvers: Approvers) -> str:
        service, people = self.service.because(row.cause), approvers.people()
        who = Reviewer(fit=approvers.is_fit(row.by), trusted=approvers.is_trusted(row.by))
        said = verbs.carry_out_verb(service, ask, by=row.by, approvers=people, reviewer=who)
        sentence = render(said.sentence, spelled(row, self.command))
        return sentence if said.accepted else self._undecided(ask, sentence, approvers)

    def _undecided(self, ask: Ask, sentence: str, approvers: Approvers) -> str:
        asked = queries.approval(self.store, grammar.approval_number(ask.words[0]))
        run = queries.run(self.store, asked.run) if asked else None
        assert asked is not None
        assert run is not None
        return answers.undecided(sentence, asked, run, approvers)
