"""The command line for tests: in this process, as a process of its own, and at a terminal."""

from __future__ import annotations

import codecs
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bot import cli
from tests.hangs import HANGS

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Said:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def vmferry(*words: str) -> Said:
    """Run the console script in this process."""
    with CliRunner().isolation() as (out, err, _):
        with pytest.raises(SystemExit) as left:
            cli.main(list(words))
        return Said(left.value.code, out.getvalue().decode(), err.getvalue().decode())


def both_streams(*words: str) -> tuple[int, str]:
    """The exit code and the output, with errors last."""
    said = vmferry(*words)
    return said.code, said.out + said.err


def surroundings(interrupted: bool, **more: str) -> dict[str, str]:
    """The environment of a child. The coverage of a child that will be interrupted is not
    measured: Ctrl-C inside of coverage's own lock leaves the lock held, and the child hangs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (interrupted and name.startswith("COVERAGE_PROCESS_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@contextmanager
def heard() -> Iterator[None]:
    """Let children that start in here receive Ctrl-C even if the tests are a background job,
    which ignores Ctrl-C and passes that on."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def process(*words: str, interrupted: bool = False, **more: object) -> subprocess.Popen[str]:
    """Start the command without a terminal. ``interrupted``: Ctrl-C will be pressed."""
    with heard():
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "bot.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=surroundings(interrupted, PYTHONIOENCODING="utf-8"),
            **more,
        )


class Seat:
    """A person at a terminal: reads the output of a command, types, presses Ctrl-C."""

    def __init__(self, *words: str, interrupted: bool = False) -> None:
        self._keyboard, inside = pty.openpty()
        with heard():
            self.child = subprocess.Popen(
                [sys.executable, "-m", "bot.cli", *words],
                stdin=inside,
                stdout=inside,
                stderr=inside,
                env=surroundings(interrupted, TERM="xterm", COLUMNS="100"),
                start_new_session=True,
            )
        os.close(inside)
        self.shown, self._seen, self._news = "", 0, threading.Condition()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while True:
            try:
                part = os.read(self._keyboard, 4096)
            except OSError:  # its end of the terminal is closed
                return
            with self._news:
                self.shown += decoder.decode(part)
                self._news.notify_all()

    def sees(self, pattern: str) -> None:
        """Wait for this text after the text that was seen before."""
        with self._news:
            assert self._news.wait_for(lambda: self._finds(pattern), HANGS), self.shown

    def _finds(self, pattern: str) -> bool:
        found = re.compile(pattern).search(self.shown, self._seen)
        self._seen = found.end() if found else self._seen
        return found is not None

    def types(self, text: str) -> None:
        os.write(self._keyboard, text.encode())

    def interrupt(self) -> int:
        """Press Ctrl-C, again if it came before the keyboard was read, and return the exit code."""
        for _ in range(30):
            self.child.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                return self.child.wait(timeout=2)
        raise AssertionError(self.shown)

    def leaves(self) -> int:
        """Return the exit code when the program has ended by itself."""
        return self.child.wait(timeout=HANGS)

    def close(self) -> None:
        self.child.kill()
        self.child.wait(timeout=HANGS)
        self._reading.join(HANGS)  # the terminal ended with the program
        os.close(self._keyboard)


def sit_down(folder: Path, monkeypatch: pytest.MonkeyPatch, fleet: str = "") -> None:
    """Run every command in this folder, with this fleet and without settings from outside."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("VMFERRY_")]:
        monkeypatch.delenv(name)
    if fleet:
        (folder / "fleet.toml").write_text(fleet, encoding="utf-8")
