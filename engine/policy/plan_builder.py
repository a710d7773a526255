"""Builder of a plan, filled with the verdicts of the ladders."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.policy.steps import Step
from engine.policy.verdict import Verdict


@dataclass
class PlanBuilder:
    """``steps`` so far; ``refresh``: hosts to refresh; ``due``: the earliest time at which the plan
    would change; ``given_up``: by run id, why its moves have no way left."""

    steps: list[Step] = field(default_factory=list)
    refresh: set[str] = field(default_factory=set)
    due: float | None = None
    given_up: dict[int, str] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Add the step, the hosts and the due time of a verdict."""
        if verdict.step is not None:
            self.steps.append(verdict.step)
        self.refresh.update(verdict.refresh)
        self.look_at(verdict.due)

    def look_at(self, at: float | None) -> None:
        """Plan again at ``at`` at the latest, when the plan will change; ``None``: never."""
        if at is not None:
            self.due = at if self.due is None else min(self.due, at)
