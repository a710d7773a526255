"""The simulated world: it moves VMs and misreports as VMM does, and judges its callers."""

from __future__ import annotations

import contextlib
import json
import math
import random
import threading
from pathlib import Path

import pytest

from engine.clock import ScaledClock, VirtualClock
from engine.errors import (
    Refused,
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from engine.model import (
    Acl,
    AdapterRepair,
    Expected,
    Fleet,
    HyperVState,
    Job,
    MoveOrder,
    Network,
    PartKind,
    Power,
    Repair,
    Reread,
    Vm,
)
from engine.sim.fleet_file import START, FleetFile, parse
from engine.sim.port import SimPort, open_world
from engine.sim.world import World
from engine.vmm.port import VmmPort
from tests.looking import networks_of, observe, put_back

HV1, HV2, HV3 = "hv01.corp.example", "hv02.corp.example", "hv03.corp.example"
RULE = Acl("Allow", "Inbound", 10)
NIC = """
[[vm.nic]]
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
[[vm.nic]]
network = "VM-Net-20"
vlan = 20
[[vm.nic.acl]]
action = "Deny"
direction = "Outbound"
weight = 20
"""


def fleet(lies: str = "", more: str = "", host: str = "", extra: str = "") -> FleetFile:
    hosts = "".join(f'[[host]]\nname = "{name}"\n{host}\n' for name in (HV1, HV2, HV3))
    vms = "".join(
        f'[[vm]]\nname = "{name}"\nhost = "hv01"\nminutes = 5\n{status}\n{NIC}'
        for name, status in (
            ("web01", ""),
            ("web02", ""),
            ("web03", ""),
            ("off01", 'status = "PowerOff"'),
        )
    )
    return parse(f"{extra}\n{hosts}\n{vms}\n{more}\n[lies]\n{lies}\n")


class Room:
    """A world with a clock and a port, and short names for test actions."""

    def __init__(
        self, lies: str = "", *, more: str = "", host: str = "", seed: int = 0, extra: str = ""
    ) -> None:
        self.world = World.of(fleet(lies, more, host, extra), seed)
        self.clock = VirtualClock(START)
        self.port = SimPort(self.world, self.clock)

    @property
    def now(self) -> float:
        return self.clock.now()

    def at(self, seconds: float) -> Room:
        self.clock.jump(START + seconds)
        return self

    def look(self, *refresh: str, jobs: tuple[str, ...] = ()) -> Fleet:
        return observe(self.port, self.now, (HV1, HV2, HV3), jobs, refresh)

    def pulse(self) -> None:
        """Feel the pulse of every host: starts are judged by what that shows."""
        for host in (HV1, HV2, HV3):
            self.port.pulse(host)

    def id(self, name: str) -> str:
        return self.world.state.vm(name).id

    def vm(self, name: str) -> Vm:
        found = self.look().vm(self.id(name))
        assert found
        return found

    def start(
        self,
        name: str = "web01",
        to: str = HV2,
        power: Power = "running",
        pin: Network | None = None,
        patience: float = 60.0,
    ) -> str:
        job = self.port.start_move(
            MoveOrder(self.id(name), HV1, to, None, power, pin, self.now + patience)
        )
        assert job
        return job

    def job(self, job: str) -> Job | None:
        return self.look(jobs=(job,)).job(job)

    def network(self, name: str, host: str) -> Network:
        return networks_of(self.port, host, (self.id(name),))[self.id(name)]

    def repair(self, name: str, repair: Repair) -> None:
        put_back(self.port, self.now, self.id(name), repair)

    def clear(self, name: str) -> None:
        """Clear the failed job of a VM where VMM believes it to be."""
        host = self.world.state.vm(name).vmm_host
        self.port.clear(self.id(name), Expected(host or "", self.now + 60))

    def reread(self, name: str) -> None:
        self.port.reread(Reread.VM, self.id(name), self.now + 60)

    def kinds(self) -> list[tuple[object, object]]:
        return [(v["kind"], v["vm"]) for v in self.world.violations]


def test_the_simulated_port_implements_the_port() -> None:
    port: VmmPort = Room().port
    assert "simulated" in port.version()


def test_a_live_move_takes_its_minutes_and_keeps_the_network() -> None:
    room = Room()
    before = room.network("web01", HV1)
    job = room.start()
    vm = room.at(60).vm("web01")
    assert (vm.seen_on, vm.vmm_status, vm.migrating) == ((HV1,), "UnderMigration", True)
    assert "MigratingVirtualMachine" in vm.hyperv_status
    running = room.job(job)
    assert running
    assert (running.state, running.progress, running.target) == ("running", 20, HV2)
    assert room.world.next_change(room.now) == START + 300
    vm = room.at(300).vm("web01")
    assert (vm.seen_on, vm.vmm_host, vm.vmm_status) == ((HV2,), HV2, "Running")
    over = room.job(job)
    assert over
    assert (over.state, over.progress, over.ended) == ("completed", 100, START + 300)
    assert room.look().jobs == ()
    assert room.network("web01", HV2) == before
    assert room.world.next_change(room.now) is None


def test_the_slower_host_sets_the_duration_of_a_move_without_minutes() -> None:
    slow = '[[host]]\nname = "slow"\nmb_per_s = 64\n[[vm]]\nname = "big"\nhost = "hv01"\n'
    room = Room(more=slow)
    room.start("big", "slow")
    assert room.world.next_change(room.now) == START + 64 * 1024 / 64


def test_only_hosts_that_are_asked_report_their_hyperv_state() -> None:
    room = Room()
    seen = observe(room.port, room.now, (HV2,))
    vm = seen.vm(room.id("web01"))
    assert vm
    assert (vm.seen_on, vm.hyperv_state, vm.vmm_host) == ((), None, HV1)
    asked, silent = seen.host(HV2), seen.host(HV1)
    assert asked
    assert silent
    assert (asked.seen_at, silent.seen_at) == (START, None)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PowerOff", HyperVState.OFF),
        ("Saved", HyperVState.SAVED),
        ("Paused", HyperVState.PAUSED),
        ("MigrationFailed", HyperVState.RUNNING),
        ("Starting", HyperVState.OTHER),
    ],
)
def test_the_vmm_status_is_shown_beside_the_hyper_v_state(status: str, state: HyperVState) -> None:
    room = Room()
    room.world.power(START, "web01", status)
    vm = room.vm("web01")
    assert (vm.vmm_status, vm.hyperv_state) == (status, state)


