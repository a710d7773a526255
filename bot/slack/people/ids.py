"""Ids of people: as the engine names them (``@U1``, ``terminal:ann``) and as Slack does."""

from __future__ import annotations

import re

SLACK_ID = re.compile(r"@?([UW][A-Z0-9]+)")


def person(user: str) -> str:
    """A Slack user id as the engine names that person."""
    return f"@{user}"


def slack_id(by: str | None) -> str | None:
    """The Slack user behind a person, or ``None`` for people from elsewhere."""
    found = SLACK_ID.fullmatch(by or "")
    return found[1] if found else None


def bare(user: str) -> str:
    """A Slack user id as settings may spell it, without the ``@``."""
    return user.removeprefix("@")
