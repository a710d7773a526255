"""What every test leaves as it found it, and which tests share a worker."""

from __future__ import annotations

import sqlite3
import threading
import warnings
from collections.abc import Iterator

import pytest

#: Fixtures that take seconds to set up. Tests with the same one share a worker and pay once.
SHARED = ("wire", "begin", "there", "lying", "open_scene", "scene")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that share a PowerShell a worker, with pytest-xdist's ``--dist loadgroup``."""
    for item in items:
        if set(SHARED) & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(item.path.parent.name))


class _Watched(sqlite3.Connection):
    """A connection that warns if nobody closed it, as Python 3.13 does by itself.

    ``python -X tracemalloc=20 -m pytest`` shows where it was made.
    """

    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()

    def __del__(self) -> None:
        if not self.closed:
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
    """Threads that a session's fixture started in the test may go on; all others have ended."""
    before = set(threading.enumerate())
    yield
    if not set(SHARED) & set(request.fixturenames):
        left = [thread for thread in threading.enumerate() if thread not in before]
        assert left == [], "threads outlive their test"
