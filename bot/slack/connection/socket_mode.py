"""Socket Mode: two sockets for the sync Bolt app, each replaced when it is lost.

Theory of operation. One thread runs an event loop with the sockets. Slack sends each envelope over
any one of them. All envelopes go to one dispatching thread, in the order of arrival, so that
waiting for the database never delays a ping. One keeper per socket watches the age of the last
pong, and replaces a socket that is closed, silent or asked to leave, with a back-off. A socket that
is asked to leave stays until its successor is open, unless Slack counts too many. Each socket acks
the envelopes that it received before it closes: one in flight at the close would never be acked.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import time

from slack_bolt import App, BoltRequest
from slack_bolt.adapter.socket_mode.async_internals import send_async_response
from slack_bolt.adapter.socket_mode.internals import build_headers
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from bot.slack.connection.background import Background
from bot.slack.connection.websocket import FULL, Link
from bot.slack.web_api.client import socket_client
from bot.slack.web_api.errors import SlackLater, SlackTrouble

log = logging.getLogger(__name__)

LINKS = 2
PING = 1.0
LOOK = 0.25
LATE = 1.0
OPENING = 10.0
PROVEN = 30.0
DRAIN = 5.0


class Connection(Background):
    """Sockets to Slack. ``connected`` is set by Slack's first hello; ``num_connections`` is the
    number of connections that Slack counted at the last hello."""

    def __init__(self, app: App, app_token: str, base_url: str | None = None) -> None:
        super().__init__(app, "slack-socket")
        self.num_connections = 0
        self._app_token, self._base_url = app_token, base_url
        self._links: set[Link] = set()
        self._closing: dict[Link, asyncio.Task[None]] = {}
        self._lost_at = -WITHIN
        self._opening = asyncio.Lock()

    async def _live(self) -> None:
        keepers = [asyncio.create_task(self._keep()) for _ in range(LINKS)]
        try:
            await self._halt.wait()
        finally:
            await _cancel(keepers)
            await asyncio.gather(*(self._retire(link) for link in tuple(self._links)))
            await _cancel([t for t in asyncio.all_tasks() if t is not asyncio.current_task()])

    # --- one place ----------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep one socket open, replacing it when it is lost."""
        back_off = BackOff()
        link = await self._open(back_off)
        while True:
            trouble = await self._watch(link, back_off)
            log.info("a socket to Slack is replaced: %s", trouble)
            self._lost_at = self._loop.time()
            if link.leaving == FULL:
                await self._retire(link)
            elif not link.leaving:  # it receives nothing any more, and closing may take a while
                self._retire(link)
            fresh = await self._open(back_off)
            self._retire(link)
            link = fresh

    async def _open(self, back_off: BackOff) -> Link:
        """Open a socket and wait for Slack's hello, however long; one is opened at a time."""
        while True:
            await asyncio.sleep(back_off.pause(self._loop.time()))
            async with self._opening:
                link = await self._try(back_off)
            if link is not None:
                return link

    async def _try(self, back_off: BackOff) -> Link | None:
        link = Link(self._app_token, socket_client(self._base_url), self._handle)
        self._links.add(link)
        back_off.tries(self._loop.time())
        try:
            async with asyncio.timeout(OPENING):
                await link.connect()
        except Exception as error:  # any error: without a retry nothing more would be received
            self._unreachable(error, back_off, link)
            return None
        back_off.opened(greeted=self._as_expected(link))
        return link

    def _unreachable(self, error: Exception, back_off: BackOff, link: Link) -> None:
        self._retire(link)
        if link.current_session is not None:
            back_off.opened(greeted=False)
        if isinstance(error, SlackLater) and error.seconds is not None:
            back_off.wait_until(self._loop.time() + error.seconds)
        pause = back_off.pause(self._loop.time())
        # Other errors may contain the socket's address, which holds a secret ticket.
        why = f"{error}" if isinstance(error, SlackTrouble) else type(error).__name__
        log.warning("Slack cannot be reached (%s), trying again in %.0f s", why, pause)

    def _as_expected(self, link: Link) -> bool:
        """Tell whether Slack counts only our sockets. It may count a lost one for a while."""
        ours = sum(one.welcomed.is_set() for one in self._links)
        self.num_connections = link.num_connections
        self.connected.set()
        log.info("Slack said hello: connection %d with this app token", link.num_connections)
        lately = self._loop.time() - self._lost_at < WITHIN
        if link.num_connections <= ours + lately:
            return True
        log.warning(
            "Slack counts %d connections with this app token, but only %d belong to this process."
            " Another VMFerry may be using the token. Slack sends each command and click to only"
            " one connection. Give each VMFerry its own Slack app.",
            link.num_connections,
            ours,
        )
        return False

    async def _watch(self, link: Link, back_off: BackOff) -> str:
        """Wait until the socket must be replaced; returns the reason."""
        opened = looked = self._loop.time()
        pinged = 0.0
        while True:
            now = self._loop.time()
            if now - looked > LATE:
                link.heard = now  # our own delay proves nothing about Slack
            looked = now
            trouble = link.trouble(now)
            if trouble:
                return trouble
            if now - pinged >= PING:
                pinged = now
                if not await link.greet():
                    return "nothing can be sent over it"
            if now - opened > PROVEN:
                back_off.lasted()
            await asyncio.sleep(LOOK)

    # --- the end of a socket --------------------------------------------------------------------

    def _retire(self, link: Link) -> asyncio.Task[None]:
        """Close the socket in the background. Idempotent."""
        if link not in self._closing:
            self._closing[link] = asyncio.create_task(self._close(link))
        return self._closing[link]

    async def _close(self, link: Link) -> None:
        """Wait up to 5 s for the acks of received envelopes, then close."""
        until = self._loop.time() + DRAIN
        while link.in_hand and self._loop.time() < until:
            await asyncio.sleep(0.01)
        await link.close()
        self._links.discard(link)
        self._closing.pop(link, None)

    # --- received envelopes ---------------------------------------------------------------------

    async def _handle(self, client: AsyncBaseSocketModeClient, req: SocketModeRequest) -> None:
        """Run the app on one envelope, and ack it."""
        begun = time()  # only Bolt's debug line shows it
        answer = await self._dispatch(
            lambda: BoltRequest(mode="socket_mode", body=req.payload, headers=build_headers(req))
        )
        await send_async_response(client, req, answer, begun)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


