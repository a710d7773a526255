"""The stand-in's workspace: its people, channels and messages; what each Web API call does.

Nothing here knows HTTP or sockets. One condition guards everything and is notified at every
change, so that a test waits for what it wants to see and never for time.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bot.slack.manifest import SCOPES
from bot.slack.standin_forms import Form, Trigger, trigger_error, view_refusal
from bot.slack.standin_rules import refusal
from engine.clock import Clock, SystemClock

Json = Mapping[str, object]
T = TypeVar("T")
WALL = SystemClock()


@dataclass(frozen=True)
class Call:
    """One Web API call (or one use of a response_url) with what was answered."""

    at: float
    method: str
    args: Json
    response: Json


@dataclass(frozen=True)
class Version:
    """A message as it stood from ``at`` on."""

    at: float
    text: str
    blocks: tuple[Json, ...]


@dataclass(frozen=True)
class Message:
    """A message as it stands, with everything that it was before."""

    channel: str
    ts: str
    thread_ts: str | None
    user: str
    broadcast: bool
    versions: tuple[Version, ...]
    metadata: Json = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What the notification and a screen reader say now."""
        return self.versions[-1].text

    @property
    def blocks(self) -> tuple[Json, ...]:
        """What is shown now."""
        return self.versions[-1].blocks

    @property
    def shown(self) -> str:
        """All words that a person sees now, block after block."""
        return "\n".join(words(block) for block in self.blocks) or self.text


@dataclass(frozen=True)
class Ephemeral:
    """Something that only one person saw. ``via``: ack, response_url or chat.postEphemeral."""

    at: float
    user: str
    channel: str
    text: str
    blocks: tuple[Json, ...]
    thread_ts: str | None
    via: str


@dataclass
class Channel:
    """A channel: its members, whether it is archived."""

    id: str
    name: str
    members: set[str]
    archived: bool = False


@dataclass
class ResponseUrl:
    """Where an interaction may be answered: five times within 30 minutes."""

    user: str
    channel: str
    thread_ts: str | None
    until: float
    uses: int = 5


@dataclass(frozen=True)
class Scripted:
    """An answer that somebody ordered for a method: an error, perhaps with Retry-After."""

    error: str
    retry_after: int | None = None


def buttons(message: Message) -> Iterator[Json]:
    """Every button that a message shows."""
    yield from _buttons(message.blocks)


def pressable(blocks: Sequence[Json], action_id: str) -> list[Json]:
    """The buttons of that action among these blocks."""
    return [one for one in _buttons(blocks) if one.get("action_id") == action_id]


def _buttons(blocks: Sequence[Json]) -> Iterator[Json]:
    for block in blocks:
        elements = block.get("elements")
        for element in elements if isinstance(elements, (list, tuple)) else ():
            if isinstance(element, Mapping) and element.get("type") == "button":
                yield element


def words(block: object) -> str:
    """Every text in a block, in order: what a person reads of it."""
    if isinstance(block, Mapping):
        if isinstance(block.get("text"), str) and "type" in block:
            return str(block["text"])
        parts = [words(block[key]) for key in ("text", "fields", "elements") if key in block]
        return " ".join(part for part in parts if part)
    if isinstance(block, (list, tuple)):
        return " ".join(words(each) for each in block)
    return ""


