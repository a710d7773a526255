"""One move, read from top to bottom: the moving rungs, and those that all ladders share.

Each ladder looks at one move and one observation and says the first thing that is true. The
order is the policy. The pending ladder stands in ``eligibility.py``, the restoring one in
``restoring.py``; starts, slots and the end of the run are decided across moves in ``plan.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.model import (
    MIGRATIONS,
    Approval,
    Attempt,
    AttemptKind,
    Fleet,
    Move,
    MoveRecord,
    MoveState,
    Outcome,
    Result,
    Run,
    RunState,
    Vm,
    Wait,
    same_host,
    short,
)
from engine.policy import outcome, waits
from engine.policy.breakers import Breakers
from engine.policy.facts import Facts
from engine.policy.outcome import Place
from engine.policy.steps import (
    Arrive,
    Finish,
    Hold,
    Step,
    StopJob,
)
from engine.policy.waits import Rules
from engine.vocabulary import KEYWORDS
from engine.words import quoted


@dataclass(frozen=True)
class View:
    """All that a rung may look at. ``known`` holds what was worked out for other moves of the same
    run on the same observation and is true for this one, too."""

    run: Run
    record: MoveRecord
    approvals: tuple[Approval, ...]
    fleet: Fleet
    rules: Rules
    now: float
    owner: int | None = None
    doubted_by: int | None = None
    facts: Facts = field(default_factory=Facts)
    breakers: Breakers = field(default_factory=Breakers)
    known: dict[object, Any] = field(default_factory=dict, compare=False)

    @property
    def move(self) -> Move:
        return self.record.move

    @property
    def vm(self) -> Vm | None:
        return self.fleet.vm(self.move.vm_id)

    def is_destination(self, host: str | None) -> bool:
        """Is this one of the hosts that the request approved?"""
        return any(same_host(host, d) for d in self.run.destinations)

    def is_source(self, host: str | None) -> bool:
        """Is this where the VM was, or another source of the run?"""
        return same_host(host, self.move.source) or any(
            same_host(host, s) for s in self.run.sources
        )

    def silent(self, *names: str) -> tuple[str, ...]:
        """Those of these hosts that did not answer."""
        return tuple(n for n in dict.fromkeys(names) if not self.fleet.answers(n))

    def unasked(self) -> tuple[str, ...]:
        """The host that VMM names, if nobody asked its Hyper-V in this observation."""
        host = self.fleet.host(self.vm.vmm_host) if self.vm else None
        if host is None or host.seen_at is not None or host.error is not None:
            return ()
        return (host.name,)

    def is_fresh(self, *names: str | None) -> bool:
        """Did VMM re-read these hosts for this very observation, or try to in vain?"""
        for name in names:
            host = self.fleet.host(name)
            if host is None or host.locked or host.error is not None:
                continue
            if host.refreshed_at is None or host.refreshed_at < self.fleet.at:
                return False
        return True


@dataclass(frozen=True)
class Verdict:
    """What a ladder says: a step, or that the move is ready to start, or that it must be asked
    for; the hosts to re-read before the next look; when the answer would change by itself.
    ``pauses``: why nothing of it can go on before a person says so."""

    step: Step | None = None
    refresh: tuple[str, ...] = ()
    due: float | None = None
    ready: AttemptKind | None = None
    asks: bool = False
    pauses: str = ""


def retry(move: Move) -> str:
    """What to type to have it tried again."""
    return typed("retry", move.run, move)


def typed(verb: str, run: int, move: Move) -> str:
    """A verb about one VM as it can be typed: ``settle R7 "db 01"``."""
    return f"{verb} R{run} {quoted(move.vm, KEYWORDS)}"


def settle(move: Move) -> str:
    """What opens a VM again whose place nobody knows: no run starts it before."""
    return f"No run starts it before you type: {typed('settle', move.run, move)}"


def hold(view: View, wait: Wait, text: str, due: float | None = None) -> Verdict:
    """Wait for this, with the wait's own limit as the time to look again."""
    limit = view.rules.limit(wait, view.run.options)
    if limit is not None:
        ends = view.now + limit - waits.waited(view.move, wait, view.now)
        due = ends if due is None else min(due, ends)
    return Verdict(Hold(view.move, wait, text), due=due)


