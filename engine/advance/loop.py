"""The bell and the loop: APScheduler rings, the engine advances.

The bell holds no truth. A ring may be lost, doubled or late: deadlines are computed from rows,
and the loop looks at least once per sweep whether the bell rang or not. APScheduler's thread can
die while its scheduler still says "running" (a known defect), so the loop watches the thread and
starts a new bell when it is dead.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from engine.advance.engine import Advanced, Engine
from engine.clock import Clock
from engine.errors import (
    Fenced,
    StoreBusy,
    StoreCorrupt,
    StoreUnwritable,
    VmmError,
    VmmUnavailable,
)

log = logging.getLogger(__name__)


def _words(error: VmmError | None) -> str:
    """Sentence about what is wrong with VMM; empty: nothing."""
    if isinstance(error, VmmUnavailable):
        return f"VMM does not answer: {error}"
    return str(error) if error is not None else ""


class Bell:
    """Timer that sets :attr:`rang` every ``seconds`` of wall time, from APScheduler's own
    thread."""

    def __init__(self, seconds: float, rang: threading.Event) -> None:
        self.seconds, self.rang = seconds, rang
        self._scheduler: BackgroundScheduler | None = None

    def start(self) -> None:
        """Begin to ring. A bell that is ringing already is left alone."""
        if self.is_alive():
            return
        scheduler = BackgroundScheduler(
            # The ring is made in the scheduler's own thread. In a pool a busy machine starts the
            # next ring before the last one has ended, which APScheduler reports as a warning.
            executors={"default": DebugExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        scheduler.add_job(self.rang.set, "interval", seconds=self.seconds, id="tick")
        scheduler.start()
        self._scheduler = scheduler

    def is_alive(self) -> bool:
        """Tell whether the bell's thread runs. APScheduler's own ``running`` does not tell."""
        thread = getattr(self._scheduler, "_thread", None)
        return isinstance(thread, threading.Thread) and thread.is_alive()

    def stop(self) -> None:
        """Fall silent. Idempotent."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None and scheduler.running:
            scheduler.shutdown(wait=False)


class Loop:
    """Loop that advances one engine, ring by ring, until it is told to stop.

    ``wake`` is rung by the bell and by people's intents. ``health`` is empty while all is well,
    else the sentence that says what is wrong; a bug in one step does not end the loop.
    """

    def __init__(self, engine: Engine, clock: Clock, wake: threading.Event, tick: float) -> None:
        self.engine, self.clock, self.wake, self.tick = engine, clock, wake, tick
        self.bell = Bell(max(0.05, tick / getattr(clock, "speed", 1.0)), wake)
        self.health = ""
        self.restarts = 0
        self.last: Advanced | None = None

    def run(self, is_over: Callable[[], bool], stop: threading.Event) -> None:
        """Advance until ``is_over`` or ``stop``. Raises ``Fenced`` when another took over."""
        self.bell.start()
        try:
            while not stop.is_set() and not is_over():
                self.step()
                self.clock.wait(self.wake, 3 * self.tick)  # a dead bell costs little
                self.wake.clear()
                self._mind_the_bell()
        finally:
            self.bell.stop()

    def step(self) -> None:
        """Advance once; an error makes the health red, never ends the loop."""
        try:
            self.last = self.engine.advance()
        except Fenced:
            raise
        except (StoreBusy, StoreUnwritable, StoreCorrupt) as closed:
            # What befell the file is no bug: a sentence, no traceback. A conflict of rows is one.
            log.error("%s", closed)
            self.health = str(closed)
            return
        except Exception:
            log.exception("a step of the engine failed; the next one starts from the rows again")
            self.health = "A step of the engine failed; see the log. It goes on."
            return
        self.health = _words(self.last.error)

    def _mind_the_bell(self) -> None:
        if self.bell.is_alive():
            return
        log.error("the scheduler thread is dead; starting a new one")
        self.restarts += 1
        self.bell.stop()
        self.bell.start()
