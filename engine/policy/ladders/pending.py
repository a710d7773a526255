"""Ladder of a pending move: whether it may start now, and the reason if not.

The rungs are tried from top to bottom; the first that applies decides. Slots, order and baselines
follow in ``starts/starts.py``, because they are decided across moves.
"""

from __future__ import annotations

from dataclasses import replace

from engine.language.grammar import matches
from engine.language.sentence import Command, HostName, Person, Quote, say
from engine.model import (
    MIGRATIONS,
    Approval,
    ApprovalState,
    AttemptKind,
    MoveState,
    Outcome,
    RunState,
    Vm,
    Wait,
    same_host,
)
from engine.policy import freshness, rungs, waits
from engine.policy.approvals import approval
from engine.policy.starts import destinations, preflight
from engine.policy.starts.destinations import stuck
from engine.policy.steps import Arrive, Dismiss, Finish, RefreshVm
from engine.policy.verdict import FREE, Verdict, View, ended, hold, hold_or, quote, typed

#: VMM's statuses of a VM at rest. Others are transient, *Failed, or IncompleteVMConfig.
_RESTING = frozenset({"Running", "PowerOff", "Saved", "Paused", "UnderMigration"})

#: Hyper-V's operational statuses that do not prevent a move.
_AT_EASE = frozenset({"Ok", "InService", "BackingUpVirtualMachine", "Degraded"})


def pending(view: View) -> Verdict:
    """Return the verdict of the first rung that applies. If none does, the move is ready."""
    for rung in (_place, _permission, _condition, _power, _pace):
        verdict = rung(view)
        if verdict is not None:
            return verdict
    vm = view.vm
    return Verdict(ready=AttemptKind.COLD if vm is not None and vm.down else AttemptKind.LIVE)


def _place(view: View) -> Verdict | None:
    """Check the VM's location: only a VM at rest on a source goes on to the next rung."""
    return _claim(view) or _location(view)


def _claim(view: View) -> Verdict | None:
    """Check that the request wants the VM, and that no other run has a claim to it."""
    move = view.move
    if is_excluded(view):
        return Verdict(ended(move, Outcome.EXCLUDED, "{vm} was excluded by the request."))
    if view.owner is not None and view.owner != view.run.id:
        # The run that owns the VM watches it and checks its network.
        if view.run.state is RunState.STOPPING:
            return Verdict(_left(view))
        return hold(view, Wait.OTHER_RUN, f"R{view.owner} is already moving it")
    if view.doubted_by is not None and view.run.state is not RunState.STOPPING:
        # It may be on a silent host, or on two hosts: a person has to look.
        settle = typed("settle", view.doubted_by, move)
        form = "location unknown since R{}; find the VM, then: {}"
        lost = say(form, view.doubted_by, settle)
        return hold(view, Wait.OTHER_RUN, lost, needs_person=True)
    return None


def _location(view: View) -> Verdict | None:
    """Judge where the VM is; ``None``: at rest on a source."""
    move, vm = view.move, view.vm
    silent = view.silent(move.source)
    if vm is None:
        return rungs.hold_silent(view, silent) if silent else rungs.hold_missing(view)
    if len(vm.seen_on) > 1:
        return rungs.hold_two_places(view)
    if vm.migrating or view.fleet.running_jobs(vm.id):
        stale = freshness.to_believe_migration(
            view.fleet, vm, view.last_closed, view.now, view.rules
        )
        return Verdict(looks=stale) if stale else rungs.hold_foreign(view)
    if not vm.seen_on and "replica" in vm.blocks:
        # ``seen_on`` never lists a replica copy, so an empty one proves nothing.
        return _blocked(view, vm)
    if not vm.seen_on:
        unasked = view.unasked()
        if unasked:
            return Verdict(looks=unasked)
        silent = view.silent(move.source, *((vm.vmm_host,) if vm.vmm_host else ()))
        return rungs.hold_silent(view, silent) if silent else rungs.hold_missing(view)
    host = vm.seen_on[0]
    if view.is_destination(host):
        return _already_there(view, host)
    if view.is_source(host):
        return None
    if view.record.baseline is not None:
        return Verdict(Arrive(move, host))
    return Verdict(rungs.elsewhere(move, host))


def _already_there(view: View, host: str) -> Verdict:
    """End the move, or check its network first, if the VM is on a destination already."""
    move = view.move
    if view.record.baseline is not None:
        return Verdict(Arrive(move, host))
    form = "{vm} was moved to {host} outside VMFerry before its network was saved."
    hint = "Check its network by hand: VMFerry has no saved network to compare it with."
    other = view.facts.verdicts.get(move.vm_id)
    if view.is_destination(move.source):
        form, hint = "{vm} was on {host} already.", ""
    elif other is not None and other.run != move.run and same_host(other.host, host):
        form, hint = "{vm} was moved to {host} by R{run}, with its network as saved.", ""
        if other.state is MoveState.DAMAGED:
            form, hint = "{vm} was moved to {host} by R{run}, where it is damaged.", "{todo}"
    run, todo = (other.run, other.next) if other else ("", "")
    there = ended(move, Outcome.ALREADY_THERE, form, hint, host=HostName(host), run=run, todo=todo)
    return Verdict(there)


