"""Permissions: who may type what, and where, by the settings and by Slack's recent answers about
the person and the channel.

If an answer is missing, the command is refused with a sentence, and Slack is asked again for the
next command or click. Pause and stop only require a full member: a person who sees something go
wrong must not be held up.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.slack.handlers.intents import Intent, Start
from bot.slack.handlers.verbs import CHANGING, FOR_STARTERS, JUDGED
from bot.slack.inbox.rows import Inbound
from bot.slack.kit.blocks import escape
from bot.slack.kit.ids import is_channel, is_direct, is_group, slack_user
from bot.slack.kit.mentions import calls, channels, mentions
from bot.slack.kit.refusals import NOT_STARTED, NOTHING
from bot.slack.people.roster import STRANGERS, Roster, Sure
from bot.slack.people.rows import Lookup
from engine.language.grammar import Ask, Command
from engine.settings import Settings

SHARED = "This channel is shared with another organisation, and VM names are customers' names."
UNSEEN = "I cannot see this channel, so I could not post here."
INVITE = "Type here: /invite @vmferry, then repeat the request."


class Permits:
    """Permissions of every command, and of every click with an equivalent command."""

    def __init__(self, settings: Settings, roster: Roster) -> None:
        self.channels, self.roster = settings.slack.channels, roster
        self.starters = settings.approval.starters

    def lookups_for(self, row: Inbound, command: Command) -> list[str]:
        """Names that Slack must have answered about: the person, their groups, the channel."""
        user, names = slack_user(row.by), []
        if user and (_needs_member(row, command) or _is_spoken(row, command)):
            names.append(user)
        if _is_for_starters(command):
            names += self._groups(user)
            names += [row.channel] if is_channel(row.channel) else []
        return names

    def missing(self, intent: Intent) -> list[Lookup]:
        """Look-ups that Slack must answer before this is carried out."""
        command = intent.command
        names = self.lookups_for(intent.row, command) if command is not None else []
        if isinstance(intent, Start):
            return self.roster.missing([*names, *self.roster.groups], None)
        judged = slack_user(intent.row.by) if intent.is_judged else None
        return self.roster.missing(names, judged, intent.is_for_outsiders)

    def why_not(self, row: Inbound, command: Command) -> str:
        """Reason why this person may not use the command here; empty: they may. Help is for all."""
        if _verb(command) == "help":
            return ""
        nothing = NOTHING if isinstance(command, Ask) else NOT_STARTED
        rungs = (self._by_settings, self._by_place, self._by_person, self._by_starters)
        return next(filter(None, (rung(row, command, nothing) for rung in rungs)), "")

    def _by_settings(self, row: Inbound, command: Command, nothing: str) -> str:
        """Reason why the settings forbid the command in this channel; empty: they do not. In a
        direct message people may look, pause, stop, decide and review."""
        if is_direct(row.channel):
            barred = _is_for_starters(command)
            return not_in_private(self.channels, nothing) if barred else ""
        if self.channels and row.channel not in self.channels:
            return f"I work only in {channels(self.channels)}. {nothing}"
        return ""

    def _by_place(self, row: Inbound, command: Command, nothing: str) -> str:
        """Reason why Slack's description of the channel forbids the command; empty: it does not."""
        if not _is_for_starters(command):
            return ""
        if not is_channel(row.channel):
            return not_in_private(self.channels, nothing)
        sure, error = self.roster.sure_that([row.channel])
        if sure is not Sure.YES:
            return cannot_check("this channel", error, nothing)
        trouble = self.roster.lookups.of([row.channel])[row.channel].trouble
        if trouble == "shared":
            elsewhere = [one for one in self.channels if one != row.channel]
            return f"{SHARED} {nothing} {_elsewhere(elsewhere)}"
        return f"{UNSEEN} {nothing} {INVITE}" if trouble else ""

    def _by_person(self, row: Inbound, command: Command, nothing: str) -> str:
        """Reason why this person may not use the command; empty: they may. Guests, bots,
        deactivated people and people from elsewhere start and change nothing. In a shared channel
        people from elsewhere can mention the bot, but are told no names."""
        member = _needs_member(row, command)
        if not (member or _is_spoken(row, command)):
            return ""
        user = slack_user(row.by)
        if user is None:
            return not_a_member("nobody whom I can see", nothing)
        sure, error = self.roster.sure_that([user])
        if sure is not Sure.YES:
            return cannot_check("who you are", error, nothing)
        unfit = self.roster.lookups.of([user])[user].unfit
        if not member and unfit not in STRANGERS:
            return ""
        return not_a_member(unfit, nothing) if unfit else ""

    def _by_starters(self, row: Inbound, command: Command, nothing: str) -> str:
        """Reason why this person is not a starter (neither listed nor in a listed group); empty:
        they are, or every full member is."""
        user = slack_user(row.by)
        if not self.starters or not _is_for_starters(command) or user in self.starters:
            return ""
        groups = self._groups(user)
        known = self.roster.lookups.of(groups).values()
        sure, error = self.roster.sure_that(groups)
        if sure is not Sure.YES:
            return cannot_check("who may start", error, nothing)
        if any(user in group.users for group in known):
            return ""
        return not_a_starter(self.starters, _verb(command))

    def _groups(self, user: str | None) -> list[str]:
        """Groups that decide whether this user may start; none if the user is listed."""
        listed = user in self.starters
        return [] if listed else [name for name in self.starters if is_group(name)]


