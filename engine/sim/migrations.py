"""Migrations from the call to the arrival: guard, slots, end, and due times."""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import VmmBusy, VmmError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import MoveOrder, Reread, short
from engine.sim import capacity, judge, lies
from engine.sim.rereads import end_reread, fail_rereads, reread_lock
from engine.sim.state import Fate, Migration, Phase, Restarted, State, VmState, places
from engine.sim.views import REFRESHER, RESTARTED, catch_up, changed, progress, refresh_vm

QUEUE = 900.0
"""Seconds for which VMM queues somebody else's job."""
DELAY = (5.0, 75.0)
"""Range of seconds after which VMM begins a request whose connection broke."""


def reach(state: State, now: float, *hosts: str) -> None:
    """Raise ``VmmUnavailable`` if VMM or one of these hosts does not answer."""
    if now < state.vmm_down_until:
        raise VmmUnavailable(f"The VMM server {state.vmm} does not answer")
    for name in hosts:
        host = state.known_host(name)
        if host is None:
            raise VmmUnavailable(f"VMM knows no host {name}")
        if now < host.down_until:
            raise VmmUnavailable(f"The connection to the agent {host.name} was lost", code="2916")


def unlocked(state: State, now: float, *hosts: str) -> None:
    """Raise ``VmmLocked`` if a job locks one of these hosts."""
    for name in hosts:
        host = state.known_host(name)
        if host is None:
            continue
        if now < host.locked_until or reread_lock(state, Reread.HOST, host.name):
            raise VmmLocked(f"{host.name} is locked by another job", code="2606")


def unlocked_vm(state: State, now: float, vm: VmState) -> None:
    """Raise ``VmmLocked`` if a job locks this VM or one of its hosts. VMM knows its own jobs."""
    _free(state, now, vm.id, *places(vm))
    if state.migration_of(vm.id):
        raise _locked(state, vm.id)


def start(state: State, now: float, order: MoveOrder, late: float | None) -> str:
    """Start a migration of ours and return its job. Raises ``VmmError``; the reply may be lost.

    The order has full host names. ``late``: VMM begins so many seconds later and the reply is lost.
    ``None``: whether that happens is left to chance.
    """
    hosts = (order.source, order.destination)
    for name in hosts:
        if name not in state.hosts:
            raise VmmRefused(f"VMM knows no host {name}")
    judge.sent(state, now, order.vm_id, *hosts)
    reach(state, now, *hosts)
    _free(state, now, order.vm_id, *hosts)
    if state.chance(state.lies.timeout_before):
        raise VmmUnavailable("The connection broke while the call was sent")
    migration = Migration(id=state.new_id(), ours=True, begins=now, **vars(order))
    if late is not None or state.chance(state.lies.delayed):
        migration.begins = now + (state.between(DELAY) if late is None else late)
        state.open.append(migration)
        raise VmmUnavailable("The connection broke before VMM answered")
    lost = state.chance(state.lies.timeout_after)
    try:
        _admit(state, now, migration)
    except VmmError:
        if not lost:
            raise
    if lost:
        raise VmmUnavailable("The connection broke before VMM answered")
    return migration.id


def _free(state: State, now: float, vm_id: str, *hosts: str) -> None:
    """Raise ``VmmLocked`` if a job locks one of these hosts, or a re-read the VM. Another migration
    of the VM is found by the guard."""
    unlocked(state, now, *hosts)
    if reread_lock(state, Reread.VM, vm_id):
        raise _locked(state, vm_id)


def _locked(state: State, vm_id: str) -> VmmLocked:
    vm = state.vms.get(vm_id)
    return VmmLocked(f"'{vm.name if vm else vm_id}' is locked by another job", code="2606")


def _admit(state: State, now: float, migration: Migration) -> None:
    """Check the guard, then VMM's own refusals, then the slots; then begin the migration."""
    vm = state.vms.get(migration.vm_id)
    if vm is not None:
        refresh_vm(state, now, vm)
    if vm is None or vm.deleted:
        raise VmmStale(f"{migration.vm_id} is gone: {short(migration.source)} has no such VM")
    if differs := _guard(state, now, vm, migration):
        raise VmmStale(differs)
    if reason := _forbidden(state, vm, migration):
        raise VmmRefused(reason)
    if state.chance(state.lies.refused):
        raise VmmRefused(f"VMM refused to migrate '{vm.name}'", code="12711")
    if full := state.full(migration.source, migration.destination):
        slots = f"{state.load(full.name)} of {state.limit(full)}"
        raise VmmBusy(f"{full.name} has no free migration slot ({slots} taken)")
    if migration not in state.open:
        state.open.append(migration)
    begin(state, migration, vm, now)


