"""A Slack in process, on 127.0.0.1 only: Web API over HTTP, Socket Mode over WebSocket, people.

Tests and the demo talk to the real Bolt app through it. It refuses what Slack refuses
(``standin_rules``), records every call and every message as it stood (``standin_workspace``),
and plays the people: who types a command, who clicks a button, and what each of them sees.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from aiohttp import WSMsgType, web

from bot.slack.standin_forms import Form, Trigger, submission
from bot.slack.standin_private import private_button, private_click
from bot.slack.standin_requests import arguments, bearer
from bot.slack.standin_workspace import (
    Call,
    Channel,
    Ephemeral,
    Message,
    ResponseUrl,
    Scripted,
    Workspace,
    buttons,
    raw,
)
from engine.clock import Clock, SystemClock

Json = Mapping[str, object]
T = TypeVar("T")
RESPONSE_URL_LIFE = 30 * 60.0


class NotAcked(Exception):
    """Nobody acked in time: in Slack the person sees that the app did not respond."""


@dataclass(frozen=True)
class Acked:
    """The answer to one envelope."""

    at: float
    payload: Json

    @property
    def text(self) -> str:
        """What the person sees at once; empty for a bare ack."""
        return str(self.payload.get("text") or "")


class Standin:
    """The server and the people. ``with Standin() as slack:`` starts and stops it."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        bot_token: str = "xoxb-stand-in",
        app_token: str = "xapp-stand-in",
        ack_within: float = 3.0,
    ) -> None:
        self.workspace = Workspace(clock or SystemClock(), bot_token, app_token)
        self.ack_within = ack_within
        self._changed = self.workspace.changed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="slack-stand-in", daemon=True)
        self._listening: Future[int] = Future()
        self._halt = asyncio.Event()
        self._port = 0
        self._sockets: list[web.WebSocketResponse] = []
        self._silent: set[web.WebSocketResponse] = set()
        self.others = 0
        self._acks: dict[str, list[Acked]] = {}
        self._numbers = iter(range(1, 1 << 62))

    # --- life -----------------------------------------------------------------------------

    def start(self) -> Standin:
        """Listen on a free port of 127.0.0.1."""
        self._thread.start()
        self._port = self._listening.result(timeout=10)
        return self

    def stop(self) -> None:
        """Close every socket and the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._halt.set)
            self._thread.join(timeout=10)

    def __enter__(self) -> Standin:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """What a WebClient takes as ``base_url``."""
        return f"http://127.0.0.1:{self._port}/api/"

    @property
    def bot_token(self) -> str:
        """The token of the installed bot."""
        return self.workspace.bot_token

    @property
    def app_token(self) -> str:
        """The app-level token for Socket Mode."""
        return self.workspace.app_token

    @property
    def sockets(self) -> int:
        """How many Socket Mode connections are open."""
        return len(self._sockets)

    def hang_up(self) -> None:
        """Close every socket, as Slack does when it wants clients to connect anew."""
        with self._changed:
            open_now = tuple(self._sockets)
        for socket in open_now:
            asyncio.run_coroutine_threadsafe(socket.close(), self._loop)
        self.wait_for(lambda: not set(open_now) & set(self._sockets))

    def fall_silent(self) -> None:
        """Pull the cable: sockets stay open, and what is sent over them arrives nowhere."""
        with self._changed:
            self._silent |= set(self._sockets)

    def say_disconnect(self, reason: str = "refresh_requested") -> None:
        """Ask whoever is connected to connect anew."""
        with self._changed:
            open_now = tuple(self._sockets)
        frame = {"type": "disconnect", "reason": reason}
        for socket in open_now:
            asyncio.run_coroutine_threadsafe(socket.send_json(frame), self._loop).result(10)

    # --- the workspace --------------------------------------------------------------------

    def user(self, name: str, **profile: object) -> str:
        """The id of a member of that name, who joins every channel there is and will be;
        ``profile``: what users.info says differently, such as ``is_restricted=True``."""
        with self._changed:
            user = f"U0{''.join(c for c in name.upper() if c.isalnum())}"
            self.workspace.users[user] = name
            self.workspace.profiles[user] = profile
            for channel in self.workspace.channels.values():
                channel.members.add(user)
            return user

    def group(self, name: str, *users: str) -> str:
        """The id of the user group of that name, in which exactly these are from now on."""
        with self._changed:
            group = f"S0{name.upper()}"
            self.workspace.groups[group] = users
            return group

    def channel(self, name: str, *, bot: bool = True, archived: bool = False) -> str:
        """The id of a channel of that name; ``bot``: has the bot been invited?"""
        with self._changed:
            made = f"C0{''.join(c for c in name.upper() if c.isalnum())}"
            members = set(self.workspace.users)
            if not bot:
                members.discard(self.workspace.bot_user)
            self.workspace.channels[made] = Channel(made, name, members, archived)
            return made

    def name(self, user: str) -> str:
        """How people call this user."""
        return self.workspace.users.get(user, user)

    def order(
        self, method: str, error: str, *, retry_after: int | None = None, times: int = 1
    ) -> None:
        """Answer the next calls of ``method`` with this error (429 where it is ratelimited)."""
        with self._changed:
            self.workspace.orders[method].extend([Scripted(error, retry_after)] * times)

    # --- what people do -------------------------------------------------------------------

    def command(self, user: str, channel: str, text: str, command: str = "/migrate") -> str:
        """Type a slash command; returns what the ack shows the person ("" for a bare ack)."""
        acked = self.deliver("slash_commands", self.command_payload(user, channel, text, command))
        if acked.text:
            seen = Ephemeral(acked.at, user, channel, acked.text, (), None, "ack")
            self.workspace.show_only(seen)
        return acked.text

    def click(self, user: str, message_ts: str, action_id: str, value: str | None = None) -> Acked:
        """Click a button of a message; returns when it is acked.

        Raises ``LookupError`` when the message shows no such button, unless ``value`` is given:
        then it is somebody whose client still shows an older version of the message.
        """
        return self.deliver("interactive", self.click_payload(user, message_ts, action_id, value))

    def click_private(self, user: str, action_id: str, value: str | None = None) -> Acked:
        """Click a button of what only this person sees: of the last such that has it, or with the
        ``value`` of an earlier one. Raises ``LookupError``."""
        shown, pressed = private_button(self.ephemerals(user), action_id, value)
        common = self._common(user, shown.channel, shown.thread_ts)
        clicked = private_click(self.workspace, shown, pressed, next(self._numbers))
        return self.deliver("interactive", common | clicked)

    def form(self, user: str) -> Form:
        """The form that this person was shown last; waits for the first one."""
        return self.wait_for(lambda: [f for f in self.workspace.forms if f.user == user])[-1]

    def submit(self, form: Form, reason: str | None = None, chosen: Sequence[str] = ()) -> Acked:
        """Fill a form in and send it; the ack's payload holds what is wrong, if anything is."""
        filled = submission(form, self.workspace.team, reason, chosen)
        return self.deliver("interactive", filled)

    def deliver(self, kind: str, payload: Json, envelope: str | None = None) -> Acked:
        """Send one envelope over one of the sockets and wait for its ack.

        The same ``envelope`` again is a second delivery of it. Raises ``NotAcked``.
        """
        envelope = envelope or f"envelope-{next(self._numbers)}"
        with self._changed:
            before = len(self._acks.get(envelope, ()))
        if not self._sockets:
            raise NotAcked("no socket is open")
        frame = {
            "envelope_id": envelope,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": kind == "slash_commands"
            or payload.get("type") == "view_submission",
        }
        asyncio.run_coroutine_threadsafe(self._send(frame), self._loop)
        try:
            self.wait_for(lambda: len(self._acks.get(envelope, ())) > before, self.ack_within)
        except AssertionError as late:
            raise NotAcked(f"{envelope} was not acked within {self.ack_within} s") from late
        return self._acks[envelope][-1]

    def acks(self, envelope: str) -> tuple[Acked, ...]:
        """Every ack that came for one envelope."""
        with self._changed:
            return tuple(self._acks.get(envelope, ()))

    def command_payload(
        self, user: str, channel: str, text: str, command: str = "/migrate"
    ) -> dict[str, object]:
        """What Slack sends for a slash command."""
        room = self.workspace.channels.get(channel)
        return self._common(user, channel, None) | {
            "command": command,
            "text": text,
            "user_id": user,
            "user_name": self.name(user),
            "team_id": self.workspace.team,
            "team_domain": "stand-in",
            "channel_id": channel,
            "channel_name": room.name if room else "directmessage",
            "is_enterprise_install": "false",
        }

    def click_payload(
        self, user: str, message_ts: str, action_id: str, value: str | None = None
    ) -> dict[str, object]:
        """What Slack sends for a click on a button of a message."""
        message = self.message(message_ts)
        button = next((b for b in buttons(message) if b.get("action_id") == action_id), None)
        if button is None and value is None:
            raise LookupError(f"no button {action_id} in: {message.shown}")
        number = next(self._numbers)
        pressed = {
            "type": "button",
            "action_id": action_id,
            "block_id": f"block-{number}",
            "text": (button or {}).get("text", {"type": "plain_text", "text": action_id}),
            "value": value if value is not None else (button or {}).get("value"),
            "action_ts": f"{self.workspace.clock.now():.6f}{number}",
        }
        container = {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": False,
        }
        if message.thread_ts:
            container["thread_ts"] = message.thread_ts
        room = self.workspace.channels[message.channel]
        return self._common(user, message.channel, message.thread_ts) | {
            "type": "block_actions",
            "user": {"id": user, "username": self.name(user), "team_id": self.workspace.team},
            "team": {"id": self.workspace.team, "domain": "stand-in"},
            "enterprise": None,
            "is_enterprise_install": False,
            "container": container,
            "channel": {"id": room.id, "name": room.name},
            "message": raw(message),
            "state": {"values": {}},
            "actions": [pressed],
        }

    # --- what people see ------------------------------------------------------------------

    def messages(self, channel: str) -> tuple[Message, ...]:
        """What stands in the channel itself, oldest first: no replies but broadcast ones."""
        return tuple(
            m
            for m in self.workspace.in_order()
            if m.channel == channel and (m.thread_ts is None or m.broadcast)
        )

    def thread(self, channel: str, ts: str) -> tuple[Message, ...]:
        """The replies to a message, oldest first."""
        return tuple(
            m for m in self.workspace.in_order() if m.channel == channel and m.thread_ts == ts
        )

    def message(self, ts: str) -> Message:
        """The message of that ts as it stands. Raises ``LookupError``."""
        found = next((m for m in self.workspace.in_order() if m.ts == ts), None)
        if found is None:
            raise LookupError(f"no message {ts}")
        return found

    def ephemerals(self, user: str) -> tuple[Ephemeral, ...]:
        """What only this person saw, oldest first: acks with text among them."""
        with self._changed:
            return tuple(e for e in self.workspace.ephemerals if e.user == user)

    def calls(self, method: str = "") -> tuple[Call, ...]:
        """Every recorded call, or those of one method (``response_url`` is one)."""
        with self._changed:
            return tuple(c for c in self.workspace.calls if method in ("", c.method))

    def wait_for(self, question: Callable[[], T], timeout: float = 10.0) -> T:
        """The first true answer to ``question``; ``AssertionError`` with all that is seen."""
        return self.workspace.wait_for(question, timeout)

    # --- the wire -------------------------------------------------------------------------

    def _common(self, user: str, channel: str, thread_ts: str | None) -> dict[str, object]:
        number = next(self._numbers)
        trigger = f"{number}.{number}.stand-in"
        with self._changed:
            self.workspace.triggers[trigger] = Trigger(user, self.workspace.clock.now())
            until = self.workspace.clock.now() + RESPONSE_URL_LIFE
            self.workspace.response_urls[str(number)] = ResponseUrl(user, channel, thread_ts, until)
        return {
            "token": "verification-token",
            "api_app_id": "A0VMFERRY",
            "trigger_id": trigger,
            "response_url": f"http://127.0.0.1:{self._port}/response/{number}",
        }

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        except BaseException as error:
            if not self._listening.done():
                self._listening.set_exception(error)
            raise
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_post("/api/apps.connections.open", self._open)
        app.router.add_post("/api/{method}", self._api)
        app.router.add_get("/api/{method}", self._api)
        app.router.add_post("/response/{token}", self._respond)
        app.router.add_get("/link", self._link)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._listening.set_result(int(runner.addresses[0][1]))
        await self._halt.wait()
        for socket in tuple(self._sockets):
            await socket.close()
        await runner.cleanup()

    async def _open(self, request: web.Request) -> web.Response:
        order = self.workspace.next_order("apps.connections.open")
        if order.error:
            answer: dict[str, object] = {"ok": False, "error": order.error}
        elif bearer(request) != self.workspace.app_token:
            answer = {"ok": False, "error": "invalid_auth"}
        else:
            answer = {"ok": True, "url": f"ws://127.0.0.1:{self._port}/link"}
        self.workspace.record("apps.connections.open", {}, answer)
        return web.json_response(answer)

    async def _api(self, request: web.Request) -> web.Response:
        method, args = request.match_info["method"], await arguments(request)
        answer, order = self.workspace.answer(method, args, bearer(request))
        limited = order.error == "ratelimited"
        headers = {"X-OAuth-Scopes": self.workspace.scopes} if answer["ok"] else {}
        headers |= {"Retry-After": str(order.retry_after or 1)} if limited else {}
        return web.json_response(answer, status=429 if limited else 200, headers=headers)

    async def _respond(self, request: web.Request) -> web.Response:
        if self.workspace.respond(request.match_info["token"], await arguments(request)):
            return web.Response(text="ok")
        return web.Response(status=404, text="expired_url")

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        with self._changed:
            self._sockets.append(socket)
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
                self._sockets.remove(socket)
                self._silent.discard(socket)
                self._changed.notify_all()
        return socket

    def _acked(self, text: str) -> None:
        frame = json.loads(text)
        payload = frame.get("payload")
        with self._changed:
            acked = Acked(self.workspace.clock.now(), payload if isinstance(payload, dict) else {})
            self._acks.setdefault(str(frame.get("envelope_id")), []).append(acked)
            self._changed.notify_all()

    async def _send(self, frame: Json) -> None:
        with self._changed:
            socket = self._sockets[0]
            self._sockets.append(self._sockets.pop(0))  # any of them may get the next one
        if socket not in self._silent:
            await socket.send_json(frame)
