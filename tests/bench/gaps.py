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
    """A way to lose a socket, and how many seconds it may take until the next one brings again."""

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
    """Bolt as it comes, on one socket."""
    return OnSlack(folder, slack, "tests.bench.stock")


@contextmanager
def connected(make: Callable[[Path, Crowd], OnSlack], folder: Path, sockets: int):
    """A child on a Slack of its own, with a channel and a person in it."""
    with Crowd() as slack:
        slack.channel("ops")
        slack.user("dana")
        with make(folder, slack) as child:
            slack.wait_for(lambda: slack.sockets == sockets, HANGS)
            slack.heard(lambda: press(slack))
            yield slack, child


def press(slack: Crowd) -> Json:
    """A click on a button that nobody knows: everybody acks it."""
    board = next((m for m in slack.messages("C0OPS")), None) or slack.say(
        "U0DANA", "C0OPS", "a message with a button, once"
    )
    return slack.click_payload("U0DANA", board.ts, "bench", "0")


def gap(make: Callable[[Path, Crowd], OnSlack], folder: Path, sockets: int, death: Death) -> float:
    """Seconds until a click is acked again."""
    folder.mkdir()
    with connected(make, folder, sockets) as (slack, child):
        seconds = slack.gap(lambda: death.happens(slack), lambda: press(slack), LONGEST)
        child.end(signal.SIGKILL)
        return seconds


def measure(folder: Path, deaths: Sequence[Death] = DEATHS) -> list[Row]:
    """Both at the same time, one way to die after the other."""
    rows = []
    for number, death in enumerate(deaths):
        with ThreadPoolExecutor(2) as both:
            us = both.submit(gap, ours, folder / f"ours{number}", 2, death)
            them = both.submit(gap, stock, folder / f"stock{number}", 1, death)
        rows.append(row(death, us.result(), them.result()))
    return rows


def row(death: Death, us: float, them: float) -> Row:
    """Ours with its target, stock Bolt's beside it."""
    more = "over " if them >= LONGEST else ""
    shown = f"{us:.2f} s; stock Bolt {more}{them:.1f} s, {more}{them / us:,.1f} times as long"
    return Row(
        f"Until a click is acked again: {death.what}",
        shown,
        f"≤ {death.limit:g} s",
        us <= death.limit,
    )