def _guard(state: State, now: float, vm: VmState, migration: Migration) -> str:
    """Difference from the world on which the caller decided, or an empty string."""
    if migration.not_after is not None and now + state.skew > migration.not_after:
        late = now + state.skew - migration.not_after
        return f"The call for {vm.name} came {late:.0f} s after its deadline"
    if migration.not_before is not None and now + state.skew < migration.not_before:
        early = migration.not_before - now - state.skew
        return f"The call for {vm.name} came {early:.0f} s before it may take effect"
    running = state.migration_of(vm.id)
    if running is not None and running is not migration:
        return f"A migration of {vm.name} to {short(running.destination)} is already running"
    if migration.source not in vm.hosts:
        there = " and ".join(short(host) for host in vm.hosts) or "no host"
        return f"{vm.name} is not on {short(migration.source)}: Hyper-V shows it on {there}"
    if lies.power_class(vm.power) != migration.power:
        return f"{vm.name} is {vm.power.value}, not {migration.power}"
    return ""


def _forbidden(state: State, vm: VmState, migration: Migration) -> str:
    """Reason why VMM refuses this migration, or an empty string."""
    if migration.source == migration.destination:
        return f"'{vm.name}' is on {short(migration.destination)} already"
    if state.hosts[migration.destination].spec.maintenance:
        return f"{migration.destination} is in maintenance mode"
    if vm.overlay:
        return f"'{vm.name}' is in the state {vm.overlay} and cannot be migrated"
    if vm.spec.blocks:
        return f"'{vm.name}' cannot be migrated: {', '.join(vm.spec.blocks)}"
    return capacity.lacks_disk(state, vm, migration)


def foreign(state: State, now: float, vm: VmState, destination: str) -> Migration:
    """Begin somebody else's migration. Without a free slot VMM queues it for 15 minutes."""
    migration = Migration(
        id=state.new_id(),
        vm_id=vm.id,
        source=vm.hosts[0],
        destination=destination,
        power="running" if lies.power_class(vm.power) == "running" else "down",
        ours=False,
        begins=now,
    )
    state.open.append(migration)
    if state.full(migration.source, destination) is None:
        begin(state, migration, vm, now)
        return migration
    _show(state, migration, now)
    migration.phase, migration.ends = "queued", now + QUEUE
    changed(state, vm, now)
    return migration


def begin(state: State, migration: Migration, vm: VmState, now: float) -> None:
    """Begin a migration. How and when it ends is decided here."""
    ends = (state.hosts[migration.source].spec, state.hosts[migration.destination].spec)
    size_mb = (vm.spec.memory_gb + vm.spec.disk_gb) * 1024
    exact = vm.spec.minutes
    migration.whole = size_mb / min(h.mb_per_s for h in ends) if exact is None else exact * 60
    migration.kind = "live" if migration.power == "running" else "cold"
    migration.fate = lies.fate(state, vm, migration, now)
    length = migration.whole if migration.fate.seconds is None else migration.fate.seconds
    migration.ends = now + length
    if migration.phase == "waiting":
        _show(state, migration, now)
    migration.phase, migration.started = "running", now
    changed(state, vm, now)


def _show(state: State, migration: Migration, now: float) -> None:
    migration.visible = now + state.between(state.lies.job_delay)
    migration.target = migration.visible + state.between(state.lies.target_delay)


def stall(state: State, now: float, vm: VmState, seconds: float) -> None:
    """Let the running migration of this VM stand still for so long."""
    migration = state.migration_of(vm.id)
    if migration is not None and migration.ends is not None and migration.phase == "running":
        migration.stood, migration.ends = (now, seconds), migration.ends + seconds


def stop(state: State, now: float, job: str) -> None:
    """Stop a job (Stop-SCJob): the VM stays on its source. A finished job is left alone."""
    for migration in list(state.open):
        if migration.id == job and migration.phase != "waiting" and migration.lost is None:
            migration.fate = Fate(at="source")
            _finish(state, migration, now, "canceled")


def restart(state: State, now: float, jobs: Restarted) -> None:
    """End all jobs as a restart of the VMM service does. Queued ones have not reached Hyper-V."""
    fail_rereads(state, now)
    for migration in list(state.open):
        if migration.phase == "waiting":
            _close(state, migration, "void", now)
        elif jobs == "die" or migration.phase == "queued":
            migration.fate = Fate("failed", "source", RESTARTED)
            _end(state, migration, now, "failed")  # _end, not _finish: a queued job may fail next
        else:
            migration.lost, migration.told = now, jobs == "failed"
            vm = state.vms[migration.vm_id]
            vm.overlay = "MigrationFailed" if migration.told else vm.overlay
            changed(state, vm, now)


def advance(state: State, now: float) -> None:
    """Settle everything that happened up to now, in order of time."""
    while due := min(_dues(state), default=None):
        at, _, name = due
        if at > now:
            break
        state.now = max(state.now, at)
        migration = next((m for m in state.open if m.id == name), None)
        if migration is not None:
            _end_phase(state, migration, at)
        elif vm := state.vms.get(name):
            catch_up(state, vm, at)
        else:
            end_reread(state, name, at)
    state.now = max(state.now, now)


