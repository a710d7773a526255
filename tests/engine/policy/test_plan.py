"""The plan across moves and runs: slots, order, baselines, questions, adoption, the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from engine.model import (
    Acl,
    Adapter,
    ApprovalState,
    AttemptKind,
    HyperVState,
    Look,
    MoveState,
    Network,
    Outcome,
    PartKind,
    Result,
    RunState,
    Wait,
)
from engine.policy.approvals import approval
from engine.policy.judging import arrival
from engine.policy.plan import plan
from engine.policy.runs import emptiness
from engine.policy.starts import estimate, ordering, slots
from engine.policy.steps import (
    Adopt,
    Ask,
    Expire,
    Finish,
    Hold,
    Quiet,
    SaveBaselines,
    SeeCalm,
    SeeEmpty,
    SeePower,
    SetRunState,
    Start,
)
from tests.fleets import HOSTS, REREADS, age

HV01, HV02, HV03 = (f"{name}.corp.example" for name in ("hv01", "hv02", "hv03"))
HOUR = 3600.0


def started(scene) -> list[str]:
    return [step.move.vm for step in scene.steps(Start)]


def held(scene, name: str) -> Hold:
    [step] = [s for s in scene.steps(Hold) if s.move.vm == name]
    return step


def ledger(scene) -> slots.Slots:
    flying = [entry.open_migration for entry in scene.moves.values() if entry.open_migration]
    return slots.ledger(scene.fleet(), flying)


def flying(scene, name: str = "web01", **changes: object):
    """Set the VM in flight by an attempt of ours."""
    scene.move(name, state=MoveState.MOVING, destination="hv02", kind=AttemptKind.LIVE)
    return scene.attempt(name=name, **changes)


# --- slots ---------------------------------------------------------------------------------

SIGNS = {
    "a job with its target": lambda s: s.job(),
    "a migration job of Hyper-V": lambda s: s.host("hv01", moving=(("id-web01", HV02),)),
    "our own open attempt": lambda s: flying(s),
}


@pytest.mark.parametrize("sign", sorted(SIGNS))
def test_each_sign_that_names_both_hosts_takes_a_slot_on_both(sign, scene):
    book = ledger(SIGNS[sign](scene))

    assert book.holders(HV01) == ("web01",)
    assert book.holders(HV02) == ("web01",)
    assert (book.free(HV01), book.free(HV02)) == (1, 1)


def test_all_signs_of_one_migration_count_as_one_slot(scene):
    for change in SIGNS.values():
        change(scene)
    in_flight = {"vmm_status": "UnderMigration", "hyperv_status": ("MigratingVirtualMachine",)}
    scene.vm(**in_flight).host("hv01", counted=1).host("hv02", counted=1)
    book = ledger(scene)

    assert (book.free(HV01), book.free(HV02)) == (1, 1)


@pytest.mark.parametrize("case", ["HV01.corp.example", "hv01.CORP.example"])
def test_host_names_of_jobs_are_not_case_sensitive(case, scene):
    scene.job()
    scene.jobs[0] = replace(scene.jobs[0], source=case)

    assert ledger(scene).free(HV01) == 1


STUCK = {"vmm_status": "UnderMigration"}
WORD = {"hyperv_status": ("MigratingVirtualMachine",)}


@pytest.mark.parametrize(
    ("sign", "free"),
    [
        pytest.param(lambda s: s.job(target=None), [1, 2, 2], id="a job without a target"),
        pytest.param(
            lambda s: s.job(source=None, target=None), [2, 2, 2], id="a job without hosts"
        ),
        pytest.param(lambda s: s.vm(**STUCK), [1, 2, 2], id="a status without a job"),
        pytest.param(lambda s: s.vm(**WORD), [1, 2, 2], id="Hyper-V's word without a job"),
        pytest.param(lambda s: flying(s).job(target=None), [1, 1, 2], id="our own start"),
        pytest.param(
            lambda s: s.vm(**STUCK).host("hv01", counted=0), [2, 2, 2], id="the counter denies it"
        ),
    ],
)
def test_no_sign_takes_a_slot_on_a_host_that_it_does_not_name(sign, free, scene):
    """Two VMs anywhere that are stuck in UnderMigration would stop every start of the fleet."""
    book = ledger(sign(scene))

    assert [book.free(host) for host in (HV01, HV02, HV03)] == free


COUNTED = [
    ("nothing moves", 0, {}, 2),
    ("one that nobody can name", 1, {}, 1),
    ("ours, which its own jobs name", 1, {"ours": 1, "here": 1}, 1),
    ("ours, which only the other host names", 1, {"ours": 1, "there": 1}, 1),
    ("ours, and one that nobody can name", 2, {"ours": 1, "here": 1}, 0),
    ("ours, which no job names yet, and the counter shows one", 1, {"ours": 1}, 0),
    ("ours, which began after the reading was asked", 1, {"ours": 1, "here": 1, "late": 1}, 0),
    ("ours, which the counter does not show yet", 0, {"ours": 1}, 1),
    ("others, by name and by number", 1, {"named": 1}, 1),
    ("others, more by number than by name", 2, {"named": 1}, 0),
    ("others, more by name than by number", 0, {"named": 1}, 1),
]


@pytest.mark.parametrize(
    ("counted", "what", "free"), [row[1:] for row in COUNTED], ids=[row[0] for row in COUNTED]
)
def test_a_host_counts_what_is_ours_and_the_larger_view_of_the_others(counted, what, free, scene):
    if what.get("ours"):
        flying(scene, opened=HOSTS + 1 if what.get("late") else 5)
    if what.get("there"):
        scene.host("hv01", moving=(("id-web01", HV02),))
    named = [("id-web01", HV02)] * what.get("here", 0) + [("id-x", HV02)] * what.get("named", 0)
    scene.host("hv02", counted=counted, moving=tuple(named))

    assert ledger(scene).free(HV02) == free


FREED = [
    ("seen, live", True, AttemptKind.LIVE, "hv02", (True, True)),
    ("seen, powered down", True, AttemptKind.COLD, "hv01", (True, True)),
    ("lost, live, on its source", False, AttemptKind.LIVE, "hv01", (True, False)),
    ("lost, live, arrived", False, AttemptKind.LIVE, "hv02", (True, True)),
    ("lost, powered down, on its source", False, AttemptKind.COLD, "hv01", (False, False)),
    ("lost, powered down, arrived", False, AttemptKind.COLD, "hv02", (True, False)),
]


@pytest.mark.parametrize(
    ("seen", "kind", "at", "freed"), [row[1:] for row in FREED], ids=[row[0] for row in FREED]
)
def test_a_host_frees_the_slot_of_a_move_by_its_own_word(seen, kind, at, freed, scene):
    """A destination that shows nothing frees nothing: a planned VM and a copy cannot be seen."""
    flying(scene, job="job-web01", not_after=scene.now - 100).vm(at=at)
    attempt = replace(scene.moves[1, "web01"].attempts[0], kind=kind)
    scene.moves[1, "web01"] = replace(scene.moves[1, "web01"], attempts=(attempt,))
    if seen:
        scene.job(state="completed")
    [heard] = scene.view().record.attempts

    found = tuple(arrival.frees(heard, host, scene.fleet()) for host in (HV01, HV02))
    assert found == freed


def test_a_dead_destination_does_not_keep_the_source_slot_of_a_live_move(scene):
    """hv02 is silent: web01 may be in flight to it, but hv01 has said that it is at rest there."""
    scene.run(destinations=("hv02", "hv03")).host("hv01", live_limit=1).silent("hv02")
    flying(scene, job="job-web01", not_after=scene.now - 100).add("web02")

    assert started(scene) == ["web02"]


@pytest.mark.parametrize("state", ["completed", "failed", "canceled"])
def test_an_ended_job_takes_no_slot(state, scene):
    assert ledger(scene.job(state=state)).free(HV01) == 2


@pytest.mark.parametrize(
    ("live", "storage", "free"), [(2, 2, 2), (2, 1, 1), (1, 4, 1), (0, 2, 0), (8, 8, 8)]
)
def test_a_move_needs_a_live_and_a_storage_slot(live, storage, free, scene):
    scene.host("hv01", live_limit=live, storage_limit=storage)

    assert ledger(scene).free(HV01) == free


def test_incoming_and_outgoing_migrations_share_the_slots_of_a_host(scene):
    scene.vm("db01", at="hv03").vm("web02")
    scene.job("db01", source="hv03", target="hv01").job("web02", target="hv02")

    assert ledger(scene).free(HV01) == 0
    assert ledger(scene).holders(HV01) == ("db01", "web02")


def test_slots_used_beyond_the_limit_are_reported_and_leave_none_free(scene):
    for name in ("a", "b", "c"):
        scene.vm(name).job(name)
    book = ledger(scene)

    assert book.free(HV01) == 0
    assert book.says(HV01) == "3 of 2 on hv01: a, b, c"


def test_a_host_outside_the_fleet_has_no_slots(scene):
    book = ledger(scene)

    assert book.free("hv99") == 0
    assert not book.take("id", "vm", HV01, "hv99")
    assert book.says("hv99") == "hv99 is not in the fleet"


def test_a_slot_is_taken_on_both_hosts_or_on_neither(scene):
    book = ledger(scene.host("hv02", live_limit=0))

    assert not book.take("id-web01", "web01", HV01, HV02)
    assert book.free(HV01) == 2


def test_a_job_without_a_source_counts_at_its_destination(scene):
    book = ledger(scene.job(source=None))

    assert (book.free(HV01), book.free(HV02)) == (2, 1)


def test_a_job_of_an_unseen_vm_counts_by_its_id(scene):
    assert ledger(scene.job("ghost")).holders(HV01) == ("id-ghost",)


def test_a_plan_starts_as_many_moves_as_there_are_slots(scene):
    for name in ("web02", "web03", "web04"):
        scene.add(name)

    assert started(scene) == ["web01", "web02"]
    assert held(scene, "web03").wait is Wait.SLOT
    assert held(scene, "web03").text == "2 of 2 on hv01: web01, web02"


def test_foreign_migrations_take_slots_on_the_destination(scene):
    scene.vm("x1", at="hv03").vm("x2", at="hv03")
    scene.job("x1", source="hv03").job("x2", source="hv03")

    assert started(scene) == []
    assert held(scene, "web01").text == "2 of 2 on hv02: x1, x2"


def test_a_wait_for_several_destinations_names_the_vms_in_the_slots_of_each(scene):
    scene.run(destinations=("hv02", "hv03")).host("hv02", live_limit=1).host("hv03", live_limit=1)
    scene.vm("x1", at="hv04").vm("x2", at="hv04")
    scene.job("x1", source="hv04").job("x2", source="hv04", target="hv03")

    assert held(scene, "web01").text == "1 of 1 on hv02: x1; 1 of 1 on hv03: x2"


def test_a_plan_uses_the_limits_of_its_observation(scene):
    scene.add("web02")

    assert started(scene) == ["web01", "web02"]
    assert started(scene.host("hv02", live_limit=1)) == ["web01"]
    assert started(scene.host("hv02", live_limit=0)) == []


def test_a_powered_down_move_with_unknown_location_keeps_its_slots(scene):
    """hv02 was silent for an hour: web01 needs a person, and its copy may go on."""
    scene.run(destinations=("hv02", "hv03")).host("hv01", live_limit=1).silent("hv02").down()
    scene.move(state=MoveState.MOVING, destination="hv02", kind=AttemptKind.COLD)
    scene.attempt(kind=AttemptKind.COLD, job="job-web01").waiting(Wait.HOST_DOWN, HOUR)
    scene.add("web02")

    assert [f.outcome for f in scene.steps(Finish)] == [Outcome.UNKNOWN]
    assert started(scene) == []


def test_a_wait_says_that_no_destination_takes_vms(scene):
    assert held(scene.host("hv02", maintenance=True), "web01").text != ""


# --- the order -----------------------------------------------------------------------------


def test_the_longest_move_starts_first(scene):
    scene.host("hv01", live_limit=1).move(disk_mb=1000).add("big", disk_mb=900_000)

    assert started(scene) == ["big"]


def test_a_vm_of_the_busiest_host_starts_first(scene):
    """One slot is free. hv03 has the most work per slot, so its VM starts before a longer one."""
    scene.run(sources=("hv01", "hv03"), destinations=("hv02", "hv04"))
    scene.host("hv03", live_limit=1).host("hv02", live_limit=1).host("hv04", live_limit=0)
    scene.move(disk_mb=90_000)
    for name in ("a1", "a2", "a3"):
        scene.vm(name, at="hv03").add(name, source="hv03", host="hv03", disk_mb=60_000)

    assert started(scene) == ["a1"]


def test_moves_of_equal_length_start_in_the_order_of_their_names(scene):
    scene.host("hv01", live_limit=1).add("AAA").add("zzz")

    assert started(scene) == ["AAA"]


def test_a_move_goes_to_the_destination_with_a_free_slot(scene):
    scene.run(destinations=("hv02", "hv03")).host("hv02", live_limit=0)
    [start] = scene.steps(Start)

    assert (start.order.source, start.order.destination) == (HV01, HV03)


def test_a_move_goes_to_the_destination_with_the_least_load(scene):
    scene.run(destinations=("hv02", "hv03"))
    scene.run(2, kind="vm", sources=("hv04",), destinations=("hv02",))
    scene.vm("x1", at="hv04").add("x1", 2, source="hv04", host="hv04", disk_mb=9_000_000)
    [start] = [s for s in scene.steps(Start) if s.move.vm == "web01"]

    assert start.order.destination == HV03


def test_two_starts_of_one_plan_use_different_destinations(scene):
    scene.run(destinations=("hv02", "hv03")).add("web02")
    scene.host("hv02", live_limit=1).host("hv03", live_limit=1)

    assert {s.order.destination for s in scene.steps(Start)} == {HV02, HV03}


def test_the_estimated_speed_is_measured_after_three_arrivals(scene):
    for name in ("a", "b"):
        scene.add(name, state=MoveState.DONE)
        scene.attempt(Result.OK, name=name, begun=scene.now - 110)
    two = estimate.rate(scene.moves.values(), 400.0)
    scene.add("c", state=MoveState.DONE)
    scene.attempt(Result.OK, name="c", begun=scene.now - 60)
    three = estimate.rate(scene.moves.values(), 400.0)

    assert two == 400.0
    assert three == pytest.approx(65536 / 100)


def test_the_load_of_a_host_is_shared_among_the_destinations_and_slots(scene):
    move = scene.moves[1, "web01"].move
    seconds = estimate.seconds(move, 400.0)
    load = ordering.loads([(move, (HV02, HV03))], slots.Slots(scene.fleet()), 400.0)

    assert load[HV01] == pytest.approx(seconds / 2)
    assert load[HV02] == pytest.approx(seconds / 4)


# --- running first -------------------------------------------------------------------------


def with_cold(scene):
    return scene.add("old-crm").down("old-crm").approval(ApprovalState.GRANTED, "old-crm")


def test_powered_down_vms_wait_while_running_vms_of_their_host_can_start(scene):
    with_cold(scene)

    assert started(scene) == ["web01"]
    assert held(scene, "old-crm").wait is Wait.RUNNING_FIRST


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.vm(hyperv_status=("BackingUpVirtualMachine",)), id="in backup"),
        pytest.param(lambda s: s.attempt(Result.FAILED), id="backing off"),
        pytest.param(lambda s: flying(s, job="j").job(id="j"), id="moving already"),
        pytest.param(lambda s: s.move(state=MoveState.DONE).vm(at="hv02"), id="done"),
    ],
)
def test_powered_down_vms_do_not_wait_for_running_vms_that_cannot_start(change, scene):
    assert started(change(with_cold(scene))) == ["old-crm"]


def test_powered_down_vms_wait_only_for_running_vms_of_their_own_host(scene):
    scene.run(sources=("hv01", "hv03"))
    scene.vm("old", at="hv03").add("old", source="hv03", host="hv03").down("old")
    scene.approval(ApprovalState.GRANTED, "old")

    assert sorted(started(scene)) == ["old", "web01"]


def test_a_cold_start_pins_the_connected_adapters_of_the_saved_network(scene):
    wired = Adapter("a", "001DD8B71C01", "N", None, "LS", 10, acls=(Acl("Allow", "Inbound", 1),))
    network = Network((wired, Adapter("b", switch=None)))
    scene.move(state=MoveState.DONE).add("old").down("old").baseline("old", network=network)
    [cold] = scene.approval(ApprovalState.GRANTED, "old").steps(Start)

    assert cold.kind is AttemptKind.COLD
    assert (cold.order.power, cold.order.pin) == ("down", Network((wired,)))


def test_a_live_start_carries_what_the_guard_at_vmm_checks(scene):
    scene.skew = 300.0
    [start] = scene.options(path=r"E:\VMs").steps(Start)

    assert (start.kind, start.order.power, start.order.pin) == (AttemptKind.LIVE, "running", None)
    assert start.order.not_after == scene.now + 300 + 60
    assert start.order.path == r"E:\VMs"


# --- the request's own limit ---------------------------------------------------------------


@pytest.mark.parametrize(("parallel", "starts"), [(0, 4), (1, 1), (3, 3), (9, 4)])
def test_a_request_may_allow_fewer_moves_at_once_than_the_hosts(parallel, starts, scene):
    scene.options(parallel=parallel)
    scene.host("hv01", live_limit=9, storage_limit=9).host("hv02", live_limit=9, storage_limit=9)
    for name in ("web02", "web03", "web04"):
        scene.add(name)

    assert len(started(scene)) == starts


def test_migrations_in_flight_count_against_the_limit_of_the_request(scene):
    flying(scene.options(parallel=1), job="job-web01").job().add("web02")

    assert held(scene, "web02").text == "1 of 1 moves that the request allows"


def test_the_limit_of_one_request_does_not_apply_to_another(scene):
    scene.options(parallel=1).run(2, kind="vm", request="vm x1 to hv02", sources=("hv03",))
    scene.vm("x1", at="hv03").add("x1", 2, source="hv03", host="hv03")

    assert sorted(started(scene)) == ["web01", "x1"]


# --- a network is saved first --------------------------------------------------------------


def test_nothing_starts_without_a_saved_network(scene):
    scene.no_baseline()

    assert started(scene) == []
    assert [s.host for s in scene.steps(SaveBaselines)] == [HV01]


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (600, True), (601, False)])
def test_a_saved_network_is_used_for_ten_minutes_and_then_read_again(age, fresh, scene):
    scene.baseline(age=age)

    assert bool(started(scene)) is fresh
    assert bool(scene.steps(SaveBaselines)) is not fresh


@pytest.mark.parametrize("result", [Result.FAILED, Result.REFUSED, Result.LOST])
def test_the_saved_network_is_kept_after_the_first_attempt(result, scene):
    """Read again after a failure, the network might already lack settings that the move lost."""
    scene.baseline(age=HOUR).attempt(result, ended=scene.now - 600)

    assert started(scene) == ["web01"]
    assert scene.steps(SaveBaselines) == []


def test_networks_of_the_next_moves_are_saved_together_in_order(scene):
    for number in range(2, 9):
        scene.add(f"web{number:02}")
    for _, name in scene.moves:
        scene.no_baseline(name)
    [save] = scene.steps(SaveBaselines)

    assert [m.vm for m in save.moves] == ["web01", "web02", "web03", "web04"]


def test_a_move_whose_network_is_being_saved_keeps_its_slot(scene):
    scene.host("hv01", live_limit=1).no_baseline().add("web02")

    assert started(scene) == []
    assert held(scene, "web02").text == "1 of 1 on hv01: web01"


def test_a_reserved_slot_counts_against_the_limit_of_the_request(scene):
    scene.options(parallel=1).no_baseline().add("web02")

    assert started(scene) == []
    assert "the request allows" in held(scene, "web02").text


def test_a_network_is_not_saved_for_a_vm_that_may_not_start(scene):
    scene.no_baseline().vm(hyperv_status=("BackingUpVirtualMachine",))

    assert scene.steps(SaveBaselines) == []


@pytest.mark.parametrize(
    ("results", "seconds_ago", "says"),
    [
        ((Result.LOST,), 14, "waits"),
        ((Result.LOST,), 15, "saves"),
        ((Result.LOST, Result.LOST, Result.LOST), 15, "ends"),
        ((Result.STALE,) * 9, 15, "saves"),
        ((Result.LOCKED,) * 9, 15, "saves"),
        ((Result.REFUSED, Result.OK, Result.REFUSED, Result.REFUSED), 15, "saves"),
        ((Result.OK, Result.REFUSED, Result.LOST, Result.REFUSED), 15, "ends"),
    ],
)
def test_a_network_that_cannot_be_saved_is_retried_and_then_ends_the_move(
    results, seconds_ago, says, scene
):
    scene.no_baseline()
    for result in results:
        ended = scene.now - seconds_ago
        scene.attempt(result, AttemptKind.BASELINE, ended=ended, error="Access is denied")
    said = {
        "waits": [h.text for h in scene.steps(Hold)],
        "saves": scene.steps(SaveBaselines),
        "ends": [f.outcome for f in scene.steps(Finish)],
    }

    assert started(scene) == []
    assert [key for key, value in said.items() if value] == [says]
    if says == "waits":
        assert said["waits"] == ["its network could not be saved: Access is denied"]
    if says == "ends":
        assert said["ends"] == [Outcome.BLOCKED]


# --- questions -----------------------------------------------------------------------------


def test_one_card_asks_about_all_powered_down_vms(scene):
    scene.down().add("old-crm").down("old-crm")
    [ask] = scene.steps(Ask)

    assert ask.vms == ("id-web01", "id-old-crm")
    assert ask.digest == approval.digest(scene.runs[1], ask.vms)


def test_a_vm_with_an_open_approval_is_not_asked_about_again(scene):
    scene.down().approval(ApprovalState.REQUESTED, requested=scene.now - HOUR)

    assert scene.steps(Ask) == []


def test_later_powered_down_vms_share_a_card_half_an_hour_later(scene):
    scene.down().approval(ApprovalState.REQUESTED, requested=scene.now - 1799)
    scene.add("new1").down("new1").add("new2").down("new2")
    early = scene.plan()
    late = scene.later(1).steps(Ask)

    assert not any(isinstance(s, Ask) for s in early.steps)
    assert early.due == scene.now
    assert [a.vms for a in late] == [("id-new1", "id-new2")]


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.STOPPING])
def test_no_approval_is_requested_for_a_run_that_is_not_active(state, scene):
    assert scene.run(state=state).down().steps(Ask) == []


def test_no_cold_move_starts_without_a_grant_even_with_free_slots(scene):
    scene.down()

    assert started(scene) == []


# --- power ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "since", "state", "noted"),
    [
        pytest.param(None, None, HyperVState.RUNNING, ("running", None), id="first look, running"),
        pytest.param(None, None, HyperVState.OFF, ("down", None), id="first look, down"),
        pytest.param("running", None, HyperVState.RUNNING, None, id="running on"),
        pytest.param("running", None, HyperVState.SAVED, ("running", 0), id="down a moment ago"),
        pytest.param("running", -599, HyperVState.OFF, None, id="down for less than ten minutes"),
        pytest.param("running", -600, HyperVState.OFF, ("down", -600), id="down for ten minutes"),
        pytest.param("running", -300, HyperVState.RUNNING, ("running", None), id="back again"),
        pytest.param("down", -900, HyperVState.RUNNING, ("running", None), id="started by people"),
        pytest.param("down", None, HyperVState.OFF, None, id="down on"),
        pytest.param("running", -300, HyperVState.OTHER, None, id="in between says nothing"),
        pytest.param(None, None, HyperVState.OTHER, None, id="first look, in between"),
        pytest.param(None, None, None, None, id="first look, no answer"),
    ],
)
def test_a_change_of_power_is_recorded(known, since, state, noted, scene):
    began = None if since is None else scene.now + since
    scene.move(power=known, down_since=began).vm(hyperv_state=state)
    expected = []
    if noted is not None:
        at = None if noted[1] is None else scene.now + noted[1]
        expected = [(noted[0], at)]

    assert [(s.power, s.down_since) for s in scene.steps(SeePower)] == expected


def test_a_vm_down_at_the_first_observation_is_asked_about_in_the_same_plan(scene):
    scene.down().move(power=None)

    assert len(scene.steps(Ask)) == 1


def test_the_power_of_a_vm_in_flight_is_not_recorded(scene):
    flying(scene, job="job-web01").job().vm(hyperv_state=HyperVState.PAUSED)

    assert scene.steps(SeePower) == []


# --- adoption and ownership ----------------------------------------------------------------


def test_a_vm_that_appears_on_a_source_joins_the_run(scene):
    [adopt] = scene.vm("new").steps(Adopt)

    assert (adopt.run, adopt.vm.name, adopt.source) == (1, "new", HV01)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.vm("new", at="hv03"), id="on another host"),
        pytest.param(lambda s: s.vm("new").seen_on(name="new"), id="only VMM says so"),
        pytest.param(lambda s: s.vm("new").seen_on("hv01", "hv03", name="new"), id="on two hosts"),
        pytest.param(lambda s: s.vm("new", stored=True), id="stored in the library"),
        pytest.param(lambda s: s.vm("new").run(kind="vm"), id="the run moves named VMs"),
        pytest.param(lambda s: s.vm("new").run(state=RunState.PAUSED), id="the run is paused"),
        pytest.param(lambda s: s.vm("new").run(state=RunState.STOPPING), id="the run is stopped"),
    ],
)
def test_no_other_vm_is_adopted(change, scene):
    assert change(scene).steps(Adopt) == []


def test_a_vm_that_ended_in_this_run_is_not_adopted_again(scene):
    scene.move(state=MoveState.SKIPPED, outcome=Outcome.DENIED)

    assert scene.steps(Adopt) == []


def test_a_run_does_not_end_in_a_tick_that_adopts_a_vm(scene):
    scene.move(state=MoveState.DONE, outcome=Outcome.MOVED).vm(at="hv02").vm("new")

    assert scene.steps(SetRunState) == []


def test_a_vm_of_two_runs_is_moved_by_the_first_unfinished_one(scene):
    scene.run(2, kind="vm", request="vm web01 to hv03", destinations=("hv03",))
    scene.add("web01", 2)

    assert [(s.move.run, s.order.destination) for s in scene.steps(Start)] == [(1, HV02)]
    assert [(h.move.run, h.wait) for h in scene.steps(Hold)] == [(2, Wait.OTHER_RUN)]


def test_a_vm_in_flight_belongs_to_the_run_that_moves_it(scene):
    """R1 was scheduled for a long time because its board was not posted. R2 started the VM
    meanwhile."""
    scene.run(2, kind="vm", request="vm web01 to hv03", destinations=("hv03",)).add("web01", 2)
    scene.move(run=2, state=MoveState.MOVING, destination="hv03", kind=AttemptKind.LIVE)
    scene.attempt(run=2, destination="hv03", not_after=scene.now + 60)

    assert started(scene) == []
    assert held(scene, "web01").wait is Wait.OTHER_RUN


def test_the_next_run_may_start_a_vm_after_its_move_in_the_first_has_ended(scene):
    scene.run(2, kind="vm", request="vm web01 to hv03", destinations=("hv03",)).add("web01", 2)
    scene.move(state=MoveState.FAILED, outcome=Outcome.ATTEMPTS).add("web02")

    assert (2, HV03) in [(s.move.run, s.order.destination) for s in scene.steps(Start)]


@pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.COMPLETED, RunState.REJECTED])
def test_a_plan_leaves_scheduled_and_ended_runs_alone(state, scene):
    assert scene.run(state=state).plan().steps == ()


# --- the end -------------------------------------------------------------------------------


def ended(scene, outcome=Outcome.MOVED, state=MoveState.DONE):
    return scene.move(state=state, outcome=outcome).vm(at="hv02")


@pytest.mark.parametrize(
    ("outcome", "state", "run"),
    [
        (Outcome.MOVED, MoveState.DONE, RunState.COMPLETED),
        (Outcome.ALREADY_THERE, MoveState.DONE, RunState.COMPLETED),
        (Outcome.EXCLUDED, MoveState.SKIPPED, RunState.COMPLETED),
        (Outcome.ELSEWHERE, MoveState.SKIPPED, RunState.COMPLETED),
        (Outcome.VANISHED, MoveState.SKIPPED, RunState.COMPLETED),
        (Outcome.DENIED, MoveState.SKIPPED, RunState.INCOMPLETE),
        (Outcome.EXPIRED, MoveState.SKIPPED, RunState.INCOMPLETE),
        (Outcome.ATTEMPTS, MoveState.FAILED, RunState.INCOMPLETE),
        (Outcome.NETWORK, MoveState.DAMAGED, RunState.INCOMPLETE),
        (Outcome.TWO_PLACES, MoveState.UNKNOWN, RunState.INCOMPLETE),
    ],
)
def test_a_run_ends_as_completed_only_if_no_vm_needs_a_person(outcome, state, run, scene):
    [end] = ended(scene.run(kind="vm"), outcome, state).steps(SetRunState)

    assert end.state is run
    assert end.text.startswith(f"R1 is {run}: ")


def test_a_stopping_run_ends_as_soon_as_no_move_is_in_flight(scene):
    scene.run(state=RunState.STOPPING).add("web02")
    flying(scene, job="job-web01").job()
    watched = scene.plan()
    scene.jobs.clear()
    ended(scene).move("web02", state=MoveState.SKIPPED, outcome=Outcome.STOPPED)

    assert not any(isinstance(s, SetRunState) for s in watched.steps)
    assert [e.state for e in scene.steps(SetRunState)] == [RunState.STOPPED]


def test_open_questions_expire_at_the_end_of_a_run(scene):
    ended(scene.run(kind="vm")).approval(ApprovalState.REQUESTED).approval(ApprovalState.GRANTED)

    assert [e.approval for e in scene.steps(Expire)] == [1]


def test_a_paused_run_neither_ends_nor_proves_a_host_empty(scene):
    ended(scene).run(state=RunState.PAUSED)

    assert scene.plan().steps == ()


def test_a_source_is_proven_empty_by_two_observations_thirty_seconds_apart(scene):
    flights = ended(scene).steps(SeeCalm)
    first = scene.run(empty_calm={HV01: HOSTS - 1}).plan()
    [seen] = [s for s in first.steps if isinstance(s, SeeEmpty)]
    scene.run(empty_first=scene.now, empty_seen=(HV01,), empty_calm={})
    between = scene.later(29.9).plan()
    again = scene.later(0.1).steps(SeeCalm)
    assert len(flights) == len(again) == 1
    again = scene.run(empty_calm={HV01: HOSTS - 1}).plan()
    [proof] = [s for s in again.steps if isinstance(s, SeeEmpty)]
    after = scene.run(empty=(HV01,), empty_first=None, empty_seen=()).steps(SetRunState)

    assert (seen.hosts, seen.first, seen.proven) == ((HV01,), scene.now - 30, False)
    assert first.due == seen.first + 30
    assert (between.steps, between.due) == ((), pytest.approx(seen.first + 30))
    assert (proof.hosts, proof.first, proof.proven) == ((HV01,), seen.first, True)
    assert [e.state for e in after] == [RunState.COMPLETED]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.silent("hv01"), id="it does not answer any more"),
        pytest.param(lambda s: s.vm("late", at="hv01"), id="a VM came back"),
        pytest.param(lambda s: s.vm("ghost", seen_on=()), id="VMM shows one again"),
    ],
)
def test_a_source_that_was_not_empty_must_be_proven_empty_again(change, scene):
    ended(scene).run(empty_first=scene.now - 30, empty_seen=(HV01,))
    scene.move("late", state=MoveState.SKIPPED, outcome=Outcome.DENIED)
    [seen] = change(scene).steps(SeeEmpty)

    assert (seen.hosts, seen.first, seen.proven) == ((), None, False)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.silent("hv01"), id="a host that does not answer"),
        pytest.param(lambda s: s.vm("denied"), id="a VM that stayed"),
        pytest.param(lambda s: s.hosts.pop("hv01") and s, id="a host that VMM does not know"),
    ],
)
def test_a_source_is_never_reported_empty_without_proof(change, scene):
    ended(scene).move("denied", state=MoveState.SKIPPED, outcome=Outcome.DENIED)
    change(scene)
    first = scene.steps(SeeEmpty)
    scene.now += HOUR

    assert first == scene.steps(SeeEmpty) == []
    assert len(scene.steps(SetRunState)) == 1


def test_a_run_does_not_end_while_a_source_is_unobserved(scene):
    """The source may return within the hour, with VMs on it."""
    ended(scene).silent("hv01")

    assert scene.steps(SetRunState) == []


OCCUPIED = [
    ("a VM", lambda s: s.vm("db01"), "db01"),
    ("a VM that only VMM shows", lambda s: s.vm("db01", seen_on=()), "db01 (only in VMM)"),
    (
        "a VM that only Hyper-V shows",
        lambda s: s.vm("db01", vmm_host=HV03),
        "db01 (not in VMM)",
    ),
    ("a library copy", lambda s: s.vm("gold", stored=True, seen_on=()), "library copy of gold"),
    ("a replica copy", lambda s: s.host("hv01", replicas=("db01",)), "replica of db01"),
    (
        "a replica copy that VMM knows, too",
        lambda s: s.host("hv01", replicas=("db01",)).vm("db01", seen_on=(), blocks=("replica",)),
        "replica of db01",
    ),
    (
        "a VM in flight to it",
        lambda s: s.vm("db01", at="hv03").job("db01", source="hv03", target="hv01"),
        "db01 (in flight to it)",
    ),
    (
        "a VM in flight to nobody knows where",
        lambda s: s.vm("db01", at="hv03").job("db01", source="hv03", target=None),
        "db01 (in flight, VMM does not show where to)",
    ),
    (
        "what only Hyper-V counts",
        lambda s: s.host("hv01", counted=1),
        "1 migration that only Hyper-V shows",
    ),
]


@pytest.mark.parametrize(
    ("occupy", "says"), [row[1:] for row in OCCUPIED], ids=[row[0] for row in OCCUPIED]
)
def test_a_host_is_not_empty_while_anything_is_there_or_in_flight_to_it_and_names_it(
    occupy, says, scene
):
    ended(scene).run(empty_calm={HV01: HOSTS - 1})
    occupy(scene)

    assert scene.steps(SeeEmpty) == []
    assert [str(one) for one in emptiness.occupants(HV01, scene.fleet())] == [says]


def test_the_end_of_a_run_names_what_is_left_on_a_source(scene):
    ended(scene).host("hv01", replicas=tuple(f"db{n:02}" for n in range(7)))
    [end] = scene.steps(SetRunState)

    assert end.text == (
        "R1 is completed: 1 of 1 moved. hv01 is not empty: replica of db00, replica of db01, "
        "replica of db02, replica of db03, replica of db04, and 2 more."
    )


INCOMING = {"source": "hv03", "target": "hv01"}


def test_a_run_waits_for_what_is_in_flight_to_its_source_and_then_names_it(scene):
    """What arrives is adopted. Ten minutes later the run ends without the proof."""
    ended(scene).attempt(Result.OK, ended=scene.now - 599).vm("db01", at="hv03")
    before = scene.job("db01", **INCOMING).plan()
    after = scene.later(1).steps(SetRunState)

    assert before.steps == ()
    assert [end.text for end in after] == [
        "R1 is completed: 1 of 1 moved. hv01 is not empty: db01 (in flight to it)."
    ]


def test_a_migration_that_only_an_old_pulse_counted_is_asked_for_again(scene):
    """Nobody asks a host on which nothing of ours moves: the count would stay for ever."""
    ended(scene).attempt(Result.OK).host("hv01", counted=1)
    pulse = {(PartKind.PULSE, HV01): age(HOSTS, scene.now - 31)}
    scene.with_ages(lambda fleet: replace(fleet, ages={**fleet.ages, **pulse}))

    assert scene.plan().looks == (Look(PartKind.PULSE, HV01),)


def test_a_flight_seen_between_two_looks_begins_the_round_anew(scene):
    """It may arrive after the lists were asked, and then be in neither of them."""
    ended(scene).run(empty_calm={HV01: HOSTS - 1}).vm("db01", at="hv03")
    [seen] = scene.job("db01", source="hv03", target="hv01").steps(SeeCalm)

    assert seen.calm == {}


def test_a_vm_that_only_vmm_still_shows_keeps_a_run_open_for_ten_minutes(scene):
    """Hyper-V shows no VM and VMM still lists one. Its VMs are re-read, and then Hyper-V is
    trusted."""
    ended(scene).attempt(Result.OK, ended=scene.now - 599).vm(vmm_host=HV01)
    reread = {(PartKind.VMS, HV01): age(REREADS, scene.now - 60)}
    scene.with_ages(lambda fleet: replace(fleet, ages={**fleet.ages, **reread}))
    before = scene.plan()
    after = scene.later(1).plan()

    assert (before.steps, before.looks) == ((), (Look(PartKind.VMS, HV01),))
    assert [type(s) for s in after.steps] == [SetRunState]


def test_each_source_is_proven_empty_separately(scene):
    scene.run(sources=("hv01", "hv03"))
    ended(scene).vm("stays", at="hv03").move("stays", state=MoveState.FAILED)
    scene.run(empty_calm={HV01: HOSTS - 1})
    [seen] = scene.steps(SeeEmpty)
    scene.run(empty=(HV01,))

    assert seen.hosts == (HV01,)
    assert len(scene.steps(SetRunState)) == 1


@pytest.mark.parametrize("state", [MoveState.FAILED, MoveState.DAMAGED, MoveState.UNKNOWN])
@pytest.mark.parametrize(("wanted", "stops"), [(True, [RunState.STOPPING]), (False, [])])
def test_a_run_stops_at_the_first_failed_vm_if_the_request_says_so(wanted, stops, state, scene):
    scene.options(stop_on_failure=wanted).move(state=state, outcome=Outcome.STUCK).add("web02")
    ends = scene.steps(SetRunState)

    assert [e.state for e in ends] == stops
    assert all("web01" in e.text for e in ends)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(lambda s: s.vm(blocks=("ha",)), id="found in this plan"),
        pytest.param(
            lambda s: s.move(state=MoveState.FAILED, outcome=Outcome.STUCK), id="found before"
        ),
    ],
)
def test_stop_on_failure_starts_no_move_after_a_failure(failure, scene):
    failure(scene.options(stop_on_failure=True)).add("web02")

    assert started(scene) == []


@pytest.mark.parametrize("outcome", [Outcome.DENIED, Outcome.EXCLUDED])
def test_a_skipped_vm_does_not_count_as_a_failure(outcome, scene):
    scene.options(stop_on_failure=True).move(state=MoveState.SKIPPED, outcome=outcome)

    assert scene.add("web02").steps(SetRunState) == []


def test_a_stopping_run_is_not_stopped_again(scene):
    scene.options(stop_on_failure=True).run(state=RunState.STOPPING).add("web02")
    flying(scene.move(state=MoveState.FAILED, outcome=Outcome.STUCK), "web02", job="j").job(
        "web02", id="j"
    )

    assert scene.steps(SetRunState) == []


# --- waiting for people --------------------------------------------------------------------


def test_a_run_notes_when_it_began_to_wait_only_for_people(scene):
    scene.down().approval(ApprovalState.REQUESTED)
    [quiet] = scene.steps(Quiet)

    assert quiet.at == scene.now


def test_approvals_do_not_expire_while_another_move_continues(scene):
    scene.add("old").down("old").approval(ApprovalState.REQUESTED, "old")
    scene.run(quiet_since=scene.now - 9 * HOUR)
    [quiet] = scene.steps(Quiet)

    assert quiet.at is None
    assert scene.steps(Expire) == []


def test_approvals_expire_after_eight_hours_without_a_decision(scene):
    long_ago = scene.now - 9 * HOUR
    scene.down().approval(ApprovalState.REQUESTED, requested=long_ago)
    scene.approval(ApprovalState.DENIED, "other", requested=long_ago)
    early = scene.run(quiet_since=scene.now - 8 * HOUR + 1).plan()
    late = scene.later(1)

    assert early.due == scene.now
    assert not any(isinstance(s, Expire | Finish) for s in early.steps)
    assert [e.approval for e in late.steps(Expire)] == [1]
    assert [f.outcome for f in late.steps(Finish)] == [Outcome.EXPIRED]


def test_a_vm_in_a_long_backup_fails_only_after_the_rest_of_the_run(scene):
    scene.vm(hyperv_status=("BackingUpVirtualMachine",)).waiting(Wait.BACKUP, HOUR)
    alone = scene.steps(Finish)
    scene.add("web02")

    assert [f.outcome for f in alone] == [Outcome.BACKUP_TOO_LONG]
    assert scene.steps(Finish) == []


def test_a_backup_within_its_limit_keeps_the_run_open(scene):
    scene.vm(hyperv_status=("BackingUpVirtualMachine",)).waiting(Wait.BACKUP, HOUR - 1)

    assert scene.steps(Finish) == []
    assert scene.steps(Quiet) == []


def test_a_long_backup_does_not_keep_a_run_from_waiting_only_for_people(scene):
    scene.vm(hyperv_status=("BackingUpVirtualMachine",)).waiting(Wait.BACKUP, HOUR)
    scene.add("old").down("old").approval(ApprovalState.REQUESTED, "old")

    assert [q.at for q in scene.steps(Quiet)] == [scene.now]
    assert scene.steps(Finish) == []


# --- the plan itself -----------------------------------------------------------------------


def crowded(scene):
    """A scene with many runs, VMs and jobs."""
    scene.run(sources=("hv01", "hv03"), destinations=("hv02", "hv04"))
    for number in range(2, 12):
        scene.add(f"web{number:02}", disk_mb=10_000 * number)
    scene.no_baseline("web03").no_baseline("web04")
    scene.vm("web05", vmm_status="MigrationFailed").vm("web06", seen_on=(HV01, HV03))
    scene.down("web07").down("web08").vm("web09", at="hv02").vm("new")
    flying(scene, "web10", job="job-web10").job("web10")
    scene.run(2, kind="vm", request="vm web02 to hv03", destinations=("hv03",)).add("web02", 2)
    return scene


def test_the_same_rows_and_observation_give_the_same_plan(new_scene):
    one, other = crowded(new_scene()), crowded(new_scene())

    assert one.plan() == other.plan()
    assert one.plan() == one.plan()
    assert len(one.plan().steps) > 10


def test_the_order_of_the_rows_does_not_change_which_vms_start(scene):
    crowded(scene)
    records = [scene.record(n) for n in scene.runs]
    shuffled = [replace(r, moves=r.moves[::-1]) for r in records[::-1]]
    fleet = scene.fleet()
    mixed = replace(fleet, vms=fleet.vms[::-1], hosts=fleet.hosts[::-1], jobs=fleet.jobs[::-1])

    def starts(runs, seen):
        steps = plan(runs, seen, scene.now, scene.rules).steps
        return [(s.move.id, s.order.destination) for s in steps if isinstance(s, Start)]

    assert starts(records, fleet) == starts(shuffled, mixed)


def test_a_plan_has_at_most_one_step_per_move(scene):
    """At most one state change, one start or one hold each."""
    steps = crowded(scene).plan().steps
    spoken = [s.move.id for s in steps if hasattr(s, "move") and not isinstance(s, SeePower)]

    assert Counter(spoken).most_common(1)[0][1] == 1


def test_a_plan_is_due_at_its_first_limit(scene):
    scene.vm(hyperv_status=("BackingUpVirtualMachine",)).waiting(Wait.BACKUP, 3000)
    scene.add("web02").attempt(Result.FAILED, name="web02", ended=scene.now - 50)

    assert scene.plan().due == scene.now + 10
