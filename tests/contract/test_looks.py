"""Looks and guarded changes through both ports, each alone."""

from dataclasses import replace

import pytest

from engine.errors import VmmRefused, VmmStale
from engine.model import Acl, AdapterRepair, Expected, HostMigration, Network, Repair, Reread
from tests.contract.conftest import (
    DB01,
    HOSTS,
    HV01,
    HV02,
    NOBODY,
    WEB01,
    WEB02,
    Scene,
)

RULE = Acl("Allow", "Inbound", 77)


def by(there: Scene, seconds: float = 60) -> float:
    """A deadline on VMM's clock."""
    return there.now + there.world.state.skew + seconds


def test_a_migration_is_seen_by_jobs_and_by_the_pulse_of_both_hosts(there):
    job = there.start()
    there.pass_by(60)
    jobs = there.port.jobs([job, NOBODY])
    source = there.port.pulse(HV01, [WEB01, NOBODY])
    destination = there.port.pulse(HV02, [WEB01])

    assert [(one.id, one.vm_id, one.source, one.target) for one in jobs.jobs] == [
        (job, WEB01, HV01, HV02)
    ]
    assert (jobs.server_time, jobs.unknown) == (by(there, 0), (NOBODY,))
    assert source.migrations == (HostMigration(WEB01, HV02, 10),)
    assert [vm.id for vm in source.vms] == [WEB01]
    assert (source.time, source.live, source.live_enabled) == (there.now, 1, True)
    assert (destination.vms, destination.live, destination.live_limit) == ((), 1, 4)


def test_looks_at_nothing_are_empty(there):
    assert there.port.jobs().jobs == ()
    assert there.port.pulse(HV01).vms == ()


def test_vmm_and_hyperv_agree_about_a_host_at_rest(there):
    known, shown, site = there.port.known(HV01), there.port.shown(HV01), there.port.site()

    assert known.host == site.hosts[0]
    assert [host.name for host in site.hosts] == list(HOSTS)
    assert site.vms == ()
    assert {vm.id for vm in known.vms} == {vm.id for vm in shown.vms}
    assert (shown.live_limit, shown.switches) == (2, ("LS-Main",))


def test_an_unknown_host_is_refused(there):
    with pytest.raises(VmmRefused):
        there.port.known("hv99.corp.example")


@pytest.mark.parametrize(
    ("what", "name"), [(Reread.VMS, HV01), (Reread.VM, WEB01), (Reread.HOST, HV01)]
)
def test_a_reread_is_a_job_that_jobs_shows(there, what, name):
    job = there.port.reread(what, name, by(there))
    (shown,) = there.port.jobs([job]).jobs

    assert (shown.vm_id, shown.state) == ("", "completed")
    with pytest.raises(VmmStale):
        there.port.reread(what, name, by(there, -1))


def test_only_a_reread_of_vms_shows_where_a_vm_is(there):
    there.world.state.vms[WEB01].vmm_host = HV02
    there.port.reread(Reread.HOST, HV01, by(there))
    assert WEB01 not in {vm.id for vm in there.port.known(HV01).vms}
    there.port.reread(Reread.VMS, HV01, by(there))

    assert WEB01 in {vm.id for vm in there.port.known(HV01).vms}


def test_both_halves_of_a_lost_network_are_restored_each_alone(there):
    nics = there.nics(WEB02)
    nics[0] = replace(nics[0], network=None, switch=None, acls=())
    one = AdapterRepair(nics[0].id, nics[0].mac, "VM-Net-20", "LS-Main", acls=(RULE,))
    repair = Repair(HV01, (one,))
    there.port.put_ports(WEB02, repair, Expected(HV01, there.now + 60))
    half = there.nics(WEB02)[0]
    there.port.put_models(WEB02, repair, Expected(HV01, by(there)))
    whole = there.nics(WEB02)[0]

    assert (half.network, half.acls) == (None, (RULE,))
    assert (whole.network, whole.switch, whole.acls) == ("VM-Net-20", "LS-Main", (RULE,))
    assert there.port.ports(HV01, [WEB02])[WEB02].adapters[0].acls == (RULE,)
    assert there.port.models([WEB02])[WEB02].adapters[0].network == "VM-Net-20"
    assert there.networks(HV01, [WEB02]) == {WEB02: Network(tuple(there.nics(WEB02)))}


def test_a_failed_job_is_cleared_only_where_the_vm_is(there):
    there.world.power(there.now, "web01", "MigrationFailed")
    with pytest.raises(VmmStale):
        there.port.clear(WEB01, Expected(HV02, by(there)))
    there.port.clear(WEB01, Expected(HV01, by(there)))

    assert {vm.id: vm.status for vm in there.port.known(HV01).vms}[WEB01] == "Running"


def test_a_move_is_stopped_before_its_deadline_only(there):
    job = there.start(DB01, power="down", pin=Network(tuple(there.nics(DB01)[:2])))
    with pytest.raises(VmmStale):
        there.port.stop(job, by(there, -1))
    there.port.stop(job, by(there))

    assert there.port.jobs([job]).jobs[0].state == "canceled"
