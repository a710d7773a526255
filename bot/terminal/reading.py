"""Status and report of runs at the terminal, read from rows.

Works beside a running engine and without one. If a simulated world is stored beside the database,
its clock gives the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bot.terminal import DEFAULT_DB
from bot.terminal.board import board_lines
from engine.clock import SystemClock
from engine.commands.service import Service
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
    """Files and settings that a command works with."""

    db: Path
    settings: Settings

    @property
    def world(self) -> Path:
        """Path of a simulated world, beside the database."""
        return self.db.with_name(self.db.name + ".world.json")

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Open the database for reading. Raises ``Refused`` if there is none: reading never creates
        it."""
        if not self.db.exists():
            raise Refused(
                f"There is no database {self.db.absolute()} yet.",
                what=str(self.db),
                hint="Start with: vmferry run, or name another one: vmferry --db FILE ...",
            )
        with closing(Store(self.db)) as store:
            yield store

    @contextmanager
    def service(self) -> Iterator[Service]:
        """The commands of an existing database, on the clock of its world."""
        with self.reading() as store:
            world = self.saved_world(store)
            clock = world.clock() if world else SystemClock()
            vmm = world.world.state.vmm if world else self.settings.vmm.server or "vmm01"
            yield Service(store, clock, self.settings, vmm)

    def saved_world(self, store: Store) -> Opened | None:
        """The simulated world beside the database at this moment. Writes nothing."""
        if not self.world.exists():
            return None
        return open_world(None, self.world, after=queries.newest(store))

    def warn(self, store: Store) -> None:
        """Warn on stderr if runs are unfinished and no engine carries them out, with the command to
        type."""
        if not queries.runs(store, unfinished=True) or is_advanced(store):
            return
        other = "" if self.db == DEFAULT_DB else f"--db {self.db} "
        click.echo(
            f"No engine is running on {self.db}. Commands are saved, and nothing moves until "
            f"somebody types: vmferry {other}run",
            err=True,
        )


def show_status(place: Installation, named: str | None) -> None:
    """Print the board of the named run, or of every unfinished run."""
    with place.service() as service:
        store, rate = service.store, place.settings.engine.mb_per_s
        one = names.find_run(named, queries.runs(store)) if named else None
        for number, run in enumerate([one] if one else queries.runs(store, unfinished=True)):
            record = queries.record(store, run.id)
            assert record is not None
            shown = board(record, queries.fleet(store, run.vmm), service.clock.now(), rate)
            click.echo(("\n" if number else "") + "\n".join(board_lines(shown)))
        if not one and not queries.runs(store, unfinished=True):
            click.echo("No run is in progress.")
        place.warn(store)


def find_report(place: Installation, named: str) -> dict[str, Any]:
    """The document of the named run. Raises ``Refused``."""
    with place.reading() as store:
        one, world = names.find_run(named, queries.runs(store)), place.saved_world(store)
        clock = world.clock() if world else SystemClock()
        return document_of(store, one, clock.now(), world)


def document_of(
    store: Store, one: Run, now: float, world: Opened | None, calls: Sequence[object] = ()
) -> dict[str, Any]:
    """The report document of one run as the contract describes it, with the account of a simulated
    world."""
    if world is None:
        return report.document(store, one.vmm, now, run_id=one.id)
    world.world.advance(now)
    judged = list(world.world.violations)
    truth = {"calls": list(calls), "fleet": world.world.truth(), "violations": judged}
    seed = world.world.state.seed
    return report.document(store, one.vmm, now, run_id=one.id, seed=seed, world=truth)


def is_over(store: Store, run_id: int) -> bool:
    """Tell whether this run has ended for good."""
    run = queries.run(store, run_id)
    return run is None or run.over
