"""Plays a story: people speak, misfortune strikes, virtual time jumps, the engine does its work.

The player is what a person would be who sits between the engine and the world: it judges what
neither can (a powered-down VM moved without a grant), and writes everything down as text that is
compared with the story's ``expect.txt``. The same story and seed give the same bytes.
"""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import report
from engine.clock import VirtualClock
from engine.model import Event, Network, Power
from engine.policy import approval
from engine.policy.waits import Rules
from engine.reconciler import Engine
from engine.service import Service
from engine.sim import pace, story_file
from engine.sim.faults import Dead, FaultyPort, Mortality, MortalStore
from engine.sim.happenings import Stage, carry_out
from engine.sim.port import open_world
from engine.sim.story_file import Happening, Story
from engine.sim.world import World
from engine.store import events, queries
from engine.store.deeds import writing
from engine.store.store import Store


@dataclass(frozen=True)
class Played:
    """A played story: the JSON document, its telling, and what was expected (``None``: nothing)."""

    document: dict[str, Any]
    text: str
    expected: str | None

    @property
    def differs(self) -> bool:
        """Is the telling another than the golden one?"""
        return self.expected is not None and self.expected != self.text


def play(folder: Path, seed: int | None = None) -> Played:
    """Play a story folder to its end. Raises ``Refused`` for what cannot be read."""
    story = story_file.load(folder)
    with tempfile.TemporaryDirectory(prefix="vmferry-story-") as room:
        player = Player(story, Path(room) / "story.db", seed)
        try:
            ended = player.play()
            document = player.document(ended)
            return Played(document, tell(story, document), story.expected)
        finally:
            player.close()


class JudgedPort(FaultyPort):
    """The simulated port, with an eye on what only rows can tell: was this cold move granted?"""

    def __init__(
        self,
        world: World,
        clock: VirtualClock,
        store: Store,
        story: Story,
        mortality: Mortality,
    ) -> None:
        super().__init__(world, clock, mortality)
        self._store, self._rules = store, story.settings.rules()

    def start_move(
        self,
        vm_id: str,
        source: str,
        destination: str,
        path: str | None,
        power: Power,
        pin: Network | None,
        not_after: float,
    ) -> str | None:
        now = self.clock.now()
        if power == "down" and not is_cold_move_granted(self._store, vm_id, self._rules, now):
            self.world.add_violation(now, "ungranted_cold", vm_id, destination)
        return super().start_move(vm_id, source, destination, path, power, pin, not_after)


def is_cold_move_granted(store: Store, vm_id: str, rules: Rules, now: float) -> bool:
    """Does a living grant of an unfinished run name this VM?"""
    return any(
        approval.is_granted(record.run, vm_id, record.approvals, rules, now)
        for run in queries.runs(store, unfinished=True)
        if (record := queries.record(store, run.id)) is not None
    )


@dataclass
class Player:
    """One playing of a story on a database of its own."""

    story: Story
    path: Path
    seed: int | None = None
    _due: list[tuple[float, int, Happening]] = field(default_factory=list)
    _told: int = 0
    _asked: int = 0
    _rest: float = 0.0
    _died: float = 0.0
    _died_where: str = ""
    _dead_until: float | None = None

    def __post_init__(self) -> None:
        opened = open_world(self.story.fleet, None, seed=self.seed, speed=math.inf)
        self.start = opened.start
        self.clock = VirtualClock(opened.start)
        self.store = Store(self.path, durable=False)
        self.mortality = Mortality()
        self.port = JudgedPort(opened.world, self.clock, self.store, self.story, self.mortality)
        self.engine = self._new_engine()
        settings, vmm = self.story.settings, self.story.fleet.vmm
        self.service = Service(self.store, self.clock, settings, vmm)
        self.stage = Stage(self.story, self.service, self.port)
        for happening in self.story.happenings:
            if not happening.on:
                self._plan(happening, self.start)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.close()
        self._engine_store.close()
        self.store.close()

    def play(self) -> bool:
        """Play until every run is over and nothing more is to come; False: ``until`` came first."""
        self.engine.take_over()
        self.engine.look()
        ends = self.start + self.story.until
        while True:
            self._let_happen()
            acted, due = self._advance()
            self._notice()
            if not self._due and not queries.runs(self.store, unfinished=True):
                return True
            after = self._next(acted, due)
            if after > ends:
                break
            self.clock.jump(after)
        self.clock.jump(ends)
        return False

    def document(self, ended: bool) -> dict[str, Any]:
        """The JSON of the contract."""
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

    def _next(self, acted: bool, due: float | None) -> float:
        """The next tick; further on where nothing can change before."""
        now, tick = self.clock.now(), self.engine.rules.tick
        scripted = self._due[0][0] if self._due else None
        change = self.port.world.next_change(now)
        moments = (now,) if acted else (due, change, scripted)
        return pace.next_tick(now, self.start, tick, *moments)

    # --- what happens ------------------------------------------------------------------------

    def _plan(self, happening: Happening, since: float) -> None:
        heapq.heappush(self._due, (since + happening.t, len(self._due), happening))

    def _let_happen(self) -> None:
        while self._due and self._due[0][0] <= self.clock.now():
            _, _, happening = heapq.heappop(self._due)
            self._do(happening)

    def _do(self, it: Happening) -> None:
        seconds = it.words.get("for")
        if it.do == "kill" and isinstance(seconds, int | float):
            self._rest = float(seconds)
        carry_out(self.stage, it, self.clock.now())

    # --- death -------------------------------------------------------------------------------

    def _new_engine(self) -> Engine:
        """An engine with nothing in its head but what the rows say."""
        self._engine_store = MortalStore(self.path, self.mortality)
        settings, vmm = self.story.settings, self.story.fleet.vmm
        return Engine(self._engine_store, self.port, self.clock, settings, vmm=vmm, lanes=1)

    def _advance(self) -> tuple[bool, float | None]:
        """One step of the engine, if it lives or comes back now: did it act, when is it due."""
        now = self.clock.now()
        if self._dead_until is not None:
            if now < self._dead_until:
                return False, self._dead_until
            self._come_back()
        try:
            advanced = self.engine.advance()
        except Dead as death:
            self._die(str(death))
            return False, self._dead_until
        return advanced.acted, advanced.next_due

    def _die(self, where: str) -> None:
        self.engine.close()
        self._engine_store.close()
        self._died, self._died_where = self.clock.now(), where
        self._dead_until = self._died + self._rest

    def _come_back(self) -> None:
        died = self._died
        self._dead_until = None
        self.engine = self._new_engine()
        self.engine.take_over()
        text = f"The engine died {self._died_where}; the next one took over."
        with writing(self.store, self.clock.now()) as pen:
            pen.event("engine.killed", text, detail={"died": round(died - self.start, 1)})

    # --- what follows from it -------------------------------------------------------------------

    def _notice(self) -> None:
        """New events pull the triggers that wait for them."""
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
    """The story as text: a line an event, the reports, and what went wrong, if anything."""
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
    """How often the world was asked: a change here is a change of cost."""
    counts: dict[str, int] = {}
    for call in document["calls"]:
        counts[call["call"]] = counts.get(call["call"], 0) + 1
    return "calls: " + ", ".join(f"{name} {counts[name]}" for name in sorted(counts))
