"""Runs, moves, attempts and events: the nouns that become rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from engine.model.approvals import Approval, Review
from engine.model.fleet import Power
from engine.model.network import Network


class RunState(StrEnum):
    """The life of a run; which step may follow which stands in ``policy/states.py``."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    REJECTED = "rejected"


class MoveState(StrEnum):
    """The life of a move. *damaged*: moved, but its network is not as saved."""

    PENDING = "pending"
    MOVING = "moving"
    RESTORING = "restoring"
    DONE = "done"
    DAMAGED = "damaged"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class AttemptKind(StrEnum):
    """Kind of an attempt. LIVE and COLD share one count; every other kind has its own."""

    LIVE = "live"
    COLD = "cold"
    BASELINE = "baseline"
    RESTORE = "restore"
    DISMISS = "dismiss"
    REFRESH = "refresh"


MIGRATIONS = frozenset({AttemptKind.LIVE, AttemptKind.COLD})


class Result(StrEnum):
    """Result of an attempt. Failed, refused and lost are charged; the others are not."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    LOST = "lost"
    LOCKED = "locked"
    BUSY = "busy"
    STALE = "stale"


CHARGED = frozenset({Result.FAILED, Result.REFUSED, Result.LOST})


class Wait(StrEnum):
    """Reason why a move waits. Limits and what follows stand in ``policy/waits.py``."""

    SLOT = "SLOT"
    ROOM = "ROOM"
    BACKUP = "BACKUP"
    APPROVAL = "APPROVAL"
    RUNNING_FIRST = "RUNNING_FIRST"
    BACKOFF = "BACKOFF"
    HOST_LOCKED = "HOST_LOCKED"
    HOST_DOWN = "HOST_DOWN"
    BREAKER = "BREAKER"
    TRANSIENT = "TRANSIENT"
    MISSING = "MISSING"
    FOREIGN = "FOREIGN"
    TWO_PLACES = "TWO_PLACES"
    OTHER_RUN = "OTHER_RUN"
    DAMAGE = "DAMAGE"
    PAUSED = "PAUSED"
    WINDOW = "WINDOW"
    VMM_DOWN = "VMM_DOWN"


class Outcome(StrEnum):
    """Outcome of a move, in one word that scripts can rely on."""

    MOVED = "MOVED"
    ALREADY_THERE = "ALREADY_THERE"
    ELSEWHERE = "ELSEWHERE"
    VANISHED = "VANISHED"
    DENIED = "DENIED"
    EXPIRED = "EXPIRED"
    STOPPED = "STOPPED"
    EXCLUDED = "EXCLUDED"
    ATTEMPTS = "ATTEMPTS"
    BACKUP_TOO_LONG = "BACKUP_TOO_LONG"
    STUCK = "STUCK"
    NO_ROOM = "NO_ROOM"
    BLOCKED = "BLOCKED"
    NETWORK = "NETWORK"
    TWO_PLACES = "TWO_PLACES"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Options:
    """The words of a request after its VMs and hosts; defaults are the original module's."""

    path: str | None = None
    parallel: int = 0
    attempts: int = 3
    backup: float = 3600.0
    bulletproof: bool = False
    stop_on_failure: bool = False
    now: bool = False
    excluding: tuple[str, ...] = ()
    pass_: float = 60.0
    lookups: int = 3
    lookup_interval: float = 10.0
    refreshes: int = 3
    refresh_interval: float = 60.0


