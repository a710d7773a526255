"""Slack's answers about people, groups and channels, as rows with their age."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bot.slack.kit.ids import in_slack, is_channel, is_group
from engine.store.database import Row
from engine.store.store import Store

MEMBERS, DIRECT = "in:", "dm:"
HOME = in_slack("T")  # the workspace itself
#: How long an answer may be acted on, in seconds (wall clock), by kind.
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
    """Kind of a look-up: a user group, a channel (``place``), its members, a person, the channel of
    their direct messages (``direct``), the workspace (``home``). A rate limit holds all look-ups of
    one kind."""
    for beginning, kind in ((MEMBERS, "members"), (DIRECT, "direct")):
        if name.startswith(beginning):
            return kind
    if name == HOME:
        return "home"
    if is_group(name):
        return "group"
    return "place" if is_channel(name) else "person"


def members(channel: str) -> str:
    """Name of the look-up of a channel's members."""
    return f"{MEMBERS}{channel}"


def direct(user: str) -> str:
    """Name of the look-up of the channel for direct messages to a user."""
    return f"{DIRECT}{user}"


@dataclass(frozen=True)
class Lookup:
    """Slack's last answer about one group, user or channel, with its time ``at`` (wall clock).
    ``wanted``: a new answer is requested."""

    name: str
    at: float | None = None
    answer: LookupAnswer = field(default_factory=dict)
    error: str = ""
    wanted: bool = False

    def fresh(self, now: float, share: float = 1.0) -> bool:
        """Tell whether the answer is young enough to act on; with ``share``: within that share of
        its life."""
        lasts = LASTS[kind_of(self.name)]
        return self.at is not None and 0 <= now - self.at <= lasts * share

    @property
    def users(self) -> tuple[str, ...]:
        """Users in the group or channel."""
        users = self.answer.get("users")
        return tuple(map(str, users)) if isinstance(users, list) else ()

    @property
    def unfit(self) -> str:
        """Reason why this user never decides; empty: none is known."""
        return str(self.answer.get("unfit") or "")

    @property
    def channel(self) -> str:
        """Channel for direct messages to this user; empty: unknown."""
        return str(self.answer.get("channel") or "")

    @property
    def refused(self) -> bool:
        """True if Slack refused the look-up, rather than not answering."""
        return self.error not in ("", "no answer")

    @property
    def trouble(self) -> str:
        """Reason why no run may begin in this channel: ``shared``, or Slack's error; empty:
        none."""
        return str(self.answer.get("trouble") or "")


class LookupRows:
    """Rows of look-ups. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def all(self) -> list[Lookup]:
        """All look-ups, answered or not, ordered by name."""
        return [
            _lookup(row) for row in self.store.query("SELECT * FROM slack_lookups ORDER BY name")
        ]

    def of(self, names: Sequence[str]) -> dict[str, Lookup]:
        """Look-ups by these names; an empty one for a name that was never looked up."""
        marks = ", ".join("?" for _ in names)
        sql = f"SELECT * FROM slack_lookups WHERE name IN ({marks})"
        known = {row["name"]: _lookup(row) for row in self.store.query(sql, names)} if names else {}
        return {name: known.get(name) or Lookup(name) for name in names}

    def want(self, names: Iterable[str], now: float) -> None:
        """Request answers about these names; the last answers stay."""
        with self.store.transaction() as db:
            for name in names:
                db.upsert("slack_lookups", {"name": name, "wanted": now, "error": ""}, "name")

    def keep(self, name: str, answer: LookupAnswer | None, error: str, now: float) -> None:
        """Store an answer; ``None``: only the ``error``, and the last answer stays."""
        news = {} if answer is None else {"at": now, "answer": json.dumps(answer)}
        row = {"name": name, "wanted": None, "error": error, **news}
        with self.store.transaction() as db:
            db.upsert("slack_lookups", row, "name")


def _lookup(row: Row) -> Lookup:
    answer = json.loads(row["answer"]) if row["answer"] else {}
    return Lookup(row["name"], row["at"], answer, row["error"], row["wanted"] is not None)
