"""Runs, moves, attempts and events: the values that are stored as rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from engine.model.approvals import Approval, Review
from engine.model.fleet import Power
from engine.model.hearing import Hearing
from engine.model.network import Network


class RunState(StrEnum):
    """State of a run. ``policy/states.py`` holds the allowed transitions."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    REJECTED = "rejected"


class MoveState(StrEnum):
    """State of a move. *damaged*: moved, but the network is not as saved, or the VM does not run
    any more."""

    PENDING = "pending"
    MOVING = "moving"
    RESTORING = "restoring"
    DONE = "done"
    DAMAGED = "damaged"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class AttemptKind(StrEnum):
    """Kind of an attempt. LIVE and COLD share one count. Each other kind has its own."""

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
    """Reason why a move waits. ``policy/waits.py`` holds the limits and their consequences."""

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
    DOUBT = "DOUBT"
    STALLED = "STALLED"
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
    NOT_RUNNING = "NOT_RUNNING"
    TWO_PLACES = "TWO_PLACES"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Options:
    """Options of a request. Durations are seconds. Defaults are those of the original module."""

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
    """A parsed request. Its names of hosts and VMs are not looked up yet.

    ``kind`` host: empty the ``sources``. ``kind`` vm: move the VMs named by ``vms`` (wildcards,
    ``name@host``, ``id:GUID``). ``given`` holds the typed option words; settings fill in the
    other options.
    """

    kind: Literal["host", "vm"]
    sources: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Run:
    """One accepted request. Hosts are FQDNs. Times are Unix seconds UTC.

    ``by`` is the requester (``slack:U01``, ``terminal:ann``), ``owner`` the person who took the
    run over, if any; ``steered`` lists the people who resumed or retried the run. ``quiet_since``:
    since then the run waits only for people. ``empty_seen``: sources first observed empty at
    ``empty_first``; ``empty_calm``: in this observation, by source, the newest call when nothing
    was in flight to it; ``empty``: sources proven empty by a second one. ``resumed`` is the latest
    resume or retry; earlier breakers, rights and grants do not count. ``back`` is the end of the
    latest gap. ``aborting``: migrations in flight are to be stopped. ``said`` explains the
    state in a sentence.
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
    empty_calm: Mapping[str, int] = field(default_factory=dict)
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
        """Name for people: ``R12``."""
        return f"R{self.id}"

    @property
    def contact(self) -> str:
        """Person who is notified about the run: the owner, else the requester."""
        return self.owner or self.by

    @property
    def anew(self) -> float:
        """Time of the latest resume or retry, else of the run's start."""
        return max(self.began, self.resumed or 0.0)

    @property
    def began(self) -> float:
        """Start time of the run, or the time of its request if it has not started."""
        return self.started if self.started is not None else self.created

    @property
    def over(self) -> bool:
        """True while the run has ended. People can reopen stopped and incomplete runs."""
        return self.state in RUN_ENDS


RUN_ENDS = frozenset({RunState.STOPPED, RunState.COMPLETED, RunState.INCOMPLETE, RunState.REJECTED})
MOVE_ENDS = frozenset(
    {MoveState.DONE, MoveState.DAMAGED, MoveState.FAILED, MoveState.SKIPPED, MoveState.UNKNOWN}
)
MOVED = frozenset({MoveState.DONE, MoveState.DAMAGED})
"""End states of a VM that arrived on a destination, with an intact or a damaged network."""


@dataclass(frozen=True)
class Move:
    """One VM in one run.

    ``host`` is the VM's last known host. ``power`` is ``None`` until the run's first observation.
    ``down_since``: a VM that was running then was first observed powered down at that time.
    ``wait``/``wait_since``/``wait_text`` are set during a wait (``needs_person``: only a person
    can end the wait). ``wait_noted`` is the time of the text's last change (``None``: the wait was
    reported since). ``wait_credit`` is added to the seconds since ``wait_since`` before they are
    compared with the wait's limit: negative for gaps, positive for the time before a pause.
    ``wait_kept`` is the wait that a pause or a silent VMM interrupted.
    ``sentence`` describes the outcome, ``next`` what a person should do, and ``after_go_on`` what
    remains to do once damage is cleared. Moves that ended for the same reason share ``cause``.
    ``retried`` is the time of the latest retry; earlier attempts do not count. ``settled``,
    ``cleared`` and ``stop_asked`` are the times at which a person located a lost VM, a person
    typed ``go-on`` after damage, and VMM was last asked to stop the job.
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
        """True while the move has ended. A retry or ``settle`` can reopen it."""
        return self.state in MOVE_ENDS

    @property
    def size_mb(self) -> int:
        """Memory plus disk in MB, which a shared-nothing move copies."""
        return self.memory_mb + self.disk_mb


@dataclass(frozen=True)
class Attempt:
    """One thing tried on a VM. ``ended`` is ``None`` until its result has been observed.

    ``opened`` and ``closed`` are the numbers of the newest call when it was begun and when it
    ended: later looks have higher ones. ``job`` is the id by which VMM answered the start;
    ``found``: without that answer, the latest job that was seen to move the VM, which may be
    somebody else's. ``hearing``: what both Hyper-Vs said since the job was over. ``ran_from`` and
    ``ran_to`` are VMM's own times of the job, on VMFerry's clock.
    """

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
    closed: int = 0
    opened: int = 0
    found: str | None = None
    hearing: Hearing = field(default_factory=Hearing)
    ran_from: float | None = None
    ran_to: float | None = None

    @property
    def known_job(self) -> str | None:
        """Id of its job: VMM's answer to the start, else the job that was found; ``None``: none."""
        return self.job or self.found

    @property
    def times(self) -> tuple[float, float] | None:
        """Begin and end of what ran (Unix seconds): by VMM, else as it was observed. ``None``: it
        has not ended."""
        if self.ran_from is not None and self.ran_to is not None and self.ran_to > self.ran_from:
            return self.ran_from, self.ran_to
        return None if self.ended is None else (self.begun, self.ended)

    @property
    def open(self) -> bool:
        """True until the result of the attempt has been observed."""
        return self.ended is None

    @property
    def charged(self) -> bool:
        """True if the attempt counts against the limit of its kind."""
        return self.result in CHARGED


