"""The stand-in's workspace: people, channels, messages and access checks.

It is independent of HTTP and sockets. One condition guards everything and is notified of every
change, so that tests wait for a state and never for a time. This module checks whether a Web API
call is allowed; ``methods`` carries it out.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from bot.standin.catalogue import Limits, argument_refusal, lacking_scope
from bot.standin.forms import Form, Trigger
from bot.standin.refusals import refusal
from bot.standin.values import (
    Call,
    Channel,
    Ephemeral,
    Json,
    Message,
    Refusal,
    ResponseUrl,
    blocks_of,
)
from engine.clock import Clock, SystemClock

T = TypeVar("T")
WALL = SystemClock()
OPEN, RESPONSE = "apps.connections.open", "response_url"


@dataclass(frozen=True)
class ApiAnswer:
    """Answer over HTTP. ``lost``: the connection is dropped instead."""

    body: Json
    status: int = 200
    retry_after: int = 1
    lost: bool = False


class Workspace:
    """A team with one installed bot."""

    def __init__(self, clock: Clock, scopes: Iterable[str]) -> None:
        self.clock = clock
        self.bot_token, self.app_token = "xoxb-stand-in", "xapp-stand-in"
        self.changed = threading.Condition(threading.RLock())
        self.team, self.bot_user, self.bot = "T0STANDIN", "U0VMFERRY", "B0VMFERRY"
        self.users: dict[str, str] = {self.bot_user: "vmferry"}
        self.profiles: dict[str, dict[str, object]] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        self.channels: dict[str, Channel] = {}
        self.scopes = ",".join(scopes)
        self.revoked = False
        self.limits: Limits | None = None
        self.calls: list[Call] = []
        self.messages: dict[tuple[str, str], Message] = {}
        self.ephemerals: list[Ephemeral] = []
        self.response_urls: dict[str, ResponseUrl] = {}
        self.orders: defaultdict[str, deque[Refusal]] = defaultdict(deque)
        self.lose_request: Counter[str] = Counter()
        self.lose_answer: Counter[str] = Counter()
        self.triggers: dict[str, Trigger] = {}
        self.forms: list[Form] = []
        self.suggested: dict[str, list[Json]] = {}
        self.methods: dict[str, Callable[[Json], dict[str, object]]] = {}
        self._last_ts = 0.0

    # --- calls of the Web API -------------------------------------------------------------

    def answer(self, method: str, args: Json, token: str) -> ApiAnswer:
        """Carry out one Web API call and record it."""
        with self.changed:
            if self._takes(self.lose_request, method):
                self.record(method, args, {}, 0)
                return ApiAnswer({}, lost=True)
            try:
                self._let_in(method, args, token)
                answer = ApiAnswer(self.methods[method](args))
            except Refusal as no:
                answer = ApiAnswer(no.body, no.status, no.retry_after)
            lost = self._takes(self.lose_answer, method)
            self.record(method, args, answer.body, 0 if lost else answer.status)
            return replace(answer, lost=lost)

    def _let_in(self, method: str, args: Json, token: str) -> None:
        """Raise the ``Refusal`` of a call that is rejected before its method runs."""
        self.obey(method)
        if not token:
            raise Refusal("not_authed")
        if token != (self.app_token if method == OPEN else self.bot_token):
            raise Refusal("invalid_auth")
        if self.revoked and method != OPEN:
            raise Refusal("token_revoked")
        if method not in self.methods:
            raise Refusal("unknown_method")
        channel = str(args.get("channel") or "")
        if self.limits is not None:
            wait = self.limits.take(method, channel, self.clock.now())
            if wait:
                raise Refusal("ratelimited", status=429, retry_after=wait)
        needed = lacking_scope(method, self.channels.get(channel), self.scopes)
        if needed:
            raise Refusal("missing_scope", more={"needed": needed, "provided": self.scopes})
        broken = argument_refusal(method, args)
        if broken:
            raise broken

    def obey(self, method: str) -> None:
        """Raise the ``Refusal`` that was ordered for this method, if any."""
        if self.orders[method]:
            raise self.orders[method].popleft()

    @staticmethod
    def _takes(ordered: Counter[str], method: str) -> bool:
        if ordered[method] < 1:
            return False
        ordered[method] -= 1
        return True

    def record(self, method: str, args: Json, response: Json, status: int = 200) -> None:
        """Record a call and wake all waiting tests."""
        with self.changed:
            self.calls.append(Call(self.clock.now(), method, dict(args), dict(response), status))
            self.changed.notify_all()

    # --- what people see ------------------------------------------------------------------

    def wait_for(self, question: Callable[[], T], timeout: float) -> T:
        """Wait for a true answer to ``question``, which is asked at every change. Return it.

        Not every awaited change happens in the workspace, so the question is also asked at
        intervals of at most a quarter of a second. Raises ``AssertionError`` with the content of
        the channels after ``timeout`` seconds.
        """
        until, pause = WALL.monotonic() + timeout, 0.005
        with self.changed:
            while True:
                answer = question()
                if answer:
                    return answer
                left = until - WALL.monotonic()
                if left <= 0:
                    raise AssertionError(f"not seen within {timeout} s; seen:\n{self.dump()}")
                self.changed.wait(min(left, pause))
                pause = min(2 * pause, 0.25)

    def dump(self) -> str:
        """All that people see, for the message of a failing test."""
        lines = [f"[{m.ts} in {m.thread_ts or m.channel}] {m.shown}" for m in self.in_order()]
        lines += [f"[only {e.user}, {e.via}] {e.text}" for e in self.ephemerals]
        lines += [f"{c.method} -> {c.response}" for c in self.calls if not c.response.get("ok")]
        return "\n".join(lines) or "nothing"

    def in_order(self, channel: str = "") -> list[Message]:
        """Messages of one channel or of all, oldest first."""
        with self.changed:
            said = [m for m in self.messages.values() if channel in ("", m.channel)]
            return sorted(said, key=lambda m: float(m.ts))

    # --- changes --------------------------------------------------------------------------

    def keep(self, message: Message) -> None:
        """Store a message or its new version."""
        with self.changed:
            self.messages[message.channel, message.ts] = message
            self.changed.notify_all()

    def show_only(
        self, user: str, channel: str, args: Json, thread_ts: str | None, via: str
    ) -> None:
        """Show the text and blocks of a call to one person only."""
        with self.changed:
            text, now = str(args.get("text") or ""), self.clock.now()
            shown = Ephemeral(now, user, channel, text, blocks_of(args), thread_ts, via)
            self.ephemerals.append(shown)
            self.changed.notify_all()

    def respond(self, token: str, args: Json) -> None:
        """Use a response_url once. Raises ``Refusal`` if it is used up, expired or unknown, or if
        the message is invalid."""
        with self.changed:
            self.obey(RESPONSE)
            url = self.response_urls.get(token)
            if url is None or url.uses < 1 or url.until < self.clock.now():
                raise Refusal("expired_url", status=404)
            broken = refusal("chat.postMessage", args)
            if broken:
                raise replace(broken, status=400)
            url.uses -= 1
            thread = str(args.get("thread_ts") or "") or url.thread_ts
            self.record(RESPONSE, args, {"ok": True})
            self.show_only(url.user, url.channel, args, thread, RESPONSE)

    def next_ts(self) -> str:
        """The ts of the next message, later than any before."""
        with self.changed:
            self._last_ts = max(self.clock.now(), self._last_ts + 0.000_100)
            return f"{self._last_ts:.6f}"

    def direct(self, user: str) -> Channel:
        """The direct channel between this person and the bot, always the same."""
        with self.changed:
            made = f"D0{user.removeprefix('U0')}"
            if made not in self.channels:
                people = {user, self.bot_user}
                self.channels[made] = Channel(made, user, people, private=True, im=user)
            return self.channels[made]

    def found(self, args: Json) -> Channel:
        """The channel of a call. Raises ``Refusal`` if it does not exist or is private and the bot
        is not a member."""
        room = self.channels.get(str(args.get("channel") or ""))
        if room is None or (room.private and self.bot_user not in room.members):
            raise Refusal("channel_not_found")
        return room
