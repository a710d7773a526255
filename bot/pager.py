"""Pager outside Slack: a Slack ping wakes nobody who has Do Not Disturb on.

Each cause is one HTTP POST, kept in a row and sent by a thread of its own, so that a pager that
does not answer blocks nothing. Failed calls are retried at growing intervals and given up after
some hours. A kill between call and row repeats the call: ``key`` in the body identifies it. The
address may contain a key, so it is never in a row or in the log.
"""

from __future__ import annotations

import http.client
import json
import logging
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from bot.slack.kit.loop import Loop
from bot.slack.schema import create_tables
from engine.clock import Clock
from engine.store.database import Database
from engine.store.store import Store

log = logging.getLogger(__name__)

TIMEOUT = 5.0
TRIES, LONGEST = 20, 900.0  # about three and a half hours
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Page:
    """One cause to wake somebody, as it is sent. ``key`` stays the same when the call is
    repeated."""

    key: str
    event: str
    run: str
    text: str


class Pages:
    """Rows of pages. Without a pager, none is written."""

    def __init__(self, store: Store, wall: Clock, wanted: bool) -> None:
        self.store, self.wall, self.wanted = store, wall, wanted
        create_tables(store)

    def put(self, db: Database, page: Page) -> bool:
        """Add a page, once for each key; returns whether it is new. Writes inside the caller's
        transaction."""
        if not self.wanted:
            return False
        written = db.execute(
            "INSERT INTO slack_pages (key, body, due) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            [page.key, json.dumps(asdict(page)), self.wall.now()],
        )
        return written == 1

    def next_due(self) -> tuple[str, str, float, int] | None:
        """Key, body, due time and number of tries of the next page to send. No page is due later
        than ``LONGEST`` from now: if it seems to be, the clock was set back and the page is due
        at once."""
        now = self.wall.now()
        rows = self.store.query(
            "SELECT key, body, tries, CASE WHEN due > ? THEN ? ELSE due END AS due"
            " FROM slack_pages WHERE done IS NULL ORDER BY 4, slack_pages.due, key LIMIT 1",
            [now + LONGEST, now],
        )
        return next(((r["key"], r["body"], r["due"], r["tries"]) for r in rows), None)

    def sent(self, key: str) -> None:
        """Note that the pager accepted the page."""
        self._set("done = ?", self.wall.now(), key)

    def failed(self, key: str, again: float) -> None:
        """Note that the pager did not accept the page; try again at ``again``."""
        self._set("tries = tries + 1, due = ?", again, key)

    def _set(self, change: str, value: float, key: str) -> None:
        with self.store.transaction() as db:
            db.execute(f"UPDATE slack_pages SET {change} WHERE key = ?", [value, key])


class Pager:
    """Thread that sends due pages. ``again``: seconds before the first retry."""

    def __init__(self, pages: Pages, url: str, again: float = 5.0) -> None:
        self.pages, self.again = pages, again
        self._url, self._taken = url, ""
        self.loop = Loop("slack-pager", self.send_due)

    def send_due(self) -> float | None:
        """Send every due page; returns the seconds until the next one. Stops between two pages when
        asked to: a hanging pager takes seconds for each."""
        wall = self.pages.wall
        while self._url and not self.loop.stopped and (page := self.pages.next_due()) is not None:
            key, body, due, tries = page
            wait = due - wall.now()
            if wait > 0:
                return wait
            trouble = "" if key == self._taken else self._post(body)
            if not trouble:
                self._taken = key  # if this cannot be written down now, it is not called again
                self.pages.sent(key)
            elif tries + 1 >= TRIES:
                log.error("the pager was not reached for %s in %d tries: %s", key, TRIES, trouble)
                self.pages.sent(key)
            else:
                log.warning("the pager was not reached for %s: %s", key, trouble)
                pause = min(self.again * 2**tries, LONGEST)
                self.pages.failed(key, wall.now() + pause)
        return None

    def _post(self, body: str) -> str:
        """Make one call. Returns the error without the address, or an empty text on success."""
        request = urllib.request.Request(
            self._url,
            data=body.encode(),
            headers={"Content-Type": "application/json", "User-Agent": "vmferry"},
            method="POST",
        )
        local = urlsplit(self._url).hostname in LOCAL
        proxies = [urllib.request.ProxyHandler({})] if local else []
        opener = urllib.request.build_opener(_NoRedirect, *proxies)
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                return "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"
        except urllib.error.HTTPError as error:
            error.close()
            return f"HTTP {error.code}"
        except urllib.error.URLError as error:
            return type(error.reason).__name__
        except (OSError, http.client.HTTPException, ValueError) as error:
            return type(error).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirect handler that refuses: nobody configured the other address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
