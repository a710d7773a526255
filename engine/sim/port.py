"""The port to a simulated world: one lock, a record of every call, saved before the reply."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from engine.clock import Clock, ScaledClock, SystemClock, VirtualClock
from engine.errors import Refused, StoreUnwritable, VmmError
from engine.model import (
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
)
from engine.sim.fleet_file import FleetFile
from engine.sim.world import World

Reply = TypeVar("Reply")
Call = dict[str, object]
FORMAT = 1
HANGS = 3600.0  # seconds for which a call that hangs is waited for, outside of virtual time


@dataclass(frozen=True)
class Saved:
    """The file of a world: the fleet it was made from, and how its clock runs.

    The world continues while no process runs: its time is ``start`` plus ``speed`` times the wall
    seconds since ``wall``. ``speed`` is infinite if time only jumps.
    """

    path: Path
    digest: str
    start: float
    wall: float
    speed: float

    def write(self, world: World) -> None:
        """Replace the whole file; after this a crash loses nothing. Raises ``StoreUnwritable``."""
        speed = None if math.isinf(self.speed) else self.speed
        head = {"format": FORMAT, "fleet": self.digest, "start": self.start, "wall": self.wall}
        text = json.dumps({**head, "speed": speed})[:-1] + f', "world": {world.to_json()}}}'
        try:
            self._replace(text)
        except OSError as error:
            raise StoreUnwritable(
                f"The simulated fleet cannot be saved in {self.path} ({error.strerror}). Check "
                "that the disk has free space and that this user may write there."
            ) from error

    def _replace(self, text: str) -> None:
        beside = self.path.with_name(self.path.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@dataclass(frozen=True)
class Opened:
    """A world, and its file, if any."""

    world: World
    start: float
    wall: float
    speed: float
    saved: Saved | None = None
    resumed: bool = False

    def clock(self) -> Clock:
        """The clock of this world."""
        if math.isinf(self.speed):
            return VirtualClock(self.world.now)
        return ScaledClock(self.start, self.wall, self.speed)


def open_world(
    fleet: FleetFile | None,
    save: Path | None,
    *,
    seed: int | None = None,
    speed: float | None = None,
    wall: float | None = None,
    after: float = 0.0,
) -> Opened:
    """Open the world saved in ``save``, or create one from ``fleet`` and save it there, if given.

    ``fleet`` may be ``None`` only if a world is saved, else it must be the fleet of that world.
    ``speed`` ``None`` keeps the saved speed (1 for a new world); ``math.inf`` means virtual time.
    ``after``: a saved world in virtual time is at least at this time, so that no time occurs twice.
    Raises ``Refused``.
    """
    wall = SystemClock().now() if wall is None else wall
    if save is not None and save.exists():
        opened = _resume(fleet, save, speed, wall, after)
        if seed is not None and seed != opened.world.state.seed:
            raise Refused(
                f"{save} holds a simulated fleet with seed {opened.world.state.seed}.",
                what=str(seed),
                hint="Leave out --seed to continue with it, or use another --db.",
            )
        return opened
    if fleet is None:
        raise Refused("There is no simulated fleet yet.", hint="Name a fleet file: --fleet FILE.")
    world = World.of(fleet, seed)
    pace = 1.0 if speed is None else speed
    saved = Saved(save, fleet.digest, fleet.start, wall, pace) if save else None
    if saved is not None:
        saved.write(world)
    return Opened(world, fleet.start, wall, pace, saved)


def _resume(
    fleet: FleetFile | None, save: Path, speed: float | None, wall: float, after: float
) -> Opened:
    try:
        document = json.loads(save.read_text(encoding="utf-8"))
        digest, start, since = document["fleet"], document["start"], document["wall"]
        before = math.inf if document["speed"] is None else document["speed"]
        world = World.from_json(json.dumps(document["world"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"The simulated fleet in {save} cannot be read: {type(error).__name__}.",
            what=str(save),
            hint="To start again, move this file and its database to another folder.",
        ) from None
    if fleet is not None and fleet.digest != digest:
        raise Refused(
            f"{save} holds another simulated fleet than {fleet.name}.",
            what=fleet.name,
            hint="Leave out --fleet to continue with it, or use another --db.",
        )
    if math.isinf(before):
        world.advance(max(world.now, after))
    pace = before if speed is None else speed
    if pace != before:
        start = world.now if math.isinf(before) else start + (wall - since) * before
        start, since = max(start, world.now), wall
    saved = Saved(save, digest, start, since, pace)
    return Opened(world, start, since, pace, saved, resumed=True)


class SimPort:
    """``VmmPort`` on a simulated world. ``calls`` holds every call, with times in world seconds."""

    def __init__(self, world: World, clock: Clock, saved: Saved | None = None) -> None:
        self.world, self.clock, self.saved = world, clock, saved
        self.calls: list[Call] = []
        self._lock = threading.RLock()
        world.disconnect()

    def version(self) -> str:
        """See ``VmmPort``."""
        return f"simulated VMM {self.world.state.vmm}, seed {self.world.state.seed}"

    def rights(self, host: str) -> str | None:
        """See ``VmmPort``."""
        return self._call(
            "rights",
            lambda now: self.world.rights(now, host),
            host=host,
            changes=False,
            result=lambda reason: reason,
        )

    def start_move(self, order: MoveOrder) -> str | None:
        """See ``VmmPort``."""
        return self._call(
            "start_move",
            lambda now: self.world.start_move(now, order),
            host=order.destination,
            beside=order.source,
            vms=(order.vm_id,),
            result=lambda job: job,
        )

    # --- looks, and changes of one side ---------------------------------------------------

    def jobs(self, ids: Sequence[str] = ()) -> JobList:
        """See ``VmmPort``."""
        return self._call("jobs", lambda now: self.world.jobs(now, ids), about=ids, changes=False)

    def pulse(self, host: str, vm_ids: Sequence[str] = ()) -> Pulse:
        """See ``VmmPort``."""
        return self._call(
            "pulse",
            lambda now: self.world.pulse(now, host, vm_ids),
            host=host,
            vms=vm_ids,
            changes=False,
        )

    def shown(self, host: str) -> HostInventory:
        """See ``VmmPort``."""
        return self._call(
            "shown",
            lambda now: self.world.shown(now, host),
            host=host,
            changes=False,
            result=lambda found: f"{len(found.vms)} shown",
        )

    def known(self, host: str) -> VmmInventory:
        """See ``VmmPort``."""
        return self._call(
            "known",
            lambda now: self.world.known(now, host),
            host=host,
            changes=False,
            result=lambda found: f"{len(found.vms)} known",
        )

    def site(self) -> Site:
        """See ``VmmPort``."""
        return self._call(
            "site",
            lambda now: self.world.site(now),
            changes=False,
            result=lambda found: f"{len(found.hosts)} hosts",
        )

    def ports(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort``."""
        return self._call(
            "ports",
            lambda now: self.world.ports(now, host, vm_ids),
            host=host,
            vms=vm_ids,
            changes=False,
            result=lambda found: f"{len(found)} read",
        )

    def models(self, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort``."""
        return self._call(
            "models",
            lambda now: self.world.models(now, vm_ids),
            vms=vm_ids,
            changes=False,
            result=lambda found: f"{len(found)} read",
        )

    def reread(self, what: Reread, name: str, not_after: float) -> str | None:
        """See ``VmmPort``."""
        is_vm = what is Reread.VM
        return self._call(
            "reread",
            lambda now: self.world.reread(now, what, name, not_after),
            host=None if is_vm else name,
            vms=(name,) if is_vm else (),
            result=lambda job: job,
        )

    def put_ports(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort``."""
        self._call(
            "put_ports",
            lambda now: self.world.put_ports(now, vm_id, repair, expected),
            host=expected.host,
            vms=(vm_id,),
        )

    def put_models(self, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort``."""
        self._call(
            "put_models",
            lambda now: self.world.put_models(now, vm_id, repair, expected),
            host=expected.host,
            vms=(vm_id,),
        )

    def clear(self, vm_id: str, expected: Expected) -> None:
        """See ``VmmPort``."""
        self._call(
            "clear",
            lambda now: self.world.clear(now, vm_id, expected),
            host=expected.host,
            vms=(vm_id,),
        )

    def stop(self, job_id: str, not_after: float) -> None:
        """See ``VmmPort``."""
        self._call("stop", lambda now: self.world.stop(now, job_id, not_after))

    def seconds(self, call: str, hosts: Sequence[str] = (), about: Sequence[str] = ()) -> float:
        """Tell how long a call takes that begins now; see ``World.seconds``. Nothing waits here:
        the caller of the port charges the time."""
        with self._lock:
            self.world.advance(self.clock.now())
            return self.world.seconds(call, [self.world.full_name(host) for host in hosts], about)

    def _call(
        self,
        name: str,
        act: Callable[[float], Reply],
        *,
        host: str | None = None,
        beside: str | None = None,
        vms: Sequence[str] = (),
        about: Sequence[str] = (),
        changes: bool = True,
        result: Callable[[Reply], str | None] = lambda _: None,
    ) -> Reply:
        """Make one call, save the world and record the call, and only then return or raise. Outside
        of virtual time the call takes as long as the world charges, and has its effect in the
        middle. ``beside``: the other host of a start; ``about``: what the call asks for by id, if
        not the VMs."""
        if isinstance(self.clock, VirtualClock):
            return self._at_once(name, act, host, vms, changes, result)
        hosts = [one for one in (host, beside) if one is not None]
        seconds = min(self.seconds(name, hosts, about or vms), HANGS)
        self.clock.wait(threading.Event(), seconds / 2)
        try:
            return self._at_once(name, act, host, vms, changes, result)
        finally:
            self.clock.wait(threading.Event(), seconds / 2)

    def _at_once(
        self,
        name: str,
        act: Callable[[float], Reply],
        host: str | None,
        vms: Sequence[str],
        changes: bool,
        result: Callable[[Reply], str | None],
    ) -> Reply:
        with self._lock:
            begun = self.clock.now()
            line: Call = {"t": begun, "call": name, "result": None, "error": None}
            full_name = host and self.world.full_name(host)
            line |= {"host": full_name, "vms": [self._name(vm) for vm in vms]}
            try:
                reply = act(begun)
                line["result"] = result(reply)
            except VmmError as error:
                line["error"] = f"{type(error).__name__}: {error}"
                raise
            finally:
                if changes and self.saved is not None:
                    self.saved.write(self.world)
                line["ended"] = self.clock.now()
                self.calls.append(line)
            return reply

    def _name(self, vm_id: str) -> str:
        vm = self.world.state.vms.get(vm_id)
        return vm.name if vm else vm_id
