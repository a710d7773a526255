"""Parts of what is known of a VMM server: each is one question and its latest answer.

A part never replaces one that was asked later, and proves nothing about what ended after it was
asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.model.ages import NEVER, Age, Look, PartKind
from engine.model.looks import HostInventory, JobList, Pulse, Site, VmmInventory

Body = JobList | Site | VmmInventory | HostInventory | Pulse


@dataclass(frozen=True)
class Part:
    """One part. ``body``: the latest answer; ``None``: none yet, or a re-read."""

    kind: PartKind
    name: str
    age: Age = NEVER
    body: Body | None = None

    @property
    def key(self) -> tuple[PartKind, str]:
        """Kind and name, whose case is ignored."""
        return self.kind, self.name.casefold()

    @property
    def content(self) -> object:
        """The answer without what changes at each question: clocks, progress, numbers of calls."""
        match self.body:
            case JobList():
                jobs = tuple(replace(job, progress=0) for job in self.body.jobs)
                return replace(self.body, server_time=0.0, jobs=jobs, stood=())
            case Pulse():
                moving = tuple(replace(one, progress=0) for one in self.body.migrations)
                words = tuple((word.vm_id, word.vm, word.moving) for word in self.body.words)
                plain = replace(self.body, time=0.0, ahead=None, migrations=moving, words=())
                return plain, words
        return self.body

    def answered(self, look: Look, number: int, newest: int, asked_at: float, now: float) -> Part:
        """Return the part after an answer, whose body the caller adds. An answer to an older
        question changes nothing."""
        if number <= self.age.asked:
            return self
        ids = look.ids if look.kind is PartKind.PULSE else ()
        age = Age(number, newest, asked_at, now, ids)
        if self.age.tried > number:  # a later question has failed already
            old = self.age
            age = replace(
                age,
                error=old.error,
                tries=old.tries,
                tried=old.tried,
                tried_at=old.tried_at,
                locked=old.locked,
            )
        return replace(self, age=age)

    def failed(self, number: int, asked_at: float, error: str, locked: bool) -> Part:
        """Return the part after a question that failed. The last answer stays."""
        if number <= max(self.age.asked, self.age.tried):
            return self
        tried = replace(
            self.age,
            error=error,
            tries=self.age.tries + 1,
            tried=number,
            tried_at=asked_at,
            locked=locked,
        )
        return replace(self, age=tried)
