"""News that an outage of Slack kept from people: said once in each channel when it is over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from bot.slack.kit.message_kinds import AWAY, Key
from bot.slack.kit.phrases import Post
from bot.slack.messages.board import away_view
from bot.slack.messages.snapshot import take_snapshot
from bot.slack.outbox.outage import Outages
from bot.slack.outbox.rows import Tables, outbound
from engine.clock import Clock
from engine.settings import Settings
from engine.store import events
from engine.views.board import Board


class OutageNews:
    """The news of the runs of each channel. ``bug`` is called for a run that cannot be shown."""

    def __init__(
        self, tables: Tables, settings: Settings, clock: Clock, bug: Callable[[str], None]
    ) -> None:
        self.tables, self.settings, self.clock, self.bug = tables, settings, clock, bug
        self.outages = Outages(tables.store)

    def put(self) -> bool:
        """Report, after Slack was away, what its runs did meanwhile; whether there was anything."""
        outage = self.outages.latest()
        if outage is None or outage.until is None:
            return False
        boards = self._boards(outage.seq)
        with self.tables.store.transaction() as db:
            for channel, told in boards.items():
                view = away_view(outage.since, outage.until, outage.error, told)
                key = Key(AWAY, str(int(outage.since)), channel)
                self.tables.put(db, outbound(Post.of(key, view), channel))
            self.outages.close(db)
        return bool(boards)

    def _boards(self, seq: int) -> dict[str, list[Board]]:
        """Boards of the runs that have changed since this event, by channel."""
        store, boards = self.tables.store, defaultdict[str, list[Board]](list)
        changed = {event.run for event in events.since(store, seq)}
        for run, channel in self.tables.runs.channels():
            if run not in changed:
                continue
            try:
                seen = take_snapshot(store, self.settings, run, self.clock.now())
            except Exception:
                self.bug(f"R{run}")
                continue  # what became of the others is said
            if seen is not None:
                boards[channel].append(seen.board)
        return boards
