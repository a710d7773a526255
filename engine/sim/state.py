"""Parts of a simulated world: plain records that can be saved as JSON and restored unchanged.

``VmState.hosts``, ``power`` and ``nics`` are Hyper-V's truth. ``vmm_host`` and ``vmm_status`` are
VMM's view, which may be stale; ``status_due`` and ``host_due`` are the times at which VMM catches
up automatically. Chance comes from the seed and a counter in the state, so that a restored world
continues exactly as it would have.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from engine.errors import Refused
from engine.model import (
    Adapter,
    HyperVState,
    Network,
    Power,
    Reread,
    is_called,
    same_host,
    short,
)
from engine.sim.costs import Costs
from engine.sim.fleet_file import NAMESPACE, FleetFile, HostSpec, HyperV, Lies, VmSpec, find_host
from engine.toml_tables import suggestion

Phase = Literal["waiting", "queued", "running", "completed", "failed", "canceled", "void"]
Kind = Literal["live", "cold"]
Restarted = Literal["die", "failed", "gone"]
"""Jobs of migrations after a restart of VMM: both end; VMM calls them failed, or does not know them
any more, and the hosts go on."""
FORMAT = 1

POWER = {
    "Running": HyperVState.RUNNING,
    "PowerOff": HyperVState.OFF,
    "Saved": HyperVState.SAVED,
    "Paused": HyperVState.PAUSED,
}
WORDS = {state: word for word, state in POWER.items()}
CHANGING = frozenset(
    {"PoweringOff", "Saving", "Restoring", "Starting", "Pausing", "Reset", "DiscardSavedState"}
)
GONE = frozenset({"Missing", "Stored"})
"""Statuses of VMs that Hyper-V does not show on any host."""


@dataclass
class HostState:
    """A host: its table in the file, and its current state."""

    spec: HostSpec
    live: int
    storage: int
    locked_until: float = 0.0
    down_until: float = 0.0
    rereads_hang: bool = False

    @property
    def name(self) -> str:
        """The full name."""
        return self.spec.name

    def clock(self, now: float) -> float:
        """The host's own clock."""
        return now + self.spec.clock_skew


@dataclass
class Fate:
    """End of a migration: the result of its job, and where the VM is afterwards (``at``).

    ``at`` is source, destination, both, neither or a host. ``seconds`` is set if it ends early;
    ``hopeless`` if it cannot work from the start.
    """

    job: Literal["ok", "failed"] = "ok"
    at: str = "destination"
    error: str = ""
    seconds: float | None = None
    times: int = 1
    hopeless: bool = False


@dataclass
class Loss:
    """Loss of a VM at its next arrival: a number of ACLs (``None``: all), its connections, its
    power."""

    acls: int | None = 0
    nics: bool = False
    power: bool = False


