"""The arguments of each Web API method: which there are, of what type, and which must be there.

Slack refuses a wrong type and a missing argument. An argument that it does not know it mostly
ignores; the stand-in refuses that too, because we would believe that it does something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bot.standin.refusals import Refusal
from bot.standin.shapes import wrong

Json = Mapping[str, object]
Kind = Callable[[object], bool]
FLAGS = ("true", "false", "1", "0")


@dataclass(frozen=True)
class Takes:
    """What one method takes. ``missing``: the error of its own for an argument that is not there.
    What is sent in JSON has JSON's types; in a query or a form all is text."""

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
    """What has errors of its own, which the method tells."""
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
    """Why Slack would not even look at this call, or ``None``."""
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
