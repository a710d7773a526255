"""Location of a VM after an attempt, by Hyper-V, compared with the result of the job.

The VM's location decides, never the job's result. A failed job may have moved the VM, and a
completed one may not have. Only complete answers from both hosts prove anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from engine.model import Attempt, Fleet, Job, Result, Vm, same_host, short
from engine.policy.judging import causes

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
    HOST_SILENT = "host does not answer"


@dataclass(frozen=True)
class Found:
    """Location of a VM. ``host``: the host it is on, ``None`` unless there is exactly one.
    ``silent``: the host that did not answer."""

    place: Whereabouts
    host: str | None = None
    silent: str | None = None


def has_job(job: Job | None, fleet: Fleet, vm_id: str) -> bool:
    """Tell whether VMM shows a running job that moves the VM: this job, or any other."""
    return (job is not None and job.state == "running") or bool(fleet.running_jobs(vm_id))


def is_in_flight(vm: Vm | None, job: Job | None, fleet: Fleet, vm_id: str) -> bool:
    """Tell whether a job or Hyper-V shows the VM in flight. VMM's status may be stale: ignored."""
    return has_job(job, fleet, vm_id) or (vm is not None and vm.migrating_by_hyperv)


def find(attempt: Attempt, vm: Vm | None, fleet: Fleet) -> Found:
    """Find the VM of this attempt. Only Hyper-V's own view counts."""
    seen = vm.seen_on if vm else ()
    for name in (attempt.source, attempt.destination):
        if not fleet.answers(name):
            return Found(Whereabouts.HOST_SILENT, silent=name)
    if len(seen) > 1:
        return Found(Whereabouts.BOTH)
    if not seen:
        return Found(Whereabouts.NEITHER)
    if same_host(seen[0], attempt.source):
        return Found(Whereabouts.SOURCE, seen[0])
    if same_host(seen[0], attempt.destination):
        return Found(Whereabouts.DESTINATION, seen[0])
    return Found(Whereabouts.ELSEWHERE, seen[0])


def is_in_doubt(attempt: Attempt, fleet: Fleet) -> bool:
    """Tell whether an open start whose move has ended may still be running, or still begin.

    It is over only when both hosts answer, nothing shows a migration, and ``not_after`` has passed,
    so that the guard at VMM would refuse to begin it."""
    vm = fleet.vm(attempt.vm_id)
    if find(attempt, vm, fleet).place is Whereabouts.HOST_SILENT:
        return True
    if attempt.not_after is None or fleet.server_time <= attempt.not_after:
        return True
    return (vm is not None and vm.migrating) or bool(fleet.running_jobs(attempt.vm_id))


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


def _said(job: Job | None) -> str:
    if job is None:
        return "VMM shows no job"
    if job.state == "completed":
        return "VMM says the move completed"
    return f"VMM's job {job.state}{f' ({plain(job.error)})' if job.error else ''}"


def plain(error: str | None) -> str:
    """Error without VMM's wrapping (error 12700 and similar), which names only the host."""
    return _WRAPPING.sub("", error or "")