def test_the_job_appears_late_and_its_target_later() -> None:
    room = Room('job_delay = ["20s", "20s"]\ntarget_delay = ["10s", "10s"]')
    job = room.start()
    assert room.look(jobs=(job,)).jobs == ()
    assert room.vm("web01").vmm_status == "UnderMigration"
    assert room.world.next_change(room.now) == START + 20
    shown = room.at(20).job(job)
    assert shown
    assert shown.target is None
    assert room.world.next_change(room.now) == START + 30
    shown = room.at(30).job(job)
    assert shown
    assert shown.target == HV2


def test_the_status_in_vmm_is_outdated_until_a_delay_has_passed_or_a_refresh() -> None:
    room = Room('status_stale = ["40s", "40s"]')
    room.start()
    vm = room.vm("web01")
    assert (vm.vmm_status, vm.migrating) == ("Running", True)
    assert room.at(40).vm("web01").vmm_status == "UnderMigration"
    vm = room.at(300).vm("web01")
    assert (vm.vmm_host, vm.vmm_status, vm.seen_on) == (HV1, "UnderMigration", (HV2,))
    assert room.world.next_change(room.now) == START + 340
    refreshed = room.look(HV1)
    vm2 = refreshed.vm(vm.id)
    assert vm2
    assert (vm2.vmm_host, vm2.vmm_status) == (HV2, "Running")
    assert refreshed.age(PartKind.VMS, HV1).asked_at == START + 300


# --- the guard ---------------------------------------------------------------------------


def test_a_start_from_a_host_that_the_vm_has_left_is_stale() -> None:
    room = Room()
    room.start()
    room.at(400)
    with pytest.raises(VmmStale, match="web01 is not on hv01: Hyper-V shows it on hv02"):
        room.start(to=HV3)


def test_a_start_for_another_power_state_is_stale() -> None:
    room = Room()
    with pytest.raises(VmmStale, match="off01 is Off, not running"):
        room.start("off01")
    with pytest.raises(VmmStale, match="web01 is Running, not down"):
        room.start("web01", power="down")


def test_a_start_after_its_deadline_on_the_clock_of_the_server_is_stale() -> None:
    room = Room(extra='clock_skew = "90s"')
    assert room.look().server_time == START + 90
    with pytest.raises(VmmStale, match="30 s after its deadline"):
        room.start(patience=60)
    room.start(patience=150)


def test_a_vm_in_a_foreign_migration_cannot_be_started() -> None:
    room = Room()
    room.world.foreign(room.now, "web01", "hv03")
    with pytest.raises(VmmStale, match="web01 to hv03 is already running"):
        room.start()
    assert room.world.violations == ()


def test_a_start_of_a_deleted_vm_is_stale_even_if_a_new_vm_has_its_name() -> None:
    room = Room()
    old = room.id("web01")
    room.world.delete(room.now, "web01")
    room.world.create(room.now, {"name": "web01", "host": "hv01"})
    assert room.look().vm(old) is None
    assert room.id("web01") != old
    with pytest.raises(VmmStale, match="is gone"):
        room.port.start_move(MoveOrder(old, HV1, HV2, None, "running", None, room.now + 60))


# --- slots --------------------------------------------------------------------------------


def test_a_third_migration_is_refused_as_busy_and_never_queued() -> None:
    room = Room()
    room.start("web01")
    room.start("web02", HV3)
    with pytest.raises(VmmBusy, match=r"hv01\S* has no free migration slot \(2 of 2 taken\)"):
        room.start("web03")
    assert room.at(400).vm("web03").seen_on == (HV1,)


def test_a_cold_move_takes_a_slot_of_the_storage_limit() -> None:
    room = Room(host="storage = 1")
    room.start("off01", power="down")
    with pytest.raises(VmmBusy, match="1 of 1"):
        room.start("web01")


def test_incoming_and_outgoing_share_the_slots_of_a_host() -> None:
    room = Room(host="live = 1", more='[[vm]]\nname = "in01"\nhost = "hv02"\n')
    room.world.foreign(room.now, "in01", "hv03")
    with pytest.raises(VmmBusy, match="hv02"):
        room.start()


def test_vmm_queues_foreign_migrations_until_a_slot_is_free() -> None:
    room = Room(host="live = 1")
    room.start("web01")
    room.world.foreign(room.now, "web02", "hv03")
    vm = room.vm("web02")
    assert (vm.vmm_status, vm.hyperv_status) == ("UnderMigration", ("Ok",))
    assert "MigratingVirtualMachine" in room.at(300).vm("web02").hyperv_status
    assert room.at(600).vm("web02").seen_on == (HV3,)


def test_a_queued_job_gives_up_after_fifteen_minutes() -> None:
    room = Room(host="live = 0")
    job = room.world.foreign(room.now, "web02", "hv03")
    failed = room.at(900).job(job)
    assert failed
    assert failed.state == "failed"
    assert "(23007)" in str(failed.error)
    assert room.vm("web02").vmm_status == "MigrationFailed"


def test_a_raised_limit_takes_effect_at_once() -> None:
    room = Room()
    room.world.limit(room.now, "hv01", live=1, storage=1)
    host = room.look().host(HV1)
    assert host
    assert (host.live_limit, host.storage_limit) == (1, 1)
    room.start("web01")
    room.world.limit(room.now, "hv01", live=2, storage=2)
    room.look()
    room.start("web02")