@dataclass(frozen=True)
class Request:
    """Request of a person, in their own words: nothing is looked up yet.

    ``kind`` host: empty ``sources``. ``kind`` vm: move the VMs that ``vms`` name (wildcards,
    ``name@host``, ``id:GUID``). ``given`` lists the option words that were typed, so that
    settings fill in only the others.
    """

    kind: Literal["host", "vm"]
    sources: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Run:
    """One accepted request. Hosts are FQDNs; ``by`` is who asked (``slack:U01``,
    ``terminal:ann``).

    ``quiet_since``: nothing but people to wait for since then. ``empty_first``/``empty_seen``:
    when and which sources were first seen empty; ``empty``: proven so by a second look.
    ``owner`` is who is told and pinged (``None``: who asked); ``steered`` are those who resumed
    or retried it. ``resumed`` is when it last began anew: breakers, rights and grants of before
    do not count. ``back`` is when it was seen again after the latest gap. ``aborting``: what is
    in flight is stopped, too. ``said`` is why it is in its state, in a sentence.
    """

    id: int
    vmm: str
    kind: Literal["host", "vm"]
    request: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    options: Options
    by: str
    state: RunState
    created: float
    started: float | None = None
    ended: float | None = None
    quiet_since: float | None = None
    empty_first: float | None = None
    empty_seen: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    owner: str | None = None
    steered: tuple[str, ...] = ()
    resumed: float | None = None
    back: float | None = None
    aborting: bool = False
    said: str = ""

    @property
    def label(self) -> str:
        """``R12``: how people name it."""
        return f"R{self.id}"

    @property
    def contact(self) -> str:
        """Person who is told how the run goes: the owner, else the requester."""
        return self.owner or self.by

    @property
    def anew(self) -> float:
        """Time at which the run began, or was last resumed."""
        return max(self.began, self.resumed or 0.0)

    @property
    def began(self) -> float:
        """Time at which the run began; before that, when it was requested."""
        return self.started if self.started is not None else self.created

    @property
    def over(self) -> bool:
        """True once the run has ended for good."""
        return self.state in RUN_ENDS


RUN_ENDS = frozenset({RunState.STOPPED, RunState.COMPLETED, RunState.INCOMPLETE, RunState.REJECTED})
MOVE_ENDS = frozenset(
    {
        MoveState.DONE,
        MoveState.DAMAGED,
        MoveState.FAILED,
        MoveState.SKIPPED,
        MoveState.UNKNOWN,
    }
)
MOVED = frozenset({MoveState.DONE, MoveState.DAMAGED})
"""The ends of a VM that came where it should, whatever its network is like."""


@dataclass(frozen=True)
class Move:
    """One VM in one run.

    ``host`` is where it was last seen. ``power`` is ``None`` until the run's first look;
    ``down_since`` is when a VM that was running then was first seen powered down.
    ``wait``/``wait_since``/``wait_text`` are set while it waits (``needs_person``: only a person's
    word ends that); ``wait_noted`` is when the text
    last changed (``None``: it was called out since). ``wait_credit`` are seconds to add to the time
    since ``wait_since`` for the wait's limit: negative for a gap in which nobody could see,
    positive for what had passed before a pause; ``wait_kept`` is the wait that a pause or a
    silent VMM interrupted.
    ``sentence`` says how it ended and ``next`` what a person should do, once damage was cleared
    ``after_go_on``; ``cause`` is what moves share that ended for the same reason.
    ``retried`` is when a person last had it tried again: attempts of before do not count.
    ``settled``: a person has located a VM that was lost. ``cleared``: a person said go on
    after it was damaged. ``stop_asked``: when VMM was last asked to stop its job.
    """

    id: int
    run: int
    vm_id: str
    vm: str
    source: str
    state: MoveState = MoveState.PENDING
    destination: str | None = None
    host: str | None = None
    kind: AttemptKind | None = None
    power: Power | None = None
    down_since: float | None = None
    wait: Wait | None = None
    wait_since: float | None = None
    wait_text: str = ""
    needs_person: bool = False
    outcome: Outcome | None = None
    sentence: str = ""
    next: str = ""
    cause: str = ""
    after_go_on: str = ""
    adopted: bool = False
    memory_mb: int = 0
    disk_mb: int = 0
    created: float = 0.0
    wait_noted: float | None = None
    wait_credit: float = 0.0
    wait_kept: Wait | None = None
    retried: float | None = None
    settled: float | None = None
    cleared: float | None = None
    stop_asked: float | None = None

    @property
    def over(self) -> bool:
        """True once the move has ended."""
        return self.state in MOVE_ENDS

    @property
    def size_mb(self) -> int:
        """Memory and disk together: what a shared-nothing move copies."""
        return self.memory_mb + self.disk_mb


@dataclass(frozen=True)
class Attempt:
    """One thing we tried on a VM. ``ended`` is ``None`` while its outcome is open."""

    id: int
    run: int
    move: int
    vm_id: str
    kind: AttemptKind
    source: str
    destination: str | None
    begun: float
    not_after: float | None = None
    job: str | None = None
    ended: float | None = None
    result: Result | None = None
    error: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """True until the outcome of the attempt has been observed."""
        return self.ended is None

    @property
    def charged(self) -> bool:
        """True if the attempt counts against the cap of its kind."""
        return self.result in CHARGED


