"""Player of a story: carries out happenings, advances the engine and moves virtual time.

The player also judges what neither engine nor world can (a powered-down VM moved without a grant).
It writes everything as text, which is compared with the story's ``expect.txt``. The same story and
seed give the same bytes.
"""

from __future__ import annotations

import heapq
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.advance.engine import Engine
from engine.advance.open_calls import limits_of
from engine.clock import VirtualClock
from engine.commands.service import Service
from engine.model import Event, MoveOrder
from engine.policy.approvals import approval
from engine.policy.waits import Rules
from engine.sim.deaths import Deaths, Kill, Killed, MortalStore
from engine.sim.faults import FaultyWorld
from engine.sim.port import Reply, SimPort, open_world
from engine.sim.world import World
from engine.store import events, queries
from engine.store.pen import writing
from engine.store.store import Store
from engine.stories import story_file
from engine.stories.happenings import Stage, carry_out_happening
from engine.stories.next_tick import Skip, next_tick
from engine.stories.queue import Queue
from engine.stories.story_file import Happening, Story
from engine.views import report


@dataclass(frozen=True)
class Played:
    """A played story: JSON document, text, and expected text (``None``: there is none)."""

    document: dict[str, Any]
    text: str
    expected: str | None

    @property
    def differs(self) -> bool:
        """True if the text differs from the expected text."""
        return self.expected is not None and self.expected != self.text


def play(folder: Path, seed: int | None = None) -> Played:
    """Play a story folder to its end. Raises ``Refused`` for files that cannot be read."""
    story = story_file.load(folder)
    with tempfile.TemporaryDirectory(prefix="vmferry-story-") as room:
        player = Player(story, Path(room) / "story.db", seed)
        try:
            ended = player.play()
            document = player.document(ended)
            return Played(document, tell(story, document), story.expected)
        finally:
            player.close()


@dataclass(frozen=True)
class Death:
    """A death of the engine: its kill, its time, and the time at which another engine takes
    over."""

    kill: Kill
    at: float
    until: float


class JudgedPort(SimPort):
    """The simulated port, which also checks against the rows whether each cold move was granted.

    An engine dies here during a call: before the call is made, or after it was recorded.
    """

    def __init__(
        self, world: World, clock: VirtualClock, store: Store, rules: Rules, deaths: Deaths
    ) -> None:
        super().__init__(world, clock)
        self._store, self._rules, self._deaths = store, rules, deaths

    def start_move(self, order: MoveOrder) -> str | None:
        now = self.clock.now()
        vm = order.vm_id
        if order.power == "down" and not is_cold_move_granted(self._store, vm, self._rules, now):
            self.world.add_violation(now, "ungranted_cold", vm, order.destination)
        return super().start_move(order)

    def _call(self, name: str, act: Callable[[float], Reply], **about: Any) -> Reply:
        self._deaths.at_call("before", name)
        try:
            reply: Reply = super()._call(name, act, **about)
        finally:
            self._deaths.at_call("after", name)
        return reply


def is_cold_move_granted(store: Store, vm_id: str, rules: Rules, now: float) -> bool:
    """Tell whether an unfinished run has a valid grant for this VM, given since its last retry."""
    return any(
        approval.is_granted(
            record.run, vm_id, record.approvals, rules, now, entry.move.retried or 0.0
        )
        for run in queries.runs(store, unfinished=True)
        if (record := queries.record(store, run.id)) is not None
        for entry in record.moves
        if entry.move.vm_id == vm_id
    )


