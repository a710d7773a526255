"""News that an outage of Slack kept from people: posted once per channel when it is over."""

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


def put(tables: Tables, settings: Settings, clock: Clock, bug: Callable[[str], None]) -> bool:
    """Queue, after an outage, one message per channel about what its runs did meanwhile. Returns
    whether anything was queued. ``bug`` is called for a run that cannot be shown."""
    outages, boards = Outages(tables.store), defaultdict[str, list[Board]](list)
    outage = outages.latest()
    if outage is None or outage.until is None:
        return False
    changed = {event.run for event in events.since(tables.store, outage.seq)}
    for run, channel in tables.runs.channels():
        if run not in changed:
            continue
        try:
            seen = take_snapshot(tables.store, settings, run, clock.now())
        except Exception:
            bug(f"R{run}")
            continue  # the other runs are reported
        if seen is not None:
            boards[channel].append(seen.board)
    with tables.store.transaction() as db:
        for channel, told in boards.items():
            view = away_view(outage.since, outage.until, outage.error, told)
            key = Key(AWAY, str(int(outage.since)), channel)
            tables.put(db, outbound(Post.of(key, view), channel))
        outages.close(db)
    return bool(boards)
