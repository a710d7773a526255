"""The time without envelopes after all sockets have died, compared with Bolt in the same minute."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.crowd import Crowd, Json
from tests.bench.table import Row
from tests.hangs import HANGS
from tests.served import OnSlack, Served

FLEET = """
format = 1
host = [{ name = "hv01" }, { name = "hv02" }]
vm = [{ name = "web01", host = "hv01" }]
"""
LONGEST = 120.0


class Death(NamedTuple):
    """A way to lose a socket, and the target in seconds until the next socket delivers."""

    what: str
    limit: float
    happens: Callable[[Crowd], None]


DEATHS: Sequence[Death] = (
    Death("FIN without a close frame", 5.0, lambda slack: slack.drop(reset=False)),
    Death("RST", 5.0, lambda slack: slack.drop(reset=True)),
    Death("half-open: silence", 5.0, lambda slack: slack.fall_silent()),
    Death("CLOSE frame", 2.0, lambda slack: slack.hang_up()),
    Death(
        "Slack asks for a new one and keeps the old one open",
        0.5,
        lambda slack: slack.say_disconnect(),
    ),
)
QUICK = DEATHS[4:]


def ours(folder: Path, slack: Crowd) -> OnSlack:
    """The real process, on two sockets."""
    (folder / "fleet.toml").write_text(FLEET)
    return Served(folder, slack, "--fleet", str(folder / "fleet.toml"))


def stock(folder: Path, slack: Crowd) -> OnSlack:
    """Stock Bolt, on one socket."""
    return OnSlack(folder, slack, "tests.bench.stock")


@contextmanager
def connected(make: Callable[[Path, Crowd], OnSlack], folder: Path, sockets: int):
    """A child with a Slack of its own, a channel and a person."""
    with Crowd() as slack:
        slack.channel("ops")
        slack.user("dana")
        with make(folder, slack) as child:
            slack.wait_for(lambda: slack.sockets == sockets, HANGS)
            slack.heard(lambda: press(slack))
            yield slack, child


def press(slack: Crowd) -> Json:
    """A click on an unknown button, which every app acks."""
    board = next((m for m in slack.messages("C0OPS")), None) or slack.say(
        "U0DANA", "C0OPS", "a message with a button, once"
    )
    return slack.click_payload("U0DANA", board.ts, "bench", "0")


def gap(make: Callable[[Path, Crowd], OnSlack], folder: Path, sockets: int, death: Death) -> float:
    """The seconds until a click is acked again."""
    folder.mkdir()
    with connected(make, folder, sockets) as (slack, child):
        seconds = slack.gap(lambda: death.happens(slack), lambda: press(slack), LONGEST)
        child.end(signal.SIGKILL)
        return seconds


def measure(folder: Path, deaths: Sequence[Death] = DEATHS) -> list[Row]:
    """Measure both at the same time, for each way to lose a socket in turn."""
    rows = []
    for number, death in enumerate(deaths):
        with ThreadPoolExecutor(2) as both:
            us = both.submit(gap, ours, folder / f"ours{number}", 2, death)
            them = both.submit(gap, stock, folder / f"stock{number}", 1, death)
        rows.append(row(death, us.result(), them.result()))
    return rows


def row(death: Death, us: float, them: float) -> Row:
    """A row with our value and its target, and the value of stock Bolt beside it."""
    more = "over " if them >= LONGEST else ""
    shown = f"{us:.2f} s; stock Bolt {more}{them:.1f} s, {more}{them / us:,.1f} times as long"
    return Row(
        f"Until a click is acked again: {death.what}",
        shown,
        f"≤ {death.limit:g} s",
        us <= death.limit,
    )
