"""Ladder of a VM at rest after an attempt: compare its network with the saved one, and repair it.

Missing settings are restored, ``Rules.restores`` times at most, and read again to be sure. If one
cannot be restored, the VM is damaged, and the exact difference is reported. A VM that is still on
its source with its network intact may be tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.language.sentence import Command, HostName, Quote, say
from engine.model import (
    MIGRATIONS,
    Attempt,
    AttemptKind,
    Difference,
    Move,
    MoveRecord,
    Outcome,
    Wait,
    same_host,
    short,
)
from engine.policy import freshness, rungs, waits
from engine.policy.judging import arrival, network
from engine.policy.steps import Arrive, Dismiss, Finish, PutBack, ReadNetworks, Return
from engine.policy.verdict import FREE, Verdict, View, ended, hold_or, quote, tell


def restoring(view: View) -> Verdict:
    """Compare the VM's network with the saved one, on any host, and restore what is missing."""
    move, vm = view.move, view.vm
    host = move.host or move.source
    if vm is None or (not vm.seen_on and view.fleet.answers(host)):
        return rungs.hold_missing(view)
    if not view.fleet.answers(host) and move.settled is not None and len(vm.seen_on) == 1:
        # A person has located the VM: do not wait for a host that may stay silent for good.
        return Verdict(Arrive(move, vm.seen_on[0]))
    if not view.fleet.answers(host):
        return rungs.hold_silent(view, (host,))
    if len(vm.seen_on) > 1:
        return rungs.hold_two_places(view)
    if arrival.is_in_flight(vm, None, view.fleet, vm.id):
        return rungs.hold_foreign(view)
    if not same_host(vm.seen_on[0], host):
        return Verdict(Arrive(move, vm.seen_on[0]))
    looks = freshness.to_trust_status(view.fleet, vm.vmm_host or host, view.last_closed)
    if not looks and vm.failed and may_repair_vm(view, AttemptKind.DISMISS):
        return Verdict(Dismiss(move, host, view.valid_until))
    # The network does not wait for VMM, only the end of the move does.
    verdict = _check_network(view, host)
    is_end = isinstance(verdict.step, Finish | Return)
    return Verdict(looks=looks) if looks and is_end else replace(verdict, looks=looks)


def _check_network(view: View, host: str) -> Verdict:
    record, move = view.record, view.move
    baseline, reading = record.baseline, record.reading
    if baseline is None:
        return _conclude(view, host, ())
    if reading is None or not same_host(reading.host, host) or _is_stale(view):
        if waits.too_long(move, Wait.HOST_DOWN, view.rules, view.run.options, view.now):
            return Verdict(_unchecked(view, host))
        return Verdict(ReadNetworks(host, (move,)))
    differences = network.compare(baseline.network, reading.network)
    if not differences:
        return _conclude(view, host, put_back(record, ()))
    repair = network.repair(host, baseline.network, reading.network)
    restores = _restores(record)
    if repair.adapters and sum(a.result not in FREE for a in restores) < view.rules.restores:
        ending = _damaged(view, host, differences)
        until = view.valid_until, view.valid_until_at(host)
        return _put_back(view, PutBack(move, repair, differences, *until), ending)
    return Verdict(_damaged(view, host, differences))


def _unchecked(view: View, host: str) -> Finish:
    form = "{vm} is on {host}, but its network could not be checked: {why}."
    hint = "Check the network on {host} by hand."
    return _spoiled(view.move, host, form, hint, why=view.move.wait_text)


def _spoiled(move: Move, host: str, form: str, hint: str, **named: object) -> Finish:
    """End of a move whose network a person has to repair; the forms may name the ``host``. The host
    takes no further VM until ``go-on``, because the next one may be damaged as well."""
    named |= {"host": HostName(host), "go_on": Command(f"go-on R{move.run} {short(host)}")}
    after_go_on = tell(move, hint, **named)
    no_further = "{first} No further VM goes to {host} until somebody types: {go_on}"
    end = ended(move, Outcome.NETWORK, form, no_further, first=after_go_on, **named)
    return replace(end, after_go_on=after_go_on)


def _put_back(view: View, step: PutBack, ending: Finish) -> Verdict:
    """Repair at once; after a result that costs nothing (a lock), only three ticks later."""
    last = next(iter(reversed(_restores(view.record))), None)
    if last is not None and last.result in FREE:
        again = (last.ended or view.now) + 3 * view.rules.tick
        text = say("its network cannot be restored yet: {}", Quote(last.error))
        verdict = hold_or(view, Wait.HOST_LOCKED, text, ending)
        if again > view.now or isinstance(verdict.step, Finish):
            return replace(verdict, due=min(again, verdict.due or again))
    return Verdict(step)


