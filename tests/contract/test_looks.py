"""Looks and guarded changes through a real PowerShell: parameters and answers fit."""

from dataclasses import replace

import pytest

from engine.errors import VmmRefused, VmmStale
from engine.model import Acl, AdapterRepair, Expected, HostMigration, Network, Repair, Reread
from engine.sim.fleet_file import parse
from tests.contract.conftest import (
    DB01,
    FLEET,
    HOSTS,
    HV01,
    HV02,
    NOBODY,
    WEB01,
    WEB02,
    WIRED,
    Begin,
    Scene,
)
from tests.powershell.pwsh import needs_checks

pytestmark = needs_checks

RULE = Acl("Allow", "Inbound", 77)


@pytest.fixture
def wired(begin: Begin) -> Scene:
    return begin(WIRED, parse(FLEET))


def by(wired: Scene, seconds: float = 60) -> float:
    """A deadline on VMM's clock."""
    return wired.now + wired.world.state.skew + seconds


def test_a_migration_is_seen_by_jobs_and_by_the_pulse_of_both_hosts(wired):
    job = wired.start()
    wired.pass_by(60)
    jobs = wired.port.jobs([job, NOBODY])
    source = wired.port.pulse(HV01, [WEB01, NOBODY])
    destination = wired.port.pulse(HV02, [WEB01])

    assert [(one.id, one.vm_id, one.source, one.target) for one in jobs.jobs] == [
        (job, WEB01, HV01, HV02)
    ]
    assert (jobs.server_time, jobs.unknown) == (by(wired, 0), (NOBODY,))
    assert source.migrations == (HostMigration(WEB01, HV02, 10),)
    assert [vm.id for vm in source.vms] == [WEB01]
    assert (source.time, source.live, source.live_enabled) == (wired.now, 1, True)
    assert (destination.vms, destination.live, destination.live_limit) == ((), 1, 4)


def test_looks_at_nothing_are_empty(wired):
    assert wired.port.jobs().jobs == ()
    assert wired.port.pulse(HV01).vms == ()


def test_vmm_and_hyperv_agree_about_a_host_at_rest(wired):
    known, shown, site = wired.port.known(HV01), wired.port.shown(HV01), wired.port.site()

    assert known.host == site.hosts[0]
    assert [host.name for host in site.hosts] == list(HOSTS)
    assert site.vms == ()
    assert {vm.id for vm in known.vms} == {vm.id for vm in shown.vms}
    assert (shown.live_limit, shown.switches) == (2, ("LS-Main",))


def test_an_unknown_host_is_refused(wired):
    with pytest.raises(VmmRefused):
        wired.port.known("hv99.corp.example")


@pytest.mark.parametrize(
    ("what", "name"), [(Reread.VMS, HV01), (Reread.VM, WEB01), (Reread.HOST, HV01)]
)
def test_a_reread_is_a_job_that_jobs_shows(wired, what, name):
    job = wired.port.reread(what, name, by(wired))
    (shown,) = wired.port.jobs([job]).jobs

    assert (shown.vm_id, shown.state) == ("", "completed")
    with pytest.raises(VmmStale):
        wired.port.reread(what, name, by(wired, -1))


def test_only_a_reread_of_vms_shows_where_a_vm_is(wired):
    wired.world.state.vms[WEB01].vmm_host = HV02
    wired.port.reread(Reread.HOST, HV01, by(wired))
    assert WEB01 not in {vm.id for vm in wired.port.known(HV01).vms}
    wired.port.reread(Reread.VMS, HV01, by(wired))

    assert WEB01 in {vm.id for vm in wired.port.known(HV01).vms}


def test_both_halves_of_a_lost_network_are_restored_each_alone(wired):
    nics = wired.nics(WEB02)
    nics[0] = replace(nics[0], network=None, switch=None, acls=())
    one = AdapterRepair(nics[0].id, nics[0].mac, "VM-Net-20", "LS-Main", acls=(RULE,))
    repair = Repair(HV01, (one,))
    wired.port.put_ports(WEB02, repair, Expected(HV01, wired.now + 60))
    half = wired.nics(WEB02)[0]
    wired.port.put_models(WEB02, repair, Expected(HV01, by(wired)))
    whole = wired.nics(WEB02)[0]

    assert (half.network, half.acls) == (None, (RULE,))
    assert (whole.network, whole.switch, whole.acls) == ("VM-Net-20", "LS-Main", (RULE,))
    assert wired.port.ports(HV01, [WEB02])[WEB02].adapters[0].acls == (RULE,)
    assert wired.port.models([WEB02])[WEB02].adapters[0].network == "VM-Net-20"
    assert wired.port.networks(HV01, [WEB02]) == {WEB02: Network(tuple(wired.nics(WEB02)))}


def test_a_failed_job_is_cleared_only_where_the_vm_is(wired):
    wired.world.power(wired.now, "web01", "MigrationFailed")
    with pytest.raises(VmmStale):
        wired.port.clear(WEB01, Expected(HV02, by(wired)))
    wired.port.clear(WEB01, Expected(HV01, by(wired)))

    assert {vm.id: vm.status for vm in wired.port.known(HV01).vms}[WEB01] == "Running"


def test_a_move_is_stopped_before_its_deadline_only(wired):
    job = wired.start(DB01, power="down", pin=Network(tuple(wired.nics(DB01)[:2])))
    with pytest.raises(VmmStale):
        wired.port.stop(job, by(wired, -1))
    wired.port.stop(job, by(wired))

    assert wired.port.jobs([job]).jobs[0].state == "canceled"
