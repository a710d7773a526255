"""A simulated fleet under VMM: what happens, what people do to it, and its true state.

Deterministic in time: every method takes ``now``, in Unix seconds of the world, and first settles
everything up to then. Only these methods and the seed change anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from engine.errors import Refused, VmmStale, VmmUnavailable
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
    same_host,
    short,
)
from engine.sim import costs, judge, looks, migrations, network, rereads, views
from engine.sim.fleet_file import STATUSES, FleetFile, VmTable, parse_vm
from engine.sim.migrations import reach, unlocked_vm
from engine.sim.state import (
    GONE,
    JSON,
    POWER,
    Fate,
    Hang,
    HostState,
    Loss,
    Restarted,
    Slow,
    State,
    VmState,
    add_vm,
    new_state,
    power_of,
)
from engine.sim.truth import truth
from engine.toml_tables import suggestion

VMM = ""
"""VMM's place among the servers that are slow or hang."""
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
        """Time of the next change that a look may show, or ``None``."""
        self.advance(now)
        return migrations.next_change(self.state, now)

    def truth(self) -> dict[str, list[dict[str, object]]]:
        """Hosts and VMs as they really are, in the words of the fleet file."""
        return truth(self.state)

    def add_violation(self, now: float, kind: str, vm: str, host: str) -> None:
        """Record a violation that only a story player can judge, such as ``ungranted_cold``."""
        judge.violation(self.state, now, kind, vm, host)

    # --- calls of the port ----------------------------------------------------------------

    def rights(self, now: float, host: str) -> str | None:
        """See ``VmmPort.rights``."""
        return network.rights(self._ask_host("rights", now, host))

    def start_move(self, now: float, order: MoveOrder, late: float | None = None) -> str | None:
        """See ``VmmPort.start_move``. ``late``: see ``migrations.start``."""
        self.advance(now)
        source, destination = map(self.full_name, (order.source, order.destination))
        order = replace(order, source=source, destination=destination)
        if any(self.state.hangs("start_move", VMM, one) for one in (source, destination)):
            judge.sent(self.state, now, order.vm_id, source, destination)
            raise VmmUnavailable(f"The VMM server {self.state.vmm} does not answer")
        return migrations.start(self.state, now, order, late)

    # --- looks of the port, and changes of one side ---------------------------------------

    def jobs(self, now: float, ids: Sequence[str] = ()) -> JobList:
        """See ``VmmPort.jobs``."""
        self._ask_vmm("jobs", now)
        judge.listed(self.state, now)
        return looks.jobs(self.state, ids, now)

    def pulse(self, now: float, host: str, vm_ids: Sequence[str] = ()) -> Pulse:
        """See ``VmmPort.pulse``."""
        found = self._ask_host("pulse", now, host)
        judge.pulsed(self.state, found, now)
        return looks.pulse(self.state, found, vm_ids, now)

    def shown(self, now: float, host: str) -> HostInventory:
        """See ``VmmPort.shown``."""
        return looks.shown(self.state, self._ask_host("shown", now, host), now)

    def known(self, now: float, host: str) -> VmmInventory:
        """See ``VmmPort.known``."""
        self._ask_vmm("known", now, host)
        return looks.known(self.state, host, now)

    def site(self, now: float) -> Site:
        """See ``VmmPort.site``."""
        self._ask_vmm("site", now)
        return looks.site(self.state, now)

    def ports(self, now: float, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort.ports``."""
        return looks.ports(self.state, self._ask_host("ports", now, host), vm_ids)

    def models(self, now: float, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """See ``VmmPort.models``."""
        self._ask_vmm("models", now)
        return looks.models(self.state, vm_ids)

    def reread(self, now: float, what: Reread, name: str, not_after: float) -> str | None:
        """See ``VmmPort.reread``. A job that finds its object locked fails at once."""
        host = None if what is Reread.VM else self.full_name(name)
        self._ask_vmm("reread", now, host)
        _in_time(now + self.state.skew, not_after)
        return rereads.begin_reread(self.state, what, host or name, now).id

    def put_ports(self, now: float, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort.put_ports``. Hyper-V does not know that VMM copies a powered-down VM."""
        host = self._ask_host("put_ports", now, expected.host)
        _in_time(host.clock(now), expected.not_after)
        vm = self.state.vms.get(vm_id)
        if vm is None or vm not in looks.shown_on(self.state, host):
            raise VmmStale(f"{vm.name if vm else vm_id} is not on {short(host.name)}")
        if looks.is_moving_at(self.state, vm, host.name):
            raise VmmStale(f"{vm.name} is migrating")
        judge.changed(self.state, now, vm, host.name)
        network.repair_ports(self.state, vm, repair)

    def put_models(self, now: float, vm_id: str, repair: Repair, expected: Expected) -> None:
        """See ``VmmPort.put_models``."""
        vm = self._expected_by_vmm("put_models", now, vm_id, expected)
        judge.changed(self.state, now, vm, expected.host)
        network.repair_models(self.state, vm, repair)

    def clear(self, now: float, vm_id: str, expected: Expected) -> None:
        """See ``VmmPort.clear``. VMM then derives the VM's status anew, without a re-read."""
        vm = self._expected_by_vmm("clear", now, vm_id, expected)
        if vm.overlay and vm.overlay.endswith("Failed"):
            judge.changed(self.state, now, vm, expected.host)
            vm.overlay, vm.status_due = None, now
            views.catch_up(self.state, vm, now)

    def stop(self, now: float, job_id: str, not_after: float) -> None:
        """See ``VmmPort.stop``."""
        self._ask_vmm("stop", now)
        _in_time(now + self.state.skew, not_after)
        migrations.stop(self.state, now, job_id)

    def seconds(self, call: str, hosts: Sequence[str] = (), about: Sequence[str] = ()) -> float:
        """Tell how long a call takes that begins at ``now`` of this world; infinite if it hangs.

        ``hosts``: full names, both of a start. ``about``: VMs that ``ports`` and ``models`` name,
        or jobs that ``jobs`` asks for by id. What other calls find is counted here. Ask before the
        call: VMM's first call also connects.
        """
        state, at_host = self.state, call in costs.AT_HOST
        server = hosts[0] if at_host and hosts else VMM
        if any(state.hangs(call, server, host) for host in hosts or (None,)):
            return math.inf
        first = 0.0 if at_host or state.connected else state.costs.connect
        parts = self._parts_of(call, hosts, about)
        return state.times(server) * (first + state.costs.of(call, parts))

    def _parts_of(self, call: str, hosts: Sequence[str], about: Sequence[str]) -> int:
        """Number of VMs, jobs or hosts that a call has to go through one by one."""
        match call:
            case "jobs":  # running ones come in one list
                return len(set(about) - looks.listed_jobs(self.state))
            case "shown":
                return sum(hosts[0] in vm.hosts for vm in self.state.vms.values())
            case "known":
                return len(looks.known_on(self.state, hosts[0]))
            case "site":
                return len(self.state.hosts)
        return len(about)

    def disconnect(self) -> None:
        """Forget the caller's connection to VMM: the next call connects anew."""
        self.state.connected = False

    def _ask_vmm(self, call: str, now: float, host: str | None = None) -> None:
        """Reach VMM with a call. Raises ``VmmUnavailable`` if VMM is down, or if the call hangs:
        it then has no effect."""
        self.advance(now)
        reach(self.state, now)
        if self.state.hangs(call, VMM, host and self.full_name(host)):
            raise VmmUnavailable(f"The VMM server {self.state.vmm} does not answer")
        self.state.connected = True

    def _ask_host(self, call: str, now: float, name: str) -> HostState:
        """Reach a host's Hyper-V with a call, even while VMM is down. Raises as ``_ask_vmm``."""
        self.advance(now)
        host = self.state.known_host(name)
        if host is None:
            raise VmmUnavailable(f"There is no host {name}")
        if now < host.down_until or self.state.hangs(call, host.name, host.name):
            raise VmmUnavailable(f"{host.name} does not answer")
        return host

    def _expected_by_vmm(self, call: str, now: float, vm_id: str, expected: Expected) -> VmState:
        """The VM that VMM is to change, if it is as expected. VMM checks the host in its own view,
        which may be stale, and the migrations among its jobs. Raises ``VmmError``."""
        self._ask_vmm(call, now, expected.host)
        _in_time(now + self.state.skew, expected.not_after)
        vm = self.state.vms.get(vm_id)
        if vm is None or vm.vmm_host is None:
            raise VmmStale(f"{vm_id} is gone: {short(expected.host)} has no such VM")
        if not same_host(vm.vmm_host, expected.host):
            there = short(vm.vmm_host)
            raise VmmStale(f"{vm.name} is not on {short(expected.host)}: VMM shows it on {there}")
        if self.state.migration_of(vm_id):
            raise VmmStale(f"{vm.name} is migrating")
        reach(self.state, now, vm.vmm_host)
        unlocked_vm(self.state, now, vm)
        return vm

    def full_name(self, host: str) -> str:
        """The full name of a host as the file spells it. Unknown names are returned unchanged."""
        known = self.state.known_host(host)
        return known.name if known else host

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

    def stall(self, now: float, vm: str, seconds: float) -> None:
        """Let the running migration of this VM stand still for ``seconds``."""
        self.advance(now)
        migrations.stall(self.state, now, self.state.vm(vm), seconds)

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

    def lose(
        self,
        now: float,
        vm: str,
        acls: Literal["all"] | int = 0,
        nics: bool = False,
        power: bool = False,
    ) -> None:
        """Set what this VM loses at its next arrival: a number of ACLs or all, its connections, its
        power."""
        self.advance(now)
        self.state.vm(vm).losses.append(Loss(None if acls == "all" else acls, nics, power))

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
        if server := self._server(what):
            self.state.hosts[server].down_until = now + seconds
        else:
            self.state.vmm_down_until = now + seconds
            self.disconnect()

    def slow(self, now: float, what: str, times: float, seconds: float) -> None:
        """Slow a host, or ``vmm`` itself: its calls and re-reads take so many times longer."""
        self.advance(now)
        self.state.slow.append(Slow(self._server(what), times, now + seconds))

    def hang(
        self, now: float, what: str, call: str | None = None, seconds: float | None = None
    ) -> None:
        """Let calls to a host, or to ``vmm`` itself, never be answered; ``call``: only those calls
        to it or about it. ``seconds`` ``None``: for ever."""
        self.advance(now)
        until = None if seconds is None else now + seconds
        self.state.hung.append(Hang(self._server(what), call, until))

    def hang_reread(self, now: float, host: str) -> None:
        """Let VMM's re-reads of this host never end, and keep their locks."""
        self.advance(now)
        rereads.hang_rereads(self.state, self.state.host(host))

    def _server(self, what: str) -> str:
        """The full name of a host, or VMM's place. Raises ``Refused``."""
        is_vmm = what.casefold() in {"vmm", self.state.vmm.casefold()}
        return VMM if is_vmm else self.state.host(what).name

    def restart(self, now: float, seconds: float, jobs: Restarted = "die") -> None:
        """Restart the VMM service: its jobs end, and it does not answer for ``seconds``."""
        self.advance(now)
        migrations.restart(self.state, now, jobs)
        self.disconnect()
        self.state.vmm_down_until = now + seconds


def _in_time(clock: float, not_after: float) -> None:
    """Raise ``VmmStale`` if the deadline of a call has passed on this clock."""
    if clock > not_after:
        raise VmmStale(f"The call came {clock - not_after:.0f} s after its deadline")