# --- how migrations end -------------------------------------------------------------------


def test_a_failed_job_leaves_a_failed_state_that_only_a_dismissal_clears() -> None:
    room = Room()
    room.world.outcome(room.now, "web01", "failed")
    job = room.start()
    failed = room.at(300).job(job)
    assert failed
    assert failed.state == "failed"
    assert "0x80072746" in str(failed.error)
    room.reread("web01")
    vm = room.vm("web01")
    assert (vm.vmm_status, vm.seen_on, vm.failed) == ("MigrationFailed", (HV1,), True)
    with pytest.raises(VmmRefused, match="MigrationFailed"):
        room.start()
    room.clear("web01")
    room.clear("web01")
    assert room.vm("web01").vmm_status == "Running"
    room.start()
    assert room.at(700).vm("web01").seen_on == (HV2,)


def test_a_vm_moved_by_a_failed_job_is_shown_in_vmm_after_a_refresh() -> None:
    room = Room("failed_but_moved = 1.0")
    job = room.start()
    failed = room.at(300).job(job)
    vm = room.vm("web01")
    assert failed
    assert failed.state == "failed"
    assert (vm.seen_on, vm.vmm_host, vm.vmm_status) == ((HV2,), HV1, "MigrationFailed")
    seen = room.look(HV1).vm(vm.id)
    assert seen
    assert (seen.vmm_host, seen.vmm_status) == (HV2, "MigrationFailed")


def test_a_vm_left_by_a_completed_job_is_shown_at_its_target_until_vmm_re_reads_it() -> None:
    room = Room("stayed = 1.0")
    job = room.start()
    done = room.at(300).job(job)
    vm = room.vm("web01")
    assert done
    assert (done.state, done.progress) == ("completed", 100)
    assert (vm.seen_on, vm.vmm_host, vm.vmm_status) == ((HV1,), HV2, "Running")
    assert room.world.next_change(room.now) == START + 420
    assert room.at(420).vm("web01").vmm_host == HV1


def test_a_random_failure_leaves_the_vm_on_its_source() -> None:
    room = Room("failed = 1.0")
    job = room.start()
    failed = room.at(300).job(job)
    assert failed
    assert failed.state == "failed"
    assert failed.progress < 100
    assert room.vm("web01").seen_on == (HV1,)


@pytest.mark.parametrize(
    ("job", "at", "places"),
    [
        ("ok", "destination", (HV2,)),
        ("ok", "source", (HV1,)),
        ("ok", "both", (HV2, HV1)),
        ("ok", "neither", ()),
        ("ok", "hv03", (HV3,)),
        ("failed", "destination", (HV2,)),
        ("failed", "source", (HV1,)),
        ("failed", "both", (HV1, HV2)),
        ("failed", "neither", ()),
        ("failed", HV3, (HV3,)),
    ],
)
def test_a_story_decides_the_result_of_the_job_and_the_location_of_the_vm(
    job: str, at: str, places: tuple[str, ...]
) -> None:
    room = Room()
    room.world.outcome(room.now, "web01", "ok" if job == "ok" else "failed", at)
    started = room.start()
    ended = room.at(300).job(started)
    assert ended
    assert ended.state == {"ok": "completed", "failed": "failed"}[job]
    assert room.vm("web01").seen_on == tuple(sorted(places))
    truth = room.world.truth()["vm"][0]
    assert truth.get("hosts", [truth["host"]]) == list(places)


def test_an_outcome_applies_to_the_given_number_of_migrations() -> None:
    room = Room()
    room.world.outcome(room.now, "web01", "failed", times=2)
    for at in (300, 600):
        room.start()
        room.at(at).clear("web01")
        assert room.vm("web01").seen_on == (HV1,)
    room.start()
    assert room.at(900).vm("web01").seen_on == (HV2,)


def test_a_vm_on_no_host_is_missing_after_a_refresh() -> None:
    room = Room()
    room.world.outcome(room.now, "web01", "ok", "neither")
    room.start()
    room.at(300)
    assert room.vm("web01").vmm_status == "Running"
    room.look(HV2)
    assert room.vm("web01").vmm_status == "Missing"


def test_a_copy_on_one_of_two_hosts_can_be_deleted() -> None:
    room = Room()
    room.world.outcome(room.now, "web01", "ok", "both")
    room.start()
    room.at(300).world.delete(room.now, "web01@hv01")
    assert room.vm("web01").seen_on == (HV2,)


def test_a_stopped_job_is_canceled_and_clears_the_migration_status() -> None:
    room = Room()
    job = room.start()
    for _ in range(2):
        room.at(100).port.stop(job, room.now)
    canceled = room.job(job)
    assert canceled
    assert (canceled.state, canceled.progress) == ("canceled", 33)
    assert room.vm("web01").vmm_status == "Running"


def test_a_restart_of_vmm_fails_its_jobs() -> None:
    room = Room()
    job = room.start()
    room.at(60).world.restart(room.now, 30)
    with pytest.raises(VmmUnavailable, match="vmm01 does not answer"):
        room.look()
    dead = room.at(90).job(job)
    assert dead
    assert dead.state == "failed"
    assert "(1711)" in str(dead.error)


def test_a_restart_of_vmm_fails_queued_jobs_before_they_begin() -> None:
    room = Room(host="live = 1")
    running, queued = (room.world.foreign(room.now, name, "hv02") for name in ("web01", "web02"))
    room.world.outcome(room.now, "web02", "ok", "both")
    room.at(60).world.restart(room.now, 30)
    room.at(90)
    for job in (running, queued):
        dead = room.job(job)
        assert dead
        assert dead.state == "failed"
        assert "(1711)" in str(dead.error)
    assert room.world.state.open == []
    assert room.vm("web02").seen_on == (HV1,)
    room.clear("web02")
    room.start("web02")
    assert room.at(400).vm("web02").seen_on == (HV1, HV2), "the wish is still to come true"
    assert room.world.state.vm("web02").hosts == [HV2, HV1]


