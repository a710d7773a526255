"""Status and report of runs at the terminal, read from rows.

No engine has to be running. If a simulated world is stored beside the database, its clock gives the
time.
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
    """Path of the database, and the settings."""

    db: Path
    settings: Settings

    @property
    def world(self) -> Path:
        """Path of the simulated world, if any, beside the database."""
        return self.db.with_name(self.db.name + ".world.json")

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Open an existing database. Raises ``Refused`` if there is none, because reading must not
        create it."""
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
        """Open an existing database as a service, on its world's clock. Raises ``Refused``."""
        with self.reading() as store:
            world = self.saved_world(store)
            clock = world.clock() if world else SystemClock()
            vmm = world.world.state.vmm if world else self.settings.vmm.server or "vmm01"
            yield Service(store, clock, self.settings, vmm)

    def saved_world(self, store: Store) -> Opened | None:
        """Read the simulated world beside the database, or return ``None``. Writes nothing."""
        if not self.world.exists():
            return None
        return open_world(None, self.world, after=queries.newest(store))

    def warn(self, store: Store) -> None:
        """Warn on stderr if runs are unfinished and no engine is running. Names the command that
        starts one."""
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
    """Return the report document of the named run. Raises ``Refused``."""
    with place.reading() as store:
        one, world = names.find_run(named, queries.runs(store)), place.saved_world(store)
        clock = world.clock() if world else SystemClock()
        return document_of(store, one, clock.now(), world)


def document_of(
    store: Store, one: Run, now: float, world: Opened | None, calls: Sequence[object] = ()
) -> dict[str, Any]:
    """Return the report document of one run, as docs/contract.md describes it. A simulated world
    adds its calls, its true fleet and its violations."""
    if world is None:
        return report.document(store, one.vmm, now, run_id=one.id)
    world.world.advance(now)
    judged = list(world.world.violations)
    truth = {"calls": list(calls), "fleet": world.world.truth(), "violations": judged}
    seed = world.world.state.seed
    return report.document(store, one.vmm, now, run_id=one.id, seed=seed, world=truth)


def is_over(store: Store, run_id: int) -> bool:
    """Return whether the run has ended, or does not exist."""
    run = queries.run(store, run_id)
    return run is None or run.over
