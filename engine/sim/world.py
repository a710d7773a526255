"""A simulated fleet under VMM: what happens, what people do to it, and its true state.

Deterministic in time: every method takes ``now``, in Unix seconds of the world, and first settles
everything up to then. Only these methods and the seed change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from engine.errors import Refused, VmmLocked, VmmRefused
from engine.model import Fleet, MoveOrder, Network, Repair
from engine.sim import judge, migrations, network, views
from engine.sim.fleet_file import STATUSES, FleetFile, VmTable, parse_vm
from engine.sim.migrations import reach, unlocked
from engine.sim.state import (
    GONE,
    JSON,
    POWER,
    Fate,
    Loss,
    State,
    VmState,
    add_vm,
    new_state,
    places,
    power_of,
)
from engine.sim.truth import truth
from engine.toml_tables import suggestion

PLACES = ("source", "destination", "both", "neither")


class World:
    """One VMM server, its hosts and its VMs. Not thread-safe: ``SimPort`` holds a lock."""

    def __init__(self, state: State) -> None:
        self.state = state

    @classmethod
    def of(cls, fleet: FleetFile, seed: int | None = None) -> World:
        """Create the world of a fleet file; ``seed`` overrides the file's."""
        return cls(new_state(fleet, seed))

    @classmethod
    def from_json(cls, text: str | bytes) -> World:
        """Restore a world, which continues exactly as the saved one would have. Raises
        ``ValueError`` for any other text."""
        return cls(JSON.validate_json(text))

    def to_json(self) -> str:
        """This world as JSON."""
        return JSON.dump_json(self.state).decode()

    @property
    def start(self) -> float:
        """Time at which this world began."""
        return self.state.start

    @property
    def now(self) -> float:
        """Time up to which the world is settled."""
        return self.state.now

    @property
    def violations(self) -> tuple[Mapping[str, str | float], ...]:
        """Violations by the caller: ``t`` (world seconds), ``kind``, ``vm``, ``host``."""
        return tuple(self.state.violations)

    def advance(self, now: float) -> None:
        """Settle everything that happened up to now."""
        migrations.advance(self.state, now)

    def next_change(self, now: float) -> float | None:
        """Time of the next change that an observation may show, or ``None``."""
        self.advance(now)
        return migrations.next_change(self.state, now)

    def truth(self) -> dict[str, list[dict[str, object]]]:
        """Hosts and VMs as they really are, in the words of the fleet file."""
        return truth(self.state)

    def add_violation(self, now: float, kind: str, vm: str, host: str) -> None:
        """Record a violation that only a story player can judge, such as ``ungranted_cold``."""
        judge.violation(self.state, now, kind, vm, host)

    # --- calls of the port ----------------------------------------------------------------

    def observe(
        self,
        now: float,
        hosts: Sequence[str] = (),
        jobs: Sequence[str] = (),
        refresh: Sequence[str] = (),
    ) -> Fleet:
        """See ``VmmPort.observe``."""
        self.advance(now)
        reach(self.state, now)
        fleet = views.observe(self.state, now, hosts, jobs, refresh)
        judge.looked(self.state, fleet)
        return fleet

    def networks(self, now: float, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort.networks``."""
        self.advance(now)
        reach(self.state, now, host)
        return network.networks(self.state, self.full_name(host), vm_ids)

    def rights(self, now: float, host: str) -> str | None:
        """See ``VmmPort.rights``."""
        self.advance(now)
        reach(self.state, now, host)
        known = self.state.known_host(host)
        return network.rights(known) if known else None

    def start_move(self, now: float, order: MoveOrder, late: float | None = None) -> str | None:
        """See ``VmmPort.start_move``. ``late``: see ``migrations.start``."""
        self.advance(now)
        source, destination = map(self.full_name, (order.source, order.destination))
        order = replace(order, source=source, destination=destination)
        return migrations.start(self.state, now, order, late)

    def repair_network(self, now: float, vm_id: str, repair: Repair) -> None:
        """See ``VmmPort.repair_network``."""
        self.advance(now)
        reach(self.state, now, repair.host)
        unlocked(self.state, now, repair.host)
        network.repair(self.state, self._unlocked_vm(now, vm_id), repair)

    def dismiss(self, now: float, vm_id: str) -> None:
        """See ``VmmPort.dismiss``."""
        self.advance(now)
        vm = self._unlocked_vm(now, vm_id)
        if vm.overlay and vm.overlay.endswith("Failed"):
            vm.overlay = None
        migrations.refresh_vm(self.state, now, vm)

    def refresh(self, now: float, vm_id: str) -> None:
        """See ``VmmPort.refresh``."""
        self.advance(now)
        migrations.refresh_vm(self.state, now, self._unlocked_vm(now, vm_id))

    def stop_job(self, now: float, job_id: str) -> None:
        """See ``VmmPort.stop_job``."""
        self.advance(now)
        reach(self.state, now)
        migrations.stop(self.state, now, job_id)

    def full_name(self, host: str) -> str:
        """The full name of a host as the file spells it. Unknown names are returned unchanged."""
        known = self.state.known_host(host)
        return known.name if known else host

    def _unlocked_vm(self, now: float, vm_id: str) -> VmState:
        """The VM, if VMM and its hosts answer and no job locks it. Raises ``VmmError``."""
        reach(self.state, now)
        vm = self.state.vms.get(vm_id)
        if vm is None or vm.deleted:
            raise VmmRefused(f"VMM knows no virtual machine {vm_id}")
        reach(self.state, now, *vm.hosts)
        unlocked(self.state, now, *places(vm))
        if self.state.migration_of(vm_id):
            raise VmmLocked(f"'{vm.name}' is locked by another job", code="2606")
        return vm

    # --- people and failures --------------------------------------------------------------

    def backup(self, now: float, vm: str, seconds: float) -> None:
        """Begin a backup of this VM that lasts ``seconds``."""
        self.advance(now)
        self.state.vm(vm).backups.append((now, now + seconds))

    def limit(
        self, now: float, host: str, live: int | None = None, storage: int | None = None
    ) -> None:
        """Set a host's migration limits, as a person would."""
        self.advance(now)
        found = self.state.host(host)
        found.live = found.live if live is None else live
        found.storage = found.storage if storage is None else storage
        migrations.release(self.state, now)

    def foreign(self, now: float, vm: str, to: str) -> str:
        """Start a migration as somebody else; return the id of its job."""
        self.advance(now)
        found, destination = self.state.vm(vm), self.state.host(to).name
        if self.state.migration_of(found.id):
            raise Refused(f"{found.name} is migrating already.", what=vm)
        if not found.hosts or destination in found.hosts:
            raise Refused(
                f"{found.name} cannot be migrated to {destination}: it is there, or nowhere.",
                what=to,
            )
        return migrations.foreign(self.state, now, found, destination).id

    def outcome(
        self,
        now: float,
        vm: str,
        job: Literal["ok", "failed"] = "ok",
        at: str | None = None,
        times: int = 1,
    ) -> None:
        """Set how the next ``times`` migrations of this VM end, regardless of who starts them.

        ``at`` is source, destination, both, neither or a host. The default depends on ``job``.
        """
        self.advance(now)
        place = at or ("destination" if job == "ok" else "source")
        where = place if place in PLACES else self.state.host(place).name
        self.state.vm(vm).fates.append(Fate(job, where, times=times))

    def lose(self, now: float, vm: str, acls: Literal["all"] | int = 0, nics: bool = False) -> None:
        """Set what this VM loses at its next arrival: a number of ACLs or all, its connections."""
        self.advance(now)
        self.state.vm(vm).losses.append(Loss(None if acls == "all" else acls, nics))

    def power(self, now: float, vm: str, status: str) -> None:
        """Start, stop, save, pause or break a VM, as a person would; ``status`` is VMM's word."""
        self.advance(now)
        if status not in STATUSES:
            raise Refused(
                f'"{status}" is no status.', what=status, hint=suggestion(status, STATUSES)
            )
        found = self.state.vm(vm)
        found.power = power_of(status)
        sticky = found.overlay and found.overlay.endswith("Failed") and status in POWER
        found.overlay = found.overlay if sticky else None if status in POWER else status
        if status in GONE:
            found.hosts = []
        elif not found.hosts and found.vmm_host:
            found.hosts = [found.vmm_host]
        views.changed(self.state, found, now)

    def delete(self, now: float, vm: str) -> None:
        """Delete a VM, as a person would. ``vm@host`` deletes one of two copies."""
        self.advance(now)
        found = self.state.vm(vm)
        host = vm.partition("@")[2] if not vm.casefold().startswith("id:") else ""
        copy = self.state.host(host).name if host else ""
        if len(found.hosts) > 1 and copy in found.hosts:
            found.hosts.remove(copy)
        else:
            found.hosts, found.deleted = [], True
        views.changed(self.state, found, now)

    def create(self, now: float, vm: Mapping[str, object] | VmTable) -> str:
        """Create a VM from a ``[[vm]]`` table, as a person would; return its id. Its backup counts
        from now."""
        self.advance(now)
        state = self.state
        spec = parse_vm(vm, list(state.hosts), state.created, "create: vm")
        twins = (v for v in state.vms.values() if v.name.casefold() == spec.name.casefold())
        if spec.id in state.vms or any(spec.host in v.hosts for v in twins):
            raise Refused(f"{spec.host} already has a VM {spec.name}.", what=spec.name)
        made = add_vm(state, spec, now)
        made.vmm_host, made.vmm_status = None, ""
        made.host_due = None
        views.changed(state, made, now)
        return made.id

    def lock(self, now: float, host: str, seconds: float) -> None:
        """Lock a host by somebody else's job: error 2606 for every call that touches it."""
        self.advance(now)
        self.state.host(host).locked_until = now + seconds

    def down(self, now: float, what: str, seconds: float) -> None:
        """Stop a host, or ``vmm`` itself, from answering. What runs continues."""
        self.advance(now)
        if what.casefold() in {"vmm", self.state.vmm.casefold()}:
            self.state.vmm_down_until = now + seconds
        else:
            self.state.host(what).down_until = now + seconds

    def restart(self, now: float, seconds: float) -> None:
        """Restart the VMM service: its jobs fail, and it does not answer for ``seconds``."""
        self.advance(now)
        migrations.kill_jobs(self.state, now)
        self.state.vmm_down_until = now + seconds
