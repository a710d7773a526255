"""Socket Mode of the stand-in: connections, envelopes, events and connection failures. Slack
repeats an event until it is acked; it never repeats a click."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import WSMsgType, web

from bot.standin import payloads
from bot.standin.transport.signed import posted, request_of
from bot.standin.values import Json
from bot.standin.workspace import WALL, Workspace

T = TypeVar("T")
MOST = 10
AGAIN = (0.0, 60.0, 300.0)
LOOK = 0.02
ANSWERED = ("view_submission", "block_suggestion")


class NotAcked(Exception):
    """No ack in time: Slack shows the person that the app did not respond."""


@dataclass(frozen=True)
class Acked:
    """The ack of one envelope."""

    at: float
    payload: Json

    @property
    def text(self) -> str:
        """Text that the person sees at once, empty for a bare ack."""
        return str(self.payload.get("text") or "")


@dataclass
class Sent:
    """An event and its envelopes so far. ``over``: no more retries."""

    event_id: str
    envelopes: list[str] = field(default_factory=list)
    over: bool = False


def _frame(kind: str, payload: Json, envelope: str, attempt: int = 0) -> dict[str, object]:
    frame = {
        "envelope_id": envelope,
        "type": kind,
        "payload": payload,
        "accepts_response_payload": kind == "slash_commands" or payload.get("type") in ANSWERED,
    }
    if kind == "events_api":
        frame |= {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
    return frame


def goodbye(reason: str) -> dict[str, object]:
    """The message with which Slack announces that it ends a connection."""
    return {"type": "disconnect", "reason": reason, "debug_info": {"host": "stand-in"}}


class Sockets:
    """The open connections. ``others`` counts sockets of other processes and stale sockets of ours
    in Slack's books: they take their turn, and what is sent to them is lost. ``http``: URL and
    signing secret of an app in HTTP mode, which then receives everything."""

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self, workspace: Workspace, ack_within: float, trigger_life: float, patience: float
    ) -> None:
        self.workspace = workspace
        self.ack_within, self.trigger_life = ack_within, trigger_life
        self.patience = patience
        self.others = 0
        self.http: tuple[str, str] | None = None
        self._changed = workspace.changed
        self._sockets: dict[web.WebSocketResponse, asyncio.Transport | None] = {}
        self._silent: set[web.WebSocketResponse] = set()
        self._tickets: set[str] = set()
        self._acks: dict[str, list[Acked]] = {}
        self._turns = itertools.count()
        self._numbers = itertools.count(1)

    @property
    def sockets(self) -> int:
        """Number of open Socket Mode connections."""
        return len(self._sockets)

    def wait_for(self, question: Callable[[], T], timeout: float | None = None) -> T:
        """Wait for a true answer to ``question``. See ``Workspace.wait_for``."""
        return self.workspace.wait_for(question, self.patience if timeout is None else timeout)

    # --- envelopes ------------------------------------------------------------------------

    def deliver(self, kind: str, payload: Json, envelope: str | None = None) -> Acked:
        """Send one envelope over one of the sockets and wait for its ack.

        Passing the same ``envelope`` again delivers it a second time. Raises ``NotAcked``.
        """
        envelope = envelope or self._new_envelope()
        if self.http is not None:
            posting = self._post(kind, payload, envelope, *self.http)
            return asyncio.run_coroutine_threadsafe(posting, self._loop).result()
        before = len(self.acks(envelope))
        if not self._sockets:
            raise NotAcked("no socket is open")
        sending = self._send(_frame(kind, payload, envelope))
        asyncio.run_coroutine_threadsafe(sending, self._loop)
        try:
            return self.wait_for(lambda: self.acks(envelope)[before:], self.ack_within)[-1]
        except AssertionError as late:
            raise NotAcked(f"{envelope} was not acked within {self.ack_within} s") from late

    def acks(self, envelope: str) -> tuple[Acked, ...]:
        """All acks of one envelope."""
        with self._changed:
            return tuple(self._acks.get(envelope, ()))

    async def _post(
        self, kind: str, payload: Json, envelope: str, url: str, secret: str, attempt: int = 0
    ) -> Acked:
        body, headers = request_of(kind, payload, secret, WALL.now())
        if attempt:
            headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": "http_timeout"}
        said = await posted(url, body, headers, self.ack_within)
        if said is None:
            raise NotAcked(f"{url} did not ack {envelope}")
        return self._record_ack(envelope, said)

    def _record_ack(self, envelope: str, payload: Json) -> Acked:
        with self._changed:
            acked = Acked(self.workspace.clock.now(), payload)
            self._acks.setdefault(envelope, []).append(acked)
            self._changed.notify_all()
            return acked

    def _new_envelope(self) -> str:
        return f"envelope-{next(self._numbers)}"

    async def _send(self, frame: Json) -> None:
        with self._changed:
            open_now = list(self._sockets)
            turn = next(self._turns) % max(1, len(open_now) + self.others)
        if turn >= len(open_now) or open_now[turn] in self._silent:
            return
        await open_now[turn].send_json(frame)

    # --- events ---------------------------------------------------------------------------

    def event(self, event: Json, *, event_id: str = "", envelope: str = "") -> Sent:
        """Deliver an event and wait for its ack as long as Slack does. Without an ack it is sent
        again at once, after one minute and after five minutes, each time in a new envelope."""
        space, now = self.workspace, self.workspace.clock.now()
        sent = Sent(event_id or f"Ev0{next(self._numbers)}", [envelope or self._new_envelope()])
        told = {"event_ts": f"{now:.6f}", **event}
        made = payloads.event_callback(space.team, space.bot_user, told, sent.event_id, now)
        try:
            self.deliver("events_api", made, sent.envelopes[0])
            sent.over = True
        except NotAcked:
            asyncio.run_coroutine_threadsafe(self._insist(sent, made, now), self._loop)
        return sent

    def heard(self, sent: Sent) -> bool:
        """Tell whether the event has been acked."""
        return any(self.acks(envelope) for envelope in sent.envelopes)

    async def _insist(self, sent: Sent, payload: Json, begun: float) -> None:
        for attempt, after in enumerate(AGAIN, 1):
            while self.workspace.clock.now() < begun + after:
                await asyncio.sleep(LOOK)
            if self.heard(sent):
                break
            sent.envelopes.append(self._new_envelope())
            await self._once_more(sent.envelopes[-1], payload, attempt)
        with self._changed:
            sent.over = True
            self._changed.notify_all()

    async def _once_more(self, envelope: str, payload: Json, attempt: int) -> None:
        """Send an event again and wait for its ack as long as Slack does."""
        if self.http is not None:
            with suppress(NotAcked):
                await self._post("events_api", payload, envelope, *self.http, attempt)
            return
        await self._send(_frame("events_api", payload, envelope, attempt))
        until = self._loop.time() + self.ack_within
        while self._loop.time() < until and not self.acks(envelope):
            await asyncio.sleep(LOOK)

    # --- one connection -------------------------------------------------------------------

    async def _link(self, request: web.Request) -> web.StreamResponse:
        with self._changed:
            ticket = request.query.get("ticket", "")
            if ticket not in self._tickets:
                return web.Response(status=404, text="expired_wss_url")
            self._tickets.discard(ticket)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        with self._changed:
            full = len(self._sockets) + self.others >= MOST
            if not full:
                self._sockets[socket] = request.transport
        if full:
            await socket.send_json(goodbye("too_many_websockets"))
            await socket.close()
            return socket
        await socket.send_json(
            {
                "type": "hello",
                "num_connections": len(self._sockets) + self.others,
                "debug_info": {"host": "stand-in", "approximate_connection_time": 18060},
                "connection_info": {"app_id": "A0VMFERRY"},
            }
        )
        try:
            async for frame in socket:
                if socket in self._silent:
                    continue
                if frame.type == WSMsgType.PING:
                    await socket.pong(frame.data)
                if frame.type == WSMsgType.TEXT:
                    self._acked(frame.data)
        finally:
            with self._changed:
                self._sockets.pop(socket, None)
                self._silent.discard(socket)
                self._changed.notify_all()
        return socket

    def _acked(self, text: str) -> None:
        frame = json.loads(text)
        payload = frame.get("payload")
        self._record_ack(
            str(frame.get("envelope_id")), payload if isinstance(payload, dict) else {}
        )