def is_excluded(view: View) -> bool:
    """Tell whether the request's ``except`` names this VM."""
    return any(matches(word, view.move.vm) for word in view.run.options.excluding)


def _permission(view: View) -> Verdict | None:
    """Check that the run is neither stopping nor paused."""
    run = view.run
    if run.state is RunState.STOPPING:
        return Verdict(_left(view))
    if run.state is RunState.PAUSED:
        return hold(view, Wait.PAUSED, "the run is paused")
    return None


def _left(view: View) -> Finish:
    """Skip a move that is not in flight, because the run stops."""
    form, how = "{vm} was not started: the run was {how}.", "stopped"
    if view.record.counted(*MIGRATIONS):
        form = "{vm} did not move, and its network is unchanged: the run was {how}."
        how = "aborted" if view.run.aborting else "stopped"
    return ended(view.move, Outcome.STOPPED, form, how=how)


def _condition(view: View) -> Verdict | None:
    """Check that the VM's own condition allows a move."""
    vm = view.vm
    assert vm is not None
    stale = freshness.to_trust_status(view.fleet, vm.vmm_host or "", view.last_closed)
    if view.last_closed and stale and vm.vmm_host:
        return Verdict(looks=stale)
    if vm.failed:
        return _repair_first(view, AttemptKind.DISMISS, f"VMM says {vm.vmm_status}")
    if vm.vmm_status == "IncompleteVMConfig":
        return _repair_first(view, AttemptKind.REFRESH, "VMM says its configuration is incomplete")
    passing = _passing(vm)
    if passing:
        return hold_or(view, Wait.TRANSIENT, passing, stuck(view, passing))
    if vm.blocks:
        return _blocked(view, vm)
    misfit = _source_without_rights(view) or destinations.blocked(view)
    if misfit is not None:
        return misfit
    if vm.backing_up:
        return _in_backup(view)
    return _used_up(view)


def _passing(vm: Vm) -> str:
    """Condition of the VM that should pass soon, in words; empty: none."""
    if vm.vmm_status not in _RESTING:
        return f"VMM says {vm.vmm_status}"
    busy = [word for word in vm.hyperv_status if word not in _AT_EASE]
    if busy:
        return f"Hyper-V says {', '.join(busy)}"
    if vm.hyperv_state is None or (vm.hyperv_state.value == "Other"):
        return "Hyper-V shows it between two power states"
    return ""


def _blocked(view: View, vm: Vm) -> Verdict:
    """Fail a move whose VM cannot move before a person changes it."""
    return Verdict(Finish(view.move, Outcome.BLOCKED, *preflight.block(vm)))


def _source_without_rights(view: View) -> Verdict | None:
    """Fail a move if we have no rights on the VM's own host: its network cannot be saved."""
    vm = view.vm
    assert vm is not None
    rights = view.facts.rights_on(vm.seen_on[0], view.run)
    if rights is None or rights.ok is not False:
        return None
    form = "{vm} cannot move: its network cannot be saved. {why}."
    hint = "Give the service account rights on {host}, then: {again}"
    host, again = HostName(rights.host), Command(f"retry {view.run.label}")
    named = {"why": Quote(rights.why), "host": host, "again": again}
    return Verdict(ended(view.move, Outcome.BLOCKED, form, hint, **named))


def _repair_first(view: View, kind: AttemptKind, why: str) -> Verdict:
    """Dismiss or refresh the VM, at most ``attempts`` times, ``refresh-interval`` seconds apart."""
    tries = view.record.since_move(kind)
    options = view.run.options
    done = [a for a in tries if a.result not in FREE]
    last = tries[-1] if tries else None
    if last is not None and last.ended is not None:
        due = last.ended + (
            3 * view.rules.tick if last.result in FREE else options.refresh_interval
        )
        if due > view.now:
            text = f"{why}; {len(done)} of {options.attempts} repairs tried"
            return hold(view, Wait.TRANSIENT, text, due)
    if len(done) >= options.attempts:
        return Verdict(stuck(view, f"{why}, after {len(done)} repairs"))
    if waits.too_long(view.move, Wait.TRANSIENT, view.rules, options, view.now):
        return Verdict(stuck(view, why))
    host = view.vm.seen_on[0] if view.vm and view.vm.seen_on else view.move.source
    step = Dismiss if kind is AttemptKind.DISMISS else RefreshVm
    return Verdict(step(view.move, host, view.valid_until))


