"""The stand-in with a crowd: envelopes at a fixed rate, the delay of each ack, sockets that die.

Times are taken in the stand-in's own event loop, right before an envelope is written to its socket
and right after its ack was read. The difference is the time of VMFerry, the wire and the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from bot.slack.setup.manifest import SCOPES
from bot.standin.values import Json
from tests.hangs import HANGS
from tests.troubled_slack import TroubledSlack


class Crowd(TroubledSlack):
    """``delays``: seconds from envelope to ack, for all acked envelopes."""

    def __init__(self) -> None:
        super().__init__(ack_within=HANGS, scopes=SCOPES)
        self.delays: dict[str, float] = {}
        self.written: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    # --- at a pace ------------------------------------------------------------------------------

    def press(self, kind: str, payloads: Sequence[Json], a_second: float | None) -> list[float]:
        """Send all payloads without waiting for acks, at this pace (``None``: at once). Return
        the delays when all are acked or the time limit is reached."""
        first = len(self.written)
        names = [f"crowd-{first + number}" for number in range(len(payloads))]
        pairs = list(zip(names, payloads, strict=True))
        sending = self._send_all(kind, pairs, a_second)
        asyncio.run_coroutine_threadsafe(sending, self._loop).result(None)
        until = time.monotonic() + HANGS
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

    def gap(self, break_it: Callable[[], None], payload: Callable[[], Json], most: float) -> float:
        """Break the open sockets. Return the seconds until an envelope over a newer socket is
        acked, or ``most``."""
        old = self._open_now()
        begun = time.perf_counter()
        break_it()
        while time.perf_counter() - begun < most:
            if self.answers(payload(), but=old):
                return time.perf_counter() - begun
            time.sleep(0.01)
        return most

    def heard(self, payload: Callable[[], Json], most: float = HANGS) -> None:
        """Wait until an envelope is acked."""
        until = time.monotonic() + most
        while not self.answers(payload()):
            assert time.monotonic() < until, f"nobody acks anything within {most} s"
            time.sleep(0.01)

    def answers(self, payload: Json, but: Sequence[web.WebSocketResponse] = ()) -> bool:
        """Check whether an envelope over a socket not in ``but`` is acked within a second."""
        newer = [one for one in self._open_now() if one not in but]
        if not newer:
            return False
        name = self._new_envelope()
        self._begun[name] = time.perf_counter()
        frame = {"envelope_id": name, "type": "interactive", "payload": payload}
        frame["accepts_response_payload"] = False
        try:
            asyncio.run_coroutine_threadsafe(newer[0].send_json(frame), self._loop).result(5)
        except (ConnectionError, RuntimeError):
            return False
        until = time.perf_counter() + 1.0
        while time.perf_counter() < until and name not in self.delays:
            time.sleep(0.005)
        return name in self.delays
