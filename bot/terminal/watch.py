"""View of a run for one person: prints events, draws the board, takes answers."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bot.terminal.ask import ApprovalAnswer, Policy, Typed, answer_by_policy, card_lines, prompt
from bot.terminal.board import Screen, safe
from engine.commands.service import Service
from engine.model import Approval, MoveState, Run, short
from engine.store import events, queries
from engine.views.board import board

DRAW_EVERY = 4  # looks per redraw of the board, if there are no events


def user() -> str:
    """Return the id of this terminal's user: ``terminal:ann``."""
    try:
        return f"terminal:{getpass.getuser()}"
    except (OSError, KeyError):
        return "terminal:unknown"


class Watch:
    """View of one run. :meth:`look` shows changes, :meth:`listen` waits for an answer."""

    def __init__(
        self, service: Service, run: Run, screen: Screen, policy: Policy, terminal: bool
    ) -> None:
        self.service, self.store, self.clock = service, service.store, service.clock
        self.rate = service.settings.engine.mb_per_s
        self.run, self.screen = run, screen
        self.policy, self.terminal = policy, terminal
        self.typed = Typed()
        if terminal and policy == "ask":
            self.typed.listen()
        self.asked: int | None = None
        self.seen = self.looks = 0
        self.health = ""

    def skip(self) -> None:
        """Skip the events so far, so that only later ones are printed."""
        history = events.since(self.store, 0, run=self.run.id)
        self.seen = history[-1].seq if history else 0

    def look(self) -> None:
        """Print new events, answer the questions that ``--approve`` decides, draw the board."""
        news = events.since(self.store, self.seen, run=self.run.id)
        if news:
            self.seen = news[-1].seq
            self.screen.tell(news)
        question = self._question()
        self.looks += 1
        drawn = self.screen.draws and (bool(news) or self.looks % DRAW_EVERY == 1)
        if drawn or (question is not None and question.id != self.asked):
            self._draw(question)
        if question is None:
            self.asked = None

    def _draw(self, question: Approval | None) -> None:
        record = queries.record(self.store, self.run.id)
        if record is None:
            return
        fleet = queries.fleet(self.store, self.run.vmm)
        if question is not None and question.id != self.asked:
            self.typed.forget()
            self.asked = question.id
            # The whole list stays on the screen, so that people can read what they approve.
            self.screen.say(card_lines(question, record, fleet))
            if not self.screen.draws:
                self.screen.say([prompt(question)])
        asking = [prompt(question)] if question else []
        self.screen.show(board(record, fleet, self.clock.now(), self.rate), asking)

    def _question(self) -> Approval | None:
        """Return the first question for a person. Questions that ``--approve`` decides are answered
        here."""
        for approval in queries.open_approvals(self.store):
            if approval.run != self.run.id:
                continue
            answer = answer_by_policy(self.policy, self.terminal)
            if answer is None:
                return approval
            self._decide(approval, answer)
        return None

    def say_health(self, health: str) -> None:
        """Print a problem of the engine once, and its end once."""
        if health == self.health:
            return
        self.screen.say([health or "The engine works again."])
        self.health = health

    def listen(self, seconds: float) -> None:
        """Wait up to ``seconds``, for an answer if a question is open."""
        if self.asked is None:
            threading.Event().wait(seconds)
            return
        answer = self.typed.answer(seconds)
        if answer is None:
            return
        self.screen.close()  # the cursor has moved, so the next board begins below
        self.looks = 0
        if isinstance(answer, str):
            self.screen.say([f'"{answer}" is neither y nor n.'])
            return
        question = queries.approval(self.store, self.asked)
        if question is not None:
            self._decide(question, answer)
        self.asked = None

    def _decide(self, question: Approval, answer: ApprovalAnswer) -> None:
        decision = self.service.decide(
            question.id, answer.verdict, by=user(), digest=question.digest, reason=answer.reason
        )
        if not decision.accepted:
            by = f" by {decision.by}" if decision.by else ""
            self.screen.say([f"{question.label} is {decision.code}{by}. Nothing changed."])

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """On Ctrl-C, print the migrations in flight at once, before the engine's step ends."""
        try:
            yield
        except KeyboardInterrupt:
            self.screen.close()
            self.screen.say(self.in_flight())
            raise

    def in_flight(self) -> list[str]:
        """Return lines about the migrations that continue after Ctrl-C."""
        record = queries.record(self.store, self.run.id)
        moves = [one.move for one in record.moves] if record else []
        moving = [move for move in moves if move.state is MoveState.MOVING]
        if not moving:
            return [f"{self.run.label}: nothing is moving. Repeat the command to continue."]
        names = ", ".join(f"{safe(move.vm)} → {short(move.destination)}" for move in moving)
        return [
            f"{self.run.label}: in flight: {names}. VMM completes these migrations. Repeat "
            "the command to watch them."
        ]
