"""Servers on loopback for one test, and sessions with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from engine.settings import HostAddress, VmmSettings
from engine.vmm.sessions import HOST_MODULE, VMM_MODULE, Sessions
from tests.hangs import HANGS
from tests.wire.endpoint import Server
from tests.wire.functions import Asked, Function, PythonEndpoint
from tests.wire.wired import Wired
from tests.wire.world import good

PASSWORD = "hunter2 not for logs"


class StoppedClock:
    """A monotonic clock that tests move forward; waiting takes no time."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, wake: threading.Event, seconds: float) -> bool:
        return wake.is_set()


class RealClock(StoppedClock):
    """Real time, without the pauses between attempts."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Ground:
    """A VMM server and hosts, each with its own endpoint, and sessions with all of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.servers: dict[str, Server] = {}

    def serve(self, name: str, functions: Mapping[str, Function], **more: object) -> PythonEndpoint:
        """Start a server called ``name`` with these functions."""
        module = VMM_MODULE if name == "vmm01" else HOST_MODULE
        accounts = more.pop("accounts", {"ferry": PASSWORD})
        endpoint = PythonEndpoint({module: dict(functions)}, accounts=accounts, **more)
        self.servers[name] = self._stack.enter_context(Server(endpoint))
        return endpoint

    def settings(self, **changes: object) -> VmmSettings:
        said = {
            "server": "vmm01",
            "address": "127.0.0.1",
            "port": self.servers["vmm01"].port if "vmm01" in self.servers else None,
            "auth": "basic",
            "user": "ferry",
            "password": PASSWORD,
        }
        return VmmSettings.model_validate(said | changes)

    def hosts(self) -> dict[str, HostAddress]:
        return {
            name: HostAddress(address="127.0.0.1", port=server.port)
            for name, server in self.servers.items()
            if name != "vmm01"
        }

    def sessions(self, clock: object = None, **changes: object) -> Sessions:
        made = Sessions(self.settings(**changes), self.hosts(), clock or RealClock())
        self._stack.callback(made.close)
        return made


@pytest.fixture
def ground() -> Iterator[Ground]:
    with ExitStack() as stack:
        yield Ground(stack)


@pytest.fixture
def wired(ground) -> Wired:
    return Wired(ground)


def echo(asked: Asked) -> str:
    """A function that returns its parameters."""
    return good(dict(asked.parameters))


def hang(asked: Asked) -> None:
    """A function that ends when it is stopped, or when its shell ends with the test."""
    asked.stopped.wait(HANGS)