def _verb(command: Command) -> str:
    return command.verb if isinstance(command, Ask) else ""


def _changes(command: Command) -> bool:
    return not isinstance(command, Ask) or command.verb in CHANGING


def _is_for_starters(command: Command) -> bool:
    return not isinstance(command, Ask) or command.verb in FOR_STARTERS


def _is_spoken(row: Inbound, command: Command) -> bool:
    """Tell whether this is a look that was requested in a message, not by slash command."""
    return bool(row.body.get("spoken")) and not _changes(command) and _verb(command) != "help"


def _needs_member(row: Inbound, command: Command) -> bool:
    """Tell whether the person must be a full member. Decisions and reviews have stricter rules of
    their own."""
    verb = _verb(command)
    if verb in JUDGED or verb == "help":
        return False
    return _changes(command) or is_direct(row.channel)


def _elsewhere(places: Sequence[str]) -> str:
    """Sentence about where the command can be typed instead."""
    if not places:
        return "Type it in a channel that I am in, or add me to one with /invite @vmferry."
    return f"Type it in {channels(places)}."


def not_in_private(places: Sequence[str], nothing: str) -> str:
    """Refusal of a request in a direct message: a run belongs where others see it."""
    why = "Nobody else sees direct messages, so you can only look, pause, stop, decide and review."
    return f"{why} {nothing} {_elsewhere(places)}"


def not_a_member(unfit: str, nothing: str) -> str:
    """Refusal of a guest, a bot, a deactivated person or a person from elsewhere."""
    is_so = f"Slack says that you are {unfit}."
    return f"Only full members of this workspace may do this. {is_so} {nothing} Ask one of them."


def cannot_check(what: str, error: str, nothing: str) -> str:
    """Refusal because Slack did not answer a look-up. ``what``: what cannot be checked."""
    if error in ("", "no answer"):
        return f"I cannot check {what}: Slack did not answer. {nothing} Try again in a minute."
    fix = "Check the setting approval.starters."
    if error == "missing_scope":
        fix = "The app lacks a scope of manifest.yml: add it and install the app again."
    return f"I cannot check {what}: Slack says {escape(error)}. {nothing} {fix}"


def not_a_starter(starters: Sequence[str], verb: str = "") -> str:
    """Refusal of a person who is not a starter; they may still look, pause and stop."""
    groups = [name for name in starters if is_group(name)]
    people = [name for name in starters if name not in groups]
    able = f"these people may: {', '.join(filter(None, [mentions(people), calls(groups)]))}."
    if not verb:
        return f"You are not allowed to start moves; {able} {NOT_STARTED}"
    return f"You are not allowed to use `{verb}`; {able} Everybody may pause and stop. {NOTHING}"
