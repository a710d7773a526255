"""Verdict on one move, what a ladder may look at, and the rungs that several ladders share.

Each ladder in ``ladders/`` looks at one move and one observation and says the first thing that is
true. The order is the policy. Starts and slots are decided across moves in ``starts/``, the end of
a run in ``runs/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.language.sentence import Command, HostName, Quote, Sentence, VmName, join, say
from engine.language.text import quoted
from engine.language.vocabulary import KEYWORDS
from engine.model import (
    MIGRATIONS,
    Approval,
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
)
from engine.policy import waits
from engine.policy.facts import Breakers, Facts
from engine.policy.judging.causes import kind_of
from engine.policy.steps import (
    Finish,
    Hold,
    Step,
)
from engine.policy.waits import Rules


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
        """Tell whether this host is a destination that the request approved."""
        return any(same_host(host, d) for d in self.run.destinations)

    def is_source(self, host: str | None) -> bool:
        """Tell whether the VM was on this host, or whether it is another source of the run."""
        return same_host(host, self.move.source) or any(
            same_host(host, s) for s in self.run.sources
        )

    def silent(self, *names: str) -> tuple[str, ...]:
        """Hosts among these that did not answer."""
        return tuple(n for n in dict.fromkeys(names) if not self.fleet.answers(n))

    def unasked(self) -> tuple[str, ...]:
        """The host that VMM names, if nobody asked its Hyper-V in this observation."""
        host = self.fleet.host(self.vm.vmm_host) if self.vm else None
        if host is None or host.seen_at is not None or host.error is not None:
            return ()
        return (host.name,)

    def is_fresh(self, *names: str | None) -> bool:
        """Tell whether VMM re-read these hosts for this very observation, or tried to in vain."""
        for name in names:
            host = self.fleet.host(name)
            if host is None or host.locked or host.error is not None:
                continue
            if host.refreshed_at is None or host.refreshed_at < self.fleet.at:
                return False
        return True


@dataclass(frozen=True)
class Verdict:
    """Verdict of a ladder: a step, a move that is ready to start, or a move that needs approval;
    the hosts to re-read before the next look; when the verdict would change by itself. ``pauses``:
    why the move cannot go on until a person resumes the run."""

    step: Step | None = None
    refresh: tuple[str, ...] = ()
    due: float | None = None
    ready: AttemptKind | None = None
    asks: bool = False
    pauses: str = ""


def vm_of(move: Move) -> VmName:
    """The VM of this move in a sentence."""
    return VmName(move.vm)


def quote(error: str, move: Move) -> Quote:
    """What VMM or Hyper-V said of this move's VM."""
    return Quote(error, kind_of(error, move.vm))


def retry(move: Move) -> Command:
    """Command to type for a retry of this move."""
    return typed("retry", move.run, move)


def typed(verb: str, run: int, move: Move) -> Command:
    """A verb about one VM as it can be typed: ``settle R7 "db 01"``."""
    return Command(f"{verb} R{run} {quoted(move.vm, KEYWORDS)}")


def hint_to_settle(move: Move) -> Sentence:
    """Hint with the command that releases a VM whose location is unknown: no run starts it
    before."""
    return say("No run starts it before you type: {}", typed("settle", move.run, move))


def hold(
    view: View, wait: Wait, text: str, due: float | None = None, *, needs_person: bool = False
) -> Verdict:
    """Wait for this, with the wait's own limit as the time to look again."""
    limit = view.rules.limit(wait, view.run.options)
    if limit is not None:
        ends = view.now + limit - waits.waited(view.move, wait, view.now)
        due = ends if due is None else min(due, ends)
    return Verdict(Hold(view.move, wait, text, needs_person), due=due)


def hold_or(
    view: View, wait: Wait, text: str, ending: Finish, *, needs_person: bool = False
) -> Verdict:
    """Hold a move, or end it when it has waited for too long. In a paused run nothing ends by
    itself but what was in flight already."""
    if view.run.state is RunState.PAUSED and view.move.state is MoveState.PENDING:
        return Verdict(Hold(view.move, wait, text, needs_person))
    if waits.too_long(view.move, wait, view.rules, view.run.options, view.now):
        return Verdict(ending)
    return hold(view, wait, text, needs_person=needs_person)


