"""The time from a restart until commands are accepted, and the cost of storing a click."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import gaps
from tests.bench.crowd import Crowd
from tests.bench.table import Row, at_most, quantile, told
from tests.hangs import HANGS
from tests.served import OnSlack

READY = 2.0  # seconds


def measure(folder: Path, starts: int = 5, clicks: int = 500) -> list[Row]:
    """Measure both processes in turn, each on a Slack of its own."""
    us = start_and_press(gaps.ours, folder / "ours", starts, clicks)
    them = start_and_press(gaps.stock, folder / "stock", starts, clicks)
    started, accepted = (quantile(one, 0.5) for one in us)
    stock_started, stock_accepted = (quantile(one, 0.5) for one in them)
    return [
        at_most("From the start of the process to Slack's hello", started, READY, "s", 2),
        told("the same of an empty Bolt app", compared(stock_started, "s", started)),
        told("A click, read, written down for good and acked", f"{1000 * accepted:.1f} ms"),
        told(
            "the same click, only acked by an empty Bolt app",
            compared(1000 * stock_accepted, "ms", 1000 * accepted),
        ),
    ]


def start_and_press(
    make: Callable[[Path, Crowd], OnSlack], folder: Path, starts: int, clicks: int
) -> tuple[list[float], list[float]]:
    """Seconds to the hello of every start but the first, and seconds to every ack."""
    folder.mkdir()
    started = []
    with Crowd() as slack:
        slack.channel("ops")
        slack.user("dana")
        for number in range(starts + 1):
            begun = time.perf_counter()
            with make(folder, slack) as child:
                while slack.sockets == 0:
                    assert time.perf_counter() - begun < 60, child.text
                    time.sleep(0.002)
                if number:
                    started.append(time.perf_counter() - begun)
                slack.heard(lambda: gaps.press(slack))
                if number == starts:
                    presses = [gaps.press(slack) for _ in range(clicks)]
                    return started, slack.press("interactive", presses, 50.0)
                child.end(signal.SIGKILL)
            slack.wait_for(lambda: slack.sockets == 0, HANGS)
    raise AssertionError("never started")


def compared(theirs: float, unit: str, ours: float) -> str:
    """The value of the other app, and ours as a multiple of it."""
    return f"{theirs:.{2 if unit == 's' else 1}f} {unit}; ours is {ours / theirs:.2f} times that"
