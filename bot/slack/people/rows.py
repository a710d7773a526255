"""Slack's answers about people, groups and channels, as rows with their age."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.slack.kit.ids import in_slack, is_channel, is_group
from engine.store.database import Row
from engine.store.store import Store

MEMBERS, DIRECT = "in:", "dm:"
HOME = in_slack("T")  # the workspace itself
#: How long an answer is good, in seconds of the wall, by what was asked about.
LASTS = {
    "group": 60.0,
    "person": 3_600.0,
    "place": 600.0,
    "members": 600.0,
    "home": 86_400.0,
    "direct": 30 * 86_400.0,
}

LookupAnswer = Mapping[str, object]


def kind_of(name: str) -> str:
    """Kind of a lookup: a user group, a channel (``place``), who is in it (``members``), a person,
    where a person is written to (``direct``), our workspace (``home``). Calls of one kind wait
    together when Slack says: slower."""
    for beginning, kind in ((MEMBERS, "members"), (DIRECT, "direct")):
        if name.startswith(beginning):
            return kind
    if name == HOME:
        return "home"
    if is_group(name):
        return "group"
    return "place" if is_channel(name) else "person"


def members(channel: str) -> str:
    """The name under which it is known who is in a channel."""
    return f"{MEMBERS}{channel}"


def direct(user: str) -> str:
    """The name under which it is known where a user is written to directly."""
    return f"{DIRECT}{user}"


@dataclass(frozen=True)
class Lookup:
    """Last answer of Slack about one group, user or channel. ``wanted``: Slack is still to be
    asked."""

    name: str
    at: float | None = None
    answer: LookupAnswer = field(default_factory=dict)
    error: str = ""
    wanted: bool = False

    def fresh(self, now: float, share: float = 1.0) -> bool:
        """Tell whether the answer is young enough to act on (with ``share``: within that share of
        its life)."""
        lasts = LASTS[kind_of(self.name)]
        return self.at is not None and 0 <= now - self.at <= lasts * share

    @property
    def users(self) -> tuple[str, ...]:
        """Users in the group or channel."""
        users = self.answer.get("users")
        return tuple(map(str, users)) if isinstance(users, list) else ()

    @property
    def unfit(self) -> str:
        """Reason why this user never decides; empty: a full member."""
        return str(self.answer.get("unfit") or "")

    @property
    def channel(self) -> str:
        """Channel in which this user is written to directly."""
        return str(self.answer.get("channel") or "")

    @property
    def refused(self) -> bool:
        """True if Slack said no, rather than nothing."""
        return self.error not in ("", "no answer")

    @property
    def trouble(self) -> str:
        """Reason why nothing is begun in this channel: ``shared``, or Slack's word; empty: none."""
        return str(self.answer.get("trouble") or "")


class LookupRows:
    """The rows. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def all(self) -> list[Lookup]:
        """All answers that Slack ever gave, by name."""
        return [
            _lookup(row) for row in self.store.query("SELECT * FROM slack_lookups ORDER BY name")
        ]

    def want(self, names: Iterable[str], now: float) -> None:
        """Note that Slack is to be asked about these names; what it said last stays."""
        with self.store.transaction() as db:
            for name in names:
                db.upsert("slack_lookups", {"name": name, "wanted": now, "error": ""}, "name")

    def keep(self, name: str, answer: LookupAnswer | None, error: str, now: float) -> None:
        """Keep what Slack answered; ``None``: nothing, with an ``error``, and what it said before
        stays."""
        news = {} if answer is None else {"at": now, "answer": json.dumps(answer)}
        row = {"name": name, "wanted": None, "error": error, **news}
        with self.store.transaction() as db:
            db.upsert("slack_lookups", row, "name")


def _lookup(row: Row) -> Lookup:
    answer = json.loads(row["answer"]) if row["answer"] else {}
    return Lookup(row["name"], row["at"], answer, row["error"], row["wanted"] is not None)
