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
from typing import Any, Literal

from engine import grammar, report
from engine.clock import VirtualClock
from engine.errors import Refused
from engine.model import Event, Network, Power, Request
from engine.policy import approval
from engine.policy.waits import Rules
from engine.reconciler import Engine
from engine.service import Service
from engine.sim import pace, story_file
from engine.sim.port import SimPort, open_world
from engine.sim.story_file import Happening, Story
from engine.sim.world import World
from engine.store import events, queries
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


class JudgedPort(SimPort):
    """The simulated port, with an eye on what only rows can tell: was this cold move granted?"""

    def __init__(self, world: World, clock: VirtualClock, store: Store, story: Story) -> None:
        super().__init__(world, clock)
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

    def __post_init__(self) -> None:
        opened = open_world(self.story.fleet, None, seed=self.seed, speed=math.inf)
        self.start = opened.start
        self.clock = VirtualClock(opened.start)
        self.store = Store(self.path, durable=False)
        self.port = JudgedPort(opened.world, self.clock, self.store, self.story)
        settings, vmm = self.story.settings, self.story.fleet.vmm
        self.engine = Engine(self.store, self.port, self.clock, settings, vmm=vmm, lanes=1)
        self.service = Service(self.store, self.clock, settings, vmm)
        for happening in self.story.happenings:
            if not happening.on:
                self._plan(happening, self.start)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.close()
        self.store.close()

    def play(self) -> bool:
        """Play until every run is over and nothing more is to come; False: ``until`` came first."""
        self.engine.take_over()
        self.engine.look()
        ends = self.start + self.story.until
        while True:
            self._let_happen()
            advanced = self.engine.advance()
            self._notice()
            if not self._due and not queries.runs(self.store, unfinished=True):
                return True
            after = self._next(advanced.acted, advanced.next_due)
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
        now, world = self.clock.now(), self.port.world
        seconds = it.words.get("for")
        lasting = float(seconds) if isinstance(seconds, int | float) else 0.0
        match it.do:
            case "say":
                self._say(it.text("by"), it.text("text"))
            case "decide":
                self._decide(it)
            case "backup":
                world.backup(now, it.text("vm"), lasting)
            case "lock":
                world.lock(now, it.text("host"), lasting)
            case "delete":
                world.delete(now, it.text("vm"))
            case "power":
                world.power(now, it.text("vm"), it.text("status"))
            case "foreign":
                world.foreign(now, it.text("vm"), it.text("to"))
            case _:
                self._bend(it, now)

    def _bend(self, it: Happening, now: float) -> None:
        """Limits, and what the next migrations of a VM come to."""
        world, words = self.port.world, it.words
        if it.do == "limit":
            world.limit(now, it.text("host"), _count(words["live"]), _count(words["storage"]))
        if it.do == "outcome":
            at = words["at"]
            job: Literal["ok", "failed"] = "failed" if it.text("job") == "failed" else "ok"
            place = str(at) if at is not None else None
            world.outcome(now, it.text("vm"), job, place, _count(words["times"]) or 1)
        if it.do == "lose":
            count = words["acls"]
            acls: Any = count if isinstance(count, int) else "all"
            world.lose(now, it.text("vm"), acls, bool(words["nics"]))

    def _say(self, by: str, text: str) -> None:
        try:
            command = grammar.parse(text)
            if not isinstance(command, Request):
                raise Refused(f'"{text}" only tells; a story needs no answer.')
            self.service.submit(command, by=by)
        except Refused as error:
            self.service.refuse(by, text, error)

    def _decide(self, it: Happening) -> None:
        by, named = it.text("by"), it.words.get("approval")
        waiting = queries.open_approvals(self.store)
        if named is not None:
            number = grammar.approval_number(str(named))
        else:
            number = waiting[0].id if waiting else 0
        granted = it.text("verdict") == "approve"
        verdict: Literal["approve", "deny"] = "approve" if granted else "deny"
        self.service.decide(
            number, verdict, by=by, deciders=self.story.approvers, reason=it.text("reason")
        )

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


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def tell(story: Story, document: Mapping[str, Any]) -> str:
    """The story as text: a line an event, the reports, and what went wrong, if anything."""
    lines = [f"# {story.name}: {story.about}", ""]
    for event in document["events"]:
        if event["kind"].startswith("engine."):
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
