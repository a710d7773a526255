"""Approvers: who may decide on a run now, and why nobody may."""

from __future__ import annotations

from dataclasses import dataclass

from bot.slack.kit.ids import slack_user
from bot.slack.kit.mentions import mentions
from engine.model import Run


def barred(run: Run) -> tuple[str, ...]:
    """People who may not decide on a run: the requester, and those who resumed or retried it."""
    return tuple(dict.fromkeys((run.by, *run.steered)))


@dataclass(frozen=True)
class Approvers:
    """Approvers: the listed users, those on call now, and those of the escalation (``backup``).

    ``unfit``: guests, bots, deactivated people and those of other organisations, who never decide.
    ``known``: Slack has said at least once who is on call (``groups``). ``starters`` may start
    runs; empty: every full member may.
    """

    listed: tuple[str, ...] = ()
    on_call: tuple[str, ...] = ()
    backup: tuple[str, ...] = ()
    unfit: frozenset[str] = frozenset()
    groups: tuple[str, ...] = ()
    known: bool = True
    starters: tuple[str, ...] = ()

    @property
    def everybody(self) -> tuple[str, ...]:
        """All approvers: listed, on call or of the escalation, fit or not."""
        return tuple(dict.fromkeys((*self.listed, *self.on_call, *self.backup)))

    @property
    def asked(self) -> tuple[str, ...]:
        """Approvers who are asked first: listed or on call, and fit."""
        first = dict.fromkeys((*self.listed, *self.on_call))
        return tuple(user for user in first if user not in self.unfit)

    def is_fit(self, by: str) -> bool:
        """Tell whether this is a person in Slack who is not ``unfit``."""
        return slack_user(by) is not None and by not in self.unfit

    def is_trusted(self, by: str) -> bool:
        """Tell whether this person may start runs or is an approver."""
        return not self.starters or by in (*self.starters, *self.everybody)

    def people(self) -> frozenset[str]:
        """All who may decide: approvers without the unfit."""
        return frozenset(self.everybody) - self.unfit

    def eligible(self, run: Run | None) -> tuple[str, ...]:
        """Approvers who are asked about this run: those asked first who neither started, resumed
        nor retried it."""
        not_they = barred(run) if run else ()
        return tuple(user for user in self.asked if user not in not_they)

    def others(self, run: Run | None) -> bool:
        """Tell whether any approver, on call, listed or of the escalation, may decide on this
        run."""
        return bool(self.eligible(run) or (run is not None and self.stand_ins(run)))

    def may_be_passed_over(self, run: Run) -> bool:
        """Tell whether break-glass is offered: because nobody can decide, or because an approver is
        barred only for having started, resumed or retried the run."""
        nobody = self.known and not self.others(run)
        return nobody or bool(self.people() & set(barred(run)))

    def stand_ins(self, run: Run) -> tuple[str, ...]:
        """Approvers of the escalation who may decide on this run."""
        not_they = {*barred(run), *self.unfit}
        return tuple(user for user in self.backup if user not in not_they)


def nobody(run: Run, approvers: Approvers) -> str:
    """Reason why nobody can decide, and what to do."""
    if not approvers.known:
        return "Slack has not said yet who is on call (setting approval.oncall)"
    if approvers.groups:
        both = "settings approval.oncall and approval.approvers"
        return f"nobody who is on call or listed may decide on {run.label} ({both})"
    listed = [by for by in barred(run) if by in approvers.everybody]
    but = f" except {mentions(listed)}" if listed else ""
    return f"nobody{but} is listed to decide (setting approval.approvers)"
