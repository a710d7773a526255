"""Faults that a story wishes: calls that go wrong, and an engine that dies.

The faults lie between the engine and the world: the world itself does what it is asked, or is not
asked at all. Death is no error that anybody may catch: it ends everything up to the player.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlite_utils import Database

from engine.clock import Clock
from engine.errors import VmmError, VmmLocked, VmmRefused, VmmUnavailable
from engine.model import Fleet, Repair, same_host, short
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.store.store import Store

Reply = TypeVar("Reply")
How = Literal["refused", "locked", "timeout_before", "timeout_after", "half", "delayed"]
CALLS = (
    "observe",
    "networks",
    "rights",
    "start_move",
    "repair_network",
    "dismiss",
    "refresh",
    "stop_job",
)
HOWS = ("refused", "locked", "timeout_before", "timeout_after", "half", "delayed")


class Dead(BaseException):
    """The engine dies here: nothing of it may catch this."""


@dataclass
class Fault:
    """What goes wrong with the next ``times`` calls of this name, to this host, about this VM."""

    call: str
    how: How
    host: str | None = None
    vm_id: str | None = None
    times: int = 1
    code: str = ""
    delay: float = 30.0

    def error(self, name: str) -> VmmError:
        """What the caller is told."""
        if self.how == "refused":
            return VmmRefused(f"VMM refused {name}", code=self.code)
        if self.how == "locked":
            return VmmLocked("The object is locked by another job", code=self.code or "2606")
        return VmmUnavailable(f"The connection broke during {name}", code=self.code)


@dataclass
class Kill:
    """When the engine dies next: before or after a call of the port, or its n-th transaction."""

    point: Literal["before", "after"]
    call: str | None = None
    write: int = 0


@dataclass
class Mortality:
    """What is to kill the engine; shared by its port and its store."""

    kill: Kill | None = None

    def at_call(self, point: str, name: str) -> None:
        """Die here, if this call was named. Raises ``Dead``."""
        kill = self.kill
        if kill is not None and kill.call == name and kill.point == point:
            self.kill = None
            raise Dead(f"{point} {name}")

    def at_write(self, point: str) -> None:
        """Die here, if this is the transaction that was counted to. Raises ``Dead``."""
        kill = self.kill
        if kill is None or not kill.write:
            return
        if point == "before":
            kill.write -= 1
            due = kill.write == 0 and kill.point == "before"
            kill.write = kill.write or -1
        else:
            due = kill.write == -1 and kill.point == "after"
        if due:
            self.kill = None
            raise Dead(f"{point} a write")


class MortalStore(Store):
    """The engine's store, in which it may die before or after it writes."""

    def __init__(self, path: Path, mortality: Mortality) -> None:
        self._mortality = mortality
        super().__init__(path, durable=False)

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """See ``Store``."""
        self._mortality.at_write("before")
        with super().transaction() as db:
            yield db
        self._mortality.at_write("after")


class FaultyPort(SimPort):
    """The simulated port with the faults of a story."""

    def __init__(self, world: World, clock: Clock, mortality: Mortality) -> None:
        super().__init__(world, clock)
        self.mortality = mortality
        self.faults: list[Fault] = []

    def repair_network(self, vm_id: str, repair: Repair) -> None:
        """See ``VmmPort``; a fault ``half`` puts back only the first half."""
        fault = self._next("repair_network", repair.host, [vm_id], how="half")
        if fault is None:
            super().repair_network(vm_id, repair)
            return
        super().repair_network(vm_id, _half_of(repair))
        raise fault.error("repair_network")

    def _call(
        self,
        name: str,
        act: Callable[[float], Reply],
        *,
        host: str | None = None,
        vms: Sequence[str] = (),
        changes: bool = True,
        result: Callable[[Reply], str | None] = lambda _: None,
    ) -> Reply:
        self.mortality.at_call("before", name)
        fault = self._next(name, host, vms)
        made = act if fault is None else lambda now: self._gone_wrong(fault, name, act, now)
        reply = super()._call(name, made, host=host, vms=vms, changes=changes, result=result)
        self.mortality.at_call("after", name)
        return reply

    def _next(
        self, name: str, host: str | None, vms: Sequence[str], how: str | None = None
    ) -> Fault | None:
        """The fault that this call meets, used up by it."""
        for fault in self.faults:
            halves = name == "repair_network" and fault.how == "half"
            fits = fault.call == name and (fault.how == how if how else not halves)
            here = name == "observe" or fault.host is None or same_host(fault.host, host)
            if fits and here and (fault.vm_id is None or fault.vm_id in vms):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def _gone_wrong(
        self, fault: Fault, name: str, act: Callable[[float], Reply], now: float
    ) -> Reply:
        if name == "observe" and (fault.host or fault.how == "half"):
            seen: Any = act(now)
            return _half_seen(seen, fault.host)  # type: ignore[return-value]
        if name == "networks" and fault.how == "half":
            found: Any = act(now)
            return _half_read(found)  # type: ignore[return-value]
        if fault.how in ("refused", "locked", "timeout_before"):
            raise fault.error(name)
        if fault.how == "delayed":
            self.world.state.late = fault.delay
        act(now)
        raise fault.error(name)


def _half_seen(fleet: Fleet, host: str | None) -> Fleet:
    """The fleet as it is seen when one host, or the second half of those asked, is silent."""
    asked = [h.name for h in fleet.hosts if h.seen_at is not None]
    silent = {host} if host else set(asked[(len(asked) + 1) // 2 :])
    hosts = tuple(
        replace(h, seen_at=None, error=f"{short(h.name)} did not answer") if h.name in silent else h
        for h in fleet.hosts
    )
    vms = []
    for vm in fleet.vms:
        seen = tuple(name for name in vm.seen_on if name not in silent)
        unseen = replace(vm, seen_on=seen, hyperv_state=None, hyperv_status=())
        vms.append(vm if seen else unseen)
    return replace(fleet, hosts=hosts, vms=tuple(vms))


def _half_read(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(list(found.items())[: len(found) // 2])


def _half_of(repair: Repair) -> Repair:
    """The first half of the adapters; of a single one, the first half of its rules."""
    if len(repair.adapters) > 1:
        return replace(repair, adapters=repair.adapters[: len(repair.adapters) // 2])
    [one] = repair.adapters
    return replace(repair, adapters=(replace(one, acls=one.acls[: len(one.acls) // 2]),))
