"""Real processes on a stand-in Slack: ``vmferry serve``, and the apps it is compared with."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from tests.hangs import HANGS
from tests.troubled_slack import TroubledSlack

ROOT = Path(__file__).resolve().parents[1]


class OnSlack:
    """A Python module, run as a process of its own, whose lines are kept as they come.

    Leaving the context kills the process, and shows its lines if something failed.
    """

    def __init__(self, folder: Path, slack: TroubledSlack, *words: str, **settings: str) -> None:
        said = {
            "SLACK__BOT_TOKEN": slack.bot_token,
            "SLACK__APP_TOKEN": slack.app_token,
            "SLACK__API_URL": slack.base_url,
            **settings,
        }
        plain = {k: v for k, v in os.environ.items() if not k.startswith("VMFERRY_")}
        env = {f"VMFERRY_{key}": value for key, value in said.items()}
        self.lines: list[str] = []
        self._came = threading.Condition()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**plain, **env, "PYTHONPATH": str(ROOT)},
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._came:
                self.lines.append(line)
                self._came.notify_all()
        with self._came:
            self._came.notify_all()

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def says(self, words: str) -> None:
        """Wait for this text in its output."""
        with self._came:
            told = self._came.wait_for(
                lambda: words in self.text or not self._reading.is_alive(), timeout=HANGS
            )
        assert told, self.text
        assert words in self.text, self.text

    def ends(self) -> int:
        """Wait for its end and return the exit code."""
        code = self.popen.wait(timeout=HANGS)
        self._reading.join(timeout=HANGS)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return code

    def end(self, number: int) -> int:
        """Send a signal and wait for its end."""
        self.popen.send_signal(number)
        return self.ends()

    def __enter__(self) -> OnSlack:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.ends()
        if error is not None:
            print(self.text, file=sys.stderr)


class Served(OnSlack):
    """``vmferry serve`` on ``night.db`` in the folder."""

    def __init__(self, folder: Path, slack: TroubledSlack, *words: str, **settings: str) -> None:
        database = ["--db", str(folder / "night.db")]
        super().__init__(folder, slack, "bot.cli", *database, "serve", *words, **settings)
