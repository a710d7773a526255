"""The pending ladder: every rung, its limit, and the order of the rungs.

``scene`` is a VM that may start now; each row changes as little as makes one rung true.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from engine.model import (
    ApprovalState,
    AttemptKind,
    HyperVState,
    Outcome,
    PartKind,
    Result,
    RunState,
    Wait,
)
from engine.policy.ladders.pending import pending
from engine.policy.starts.destinations import gates
from engine.policy.steps import Finish
from engine.policy.waits import backoff

MINUTE, HOUR = 60.0, 3600.0

# Rows from the top of the ladder to its end: the rung, what a VM shows that is on it, what the
# ladder says, and which parts of the scene the change uses up (two rows that need the same part
# cannot both be true).
RUNGS = [
    (
        "left out by the request",
        lambda s: s.options(excluding=("WEB*",)),
        "skipped EXCLUDED",
        {"except"},
    ),
    ("another run's", lambda s: s.owned_by(7), "waits OTHER_RUN", {"owner", "run"}),
    ("not in the fleet", lambda s: s.gone(), "waits MISSING", {"place", "vmm", "power", "hyperv"}),
    ("in two places", lambda s: s.seen_on("hv01", "hv02"), "waits TWO_PLACES", {"place"}),
    (
        "migrating by VMM's status",
        lambda s: s.vm(vmm_status="UnderMigration"),
        "waits FOREIGN",
        {"vmm"},
    ),
    (
        "migrating by Hyper-V's status",
        lambda s: s.vm(hyperv_status=("InService", "MigratingVirtualMachine")),
        "waits FOREIGN",
        {"hyperv"},
    ),
    ("migrating by a VMM job", lambda s: s.job(), "waits FOREIGN", {"job"}),
    (
        "shown by no Hyper-V, though VMM knows it",
        lambda s: s.seen_on(),
        "waits MISSING",
        {"place"},
    ),
    ("already there, baseline saved", lambda s: s.vm(at="hv02"), "Arrive", {"place"}),
    (
        "already there, no baseline",
        lambda s: s.vm(at="hv02").no_baseline(),
        "done ALREADY_THERE",
        {"place"},
    ),
    ("elsewhere, baseline saved", lambda s: s.vm(at="hv03"), "Arrive", {"place"}),
    (
        "elsewhere, no baseline",
        lambda s: s.vm(at="hv03").no_baseline(),
        "skipped ELSEWHERE",
        {"place"},
    ),
    ("run stopping", lambda s: s.run(state=RunState.STOPPING), "skipped STOPPED", {"run"}),
    ("run paused", lambda s: s.run(state=RunState.PAUSED), "waits PAUSED", {"run"}),
    ("*Failed", lambda s: s.vm(vmm_status="MigrationFailed"), "Dismiss", {"vmm"}),
    (
        "incomplete configuration",
        lambda s: s.vm(vmm_status="IncompleteVMConfig"),
        "RefreshVm",
        {"vmm"},
    ),
    ("passing by VMM", lambda s: s.vm(vmm_status="Starting"), "waits TRANSIENT", {"vmm"}),
    (
        "passing by Hyper-V",
        lambda s: s.vm(hyperv_status=("CreatingSnapshot",)),
        "waits TRANSIENT",
        {"hyperv"},
    ),
    (
        "between two power states",
        lambda s: s.vm(hyperv_state=HyperVState.OTHER),
        "waits TRANSIENT",
        {"power"},
    ),
    (
        "of unknown power",
        lambda s: s.vm(hyperv_state=None),
        "waits TRANSIENT",
        {"power"},
    ),
    ("blocked", lambda s: s.vm(blocks=("pass_through", "ha")), "failed BLOCKED", {"blocks"}),
    (
        "in backup",
        lambda s: s.vm(hyperv_status=("Ok", "BackingUpVirtualMachine")),
        "waits BACKUP",
        {"hyperv"},
    ),
    (
        "attempts used up",
        lambda s: s.attempt(Result.FAILED).attempt(Result.LOST).attempt(Result.REFUSED),
        "failed ATTEMPTS",
        {"attempts"},
    ),
    (
        "down for less than ten minutes",
        lambda s: s.down().move(power="running", down_since=s.now - 599),
        "waits TRANSIENT",
        {"power", "vmm"},
    ),
    ("down, nobody asked", lambda s: s.down(), "waits APPROVAL and asks", {"power", "vmm"}),
    (
        "down, denied",
        lambda s: s.down().approval(ApprovalState.DENIED),
        "skipped DENIED",
        {"power", "vmm"},
    ),
    ("destination silent", lambda s: s.silent("hv02"), "waits HOST_DOWN", {"hv02"}),
    ("source locked", lambda s: s.host("hv01", locked=True), "waits HOST_LOCKED", {"hv01"}),
    ("destination locked", lambda s: s.host("hv02", locked=True), "waits HOST_LOCKED", {"hv02"}),
    ("backing off", lambda s: s.attempt(Result.FAILED), "waits BACKOFF", {"attempts"}),
]
COMPOSABLE = [
    pytest.param(higher, lower, id=f"{higher[0]} before {lower[0]}")
    for higher, lower in combinations(RUNGS, 2)
    if not higher[3] & lower[3]
]


@pytest.mark.parametrize(("change", "says"), [pytest.param(r[1], r[2], id=r[0]) for r in RUNGS])
def test_each_rung_gives_its_verdict(change, says, scene, told):
    assert told(change(scene).pending()) == says


@pytest.mark.parametrize(("higher", "lower"), COMPOSABLE)
def test_the_higher_of_two_applicable_rungs_decides(higher, lower, scene, told):
    both = higher[1](lower[1](scene))

    assert told(both.pending()) == higher[2]


def test_a_running_vm_without_a_reason_to_wait_starts_live(scene, told):
    assert told(scene.pending()) == "starts live"


def test_a_granted_powered_down_vm_without_a_reason_to_wait_starts_cold(scene, told):
    scene.down().approval(ApprovalState.GRANTED)

    assert told(scene.pending()) == "starts cold"


# --- where it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(lambda s: s.vm(vmm_status="UnderMigration"), id="VMM's status"),
        pytest.param(lambda s: s.vm(hyperv_status=("MigratingVirtualMachine",)), id="Hyper-V"),
        pytest.param(lambda s: s.vm(hyperv_status=("StorageMigrationPhaseOne",)), id="phase one"),
        pytest.param(lambda s: s.vm(hyperv_status=("StorageMigrationPhaseTwo",)), id="phase two"),
        pytest.param(lambda s: s.job(), id="a VMM job"),
        pytest.param(lambda s: s.job(target=None), id="a VMM job without a target yet"),
    ],
)
@pytest.mark.parametrize("at", ["hv01", "hv02", "hv03"])
def test_a_vm_with_any_sign_of_a_migration_is_left_alone_on_any_host(sign, at, scene, told):
    assert told(sign(scene.vm(at=at)).pending()) == "waits FOREIGN"


@pytest.mark.parametrize("state", ["completed", "failed", "canceled"])
def test_an_ended_job_is_no_sign_of_a_migration(state, scene, told):
    assert told(scene.job(state=state).pending()) == "starts live"


def test_a_failed_vm_with_a_running_job_is_not_dismissed(scene, told):
    scene.vm(vmm_status="MigrationFailed").job()

    assert told(scene.pending()) == "waits FOREIGN"


def test_the_wait_for_a_foreign_migration_names_its_destination(scene):
    assert scene.job(target="hv04").pending().step.text == "somebody else is moving it to hv04"


def test_a_vm_shown_on_two_hosts_has_both_re_read_before_a_person_is_needed(scene):
    scene.seen_on("hv01", "hv02")
    soon = scene.pending()
    scene.with_ages(lambda fleet: replace(fleet, ages={}))
    verdict = scene.pending()

    assert soon.looks == ()  # they were re-read just now
    assert [look.name.split(".")[0] for look in verdict.looks] == ["hv01", "hv02"]
    assert {look.kind for look in verdict.looks} == {PartKind.VMS}
    assert verdict.step.text == "shown on hv01 and hv02 at once"


def test_a_vm_missing_on_a_silent_source_does_not_count_as_gone(scene, told):
    assert told(scene.gone().silent("hv01").pending()) == "waits HOST_DOWN"


@pytest.mark.parametrize("silent", ["hv01", "hv03"])
def test_a_vm_counts_as_absent_only_if_all_answers_are_complete(silent, scene, told):
    """VMM shows the VM on hv03. A silent Hyper-V there, or on its source, may hide the VM."""
    scene.vm(at="hv03").seen_on().silent(silent)

    assert told(scene.pending()) == "waits HOST_DOWN"


def test_a_copy_in_the_library_does_not_count_as_the_vm(scene, told):
    assert told(scene.vm(stored=True).pending()) == "waits MISSING"


def test_a_vm_already_on_its_destination_needs_no_person(scene):
    finish = scene.vm(at="hv02").no_baseline().move(source="hv02").pending().step

    assert "already" in finish.sentence
    assert finish.next == ""


def test_a_vm_moved_by_others_before_its_baseline_needs_a_person(scene):
    finish = scene.vm(at="hv02").no_baseline().pending().step

    assert "before its network was saved" in finish.sentence
    assert finish.next != ""


def test_a_vm_on_another_source_of_its_run_may_start(scene, told):
    scene.run(sources=("hv01", "hv03")).vm(at="hv03")

    assert told(scene.pending()) == "starts live"


def test_host_names_are_not_case_sensitive(scene, told):
    scene.vm(at="hv02", seen_on=("HV02.CORP.EXAMPLE",)).no_baseline()

    assert told(scene.pending()) == "done ALREADY_THERE"


# --- its condition -------------------------------------------------------------------------

REPAIRS = [("MigrationFailed", AttemptKind.DISMISS), ("IncompleteVMConfig", AttemptKind.REFRESH)]


@pytest.mark.parametrize(("status", "kind"), REPAIRS)
@pytest.mark.parametrize(
    ("tries", "seconds_ago", "says"),
    [
        (1, 59, "waits TRANSIENT"),
        (1, 60, "again"),
        (2, 60, "again"),
        (3, 59, "waits TRANSIENT"),
        (3, 60, "failed STUCK"),
    ],
)
def test_dismissals_and_refreshes_are_paced_and_limited(
    status, kind, tries, seconds_ago, says, scene, told
):
    scene.vm(vmm_status=status)
    for _ in range(tries):
        scene.attempt(Result.OK, kind, ended=scene.now - seconds_ago)
    again = "Dismiss" if kind is AttemptKind.DISMISS else "RefreshVm"

    assert told(scene.pending()) == (again if says == "again" else says)


def test_dismissals_do_not_count_as_attempts_to_move(scene, told):
    for _ in range(3):
        scene.attempt(Result.FAILED, AttemptKind.DISMISS, ended=scene.now - HOUR)

    assert told(scene.pending()) == "starts live"


@pytest.mark.parametrize(("status", "kind"), REPAIRS)
@pytest.mark.parametrize("free", [Result.LOCKED, Result.BUSY, Result.STALE])
def test_a_dismissal_or_refresh_that_was_not_made_is_not_counted(free, status, kind, scene, told):
    scene.vm(vmm_status=status)
    for _ in range(3):
        scene.attempt(free, kind, ended=scene.now - HOUR)

    assert told(scene.pending()) in ("Dismiss", "RefreshVm")


@pytest.mark.parametrize("word", ["Ok", "InService", "BackingUpVirtualMachine", "Degraded"])
def test_harmless_hyper_v_statuses_block_no_move(word, scene, told):
    assert told(scene.vm(hyperv_status=(word,)).pending()) != "waits TRANSIENT"


def test_a_move_waits_for_a_backup_until_the_limit(scene):
    scene.vm(hyperv_status=("BackingUpVirtualMachine",)).waiting(Wait.BACKUP, 3599)
    verdict = scene.pending()

    assert verdict.due == scene.now + 1
    assert "longer" not in verdict.step.text


def test_a_backup_past_its_limit_is_reported_and_the_move_still_waits(scene, told):
    scene.vm(hyperv_status=("BackingUpVirtualMachine",)).waiting(Wait.BACKUP, 3600)
    verdict = scene.pending()

    assert told(verdict) == "waits BACKUP"
    assert verdict.due is None
    assert "longer than the request allows" in verdict.step.text


def test_the_request_sets_the_backup_limit(scene):
    scene.options(backup=120.0).vm(hyperv_status=("BackingUpVirtualMachine",))

    assert "longer" not in scene.waiting(Wait.BACKUP, 119).pending().step.text
    assert "longer" in scene.waiting(Wait.BACKUP, 120).pending().step.text


@pytest.mark.parametrize("free", [Result.BUSY, Result.LOCKED, Result.STALE])
def test_free_attempts_do_not_count_against_the_limit(free, scene, told):
    for _ in range(8):
        scene.attempt(free, ended=scene.now - HOUR)

    assert told(scene.pending()) == "starts live"


@pytest.mark.parametrize("charged", [Result.FAILED, Result.REFUSED, Result.LOST])
def test_live_and_cold_attempts_share_one_limit(charged, scene, told):
    for kind in (AttemptKind.LIVE, AttemptKind.COLD, AttemptKind.LIVE):
        scene.attempt(charged, kind, ended=scene.now - HOUR, error="no space on D:")
    finish = scene.pending().step

    assert told(scene.pending()) == "failed ATTEMPTS"
    assert "3 of 3" in finish.sentence
    assert "no space on D:" in finish.sentence
    assert finish.next.endswith("retry R1 web01")


# --- powered down --------------------------------------------------------------------------


@pytest.mark.parametrize("state", [HyperVState.OFF, HyperVState.SAVED, HyperVState.PAUSED])
def test_off_saved_and_paused_vms_all_need_an_approval(state, scene, told):
    assert told(scene.down().vm(hyperv_state=state).pending()) == "waits APPROVAL and asks"


def test_only_the_hyperv_state_decides_whether_a_vm_is_powered_down(scene, told):
    assert told(scene.vm(vmm_status="PowerOff").pending()) == "starts live"


def test_a_vm_counts_as_powered_down_after_exactly_ten_minutes(scene):
    began = scene.now - 599
    verdict = scene.down().move(power="running", down_since=began).pending()

    assert verdict.due == began + 600
    assert not verdict.asks


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(lambda s: s, "waits APPROVAL and asks", id="nobody was asked"),
        pytest.param(
            lambda s: s.approval(ApprovalState.REQUESTED), "waits APPROVAL", id="asked already"
        ),
        pytest.param(lambda s: s.approval(ApprovalState.GRANTED), "starts cold", id="granted"),
        pytest.param(lambda s: s.approval(ApprovalState.DENIED), "skipped DENIED", id="denied"),
        pytest.param(
            lambda s: s.approval(ApprovalState.GRANTED, decided=s.now - 24 * HOUR + 1),
            "starts cold",
            id="granted almost a day ago",
        ),
        pytest.param(
            lambda s: s.approval(
                ApprovalState.GRANTED, decided=s.now - 24 * HOUR, requested=s.now - 25 * HOUR
            ),
            "waits APPROVAL and asks",
            id="granted a day ago",
        ),
        pytest.param(
            lambda s: s.approval(
                ApprovalState.GRANTED, digest="another", requested=s.now - HOUR
            ),
            "waits APPROVAL and asks",
            id="granted for something else",
        ),
        pytest.param(
            lambda s: s.approval(ApprovalState.GRANTED, "old-crm", requested=s.now - HOUR),
            "waits APPROVAL and asks",
            id="granted for another VM",
        ),
        pytest.param(
            lambda s: s.approval(
                ApprovalState.GRANTED, "web01", "old-crm", granted=("id-old-crm",),
                requested=s.now - HOUR,
            ),
            "skipped DENIED",
            id="asked about, but only another one was chosen",
        ),
        pytest.param(
            lambda s: s.approval(ApprovalState.EXPIRED, requested=s.now - HOUR),
            "waits APPROVAL and asks",
            id="the question expired",
        ),
        pytest.param(
            lambda s: s.approval(ApprovalState.DENIED, "old-crm", requested=s.now - HOUR),
            "waits APPROVAL and asks",
            id="another one was denied",
        ),
    ],
)  # fmt: skip
def test_a_powered_down_vm_moves_only_with_a_grant_that_names_it(answer, says, scene, told):
    assert told(answer(scene.down()).pending()) == says


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s.run(destinations=("hv03",)), id="destination"),
        pytest.param(lambda s: s.run(sources=("hv01", "hv04")), id="source"),
        pytest.param(lambda s: s.options(path=r"E:\VMs"), id="path"),
    ],
)
def test_a_grant_does_not_cover_sources_destinations_or_a_path_changed_later(change, scene, told):
    """The digest of the grant covers sources, destinations and path."""
    change(scene.down().approval(ApprovalState.GRANTED, requested=scene.now - HOUR))

    assert told(scene.pending()) == "waits APPROVAL and asks"


def test_a_new_card_is_posted_at_most_every_half_hour(scene):
    scene.down().approval(ApprovalState.REQUESTED, "old-crm", requested=scene.now - 1799)
    early = scene.pending()
    late = scene.later(1).pending()

    assert (early.asks, early.due) == (False, scene.now)
    assert late.asks


def test_a_denied_move_names_the_approver_and_the_reason(scene):
    scene.down().approval(ApprovalState.DENIED, reason="month-end")

    assert (
        scene.pending().step.sentence
        == 'web01 stays where it is: denied by slack:bob: "month-end".'
    )


# --- its hosts and its pace ----------------------------------------------------------------


def usable(view):
    return tuple(gate.host for gate in gates(view) if gate.open)


def test_a_vm_may_start_if_one_of_its_destinations_answers(scene, told):
    scene.run(destinations=("hv02", "hv03")).silent("hv02")

    assert told(scene.pending()) == "starts live"
    assert usable(scene.view()) == ("hv03.corp.example",)


def test_a_vm_may_start_if_one_of_its_destinations_is_not_locked(scene, told):
    scene.run(destinations=("hv02", "hv03")).host("hv02", locked=True)

    assert told(scene.pending()) == "starts live"


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param(lambda s: s.silent("hv02"), id="silent"),
        pytest.param(lambda s: s.host("hv02", locked=True), id="locked"),
        pytest.param(lambda s: s.host("hv02", maintenance=True), id="in maintenance"),
        pytest.param(lambda s: s.hosts.pop("hv02") and s, id="unknown to VMM"),
    ],
)
def test_a_host_that_cannot_take_the_vm_is_not_a_usable_destination(unfit, scene):
    unfit(scene.run(destinations=("hv02", "hv03")))

    assert usable(scene.view()) == ("hv03.corp.example",)


def test_the_current_host_of_a_vm_is_not_a_usable_destination(scene):
    scene.run(destinations=("hv01", "hv02"))

    assert usable(scene.view()) == ("hv02.corp.example",)


def test_a_move_waits_for_the_lock_if_all_destinations_are_locked_or_silent(scene, told):
    scene.run(destinations=("hv02", "hv03")).silent("hv02").host("hv03", locked=True)
    verdict = scene.pending()

    assert told(verdict) == "waits HOST_LOCKED"
    assert verdict.step.text == "hv02 does not answer; hv03 is locked by another VMM job"


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (6, 900), (12, 900)]
)
def test_the_back_off_doubles_up_to_a_quarter_of_an_hour(failures, seconds, scene, told):
    scene.options(attempts=99)
    for _ in range(failures):
        scene.attempt(Result.FAILED, ended=scene.now - seconds + 1, error="it broke")
    early = scene.pending()
    late = scene.later(1)

    assert told(early) == "waits BACKOFF"
    assert early.step.text == f"{failures} of 99 attempts used; it broke"
    assert early.due == scene.now
    assert told(late.pending()) == "starts live"


def test_a_move_without_charged_attempts_has_no_back_off(scene):
    assert backoff((), scene.runs[1].options, scene.rules) == 0.0


def test_the_first_back_off_lasts_one_pass_of_the_request(scene, told):
    scene.options(pass_=10.0).attempt(Result.FAILED, ended=scene.now - 10)

    assert told(scene.pending()) == "starts live"


def test_free_attempts_in_between_do_not_lengthen_the_back_off(scene, told):
    scene.attempt(Result.BUSY, ended=scene.now - 300).attempt(Result.FAILED, ended=scene.now - 60)

    assert told(scene.pending()) == "starts live"


@pytest.mark.parametrize("free", [Result.BUSY, Result.LOCKED, Result.STALE])
def test_a_free_attempt_is_retried_after_three_ticks(free, scene, told):
    scene.attempt(free, ended=scene.now - 14, error="hv02 has no free slot")
    early = scene.pending()

    assert told(early) == "waits BACKOFF"
    assert early.step.text == f"last attempt {free}: hv02 has no free slot"
    assert told(scene.later(1).pending()) == "starts live"


def test_a_move_whose_last_attempt_succeeded_has_no_back_off(scene, told):
    scene.attempt(Result.OK, ended=scene.now)

    assert told(scene.pending()) == "starts live"


# --- limits --------------------------------------------------------------------------------

LIMITS = [
    (lambda s: s.gone(), Wait.MISSING, 10 * MINUTE, "skipped VANISHED"),
    (lambda s: s.seen_on("hv01", "hv02"), Wait.TWO_PLACES, 10 * MINUTE, "unknown TWO_PLACES"),
    (lambda s: s.job(), Wait.FOREIGN, 4 * HOUR, "failed STUCK"),
    (lambda s: s.vm(vmm_status="Starting"), Wait.TRANSIENT, 30 * MINUTE, "failed STUCK"),
    (lambda s: s.silent("hv02"), Wait.HOST_DOWN, HOUR, "failed STUCK"),
    (
        lambda s: s.silent("hv02").attempt(Result.FAILED),
        Wait.HOST_DOWN,
        HOUR,
        "unknown UNKNOWN",
    ),
    (lambda s: s.host("hv01", locked=True), Wait.HOST_LOCKED, HOUR, "failed STUCK"),
]


@pytest.mark.parametrize(
    ("change", "wait", "limit", "ends"), [pytest.param(*r, id=f"{r[1]} {r[3]}") for r in LIMITS]
)
def test_each_wait_ends_at_its_limit_and_not_before(change, wait, limit, ends, scene, told):
    change(scene)
    before = scene.waiting(wait, limit - 1).pending()
    after = scene.waiting(wait, limit).pending()

    assert told(before) == f"waits {wait}"
    assert before.due == scene.now + 1
    assert told(after) == ends
    assert isinstance(after.step, Finish)
    assert "web01" in after.step.sentence or "nothing was started" in after.step.sentence


@pytest.mark.parametrize(
    ("change", "wait", "limit", "ends"), [pytest.param(*r, id=f"{r[1]} {r[3]}") for r in LIMITS]
)
def test_the_limit_of_a_wait_counts_from_its_own_beginning(change, wait, limit, ends, scene, told):
    """A long wait for another reason does not count."""
    other = Wait.SLOT
    verdict = change(scene).waiting(other, 24 * HOUR).pending()

    assert told(verdict) == f"waits {wait}"
    assert verdict.due == scene.now + limit


def test_the_limit_of_a_wait_can_be_changed(scene, told):
    scene.rules = replace(scene.rules, limits={**scene.rules.limits, Wait.FOREIGN: 60.0})

    assert told(scene.job().waiting(Wait.FOREIGN, 60).pending()) == "failed STUCK"


@pytest.mark.parametrize("wait", [Wait.OTHER_RUN, Wait.PAUSED])
def test_waits_that_only_others_can_end_have_no_limit(wait, scene, told):
    change = {
        Wait.OTHER_RUN: lambda s: s.owned_by(7),
        Wait.PAUSED: lambda s: s.run(state=RunState.PAUSED),
    }[wait]
    verdict = change(scene).waiting(wait, 1000 * HOUR).pending()

    assert told(verdict) == f"waits {wait}"
    assert verdict.due is None


def test_dismissals_are_counted_anew_after_each_attempt_to_move(scene, told):
    """If restarts of VMM fail a VM again and again, the dismissals in between do not end its
    move."""
    scene.options(attempts=1).vm(vmm_status="MigrationFailed")
    scene.attempt(Result.OK, AttemptKind.DISMISS, begun=scene.now - 900, ended=scene.now - 899)
    scene.attempt(Result.STALE, begun=scene.now - 800, ended=scene.now - 700)

    assert told(scene.pending()) == "Dismiss"


def reason_of(scene, name, error):
    scene.add(name)
    for _ in range(3):
        scene.attempt(Result.FAILED, name=name, error=error.format(name=name, id=f"id-{name}"))
    ending = pending(scene.view(name)).step
    assert ending.outcome is Outcome.ATTEMPTS
    return ending.reason


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("web01", "db01"), "no space on hv02"),
        (("web01", "db01"), "{name} is hot (10698)"),
        (("web01", "db01"), "'{name}' failed to start. (Virtual machine ID {id})"),
        (("web01", "hv01"), "hv01 has no such network"),
    ],
)
def test_vms_that_end_for_the_same_reason_share_one_cause(names, error, scene):
    one, other = (reason_of(scene, name, error) for name in names)

    assert one == other


def test_two_reasons_with_the_same_vmm_number_are_two_causes(scene):
    full = reason_of(scene, "web01", "{name}: not enough memory (0x8007000E) (12711)")
    corrupt = reason_of(scene, "db01", "{name}: the disk is corrupt (0xC03A0005) (12711)")

    assert full != corrupt


def test_a_wait_needs_a_person_only_if_a_person_must_end_it(scene):
    doubtful, others = scene.view(), replace(scene.view(), owner=7)
    lost = pending(replace(doubtful, doubted_by=3)).step

    assert lost.needs_person
    assert not pending(others).step.needs_person
    scene.job()
    assert "somebody else" in pending(scene.view()).step.text
    assert not pending(scene.view()).step.needs_person
