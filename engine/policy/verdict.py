"""Inputs and verdicts of the ladders, and the sentences with which moves wait and end.

Each ladder in ``ladders/`` judges one move by one observation: its first rung that applies decides.
The order of the rungs is the policy. Starts and slots are decided across moves in ``starts/``, the
end of a run in ``runs/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.language.sentence import Command, HostName, Quote, Sentence, Turn, VmName, say
from engine.language.text import is_typeable, quoted
from engine.language.vocabulary import KEYWORDS
from engine.model import (
    HYPERV,
    MIGRATIONS,
    REREADS,
    Approval,
    AttemptKind,
    Fleet,
    Look,
    Move,
    MoveRecord,
    MoveState,
    Outcome,
    PartKind,
    Result,
    Run,
    RunState,
    Vm,
    Wait,
    same_host,
)
from engine.policy import freshness, waits
from engine.policy.facts import Breakers, Facts
from engine.policy.judging.causes import kind_of
from engine.policy.steps import Finish, Hold, Step
from engine.policy.waits import Rules


@dataclass(frozen=True)
class View:
    """Inputs of a rung. ``known``: results computed for other moves of the same run on the same
    observation, which this move may reuse. ``owner``, ``doubted_by``: ids of runs."""

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
        """Tell whether this host is a destination of the run."""
        return host is not None and host.casefold() in self._names("destinations")

    def is_source(self, host: str | None) -> bool:
        """Tell whether this host is the source of the move or another source of the run."""
        is_of_run = host is not None and host.casefold() in self._names("sources")
        return is_of_run or same_host(host, self.move.source)

    def _names(self, side: Literal["sources", "destinations"]) -> frozenset[str]:
        """Hosts on this side of the run, case folded."""
        found: frozenset[str] | None = self.known.get(side)
        if found is None:
            found = frozenset(host.casefold() for host in getattr(self.run, side))
            self.known[side] = found
        return found

    def silent(self, *names: str) -> tuple[str, ...]:
        """Those of these hosts that do not answer, or were not asked yet."""
        return tuple(n for n in dict.fromkeys(names) if not self.fleet.answers(n))

    @property
    def valid_until(self) -> float:
        """Time after which a change decided now must not be made, on VMM's clock."""
        return self.now + self.fleet.ahead + self.rules.start_window

    def valid_until_at(self, host: str) -> float:
        """Time after which a change decided now must not be made, on the host's clock."""
        found = self.fleet.host(host)
        ahead = found.ahead if found is not None else None
        return self.now + (ahead or 0.0) + self.rules.start_window

    @property
    def last_closed(self) -> int:
        """Number of the newest call when the latest attempt ended that changes VMM's status of the
        VM; 0: none did."""
        kinds = (*MIGRATIONS, AttemptKind.DISMISS, AttemptKind.REFRESH)
        return max((a.closed for a in self.record.of(*kinds)), default=0)

    def unasked(self) -> tuple[Look, ...]:
        """Look at the host that VMM names for the VM, if its Hyper-V was not asked yet."""
        host = self.fleet.host(self.vm.vmm_host) if self.vm else None
        return never_asked(self.fleet, (host.name,)) if host is not None else ()


def never_asked(fleet: Fleet, hosts: Sequence[str]) -> tuple[Look, ...]:
    """Looks at those of these hosts whose Hyper-V was never asked."""
    known = [host.name for name in hosts if (host := fleet.host(name)) is not None]
    ages = [(name, fleet.age(PartKind.SHOWN, name)) for name in known]
    return tuple(Look(PartKind.SHOWN, n) for n, age in ages if not age.asked and not age.failed)


@dataclass(frozen=True)
class Verdict:
    """Verdict of a ladder on one move. ``ready``: it may start, in this way. ``asks``: it needs an
    approval. ``looks``: what has to be asked before more can be decided. ``due``: when the verdict
    changes by itself. ``pauses``: why only a person who resumes the run can help; else empty.
    ``awaits``: nothing new is known until hosts have answered, so that a wait goes on."""

    step: Step | None = None
    looks: tuple[Look, ...] = ()
    due: float | None = None
    ready: AttemptKind | None = None
    asks: bool = False
    pauses: str = ""
    awaits: bool = False


