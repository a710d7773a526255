"""Rules of approvals: the question before powered-down VMs move, and the answer to a click.

A grant covers exactly the VMs, sources, destinations and path that were shown: the digest binds
them. It lives to the run's end, 24 hours at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from engine.model import MIGRATIONS, Approval, ApprovalState, MoveRecord, Run
from engine.policy.waits import Rules


def digest(run: Run, vm_ids: Iterable[str]) -> str:
    """Hash of what an approval shows, so that exactly that moves: VM ids, hosts and path."""
    shown = {
        "run": run.id,
        "vms": sorted(vm_ids),
        "sources": sorted(s.casefold() for s in run.sources),
        "destinations": sorted(d.casefold() for d in run.destinations),
        "path": run.options.path,
    }
    return digest_of(shown)


def digest_of(shown: Mapping[str, object]) -> str:
    """Hash of what a person is shown."""
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
    """Tell whether a living grant of this run names this VM and nobody has withdrawn it since.
    ``since``: only decisions after that time count."""
    last = _last_word(vm_id, approvals, since)
    return last is not None and covers(run, last, rules, now) and vm_id in last.granted


def denial(vm_id: str, approvals: Iterable[Approval], since: float = 0.0) -> Approval | None:
    """Last decision about this VM, if it was a no: denied, withdrawn, or others were chosen."""
    last = _last_word(vm_id, approvals, since)
    if last is None or (last.state is ApprovalState.GRANTED and vm_id in last.granted):
        return None
    return last


_WORDS = frozenset({ApprovalState.GRANTED, ApprovalState.DENIED, ApprovalState.WITHDRAWN})


def _last_word(vm_id: str, approvals: Iterable[Approval], since: float) -> Approval | None:
    """The latest decision of a person about this VM."""
    decided = [
        a
        for a in approvals
        if a.state in _WORDS and vm_id in a.vms and a.decided is not None and a.decided >= since
    ]
    return max(decided, key=lambda a: (a.decided or 0.0, a.id), default=None)


def outlived(approvals: Iterable[Approval], rules: Rules, now: float) -> tuple[Approval, ...]:
    """Grants that have become too old to bind."""
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
    """Tell whether the grant of this VM ends soon and no new approval is requested yet."""
    last = _last_word(vm_id, approvals, since)
    if last is None or last.state is not ApprovalState.GRANTED or last.decided is None:
        return False
    if vm_id not in last.granted:  # others were chosen
        return False
    ends = last.decided + rules.grant_life
    return now >= ends - rules.grant_renewal and open_question(vm_id, approvals) is None


def covers(run: Run, approval: Approval, rules: Rules, now: float) -> bool:
    """Tell whether this grant still binds: granted, not too old, for this run as it is."""
    return (
        approval.state is ApprovalState.GRANTED
        and approval.digest == digest(run, approval.vms)
        and approval.decided is not None
        and now - approval.decided < rules.grant_life
    )


def open_question(vm_id: str, approvals: Iterable[Approval]) -> Approval | None:
    """The question that asks about this VM and is still open."""
    asked = (a for a in approvals if a.state is ApprovalState.REQUESTED and vm_id in a.vms)
    return next(asked, None)


def may_ask_at(approvals: Iterable[Approval], rules: Rules, since: float = 0.0) -> float:
    """Time from which a further card may be requested. VMs that turn up later share one further
    card per half hour; the first goes at once, and so does the first after a person's retry
    (``since``)."""
    cards = (a.requested for a in approvals if a.requested >= since)
    return max((at + rules.card_gap for at in cards), default=0.0)


def has_started(approval: Approval, moves: Iterable[MoveRecord]) -> bool:
    """Tell whether a VM that this approval granted has been started since."""
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
    """Facts about a person who breaks the glass: whether the settings allow it, whether they are a
    full member of our own organisation, and whether anybody else can decide."""

    allowed: bool
    fit: bool
    others: bool


#: Why a click changes nothing, in words for the audit.
ANSWERS = {
    "unknown": "there is no such question",
    "expired": "the question has expired",
    "withdrawn": "the question was withdrawn",
    "already": "it was decided before",
    "own_run": "the requester, and people who resumed or retried the run, cannot decide on it",
    "not_a_decider": "not an approver of this run",
    "stale": "the question has changed since that button was shown",
    "started": "a VM that it approved has been started since",
    "no_break_glass": "breaking the glass is not configured",
    "unfit": "guests, bots, deactivated people and those of other organisations never decide",
    "may_decide": "an approver does not need to break the glass",
    "others_may": "somebody who may decide is there",
    "no_reason": f"a reason has {REASON_LEAST} characters at least",
}


def judge_click(
    approval: Approval | None,
    run: Run | None,
    by: str,
    shown: str | None,
    approvers: frozenset[str] | None,
) -> str:
    """The one word that answers a click: ``ok``, or why it changes nothing.

    ``approvers`` is ``None`` for the terminal's own user, who may decide own runs. ``shown`` is
    the digest on the button, where there was one.
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
    """Judge the withdrawal of an approval or a question, as ``judge_click`` does. ``started``: a VM
    that the approval granted has been started since."""
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
    """The arguments of every change to an approval, which these states permit."""
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
    """Judge a break-glass approval, as ``judge_click`` does: by somebody whom the rules bar,
    because nobody else can decide, or only because they started, resumed or retried the run. Guests
    and strangers never."""
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
    """Reason why this person may not decide on this run; empty: they may."""
    if approvers is None:
        return ""
    if by == run.by or by in run.steered:
        return "own_run"
    return "" if by in approvers else "not_a_decider"
