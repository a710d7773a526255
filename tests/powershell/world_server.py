"""The world behind the stub shells: answers their cmdlets from a simulated world, over loopback.

::

    with WorldServer(world, clock) as server:
        shell = Shell(stubs.environment(folder, server.port, stubs.VMM), ...)

Every stub cmdlet becomes one request, one JSON line (see ``handlers/world.ps1``). The cmdlets are
in ``vmm_side.py`` and ``hyperv_side.py``. ``calls`` holds every call with its bound parameters, so
that tests can check what reached VMM and Hyper-V. One lock guards the world; pass your own to play
a story in it meanwhile. Requests take no time on the clock.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from engine.clock import Clock
from engine.errors import VmmBusy, VmmError, VmmUnavailable
from engine.sim import migrations
from engine.sim.world import World
from tests.powershell import hyperv_side, vmm_side
from tests.powershell.stubs import VMM

Row = dict[str, object]


@dataclass(frozen=True)
class Call:
    """One cmdlet with its bound parameters: objects by their ids, switches as ``True``."""

    shell: str
    cmdlet: str
    set: str
    bound: Row
    whatif: bool = False


@dataclass
class Quirks:
    """Behaviour that the documentation of the products leaves open; tests try each variant."""

    any_word: str | None = "ANY"
    """How Hyper-V shows a field of a rule that restricts nothing: ANY, *, empty or null."""
    metering: bool = False
    """Has every adapter a classic rule that only meters?"""
    job_variable: bool = True
    """Is -JobVariable filled when a cmdlet returns?"""
    job_cmdlet: str = "Move-SCVirtualMachine"
    """CmdletName of the jobs that move VMs."""
    job_hosts: bool = True
    """Do jobs say Source and Target? Else only their names do."""
    domain_only: bool = False
    """Is FullyQualifiedDomainName of Get-VMHost only the domain?"""
    room: dict[str, Row] = field(default_factory=dict)
    """What VMM shows of a host's memory and disks, by its name; else what the world says."""
    no_vm: str = "InvalidParameter"
    """Error of Hyper-V's Get-VM for an unknown id."""
    reread_seconds: float = 0.0
    """Length of a re-read that VMM makes in a job of its own."""
    errors: dict[str, Row] = field(default_factory=dict)
    """What a cmdlet throws instead of doing anything: {"kind", "id", "text"} by its name. Of
    Get-CimInstance also for one class: "Get-CimInstance Msvm_MigrationJob"; with an ID also for
    one object."""
    meanwhile: dict[str, list[Callable[[], object]]] = field(default_factory=dict)
    """What happens before each call of a cmdlet, in order, by its name."""
    after_a_move: dict[str, Row] = field(default_factory=dict)
    """As ``errors``, but only from the first Move-SCVirtualMachine on."""


@dataclass
class Desk:
    """State shared by the two sides: open job groups, re-reads of VMM and quirks."""

    world: World
    quirks: Quirks = field(default_factory=Quirks)
    groups: dict[str, dict[str, Row]] = field(default_factory=dict)
    rereads: list[vmm_side.Reread] = field(default_factory=list)

    def settle(self, now: float) -> None:
        """End the re-reads that are due."""
        for job in self.rereads:
            if job.ended or job.ends > now:
                continue
            job.ended = True
            try:
                job.read(now)
            except VmmError as error:
                job.error = str(error)


class WorldServer:
    """A TCP server on loopback; a context manager."""

    def __init__(self, world: World, clock: Clock, lock: threading.RLock | None = None) -> None:
        self.world, self.clock = world, clock
        self.lock = lock or threading.RLock()
        self.desk = Desk(world)
        self.calls: list[Call] = []
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """The port of the server."""
        return self._server.server_address[1]

    def play(self, world: World, clock: Clock) -> None:
        """Continue with another world. Open shells use it from their next call on."""
        with self.lock:
            self.world, self.clock = world, clock
            self.desk = Desk(world)
            self.calls = []

    @property
    def quirks(self) -> Quirks:
        """Behaviour that the documentation leaves open. Tests may change it."""
        return self.desk.quirks

    def __enter__(self) -> WorldServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of(self, cmdlet: str) -> list[Call]:
        """The calls of this cmdlet, in order."""
        return [call for call in self.calls if call.cmdlet == cmdlet]

    def answer(self, request: Row) -> Row:
        """Record and carry out one request. Errors of the world are answers, too."""
        bound = {k: v for k, v in dict(request["bound"]).items() if k != "WhatIf"}
        call = Call(
            str(request["shell"]),
            str(request["cmdlet"]),
            str(request["set"]),
            bound,
            bool(request["whatif"]),
        )
        with self.lock:
            if happens := self.quirks.meanwhile.get(call.cmdlet):
                happens.pop(0)()
            now = self.clock.now()
            self.world.advance(now)
            self.desk.settle(now)
            if call.cmdlet == "Get-Date":
                return {"objects": [self._time(call.shell, now)], "job": None}
            self.calls.append(call)
            if wished := self._wished(call):
                return {"error": wished}
            try:
                if call.shell == VMM:
                    migrations.reach(self.world.state, now)
                    return vmm_side.answer(self.desk, now, call)
                hyperv_side.reach(self.world.state, now, call.shell)
                return hyperv_side.answer(self.desk, now, call)
            except VmmError as error:
                return {"error": _problem(error, call.shell)}

    def _wished(self, call: Call) -> Row | None:
        moved = bool(self.of("Move-SCVirtualMachine"))
        later = self.quirks.after_a_move.get(call.cmdlet) if moved else None
        errors = self.quirks.errors
        about = call.bound.get("ClassName") or call.bound.get("ID")
        return errors.get(call.cmdlet) or errors.get(f"{call.cmdlet} {about}") or later

    def _time(self, shell: str, now: float) -> str:
        skew = self.world.state.skew if shell == VMM else 0.0
        return vmm_side.iso(now + skew)


def _problem(error: VmmError, shell: str) -> Row:
    """The error as the products throw it, with VMM's number if it has one."""
    if isinstance(error, VmmUnavailable) and not error.code:
        return {"kind": "lost", "id": "ConnectionLost", "text": error.text}
    if shell != VMM:
        return {"kind": "hyperv", "id": error.code or "OperationFailed", "text": error.text}
    code = error.code or ("21501" if isinstance(error, VmmBusy) else "Refused")
    return {"kind": "vmm", "id": code, "text": error.text}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    owner: WorldServer


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        for line in self.rfile:
            answer = self.server.owner.answer(json.loads(line.decode("utf-8-sig")))
            self.wfile.write(json.dumps(answer).encode() + b"\n")