def quote(error: str, move: Move) -> Quote:
    """Quote an error of VMM or Hyper-V about this move's VM."""
    hosts = filter(None, (move.source, move.host, move.destination))
    return Quote(error, kind_of(error, move.vm, move.vm_id, hosts))


def typed(verb: str, run: int, move: Move) -> Command:
    """Command about one VM, as it can be typed: ``settle R7 "db 01"``. A name that cannot be typed
    gives way to the VM's id."""
    name = quoted(move.vm, KEYWORDS) if is_typeable(move.vm) else f"id:{move.vm_id}"
    return Command(f"{verb} R{run} {name}")


_SETTLE = "No run starts the VM until you type: {}"
_OWN: Mapping[str, Callable[[Move], object]] = {
    "vm": lambda move: VmName(move.vm),
    "id": lambda move: VmName(move.vm_id),
    "source": lambda move: HostName(move.source),
    "retry": lambda move: typed("retry", move.run, move),
    "settle": lambda move: say(_SETTLE, typed("settle", move.run, move)),
    "turn": lambda _: Turn(),
}


def tell(move: Move, form: str, **named: object) -> Sentence:
    """Sentence about a move. Besides ``named``, the form may use ``{vm}``, ``{id}``, ``{source}``,
    ``{retry}`` (a command), ``{settle}`` (a hint) and ``{turn}`` (a turn of the text).
    """
    own = {name: make(move) for name, make in _OWN.items() if f"{{{name}}}" in form}
    return say(form, **own, **named)


def ended(move: Move, outcome: Outcome, form: str, hint: str = "", **named: object) -> Finish:
    """End a move. ``form``: what happened; ``hint``: what a person should do; see ``tell``."""
    return Finish(move, outcome, tell(move, form, **named), tell(move, hint, **named))


def hold(
    view: View, wait: Wait, text: str, due: float | None = None, *, needs_person: bool = False
) -> Verdict:
    """Hold a move. The verdict is due at ``due`` or at the limit of the wait: the earlier one."""
    limit = view.rules.limit(wait, view.run.options)
    if limit is not None:
        ends = view.now + limit - waits.waited(view.move, wait, view.now)
        due = ends if due is None else min(due, ends)
    return Verdict(Hold(view.move, wait, text, needs_person), due=due)


def hold_or(
    view: View, wait: Wait, text: str, ending: Finish, *, needs_person: bool = False
) -> Verdict:
    """Hold a move, or end it when it has waited past the limit. In a paused run, a pending move
    never ends in this way."""
    if view.run.state is RunState.PAUSED and view.move.state is MoveState.PENDING:
        return Verdict(Hold(view.move, wait, text, needs_person))
    if waits.too_long(view.move, wait, view.rules, view.run.options, view.now):
        return Verdict(ending)
    return hold(view, wait, text, needs_person=needs_person)


def tell_delay(view: View, verdict: Verdict) -> Verdict:
    """Hold a move that only waits for looks, if one of them failed or has been under way for long:
    people are told why. Other verdicts stay as they are."""
    if verdict.step is not None or verdict.ready is not None:
        return verdict
    for look in verdict.looks:
        text = _trouble(view, look)
        if text:
            wait = Wait.HOST_DOWN if look.kind in HYPERV else Wait.VMM_DOWN
            return replace(hold(view, wait, text, verdict.due), looks=verdict.looks)
    return verdict


def _trouble(view: View, look: Look) -> str:
    """Reason why a look has no answer; empty: there is none."""
    who = HostName(look.name) if look.kind in HYPERV else "VMM"
    age, call = view.fleet.age(*look.key), view.facts.look(look)
    if age.failed and look.kind in REREADS:
        host = HostName(look.host or look.name)
        return say("VMM could not re-read {}: {}", host, Quote(age.error))
    if age.failed:
        return say("{} did not answer a question about it: {}", who, Quote(age.error))
    took = (age.answered_at or 0.0) - (age.asked_at or 0.0)
    is_slow = look.kind is PartKind.JOBS and took >= 2 * view.rules.tick
    if is_slow or (call and view.now - call.begun >= freshness.AGAIN * view.rules.tick):
        return say("{} takes long to answer what runs now", who)
    return ""


#: Results of a repair that did not happen and does not count.
FREE = frozenset({Result.LOCKED, Result.BUSY, Result.STALE})
