"""The stand-in's Events API: events come again while nobody acks them; clicks never do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from bot.standin import payloads
from bot.standin.transport.sockets import NotAcked
from bot.standin.transport.troubles import Troubles
from bot.standin.values import Json

AGAIN = (0.0, 60.0, 300.0)
LOOK = 0.02


@dataclass
class Sent:
    """An event, and the envelopes in which it was sent so far. ``over``: it comes no more."""

    event_id: str
    envelopes: list[str] = field(default_factory=list)
    over: bool = False


class Events(Troubles):
    """A server that tells apps what happens."""

    def event(self, event: Json, *, event_id: str = "", envelope: str = "") -> Sent:
        """Deliver an event and wait for its ack as long as Slack does. Without one it comes again
        at once, after one and after five minutes of the clock, in an envelope of its own."""
        now = self.workspace.clock.now()
        sent = Sent(event_id or f"Ev0{next(self._numbers)}")
        made = payloads.event_callback(
            self.workspace.team,
            self.workspace.bot_user,
            {"event_ts": f"{now:.6f}", **event},
            sent.event_id,
            now,
        )
        sent.envelopes.append(envelope or self._new_envelope())
        try:
            self.deliver("events_api", made, sent.envelopes[0])
            sent.over = True
        except NotAcked:
            asyncio.run_coroutine_threadsafe(self._insist(sent, made, now), self._loop)
        return sent

    def heard(self, sent: Sent) -> bool:
        """Tell whether the event has been acked by now."""
        return any(self.acks(envelope) for envelope in sent.envelopes)

    async def _insist(self, sent: Sent, payload: Json, begun: float) -> None:
        for attempt, after in enumerate(AGAIN, 1):
            while self.workspace.clock.now() < begun + after:
                await asyncio.sleep(LOOK)
            if self.heard(sent):
                break
            sent.envelopes.append(self._new_envelope())
            await self._once_more(sent.envelopes[-1], payload, attempt)
        with self._changed:
            sent.over = True
            self._changed.notify_all()

    async def _once_more(self, envelope: str, payload: Json, attempt: int) -> None:
        """One more try, for as long as Slack waits for an ack."""
        if self.http is not None:
            with suppress(NotAcked):
                await asyncio.to_thread(
                    self._post, "events_api", payload, envelope, self.http, attempt
                )
            return
        frame = {
            "envelope_id": envelope,
            "type": "events_api",
            "payload": payload,
            "accepts_response_payload": False,
            "retry_attempt": attempt,
            "retry_reason": "timeout",
        }
        await self._send(frame)
        until = self._loop.time() + self.ack_within
        while self._loop.time() < until and not self.acks(envelope):
            await asyncio.sleep(LOOK)
