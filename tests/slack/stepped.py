"""A whole night on one thread and one virtual clock: engine, worker, publisher, outbox and Slack.

The loops are those of ``SlackSide``, but nobody sleeps between their steps: each loop runs when it
was woken or when the pause that it asked for is over. Input of people goes through the Bolt app as
if it came from a socket. Web API calls go over real HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from slack_bolt import BoltRequest, BoltResponse

from bot.slack.connection.bolt_app import dispatch
from bot.slack.kit.loop import Loop
from bot.slack.outbox.rate_limits import Rhythm
from bot.slack.slack_side import SlackSide
from engine.advance.engine import Engine
from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.model import Run
from engine.settings import EngineSettings, Settings, WaitLimits
from engine.sim.fleet_file import START, FleetFile
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.store import queries
from engine.store.store import Store
from tests.slack.said import sections
from tests.troubled_slack import TroubledSlack

TURNS = 2_000  # of loops at one moment, before it counts as a loop without end


class Stepped:
    """A night in steps. ``slack`` has to be a stand-in on the same ``clock``."""

    def __init__(
        self,
        folder: Path,
        slack: TroubledSlack,
        clock: VirtualClock,
        fleet: FleetFile,
        rhythm: Rhythm | None = None,
        waits: WaitLimits | None = None,
        tick: float = 5.0,
        **said: object,
    ) -> None:
        self.path, self.slack, self.clock, self.rhythm = folder / "night.db", slack, clock, rhythm
        tokens = {"bot_token": slack.bot_token, "app_token": slack.app_token}
        self.settings = Settings(
            **sections(**tokens, **said),
            waits=waits or WaitLimits(),
            engine=EngineSettings(tick=tick),
        )
        self.world = World.of(fleet)
        self.bugs = 0
        self.begin()

    def begin(self) -> None:
        """Start a process: build everything anew on the rows of the database."""
        self.store = self.opened()
        self.service = Service(self.store, self.clock, self.settings)
        port = SimPort(self.world, self.clock)
        self.engine = Engine(self.store, port, self.clock, self.settings)
        self.engine.take_over()
        self.engine.look()
        self.side = SlackSide(
            self.store,
            self.service,
            self.settings,
            self.clock,
            base_url=self.slack.base_url,
            rhythm=self.rhythm,
            wall=self.clock,
        )
        side = self.side
        self.loops = (side.worker.loop, side.publisher.loop, side.outbox.loop)
        self._due: dict[Loop, float] = dict.fromkeys(self.loops, -math.inf)
        self._tick = self.clock.now()

    def opened(self) -> Store:
        """Open the database."""
        return Store(self.path, durable=False)

    def drop(self) -> None:
        """End the process, and lose everything that was only in its memory."""
        self.bugs += self.side.bugs
        self.engine.close()
        self.store.close()

    # --- what people do ---------------------------------------------------------------------

    def say(self, user: str, channel: str, text: str) -> BoltResponse:
        """Type a command and return its ack."""
        return self.deliver(self.slack.command_payload(user, channel, text))

    def click(self, user: str, ts: str, action: str, value: str | None = None) -> BoltResponse:
        """Click a button of a message."""
        return self.deliver(self.slack.click_payload(user, ts, action, value))

    def deliver(self, payload: Mapping[str, object]) -> BoltResponse:
        """Deliver a payload as over a socket, and return its ack."""
        request = BoltRequest(mode="socket_mode", body=dict(payload))
        return dispatch(self.side.app, lambda: request)

    # --- time -------------------------------------------------------------------------------

    def turns(self) -> None:
        """Run every loop until none has anything to do at this moment."""
        for _ in range(TURNS):
            now = self.clock.now()
            due = next((one for one in self.loops if one.knocked or self._due[one] <= now), None)
            if due is None:
                return
            wait = self.turn(due)
            self._due[due] = math.inf if wait is None else now + wait
        raise AssertionError(f"the loops do not come to rest: {self.slack.workspace.dump()}")

    def turn(self, loop: Loop) -> float | None:
        """Run one step of one loop."""
        return loop.run_once()

    def advance(self) -> None:
        """Run one step of the engine."""
        self.engine.advance()

    def step(self) -> None:
        """Run whatever is due now, then jump to the next moment at which something is due."""
        if self.service.wake.is_set() or self.clock.now() >= self._tick:
            self.service.wake.clear()
            self._tick = self.clock.now() + self.settings.engine.tick
            self.advance()
        self.turns()
        if not self.service.wake.is_set():
            self.clock.jump(min(self._tick, *self._due.values()))

    def until(self, question: Callable[[], bool], seconds: float) -> None:
        """Step until the condition is true."""
        latest = self.clock.now() + seconds
        while not question():
            assert self.clock.now() < latest, self.slack.workspace.dump()
            self.step()

    def quiet(self) -> bool:
        """Check that everything accepted is carried out and every message is sent."""
        tables = self.side.tables
        return tables.inbox.next_inbound() is None and not tables.outbound()

    def run(self, number: int) -> Run | None:
        """The run with this number, if it exists."""
        return queries.run(self.store, number)

    def ended(self, runs: int) -> bool:
        """Check that this many runs have ended and their last messages are sent."""
        found = queries.runs(self.store)
        return len(found) == runs and all(run.over for run in found) and self.quiet()


def beginning() -> VirtualClock:
    """The clock of a night that has not begun."""
    return VirtualClock(START)
