"""Clicks of many people on one card, in any order, with kills between any two steps.

Exactly one decides, and every other click gets exactly one correct answer. The test works on rows:
it writes what the listeners would write, the real worker carries the rows out on a clock that kills
it at a chosen moment, and the real publisher answers.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from bot.slack.handlers.worker import Worker
from bot.slack.inbox.rows import Inbound
from bot.slack.kit.buttons import SAID
from bot.slack.kit.mentions import mention
from bot.slack.messages.publisher import Publisher
from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.outbox.rows import Tables
from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.model import ApprovalState, HyperVState, Options, RunState, Vm
from engine.policy.approvals import approval as approvals
from engine.settings import ApprovalSettings, Settings
from engine.store import events, queries
from engine.store.pen import writing
from engine.store.store import Store
from tests.prove import REPEATABLE, size

NOW = 1_767_650_400.0
DECIDERS = ("RAVI", "MEI", "OMAR")  # dana asked, gus is nobody
PEOPLE = (*DECIDERS, "DANA", "GUS")
ACTIONS = ("approve", f"deny{SAID}", f"choose{SAID}", f"withdraw{SAID}")
KINDS = {
    "approve": "approval.granted",
    f"choose{SAID}": "approval.granted",
    f"deny{SAID}": "approval.denied",
    f"withdraw{SAID}": "approval.withdrawn",
}


class Killed(BaseException):
    """An exception that no handler of ours catches: the process is gone."""


class MortalClock(VirtualClock):
    """A clock on which every reading costs a millisecond, and the last one kills the process."""

    looks: int | None = None

    def now(self) -> float:
        self.time += 0.001
        if self.looks is not None:
            self.looks -= 1
            if self.looks < 0:
                raise Killed
        return self.time


@dataclass(frozen=True)
class Click:
    by: str
    action: str
    stale: bool
    twice: bool


@dataclass(frozen=True)
class Work:
    looks: int | None


clicks = st.builds(
    Click,
    st.sampled_from(PEOPLE + DECIDERS),
    st.sampled_from(ACTIONS),
    st.sampled_from([False] * 5 + [True]),
    st.booleans(),
)
steps = st.one_of(
    clicks,
    clicks,
    st.builds(Work, st.sampled_from([None, 0, 1, 2, 3, 4, 5, 6])),
    st.sampled_from(["tell", "later", "restart", "expire"]),
)


class Card:
    """An open question of a run of Dana, and the rows of Slack for it."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.wall = MortalClock(NOW), VirtualClock(NOW)
        self.store = Store(folder / "vmferry.db", durable=False)
        self.settings = Settings(
            approval=ApprovalSettings(approvers=tuple(f"slack:U0{u}" for u in DECIDERS))
        )
        self.service = Service(self.store, self.clock, self.settings)
        self.tables = Tables(self.store)
        with writing(self.store, NOW) as pen:
            run = pen.runs.open(
                vmm="vmm01",
                kind="host",
                request="host hv01 to hv02",
                sources=("hv01",),
                destinations=("hv02",),
                options=Options(),
                by="slack:U0DANA",
                state=RunState.ACTIVE,
            )
            for name in ("one", "two"):
                vm = Vm(f"id-{name}", name, "hv01", "PowerOff", ("hv01",), HyperVState.OFF)
                pen.moves.open(run, vm, "hv01")
        found = queries.run(self.store, run)
        assert found is not None
        ids = ("id-one", "id-two")
        self.digest = approvals.digest(found, ids)
        with writing(self.store, NOW) as pen:
            self.number = pen.approvals.ask(run, ids, ("one", "two"), self.digest)
        with self.store.transaction() as db:
            self.tables.runs.watch(db, run, "slack:C0OPS", "slack:U0DANA", 0)
            for user in PEOPLE:
                db.execute(
                    "INSERT OR REPLACE INTO slack_lookups (name, at, answer) VALUES (?, ?, '{}')",
                    [f"slack:U0{user}", NOW],
                )
        self.restart()
        self.clicked: dict[int, Click] = {}

    def restart(self) -> None:
        """Start another process on the same rows."""
        self.worker = Worker(
            self.tables, self.service, self.settings, self.clock, lambda run: None, self.wall
        )
        self.publisher = Publisher(
            self.tables,
            self.service,
            self.settings,
            self.clock,
            self.wall,
            Rhythm(0.0, 0.0),
            lambda: None,
        )

    def click(self, click: Click) -> None:
        """Write what the listener would write."""
        digest = "0" * 16 if click.stale else self.digest
        body = {
            "action": click.action,
            "value": f"{self.number}.{digest}",
            "reason": "because" if click.action.endswith(SAID) else "",
            "vms": [0],
        }
        row = Inbound(0, "click", f"slack:U0{click.by}", "slack:C0OPS", body, self.clock.now())
        key = f"click:{len(self.clicked)}"
        inbox = self.tables.inbox.accept(row, key)
        assert inbox is not None
        self.clicked[inbox] = click
        if click.twice:
            assert self.tables.inbox.accept(row, key) is None

    def work(self, looks: int | None) -> None:
        """Carry out the waiting rows. The process dies after this many readings of the clock."""
        self.clock.looks = looks
        try:
            self.worker.work_off()
        except Killed:
            self.clock.looks = None
            self.restart()
        self.clock.looks = None

    def expire(self) -> None:
        """Expire the question, as the engine does."""
        asked = queries.approval(self.store, self.number)
        assert asked is not None
        if asked.state is ApprovalState.REQUESTED:
            with writing(self.store, self.clock.now()) as pen:
                pen.approvals.set_state(asked, ApprovalState.EXPIRED, "A1 expired.")

    def do(self, step: Click | Work | str) -> None:
        """Carry out one step of a schedule."""
        match step:
            case Click():
                self.click(step)
            case Work(looks):
                self.work(looks)
            case "tell":
                self.publisher.look()
            case "later":
                self.clock.jump(self.clock.time + 12)
            case "restart":
                self.restart()
            case "expire":
                self.expire()

    def told(self) -> dict[int, str]:
        """The answer to each row that has one."""
        replies = [out for out in self.tables.outbound() if out.kind == "reply"]
        assert len({out.key for out in replies}) == len(replies)
        return {out.inbox: out.text for out in replies if out.inbox is not None}


