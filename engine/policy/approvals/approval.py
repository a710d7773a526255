"""Rules of approvals: the question before powered-down VMs move, and the answer to a click.

A grant covers exactly the VMs, sources, destinations and path that were shown; its digest binds
them. It is valid until the run ends, and for 24 hours at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from engine.model import MIGRATIONS, Approval, ApprovalState, MoveRecord, Run
from engine.policy.waits import Rules


def digest(run: Run, vm_ids: Iterable[str]) -> str:
    """Hash of the VM ids, hosts and path that an approval shows: a grant covers nothing else."""
    shown = {
        "run": run.id,
        "vms": sorted(vm_ids),
        "sources": sorted(s.casefold() for s in run.sources),
        "destinations": sorted(d.casefold() for d in run.destinations),
        "path": run.options.path,
    }
    return digest_of(shown)


def digest_of(shown: Mapping[str, object]) -> str:
    """16 hex digits of the SHA-256 over the facts that a person is shown."""
    text = json.dumps(shown, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_granted(
    run: Run,
    vm_id: str,
    approvals: Iterable[Approval],
    rules: Rules,
    now: float,
    since: float = 0.0,
) -> bool:
    """Tell whether the latest decision about this VM is a grant that names it and still binds.
    Only decisions at ``since`` or later count (Unix seconds)."""
    last = _last_word(vm_id, approvals, since)
    return last is not None and covers(run, last, rules, now) and vm_id in last.granted


def denial(vm_id: str, approvals: Iterable[Approval], since: float = 0.0) -> Approval | None:
    """Latest decision about this VM, if it was denied, withdrawn, or granted to other VMs only."""
    last = _last_word(vm_id, approvals, since)
    if last is None or (last.state is ApprovalState.GRANTED and vm_id in last.granted):
        return None
    return last


_WORDS = frozenset({ApprovalState.GRANTED, ApprovalState.DENIED, ApprovalState.WITHDRAWN})


def _last_word(vm_id: str, approvals: Iterable[Approval], since: float) -> Approval | None:
    """Latest decision of a person about this VM."""
    decided = [
        a
        for a in approvals
        if a.state in _WORDS and vm_id in a.vms and a.decided is not None and a.decided >= since
    ]
    return max(decided, key=lambda a: (a.decided or 0.0, a.id), default=None)


def outlived(approvals: Iterable[Approval], rules: Rules, now: float) -> tuple[Approval, ...]:
    """Grants that are too old to bind."""
    return tuple(
        a
        for a in approvals
        if a.state is ApprovalState.GRANTED
        and a.decided is not None
        and now - a.decided >= rules.grant_life
    )


def is_running_out(
    vm_id: str, approvals: Sequence[Approval], rules: Rules, now: float, since: float = 0.0
) -> bool:
    """Tell whether this VM's grant ends soon and no new approval is requested yet."""
    last = _last_word(vm_id, approvals, since)
    if last is None or last.state is not ApprovalState.GRANTED or last.decided is None:
        return False
    if vm_id not in last.granted:  # others were chosen
        return False
    ends = last.decided + rules.grant_life
    return now >= ends - rules.grant_renewal and open_question(vm_id, approvals) is None


def covers(run: Run, approval: Approval, rules: Rules, now: float) -> bool:
    """Tell whether this grant still binds: not too old, and the run has not changed since."""
    return (
        approval.state is ApprovalState.GRANTED
        and approval.digest == digest(run, approval.vms)
        and approval.decided is not None
        and now - approval.decided < rules.grant_life
    )


def open_question(vm_id: str, approvals: Iterable[Approval]) -> Approval | None:
    """Open question about this VM, or ``None``."""
    asked = (a for a in approvals if a.state is ApprovalState.REQUESTED and vm_id in a.vms)
    return next(asked, None)


def may_ask_at(approvals: Iterable[Approval], rules: Rules, since: float = 0.0) -> float:
    """Earliest time of the next card (Unix seconds); 0: at once. Cards are at least ``card_gap``
    apart, so that VMs that turn up later share one. Cards before ``since``, a person's retry, do
    not count."""
    cards = (a.requested for a in approvals if a.requested >= since)
    return max((at + rules.card_gap for at in cards), default=0.0)


