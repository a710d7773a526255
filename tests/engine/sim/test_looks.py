"""Looks at the simulated world, each on its own: VMM's jobs and database, one host's Hyper-V."""

from __future__ import annotations

import json

import pytest

from engine.errors import VmmBusy, VmmRefused, VmmUnavailable
from engine.model import HostMigration, HyperVState, Network, Pulse, ShownVm
from engine.sim.world import World
from tests.engine.sim.test_world import HV1, HV2, HV3, Room

MOVING = ("InService", "MigratingVirtualMachine")


def one(pulse: Pulse) -> ShownVm:
    (vm,) = pulse.vms
    return vm


# --- VMM's jobs --------------------------------------------------------------------------


def test_vmm_lists_its_running_migrations_and_by_id_those_that_are_over() -> None:
    room = Room()
    first, second = room.start("web01"), room.start("web02")
    assert {job.id for job in room.port.jobs().jobs} == {first, second}
    room.at(300)
    room.start("web03")
    over = room.port.jobs((first, "nobody's"))
    assert [(job.vm_id, job.state) for job in over.jobs] == [
        (room.id("web01"), "completed"),
        (room.id("web03"), "running"),
    ]
    assert over.unknown == ("nobody's",)


def test_a_job_that_vmm_does_not_show_yet_is_unknown() -> None:
    room = Room('job_delay = ["20s", "20s"]')
    job = room.start()
    assert (room.port.jobs((job,)).jobs, room.port.jobs((job,)).unknown) == ((), (job,))
    room.at(20)
    (shown,) = room.port.jobs((job,)).jobs
    assert shown.state == "running"


def test_a_queued_job_of_others_runs_in_the_list_of_vmm() -> None:
    room = Room(host="live = 1")
    room.world.foreign(room.now, "web01", "hv02")
    room.world.foreign(room.now, "web02", "hv02")
    assert [job.state for job in room.port.jobs().jobs] == ["running", "running"]


def test_the_list_of_jobs_has_the_clock_of_vmm() -> None:
    assert Room(extra='clock_skew = "90s"').port.jobs().server_time == Room().now + 90


# --- one host's Hyper-V ------------------------------------------------------------------


def test_a_live_migration_pulses_on_both_hosts_and_is_shown_on_its_source_only() -> None:
    room = Room()
    web01 = room.id("web01")
    room.start()
    room.at(60)
    source, destination = room.port.pulse(HV1, (web01,)), room.port.pulse(HV2, (web01,))
    assert source.migrations == (HostMigration(web01, HV2, 20),)
    assert (one(source).status, one(source).state) == (MOVING, HyperVState.RUNNING)
    assert (destination.migrations, destination.vms) == ((), ())
    assert [(p.live, p.storage, p.live_limit) for p in (source, destination)] == [(1, 1, 2)] * 2
    assert [vm.name for vm in room.port.shown(HV2).vms] == []
    room.at(300)
    assert one(room.port.pulse(HV2, (web01,))).status == ("Ok",)
    assert room.port.pulse(HV1, (web01,)) == Pulse(HV1, room.now, (), (), 0, 0, 2, 2, True)


def test_incoming_moves_are_not_counted_if_the_fleet_file_says_so() -> None:
    room = Room(more="[hyperv]\nincoming = false")
    room.start()
    assert [room.port.pulse(host).live for host in (HV1, HV2)] == [1, 0]


def test_moves_of_others_are_counted_but_not_those_that_wait_for_a_slot() -> None:
    room = Room(host="live = 1")
    room.world.foreign(room.now, "web01", "hv02")
    room.world.foreign(room.now, "web02", "hv02")
    pulse = room.port.pulse(HV1, (room.id("web02"),))
    assert (pulse.live, len(pulse.migrations), one(pulse).status) == (1, 1, ("Ok",))