def is_true(card: Card, inbox: int, said: str) -> bool:
    """Check the answer against the audit."""
    click = card.clicked[inbox]
    decided = {e.kind: e.by for e in events.since(card.store) if e.kind.startswith("approval.")}
    own = "You" if decided.get("approval.granted") == f"slack:U0{click.by}" else ""
    if "approved this" in said:
        who = own or mention(decided.get("approval.granted"))
        return "approval.granted" in decided and said.startswith(who)
    if "denied this" in said:
        by = decided.get("approval.denied")
        who = "You" if by == f"slack:U0{click.by}" else mention(by)
        return by is not None and said.startswith(who)
    if "You requested R1" in said:
        return click.by == "DANA"
    if "You are not allowed to decide on this approval" in said:
        return click.by == "GUS"
    if "This card is out of date" in said:
        return click.stale and click.by in DECIDERS
    if "nobody decided in time" in said:
        return "approval.expired" in decided
    return "was withdrawn" in said and "approval.withdrawn" in decided


#: The second is interrupted after it began, so the result is that of the first.
TWO_OF_ONE = (
    Click("RAVI", "approve", stale=False, twice=False),
    Click("RAVI", f"deny{SAID}", stale=False, twice=False),
)


@pytest.mark.prove
@settings(
    max_examples=size(40, 150, 2000),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=REPEATABLE,
)
@given(st.lists(steps, min_size=3, max_size=24))
@example([*TWO_OF_ONE, Work(4)])
@example([*TWO_OF_ONE, Work(5), Work(1)])
def test_one_click_decides_and_every_other_click_gets_one_correct_answer(schedule):
    with tempfile.TemporaryDirectory() as folder:
        card = Card(Path(folder))
        for step in schedule:
            card.do(step)
        card.work(None)
        card.publisher.look()
        told = card.told()
        decisions = [e for e in events.since(card.store) if e.kind in KINDS.values()]
        bugs = card.worker.loop.bugs + card.publisher.loop.bugs
        refused = [e for e in events.since(card.store) if e.kind == "refused"]
        answered = card.tables.inbox.next_inbound() is None

        made = sorted((e.kind, e.by) for e in decisions)
        silent = [c for inbox, c in card.clicked.items() if inbox not in told]
        event(f"{len(made)} decisions, {len(told)} sentences")
        assert answered
        assert bugs == 0
        assert len([kind for kind, _ in made if kind != "approval.withdrawn"]) <= 1
        assert sorted((KINDS[c.action], f"slack:U0{c.by}") for c in silent) == made
        assert all(is_true(card, inbox, said) for inbox, said in told.items()), told
        assert len(refused) >= len(told)
        events.verify(card.store)
        card.store.close()


def test_simultaneous_decisions_from_several_threads_make_one_decision():
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(20):
            card = Card(Path(folder))
            start = threading.Barrier(6)
            made = []

            def decide(number, card=card, start=start, made=made):
                start.wait()
                verdict = "approve" if number % 2 else "deny"
                by = f"slack:U0{DECIDERS[number % 3]}"
                approvers = frozenset(f"slack:U0{user}" for user in DECIDERS)
                made.append(card.service.decide(card.number, verdict, by=by, approvers=approvers))

            threads = [threading.Thread(target=decide, args=(n,)) for n in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            [winner] = [one for one in made if one.accepted]
            assert len(made) == 6
            assert {(one.code, one.by) for one in made if one is not winner} == {
                ("already", winner.by)
            }
            granted = [
                e
                for e in events.since(card.store)
                if e.kind in ("approval.granted", "approval.denied")
            ]
            assert len(granted) == round_ + 1
            card.store.close()
