"""Capacity of a destination, permanent obstacles there, and our rights."""

from __future__ import annotations

import pytest

from engine.model import HyperVState, Result, Vm, Volume, Wait
from engine.policy.starts import preflight
from engine.policy.steps import CheckRights, Finish, Hold, SaveBaselines, Start

GB = 1024


def waits(scene, name="web01"):
    return [(s.wait, s.text) for s in scene.steps(Hold, name)]


def test_a_move_waits_for_memory_and_shows_the_numbers(scene):
    scene.host("hv02", free_memory_mb=3 * GB)

    assert waits(scene) == [
        (
            Wait.ROOM,
            "needs 4 GB of memory but hv02 has only 3 GB after the migrations in flight",
        )
    ]


def test_a_move_waits_for_disk_space_and_shows_the_numbers(scene):
    scene.host("hv02", path=r"D:\VMs", volumes=(Volume("D:", 50 * GB), Volume("E:", 900 * GB)))

    assert waits(scene) == [
        (
            Wait.ROOM,
            "needs 60 GB of space on D: but hv02 has only 50 GB after the migrations in flight",
        )
    ]


def test_the_path_of_the_request_selects_the_volume_that_is_checked(scene):
    scene.host("hv02", path=r"D:\VMs", volumes=(Volume("D:", 50 * GB), Volume("E:", 900 * GB)))
    scene.options(path=r"E:\VMs")

    assert scene.steps(Start, "web01")


def test_a_powered_down_vm_needs_no_memory(scene):
    from engine.model import ApprovalState

    scene.host("hv02", free_memory_mb=0).down().approval(ApprovalState.GRANTED)

    assert scene.steps(Start, "web01")


def test_vms_in_flight_to_a_host_are_subtracted_from_its_capacity(scene):
    """7 GB are free, 4 GB are coming: the next 4 GB do not fit."""
    scene.host("hv02", free_memory_mb=7 * GB, live_limit=4, storage_limit=4)
    scene.add("web02").add("web03")

    assert len(scene.steps(Start)) == 1


def test_vms_that_arrived_since_the_last_refresh_are_subtracted_from_capacity(scene):
    scene.host("hv02", free_memory_mb=7 * GB, refreshed_at=scene.now - 50)
    scene.add("web02").attempt(Result.OK, name="web02", ended=scene.now - 5)

    assert [w for w, _ in waits(scene)] == [Wait.ROOM]
    scene.host("hv02", refreshed_at=scene.now - 1)
    assert scene.steps(Start, "web01")


def test_a_move_takes_the_destination_with_capacity(scene):
    scene.run(destinations=("hv02", "hv03")).host("hv02", free_memory_mb=GB)

    assert [s.order.destination for s in scene.steps(Start)] == ["hv03.corp.example"]


def test_a_move_waits_for_a_slot_if_another_destination_has_capacity(scene):
    scene.run(destinations=("hv02", "hv03")).host("hv02", free_memory_mb=GB)
    scene.host("hv03", live_limit=0)

    assert [w for w, _ in waits(scene)] == [Wait.SLOT]


@pytest.mark.parametrize(("since", "ends"), [(599, False), (600, True)])
def test_the_wait_for_capacity_ends_after_ten_minutes_without_change(since, ends, scene):
    scene.host("hv02", free_memory_mb=GB).waiting(Wait.ROOM, since)
    finished = scene.steps(Finish, "web01")

    assert [f.outcome for f in finished] == (["NO_ROOM"] if ends else [])


def test_the_wait_for_capacity_continues_while_a_vm_is_in_flight_there(scene):
    scene.host("hv02", free_memory_mb=GB).waiting(Wait.ROOM, 9000).host("hv02", live_limit=4)
    scene.vm("x").job("x", source="hv03", target="hv02")

    assert [w for w, _ in waits(scene)] == [Wait.ROOM]


def test_the_ten_minutes_for_capacity_start_when_the_last_migration_there_ended(scene):
    scene.host("hv02", free_memory_mb=GB, refreshed_at=scene.now).waiting(Wait.ROOM, 9000)
    scene.add("web02").attempt(Result.FAILED, name="web02", ended=scene.now - 300)

    assert [w for w, _ in waits(scene)] == [Wait.ROOM]


