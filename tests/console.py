"""The command line as tests type it: in this process, or as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot import cli

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def vmferry(*words: str) -> Said:
    """The console script itself, in this process."""
    with CliRunner().isolation() as (out, err, _):
        with pytest.raises(SystemExit) as left:
            cli.main(list(words))
        return Said(left.value.code, out.getvalue().decode(), err.getvalue().decode())


def both_streams(*words: str) -> tuple[int, str]:
    """Exit code and what was printed, errors last."""
    said = vmferry(*words)
    return said.code, said.out + said.err


def process(*words: str, **more: object) -> subprocess.Popen[str]:
    """The command as a process without a terminal."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "bot.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        **more,
    )


def sit_down(folder: Path, monkeypatch: pytest.MonkeyPatch, fleet: str = "") -> None:
    """Every command works in this folder, with this fleet and without settings of ours."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("VMFERRY_")]:
        monkeypatch.delenv(name)
    if fleet:
        (folder / "fleet.toml").write_text(fleet, encoding="utf-8")