# --- calls that break ---------------------------------------------------------------------


def test_a_refused_start_did_not_happen() -> None:
    room = Room("refused = 1.0")
    with pytest.raises(VmmRefused):
        room.start()
    assert room.at(400).vm("web01").seen_on == (HV1,)


def test_vmm_refuses_vms_that_it_cannot_move() -> None:
    room = Room(
        more='[[host]]\nname = "shut"\nmaintenance = true\n'
        '[[vm]]\nname = "gpu01"\nhost = "hv01"\nblocks = ["gpu"]\n'
    )
    for name, to, reason in (
        ("web01", "shut", "maintenance mode"),
        ("web01", HV1, "already"),
        ("web01", "hv99", "no host hv99"),
        ("gpu01", HV2, "cannot be migrated: gpu"),
    ):
        with pytest.raises(VmmRefused, match=reason):
            room.start(name, to)


def test_a_timeout_before_the_start_starts_nothing_and_one_afterwards_hides_a_start() -> None:
    for lie, host in (("timeout_before", HV1), ("timeout_after", HV2)):
        room = Room(f"{lie} = 1.0")
        with pytest.raises(VmmUnavailable):
            room.start()
        assert room.at(400).vm("web01").seen_on == (host,)


def test_a_delayed_start_begins_later_unless_its_deadline_has_passed() -> None:
    for patience, host in ((80.0, HV2), (0.0, HV1)):
        room = Room("delayed = 1.0")
        with pytest.raises(VmmUnavailable):
            room.start(patience=patience)
        assert room.vm("web01").vmm_status == "Running"
        begins = room.world.next_change(room.now)
        assert begins
        assert START + 5 <= begins <= START + 75
        assert room.at(400).vm("web01").seen_on == (host,)


def test_a_delayed_start_checks_its_guard_again() -> None:
    room = Room("delayed = 1.0")
    with pytest.raises(VmmUnavailable):
        room.start()
    room.world.power(room.now, "web01", "PowerOff")
    assert room.at(400).vm("web01").seen_on == (HV1,)


# --- backups ------------------------------------------------------------------------------


def test_only_hyperv_shows_a_backup_and_a_migration_during_a_backup_fails_quickly() -> None:
    room = Room()
    room.world.backup(room.now, "web01", 600)
    vm = room.vm("web01")
    assert (vm.vmm_status, vm.backing_up) == ("Running", True)
    assert room.world.next_change(room.now) == START + 600
    job = room.start()
    failed = room.at(10).job(job)
    assert failed
    assert failed.state == "failed"
    assert "cannot be migrated while it is being backed up" in str(failed.error)
    assert not room.at(600).vm("web01").backing_up


def test_a_scheduled_backup_does_not_disturb_a_running_migration() -> None:
    vm = '[[vm]]\nname = "db01"\nhost = "hv01"\nminutes = 10\nbackup = [["5m", "8m"]]\n'
    room = Room(more=vm)
    room.start("db01")
    assert room.world.next_change(room.now) == START + 300
    assert not room.at(300).vm("db01").backing_up
    assert room.world.next_change(room.now) == START + 480
    assert room.at(600).vm("db01").seen_on == (HV2,)


# --- networks -----------------------------------------------------------------------------


def test_an_unpinned_cold_move_loses_network_switch_and_vlan_of_every_adapter() -> None:
    room = Room()
    room.start("off01", power="down")
    room.at(300)
    for nic in room.network("off01", HV2).adapters:
        assert (nic.network, nic.switch, nic.vlan, nic.connected) == (None, None, 0, False)
        assert nic.acls


def test_a_pinned_cold_move_keeps_every_setting_and_id_of_the_network() -> None:
    room = Room()
    pin = room.network("off01", HV1)
    room.start("off01", power="down", pin=pin)
    assert room.at(300).network("off01", HV2) == pin
    assert room.vm("off01").down


def test_a_lie_may_lose_a_pinned_network() -> None:
    room = Room("lose_nics_cold = 1.0")
    room.start("off01", power="down", pin=room.network("off01", HV1))
    nics = room.at(300).network("off01", HV2).adapters
    assert [nic.switch for nic in nics] == [None, None]


@pytest.mark.parametrize(
    ("lie", "name", "power"),
    [("lose_acls_live", "web01", "running"), ("lose_acls_cold", "off01", "down")],
)
def test_extended_acls_are_lost_on_all_or_some_adapters(lie: str, name: str, power: Power) -> None:
    kept = set()
    for seed in range(24):
        room = Room(f"{lie} = 1.0", seed=seed)
        room.start(name, power=power, pin=room.network(name, HV1))
        kept.add(sum(len(nic.acls) for nic in room.at(300).network(name, HV2).adapters))
    assert kept == {0, 1}


def test_a_story_removes_acls_and_connections_only_at_the_next_arrival() -> None:
    room = Room()
    room.world.lose(room.now, "web01", acls=1, nics=True)
    room.start()
    nics = room.at(300).network("web01", HV2).adapters
    assert [len(nic.acls) for nic in nics] == [0, 1]
    assert [nic.switch for nic in nics] == [None, None]
    room.world.lose(room.now, "web02", acls="all")
    room.start("web02")
    assert not any(nic.acls for nic in room.at(600).network("web02", HV2).adapters)


def test_a_disconnected_adapter_stays_disconnected_in_a_cold_move() -> None:
    vm = '[[vm]]\nname = "cut01"\nhost = "hv01"\nstatus = "Saved"\nminutes = 1\n'
    room = Room(more=f"{vm}[[vm.nic]]\nconnected = false\n")
    before = room.network("cut01", HV1)
    room.start("cut01", power="down", pin=before)
    assert room.at(60).network("cut01", HV2) == before