def hold_silent(view: View, hosts: tuple[str, ...]) -> Verdict:
    """A host does not answer: that proves nothing. After the limit a person has to look."""
    names = join(", ", map(HostName, hosts))
    move = view.move
    ending = Finish(
        move,
        MoveState.UNKNOWN,
        Outcome.UNKNOWN,
        say("{} did not answer for too long; nobody knows where {} is.", names, vm_of(move)),
        say(
            "Find {} on {} by its id {}. {}",
            vm_of(move),
            names,
            VmName(move.vm_id),
            hint_to_settle(move),
        ),
    )
    if move.state is MoveState.PENDING and not view.record.of(*MIGRATIONS):
        ending = Finish(
            move,
            MoveState.FAILED,
            Outcome.STUCK,
            say("{} did not answer for too long; nothing was started.", names),
            say("Bring {} back, then: {}", names, retry(move)),
        )
    return hold_or(view, Wait.HOST_DOWN, say("{} does not answer", names), ending)


def hold_two_places(view: View) -> Verdict:
    """Hold a VM that Hyper-V shows on two hosts: touch nothing, re-read, then a person."""
    move, vm = view.move, view.vm
    seen = vm.seen_on if vm else ()
    places = join(" and ", map(HostName, seen))
    ending = Finish(
        move,
        MoveState.UNKNOWN,
        Outcome.TWO_PLACES,
        say("{} is on {} by Hyper-V's own word.", vm_of(move), places),
        say(
            "Find out which copy is the true one; never start both. Its id is {}. {}",
            VmName(move.vm_id),
            hint_to_settle(move),
        ),
    )
    verdict = hold_or(view, Wait.TWO_PLACES, say("on {} at once", places), ending)
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
        say("{} is gone: {} its id {}.", vm_of(move), shows, VmName(move.vm_id)),
        ends=_lost(view),
    )
    if lost_in_move:
        ending = Finish(
            move,
            MoveState.UNKNOWN,
            Outcome.UNKNOWN,
            say("{} is on neither host after its move, though VMM still knows it.", vm_of(move)),
            say(
                "Look for it by its id {} before anything else. {}",
                VmName(move.vm_id),
                hint_to_settle(move),
            ),
            ends=_lost(view),
        )
    return hold_or(view, Wait.MISSING, "not found on any host", ending)


def _lost(view: View) -> tuple[Result, str] | None:
    """Result of the open attempt of a VM that cannot be found."""
    return (Result.LOST, "The VM was not found again.") if view.record.open_migration else None


def hold_foreign(view: View) -> Verdict:
    """Hold a VM that somebody else moves: wait, and look where it ends."""
    move = view.move
    job = next(iter(view.fleet.running_jobs(move.vm_id)), None)
    to = say(" to {}", HostName(job.target)) if job is not None and job.target else ""
    pending = move.state is MoveState.PENDING
    see = say("and see where it is. {}", hint_to_settle(move))
    then = say("then: {}", retry(move)) if pending else see
    ending = Finish(
        move,
        MoveState.FAILED if pending else MoveState.UNKNOWN,
        Outcome.STUCK if pending else Outcome.UNKNOWN,
        say("{} has been migrating{} for too long by somebody else's hand.", vm_of(move), to),
        say("Find the job in VMM, end it, {}", then),
    )
    return hold_or(view, Wait.FOREIGN, say("somebody else is moving it{}", to), ending)


def elsewhere(move: Move, host: str) -> Finish:
    """End a move whose VM somebody took to a host that the request does not name."""
    return Finish(
        move,
        MoveState.SKIPPED,
        Outcome.ELSEWHERE,
        say(
            "{} is on {}, which is neither a source nor a destination.", vm_of(move), HostName(host)
        ),
    )


#: Results of a repair that did not happen and costs nothing.
FREE = frozenset({Result.LOCKED, Result.BUSY, Result.STALE})


# --- moving --------------------------------------------------------------------------------
