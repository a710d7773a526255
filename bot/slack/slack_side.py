"""The Slack side of VMFerry as one object: started after the engine, stopped before it."""

from __future__ import annotations

import threading

from bot.pager import Pager
from bot.slack.connection.bolt_app import build_app
from bot.slack.connection.http_mode import HttpMode
from bot.slack.connection.socket_mode import Connection
from bot.slack.handlers.worker import Worker
from bot.slack.inbox.listeners import Listeners
from bot.slack.messages.publisher import Publisher
from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.outbox.rows import Tables
from bot.slack.outbox.sender import Sender
from bot.slack.setup import checks
from bot.slack.web_api.client import SlackApi, web_client
from bot.slack.web_api.reply_urls import ReplyUrls
from engine.clock import Clock, SystemClock
from engine.commands.service import Service
from engine.settings import Settings
from engine.store.store import Store


class SlackSide:
    """Connection, worker, publisher, sender and pager around one store.

    ``clock`` is the engine's; calls to Slack follow ``wall`` (the machine's clock) and ``rhythm``.
    ``base_url``: another Slack than that of the settings. Raises ``Refused`` if a token is missing.
    """

    def __init__(
        self,
        store: Store,
        service: Service,
        settings: Settings,
        clock: Clock,
        *,
        base_url: str | None = None,
        rhythm: Rhythm | None = None,
        wall: Clock | None = None,
    ) -> None:
        self._wall = wall = wall or SystemClock()
        urls, rhythm = ReplyUrls(), rhythm or Rhythm()
        slack = settings.slack
        checks.refuse([*checks.missing(slack).values()])
        bot_token, url = slack.bot_token.get_secret_value(), base_url or slack.api_url
        client = web_client(bot_token, url)
        self.tables = Tables(store)
        callbacks = (self._posted, service.note, slack.command)
        self.outbox = Sender(self.tables, SlackApi(client), urls, wall, rhythm, *callbacks)
        self.publisher = Publisher(
            self.tables, service, settings, clock, wall, rhythm, self._published
        )
        url_of_pager = settings.pager.url.get_secret_value()
        self.pager = Pager(self.publisher.pages, url_of_pager, rhythm.again)
        self.worker = Worker(
            self.tables, service, settings, clock, self._worked, wall, rhythm.patience
        )
        self._loops = (self.worker.loop, self.publisher.loop, self.outbox.loop, self.pager.loop)
        listeners = Listeners(
            self.tables.inbox, urls, clock, slack.command, self.worker.loop.knock, wall
        )
        by_http = slack.mode == "http"
        secret = slack.signing_secret.get_secret_value() if by_http else ""
        self.app = build_app(listeners, web_client(None, url), bot_token, slack.command, secret)
        self.connection: Connection | HttpMode
        if by_http:
            self.connection = HttpMode(self.app, slack.listen, slack.port)
        else:
            self.connection = Connection(self.app, slack.app_token.get_secret_value(), url)

    def start(self) -> None:
        """Start to listen and to send queued messages; ``connection.connected`` is set once it is
        connected. Raises ``Refused`` if the address for HTTP mode is not available."""
        self.connection.start()
        self.publisher.roster.want_home()
        for loop in reversed(self._loops):
            loop.start()

    def stop(self, last_words: float = 0.0) -> None:
        """Stop listening (received envelopes are acked), finish the current row, end the threads.

        ``last_words``: the longest time, in seconds, to send queued messages first. Inbox rows that
        are left are handled after the next start.
        """
        self.connection.stop()
        self.worker.loop.stop()
        until = self._wall.monotonic() + last_words
        while self.tables.outbound() and self._wall.monotonic() < until:
            self._wall.wait(threading.Event(), 0.05)
        for loop in self._loops:
            loop.stop()

    def __enter__(self) -> SlackSide:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bugs(self) -> int:
        """Number of unexpected exceptions in the threads."""
        return sum(loop.bugs for loop in self._loops)

    def _published(self) -> None:
        self.outbox.loop.knock()
        self.pager.loop.knock()

    def _worked(self, run: int | None) -> None:
        self.outbox.loop.knock()
        self.publisher.look_at(run)

    def _posted(self, run: int | None) -> None:
        self.publisher.look_at(run)
