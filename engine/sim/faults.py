"""Calls that go wrong because a story says so: a world whose answers are bent, call by call.

The world itself stays honest: a fault either keeps a call from reaching it, lets it happen and
loses the answer, cuts it in half, or lets it happen later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Literal, TypeVar, get_args

from engine.errors import VmmError, VmmLocked, VmmRefused, VmmUnavailable
from engine.model import AdapterRepair, Fleet, MoveOrder, Network, Repair, same_host
from engine.sim import judge
from engine.sim.state import State, places
from engine.sim.world import World

How = Literal["refused", "locked", "timeout_before", "timeout_after", "half", "delayed"]
HOWS: tuple[How, ...] = get_args(How)
Call = Literal[
    "observe", "networks", "rights", "start_move",
    "repair_network", "dismiss", "refresh", "stop_job",
]  # fmt: skip
CALLS: tuple[Call, ...] = get_args(Call)
READING = ("observe", "networks", "rights")
"""Calls that change nothing: they can fail, but not come true later."""
NAMELESS = ("observe", "rights")
"""Calls that name no VM."""

Reply = TypeVar("Reply")
Act = Callable[[float], Reply]


@dataclass
class Fault:
    """Fault of the next ``times`` calls of this name, of one host or VM where it is named.

    ``host`` is a full name, ``vm`` an id. ``code`` is VMM's number. ``delay`` is in seconds.
    """

    call: str
    how: How
    times: int = 1
    host: str | None = None
    vm: str | None = None
    code: str = ""
    delay: float = 0.0

    def strikes(self, call: str, hosts: Sequence[str], vms: Sequence[str]) -> bool:
        """Tell whether the fault strikes this call. ``hosts`` and ``vms`` are those that the call
        is about."""
        if self.times <= 0 or call != self.call:
            return False
        if self.host is not None and not _named(self.host, hosts):
            return False
        return self.vm is None or self.vm in vms

    def no_answer(self) -> VmmUnavailable:
        """Error of a call of which nobody knows whether it happened."""
        return VmmUnavailable(f"The connection broke during {self.call}", code=self.code)

    def refusal(self) -> VmmError:
        """VMM's own no, before anything happens."""
        if self.how == "locked":
            return VmmLocked("The object is locked by another job", code=self.code or "2606")
        if self.how == "refused":
            return VmmRefused(f"VMM refused {self.call}", code=self.code)
        return self.no_answer()


