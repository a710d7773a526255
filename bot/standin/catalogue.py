"""Web API methods: arguments, required scope and rate limit of each.

Slack rejects a wrong type and a missing argument, but ignores most unknown arguments. The stand-in
rejects unknown arguments too: a caller that passes one relies on an effect that it does not have.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.standin.shapes import Check, fits, wrong
from bot.standin.values import Channel, Json, Refusal


@dataclass(frozen=True)
class Window:
    """At most ``calls`` in any ``seconds``, per channel (``each``) or per workspace."""

    calls: int
    seconds: float = 60.0
    each: bool = False


T1 = Window(5, 300.0)  # one a minute, and "a small amount of burst behavior is tolerated"
T2, T3, T4, SPECIAL = (Window(calls) for calls in (20, 50, 100, 600))
ROUNDING = 1e-6
A_SECOND_WITH_BURSTS = Window(5, 5.0, each=True)
SEVERAL_HUNDRED = Window(300)


@dataclass(frozen=True)
class Method:
    """Arguments and rate limits of a method. ``arguments`` and ``required`` are lists of names.
    ``missing`` gives the error for a missing argument that has an error of its own."""

    tiers: tuple[Window, ...]
    arguments: str = ""
    required: str = ""
    scope: str = ""
    missing: Mapping[str, str] = field(default_factory=lambda: {"channel": "channel_not_found"})


#: Values in JSON have JSON's types; in a query or a form everything is text.
TEXT = fits(lambda value: isinstance(value, str), "must be a string")
FLAG = fits(
    lambda value: isinstance(value, bool) or value in ("true", "false", "1", "0"),
    "must be a boolean",
)
NUMBER = fits(lambda value: type(value) is int or str(value).isdecimal(), "must be an integer")
OWN = fits(lambda _: True, "")  # checked by the method itself, with its own errors

FLAGS = (
    "include_all_metadata include_disabled include_locale include_num_members inclusive link_names "
    "mrkdwn prevent_creation reply_broadcast return_im unfurl_links unfurl_media"
)
KINDS: dict[str, Check] = dict.fromkeys(FLAGS.split(), FLAG) | {
    "limit": NUMBER,
    "blocks": OWN,
    "metadata": OWN,
    "view": OWN,
}
"""Types of arguments. All others are text."""
MESSAGE = "channel text blocks link_names parse"
CHANNEL = "channel include_locale include_num_members"
PAGE = "channel cursor limit"
HISTORY = f"{PAGE} oldest latest inclusive include_all_metadata"

METHODS = {
    "apps.connections.open": Method((T1,)),
    "auth.test": Method((SPECIAL,)),
    "chat.getPermalink": Method((SPECIAL,), "channel message_ts", "channel message_ts"),
    "chat.postEphemeral": Method((T4,), f"{MESSAGE} thread_ts user", "channel user", "chat:write"),
    "chat.postMessage": Method(
        (A_SECOND_WITH_BURSTS, SEVERAL_HUNDRED),
        f"{MESSAGE} thread_ts reply_broadcast unfurl_links unfurl_media mrkdwn metadata",
        "channel",
        "chat:write",
    ),
    "chat.update": Method(
        (T3,), f"{MESSAGE} ts reply_broadcast metadata", "channel ts", "chat:write"
    ),
    "conversations.history": Method((T3,), HISTORY, "channel", "{kind}:history"),
    "conversations.info": Method((T3,), CHANNEL, "channel", "{kind}:read", missing={}),
    "conversations.members": Method((T4,), PAGE, "channel", "{kind}:read"),
    "conversations.open": Method(
        (T3,), "channel users return_im prevent_creation", scope="im:write"
    ),
    "conversations.replies": Method(
        (T3,),
        f"{HISTORY} ts",
        "channel ts",
        "{kind}:history",
        missing={"channel": "channel_not_found", "ts": "thread_not_found"},
    ),
    "usergroups.users.list": Method(
        (T2,), "usergroup include_disabled team_id", "usergroup", "usergroups:read"
    ),
    "users.info": Method((T4,), "user include_locale", "user", "users:read"),
    "views.open": Method((T4,), "trigger_id view", "trigger_id view"),
}
EVERY_SCOPE = frozenset(
    method.scope.format(kind=kind)
    for method in METHODS.values()
    if method.scope
    for kind in ("channels", "groups", "im")
)
"""All scopes that these methods need."""


def argument_refusal(method: str, args: Json) -> Refusal | None:
    """Refusal of a call with invalid arguments, or ``None``."""
    takes = METHODS[method]
    for name, value in args.items():
        if name not in takes.arguments.split():
            return Refusal("invalid_arguments", wrong("unknown argument", f"/{name}"))
        for complaint in KINDS.get(name, TEXT)(value, f"/{name}"):
            return Refusal("invalid_arguments", complaint)
    for name in takes.required.split():
        if args.get(name) in (None, ""):
            words = f"missing required field: {name}"
            return Refusal(takes.missing.get(name, "invalid_arguments"), words)
    return None


def lacking_scope(method: str, room: Channel | None, granted: str) -> str:
    """The scope that a call about this channel needs and the app lacks, or an empty string."""
    kind = "im" if room and room.im else "groups" if room and room.private else "channels"
    needed = METHODS[method].scope.format(kind=kind)
    return "" if needed in ["", *granted.split(",")] else needed


class Limits:
    """Times of the accepted calls within each rate limit. Rejected calls do not count."""

    def __init__(self) -> None:
        self._taken: defaultdict[tuple[str, Window, str], deque[float]] = defaultdict(deque)

    def take(self, method: str, channel: str, now: float) -> int:
        """Count a call and return 0, or return the whole seconds to wait and do not count it."""
        books = [
            (window, self._taken[method, window, channel if window.each else ""])
            for window in METHODS[method].tiers
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
