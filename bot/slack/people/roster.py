"""Roster of people, groups and channels: who may decide, according to Slack.

The worker and the publisher request look-ups. The sender, which alone calls Slack, makes them. A
decision needs recent answers: without them nobody counts as on call or as a full member.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum

from bot.slack.kit.ids import bare, is_group
from bot.slack.people.approvers import Approvers
from bot.slack.people.rows import DIRECT, HOME, MEMBERS, Lookup, LookupAnswer, LookupRows, kind_of
from bot.slack.web_api.client import SlackApi
from bot.slack.web_api.errors import SlackLater, SlackNever, SlackTrouble
from engine.clock import Clock
from engine.settings import ApprovalSettings
from engine.store.store import Store

log = logging.getLogger(__name__)

AT_ONCE = 5  # look-ups per call of ``ask``
AGAIN = 15.0  # seconds before a failed look-up is repeated without a click
AHEAD = 0.6  # share of its life after which an answer is renewed while a question is open
_UNTOLD = {
    "group": "Slack does not say who is in %s: %s",
    "members": "Slack does not say who is in %s: %s; nobody outside is sent a copy of a card",
    "direct": "Slack does not say where to write to %s: %s; no copy of a card goes there",
}
_UNTOLD_ELSE = "Slack does not say who or what %s is: %s"
UNKNOWN, ELSEWHERE = "nobody whom I can see", "of another organisation"
STRANGERS = frozenset({UNKNOWN, ELSEWHERE})
NOBODY_THERE = frozenset({"user_not_found", "user_not_visible"})
SLACKBOT = "USLACKBOT"  # not marked as a bot, but anybody can make it speak
UNSEEN = frozenset({"channel_not_found", "no_permission"})


class Sure(StrEnum):
    """Result of a check against Slack's answers; ``ASKING``: an answer is still due."""

    YES = "yes"
    ASKING = "asking"
    NO = "no"


class Lookups:
    """Slack's answers, and the requested look-ups. Safe to share between threads."""

    def __init__(self, store: Store, wall: Clock) -> None:
        self.rows, self.wall = LookupRows(store), wall
        self._home: tuple[str, str] | None = None
        self._not_before: dict[str, float] = {}  # by kind, after a rate limit

    def of(self, names: Iterable[str]) -> dict[str, Lookup]:
        """Last answers about these names; an empty one for a name that was never looked up."""
        return self.rows.of([*names])

    def people(self) -> tuple[Lookup, ...]:
        """Every user who was ever looked up."""
        return tuple(row for row in self.rows.all() if kind_of(row.name) == "person")

    def want(self, names: Iterable[str]) -> None:
        """Request answers about these names. The last answers stay until the new ones come."""
        self.rows.want(names, self.wall.now())

    def ask(self, api: SlackApi) -> bool:
        """Make up to five of the requested look-ups; returns whether any was requested. Errors are
        stored with the look-up, never raised."""
        wanted = [row.name for row in self.rows.all() if row.wanted]
        for name in wanted[:AT_ONCE]:
            error, answer, kind = "", None, kind_of(name)
            try:
                if self.wall.monotonic() < self._not_before.get(kind, 0.0):
                    raise SlackLater("ratelimited")
                answer = self._answer(api, name)
            except SlackTrouble as trouble:
                error = trouble.code if isinstance(trouble, SlackNever) else "no answer"
                if isinstance(trouble, SlackLater) and trouble.seconds:
                    self._not_before[kind] = self.wall.monotonic() + trouble.seconds
                whom = bare(name.removeprefix(MEMBERS).removeprefix(DIRECT))
                log.warning(_UNTOLD.get(kind, _UNTOLD_ELSE), whom, trouble.code)
            except Exception:
                # One malformed answer must not hold up the outbox.
                error = "no answer"
                log.exception("what Slack said of %s cannot be read", name)
            self.rows.keep(name, answer, error, self.wall.now())
        return bool(wanted)

    def _answer(self, api: SlackApi, name: str) -> LookupAnswer:
        try:
            match kind_of(name):
                case "group":
                    return {"users": list(api.members(name))}
                case "members":
                    return {"users": list(api.in_channel(name.removeprefix(MEMBERS)))}
                case "direct":
                    return {"channel": api.direct(name.removeprefix(DIRECT))}
                case "place":
                    return {"trouble": api.place_trouble(name)}
                case "home":
                    return {"url": api.address()}
            profile = api.profile(name)
        except SlackNever as never:
            if kind_of(name) == "place" and never.code in UNSEEN:
                return {"trouble": never.code}
            if kind_of(name) == "person" and never.code in NOBODY_THERE:
                return {"unfit": UNKNOWN}
            raise
        if self._home is None:
            self._home = api.home()
        return {"unfit": unfit(profile, *self._home)}


