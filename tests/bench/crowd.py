"""The stand-in with a crowd: envelopes at a set pace, each ack's delay, sockets that die.

Times are taken in the stand-in's own event loop, right before an envelope is written to its socket
and right after its ack was read: what lies between is VMFerry's, the wire's and the loop's.
"""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from bot.slack.standin import Standin

Json = Mapping[str, object]
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, not FIN


class Crowd(Standin):
    """``delays``: seconds from envelope to ack, of everything that was acked."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: dict[str, float] = {}
        self.written: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._wires: dict[web.WebSocketResponse, web.Request] = {}

    # --- at a pace ------------------------------------------------------------------------------

    def press(self, kind: str, payloads: Sequence[Json], a_second: float | None) -> list[float]:
        """Send all of them, whether or not those before are acked, ``None``: at once. Returns the
        delays once everything is acked, of what was acked within a minute of the last one."""
        first = len(self.written)
        names = [f"crowd-{first + number}" for number in range(len(payloads))]
        pairs = list(zip(names, payloads, strict=True))
        sending = self._send_all(kind, pairs, a_second)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result(None)
        until = time.monotonic() + 60.0
        while time.monotonic() < until and not all(name in self.delays for name in names):
            time.sleep(0.05)
        return [self.delays[name] for name in names if name in self.delays]

    async def _send_all(
        self, kind: str, pairs: Sequence[tuple[str, Json]], a_second: float | None
    ) -> None:
        begun = time.perf_counter()
        for number, (name, payload) in enumerate(pairs):
            if a_second is not None:
                await asyncio.sleep(max(0.0, begun + number / a_second - time.perf_counter()))
            frame = {"envelope_id": name, "type": kind, "payload": payload}
            # At once means that all of them wait from the first moment on.
            self._begun[name] = begun if a_second is None else time.perf_counter()
            self.written[name] = time.time()
            await self._send(frame | {"accepts_response_payload": kind == "slash_commands"})

    def _acked(self, text: str) -> None:
        at = time.perf_counter()
        super()._acked(text)
        name = text.partition('"envelope_id"')[2].split('"', 2)[1]
        if name in self._begun:
            self.delays[name] = at - self._begun.pop(name)

    # --- sockets that die -----------------------------------------------------------------------

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        # The wire of a socket is only known while it is served.
        before = set(self._sockets)
        serving = asyncio.ensure_future(super()._link(request))
        while not serving.done() and not set(self._sockets) - before:
            await asyncio.sleep(0)
        for made in set(self._sockets) - before:
            self._wires.setdefault(made, request)
        return await serving

    def cut(self, *, reset: bool) -> None:
        """End every connection below the WebSocket: with FIN, or with RST."""
        done = threading.Event()

        def now() -> None:
            for socket in tuple(self._sockets):
                wire = self._wires[socket].transport
                assert wire is not None
                if reset:
                    raw = wire.get_extra_info("socket")
                    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, RESET)
                    wire.abort()
                else:
                    wire.close()
            done.set()

        self._loop.call_soon_threadsafe(now)
        assert done.wait(10)

    def gap(self, break_it: Callable[[], None], payload: Callable[[], Json], most: float) -> float:
        """Break what is open; seconds until an envelope that is sent over a newer socket is acked.
        ``most`` where there is none for so long."""
        old = set(self._sockets)
        begun = time.perf_counter()
        break_it()
        while time.perf_counter() - begun < most:
            alive = [one for one in tuple(self._sockets) if one not in old]
            if alive and self._answers(alive[0], payload()):
                return time.perf_counter() - begun
            time.sleep(0.01)
        return most

    def _answers(self, socket: web.WebSocketResponse, payload: Json) -> bool:
        name = f"again-{next(self._numbers)}"
        self._begun[name] = time.perf_counter()
        frame = {"envelope_id": name, "type": "interactive", "payload": payload}
        frame["accepts_response_payload"] = False
        try:
            asyncio.run_coroutine_threadsafe(socket.send_json(frame), self._loop).result(5)
        except (ConnectionError, RuntimeError):
            return False
        until = time.perf_counter() + 1.0
        while time.perf_counter() < until and name not in self.delays:
            time.sleep(0.005)
        return name in self.delays
