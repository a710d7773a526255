"""The PowerShell of the tests: how it is found, and a shell in which functions are called.

``PWSH`` is the program or ``None``. ``CHECKS`` tells whether it is the tests' own engine, with the
signature check and with Windows PowerShell 5.1's JSON habits; a stock pwsh has neither.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from tests.hangs import HANGS

ROOT = Path(__file__).resolve().parents[2]
_BESIDE = ROOT.parent / "shared" / "pwsh" / "pwsh"


def _find() -> str | None:
    if os.access(_BESIDE, os.X_OK):
        return str(_BESIDE)
    return shutil.which("pwsh")


PWSH = _find()
CHECKS = str(_BESIDE) == PWSH

if os.environ.get("VMFERRY_POWERSHELL") == "required" and not CHECKS:
    raise RuntimeError("The tests' own PowerShell is required here, and it was not found.")

needs_checks = pytest.mark.skipif(
    not CHECKS,
    reason="no PowerShell with the signature check and 5.1's JSON (only the tests' own has them)"
    if PWSH
    else "there is no PowerShell here: neither the tests' own nor pwsh on the PATH",
)
"""For tests that run functions or the check: both want 5.1's habits."""


def check(commands: Path, *files: Path) -> str:
    """Findings of the signature check in these files, or an empty text."""
    assert PWSH is not None
    arguments = [PWSH, "-Check", "-Commands", str(commands), *map(str, files)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=HANGS).stdout


@dataclass(frozen=True)
class Reply:
    """Output of one call of a function, by stream."""

    output: list[object]
    errors: list[str]

    @property
    def text(self) -> str:
        """The single JSON text. Fails if there is any other output."""
        assert self.errors == [], self.errors
        assert len(self.output) == 1, self.output
        (text,) = self.output
        assert isinstance(text, str)
        return text

    @property
    def document(self) -> dict[str, object]:
        """The parsed JSON text."""
        return json.loads(self.text)

    @property
    def data(self) -> dict[str, object]:
        """The data of a function that succeeded."""
        document = self.document
        assert document["ok"] is True, document
        assert document["contract"] == 2
        return document["data"]

    @property
    def error(self) -> dict[str, str]:
        """The error of a function that failed."""
        document = self.document
        assert document["ok"] is False, document
        assert document["contract"] == 2
        return document["error"]


_LOOP = (Path(__file__).parent / "handlers" / "loop.ps1").read_text(encoding="utf-8")


class Shell:
    """A PowerShell that stays open and calls functions; a context manager.

    ``opening`` is PowerShell text that runs first: imports, or the text of a module.
    """

    def __init__(self, environment: Mapping[str, str], opening: str) -> None:
        assert PWSH is not None
        self._process = subprocess.Popen(
            [PWSH, "-NoLogo", "-NoProfile", "-Command", opening + "\n" + _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )

    def call(self, function: str, **parameters: object) -> Reply:
        """Call a function by name; lists are arrays."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"function": function, "parameters": parameters}).encode()
        self._process.stdin.write(base64.b64encode(line) + b"\n")
        self._process.stdin.flush()
        back = self._process.stdout.readline()
        if not back:
            assert self._process.stderr is not None
            raise AssertionError(self._process.stderr.read().decode())
        try:
            found = json.loads(base64.b64decode(back.strip(), validate=True))
        except ValueError:
            raise AssertionError(f"The shell printed: {back!r}") from None
        return Reply(found["output"], found["errors"])

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