@dataclass(frozen=True)
class MoveOrder:
    """Order to VMM to start one migration, with the conditions that its guard checks.

    The VM must still be on ``source`` with the given ``power``, and the VMM server's clock must be
    between ``not_before`` (``None``: at any time before) and ``not_after`` (Unix seconds UTC): a
    clock that was set back would make an old order valid again. ``path`` is the folder on
    ``destination``; ``None``: the host's default. ``pin`` is the network to bind into the job of a
    powered-down VM; ``None``: VMM keeps the connections as they are.
    """

    vm_id: str
    source: str
    destination: str
    path: str | None
    power: Power
    pin: Network | None
    not_after: float
    not_before: float | None = None


@dataclass(frozen=True)
class Doubt:
    """A VM whose move ended UNKNOWN and was not settled: no run starts the VM. ``hosts`` lists its
    possible locations; it may be on two of them."""

    vm_id: str
    run: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Damage:
    """A VM that was damaged on ``host`` in a run. The host takes no further VMs until a person
    types ``go-on``."""

    run: int
    vm: str
    host: str


@dataclass(frozen=True)
class Rights:
    """Right to read and write extended ACLs on ``host``, checked at ``at``. ``ok`` is ``None`` if
    the right could not be checked. ``why`` explains a missing right."""

    host: str
    at: float
    ok: bool | None
    why: str = ""


@dataclass(frozen=True)
class Reading:
    """The network of one VM, or one half of it, as read on ``host`` at ``taken``."""

    vm_id: str
    host: str
    network: Network
    taken: float
    asked: int = 0


@dataclass(frozen=True)
class Event:
    """One line of the audit: a change, its time (Unix seconds UTC), its author and its text.

    ``cause`` is the origin of the change: a row of the inbox (``inbox:17``), a person at a
    terminal (``terminal:ann``), a step of the engine (``tick``) or a posted board (``board``).
    ``None``: an event older than this field.
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
    """A move with its attempts (oldest first), its baseline, and what was last read of its network:
    ``ports`` is Hyper-V's half, ``models`` VMM's."""

    move: Move
    attempts: tuple[Attempt, ...] = ()
    baseline: Reading | None = None
    ports: Reading | None = None
    models: Reading | None = None

    def of(self, *kinds: AttemptKind) -> tuple[Attempt, ...]:
        """Return the attempts of these kinds, oldest first."""
        return tuple(a for a in self.attempts if a.kind in kinds)

    def counted(self, *kinds: AttemptKind) -> tuple[Attempt, ...]:
        """Return the attempts of these kinds since the latest retry by a person, oldest first."""
        return tuple(a for a in self.of(*kinds) if a.begun >= (self.move.retried or 0.0))

    def since_move(self, kind: AttemptKind) -> tuple[Attempt, ...]:
        """Return the attempts of this kind since the last LIVE or COLD attempt ended, because each
        failed migration needs repairs of its own."""
        ends = (a.ended for a in self.counted(*MIGRATIONS) if a.ended is not None)
        last = max(ends, default=0.0)
        return tuple(a for a in self.counted(kind) if a.begun >= last)

    @property
    def looked_at_again(self) -> bool:
        """True if a person retried a damaged VM, whose network is being checked again."""
        move = self.move
        checked = move.state is MoveState.RESTORING and move.retried is not None
        return checked and not self.counted(*MIGRATIONS)

    @property
    def holds_its_host_up(self) -> bool:
        """True if the VM is damaged and not cleared, so that its host takes no further VM."""
        damaged = self.move.state is MoveState.DAMAGED or self.looked_at_again
        return damaged and self.move.cleared is None

    @property
    def open_migration(self) -> Attempt | None:
        """The LIVE or COLD attempt whose result has not been observed yet, or ``None``."""
        return next((a for a in self.of(*MIGRATIONS) if a.open), None)


@dataclass(frozen=True)
class RunRecord:
    """A run with its moves, its approvals and the reviews of its break-glass approvals."""

    run: Run
    moves: tuple[MoveRecord, ...] = ()
    approvals: tuple[Approval, ...] = ()
    reviews: tuple[Review, ...] = ()
