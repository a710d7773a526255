"""Changes of one side in the simulated world: what each expects, and re-reads as jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.errors import VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import Adapter, AdapterRepair, Expected, Job, Repair, Reread
from engine.sim.lies import unplugged
from tests.engine.sim.test_world import HV1, HV2, HV3, RULE, Room

Change = Callable[[Room, Expected], None]
SLOW = "[costs]\nreread_vms = 10\nreread_vms_vm = 1\nreread_vm = 4\nreread_host = 8\n"


def nic(room: Room, name: str = "web01") -> Adapter:
    return room.world.state.vm(name).nics[0]


def put_ports(room: Room, expected: Expected, name: str = "web01") -> None:
    one = AdapterRepair(nic(room, name).id, switch="LS-Main", vlan=77, network="VM-Net-30")
    repair = Repair(expected.host, (one,))
    room.port.put_ports(room.id(name), repair, expected)


def put_models(room: Room, expected: Expected, name: str = "web01") -> None:
    one = AdapterRepair(nic(room, name).id, vlan=77, network="VM-Net-30", classification="Fast")
    repair = Repair(expected.host, (one,))
    room.port.put_models(room.id(name), repair, expected)


def clear(room: Room, expected: Expected, name: str = "web01") -> None:
    room.port.clear(room.id(name), expected)


CHANGES = pytest.mark.parametrize("change", [put_ports, put_models, clear])


def at_rest(room: Room, host: str = HV1) -> Expected:
    return Expected(host, room.now + 60)


def reread(room: Room, what: Reread, name: str = HV1) -> str:
    job = room.port.reread(what, room.id(name) if what is Reread.VM else name, room.now + 60)
    assert job
    return job


def job(room: Room, job_id: str) -> Job:
    return next(one for one in room.port.jobs((job_id,)).jobs if one.id == job_id)


# --- the two halves ----------------------------------------------------------------------


def test_ports_and_models_each_put_back_their_own_half() -> None:
    room = Room()
    before = nic(room)
    put_ports(room, at_rest(room))
    assert nic(room) == replace(before, vlan=77)
    put_models(room, at_rest(room))
    assert nic(room) == replace(before, vlan=77, network="VM-Net-30", classification="Fast")


def test_both_halves_restore_an_adapter_that_lost_everything() -> None:
    room = Room()
    vm, before = room.world.state.vm("web01"), nic(room)
    vm.nics[0] = replace(unplugged(before), acls=())
    wanted = AdapterRepair(before.id, "", "VM-Net-10", "LS-Main", 10, acls=(RULE,))
    for put in (room.port.put_ports, room.port.put_models):
        for _ in range(2):
            put(vm.id, Repair(HV1, (wanted,)), at_rest(room))
    assert nic(room) == before


def test_a_host_without_rights_refuses_the_rules_but_not_the_models() -> None:
    room = Room(host="acl_rights = false")
    wanted = Repair(HV1, (AdapterRepair(nic(room).id, acls=(RULE,)),))
    with pytest.raises(VmmRefused, match="denied"):
        room.port.put_ports(room.id("web01"), wanted, at_rest(room))
    room.port.put_models(room.id("web01"), wanted, at_rest(room))


def test_a_failed_job_is_cleared_and_the_view_of_vmm_stays_as_stale_as_it_was() -> None:
    room = Room()
    room.world.outcome(room.now, "web01", "failed", at="destination")
    room.start()
    room.at(300).port.jobs()
    vm = room.world.state.vm("web01")
    assert (vm.vmm_status, vm.vmm_host, vm.hosts) == ("MigrationFailed", HV1, [HV2])
    clear(room, at_rest(room))
    assert (vm.vmm_status, vm.vmm_host) == ("Running", HV1)
    clear(room, at_rest(room))
    assert vm.vmm_status == "Running"


# --- what a change expects ---------------------------------------------------------------


@CHANGES
def test_a_late_change_does_nothing(change: Change) -> None:
    room = Room()
    before = nic(room)
    with pytest.raises(VmmStale, match="5 s after its deadline"):
        change(room, Expected(HV1, room.now - 5))
    change(room, Expected(HV1, room.now))
    assert change is clear or nic(room) != before


@pytest.mark.parametrize(("change", "late"), [(put_ports, 30), (put_models, 90), (clear, 90)])
def test_the_machine_that_acts_checks_its_own_clock(change: Change, late: float) -> None:
    room = Room(extra='clock_skew = "90s"', host='clock_skew = "30s"')
    with pytest.raises(VmmStale):
        change(room, Expected(HV1, room.now + late - 1))
    change(room, Expected(HV1, room.now + late))


@CHANGES
def test_a_change_of_a_vm_that_is_elsewhere_does_nothing(change: Change) -> None:
    room = Room()
    with pytest.raises(VmmStale, match="web01 is"):
        change(room, Expected(HV2, room.now + 60))


@CHANGES
def test_a_change_of_a_vm_in_flight_does_nothing(change: Change) -> None:
    room = Room()
    before = nic(room)
    room.start()
    with pytest.raises(VmmStale, match="web01 is migrating"):
        change(room, at_rest(room))
    assert (nic(room), room.kinds()) == (before, [])


def test_vmm_believes_its_own_view_and_the_host_what_it_shows() -> None:
    room = Room('status_stale = ["1h", "1h"]')
    room.start()
    room.at(300)
    put_ports(room, at_rest(room, HV2))
    with pytest.raises(VmmStale):
        put_models(room, at_rest(room, HV2))
    with pytest.raises(VmmRefused, match="'web01' is not on hv01"):
        put_models(room, at_rest(room, HV1))


@pytest.mark.parametrize("change", [put_models, clear])
def test_vmm_changes_nothing_that_another_job_locks(change: Change) -> None:
    room = Room()
    room.world.lock(room.now, "hv01", 60)
    with pytest.raises(VmmLocked, match="2606"):
        change(room, at_rest(room))
    put_ports(room, at_rest(room))


def test_ports_are_put_back_while_vmm_is_down_but_not_while_the_host_is() -> None:
    room = Room()
    room.world.down(room.now, "vmm", 60)
    put_ports(room, at_rest(room))
    with pytest.raises(VmmUnavailable):
        put_models(room, at_rest(room))
    room.world.down(room.now, "hv01", 60)
    with pytest.raises(VmmUnavailable):
        put_ports(room, at_rest(room))


# --- changes in flight -------------------------------------------------------------------


def test_ports_that_are_changed_while_vmm_copies_the_vm_are_a_violation() -> None:
    room = Room()
    room.start("off01", power="down", pin=room.network("off01", HV1))
    put_ports(room, at_rest(room), "off01")
    assert room.kinds() == [("changed_in_flight", "off01")]


def test_a_copy_by_others_counts_once_vmm_showed_it_to_the_caller() -> None:
    room = Room('job_delay = ["20s", "20s"]')
    room.port.jobs()
    room.world.foreign(room.now, "off01", "hv02")
    room.at(30)
    put_ports(room, at_rest(room), "off01")
    assert room.kinds() == []
    room.port.jobs()
    put_ports(room, at_rest(room), "off01")
    assert room.kinds() == [("changed_in_flight", "off01")]


# --- stopping ----------------------------------------------------------------------------


def test_a_job_is_stopped_unless_the_call_is_late() -> None:
    room = Room(extra='clock_skew = "90s"')
    started = room.start(patience=150)
    with pytest.raises(VmmStale):
        room.port.stop(started, room.now + 89)
    assert job(room, started).state == "running"
    for _ in range(2):
        room.port.stop(started, room.now + 90)
    assert job(room, started).state == "canceled"


# --- re-reads ----------------------------------------------------------------------------


def stale_room(more: str = "") -> Room:
    """web01 has moved from hv01 to hv02, and VMM does not know it yet."""
    room = Room('status_stale = ["1h", "1h"]', more=more)
    room.start()
    room.at(300)
    assert room.world.state.vm("web01").vmm_host == HV1
    return room


@pytest.mark.parametrize(
    ("what", "name"), [(Reread.VMS, HV1), (Reread.VMS, HV2), (Reread.VM, "web01")]
)
def test_a_re_read_without_a_cost_ends_at_once(what: Reread, name: str) -> None:
    room = stale_room()
    done = job(room, reread(room, what, name))
    assert (done.state, done.vm_id, done.ended) == ("completed", "", room.now)
    assert room.world.state.vm("web01").vmm_host == HV2


def test_a_re_read_of_a_hosts_properties_does_not_show_where_a_vm_is() -> None:
    room = stale_room()
    assert job(room, reread(room, Reread.HOST)).state == "completed"
    assert room.world.state.vm("web01").vmm_host == HV1


def test_a_re_read_of_another_host_or_vm_does_not_show_where_a_vm_is() -> None:
    room = stale_room()
    reread(room, Reread.VMS, HV3)
    reread(room, Reread.VM, "web02")
    assert room.world.state.vm("web01").vmm_host == HV1


@pytest.mark.parametrize(
    ("what", "name", "seconds"),
    [(Reread.VMS, HV1, 14), (Reread.VM, "web01", 4), (Reread.HOST, HV1, 8)],
)
def test_a_re_read_has_its_effect_when_its_time_is_over(
    what: Reread, name: str, seconds: int
) -> None:
    room = stale_room(SLOW)
    begun = reread(room, what, name)
    assert room.world.next_change(room.now) == room.now + seconds
    room.at(299 + seconds)
    assert job(room, begun).state == "running"
    assert room.world.state.vm("web01").vmm_host == HV1
    room.at(300 + seconds)
    assert (job(room, begun).state, job(room, begun).ended) == ("completed", room.now)
    assert room.world.state.vm("web01").vmm_host == (HV1 if what is Reread.HOST else HV2)


def test_a_re_read_of_a_vm_completes_its_configuration_and_one_of_all_vms_does_not() -> None:
    room = Room()
    room.world.power(room.now, "web01", "IncompleteVMConfig")
    reread(room, Reread.VMS)
    assert room.world.state.vm("web01").vmm_status == "IncompleteVMConfig"
    reread(room, Reread.VM, "web01")
    assert room.world.state.vm("web01").vmm_status == "Running"


def test_a_re_read_imports_new_vms_and_forgets_deleted_ones() -> None:
    room = Room('status_stale = ["1h", "1h"]')
    room.world.create(room.now, {"name": "new01", "host": "hv01"})
    room.world.delete(room.now, "web01")
    with pytest.raises(VmmRefused):
        reread(room, Reread.VM, "new01")
    reread(room, Reread.VMS)
    known = [vm.name for vm in room.port.known(HV1).vms]
    assert ("new01" in known, "web01" in known) == (True, False)


@pytest.mark.parametrize(
    ("what", "name", "locks"),
    [
        (Reread.VMS, HV1, {"web01": True, "web02": True, "far01": False}),
        (Reread.VM, "web01", {"web01": True, "web02": False, "far01": False}),
        (Reread.HOST, HV1, {"web01": True, "web02": True, "far01": False}),
    ],
)
def test_a_re_read_locks_what_it_reads(what: Reread, name: str, locks: dict[str, bool]) -> None:
    room = Room(more='[[vm]]\nname = "far01"\nhost = "hv02"\n' + SLOW)
    reread(room, what, name)
    for vm, is_locked in locks.items():
        host = HV2 if vm == "far01" else HV1
        if not is_locked:
            clear(room, at_rest(room, host), vm)
            continue
        with pytest.raises(VmmLocked, match="2606"):
            clear(room, at_rest(room, host), vm)
    with pytest.raises(VmmLocked, match="2606"):
        room.start("web01")
    room.at(20)
    room.start("web01")


def test_a_re_read_of_an_object_that_another_job_locks_fails() -> None:
    room = Room(more=SLOW)
    room.start("web01")
    assert "(2606)" in (job(room, reread(room, Reread.VM, "web01")).error or "")
    first, second = reread(room, Reread.HOST), reread(room, Reread.HOST)
    assert (job(room, first).state, job(room, second).state) == ("running", "failed")
    room.world.lock(room.now, "hv02", 60)
    for what in (Reread.VMS, Reread.HOST):
        failed = job(room, reread(room, what, HV2))
        assert (failed.state, failed.ended) == ("failed", room.now)
        assert "(2606)" in (failed.error or "")


def test_a_re_read_of_all_vms_passes_over_those_in_flight() -> None:
    room = Room('status_stale = ["1h", "1h"]')
    room.start("web01")
    room.world.power(room.now, "web02", "PowerOff")
    assert job(room, reread(room, Reread.VMS)).state == "completed"
    assert room.world.state.vm("web01").vmm_status == "Running"
    assert room.world.state.vm("web02").vmm_status == "PowerOff"


def test_a_re_read_of_a_silent_host_fails_when_its_time_is_over() -> None:
    room = Room(more=SLOW)
    room.world.down(room.now, "hv01", 60)
    begun = reread(room, Reread.HOST)
    room.at(8)
    assert "lost (2916)" in (job(room, begun).error or "")


def test_a_late_re_read_does_nothing() -> None:
    room = Room(extra='clock_skew = "90s"')
    with pytest.raises(VmmStale):
        room.port.reread(Reread.HOST, HV1, room.now + 89)
    assert room.world.state.rereads == []
    assert room.port.reread(Reread.HOST, HV1, room.now + 90)


@pytest.mark.parametrize("what", list(Reread))
def test_a_re_read_of_an_unknown_name_is_refused(what: Reread) -> None:
    room = Room()
    with pytest.raises(VmmRefused):
        room.port.reread(what, "nobody", room.now + 60)
    room.world.down(room.now, "vmm", 60)
    with pytest.raises(VmmUnavailable):
        room.port.reread(Reread.HOST, HV1, room.now + 60)


def test_a_restart_of_vmm_fails_its_re_reads_and_frees_what_they_locked() -> None:
    room = Room(more=SLOW)
    begun = reread(room, Reread.VMS)
    room.world.restart(room.now, 0)
    assert "(1711)" in (job(room, begun).error or "")
    room.start("web01")


def test_re_reads_that_hang_never_end_and_keep_their_locks() -> None:
    room = Room(more=SLOW)
    begun = reread(room, Reread.VMS)
    room.world.hang_reread(room.now, "hv01")
    late, other = reread(room, Reread.HOST), reread(room, Reread.HOST, HV2)
    room.at(36000)
    states = [job(room, one).state for one in (begun, late, other)]
    assert states == ["running", "running", "completed"]
    with pytest.raises(VmmLocked):
        room.start("web01")
    again = type(room.world).from_json(room.world.to_json())
    assert [one.phase for one in again.state.rereads] == states


def test_vmm_forgets_the_oldest_re_reads_but_none_that_runs() -> None:
    room = Room()
    room.world.hang_reread(room.now, "hv02")
    hung = reread(room, Reread.HOST, HV2)
    first = reread(room, Reread.HOST)
    for _ in range(600):
        last = reread(room, Reread.HOST)
    assert room.port.jobs((first,)).unknown == (first,)
    assert [job(room, one).state for one in (hung, last)] == ["running", "completed"]
    assert len({one.id for one in room.world.state.rereads}) == 502
