"""Publisher of every message of every watched run, rendered from rows.

Level-triggered: events after a cursor only say which runs to render again. All messages of such a
run are rendered and put into the outbox, which sends those that changed. So a lost knock, a kill or
a restart costs only a moment.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from bot.pager import Pages
from bot.slack.inbox.rows import Address
from bot.slack.kit.blocks import escape
from bot.slack.kit.ids import slack_user
from bot.slack.kit.loop import Loop
from bot.slack.kit.mentions import channels
from bot.slack.kit.message_kinds import BOARD, CARD, Key
from bot.slack.kit.phrases import Post
from bot.slack.kit.refusals import NOT_STARTED
from bot.slack.messages import expired_buttons, outage_news, snapshot
from bot.slack.messages.copies import Copies
from bot.slack.messages.run_messages import RunMessages
from bot.slack.messages.snapshot import RunSnapshot, take_snapshot
from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.outbox.rows import Tables, outbound
from bot.slack.outbox.watched_runs import Watched
from bot.slack.people.roster import Roster
from engine.clock import Clock
from engine.commands.service import Service
from engine.language.sentence import Channel, Person, Quote, say
from engine.model import Run, RunState
from engine.settings import Settings
from engine.store import events, queries
from engine.store.database import Database

log = logging.getLogger(__name__)

CURSOR = "teller"  # the publisher's former name, kept in existing databases
#: Events after which a closed run is watched again: resumed, retried or checked again after its
#: end; a host takes VMs again; a break-glass approval was reviewed.
GOES_ON = frozenset(
    {f"run.{RunState.ACTIVE}", f"run.{RunState.STOPPING}", "host.cleared", "glass.reviewed"}
)
BOARD_WAITS = 15 * 60.0  # seconds (wall clock) for Slack to take a board
NOT_INVITED = ("not_in_channel", "channel_not_found")


class Publisher:
    """Renderer of messages. ``notify`` is called when the outbox may have something new."""

    def __init__(
        self,
        tables: Tables,
        service: Service,
        settings: Settings,
        clock: Clock,
        wall: Clock,
        rhythm: Rhythm,
        notify: Callable[[], None],
    ) -> None:
        self.tables, self.service, self.settings = tables, service, settings
        self.store, self.clock, self.wall, self.rhythm = service.store, clock, wall, rhythm
        self.roster = Roster(tables.store, settings.approval, wall)
        wakes = bool(settings.pager.url.get_secret_value())
        self.pages = Pages(self.store, wall, wakes)
        self.copies = Copies(tables, settings.approval, self.roster.lookups, wall)
        self.past = cache(partial(snapshot.decided, self.store))
        self.approvers = self.roster.approvers()
        self.loop = Loop("slack-publisher", self.look)
        self.notify = notify
        self._asked: set[int] = set()
        self._lock = threading.Lock()
        self._all_at = 0.0

    def look_at(self, run: int | None) -> None:
        """Render this run soon, whether or not it has new events; ``None``: only knock."""
        with self._lock:
            if run is not None:
                self._asked.add(run)
        self.loop.knock()

    def look(self) -> float | None:
        """Render the runs with new events, and all runs once per board interval (percentages change
        without events). Returns the seconds until the next look."""
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
        self.approvers = self.roster.approvers()
        caught_up = outage_news.put(self.tables, self.settings, self.clock, self.loop.bug)
        watched = self.tables.runs.watched()
        changed = [self._try_to_publish(w) for w in watched if everything or w.run in wanted]
        if news:
            self.tables.advance(CURSOR, news[-1].seq)
        told = {w.run for w in watched}
        is_asked = everything and any(a.run in told for a in queries.open_approvals(self.store))
        asks = is_asked and self.roster.keep_fresh()
        if any([*changed, asks, caught_up, self.copies.asks()]):
            self.notify()
        return self.rhythm.look

    def _try_to_publish(self, watched: Watched) -> bool:
        """Publish one run. A bug in one run must not silence the others."""
        try:
            return self._publish(watched)
        except Exception:
            self.loop.bug(f"R{watched.run}")
            return True

    def _publish(self, watched: Watched) -> bool:
        seen = take_snapshot(self.store, self.settings, watched.run, self.clock.now())
        if seen is None:
            return False
        run = seen.record.run
        if run.state is RunState.SCHEDULED and not watched.error:
            watched = self._given_up(watched)
        if watched.error and run.state is RunState.SCHEDULED:
            invite = "; /invite @vmferry" if watched.error in NOT_INVITED else ""
            form = "its status message could not be posted in {} ({}){}"
            why = say(form, _place(watched.channel), Quote(watched.error), invite)
            self.service.reject(run.id, why)
            return self._publish(watched)
        if watched.error and run.state is RunState.REJECTED:
            return self._publish_rejected(watched, seen)
        seen = self._by_when(seen)
        if watched.lost:
            watched = self._elsewhere(watched, seen)
        said = self._of(seen, watched)
        messages = list(said.messages())
        with self.store.transaction() as db:
            due = said.due_pages() if self.pages.wanted else ()
            paged = [self.pages.put(db, page) for page in due]
            gone = expired_buttons.strip_expired(
                self.tables, db, run.id, messages, self.clock.now()
            )
            changed = [self._put(db, watched, post) for post in (*messages, *gone)]
            closed = [post.key for post in gone if self.tables.may_stand(db, post.key)]
            self.tables.withdraw_others(db, run.id, [*(post.key for post in messages), *closed])
            if run.over:
                self.tables.runs.close(db, run.id)
        if run.state is RunState.SCHEDULED and self.tables.message(Key(BOARD, run.label)):
            self.service.activate(run.id)
            return self._publish(watched)
        return any([*changed, *paged])

    def _by_when(self, seen: RunSnapshot) -> RunSnapshot:
        """Snapshot of the run with the one time by which an approval is needed that all of its
        messages show."""
        run = seen.record.run.id
        said = self.tables.runs.needed_by(run)
        shown = snapshot.with_deadline(seen, said, self.clock.now())
        if shown.board.needed_by != said:
            self.tables.runs.set_needed_by(run, shown.board.needed_by)
        return shown

    def _given_up(self, watched: Watched) -> Watched:
        """The row, with an error in it if Slack has not taken the board for 15 minutes."""
        now = self.wall.now()
        if watched.since is None:
            self.tables.runs.waits_since(watched.run, now)
            return watched
        if now - watched.since < BOARD_WAITS or self.tables.message(Key(BOARD, f"R{watched.run}")):
            return watched
        error = f"{watched.trouble or 'no answer'} for {BOARD_WAITS / 60:.0f} min"
        self.tables.runs.unposted(watched.run, error)
        return replace(watched, error=error)

    def _elsewhere(self, watched: Watched, seen: RunSnapshot) -> Watched:
        """Move the reports about a run whose channel is gone to the fall-back channel, else to its
        owner."""
        owner = slack_user(seen.record.run.contact)
        places = [self.settings.slack.fallback, owner or ""]
        if watched.channel in places:
            places = places[places.index(watched.channel) + 1 :]
        place = next(filter(None, places), "")
        if not place:
            log.error("R%s has no channel for its messages: %s", watched.run, watched.lost)
            self.tables.runs.stay(watched.run)
            return replace(watched, lost="")
        here = replace(watched, channel=place, lost="")
        here = replace(here, moved_from=watched.channel, moved_for=watched.lost)
        decided = [a for a in seen.record.approvals if a.decided is not None]
        stays = {Key(CARD, approval.label) for approval in decided}
        keys = [post.key for post in self._of(seen, here).messages()]
        anew = [key for key in keys if key not in stays and not key.place]
        with self.store.transaction() as db:
            self.tables.runs.move(db, watched, place, anew)
        form = "Messages about R{} now go to {}, no longer to {} ({})"
        where = (_place(place), _place(watched.channel), Quote(watched.lost))
        self.service.note(watched.run, say(form, watched.run, *where))
        return here

    def _of(self, seen: RunSnapshot, watched: Watched) -> RunMessages:
        about = (self.settings, seen, watched, self.approvers, self.clock.now())
        return RunMessages(self.tables, self.copies, self.past, *about)

    def _put(self, db: Database, watched: Watched, post: Post) -> bool:
        if post.key.kind.once and self.tables.waits(db, post.key):
            return False  # perhaps already sent, and it is sent only once
        return self.tables.put(db, outbound(post, watched.channel, watched.run))

    def _publish_rejected(self, watched: Watched, seen: RunSnapshot) -> bool:
        """Tell the requester, where they asked, that the run was rejected because its board could
        not be posted. A board whose answer was lost may be posted after all; then it is updated,
        too."""
        run = seen.record.run
        requester = Address(watched.inbox, watched.by, watched.channel)
        board = next(self._of(seen, watched).messages())
        with self.store.transaction() as db:
            text = not_posted(run, watched.channel, watched.error)
            self.tables.reply(db, requester, text)
            if self.tables.may_stand(db, board.key):
                self._put(db, watched, board)
            self.tables.runs.close(db, watched.run)
        return True


def not_posted(run: Run, channel: str, error: str) -> str:
    """Message to the requester: the board could not be posted, so the run does not start."""
    invite = "Type /invite @vmferry there, then repeat the request."
    why = {
        "is_archived": f"{channels([channel])} is archived. Use another channel.",
        "not_in_channel": f"I am not in {channels([channel])}. {invite}",
        "channel_not_found": f"I cannot see {channels([channel])}. {invite}",
    }
    reason = why.get(error, f"Slack rejected the message ({escape(error)}).")
    return f"{run.label} was rejected: {reason} {NOT_STARTED}"


def _place(where: str) -> Person | Channel:
    """The run's channel, or the owner to whom it is reported directly."""
    return Person(where) if slack_user(where) else Channel(where)
