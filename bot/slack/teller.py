"""Decides what stands in Slack: every message of every run that is told about, out of rows.

Level-triggered: events behind a cursor only say which runs to look at again. Whatever is looked
at is rendered anew and put into the outbox, which sends what changed. So a lost knock, a kill or
a restart costs nothing but a moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from sqlite_utils import Database

from bot.slack import broken_glass, controls, copies, reminders, sentences, waking
from bot.slack.card import Question, card_view
from bot.slack.causes import again, by_cause
from bot.slack.loops import Loop
from bot.slack.outbox import Rhythm
from bot.slack.pager import Page, Pages
from bot.slack.roster import Roster
from bot.slack.rows import Decided, Sight, decided, report_lines, see
from bot.slack.standing import Standing
from bot.slack.tables import FIRST, LAST, SECOND, Inbound, Outbound, Tables, Watched
from bot.slack.views import (
    Rendered,
    board_view,
    failure_view,
    report_view,
)
from engine.clock import Clock
from engine.model import Approval, ApprovalState, RunRecord, RunState
from engine.service import Service
from engine.settings import Settings
from engine.store import events, queries

CURSOR = "teller"
#: Begun, resumed, retried, or looked at again after its end; a host is sent VMs again.
GOES_ON = frozenset({f"run.{RunState.ACTIVE}", f"run.{RunState.STOPPING}", "host.cleared"})
BOARD_WAITS = 15 * 60.0  # for Slack to take a board, in seconds of the wall
NOT_INVITED = ("not_in_channel", "channel_not_found")


class Teller:
    """``told`` is called when something new may stand in the outbox."""

    def __init__(
        self,
        tables: Tables,
        service: Service,
        settings: Settings,
        clock: Clock,
        wall: Clock,
        rhythm: Rhythm,
        told: Callable[[], None],
    ) -> None:
        self.tables, self.service, self.settings = tables, service, settings
        self.store, self.clock, self.wall, self.rhythm = service.store, clock, wall, rhythm
        self.roster = Roster(tables, settings.slack, wall)
        self.standing = Standing(self.store)
        wakes = bool(settings.slack.pager_url.get_secret_value())
        self.pages = Pages(self.store, wall, wakes)
        self.copies = copies.Copies(tables, settings.slack, self.roster.lookups, wall)
        self.deciders = self.roster.deciders()
        self.told = told
        self.loop = Loop("slack-teller", self.look)
        self._asked: set[int] = set()
        self._lock = threading.Lock()
        self._all_at = 0.0
        self._decided: dict[tuple[int, ApprovalState], Decided] = {}

    def look_at(self, run: int | None) -> None:
        """Look at this run soon, whether or not anything happened to it."""
        with self._lock:
            if run is not None:
                self._asked.add(run)
        self.loop.knock()

    def look(self) -> float | None:
        """Look at what changed; at everything once per board interval (percentages move
        without events)."""
        news = events.since(self.store, self.tables.cursor(CURSOR))
        with self._lock:
            wanted = self._asked | {e.run for e in news if e.run is not None}
            self._asked = set()
        for run in {e.run for e in news if e.run is not None and e.kind in GOES_ON}:
            self.tables.watch_again(run)
        now = self.wall.monotonic()
        everything = now >= self._all_at
        if everything:
            self._all_at = now + self.rhythm.board
        self.deciders = self.roster.deciders()
        watched = self.tables.watched()
        changed = [self._try_to_tell(w) for w in watched if everything or w.run in wanted]
        if news:
            self.tables.advance(CURSOR, news[-1].seq)
        asks = everything and self._anything_is_asked() and self.roster.keep_fresh()
        if any([*changed, asks, self.copies.asks()]):
            self.told()
        return self.rhythm.look

    def _anything_is_asked(self) -> bool:
        watched = {w.run for w in self.tables.watched()}
        return any(a.run in watched for a in queries.open_approvals(self.store))

    def _try_to_tell(self, watched: Watched) -> bool:
        """A bug in the telling of one run must not silence the others; it is looked at again."""
        try:
            return self._tell(watched)
        except Exception:
            self.loop.bug(f"R{watched.run}")
            return True

    def _tell(self, watched: Watched) -> bool:
        seen = see(self.store, self.settings, watched.run, self.clock.now())
        if seen is None:
            return False
        run = seen.record.run
        if run.state is RunState.SCHEDULED and not watched.error:
            watched = self._given_up(watched)
        if watched.error and run.state is RunState.SCHEDULED:
            place = f"its board could not be posted in {watched.channel} ({watched.error})"
            invite = "; /invite @vmferry" if watched.error in NOT_INVITED else ""
            self.service.reject(run.id, place + invite)
            return self._tell(watched)
        if watched.error and run.state is RunState.REJECTED:
            return self._tell_rejected(watched, seen.record)
        messages = list(self._messages(seen, watched.channel))
        with self.store.transaction() as db:
            paged = [self.pages.put(db, page) for page in self._pages(seen)]
            gone = self.standing.turn_over(db, run.id, messages, self.clock.now())
            changed = [self._put(db, watched, *message) for message in (*messages, *gone)]
            for approval in seen.record.approvals:
                if approval.state is not ApprovalState.REQUESTED:
                    for prefix in reminders.keys_of(approval):
                        self.tables.unsay(db, prefix)
                    self.copies.unsay(db, approval)
            if run.over:
                self.tables.told(db, run.id)
        if run.state is RunState.SCHEDULED and self.tables.message(f"board:{run.label}"):
            self.service.activate(run.id)
            return self._tell(watched)
        return any([*changed, *paged])

    def _given_up(self, watched: Watched) -> Watched:
        """The row with an error in it where Slack has not taken the board for too long."""
        now = self.wall.now()
        if watched.since is None:
            self.tables.waits_since(watched.run, now)
            return watched
        if now - watched.since < BOARD_WAITS or self.tables.message(f"board:R{watched.run}"):
            return watched
        error = f"{watched.trouble or 'no answer'} for {BOARD_WAITS / 60:.0f} min"
        self.tables.unposted(watched.run, error)
        return replace(watched, error=error)

    def _messages(self, seen: Sight, channel: str) -> Iterator[tuple[str, Rendered, int]]:
        """Key, content and urgency of every message of a run."""
        record, board, run = seen.record, seen.board, seen.record.run
        command, glass = self.settings.slack.command, self.settings.slack.break_glass
        shown = board_view(board, self.deciders, command)
        yield f"board:{run.label}", controls.equipped(shown, controls.on_board(record)), LAST
        for approval in record.approvals:
            past = self._past(approval)
            question = Question(
                approval, record, seen.fleet, board.needed_by, past.mark, past.granter, glass
            )
            urgency = SECOND if approval.state is ApprovalState.REQUESTED else FIRST
            yield f"card:{approval.label}", card_view(question, self.deciders), urgency
            yield from self.copies.of(question, self.deciders, channel)
            yield from self._again(question)
            yield from broken_glass.told(question, self.settings.slack, self.deciders)
        for name, stuck in by_cause(board.failed, record).items():
            told = failure_view(run, stuck, self.deciders, command)
            told = controls.equipped(told, controls.on_failure(record, name, stuck))
            yield f"failure:{run.label}:{name}", told, FIRST
        if run.over:
            lines = report_lines(self.store, record, self.clock.now())
            last = report_view(record, lines, events.head(self.store), command)
            last = controls.equipped(last, controls.on_report(record))
            yield f"report:{run.label}{again(run.resumed)}", last, SECOND

    def _again(self, question: Question) -> Iterator[tuple[str, Rendered, int]]:
        """Reminders and the escalation: once each, so what was put before is left as it is."""
        now, settings = self.clock.now(), self.settings.slack
        for key, told in reminders.due(question, self.deciders, settings, now):
            if not self.tables.is_known(key):
                yield key, told, FIRST

    def _pages(self, seen: Sight) -> Iterator[Page]:
        """Whatever somebody is to be woken for."""
        record, needed_by = seen.record, seen.board.needed_by
        if self.pages.wanted:
            yield from waking.for_run(record)
            for approval in record.approvals:
                question = Question(approval, record, None, needed_by)
                now, settings = self.clock.now(), self.settings.slack
                yield from waking.for_question(question, self.deciders, settings, now)

    def _past(self, approval: Approval) -> Decided:
        """Looked up once for each decision."""
        known = (approval.id, approval.state)
        if known not in self._decided:
            self._decided[known] = decided(self.store, approval)
        return self._decided[known]

    def _put(
        self, db: Database, watched: Watched, key: str, content: Rendered, priority: int
    ) -> bool:
        is_board, elsewhere = key.startswith("board:"), copies.place_of(key)
        return self.tables.put(
            db,
            Outbound(
                key=key,
                kind="message",
                channel=elsewhere or watched.channel,
                text=content.text,
                blocks=content.blocks,
                fingerprint=content.fingerprint,
                run=watched.run,
                parent=None if is_board or elsewhere else f"board:R{watched.run}",
                broadcast=key.startswith("report:"),
                priority=priority,
            ),
        )

    def _tell_rejected(self, watched: Watched, record: RunRecord) -> bool:
        """The requester is told where they asked; nothing can be posted there."""
        asked = Inbound(watched.inbox, "", watched.by, watched.channel, {}, record.run.created)
        with self.store.transaction() as db:
            text = sentences.not_posted(record.run, watched.channel, watched.error)
            self.tables.reply(db, asked, text)
            self.tables.told(db, watched.run)
        return True
