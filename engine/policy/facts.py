"""Inputs of a plan beside the runs and the fleet: rows that belong to no living run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.model import (
    Attempt,
    Damage,
    Doubt,
    Fleet,
    Move,
    Rights,
    Run,
    same_host,
)


@dataclass(frozen=True)
class Facts:
    """``lost``: open LIVE and COLD attempts of moves that have ended. ``unknown``: VMs whose last
    move ended so, not settled. ``damages``: where a VM was damaged and nobody said go on.
    ``verdicts``: the latest move of a waiting VM that ended on a destination, in whichever run.
    ``rights``: what was found of our rights, by host, case folded. ``before``: the observation
    before this one. ``beat``: when an engine last advanced or tried to (Unix seconds)."""

    lost: Sequence[Attempt] = ()
    unknown: Sequence[Doubt] = ()
    damages: Sequence[Damage] = ()
    rights: Mapping[str, Rights] = field(default_factory=dict)
    verdicts: Mapping[str, Move] = field(default_factory=dict)
    before: Fleet | None = None
    beat: float | None = None

    def damage_on(self, host: str) -> Damage | None:
        """The first damage that keeps VMs away from this host."""
        return next((d for d in self.damages if same_host(d.host, host)), None)

    def rights_on(self, host: str, run: Run) -> Rights | None:
        """Rights found on this host since the run last began anew; ``None``: not checked yet."""
        found = self.rights.get(host.casefold())
        return found if found is not None and found.at >= run.anew else None


Way = tuple[str, str]
"""(source, destination), case folded; an empty source: from anywhere."""


@dataclass(frozen=True)
class Breaker:
    """One way that is broken. ``until``: when one VM may be tried; ``spent``: that was in vain."""

    state: Literal["open", "half_open", "spent"]
    until: float
    text: str


@dataclass(frozen=True)
class Breakers:
    """All ways that are broken now, as one run sees them."""

    broken: Mapping[Way, Breaker] = field(default_factory=dict)

    def between(self, source: str, destination: str) -> Breaker | None:
        """Broken breaker between these hosts: the pair's breaker, else the destination's."""
        pair = self.broken.get((source.casefold(), destination.casefold()))
        return pair or self.broken.get(("", destination.casefold()))
