"""Rate limits of Slack: when the next call may go out. Pure: time is an argument, in monotonic
seconds.

Slack limits calls per method, and posts also per channel. VMFerry stays below the published limits
by a margin. After a 429 it waits exactly as long as Slack says, and holds only that method (for
posts, only that channel). A share of every budget is kept for urgent messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.slack.kit.message_kinds import FIRST
from bot.slack.outbox.rows import Outbound

KEPT = 0.3  # share of every budget, for urgent messages
LONGEST_SILENCE = 60.0


@dataclass(frozen=True)
class Rate:
    """``per_minute`` calls, with bursts of up to ``at_once``."""

    per_minute: float
    at_once: int


#: Slack's tiers for one app in one workspace, less a margin; posts: "several hundred" a minute.
RATES: Mapping[str, Rate] = {
    "chat.postMessage": Rate(100, 20),
    "chat.postEphemeral": Rate(80, 20),
    "chat.update": Rate(40, 10),
    "views.open": Rate(80, 20),
}


@dataclass(frozen=True)
class Rhythm:
    """Intervals of calls to Slack, in wall-clock seconds."""

    post: float = 1.0  # between two posts in one channel
    board: float = 5.0  # between two versions of one board or open card
    look: float = 0.25  # between two looks of the publisher for events
    again: float = 5.0  # before the first retry of a failed call
    patience: float = 2.5  # for look-ups about permissions; a form can be opened for 3 s
    rates: Mapping[str, Rate] = field(default_factory=lambda: RATES)


class Meter:
    """A budget of calls that refills evenly."""

    def __init__(self, rate: Rate, share: float = 1.0) -> None:
        self._each = 60.0 / (rate.per_minute * share)
        self._ahead = self._each * (max(1, int(rate.at_once * share)) - 1)
        self._full_at = 0.0

    @property
    def ready_at(self) -> float:
        """Earliest time of the next call."""
        return self._full_at - self._ahead

    def take(self, now: float) -> None:
        """Count a call at ``now``."""
        self._full_at = max(self._full_at, now) + self._each


class RateLimits:
    """Recent calls, and the earliest times of the next ones."""

    def __init__(self, rhythm: Rhythm) -> None:
        self.rhythm = rhythm
        self._not_before: dict[tuple[str, str], float] = {}
        self._meters = {
            method: (Meter(rate), Meter(rate, 1.0 - KEPT)) for method, rate in rhythm.rates.items()
        }
        self._silent_until = 0.0

    def ready_at(self, method: str, out: Outbound) -> float:
        """Earliest time at which this message may be sent with this method."""
        names = [(method, ""), (method, out.channel), _tried(out)]
        if out.priority != FIRST:
            names.append(("paced", out.key))
        moments = [self._silent_until, *(self._not_before.get(name, 0.0) for name in names)]
        if method in self._meters:
            whole, ordinary = self._meters[method]
            moments.append(whole.ready_at)
            if out.priority != FIRST:
                moments.append(ordinary.ready_at)
        return max(moments)

    def called(self, method: str, out: Outbound, now: float) -> None:
        """Count a call, whatever its result."""
        for meter in self._meters.get(method, ())[: 1 if out.priority == FIRST else 2]:
            meter.take(now)
        if method == "chat.postMessage":
            self._not_before[(method, out.channel)] = now + self.rhythm.post

    def sent(self, out: Outbound, now: float) -> None:
        """Note that Slack accepted a message."""
        self._not_before.pop(_tried(out), None)
        if out.name.kind.paced:
            self._not_before[("paced", out.key)] = now + self.rhythm.board

    def limited(self, method: str, out: Outbound, until: float) -> None:
        """Hold this method (for posts: in this channel) until then, after a 429."""
        channel = out.channel if method == "chat.postMessage" else ""
        self._not_before[(method, channel)] = until

    def failed(self, out: Outbound, until: float) -> None:
        """Hold this message until then, after a temporary failure; others go on."""
        self._not_before[_tried(out)] = until

    def silent(self, until: float) -> None:
        """Hold all calls until then, because Slack does not answer at all."""
        self._silent_until = until


def _tried(out: Outbound) -> tuple[str, str]:
    """Key of one message in one place: in another place it may be sent at once."""
    return f"tried in {out.channel}", out.key