def test_a_live_move_to_a_host_without_the_switch_fails() -> None:
    odd = '[[host]]\nname = "odd"\nswitches = ["Other"]\n[[vm]]\nname = "o1"\nhost = "odd"\n'
    room = Room(more=odd)
    job = room.start(to="odd")
    failed = room.at(10).job(job)
    assert failed
    assert "Could not find Ethernet switch 'LS-Main' (33012)" in str(failed.error)
    assert room.vm("web01").vmm_status == "MigrationFailed"


def test_a_repair_restores_adapter_by_adapter_and_is_idempotent() -> None:
    room = Room()
    saved = room.network("web01", HV1)
    room.world.lose(room.now, "web01", acls="all", nics=True)
    room.start()
    room.at(300)
    repair = Repair(
        HV2,
        tuple(
            AdapterRepair(nic.id, nic.mac, nic.network, nic.switch, nic.vlan, acls=nic.acls)
            for nic in saved.adapters
        ),
    )
    room.repair("web01", repair)
    room.repair("web01", repair)
    assert room.network("web01", HV2) == saved


def test_a_rule_with_the_key_of_another_is_refused_and_overwrites_nothing() -> None:
    room = Room()
    nic = room.network("web01", HV1).adapters[0]
    other = Acl("Deny", "Inbound", 10)
    with pytest.raises(VmmRefused, match=r"Inbound weight 10 .* is another rule already"):
        room.repair("web01", Repair(HV1, (AdapterRepair(nic.id, acls=(other,)),)))
    assert room.network("web01", HV1).adapters[0].acls == (RULE,)


def test_a_rule_without_rights_is_refused_and_the_check_of_rights_says_why() -> None:
    room = Room(host="acl_rights = false")
    assert "denied" in str(room.port.rights(HV1))
    nic = room.network("web01", HV1).adapters[0]
    with pytest.raises(VmmRefused, match="denied"):
        room.repair(
            "web01",
            Repair(HV1, (AdapterRepair(nic.id, acls=(Acl("Deny", "Inbound", 1),)),)),
        )
    assert Room().port.rights(HV1) is None


def test_settings_that_the_host_lacks_cannot_be_restored() -> None:
    room = Room(more='[[host]]\nname = "odd"\nswitches = ["Other"]\nnetworks = ["Elsewhere"]\n')
    nic = room.network("web01", HV1).adapters[0]
    for wrong, reason in (
        (AdapterRepair(nic.id, switch="Other"), "no virtual switch 'Other'"),
        (AdapterRepair(nic.id, network="Elsewhere"), "no VM network 'Elsewhere'"),
    ):
        with pytest.raises(VmmRefused, match=reason):
            room.repair("web01", Repair(HV1, (wrong,)))
    trunk = AdapterRepair(nic.id, trunk=(5, 6), native_vlan=5)
    room.repair("web01", Repair(HV1, (trunk,)))
    found = room.network("web01", HV1).adapters[0]
    assert (found.vlan, found.trunk, found.native_vlan) == (0, (5, 6), 5)


def test_a_repair_finds_its_adapter_by_mac_and_refuses_an_unknown_adapter() -> None:
    room = Room()
    nic = room.network("web01", HV1).adapters[0]
    room.repair("web01", Repair(HV1, (AdapterRepair("?", nic.mac, vlan=7),)))
    assert room.network("web01", HV1).adapters[0].vlan == 7
    with pytest.raises(VmmRefused, match="has no adapter"):
        room.repair("web01", Repair(HV1, (AdapterRepair("?"),)))
    with pytest.raises(VmmStale, match="is not on hv02"):
        room.repair("web01", Repair(HV2))


# --- locks, silence, people ---------------------------------------------------------------


def test_a_locked_host_shows_in_a_refresh_and_refuses_calls_with_2606() -> None:
    room = Room()
    room.world.lock(room.now, "hv01", 120)
    seen = room.look(HV1)
    assert (host := seen.host(HV1))
    assert host.locked
    assert seen.age(PartKind.VMS, HV1).asked_at is None
    with pytest.raises(VmmLocked, match=r"locked by another job \(2606\)"):
        room.start()
    assert room.world.next_change(room.now) == START + 120
    seen = room.at(120).look(HV1)
    assert (host := seen.host(HV1))
    assert not host.locked
    assert seen.age(PartKind.VMS, HV1).asked_at == START + 120


def test_a_host_that_is_down_returns_no_observation_and_starts_nothing() -> None:
    room = Room()
    room.world.down(room.now, "hv02", 60)
    seen = room.look(HV2)
    assert (host := seen.host(HV2))
    assert (host.seen_at, seen.age(PartKind.VMS, HV2).asked_at) == (None, None)
    assert host.error
    with pytest.raises(VmmUnavailable):
        room.start()
    with pytest.raises(VmmUnavailable):
        room.port.ports(HV2, ())
    assert room.at(60).look().jobs == ()
    room.start()


def test_running_migrations_continue_while_vmm_is_down() -> None:
    room = Room()
    room.start()
    room.at(60).world.down(room.now, "vmm", 600)
    assert room.at(660).vm("web01").seen_on == (HV2,)


def test_vmm_answers_nothing_while_it_is_down_but_its_hosts_answer() -> None:
    room = Room()
    room.world.down(room.now, "vmm", 60)
    for call in (room.look, room.start, lambda: room.port.models(())):
        with pytest.raises(VmmUnavailable):
            call()
    assert room.port.rights(HV1) is None
    assert room.port.pulse(HV1).time == room.now
    assert room.at(60).look().hosts


