"""Verdict on one move, what a ladder may look at, and how waiting and ending are said.

Each ladder in ``ladders/`` looks at one move and one observation and says the first thing that is
true. The order is the policy. Starts and slots are decided across moves in ``starts/``, the end of
a run in ``runs/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.language.sentence import Command, HostName, Quote, Sentence, Turn, VmName, say
from engine.language.text import quoted
from engine.language.vocabulary import KEYWORDS
from engine.model import (
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
from engine.policy.steps import Finish, Hold, Step
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


def quote(error: str, move: Move) -> Quote:
    """VMM's or Hyper-V's own words about this move's VM."""
    hosts = filter(None, (move.source, move.host, move.destination))
    return Quote(error, kind_of(error, move.vm, move.vm_id, hosts))


def typed(verb: str, run: int, move: Move) -> Command:
    """A verb about one VM as it can be typed: ``settle R7 "db 01"``."""
    return Command(f"{verb} R{run} {quoted(move.vm, KEYWORDS)}")


_SETTLE = "No run starts it before you type: {}"
_OWN: Mapping[str, Callable[[Move], object]] = {
    "vm": lambda move: VmName(move.vm),
    "id": lambda move: VmName(move.vm_id),
    "source": lambda move: HostName(move.source),
    "retry": lambda move: typed("retry", move.run, move),
    "settle": lambda move: say(_SETTLE, typed("settle", move.run, move)),
    "turn": lambda _: Turn(),
}


def tell(move: Move, form: str, **named: object) -> Sentence:
    """Sentence about a move. Its form may name what is the move's own: the ``vm``, its ``id``, its
    ``source``, the command to ``retry`` it, the hint to ``settle`` it; and a ``turn`` of the text.
    """
    own = {name: make(move) for name, make in _OWN.items() if f"{{{name}}}" in form}
    return say(form, **own, **named)


def ended(move: Move, outcome: Outcome, form: str, hint: str = "", **named: object) -> Finish:
    """End of a move: what happened and what a person should do, in forms as ``tell`` takes them."""
    return Finish(move, outcome, tell(move, form, **named), tell(move, hint, **named))


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


#: Results of a repair that did not happen and costs nothing.
FREE = frozenset({Result.LOCKED, Result.BUSY, Result.STALE})
