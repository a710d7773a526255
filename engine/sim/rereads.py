"""Re-reads by VMM as jobs of their own: what they lock, how long they take, and their effect."""

from __future__ import annotations

import uuid

from engine.errors import VmmRefused
from engine.model import Job, Reread
from engine.sim.fleet_file import NAMESPACE
from engine.sim.state import HostState, RereadJob, State, VmState
from engine.sim.views import RESTARTED, is_about, refresh_vm, reread, silence

KEPT = 500
"""Number of ended re-reads that VMM's job history keeps."""
LOCKED = (
    "Unable to perform the job because one or more of the selected objects are locked by another "
    "job (2606)"
)


def begin_reread(state: State, what: Reread, name: str, now: float) -> RereadJob:
    """Begin a re-read of a host (full name) or a VM (id), and return its job. Without a cost the
    job ends at once. Raises ``VmmRefused`` if VMM knows nothing of that name.

    A job whose object is locked fails at once. A job on a host whose re-reads hang never ends, and
    keeps its lock.
    """
    host = _host(state, what, name)
    state.reread_count += 1
    number = str(uuid.uuid5(NAMESPACE, f"reread/{state.seed}/{state.reread_count}"))
    job = RereadJob(number, what, name, started=now, ends=now)
    if is_locked := _is_locked(state, what, name, now):
        _close(job, now, LOCKED)
    elif host is not None and host.rereads_hang:
        job.ends = None
    else:
        vms = sum(is_about(vm, name) for vm in state.vms.values())
        servers = ("", host.name) if host else ("",)
        job.ends = now + state.costs.of(f"job of {what}", vms) * state.times(*servers)
    ended = [one for one in state.rereads if one.phase != "running"]
    for one in ended[: max(0, len(ended) - KEPT)]:
        state.rereads.remove(one)
    state.rereads.append(job)
    if not is_locked and job.ends == now:
        end_reread(state, job.id, now)
    return job


def _host(state: State, what: Reread, name: str) -> HostState | None:
    """The host that VMM asks for this re-read. ``None``: the VM is on no host."""
    if what is not Reread.VM:
        if (host := state.known_host(name)) is None:
            raise VmmRefused(f"VMM knows no host {name}")
        return host
    vm = state.vms.get(name)
    if vm is None or vm.vmm_host is None:
        raise VmmRefused(f"VMM knows no virtual machine {name}")
    return state.known_host(vm.vmm_host)


def end_reread(state: State, job_id: str, now: float) -> None:
    """End a re-read that is due: VMM's view catches up, or the job fails if the host is silent."""
    job = next(one for one in state.rereads if one.id == job_id)
    try:
        host = _host(state, job.what, job.name)
    except VmmRefused as error:
        _close(job, now, str(error))
        return
    _close(job, now, silence(host, now) if host else None)
    if job.error:
        return
    match job.what:  # of a host nothing is kept: looks show what it is
        case Reread.VM if state.migration_of(job.name) is None:
            refresh_vm(state, now, state.vms[job.name])
        case Reread.VMS:
            for vm in list(state.vms.values()):
                if is_about(vm, job.name) and not _is_busy(state, vm):
                    reread(state, vm, now)


def _close(job: RereadJob, now: float, error: str | None) -> None:
    job.phase = "failed" if error else "completed"
    job.error, job.ended, job.ends = error, now, now


def fail_rereads(state: State, now: float) -> None:
    """Fail the running re-reads, as a restart of the VMM service does."""
    for job in state.rereads:
        if job.phase == "running":
            _close(job, now, RESTARTED)


def hang_rereads(state: State, host: HostState) -> None:
    """Let the re-reads of this host and of its VMs never end from now on."""
    host.rereads_hang = True
    for job in state.rereads:
        vm = state.vms.get(job.name)
        is_of_it = job.name == host.name or (vm is not None and is_about(vm, host.name))
        if job.phase == "running" and is_of_it:
            job.ends = None


def reread_lock(state: State, what: Reread, name: str) -> bool:
    """Tell whether a running re-read locks this host (``HOST``) or this VM (``VM``). A re-read of
    the VMs of a host locks these VMs, and one of a host's properties only the host."""
    vm = state.vms.get(name) if what is Reread.VM else None
    return any(
        (job.what is what and job.name == name)
        or (job.what is Reread.VMS and vm is not None and is_about(vm, job.name))
        for job in state.rereads
        if job.phase == "running"
    )


def _is_locked(state: State, what: Reread, name: str, now: float) -> bool:
    """Tell whether another job locks what is to be read. A re-read of all VMs of a host passes over
    the VMs that are locked, unless another one like it runs."""
    if what is Reread.VM:
        vm = state.vms[name]
        hosts = [state.known_host(one) for one in (*vm.hosts, vm.vmm_host) if one]
        return _is_busy(state, vm) or any(h and now < h.locked_until for h in hosts)
    host = state.known_host(name)
    same = any(j.what is what and j.name == name for j in state.rereads if j.phase == "running")
    return same or (host is not None and now < host.locked_until)


def _is_busy(state: State, vm: VmState) -> bool:
    return state.migration_of(vm.id) is not None or reread_lock(state, Reread.VM, vm.id)


def job_of_reread(job: RereadJob) -> Job:
    """The job as VMM shows it. It moves no VM."""
    return Job(
        id=job.id,
        vm_id="",
        source=None,
        target=None,
        state=job.phase,
        progress=0 if job.phase == "running" else 100,
        error=job.error,
        started=job.started,
        ended=job.ended,
    )
