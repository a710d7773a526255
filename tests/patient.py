"""A Slack in this process with long timeouts, for busy machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bot.slack.setup.manifest import SCOPES
from engine.clock import Clock
from tests.hangs import HANGS
from tests.troubled_slack import TroubledSlack

NOT_ACKED = 0.2
"""Seconds for which an ack is waited for that never comes."""


def patient_slack(clock: Clock | None = None, *, limits: bool = False) -> TroubledSlack:
    """A stand-in that waits for acks and answers as long as ``HANGS``.

    Without a ``clock`` of the test its triggers live as long, too: Slack's three seconds would be
    three seconds of real time.
    """
    life = 3.0 if clock else HANGS
    return TroubledSlack(
        clock=clock,
        ack_within=HANGS,
        trigger_life=life,
        patience=HANGS,
        limits=limits,
        scopes=SCOPES,
    )


@contextmanager
def not_acked(slack: TroubledSlack) -> Iterator[None]:
    """Shorten the wait for acks, for deliveries that nobody acks."""
    before, slack.ack_within = slack.ack_within, NOT_ACKED
    try:
        yield
    finally:
        slack.ack_within = before
