"""Socket Mode: aiohttp's client, which notices dead sockets, in front of the sync Bolt app.

Theory of operation. A thread of its own runs an event loop with the socket. Each envelope is
handed to one dispatching thread, in the order of arrival, so that waiting for the database never
delays a ping. ``stop`` first lets the envelopes in hand be acked, then closes: an envelope that
is in flight at a close would never be acked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from time import time

from aiohttp import WSMessage, WSMsgType
from slack_bolt import App, BoltRequest
from slack_bolt.adapter.socket_mode.aiohttp import SocketModeHandler
from slack_bolt.adapter.socket_mode.async_internals import send_async_response
from slack_bolt.adapter.socket_mode.internals import build_headers
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bot.slack.app import dispatch
from bot.slack.slack_api import socket_client

log = logging.getLogger(__name__)

PING = 2.0
DRAIN = 5.0
LONGEST_PAUSE = 30.0


class _Handler(SocketModeHandler):
    """Dispatches in one thread beside the event loop and counts what is in hand."""

    def __init__(self, app: App, app_token: str, base_url: str | None) -> None:
        client = socket_client(base_url)
        super().__init__(app, app_token, web_client=client, ping_interval=PING)
        self.client.proxy = client.proxy
        self.in_hand = 0
        self._dispatching = ThreadPoolExecutor(1, thread_name_prefix="slack-dispatch")

    async def handle(self, client: SocketModeClient, req: SocketModeRequest) -> None:  # type: ignore[override]
        """One envelope: run the app, ack."""
        begun = time()  # only Bolt's debug line shows it
        self.in_hand += 1
        try:
            loop = asyncio.get_running_loop()
            request = BoltRequest(mode="socket_mode", body=req.payload, headers=build_headers(req))
            answer = await loop.run_in_executor(self._dispatching, dispatch, self.app, request)
            await send_async_response(client, req, answer, begun)
        finally:
            self.in_hand -= 1

    async def drain(self) -> None:
        """Wait until nothing is in hand; called before a close."""
        quiet = 0
        for _ in range(int(DRAIN / 0.01)):
            idle = not self.in_hand and self.client.message_queue.empty()
            quiet = quiet + 1 if idle else 0
            if quiet == 3:  # an envelope may be between the queue and the count
                break
            await asyncio.sleep(0.01)
        self._dispatching.shutdown(wait=True)


class Connection:
    """One Socket Mode connection. ``connected`` is set once Slack has said hello; whether the
    socket is alive right now only the age of its last pong tells."""

    def __init__(self, app: App, app_token: str, base_url: str | None = None) -> None:
        self.connected = threading.Event()
        self.num_connections = 0
        self._app, self._app_token, self._base_url = app, app_token, base_url
        self._loop = asyncio.new_event_loop()
        self._halt = asyncio.Event()
        self._handler: _Handler | None = None
        self._thread = threading.Thread(target=self._run, name="slack-socket", daemon=True)

    @property
    def in_hand(self) -> int:
        """Envelopes that were received and are not acked yet."""
        return self._handler.in_hand if self._handler else 0

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        self._thread.start()

    def stop(self, timeout: float = 15.0) -> None:
        """Ack what is in hand, close, end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._halt.set)
            self._thread.join(timeout)
        self.connected.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._live())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        except Exception:
            log.exception("the connection to Slack ended")
        finally:
            self._loop.close()

    async def _live(self) -> None:
        handler = self._handler = _Handler(self._app, self._app_token, self._base_url)
        handler.client.on_message_listeners.append(self._heard)
        try:
            await self._connect(handler)
            await self._halt.wait()
            await handler.drain()
        finally:
            await _close(handler)

    async def _connect(self, handler: _Handler) -> None:
        """The first connection; later ones are the client's own business."""
        pause = 1.0
        while not self._halt.is_set():
            try:
                await handler.connect_async()  # type: ignore[no-untyped-call]
                return
            except Exception as error:
                log.warning("Slack cannot be reached (%s), trying again in %.0f s", error, pause)
            try:
                await asyncio.wait_for(self._halt.wait(), pause)
            except TimeoutError:
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _heard(self, message: WSMessage) -> None:
        if message.type != WSMsgType.TEXT or '"hello"' not in message.data:
            return
        frame = json.loads(message.data)
        if frame.get("type") == "hello":
            self.num_connections = int(frame.get("num_connections") or 0)
            self.connected.set()


async def _close(handler: _Handler) -> None:
    """Close, and wait for what the client leaves behind: its cancelled loops."""
    try:
        await handler.close_async()  # type: ignore[no-untyped-call]
    except Exception as error:
        log.warning("closing the connection to Slack: %s", error)
    left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
    for one in left:
        one.cancel()
    await asyncio.gather(*left, return_exceptions=True)
