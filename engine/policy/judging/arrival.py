"""End of an attempt: the end of its job, and what both Hyper-Vs said of its VM after that.

The VM's location decides, never the job's result. A failed job may have moved the VM, and a
completed one may not have. ``tests/model`` explores these rules in every order of events, and tells
of each of them what happens without it: a rule changes there first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.model import (
    MIGRATIONS,
    Attempt,
    AttemptKind,
    Fleet,
    Heard,
    Hearing,
    Job,
    MoveRecord,
    Result,
    Says,
    Vm,
    same_host,
    short,
)
from engine.policy.judging import causes

APART = 30.0
"""Seconds from the answer of a host to its second question, while nothing else is known of a job: a
migration shows neither word nor job for a moment, but not for so long."""

_WRAPPING = re.compile(
    r"^VMM cannot complete the (?:host|Hyper-V|WMI) operation on the (?:server )?\S+(?: server)? "
    r"because of (?:the|an) error: "
)


class Whereabouts(StrEnum):
    """Location of a VM, seen from one attempt."""

    SOURCE = "source"
    DESTINATION = "destination"
    BOTH = "both"
    NEITHER = "neither"
    ELSEWHERE = "elsewhere"


_PLACES = {
    (Says.AT_REST, Says.ABSENT): Whereabouts.SOURCE,
    (Says.ABSENT, Says.AT_REST): Whereabouts.DESTINATION,
    (Says.AT_REST, Says.AT_REST): Whereabouts.BOTH,
    (Says.ABSENT, Says.ABSENT): Whereabouts.NEITHER,
}
"""Location of a VM by the words of the source and of the destination."""


@dataclass(frozen=True)
class Ending:
    """End of an attempt's job. ``seen``: VMM saw the job to its end; else it was lost, and the
    hosts may go on. ``after``: number of the newest call when that was known. ``job``: as VMM shows
    it; ``None``: it does not."""

    seen: bool
    after: int
    job: Job | None = None


def has_job(job: Job | None, fleet: Fleet, vm_id: str) -> bool:
    """Tell whether VMM shows a running job that moves the VM: this job, or any other."""
    return (job is not None and job.state == "running") or bool(fleet.running_jobs(vm_id))


def is_in_flight(vm: Vm, fleet: Fleet) -> bool:
    """Tell whether a job or Hyper-V shows the VM in flight. VMM's status may be stale: ignored."""
    return bool(fleet.running_jobs(vm.id)) or vm.migrating_by_hyperv


def ending_of(attempt: Attempt, fleet: Fleet) -> Ending | None:
    """End of the job of an open attempt; ``None``: it may run, or still begin.

    Seen: VMM, asked for the job by its id, says that it completed, or that it failed for a cause
    that ends a migration. Else the job is lost, which counts only by a list of jobs that was asked
    after the look-ups. So does the end of a job that was only found: it may be somebody else's.
    """
    job = fleet.job(attempt.known_job)
    if has_job(job, fleet, attempt.vm_id):
        return None
    over = fleet.over.get(attempt.known_job or "")
    if attempt.known_job is not None and over is None:
        return None  # VMM was not asked for it since, or refused to read it
    is_seen = job is not None and _is_seen(job)
    if is_seen and attempt.job is not None:
        return Ending(True, over or 0, job)
    idle = fleet.idle.get(attempt.id)
    if idle is None:
        return None
    return Ending(is_seen, max(over or 0, idle), job)


def _is_seen(job: Job) -> bool:
    if job.state == "failed":
        return causes.is_end(job.error or "")
    return job.state == "completed"


def hear(attempt: Attempt, fleet: Fleet) -> Attempt:
    """Return an open attempt with what both hosts have said since its job was over, and with the
    latest job that was found of a start without an answer."""
    running = fleet.running_jobs(attempt.vm_id)
    if running and attempt.job is None:
        attempt = replace(attempt, found=running[-1].id)
    ending = ending_of(attempt, fleet)
    if ending is None:
        return replace(attempt, hearing=Hearing())
    hearing = attempt.hearing
    if hearing.after < ending.after:
        hearing = Hearing(ending.after)
    for host in filter(None, (attempt.source, attempt.destination)):
        word = fleet.words.get((host.casefold(), attempt.vm_id))
        if word is not None:
            hearing = hearing.hear(host, word, fleet.newest, APART)
    # Without words it is told by the ending, so there is nothing to keep.
    return replace(attempt, hearing=Hearing() if hearing == Hearing(ending.after) else hearing)


