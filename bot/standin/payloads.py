"""Payloads that Slack sends to an app, as the stand-in writes them. Values only."""

from __future__ import annotations

from collections.abc import Sequence

from bot.standin.values import Channel, Ephemeral, Json, Message, buttons_of, raw

APP, DOMAIN = "A0VMFERRY", "stand-in"


def command(
    common: Json, user: Json, room: Channel | None, channel: str, typed: str, text: str
) -> dict[str, object]:
    """A slash command."""
    return dict(common) | {
        "command": typed,
        "text": text,
        "user_id": user["id"],
        "user_name": user["username"],
        "team_id": user["team_id"],
        "team_domain": DOMAIN,
        "channel_id": channel,
        "channel_name": _channel_name(room),
        "is_enterprise_install": "false",
    }


def _channel_name(room: Channel | None) -> str:
    if room is None or room.im:
        return "directmessage"
    return "privategroup" if room.private else room.name


def block_actions(
    common: Json, user: Json, room: Channel, message: Message, pressed: Json
) -> dict[str, object]:
    """A click on an element of a message."""
    container = {
        "type": "message",
        "message_ts": message.ts,
        "channel_id": message.channel,
        "is_ephemeral": False,
    }
    if message.thread_ts:
        container["thread_ts"] = message.thread_ts
    return dict(common) | {
        "type": "block_actions",
        "user": user,
        "team": {"id": user["team_id"], "domain": DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
        "container": container,
        "channel": {"id": room.id, "name": _channel_name(room)},
        "message": raw(message),
        "state": {"values": {}},
        "actions": [pressed],
    }


def message_action(
    common: Json, user: Json, room: Channel, message: Message, callback_id: str, at: float
) -> dict[str, object]:
    """A shortcut from the menu of a message."""
    return dict(common) | {
        "type": "message_action",
        "callback_id": callback_id,
        "action_ts": f"{at:.6f}",
        "user": user,
        "team": {"id": user["team_id"], "domain": DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": room.id, "name": _channel_name(room)},
        "message_ts": message.ts,
        "message": raw(message),
    }


def event_callback(team: str, bot: str, event: Json, event_id: str, at: float) -> dict[str, object]:
    """An event of the Events API."""
    return {
        "token": "verification-token",
        "team_id": team,
        "api_app_id": APP,
        "event": event,
        "type": "event_callback",
        "event_id": event_id,
        "event_time": int(at),
        "authorizations": [
            {"enterprise_id": None, "team_id": team, "user_id": bot, "is_bot": True}
        ],
        "is_ext_shared_channel": False,
        "event_context": f"4-{event_id}",
    }


def app_mention(team: str, message: Message) -> dict[str, object]:
    """Payload of a message to the bot in a channel."""
    return raw(message) | {
        "type": "app_mention",
        "client_msg_id": f"client-{message.ts}",
        "team": team,
        "channel": message.channel,
        "event_ts": message.ts,
    }


def private_button(
    seen: Sequence[Ephemeral], action_id: str, value: str | None
) -> tuple[Ephemeral, Json]:
    """The newest of these with such a button, and the button; ``value``: that of an older one.
    Raises ``LookupError``."""
    for shown in reversed(seen):
        found = [b for b in buttons_of(shown.blocks) if b.get("action_id") == action_id]
        if found:
            return shown, found[0] if value is None else {**found[0], "value": value}
    raise LookupError(f"nobody sees a button {action_id}")


def private_click(who: Json, shown: Ephemeral, pressed: Json, number: int) -> dict[str, object]:
    """Payload of a click on a private message, beside what all interactions have; no message is in
    it."""
    return {
        "type": "block_actions",
        "user": who,
        "team": {"id": who["team_id"], "domain": "stand-in"},
        "container": {
            "type": "message",
            "message_ts": f"{shown.at:.6f}",
            "channel_id": shown.channel,
            "is_ephemeral": True,
            **({"thread_ts": shown.thread_ts} if shown.thread_ts else {}),
        },
        "channel": {"id": shown.channel, "name": shown.channel},
        "state": {"values": {}},
        "actions": [{**pressed, "action_ts": f"{shown.at:.6f}{number}"}],
    }
