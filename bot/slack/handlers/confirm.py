"""Asks whoever asked before it acts: before a large request, and on what waited for too long.

What is asked about is kept as a draft, in the transaction that ends its row. A yes carries out the
row of the draft as if it had just come; only then the draft is settled, so that a yes that could
not be carried out can be said again. A draft is settled once: who says yes twice is told so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.slack.handlers import answers
from bot.slack.handlers.confirmations import Draft, Drafts, DraftState, Kind, Settled
from bot.slack.handlers.outcomes import Outcome
from bot.slack.handlers.previews import (
    NO,
    YES,
    asked_at,
    is_asked,
    late_view,
    preview_view,
    sure_view,
)
from bot.slack.inbox.listeners import CLICK
from bot.slack.messages.board import Rendered
from bot.slack.messages.links import Links
from bot.slack.modals.decision import read_value
from bot.slack.outbox.rows import Inbound
from bot.slack.people.approvers import Deciders
from bot.slack.people.mentions import spelled
from engine.clock import Clock
from engine.commands.forecast import Forecast
from engine.commands.service import Service
from engine.model import Request
from engine.settings import SlackSettings
from engine.store import queries

LATE = 15 * 60.0  # seconds of the wall after which nothing is done without asking again


@dataclass(frozen=True)
class Taken:
    """A row as it is carried out. ``waited``: too long, so many seconds; 0: not. ``draft``: what
    its person has said yes to."""

    row: Inbound
    waited: float = 0.0
    draft: Draft | None = None


class AskBack:
    """Questions to whoever asked, and their answers."""

    def __init__(
        self,
        service: Service,
        settings: SlackSettings,
        drafts: Drafts,
        links: Links,
        wall: Clock,
    ) -> None:
        self.service, self.settings, self.drafts = service, settings, drafts
        self.links, self.wall = links, wall

    def taken(self, row: Inbound) -> Taken | Outcome:
        """What this row wants carried out: itself, or what it says yes to. An outcome, where it
        says no, or a yes that comes to nothing."""
        if not _is_answer(row):
            return Taken(row, self._waited(row))
        draft = self._draft(row)
        if draft is None:
            return Outcome(answers.unknown_button(spelled(row, self.settings.command)), done=False)
        if draft.row.by != row.by:
            said, what = answers.not_your_question(draft.row.by), f"answer question {draft.id}"
            return Outcome(said, done=False, refused=what)
        if draft.state is not DraftState.OPEN:
            run = queries.run(self.service.store, draft.run) if draft.run else None
            link = self.links.to_board(run.id) if run else ""
            return Outcome(answers.answered_before(draft.state, run, link))
        if row.body.get("action") == NO:
            return Outcome(answers.dropped(), settled=Settled(draft.id, DraftState.DROPPED))
        waited = self._waited(row)
        if draft.kind is not Kind.PREVIEW:  # a preview is compared with what is shown now
            waited = waited or self._stood(draft)
        return Taken(_as_if_now(draft.row, row), waited, draft)

    def preview(
        self, taken: Taken, request: Request, found: Forecast, deciders: Deciders
    ) -> Outcome | None:
        """The preview of a request; ``None``: it may start without."""
        first = self._why_again(taken, found)
        unasked = taken.draft is None and is_asked(request, found, self.settings.confirm)
        if not (first or unasked):
            return None
        draft = self._new(Kind.PREVIEW, taken, found.digest)
        shown = preview_view(found, draft, deciders, self.service.clock.now(), first)
        return _question(draft, shown, taken.draft)

    def late(self, taken: Taken, what: str) -> Outcome:
        """Is it still meant? ``what``: what was asked for, escaped."""
        draft = self._new(Kind.LATE, taken, "late")
        asked = taken.draft is not None and not self._waited(taken.row)
        return _question(draft, late_view(what, draft, taken.waited, asked=asked), taken.draft)

    def sure(self, taken: Taken, what: str, label: str) -> Outcome:
        """A question before something is stopped that was said where Slack asks none."""
        draft = self._new(Kind.SURE, taken, "sure")
        return _question(draft, sure_view(what, label, draft), taken.draft)

    def _why_again(self, taken: Taken, found: Forecast) -> str:
        """Why a request is shown though it was said, or its Start clicked; empty: it is not."""
        draft = taken.draft
        if draft is None or draft.kind is not Kind.PREVIEW:
            return asked_at(taken.waited) if taken.waited else ""
        if max(self.wall.now() - draft.made, taken.waited) > LATE:
            return answers.preview_is_old()
        return answers.preview_differs() if draft.digest != found.digest else ""

    def _new(self, kind: Kind, taken: Taken, digest: str) -> Draft:
        return Draft(kind, taken.row, digest, self.wall.now(), taken.row.id)

    def _draft(self, row: Inbound) -> Draft | None:
        """The draft of the button, if we made it."""
        shown = read_value(str(row.body.get("value")))
        draft = self.drafts.of(shown[0]) if shown else None
        return draft if draft is not None and shown and draft.digest == shown[1] else None

    def _waited(self, row: Inbound) -> float:
        """Seconds that it waited, where that is too long."""
        waited = self.wall.now() - row.heard if row.heard is not None else 0.0
        return waited if waited > LATE else 0.0

    def _stood(self, draft: Draft) -> float:
        """Seconds that this question stood, where that is too long: the words in it may mean
        another run now."""
        stood = self.wall.now() - draft.made
        return stood if stood > LATE else 0.0


def _is_answer(row: Inbound) -> bool:
    return row.kind == CLICK and row.body.get("action") in (YES, NO)


def _as_if_now(asked: Inbound, answer: Inbound) -> Inbound:
    """What was asked for, as a row of the moment of the yes: its number, its times, its trigger."""
    body = {**asked.body, "trigger": answer.body.get("trigger", "")}
    return replace(answer, kind=asked.kind, channel=asked.channel, body=body)


def _question(draft: Draft, shown: Rendered, before: Draft | None) -> Outcome:
    settled = Settled(before.id, DraftState.REPLACED) if before else None
    return Outcome(shown.text, blocks=shown.blocks, draft=draft, settled=settled, done=False)
