"""The real Bolt app over real Socket Mode, the real engine, a simulated fleet on virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.slack_side import SlackSide
from bot.standin.values import Message
from engine.advance.engine import Engine
from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.model import Run
from engine.settings import RunDefaults, Settings
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort, open_world
from engine.store import queries
from engine.store.store import Store
from engine.stories.next_tick import next_tick
from tests.hangs import HANGS
from tests.patient import patient_slack
from tests.slack.said import sections
from tests.troubled_slack import TroubledSlack

HURRIED = Rhythm(post=0.0, board=0.0, look=0.02, again=0.05, patience=HANGS, rates={})

FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[host]]
name = "hv03.corp.example"
[[vm]]
name = "web01"
host = "hv01"
minutes = 4.0
[[vm]]
name = "web02"
host = "hv01"
minutes = 6.0
[[vm]]
name = "old-crm"
host = "hv01"
status = "PowerOff"
disk_gb = 210
minutes = 3.0
[[vm]]
name = "<!channel>"
host = "hv02"
status = "Saved"
minutes = 2.0
"""


class Night:
    """An ops channel with three people, and the engine behind it, stepped by the test.

    ``trips``: the test injects rows that no version of ours would write.
    """

    trips = False

    def __init__(
        self, folder: Path, slack: TroubledSlack, fleet: str = FLEET, **options: object
    ) -> None:
        self.slack = slack
        self.dana, self.ravi, self.mei = (slack.user(name) for name in ("dana", "ravi", "mei"))
        self.ops = slack.channel("ops")
        said: dict[str, object] = {
            "bot_token": slack.bot_token,
            "app_token": slack.app_token,
            "approvers": (self.ravi, self.dana),
            **options,
        }
        self.settings = Settings(**sections(**said), run=RunDefaults())
        opened = open_world(parse(fleet), None, speed=math.inf)
        self.world = opened.world
        clock = opened.clock()
        assert isinstance(clock, VirtualClock)
        self.clock, self.began = clock, clock.now()
        self.store = Store(folder / "vmferry.db", durable=False)
        self.service = Service(self.store, clock, self.settings)
        self.engine = Engine(self.store, SimPort(opened.world, clock), clock, self.settings)
        self.engine.take_over()
        self.engine.look()
        try:
            self.side = self.new_side()
        except BaseException:  # what is refused leaves nobody a night to stop
            self.close()
            raise

    def new_side(self, rhythm: Rhythm = HURRIED) -> SlackSide:
        return SlackSide(
            self.store,
            self.service,
            self.settings,
            self.clock,
            base_url=self.slack.base_url,
            rhythm=rhythm,
        )

    def start(self) -> None:
        self.side.start()
        assert self.side.connection.connected.wait(HANGS)

    def stop(self) -> None:
        self.side.stop()
        self.close()

    def close(self) -> None:
        self.engine.close()
        self.store.close()

    # --- what people do -------------------------------------------------------------------

    def say(self, text: str, by: str | None = None, channel: str | None = None) -> str:
        return self.slack.command(by or self.dana, channel or self.ops, text)

    def ask_for(self, text: str = "host hv01 to hv02,hv03 now") -> Message:
        """Request a run and return its board once the run is active."""
        assert self.say(text) == ""
        return self.board_shows("Moving")

    def board_shows(self, words: str, run: str = "R1") -> Message:
        return self.slack.wait_for(
            lambda: next(
                (
                    m
                    for m in self.slack.messages(self.ops)
                    if m.thread_ts is None and run in m.shown and words in m.shown
                ),
                None,
            )
        )

    def reply_with(self, words: str, run_message: Message) -> Message:
        return self.slack.wait_for(
            lambda: next(
                (m for m in self.slack.thread(self.ops, run_message.ts) if words in m.shown), None
            )
        )

    def card(self, board: Message) -> Message:
        """The open question of a run. Steps the engine until it is asked."""
        self.step(until=lambda: bool(queries.open_approvals(self.store)))
        return self.reply_with("Approve moving", board)

    def told(self, user: str, words: str) -> str:
        """The ephemeral message to this person that contains these words."""
        return self.slack.wait_for(
            lambda: next((e.text for e in self.slack.ephemerals(user) if words in e.text), "")
        )

    def settled(self) -> None:
        """Wait until everything accepted is carried out and every message is sent."""
        tables = self.side.tables
        self.slack.wait_for(lambda: tables.inbox.next_inbound() is None and not tables.outbound())

    def age_lookups(self, seconds: float) -> None:
        """Make Slack's answers about people this old, when none is in flight."""
        asked = "SELECT count(*) AS n FROM slack_lookups WHERE wanted IS NOT NULL"
        self.slack.wait_for(lambda: self.store.query(asked)[0]["n"] == 0)
        with self.store.transaction() as db:
            db.execute("UPDATE slack_lookups SET at = at - ?", [seconds])

    # --- the engine -----------------------------------------------------------------------

    def run(self, number: int = 1) -> Run:
        run = queries.run(self.store, number)
        assert run is not None
        return run

    def step(self, until: Callable[[], bool], most: int = 3000, at_most: float = 30.0) -> None:
        """Advance on virtual time until ``until`` is true.

        Ticks at which nothing can change are skipped, but time never jumps further than ``at_most``
        seconds, so that a test can wait for a moment exactly.
        """
        for _ in range(most):
            if until():
                return
            now, tick = self.clock.now(), self.engine.rules.tick
            advanced = self.engine.advance()
            assert advanced.error is None
            moments = (now,) if advanced.acted else (advanced.next_due, self.world.next_change(now))
            self.clock.jump(min(now + at_most, next_tick(now, self.began, tick, *moments)))
        raise AssertionError(f"still not so at {self.clock.now()}: {self.slack.workspace.dump()}")

    def to_the_end(self, number: int = 1) -> None:
        self.step(until=lambda: self.run(number).over, most=20_000)


@pytest.fixture
def slack() -> Iterator[TroubledSlack]:
    with patient_slack() as standin:
        yield standin


@pytest.fixture
def night(tmp_path: Path, slack: TroubledSlack) -> Iterator[Night]:
    made = Night(tmp_path, slack)
    made.start()
    yield made
    made.stop()
    assert made.side.bugs == 0


@pytest.fixture
def make_night(tmp_path: Path, slack: TroubledSlack) -> Iterator[Callable[..., Night]]:
    """A night with other settings or another fleet; stopped at the end."""
    made: list[Night] = []

    def make(**options: object) -> Night:
        made.append(Night(tmp_path, slack, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()
    assert all(each.side.bugs == 0 for each in made if not each.trips)
