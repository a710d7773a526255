"""The Slack side of VMFerry as one object: started after the engine, stopped before it."""

from __future__ import annotations

from types import TracebackType

from bot.slack.app import build_app
from bot.slack.connection import Connection
from bot.slack.listeners import Listeners
from bot.slack.outbox import Outbox, Rhythm
from bot.slack.slack_api import ReplyUrls, SlackApi, web_client
from bot.slack.tables import Tables
from bot.slack.teller import Teller
from bot.slack.worker import Worker
from engine.clock import Clock, SystemClock
from engine.errors import Refused
from engine.service import Service
from engine.settings import Settings
from engine.store.store import Store


class SlackSide:
    """Connection, worker, teller and outbox around one store.

    ``clock`` is the engine's; Slack itself is paced by the wall (``rhythm``). ``base_url`` names
    another Slack than Slack's own: the stand-in. Raises ``Refused`` where a token is missing.
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
    ) -> None:
        wall, pace = SystemClock(), rhythm or Rhythm()
        urls = ReplyUrls()
        bot_token, app_token = _tokens(settings)
        client = web_client(bot_token, base_url)
        self.tables = Tables(store)
        self.outbox = Outbox(self.tables, SlackApi(client), urls, wall, pace, self._posted)
        self.teller = Teller(
            self.tables, service, settings, clock, wall, pace, self.outbox.loop.knock
        )
        self.worker = Worker(self.tables, service, settings, clock, self._worked)
        command = settings.slack.command
        listeners = Listeners(self.tables, urls, clock, command, self.worker.loop.knock)
        self.app = build_app(listeners, web_client(None, base_url), bot_token, command)
        self.connection = Connection(self.app, app_token, base_url)

    def start(self) -> None:
        """Say what is still to be said, then listen. ``connection.connected`` tells when."""
        for loop in (self.outbox.loop, self.teller.loop, self.worker.loop):
            loop.start()
        self.connection.start()

    def stop(self) -> None:
        """Listen no more (what is in hand is acked), finish the row in hand, end the threads.

        Rows that are left are worked off at the next start.
        """
        self.connection.stop()
        for loop in (self.worker.loop, self.teller.loop, self.outbox.loop):
            loop.stop()

    def __enter__(self) -> SlackSide:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def bugs(self) -> int:
        """How many steps of the threads failed in a way that nobody foresaw."""
        return self.worker.loop.bugs + self.teller.loop.bugs + self.outbox.loop.bugs

    def _worked(self, run: int | None) -> None:
        self.outbox.loop.knock()
        self.teller.look_at(run)

    def _posted(self, run: int | None) -> None:
        self.teller.look_at(run)


def _tokens(settings: Settings) -> tuple[str, str]:
    """Bot token and app token, or which one is missing and where it belongs."""
    bot_token = settings.slack.bot_token.get_secret_value()
    app_token = settings.slack.app_token.get_secret_value()
    for name, value, start in (
        ("bot_token", bot_token, "xoxb-"),
        ("app_token", app_token, "xapp-"),
    ):
        if not value.startswith(start):
            raise Refused(
                f"The setting slack.{name} is no token that begins with {start}.",
                what=name,
                hint=f"Set VMFERRY_SLACK__{name.upper()}.",
            )
    return bot_token, app_token