def test_vms_are_found_by_name_host_or_id_and_unknown_words_are_refused() -> None:
    room = Room(more='[[vm]]\nname = "web01"\nhost = "hv02"\n')
    with pytest.raises(Refused, match=r"several VMs .*web01@hv01, web01@hv02"):
        room.world.backup(room.now, "web01", 1)
    found = room.world.state.vm("WEB01@hv02")
    assert room.world.state.vm(f"id:{found.id.lower()}") is found
    with pytest.raises(Refused, match=r'no VM "web1".*Did you mean'):
        room.world.backup(room.now, "web1", 1)
    with pytest.raises(Refused, match='Did you mean "Saved"'):
        room.world.power(room.now, "web02", "Savd")
    with pytest.raises(Refused, match="create: vm: memory is not a known key"):
        room.world.create(room.now, {"name": "n1", "host": "hv01", "memory": 1})


def test_an_outdated_vmm_shows_new_and_deleted_vms_late() -> None:
    room = Room('status_stale = ["30s", "30s"]')
    made = room.world.create(room.now, {"name": "new01", "host": "hv02"})
    gone = room.id("web01")
    room.world.delete(room.now, "web01")
    new, old = room.look().vm(made), room.look().vm(gone)
    assert new
    assert (new.vmm_host, new.seen_on) == (None, (HV2,))
    assert old
    assert (old.vmm_host, old.seen_on) == (HV1, ())
    later = room.at(30).look()
    new = later.vm(made)
    assert new
    assert new.vmm_host == HV2
    assert later.vm(gone) is None


def test_missing_and_stored_vms_are_shown_by_no_hyper_v_host() -> None:
    room = Room(more='[[vm]]\nname = "lib"\nhost = "hv01"\nstatus = "Stored"\n')
    room.world.power(room.now, "web01", "Missing")
    vm = room.vm("web01")
    assert (vm.seen_on, vm.vmm_status, vm.vmm_host) == ((), "Missing", HV1)
    assert [v.stored for v in room.look().vms if v.name == "lib"] == [True]
    room.world.power(room.now, "web01", "Running")
    assert room.vm("web01").seen_on == (HV1,)


# --- violations ---------------------------------------------------------------------------


def test_a_second_start_is_a_violation_even_if_the_guard_refuses_it() -> None:
    room = Room()
    room.start()
    with pytest.raises(VmmStale):
        room.start(to=HV3)
    assert room.kinds() == [("double", "web01")]
    assert room.world.violations[0] == {"t": START, "kind": "double", "vm": "web01", "host": HV3}


def test_a_start_while_a_delayed_start_is_pending_is_a_double_start() -> None:
    room = Room("delayed = 1.0")
    for _ in range(2):
        with pytest.raises(VmmUnavailable):
            room.start()
    assert room.kinds() == [("double", "web01")]


def test_a_start_between_full_hosts_violates_the_limit_of_each() -> None:
    room = Room(host="live = 1")
    room.start("web01")
    with pytest.raises(VmmBusy):
        room.start("web02")
    assert [(v["kind"], v["host"]) for v in room.world.violations] == [
        ("over_limit", HV1),
        ("over_limit", HV2),
    ]


def test_a_start_over_the_limit_is_no_violation_before_a_pulse_shows_it() -> None:
    room = Room(host="live = 1")
    room.pulse()
    room.world.foreign(room.now, "web01", "hv03")
    with pytest.raises(VmmBusy):
        room.start("web02")
    assert room.world.violations == ()
    room.at(1).pulse()
    with pytest.raises(VmmBusy):
        room.start("web02")
    assert room.kinds() == [("over_limit", "web02")]


def test_a_start_over_a_limit_lowered_since_the_last_pulse_is_no_violation() -> None:
    room = Room()
    room.start("web01")
    room.pulse()
    room.world.limit(room.now, "hv01", live=1)
    with pytest.raises(VmmBusy):
        room.start("web02", HV3)
    assert room.world.violations == ()


def test_the_story_player_adds_its_own_violations() -> None:
    room = Room()
    room.world.add_violation(room.now, "ungranted_cold", "off01", HV1)
    assert room.kinds() == [("ungranted_cold", "off01")]


# --- memory: seed, save, reload -----------------------------------------------------------

LIES = """
lose_acls_live = 0.5
timeout_after = 0.3
delayed = 0.2
failed = 0.3
failed_but_moved = 0.2
job_delay = ["1s", "20s"]
status_stale = ["0s", "50s"]
"""


def future(world: World, begin: float) -> str:
    """Everything that the world reports in half an hour with many starts."""
    port, told = SimPort(world, clock := VirtualClock(begin)), []
    for step in range(60):
        clock.jump(begin + step * 30)
        fleet = observe(port, clock.now(), (HV1, HV2, HV3))
        told.append(repr(fleet))
        vm = fleet.vms[step % 3]
        try:
            if vm.failed:
                port.clear(vm.id, Expected(vm.vmm_host or "", fleet.server_time + 60))
            if vm.seen_on:
                to = HV2 if vm.seen_on[0] != HV2 else HV1
                end = fleet.server_time + 60
                told.append(
                    str(
                        port.start_move(
                            MoveOrder(vm.id, vm.seen_on[0], to, None, "running", None, end)
                        )
                    )
                )
        except (VmmStale, VmmBusy, VmmLocked, VmmRefused, VmmUnavailable) as error:
            told.append(repr(error))
    return "\n".join([*told, world.to_json()])


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    one, same, other = (World.of(fleet(LIES), seed) for seed in (1, 1, 2))
    told = future(one, START)
    assert told == future(same, START)
    assert told != future(other, START)


def test_a_saved_and_loaded_world_has_the_same_future() -> None:
    world = World.of(fleet(LIES), 3)
    future(world, START)
    world.backup(world.now, "web02", 77.7)
    world.outcome(world.now, "web03", "failed", "both")
    world.lose(world.now, "web03", acls="all")
    copy = World.from_json(world.to_json())
    assert copy.state == world.state
    assert future(copy, START + 1800) == future(world, START + 1800)


