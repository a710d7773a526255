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
    MODELLED,
    Attempt,
    AttemptKind,
    Difference,
    Half,
    Look,
    Move,
    MoveRecord,
    MoveState,
    Network,
    Outcome,
    PartKind,
    Reading,
    Result,
    Wait,
    same_host,
    short,
)
from engine.policy import freshness, rungs, waits
from engine.policy.judging import arrival, network
from engine.policy.steps import (
    Arrive,
    Dismiss,
    Finish,
    PutBack,
    PutModels,
    PutPorts,
    ReadModels,
    ReadPorts,
    Return,
)
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
    if arrival.is_in_flight(vm, view.fleet):
        return rungs.hold_foreign(view)
    if not same_host(vm.seen_on[0], host):
        return Verdict(Arrive(move, vm.seen_on[0]))
    looks = freshness.to_trust_status(view.fleet, vm.vmm_host or host, view.last_closed)
    if not looks and vm.failed and may_repair_vm(view, AttemptKind.DISMISS):
        return Verdict(Dismiss(move, host, view.valid_until))
    # Hyper-V's half of the network does not wait for VMM, only the good end of the move does.
    verdict = _check_network(view, host)
    is_damage = isinstance(verdict.step, Finish) and verdict.step.state is MoveState.DAMAGED
    is_end = isinstance(verdict.step, Finish | Return) and not is_damage
    return replace(
        verdict, step=None if looks and is_end else verdict.step, looks=verdict.looks + looks
    )


def _check_network(view: View, host: str) -> Verdict:
    record, move = view.record, view.move
    baseline, ports = record.baseline, record.ports
    if baseline is None:
        return _conclude(view, host, ())
    # VMM is asked to re-read the VM meanwhile: Hyper-V's half does not wait for it.
    looks = freshness.to_read_models(
        view.fleet, move.vm_id, host, _last_change(record), _last_word(view), view.run.options
    )
    if ports is None or not _is_read(view, ports, host, _last_change(record, "ports", "models")):
        return replace(_read(view, host, ReadPorts(host, (move,))), looks=looks)
    verdict = _put_ports_back(view, host, baseline.network, ports.network)
    if verdict is not None:
        return replace(verdict, looks=verdict.looks + looks)
    if view.is_destination(host) and arrival.has_stopped(record, view.vm):
        return Verdict(_not_running(view, host))
    models = record.models
    reread = view.fleet.age(PartKind.VM, move.vm_id).answered
    after = max(_last_change(record, "models"), reread)
    if looks or models is None or not _is_read(view, models, host, after):
        return Verdict(looks=looks) if looks else _read(view, host, ReadModels(host, (move,)))
    return _put_models_back(view, host, baseline.network)


def _not_running(view: View, host: str) -> Finish:
    """End the move of a VM that ran before and does not run any more, without waiting for VMM: its
    customer has an outage. Hyper-V's half of its network is as saved."""
    state = view.vm.hyperv_state if view.vm is not None else None
    form = "{vm} ran before its move. It arrived on {host}, but is {state}."
    hint = "Start {vm} on {host}, find out why it stopped, then: {retry}."
    outcome = Outcome.NOT_RUNNING
    end = _spoiled(view.move, host, form, hint, outcome=outcome, state=str(state or "off"))
    return replace(end, repaired=put_back(view.record, ()))


def _read(view: View, host: str, step: ReadPorts | ReadModels) -> Verdict:
    if _waited_too_long(view, Wait.HOST_DOWN):
        return Verdict(_unchecked(view, host))
    return Verdict(step)


def _waited_too_long(view: View, wait: Wait) -> bool:
    return waits.too_long(view.move, wait, view.rules, view.run.options, view.now)


def _put_ports_back(view: View, host: str, saved: Network, ports: Network) -> Verdict | None:
    """Restore Hyper-V's half; ``None``: nothing is left to restore there."""
    repair = network.repair_ports(host, saved, ports)
    if not repair.adapters:
        return None
    lost = network.compare(saved, network.assume_models(saved, ports))
    if not _may_restore(view, "ports"):
        return Verdict(_damaged(view, host, lost))
    step = PutPorts(view.move, repair, lost, view.valid_until_at(host))
    return _put_back(view, step, _damaged(view, host, lost))


def _put_models_back(view: View, host: str, saved: Network) -> Verdict:
    """Restore VMM's half once both are known, and end the move."""
    record = view.record
    found = network.found(record)
    lost = network.compare(saved, found)
    unknown_to_vmm = _replugged(record)
    if not lost and not unknown_to_vmm:
        return _conclude(view, host, put_back(record, ()))
    replugged = {(one.adapter, one.what) for one in unknown_to_vmm}
    repair = network.repair_models(host, saved, found, replugged)
    # What only VMM was not told of is no damage, and does not wait for a lock for ever.
    is_patient = lost or not _waited_too_long(view, Wait.HOST_LOCKED)
    if repair.adapters and is_patient and _may_restore(view, "models"):
        modelled = tuple(one for one in lost if one.what in MODELLED)
        step = PutModels(view.move, repair, modelled + unknown_to_vmm, view.valid_until)
        return _put_back(view, step, _damaged(view, host, lost or unknown_to_vmm))
    if not lost:
        return _conclude(view, host, put_back(record, ()))
    return Verdict(_damaged(view, host, lost))


