"""A thread that takes one step whenever it is knocked, and survives bugs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from engine.errors import StoreBusy, StoreUnwritable

log = logging.getLogger(__name__)

AFTER_A_BUG = 1.0


class Loop:
    """Thread that calls ``step`` after every knock, and after the delay that the last call
    returned.

    ``step`` returns this delay in seconds (``None``: only after the next knock). If the database is
    busy or unwritable, the step is tried again after a second. Any other exception is a bug: it is
    logged and counted in ``bugs``, and the loop goes on.
    """

    def __init__(self, name: str, step: Callable[[], float | None]) -> None:
        self.bugs = 0
        self._step = step
        self._knocked = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; its first step follows at once."""
        self._knocked.set()
        self._thread.start()

    def knock(self) -> None:
        """Wake the loop. Safe to call from any thread, any number of times."""
        self._knocked.set()

    @property
    def knocked(self) -> bool:
        """True if the loop was knocked since its last step began."""
        return self._knocked.is_set()

    @property
    def stopped(self) -> bool:
        """True once the thread is to end. Long steps check it."""
        return self._stopped.is_set()

    def run_once(self) -> float | None:
        """Run one step as the thread does; returns the seconds until the next. For callers that
        pass time without threads."""
        self._knocked.clear()
        try:
            return self._step()
        except (StoreBusy, StoreUnwritable) as closed:
            log.warning("%s waits: %s", self._thread.name, closed)
            return AFTER_A_BUG
        except Exception:
            self.bug("a step")
            return AFTER_A_BUG

    def bug(self, what: str) -> None:
        """Count and log the current exception, so that the step can go on with other work."""
        self.bugs += 1
        log.exception("%s of %s failed", what, self._thread.name)

    def stop(self, timeout: float = 15.0) -> None:
        """Finish the current step and end, waiting at most ``timeout`` seconds."""
        self._stopped.set()
        self._knocked.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        wait: float | None = None
        while True:
            self._knocked.wait(wait)
            if self._stopped.is_set():
                return
            wait = self.run_once()
