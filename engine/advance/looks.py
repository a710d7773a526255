"""Parts of what is known of a VMM server: the answers to looks become rows.

The parts are kept in memory, too: only this engine writes them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from engine.advance.calls import CallAnswer
from engine.errors import VmmError, VmmLocked, VmmUnavailable
from engine.model import (
    Fleet,
    Job,
    JobList,
    Look,
    OpenCall,
    Part,
    PartKind,
    Pulse,
    Site,
    Word,
    compose,
)
from engine.policy.judging.causes import Cause, cause_of
from engine.store import queries
from engine.store.pen import Pen
from engine.store.store import Store

Key = tuple[PartKind, str]
PER_JOB = 0.5
"""Seconds for each job after which their list is written although only progress has changed: a few
jobs at each tick, a hundred every minute."""
KEPT = 86_400.0
"""Seconds for which it is remembered that VMM re-read a VM."""
_OF_HOSTS = (PartKind.KNOWN, PartKind.SHOWN, PartKind.PULSE, PartKind.VMS, PartKind.HOST)


class Parts:
    """The parts of one VMM server. ``errors``: of questions that failed since the last answer."""

    def __init__(self, store: Store, vmm: str) -> None:
        self.vmm = vmm
        self.errors: dict[Key, VmmError] = {}
        self._fleet: Fleet | None = None  # composed anew after a change
        self._store = store
        self._written: dict[Key, Part] = {}

    @cached_property
    def _parts(self) -> dict[Key, Part]:
        return {part.key: part for part in queries.parts(self._store, self.vmm)}

    def forget(self) -> None:
        """Read the rows anew: what was taken last is not among them."""
        self.__dict__.pop("_parts", None)
        self._written.clear()
        self._fleet = None

    def fleet(self) -> Fleet:
        """Return the fleet, composed from the parts."""
        if self._fleet is None:
            self._fleet = compose(self.vmm, self._parts.values())
        return self._fleet

    def take(self, pen: Pen, look: Look, row: OpenCall, answer: CallAnswer) -> None:
        """Write the answer to a look, or why there is none."""
        if answer.error is not None:
            self._fail(pen, look, row, answer.error)
            return
        part = self._part(look)
        newest = pen.calls.newest(self.vmm)
        part = part.answered(look, row.id, newest, row.begun, pen.now)
        if part.age.asked == row.id:  # no later question was answered before
            self.errors.pop(look.key, None)
            body = answer.body
            if isinstance(body, Pulse):
                words = self._words(look, row, body, pen.now)
                body = replace(body, words=words, ahead=body.time - pen.now)
            if isinstance(body, JobList):
                body = self._with_ends(look, body, newest)
                body = self._with_stood(look, body, pen.now)
            part = replace(part, body=body)
        self._keep(pen, part)
        if isinstance(answer.body, Site):
            self._drop_old(pen, {host.name.casefold() for host in answer.body.hosts})

    def _words(self, look: Look, row: OpenCall, pulse: Pulse, now: float) -> tuple[Word, ...]:
        """Words of this pulse, and earlier ones on other VMs that no full list has replaced."""
        there = {vm.id: vm for vm in pulse.vms}
        moving = {migration.vm_id for migration in pulse.migrations}
        new = (
            Word(id_, row.id, row.begun, there.get(id_), now, id_ in moving, pulse.time)
            for id_ in look.ids
        )
        before = self._parts.get(look.key)
        old = before.body.words if before and isinstance(before.body, Pulse) else ()
        shown = self._parts.get((PartKind.SHOWN, look.key[1]))
        listed = shown.age.asked if shown else 0
        kept = (w for w in old if w.asked > listed and w.vm_id not in look.ids)
        return (*new, *kept)

    def _with_ends(self, look: Look, list_: JobList, newest: int) -> JobList:
        """Note since when the jobs asked for do not run, and no job runs of the VMs whose attempts
        are past their look-ups. Looks at what they moved are later than the first such answer; if
        they had to be later than the latest, a slow host would never catch up."""
        part = self._parts.get(look.key)
        before = part.body if part and isinstance(part.body, JobList) else JobList(0.0)
        over, idle = dict(before.over), dict(before.idle)
        running = [job for job in list_.jobs if job.state == "running"]
        open_jobs = {job.id for job in running} | {job for job, _ in list_.unread}
        moved = {job.vm_id for job in running}
        return replace(
            list_,
            over=tuple((id_, over.get(id_, newest)) for id_ in look.ids if id_ not in open_jobs),
            idle=tuple((id_, idle.get(id_, newest)) for id_, vm in look.overdue if vm not in moved),
        )

    def _with_stood(self, look: Look, list_: JobList, now: float) -> JobList:
        """Note since when the progress of each running job is the same. After a kill that may be
        since the list that was written last: it is then as old as the progress in it."""
        part = self._parts.get(look.key)
        before = part.body if part and isinstance(part.body, JobList) else JobList(0.0)
        known = {job.id: job.progress for job in before.jobs}
        since = dict(before.stood)
        stood = (
            (job.id, min(since.get(job.id, now), now) if known.get(job.id) == job.progress else now)
            for job in list_.jobs
            if job.state == "running"
        )
        return replace(list_, stood=tuple(stood))

    def _fail(self, pen: Pen, look: Look, row: OpenCall, error: VmmError) -> None:
        self.errors[look.key] = error
        is_locked = isinstance(error, VmmLocked)
        self._keep(pen, self._part(look).failed(row.id, row.begun, str(error), is_locked))

    def _part(self, look: Look) -> Part:
        return self._parts.get(look.key) or Part(look.kind, look.name)

    def _keep(self, pen: Pen, part: Part) -> None:
        self._parts[part.key], self._fleet = part, None
        is_news = self._is_news(part)
        if is_news:
            self._written[part.key] = part
        pen.keep_part(self.vmm, part, with_answer=is_news)

    def _is_news(self, part: Part) -> bool:
        """Tell whether an answer is to be written: jobs, whose progress people see, now and then
        even if nothing else has changed."""
        written = self._written.get(part.key)
        if written is None or written.content != part.content:
            return True
        since = (part.age.answered_at or 0.0) - (written.age.answered_at or 0.0)
        return isinstance(part.body, JobList) and since >= PER_JOB * len(part.body.jobs)

    def _drop_old(self, pen: Pen, known: set[str]) -> None:
        """Drop the parts of hosts that VMM no longer knows, and of VMs re-read long ago."""
        for part in list(self._parts.values()):
            age = part.age
            asked_at = max(age.asked_at or 0.0, age.tried_at or 0.0)
            is_old = part.kind is PartKind.VM and asked_at < pen.now - KEPT
            if is_old or (part.kind in _OF_HOSTS and part.key[1] not in known):
                del self._parts[part.key]
                self._written.pop(part.key, None)
                self._fleet = None
                pen.drop_part(self.vmm, part)

    def ended_job(self, job: str) -> tuple[bool, Job | None]:
        """Return whether VMM's latest list shows that a job has ended, and the job if it knows
        it."""
        fleet = self.fleet()
        return job in fleet.over, fleet.job(job)


def reread_error(job: Job | None) -> VmmError | None:
    """Error of an ended job that re-reads something, or ``None``. ``job`` is ``None`` if VMM no
    longer knows it."""
    if job is not None and job.state == "completed":
        return None
    said = job.error if job is not None else None
    is_locked = said is not None and cause_of(said) is Cause.LOCK
    return (VmmLocked if is_locked else VmmUnavailable)(said or "VMM's job did not complete")
