"""Buttons of what only one person sees, as the stand-in's people click them."""

from __future__ import annotations

from collections.abc import Sequence

from bot.standin.values import Ephemeral, Json, buttons_of


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
    """What Slack sends of such a click beside what all interactions have; no message is in it."""
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
