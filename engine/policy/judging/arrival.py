"""Location of a VM after an attempt: what Hyper-V shows, compared with what the job said.

The VM's location counts, never what the job claims: a job that failed may have moved the VM, a job
that completed may not have. Only complete answers of both hosts prove anything.
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
    """Location of a VM, the host it is on (``None`` unless there is exactly one), and the host that
    did not answer."""

    place: Whereabouts
    host: str | None = None
    silent: str | None = None


def is_in_flight(vm: Vm | None, job: Job | None, fleet: Fleet, vm_id: str) -> bool:
    """Tell whether any sign but VMM's own status, which may be stale, shows the VM in flight."""
    if job is not None and job.state == "running":
        return True
    if fleet.running_jobs(vm_id):
        return True
    return vm is not None and vm.migrating_by_hyperv


def find(attempt: Attempt, vm: Vm | None, fleet: Fleet) -> Found:
    """Find the VM of this attempt, by what Hyper-V itself shows."""
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
    """Tell whether this start, whose move ended with the VM's location unknown, may still be
    running or begin. The start is over only when both hosts answer, nothing shows a migration, and
    the guard at VMM would refuse to begin it by now. From then on, the ladder finds the VM by
    itself."""
    vm = fleet.vm(attempt.vm_id)
    if find(attempt, vm, fleet).place is Whereabouts.HOST_SILENT:
        return True
    if attempt.not_after is None or fleet.server_time <= attempt.not_after:
        return True
    return (vm is not None and vm.migrating) or bool(fleet.running_jobs(attempt.vm_id))


def result_of(
    attempt: Attempt, place: Whereabouts, job: Job | None, vm: str = ""
) -> tuple[Result, str]:
    """The result of an attempt that is over, and a sentence where something went wrong. What
    was not the VM's fault (a full slot, a lock, a lost agent, VMM's restart) is not charged."""
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
    """The cause without VMM's wrapping (error 12700 and its like), which names only the host."""
    return _WRAPPING.sub("", error or "")