@dataclass
class VmState:
    """A VM: Hyper-V's truth, VMM's view of it, and outcomes set for its next migrations.

    ``drives``: the volume of its disks by host, if it is not the volume of the host's own path.
    """

    spec: VmSpec
    hosts: list[str]
    power: HyperVState
    nics: list[Adapter]
    overlay: str | None = None
    vmm_host: str | None = None
    vmm_status: str = ""
    status_due: float | None = None
    host_due: float | None = None
    deleted: bool = False
    backups: list[tuple[float, float]] = field(default_factory=list)
    fates: list[Fate] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    drives: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The Hyper-V id."""
        return self.spec.id

    @property
    def name(self) -> str:
        """The name."""
        return self.spec.name

    def backed_up(self, now: float) -> bool:
        """Tell whether a backup of the VM is running."""
        return any(begin <= now < end for begin, end in self.backups)


@dataclass
class Migration:
    """One migration and its VMM job.

    waiting: VMM received the call and begins it later (``begins``); queued: somebody else's,
    without a slot; void: it never began. ``whole`` is its undisturbed duration in seconds.
    ``lost``: when VMM lost its job while the hosts go on; ``told``: VMM calls that job failed.
    ``stood``: when it stood still last, and for how many seconds.
    """

    id: str
    vm_id: str
    source: str
    destination: str
    power: Power
    ours: bool
    begins: float
    phase: Phase = "waiting"
    kind: Kind = "live"
    not_after: float | None = None
    not_before: float | None = None
    pin: Network | None = None
    path: str | None = None
    started: float | None = None
    ends: float | None = None
    visible: float = 0.0
    target: float = 0.0
    fate: Fate = field(default_factory=Fate)
    ended: float | None = None
    progress: int = 0
    whole: float = 0.0
    lost: float | None = None
    told: bool = False
    stood: tuple[float, float] = (0.0, 0.0)

    def touches(self, host: str) -> bool:
        """Tell whether this host is the source or the destination."""
        return same_host(self.source, host) or same_host(self.destination, host)


@dataclass
class RereadJob:
    """A re-read by VMM, as a job of its own. ``name``: full name of a host, or id of a VM.

    ``ends``: when it ends by itself; ``None``: never.
    """

    id: str
    what: Reread
    name: str
    started: float
    ends: float | None
    phase: Literal["running", "completed", "failed"] = "running"
    error: str | None = None
    ended: float | None = None


@dataclass
class Slow:
    """A slow server until some time: a host, or VMM (``""``)."""

    server: str
    times: float
    until: float


@dataclass
class Hang:
    """A server that never answers: a host, or VMM (``""``). ``call``: only this call to it, or
    about it. ``until`` ``None``: for ever."""

    server: str
    call: str | None
    until: float | None


@dataclass
class Judged:
    """Questions of the caller. ``pulsed``: for each host whose pulse was asked, when the last one
    was asked, and the limit then. ``listed``: when VMM's jobs were last asked for."""

    pulsed: dict[str, tuple[float, int]] = field(default_factory=dict)
    listed: float | None = None


@dataclass
class State:
    """The whole world."""

    seed: int
    vmm: str
    start: float
    now: float
    skew: float
    lies: Lies
    format: int = FORMAT
    rolls: int = 0
    created: int = 0
    vmm_down_until: float = 0.0
    hosts: dict[str, HostState] = field(default_factory=dict)
    vms: dict[str, VmState] = field(default_factory=dict)
    open: list[Migration] = field(default_factory=list)
    over: list[Migration] = field(default_factory=list)
    judged: Judged = field(default_factory=Judged)
    violations: list[dict[str, str | float]] = field(default_factory=list)
    hyperv: HyperV = field(default_factory=HyperV)
    costs: Costs = field(default_factory=Costs)
    rereads: list[RereadJob] = field(default_factory=list)
    reread_count: int = 0
    slow: list[Slow] = field(default_factory=list)
    hung: list[Hang] = field(default_factory=list)
    connected: bool = False

    def roll(self) -> float:
        """Draw the next random number from 0 to below 1."""
        self.rolls += 1
        digest = hashlib.sha256(f"{self.seed}:{self.rolls}".encode()).digest()
        return int.from_bytes(digest[:7]) / 2**56

    def chance(self, probability: float) -> bool:
        """Tell whether something of this probability happens. Rolls only if both results are
        possible."""
        return probability > 0 and (probability >= 1 or self.roll() < probability)

    def between(self, span: tuple[float, float]) -> float:
        """Draw a number of this range. Rolls only if the range is not a single point."""
        low, high = span
        return low if high <= low else low + (high - low) * self.roll()

    def new_id(self) -> str:
        """Return the id of the next job."""
        jobs = len(self.open) + len(self.over)
        return str(uuid.uuid5(NAMESPACE, f"job/{self.seed}/{jobs}"))

    def host(self, word: str) -> HostState:
        """The host with this full or unique short name. Raises ``Refused`` with the nearest."""
        known = self.hosts.get(word)
        return known or self.hosts[find_host(word, list(self.hosts), "host")]

    def known_host(self, name: str) -> HostState | None:
        """The host with this full name, ignoring case, or ``None``."""
        return self.hosts.get(name) or next(
            (h for h in self.hosts.values() if same_host(h.name, name)), None
        )

    def vm(self, word: str) -> VmState:
        """The VM called ``web01``, ``web01@hv01`` or ``id:GUID``. Raises ``Refused``."""
        there = [vm for vm in self.vms.values() if not vm.deleted]
        if word.casefold().startswith("id:"):
            found = [vm for vm in there if vm.id == word[3:].strip().upper()]
        else:
            found = _named(there, *word.partition("@")[::2])
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(f"{vm.name}@{short(next(iter(places(vm)), None))}" for vm in found)
            raise Refused(f'There are several VMs "{word}": {named}.', what=word)
        near = suggestion(word.partition("@")[0], [vm.name for vm in there])
        raise Refused(f'There is no VM "{word}".', what=word, hint=near)

    def migration_of(self, vm_id: str) -> Migration | None:
        """The queued or running migration of this VM."""
        return next((m for m in self.open if m.vm_id == vm_id and m.phase != "waiting"), None)

    def load(self, host: str) -> int:
        """Number of migrations that hold a slot on this host, in and out."""
        return sum(m.phase == "running" and m.touches(host) for m in self.open)

    def limit(self, host: HostState) -> int:
        """Slots of a host: a shared-nothing move takes one live and one storage slot."""
        return min(host.live, host.storage)

    def full(self, source: str, destination: str) -> HostState | None:
        """The first of the two hosts without a free slot, or ``None``."""
        ends = (self.hosts[source], self.hosts[destination])
        return next((h for h in ends if self.load(h.name) >= self.limit(h)), None)

    def times(self, *servers: str) -> float:
        """Factor by which calls that involve these servers are slower than usual now."""
        factors = [s.times for s in self.slow if s.server in servers and self.now < s.until]
        return math.prod(factors)

    def hangs(self, call: str, server: str, host: str | None) -> bool:
        """Tell whether a call to this server, about this host, never gets an answer now."""
        return any(
            hang.server == server if hang.call is None else hang.server in (server, host)
            for hang in self.hung
            if (hang.until is None or self.now < hang.until) and hang.call in (None, call)
        )


