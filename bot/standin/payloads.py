"""Payloads that Slack sends to an app, as the stand-in writes them. Values only."""

from __future__ import annotations

from bot.standin.values import Channel, Ephemeral, Json, Message, raw

APP, DOMAIN, TOKEN = "A0VMFERRY", "stand-in", "verification-token"


def command(
    common: Json, user: Json, room: Channel | None, channel: str, typed: str, text: str
) -> dict[str, object]:
    """A slash command."""
    return {
        **common,
        "token": TOKEN,
        "api_app_id": APP,
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


def interaction(kind: str, user: Json, **more: object) -> dict[str, object]:
    """Anything that a person does with the mouse, or in a form."""
    return {
        "type": kind,
        "token": TOKEN,
        "api_app_id": APP,
        "user": user,
        "team": {"id": user["team_id"], "domain": DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
        **more,
    }


def block_actions(
    common: Json, user: Json, room: Channel | None, seen: Message | Ephemeral, pressed: Json
) -> dict[str, object]:
    """A click on an element of a message; of one that only this person sees nothing else is said
    than where it stands."""
    container = {
        "type": "message",
        "message_ts": seen.ts,
        "channel_id": seen.channel,
        "is_ephemeral": isinstance(seen, Ephemeral),
        **({"thread_ts": seen.thread_ts} if seen.thread_ts else {}),
    }
    return interaction(
        "block_actions",
        user,
        **common,
        container=container,
        channel={"id": seen.channel, "name": _channel_name(room)},
        state={"values": {}},
        actions=[pressed],
        **({"message": raw(seen)} if isinstance(seen, Message) else {}),
    )


def message_action(
    common: Json, user: Json, room: Channel, message: Message, callback_id: str, at: float
) -> dict[str, object]:
    """A shortcut from the menu of a message."""
    return interaction(
        "message_action",
        user,
        **common,
        callback_id=callback_id,
        action_ts=f"{at:.6f}",
        channel={"id": room.id, "name": _channel_name(room)},
        message_ts=message.ts,
        message=raw(message),
    )


def event_callback(team: str, bot: str, event: Json, event_id: str, at: float) -> dict[str, object]:
    """An event of the Events API."""
    return {
        "token": TOKEN,
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