WITHIN, FREE = 600.0, 3
LONGEST_PAUSE, GHOST_PAUSE = 30.0, 60.0


@dataclass
class _Try:
    """A try to open a socket. ``ghost``: it opened, but without the expected hello."""

    at: float
    ghost: bool = False


class BackOff:
    """Back-off of one keeper: its tries, and when the next is allowed."""

    def __init__(self) -> None:
        self._tries: list[_Try] = []
        self._not_before = 0.0

    def pause(self, now: float) -> float:
        """Seconds until the next try is allowed; 0: now."""
        self._tries = [one for one in self._tries if now - one.at < WITHIN]
        due = self._not_before
        if self._tries:
            due = max(due, self._tries[-1].at + self._apart())
        return max(0.0, due - now)

    def _apart(self) -> float:
        tries = len(self._tries)
        if tries == 1:
            return 0.0
        if sum(one.ghost for one in self._tries) >= FREE:
            return GHOST_PAUSE
        return min(2.0 ** (tries - 2), LONGEST_PAUSE)

    def tries(self, now: float) -> None:
        """Note that a try begins."""
        self._tries.append(_Try(now))

    def opened(self, *, greeted: bool) -> None:
        """Note that the try led to a socket; ``greeted``: with the expected hello."""
        self._tries[-1].ghost = not greeted

    def wait_until(self, until: float) -> None:
        """Note the time before which Slack wants no further try."""
        self._not_before = until

    def lasted(self) -> None:
        """Forget earlier tries, except ghosts: the socket has proven itself."""
        self._tries = [one for one in self._tries if one.ghost]
