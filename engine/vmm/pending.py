"""Calls for which nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from engine.clock import Clock

Answer = TypeVar("Answer")


class PendingCalls(Generic[Answer]):
    """Calls in threads of their own, by key, at most one of a key at a time. Thread-safe.

    ``came`` is called in the call's thread after each answer. It may be replaced.
    """

    def __init__(self, clock: Clock, came: Callable[[], object] = lambda: None) -> None:
        self._clock, self.came = clock, came
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._answers: dict[str, Answer] = {}

    def begin(self, key: str, call: Callable[[], Answer]) -> bool:
        """Make a call, which raises nothing, unless one of its key is running. Return whether it is
        made. An answer to an earlier call of this key is dropped."""
        with self._lock:
            if key in self._threads:
                return False
            self._answers.pop(key, None)
            thread = threading.Thread(target=self._make, args=(key, call), name=key, daemon=True)
            thread.start()  # raises if the system has no thread left
            self._threads[key] = thread
            return True

    def running(self) -> frozenset[str]:
        """Keys of the calls that are running."""
        with self._lock:
            return frozenset(self._threads)

    def ended(self) -> Mapping[str, Answer]:
        """Answers by key, each once."""
        with self._lock:
            came, self._answers = self._answers, {}
            return came

    def wait(self, keys: Iterable[str] | None = None, seconds: float | None = None) -> None:
        """Wait until these calls (``None``: all) have ended, for so many seconds at most."""
        with self._lock:
            wanted = self._threads if keys is None else keys
            threads = [self._threads[key] for key in wanted if key in self._threads]
        ends = None if seconds is None else self._clock.monotonic() + seconds
        for thread in threads:
            thread.join(None if ends is None else max(0.0, ends - self._clock.monotonic()))

    def _make(self, key: str, call: Callable[[], Answer]) -> None:
        answers: dict[str, Answer] = {}
        try:
            answers[key] = call()
        finally:  # a bug must not block the key
            with self._lock:
                self._answers |= answers
                del self._threads[key]
            self.came()
