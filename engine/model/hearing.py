"""Words of both Hyper-Vs of an attempt on its VM, said after its job was over.

One word proves the end of a job that VMM saw to its end. A job that was lost has ended only if both
hosts say the same twice: a migration may show neither word nor job for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Says(StrEnum):
    """Word of a host's Hyper-V on a VM. A planned VM, which a migration makes on its destination,
    cannot be seen: ABSENT is no proof that nothing comes in."""

    MOVING = "moving"
    AT_REST = "at rest"
    ABSENT = "absent"


@dataclass(frozen=True)
class LastWord:
    """Latest word of a host's Hyper-V on a VM that was asked for by its id.

    ``asked``: number of the question. ``asked_at`` and ``answered_at`` are Unix seconds on
    VMFerry's clock, ``clock`` on the host's own.
    """

    asked: int
    asked_at: float
    says: Says
    answered_at: float = 0.0
    clock: float = 0.0


@dataclass(frozen=True)
class Heard:
    """Word that counts. ``asked``: number of the first question that was answered so;
    ``answered_at`` and ``clock``: time of that answer, on VMFerry's clock and on the host's own;
    ``twice``: a later question had the same answer."""

    host: str
    says: Says
    asked: int
    answered_at: float
    twice: bool = False
    clock: float = 0.0


@dataclass(frozen=True)
class Hearing:
    """Words on the VM of one attempt. Only answers to questions after call ``after`` count."""

    after: int = 0
    words: tuple[Heard, ...] = ()

    def of(self, host: str | None) -> Heard | None:
        """Return the word of this host that counts, or ``None``."""
        key = (host or "").casefold()
        return next((word for word in self.words if word.host.casefold() == key), None)

    def hear(self, host: str, word: LastWord, newest: int, apart: float) -> Hearing:
        """Return the hearing with the latest word of a host.

        A second answer counts if it was asked ``apart`` seconds after the first was *answered*, by
        VMFerry's clock and by the host's own: clocks step. A word that differs begins both hosts
        anew: only questions after call ``newest`` count then. Idempotent.
        """
        before = self.of(host)
        if word.asked <= (before.asked if before else self.after):
            return self
        if word.says is Says.MOVING or (before and before.says is not word.says):
            return Hearing(newest)
        if before is None:
            new = Heard(host, word.says, word.asked, word.answered_at, clock=word.clock)
            return replace(self, words=(*self.words, new))
        if before.twice:
            return self
        if word.asked_at < before.answered_at or word.clock < before.clock:  # one was set back
            first = min(before.answered_at, word.answered_at), min(before.clock, word.clock)
            return self._with(before, replace(before, answered_at=first[0], clock=first[1]))
        if word.asked_at < before.answered_at + apart or word.clock < before.clock + apart:
            return self
        return self._with(before, replace(before, twice=True))

    def _with(self, before: Heard, after: Heard) -> Hearing:
        return replace(self, words=tuple(after if w is before else w for w in self.words))
