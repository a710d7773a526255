"""People as the engine names them (``@U1``, ``terminal:ann``) and as Slack does; who decides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bot.slack.blocks import escape
from engine.model import Run

SLACK_ID = re.compile(r"@?([UW][A-Z0-9]+)")


def person(user: str) -> str:
    """A Slack user id as the engine names that person."""
    return f"@{user}"


def slack_id(by: str | None) -> str | None:
    """The Slack user behind a person, or ``None`` for people from elsewhere."""
    found = SLACK_ID.fullmatch(by or "")
    return found[1] if found else None


def mention(by: str | None) -> str:
    """How a person is named in a message; Slack people are pinged by it."""
    user = slack_id(by)
    if user:
        return f"<@{user}>"
    if by and by.startswith("terminal:"):
        return f"{escape(by.removeprefix('terminal:'))} (terminal)"
    return escape(by or "somebody")


def mentions(users: Iterable[str]) -> str:
    """Several people with commas between them."""
    return ", ".join(mention(user) for user in users)


def barred(run: Run) -> tuple[str, ...]:
    """Those who may not decide on a run: who asked for it, and who resumed or retried it."""
    return tuple(dict.fromkeys((run.by, *run.steered)))


@dataclass(frozen=True)
class Deciders:
    """Who may approve: the listed users; later those who are on call now."""

    listed: tuple[str, ...] = ()

    def people(self) -> frozenset[str]:
        """All of them as the engine names them."""
        return frozenset(person(user.removeprefix("@")) for user in self.listed)

    def eligible(self, run: Run | None) -> tuple[str, ...]:
        """Those who may decide on this run: everybody listed who did not have it go."""
        not_they = {slack_id(by) for by in barred(run)} if run else set()
        users = (user.removeprefix("@") for user in self.listed)
        return tuple(user for user in users if user not in not_they)
