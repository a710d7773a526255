"""Compare and start, through both ports: migrations that start, and refusals with their reasons."""

from dataclasses import replace

import pytest

from engine.errors import (
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from engine.model import Network
from engine.sim.fleet_file import parse
from tests.contract.conftest import (
    DB01,
    FLEET,
    HOSTS,
    HV01,
    HV02,
    HV03,
    NOBODY,
    WEB01,
    WEB02,
    WEB03,
    WIRED,
    Scene,
)
from tests.powershell.pwsh import needs_checks


def fails(there: Scene, kind: type[VmmError], *place: str, **more: object) -> VmmError:
    """Check that a start fails with exactly this error, and that nothing began."""
    with pytest.raises(VmmError) as caught:
        there.start(*place, **more)
    assert type(caught.value) is kind
    assert not [m for m in there.world.state.open if m.ours]
    return caught.value


def test_a_running_vm_moves_live(there):
    job = there.start()

    (running,) = there.observe().jobs
    assert (running.id, running.vm_id, running.state) == (job, WEB01, "running")
    there.pass_by(600)
    assert there.places(WEB01) == [HV02]
    assert there.observe(HOSTS).vm(WEB01).vmm_host == HV02
    assert list(there.networks(HV02, [WEB01])[WEB01].adapters) == there.nics(WEB01)


def test_a_powered_down_vm_keeps_its_pinned_network(there):
    before = list(there.nics(DB01))
    pin = Network(tuple(nic for nic in before if nic.connected))

    job = there.start(DB01, power="down", pin=pin)
    there.pass_by(600)

    assert there.observe(jobs=[job]).job(job).state == "completed"
    assert there.places(DB01) == [HV02]
    assert there.nics(DB01) == before


def test_an_unpinned_adapter_loses_its_connection(there):
    before = list(there.nics(DB01))

    there.start(DB01, power="down", pin=Network((before[1],)))
    there.pass_by(600)

    assert [nic.connected for nic in there.nics(DB01)] == [False, True, False]


def test_a_pin_restores_a_lost_subnet_and_classification(there):
    before = list(there.nics(DB01))
    there.nics(DB01)[1] = replace(before[1], network=None, subnet=None, classification=None)

    there.start(DB01, power="down", pin=Network((before[0], before[1])))
    there.pass_by(600)

    assert there.nics(DB01) == before


def test_a_pinned_trunk_arrives_untagged_and_not_as_an_access_vlan(there):
    saved = replace(there.nics(DB01)[1], vlan=0, trunk=(20, 30), native_vlan=20)
    there.nics(DB01)[1] = saved

    there.start(DB01, power="down", pin=Network((saved,)))
    there.pass_by(600)

    nic = there.nics(DB01)[1]
    assert (nic.vlan, nic.trunk, nic.switch) == (0, (), "LS-Main")


def test_the_pin_of_a_refused_move_does_not_apply_to_a_later_move(there):
    pin = Network(tuple(nic for nic in there.nics(DB01) if nic.connected))
    there.world.lock(there.now, HV02, 30)
    fails(there, VmmLocked, DB01, power="down", pin=pin)
    there.pass_by(31)

    there.start(DB01, power="down")
    there.pass_by(600)

    assert [nic.connected for nic in there.nics(DB01)] == [False, False, False]


def test_host_names_of_a_start_are_not_case_sensitive(there):
    there.start(WEB01, HV01.upper(), HV02.upper())
    there.pass_by(600)

    assert there.places(WEB01) == [HV02]


def test_a_vm_that_is_not_on_the_named_source_is_not_moved(there):
    error = fails(there, VmmStale, WEB01, HV03, HV02)

    assert error.happened is False
    assert "web01 is not on hv03" in str(error)


def test_a_vm_that_left_its_source_unnoticed_by_vmm_is_not_moved(lying):
    there = lying('status_stale = ["1h", "1h"]')
    there.world.foreign(there.now, "web01", "hv02")
    there.pass_by(700)
    assert there.observe().vm(WEB01).vmm_host == HV01

    assert "web01 is not on hv01" in str(fails(there, VmmStale))


def test_a_running_vm_is_not_moved_as_a_powered_down_one(there):
    assert "web01 is Running, not down" in str(fails(there, VmmStale, power="down"))


def test_a_powered_down_vm_is_not_moved_as_a_running_one(there):
    assert "db01 is Off, not running" in str(fails(there, VmmStale, DB01))


def test_a_vm_shut_down_unnoticed_by_vmm_is_not_moved_as_a_running_one(lying):
    there = lying('status_stale = ["1h", "1h"]')
    there.world.power(there.now, "web01", "PowerOff")

    assert "web01 is Off, not running" in str(fails(there, VmmStale))


@pytest.mark.parametrize("status", ["Saved", "Paused"])
def test_a_saved_or_paused_vm_counts_as_powered_down(there, status):
    there.world.power(there.now, "web01", status)

    fails(there, VmmStale)
    assert there.start(power="down")


@pytest.mark.parametrize("power", ["running", "down"])
def test_a_vm_between_two_power_states_is_moved_neither_live_nor_cold(there, power):
    there.world.power(there.now, "web01", "Saving")

    fails(there, VmmStale, power=power)


def test_a_moving_vm_is_not_moved_again(there):
    there.world.foreign(there.now, "web01", "hv03")

    assert "A migration of web01" in str(fails(there, VmmStale))


def test_a_deleted_or_unknown_vm_is_not_moved(there):
    assert f"{NOBODY} is gone" in str(fails(there, VmmStale, NOBODY))
    there.world.delete(there.now, "web03")
    assert f"{WEB03} is gone" in str(fails(there, VmmStale, WEB03))


def test_a_start_is_void_after_its_deadline_on_the_clock_of_vmm(there):
    on_time = there.now + 40
    there.pass_by(7)

    assert "came 7 s after its deadline" in str(fails(there, VmmStale, not_after=on_time))
    assert there.start(not_after=on_time + 7)


def test_a_third_move_finds_no_slot_and_is_never_queued(there):
    there.start(WEB01)
    there.start(WEB02)

    with pytest.raises(VmmBusy) as caught:
        there.start(WEB03)

    assert caught.value.happened is False
    assert {job.vm_id for job in there.observe().jobs} == {WEB01, WEB02}
    there.pass_by(2000)
    assert there.places(WEB03) == [HV01]


def test_a_start_to_a_full_destination_is_refused_as_busy(there):
    there.world.limit(there.now, HV02, 1)
    there.start(WEB01)

    with pytest.raises(VmmBusy):
        there.start(WEB02)


@pytest.mark.parametrize("host", [HV01, HV02])
def test_a_start_fails_while_either_host_is_locked_and_succeeds_afterwards(there, host):
    there.world.lock(there.now, host, 60)

    error = fails(there, VmmLocked)

    assert (error.happened, error.code) == (False, "2606")
    there.pass_by(60)
    assert there.start()


@pytest.mark.parametrize("host", [HV01, HV02])
def test_a_start_with_a_silent_host_may_have_happened(there, host):
    there.world.down(there.now, host, 60)

    assert fails(there, VmmUnavailable).happened is None


def test_a_start_while_vmm_is_down_may_have_happened(there):
    there.world.down(there.now, "vmm", 60)

    assert fails(there, VmmUnavailable).happened is None


def test_a_refusal_of_vmm_keeps_its_error_number(lying):
    there = lying("refused = 1.0")

    error = fails(there, VmmRefused)

    assert (error.happened, error.code) == (False, "12711")
    assert "VMM refused to migrate 'web01'" in str(error)


def test_an_unknown_destination_is_refused_by_name(there):
    assert "hv77.corp.example" in str(fails(there, VmmRefused, WEB01, HV01, "hv77.corp.example"))


def test_a_vm_in_a_failed_state_is_refused(there):
    there.world.power(there.now, "web01", "UpdateFailed")

    assert "UpdateFailed" in str(fails(there, VmmRefused))


def test_a_start_whose_answer_is_lost_may_have_happened(lying):
    there = lying("timeout_after = 1.0")

    with pytest.raises(VmmUnavailable) as caught:
        there.start()

    assert caught.value.happened is None
    there.pass_by(600)
    assert there.places(WEB01) == [HV02]


def test_a_start_lost_before_vmm_did_not_happen(lying):
    there = lying("timeout_before = 1.0")

    fails(there, VmmUnavailable)
    there.pass_by(600)

    assert there.places(WEB01) == [HV01]


@needs_checks
def test_a_move_uses_the_requested_folder_or_else_the_first_folder_of_the_host(begin, wire):
    there = begin(WIRED, parse(FLEET))

    there.start(WEB01, path="F:\\VM's $(x); `n")
    there.start(WEB02)

    assert [call.bound["Path"] for call in wire.calls("Move-SCVirtualMachine")] == [
        "F:\\VM's $(x); `n",
        "E:\\Machines",
    ]


@needs_checks
def test_the_move_is_neither_queued_nor_waited_for(begin, wire):
    there = begin(WIRED, parse(FLEET))

    there.start()

    (call,) = wire.calls("Move-SCVirtualMachine")
    assert call.bound["BlockLiveMigrationIfHostBusy"]
    assert call.bound["RunAsynchronously"]
    assert "StartVMOnTarget" not in call.bound