def test_one_long_step_of_a_world_equals_many_small_steps() -> None:
    worlds = [World.of(fleet(LIES + 'target_delay = ["0s", "9s"]'), 5) for _ in range(2)]
    for world in worlds:
        for vm in ("web01", "web02", "web03"):
            world.foreign(START, vm, "hv02")
    leap, steps = worlds
    leap.advance(START + 3600)
    now: float | None = START
    while now is not None and now < START + 3600:
        steps.advance(now)
        now = steps.next_change(now)
    steps.advance(START + 3600)
    assert leap.to_json() == steps.to_json()


def test_a_saved_world_is_written_before_the_reply_and_continues(tmp_path: Path) -> None:
    path = tmp_path / "night.db.world"
    made = fleet("timeout_after = 1.0")
    opened = open_world(made, path, wall=1000.0, speed=10.0)
    port = SimPort(opened.world, VirtualClock(START), opened.saved)
    vm = opened.world.state.vm("web01").id
    with pytest.raises(VmmUnavailable):
        port.start_move(MoveOrder(vm, HV1, HV2, None, "running", None, START + 60))
    again = open_world(None, path, wall=1060.0)
    assert again.resumed
    assert (again.start, again.wall, again.speed) == (START, 1000.0, 10.0)
    clock = again.clock()
    assert isinstance(clock, ScaledClock)
    assert clock.start == START
    port = SimPort(again.world, VirtualClock(START + 600))
    assert [one.id for one in port.shown(HV2).vms] == [vm]


def test_a_changed_speed_continues_from_the_same_instant(tmp_path: Path) -> None:
    path = tmp_path / "world"
    open_world(fleet(), path, wall=1000.0, speed=10.0)
    faster = open_world(None, path, wall=1060.0, speed=100.0)
    assert (faster.start, faster.wall, faster.speed) == (START + 600, 1060.0, 100.0)
    virtual = open_world(None, path, wall=1060.0, speed=math.inf)
    assert isinstance(virtual.clock(), VirtualClock)


def test_another_fleet_or_a_broken_file_of_a_saved_world_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "world"
    open_world(fleet(), path)
    assert open_world(fleet(), path).resumed
    with pytest.raises(Refused, match=r"another simulated fleet than fleet\.toml"):
        open_world(fleet("failed = 0.5"), path)
    path.write_text("{}")
    with pytest.raises(Refused, match="cannot be read"):
        open_world(None, path)
    with pytest.raises(Refused, match="no simulated fleet yet"):
        open_world(None, tmp_path / "nothing")


ALL_LIES = """
lose_acls_live = 0.3
lose_acls_cold = 0.3
lose_nics_cold = 0.3
refused = 0.1
timeout_before = 0.1
timeout_after = 0.1
delayed = 0.2
failed = 0.2
failed_but_moved = 0.1
stayed = 0.1
job_delay = ["0s", "20s"]
target_delay = ["0s", "20s"]
status_stale = ["0s", "60s"]
"""


@pytest.mark.parametrize("seed", range(10))
def test_random_actions_and_lies_never_exceed_a_host_limit_and_every_job_ends(
    seed: int,
) -> None:
    dice = random.Random(seed)
    world = World.of(fleet(ALL_LIES), seed)
    port = SimPort(world, clock := VirtualClock(START))
    vms = ("web01", "web02", "web03", "off01")
    for _ in range(150):
        name, host, seconds = dice.choice(vms), dice.choice((HV1, HV2, HV3)), dice.uniform(1, 300)
        with contextlib.suppress(Refused, VmmError):
            match dice.randrange(10):
                case 0:
                    world.backup(clock.now(), name, seconds)
                case 1:
                    world.foreign(clock.now(), name, host)
                case 2:
                    world.power(clock.now(), name, dice.choice(("Running", "PowerOff", "Saved")))
                case 3:
                    at = dice.choice(("source", "destination", "both"))
                    world.outcome(clock.now(), name, dice.choice(("ok", "failed")), at)
                case 4:
                    world.lock(clock.now(), host, seconds / 10)
                case 5:
                    vm = world.state.vm(name)
                    port.clear(vm.id, Expected(vm.vmm_host or "", clock.now()))
                case _:
                    vm = world.state.vm(name)
                    power: Power = "running" if vm.power is HyperVState.RUNNING else "down"
                    deadline = clock.now() + 60
                    port.start_move(
                        MoveOrder(vm.id, vm.hosts[0], host, None, power, None, deadline)
                    )
        clock.jump(clock.now() + dice.uniform(0, 60))
        world.advance(clock.now())
        assert all(world.state.load(h) <= 2 for h in world.state.hosts)
        assert World.from_json(world.to_json()).state == world.state
    while (change := world.next_change(clock.now())) is not None:
        clock.jump(change)
    assert world.state.open == []
    hosts = (HV1, HV2, HV3)
    fleet_seen = observe(port, clock.now(), hosts, refresh=hosts)
    assert all(vm.vmm_host in vm.seen_on for vm in fleet_seen.vms)


# --- the record ---------------------------------------------------------------------------


def test_every_call_is_recorded_with_its_error() -> None:
    room = Room()
    room.port.calls.clear()
    room.start()
    with pytest.raises(VmmStale):
        room.start(to=HV3)
    room.port.shown(HV2)
    started, stale, looked = room.port.calls
    assert (started["call"], started["host"], started["vms"]) == ("start_move", HV2, ["web01"])
    assert started["result"]
    assert started["error"] is None
    assert str(stale["error"]).startswith("VmmStale: A migration of web01")
    assert (looked["call"], looked["host"], looked["result"]) == ("shown", HV2, "0 shown")
    assert looked["t"] == looked["ended"] == START


