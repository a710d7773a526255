"""Deaths of an engine, before or after a given call or write.

``Killed`` is no ``Exception``, so that nothing in the engine can catch it, as nothing survives a
SIGKILL. What was written before stays written; the rest is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.sim.faults import MEANT
from engine.store.database import Database
from engine.store.store import Store

Point = Literal["before", "after"]


@dataclass(eq=False)
class Kill:
    """One future death: at the next call of this name, or at the ``write``-th write from now.

    Another engine takes over ``seconds`` later.
    """

    point: Point
    seconds: float
    call: str | None = None
    write: int = 0

    def __str__(self) -> str:
        return f"{self.point} {self.call or 'a write'}"


class Killed(BaseException):
    """Death of the engine. Only the player catches it."""

    def __init__(self, kill: Kill) -> None:
        super().__init__(f"killed {kill}")
        self.kill = kill


class Deaths:
    """The armed kills."""

    def __init__(self) -> None:
        self._armed: list[Kill] = []

    def arm(self, kill: Kill) -> None:
        """Arm a kill. Its writes are counted from now on."""
        self._armed.append(kill)

    def at_call(self, point: Point, call: str) -> None:
        """Die if a kill is armed before or after this call. Raises ``Killed``."""
        named = (k for k in self._armed if k.call and call in MEANT.get(k.call, {k.call}))
        self._die([k for k in named if k.point == point][:1])

    def before_write(self) -> None:
        """Die if a kill is due before this transaction. Raises ``Killed``."""
        self._die([k for k in self._armed if k.write == 1 and k.point == "before"])

    def after_write(self) -> None:
        """Count a committed transaction, and die if a kill is due. Raises ``Killed``."""
        writes = [k for k in self._armed if k.write]
        for kill in writes:
            kill.write = max(1, kill.write - 1) if kill.point == "before" else kill.write - 1
        self._die([k for k in writes if not k.write])

    def _die(self, due: list[Kill]) -> None:
        if due:
            self._armed = [kill for kill in self._armed if kill not in due]
            raise Killed(due[0])


class MortalStore(Store):
    """The engine's own connections to the database, which die with it."""

    def __init__(self, path: Path, deaths: Deaths) -> None:
        self._deaths: Deaths | None = None
        super().__init__(path, durable=False)
        self._deaths = deaths  # opening does not count as a write

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """Open a transaction as ``Store.transaction`` does. Raises ``Killed`` if a kill is due."""
        if self._deaths is not None:
            self._deaths.before_write()
        with super().transaction() as db:
            yield db
        if self._deaths is not None:
            self._deaths.after_write()
