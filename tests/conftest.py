"""What every test has to leave behind as it found it."""

from __future__ import annotations

import os
import sqlite3
import threading
import traceback
import warnings
from collections.abc import Iterator

import pytest


class _Watched(sqlite3.Connection):
    """A connection that warns where nobody closed it, as Python 3.13 does by itself."""

    closed = False

    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        if os.environ.get("WHERE"):
            self.where = "".join(traceback.format_stack(limit=9)[:-1])

    def close(self) -> None:
        self.closed = True
        super().close()

    def __del__(self) -> None:
        if not self.closed:
            warnings.warn(
                f"unclosed database {getattr(self, 'where', '')}", ResourceWarning, source=self
            )


@pytest.fixture(autouse=True, scope="session")
def databases_are_closed() -> Iterator[None]:
    connect = sqlite3.connect

    def watched(*args: object, **words: object) -> sqlite3.Connection:
        return connect(*args, **{"factory": _Watched, **words})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", watched)
        yield


@pytest.fixture(autouse=True)
def threads_end(request: pytest.FixtureRequest) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t for t in threading.enumerate() if t not in before and t.is_alive()]
    if left:
        pytest.fail(f"threads outlive their test: {left}")