class FaultyWorld(World):
    """A world on whose way to us things go wrong. A story's own: it is never saved."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._faults: list[Fault] = []
        self._later: list[tuple[float, Act[object]]] = []

    def add_fault(self, fault: Fault) -> None:
        """Add a fault from now on; an earlier fault of the same call comes first."""
        self._faults.append(fault)

    def advance(self, now: float) -> None:
        """Settle what happened up to now, delayed calls at their time too."""
        while due := min(
            (one for one in self._later if one[0] <= now), default=None, key=itemgetter(0)
        ):
            self._later.remove(due)
            with suppress(VmmError):  # nobody is there to hear it
                due[1](due[0])
        super().advance(now)

    def next_change(self, now: float) -> float | None:
        """Next change of the world itself, delayed calls included."""
        change = super().next_change(now)
        known = [at for at, _ in self._later]
        return min(known if change is None else [change, *known], default=None)

    # --- the port's calls --------------------------------------------------------------------

    def observe(
        self,
        now: float,
        hosts: Sequence[str] = (),
        jobs: Sequence[str] = (),
        refresh: Sequence[str] = (),
    ) -> Fleet:
        """Observe with faults: a host is silent or cannot be re-read, or VMM itself does not
        answer."""
        fault = self._strike("observe", now, hosts, refresh=refresh)
        if fault is None:
            return super().observe(now, hosts, jobs, refresh)
        if fault.how in ("refused", "locked"):
            vain = [h for h in refresh if fault.host is None or same_host(fault.host, h)]
            kept = [h for h in refresh if h not in vain]
            fleet = super().observe(now, hosts, jobs, kept)
            if fault.how == "locked":
                return _with_hosts(fleet, vain, locked=True)
            return _with_hosts(fleet, vain, error=str(fault.refusal()))
        if fault.host is None and fault.how != "half":
            looked = super().observe
            return self._bent(fault, now, lambda at: looked(at, hosts, jobs, refresh))
        silent = [fault.host] if fault.host else list(dict.fromkeys(hosts))[len(set(hosts)) // 2 :]
        if fault.how == "timeout_before" or fault.how == "half":
            refresh = [h for h in refresh if not _named(h, silent)]
        answering = [h for h in hosts if not _named(h, silent)]
        fleet = super().observe(now, answering, jobs, refresh)
        return _with_hosts(fleet, silent, seen_at=None, error=str(fault.no_answer()))

    def networks(self, now: float, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read networks with faults. Half: the second half of the VMs is not in the answer."""
        fault = self._strike("networks", now, [host], vm_ids)
        if fault is not None and fault.how == "half":
            return super().networks(now, host, list(vm_ids)[: len(vm_ids) // 2])
        read = super().networks
        return self._bent(fault, now, lambda at: read(at, host, vm_ids))

    def rights(self, now: float, host: str) -> str | None:
        """See ``World.rights``."""
        fault, ask = self._strike("rights", now, [host]), super().rights
        return self._bent(fault, now, lambda at: ask(at, host))

    def start_move(self, now: float, order: MoveOrder, late: float | None = None) -> str | None:
        """A start that is sent is judged, whatever becomes of it on its way."""
        fault = self._strike("start_move", now, [order.source, order.destination], [order.vm_id])
        if fault is not None and fault.how in ("refused", "locked", "timeout_before"):
            judge.sent(self.state, now, order.vm_id, order.source, order.destination)
        start = super().start_move
        if fault is None or fault.how != "delayed":
            return self._bent(fault, now, lambda at: start(at, order, late))
        try:
            return start(now, order, fault.delay)  # VMM holds what it was asked until then
        except VmmUnavailable:
            raise fault.no_answer() from None

    def repair_network(self, now: float, vm_id: str, repair: Repair) -> None:
        """Repair a network with faults. Half: the connection breaks when half of it is put back."""
        fault = self._strike("repair_network", now, [repair.host], [vm_id])
        put_back = super().repair_network
        if fault is not None and fault.how == "half":
            repair = _first_half(repair)
        self._bent(fault, now, lambda at: put_back(at, vm_id, repair))

    def dismiss(self, now: float, vm_id: str) -> None:
        """See ``World.dismiss``."""
        fault, act = self._strike("dismiss", now, self._places(vm_id), [vm_id]), super().dismiss
        self._bent(fault, now, lambda at: act(at, vm_id))

    def refresh(self, now: float, vm_id: str) -> None:
        """See ``World.refresh``."""
        fault, act = self._strike("refresh", now, self._places(vm_id), [vm_id]), super().refresh
        self._bent(fault, now, lambda at: act(at, vm_id))

    def stop_job(self, now: float, job_id: str) -> None:
        """See ``World.stop_job``."""
        job = next((m for m in self.state.open if m.id == job_id), None)
        hosts, vms = ([job.source, job.destination], [job.vm_id]) if job else ([], [])
        fault, act = self._strike("stop_job", now, hosts, vms), super().stop_job
        self._bent(fault, now, lambda at: act(at, job_id))

    # --- how it goes wrong --------------------------------------------------------------------

    def _strike(
        self,
        call: str,
        now: float,
        hosts: Sequence[str],
        vms: Sequence[str] = (),
        refresh: Sequence[str] = (),
    ) -> Fault | None:
        """The fault of this call, counted down. While VMM is down no call arrives to go wrong.

        A look is refused or meets a lock only where a host is to be re-read; else any look.
        """
        self.advance(now)
        if now < self.state.vmm_down_until:
            return None
        for fault in self._faults:
            rereading = call == "observe" and fault.how in ("refused", "locked")
            about = refresh if rereading else hosts
            if fault.strikes(call, about, vms) and (about or call != "observe"):
                fault.times -= 1
                return fault
        return None

    def _places(self, vm_id: str) -> list[str]:
        vm = self.state.vms.get(vm_id)
        return places(vm) if vm else []

    def _bent(self, fault: Fault | None, now: float, act: Act[Reply]) -> Reply:
        """Make the call, or not, or later; what is lost is the answer."""
        if fault is None:
            return act(now)
        if fault.how in ("refused", "locked", "timeout_before"):
            raise fault.refusal()
        if fault.how == "delayed":
            self._later.append((now + fault.delay, act))
        else:
            with suppress(VmmError):  # its answer is lost as well
                act(now)
        raise fault.no_answer()


def _named(host: str, hosts: Sequence[str]) -> bool:
    return any(same_host(host, one) for one in hosts)


def _with_hosts(fleet: Fleet, names: Sequence[str], **change: Any) -> Fleet:
    """Fleet in which these hosts say something else."""
    hosts = (replace(h, **change) if _named(h.name, names) else h for h in fleet.hosts)
    return replace(fleet, hosts=tuple(hosts))


def _first_half(repair: Repair) -> Repair:
    """The first half of what is to be put back, rounded down: of each adapter its settings, then
    the extended rules, then the classic ones."""
    left = sum(map(_size, repair.adapters)) // 2
    kept = []
    for one in repair.adapters:
        if left <= 0:
            break
        rules = left - _sets(one)
        classic = one.classic_acls[: max(0, rules - len(one.acls))]
        one = replace(one, acls=one.acls[:rules], classic_acls=classic)
        kept.append(one)
        left -= _size(one)
    return replace(repair, adapters=tuple(kept))


def _size(one: AdapterRepair) -> int:
    return _sets(one) + len(one.acls) + len(one.classic_acls)


def _sets(one: AdapterRepair) -> bool:
    """Tell whether more than rules is put back on this adapter."""
    bare = AdapterRepair(one.adapter_id, one.mac)
    return replace(one, acls=(), classic_acls=()) != bare