def _may_restore(view: View, half: Half) -> bool:
    tried = _restores(view.record, half)
    return sum(a.result not in FREE for a in tried) < view.rules.restores


def _replugged(record: MoveRecord) -> tuple[Difference, ...]:
    """Switches and VLANs that Hyper-V has again and that VMM was not told of."""
    told: dict[tuple[str, str], Difference] = {}
    for attempt in _restores(record):
        half = attempt.detail.get("half")
        for one in _differences(attempt):
            key = one.adapter, one.what
            # A repair without an answer, or cut by a kill, may have restored it, too.
            is_done = attempt.result not in (Result.LOCKED, Result.BUSY)
            if half == "ports" and one.what in ("switch", "vlan") and is_done:
                told[key] = one
            elif half != "ports" and attempt.result is Result.OK:
                told.pop(key, None)
    return tuple(told.values())


def _unchecked(view: View, host: str) -> Finish:
    form = "{vm} is on {host}, but its network could not be checked: {why}."
    hint = "Check the network on {host} by hand."
    return _spoiled(view.move, host, form, hint, why=view.move.wait_text)


def _spoiled(
    move: Move,
    host: str,
    form: str,
    hint: str,
    outcome: Outcome = Outcome.NETWORK,
    **named: object,
) -> Finish:
    """End of a move whose network or VM a person has to repair; the forms may name the ``host``.
    The host takes no further VM until ``go-on``: the next one may be damaged as well."""
    named |= {"host": HostName(host), "go_on": Command(f"go-on R{move.run} {short(host)}")}
    after_go_on = tell(move, hint, **named)
    no_further = "{first} No further VM goes to {host} until somebody types: {go_on}"
    end = ended(move, outcome, form, no_further, first=after_go_on, **named)
    return replace(end, after_go_on=after_go_on)


def _put_back(view: View, step: PutBack, ending: Finish) -> Verdict:
    """Repair at once; after a result that costs nothing (a lock), only three ticks later."""
    last = next(iter(reversed(_restores(view.record, step.half))), None)
    if last is not None and last.result in FREE:
        again = (last.ended or view.now) + 3 * view.rules.tick
        text = say("its network cannot be restored yet: {}", Quote(last.error))
        verdict = hold_or(view, Wait.HOST_LOCKED, text, ending)
        if again > view.now or isinstance(verdict.step, Finish):
            look = Look(PartKind.PULSE, step.repair.host)  # shows the host's clock anew
            asked = view.fleet.age(*look.key).asked_at or 0.0
            is_old = last.result is Result.STALE and asked < (last.ended or 0.0)
            due = min(again, verdict.due or again)
            return replace(verdict, due=due, looks=(look,) if is_old else ())
    return Verdict(step)


def _restores(record: MoveRecord, half: Half | None = None) -> tuple[Attempt, ...]:
    """Repairs of the VM's network, or of one half, since its last migration or a person's retry."""
    arrived = max((a.closed for a in record.of(*MIGRATIONS)), default=0)
    again = record.move.retried or 0.0
    tried = (a for a in record.of(AttemptKind.RESTORE) if (a.ended or a.begun) >= again)
    since = (a for a in tried if a.opened >= arrived)
    return tuple(a for a in since if half is None or _is_of(a, half))


def _is_of(restore: Attempt, half: Half) -> bool:
    """Tell whether a repair was about this half. Repairs by older versions were about both."""
    return bool(restore.detail.get("half", half) == half)


def _differences(restore: Attempt) -> Iterator[Difference]:
    for adapter, what, value in restore.detail.get("differences", ()):
        yield Difference(adapter, what, value)


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
        for one in _differences(attempt):
            key = one.adapter, one.what, one.value
            if key not in gone:
                tried[key] = one
    return tuple(tried.values())


def _damaged(view: View, host: str, differences: tuple[Difference, ...]) -> Finish:
    move, what = view.move, Quote("; ".join(_by_adapter(differences)))
    failed = next((a for a in reversed(_restores(view.record)) if a.error), None)
    said = failed.error if failed is not None else ""
    why: object = ""
    if failed is not None:
        who = "VMM" if failed.detail.get("half") == "models" else "Hyper-V"
        why = tell(move, "{turn}{who} said: {said}.", who=who, said=Quote(said))
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


def _is_read(view: View, reading: Reading, host: str, after: int) -> bool:
    """Tell whether a half was read on this host, after call ``after`` and a person's last word."""
    if not same_host(reading.host, host) or reading.asked <= after:
        return False
    return reading.taken > _last_word(view)


def _last_word(view: View) -> float:
    """Time of a person's last word. A retry or ``settle`` asks for a new look: earlier readings do
    not count. A time in the future shows that the clock was set back; no reading would ever be
    young enough then."""
    at = max(view.move.retried or 0.0, view.move.settled or 0.0)
    return at if at <= view.now else 0.0


def _last_change(record: MoveRecord, *halves: Half) -> int:
    """Number of the newest call when our last migration or repair of these halves ended. VMM's
    repairs change Hyper-V's half, too."""
    restores = record.of(AttemptKind.RESTORE)
    changes = [a for a in restores if any(_is_of(a, half) for half in halves)]
    return max((a.closed for a in (*record.of(*MIGRATIONS), *changes)), default=0)


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
