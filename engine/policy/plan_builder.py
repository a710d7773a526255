"""Builder of a plan, filled with the verdicts of the ladders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.model import Fleet, Look, Options
from engine.policy import freshness
from engine.policy.steps import Step
from engine.policy.verdict import Verdict
from engine.policy.waits import Rules


@dataclass
class PlanBuilder:
    """Plan in the making, for ``fleet`` at ``now``. ``steps`` so far; ``looks``: what has to be
    asked; ``due``: the earliest time at which the plan would change; ``given_up``: by run id, why
    its moves have no way left."""

    fleet: Fleet
    rules: Rules
    now: float
    steps: list[Step] = field(default_factory=list)
    looks: dict[Look, None] = field(default_factory=dict)
    due: float | None = None
    given_up: dict[int, str] = field(default_factory=dict)

    def add(self, verdict: Verdict, options: Options) -> None:
        """Add the step, the looks and the due time of a verdict in a run with these options."""
        if verdict.step is not None:
            self.steps.append(verdict.step)
        self.ask(verdict.looks, options)
        self.plan_by(verdict.due)

    def ask(self, looks: Iterable[Look], options: Options) -> None:
        """Ask for these looks, in a run with these options. After a failure they wait for their
        next time."""
        for look in looks:
            again = freshness.again_at(self.fleet, look, self.now, self.rules, options)
            if again > self.now:
                self.plan_by(again)
            else:
                self.looks[look] = None

    def plan_by(self, at: float | None) -> None:
        """Plan again at ``at`` at the latest, when the plan will change; ``None``: never."""
        if at is not None:
            self.due = at if self.due is None else min(self.due, at)
