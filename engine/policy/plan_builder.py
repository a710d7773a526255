"""Builder of a plan, filled with the verdicts of the ladders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.model import Look
from engine.policy.steps import Step
from engine.policy.verdict import Verdict


@dataclass
class PlanBuilder:
    """``steps`` so far; ``looks``: what has to be asked; ``due``: the earliest time at which the
    plan would change; ``given_up``: by run id, why its moves have no way left."""

    steps: list[Step] = field(default_factory=list)
    looks: dict[Look, None] = field(default_factory=dict)
    due: float | None = None
    given_up: dict[int, str] = field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Add the step, the looks and the due time of a verdict."""
        if verdict.step is not None:
            self.steps.append(verdict.step)
        self.ask(verdict.looks)
        self.plan_by(verdict.due)

    def ask(self, looks: Iterable[Look]) -> None:
        """Ask for these looks."""
        self.looks.update(dict.fromkeys(looks))

    def plan_by(self, at: float | None) -> None:
        """Plan again at ``at`` at the latest, when the plan will change; ``None``: never."""
        if at is not None:
            self.due = at if self.due is None else min(self.due, at)
