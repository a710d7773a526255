"""Snapshot of the engine's rows, from which messages are made: boards, report lines, decisions."""

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
    """Snapshot of one run at one moment. ``estimate``: by when an approval is needed, as the engine
    reckons now, whatever the board says."""

    record: RunRecord
    fleet: Fleet | None
    board: Board
    estimate: float | None = None


def take_snapshot(store: Store, settings: Settings, run: int, now: float) -> RunSnapshot | None:
    """The run with its last observation and its board; ``None`` where there is no such run."""
    record = queries.record(store, run)
    if record is None:
        return None
    fleet = queries.fleet(store, record.run.vmm)
    shown = board(record, fleet, now, settings.engine.mb_per_s)
    return RunSnapshot(record, fleet, shown, shown.needed_by)


def report_lines(store: Store, record: RunRecord, now: float) -> list[str]:
    """The final report's own lines, without who asked: each message says that by itself."""
    run = record.run
    document = report.document(store, run.vmm, now, run_id=run.id)
    return report.summary(document["runs"][0], document["approvals"], says_who=False)


@dataclass(frozen=True)
class Decided:
    """Audit of an approval: the beginning of the hash of the event that gave it its state, and who
    had granted it, if anybody had."""

    mark: str = ""
    granter: str | None = None


def decided(store: Store, approval: Approval) -> Decided:
    """Audit of how an approval came to its state."""
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
    """Time to name from now on, where ``said`` was named before; ``None``: no approval is
    needed."""
    if said is None or estimate is None:
        return estimate
    if said <= now and estimate <= now:
        return said  # it is needed since then: a moment that has come does not move along
    return said if abs(estimate - said) < STEP else estimate


def with_deadline(seen: RunSnapshot, said: float | None, now: float) -> RunSnapshot:
    """The run with the moment that is said. Its ``estimate`` stays the engine's."""
    board = replace(seen.board, needed_by=moment(said, seen.estimate, now))
    return replace(seen, board=board)