def test_the_truth_is_in_the_words_of_the_fleet_file() -> None:
    room = Room('status_stale = ["1h", "1h"]', more="")
    room.world.backup(room.now, "web01", 90)
    room.at(120).start()
    room.at(500).world.advance(room.now)
    truth = room.world.truth()
    json.dumps(truth, sort_keys=True)
    assert truth["host"][0]["name"] == HV1
    vm = truth["vm"][0]
    assert (vm["name"], vm["host"], vm["vmm_host"]) == ("web01", HV2, HV1)
    assert (vm["status"], vm["backup"], vm["minutes"]) == ("Running", [["0s", "90s"]], 5)
    nics = vm["nic"]
    assert isinstance(nics, list)
    assert nics[0]["acl"][0]["weight"] == 10


def test_several_threads_may_call_the_port_at_once() -> None:
    room = Room(host="live = 50\nstorage = 50")
    names = ("web01", "web02", "web03")
    lanes = [threading.Thread(target=room.start, args=(name,)) for name in names]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert len(room.look().jobs) == 3
    assert room.world.violations == ()


# --- room -------------------------------------------------------------------------------------

BIG = '[[vm]]\nname = "big01"\nhost = "hv02"\nmemory_gb = 16\ndisk_gb = 100\n'
TIGHT = "memory_gb = 22\nvolumes = { 'D:' = 240, 'E:' = 60 }"


def free(room: Room, host: str = HV2) -> tuple[int, dict[str, int]]:
    """Memory and disk in GB, as an observation shows them."""
    found = room.look().host(host)
    assert found
    assert found.free_memory_mb is not None
    assert found.volumes is not None
    return found.free_memory_mb // 1024, {v.name: v.free_mb // 1024 for v in found.volumes}


def start_on(room: Room, path: str, name: str = "web01", power: Power = "running") -> str:
    job = room.port.start_move(MoveOrder(room.id(name), HV1, HV2, path, power, None, room.now + 60))
    assert job
    return job


def test_free_capacity_is_the_remainder_after_the_vms_of_a_host() -> None:
    room = Room(more=BIG, host=TIGHT)
    assert free(room) == (6, {"D:": 140, "E:": 60})
    # Three run and one is powered down: it takes disk, but no memory.
    assert free(room, HV1) == (10, {"D:": 0, "E:": 60})


def test_a_move_reduces_free_capacity_only_after_its_arrival() -> None:
    room = Room(more=BIG, host=TIGHT)
    room.start("web01")
    assert free(room) == (6, {"D:": 140, "E:": 60})
    assert free(room, HV1)[0] == 10
    room.at(301)
    assert free(room) == (2, {"D:": 80, "E:": 60})
    assert free(room, HV1)[0] == 14


def test_a_live_move_without_memory_fails_early_and_a_cold_one_needs_none() -> None:
    room = Room(more=BIG, host=TIGHT)
    room.start("web01")
    hopeless = room.start("web02")
    room.at(11)
    job = room.job(hopeless)
    assert job
    assert job.state == "failed"
    assert job.error
    assert "0x800705AA" in job.error
    assert "4096 MB wanted, 2048 MB free" in job.error
    assert room.vm("web02").seen_on == (HV1,)
    cold = room.start("off01", power="down")
    room.at(400)
    assert (job := room.job(cold))
    assert job.state == "completed"


def test_a_move_without_disk_space_is_refused_until_another_vm_has_gone() -> None:
    room = Room(more=BIG, host=TIGHT.replace("22", "256"))
    room.start("web01")
    room.start("web02")
    with pytest.raises(VmmRefused, match=r"not enough space on the disk D: of hv02.*0x80070070"):
        room.port.start_move(
            MoveOrder(room.id("off01"), HV1, HV2, None, "down", None, room.now + 60)
        )
    room.world.delete(room.now, "big01")
    room.at(301)
    assert room.start("off01", power="down")


def test_a_moved_disk_takes_space_on_the_volume_of_its_path() -> None:
    room = Room(more=BIG, host=TIGHT)
    start_on(room, "e:\\Other")
    room.at(301)
    assert free(room) == (2, {"D:": 140, "E:": 0})
    with pytest.raises(VmmRefused, match="disk E:"):
        start_on(room, "E:\\Other", "off01", "down")
    # Back on the source they are on the host's own path.
    room.port.start_move(
        MoveOrder(room.id("web01"), HV2, HV1, None, "running", None, room.now + 60)
    )
    room.at(700)
    assert free(room)[1]["E:"] == 60


def test_a_path_on_a_missing_volume_is_refused() -> None:
    room = Room()
    with pytest.raises(VmmRefused, match=r"hv02.corp.example has no volume F: .*0x80070003"):
        start_on(room, "F:\\VMs")
    assert room.vm("web01").seen_on == (HV1,)
    assert start_on(room, "\\\\files\\vms")


def test_a_foreign_move_that_does_not_fit_fails() -> None:
    room = Room(more=BIG, host="volumes = { 'D:' = 150 }")
    job = room.world.foreign(room.now, "web01", "hv02")
    room.at(11)
    assert (found := room.job(job))
    assert found.state == "failed"
    assert found.error
    assert "0x80070070" in found.error


def test_a_saved_world_keeps_the_volumes_of_disks() -> None:
    room = Room(more=BIG, host=TIGHT)
    start_on(room, "E:\\Other")
    room.at(301).look()
    room.world = World.from_json(room.world.to_json())
    room.port = SimPort(room.world, room.clock)
    assert free(room)[1] == {"D:": 140, "E:": 0}


def test_an_observation_shows_the_switches_of_hosts_and_vms() -> None:
    more = """[[vm]]
name = "lab01"
host = "hv02"
[[vm.nic]]
switch = "LS-Lab"
[[vm.nic]]
switch = "LS-Gone"
connected = false
"""
    room = Room(more=more)
    assert room.vm("lab01").switches == ("LS-Lab",)
    assert room.vm("web01").switches == ("LS-Main",)
    # No host lists LS-Lab, so the file does not model it and no move fails for it.
    assert (host := room.look().host(HV1))
    assert host.switches == ("LS-Main", "LS-Lab")
