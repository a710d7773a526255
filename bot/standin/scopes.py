"""Which scope of the bot token a method needs; without it Slack says ``missing_scope``."""

from __future__ import annotations

from bot.standin.values import Channel

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


def lacking_scope(method: str, room: Channel | None, granted: str) -> str:
    """The scope that is missing for a call about this channel; empty: none is."""
    kind = "im" if room and room.im else "groups" if room and room.private else "channels"
    needed = NEEDS.get(method, "").format(kind=kind)
    return "" if needed in ["", *granted.split(",")] else needed
