"""Copies of an approval card for approvers who cannot see the run's channel.

A copy goes to the channel in ``approval.channel``; without this setting, as a direct message to
each approver (at most ten) outside the run's channel. Posted copies are kept up to date: one
decision closes all. If Slack does not say who is in the channel, no copy is sent.

All other messages about a card can be posted under its copies as well, as a message whose key is
``at`` that place: a reply in the copy's thread, so that a person who follows the thread sees the
card and its buttons on top. In a channel, the mentioned people are notified. In a direct message
people need not follow a thread, so the message is shown in the conversation, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bot.slack.kit.blocks import Block, context, fingerprint, fit_blocks
from bot.slack.kit.buttons import AGAIN
from bot.slack.kit.ids import is_direct, slack_user
from bot.slack.kit.mentions import channels, mention
from bot.slack.kit.message_kinds import CARD, FIRST, SECOND, Key
from bot.slack.kit.phrases import Post, Rendered
from bot.slack.messages.card import Question, card_view
from bot.slack.outbox.rows import Tables
from bot.slack.people.approvers import Approvers
from bot.slack.people.roster import Lookups
from bot.slack.people.rows import Lookup, direct, members
from engine.clock import Clock
from engine.model import Approval, ApprovalState
from engine.settings import ApprovalSettings

MOST = 10  # copies in direct messages
ASKED_AGAIN = 15.0  # seconds (wall clock) before an unanswered look-up is repeated


class Copies:
    """Copies of a card, as messages with their keys."""

    def __init__(
        self, tables: Tables, settings: ApprovalSettings, lookups: Lookups, wall: Clock
    ) -> None:
        self.tables, self.settings, self.lookups, self.wall = tables, settings, lookups, wall
        self._asked: dict[str, float] = {}
        self._asks = False

    def of(
        self,
        question: Question,
        approvers: Approvers,
        users: Sequence[str],
        channel: str,
        lists: Sequence[Key] = (),
    ) -> Iterator[Post]:
        """Every copy of the card that is in ``channel``, with key and urgency: those posted, and
        those for ``users`` who cannot see the card itself. A copy gets buttons once the messages
        ``lists`` are posted under it: nobody approves VMs that they could not read."""
        approval = question.approval
        is_open = approval.state is ApprovalState.REQUESTED
        is_news = is_open or (approval.glass and approval.state is ApprovalState.GRANTED)
        wanted = self._places(users, channel) if is_news and not question.record.run.over else []
        places = list(dict.fromkeys([*self._posted(approval), *wanted]))
        if not places:
            return
        card, is_open = card_view(question, approvers), is_open and not question.record.run.over
        for place in places:
            is_whole = all(self.tables.message(key.at(place)) is not None for key in lists)
            shown = _copied(question, card, channel, is_whole)
            yield Post(Key(CARD, approval.label, place=place), shown, SECOND if is_open else FIRST)

    def posted_in(self, approval: Approval) -> list[str]:
        """Places in which a copy of the card is posted."""
        card = Key(CARD, approval.label)
        places = self._posted(approval)
        return [place for place in places if self.tables.message(card.at(place)) is not None]

    def news_to(self, users: Sequence[str], place: str, channel: str) -> tuple[str, ...] | None:
        """Those of ``users`` for whom a message in ``channel`` about a card is news in ``place``,
        where its copy is posted. Readers of ``channel`` are left out: they are notified there.
        ``None``: Slack did not say who reads ``channel``, so everybody in ``place``."""
        there = self._readers(channel)
        outside = tuple(user for user in users if user not in (there or ()))
        if is_direct(place):
            rows = self.lookups.of(map(direct, outside))
            return tuple(user for user in outside if rows[direct(user)].channel == place)
        if there is not None and users:
            return outside
        return () if self.lookups.of([members(channel)])[members(channel)].wanted else None

    def asks(self) -> bool:
        """Tell whether a look-up was requested since the last call. If so, knock the sender."""
        asked, self._asks = self._asks, False
        return asked

    def _posted(self, approval: Approval) -> list[str]:
        """Places in which a copy is posted, or may be."""
        return [key.place for key in self.tables.copies_of(Key(CARD, approval.label))]

    def _places(self, users: Sequence[str], channel: str) -> list[str]:
        """Places for copies to those of ``users`` who cannot see the card itself."""
        named = self.settings.channel
        if named:
            return [named] if named != channel else []
        there = self._readers(channel) if users else None
        if there is None:
            return []
        outside = [user for user in users if user not in there][:MOST]
        opened = [self._known(direct(user)) for user in outside]
        return [row.channel for row in opened if row is not None and row.channel]

    def _readers(self, channel: str) -> Sequence[str] | None:
        """People who see the card itself; ``None``: unknown. A run without a channel is reported to
        its owner alone."""
        if slack_user(channel):
            return [channel]
        there = self._known(members(channel))
        return None if there is None else there.users

    def _known(self, name: str) -> Lookup | None:
        """Last answer of Slack about a name, however old; ``None``: none yet. Requests a new one
        when it is stale."""
        row = self.lookups.of([name])[name]
        now = self.wall.monotonic()
        due = now >= self._asked.get(name, 0.0) and not row.refused
        if due and not row.wanted and not row.fresh(self.wall.now()):
            self._asked[name] = now + ASKED_AGAIN
            self.lookups.want([name])
            self._asks = True
        return row if row.at is not None else None


def _copied(question: Question, card: Rendered, channel: str, is_whole: bool) -> Rendered:
    """The card as a copy. Without *Ask again*, which is for people who see the run."""
    label = question.record.run.label
    place = f"for {mention(channel)} alone" if slack_user(channel) else f"in {channels([channel])}"
    where = f"A copy of the card in the thread of {label} {place}. One decision closes all copies."
    if not is_whole:
        where += " Its buttons follow once all its VMs are listed in the thread of this message."
    if is_whole:
        kept = [block for block in map(_without_again, card.blocks) if block]
    else:
        kept = [block for block in card.blocks if block["type"] != "actions"]
    blocks = [*kept, context(where)]
    text = f"{card.text}\n{where}"
    return Rendered(text, fit_blocks(blocks), fingerprint(card.fingerprint, where))


def _without_again(block: Block) -> Block | None:
    elements = block.get("elements")
    if block["type"] != "actions" or not isinstance(elements, list):
        return block
    kept = [each for each in elements if each.get("action_id") != AGAIN]
    return {**block, "elements": kept} if kept else None
