"""The timer and the loop: APScheduler wakes the loop, the loop advances the engine.

The timer (``Bell``) holds no state that matters. Its signals may be lost, doubled or late:
deadlines are computed from rows, and the loop also wakes without a signal. APScheduler's thread can
die while its scheduler still reports "running" (a known defect), so the loop checks the thread and
replaces a dead timer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from engine.advance.engine import Advanced, Engine
from engine.advance.watchdog import Watchdog
from engine.clock import Clock
from engine.errors import CLOSED, Fenced, VmmError, VmmUnavailable

log = logging.getLogger(__name__)

CLOSING = 5.0  # seconds for which the end waits for calls under way


def _words(error: VmmError | None) -> str:
    """Sentence about the error of VMM, or an empty string."""
    if isinstance(error, VmmUnavailable):
        return f"VMM does not answer: {error}"
    return str(error) if error is not None else ""


class Bell:
    """Timer that sets :attr:`rang` every ``seconds`` of wall time, in APScheduler's own thread."""

    def __init__(self, seconds: float, rang: threading.Event) -> None:
        self.seconds, self.rang = seconds, rang
        self._scheduler: BackgroundScheduler | None = None

    def start(self) -> None:
        """Start the timer. A running timer is left alone."""
        if self.is_alive():
            return
        scheduler = BackgroundScheduler(
            # The job runs in the scheduler's own thread. In a pool a busy machine would start it
            # again before it has ended, which APScheduler reports as a warning.
            executors={"default": DebugExecutor()},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        scheduler.add_job(self.rang.set, "interval", seconds=self.seconds, id="tick")
        scheduler.start()
        self._scheduler = scheduler

    def is_alive(self) -> bool:
        """Tell whether the timer's thread runs. APScheduler's own ``running`` is unreliable."""
        thread = getattr(self._scheduler, "_thread", None)
        return isinstance(thread, threading.Thread) and thread.is_alive()

    def stop(self) -> None:
        """Stop the timer. Idempotent."""
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None and scheduler.running:
            scheduler.shutdown(wait=False)


class Loop:
    """Loop that advances one engine at every signal, until it is stopped.

    ``wake`` is set by the timer, by requests and by answers to calls. ``health`` is empty, or a
    sentence about what is wrong. A bug in one step does not end the loop.
    """

    def __init__(self, engine: Engine, clock: Clock, wake: threading.Event, tick: float) -> None:
        self.engine, self.clock, self.wake, self.tick = engine, clock, wake, tick
        self.bell = Bell(max(0.05, tick / getattr(clock, "speed", 1.0)), wake)
        engine.calls.caller.came = wake.set
        self._said = ""
        self.watchdog = Watchdog(engine.store, engine.vmm, clock)
        self.restarts = 0
        self.last: Advanced | None = None

    @property
    def health(self) -> str:
        """Sentence about what is wrong, of the last step or of the watchdog; else empty."""
        return self._said or self.watchdog.says()

    def run(self, is_over: Callable[[], bool], stop: threading.Event) -> None:
        """Advance until ``is_over`` or ``stop``. Raises ``Fenced`` if another engine took over."""
        self.bell.start()
        try:
            while not stop.is_set() and not is_over():
                began = self.clock.monotonic()
                self.step()
                # Rest as long as it worked: with a thousand VMs, answers come faster than plans.
                self.clock.wait(stop, self.clock.monotonic() - began)
                self.clock.wait(self.wake, 3 * self.tick)  # even if the timer is dead
                self.wake.clear()
                self._replace_dead_bell()
            self.engine.finish(CLOSING)
        finally:
            self.bell.stop()

    def step(self) -> None:
        """Advance once. An error sets ``health`` and does not end the loop, except ``Fenced``."""
        self.watchdog.begin()
        try:
            self.last = self.engine.advance()
        except Fenced:
            raise
        except CLOSED as closed:
            # A problem of the file is no bug and needs no traceback. A conflict of rows is a bug.
            log.error("%s", closed)
            self._said = str(closed)
        except Exception:
            log.exception("A step of the engine failed. The next step starts from the database.")
            self._said = "A step of the engine failed; see the log. The engine continues."
        else:
            self._said = _words(self.last.error)
        finally:
            self.watchdog.end()

    def _replace_dead_bell(self) -> None:
        if self.bell.is_alive():
            return
        log.error("The scheduler thread died. Starting a new one.")
        self.restarts += 1
        self.bell.stop()
        self.bell.start()