def next_change(state: State, now: float) -> float | None:
    """Time of the next change that a look may show, or ``None``."""
    instants = [at for at, _, _ in _dues(state)]
    for migration in state.open:
        if migration.phase != "waiting":
            instants += [migration.visible, migration.target]
    for vm in state.vms.values():
        instants += [at for window in vm.backups for at in window]
    for host in state.hosts.values():
        instants += [host.locked_until, host.down_until]
    instants += [slow.until for slow in state.slow]
    instants += [hang.until for hang in state.hung if hang.until is not None]
    later = [at for at in (*instants, state.vmm_down_until) if at > now]
    return min(later, default=None)


def _dues(state: State) -> Iterator[tuple[float, int, str]]:
    """Due events: time, order among events of the same time, id of the migration, VM or re-read."""
    for migration in state.open:
        if migration.phase == "waiting":
            yield migration.begins, 1, migration.id
        elif migration.ends is not None:
            yield migration.ends, 0, migration.id
    for vm in state.vms.values():
        if vm.status_due is not None:
            yield vm.status_due, 2, vm.id
        if vm.host_due is not None:
            yield vm.host_due, 2, vm.id
    for job in state.rereads:
        if job.phase == "running" and job.ends is not None:
            yield job.ends, 3, job.id


def _end_phase(state: State, migration: Migration, now: float) -> None:
    if migration.phase == "waiting":
        try:
            reach(state, now, migration.source, migration.destination)
            _free(state, now, migration.vm_id, migration.source, migration.destination)
            _admit(state, now, migration)
        except VmmError:
            _close(state, migration, "void", now)
        return
    if migration.phase == "queued":
        reason = "maximum storage migration limit was reached, please wait for completion"
        migration.fate = Fate("failed", "source", f"Migration timeout because: {reason} (23007)")
    _finish(state, migration, now, "completed" if migration.fate.job == "ok" else "failed")


def _finish(state: State, migration: Migration, now: float, phase: Phase) -> None:
    _end(state, migration, now, phase)
    release(state, now)


def _end(state: State, migration: Migration, now: float, phase: Phase) -> None:
    migration.progress = 100 if phase == "completed" else progress(migration, now)
    _close(state, migration, phase, now)
    vm = state.vms.get(migration.vm_id)
    if vm is None or vm.deleted:
        migration.phase, migration.fate.error = "failed", "The virtual machine was not found (801)"
    else:
        _land(state, migration, vm, now)


def _close(state: State, migration: Migration, phase: Phase, now: float) -> None:
    migration.phase, migration.ended = phase, now
    migration.visible = min(migration.visible, now)
    migration.target = min(migration.target, now)
    state.open.remove(migration)
    state.over.append(migration)


def _land(state: State, migration: Migration, vm: VmState, now: float) -> None:
    """Put the VM where its fate says. VMM believes its own job until it refreshes."""
    before = list(vm.hosts)
    vm.hosts = _places(migration, vm)
    if set(vm.hosts) - set(before):
        lies.arrive(state, vm, migration)
    _store(state, migration, vm, before)
    if migration.phase == "failed":
        vm.overlay = "MigrationFailed"
    believed = migration.destination if migration.phase == "completed" else migration.source
    honest = vm.hosts[:1] == [believed]
    if not honest and migration.phase == "completed":
        vm.vmm_host = believed
    changed(state, vm, now, 0.0 if honest else REFRESHER)


def _store(state: State, migration: Migration, vm: VmState, before: list[str]) -> None:
    """Move the VM's disks to the volume of the job and free the space that they used before."""
    vm.drives = {host: drive for host, drive in vm.drives.items() if host in vm.hosts}
    destination = migration.destination
    if destination in vm.hosts and destination not in before:
        vm.drives[destination] = capacity.drive_to(migration, state.hosts[destination])


def _places(migration: Migration, vm: VmState) -> list[str]:
    source, destination = migration.source, migration.destination
    others = [host for host in vm.hosts if host not in (source, destination)]
    match migration.fate.at:
        case "source":
            return vm.hosts
        case "destination":
            return [destination, *others]
        case "neither":
            return others
        case "both" if migration.fate.job == "ok":
            return [destination, source, *others]
        case "both":
            return [source, destination, *others]
        case host:
            return [host]


def release(state: State, now: float) -> None:
    """Begin queued jobs of others if slots are free, in order of arrival."""
    for migration in list(state.open):
        if migration.phase != "queued":
            continue
        vm = state.vms.get(migration.vm_id)
        if vm is not None and state.full(migration.source, migration.destination) is None:
            begin(state, migration, vm, now)
