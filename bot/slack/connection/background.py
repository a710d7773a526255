"""An event loop in its own thread, with one more thread that runs the Bolt app."""

from __future__ import annotations

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from slack_bolt import App, BoltRequest, BoltResponse

from bot.slack.connection.bolt_app import dispatch

log = logging.getLogger(__name__)


class Background(ABC):
    """A connection through which Slack reaches the app. ``connected`` is set once it is up.
    ``in_hand``: the number of requests that the app has not answered yet."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, app: App, name: str) -> None:
        self.connected = threading.Event()
        self._app = app
        self._halt = asyncio.Event()
        self.in_hand = 0
        self._dispatching = ThreadPoolExecutor(1, thread_name_prefix="slack-dispatch")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    async def _live(self) -> None:
        """Listen until ``_halt`` is set, then ack the received envelopes and close."""

    def start(self) -> None:
        """Start to listen."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def stop(self, timeout: float = 15.0) -> None:
        """Ack the received envelopes, close, and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._halt.set)
            self._thread.join(timeout)
        self.connected.clear()

    async def _dispatch(self, request: Callable[[], BoltRequest]) -> BoltResponse:
        """Run the app in its thread, so that waiting for the database delays no ping."""
        self.in_hand += 1
        try:
            return await self._loop.run_in_executor(self._dispatching, dispatch, self._app, request)
        finally:
            self.in_hand -= 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except Exception:
            log.exception("%s ended", self._thread.name)
        finally:
            self._dispatching.shutdown(wait=True)
            self._loop.close()