class Roster:
    """Approvers, by the settings and Slack's last answers."""

    def __init__(self, store: Store, settings: ApprovalSettings, wall: Clock) -> None:
        self.settings, self.wall = settings, wall
        self.lookups = Lookups(store, wall)
        self.groups = (*settings.oncall, *settings.escalation)
        self.starting = tuple(filter(is_group, settings.starters))
        self._next = 0.0

    def approvers(self) -> Approvers:
        """Approvers by the last answers, however old: for display."""
        rows = self.lookups.of((*self.groups, *self.starting))
        return Approvers(
            listed=self.settings.approvers,
            on_call=_users(rows[group] for group in self.settings.oncall),
            backup=_users(rows[group] for group in self.settings.escalation),
            unfit=frozenset(row.name for row in self.lookups.people() if row.unfit),
            groups=self.settings.oncall,
            starters=(*self.settings.starters, *_users(rows[group] for group in self.starting)),
            known=all(rows[group].at is not None for group in self.settings.oncall),
        )

    def sure_of(self, user: str | None, breaks: bool = False) -> tuple[Sure, str]:
        """Tell whether this user is known well enough to decide (``breaks``: to break the glass);
        with Slack's error if not."""
        return self._sure(self._missing(user, breaks))

    def sure_that(self, names: Iterable[str]) -> tuple[Sure, str]:
        """Tell whether the answers about these names are recent enough to act on; with Slack's
        error if not."""
        return self._sure(self._stale(names))

    def want_home(self) -> None:
        """Request the workspace's address, unless the last answer is less than a day old."""
        self.ask_about(self._stale([HOME]))

    def missing(
        self, names: Iterable[str], approver: str | None, breaks: bool = False
    ) -> list[Lookup]:
        """Stale look-ups about these names, and those that a decision of ``approver`` needs
        (``breaks``: to break the glass)."""
        return [*self._stale(names), *self._missing(approver, breaks)]

    def ask_about(self, missing: Iterable[Lookup]) -> None:
        """Request these look-ups, unless they are already requested."""
        self.lookups.want([row.name for row in missing if not row.wanted])

    def asking(self, missing: Iterable[Lookup]) -> Sure:
        """Tell whether Slack still has to answer any of these look-ups."""
        return self._sure(list(missing))[0]

    def keep_fresh(self) -> bool:
        """Request look-ups again before they are stale, while a question is open; returns whether
        any was requested."""
        if self.wall.monotonic() < self._next:
            return False
        approvers = self.approvers()
        rows = self.lookups.of((*self.groups, *approvers.everybody)).values()
        now = self.wall.now()
        # A look-up that Slack refused is repeated after a click, not all night.
        due = [r.name for r in rows if not (r.fresh(now, AHEAD) or r.wanted or r.refused)]
        if due:
            self.lookups.want(due)
            if any(row.error for row in rows):
                self._next = self.wall.monotonic() + AGAIN
        return bool(due)

    def _missing(self, user: str | None, breaks: bool) -> list[Lookup]:
        """Stale look-ups that a decision of this user needs. A person who breaks the glass may be
        in no list, so that needs all of them."""
        if user is None:
            return []
        if breaks:
            return self._stale((*self.groups, *self.starting, user))
        if user not in self.settings.approvers:
            rows = self.lookups.of(self.groups)
            now = self.wall.now()
            there = any(r.fresh(now) and user in r.users for r in rows.values())
            stale = [] if there else self._stale(self.groups)
            if stale or not there:
                return stale
        return self._stale([user])

    def _stale(self, names: Iterable[str]) -> list[Lookup]:
        now = self.wall.now()
        return [row for row in self.lookups.of(names).values() if not row.fresh(now)]

    def _sure(self, missing: list[Lookup]) -> tuple[Sure, str]:
        if not missing:
            return Sure.YES, ""
        if any(row.wanted for row in missing):
            return Sure.ASKING, ""
        return Sure.NO, next((row.error for row in missing if row.error), "")


def _users(rows: Iterable[Lookup]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(user for row in rows for user in row.users))


def unfit(profile: LookupAnswer, team: str, organisation: str) -> str:
    """Reason why this user never decides: deactivated, bot, guest, or of another organisation;
    empty: a full member."""
    if profile.get("deleted"):
        return "deactivated"
    if profile.get("is_bot") or profile.get("id") == SLACKBOT:
        return "a bot"
    if profile.get("is_restricted") or profile.get("is_ultra_restricted"):
        return "a guest"
    if profile.get("is_stranger"):
        return ELSEWHERE
    grid = profile.get("enterprise_user")
    theirs = str(grid.get("enterprise_id") or "") if isinstance(grid, Mapping) else ""
    if organisation and theirs == organisation:
        return ""
    home = str(profile.get("team_id") or "")
    return "" if home in (team, organisation) and home else ELSEWHERE
