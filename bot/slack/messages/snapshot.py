"""Snapshots of the engine's rows, from which messages are rendered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bot.slack.messages.board import STEP
from engine.model import Approval, ApprovalState, Fleet, RunRecord
from engine.settings import Settings
from engine.store import events, queries
from engine.store.store import Store
from engine.views import report
from engine.views.board import Board, board


@dataclass(frozen=True)
class RunSnapshot:
    """Snapshot of one run. ``estimate``: when an approval is needed, as the engine estimates now,
    whatever the board shows (Unix seconds)."""

    record: RunRecord
    fleet: Fleet | None
    board: Board
    estimate: float | None = None


def take_snapshot(store: Store, settings: Settings, run: int, now: float) -> RunSnapshot | None:
    """The run with its last observation and its board; ``None`` if there is no such run."""
    record = queries.record(store, run)
    if record is None:
        return None
    fleet = queries.fleet(store, record.run.vmm)
    shown = board(record, fleet, now, settings.engine.mb_per_s)
    return RunSnapshot(record, fleet, shown, shown.needed_by)


def report_lines(store: Store, record: RunRecord, now: float) -> list[str]:
    """Lines of the final report without the requester, whom each message names itself."""
    run = record.run
    document = report.document(store, run.vmm, now, run_id=run.id)
    return report.summary(document["runs"][0], document["approvals"], says_who=False)


@dataclass(frozen=True)
class Decided:
    """Audit of a decision: the first 8 digits of the hash of the event that gave the approval its
    state, and the person who had granted it, if any."""

    mark: str = ""
    granter: str | None = None


def decided(store: Store, approval: Approval) -> Decided:
    """Find in the audit how an approval got its state."""
    if approval.state is ApprovalState.REQUESTED:
        return Decided()
    mark, granter = "", None
    for event in events.since(store, run=approval.run):
        if event.detail.get("approval") != approval.id:
            continue
        if event.kind == f"approval.{ApprovalState.GRANTED}":
            granter = event.by
        if event.kind == f"approval.{approval.state}":
            mark = event.hash[:8]
    return Decided(mark, granter)


def moment(said: float | None, estimate: float | None, now: float) -> float | None:
    """Time to show from now on if ``said`` was shown before, so that small changes of the estimate
    are not shown; ``None``: no approval is needed."""
    if said is None or estimate is None:
        return estimate
    if said <= now and estimate <= now:
        return said  # overdue: a deadline that has passed does not move with the clock
    return said if abs(estimate - said) < STEP else estimate


def with_deadline(seen: RunSnapshot, said: float | None, now: float) -> RunSnapshot:
    """The snapshot with the time that its messages show. ``estimate`` stays as it is."""
    board = replace(seen.board, needed_by=moment(said, seen.estimate, now))
    return replace(seen, board=board)
