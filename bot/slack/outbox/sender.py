"""Sender of all messages: most urgent first, within the rate limits, the latest version only.

How it works. A row leaves the outbox in the transaction that records where its message was posted.
Decisions, answers and failures go first; a first post goes before any update; updates of boards and
open cards are coalesced. Every method has a budget of its own (``rate_limits``), and after a 429
the sender waits exactly as long as Slack says.

A post is recorded as tried before it is sent. If its answer is lost, or the bot is killed
meanwhile, the sender looks for it in the channel before it sends it again, by the key and version
in the message's metadata. If it cannot look (the scope is missing), the message may be posted
twice, which is better than not at all.

While Slack does not answer, one call at a time is tried, at growing intervals, and nothing is given
up. If a channel is gone, its run is reported elsewhere; a run that has not begun is rejected. If
Slack rejects a message's content, it is sent once more ``as_plain_text``. If Slack rejects that,
too, this version is given up, with a line in the log and a note in the audit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from bot.slack.kit.loop import Loop
from bot.slack.kit.message_kinds import BOARD, SECOND, Key
from bot.slack.outbox import plain_text
from bot.slack.outbox.outage import Outages
from bot.slack.outbox.rate_limits import LONGEST_SILENCE, RateLimits, Rhythm
from bot.slack.outbox.rows import Outbound, Sent, Tables
from bot.slack.people.roster import Lookups
from bot.slack.web_api.client import SlackApi
from bot.slack.web_api.errors import AUTH, SlackLater, SlackNever, SlackTrouble
from bot.slack.web_api.reply_urls import ReplyUrls
from engine.clock import Clock
from engine.store import queries

log = logging.getLogger(__name__)

REPLY_TRIES = 40  # about half an hour, as long as a person waits for an answer
LONGEST_WAIT = 900.0
AT_ONCE = 10  # calls before the messages are ordered anew
TRIGGER = 3.0  # seconds after the click in which a form can be opened
SKEW = 600.0  # seconds by which Slack's clock may differ from ours
UNEDITABLE = 1_800.0  # seconds between two reposts of a message that cannot be edited
GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
NO_THREAD = frozenset({"cannot_reply_to_message", "message_not_found", "thread_not_found"})
UNREACHABLE = frozenset(
    {
        "channel_not_found",
        "is_archived",
        "is_inactive",
        "no_permission",
        "not_in_channel",
        "restricted_action",
        "restricted_action_non_threadable_channel",
        "restricted_action_read_only_channel",
        "restricted_action_thread_locked",
        "restricted_action_thread_only_channel",
    }
)


class Sender:
    """Sender of the outbox. ``after`` is called with a run to render again (a message was posted,
    or its channel or thread is gone), and with ``None`` when look-ups were made or Slack answers
    again. ``note`` writes into the audit of a run; ``command`` is the beginning of commands."""

    def __init__(
        self,
        tables: Tables,
        api: SlackApi,
        urls: ReplyUrls,
        clock: Clock,
        rhythm: Rhythm,
        after: Callable[[int | None], None],
        note: Callable[[int, str], None],
        command: str,
    ) -> None:
        self.tables, self.api, self.urls, self.clock = tables, api, urls, clock
        self.limits = RateLimits(rhythm)
        self.lookups = Lookups(tables.store, clock)
        self.outages = Outages(tables.store)
        self.after, self.note, self.command = after, note, command
        self.loop = Loop("slack-outbox", self.send_due)
        self._tries: dict[str, int] = {}
        self._unheard = 0  # calls in a row that Slack did not answer
        self._unheard_since = 0.0
        self._looks_at = 0.0  # earliest time to look for a message
        self._reposted: dict[str, float] = {}
        self._unseen: set[str] = set()  # replies whose recipient is not in the channel
        self._noted: set[str] = set()  # messages that were given up
        known = self.outages.latest()
        self._away = known is not None and known.until is None

    def send_due(self) -> float | None:
        """Send everything that may go now; returns the seconds until the next message may."""
        while True:
            asked = self.lookups.ask(self.api)
            if asked:
                self.after(None)
            waiting = self._in_order()
            now = self.clock.monotonic()
            ready = [out_sent[:2] for out_sent in waiting if out_sent[2] <= now]
            for out, sent in ready[:AT_ONCE]:
                self._send_if_due(out, sent)
            late = [out for out, _, at in waiting if out.kind == "form" and at > now + TRIGGER]
            for out in late:
                self._not_opened(out, "ratelimited")
            if ready or asked or late:
                continue  # more may be due, or requested, by now
            if not waiting:
                return None
            return max(0.01, min(at for _, _, at in waiting) - now)

    def _in_order(self) -> list[tuple[Outbound, Sent | None, float]]:
        """Messages that could be sent, most urgent first, each with its earliest time."""
        rows = [(out, sent, self._ready_at(out, sent)) for out, sent in self.tables.sendable()]
        return sorted(rows, key=lambda row: (_urgency(row[0], row[1]), row[0].id))

    def _ready_at(self, out: Outbound, sent: Sent | None) -> float:
        at = self.limits.ready_at(self._method(out, sent), out)
        return max(at, self._looks_at) if sent is None and out.tried is not None else at

    def _send_if_due(self, out: Outbound, sent: Sent | None) -> None:
        """Send a message, unless it was withdrawn, or another message just used up the rate
        limit."""
        method = self._method(out, sent)
        now = self.clock.monotonic()
        if self._ready_at(out, sent) > now or not self.tables.still_wanted(out):
            return
        self.limits.called(method, out, now)
        try:
            self._send(method, out, sent)
        except Exception:
            self.loop.bug(out.key)
            self.limits.failed(out, self.clock.monotonic() + self._next_try(out))

    def _send(self, method: str, out: Outbound, sent: Sent | None) -> None:
        try:
            if out.kind == "form":
                self.api.open_view(out.text, out.blocks[0])
                self.tables.done(out)
            elif out.kind == "reply":
                if self._reply(method, out):
                    self.tables.done(out)
            elif sent is not None:
                self.api.update(sent.channel, sent.ts, *self._content(out))
                self.tables.updated(out, sent)
            elif (stands := self._post(out)) is not None:
                self.tables.posted_as(out, stands)
                self.after(out.run)
            else:
                self.tables.done(out)
        except SlackTrouble as trouble:
            self._failed(method, out, sent, trouble)
            return
        self._heard()
        self.limits.sent(out, self.clock.monotonic())
        self._tries.pop(out.key, None)

    def _content(self, out: Outbound) -> plain_text.Said:
        return plain_text.with_mention(plain_text.content(out, self.command), self.api.mention)

    # --- posts --------------------------------------------------------------------------------

    def _post(self, out: Outbound) -> Sent | None:
        """Post a new message, or find the one that an earlier try posted. ``None``: it is not
        posted, since it was withdrawn or its run was rejected meanwhile."""
        parent = self._parent(out)
        thread, place = parent.ts if parent else None, self._place(out, None)
        found = self._look_for(out, place, thread)
        given_up = out.run is not None and self.tables.runs.given_up(out.run)
        if found is not None or given_up:
            return found
        marks, said = (out.key, out.fingerprint), self._content(out)
        if not self.tables.trying(out, self.clock.now()):
            return None
        try:
            channel, ts = self.api.post(marks, place, *said, thread, out.broadcast)
        except SlackTrouble as trouble:
            if trouble.refused:
                self.tables.not_posted(out)
            raise
        return Sent(out.key, channel, ts, thread, out.fingerprint)

    def _parent(self, out: Outbound) -> Sent | None:
        return self.tables.message(Key.read(out.parent)) if out.parent else None

    def _place(self, out: Outbound, sent: Sent | None) -> str:
        """Channel of the message. A person's channel is known once a message is posted there."""
        posted = sent or self._parent(out)
        return posted.channel if posted else out.channel

    def _look_for(self, out: Outbound, place: str, thread: str | None) -> Sent | None:
        """The message that an earlier try left in the channel; ``None``: none was found."""
        if out.tried is None:
            return None
        marks, oldest = (out.key, out.tried_as), out.tried - SKEW
        try:
            ts = self.api.find(marks, place, thread, oldest)
        except SlackNever as never:
            log.warning("%s may be posted twice: cannot look for it: %s", out.key, never.code)
            return None
        except SlackLater as later:
            if later.code != "ratelimited":
                raise
            # This limits only looking: posts go on.
            self._looks_at = self.clock.monotonic() + (later.seconds or 0.0)
            raise SlackLater("looking for it", later.seconds, refused=True) from later
        if ts is None:
            return None
        log.info("%s is already posted: its answer was lost", out.key)
        return Sent(out.key, place, ts, thread, out.tried_as)

    def _reply(self, method: str, out: Outbound) -> bool:
        """Reply through the response URL while it is valid, else as an ephemeral message in the
        channel, else as a direct message; one way per call, each within its own budget. ``False``:
        this way is closed, try the next."""
        user, (text, blocks) = out.recipient or "", self._content(out)
        try:
            if method == "response_url":
                url = self.urls.use(out.inbox, self.clock.monotonic())
                if url is None:
                    return False
                self.api.respond(url, text, out.thread_ts, blocks, out.replaces)
            elif method == "chat.postEphemeral":
                self.api.ephemeral(out.channel, user, text, out.thread_ts, blocks)
            else:
                marks = (out.key, out.fingerprint)
                self.api.post(marks, user, text, blocks, None, False)
        except SlackNever as never:
            if method == "chat.postMessage" or never.code in plain_text.CONTENT:
                raise
            log.warning("%s of %s failed: %s", method, out.key, never.code)
            if method == "response_url":
                self.urls.drop(out.inbox)
            else:
                self._unseen.add(out.key)
            return False
        self._unseen.discard(out.key)
        return True

    # --- what did not go out ------------------------------------------------------------------

    def _failed(self, method: str, out: Outbound, sent: Sent | None, trouble: SlackTrouble) -> None:
        if trouble.refused and trouble.code not in AUTH:
            self._heard()
        if out.kind == "form":
            # Its trigger expires after 3 s, so a retry is useless.
            if isinstance(trouble, SlackLater) and trouble.seconds:
                self.limits.limited(method, out, self.clock.monotonic() + trouble.seconds)
            self._not_opened(out, trouble.code)
        elif isinstance(trouble, SlackLater):
            self._later(method, out, trouble)
        else:
            self._never(out, sent, trouble)

    def _not_opened(self, out: Outbound, code: str) -> None:
        log.warning("%s was not opened: %s", out.key, code)
        self.tables.form_failed(out, plain_text.form_not_opened(out, code, self.command))

    def _next_try(self, out: Outbound) -> float:
        """Count a failed try; returns the seconds until the next."""
        tries = self._tries[out.key] = self._tries.get(out.key, 0) + 1
        return min(self.limits.rhythm.again * tries, 60.0)

    def _later(self, method: str, out: Outbound, later: SlackLater) -> None:
        wait = self._next_try(out)
        if out.name.kind is BOARD and out.run is not None:
            self.tables.runs.trouble(out.run, later.code)
        if out.kind == "reply" and self._tries[out.key] >= REPLY_TRIES:
            log.warning("no answer reached %s: %s", out.recipient, later.code)
            self.tables.done(out)
            return
        now = self.clock.monotonic()
        if later.code == "ratelimited" and later.seconds is not None:
            self.limits.limited(method, out, now + later.seconds)
            return
        log.warning("%s of %s failed for now: %s", method, out.key, later.code)
        self.limits.failed(out, now + (later.seconds or wait))
        if not later.refused or later.code in AUTH:
            self._not_heard(later)

    def _not_heard(self, later: SlackLater) -> None:
        """Note that Slack did not answer, or rejects our token. From the second time in a row all
        calls wait for a while."""
        self._unheard += 1
        if self._unheard == 1:
            self._unheard_since = self.clock.now()
            return
        if not self._away:
            self._away = True
            self.outages.begin(self._unheard_since, later.code)
            unknown = "install the app again; " if later.code in AUTH else ""
            log.error("Slack does not answer (%s): %sruns continue", later.code, unknown)
        again = min(self.limits.rhythm.again * (self._unheard - 1), LONGEST_SILENCE)
        self.limits.silent(self.clock.monotonic() + again)

    def _heard(self) -> None:
        self._unheard = 0
        if not self._away:
            return
        self._away = False
        log.warning("Slack answers again")
        self.outages.end(self.clock.now())
        self.after(None)

    def _never(self, out: Outbound, sent: Sent | None, never: SlackTrouble) -> None:
        if never.code in plain_text.CONTENT and out.blocks and not out.as_plain_text:
            log.warning("Slack rejected the blocks of %s: %s", out.key, never.code)
            self.tables.send_as_plain_text(out)
            return
        log.warning("%s cannot be sent: %s", out.key, never.code)
        alone = out.run is None and never.code in UNREACHABLE
        if out.kind == "reply" or alone:
            self.tables.done(out)
            return
        run = queries.run(self.tables.store, out.run) if out.run is not None else None
        if run is not None and run.started is None and out.name.kind is BOARD:
            # The run waits for its board, or was rejected without it.
            self.tables.runs.unposted(run.id, never.code)
            self.after(run.id)
            return
        lost = out.run is not None and never.code in UNREACHABLE
        if out.run is not None and lost:
            lost = self.tables.runs.lose(out.run, self._place(out, sent), never.code)
            self.after(out.run)
        if sent is None and out.parent and never.code in NO_THREAD and self._rehang(out):
            return
        if never.code in plain_text.CONTENT:
            self._give_up(out, sent, never.code)
        elif sent is None or lost:
            tries = self._tries[out.key] = self._tries.get(out.key, 0) + 1
            wait = min(60.0 * 2 ** min(tries - 1, 10), LONGEST_WAIT)
            self.limits.failed(out, self.clock.monotonic() + wait)
        elif never.code in GONE:
            self._anew(out, never.code)
        else:
            # The old version stays; otherwise the same content would be tried for ever.
            self.tables.updated(out, sent)

    def _give_up(self, out: Outbound, sent: Sent | None, code: str) -> None:
        """Give up this version, which Slack rejects in every form. The posted version stays; the
        audit notes what was not sent."""
        if out.run is not None and out.key not in self._noted:
            self._noted.add(out.key)
            self.note(out.run, plain_text.given_up(out, code))
        if sent is not None:
            self.tables.updated(out, sent)
        elif out.run is not None:
            self.tables.give_up(out)
        else:
            self.tables.done(out)

    def _anew(self, out: Outbound, code: str) -> None:
        """Post the next version as a new message, because the message was deleted or cannot be
        edited. At most every 30 minutes, unless it was deleted: a workspace may forbid edits."""
        now = self.clock.monotonic()
        last = self._reposted.get(out.key)
        if last is not None and now - last < UNEDITABLE and code != "message_not_found":
            self.limits.failed(out, last + UNEDITABLE)
            return
        self._reposted[out.key] = now
        self.tables.forget(out.name)

    def _rehang(self, out: Outbound) -> bool:
        """Post the thread's first message again, because it was deleted; this message follows.
        ``False``: that was tried less than 30 minutes ago and did not help."""
        now, parent = self.clock.monotonic(), out.parent or ""
        if now - self._reposted.get(parent, -UNEDITABLE) < UNEDITABLE:
            return False
        self._reposted[parent] = now
        self.tables.forget(Key.read(parent))
        if out.run is not None:
            self.tables.runs.watch_again(out.run)
        self.after(out.run)
        return True

    def _method(self, out: Outbound, sent: Sent | None) -> str:
        if out.kind == "form":
            return "views.open"
        if out.kind == "reply":
            if self.urls.has(out.inbox, self.clock.monotonic()):
                return "response_url"
            return "chat.postMessage" if out.key in self._unseen else "chat.postEphemeral"
        return "chat.postMessage" if sent is None else "chat.update"


def _urgency(out: Outbound, sent: Sent | None) -> int:
    """Urgency of a message; a first post is at least ``SECOND``, since people wait for it."""
    return out.priority if sent is not None else min(out.priority, SECOND)
