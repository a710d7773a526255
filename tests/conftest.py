"""State that every test leaves as it found it, and tests that share a worker."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.console import Seat
from tests.desk import Desk

# The duration of an example depends on the load of the machine.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

#: Folders whose tests share a set-up of many seconds (a PowerShell on each computer, all stories
#: played once): one worker runs all of a folder, and pays once.
TOGETHER = ("contract", "powershell", "stories")
#: Folders whose fixtures last longer than a test, and so do their threads.
LASTING = ("contract", "powershell")


class _Together(LoadScopeScheduling):
    """Give each worker a test at a time, or a whole folder of ``TOGETHER``, the largest first.

    The marks of ``--dist loadgroup`` have no effect with pytest 9.2 and pytest-xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        return folder if folder in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Together:
    return _Together(config, log)


class _Watched(sqlite3.Connection):
    """A connection that warns if it was not closed, as in Python 3.13.

    ``python -X tracemalloc=20 -m pytest`` shows where it was opened.
    """

    left_open = False

    def __init__(self, *args: object, **words: object) -> None:
        super().__init__(*args, **words)
        self.left_open = True  # not reached where it cannot be opened

    def close(self) -> None:
        self.left_open = False
        super().close()

    def __del__(self) -> None:
        if self.left_open:
            warnings.warn("unclosed database", ResourceWarning, stacklevel=1, source=self)


@pytest.fixture(autouse=True, scope="session")
def _databases_are_closed() -> Iterator[None]:
    connect = sqlite3.connect

    def watched(*args: object, **words: object) -> sqlite3.Connection:
        return connect(*args, **{"factory": _Watched, **words})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", watched)
        yield


@pytest.fixture(autouse=True)
def _threads_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that all threads have ended, except those of session fixtures started in the test."""
    before = set(threading.enumerate())
    yield
    if request.path.parent.name not in LASTING:
        left = [thread for thread in threading.enumerate() if thread not in before]
        assert left == [], "threads outlive their test"


@pytest.fixture
def at_terminal() -> Iterator[Callable[..., Seat]]:
    """Open terminals with a command in each. Kill those that still run at the end."""
    with ExitStack() as seats:
        yield lambda *words, **more: seats.enter_context(closing(Seat(*words, **more)))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.store.close()