def hold_or(view: View, wait: Wait, text: str, ending: Finish) -> Verdict:
    """Wait for this, or end the move when it has waited for too long. In a paused run nothing ends
    by itself but what was on its way already."""
    if view.run.state is RunState.PAUSED and view.move.state is MoveState.PENDING:
        return Verdict(Hold(view.move, wait, text))
    if waits.too_long(view.move, wait, view.rules, view.run.options, view.now):
        return Verdict(ending)
    return hold(view, wait, text)


def hold_silent(view: View, hosts: tuple[str, ...]) -> Verdict:
    """A host does not answer: that proves nothing. After the limit a person has to look."""
    names = ", ".join(short(h) for h in hosts)
    move = view.move
    ending = Finish(
        move,
        MoveState.UNKNOWN,
        Outcome.UNKNOWN,
        f"{names} did not answer for too long; nobody knows where {move.vm} is.",
        f"Find {move.vm} on {names} by its id {move.vm_id}. {settle(move)}",
    )
    if move.state is MoveState.PENDING and not view.record.of(*MIGRATIONS):
        ending = Finish(
            move,
            MoveState.FAILED,
            Outcome.STUCK,
            f"{names} did not answer for too long; nothing was started.",
            f"Bring {names} back, then: {retry(move)}",
        )
    return hold_or(view, Wait.HOST_DOWN, f"{names} does not answer", ending)


def hold_two_places(view: View) -> Verdict:
    """Hyper-V shows it on two hosts: touch nothing, re-read, then a person."""
    move, vm = view.move, view.vm
    seen = vm.seen_on if vm else ()
    places = " and ".join(short(h) for h in seen)
    ending = Finish(
        move,
        MoveState.UNKNOWN,
        Outcome.TWO_PLACES,
        f"{move.vm} is on {places} by Hyper-V's own word.",
        "Find out which copy is the true one; never start both. "
        f"Its id is {move.vm_id}. {settle(move)}",
    )
    verdict = hold_or(view, Wait.TWO_PLACES, f"on {places} at once", ending)
    return Verdict(verdict.step, refresh=seen, due=verdict.due)


def hold_missing(view: View) -> Verdict:
    """No Hyper-V shows it, in complete answers; where VMM still knows a VM that we had started, a
    person has to look. Once somebody has, that nobody shows it is believed."""
    move = view.move
    known = view.vm is not None
    lost_in_move = bool(view.record.of(*MIGRATIONS)) and known and move.settled is None
    shows = "no Hyper-V shows" if known else "neither VMM nor Hyper-V shows"
    ending = Finish(
        move,
        MoveState.SKIPPED,
        Outcome.VANISHED,
        f"{move.vm} is gone: {shows} its id {move.vm_id}.",
        settle=_lost(view),
    )
    if lost_in_move:
        ending = Finish(
            move,
            MoveState.UNKNOWN,
            Outcome.UNKNOWN,
            f"{move.vm} is on neither host after its move, though VMM still knows it.",
            f"Look for it by its id {move.vm_id} before anything else. {settle(move)}",
            settle=_lost(view),
        )
    return hold_or(view, Wait.MISSING, "not found on any host", ending)


def _lost(view: View) -> tuple[Result, str] | None:
    """How the open attempt of a VM that cannot be found ends."""
    return (Result.LOST, "The VM was not found again.") if view.record.open_migration else None


def hold_foreign(view: View) -> Verdict:
    """Somebody else moves it: wait, and look where it ends."""
    move = view.move
    job = next(iter(view.fleet.running_jobs(move.vm_id)), None)
    to = f" to {short(job.target)}" if job is not None and job.target else ""
    pending = move.state is MoveState.PENDING
    then = f"then: {retry(move)}" if pending else f"and see where it is. {settle(move)}"
    ending = Finish(
        move,
        MoveState.FAILED if pending else MoveState.UNKNOWN,
        Outcome.STUCK if pending else Outcome.UNKNOWN,
        f"{move.vm} has been migrating{to} for too long by somebody else's hand.",
        f"Find the job in VMM, end it, {then}",
    )
    return hold_or(view, Wait.FOREIGN, f"somebody else is moving it{to}", ending)


def elsewhere(move: Move, host: str) -> Finish:
    """Somebody took it to a host that the request does not name."""
    return Finish(
        move,
        MoveState.SKIPPED,
        Outcome.ELSEWHERE,
        f"{move.vm} is on {short(host)}, which is neither a source nor a destination.",
    )


