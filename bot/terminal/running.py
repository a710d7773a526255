"""A run at the terminal: opens the world, drives the engine, shows the board, takes answers.

On a running clock the engine works in a thread and the loop of this module only watches. On a
virtual clock (``--speed max``) the loop makes every step and jumps to the next moment at which
anything can change, so that the same seed gives the same result.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from bot.exit_codes import INTERRUPTED
from bot.terminal.ask import Policy
from bot.terminal.board import LiveScreen, PlainScreen, Screen, safe
from bot.terminal.reading import Installation, document_of, is_over
from bot.terminal.watch import Watch, user
from engine.advance.engine import Engine
from engine.advance.loop import Loop
from engine.clock import Clock, SystemClock, VirtualClock
from engine.commands.service import Service
from engine.errors import Refused, UsageError, VmmUnavailable
from engine.language.grammar import took
from engine.model import Request, Run, RunState
from engine.sim import fleet_file
from engine.sim.port import Call, Opened, SimPort, open_world
from engine.store import queries
from engine.store.store import Store
from engine.stories.next_tick import Skip, virtual_caller
from engine.views import report
from engine.views.board import stands_still
from engine.vmm.port import VmmPort

LOOK_EVERY = 0.25
LOOKS = 3  # tries of the first observation


@dataclass(frozen=True)
class Wish:
    """Arguments of ``run``. Without a request, the only unfinished run continues."""

    request: Request | None
    fleet: Path | None = None
    speed: float | None = None
    seed: int | None = None
    approve: Policy = "ask"
    json: bool = False


@contextmanager
def opened(place: Installation, wish: Wish, *, look: bool = True) -> Iterator[Session]:
    """Open a session. ``look``: observe VMM first. If the caller or the opening raises ``Refused``,
    a database that was created here is deleted with its files."""
    beside = (Path(f"{place.db}{end}") for end in ("-wal", "-shm", ".lock"))
    made = [path for path in (place.db, place.world, *beside) if not path.exists()]
    store = Store(place.db)
    try:
        with behind(place, store, wish) as world:
            yield from _session(place, store, world, look)
    except Refused:
        if place.db in made:
            store.close()
            for path in made:
                path.unlink(missing_ok=True)
        raise
    finally:
        store.close()


@dataclass(frozen=True)
class World:
    """World of the engine: its port, its clock and, if simulated, its fleet and calls."""

    vmm: str
    port: VmmPort
    clock: Clock
    opened: Opened | None = None
    calls: Sequence[Call] = ()


@contextmanager
def behind(place: Installation, store: Store, wish: Wish) -> Iterator[World]:
    """Open the simulated fleet of the arguments or beside the database, else the VMM server of the
    settings. Raises ``Refused``."""
    server = place.settings.vmm.server
    if server and wish.fleet is None and place.world.exists():
        raise Refused(
            f"{place.db} holds a simulated fleet, and the settings name {server}.",
            what=str(place.db),
            hint="Name another --db for the server, or --fleet to continue the simulation.",
        )
    if wish.fleet is None and not place.world.exists():
        with _real(place, wish) as world:
            yield world
        return
    fleet = fleet_file.load(wish.fleet) if wish.fleet else None
    after = queries.newest(store)
    opened = open_world(fleet, place.world, seed=wish.seed, speed=wish.speed, after=after)
    clock = opened.clock()
    port = SimPort(opened.world, clock, opened.saved)
    yield World(opened.world.state.vmm, port, clock, opened, port.calls)


@contextmanager
def _real(place: Installation, wish: Wish) -> Iterator[World]:
    vmm = place.settings.vmm
    if not vmm.server:
        raise Refused(
            "No VMM server is configured.",
            hint="Try a simulated fleet: --fleet FILE, or: vmferry demo",
        )
    if wish.speed is not None or wish.seed is not None:
        raise Refused(f"{vmm.server} is not a simulated fleet: --speed and --seed do not apply.")
    if wish.approve == "yes" and not vmm.approve_yes:
        raise Refused(
            f"--approve yes is not allowed on {vmm.server}.",
            what="--approve",
            hint="Leave it out and answer the questions, or set [vmm] approve_yes = true.",
        )
    from engine.vmm.wire import WirePort  # slow to load, needed only here

    clock = SystemClock()
    port = WirePort(place.settings, clock)
    try:
        yield World(vmm.server, port, clock)
    finally:
        port.close()


def _session(place: Installation, store: Store, world: World, look: bool) -> Iterator[Session]:
    caller = virtual_caller(world.port, world.clock, place.settings)
    engine = Engine(store, world.port, world.clock, place.settings, vmm=world.vmm, caller=caller)
    engine.take_over()
    try:
        if look:
            _look_first(engine)
        service = Service(store, world.clock, place.settings, world.vmm)
        yield Session(store, world, engine, service)
    finally:
        engine.close()


def _look_first(engine: Engine) -> None:
    """Observe for the first time. VMM may need a while after its start, so it is asked three times.
    Raises ``VmmUnavailable``."""
    for _ in range(LOOKS - 1):
        try:
            engine.look()
        except VmmUnavailable as error:
            if not error.may_pass:
                raise
            print(
                f"{error}. Trying again in {took(engine.rules.tick)}.", file=sys.stderr, flush=True
            )
            engine.clock.wait(threading.Event(), engine.rules.tick)
        else:
            return
    engine.look()


@dataclass(frozen=True)
class Session:
    """An engine that owns a database, and its world."""

    store: Store
    world: World
    engine: Engine
    service: Service

    def start(self, request: Request | None) -> tuple[Run, bool]:
        """Return the run of this request, and whether it existed before. Raises ``Refused``."""
        if request is not None:
            submitted = self.service.submit(request, by=user())
            if submitted.run.state is RunState.SCHEDULED:
                raise Refused(
                    f"{submitted.run.label} has the same request, by {submitted.run.by}, and waits "
                    "for its status message in Slack.",
                    what=submitted.run.label,
                    hint="Nothing started.",
                )
            return submitted.run, submitted.attached
        everything = queries.runs(self.store, unfinished=True)
        unfinished = [run for run in everything if run.state is not RunState.SCHEDULED]
        if len(unfinished) == 1:
            return unfinished[0], True
        if not unfinished:
            hint = "Type: vmferry run host HV01 to HV02"
            raise UsageError("There is no request, and no unfinished run to continue.", hint=hint)
        several = "; ".join(f"{run.label}: {run.request}" for run in unfinished)
        hint = f"Repeat the request of one of them. {several}"
        raise UsageError("Several runs are unfinished.", hint=hint)


def run(place: Installation, wish: Wish) -> tuple[int, Mapping[str, Any]]:
    """Carry out a request and show its progress. Returns the exit code and the report document."""
    stream = sys.stderr if wish.json else sys.stdout
    with opened(place, wish) as session:
        current, attached = session.start(wish.request)
        screen = _screen(stream, current)
        watch = Watch(session.service, current, screen, wish.approve, _is_terminal(stream))
        if attached:
            watch.skip()
            screen.say([f"{current.label} continues: {current.request}"])
            if current.state is RunState.PAUSED:
                screen.say([current.said, f"In another window: vmferry resume {current.label}"])
        try:
            _drive(session, watch)
        except KeyboardInterrupt:
            return INTERRUPTED, {}
        finally:
            screen.close()
        world = session.world
        now = world.clock.now()
        document = document_of(session.store, current, now, world.opened, world.calls)
        result = document["runs"][0]
        if not document["ended"]:
            said = f"{current.label} waits for an answer. Until then simulated time stands still."
            screen.say(["", said, f"See: vmferry status {current.label}"])
        screen.say(["", *map(safe, report.summary(result, document["approvals"]))])
        return int(result["exit"]), document


def _is_terminal(stream: TextIO) -> bool:
    """Return whether a person can read and answer questions here. False for background jobs."""
    if sys.stdin is None or not (stream.isatty() and sys.stdin.isatty()):
        return False
    if not hasattr(os, "tcgetpgrp"):
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # not the controlling terminal: no job control, so reading is allowed
        return True


def _screen(stream: TextIO, current: Run) -> Screen:
    console = Console(file=stream, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveScreen(console)
    return PlainScreen(current.created, stream)


def _drive(session: Session, watch: Watch) -> None:
    """Let the engine work until the run has ended or, in virtual time, cannot continue alone."""
    clock, opened = session.world.clock, session.world.opened
    if isinstance(clock, VirtualClock) and opened is not None:
        with watch.interruptible():
            _step(session, opened, clock, watch)
    else:
        _watch_thread(session, watch)
    watch.look()


def _step(session: Session, opened: Opened, clock: VirtualClock, watch: Watch) -> None:
    """Step until the run cannot continue. After each step, jump to the next tick at which the world
    changes or the engine has something due."""
    watch.look()
    skip = Skip(clock.now())
    while _goes_on(session.store, watch.run.id):
        advanced = session.engine.advance()
        watch.look()
        while watch.asked is not None:  # virtual time stops until the person has answered
            watch.listen(LOOK_EVERY)
            watch.look()
            skip.note_change(clock.now())
        tick = session.service.settings.engine.tick
        skip.go_on(session.engine, opened.world, advanced, opened.start, tick)


def _goes_on(store: Store, run_id: int) -> bool:
    """Return whether the run can continue without a command from another window."""
    record = queries.record(store, run_id)
    return record is not None and not record.run.over and not stands_still(record)


def _watch_thread(session: Session, watch: Watch) -> None:
    """Run the engine in its own thread. Watch and take answers in this one."""
    broken: list[BaseException] = []
    over = partial(is_over, session.store, watch.run.id)
    with at_work(session, broken.append, over) as (loop, thread), watch.interruptible():
        while thread.is_alive():
            watch.look()
            watch.say_health(loop.health)
            watch.listen(LOOK_EVERY)
    if broken:
        raise broken[0]


@contextmanager
def at_work(
    session: Session,
    broke: Callable[[BaseException], object],
    is_over: Callable[[], bool] = lambda: False,
    join: Callable[[threading.Thread], None] = threading.Thread.join,
) -> Iterator[tuple[Loop, threading.Thread]]:
    """Run the engine in a thread until ``is_over`` or the end of the block. ``broke`` receives an
    error that ends the engine. At the end, ``join`` waits for the current step."""
    wake, tick = session.service.wake, session.service.settings.engine.tick
    loop = Loop(session.engine, session.world.clock, wake, tick)
    stop = threading.Event()

    def work() -> None:
        try:
            loop.run(is_over, stop)
        except BaseException as error:  # raised again in the main thread
            broke(error)

    thread = threading.Thread(target=work, name="engine", daemon=True)
    thread.start()
    try:
        yield loop, thread
    finally:
        stop.set()
        wake.set()
        join(thread)