def test_hyper_v_shows_a_powered_down_vm_at_rest_for_the_whole_copy() -> None:
    room = Room()
    off = room.id("off01")
    room.start("off01", power="down", pin=room.network("off01", HV1))
    for after in (0, 299):
        room.at(after)
        pulse = room.port.pulse(HV1, (off,))
        assert (one(pulse).status, one(pulse).state) == (("Ok",), HyperVState.OFF)
        assert (pulse.live, pulse.storage, pulse.migrations) == (0, 0, ())
        (shown,) = (vm for vm in room.port.shown(HV1).vms if vm.id == off)
        assert shown.status == ("Ok",)
        vm = room.vm("off01")
        assert (vm.vmm_status, vm.migrating_by_hyperv) == ("UnderMigration", False)
        assert [job.vm_id for job in room.port.jobs().jobs] == [off]
    room.at(300)
    assert one(room.port.pulse(HV2, (off,))).id == off


def test_a_pulse_shows_a_backup_and_omits_vms_that_are_not_there() -> None:
    room = Room()
    room.world.backup(room.now, "web01", 60)
    asked = (room.id("web01"), "nobody")
    assert one(room.port.pulse(HV1, asked)).status == ("InService", "BackingUpVirtualMachine")
    assert room.port.pulse(HV3, asked).vms == ()


def test_hyper_v_shows_all_vms_of_a_host_with_its_limits_and_switches() -> None:
    room = Room()
    room.world.limit(room.now, "hv01", live=3)
    found = room.port.shown(HV1)
    assert [vm.name for vm in found.vms] == ["web01", "web02", "web03", "off01"]
    assert (found.live_limit, found.storage_limit, found.switches) == (3, 2, ("LS-Main",))
    assert found.vms[0].switches == ("LS-Main",)


def test_a_pulse_has_the_clock_of_its_host() -> None:
    room = Room(host='clock_skew = "-30s"')
    assert room.port.pulse(HV1).time == room.now - 30
    assert room.world.truth()["host"][0]["clock_skew"] == "-30s"


def test_a_host_that_is_down_answers_no_look_and_vmm_says_so() -> None:
    room = Room()
    room.world.down(room.now, "hv01", 60)
    for look in (room.port.pulse, room.port.shown, lambda host: room.port.ports(host, ())):
        with pytest.raises(VmmUnavailable):
            look(HV1)
        look(HV2)
    assert "lost (2916)" in (room.port.known(HV1).host.error or "")


def test_hyper_v_answers_while_vmm_is_down() -> None:
    room = Room()
    room.world.down(room.now, "vmm", 60)
    port = room.port
    for look in (port.jobs, port.site, lambda: port.known(HV1), lambda: port.models(())):
        with pytest.raises(VmmUnavailable):
            look()
    assert room.port.pulse(HV1).live == 0
    assert room.port.shown(HV1).vms
    assert room.port.ports(HV1, (room.id("web01"),))


# --- VMM's database ----------------------------------------------------------------------


def test_vmm_knows_where_a_vm_was_until_it_catches_up() -> None:
    room = Room('status_stale = ["40s", "40s"]')
    room.start()
    room.at(300)
    (stale,) = (vm for vm in room.port.known(HV1).vms if vm.name == "web01")
    assert (stale.host, stale.status) == (HV1, "UnderMigration")
    assert room.port.known(HV2).vms == ()
    room.at(340)
    (vm,) = room.port.known(HV2).vms
    assert (vm.name, vm.host, vm.status) == ("web01", HV2, "Running")


def test_vmm_knows_of_a_vm_what_the_file_says() -> None:
    room = Room(more='[[vm]]\nname = "gpu01"\nhost = "hv02"\nmemory_gb = 8\nblocks = ["gpu"]')
    (vm,) = room.port.known(HV2.upper()).vms
    assert (vm.memory_mb, vm.disk_mb, vm.adapters, vm.blocks) == (8192, 61440, 0, ("gpu",))


def test_vmm_refuses_to_tell_of_a_host_that_it_does_not_know() -> None:
    with pytest.raises(VmmRefused):
        Room().port.known("hv09.corp.example")


