"""Print the newest released Python on this machine, if it is newer than the one that runs this.

Looks for python3.12 and later on the path, then among the versions of pyenv. Prints nothing if
there is none.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MINORS = range(20, 11, -1)
PROBE = "import ensurepip, sys; print(*sys.version_info[:2], sys.version_info.releaselevel)"


def candidates(minor: int) -> Iterator[str]:
    """Commands that may be Python 3.``minor``, the likeliest first."""
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        yield on_path
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = versions.glob(f"3.{minor}.*/bin/python")
    yield from map(str, sorted(found, key=_patch, reverse=True))


def _patch(python: Path) -> int:
    """The 10 of ``versions/3.13.10/bin/python``; -1 of a development version."""
    patch = python.parents[1].name.split(".")[2]
    return int(patch) if patch.isdecimal() else -1


def is_usable(python: str, minor: int) -> bool:
    """Is it that Python, released, and able to make virtual environments?

    A shim of pyenv is on the path even if its version is not selected.
    """
    done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.split() == ["3", str(minor), "final"]


def newest() -> str:
    """The newest usable Python above our own, or an empty text."""
    for minor in MINORS:
        if minor <= sys.version_info.minor:
            break
        found = next((one for one in candidates(minor) if is_usable(one, minor)), "")
        if found:
            return found
    return ""


if __name__ == "__main__":
    print(newest())
