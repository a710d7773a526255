"""The open socket of one connection, which a timer can shut down.

A read timeout counts anew from byte to byte, so a server that trickles its answer never exceeds it.
Only another thread can end such an exchange: it shuts the socket down, and the reader finds the end
of the stream.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any


class OpenSocket:
    """The socket of the connection that a ``requests`` session has open; one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self.was_shut = False  # by the timer, in the latest exchange

    def watch(self, session: Any) -> Any:
        """Follow the connections of a new ``requests`` session; returns the session."""
        for adapter in session.adapters.values():
            manager = adapter.poolmanager
            kinds = manager.pool_classes_by_scheme
            manager.pool_classes_by_scheme = {name: self._pool(kinds[name]) for name in kinds}
        return session

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Shut the socket down if the block takes longer than this."""
        self.was_shut = False
        timer = threading.Timer(seconds, self._shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        """Forget the socket. The session closes its own. Idempotent."""
        self._hold(None)

    def _shut(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._handle is not None:
                self.was_shut = True
                self._handle.shutdown(socket.SHUT_RDWR)

    def _hold(self, handle: socket.socket | None) -> None:
        with self._lock:
            before, self._handle = self._handle, handle
        if before is not None:
            before.close()

    def _pool(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        def pool(*args: Any, **more: Any) -> Any:
            made = kind(*args, **more)
            made.ConnectionCls = self._connection(made.ConnectionCls)
            return made

        return pool

    def _connection(self, kind: Callable[..., Any]) -> Callable[..., Any]:
        def connection(*args: Any, **more: Any) -> Any:
            made = kind(*args, **more)
            connect = made._new_conn

            def connected() -> socket.socket:
                # TLS takes the socket over, so a second handle on it is kept.
                opened: socket.socket = connect()
                self._hold(opened.dup())
                return opened

            made._new_conn = connected
            return made

        return connection
