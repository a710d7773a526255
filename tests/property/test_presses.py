"""Buttons that act on a run, clicked by many people in any order, with kills between any two steps.

Each takes effect at most once and gets exactly one correct answer.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.slack.inbox.rows import Inbound
from bot.slack.kit import buttons
from bot.slack.messages import controls
from bot.slack.messages.failures import by_cause
from engine.model import MoveState, Outcome
from engine.store import events, queries
from engine.store.pen import writing
from engine.views.board import failed
from tests.property.test_clicks import PEOPLE, Card, Work
from tests.prove import REPEATABLE, size

VERBS = ("pause", "resume", "stop", "retry", "skip")
#: The effect according to the audit, and the answer to its author: at once, or after a kill.
DEEDS = {
    "pause": ("run.paused", ("R1 is paused.", "was paused by")),
    "resume": ("run.active", ("R1 is resumed.", "R1 was resumed by")),
    "stop": ("run.stopping", ("R1 starts nothing more.", "R1 was stopped by")),
    "retry": ("move.pending", ("Retrying one.", "requested another attempt of one.")),
    "skip": ("move.skipped", ("one stays where it is.", "one stays where it is: ")),
}


@dataclass(frozen=True)
class Press:
    by: str
    verb: str
    old: bool


presses = st.builds(
    Press, st.sampled_from(PEOPLE), st.sampled_from(VERBS), st.sampled_from([False] * 4 + [True])
)
steps = st.one_of(
    presses,
    presses,
    st.builds(Work, st.sampled_from([None, 0, 1, 2, 3, 4, 5, 6])),
    st.sampled_from(["tell", "restart", "fail"]),
)


class Board(Card):
    """The same run, with a VM that fails and may be retried or skipped."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pressed: dict[int, Press] = {}
        self.shown: dict[str, str] = {}
        with self.store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO slack_lookups (name, at, answer) VALUES (?, ?, '{}')",
                ["slack:C0OPS", self.wall.now()],
            )
        self.fail()

    def fail(self) -> None:
        """Fail one VM, as the engine does."""
        record = queries.record(self.store, 1)
        assert record is not None
        move = record.moves[0].move
        if move.state is MoveState.PENDING and not record.run.over:
            with writing(self.store, self.clock.now()) as pen:
                pen.moves.set_state(
                    move, MoveState.FAILED, "one did not move.", outcome=Outcome.STUCK
                )

    def press(self, press: Press) -> None:
        """Write what the listener would write for a button as it is shown now or was shown
        earlier."""
        record = queries.record(self.store, 1)
        assert record is not None
        subject = buttons.RUN
        if press.verb in ("retry", "skip"):
            subject = next(iter(by_cause(failed(record), record)), "0123abcd")
        bare = buttons.RunButton(press.verb, 1, subject)
        moves = controls.aimed(bare, record)
        value = f"{press.verb}.1.{subject}.{buttons.version(bare, record.run, moves)}"
        if press.old:
            value = self.shown.get(press.verb, value)
        self.shown.setdefault(press.verb, value)
        body = {"action": f"do.{press.verb}", "value": value}
        row = Inbound(0, "click", f"slack:U0{press.by}", "slack:C0OPS", body, self.clock.now())
        inbox = self.tables.inbox.accept(row, f"press:{len(self.pressed)}")
        assert inbox is not None
        self.pressed[inbox] = press

    def do(self, step):
        match step:
            case Press():
                self.press(step)
            case "fail":
                self.fail()
            case _:
                super().do(step)


TWICE = (Press("RAVI", "retry", old=False), Press("RAVI", "retry", old=False))


@pytest.mark.prove
@settings(
    max_examples=size(40, 150, 2000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=REPEATABLE,
)
@given(st.lists(steps, min_size=3, max_size=24))
@example([*TWICE, Work(2), "fail", Work(None)])
@example([*TWICE, Work(None), "fail", Press("RAVI", "retry", old=True)])
@example([Press("MEI", "pause", old=False), Work(2), Press("MEI", "resume", old=False)])
def test_every_press_takes_effect_at_most_once_and_gets_one_correct_answer(schedule):
    with tempfile.TemporaryDirectory() as folder:
        board = Board(Path(folder))
        before = len(events.since(board.store))
        for step in schedule:
            board.do(step)
        board.work(None)
        board.publisher.look()
        told, news = board.told(), events.since(board.store)[before:]
        idle = board.tables.inbox.next_inbound() is None
        bugs = board.worker.loop.bugs + board.publisher.loop.bugs

        assert idle
        assert bugs == 0
        assert set(told) == set(board.pressed)
        for verb, (kind, words) in DEEDS.items():
            done = sorted(str(e.by) for e in news if e.kind == kind)
            claimed = sorted(
                f"slack:U0{press.by}"
                for inbox, press in board.pressed.items()
                if press.verb == verb and any(said in told[inbox] for said in words)
            )
            assert claimed == done, (verb, told)
        board.store.close()
