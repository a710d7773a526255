"""Looks over the wire, each on its own, and changes that say what they expect."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from engine.errors import ContractError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    Expected,
    HostMigration,
    HyperVState,
    JobList,
    MoveOrder,
    Network,
    Repair,
    Reread,
    Volume,
    join_halves,
)
from tests.hangs import HANGS
from tests.wire.endpoint import Reaction
from tests.wire.wired import FLEET, HV1, HV2, HV3, Wired
from tests.wire.world import bad, good

WEB, DB = "web01", "db 01; Stop-Computer $(x)"
SKEW = 7


def start(wired: Wired, name: str = WEB) -> str | None:
    """Start a move of a VM from the first host to the second one, and say so in the world."""
    power = "running" if name == WEB else "down"
    until = wired.clock.now() + SKEW + 60
    return wired.port.start_move(
        MoveOrder(wired.vm(name), HV1, HV2, None, power, None if name == WEB else Network(), until)
    )


def expected(wired: Wired, host: str = HV1, seconds: float = 60, skew: float = SKEW) -> Expected:
    return Expected(host, wired.clock.now() + skew + seconds)


def asked(endpoint) -> list[str]:
    return [one.function for one in endpoint.asked]


# --- VMM --------------------------------------------------------------------------------------


def test_jobs_are_one_call_to_vmm_and_none_to_a_host(wired):
    job = start(wired)
    wired.vmm.asked.clear()
    found = wired.port.jobs([job, "gone"])
    (shown,) = found.jobs

    assert (shown.id, shown.vm_id, shown.state) == (job, wired.vm(WEB), "running")
    assert (shown.source, shown.started) == (HV1, wired.clock.now())
    assert found.server_time == wired.clock.now() + SKEW
    assert found.unknown == ("gone",)
    assert asked(wired.vmm) == ["Get-VmfJobs"]
    assert all(host.asked == [] for host in wired.hosts.values())


def test_no_job_is_an_empty_list(wired):
    assert wired.port.jobs() == JobList(wired.clock.now() + SKEW)
    assert wired.vmm.asked[-1]["Ids"] is None


def test_a_job_that_failed_has_vmms_words_and_number(wired):
    row = {
        "id": "j1", "vm_id": "", "source": None, "target": None, "state": "failed", "progress": 5,
        "error": "The host is locked", "code": "2606", "started": None, "ended": None,
    }  # fmt: skip
    told = {"server_time": "2026-01-05T22:00:00Z", "jobs": [row], "unknown": [], "unread": []}
    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfJobs"] = lambda asked: good(told)

    (job,) = wired.port.jobs(["j1"]).jobs
    assert (job.error, job.vm_id) == ("The host is locked (2606)", "")


def test_jobs_never_wait_for_other_calls(wired):
    over, begun = threading.Event(), threading.Semaphore(0)

    def hangs(asked):
        begun.release()
        over.wait(HANGS)
        return good({"hosts": [], "vms": []})

    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfSite"] = hangs
    number = wired.settings.vmm.sessions
    with ThreadPoolExecutor(number) as pool:
        others = [pool.submit(wired.port.site) for _ in range(number)]
        assert all(begun.acquire(timeout=HANGS) for _ in range(number - 1))
        assert wired.port.jobs().jobs == ()
        assert not begun.acquire(blocking=False)
        over.set()
        for other in others:
            other.result()


def test_an_inventory_is_one_host_and_its_vms_as_vmm_knows_them(wired):
    found = wired.port.known(HV2)
    (vm,) = found.vms

    assert (found.host.name, found.host.live_limit, found.host.mb_per_s) == (HV2, 1, None)
    assert found.host.error is None
    assert all(isinstance(one, Volume) for one in found.host.volumes or ())
    assert (vm.name, vm.host, vm.status, vm.blocks) == ("web03", HV2, "Running", ("pass_through",))
    assert asked(wired.vmm) == ["Get-VmfInventory"]


def test_a_host_that_vmm_does_not_reach_has_vmms_own_words(wired):
    wired.world.down(wired.clock.now(), HV1, 60)

    assert "was lost (2916)" in wired.port.known(HV1).host.error
    assert wired.port.known(HV2).host.error is None


def test_a_host_without_an_answer_and_without_words_has_an_error(wired):
    host = {
        "name": HV1, "live_limit": 2, "storage_limit": 2, "responding": False, "error": None,
        "maintenance": False, "path": None, "free_memory_mb": None, "volumes": None,
    }  # fmt: skip
    told = {"host": host, "vms": []}
    wired.vmm.modules["VMFerry.Vmm"]["Get-VmfInventory"] = lambda asked: good(told)

    assert wired.port.known(HV1).host.error == f"VMM gets no answer from {HV1}"


def test_an_unknown_host_is_refused(wired):
    with pytest.raises(VmmRefused):
        wired.port.known("hv99.corp.example")


def test_a_site_holds_all_hosts_and_the_vms_on_none_of_them(ground):
    stored = '[[vm]]\nname = "old01"\nhost = "hv02"\nstatus = "Stored"\n'
    wired = Wired(ground, FLEET.replace("[lies]", f"{stored}[lies]"))
    found = wired.port.site()

    assert [host.name for host in found.hosts] == [HV1, HV2, HV3]
    assert [host.maintenance for host in found.hosts] == [False, False, True]
    assert [(vm.name, vm.stored) for vm in found.vms] == [("old01", True)]


def test_looks_at_vmm_fail_while_vmm_is_silent(wired):
    wired.vmm.on = lambda message: Reaction(cut="before")
    looks = (wired.port.jobs, wired.port.site, lambda: wired.port.known(HV1))
    for look in (*looks, lambda: wired.port.models([wired.vm(WEB)])):
        with pytest.raises(VmmUnavailable):
            look()


# --- hosts ------------------------------------------------------------------------------------


def test_a_pulse_is_one_call_to_the_host_and_none_to_vmm(wired):
    start(wired)
    wired.clock.jump(wired.clock.now() + 60)
    wired.vmm.asked.clear()
    found = wired.port.pulse(HV1, [wired.vm(WEB), "nobody"])
    (vm,) = found.vms

    assert (found.host, found.time) == (HV1, wired.clock.now())
    assert found.migrations == (HostMigration(wired.vm(WEB), HV2, 50),)
    assert (found.live, found.storage) == (1, 1)
    assert (found.live_limit, found.storage_limit, found.live_enabled) == (2, 2, True)
    assert (vm.id, vm.state, vm.switches) == (wired.vm(WEB), HyperVState.RUNNING, None)
    assert "MigratingVirtualMachine" in vm.status
    assert (asked(wired.hosts[HV1]), wired.vmm.asked) == (["Get-VmfPulse"], [])


def test_counters_that_cannot_be_read_are_unknown(wired):
    names = ("live", "storage", "live_limit", "storage_limit", "live_enabled")
    told = {"time": "2026-01-05T22:00:00Z", "vms": [], "migrations": [], **dict.fromkeys(names)}
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfPulse"] = lambda asked: good(told)
    found = wired.port.pulse(HV1)

    assert [getattr(found, name) for name in names] == [None] * 5


def test_a_pulse_without_a_required_field_is_refused_and_the_field_is_named(wired):
    told = {"time": "2026-01-05T22:00:00Z", "vms": [], "migrations": []}
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfPulse"] = lambda asked: good(told)

    with pytest.raises(ContractError, match=f"Get-VmfPulse on {HV1}: live: Field required"):
        wired.port.pulse(HV1)


def test_all_vms_of_a_host_are_shown_with_limits_and_switches(wired):
    found = wired.port.shown(HV1)

    assert (found.host, found.live_limit, found.storage_limit) == (HV1, 2, 2)
    assert "LS-Main" in found.switches
    assert [(vm.name, vm.state, vm.switches) for vm in found.vms] == [
        (WEB, HyperVState.RUNNING, ("LS-Main",)),
        (DB, HyperVState.OFF, ("LS-Main",)),
    ]
    assert wired.vmm.asked == []


def test_a_word_for_a_state_that_vmferry_does_not_know_is_other(wired):
    row = {"id": "ID-1", "name": "a", "state": "FastSaving", "status": [], "replica": True}
    told = {"live_limit": 2, "storage_limit": 2, "switches": None}
    told["vms"] = [row | {"switches": None}]
    wired.hosts[HV1].modules["VMFerry.Host"]["Get-VmfHostState"] = lambda asked: good(told)
    found = wired.port.shown(HV1)

    assert (found.switches, found.vms[0].state) == (None, HyperVState.OTHER)
    assert found.vms[0].replica


@pytest.mark.parametrize("look", ["pulse", "shown"])
def test_a_look_at_a_silent_host_fails(wired, look):
    wired.hosts[HV1].on = lambda message: Reaction(cut="before")

    with pytest.raises(VmmUnavailable):
        getattr(wired.port, look)(HV1)


# --- networks ---------------------------------------------------------------------------------


def test_ports_are_hyperv_s_half_and_models_are_vmm_s(wired):
    vm = wired.vm(WEB)
    nics = wired.world.state.vms[vm].nics
    bare = dict.fromkeys(("network", "subnet", "classification", "port_acl"))
    keys = ("id", "mac", *bare)

    assert wired.port.ports(HV1, [vm, "nobody"]) == {
        vm: Network(tuple(replace(nic, **bare) for nic in nics))
    }
    assert wired.vmm.asked == []
    assert wired.port.models([vm, "nobody"]) == {
        vm: Network(tuple(Adapter(**{key: getattr(nic, key) for key in keys}) for nic in nics))
    }
    assert asked(wired.hosts[HV1]) == ["Get-VmfHostNetwork"]


def test_both_halves_together_are_the_network(wired):
    vms = [wired.vm(WEB), wired.vm(DB)]
    ports, models = wired.port.ports(HV1, vms), wired.port.models(vms)

    for vm in vms:
        whole = Network(tuple(wired.world.state.vms[vm].nics))
        assert join_halves(ports[vm], models[vm]) == whole


def test_vms_on_another_host_have_no_ports(wired):
    assert wired.port.ports(HV2, [wired.vm(WEB)]) == {}


# --- changes ----------------------------------------------------------------------------------

RULE = Acl("Allow", "Inbound", 77)


def repair(wired: Wired, name: str = WEB) -> Repair:
    """One setting of each side."""
    nic = wired.world.state.vms[wired.vm(name)].nics[0]
    return Repair(HV1, (AdapterRepair(nic.id, nic.mac, network="VM-Net-10", acls=(RULE,)),))


def lose(wired: Wired) -> None:
    there = wired.world.state.vms[wired.vm(WEB)]
    there.nics[0] = replace(there.nics[0], network=None, acls=())


def test_each_side_restores_only_its_own_half(wired):
    lose(wired)
    nics = wired.world.state.vms[wired.vm(WEB)].nics
    wired.port.put_ports(wired.vm(WEB), repair(wired), expected(wired, skew=0))
    assert (nics[0].network, nics[0].acls) == (None, (RULE,))
    assert wired.vmm.asked == []
    wired.port.put_models(wired.vm(WEB), repair(wired), expected(wired))

    assert (nics[0].network, nics[0].acls) == ("VM-Net-10", (RULE,))
    assert asked(wired.hosts[HV1]) == ["Add-VmfHostPort"]
    assert asked(wired.vmm) == ["Repair-VmfModel"]


def test_a_side_with_nothing_to_restore_is_not_called(wired):
    nothing = Repair(HV1, (AdapterRepair("a"),))
    wired.port.put_ports("vm", nothing, expected(wired))
    wired.port.put_models("vm", nothing, expected(wired))

    assert wired.vmm.asked == wired.hosts[HV1].asked == []


def put_ports(wired: Wired, expected: Expected) -> None:
    wired.port.put_ports(wired.vm(WEB), repair(wired), expected)


def put_models(wired: Wired, expected: Expected) -> None:
    wired.port.put_models(wired.vm(WEB), repair(wired), expected)


def clear(wired: Wired, expected: Expected) -> None:
    wired.port.clear(wired.vm(WEB), expected)


every = pytest.mark.parametrize("change", [put_ports, put_models, clear])


@every
def test_a_change_that_is_late_is_stale(wired, change):
    skew = 0 if change is put_ports else SKEW
    with pytest.raises(VmmStale):
        change(wired, expected(wired, seconds=-1, skew=skew))


@every
def test_a_change_of_a_vm_on_another_host_is_stale(wired, change):
    with pytest.raises(VmmStale):
        change(wired, expected(wired, host=HV2))


@every
def test_a_change_of_a_migrating_vm_is_stale(wired, change):
    start(wired)
    with pytest.raises(VmmStale):
        change(wired, expected(wired))


def test_a_failed_job_is_cleared(wired):
    wired.world.power(wired.clock.now(), WEB, "MigrationFailed")
    clear(wired, expected(wired))

    assert wired.port.known(HV1).vms[0].status == "Running"
    assert wired.vmm.asked[0]["HostName"] == HV1


def test_a_move_is_stopped_before_its_deadline_only(wired):
    job = start(wired)
    with pytest.raises(VmmStale):
        wired.port.stop(job, wired.clock.now() + SKEW - 1)
    assert len(wired.world.state.open) == 1
    wired.port.stop(job, wired.clock.now() + SKEW + 60)

    assert wired.world.state.open == []
    assert wired.vmm.asked[-1].function == "Stop-VmfMove"


@pytest.mark.parametrize(
    ("what", "word"), [(Reread.VMS, "vms"), (Reread.VM, "vm"), (Reread.HOST, "host")]
)
def test_a_reread_returns_its_job_whose_end_a_look_at_jobs_shows(wired, what, word):
    name = wired.vm(WEB) if what is Reread.VM else HV1
    job = wired.port.reread(what, name, wired.clock.now() + SKEW + 60)
    (shown,) = wired.port.jobs([job]).jobs

    assert (shown.id, shown.vm_id, shown.state) == (job, "", "completed")
    assert (wired.vmm.asked[0]["What"], wired.vmm.asked[0]["Name"]) == (word, name)


def test_a_reread_that_is_late_is_stale(wired):
    with pytest.raises(VmmStale):
        wired.port.reread(Reread.VMS, HV1, wired.clock.now())


def test_a_reread_of_a_locked_host_is_locked_or_its_job_has_failed(wired):
    wired.world.lock(wired.clock.now(), HV1, 60)
    until = wired.clock.now() + SKEW + 60
    (shown,) = wired.port.jobs([wired.port.reread(Reread.HOST, HV1, until)]).jobs
    assert shown.state == "failed"
    assert "(2606)" in shown.error

    ours = wired.vmm.modules["VMFerry.Vmm"]
    ours["Start-VmfReread"] = lambda asked: bad("locked", f"{HV1} is locked", "2606")
    with pytest.raises(VmmLocked, match=r"is locked \(2606\)"):
        wired.port.reread(Reread.HOST, HV1, until)
