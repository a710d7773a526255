"""Faults of calls that a story asks for.

The world itself stays correct. A fault keeps a call from reaching it, loses the answer, carries the
call out by half, or delays it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Literal, TypeVar, get_args

from engine.errors import VmmError, VmmLocked, VmmRefused, VmmUnavailable
from engine.model import (
    AdapterRepair,
    Expected,
    HostInventory,
    JobList,
    MoveOrder,
    Network,
    Pulse,
    Repair,
    Reread,
    Site,
    VmmInventory,
    same_host,
)
from engine.sim import judge
from engine.sim.costs import AT_HOST
from engine.sim.state import State, places
from engine.sim.world import World

How = Literal["refused", "locked", "timeout_before", "timeout_after", "half", "delayed"]
HOWS: tuple[How, ...] = get_args(How)
Call = Literal[
    "observe", "networks", "rights", "start_move",
    "repair_network", "dismiss", "refresh", "stop_job",
    "jobs", "pulse", "shown", "known", "site", "ports", "models",
    "reread", "put_ports", "put_models", "clear", "stop",
]  # fmt: skip
CALLS: tuple[Call, ...] = get_args(Call)
AT_HYPERV = frozenset({"pulse", "shown"})
LOOKS = AT_HYPERV | {"jobs", "known", "site"}
MEANT: Mapping[str, frozenset[str]] = {
    "observe": LOOKS,
    "networks": frozenset({"ports", "models"}),
    "repair_network": frozenset({"put_ports", "put_models"}),
    "dismiss": frozenset({"clear"}),
    "refresh": frozenset({"reread"}),
    "stop_job": frozenset({"stop"}),
}
"""Calls that a name of a whole deed means in a story."""
READING = LOOKS | MEANT["networks"] | {"observe", "networks", "rights"}
"""Calls that change nothing. They can fail, but not be delayed."""
NAMELESS = ("observe", "rights", "jobs", "shown", "known", "site")
"""Calls that name no VM."""
HOSTLESS = ("jobs", "site")
"""Calls that name no host either."""

Reply = TypeVar("Reply")
Act = Callable[[float], Reply]


@dataclass
class Fault:
    """Fault of the next ``times`` calls of this name, limited to one host or VM if given.

    ``host`` is a full name, ``vm`` an id. ``code`` is VMM's error number. ``delay`` is in seconds.
    """

    call: str
    how: How
    times: int = 1
    host: str | None = None
    vm: str | None = None
    code: str = ""
    delay: float = 0.0

    @property
    def calls(self) -> frozenset[str]:
        """Calls that the fault is about. ``observe``: VMM's list of jobs, the looks at one host's
        Hyper-V, or re-reads, which are what can be refused or locked."""
        if self.call != "observe":
            return MEANT.get(self.call, frozenset({self.call}))
        if self.how in ("refused", "locked"):
            return frozenset({"reread"})
        return AT_HYPERV if self.host is not None or self.how == "half" else frozenset({"jobs"})

    def strikes(self, call: str, hosts: Sequence[str], vms: Sequence[str]) -> bool:
        """Tell whether the fault applies to a call about these hosts and VMs."""
        if self.times <= 0 or call not in self.calls:
            return False
        if self.host is not None and not _named(self.host, hosts):
            return False
        return self.vm is None or self.vm in vms

    def no_answer(self) -> VmmUnavailable:
        """Error of a call that may or may not have happened."""
        return VmmUnavailable(f"The connection broke during {self.call}", code=self.code)

    def refusal(self) -> VmmError:
        """Error of a call that VMM refuses before anything happens, or does not answer."""
        if self.how == "locked":
            return VmmLocked("The object is locked by another job", code=self.code or "2606")
        if self.how == "refused":
            return VmmRefused(f"VMM refused {self.call}", code=self.code)
        return self.no_answer()


class FaultyWorld(World):
    """A world whose calls fail as ordered. It belongs to one story and is never saved."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._faults: list[Fault] = []
        self._later: list[tuple[float, Act[object]]] = []

    def add_fault(self, fault: Fault) -> None:
        """Add a fault. Earlier faults of the same call apply first."""
        self._faults.append(fault)

    def advance(self, now: float) -> None:
        """Settle everything up to now, including delayed calls at their time."""
        while due := min(
            (one for one in self._later if one[0] <= now), default=None, key=itemgetter(0)
        ):
            self._later.remove(due)
            with suppress(VmmError):  # the caller has already received an error
                due[1](due[0])
        super().advance(now)

    def next_change(self, now: float) -> float | None:
        """Time of the next change, including delayed calls. See ``World.next_change``."""
        change = super().next_change(now)
        known = [at for at, _ in self._later]
        return min(known if change is None else [change, *known], default=None)

    def hang(
        self, now: float, what: str, call: str | None = None, seconds: float | None = None
    ) -> None:
        """See ``World.hang``. A name of a whole deed means each of its calls."""
        meant: list[str | None] = [*sorted(MEANT.get(call or "", ()))]
        for one in meant or [call]:
            super().hang(now, what, one, seconds)

    # --- the port's calls -----------------------------------------------------------------

    def rights(self, now: float, host: str) -> str | None:
        """See ``World.rights``."""
        fault, ask = self._strike("rights", now, [host]), super().rights
        return self._bent(fault, now, lambda at: ask(at, host))

    def start_move(self, now: float, order: MoveOrder, late: float | None = None) -> str | None:
        """Start a migration with faults. Starts that do not arrive are judged, too."""
        fault = self._strike("start_move", now, [order.source, order.destination], [order.vm_id])
        if fault is not None and fault.how in ("refused", "locked", "timeout_before"):
            judge.sent(self.state, now, order.vm_id, order.source, order.destination)
        start = super().start_move
        if fault is None or fault.how != "delayed":
            return self._bent(fault, now, lambda at: start(at, order, late))
        try:
            return start(now, order, fault.delay)  # VMM holds the request until then
        except VmmUnavailable:
            raise fault.no_answer() from None

    # --- looks of the port, and changes of one side ---------------------------------------

    def jobs(self, now: float, ids: Sequence[str] = ()) -> JobList:
        """See ``World.jobs``."""
        fault, ask = self._strike("jobs", now, []), super().jobs
        return self._bent(fault, now, lambda at: ask(at, ids))

    def pulse(self, now: float, host: str, vm_ids: Sequence[str] = ()) -> Pulse:
        """See ``World.pulse``."""
        fault, ask = self._strike("pulse", now, [host], vm_ids), super().pulse
        return self._bent(fault, now, lambda at: ask(at, host, vm_ids))

    def shown(self, now: float, host: str) -> HostInventory:
        """See ``World.shown``."""
        fault, ask = self._strike("shown", now, [host]), super().shown
        return self._bent(fault, now, lambda at: ask(at, host))

    def known(self, now: float, host: str) -> VmmInventory:
        """See ``World.known``."""
        fault, ask = self._strike("known", now, [host]), super().known
        return self._bent(fault, now, lambda at: ask(at, host))

    def site(self, now: float) -> Site:
        """See ``World.site``."""
        fault, ask = self._strike("site", now, []), super().site
        return self._bent(fault, now, ask)

    def ports(self, now: float, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read ports with faults. Half: the answer lacks the second half of the VMs."""
        fault, read = self._strike("ports", now, [host], vm_ids), super().ports
        if fault is not None and fault.how == "half":
            return read(now, host, list(vm_ids)[: len(vm_ids) // 2])
        return self._bent(fault, now, lambda at: read(at, host, vm_ids))

    def models(self, now: float, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read models with faults. Half: as ``ports``."""
        hosts = [host for vm_id in vm_ids for host in self._places(vm_id)]
        fault, read = self._strike("models", now, hosts, vm_ids), super().models
        if fault is not None and fault.how == "half":
            return read(now, list(vm_ids)[: len(vm_ids) // 2])
        return self._bent(fault, now, lambda at: read(at, vm_ids))

    def reread(self, now: float, what: Reread, name: str, not_after: float) -> str | None:
        """See ``World.reread``."""
        hosts, vms = (self._places(name), [name]) if what is Reread.VM else ([name], [])
        fault, act = self._strike("reread", now, hosts, vms), super().reread
        return self._bent(fault, now, lambda at: act(at, what, name, not_after))

    def put_ports(self, now: float, vm_id: str, repair: Repair, expected: Expected) -> None:
        """Put ports back with faults. Half: the connection breaks when half is restored."""
        fault, act = self._strike("put_ports", now, [expected.host], [vm_id]), super().put_ports
        if fault is not None and fault.how == "half":
            repair = _first_half(repair)
        self._bent(fault, now, lambda at: act(at, vm_id, repair, expected))

    def put_models(self, now: float, vm_id: str, repair: Repair, expected: Expected) -> None:
        """Put models back with faults. Half: as ``put_ports``."""
        fault, act = self._strike("put_models", now, [expected.host], [vm_id]), super().put_models
        if fault is not None and fault.how == "half":
            repair = _first_half(repair)
        self._bent(fault, now, lambda at: act(at, vm_id, repair, expected))

    def clear(self, now: float, vm_id: str, expected: Expected) -> None:
        """See ``World.clear``."""
        fault, act = self._strike("clear", now, [expected.host], [vm_id]), super().clear
        self._bent(fault, now, lambda at: act(at, vm_id, expected))

    def stop(self, now: float, job_id: str, not_after: float) -> None:
        """See ``World.stop``."""
        fault, act = self._strike("stop", now, *self._about(job_id)), super().stop
        self._bent(fault, now, lambda at: act(at, job_id, not_after))

    # --- faults ---------------------------------------------------------------------------

    def _strike(
        self,
        call: str,
        now: float,
        hosts: Sequence[str],
        vms: Sequence[str] = (),
    ) -> Fault | None:
        """Find the fault of a call and count it down. No call reaches a server that is down."""
        self.advance(now)
        if call in AT_HOST:
            named = [host for name in hosts if (host := self.state.known_host(name))]
            down_until = max((host.down_until for host in named), default=0.0)
        else:
            down_until = self.state.vmm_down_until
        if now < down_until:
            return None
        for fault in self._faults:
            spared = call in AT_HYPERV and fault.how == "half" and not self._in_second_half(hosts)
            if fault.strikes(call, hosts, vms) and not spared:
                fault.times -= 1
                return fault
        return None

    def _in_second_half(self, hosts: Sequence[str]) -> bool:
        names = list(self.state.hosts)
        return any(_named(host, names[len(names) // 2 :]) for host in hosts)

    def _about(self, job_id: str) -> tuple[list[str], list[str]]:
        """Hosts and VMs of a migration that is not over."""
        job = next((m for m in self.state.open if m.id == job_id), None)
        return ([job.source, job.destination], [job.vm_id]) if job else ([], [])

    def _places(self, vm_id: str) -> list[str]:
        vm = self.state.vms.get(vm_id)
        return places(vm) if vm else []

    def _bent(self, fault: Fault | None, now: float, act: Act[Reply]) -> Reply:
        """Make the call, skip it or delay it; raise the fault's error."""
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


def _first_half(repair: Repair) -> Repair:
    """The first half of a repair, rounded down: for each adapter its settings, then the extended
    rules, then the classic ones."""
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
    """Tell whether the repair of this adapter contains more than rules."""
    bare = AdapterRepair(one.adapter_id, one.mac)
    return replace(one, acls=(), classic_acls=()) != bare
