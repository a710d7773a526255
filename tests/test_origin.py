"""Defects of the original module, each with the tests that show that VMFerry does not have it.

VMFerry took its behaviour from SCVMReliableMigration. Each defect of that module is listed here in
a sentence, beside the names of the tests and stories that would fail if VMFerry had it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

DEFECTS = {
    "A VM with an incomplete configuration went round for ever: the attempt was written, the limit "
    "never looked at": [
        "52_incomplete_again_and_again",
        "test_dismissals_and_refreshes_are_paced_and_limited",
    ],
    "A move that failed but left the VM on the destination skipped the repair of its ACLs": [
        "07_failed_but_moved",
        "test_the_location_of_the_vm_decides_and_the_job_only_explains",
    ],
    "Rules were compared by reference: all of them looked missing, and were added again": [
        "test_only_missing_settings_are_a_difference",
        "test_a_second_repair_is_empty",
        "test_a_rule_under_the_same_key_is_never_overwritten",
    ],
    "Rules were put back by the VM's name: on all of its adapters, and on its namesakes": [
        "53_namesakes",
        "02_lost_acls_are_put_back",
    ],
    "ACLs were compared after cold moves only": ["02_lost_acls_are_put_back"],
    "Only the first adapter of a powered-down VM was pinned; none at all was an error": [
        "51_every_field_of_a_network",
        "62_nothing_to_pin",
        "03_powered_down_keeps_its_network",
    ],
    "Several reasons of a VM that cannot move had no branch, or one that was never reached": [
        "test_every_outcome_occurs_in_a_story",
        "test_every_cell_of_the_truth_table_has_a_row",
    ],
    "Slots were counted for both hosts together against the smaller limit": [
        "63_a_third_host_takes_no_slot",
        "test_each_sign_that_names_both_hosts_takes_a_slot_on_both",
    ],
    "The storage limit was not looked at": ["test_a_move_needs_a_live_and_a_storage_slot"],
    "The limits were read once a run": [
        "test_a_plan_uses_the_limits_of_its_observation",
        "46_changed_in_mid_run",
    ],
    "One VM in backup held up every powered-down one": ["61_a_backup_holds_up_nobody"],
    "Sixty seconds of sleep after each round, and VMs in whatever order they came": [
        "test_a_plan_starts_as_many_moves_as_there_are_slots",
    ],
    "A host that could not be re-read for any reason but one number ended the run": [
        "24_a_locked_host",
        "test_a_re_read_that_failed_is_tried_again_at_intervals_and_then_once_a_pass",
    ],
    "An exception of VMM ended the run": ["19_vmm_is_silent", "57_what_is_charged"],
    "Jobs were found by the name of the VM": ["53_namesakes", "12_status_lies_and_jobs_come_late"],
    "A backup was seen only where two of Hyper-V's words stood in one order": [
        "test_only_hyperv_shows_a_backup_and_a_migration_during_a_backup_fails_quickly",
    ],
    "A failed state of VMM stuck to the VM": ["05_a_failure_is_tried_again"],
    "A host was restarted with a VM on it": [
        "test_a_source_is_proven_empty_by_two_observations_thirty_seconds_apart",
        "test_a_source_is_never_reported_empty_without_proof",
    ],
}


def names() -> set[str]:
    """The names of all test functions and story folders."""
    tests = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    found = {name for text in tests for name in re.findall(r"^def (test_\w+)", text, re.M)}
    return found | {path.parent.name for path in (ROOT / "tests" / "stories").glob("*/story.toml")}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_of_the_original_is_covered_by_tests(defect):
    assert [name for name in DEFECTS[defect] if name not in names()] == []
    assert DEFECTS[defect]
