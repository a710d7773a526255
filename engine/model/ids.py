"""Ids of people, groups and channels. Each begins with its door: ``slack:U0123``, ``terminal:ann``.

A name without a door is a person in a story.
"""

from __future__ import annotations

SLACK, TERMINAL = "slack", "terminal"
OLD_ID = r"(?<![\w@<:])@[UW][A-Z0-9]+(?!\w)"
"""Pattern of a person's id in a text that an older version wrote."""


def id_at(door: str, name: str) -> str:
    """Return the id of ``name`` at ``door``: ``slack:U0123``."""
    return f"{door}:{name}"


def name_at(door: str, one: str | None) -> str | None:
    """Return the id without its ``door``, or ``None`` if it belongs to another door."""
    own, colon, name = (one or "").partition(":")
    return name if colon and own == door else None


def read_id(said: str) -> str:
    """Return the id in today's form. Old rows write ``slack:U0123`` as ``@U0123``."""
    return id_at(SLACK, said[1:]) if said.startswith("@") else said
