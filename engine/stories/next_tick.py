"""Steps of virtual time: to the next tick at which the engine can notice or decide anything."""

from __future__ import annotations

import math

from engine.advance.engine import Advanced, Engine
from engine.advance.open_calls import limits_of
from engine.clock import Clock, VirtualClock
from engine.settings import Settings
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.stories.queue import Queue
from engine.vmm.port import VmmPort


def next_tick(now: float, start: float, tick: float, *moments: float | None) -> float:
    """The first tick after ``now``, counted from ``start``, that is not before the earliest of
    ``moments``. ``None`` is ignored; without moments it is the very next tick."""
    known = [m for m in moments if m is not None]
    ticks = math.floor((now - start) / tick + 1e-6) + 1
    if known:
        ticks = max(ticks, math.ceil((min(known) - start) / tick - 1e-6))
    return start + ticks * tick


def virtual_caller(port: VmmPort, clock: Clock, settings: Settings) -> Queue | None:
    """Caller of a simulated fleet in virtual time; ``None``: the engine's usual one serves."""
    if isinstance(port, SimPort) and isinstance(clock, VirtualClock):
        return Queue(port, clock, limits_of(settings))
    return None


class Skip:
    """Skipping of ticks at which nothing can be noticed or decided.

    After a change of the world every part is looked at when it is due, until all were answered
    after the change. Then time goes on to the next change or deadline.
    """

    def __init__(self, start: float) -> None:
        self._changed = start  # time of the latest change

    def moments(self, engine: Engine, world: World, advanced: Advanced, now: float) -> list[float]:
        """Return the times at which there may be more to do after this step of the engine."""
        if advanced.acted:
            self._changed = now
            return [now]
        change = world.next_change(now)
        look = engine.next_look(self._changed)
        known = [at for at in (advanced.next_due, look, change) if at is not None]
        if change is not None and change <= min(known):
            self._changed = change
        return known

    def go_on(
        self, engine: Engine, world: World, advanced: Advanced, start: float, tick: float
    ) -> None:
        """Let virtual time pass until there may be more to do after this step of the engine, or
        until an answer has come. ``start``: when the world began."""
        caller = engine.calls.caller
        assert isinstance(caller, Queue)
        now = engine.clock.now()
        caller.go_on(next_tick(now, start, tick, *self.moments(engine, world, advanced, now)))

    def note_change(self, now: float) -> None:
        """Note that somebody changed the world or a run."""
        self._changed = now
