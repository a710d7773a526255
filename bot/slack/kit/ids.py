"""Slack's ids of people, groups and channels: with their door (``slack:U0123``), as in rows, and
without it, as Slack expects them."""

from __future__ import annotations

import re

from engine.model.ids import SLACK, id_at, name_at

_USER = re.compile(r"[UW][A-Z0-9]+")


def in_slack(name: str) -> str:
    """Add the door to one of Slack's ids: ``U0123`` becomes ``slack:U0123``. Empty stays empty."""
    return id_at(SLACK, name) if name else ""


def bare(one: str) -> str:
    """Remove the door from an id: ``slack:U0123`` becomes ``U0123``."""
    return name_at(SLACK, one) or one


def slack_user(one: str | None) -> str | None:
    """The id, if it is that of a person in Slack; else ``None``."""
    return one if _USER.fullmatch(name_at(SLACK, one) or "") else None


def is_group(one: str) -> bool:
    """Tell whether this id is that of a user group."""
    return bare(one).startswith("S")


def is_channel(one: str) -> bool:
    """Tell whether this id is that of a channel, public or private."""
    return bare(one).startswith(("C", "G"))


def is_direct(one: str) -> bool:
    """Tell whether this id is that of a direct message between one person and the bot."""
    return bare(one).startswith("D")
