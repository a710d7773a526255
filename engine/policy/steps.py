"""Steps of a plan: small values that describe writes and calls.

A step is either a *note* (only rows change) or a *call* (the world is asked for something, and the
result becomes rows).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from engine.language.sentence import NOTHING, Sentence
from engine.model import (
    Attempt,
    AttemptKind,
    CallKind,
    Difference,
    Half,
    Look,
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
    """Record the power of a pending VM: its first observation, or a change since."""

    move: Move
    power: Power
    down_since: float | None


@dataclass(frozen=True)
class Hold:
    """Make a move wait: code and text. ``needs_person``: only a person can end the wait."""

    move: Move
    wait: Wait
    text: str
    needs_person: bool = False


@dataclass(frozen=True)
class Unhold:
    """End the wait of a move in flight. If the same wait returns, its limit begins anew."""

    move: Move


@dataclass(frozen=True)
class Hear:
    """Record what both Hyper-Vs have said since the job of an attempt was over (``hearing``), and
    the job that was found of it."""

    attempt: Attempt


@dataclass(frozen=True)
class Arrive:
    """Record the host on which an attempt ended or the VM was found. Its network is checked next.

    ``ends``: result and error with which the open LIVE or COLD attempt is closed; ``ran``: when its
    job ran by VMM (Unix seconds on VMFerry's clock), if VMM told.
    """

    move: Move
    host: str
    ends: tuple[Result, str] | None = None
    ran: tuple[float, float] | None = None


@dataclass(frozen=True)
class Return:
    """Return a move to pending: the VM is still on a source, with its network as saved.

    ``repaired``: differences that we restored, as a later reading proved.
    """

    move: Move
    why: str
    repaired: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Finish:
    """End a move with an outcome and a sentence. ``next``: what a person should do; ``after_go_on``
    replaces it after ``go-on``.

    ``repaired`` as in ``Return``. ``cause``: groups moves that end for the same reason; ``None``:
    their sentences do.
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
        """State of the move after this outcome."""
        return states.END_OF[self.outcome]

    @property
    def reason(self) -> str:
        """Cause by which moves that end for the same reason are grouped."""
        said = self.sentence.cause + self.next.cause
        return said if self.cause is None else self.cause


@dataclass(frozen=True)
class LetGo:
    """Close the start of a move that has ended, once it neither runs nor can begin any more."""

    attempt: Attempt


@dataclass(frozen=True)
class Ask:
    """Ask whether these powered-down VMs may move."""

    run: int
    vms: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class Expire:
    """Expire a question that nobody answered in time, or a grant that is too old."""

    approval: int
    why: str


@dataclass(frozen=True)
class SeeEmpty:
    """Record that VMM and Hyper-V both show no VM on ``hosts``: ``first`` time, or ``proven``.

    Without ``hosts`` and ``first``, the proof is dropped: a host is not empty, or no longer.
    """

    run: int
    hosts: tuple[str, ...]
    first: float | None
    proven: bool


@dataclass(frozen=True)
class SeeCalm:
    """Record the newest call when nothing was in flight to sources of a run, by host: lists that
    were asked after it may prove the host empty."""

    run: int
    calm: Mapping[str, int]


@dataclass(frozen=True)
class Quiet:
    """Record since when (``at``, Unix seconds) a run only waits for people; ``None``: no longer."""

    run: int
    at: float | None


@dataclass(frozen=True)
class ComeBack:
    """Resume the observation of a run after ``gap`` seconds, which count against no limit."""

    run: int
    gap: float


@dataclass(frozen=True)
class CallOut:
    """Tell people that a move has waited long for a slot without any change."""

    move: Move
    text: str


@dataclass(frozen=True)
class SetRunState:
    """Pause, stop or end a run."""

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
class ReadPorts:
    """Read Hyper-V's half of the networks of VMs at rest on one host after an attempt, for the next
    plan."""

    host: str
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class ReadModels:
    """Read VMM's half of the networks of VMs at rest on one host, for the next plan."""

    host: str
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Start:
    """Start a LIVE or COLD move. The attempt is written first, and its result observed later."""

    move: Move
    order: MoveOrder

    @property
    def kind(self) -> AttemptKind:
        """COLD for a VM that is down, else LIVE."""
        return AttemptKind.COLD if self.order.power == "down" else AttemptKind.LIVE


@dataclass(frozen=True)
class PutBack:
    """Put back the settings that one half of a VM's network lacks."""

    move: Move
    repair: Repair
    differences: tuple[Difference, ...]
    not_after: float = 0.0
    half: ClassVar[Half]


@dataclass(frozen=True)
class PutPorts(PutBack):
    """Put back Hyper-V's half. ``not_after`` is on the host's clock."""

    half = "ports"


@dataclass(frozen=True)
class PutModels(PutBack):
    """Put back VMM's half. ``not_after`` is on VMM's clock."""

    half = "models"


@dataclass(frozen=True)
class Dismiss:
    """Make VMM drop the failed state of a VM. ``not_after`` is on VMM's clock."""

    move: Move
    host: str
    not_after: float = 0.0


@dataclass(frozen=True)
class RefreshVm:
    """Make VMM read a VM again. ``not_after`` is on VMM's clock."""

    move: Move
    host: str
    not_after: float = 0.0


@dataclass(frozen=True)
class CheckRights:
    """Check our rights to the extended ACLs of this host, before the first start of a run."""

    host: str


@dataclass(frozen=True)
class StopJob:
    """Ask VMM to stop a job, for an aborted run. A later observation shows whether it stopped."""

    move: Move
    job: str
    host: str
    not_after: float = 0.0


NoteOnMove = SeePower | Hold | Unhold | Hear | Arrive | Return | Finish | LetGo | CallOut
NoteOnRun = Adopt | Ask | Expire | SeeCalm | SeeEmpty | Quiet | ComeBack | SetRunState
NetworkRead = SaveBaselines | ReadPorts | ReadModels
Call = NetworkRead | CheckRights | Start | PutBack | Dismiss | RefreshVm | StopJob
Step = NoteOnMove | NoteOnRun | Call


@dataclass(frozen=True)
class Plan:
    """Steps to take now, in order, and the looks that the next plan needs.

    ``due``: the earliest time (Unix seconds) at which the plan would change on an unchanged world
    (a wait's limit, a back-off, the second observation of an empty host); ``None``: never.
    """

    steps: tuple[Step, ...] = ()
    looks: tuple[Look, ...] = ()
    due: float | None = None


def hosts_of(call: Call) -> tuple[str, ...]:
    """Hosts that a call is about."""
    match call:
        case Start(order=order):
            return (order.source, order.destination)
        case PutBack(repair=repair):
            return (repair.host,)
    return (call.host,)


def moves_of(call: Call) -> tuple[Move, ...]:
    """Moves that a call is about."""
    match call:
        case SaveBaselines() | ReadPorts() | ReadModels():
            return call.moves
        case CheckRights():
            return ()
    return (call.move,)


KIND_OF: Mapping[type, CallKind] = {
    SaveBaselines: CallKind.BASELINE,
    ReadPorts: CallKind.READING,
    ReadModels: CallKind.MODELS,
    CheckRights: CallKind.RIGHTS,
    Start: CallKind.START,
    PutPorts: CallKind.RESTORE,
    PutModels: CallKind.RESTORE_MODELS,
    Dismiss: CallKind.DISMISS,
    RefreshVm: CallKind.REFRESH,
    StopJob: CallKind.STOP,
}
"""Kind of each call."""
