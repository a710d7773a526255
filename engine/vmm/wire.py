"""The port to a real VMM server and its hosts: observations and changes. Looks are in ``looking``.

An observation merges the answers of all of them. The VMM server is asked for what VMM knows, and
each host directly for what Hyper-V shows. VMM comes first: without it there is no observation, and
a wrong password is noticed at one server and not at all of them. The only state between calls: when
VMM last re-read each host, which VMM does not report, and the calls that are still running. The
next engine knows neither, and asks again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.clock import Clock
from engine.errors import VmmError, VmmLocked
from engine.model import Expected, Fleet, Host, MoveOrder, Repair, Reread, Vm, same_host
from engine.settings import Settings
from engine.vmm import answers, values
from engine.vmm.answers import ScriptAnswer
from engine.vmm.looking import Looks
from engine.vmm.pending import PendingCalls
from engine.vmm.psrp import Parameters
from engine.vmm.sessions import Sessions

CLOSING, SHORT = 5.0, 1.0
"""Seconds for which closing waits for calls, and an observation for a host that was late before."""


@dataclass(frozen=True)
class _Seen:
    """Answer of one host's Hyper-V and the time of the question, or the error."""

    at: float
    state: answers.StateAnswer | None = None
    error: str | None = None


@dataclass(frozen=True)
class _Reread:
    """VMM's re-read of one host: the time of the request, and its error."""

    asked: float
    error: VmmError | None = None


