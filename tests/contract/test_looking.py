"""Reads through both ports: an observation, networks, rights, the version."""

from dataclasses import replace

import pytest

from engine.errors import VmmUnavailable
from engine.model import Fleet, HyperVState, PartKind
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort
from tests.contract.conftest import (
    DB01,
    EDGE01,
    FLEET,
    HOSTS,
    HV01,
    HV02,
    HV03,
    NOBODY,
    WEB01,
    WEB02,
    WIRED,
)
from tests.powershell.pwsh import needs_checks


def test_the_version_names_vmm(there):
    assert "VMM" in there.port.version()


def test_vmm_reports_hosts_and_vms_without_asking_any_host(there):
    fleet = there.observe()

    assert [host.name for host in fleet.hosts] == list(HOSTS)
    assert [vm.name for vm in fleet.vms] == ["web01", "web02", "web03", "db01", "edge01"]
    assert {vm.seen_on for vm in fleet.vms} == {()}
    assert {vm.hyperv_state for vm in fleet.vms} == {None}
    assert {host.seen_at for host in fleet.hosts} == {None}
    assert fleet.at == there.now
    assert fleet.server_time == there.now + 40
    assert fleet.jobs == ()


def test_hyperv_states_come_only_from_hosts_that_are_asked(there):
    fleet = there.observe([HV01])

    web01, db01, edge01 = fleet.vm(WEB01), fleet.vm(DB01), fleet.vm(EDGE01)
    assert (web01.seen_on, web01.hyperv_state) == ((HV01,), HyperVState.RUNNING)
    assert (db01.seen_on, db01.hyperv_state) == ((HV01,), HyperVState.OFF)
    assert (edge01.seen_on, edge01.hyperv_state, edge01.vmm_host) == ((), None, HV03)
    assert [host.seen_at for host in fleet.hosts] == [there.now, None, None]


def test_the_name_of_a_host_to_ask_is_not_case_sensitive(there):
    assert there.observe([HV01.upper()]).host(HV01).seen_at == there.now


def test_limits_path_and_sizes_are_reported(there):
    fleet = there.observe(HOSTS)

    host, vm = fleet.host(HV02), fleet.vm(WEB01)
    assert (host.live_limit, host.storage_limit, host.path) == (4, 3, r"E:\Machines")
    assert (vm.memory_mb, vm.disk_mb, vm.adapters) == (8 * 1024, 60 * 1024, 3)


def test_only_hyperv_shows_a_backup(there):
    there.world.backup(there.now, "web01", 600)

    vm = there.observe([HV01]).vm(WEB01)

    assert vm.backing_up
    assert vm.vmm_status == "Running"


def test_a_running_move_shows_in_the_vmm_status_in_a_job_and_in_hyperv(there):
    job = there.start()
    there.pass_by(60)

    fleet = there.observe(HOSTS)

    assert fleet.vm(WEB01).vmm_status == "UnderMigration"
    assert "MigratingVirtualMachine" in fleet.vm(WEB01).hyperv_status
    (running,) = fleet.running_jobs(WEB01)
    assert (running.id, running.source, running.target) == (job, HV01, HV02)
    assert (running.progress, running.started) == (10, there.now - 60)


def test_an_ended_job_is_shown_only_if_it_is_asked_for(there):
    job = there.start()
    there.pass_by(601)

    assert there.observe().jobs == ()
    (over,) = there.observe(jobs=[job]).jobs
    assert (over.state, over.progress, over.error, over.vm_id) == ("completed", 100, None, WEB01)
    assert over.ended == there.now - 1


def test_a_failed_job_has_a_reason_and_an_error_number(there):
    there.world.outcome(there.now, "web01", "failed", "source")
    job = there.start()
    there.pass_by(601)

    fleet = there.observe(HOSTS, jobs=[job])

    assert fleet.job(job).state == "failed"
    assert "Live migration of 'web01' failed" in fleet.job(job).error
    assert fleet.job(job).error.endswith(" (12700)")
    assert fleet.vm(WEB01).vmm_status == "MigrationFailed"
    assert fleet.vm(WEB01).seen_on == (HV01,)


def test_a_job_that_vmm_does_not_know_is_not_shown(there):
    assert there.observe(jobs=[NOBODY]).jobs == ()


def test_a_refresh_shows_a_power_change_that_vmm_had_missed(lying):
    there = lying('status_stale = ["5m", "5m"]')
    there.world.power(there.now, "web01", "PowerOff")

    assert there.observe().vm(WEB01).vmm_status == "Running"
    assert there.observe([HV01]).vm(WEB01).hyperv_state is HyperVState.OFF
    fleet = there.observe(refresh=[HV01])
    assert fleet.vm(WEB01).vmm_status == "PowerOff"
    assert refreshed(fleet) == [there.now, None, None]


def test_a_lock_during_a_refresh_is_reported_without_an_error(there):
    there.world.lock(there.now, HV01, 60)

    fleet = there.observe(HOSTS, refresh=HOSTS)

    assert [host.locked for host in fleet.hosts] == [True, False, False]
    assert refreshed(fleet) == [None, there.now, there.now]
    assert fleet.host(HV01).error is None
    assert fleet.vm(WEB01).seen_on == (HV01,)


