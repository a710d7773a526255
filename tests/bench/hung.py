"""``vmferry`` with hosts that no longer answer: ``python -m tests.bench.hung FOLDER NUMBER ...``

The real command with its real threads. Only the calls of the simulated port hang, as those of a
hung WinRM would. While ``FOLDER/held`` exists, the engine is held in its observation, so that all
runs begin together. After that every call but an observation hangs, and ``FOLDER/hangs`` counts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.cli import main
from bot.terminal import running, serve
from engine.model import Fleet, Network
from engine.sim.port import SimPort


class HungPort(SimPort):
    """Simulated hosts that answer until ``hosts`` of them are observed together."""

    folder = Path()
    hosts = 0
    began = hangs = False
    hanging = 0
    counting = threading.Lock()

    def observe(self, hosts=(), jobs=(), refresh=(), reread=()) -> Fleet:
        """Observe, and wait while the test holds observations."""
        while (self.folder / "held").exists():
            self.began = True
            threading.Event().wait(0.02)
        if self.began and len(hosts) >= self.hosts:
            self.hangs = True
        return super().observe(hosts, jobs, refresh, reread)

    def networks(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """The first call that a run makes to its hosts."""
        if self.hangs:
            with self.counting:
                self.hanging += 1
                (self.folder / "hangs").write_text(str(self.hanging))
            threading.Event().wait()
        return super().networks(host, vm_ids)


if __name__ == "__main__":
    HungPort.folder, HungPort.hosts = Path(sys.argv[1]), int(sys.argv[2])
    running.SimPort = HungPort
    serve.HANGS = 1.0
    del sys.argv[1:3]
    main()
