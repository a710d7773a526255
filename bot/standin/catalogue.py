"""The arguments of each Web API method: which there are, of what type, and which must be there.

Slack refuses a wrong type and a missing argument. An argument that it does not know it mostly
ignores; the stand-in refuses that too, because we would believe that it does something.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bot.standin.refusals import Refusal
from bot.standin.shapes import wrong
from bot.standin.values import Channel, Json

Kind = Callable[[object], bool]
FLAGS = ("true", "false", "1", "0")


@dataclass(frozen=True)
class Takes:
    """Arguments of one method. ``missing``: the method's own error for an argument that is not
    there. What is sent in JSON has JSON's types; in a query or a form all is text."""

    fields: Mapping[str, tuple[Kind, str]]
    required: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _flag(value: object) -> bool:
    return isinstance(value, bool) or value in FLAGS


def _number(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (isinstance(value, str) and value.isdecimal())


def _anything(_: object) -> bool:
    """Accept any value: the method itself checks it, with errors of its own."""
    return True


TEXT, FLAG, NUMBER = (_text, "a string"), (_flag, "a boolean"), (_number, "an integer")
OWN = (_anything, "")
MESSAGE = {
    "channel": TEXT,
    "text": TEXT,
    "blocks": OWN,
    "thread_ts": TEXT,
    "link_names": FLAG,
    "parse": TEXT,
}
PAGES = {
    "channel": TEXT,
    "cursor": TEXT,
    "limit": NUMBER,
    "oldest": TEXT,
    "latest": TEXT,
    "inclusive": FLAG,
    "include_all_metadata": FLAG,
}
NO_CHANNEL = {"channel": "channel_not_found"}

METHODS: dict[str, Takes] = {
    "apps.connections.open": Takes({}),
    "auth.test": Takes({}),
    "chat.getPermalink": Takes(
        {"channel": TEXT, "message_ts": TEXT}, ("channel", "message_ts"), NO_CHANNEL
    ),
    "chat.postEphemeral": Takes(MESSAGE | {"user": TEXT}, ("channel", "user"), NO_CHANNEL),
    "chat.postMessage": Takes(
        MESSAGE
        | {
            "reply_broadcast": FLAG,
            "unfurl_links": FLAG,
            "unfurl_media": FLAG,
            "mrkdwn": FLAG,
            "metadata": OWN,
        },
        ("channel",),
        NO_CHANNEL,
    ),
    "chat.update": Takes(
        {name: kind for name, kind in MESSAGE.items() if name != "thread_ts"}
        | {"ts": TEXT, "reply_broadcast": FLAG, "metadata": OWN},
        ("channel", "ts"),
        NO_CHANNEL,
    ),
    "conversations.history": Takes(PAGES, ("channel",), NO_CHANNEL),
    "conversations.info": Takes(
        {"channel": TEXT, "include_locale": FLAG, "include_num_members": FLAG}, ("channel",)
    ),
    "conversations.members": Takes(
        {"channel": TEXT, "cursor": TEXT, "limit": NUMBER}, ("channel",), NO_CHANNEL
    ),
    "conversations.open": Takes(
        {"channel": TEXT, "users": TEXT, "return_im": FLAG, "prevent_creation": FLAG}
    ),
    "conversations.replies": Takes(
        PAGES | {"ts": TEXT}, ("channel", "ts"), NO_CHANNEL | {"ts": "thread_not_found"}
    ),
    "usergroups.users.list": Takes(
        {"usergroup": TEXT, "include_disabled": FLAG, "team_id": TEXT}, ("usergroup",)
    ),
    "users.info": Takes({"user": TEXT, "include_locale": FLAG}, ("user",)),
    "views.open": Takes({"trigger_id": TEXT, "view": OWN}, ("trigger_id", "view")),
}


def argument_refusal(method: str, args: Json) -> Refusal | None:
    """Refusal of a call that Slack would not even look at, or ``None``."""
    takes = METHODS[method]
    for name, value in args.items():
        if name not in takes.fields:
            return Refusal("invalid_arguments", wrong("unknown argument", f"/{name}"))
        fits, what = takes.fields[name]
        if not fits(value):
            return Refusal("invalid_arguments", wrong(f"must be {what}", f"/{name}"))
    for name in takes.required:
        if args.get(name) in (None, ""):
            words = f"missing required field: {name}"
            return Refusal(takes.missing.get(name, "invalid_arguments"), words)
    return None


NEEDS = {
    "chat.postEphemeral": "chat:write",
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.history": "{kind}:history",
    "conversations.info": "{kind}:read",
    "conversations.members": "{kind}:read",
    "conversations.open": "im:write",
    "conversations.replies": "{kind}:history",
    "usergroups.users.list": "usergroups:read",
    "users.info": "users:read",
}


EVERY_SCOPE = frozenset(
    scope.format(kind=kind) for scope in NEEDS.values() for kind in ("channels", "groups", "im")
)
"""The scopes with which every method here can be called."""


def lacking_scope(method: str, room: Channel | None, granted: str) -> str:
    """The scope that is missing for a call about this channel; empty: none is."""
    kind = "im" if room and room.im else "groups" if room and room.private else "channels"
    needed = NEEDS.get(method, "").format(kind=kind)
    return "" if needed in ["", *granted.split(",")] else needed


@dataclass(frozen=True)
class Window:
    """At most ``calls`` in any ``seconds``; ``each`` channel for itself or the workspace."""

    calls: int
    seconds: float = 60.0
    each: bool = False


T1 = Window(5, 300.0)  # one a minute, and "a small amount of burst behavior is tolerated"
T2, T3, T4, SPECIAL = (Window(calls) for calls in (20, 50, 100, 600))
ROUNDING = 1e-6
A_SECOND_WITH_BURSTS = Window(5, 5.0, each=True)


SEVERAL_HUNDRED = Window(300)


TIERS: dict[str, tuple[Window, ...]] = {
    "apps.connections.open": (T1,),
    "auth.test": (SPECIAL,),
    "chat.getPermalink": (SPECIAL,),
    "chat.postEphemeral": (T4,),
    "chat.postMessage": (A_SECOND_WITH_BURSTS, SEVERAL_HUNDRED),
    "chat.update": (T3,),
    "conversations.history": (T3,),
    "conversations.info": (T3,),
    "conversations.members": (T4,),
    "conversations.open": (T3,),
    "conversations.replies": (T3,),
    "usergroups.users.list": (T2,),
    "users.info": (T4,),
    "views.open": (T4,),
}


class Limits:
    """Calls and their times, as far back as they count. Calls that were refused do not count."""

    def __init__(self) -> None:
        self._taken: defaultdict[tuple[str, Window, str], deque[float]] = defaultdict(deque)

    def take(self, method: str, channel: str, now: float) -> int:
        """Count a call; 0, or after how many whole seconds it would be taken."""
        books = [
            (window, self._taken[method, window, channel if window.each else ""])
            for window in TIERS.get(method, (T3,))
        ]
        for window, taken in books:
            while taken and taken[0] <= now - window.seconds + ROUNDING:
                taken.popleft()
        free = [
            taken[-window.calls] + window.seconds
            for window, taken in books
            if len(taken) >= window.calls
        ]
        if free:
            return max(1, math.ceil(max(free) - now - ROUNDING))
        for _, taken in books:
            taken.append(now)
        return 0
