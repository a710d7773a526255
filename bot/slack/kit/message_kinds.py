"""The kinds of messages, by their keys."""

from __future__ import annotations

import re

_AT = "@"


def at(key: str, place: str) -> str:
    """The key of the message of that key as it is said in another place than the run's thread."""
    return f"{key}{_AT}{place}"


def place_of(key: str) -> str:
    """The channel in which the message of that key stands; empty: in the run's own."""
    return key.partition(_AT)[2]


def copy_of(key: str) -> str:
    """The key of the copy under which the message of that key is said; empty: it is a copy, or is
    said in the run's own channel."""
    what, _, about = key.partition(":")
    place = place_of(key)
    return at(f"card:{re.split('[:@]', about)[0]}", place) if place and what != "card" else ""


def is_direct(place: str) -> bool:
    """Tell whether this place is a direct message to somebody."""
    return place.startswith("D")


def stands_out(key: str) -> bool:
    """Tell whether the message of this key is shown in the conversation, too, and not in a thread
    alone."""
    return is_direct(place_of(key)) and not key.startswith(("card:", "list:"))


#: Names of messages by the beginning of their keys, and the verb that shows the same.
NAMES = {
    "board": ("its board", "status {run}"),
    "card": ("the card of {about}", "approvals"),
    "list": ("the VMs of {about}", "approvals"),
    "remind": ("a reminder of {about}", "approvals"),
    "escalate": ("the call of the escalation for {about}", "approvals"),
    "glass": ("that the glass was broken for {about}", "events {run}"),
    "review": ("the review of {about}", "events {run}"),
    "report": ("its report", "report {run}"),
}
OTHER = ("what failed", "status {run}")

#: Messages that are said once and never drawn anew.
ONCE = ("remind:", "escalate:")


def again(at: float | None) -> str:
    """Suffix of the key of a failure or report that follows a person's retry or resume: a new
    message, since somebody waits for it."""
    return "" if at is None else f":{int(at)}"
