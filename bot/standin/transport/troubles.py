"""Troubles of Slack, on order: limits, lost answers, channels that close, outages."""

from __future__ import annotations

from collections.abc import Callable

from bot.standin.transport.server import Server
from bot.standin.values import Channel, Refusal
from bot.standin.workspace import RESPONSE


class Troubles(Server):
    """A server that somebody can make trouble with."""

    @property
    def limited(self) -> int:
        """Number of calls that were answered with 429."""
        with self._changed:
            return sum(call.status == 429 for call in self.workspace.calls)

    def order(self, method: str, error: str, *, retry_after: int = 1, times: int = 1) -> None:
        """Answer the next calls of ``method`` with this error (429 where it is ratelimited, and at
        a response_url)."""
        status = 429 if error == "ratelimited" or method == RESPONSE else 200
        with self._changed:
            for _ in range(times):
                no = Refusal(error, status=status, retry_after=retry_after)
                self.workspace.orders[method].append(no)

    def lose_answer(self, method: str, times: int = 1) -> None:
        """Carry the next calls of ``method`` out, and drop the connection without an answer."""
        with self._changed:
            self.workspace.lose_answer[method] += times

    def lose_request(self, method: str, times: int = 1) -> None:
        """Drop the connection at the next calls of ``method``: nothing is carried out."""
        with self._changed:
            self.workspace.lose_request[method] += times

    # --- channels -------------------------------------------------------------------------

    def archive(self, channel: str) -> None:
        """Archive a channel: nothing can be posted or changed in it any more."""
        self._change(channel, lambda room: setattr(room, "archived", True))

    def unarchive(self, channel: str) -> None:
        """Unarchive a channel: it is as it was."""
        self._change(channel, lambda room: setattr(room, "archived", False))

    def kick(self, channel: str, user: str = "") -> None:
        """Remove the bot, or somebody else."""
        who = user or self.workspace.bot_user
        self._change(channel, lambda room: room.members.discard(who))

    def invite(self, channel: str, user: str = "") -> None:
        """Let the bot in, or somebody else."""
        self._change(channel, lambda room: room.members.add(user or self.workspace.bot_user))

    def share(self, channel: str) -> None:
        """Share it with another organisation."""
        self._change(channel, lambda room: setattr(room, "shared", True))

    def delete(self, channel: str) -> None:
        """Delete it with everything in it."""
        with self._changed:
            del self.workspace.channels[channel]
            for key in [key for key in self.workspace.messages if key[0] == channel]:
                del self.workspace.messages[key]
            self._changed.notify_all()

    def _change(self, channel: str, change: Callable[[Channel], object]) -> None:
        with self._changed:
            change(self.workspace.channels[channel])
            self._changed.notify_all()

    # --- the whole of it ------------------------------------------------------------------

    def revoke(self) -> None:
        """Remove the app: its bot token is good for nothing. The app-level token is not concerned:
        sockets can still be opened."""
        with self._changed:
            self.workspace.revoked = True

    def install(self) -> None:
        """Install the app again; it has the same token."""
        with self._changed:
            self.workspace.revoked = False

    def down(self, *, close: bool = False) -> None:
        """Answer everything over HTTP with 503 and a page; ``close`` the sockets as well."""
        self._down = True
        if close:
            self.hang_up()

    def up(self) -> None:
        """All is well again."""
        self._down = False
