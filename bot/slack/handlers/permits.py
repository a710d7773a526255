"""Who may say what, and where: by the settings, and by what Slack said of person and place lately.

What is not known for sure is refused with a sentence, and nothing is lost: Slack is asked anew for
the next command or click. Pausing and stopping need no more than a full member: whoever sees
something go wrong must not be held up.
"""

from __future__ import annotations

from bot.slack.handlers import answers
from bot.slack.handlers.verbs import CHANGING, DECISIONS, FOR_STARTERS
from bot.slack.outbox.rows import Inbound
from bot.slack.people.approvers import bare, slack_id
from bot.slack.people.roster import STRANGERS, Roster, Sure, kind_of
from engine.language.grammar import Ask, Command
from engine.settings import SlackSettings


class Permits:
    """The judge of every command, and of every click that says the same as one."""

    def __init__(self, settings: SlackSettings, roster: Roster) -> None:
        self.settings, self.roster = settings, roster
        self.starters = [bare(name) for name in settings.starters]

    def needed(self, row: Inbound, command: Command) -> list[str]:
        """Those of whom Slack must have spoken lately: the person, their groups, the channel."""
        user, names = slack_id(row.by), []
        if user and (_needs_member(row, command) or _is_spoken(row, command)):
            names.append(user)
        if _is_for_starters(command):
            names += self._groups(user)
            names += [row.channel] if kind_of(row.channel) == "place" else []
        return names

    def why_not(self, row: Inbound, command: Command) -> str:
        """Why this person may not say this here, or nothing. Help is for everybody."""
        if _verb(command) == "help":
            return ""
        nothing = answers.NOTHING if _verb(command) in CHANGING else answers.NOT_STARTED
        rungs = (self._by_settings, self._by_place, self._by_person, self._by_starters)
        return next(filter(None, (rung(row, command, nothing) for rung in rungs)), "")

    def _by_settings(self, row: Inbound, command: Command, nothing: str) -> str:
        """Is this a channel where the bot works? To the bot alone one may look, stop, decide."""
        channels = self.settings.channels
        if is_direct(row.channel):
            barred = _is_for_starters(command)
            return answers.not_in_private(channels, nothing) if barred else ""
        if channels and row.channel not in channels:
            return answers.not_here(channels, nothing)
        return ""

    def _by_place(self, row: Inbound, command: Command, nothing: str) -> str:
        """May it be begun in this channel, as Slack describes it?"""
        if not _is_for_starters(command):
            return ""
        if kind_of(row.channel) != "place":
            return answers.not_in_private(self.settings.channels, nothing)
        sure, error = self.roster.sure_that([row.channel])
        if sure is not Sure.YES:
            return answers.cannot_check("this channel", error, nothing)
        trouble = self.roster.lookups.of([row.channel])[row.channel].trouble
        if trouble == "shared":
            elsewhere = [one for one in self.settings.channels if one != row.channel]
            return answers.shared_channel(elsewhere, nothing)
        return answers.unseen_channel(nothing) if trouble else ""

    def _by_person(self, row: Inbound, command: Command, nothing: str) -> str:
        """Guests, bots, deactivated people and those from elsewhere start and change nothing. In a
        shared channel those from elsewhere can mention the bot, and are told no names."""
        member = _needs_member(row, command)
        if not (member or _is_spoken(row, command)):
            return ""
        user = slack_id(row.by)
        if user is None:
            return answers.not_a_member("nobody whom I can see", nothing)
        sure, error = self.roster.sure_that([user])
        if sure is not Sure.YES:
            return answers.cannot_check("who you are", error, nothing)
        unfit = self.roster.lookups.of([user])[user].unfit
        if not member and unfit not in STRANGERS:
            return ""
        return answers.not_a_member(unfit, nothing) if unfit else ""

    def _by_starters(self, row: Inbound, command: Command, nothing: str) -> str:
        """Is this person listed, or in a group that is, where not everybody starts?"""
        user = slack_id(row.by)
        if not self.starters or not _is_for_starters(command) or user in self.starters:
            return ""
        groups = self._groups(user)
        known = self.roster.lookups.of(groups).values()
        sure, error = self.roster.sure_that(groups)
        if sure is not Sure.YES:
            return answers.cannot_check("who may start", error, nothing)
        if any(user in group.users for group in known):
            return ""
        return answers.not_a_starter(self.starters, _verb(command))

    def _groups(self, user: str | None) -> list[str]:
        """The groups that say whether this user may start."""
        listed = user in self.starters
        return [] if listed else [name for name in self.starters if kind_of(name) == "group"]


def is_direct(channel: str) -> bool:
    """Is this what one person and the bot say to each other?"""
    return channel.startswith("D")


def _verb(command: Command) -> str:
    return command.verb if isinstance(command, Ask) else ""


def _changes(command: Command) -> bool:
    return not isinstance(command, Ask) or command.verb in CHANGING


def _is_for_starters(command: Command) -> bool:
    return not isinstance(command, Ask) or command.verb in FOR_STARTERS


def _is_spoken(row: Inbound, command: Command) -> bool:
    """Is it a look that was asked for in a message?"""
    return bool(row.body.get("spoken")) and not _changes(command) and _verb(command) != "help"


def _needs_member(row: Inbound, command: Command) -> bool:
    """Decisions are judged by the stricter rules of those who may decide."""
    verb = _verb(command)
    if verb in DECISIONS or verb == "help":
        return False
    return _changes(command) or is_direct(row.channel)
