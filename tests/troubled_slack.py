"""A stand-in of Slack that fails on demand: errors, lost answers, archived channels, outages."""

from __future__ import annotations

import asyncio
import socket as socket_module
import struct
from collections.abc import Callable

from aiohttp import web

from bot.standin.slack import Standin
from bot.standin.transport.sockets import goodbye
from bot.standin.values import Channel, Refusal
from bot.standin.workspace import RESPONSE

AT_ONCE = struct.pack("ii", 1, 0)


class TroubledSlack(Standin):
    """The stand-in with failures on demand."""

    @property
    def limited(self) -> int:
        """Number of calls answered with 429."""
        with self._changed:
            return sum(call.status == 429 for call in self.workspace.calls)

    def order(self, method: str, error: str, *, retry_after: int = 1, times: int = 1) -> None:
        """Answer the next calls of ``method`` with this error (HTTP status 429 for ratelimited and
        for a response_url)."""
        status = 429 if error == "ratelimited" or method == RESPONSE else 200
        with self._changed:
            for _ in range(times):
                no = Refusal(error, status=status, retry_after=retry_after)
                self.workspace.orders[method].append(no)

    def lose_answer(self, method: str, times: int = 1) -> None:
        """Carry out the next calls of ``method``, and drop the connection without an answer."""
        with self._changed:
            self.workspace.lose_answer[method] += times

    def lose_request(self, method: str, times: int = 1) -> None:
        """Drop the connection at the next calls of ``method`` without carrying them out."""
        with self._changed:
            self.workspace.lose_request[method] += times

    # --- channels -------------------------------------------------------------------------

    def archive(self, channel: str) -> None:
        """Archive a channel: no message can be posted or changed in it."""
        self._change(channel, lambda room: setattr(room, "archived", True))

    def unarchive(self, channel: str) -> None:
        """Unarchive a channel."""
        self._change(channel, lambda room: setattr(room, "archived", False))

    def kick(self, channel: str, user: str = "") -> None:
        """Remove a user, by default the bot."""
        who = user or self.workspace.bot_user
        self._change(channel, lambda room: room.members.discard(who))

    def invite(self, channel: str, user: str = "") -> None:
        """Add a user, by default the bot."""
        self._change(channel, lambda room: room.members.add(user or self.workspace.bot_user))

    def share(self, channel: str) -> None:
        """Share a channel with another organisation."""
        self._change(channel, lambda room: setattr(room, "shared", True))

    def delete(self, channel: str) -> None:
        """Delete a channel and its messages."""
        with self._changed:
            del self.workspace.channels[channel]
            for key in [key for key in self.workspace.messages if key[0] == channel]:
                del self.workspace.messages[key]
            self._changed.notify_all()

    def _change(self, channel: str, change: Callable[[Channel], object]) -> None:
        with self._changed:
            change(self.workspace.channels[channel])
            self._changed.notify_all()

    # --- the whole workspace --------------------------------------------------------------

    def revoke(self) -> None:
        """Remove the app: its bot token becomes invalid. The app-level token stays valid, so
        sockets can still be opened."""
        with self._changed:
            self.workspace.revoked = True

    def install(self) -> None:
        """Install the app again, with the same token."""
        with self._changed:
            self.workspace.revoked = False

    def down(self, *, close: bool = False) -> None:
        """Answer all HTTP requests with 503 and an HTML page. ``close`` also closes the sockets."""
        self._down = True
        if close:
            self.hang_up()

    def up(self) -> None:
        """End the outage."""
        self._down = False

    # --- sockets --------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Close all sockets, as Slack does to make clients reconnect."""
        open_now = self._open_now()
        for socket in open_now:
            asyncio.run_coroutine_threadsafe(socket.close(), self._loop)
        self.wait_for(lambda: not set(open_now) & set(self._sockets))

    def fall_silent(self) -> None:
        """Cut the line: sockets stay open, but nothing arrives."""
        with self._changed:
            self._silent |= set(self._sockets)

    def drop(self, *, reset: bool = True) -> None:
        """Break all connections without a close frame: by RST (``reset``) or by FIN."""
        open_now = self._open_now()
        for socket in open_now:
            self._loop.call_soon_threadsafe(self._break, socket, reset)
        self.wait_for(lambda: not set(open_now) & set(self._sockets))

    def say_disconnect(self, reason: str = "refresh_requested") -> None:
        """Send a disconnect message to all sockets: ``warning``, ``refresh_requested``,
        ``link_disabled`` or ``too_many_websockets``. The client has to close the socket."""
        frame = goodbye(reason)
        for socket in self._open_now():
            asyncio.run_coroutine_threadsafe(socket.send_json(frame), self._loop).result(10)

    def _open_now(self) -> tuple[web.WebSocketResponse, ...]:
        with self._changed:
            return tuple(self._sockets)

    def _break(self, socket: web.WebSocketResponse, reset: bool) -> None:
        transport = self._sockets.get(socket)
        if transport is None:
            return
        if not reset:
            transport.close()
            return
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, AT_ONCE)
        transport.abort()
