"""A night in steps that can be killed before any statement and continued from its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bot.slack.kit.loop import Loop
from engine.store.database import Database
from engine.store.store import Store
from tests.slack.stepped import Stepped


class Killed(BaseException):
    """SIGKILL in this process: no handler catches it."""


class Traced(Store):
    """A database that reports the next statement."""

    seen: Callable[[str], None] = staticmethod(lambda _: None)

    def _connect(self) -> Database:
        database = super()._connect()
        database.raw._tracer = lambda sql, _: self.seen(sql)
        return database


class Mortal(Stepped):
    """A night that counts its statements in ``points`` and is killed before number ``chosen``. A
    series of reads counts once, because nothing changes between them."""

    chosen = -1
    points = 0
    deaths = 0
    _mortal = False
    _last_was_read = False

    def opened(self) -> Store:
        store = Traced(self.path, durable=False)
        store.seen = self.seen
        return store

    def can_die(self, loop: Loop | None) -> bool:
        """Check whether it may be killed in a step of this loop (``None``: of the engine, or a
        listener)."""
        return True

    def turn(self, loop: Loop) -> float | None:
        with self.dying(loop):
            return super().turn(loop)
        return None  # it was killed

    def advance(self) -> None:
        with self.dying():
            super().advance()

    @contextmanager
    def dying(self, loop: Loop | None = None) -> Iterator[None]:
        """A context that a kill may cut short."""
        self._mortal = self.can_die(loop)
        try:
            yield
        except Killed:
            self._mortal = False
            self.deaths += 1
            self.drop()
            self.begin()
        finally:
            self._mortal = False

    def seen(self, sql: str) -> None:
        if not self._mortal:
            return
        reads = sql.lstrip().upper().startswith("SELECT")
        counts = not (reads and self._last_was_read)
        self._last_was_read = reads
        if counts:
            self.points += 1
            if self.points == self.chosen:
                raise Killed
