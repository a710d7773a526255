"""Inputs of a plan besides the runs and the fleet: rows that belong to no unfinished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from engine.model import (
    Attempt,
    Damage,
    Doubt,
    Fleet,
    Look,
    Move,
    OpenCall,
    Options,
    Rights,
    Run,
    same_host,
)


@dataclass(frozen=True)
class Facts:
    """``lost``: open LIVE and COLD attempts of moves that have ended, ``options``: those of their
    runs, by run. ``unknown``: VMs whose location is unknown and not settled. ``damages``: damage
    that no ``go-on`` has cleared. ``verdicts``: by VM id of a waiting VM, its latest move that
    ended on a destination, in any run. ``calls``: calls without an answer. ``rights``: our rights
    as last checked, by host, case folded. ``before``: the observation before this one. ``beat``:
    when an engine last advanced or tried to (Unix seconds)."""

    lost: Sequence[Attempt] = ()
    options: Mapping[int, Options] = field(default_factory=dict)
    unknown: Sequence[Doubt] = ()
    damages: Sequence[Damage] = ()
    rights: Mapping[str, Rights] = field(default_factory=dict)
    verdicts: Mapping[str, Move] = field(default_factory=dict)
    calls: Sequence[OpenCall] = ()
    before: Fleet | None = None
    beat: float | None = None

    def damage_on(self, host: str) -> Damage | None:
        """First damage that keeps further VMs away from this host, or ``None``."""
        return next((d for d in self.damages if same_host(d.host, host)), None)

    def look(self, look: Look) -> OpenCall | None:
        """Return this look if it is under way, or ``None``."""
        kind, name = look.key
        same = (c for c in self.calls if str(c.kind) == str(kind))
        return next((c for c in same if (c.hosts or ("",))[0].casefold() == name), None)

    def call_about(self, move: int) -> OpenCall | None:
        """Return the call that changes this move's VM and has no answer yet, or ``None``."""
        return self._changes.get(move)

    @cached_property
    def _changes(self) -> Mapping[int, OpenCall]:
        return {move: call for call in self.calls if call.changes for move in call.moves}

    @cached_property
    def changing(self) -> Mapping[str, OpenCall]:
        """Return the calls without an answer that change something, by host, case folded."""
        return {host.casefold(): c for c in self.calls if c.changes for host in c.hosts}

    def rights_on(self, host: str, run: Run) -> Rights | None:
        """Rights checked on this host since the run last began or resumed; ``None``: not yet."""
        found = self.rights.get(host.casefold())
        return found if found is not None and found.at >= run.anew else None


Way = tuple[str, str]
"""(source, destination), case folded; an empty source: from anywhere."""


@dataclass(frozen=True)
class Breaker:
    """Breaker that has opened. ``until``: when one VM may be tried; ``spent``: that VM failed."""

    state: Literal["open", "half_open", "spent"]
    until: float
    text: str


@dataclass(frozen=True)
class Breakers:
    """Breakers that have opened, as one run sees them."""

    broken: Mapping[Way, Breaker] = field(default_factory=dict)

    def between(self, source: str, destination: str) -> Breaker | None:
        """Breaker for this pair of hosts, else for the destination; ``None``: neither opened."""
        pair = self.broken.get((source.casefold(), destination.casefold()))
        return pair or self.broken.get(("", destination.casefold()))
