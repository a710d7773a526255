"""A stand-in of Slack that fails on demand: errors, lost answers, archived channels, outages."""

from __future__ import annotations

from collections.abc import Callable

from bot.standin.slack import Standin
from bot.standin.values import Channel, Refusal
from bot.standin.workspace import RESPONSE


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