def is_shown_moving(attempt: Attempt, fleet: Fleet) -> bool:
    """Tell whether one of both hosts showed the VM in flight when it was asked last."""
    keys = ((h.casefold(), attempt.vm_id) for h in (attempt.source, attempt.destination) if h)
    return any(key in fleet.words and fleet.words[key].says is Says.MOVING for key in keys)


def judge(attempt: Attempt, ending: Ending) -> Whereabouts | None:
    """Location of the VM by what was heard; ``None``: not enough was. One word of each host is
    enough if the job was seen to its end, unless both show the VM: that may pass by itself."""
    source, destination = (attempt.hearing.of(h) for h in (attempt.source, attempt.destination))
    if source is None or destination is None:
        return None
    place = _PLACES[source.says, destination.says]
    if (ending.seen and place is not Whereabouts.BOTH) or (source.twice and destination.twice):
        return place
    return None


def is_proof(attempt: Attempt, ending: Ending, place: Whereabouts) -> bool:
    """Tell whether the VM's location proves the end of the attempt. If its job was lost, a VM that
    no host shows may be in flight, because a planned VM cannot be seen. A powered-down VM is at
    rest on its source while it is copied, and on both hosts when the copy ends: then only the
    arrival proves something."""
    if ending.seen or place is Whereabouts.DESTINATION:
        return True
    return attempt.kind is AttemptKind.LIVE and place is not Whereabouts.NEITHER


def frees(attempt: Attempt, host: str, fleet: Fleet) -> bool:
    """Tell whether this host, by its own word, no longer takes part in the attempt."""
    ending, heard = ending_of(attempt, fleet), attempt.hearing.of(host)
    if ending is None or heard is None:
        return False
    return ending.seen or (heard.twice and _shows_end(attempt, heard))


def _shows_end(attempt: Attempt, heard: Heard) -> bool:
    """Tell whether this word shows the end of an attempt whose job was lost."""
    if heard.says is Says.ABSENT:  # on the destination it proves nothing: see ``Says``
        return same_host(heard.host, attempt.source)
    return attempt.kind is AttemptKind.LIVE


def is_in_doubt(attempt: Attempt, fleet: Fleet) -> bool:
    """Tell whether an open start whose move has ended may still be running, or still begin."""
    ending = ending_of(attempt, fleet)
    place = judge(attempt, ending) if ending is not None else None
    return ending is None or place is None or not is_proof(attempt, ending, place)


def has_stopped(record: MoveRecord, vm: Vm | None) -> bool:
    """Tell whether a VM that ran when it was started is powered down on its destination."""
    last = next(iter(reversed(record.counted(*MIGRATIONS))), None)
    if last is None or last.kind is not AttemptKind.LIVE or vm is None or not vm.down:
        return False
    return any(same_host(host, last.destination) for host in vm.seen_on)


def result_of(
    attempt: Attempt, place: Whereabouts, job: Job | None, vm: str = ""
) -> tuple[Result, str]:
    """Result of an attempt that is over, and a sentence if something went wrong. Causes outside the
    VM (a full slot, a lock, a lost agent, VMM's restart) give a result that is not charged."""
    said = _said(job)
    if place is Whereabouts.DESTINATION:
        if job is not None and job.state != "completed":
            return Result.OK, f"{said}, but the VM is on {short(attempt.destination)}."
        return Result.OK, ""
    if place is Whereabouts.ELSEWHERE:
        return Result.FAILED, f"{said}, and the VM is on another host."
    if job is None:
        return Result.LOST, "No VMM job was found and the VM did not move."
    if job.state == "completed":
        return (
            Result.FAILED,
            f"VMM says the move completed, but the VM is still on {short(attempt.source)}.",
        )
    error = plain(job.error)
    return (causes.result_of(error, vm), error) if error else (Result.FAILED, f"{said}.")


def times_of(job: Job | None, fleet: Fleet) -> tuple[float, float] | None:
    """Begin and end of a job by VMM (Unix seconds on VMFerry's clock), if VMM tells both."""
    if job is None or job.started is None or job.ended is None:
        return None
    return job.started - fleet.ahead, job.ended - fleet.ahead


def _said(job: Job | None) -> str:
    if job is None:
        return "VMM shows no job"
    if job.state == "completed":
        return "VMM says the move completed"
    return f"VMM's job {job.state}{f' ({plain(job.error)})' if job.error else ''}"


def plain(error: str | None) -> str:
    """Error without VMM's wrapping (error 12700 and similar), which names only the host."""
    return _WRAPPING.sub("", error or "")
