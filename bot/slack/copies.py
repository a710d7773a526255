"""Copies of an approval card for deciders who cannot see the run's channel: where they go.

Into the channel that the settings name for it, else to each decider who is not a member of the
run's channel, in a direct message. A copy that was posted is kept up to date wherever it stands:
one decision closes all. Where Slack does not say who is in the channel, none is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.slack.blocks import Block, context, fingerprint, fit_blocks
from bot.slack.card import Question, card_view
from bot.slack.people import Deciders, mention, slack_id
from bot.slack.roster import Lookup, Lookups, direct, room
from bot.slack.tables import FIRST, SECOND, Tables
from bot.slack.views import AGAIN, Rendered
from engine.clock import Clock
from engine.model import Approval, ApprovalState
from engine.settings import SlackSettings

MOST = 10  # deciders who are written to
ASKED_AGAIN = 15.0  # seconds of the wall before Slack is asked again what it did not answer
_AT = "@"


def place_of(key: str) -> str:
    """The channel in which the copy of that key stands; empty: it is no copy."""
    return key.partition(_AT)[2] if key.startswith("card:") else ""


def _prefix(approval: Approval) -> str:
    return f"card:{approval.label}{_AT}"


class Copies:
    """Which copies there are of a card, as messages with their keys."""

    def __init__(
        self, tables: Tables, settings: SlackSettings, lookups: Lookups, wall: Clock
    ) -> None:
        self.tables, self.settings, self.lookups, self.wall = tables, settings, lookups, wall
        self._asked: dict[str, float] = {}
        self._asks = False

    def of(
        self, question: Question, deciders: Deciders, channel: str
    ) -> Iterator[tuple[str, Rendered, int]]:
        """Key, content and urgency of every copy of the card that stands in ``channel``."""
        prefix = _prefix(question.approval)
        posted = [key.removeprefix(prefix) for key in self.tables.posted(prefix)]
        is_open = question.approval.state is ApprovalState.REQUESTED
        is_open = is_open and not question.record.run.over
        wanted = self._places(question, deciders, channel) if is_open else []
        places = list(dict.fromkeys([*posted, *wanted]))
        if not places:
            return
        shown = _copied(question, card_view(question, deciders), channel)
        for place in places:
            yield f"{prefix}{place}", shown, SECOND if is_open else FIRST

    def asks(self) -> bool:
        """Is Slack to be asked for something since this was asked last? Then knock."""
        asked, self._asks = self._asks, False
        return asked

    def _places(self, question: Question, deciders: Deciders, channel: str) -> list[str]:
        """Where somebody has to be asked who does not see the card itself."""
        named = self.settings.approvals_channel
        if named:
            return [named] if named != channel else []
        able = deciders.eligible(question.record.run)
        there = self._readers(channel) if able else None
        if there is None:
            return []
        outside = [user for user in able if user not in there][:MOST]
        opened = [self._known(direct(user)) for user in outside]
        return [row.channel for row in opened if row is not None and row.channel]

    def _readers(self, channel: str) -> Sequence[str] | None:
        """Who sees the card itself. A run without a channel is told to its owner alone."""
        if slack_id(channel):
            return [channel]
        there = self._known(room(channel))
        return None if there is None else there.users

    def _known(self, name: str) -> Lookup | None:
        """What Slack said, be it old; it is asked for again where that is due."""
        row = self.lookups.of([name])[name]
        now = self.wall.monotonic()
        due = now >= self._asked.get(name, 0.0) and not row.refused
        if due and not row.wanted and not row.fresh(self.wall.now()):
            self._asked[name] = now + ASKED_AGAIN
            self.lookups.want([name])
            self._asks = True
        return row if row.at is not None else None


def _copied(question: Question, card: Rendered, channel: str) -> Rendered:
    """The card as it stands elsewhere. Asking again is for those who see the run."""
    label = question.record.run.label
    place = f"for {mention(channel)} alone" if slack_id(channel) else f"in <#{channel}>"
    where = f"A copy of the card in the thread of {label} {place}. One decision closes all."
    blocks = [*filter(None, map(_without_again, card.blocks)), context(where)]
    text = f"{card.text}\n{where}"
    return Rendered(text, fit_blocks(blocks), fingerprint(card.fingerprint, where))


def _without_again(block: Block) -> Block | None:
    elements = block.get("elements")
    if block["type"] != "actions" or not isinstance(elements, list):
        return block
    kept = [each for each in elements if each.get("action_id") != AGAIN]
    return {**block, "elements": kept} if kept else None