class WirePort(Looks):
    """``VmmPort`` over PSRP. Thread-safe; call ``close`` at the end."""

    def __init__(
        self, settings: Settings, clock: Clock, *, sessions: Sessions | None = None
    ) -> None:
        super().__init__(settings, sessions)
        self.clock = clock
        self._refreshed: dict[str, float] = {}
        self._looks, self._late = PendingCalls[_Seen](self.sessions.clock), set[str]()
        self._rereads = PendingCalls[_Reread](self.sessions.clock)
        self._observing = threading.Lock()
        self._outcomes: dict[str, _Reread] = {}
        # With those beside the observations, one session stays free for the fleet, one for jobs.
        self._turns = threading.Semaphore(max(1, settings.vmm.sessions // 2 - 2))

    def close(self) -> None:
        """Close all sessions. Calls that hang are left to their deadlines."""
        self.sessions.close()
        for calls in (self._looks, self._rereads):
            calls.wait(seconds=CLOSING)

    def observe(
        self,
        hosts: Sequence[str] = (),
        jobs: Sequence[str] = (),
        refresh: Sequence[str] = (),
        reread: Sequence[str] = (),
    ) -> Fleet:
        """See ``VmmPort``. One call to VMM for each host to refresh, one for the fleet, then one to
        each of ``hosts``. Each host's calls fail alone."""
        with self._observing:
            at = self.clock.now()
            rereads = self._refresh_hosts(refresh)
            parameters = {"Jobs": list(jobs) or None}
            answer = self._vmm(
                answers.FleetAnswer, "Get-VmfFleet", parameters, self.limits.limit_read
            )
            known = [one.name for one in answer.hosts]
            for name in reread:  # after VMM has accepted the account once
                if any(same_host(name, one) for one in known):
                    self._rereads.begin(name.casefold(), partial(self._refresh_host, name))
                    rereads.setdefault(name.casefold(), None)
            wanted = [n for n in known if any(same_host(n, one) for one in hosts)]
            seen = self._see(wanted)
            self._outcomes = {}
            return Fleet(
                vmm=self.vmm,
                at=at,
                server_time=answer.server_time.timestamp(),
                hosts=tuple(self._host(one, seen.get(one.name), rereads) for one in answer.hosts),
                vms=_vms(answer.vms, seen),
                jobs=tuple(map(values.job, answer.jobs)),
            )

    def start_move(self, order: MoveOrder) -> str | None:
        """See ``VmmPort``. ``Start-VmfMove`` makes the comparison, on VMM's server."""
        parameters: Parameters = {
            "VmId": order.vm_id,
            "Source": order.source,
            "Destination": order.destination,
            "Path": order.path,
            "Power": order.power,
            "Pin": None
            if order.pin is None
            else values.rows(map(values.pinned, order.pin.adapters)),
            "NotAfter": values.iso(order.not_after),
        }
        return self._vmm(answers.Started, "Start-VmfMove", parameters, self.limits.limit_change).job

    def repair_network(self, vm_id: str, repair: Repair) -> None:
        """See ``VmmPort``. What VMM models (VM network, subnet, switch, access VLAN, port
        classification, port ACL) is restored through VMM, so that its model agrees; then the
        rest on the host. A refusal by VMM does not stop the repair on the host."""
        connections = _connections(repair)
        ports = _ports(repair)
        refusal: VmmError | None = None
        if connections:
            try:
                wanted = {"VmId": vm_id, "HostName": repair.host, "Adapters": connections}
                self._vmm(ScriptAnswer, "Repair-VmfNetwork", wanted, self.limits.limit_change)
            except VmmError as error:
                refusal = error
        if ports:
            wanted = {"VmId": vm_id, "Adapters": ports}
            self._host_asks(
                ScriptAnswer, repair.host, "Add-VmfHostNetwork", wanted, self.limits.limit_change
            )
        if refusal is not None:
            raise refusal

    def dismiss(self, vm_id: str) -> None:
        """See ``VmmPort``."""
        self._vmm(ScriptAnswer, "Clear-VmfFailedJob", {"VmId": vm_id}, self.limits.limit_change)

    def refresh(self, vm_id: str) -> None:
        """See ``VmmPort``."""
        self._vmm(ScriptAnswer, "Update-VmfVm", {"VmId": vm_id}, self.limits.limit_change)

    def stop_job(self, job_id: str) -> None:
        """See ``VmmPort``."""
        self._vmm(ScriptAnswer, "Stop-VmfJob", {"JobId": job_id}, self.limits.limit_quick)

    # --- changes of one side, each with what it expects -----------------------------------

    def reread(self, what: Reread, name: str, not_after: float) -> str | None:
        """See ``VmmPort``."""
        wanted = {"What": what.value, "Name": name, "NotAfter": values.iso(not_after)}
        limit = self.limits.limit_change
        return self._vmm(answers.Started, "Start-VmfReread", wanted, limit).job

    def put_ports(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort``."""
        if rows := _ports(repair):
            until = values.iso(expected.not_after)
            wanted = {"VmId": vm_id, "Adapters": rows, "NotAfter": until}
            self._host_asks(
                ScriptAnswer, expected.host, "Add-VmfHostPort", wanted, self.limits.limit_change
            )

    def put_models(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort``."""
        if rows := _connections(repair):
            wanted = {**_expected(vm_id, expected), "Adapters": rows}
            self._vmm(ScriptAnswer, "Repair-VmfModel", wanted, self.limits.limit_change)

    def clear(self, vm_id: str, expected: Expected) -> None:
        """See ``VmmPort``."""
        wanted = _expected(vm_id, expected)
        self._vmm(ScriptAnswer, "Clear-VmfFailure", wanted, self.limits.limit_change)

    def stop(self, job_id: str, not_after: float) -> None:
        """See ``VmmPort``."""
        wanted = {"JobId": job_id, "NotAfter": values.iso(not_after)}
        self._vmm(ScriptAnswer, "Stop-VmfMove", wanted, self.limits.limit_quick)

    # --- observing ------------------------------------------------------------------------

    def _refresh_hosts(self, refresh: Sequence[str]) -> dict[str, _Reread | None]:
        """Make VMM re-read these hosts, and wait for it. Return all re-reads that have ended since
        the last observation, by host; ``None``: it is running."""
        wanted = {name.casefold(): name for name in refresh}
        self._rereads.wait(wanted)  # not two of a host at a time
        self._outcomes |= self._rereads.ended()
        for key, name in wanted.items():
            self._rereads.begin(key, partial(self._refresh_in_turn, name))
        self._rereads.wait(wanted)
        running = self._rereads.running()
        self._outcomes |= self._rereads.ended()
        done = {key: one.asked for key, one in self._outcomes.items() if one.error is None}
        self._refreshed |= done
        return dict.fromkeys(running) | self._outcomes

    def _refresh_in_turn(self, name: str) -> _Reread:
        with self._turns:
            return self._refresh_host(name)

    def _refresh_host(self, name: str) -> _Reread:
        asked = self.clock.now()
        try:
            self._vmm(ScriptAnswer, "Update-VmfHost", {"HostName": name}, self.limits.limit_reread)
        except VmmError as error:
            return _Reread(asked, error)
        return _Reread(asked)

    def _see(self, names: Sequence[str]) -> Mapping[str, _Seen]:
        """Ask the Hyper-V of these hosts at the same time. A host that was late the last time gets
        little time, until it answers again. The answer to a question of an earlier observation is
        older than what it would be compared with, so it is dropped."""
        at = self.clock.now()
        late = self._looks.ended()
        self._late -= {name for name, seen in late.items() if seen.state is not None}
        asked = [name for name in names if self._looks.begin(name, partial(self._look, name))]
        self._looks.wait([name for name in asked if name not in self._late], self.limits.patience)
        self._looks.wait(asked, SHORT)
        came = {name: seen for name, seen in self._looks.ended().items() if name in asked}
        self._late -= {name for name, seen in came.items() if seen.state is not None}
        self._late |= set(names) - set(came)
        return {n: came.get(n) or _Seen(at, error=f"{n} does not answer") for n in names}

    def _look(self, name: str) -> _Seen:
        at = self.clock.now()
        try:
            state = self._host_asks(
                answers.StateAnswer, name, "Get-VmfHostState", {}, self.limits.limit_read
            )
        except VmmError as error:  # of one host; the other answers are still valid
            return _Seen(at, error=str(error))
        return _Seen(at, state)

    def _host(
        self, answer: answers.FleetHost, seen: _Seen | None, rereads: Mapping[str, _Reread | None]
    ) -> Host:
        """A host from VMM's answer and its own. The smaller of two limits counts."""
        key = answer.name.casefold()
        reread = rereads.get(key)
        error = reread.error if reread else None
        is_locked = isinstance(error, VmmLocked)
        why = None if error is None or is_locked else f"VMM cannot re-read {answer.name}: {error}"
        state = seen.state if seen else None
        limited = (answer, state) if state else (answer,)
        silent = None if answer.responding else f"VMM gets no answer from {answer.name}"
        return Host(
            name=answer.name,
            live_limit=min(one.live_limit for one in limited),
            storage_limit=min(one.storage_limit for one in limited),
            seen_at=seen.at if seen and state else None,
            refreshed_at=self._refreshed.get(key),
            rereading=key in rereads and reread is None,
            reread_failed=error is not None,
            locked=is_locked,
            error=(seen.error if seen else None) or why or answer.error or silent,
            maintenance=answer.maintenance,
            path=answer.path,
            free_memory_mb=answer.free_memory_mb,
            volumes=answer.volumes,
            switches=state.switches if state else None,
        )


# --- answers to values --------------------------------------------------------------------------


def _vms(answer: Sequence[answers.FleetVm], seen: Mapping[str, _Seen]) -> tuple[Vm, ...]:
    """VMM's VMs with Hyper-V's view of each, then VMs that only Hyper-V shows.

    A replica has the id of the VM that it copies. If VMM knows both, the copy is omitted. A copy
    that Hyper-V shows is never taken for the VM.
    """
    shown: dict[str, dict[str, answers.StateVm]] = {}
    for host, one in seen.items():
        for vm in one.state.vms if one.state else ():
            if not vm.replica:
                shown.setdefault(vm.id, {})[host] = vm
    originals = {vm.id for vm in answer if not vm.replica and not vm.stored}
    vms = [
        _vm(vm, {} if vm.stored else shown.get(vm.id, {}))
        for vm in answer
        if not (vm.replica and vm.id in originals)
    ]
    known = {vm.id for vm in answer if not vm.stored}
    return (*vms, *(_only_shown(places) for id_, places in shown.items() if id_ not in known))


def _vm(answer: answers.FleetVm, places: Mapping[str, answers.StateVm]) -> Vm:
    said = answer.model_dump(exclude={"host", "status", "replica"})
    shown = _shown(places, answer.host)
    return Vm(**said, vmm_host=answer.host, vmm_status=answer.status, **shown)


def _only_shown(places: Mapping[str, answers.StateVm]) -> Vm:
    """A VM that VMM has not found yet."""
    vm = next(iter(places.values()))
    return Vm(id=vm.id, name=vm.name, vmm_host=None, vmm_status="", **_shown(places, None))


def _shown(places: Mapping[str, answers.StateVm], vmm_host: str | None) -> dict[str, Any]:
    """Hyper-V's view of a VM: on VMM's host, else on the first host that has it."""
    here = [vm for host, vm in places.items() if same_host(host, vmm_host)]
    own = next(iter([*here, *places.values()]), None)
    if own is None:
        return {}
    return {
        "seen_on": tuple(places),
        "hyperv_state": values.power(own.state),
        "hyperv_status": own.status,
        "switches": own.switches or (),
    }


# --- values to parameters -----------------------------------------------------------------------


def _connections(repair: Repair) -> str | None:
    """What VMM has to restore, or ``None``."""
    wanted = [values.connection(one) for one in repair.adapters if values.is_vmms(one)]
    return values.rows(wanted) if wanted else None


def _ports(repair: Repair) -> str | None:
    """What the host has to restore, or ``None``."""
    wanted = [values.port(one) for one in repair.adapters if values.is_hosts(one)]
    return values.rows(wanted) if wanted else None


def _expected(vm_id: str, expected: Expected) -> dict[str, str]:
    until = values.iso(expected.not_after)
    return {"VmId": vm_id, "HostName": expected.host, "NotAfter": until}