def _restores(record: MoveRecord) -> tuple[Attempt, ...]:
    """Repairs of the VM's network since its last migration or a person's retry."""
    arrived = max((a.ended or a.begun for a in record.of(*MIGRATIONS)), default=0.0)
    arrived = max(arrived, record.move.retried or 0.0)
    return tuple(a for a in record.of(AttemptKind.RESTORE) if (a.ended or a.begun) >= arrived)


def may_repair_vm(view: View, kind: AttemptKind) -> bool:
    """Tell whether VMM may be asked now to dismiss or refresh the VM: ``attempts`` times at most.
    Results in ``FREE`` do not count, but three ticks must pass after one."""
    tries = view.record.since_move(kind)
    if sum(a.result not in FREE for a in tries) >= view.run.options.attempts:
        return False
    last = tries[-1] if tries else None
    if last is None or last.result not in FREE:
        return True
    return view.now >= (last.ended or view.now) + 3 * view.rules.tick


def put_back(record: MoveRecord, missing: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """Differences that our repairs tried to restore, without those that are still ``missing``."""
    gone = {(d.adapter, d.what, d.value) for d in missing}
    tried: dict[tuple[str, str, str], Difference] = {}
    for attempt in _restores(record):
        for adapter, what, value in attempt.detail.get("differences", ()):
            if (adapter, what, value) not in gone:
                tried[adapter, what, value] = Difference(adapter, what, value)
    return tuple(tried.values())


def _damaged(view: View, host: str, differences: tuple[Difference, ...]) -> Finish:
    move, what = view.move, Quote("; ".join(_by_adapter(differences)))
    said = next((a.error for a in reversed(_restores(view.record)) if a.error), "")
    why = tell(move, "{turn}Hyper-V said: {said}.", said=Quote(said)) if said else ""
    form = "{vm} is on {host}, but its network is not as saved.{turn}Missing: {what}.{why}"
    hint = "Restore the missing settings on {host} by hand, then: {retry}."
    end = _spoiled(move, host, form, hint, what=what, why=why)
    # Each VM lacks its own settings (a MAC, a VLAN); Hyper-V's error is what VMs share.
    repaired = put_back(view.record, differences)
    return replace(end, repaired=repaired, cause=quote(said, move).kind)


def _by_adapter(differences: tuple[Difference, ...]) -> Iterator[str]:
    """One text per adapter: ``adapter 00:1D:D8:5E:B0:EA: switch LS-Main (found none), vlan 10``."""
    groups: dict[str, list[Difference]] = {}
    for one in differences:
        groups.setdefault(one.adapter, []).append(one)
    for adapter, lacks in groups.items():
        things = ", ".join(map(str, lacks))
        yield things if lacks[0].what == "adapter" else f"adapter {adapter}: {things}"


def _is_stale(view: View) -> bool:
    """Tell whether the last reading is older than our last change or a person's last word."""
    reading = view.record.reading
    changes = view.record.of(*MIGRATIONS, AttemptKind.RESTORE)
    closed = max((a.closed for a in changes), default=0)
    # A retry or ``settle`` asks for a new look: earlier readings do not count.
    anew = max(view.move.retried or 0.0, view.move.settled or 0.0)
    return reading is None or reading.asked <= closed or reading.taken <= anew


def _conclude(view: View, host: str, repaired: tuple[Difference, ...]) -> Verdict:
    """End or return a move by its host, once its network is as saved or was never saved."""
    move = view.move
    migrations = view.record.of(*MIGRATIONS)
    if view.is_destination(host):
        # Moved by us or by others: either way it is here, with its network as saved.
        by_others = "" if migrations else ", moved by somebody else"
        form = "{vm} is on {host}{by_others}."
        end = ended(move, Outcome.MOVED, form, host=HostName(host), by_others=by_others)
        return Verdict(replace(end, repaired=repaired))
    if view.is_source(host):
        last = migrations[-1] if migrations else None
        why = last.error if last is not None and last.error else "It is still on its source."
        return Verdict(Return(move, why, repaired))
    return Verdict(replace(rungs.elsewhere(move, host), repaired=repaired))
