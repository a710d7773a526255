"""Pages by HTTP, for people whom Slack cannot wake because they have Do Not Disturb on.

Each cause is one HTTP POST, kept in a row and sent by a thread of its own, so that a pager that
does not answer blocks nothing. Failed calls are retried at growing intervals, up to ``TRIES`` in
all. A kill after a call and before its row is written repeats the call with the same ``key``. The
address may contain a secret, so it is never written to a row or to the log.
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
    """One call to the pager, as it is sent. ``key`` stays the same when the call is repeated."""

    key: str
    event: str
    run: str
    text: str


class Pages:
    """Rows of pages. ``wanted``: a pager is configured. Without a pager no row is written."""

    def __init__(self, store: Store, wall: Clock, wanted: bool) -> None:
        self.store, self.wall, self.wanted = store, wall, wanted
        create_tables(store)

    def put(self, db: Database, page: Page) -> bool:
        """Add a page inside the caller's transaction. Returns whether its key is new. Idempotent
        for each key."""
        if not self.wanted:
            return False
        written = db.execute(
            "INSERT INTO slack_pages (key, body, due) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            [page.key, json.dumps(asdict(page)), self.wall.now()],
        )
        return written == 1

    def next_due(self) -> tuple[str, str, float, int] | None:
        """Return key, body, due time and number of tries of the next page, or ``None``. If a page
        is due more than ``LONGEST`` seconds from now, the clock was set back and it is due now."""
        now = self.wall.now()
        rows = self.store.query(
            "SELECT key, body, tries, CASE WHEN due > ? THEN ? ELSE due END AS due"
            " FROM slack_pages WHERE done IS NULL ORDER BY 4, slack_pages.due, key LIMIT 1",
            [now + LONGEST, now],
        )
        return next(((r["key"], r["body"], r["due"], r["tries"]) for r in rows), None)

    def sent(self, key: str) -> None:
        """Mark the page as done: the pager accepted it, or it was given up."""
        self._set("done = ?", self.wall.now(), key)

    def failed(self, key: str, again: float) -> None:
        """Count a failed call. The next try is due at ``again`` (Unix seconds UTC)."""
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
        """Send every due page. Returns the seconds until the next one, or ``None``. A stop takes
        effect between two pages, because each may take ``TIMEOUT`` seconds."""
        wall = self.pages.wall
        while self._url and not self.loop.stopped and (page := self.pages.next_due()) is not None:
            key, body, due, tries = page
            wait = due - wall.now()
            if wait > 0:
                return wait
            trouble = "" if key == self._taken else self._post(body)
            if not trouble:
                self._taken = key  # if its row cannot be written now, do not call again
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
    """Redirect handler that follows no redirect: nobody configured the other address."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
