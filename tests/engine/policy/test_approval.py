"""Approvals: the answer to every click, and the changes that void a grant."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.model import Approval, ApprovalState, Options, Run, RunState
from engine.policy.approvals import approval as approvals
from engine.policy.approvals.approval import ANSWERS, REASON_LEAST, Glass
from engine.policy.waits import Rules

DANA, MEI, OMAR = "slack:dana", "slack:mei", "slack:omar"
RUN = Run(
    id=7,
    vmm="vmm01",
    kind="host",
    request="host hv01 to hv02",
    sources=("hv01.corp.example",),
    destinations=("hv02.corp.example",),
    options=Options(path="D:\\VMs"),
    by=DANA,
    state=RunState.ACTIVE,
    created=0.0,
    steered=(OMAR,),
)
VMS = ("id-1", "id-2")
ASKED = Approval(1, 7, ApprovalState.REQUESTED, approvals.digest(RUN, VMS), VMS, requested=0.0)
GRANTED = replace(ASKED, state=ApprovalState.GRANTED, granted=VMS, decided=10.0, by="slack:ravi")
MAY = frozenset({"slack:ravi", DANA, OMAR})
WHY = "the storage is on fire"
OPEN = Glass(allowed=True, fit=True, others=False)

#: The fields that a grant binds, each with another value. The card shows no other field.
BOUND = {
    "id": 8,
    "sources": ("hv09.corp.example",),
    "destinations": ("hv02.corp.example", "hv03.corp.example"),
}
FREE = {f.name for f in fields(Run)} - set(BOUND) - {"options"}
FREE_OPTIONS = {f.name for f in fields(Options)} - {"path"}


@pytest.mark.parametrize(("field", "value"), sorted(BOUND.items()))
def test_a_grant_is_void_if_the_run_that_was_shown_changes(field, value):
    changed = replace(RUN, **{field: value})

    assert approvals.covers(RUN, GRANTED, Rules(), 20.0)
    assert not approvals.covers(changed, GRANTED, Rules(), 20.0)
    assert not approvals.is_granted(changed, "id-1", [GRANTED], Rules(), 20.0)


@pytest.mark.parametrize("path", [None, "", "E:\\VMs", "d:\\VMs", "D:\\VMs\\"])
def test_a_grant_is_void_if_the_path_changes(path):
    changed = replace(RUN, options=replace(RUN.options, path=path))

    assert not approvals.is_granted(changed, "id-1", [GRANTED], Rules(), 20.0)


@pytest.mark.parametrize(
    "vms", [("id-1",), ("id-1", "id-2", "id-3"), ("id-1", "id-3"), ("ID-1", "id-2"), ()]
)
def test_a_grant_is_void_if_its_vms_differ_from_the_shown_vms(vms):
    forged = replace(GRANTED, vms=vms, granted=vms)

    assert not approvals.covers(RUN, forged, Rules(), 20.0)
    assert not any(approvals.is_granted(RUN, vm, [forged], Rules(), 20.0) for vm in vms)


def test_a_vm_that_the_card_did_not_show_is_not_granted():
    assert not approvals.is_granted(RUN, "id-3", [GRANTED], Rules(), 20.0)


def test_every_field_of_a_run_is_either_bound_by_the_digest_or_listed_as_free():
    """A new field has to be put on one side: shown on the card and bound, or neither."""
    assert {
        *("vmm", "kind", "request", "by", "state", "created", "started", "ended", "said"),
        *(
            "quiet_since",
            "empty_first",
            "empty_calm",
            "empty_seen",
            "empty",
            "resumed",
            "steered",
            "aborting",
        ),
        *("back", "owner"),
    } == FREE
    assert {
        *("parallel", "attempts", "backup", "bulletproof", "stop_on_failure", "now"),
        *("pass_", "lookups", "lookup_interval", "refreshes", "refresh_interval", "excluding"),
    } == FREE_OPTIONS


@given(st.sampled_from(sorted({"sources", "destinations"})), st.data())
def test_two_sets_of_hosts_have_the_same_digest_only_if_they_are_equal(field, data):
    hosts = st.lists(st.sampled_from(["hv01", "hv02", "hv03", "hv04"]), unique=True, min_size=1)
    one, other = data.draw(hosts), data.draw(hosts)

    digests = {approvals.digest(replace(RUN, **{field: tuple(each)}), VMS) for each in (one, other)}

    assert (len(digests) == 1) == (set(one) == set(other))


# --- breaking the glass -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "glass", "reason", "word"),
    [
        pytest.param(MEI, OPEN, WHY, "ok", id="nobody can decide, anybody of us may"),
        pytest.param(DANA, replace(OPEN, others=True), WHY, "ok", id="barred: asked for it"),
        pytest.param(OMAR, replace(OPEN, others=True), WHY, "ok", id="barred: had it go on"),
        pytest.param(MEI, replace(OPEN, others=True), WHY, "others_may", id="others are there"),
        pytest.param("slack:ravi", OPEN, WHY, "may_decide", id="may decide anyway"),
        pytest.param(MEI, replace(OPEN, fit=False), WHY, "unfit", id="a guest"),
        pytest.param(DANA, replace(OPEN, fit=False), WHY, "unfit", id="a barred guest"),
        pytest.param(MEI, replace(OPEN, allowed=False), WHY, "no_break_glass", id="not set"),
        pytest.param(MEI, OPEN, "too short", "no_reason", id="no reason"),
        pytest.param(MEI, OPEN, " " * REASON_LEAST, "no_reason", id="blanks"),
    ],
)
def test_judge_breaking_decides_who_may_give_a_break_glass_approval(by, glass, reason, word):
    told = approvals.judge_breaking(ASKED, RUN, by, ASKED.digest, MAY, glass, reason)

    assert told == word


def test_a_requester_who_is_no_approver_is_told_that_others_may_approve():
    run = replace(RUN, by="slack:zoe")
    asked = replace(ASKED, digest=approvals.digest(run, VMS))
    others = replace(OPEN, others=True)

    told = approvals.judge_breaking(asked, run, "slack:zoe", asked.digest, MAY, others, WHY)

    assert told == "others_may"


@pytest.mark.parametrize(
    ("state", "over", "shown", "word"),
    [
        (ApprovalState.GRANTED, False, "same", "already"),
        (ApprovalState.DENIED, False, "same", "already"),
        (ApprovalState.EXPIRED, False, "same", "expired"),
        (ApprovalState.WITHDRAWN, False, "same", "withdrawn"),
        (ApprovalState.REQUESTED, True, "same", "expired"),
        (ApprovalState.REQUESTED, False, "other", "stale"),
    ],
)
def test_a_break_glass_approval_cannot_reopen_a_closed_approval(state, over, shown, word):
    asked = replace(ASKED, state=state)
    run = replace(RUN, state=RunState.COMPLETED) if over else RUN
    digest = ASKED.digest if shown == "same" else "other"

    assert approvals.judge_breaking(asked, run, MEI, digest, MAY, OPEN, WHY) == word


def test_break_glass_on_an_approval_that_does_not_exist_is_refused():
    assert approvals.judge_breaking(None, None, MEI, "x", MAY, OPEN, WHY) == "unknown"


def test_every_verdict_on_a_click_has_a_sentence():
    everything = itertools.product(
        [None, *(replace(ASKED, state=state) for state in ApprovalState)],
        [None, RUN, replace(RUN, state=RunState.STOPPED)],
        [MEI, "slack:ravi", DANA, OMAR],
        [None, ASKED.digest, "other"],
        [frozenset(), MAY],
        [False, True],
    )
    for asked, run, by, shown, may, flag in everything:
        glass = Glass(flag, not flag, flag)
        words = {
            approvals.judge_click(asked, run, by, shown, may),
            approvals.judge_withdrawal(asked, run, by, shown, may, flag),
            approvals.judge_breaking(asked, run, by, shown, may, glass, WHY),
            approvals.judge_breaking(asked, run, by, shown, may, OPEN, "no"),
        }
        assert words - {"ok"} <= set(ANSWERS)


@given(
    by=st.sampled_from([MEI, "slack:ravi", DANA, OMAR]),
    glass=st.builds(Glass, st.booleans(), st.booleans(), st.booleans()),
    state=st.sampled_from(ApprovalState),
    shown=st.sampled_from([ASKED.digest, "other", None]),
    may=st.frozensets(st.sampled_from([MEI, "slack:ravi", DANA, OMAR])),
)
def test_a_click_counts_only_if_its_person_and_card_allow_it(by, glass, state, shown, may):
    asked = replace(ASKED, state=state)

    plain = approvals.judge_click(asked, RUN, by, shown, may)
    broken = approvals.judge_breaking(asked, RUN, by, shown, may, glass, WHY)

    if plain == "ok":
        assert state is ApprovalState.REQUESTED
        assert by in may - {DANA, OMAR}
        assert shown != "other"
    if broken == "ok":
        assert state is ApprovalState.REQUESTED
        assert glass.allowed
        assert glass.fit
        assert shown != "other"
        assert plain != "ok"
