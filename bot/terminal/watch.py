"""One run in front of one person: tells what happens, draws the board, takes answers."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bot.terminal.ask import Answer, Policy, Typed, card_lines, prompt, settled
from bot.terminal.board import LiveScreen, Screen
from engine.board import Board, board
from engine.model import Approval, ApprovalState, Run, RunRecord, short
from engine.service import Service
from engine.store import events, queries


def user() -> str:
    """Who sits at the terminal, as the audit writes it."""
    try:
        return f"terminal:{getpass.getuser()}"
    except (OSError, KeyError):
        return "terminal:unknown"


class Watch:
    """Shows one run to one person while it goes on, and takes their answers."""

    def __init__(
        self, service: Service, run: Run, screen: Screen, policy: Policy, terminal: bool
    ) -> None:
        self.service, self.store, self.clock = service, service.store, service.clock
        self.rate = service.settings.engine.mb_per_s
        self.run, self.screen = run, screen
        self.policy, self.terminal = policy, terminal
        self.typed = Typed()
        self.asked: int | None = None
        self.seen = 0
        self.health = ""
        self.board: Board | None = None

    def skip(self) -> None:
        """What happened before we came is not told again."""
        told = events.since(self.store, 0, run=self.run.id)
        self.seen = told[-1].seq if told else 0

    def look(self) -> None:
        """Tell what happened, draw the board, answer what can be answered."""
        news = events.since(self.store, self.seen, run=self.run.id)
        if news:
            self.seen = news[-1].seq
            self.screen.tell(news)
        record = queries.record(self.store, self.run.id)
        if record is None:
            return
        fleet = queries.fleet(self.store, self.run.vmm)
        question = self._question(record)
        card = [*card_lines(question, record, fleet), prompt(question)] if question else []
        self.board = board(record, fleet, self.clock.now(), self.rate)
        self.screen.show(self.board, card)
        if question is not None and question.id != self.asked:
            self._ask(question, card)
        elif question is None and self.asked is not None:
            self.asked = None

    def _question(self, record: RunRecord) -> Approval | None:
        """The first question that a person here has to answer; the others are answered now."""
        for approval in record.approvals:
            if approval.state is not ApprovalState.REQUESTED:
                continue
            answer = settled(self.policy, self.terminal)
            if answer is None:
                return approval
            self._decide(approval, answer)
        return None

    def _ask(self, question: Approval, card: list[str]) -> None:
        self.asked = question.id
        self.typed.listen()
        if not isinstance(self.screen, LiveScreen):
            self.screen.say(card)

    def say_health(self, health: str) -> None:
        """Say once what is wrong with the engine, and once that it is well again."""
        if health == self.health:
            return
        self.screen.say([health or "VMM answers again; going on."])
        self.health = health

    def listen(self, seconds: float) -> None:
        """Wait for an answer, if a question is open; else just for that long."""
        if self.asked is None:
            threading.Event().wait(seconds)
            return
        answer = self.typed.answer(seconds)
        if answer is None:
            return
        if isinstance(self.screen, LiveScreen):
            self.screen.close()  # the cursor has moved: the next board begins below
        if isinstance(answer, str):
            self.screen.say([f'"{answer}" is neither y nor n.'])
            return
        question = queries.approval(self.store, self.asked)
        if question is not None:
            self._decide(question, answer)
        self.asked = None

    def _decide(self, question: Approval, answer: Answer) -> None:
        decision = self.service.decide(
            question.id, answer.verdict, by=user(), digest=question.digest, reason=answer.reason
        )
        if not decision.accepted:
            by = f" by {decision.by}" if decision.by else ""
            self.screen.say([f"{question.label} is {decision.code}{by}. Nothing changed."])

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """On Ctrl-C say at once what is in flight, before anything is waited for."""
        try:
            yield
        except KeyboardInterrupt:
            self.screen.close()
            self.screen.say(self.in_flight())
            raise

    def in_flight(self) -> list[str]:
        """What goes on without us, for somebody who has just pressed Ctrl-C."""
        moving = self.board.moving if self.board else ()
        if not moving:
            return [f"{self.run.label}: nothing is moving. Run the same command again to go on."]
        names = ", ".join(f"{move.vm} → {short(move.destination)}" for move in moving)
        verb = "is" if len(moving) == 1 else "are"
        return [
            f"{self.run.label}: {names} {verb} moving. VMM goes on with them; run the same command "
            "again to go on watching."
        ]
