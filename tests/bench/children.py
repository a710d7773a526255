"""The processes that are measured: the real ``vmferry serve``, and an empty Bolt app beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from bot.slack.standin import Standin

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A Python module run as a process on this Slack; what it tells is kept for a failure."""

    def __init__(self, folder: Path, slack: Standin, *words: str, **settings: str) -> None:
        said = {
            "BOT_TOKEN": slack.bot_token,
            "APP_TOKEN": slack.app_token,
            "API_URL": slack.base_url,
            **settings,
        }
        plain = {k: v for k, v in os.environ.items() if not k.startswith("VMFERRY_")}
        env = {f"VMFERRY_SLACK__{key}": value for key, value in said.items()}
        self.lines: list[str] = []
        self.popen = subprocess.Popen(
            [sys.executable, "-u", "-m", *words],
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
        self.lines.extend(self.popen.stdout)

    @property
    def text(self) -> str:
        """All that it has told."""
        return "".join(self.lines)

    def ends(self, number: int) -> int:
        """Signal it and wait for its end; the exit code."""
        self.popen.send_signal(number)
        code = self.popen.wait(timeout=60)
        self._reading.join(timeout=10)
        return code

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            self.ends(signal.SIGKILL)
        if error is not None:
            print(self.text, file=sys.stderr)
