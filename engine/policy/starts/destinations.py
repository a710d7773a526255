"""Destinations of a VM: whether each destination of its run is open to it now, and why not.

The destination is chosen when a move starts, from those that are open then. A cause that a person
has to remove (a missing switch) closes a destination for good. Every other cause is a wait with a
code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from engine.language.sentence import Command, HostName, Quote, VmName, join, say, without_stop
from engine.model import (
    MIGRATIONS,
    Fleet,
    Host,
    MoveRecord,
    MoveState,
    Outcome,
    Wait,
    same_host,
    short,
)
from engine.policy import freshness, rungs
from engine.policy.judging import arrival
from engine.policy.judging.causes import Cause, cause_of
from engine.policy.starts import preflight
from engine.policy.steps import Finish, Step
from engine.policy.verdict import Verdict, View, ended, hold, hold_or, quote


@dataclass(frozen=True)
class Gate:
    """One destination as one VM sees it. Open: no ``wait`` and not ``hopeless``.

    ``hopeless``: closed until a person changes something. ``spent``: its breaker does not try again
    by itself. ``half_open``: one VM may be tried. ``due``: when it opens by itself (Unix seconds).
    """

    host: str
    wait: Wait | None = None
    text: str = ""
    due: float | None = None
    hopeless: bool = False
    spent: bool = False
    half_open: bool = False
    silent: bool = False

    @property
    def open(self) -> bool:
        """True if a move may start there, given a free slot and enough capacity."""
        return self.wait is None and not self.hopeless


#: Order of the waits if gates differ: the soonest to pass first, then the one without a limit.
_FIRST = (Wait.HOST_LOCKED, Wait.BREAKER, Wait.DAMAGE, Wait.HOST_DOWN)


def gates(view: View) -> tuple[Gate, ...]:
    """Gates to the destinations of the run, except the host that the VM is on.

    VMs on one host with the same switches and without a charged attempt share their gates. So with
    a thousand VMs they are computed once per host, not once per VM.
    """
    vm = view.vm
    here = vm.seen_on[0] if vm and vm.seen_on else None
    failed = any(attempt.charged for attempt in view.record.counted(*MIGRATIONS))
    key = ("gates", view.move.id if failed else here, vm.switches if vm else ())
    found: tuple[Gate, ...] | None = view.known.get(key)
    if found is None:
        names = (name for name in view.run.destinations if not same_host(name, here))
        found = view.known[key] = tuple(_gate(view, name, here) for name in names)
    return found


def _gate(view: View, name: str, here: str | None) -> Gate:
    host = view.fleet.host(name)
    if host is None or host.seen_at is None:
        return Gate(name, Wait.HOST_DOWN, f"{short(name)} does not answer", silent=True)
    lacking = _lacks(view, host)
    if lacking:
        return Gate(host.name, text=lacking, hopeless=True)
    rights = view.facts.rights_on(host.name, view.run)
    if rights is not None and rights.ok is None:
        text = f"the account's rights on {short(name)} cannot be checked: {rights.why}"
        return Gate(host.name, Wait.HOST_DOWN, text)
    if host.maintenance:
        return Gate(host.name, Wait.HOST_DOWN, f"{short(name)} is in maintenance mode")
    if host.locked:
        return Gate(host.name, Wait.HOST_LOCKED, f"{short(name)} is locked by another VMM job")
    damage = view.facts.damage_on(host.name)
    if damage is not None:
        text = say(
            "{} of R{} was damaged on {}; no further VM goes there until somebody types: {}",
            VmName(damage.vm),
            damage.run,
            HostName(name),
            Command(f"go-on R{damage.run} {short(name)}"),
        )
        return Gate(host.name, Wait.DAMAGE, text)
    return _breaker(view, host, here)


def _lacks(view: View, host: Host) -> str:
    """Reason why the host cannot take this VM before a person changes it; empty: none."""
    if view.vm is not None:
        lacking = preflight.misfit(view.vm, host, view.run.options.path)
        if lacking:
            return lacking
    rights = view.facts.rights_on(host.name, view.run)
    if rights is not None and rights.ok is False:
        return say("{}: {}", HostName(host.name), Quote(rights.why))
    for attempt in view.record.counted(*MIGRATIONS):
        to_it = attempt.charged and same_host(attempt.destination, host.name)
        if to_it and cause_of(attempt.error, view.move.vm) is Cause.CONFIGURATION:
            said = quote(attempt.error.rstrip("."), view.move)
            return say("{}: {}", HostName(host.name), said)
    return ""


def _breaker(view: View, host: Host, here: str | None) -> Gate:
    broken = view.breakers.between(here or view.move.source, host.name)
    if broken is None:
        return Gate(host.name)
    if broken.state == "half_open":
        return Gate(host.name, half_open=True)
    due = broken.until if broken.state == "open" and broken.until > view.now else None
    spent = broken.state == "spent"
    return Gate(host.name, Wait.BREAKER, broken.text, due=due, spent=spent)


def blocked(view: View) -> Verdict | None:
    """Fail a move at once if every destination is closed for good, with what each one lacks."""
    found = gates(view)
    if not found or not all(gate.hopeless for gate in found):
        return None
    move = view.move
    where = HostName(view.vm.seen_on[0] if view.vm and view.vm.seen_on else move.source)
    why = join("; ", [gate.text for gate in found])
    form = "{vm} cannot move: {why}. It is still on {where}, and its network is unchanged."
    hint = "Fix the cause, then: {retry}"
    return Verdict(ended(move, Outcome.BLOCKED, form, hint, why=why, where=where))


def closed(view: View) -> Verdict | None:
    """Hold a move while no destination is open; ``None``: at least one is open."""
    found = [gate for gate in gates(view) if not gate.hopeless]
    if any(gate.open for gate in found):
        return None
    if all(gate.silent for gate in found):
        return rungs.hold_silent(view, tuple(gate.host for gate in found))
    wait = next(one for one in _FIRST if any(gate.wait is one for gate in found))
    text = join("; ", [gate.text for gate in found])
    if wait is Wait.BREAKER:
        dues = [gate.due for gate in found if gate.due is not None]
        held = hold(view, wait, text)
        # With every breaker spent, hosts that are down or damaged are no reason to wait on.
        given_up = all(gate.spent or gate.wait is not Wait.BREAKER for gate in found)
        return Verdict(held.step, due=min(dues, default=None), pauses=text if given_up else "")
    needs_person = wait is Wait.DAMAGE
    held = hold_or(view, wait, text, stuck(view, text), needs_person=needs_person)
    hosts = [gate.host for gate in found]
    looks = freshness.to_unlock(view.fleet, hosts, view.now, view.run.options)
    return replace(held, looks=looks)


def stuck(view: View, why: str) -> Finish:
    """Fail a move that waited for too long."""
    form, hint = "{vm} waited for too long: {why}.", "Check the VM in VMM, then: {retry}"
    return ended(view.move, Outcome.STUCK, form, hint, why=without_stop(why))


def damaged_now(records: Iterable[MoveRecord], fleet: Fleet, steps: Iterable[Step]) -> set[str]:
    """Hosts, case folded, on which these steps find a damaged VM, or on which a VM that ran before
    its move was just seen not to run."""
    found = {s.move.host for s in steps if isinstance(s, Finish) and s.state is MoveState.DAMAGED}
    for entry in records:
        vm = fleet.vm(entry.move.vm_id)
        in_work = entry.move.state in (MoveState.MOVING, MoveState.RESTORING)
        if vm is not None and in_work and arrival.has_stopped(entry, vm):
            found.update(vm.seen_on)
    return {host.casefold() for host in found if host}