def _in_backup(view: View) -> Verdict:
    """Hold a VM in backup, without a slot. Past the limit, the move still starts if the backup ends
    before the rest of the run."""
    overdue = waits.too_long(view.move, Wait.BACKUP, view.rules, view.run.options, view.now)
    text = f"in backup{', longer than the request allows' if overdue else ''}"
    verdict = hold(view, Wait.BACKUP, text)
    return Verdict(verdict.step, due=None if overdue else verdict.due)


def _used_up(view: View) -> Verdict | None:
    charged = [a for a in view.record.counted(*MIGRATIONS) if a.charged]
    attempts = view.run.options.attempts
    if len(charged) < attempts:
        return None
    ending = ended(
        view.move,
        Outcome.ATTEMPTS,
        "{vm} did not move ({used} of {most} attempts). It is still on {where}, and its network is "
        "unchanged.{turn}Why: {why}.",
        "Fix the cause, then: {retry}",
        used=len(charged),
        most=attempts,
        where=HostName(view.vm.seen_on[0]) if view.vm and view.vm.seen_on else "?",
        why=quote(charged[-1].error.rstrip("."), view.move),
    )
    return Verdict(ending)


def _power(view: View) -> Verdict | None:
    """Check the approval of a VM down at the first observation, or down for ``down_after``."""
    vm, move, now = view.vm, view.move, view.now
    assert vm is not None
    if not vm.down:
        return None
    if move.power != "down":
        began = move.down_since if move.down_since is not None else now
        sure = began + view.rules.down_after
        return hold(view, Wait.TRANSIENT, "powered down a moment ago; it may be rebooting", sure)
    since = move.retried or 0.0
    if approval.is_granted(view.run, vm.id, view.approvals, view.rules, now, since):
        return None
    no = approval.denial(vm.id, view.approvals, since)
    if no is not None:
        return Verdict(_denied(view, no))
    question = approval.open_question(vm.id, view.approvals)
    if question is not None:
        return hold(view, Wait.APPROVAL, f"powered down; {question.label} awaits a decision")
    may_ask = approval.may_ask_at(view.approvals, view.rules, since)
    due = may_ask if may_ask > now else None
    verdict = hold(view, Wait.APPROVAL, "powered down; needs an approval", due)
    return Verdict(verdict.step, due=due, asks=may_ask <= now)


def _denied(view: View, no: Approval) -> Finish:
    said = {
        ApprovalState.GRANTED: "not approved",
        ApprovalState.WITHDRAWN: "approval withdrawn",
    }.get(no.state, "denied")
    why = say(': "{}"', Quote(no.reason)) if no.reason else ""
    form = "{vm} stays where it is: {said} by {by}{why}."
    hint = "To request a new approval: {retry}"
    by = Person(no.by or "nobody")
    return ended(view.move, Outcome.DENIED, form, hint, by=by, said=said, why=why)


def _pace(view: View) -> Verdict | None:
    """Check that the hosts are open and that the back-off since the last attempt is over."""
    closed = destinations.closed(view) or _closed_here(view)
    if closed is not None:
        return closed
    options = view.run.options
    tries = view.record.counted(*MIGRATIONS)
    again = waits.requeue_at(tries, options, view.rules)
    void = waits.refused_for(tries, view.rules, view.now)
    if void >= view.rules.limits[Wait.HOST_LOCKED]:
        return Verdict(
            stuck(view, say("no start took effect: {}", quote(tries[-1].error, view.move)))
        )
    if again <= view.now:
        return None
    charged = sum(a.charged for a in tries)
    last = max(tries, key=lambda a: a.ended or 0.0)
    text = say("last attempt {}", last.result)
    if last.error:
        text = say("last attempt {}: {}", last.result, Quote(last.error))
    if last.charged:
        text = say("{} of {} attempts used; {}", charged, options.attempts, Quote(last.error))
    return hold(view, Wait.BACKOFF, text, again)


def _closed_here(view: View) -> Verdict | None:
    """Hold a move while the VM's own host is locked, or our rights there cannot be checked."""
    here = view.fleet.host(view.vm.seen_on[0] if view.vm and view.vm.seen_on else None)
    if here is None:
        return None
    rights = view.facts.rights_on(here.name, view.run)
    if rights is not None and rights.ok is None:
        form = "the account's rights on {} cannot be checked: {}"
        text = say(form, HostName(here.name), Quote(rights.why))
        return hold_or(view, Wait.HOST_DOWN, text, stuck(view, text))
    if not here.locked:
        return None
    tries = f"; {here.tries} refreshes failed" if here.tries > 1 else ""
    text = say("{} is locked by another VMM job{}", HostName(here.name), tries)
    held = hold_or(view, Wait.HOST_LOCKED, text, stuck(view, text))
    looks = freshness.to_unlock(view.fleet, [here.name], view.now, view.run.options)
    return replace(held, looks=looks)
