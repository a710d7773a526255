"""The real process, killed with SIGKILL in mid-run and started again: it goes on, and nothing is
started twice. The simulated world lives beside the database and goes on while the engine is dead.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.store import events, queries
from engine.store.store import Store

FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
""" + "".join(
    f"""
[[vm]]
name = "web0{number}"
host = "hv01"
minutes = {3 + number}
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
    command = [sys.executable, "-u", "-m", "bot.cli", "--db", str(folder / "night.db"), "run"]
    return subprocess.Popen(
        [*command, "--json", "--approve", "no", *words, *REQUEST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )


def kill_when(process: subprocess.Popen[str], seen: str) -> None:
    """Read what it tells until the line comes, then SIGKILL: no handler, no goodbye."""
    assert process.stderr is not None
    for line in process.stderr:
        if seen in line:
            break
    else:
        pytest.fail(f'the process ended before it said "{seen}"')
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "moment",
    [
        "attempt.begun web0",
        "move.moving web0",
        "attempt.issued web0",
        "move.restoring web0",
        "move.done web0",
    ],
)
def test_a_killed_engine_goes_on_and_starts_nothing_twice(tmp_path: Path, moment: str):
    (tmp_path / "fleet.toml").write_text(FLEET)
    simulated = ["--fleet", str(tmp_path / "fleet.toml"), "--speed", "300"]

    kill_when(vmferry(tmp_path, *simulated), moment)
    kill_when(vmferry(tmp_path, *simulated), "attempt.issued")
    last = vmferry(tmp_path)
    out, told = last.communicate(timeout=120)

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