# --- what it lacks for good ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(
            lambda s: s.vm(switches=("Tenant-B",)).host("hv02", switches=("LS-Main",)),
            'hv02 has no switch "Tenant-B"',
            id="switch",
        ),
        pytest.param(
            lambda s: s.options(path=r"E:\VMs").host("hv02", volumes=(Volume("D:", 9),)),
            "hv02 has no volume E:",
            id="volume of the path",
        ),
        pytest.param(
            lambda s: s.host("hv02", path=r"F:\VMs", volumes=()),
            "hv02 has no volume F:",
            id="volume of the host's own path",
        ),
        pytest.param(
            lambda s: s.rights("hv02", False, "Access denied"), "hv02: Access denied", id="rights"
        ),
    ],
)
def test_a_block_that_needs_a_person_fails_the_move_at_once(change, why, scene, told):
    verdict = change(scene).pending()

    assert told(verdict) == "failed BLOCKED"
    assert verdict.step.sentence == (
        f"web01 cannot move: {why}. It is still on hv01, and its network is unchanged."
    )


def test_a_blocked_move_fails_before_any_approval_or_backup_wait(scene, told):
    scene.vm(switches=("X",), hyperv_state=HyperVState.OFF).move(power="down")
    scene.host("hv02", switches=())

    assert told(scene.pending()) == "failed BLOCKED"


def test_switch_names_are_not_case_sensitive_and_unknown_switches_block_no_move(scene, told):
    scene.vm(switches=("ls-main",))

    assert told(scene.host("hv02", switches=("LS-Main",)).pending()) == "starts live"
    assert told(scene.host("hv02", switches=None).pending()) == "starts live"


@pytest.mark.parametrize(
    ("word", "why", "short"),
    [
        ("replica", "it is a replica copy", "replica copy"),
        ("ha", "it is highly available", "highly available"),
        ("pass_through", "it has a pass-through disk", "pass-through disk"),
        ("shared_disk", "it shares a virtual disk", "shared disk"),
        (
            "fibre_channel",
            "it has a virtual fibre channel adapter",
            "virtual fibre channel adapter",
        ),
        ("gpu", "gpu", "gpu"),
    ],
)
def test_a_blocked_move_explains_its_block_in_words(word, why, short, scene, told):
    verdict = scene.vm(blocks=(word,)).pending()

    assert told(verdict) == "failed BLOCKED"
    assert f"stand-alone hosts: {why}." in verdict.step.sentence
    blocked = Vm("id", "web01", "hv01", "Running", blocks=(word, "gpu"))
    assert preflight.block_in_short(blocked) == f"{short}, gpu"
    assert verdict.step.next


def test_a_replica_that_no_host_shows_is_blocked_rather_than_missing(scene, told):
    assert told(scene.seen_on().vm(blocks=("replica",)).pending()) == "failed BLOCKED"


# --- rights ------------------------------------------------------------------------------------


def test_rights_are_checked_on_every_host_before_the_first_start(scene):
    scene.knowing(rights={}).no_baseline()
    planned = scene.plan().steps

    assert [s.host for s in planned if isinstance(s, CheckRights)] == [
        "hv01.corp.example",
        "hv02.corp.example",
    ]
    assert [type(s) for s in planned if isinstance(s, SaveBaselines | Start)] == [SaveBaselines]


def test_no_move_starts_before_the_rights_are_known(scene):
    scene.knowing(rights={})

    assert scene.steps(Start) == []


def test_rights_found_before_the_run_began_are_checked_again(scene):
    scene.run(started=scene.now + 1)

    assert len(scene.steps(CheckRights)) == 2
    assert scene.steps(Start) == []


def test_a_vm_on_a_host_without_rights_fails_because_no_baseline_can_be_saved(scene, told):
    verdict = scene.rights("hv01", False, "Access denied").pending()

    assert told(verdict) == "failed BLOCKED"
    assert "network cannot be saved" in verdict.step.sentence


@pytest.mark.parametrize("host", ["hv01", "hv02"])
def test_a_move_waits_for_unknown_rights_and_checks_them_again(host, scene, told):
    scene.rights(host, None, "no answer")

    assert told(scene.pending()) == "waits HOST_DOWN"
    assert scene.steps(CheckRights) == []
    assert [s.host for s in scene.later(15).steps(CheckRights)] == [f"{host}.corp.example"]