def test_the_site_has_all_hosts_and_the_vms_of_the_library() -> None:
    room = Room(more='[[vm]]\nname = "old01"\nhost = "hv01"\nstatus = "Stored"')
    site = room.port.site()
    assert [host.name for host in site.hosts] == [HV1, HV2, HV3]
    (stored,) = site.vms
    assert (stored.name, stored.host, stored.stored) == ("old01", HV1, True)
    assert "old01" not in [vm.name for vm in room.port.known(HV1).vms]


# --- both halves of a network ------------------------------------------------------------


def test_each_half_of_a_network_has_what_its_side_knows() -> None:
    room = Room()
    web01 = room.id("web01")
    (nic, _), (port, _), (model, _) = (
        found[web01].adapters
        for found in (
            {web01: Network(tuple(room.world.state.vms[web01].nics))},
            room.port.ports(HV1, (web01, "nobody")),
            room.port.models((web01, "nobody")),
        )
    )
    assert (port.network, port.subnet, port.switch, port.vlan) == (None, None, "LS-Main", 10)
    assert port.acls == nic.acls
    assert (model.network, model.switch, model.acls) == ("VM-Net-10", None, ())
    assert port.id == model.id == nic.id
    assert port.mac == model.mac == nic.mac


def test_ports_are_read_where_the_vm_is_and_models_wherever_vmm_believes_it_is() -> None:
    room = Room()
    web01 = room.id("web01")
    assert room.port.ports(HV2, (web01,)) == {}
    room.world.create(room.now, {"name": "new01", "host": "hv01"})
    assert room.port.models((room.id("new01"),)) == {room.id("new01"): Network()}
    room = Room('status_stale = ["40s", "40s"]')
    room.world.create(room.now, {"name": "new01", "host": "hv01"})
    assert room.port.models((room.id("new01"),)) == {}
    assert room.port.ports(HV1, (room.id("new01"),)) == {room.id("new01"): Network()}


# --- judging -----------------------------------------------------------------------------


def test_a_start_beyond_the_load_at_the_last_pulse_is_a_violation() -> None:
    room = Room(host="live = 1")
    room.world.foreign(room.now, "web01", "hv03")
    room.at(1).port.pulse(HV1)
    with pytest.raises(VmmBusy, match="no free migration slot"):
        room.start("web02")
    assert room.kinds() == [("over_limit", "web02")]


def test_a_move_of_others_that_began_after_the_pulse_was_asked_does_not_count() -> None:
    room = Room(host="live = 1")
    room.port.pulse(HV1)
    room.at(1)
    room.world.foreign(room.now, "web01", "hv03")
    with pytest.raises(VmmBusy, match="no free migration slot"):
        room.start("web02")
    assert room.kinds() == []


def test_starts_of_ours_count_from_the_moment_they_are_sent_until_they_are_over() -> None:
    room = Room(host="live = 1")
    room.port.pulse(HV1)
    room.port.pulse(HV2)
    room.start("web01")
    with pytest.raises(VmmBusy, match="no free migration slot"):
        room.start("web02")
    assert room.kinds() == [("over_limit", "web02")] * 2
    room.at(300)
    room.start("web02")
    assert len(room.kinds()) == 2


def test_a_limit_that_is_lowered_after_the_pulse_does_not_count() -> None:
    room = Room()
    room.port.pulse(HV1)
    room.port.pulse(HV2)
    room.world.limit(room.now, "hv01", live=1)
    room.start("web01")
    with pytest.raises(VmmBusy, match="no free migration slot"):
        room.start("web02")
    assert room.kinds() == []


# --- saved worlds ------------------------------------------------------------------------

NEW = ("hyperv", "costs", "rereads", "reread_count", "slow", "hung", "connected")


def test_a_world_that_was_saved_before_these_looks_existed_still_loads() -> None:
    room = Room()
    room.start()
    old = json.loads(room.world.to_json())
    for key in NEW:
        del old[key]
    old["judged"] = {"limits": {HV1: 2}, "moving": []}
    for host in old["hosts"].values():
        del host["rereads_hang"]
        del host["spec"]["clock_skew"]
    world = World.from_json(json.dumps(old))
    assert world.pulse(room.now, HV1).live == 1
    assert World.from_json(world.to_json()).to_json() == world.to_json()
