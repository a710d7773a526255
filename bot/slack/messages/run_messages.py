"""All messages of one run at one moment: board, cards, lists, copies, reminders, failures and
report; and the pages that are due."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bot.pager import Page
from bot.slack.kit.message_kinds import (
    BOARD,
    CARD,
    FAILURE,
    FIRST,
    LIST,
    REPORT,
    SECOND,
    STALLED,
    Key,
    again,
)
from bot.slack.kit.phrases import SPOKEN, Post
from bot.slack.messages import break_glass, controls, pages, reminders
from bot.slack.messages.board import board_view, moved_here
from bot.slack.messages.card import Question, card_view, list_views
from bot.slack.messages.copies import Copies
from bot.slack.messages.failures import by_cause, failure_view, stalled, stalled_view
from bot.slack.messages.report import report_view
from bot.slack.messages.snapshot import Decided, RunSnapshot, report_lines
from bot.slack.outbox.rows import Tables
from bot.slack.outbox.watched_runs import Watched
from bot.slack.people.approvers import Approvers
from engine.model import Approval, ApprovalState
from engine.settings import Settings
from engine.store import events


@dataclass(frozen=True)
class RunMessages:
    """Messages about a run at the time ``now``, given these approvers. ``past`` looks up the audit
    of a decision."""

    tables: Tables
    copies: Copies
    past: Callable[[Approval], Decided]
    settings: Settings
    seen: RunSnapshot
    watched: Watched
    approvers: Approvers
    now: float

    def messages(self) -> Iterator[Post]:
        """Every message with its key and urgency; the board first."""
        record, board, run = self.seen.record, self.seen.board, self.seen.record.run
        command, watched, store = self.settings.slack.command, self.watched, self.tables.store
        moved = moved_here(watched.moved_from, watched.moved_for) if watched.moved_from else ""
        shown = board_view(board, self.approvers, command, moved)
        shown = controls.with_buttons(shown, controls.on_board(record))
        yield Post.of(Key(BOARD, run.label), shown)
        for approval in record.approvals:
            question = self._question(approval)
            lists = self._lists(question)
            yield from lists
            if any(self.tables.message(key) is None for key, _, _ in lists):
                continue  # nobody is asked before the list of VMs is posted
            urgency = SECOND if approval.state is ApprovalState.REQUESTED else FIRST
            yield Post(Key(CARD, approval.label), card_view(question, self.approvers), urgency)
            yield from self._copies(question, lists)
            yield from self._again(question)
            yield from self._broken(question)
        for name, stuck in by_cause(board.failed, record).items():
            failure = failure_view(run, stuck, self.approvers, SPOKEN)
            failure = controls.with_buttons(failure, controls.on_failure(record, name, stuck))
            yield Post.of(Key(FAILURE, run.label, name), failure)
        for name, moves in stalled(record).items():
            yield Post.of(Key(STALLED, run.label, name), stalled_view(run, moves, self.approvers))
        if run.over:
            lines = report_lines(store, record, self.now)
            last = report_view(record, lines, events.head(store), SPOKEN)
            last = controls.with_buttons(last, controls.on_report(record))
            yield Post.of(Key(REPORT, run.label, again(run.resumed)), last)

    def _question(self, approval: Approval) -> Question:
        past, glass = self.past(approval), self.settings.approval.break_glass
        seen = self.seen
        about = (approval, seen.record, seen.fleet, seen.board.needed_by)
        return Question(*about, past.mark, past.granter, glass, seen.estimate)

    def _lists(self, question: Question) -> list[Post]:
        """Lists above an open card that cannot name all its VMs."""
        approval = question.approval
        if approval.state is not ApprovalState.REQUESTED or question.record.run.over:
            return []
        parts = list_views(question, self.approvers)
        return [Post.of(Key(LIST, approval.label, str(n)), part) for n, part in enumerate(parts)]

    def _copies(self, question: Question, lists: Sequence[Post]) -> Iterator[Post]:
        """Copies of a card, each with the lists of VMs that the card cannot name."""
        users = reminders.asked(question, self.approvers, self.settings, self.now)
        keys = [key for key, _, _ in lists]
        yield from self.copies.of(question, self.approvers, users, self.watched.channel, keys)
        for place in self.copies.posted_in(question.approval) if lists else ():
            yield from (Post(key.at(place), part, urgency) for key, part, urgency in lists)

    def _again(self, question: Question) -> Iterator[Post]:
        """Reminders and the escalation. Each is posted once per place, so messages that are posted
        are left out. They follow the card, although they are more urgent. If Slack rejects the card
        itself, they alone show that a decision is needed."""
        card = Key(CARD, question.approval.label)
        if self.tables.message(card) is None and not self.tables.gave_up(card):
            return
        for due in reminders.due(question, self.approvers, self.settings, self.now):
            if self.tables.message(due.key) is None:
                yield Post.of(due.key, due.in_thread())
            for place in self.copies.posted_in(question.approval):
                key = due.key.at(place)
                if self.tables.message(key) is not None:
                    continue
                users = self.copies.news_to(due.users, place, self.watched.channel)
                if users != ():
                    yield Post(key, due.at_copy(users), SECOND)

    def _broken(self, question: Question) -> Iterator[Post]:
        """Messages about a break-glass approval and its review: in the thread, and under every
        copy, since a reader there may be the only person who can withdraw the approval."""
        said = list(break_glass.announcement(question, self.settings, self.approvers))
        places = self.copies.posted_in(question.approval) if said else []
        for key, content, urgency in said:
            for here in (key, *(key.at(place) for place in places)):
                yield Post(here, content, urgency)

    def due_pages(self) -> Iterator[Page]:
        """Pages that are due."""
        yield from pages.for_run(self.seen.record)
        yield from pages.for_stalled(self.seen.record)
        yield from pages.for_silence(self.seen.record.run, self.seen.board.seen, self.now)
        for approval in self.seen.record.approvals:
            question = self._question(approval)
            yield from pages.for_question(question, self.approvers, self.settings, self.now)
