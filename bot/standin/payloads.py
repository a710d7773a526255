"""Payloads that Slack sends to an app. Pure functions."""

from __future__ import annotations

from bot.standin.values import Channel, Ephemeral, Json, Message, raw

APP, DOMAIN, TOKEN = "A0VMFERRY", "stand-in", "verification-token"


def command(
    common: Json, user: Json, room: Channel | None, channel: str, typed: str, text: str
) -> dict[str, object]:
    """Payload of a slash command."""
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
    """Payload of an interaction: a click, a shortcut or a form."""
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


def on_message(
    kind: str, user: Json, room: Channel | None, shown: Message | Ephemeral, **more: object
) -> dict[str, object]:
    """Payload of an interaction with a message. An ephemeral message is not part of its payload."""
    channel = {"id": shown.channel, "name": _channel_name(room)}
    message = {"message": raw(shown)} if isinstance(shown, Message) else {}
    return interaction(kind, user, channel=channel, **message, **more)


def container(shown: Message | Ephemeral) -> dict[str, object]:
    """Container of a click: the message that holds the button."""
    return {
        "type": "message",
        "message_ts": shown.ts,
        "channel_id": shown.channel,
        "is_ephemeral": isinstance(shown, Ephemeral),
        **({"thread_ts": shown.thread_ts} if shown.thread_ts else {}),
    }


def event_callback(team: str, bot: str, event: Json, event_id: str, at: float) -> dict[str, object]:
    """Payload of an event of the Events API."""
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
    """Event of a message that mentions the bot in a channel."""
    return raw(message) | {
        "type": "app_mention",
        "client_msg_id": f"client-{message.ts}",
        "team": team,
        "channel": message.channel,
        "event_ts": message.ts,
    }
