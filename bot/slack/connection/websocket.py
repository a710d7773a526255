"""One socket to Slack, from open to close. It never opens another one by itself.

Built on slack_sdk's aiohttp client, but opens the socket itself: the client would retry a used-up
address without end, and closes a dead socket before it opens the next.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientError, ClientWSTimeout, WSMessage, WSMsgType
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.web_api.client import socket_address

log = logging.getLogger(__name__)

CLOSING = 2.0
SILENT = 3.5
FULL = "too_many_websockets"

Handle = Callable[[AsyncBaseSocketModeClient, SocketModeRequest], Awaitable[None]]


class Link(SocketModeClient):
    """One socket. ``welcomed`` is set by Slack's hello; ``num_connections``: Slack's count then.

    ``leaving``: Slack's reason for wanting another socket; empty: it does not. ``in_hand``: the
    number of envelopes that were received and are not acked yet.
    """

    def __init__(self, app_token: str, web: AsyncWebClient, handle: Handle) -> None:
        super().__init__(
            app_token, logging.getLogger("slack_sdk.socket_mode"), web, auto_reconnect_enabled=False
        )
        self.proxy = web.proxy
        self.welcomed = asyncio.Event()
        self.num_connections = self.in_hand = 0
        self.leaving = ""
        self.heard = 0.0
        self.socket_mode_request_listeners.append(handle)
        self.on_message_listeners.append(self._frame)

    async def connect(self) -> None:
        """Open the socket and wait for the hello. Raises ``SlackTrouble``, ``OSError`` and
        ``ClientError``."""
        self.wss_uri = await socket_address(self.web_client, self.app_token)
        self.current_session = await self.aiohttp_client_session.ws_connect(
            self.wss_uri,
            autoping=False,
            proxy=self.proxy,
            timeout=ClientWSTimeout(ws_close=CLOSING),
        )
        self.heard = _now()
        self.message_receiver = asyncio.ensure_future(self.receive_messages())
        await self.welcomed.wait()

    async def connect_to_new_endpoint(self, force: bool = False) -> None:
        """Ignore the client's request for another socket: the keeper decides that."""

    async def greet(self) -> bool:
        """Send a ping, whose pong :meth:`trouble` checks; ``False``: it could not be sent."""
        assert self.current_session is not None
        try:
            async with asyncio.timeout(1.0):
                await self.current_session.ping(f"sdk-ping-pong:{_now()}".encode())
        except (OSError, ClientError, RuntimeError):
            return False
        return True

    async def close(self) -> None:
        """Say goodbye and close. Frees everything even if the goodbye fails or gets no answer; the
        client's own close would leave its connection and tasks open then."""
        self.closed = True
        try:
            async with asyncio.timeout(2 * CLOSING):
                await self.disconnect()  # type: ignore[no-untyped-call]
        except Exception as error:
            log.warning("closing a socket to Slack: %s", type(error).__name__)
        for task in (self.message_processor, self.message_receiver):
            if task is not None:
                task.cancel()
        await self.aiohttp_client_session.close()

    def trouble(self, now: float) -> str:
        """Reason why this socket must be replaced; empty: none. The age of the last pong counts,
        not the socket's state, which looks open long after the other end is gone."""
        if self.leaving:
            return f"Slack wants another one ({self.leaving})"
        if self.current_session is None or self.current_session.closed:
            return "it was closed"
        silent = now - max(self.heard, self.last_ping_pong_time or 0.0)
        return f"it has been silent for {silent:.1f} s" if silent > SILENT else ""

    async def enqueue_message(self, message: str) -> None:
        """Count an envelope to be acked, from its arrival on."""
        self.in_hand += _is_envelope(message)
        await super().enqueue_message(message)

    async def run_message_listeners(self, message: dict[str, Any], raw_message: str) -> None:
        """Handle one message, then count its envelope off."""
        try:
            await super().run_message_listeners(message, raw_message)
        finally:
            self.in_hand -= _is_envelope(raw_message)

    async def _frame(self, message: WSMessage) -> None:
        if message.type is not WSMsgType.TEXT or _is_envelope(message.data):
            return
        frame = json.loads(message.data)
        if frame.get("type") == "hello":
            self.num_connections = int(frame.get("num_connections") or 0)
            self.welcomed.set()
        elif frame.get("type") == "disconnect":
            self.leaving = str(frame.get("reason") or "disconnect")


def _is_envelope(text: str) -> bool:
    return '"envelope_id"' in text


def _now() -> float:
    return asyncio.get_running_loop().time()
