"""``vmferry`` with hosts that no longer answer: ``python -m tests.bench.hung FOLDER ...``

The real command with its real threads. Only the calls of the simulated port hang, as those of a
hung WinRM would. Once ``FOLDER/hang`` exists, every reading of ports hangs, which is the first call
that a run makes, and ``FOLDER/hangs`` counts. Looks are still answered, so that runs go on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.cli import main
from bot.terminal import running, serve
from engine.model import Network
from engine.sim.port import SimPort


class HungPort(SimPort):
    """Simulated hosts whose ports can be read until ``FOLDER/hang`` exists."""

    folder = Path()
    hanging = 0
    counting = threading.Lock()

    def ports(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Read ports, or hang for ever."""
        if (self.folder / "hang").exists():
            with self.counting:
                self.hanging += 1
                (self.folder / "hangs").write_text(str(self.hanging))
            threading.Event().wait()
        return super().ports(host, vm_ids)


if __name__ == "__main__":
    HungPort.folder = Path(sys.argv[1])
    running.SimPort = HungPort
    serve.HANGS = 1.0
    del sys.argv[1]
    main()
