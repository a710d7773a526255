"""Publisher of every message of every watched run, out of rows.

Level-triggered: events behind a cursor only say which runs to look at again. A run that is looked
at is rendered anew and put into the outbox, which sends what changed. So a lost knock, a kill or a
restart costs nothing but a moment.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sqlite_utils import Database

from bot.pager import Page, Pages
from bot.slack.inbox.rows import Inbound
from bot.slack.kit import message_kinds
from bot.slack.kit.blocks import escape
from bot.slack.kit.loop import Loop
from bot.slack.kit.message_kinds import ONCE, again
from bot.slack.kit.phrases import SPOKEN, Rendered
from bot.slack.kit.refusals import NOT_STARTED
from bot.slack.messages import break_glass, controls, copies, pages, reminders, snapshot
from bot.slack.messages.board import away_view, board_view, moved_here
from bot.slack.messages.card import Question, card_view, list_views
from bot.slack.messages.expired_buttons import ExpiredButtons, Message
from bot.slack.messages.failures import by_cause, failure_view
from bot.slack.messages.report import report_view
from bot.slack.messages.snapshot import Decided, Sight, decided, people_in, report_lines, see
from bot.slack.outbox.outage import Outages
from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.outbox.rows import FIRST, LAST, SECOND, Outbound, Tables
from bot.slack.outbox.watched_runs import Watched
from bot.slack.people.ids import slack_id
from bot.slack.people.roster import Roster
from engine.clock import Clock
from engine.commands.service import Service
from engine.model import Approval, ApprovalState, Run, RunState
from engine.policy.approvals.review import reminders_due
from engine.settings import Settings
from engine.store import events, queries
from engine.views.board import Board

log = logging.getLogger(__name__)

CURSOR = "teller"  # its row in databases, from when the publisher was called so
#: Begun, resumed, retried, or looked at again after its end; a host is sent VMs again; somebody
#: has looked at a broken glass.
GOES_ON = frozenset(
    {f"run.{RunState.ACTIVE}", f"run.{RunState.STOPPING}", "host.cleared", "glass.reviewed"}
)
BOARD_WAITS = 15 * 60.0  # for Slack to take a board, in seconds of the wall
NOT_INVITED = ("not_in_channel", "channel_not_found")


class Publisher:
    """Publisher of messages. ``told`` is called when something new may be in the outbox."""

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
        self.roster = Roster(tables.store, settings.slack, wall)
        self.standing = ExpiredButtons(self.store)
        wakes = bool(settings.slack.pager_url.get_secret_value())
        self.pages = Pages(self.store, wall, wakes)
        self.copies = copies.Copies(tables, settings.slack, self.roster.lookups, wall)
        self.deciders = self.roster.deciders()
        self.absences = Outages(self.store)
        self.told = told
        self.loop = Loop("slack-publisher", self.look)
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
            self.tables.runs.watch_again(run)
        now = self.wall.monotonic()
        everything = now >= self._all_at
        if everything:
            self._all_at = now + self.rhythm.board
            self._ask_for_reviews()
        self.deciders = self.roster.deciders()
        caught_up = self._catch_up()
        watched = self.tables.runs.watched()
        changed = [self._try_to_tell(w) for w in watched if everything or w.run in wanted]
        if news:
            self.tables.advance(CURSOR, news[-1].seq)
        asks = everything and self._anything_is_asked() and self.roster.keep_fresh()
        if any([*changed, asks, caught_up, self.copies.asks()]):
            self.told()
        return self.rhythm.look

    def _ask_for_reviews(self) -> None:
        """Watch runs again whose break-glass approval is due for a reminder, long after their
        end."""
        for review in queries.open_reviews(self.store):
            number = reminders_due(review, self.clock.now())
            key = break_glass.reminder_key(review, number)
            if number and self.tables.message(key) is None:
                self.tables.runs.watch_again(review.run)

    def _anything_is_asked(self) -> bool:
        watched = {w.run for w in self.tables.runs.watched()}
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
            return self._tell_rejected(watched, seen)
        seen = self._by_when(seen)
        if watched.lost:
            watched = self._elsewhere(watched, seen)
        messages = list(self._messages(seen, watched))
        with self.store.transaction() as db:
            paged = [self.pages.put(db, page) for page in self._pages(seen)]
            gone = self.standing.turn_over(db, run.id, messages, self.clock.now())
            changed = [self._put(db, watched, *message) for message in (*messages, *gone)]
            closed = [key for key, _, _ in gone if self.tables.may_stand(db, key)]
            self.tables.unsay_others(db, run.id, [*(key for key, _, _ in messages), *closed])
            if run.over:
                self.tables.runs.told(db, run.id)
        if run.state is RunState.SCHEDULED and self.tables.message(f"board:{run.label}"):
            self.service.activate(run.id)
            return self._tell(watched)
        return any([*changed, *paged])

    def _by_when(self, seen: Sight) -> Sight:
        """Snapshot of the run as all of its messages show it, with one time by which an approval is
        needed."""
        run = seen.record.run.id
        said = self.tables.runs.needed_by(run)
        told = snapshot.told(seen, said, self.clock.now())
        if told.board.needed_by != said:
            self.tables.runs.say_needed_by(run, told.board.needed_by)
        return told

    def _given_up(self, watched: Watched) -> Watched:
        """The row with an error in it where Slack has not taken the board for too long."""
        now = self.wall.now()
        if watched.since is None:
            self.tables.runs.waits_since(watched.run, now)
            return watched
        if now - watched.since < BOARD_WAITS or self.tables.message(f"board:R{watched.run}"):
            return watched
        error = f"{watched.trouble or 'no answer'} for {BOARD_WAITS / 60:.0f} min"
        self.tables.runs.unposted(watched.run, error)
        return replace(watched, error=error)

    def _elsewhere(self, watched: Watched, seen: Sight) -> Watched:
        """Move the reports about a run whose channel is gone to the fall-back channel, else to its
        owner."""
        owner = slack_id(seen.record.run.told)
        places = [self.settings.slack.fallback, owner or ""]
        if watched.channel in places:
            places = places[places.index(watched.channel) + 1 :]
        place = next(filter(None, places), "")
        if not place:
            log.error("R%s can be told about nowhere: %s", watched.run, watched.lost)
            self.tables.runs.stay(watched.run)
            return replace(watched, lost="")
        here = replace(watched, channel=place, lost="")
        here = replace(here, moved_from=watched.channel, moved_for=watched.lost)
        stays = {f"card:{a.label}" for a in seen.record.approvals if a.decided is not None}
        keys = [key for key, _, _ in self._messages(seen, here)]
        anew = [key for key in keys if key not in stays and not message_kinds.place_of(key)]
        with self.store.transaction() as db:
            self.tables.runs.move(db, watched, place, anew)
        self.service.note(watched.run, told_elsewhere(seen.record.run, watched, place))
        return here

    def _catch_up(self) -> bool:
        """Report once in each channel, after Slack was away, what its runs did meanwhile."""
        absence = self.absences.latest()
        if absence is None or absence.until is None:
            return False
        news = {e.run for e in events.since(self.store, absence.seq)}
        boards: defaultdict[str, list[Board]] = defaultdict(list)
        for run, channel in self.tables.runs.told_in():
            if run not in news:
                continue
            try:
                seen = see(self.store, self.settings, run, self.clock.now())
            except Exception:
                self.loop.bug(f"R{run}")
                continue  # what became of the others is said
            if seen is not None:
                boards[channel].append(seen.board)
        with self.store.transaction() as db:
            for channel, told in boards.items():
                view = away_view(absence.since, absence.until, absence.error, told)
                key = f"away:{int(absence.since)}:{channel}"
                self.tables.put(db, _message(key, channel, view, SECOND))
            self.absences.told(db)
        return bool(boards)

    def _messages(self, seen: Sight, watched: Watched) -> Iterator[Message]:
        """Key, content and urgency of every message of a run."""
        record, board, run = seen.record, seen.board, seen.record.run
        command = self.settings.slack.command
        moved = moved_here(watched.moved_from, watched.moved_for) if watched.moved_from else ""
        shown = board_view(board, self.deciders, command, moved)
        yield f"board:{run.label}", controls.equipped(shown, controls.on_board(record)), LAST
        for approval in record.approvals:
            question = self._question(seen, approval)
            lists = self._lists(question)
            yield from lists
            if any(self.tables.message(key) is None for key, _, _ in lists):
                continue  # nobody is asked before they can read what it is about
            urgency = SECOND if approval.state is ApprovalState.REQUESTED else FIRST
            yield f"card:{approval.label}", card_view(question, self.deciders), urgency
            yield from self._copies(question, lists, watched.channel)
            yield from self._again(question, watched.channel)
            yield from self._broken(question)
        for name, stuck in by_cause(board.failed, record).items():
            told = failure_view(run, stuck, self.deciders, SPOKEN)
            told = controls.equipped(told, controls.on_failure(record, name, stuck))
            yield f"failure:{run.label}:{name}", told, FIRST
        if run.over:
            lines = report_lines(self.store, record, self.clock.now())
            people = people_in(self.store, record)
            last = report_view(record, lines, events.head(self.store), command, people)
            last = controls.equipped(last, controls.on_report(record))
            yield f"report:{run.label}{again(run.resumed)}", last, SECOND

    def _question(self, seen: Sight, approval: Approval) -> Question:
        past, glass = self._past(approval), self.settings.slack.break_glass
        about = (approval, seen.record, seen.fleet, seen.board.needed_by)
        return Question(*about, past.mark, past.granter, glass, seen.estimate)

    def _lists(self, question: Question) -> list[Message]:
        """Lists above an open card that cannot name all its VMs."""
        approval = question.approval
        if approval.state is not ApprovalState.REQUESTED or question.record.run.over:
            return []
        parts = list_views(question, self.deciders)
        return [(f"list:{approval.label}:{n}", part, SECOND) for n, part in enumerate(parts)]

    def _copies(
        self, question: Question, lists: Sequence[Message], channel: str
    ) -> Iterator[Message]:
        """The copies of a card, and under each what the card cannot name."""
        now, settings = self.clock.now(), self.settings.slack
        users = reminders.asked(question, self.deciders, settings, now)
        keys = [key for key, _, _ in lists]
        yield from self.copies.of(question, self.deciders, users, channel, keys)
        for place in self.copies.standing(question.approval) if lists else ():
            yield from (
                (message_kinds.at(key, place), part, urgency) for key, part, urgency in lists
            )

    def _again(self, question: Question, channel: str) -> Iterator[Message]:
        """Reminders and the escalation: once each in each place, so what was put before is left as
        it is; and under the card that they are about, though they are more urgent. Where Slack does
        not take the card itself, they alone say that something is asked."""
        card = f"card:{question.approval.label}"
        if self.tables.message(card) is None and not self.tables.gave_up(card):
            return
        now, settings = self.clock.now(), self.settings.slack
        for due in reminders.due(question, self.deciders, settings, now):
            if self.tables.message(due.key) is None:
                yield due.key, due.in_thread(), FIRST
            for place in self.copies.standing(question.approval):
                key = message_kinds.at(due.key, place)
                if self.tables.message(key) is not None:
                    continue
                users = self.copies.news_to(due.users, place, channel)
                if users != ():
                    yield key, due.at_copy(users), SECOND

    def _broken(self, question: Question) -> Iterator[Message]:
        """Messages that the glass was broken, and about its review: in the thread, and under every
        copy, since a reader there may be the only person who can withdraw the approval."""
        about = (question, self.settings.slack, self.deciders)
        said = [*break_glass.told(*about), *break_glass.reminder(*about, self.clock.now())]
        places = self.copies.standing(question.approval) if said else []
        for key, content, urgency in said:
            for here in (key, *(message_kinds.at(key, place) for place in places)):
                if not key.startswith(ONCE) or self.tables.message(here) is None:
                    yield here, content, urgency

    def _pages(self, seen: Sight) -> Iterator[Page]:
        """Pages that are due for this run."""
        if self.pages.wanted:
            yield from pages.for_run(seen.record)
            for approval in seen.record.approvals:
                question = self._question(seen, approval)
                now, settings = self.clock.now(), self.settings.slack
                yield from pages.for_question(question, self.deciders, settings, now)

    def _past(self, approval: Approval) -> Decided:
        """Audit of a decision, looked up once."""
        known = (approval.id, approval.state)
        if known not in self._decided:
            self._decided[known] = decided(self.store, approval)
        return self._decided[known]

    def _put(
        self, db: Database, watched: Watched, key: str, content: Rendered, priority: int
    ) -> bool:
        if key.startswith(ONCE) and self.tables.waits(db, key):
            return False  # it may be on its way: said once, in the words of that moment
        elsewhere = message_kinds.place_of(key)
        out = _message(key, elsewhere or watched.channel, content, priority)
        above = message_kinds.copy_of(key) if elsewhere else f"board:R{watched.run}"
        parent = None if key.startswith("board:") else above or None
        broadcast = key.startswith("report:") or message_kinds.stands_out(key)
        return self.tables.put(
            db, replace(out, run=watched.run, parent=parent, broadcast=broadcast)
        )

    def _tell_rejected(self, watched: Watched, seen: Sight) -> bool:
        """Tell the requester, where they asked, that the run was rejected: nothing can be posted
        there. A board whose answer was lost may be posted all the same, and then says so, too."""
        run = seen.record.run
        asked = Inbound(watched.inbox, "", watched.by, watched.channel, {}, run.created)
        board = next(self._messages(seen, watched))
        with self.store.transaction() as db:
            text = not_posted(run, watched.channel, watched.error)
            self.tables.reply(db, asked, text)
            if self.tables.may_stand(db, board[0]):
                self._put(db, watched, *board)
            self.tables.runs.told(db, watched.run)
        return True


def _message(key: str, channel: str, content: Rendered, priority: int) -> Outbound:
    return Outbound(
        key=key,
        kind="message",
        channel=channel,
        text=content.text,
        blocks=content.blocks,
        fingerprint=content.fingerprint,
        priority=priority,
    )


def not_posted(run: Run, channel: str, error: str) -> str:
    """The board could not be posted, so the run does not start."""
    invite = "Type there: /invite @vmferry, then ask again."
    why = {
        "is_archived": f"<#{channel}> is archived. Ask again in another channel.",
        "not_in_channel": f"I am not in <#{channel}>. {invite}",
        "channel_not_found": f"I cannot see <#{channel}>. {invite}",
    }
    reason = why.get(error, f"Slack refused the message ({escape(error)}).")
    return f"{run.label} was rejected: {reason} {NOT_STARTED}"


def told_elsewhere(run: Run, watched: Watched, place: str) -> str:
    """Sentence for the audit, which knows no mentions."""
    gone = f"{watched.channel} ({watched.lost})"
    return f"{run.label} is told about in {place} from now on, and no longer in {gone}"