class Workspace:
    """A team with one installed bot."""

    def __init__(self, clock: Clock, bot_token: str, app_token: str) -> None:
        self.clock, self.bot_token, self.app_token = clock, bot_token, app_token
        self.changed = threading.Condition(threading.RLock())
        self.team, self.bot_user, self.bot = "T0STANDIN", "U0VMFERRY", "B0VMFERRY"
        self.users: dict[str, str] = {self.bot_user: "vmferry"}
        self.profiles: dict[str, dict[str, object]] = {}
        self.groups: dict[str, tuple[str, ...]] = {}
        self.channels: dict[str, Channel] = {}
        self.scopes = ",".join(SCOPES)
        self.calls: list[Call] = []
        self.messages: dict[tuple[str, str], Message] = {}
        self.ephemerals: list[Ephemeral] = []
        self.response_urls: dict[str, ResponseUrl] = {}
        self.orders: defaultdict[str, deque[Scripted]] = defaultdict(deque)
        self.triggers: dict[str, Trigger] = {}
        self.forms: list[Form] = []
        self._last_ts = 0.0
        self._methods: dict[str, Callable[[Json], dict[str, object]]] = {
            "auth.test": self._auth_test,
            "conversations.info": self._info,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._post_ephemeral,
            "views.open": self._open_view,
            "users.info": self._user,
            "usergroups.users.list": self._group,
        }

    def answer(self, method: str, args: Json, token: str) -> tuple[dict[str, object], Scripted]:
        """Carry out one Web API call and record it; also say which scripted answer it got."""
        with self.changed:
            order = self.next_order(method)
            if order.error:
                response: dict[str, object] = {"ok": False, "error": order.error}
            elif token != self.bot_token:
                response = {"ok": False, "error": "invalid_auth"}
            elif method not in self._methods:
                response = {"ok": False, "error": "unknown_method"}
            else:
                response = self._methods[method](args)
            self.record(method, args, response)
            return response, order

    def next_order(self, method: str) -> Scripted:
        """The answer that was ordered for the next call of this method; none: empty."""
        with self.changed:
            orders = self.orders[method]
            return orders.popleft() if orders else Scripted("")

    def record(self, method: str, args: Json, response: Json) -> None:
        """Write a call down and wake whoever waits for it."""
        with self.changed:
            self.calls.append(Call(self.clock.now(), method, dict(args), dict(response)))
            self.changed.notify_all()

    def wait_for(self, question: Callable[[], T], timeout: float) -> T:
        """The first true answer to ``question``, asked again at every change.

        Not everything that a test waits for happens here, so it is also asked four times a
        second. Fails with what stands in the channels when the time is over.
        """
        until = WALL.monotonic() + timeout
        with self.changed:
            while True:
                answer = question()
                if answer:
                    return answer
                left = until - WALL.monotonic()
                if left <= 0:
                    raise AssertionError(f"not seen within {timeout} s; seen:\n{self.dump()}")
                self.changed.wait(min(left, 0.25))

    def dump(self) -> str:
        """Everything people see, for a failing test."""
        lines = [f"[{m.ts} in {m.thread_ts or m.channel}] {m.shown}" for m in self.in_order()]
        lines += [f"[only {e.user}, {e.via}] {e.text}" for e in self.ephemerals]
        lines += [f"{c.method} -> {c.response}" for c in self.calls if not c.response.get("ok")]
        return "\n".join(lines) or "nothing"

    def in_order(self) -> list[Message]:
        """All messages, oldest first."""
        with self.changed:
            return sorted(self.messages.values(), key=lambda m: float(m.ts))

    def show_only(self, shown: Ephemeral) -> None:
        """Show something to one person."""
        with self.changed:
            self.ephemerals.append(shown)
            self.changed.notify_all()

    def respond(self, token: str, args: Json) -> bool:
        """One use of a response_url; ``False`` when it is used up, too old or was never given."""
        with self.changed:
            url = self.response_urls.get(token)
            if url is None or url.uses < 1 or url.until < self.clock.now():
                self.record("response_url", args, {"ok": False, "error": "expired_url"})
                return False
            url.uses -= 1
            thread = args.get("thread_ts") or url.thread_ts
            self.record("response_url", args, {"ok": True})
            self.show_only(
                Ephemeral(
                    self.clock.now(),
                    url.user,
                    url.channel,
                    str(args.get("text") or ""),
                    _blocks(args),
                    str(thread) if thread else None,
                    "response_url",
                )
            )
            return True

    # --- the methods --------------------------------------------------------------------

    def _auth_test(self, args: Json) -> dict[str, object]:
        return {
            "ok": True,
            "team": "Stand-in",
            "team_id": self.team,
            "user_id": self.bot_user,
            "bot_id": self.bot,
            "user": "vmferry",
        }

    def _info(self, args: Json) -> dict[str, object]:
        channel = self.channels.get(str(args.get("channel") or ""))
        if channel is None:
            return {"ok": False, "error": "channel_not_found"}
        shown = {
            "id": channel.id,
            "name": channel.name,
            "is_archived": channel.archived,
            "is_member": self.bot_user in channel.members,
        }
        return {"ok": True, "channel": shown}

    def _open_view(self, args: Json) -> dict[str, object]:
        trigger = self.triggers.get(str(args.get("trigger_id") or ""))
        error = trigger_error(trigger, self.clock.now())
        if error or trigger is None:
            return {"ok": False, "error": error}
        view = args.get("view")
        broken = view_refusal(view)
        if broken or not isinstance(view, Mapping):
            where = broken.where if broken else ""
            messages = {"messages": [f"[ERROR] {where}"]}
            return {"ok": False, "error": "invalid_arguments", "response_metadata": messages}
        trigger.used = True
        form = Form(f"V{len(self.forms) + 1}", trigger.user, view)
        self.forms.append(form)
        return {"ok": True, "view": {**view, "id": form.id}}

    def _user(self, args: Json) -> dict[str, object]:
        user = str(args.get("user") or "")
        if user not in self.users:
            return {"ok": False, "error": "user_not_found"}
        usual = {
            "id": user,
            "team_id": self.team,
            "name": self.users[user],
            "deleted": False,
            "is_bot": user == self.bot_user,
            "is_restricted": False,
            "is_ultra_restricted": False,
        }
        return {"ok": True, "user": usual | self.profiles.get(user, {})}

    def _group(self, args: Json) -> dict[str, object]:
        group = str(args.get("usergroup") or "")
        if group not in self.groups:
            return {"ok": False, "error": "no_such_subteam"}
        return {"ok": True, "users": list(self.groups[group])}

    def _refused(self, method: str, args: Json) -> dict[str, object] | None:
        channel = self.channels.get(str(args.get("channel") or ""))
        if channel is None:
            return {"ok": False, "error": "channel_not_found"}
        if channel.archived:
            return {"ok": False, "error": "is_archived"}
        if self.bot_user not in channel.members:
            return {"ok": False, "error": "not_in_channel"}
        broken = refusal(method, args)
        if broken is None:
            return None
        return {
            "ok": False,
            "error": broken.code,
            "response_metadata": {"messages": [f"[ERROR] {broken.where}"]},
        }

    def _post(self, args: Json) -> dict[str, object]:
        refused = self._refused("chat.postMessage", args)
        if refused:
            return refused
        channel, thread = str(args["channel"]), str(args.get("thread_ts") or "") or None
        parent = self.messages.get((channel, thread)) if thread else None
        if thread and (parent is None or parent.thread_ts is not None):
            return {"ok": False, "error": "cannot_reply_to_message"}
        metadata = args.get("metadata")
        message = Message(
            channel,
            self._next_ts(),
            thread,
            self.bot_user,
            bool(args.get("reply_broadcast")),
            (Version(self.clock.now(), str(args.get("text") or ""), _blocks(args)),),
            metadata if isinstance(metadata, Mapping) else {},
        )
        self.messages[(channel, message.ts)] = message
        return {"ok": True, "channel": channel, "ts": message.ts, "message": raw(message)}

    def _update(self, args: Json) -> dict[str, object]:
        refused = self._refused("chat.update", args)
        if refused:
            return refused
        key = (str(args["channel"]), str(args.get("ts") or ""))
        if key not in self.messages:
            return {"ok": False, "error": "message_not_found"}
        old = self.messages[key]
        now = Version(self.clock.now(), str(args.get("text") or ""), _blocks(args))
        self.messages[key] = replace(old, versions=(*old.versions, now))
        return {"ok": True, "channel": key[0], "ts": key[1], "text": now.text}

    def _post_ephemeral(self, args: Json) -> dict[str, object]:
        refused = self._refused("chat.postEphemeral", args)
        if refused:
            return refused
        channel, user = str(args["channel"]), str(args.get("user") or "")
        if user not in self.channels[channel].members:
            return {"ok": False, "error": "user_not_in_channel"}
        thread = args.get("thread_ts")
        self.show_only(
            Ephemeral(
                self.clock.now(),
                user,
                channel,
                str(args.get("text") or ""),
                _blocks(args),
                str(thread) if thread else None,
                "chat.postEphemeral",
            )
        )
        return {"ok": True, "message_ts": self._next_ts()}

    def _next_ts(self) -> str:
        self._last_ts = max(self.clock.now(), self._last_ts + 0.000_100)
        return f"{self._last_ts:.6f}"


def raw(message: Message) -> dict[str, object]:
    """A message as Slack writes it in payloads."""
    body: dict[str, object] = {
        "type": "message",
        "user": message.user,
        "ts": message.ts,
        "text": message.text,
        "blocks": list(message.blocks),
    }
    return body | ({"thread_ts": message.thread_ts} if message.thread_ts else {})


def _blocks(args: Json) -> tuple[Json, ...]:
    blocks = args.get("blocks")
    return tuple(blocks) if isinstance(blocks, (list, tuple)) else ()