def test_a_silent_host_has_an_error_and_proves_nothing(there):
    there.world.down(there.now, HV01, 60)

    fleet = there.observe(HOSTS, refresh=HOSTS)

    silent = fleet.host(HV01)
    assert (silent.seen_at, silent.locked) == (None, False)
    assert refreshed(fleet) == [None, there.now, there.now]
    assert silent.error
    assert fleet.host(HV02).error is None
    assert (fleet.vm(WEB01).seen_on, fleet.vm(WEB01).vmm_host) == ((), HV01)
    assert fleet.vm(EDGE01).seen_on == (HV03,)
    assert fleet.host(HV03).seen_at == there.now


def test_an_observation_fails_while_vmm_is_down(there):
    there.world.down(there.now, "vmm", 60)
    for ask in (there.observe, lambda: there.observe(HOSTS, refresh=HOSTS)):
        with pytest.raises(VmmUnavailable) as caught:
            ask()
        assert caught.value.happened is None

    there.pass_by(60)

    assert there.observe().vm(WEB01).vmm_status == "Running"


def test_networks_of_several_vms_are_read_completely_in_one_call(there):
    found = there.networks(HV01, [WEB01, WEB02, DB01])

    assert set(found) == {WEB01, WEB02, DB01}
    for vm, network in found.items():
        assert list(network.adapters) == there.nics(vm)


def test_networks_leave_out_vms_that_are_not_on_the_host(there):
    assert list(there.networks(HV01, [NOBODY, EDGE01, WEB02])) == [WEB02]
    assert there.networks(HV02, [WEB01]) == {}


def test_a_silent_host_returns_no_networks(there):
    there.world.down(there.now, HV01, 60)

    with pytest.raises(VmmUnavailable):
        there.networks(HV01, [WEB01])


def test_hyperv_answers_while_vmm_is_down(there):
    there.world.down(there.now, "vmm", 60)

    for ask in (
        there.port.site,
        lambda: there.port.known(HV01),
        lambda: there.port.models([WEB01]),
    ):
        with pytest.raises(VmmUnavailable):
            ask()
    assert list(there.port.ports(HV01, [WEB01])) == [WEB01]
    assert WEB01 in {vm.id for vm in there.port.shown(HV01).vms}
    assert there.port.pulse(HV01).live == 0


def test_missing_rights_are_reported_with_the_reason(there):
    assert there.port.rights(HV01) is None
    assert "denied" in there.port.rights(HV03)


def test_checking_rights_on_a_silent_host_fails(there):
    there.world.down(there.now, HV01, 60)

    with pytest.raises(VmmUnavailable):
        there.port.rights(HV01)


def test_hosts_that_are_asked_report_their_switches(there):
    fleet = there.observe([HV01, HV03])

    assert [h.switches for h in fleet.hosts] == [("LS-Main",), None, ("LS-Edge",)]
    assert [fleet.vm(vm).switches for vm in (WEB01, EDGE01)] == [("LS-Main",), ("LS-Edge",)]


def refreshed(fleet: Fleet) -> list[float | None]:
    """When VMM last re-read the VMs of each host."""
    return [fleet.age(PartKind.VMS, host.name).asked_at for host in fleet.hosts]


def comparable(fleet: Fleet) -> Fleet:
    """Remove what differs: VMM reports no speed, the ports word the error of a silent host
    differently, and jobs have no order."""
    plain = [replace(h, mb_per_s=None, error=h.error and "silent") for h in fleet.hosts]
    ages = {key: replace(age, error=age.error and "silent") for key, age in fleet.ages.items()}
    jobs = sorted(fleet.jobs, key=lambda job: job.id)
    return replace(fleet, hosts=tuple(plain), jobs=tuple(jobs), ages=ages)


@needs_checks
def test_both_ports_return_the_same_looks_and_networks(begin):
    there = begin(WIRED, parse(FLEET))
    simulated = replace(there, port=SimPort(there.world, there.clock))
    before = there.start(DB01, power="down")
    there.pass_by(601)
    for vm, status in (("web02", "Paused"), ("web03", "CreatingCheckpoint")):
        there.world.power(there.now, vm, status)
    job = there.world.foreign(there.now, "web01", "hv03")
    there.world.backup(there.now, "edge01", 600)
    there.world.down(there.now, HV02, 600)
    there.world.limit(there.now, HV03, 1, 9)
    there.pass_by(60)

    for question in ({}, {"hosts": HOSTS, "jobs": [before, job]}, {"hosts": [HV03]}):
        assert comparable(there.observe(**question)) == comparable(simulated.observe(**question))
    asked = [WEB01, WEB02, DB01, EDGE01]
    for host in (HV01, HV03):
        assert there.networks(host, asked) == simulated.networks(host, asked)
        assert there.port.pulse(host, asked) == simulated.port.pulse(host, asked)
