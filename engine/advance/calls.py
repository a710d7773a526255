"""Calls of a plan's steps: made in parallel lanes, answered in step order.

At most one call per host and ``lanes`` calls in total run at a time; urgent kinds (such as
restoring networks) start first. With one lane all calls run in the caller's thread, in order, so
that virtual time is deterministic. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from engine.errors import VmmError
from engine.model import Network
from engine.policy.steps import (
    Call,
    CheckRights,
    Dismiss,
    PutBack,
    ReadNetworks,
    RefreshVm,
    SaveBaselines,
    Start,
    StopJob,
    hosts_of,
)
from engine.vmm.port import VmmPort

#: Stops, repairs and reads come before starts, which fill slots.
_URGENCY = (StopJob, PutBack, ReadNetworks, Dismiss, RefreshVm, CheckRights, SaveBaselines, Start)


@dataclass(frozen=True)
class CallAnswer:
    """Result of a call: networks by VM id, a job id, the reason for missing rights, or an error of
    the port."""

    networks: Mapping[str, Network] | None = None
    job: str | None = None
    why: str | None = None
    error: VmmError | None = None


def in_order(calls: Sequence[Call]) -> list[Call]:
    """The calls, most urgent kind first, otherwise in the order of the plan."""
    return sorted(calls, key=lambda call: _URGENCY.index(type(call)))


def make(call: Call, port: VmmPort) -> CallAnswer:
    """Make one call. Errors of the port become answers; other exceptions are bugs and pass."""
    try:
        return _ask(call, port)
    except VmmError as error:
        return CallAnswer(error=error)


def _ask(call: Call, port: VmmPort) -> CallAnswer:
    match call:
        case SaveBaselines() | ReadNetworks():
            return CallAnswer(networks=port.networks(call.host, [m.vm_id for m in call.moves]))
        case PutBack():
            port.repair_network(call.move.vm_id, call.repair)
        case CheckRights():
            return CallAnswer(why=port.rights(call.host))
        case StopJob():
            port.stop_job(call.job)
        case Dismiss():
            port.dismiss(call.move.vm_id)
        case RefreshVm():
            port.refresh(call.move.vm_id)
        case Start():
            return CallAnswer(job=port.start_move(call.order))
    return CallAnswer()


def make_all(calls: Sequence[Call], port: VmmPort, lanes: int) -> list[CallAnswer]:
    """Make all calls. The answers have the order of ``calls``."""
    if lanes <= 1:
        return [make(call, port) for call in calls]
    answers: dict[int, CallAnswer] = {}
    waiting = list(enumerate(calls))
    flying: dict[Future[CallAnswer], int] = {}
    with ThreadPoolExecutor(max_workers=lanes, thread_name_prefix="lane") as pool:
        while waiting or flying:
            busy = {host.casefold() for i in flying.values() for host in hosts_of(calls[i])}
            for index, call in list(waiting):
                hosts = {host.casefold() for host in hosts_of(call)}
                if len(flying) >= lanes or hosts & busy:
                    continue
                waiting.remove((index, call))
                flying[pool.submit(make, call, port)] = index
                busy |= hosts
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                answers[flying.pop(future)] = future.result()
    return [answers[index] for index in range(len(calls))]
