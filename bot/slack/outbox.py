"""The one sender: posts and updates in order of urgency, paced, the latest version only.

A row leaves the outbox in the transaction that writes down where its message stands. Decisions,
answers and failures go first; a first post before any update; updates of boards and of open cards
are coalesced. A 429
pauses its method (for posts: the channel) for exactly as long as Slack says. What Slack will
never take is dropped with a line in the log; a board that cannot be posted is written down, so
that its run can be rejected.

A post whose answer was lost is sent again, so it may stand twice: nothing looks it up yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from bot.slack import sentences
from bot.slack.loops import Loop
from bot.slack.roster import Lookups
from bot.slack.slack_api import ReplyUrls, SlackApi, SlackLater, SlackNever, SlackTrouble
from bot.slack.tables import FIRST, SECOND, Outbound, Sent, Tables
from engine.clock import Clock

log = logging.getLogger(__name__)

REPLY_TRIES = 10
LONGEST_WAIT = 900.0


@dataclass(frozen=True)
class Rhythm:
    """How often Slack is spoken to, in seconds of the wall."""

    post: float = 1.0  # between two posts in one channel
    board: float = 5.0  # between two versions of one board or open card
    look: float = 0.25  # between two looks for events
    again: float = 5.0  # before a call that failed for now is tried again


class Pace:
    """When the next call of a kind may go out. Time is an argument."""

    def __init__(self, rhythm: Rhythm) -> None:
        self.rhythm = rhythm
        self._not_before: dict[tuple[str, str], float] = {}

    def ready_at(self, method: str, out: Outbound) -> float:
        """The earliest moment for this call."""
        names = [(method, ""), (method, out.channel), ("key", out.key)]
        if out.priority != FIRST:
            names.append(("paced", out.key))
        return max(self._not_before.get(name, 0.0) for name in names)

    def sent(self, method: str, out: Outbound, now: float) -> None:
        """A call went out: room for the next one of its kind."""
        if method == "chat.postMessage":
            self._not_before[(method, out.channel)] = now + self.rhythm.post
        if out.key.startswith(("board:", "card:")):
            self._not_before[("paced", out.key)] = now + self.rhythm.board
        elif out.kind == "reply":
            self._not_before.pop(("key", out.key), None)

    def limited(self, method: str, out: Outbound, until: float) -> None:
        """Slack said 429: nothing of this kind until then. Other methods go on."""
        channel = out.channel if method == "chat.postMessage" else ""
        self._not_before[(method, channel)] = until

    def failed(self, out: Outbound, until: float) -> None:
        """This one call failed for now; the others go on."""
        self._not_before[("key", out.key)] = until


class Outbox:
    """Sends what stands in the outbox. ``after`` is called with the run when a message of a run
    was posted or given up."""

    def __init__(
        self,
        tables: Tables,
        api: SlackApi,
        urls: ReplyUrls,
        clock: Clock,
        rhythm: Rhythm,
        after: Callable[[int | None], None],
    ) -> None:
        self.tables, self.api, self.urls, self.clock = tables, api, urls, clock
        self.pace = Pace(rhythm)
        self.lookups = Lookups(tables, clock)
        self.after = after
        self.loop = Loop("slack-outbox", self.send_due)
        self._tries: dict[str, int] = {}

    def send_due(self) -> float | None:
        """Send everything that may go now; the seconds until the next may."""
        while True:
            asked = self.lookups.ask(self.api)
            if asked:
                self.after(None)
            waiting = self._in_order()
            if asked and not waiting:
                continue  # more may be wanted
            if not waiting:
                return None
            now = self.clock.monotonic()
            ready = next((w for w in waiting if w[2] <= now), None)
            if asked and ready is None:
                continue
            if ready is None:
                return max(0.01, min(at for _, _, at in waiting) - now)
            out, sent, _ = ready
            try:
                self._send(out, sent)
            except Exception:
                self.loop.bug(out.key)
                self.pace.failed(out, self.clock.monotonic() + self._next_try(out))

    def _in_order(self) -> list[tuple[Outbound, Sent | None, float]]:
        """What could be sent, most urgent first, with the moment when it may. Replies in a
        thread wait for their parent."""
        rows = []
        for out in self.tables.outbound():
            sent = self.tables.message(out.key)
            if out.parent and sent is None and self.tables.message(out.parent) is None:
                continue
            rows.append((out, sent, self.pace.ready_at(_method(out, sent), out)))
        return sorted(rows, key=lambda row: (_urgency(row[0], row[1]), row[0].id))

    def _send(self, out: Outbound, sent: Sent | None) -> None:
        method = _method(out, sent)
        try:
            if out.kind == "form":
                self.api.open_view(out.text, out.blocks[0])
                stands = None
            elif out.kind == "reply":
                self._reply(out)
                stands = None
            else:
                stands = self._message(out, sent)
        except SlackTrouble as trouble:
            self._failed(method, out, sent, trouble)
            return
        self.pace.sent(method, out, self.clock.monotonic())
        self._tries.pop(out.key, None)
        self.tables.sent(out, stands)
        if stands is not None and sent is None:
            self.after(out.run)

    def _failed(self, method: str, out: Outbound, sent: Sent | None, trouble: SlackTrouble) -> None:
        if out.kind == "form":
            # Its trigger is good for 3 s: there is no later.
            log.warning("%s was not opened: %s", out.key, trouble.code)
            self.tables.form_failed(out, sentences.form_not_opened(trouble.code))
        elif isinstance(trouble, SlackLater):
            self._later(method, out, trouble)
        elif isinstance(trouble, SlackNever):
            self._never(out, sent, trouble)

    def _message(self, out: Outbound, sent: Sent | None) -> Sent:
        if sent is not None:
            self.api.update(sent.channel, sent.ts, out.text, out.blocks)
            return Sent(out.key, sent.channel, sent.ts, sent.thread_ts, out.fingerprint)
        parent = self.tables.message(out.parent) if out.parent else None
        thread = parent.ts if parent else None
        ts = self.api.post(out.key, out.channel, out.text, out.blocks, thread, out.broadcast)
        return Sent(out.key, out.channel, ts, thread, out.fingerprint)

    def _reply(self, out: Outbound) -> None:
        url = self.urls.use(out.inbox, self.clock.monotonic())
        if url is not None:
            try:
                self.api.respond(url, out.text, out.thread_ts, out.blocks, out.replaces)
                return
            except SlackNever as never:
                log.warning("response_url of inbox %s failed: %s", out.inbox, never.code)
        self.api.ephemeral(out.channel, out.user or "", out.text, out.thread_ts, out.blocks)

    def _next_try(self, out: Outbound) -> float:
        """Counts a try that failed; the seconds until the next one."""
        tries = self._tries[out.key] = self._tries.get(out.key, 0) + 1
        return min(self.pace.rhythm.again * tries, 60.0)

    def _later(self, method: str, out: Outbound, later: SlackLater) -> None:
        wait = self._next_try(out)
        if out.key.startswith("board:") and out.run is not None:
            self.tables.trouble(out.run, later.code)
        if out.kind == "reply" and self._tries[out.key] >= REPLY_TRIES:
            log.warning("%s could not be told: %s", out.user, later.code)
            self.tables.sent(out, None)
            return
        now = self.clock.monotonic()
        if later.code == "ratelimited" and later.seconds is not None:
            self.pace.limited(method, out, now + later.seconds)
            return
        log.warning("%s of %s failed for now: %s", method, out.key, later.code)
        self.pace.failed(out, now + (later.seconds or wait))

    def _never(self, out: Outbound, sent: Sent | None, never: SlackNever) -> None:
        log.warning("%s cannot be sent: %s", out.key, never.code)
        if sent is not None:
            # The old version stays; without this the same content would be tried for ever.
            kept = Sent(out.key, sent.channel, sent.ts, sent.thread_ts, out.fingerprint)
            self.tables.sent(out, kept)
        elif out.key.startswith("board:") and out.run is not None:
            self.tables.unposted(out.run, never.code)
            self.after(out.run)
        elif out.kind == "reply":
            self.tables.sent(out, None)
        else:
            tries = self._tries[out.key] = self._tries.get(out.key, 0) + 1
            wait = min(60.0 * 2 ** min(tries - 1, 10), LONGEST_WAIT)
            self.pace.failed(out, self.clock.monotonic() + wait)


def _method(out: Outbound, sent: Sent | None) -> str:
    if out.kind == "form":
        return "views.open"
    if out.kind == "reply":
        return "chat.postEphemeral"
    return "chat.postMessage" if sent is None else "chat.update"


def _urgency(out: Outbound, sent: Sent | None) -> int:
    """A first post is never mere decoration: somebody waits for it."""
    return out.priority if sent is not None else min(out.priority, SECOND)
