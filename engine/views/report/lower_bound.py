"""Quality of a run: its lower bound in seconds, and its idle slots.

The bound takes all copies with their real durations, failed ones too, and asks how early the last
could have ended. Four arguments each give a time that no schedule beats; the latest one counts:

* A VM's copies run one after the other, and none begins before the VM was free.
* A host's copies share its slots: they take the sum of their durations divided by the slots.
* Of the ``k * slots + 1`` longest copies of a host, one slot gets ``k + 1``: at best the shortest.
* The last two also hold for only the copies free from a moment on, counted from that moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from engine.model import MIGRATIONS, Attempt, Event, Fleet, Result, RunRecord, same_host
from engine.policy.starts import estimate
from engine.views.report import waited


@dataclass(frozen=True)
class Copy:
    """One migration that ran and held a slot at each of ``hosts`` for ``seconds``."""

    move: int
    hosts: tuple[str, ...]
    seconds: float


def lower_bound(
    record: RunRecord, fleet: Fleet | None, releases: Mapping[int, float] | None = None
) -> float:
    """Lower bound of a run in seconds. ``releases``: by move id, seconds from the run's start until
    the VM was free."""
    ran = _ran(record)
    copies = [
        Copy(a.move, tuple(h for h in (a.source, a.destination) if h), ended - begun)
        for a, (begun, ended) in ran
    ]
    hosts = {host for copy in copies for host in copy.hosts}
    slots = {host: max(estimate.slots(host, fleet), _at_once(host, ran)) for host in hosts}
    return least(copies, slots, releases or {})


def least(copies: Sequence[Copy], slots: Mapping[str, int], releases: Mapping[int, float]) -> float:
    """Lower bound in seconds of any schedule of these copies; see the module."""
    chains = defaultdict(float, releases)
    at_host: defaultdict[str, list[Copy]] = defaultdict(list)
    for copy in copies:
        chains[copy.move] += copy.seconds
        for host in copy.hosts:
            at_host[host].append(copy)
    busy = [_busy(found, slots[host], releases) for host, found in at_host.items()]
    return max([0.0, *chains.values(), *busy])


def _busy(copies: Sequence[Copy], slots: int, releases: Mapping[int, float]) -> float:
    """Lower bound of one host: the latest over all moments at which a copy became free."""
    longest = sorted(copies, key=lambda copy: copy.seconds, reverse=True)
    free = [(releases.get(copy.move, 0.0), copy.seconds) for copy in longest]
    return max(
        moment + _shared([seconds for since, seconds in free if since >= moment], slots)
        for moment in {since for since, _ in free}
    )


def _shared(longest: Sequence[float], slots: int) -> float:
    """Lower bound in seconds for copies of one host that are all free; ``longest`` first."""
    upto = [0.0, *accumulate(longest)]
    crowded = [
        upto[count] - upto[count - k - 1]
        for k, count in enumerate(range(slots + 1, len(longest) + 1, slots), 1)
    ]
    return max([upto[-1] / slots, *crowded])


def _ran(record: RunRecord) -> list[tuple[Attempt, tuple[float, float]]]:
    """LIVE and COLD attempts that ran, failed ones too, each with its begin and end by VMM."""
    ran = (Result.OK, Result.FAILED)
    found = ((a, a.times) for m in record.moves for a in m.attempts if a.result in ran)
    return [(a, times) for a, times in found if a.kind in MIGRATIONS and times is not None]


def _at_once(host: str, ran: Sequence[tuple[Attempt, tuple[float, float]]]) -> int:
    """Most copies at once on this host. Its limit may have been higher then than now."""
    here = [times for a, times in ran if host in (a.source, a.destination)]
    edges = sorted(
        edge for begun, ended in here if ended > begun for edge in ((begun, 1), (ended, -1))
    )
    return max(accumulate((change for _, change in edges), initial=0))


def releases(
    record: RunRecord, history: Mapping[str, Sequence[Event]], began: float, end: float
) -> dict[int, float]:
    """Seconds from ``began`` until each move could begin, by move id. ``history``: by VM id."""
    return {
        m.move.id: max(
            0.0, waited.free_at(history.get(m.move.vm_id, ()), m.move.created, end) - began
        )
        for m in record.moves
    }


def idle(
    record: RunRecord,
    fleet: Fleet | None,
    history: Mapping[str, Sequence[Event]],
    began: float,
    end: float,
) -> dict[str, float]:
    """Slot seconds at the sources that this run left idle while its VMs waited, by wait code.

    If VMs wait for different things, the wait of most counts. Slots held by others count as idle.
    """
    total: defaultdict[str, float] = defaultdict(float)
    for source in record.run.sources:
        here = [m for m in record.moves if same_host(m.move.source, source)]
        spans = [s for m in here for s in waited.spans(history.get(m.move.vm_id, ()), end)]
        tried = (a for m in here for a in m.attempts if a.kind in MIGRATIONS)
        copies = [a.times or (a.begun, end) for a in tried]
        edges = {began, end, *(t for _, a, b in spans for t in (a, b))}
        edges |= {t for copy in copies for t in copy}
        ordered = sorted(t for t in edges if began <= t <= end)
        for left, right in pairwise(ordered):
            busy = sum(begun <= left and ended >= right for begun, ended in copies)
            waiting = [code for code, a, b in spans if a <= left and b >= right]
            free = estimate.slots(source, fleet) - busy
            if free > 0 and waiting:
                cause = max(sorted(set(waiting)), key=waiting.count)
                total[cause] += min(free, len(waiting)) * (right - left)
    return {code: round(seconds, 1) for code, seconds in sorted(total.items()) if seconds > 0}
