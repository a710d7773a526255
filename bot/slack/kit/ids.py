"""Slack's ids of people, groups and channels: with their door, as everywhere, and without it, as
Slack wants them."""

from __future__ import annotations

import re

from engine.model.ids import SLACK, id_at, name_at

_USER = re.compile(r"[UW][A-Z0-9]+")


def in_slack(name: str) -> str:
    """Slack's ``U0123`` with its door: ``slack:U0123``. An empty id stays empty."""
    return id_at(SLACK, name) if name else ""


def bare(one: str) -> str:
    """An id as Slack wants it: ``slack:U0123`` as ``U0123``."""
    return name_at(SLACK, one) or one


def slack_user(one: str | None) -> str | None:
    """This id, if it is of somebody in Slack; else ``None``."""
    return one if _USER.fullmatch(name_at(SLACK, one) or "") else None


def is_group(one: str) -> bool:
    """Tell whether this is a user group."""
    return bare(one).startswith("S")


def is_channel(one: str) -> bool:
    """Tell whether this is a channel, public or private."""
    return bare(one).startswith(("C", "G"))


def is_direct(one: str) -> bool:
    """Tell whether this is a direct message between one person and the bot."""
    return bare(one).startswith("D")