@dataclass
class Player:
    """A story being played on its own database.

    The engine has its own connections to that database, which die with it. People and the world
    continue while it is dead.
    """

    story: Story
    path: Path
    seed: int | None = None
    _due: list[tuple[float, int, Happening]] = field(default_factory=list)
    _planned: int = 0
    _told: int = 0
    _asked: int = 0
    _death: Death | None = None
    _queues: list[Queue] = field(default_factory=list)

    def __post_init__(self) -> None:
        opened = open_world(self.story.fleet, None, seed=self.seed, speed=math.inf)
        self.start, settings = opened.start, self.story.settings
        self.clock, self._skip = VirtualClock(opened.start), Skip(opened.start)
        self.store = Store(self.path, durable=False)
        self.deaths = Deaths()
        world, rules = FaultyWorld(opened.world.state), settings.rules()
        self.port = JudgedPort(world, self.clock, self.store, rules, self.deaths)
        self.engine = self._new_engine()
        self.service = Service(self.store, self.clock, settings, self.story.fleet.vmm)
        self.stage = Stage(self.story, self.service, world, self.deaths)
        for happening in self.story.happenings:
            if not happening.on:
                self._plan(happening, self.start)

    def _new_engine(self) -> Engine:
        store = MortalStore(self.path, self.deaths)
        settings, vmm = self.story.settings, self.story.fleet.vmm
        # What a dead engine began still happens, but nobody hears its answers.
        self._queues.append(Queue(self.port, self.clock, limits_of(settings)))
        caller = self._queues[-1]
        return Engine(store, self.port, self.clock, settings, vmm=vmm, caller=caller)

    def close(self) -> None:
        """Close the engine and the database."""
        self._let_engine_go()
        self.store.close()

    def _let_engine_go(self) -> None:
        self.engine.close()
        self.engine.store.close()

    def play(self) -> bool:
        """Play until every run is over and nothing is scheduled. Return False if ``until`` came
        first."""
        self.engine.take_over()
        self.engine.look()
        ends = self.start + self.story.until
        while True:
            self._let_happen()
            due = self._advance()
            self._notice()
            if self._is_over():
                return True
            if not self._wait(min(self._next(due), ends)):
                break
        return False

    def _wait(self, until: float) -> bool:
        """Let time pass until the next tick, or until the answer to a call. Return False at the end
        of the story."""
        while not self._is_rung():
            events = [at for queue in self._queues if (at := queue.next_event()) is not None]
            at = min(events, default=math.inf)
            if at > until:
                self.clock.jump(until)
                return until < self.start + self.story.until
            self.clock.jump(at)
        return True

    def _is_rung(self) -> bool:
        """Let happen what is due. Tell whether an answer to the living engine has come."""
        for orphan in self._queues[:-1]:
            with suppress(Killed):
                orphan.run_due()
        try:
            return self._queues[-1].run_due() and self._death is None
        except Killed as killed:
            if self._death is None:
                self._die(killed)
            return True

    def _is_over(self) -> bool:
        if self._due or self._death is not None:
            return False
        return not queries.runs(self.store, unfinished=True)

    # --- the engine -----------------------------------------------------------------------

    def _advance(self) -> Sequence[float | None]:
        """Advance the engine at this tick. Return the times at which there may be more to do."""
        now = self.clock.now()
        if self._death is not None and now < self._death.until:
            return (self._death.until,)
        try:
            if self._death is not None:
                self._replace(self._death)
            advanced = self.engine.advance()
        except Killed as killed:
            return (self._die(killed),)
        return self._skip.moments(self.engine, self.port.world, advanced, now)

    def _die(self, killed: Killed) -> float:
        """Let the engine go. Return when the next one takes over."""
        now = self.clock.now()
        self._let_engine_go()
        self._death = Death(killed.kill, now, now + killed.kill.seconds)
        return self._death.until

    def _replace(self, death: Death) -> None:
        """Start another engine, with its own connections, in place of the dead one."""
        text = f"The engine died {death.kill}; the next one took over."
        with writing(self.store, self.clock.now(), cause="story") as pen:
            pen.event("engine.killed", text, detail={"died": round(death.at - self.start, 1)})
        self._death = None
        self.engine = self._new_engine()
        self.engine.take_over()

    def document(self, ended: bool) -> dict[str, Any]:
        """The JSON document of the public contract."""
        world = {
            "calls": self.port.calls,
            "fleet": self.port.world.truth(),
            "violations": self.port.world.violations,
        }
        made = report.document(
            self.store,
            self.story.fleet.vmm,
            self.clock.now(),
            start=self.start,
            story=self.story.name,
            seed=self.port.world.state.seed,
            exit_code=0 if ended else 1,
            world=world,
        )
        return {**made, "ended": ended}

    def _next(self, due: Sequence[float | None]) -> float:
        """The next tick, or a later one if nothing can change before."""
        scripted = self._due[0][0] if self._due else None
        now, tick = self.clock.now(), self.engine.rules.tick
        return next_tick(now, self.start, tick, *due, scripted)

    # --- happenings -----------------------------------------------------------------------

    def _plan(self, happening: Happening, since: float) -> None:
        self._planned += 1
        heapq.heappush(self._due, (since + happening.t, self._planned, happening))

    def _let_happen(self) -> None:
        while self._due and self._due[0][0] <= self.clock.now():
            _, _, happening = heapq.heappop(self._due)
            self._skip.note_change(self.clock.now())
            self._do(happening)

    def _do(self, it: Happening) -> None:
        carry_out_happening(self.stage, it, self.clock.now())

    # --- triggers -------------------------------------------------------------------------

    def _notice(self) -> None:
        """Schedule the happenings whose triggers match new events."""
        for event in events.since(self.store, self._told):
            self._told = event.seq
            trigger = self._trigger(event)
            for happening in self.story.happenings:
                if trigger and happening.on.casefold() == trigger:
                    self._plan(happening, event.at)

    def _trigger(self, event: Event) -> str:
        if event.kind == "attempt.issued":
            return f"start:{event.vm}".casefold()
        if event.kind == "move.restoring":
            return f"arrive:{event.vm}".casefold()
        if event.kind == "approval.requested":
            self._asked += 1
            return f"ask:{self._asked}"
        return ""


def tell(story: Story, document: Mapping[str, Any]) -> str:
    """The story as text: one line per event, the reports, and violations, if any."""
    lines = [f"# {story.name}: {story.about}", ""]
    for event in document["events"]:
        if event["kind"] == "engine.started":
            continue
        lines.append(f"{event['t']:9.1f}  {event['kind']:18} {event['text']}")
    for run in document["runs"]:
        lines += ["", *report.summary(run)]
    lines += ["", _calls(document)]
    lines += [f"VIOLATION at {v['t']}: {v['kind']} {v['vm']}" for v in document["violations"]]
    if not document["ended"]:
        lines.append("The story did not end in time.")
    return "\n".join(lines) + "\n"


def _calls(document: Mapping[str, Any]) -> str:
    """Number of calls to the world by kind. A change here is a change of cost."""
    counts = Counter(call["call"] for call in document["calls"])
    return "calls: " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts))
