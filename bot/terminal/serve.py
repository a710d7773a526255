"""``serve``: run the Slack bot and the engine until a signal.

The engine starts first and stops last, because runs continue during an outage of Slack. One queue
holds the reasons to stop: signals, and the error that ended the engine. The main thread waits for
the first one.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType

import click

from bot.exit_codes import DONE, INTERRUPTED
from bot.logs import log_to_stderr
from bot.terminal.reading import Installation
from bot.terminal.running import Session, Wish, at_work, opened
from engine.advance.loop import Loop
from engine.clock import SystemClock, VirtualClock
from engine.errors import Refused
from engine.settings import Settings
from engine.store import queries

log = logging.getLogger(__name__)

HEALTH_EVERY = 1.0
LAST_WORDS = 3.0
FIRST_STEP = 5.0
HANGS = 30.0  # seconds to wait for the engine's current step at shutdown
WALL = SystemClock()
Reasons = SimpleQueue[int | BaseException]


def serve(place: Installation, wish: Wish) -> int:
    """Serve Slack until a signal. Returns the exit code. Raises ``Refused`` before anything
    changes, and ``StoreLocked`` if another engine holds the database."""
    from bot.slack.setup.checks import refuse_unless_ready  # slow to load, and needed only here

    log_to_stderr()
    if wish.speed is not None and math.isinf(wish.speed):
        raise _no_clock()
    with _reasons() as reasons:
        identity = refuse_unless_ready(place.settings, runs_wait=_runs_wait(place))
        with opened(place, wish, look=False) as session:
            if isinstance(session.world.clock, VirtualClock):
                raise _no_clock()
            with at_work(session, reasons.put, join=_join) as (loop, _):
                _await_first_step(loop)
                where = f"{identity.team} as @{identity.user}" if identity else "Slack"
                code = _talk(place.settings, session, loop, reasons, where)
    click.echo("Stopped. VMM completes the migrations in flight. The next start resumes the runs.")
    return code


def _runs_wait(place: Installation) -> bool:
    """Return whether the database has unfinished runs."""
    if not place.db.exists():
        return False
    with place.reading() as store:
        return bool(queries.runs(store, unfinished=True))


def _no_clock() -> Refused:
    return Refused(
        "serve needs a fixed speed: --speed max works only with run.",
        what="--speed",
        hint="Name a number: --speed 60.",
    )


def _talk(settings: Settings, session: Session, loop: Loop, reasons: Reasons, where: str) -> int:
    """Run the Slack side until a reason to stop arrives. Raises the error that ended the engine."""
    from bot.slack.slack_side import SlackSide

    side = SlackSide(session.store, session.service, settings, session.world.clock)
    side.start()
    said = False
    health = ""
    try:
        while True:
            if side.connection.connected.is_set() and not said:
                said = True
                command = settings.slack.command
                click.echo(f"{where}: listening for {command}. Press Ctrl-C to stop.")
            if loop.health != health:
                health = loop.health
                log.warning("%s", health or "The engine works again.")
            try:
                reason = reasons.get(timeout=HEALTH_EVERY if said else 0.05)
            except Empty:
                continue
            if isinstance(reason, BaseException):
                raise reason
            click.echo("Shutting down: finishing the current step.")
            return INTERRUPTED if reason == signal.SIGINT else DONE
    finally:
        side.stop(LAST_WORDS)


def _join(thread: threading.Thread) -> None:
    """Wait up to ``HANGS`` seconds for the engine's current step, then end the process by SIGTERM:
    a thread that waits for VMM cannot be stopped. Rows survive a kill between any two statements.
    """
    thread.join(HANGS)
    if not thread.is_alive():
        return
    click.echo(
        "VMM does not answer, so the current step is abandoned. The next start resumes the runs."
    )
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _await_first_step(loop: Loop) -> None:
    """Wait up to ``FIRST_STEP`` seconds for the first step, so that the first command can look up
    names. Stop waiting if the engine reports a problem."""
    until = WALL.monotonic() + FIRST_STEP
    while loop.last is None and not loop.health and WALL.monotonic() < until:
        WALL.wait(threading.Event(), 0.05)


@contextmanager
def _reasons() -> Iterator[Reasons]:
    """Open a queue that receives SIGTERM and SIGINT. A second signal of the same kind ends the
    process at once, which loses nothing that was acked."""
    reasons: Reasons = SimpleQueue()
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def heard(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        reasons.put(number)  # safe even where this interrupts a get

    for number in usual:
        signal.signal(number, heard)
    try:
        yield reasons
    finally:
        for number, before in usual.items():
            signal.signal(number, before)