def has_started(approval: Approval, moves: Iterable[MoveRecord]) -> bool:
    """Tell whether a VM of this grant was started after the decision."""
    decided = approval.decided
    if approval.state is not ApprovalState.GRANTED or decided is None:
        return False
    return any(
        attempt.begun >= decided
        for entry in moves
        if entry.move.vm_id in approval.granted
        for attempt in entry.of(*MIGRATIONS)
    )


REASON_LEAST = 15  # characters of a reason for breaking the glass


@dataclass(frozen=True)
class Glass:
    """Facts for a break-glass approval. ``allowed``: the settings allow it to the person.
    ``fit``: the person is a full member. ``others``: somebody else can decide."""

    allowed: bool
    fit: bool
    others: bool


#: Why a click changes nothing, in words for the audit.
ANSWERS = {
    "unknown": "there is no such approval",
    "expired": "the approval has expired",
    "withdrawn": "the approval was withdrawn",
    "already": "the approval was already decided",
    "own_run": "people who requested, resumed or retried a run cannot decide on its approvals",
    "not_a_decider": "only approvers may decide",
    "stale": "the approval has changed since that button was shown",
    "started": "one of the approved VMs has been started",
    "no_break_glass": "the settings do not allow this person to break the glass",
    "unfit": "guests, bots, deactivated people and people of other organisations cannot decide",
    "may_decide": "an approver does not need to break the glass",
    "others_may": "an approver is available",
    "no_reason": f"a reason needs at least {REASON_LEAST} characters",
}


def judge_click(
    approval: Approval | None,
    run: Run | None,
    by: str,
    shown: str | None,
    approvers: frozenset[str] | None,
) -> str:
    """Judge a click on an approval: ``ok``, or a key of ``ANSWERS``.

    ``approvers`` is ``None`` for the terminal's user, who may decide on their own runs. ``shown``
    is the digest on the button; ``None``: there was no button.
    """
    return _judge(approval, run, by, shown, approvers, {ApprovalState.REQUESTED})


def judge_withdrawal(
    approval: Approval | None,
    run: Run | None,
    by: str,
    shown: str | None,
    approvers: frozenset[str] | None,
    started: bool,
) -> str:
    """Judge the withdrawal of a grant or an open question, as ``judge_click`` does. ``started``: a
    VM of the grant was started after the decision."""
    states = {ApprovalState.REQUESTED, ApprovalState.GRANTED}
    word = _judge(approval, run, by, shown, approvers, states)
    return "started" if started and word == "ok" else word


def _judge(
    approval: Approval | None,
    run: Run | None,
    by: str,
    shown: str | None,
    approvers: frozenset[str] | None,
    states: Set[ApprovalState],
) -> str:
    """Judge a change to an approval that must be in one of ``states``; see ``judge_click``."""
    if approval is None or run is None:
        return "unknown"
    if approval.state in (ApprovalState.EXPIRED, ApprovalState.WITHDRAWN):
        return str(approval.state)
    if approval.state not in states:
        return "already"
    if run.over:
        return "expired"
    if word := _may_not(run, by, approvers):
        return word
    return "stale" if shown is not None and shown != approval.digest else "ok"


def judge_breaking(
    approval: Approval | None,
    run: Run | None,
    by: str,
    shown: str | None,
    approvers: frozenset[str],
    glass: Glass,
    reason: str,
) -> str:
    """Judge a break-glass approval, as ``judge_click`` does. The rules must bar the person, and
    either nobody else can decide, or the person is an approver who started, resumed or retried the
    run. Guests and strangers never may."""
    word = judge_click(approval, run, by, shown, None)
    if word != "ok" or run is None:
        return word
    if not glass.allowed:
        return "no_break_glass"
    if not glass.fit:
        return "unfit"
    barred = _may_not(run, by, approvers)
    if not barred:
        return "may_decide"
    if glass.others and not (barred == "own_run" and by in approvers):
        return "others_may"
    return "ok" if len(reason.strip()) >= REASON_LEAST else "no_reason"


def _may_not(run: Run, by: str, approvers: frozenset[str] | None) -> str:
    """Key of ``ANSWERS`` for a person who may not decide on this run; empty: they may."""
    if approvers is None:
        return ""
    if by == run.by or by in run.steered:
        return "own_run"
    return "" if by in approvers else "not_a_decider"
