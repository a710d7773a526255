"""``vmferry`` whose hosts do not answer any more: ``python -m tests.bench.hung FOLDER NUMBER ...``

The real command with its real threads; only the calls of the simulated port wait for ever, as those
of a hung WinRM would. While ``FOLDER/held`` exists the engine is held in its look, so that all runs
begin together; after that everything that is not a look hangs, and ``FOLDER/hangs`` counts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.cli import main
from engine.model import Fleet, Network
from engine.sim.port import SimPort


class Hung:
    """What stands between the engine and its simulated hosts."""

    def __init__(self, folder: Path, hosts: int) -> None:
        self.held, self.count, self.hosts = folder / "held", folder / "hangs", hosts
        self.began = False
        self.hangs = False
        self._lock = threading.Lock()
        self._hanging = 0
        self._observe, self._networks = SimPort.observe, SimPort.networks

    def observe(
        self,
        port: SimPort,
        hosts: Sequence[str] = (),
        jobs: Sequence[str] = (),
        refresh: Sequence[str] = (),
    ) -> Fleet:
        """A look, after all runs are there; from then on everything else hangs."""
        while self.held.exists():
            self.began = True
            threading.Event().wait(0.02)
        if self.began and len(hosts) >= self.hosts:
            self.hangs = True
        return self._observe(port, hosts, jobs, refresh)

    def networks(self, port: SimPort, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """The first thing that a run asks of its hosts."""
        if self.hangs:
            with self._lock:
                self._hanging += 1
                self.count.write_text(str(self._hanging))
            threading.Event().wait()
        return self._networks(port, host, vm_ids)


if __name__ == "__main__":
    hung = Hung(Path(sys.argv[1]), int(sys.argv[2]))
    SimPort.observe = lambda self, *a, **k: hung.observe(self, *a, **k)  # type: ignore[method-assign]
    SimPort.networks = lambda self, *a: hung.networks(self, *a)  # type: ignore[method-assign]
    del sys.argv[1:3]
    main()