def new_state(fleet: FleetFile, seed: int | None = None) -> State:
    """Create a world in its initial state."""
    state = State(
        seed=fleet.seed if seed is None else seed,
        vmm=fleet.vmm,
        start=fleet.start,
        now=fleet.start,
        skew=fleet.clock_skew,
        lies=fleet.lies,
        hyperv=fleet.hyperv,
        costs=fleet.costs,
        hosts={h.name: HostState(spec=h, live=h.live, storage=h.storage) for h in fleet.hosts},
    )
    for spec in fleet.vms:
        add_vm(state, spec, fleet.start)
    return state


def add_vm(state: State, spec: VmSpec, start: float) -> VmState:
    """Add a VM to the world; its backup windows count from ``start``."""
    vm = VmState(
        spec=spec,
        hosts=[] if spec.status in GONE else [spec.host],
        power=power_of(spec.status),
        overlay=None if spec.status in POWER else spec.status,
        nics=list(spec.nics),
        vmm_host=spec.host,
        vmm_status=spec.status,
        backups=[(start + begin, start + end) for begin, end in spec.backup],
    )
    state.vms[vm.id] = vm
    state.created += 1
    return vm


def power_of(status: str) -> HyperVState:
    """Power state that Hyper-V shows for this status of VMM."""
    if status in CHANGING:
        return HyperVState.OTHER
    return POWER.get(status, HyperVState.RUNNING)


JSON = TypeAdapter(State)
"""The world to JSON and back."""


def _named(vms: Iterable[VmState], name: str, host: str) -> list[VmState]:
    wanted = name.casefold()
    return [
        vm
        for vm in vms
        if vm.name.casefold() == wanted
        and (not host or any(is_called(h, host) for h in places(vm)))
    ]


def places(vm: VmState) -> list[str]:
    """Location of a VM as people would name it: its hosts, else the host that VMM remembers."""
    return vm.hosts or ([vm.vmm_host] if vm.vmm_host else [])
