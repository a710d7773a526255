"""Status and report of runs in the terminal, from rows, without touching the runs.

Works beside an engine or without one. Where a simulated world is kept beside the database, its
clock is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bot.terminal import DEFAULT_DB
from bot.terminal.board import board_lines, safe
from engine.clock import SystemClock
from engine.errors import Refused
from engine.language import names
from engine.model import Run
from engine.settings import Settings
from engine.sim.port import Opened, open_world
from engine.store import queries
from engine.store.leases import is_advanced
from engine.store.store import Store
from engine.views import report
from engine.views.board import board


@dataclass(frozen=True)
class Installation:
    """Place where a command works: the database and the settings."""

    db: Path
    settings: Settings

    @property
    def world(self) -> Path:
        """Path of a simulated world, beside the database."""
        return self.db.with_name(self.db.name + ".world.json")

    def reading(self) -> Store:
        """The database of a command that only reads: it is not made by looking."""
        if not self.db.exists():
            raise Refused(
                f"There is no database {self.db.absolute()} yet.",
                what=str(self.db),
                hint="Start with: vmferry run, or name another one: vmferry --db FILE ...",
            )
        return Store(self.db)

    def idle_warning(self, store: Store) -> str:
        """Warning with the command to type if runs are unfinished and nothing carries them out;
        empty: none."""
        if not queries.runs(store, unfinished=True) or is_advanced(store):
            return ""
        other = "" if self.db == DEFAULT_DB else f"--db {self.db} "
        return (
            f"No vmferry run is at work on {self.db}: what people say is kept, and nothing goes on "
            f"before somebody types: vmferry {other}run"
        )

    def saved_world(self, store: Store) -> Opened | None:
        """The simulated world beside the database as it is now; nothing is written."""
        if not self.world.exists():
            return None
        return open_world(None, self.world, after=queries.newest(store))


def show_status(place: Installation, named: str | None) -> None:
    """Print the board of the run that is named so, or of every unfinished run."""
    with closing(place.reading()) as store:
        chosen = (
            [names.find_run(named, queries.runs(store))]
            if named
            else queries.runs(store, unfinished=True)
        )
        boards = [status_of(place, store, one) for one in chosen]
        warning = place.idle_warning(store)
    for number, lines in enumerate(boards):
        click.echo(("\n" if number else "") + "\n".join(lines))
    if not boards:
        click.echo("No run is unfinished.")
    if warning:
        click.echo(warning, err=True)


def find_report(place: Installation, named: str) -> dict[str, Any]:
    """The document about the run that is named so. Raises ``Refused``."""
    with closing(place.reading()) as store:
        return report_of(place, store, names.find_run(named, queries.runs(store)))


def report_of(place: Installation, store: Store, one: Run) -> dict[str, Any]:
    """The document about one run, while an engine works or while none does."""
    world = place.saved_world(store)
    if world is None:
        return report.document(store, one.vmm, SystemClock().now(), run_id=one.id)
    now = world.clock().now()
    truth = truth_of(world, now, [])
    seed = world.world.state.seed
    return report.document(store, one.vmm, now, run_id=one.id, seed=seed, world=truth)


def report_lines(document: Mapping[str, Any]) -> list[str]:
    """The report of one run in words; names in it do not steer the terminal."""
    return [safe(line) for line in report.summary(document["runs"][0], document["approvals"])]


def status_of(place: Installation, store: Store, one: Run) -> list[str]:
    """The board of one run as lines."""
    record = queries.record(store, one.id)
    if record is None:
        return []
    world = place.saved_world(store)
    now = world.clock().now() if world else SystemClock().now()
    fleet = queries.fleet(store, one.vmm)
    return board_lines(board(record, fleet, now, place.settings.engine.mb_per_s))


def truth_of(world: Opened, now: float, calls: Sequence[object]) -> dict[str, Any]:
    """The simulated world's own account, for the report's document."""
    world.world.advance(now)
    judged = world.world.violations
    return {"calls": list(calls), "fleet": world.world.truth(), "violations": list(judged)}