#: Results of a repair that did not happen and costs nothing.
FREE = frozenset({Result.LOCKED, Result.BUSY, Result.STALE})


# --- moving --------------------------------------------------------------------------------


def moving(view: View) -> Verdict:
    """A start was written: watch it to its end, then look where the VM is."""
    attempt = view.record.open_migration
    if attempt is None:
        return Verdict(Arrive(view.move, view.move.host or view.move.source))
    job = view.fleet.job(attempt.job)
    if outcome.is_in_flight(view.vm, job, view.fleet, view.move.vm_id):
        return _stop(view, attempt) if view.run.aborting else Verdict()
    both = tuple(h for h in (attempt.source, attempt.destination) if h is not None)
    says_moving = view.vm is not None and view.vm.migrating
    silent = view.silent(*both)
    if silent:
        return hold_silent(view, silent)
    if job is None and not _is_overdue(view, attempt):
        return _look_for_arrival(view, attempt, both)
    if not view.is_fresh(*both):
        return Verdict(refresh=both)
    if says_moving:
        return _hold_endless(view, both)
    return _where_it_ended(view, attempt)


def _stop(view: View, attempt: Attempt) -> Verdict:
    """A person aborts: VMM is asked to stop the job, once a pass until it is over."""
    jobs = [j for j in view.fleet.running_jobs(attempt.vm_id) if j.id == attempt.job]
    if attempt.job is None:
        jobs = [
            job
            for job in view.fleet.running_jobs(attempt.vm_id)
            if same_host(job.source, attempt.source) and same_host(job.target, attempt.destination)
        ]
    if not jobs:
        return Verdict()
    asked = view.move.stop_asked
    if asked is not None and view.now - asked < view.run.options.pass_:
        return Verdict(due=asked + view.run.options.pass_)
    return Verdict(StopJob(view.move, jobs[0].id, attempt.source))


def _hold_endless(view: View, both: tuple[str, ...]) -> Verdict:
    """No job runs and Hyper-V is at rest, but VMM goes on saying UnderMigration."""
    move = view.move
    ending = Finish(
        move,
        MoveState.UNKNOWN,
        Outcome.UNKNOWN,
        f"VMM says for too long that {move.vm} is migrating, though no job of it runs.",
        f"Repair or refresh {move.vm} in VMM; its id is {move.vm_id}. {settle(move)}",
    )
    verdict = hold_or(view, Wait.FOREIGN, "VMM still says UnderMigration, without a job", ending)
    return Verdict(verdict.step, refresh=both, due=verdict.due)


def _is_overdue(view: View, attempt: Attempt) -> bool:
    """May we conclude that a start whose job nobody sees will never begin?

    The guard at VMM refuses to begin it after ``not_after`` on the server's clock, and VMM
    shows a job within ``lookups`` x ``lookup-interval`` (the original's look-up).
    """
    return view.fleet.server_time > _lookup_deadline(view, attempt)


def _lookup_deadline(view: View, attempt: Attempt) -> float:
    options = view.run.options
    begun_by = attempt.not_after if attempt.not_after is not None else attempt.begun
    return begun_by + options.lookups * options.lookup_interval


def _look_for_arrival(view: View, attempt: Attempt, both: tuple[str, ...]) -> Verdict:
    """No job to be seen yet: only an arrival proves anything before the look-ups are over."""
    deadline = view.now + _lookup_deadline(view, attempt) - view.fleet.server_time
    due = max(deadline + 0.001, view.now + view.rules.tick)
    found = outcome.find(attempt, view.vm, view.fleet)
    if found.place is not Place.DESTINATION:
        return Verdict(due=due)
    if not view.is_fresh(*both):
        return Verdict(refresh=both, due=due)
    return _where_it_ended(view, attempt)


def _where_it_ended(view: View, attempt: Attempt) -> Verdict:
    """The truth table: where the VM is x what the job said."""
    found = outcome.find(attempt, view.vm, view.fleet)
    if found.place is Place.HOST_SILENT:
        return hold_silent(view, (found.silent or "?",))
    if found.place is Place.BOTH:
        return hold_two_places(view)
    if found.host is None:
        unasked = view.unasked()
        return Verdict(refresh=unasked) if unasked else hold_missing(view)
    ended = outcome.settle(attempt, found.place, view.fleet.job(attempt.job), view.move.vm)
    return Verdict(Arrive(view.move, found.host, ended))
