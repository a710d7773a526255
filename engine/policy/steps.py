"""Steps of a plan: small values that say what to write and what to call.

A step is either a *note* (only rows change) or a *call* (something is asked of the world, and
its result becomes rows). A call occupies the lanes of its hosts.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.language.sentence import NOTHING, Sentence
from engine.model import (
    Attempt,
    AttemptKind,
    Difference,
    Move,
    MoveOrder,
    MoveState,
    Outcome,
    Power,
    Repair,
    Result,
    RunState,
    Vm,
    Wait,
)
from engine.policy import states

# --- notes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adopt:
    """Take a VM that appeared on a source into its host run."""

    run: int
    vm: Vm
    source: str


@dataclass(frozen=True)
class SeePower:
    """The run's first look at a VM's power, or a change of it since."""

    move: Move
    power: Power
    down_since: float | None


@dataclass(frozen=True)
class Hold:
    """The move waits: code and words. ``needs_person``: only a person's word ends that."""

    move: Move
    wait: Wait
    text: str
    needs_person: bool = False


@dataclass(frozen=True)
class Unhold:
    """End of the wait of a move in flight: if the same wait comes again, its limit begins anew."""

    move: Move


@dataclass(frozen=True)
class Arrive:
    """Arrival of a VM where an attempt ended or where it was found: its network is checked there
    next.

    ``ends`` closes the open LIVE or COLD attempt with that result.
    """

    move: Move
    host: str
    ends: tuple[Result, str] | None = None


@dataclass(frozen=True)
class Return:
    """Return to pending: the attempt is over, the VM is where it was and its network as saved.

    ``repaired`` is what we put back and saw to be there again.
    """

    move: Move
    why: str
    repaired: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Finish:
    """The move ends: its outcome, a sentence, and what a person should do (``next``; once damage
    was cleared, ``after_go_on``).

    ``repaired`` is what we put back of its network and saw to be there again. ``cause`` is what
    moves share that end for the same reason, where that is not their sentences.
    """

    move: Move
    outcome: Outcome
    sentence: Sentence
    next: Sentence = NOTHING
    ends: tuple[Result, str] | None = None
    repaired: tuple[Difference, ...] = ()
    after_go_on: Sentence = NOTHING
    cause: str | None = None

    @property
    def state(self) -> MoveState:
        """State in which the outcome leaves the move."""
        return states.END_OF[self.outcome]

    @property
    def reason(self) -> str:
        """The cause that it shares with every move that ends for the same reason."""
        said = self.sentence.cause + self.next.cause
        return said if self.cause is None else self.cause


@dataclass(frozen=True)
class LetGo:
    """A start whose move has ended, and of which nothing runs or can begin any more."""

    attempt: Attempt


@dataclass(frozen=True)
class Ask:
    """Ask whether these powered-down VMs may move."""

    run: int
    vms: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Expire:
    """A question nobody answered in time, or a grant that is over."""

    approval: int
    why: str


@dataclass(frozen=True)
class SeeEmpty:
    """Observation that both VMM and Hyper-V show no VM on these hosts, for the first or the second
    time.

    ``hosts`` empty and ``first`` ``None``: the hosts were not empty after all, or are no longer.
    """

    run: int
    hosts: tuple[str, ...]
    first: float | None
    proven: bool


@dataclass(frozen=True)
class Quiet:
    """Time ``at`` since which this run has nothing left to do; ``None``: it has again."""

    run: int
    at: float | None


@dataclass(frozen=True)
class ComeBack:
    """The run is seen again after ``gap`` seconds, which count against no limit."""

    run: int
    gap: float


@dataclass(frozen=True)
class CallOut:
    """Notice to people that a move has waited for a slot for long without any change."""

    move: Move
    text: str


@dataclass(frozen=True)
class SetRunState:
    """The run pauses, stops or ends."""

    run: int
    state: RunState
    text: str


# --- calls ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SaveBaselines:
    """Read and save the networks of these VMs on one host, before any of them starts."""

    host: str
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class ReadNetworks:
    """Read the networks of VMs that arrived on one host, for the next plan to judge."""

    host: str
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Start:
    """Start a LIVE or COLD move. Written before it is done; observed after."""

    move: Move
    order: MoveOrder

    @property
    def kind(self) -> AttemptKind:
        """COLD for a VM that is down, else LIVE."""
        return AttemptKind.COLD if self.order.power == "down" else AttemptKind.LIVE


@dataclass(frozen=True)
class PutBack:
    """Put back what a move lost of a VM's network."""

    move: Move
    repair: Repair
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Dismiss:
    """Drop VMM's failed job on a VM."""

    move: Move
    host: str


@dataclass(frozen=True)
class RefreshVm:
    """Call that makes VMM re-read a VM."""

    move: Move
    host: str


@dataclass(frozen=True)
class CheckRights:
    """Check of our rights on this host's extended ACLs, before the first start of a run."""

    host: str


@dataclass(frozen=True)
class StopJob:
    """A person aborts: ask VMM to stop a job. Whether it did is observed."""

    move: Move
    job: str
    host: str


NoteOnMove = SeePower | Hold | Unhold | Arrive | Return | Finish | LetGo | CallOut
NoteOnRun = Adopt | Ask | Expire | SeeEmpty | Quiet | ComeBack | SetRunState
Call = SaveBaselines | ReadNetworks | CheckRights | Start | PutBack | Dismiss | RefreshVm | StopJob
Step = NoteOnMove | NoteOnRun | Call


@dataclass(frozen=True)
class Plan:
    """Steps to take now, in order, and the hosts to re-read before the next plan.

    ``due`` is the earliest time at which this plan would come out differently on an unchanged
    world (a wait's limit, a back-off, the second look at an empty host); ``None``: never.
    """

    steps: tuple[Step, ...] = ()
    refresh: tuple[str, ...] = ()
    due: float | None = None


def hosts_of(call: Call) -> tuple[str, ...]:
    """The lanes that a call occupies."""
    match call:
        case Start(order=order):
            return (order.source, order.destination)
        case PutBack(repair=repair):
            return (repair.host,)
    return (call.host,)
