"""Ids of people, groups and channels; each begins with its door: ``slack:U0123``, ``terminal:ann``.

A name without a door is somebody of a story.
"""

from __future__ import annotations

SLACK, TERMINAL = "slack", "terminal"


def id_at(door: str, name: str) -> str:
    """The id of what ``door`` calls ``name``."""
    return f"{door}:{name}"


def name_at(door: str, one: str | None) -> str | None:
    """The id as ``door`` spells it; ``None``: it belongs to another door."""
    own, colon, name = (one or "").partition(":")
    return name if colon and own == door else None


def read_id(said: str) -> str:
    """The id as it is written now. Before ids had doors, ``@U0123`` was somebody in Slack."""
    return id_at(SLACK, said[1:]) if said.startswith("@") else said