@dataclass(frozen=True)
class MoveOrder:
    """Order to VMM to start one migration, with the state that its guard compares.

    The VM ``vm_id`` has to be on ``source`` still and in this class of ``power``, and VMM's own
    clock not past ``not_after`` (UTC seconds). ``path`` is the folder on ``destination``; ``None``:
    the default of that host. ``pin`` is the network to bind into the job of a powered-down VM;
    ``None``: VMM keeps the connections as they are.
    """

    vm_id: str
    source: str
    destination: str
    path: str | None
    power: Power
    pin: Network | None
    not_after: float


@dataclass(frozen=True)
class Doubt:
    """A VM whose last move ended UNKNOWN and that nobody has settled: no run starts it. ``hosts``
    are where it may be, on any of them or on two."""

    vm_id: str
    run: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Damage:
    """A VM that was damaged on ``host`` in a run, and nobody has said go on: the host takes no
    further VMs."""

    run: int
    vm: str
    host: str


@dataclass(frozen=True)
class Rights:
    """Right to read and write extended ACLs on ``host``, as found at ``at``; ``why`` not, in words.
    ``ok`` is ``None`` where it could not be found out."""

    host: str
    at: float
    ok: bool | None
    why: str = ""


@dataclass(frozen=True)
class Reading:
    """The network of one VM as read from ``host`` at ``taken``."""

    vm_id: str
    host: str
    network: Network
    taken: float


@dataclass(frozen=True)
class Event:
    """One line of the audit: what changed, when, by whom, in words.

    ``cause`` is what made it: a row of the inbox (``inbox:17``), somebody at a terminal
    (``terminal:ann``), a step of the engine (``tick``), a board that was posted (``board``);
    ``None`` for events from before causes were kept.
    """

    seq: int
    at: float
    kind: str
    run: int | None
    vm: str | None
    by: str | None
    text: str
    detail: Mapping[str, Any]
    hash: str
    cause: str | None = None


@dataclass(frozen=True)
class MoveRecord:
    """A move with its attempts (oldest first), its saved network and its last reading."""

    move: Move
    attempts: tuple[Attempt, ...] = ()
    baseline: Reading | None = None
    reading: Reading | None = None

    def of(self, *kinds: AttemptKind) -> tuple[Attempt, ...]:
        """Attempts of these kinds, oldest first."""
        return tuple(a for a in self.attempts if a.kind in kinds)

    def counted(self, *kinds: AttemptKind) -> tuple[Attempt, ...]:
        """Attempts as ``of`` gives them, without those from before a person's retry."""
        return tuple(a for a in self.of(*kinds) if a.begun >= (self.move.retried or 0.0))

    def since_move(self, kind: AttemptKind) -> tuple[Attempt, ...]:
        """Repairs of this kind since the last LIVE or COLD attempt ended: each one that fails
        leaves something new to repair."""
        ends = (a.ended for a in self.counted(*MIGRATIONS) if a.ended is not None)
        last = max(ends, default=0.0)
        return tuple(a for a in self.counted(kind) if a.begun >= last)

    @property
    def looked_at_again(self) -> bool:
        """True for a damaged VM whose network a person has had checked once more."""
        move = self.move
        checked = move.state is MoveState.RESTORING and move.retried is not None
        return checked and not self.counted(*MIGRATIONS)

    @property
    def holds_its_host_up(self) -> bool:
        """True if the VM was damaged where it is and no person has cleared it: its host takes no
        further VM."""
        damaged = self.move.state is MoveState.DAMAGED or self.looked_at_again
        return damaged and self.move.cleared is None

    @property
    def open_migration(self) -> Attempt | None:
        """The LIVE or COLD attempt whose outcome is still open."""
        return next((a for a in self.of(*MIGRATIONS) if a.open), None)


@dataclass(frozen=True)
class RunRecord:
    """A run with its moves and approvals, and the reviews of those that broke the glass."""

    run: Run
    moves: tuple[MoveRecord, ...] = ()
    approvals: tuple[Approval, ...] = ()
    reviews: tuple[Review, ...] = ()
