"""Rungs that several ladders share: VMs whose location is in doubt or outside of the request."""

from __future__ import annotations

from dataclasses import replace

from engine.language.sentence import HostName, join, say
from engine.model import MIGRATIONS, Look, Move, MoveState, Outcome, PartKind, Result, Wait
from engine.policy import freshness
from engine.policy.steps import Finish
from engine.policy.verdict import Verdict, View, ended, hold_or, never_asked


def hold_silent(view: View, hosts: tuple[str, ...]) -> Verdict:
    """Hold a move while a host is silent; past the limit the move ends and a person has to look.
    Hosts that were not asked yet are asked first."""
    unasked = never_asked(view.fleet, hosts)
    if unasked:
        return Verdict(looks=unasked)
    names = join(", ", map(HostName, hosts))
    move = view.move
    ending = ended(
        move,
        Outcome.UNKNOWN,
        "{names} did not answer for too long; the location of {vm} is unknown.",
        "Find {vm} on {names} by its id {id}. {settle}",
        names=names,
    )
    if move.state is MoveState.PENDING and not view.record.of(*MIGRATIONS):
        ending = ended(
            move,
            Outcome.STUCK,
            "{names} did not answer for too long; nothing was started.",
            "Bring {names} back, then: {retry}",
            names=names,
        )
    return hold_or(view, Wait.HOST_DOWN, say("{} does not answer", names), ending)


def hold_two_places(view: View) -> Verdict:
    """Hold a VM that Hyper-V shows on two hosts: only re-read; after the limit a person decides."""
    seen = view.vm.seen_on if view.vm else ()
    places = join(" and ", map(HostName, seen))
    ending = ended(
        view.move,
        Outcome.TWO_PLACES,
        "Hyper-V shows {vm} on {places}.",
        "Start neither until you know which copy is in use. The VM's id is {id}. {settle}",
        places=places,
    )
    verdict = hold_or(view, Wait.TWO_PLACES, say("shown on {} at once", places), ending)
    rereads = (Look(PartKind.VMS, host) for host in seen)
    options = view.run.options
    due = tuple(k for k in rereads if freshness.may_reread(view.fleet, k, view.now, options))
    return Verdict(verdict.step, looks=due, due=verdict.due)


def hold_missing(view: View) -> Verdict:
    """Hold a VM that no Hyper-V shows, in complete answers. After the limit it counts as vanished.
    If we had started it and VMM still knows it, a person has to look first (``settle``)."""
    move = view.move
    known = view.vm is not None
    lost_in_move = bool(view.record.of(*MIGRATIONS)) and known and move.settled is None
    shows = "no Hyper-V shows" if known else "neither VMM nor Hyper-V shows"
    ending = ended(move, Outcome.VANISHED, "{vm} is gone: {shows} its id {id}.", shows=shows)
    if lost_in_move:
        ending = ended(
            move,
            Outcome.UNKNOWN,
            "{vm} is on neither host after its move, though VMM still knows it.",
            "Find the VM by its id {id} before you do anything else. {settle}",
        )
    if view.record.open_migration:
        ending = replace(ending, ends=(Result.LOST, "The VM was not found again."))
    return hold_or(view, Wait.MISSING, "not found on any host", ending)


def hold_foreign(view: View) -> Verdict:
    """Hold a VM that somebody else is moving, until their migration ends."""
    move = view.move
    job = next(iter(view.fleet.running_jobs(move.vm_id)), None)
    to = say(" to {}", HostName(job.target)) if job is not None and job.target else ""
    form = "A migration of {vm}{to} that VMFerry did not start has lasted too long."
    outcome, hint = Outcome.UNKNOWN, "Cancel its job in VMM, and find the VM. {settle}"
    if move.state is MoveState.PENDING:
        outcome, hint = Outcome.STUCK, "Cancel its job in VMM, then: {retry}"
    ending = ended(move, outcome, form, hint, to=to)
    if job is None and view.vm is not None and not view.vm.migrating_by_hyperv:
        return _hold_stuck(view, ending)
    return hold_or(view, Wait.FOREIGN, say("somebody else is moving it{}", to), ending)


def _hold_stuck(view: View, ending: Finish) -> Verdict:
    """Hold a VM that VMM shows as UnderMigration, although no job and no Hyper-V does. VMM re-reads
    it meanwhile, once a ``pass``."""
    text = "VMM still shows UnderMigration, without a job"
    verdict = hold_or(view, Wait.FOREIGN, text, ending)
    look = Look(PartKind.VM, view.move.vm_id, host=view.move.host or view.move.source)
    may = freshness.may_reread(view.fleet, look, view.now, view.run.options)
    return replace(verdict, looks=(look,) if may else ())


def elsewhere(move: Move, host: str) -> Finish:
    """End a move whose VM is on a host that the request does not name."""
    form = "{vm} is on {host}, which is neither a source nor a destination."
    return ended(move, Outcome.ELSEWHERE, form, host=HostName(host))
