"""Causes of failed migrations: which are charged, which are not, and which end the move."""

from __future__ import annotations

import pytest

from engine.model import AttemptKind, MoveState, Result
from engine.policy.judging.causes import Cause, cause_of, is_end, result_of

SLOT_FULL = (
    "Migration timeout because: Storage migration for 'web01' was not finished because maximum "
    "storage migration limit '2' was reached, please wait for completion (23007)"
)


@pytest.mark.parametrize(
    ("error", "cause", "result"),
    [
        (SLOT_FULL, Cause.SLOT, Result.BUSY),
        ("virtual machine migration limit '2' was reached, please wait", Cause.SLOT, Result.BUSY),
        ("The object is locked by another job (2606)", Cause.LOCK, Result.LOCKED),
        ("one or more of the objects are locked by another job.", Cause.LOCK, Result.LOCKED),
        ("'web01' cannot be migrated while it is being backed up", Cause.BACKUP, Result.LOCKED),
        ("cannot be performed while the object is in use.", Cause.BACKUP, Result.LOCKED),
        ("sharing violation (0x80070020) (12700)", Cause.BACKUP, Result.LOCKED),
        ("The connection to the agent hv02 was lost (2916)", Cause.CONNECTION, Result.STALE),
        ("A Hardware Management error 0x803381A6", Cause.CONNECTION, Result.STALE),
        ("cancelled because the VMM service restarted (1711)", Cause.RESTART, Result.STALE),
        ("Could not find Ethernet switch 'Tenant-B' (33012)", Cause.CONFIGURATION, Result.FAILED),
        ("credentials: no logon on the source (0x8009030E)", Cause.CONFIGURATION, Result.FAILED),
        ("The processor is not compatible with hv02", Cause.CONFIGURATION, Result.FAILED),
        ("The system cannot find the path specified (0x80070003)", Cause.CONFIGURATION,
         Result.FAILED),
        ("connection reset (0x80072746) (12700)", Cause.OTHER, Result.FAILED),
        ("not enough memory (0x800705AA)", Cause.OTHER, Result.FAILED),
        ("", Cause.OTHER, Result.FAILED),
    ],
)  # fmt: skip
def test_messages_of_vmm_and_hyper_v_identify_the_cause(error, cause, result):
    assert (cause_of(error), result_of(error)) == (cause, result)


@pytest.mark.parametrize("name", ["locked by another job", "x (2606)", "limit '2' was reached"])
def test_the_name_of_a_vm_is_never_read_as_a_cause(name):
    assert cause_of(f"Live migration of '{name}' failed (12700)", name) is Cause.OTHER


@pytest.mark.parametrize("name", ["7", "0", "27"])
def test_a_vm_name_inside_an_error_number_does_not_change_the_cause(name):
    assert cause_of("Job failed (27911)", name) is cause_of("Job failed (27911)")
    assert cause_of("no logon (0x8009030E)", name) is Cause.CONFIGURATION


def moving(scene, error):
    scene.move(state=MoveState.MOVING, destination="hv02", host="hv01", kind=AttemptKind.LIVE)
    scene.attempt(job="job-web01").job(state="failed", error=error)
    return scene.moving().step


@pytest.mark.parametrize(
    ("error", "result"),
    [(SLOT_FULL, Result.BUSY), ("VMM restarted (1711)", Result.STALE), ("broke", Result.FAILED)],
)
def test_a_failed_job_is_charged_only_if_its_error_concerns_the_vm(error, result, scene):
    assert moving(scene, error).ends == (result, error)


def test_a_move_without_its_switch_fails_at_once_with_advice(scene, told):
    scene.attempt(Result.FAILED, error="Could not find Ethernet switch 'Tenant-B' (33012)")
    verdict = scene.pending()

    assert told(verdict) == "failed BLOCKED"
    assert "Tenant-B" in verdict.step.sentence
    assert verdict.step.next == "Fix the cause, then: retry R1 web01"


def test_a_switch_missing_on_one_destination_leaves_the_others_usable(scene, told):
    scene.run(destinations=("hv02", "hv03"))
    scene.attempt(Result.FAILED, error="no switch (33012)", ended=scene.now - 7200)

    [start] = [s for s in scene.plan().steps if type(s).__name__ == "Start"]
    assert start.order.destination == "hv03.corp.example"


HOST_SAID = (
    "VMM cannot complete the host operation on the hv01 server because of the error: {} (12700)"
)


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (HOST_SAID.format("There is not enough space on the disk. (0x80070070)"), True),
        (HOST_SAID.format("Es steht nicht genug Speicherplatz zur Verfügung. (0x80070070)"), True),
        (HOST_SAID.format("virtual machine migration limit '2' was reached"), True),
        (HOST_SAID.format("The remote procedure call failed. (0x800706BE)"), False),
        (HOST_SAID.format("the timeout period expired. (0x800705b4)"), False),
        (HOST_SAID.format("The specified network name is gone. (0x80070040)"), False),
        (HOST_SAID.format("The semaphore timeout period has expired. (0x80070079)"), False),
        (HOST_SAID.format("Operation aborted (0x80004004)"), False),
        ("The object is locked by another job. (2606)", True),
        ("The virtual hard disk is already in use. (802)", True),
        ("The VM is not in a state in which the action is allowed. (1730)", True),
        ("The VMM service was stopped while this job was running. (1700)", False),
        ("An internal error has occurred trying to contact an agent. (2912)", False),
        ("The connection to the VMM agent was lost. Unknown error (0x80338029) (2931)", False),
        ("VMM encountered a critical exception. (20413)", False),
        ("", False),
    ],
)
def test_a_failed_job_has_ended_on_the_hosts_only_for_a_known_cause(error, ended):
    assert is_end(error) is ended
