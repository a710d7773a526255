"""The real process, killed with SIGKILL during a run and started again.

The run continues and nothing is started twice. The simulated world lives beside the database and
continues while the engine is dead.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from engine.store import events, queries
from engine.store.store import Store
from tests.console import process
from tests.hangs import HANGS
from tests.prove import spread

FLEET = """
format = 1
[costs]
like = "vmm"
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
""" + "".join(
    f"""
[[vm]]
name = "web0{number}"
host = "hv01"
minutes = {0.6 + 0.2 * number:.1f}
[[vm.nic]]
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = {number}
"""
    for number in range(1, 6)
)
REQUEST = ["host", "hv01", "to", "hv02"]


def vmferry(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The real command, as a person starts it."""
    run = ("--db", str(folder / "night.db"), "run", "--json", "--approve", "no")
    return process(*run, *words, *REQUEST)


def kill_when(engine: subprocess.Popen[str], seen: str) -> None:
    """Read the output up to this line, then send SIGKILL."""
    assert engine.stderr is not None
    for line in engine.stderr:
        if seen in line:
            break
    else:
        pytest.fail(f'the process ended before it said "{seen}"')
    engine.send_signal(signal.SIGKILL)
    engine.communicate()
    assert engine.returncode == -signal.SIGKILL


MOMENTS = (
    "attempt.begun web0",
    "move.moving web0",
    "attempt.issued web0",
    "move.restoring web0",
    "move.done web0",
)


@pytest.mark.prove
@pytest.mark.parametrize("moment", spread(MOMENTS, 2, 5))
def test_a_killed_engine_continues_and_starts_nothing_twice(tmp_path: Path, moment: str):
    (tmp_path / "fleet.toml").write_text(FLEET)
    # A gap of half an hour pauses a run. At this speed a busy machine would have to stand still for
    # half a minute.
    simulated = ["--fleet", str(tmp_path / "fleet.toml"), "--speed", "60"]

    kill_when(vmferry(tmp_path, *simulated), moment)
    kill_when(vmferry(tmp_path, *simulated), "attempt.issued")
    last = vmferry(tmp_path)
    out, told = last.communicate(timeout=HANGS)

    assert last.returncode == 0, told
    document = json.loads(out)
    assert document["violations"] == []
    (run,) = document["runs"]
    assert [m["state"] for m in run["moves"]] == ["done"] * 5
    assert all(run["empty"].values())
    for move in run["moves"]:
        arrived = [a for a in move["attempts"] if a["kind"] == "live" and a["result"] == "ok"]
        assert len(arrived) == 1, move
    store = Store(tmp_path / "night.db")
    assert events.verify(store) > 0
    assert len(queries.runs(store)) == 1, "the same request attaches to the unfinished run"
    store.close()
