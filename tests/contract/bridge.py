"""WSMan in front of a real PowerShell: every shell that a client opens is its own process.

::

    pypsrp --WSMan--> tests.wire.endpoint --lines--> pwsh -SSHServerMode --cmdlets--> WorldServer

``Computers`` are the VMM server and the hosts of one world, each with its own endpoint and port;
``settings`` names them. PSRP passes unchanged, wrapped into lines on the process's stdin and
stdout, one XML element per line::

    -> <Data Stream='Default' PSGuid='g'>base64</Data>   <- <DataAck PSGuid='g' />
    -> <Command PSGuid='g' />   a pipeline begins         <- <CommandAck PSGuid='g' />
    -> <Signal PSGuid='g' />    a pipeline is stopped     <- <SignalAck PSGuid='g' />
    -> <Close PSGuid='g' />     a pipeline is closed      <- <CloseAck PSGuid='g' />
    <- <Data Stream='Default' PSGuid='g'>base64</Data>   at any time, never acknowledged

``g`` is the id of the pipeline, or zeros for the shell itself. PowerShell hands each line to any
thread, so the sender keeps the order by waiting for each acknowledgement.

No process outlives its shell: closing kills it, ``Computers`` closes all shells, and a PowerShell
whose stdin ends (because the tests were killed) exits.
"""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from engine.settings import Settings, from_mapping
from engine.vmm.powershell import MODULES, write_modules
from tests.hangs import HANGS
from tests.powershell import stubs
from tests.powershell.pwsh import PWSH
from tests.powershell.scene import imported
from tests.wire.endpoint import ABORTED, DEFAULT, NO_SHELL, Endpoint, Fault, Outbox, Server, Shell

USER, PASSWORD = "ferry", "only for these tests"
_ITSELF = "00000000-0000-0000-0000-000000000000"
_CONSTRAINED = """
$functions = @((Get-Module -Name 'VMFerry.*').ExportedFunctions.Keys)
foreach ($one in $ExecutionContext.InvokeCommand.GetCommands('*', 'Cmdlet,Function,Alias', $true)) {
    if ($functions -notcontains $one.Name) { $one.Visibility = 'Private' }
}
$ExecutionContext.SessionState.Applications.Clear()
$ExecutionContext.SessionState.Scripts.Clear()
$ExecutionContext.SessionState.LanguageMode = 'NoLanguage'
"""
_LINE = re.compile(r"<(\w+)[^>]*\bPSGuid='([^']+)'\s*(?:/>|>([^<]*)</\1>)$")


class PowerShell(Shell):
    """A shell whose PSRP is spoken by a PowerShell process."""

    def __init__(self, id: str, configuration: str, opening: str, world: Mapping[str, str]) -> None:
        super().__init__(id, configuration)
        assert PWSH is not None
        self._turn = threading.Lock()
        self._acknowledged: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._why = "it ended"
        self.process = subprocess.Popen(
            [PWSH, "-NoLogo", "-NoProfile", "-SSHServerMode", "-Command", opening],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **world},
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def open(self, data: bytes) -> None:
        self.feed("", data)

    def begin(self, command: str, data: bytes) -> None:
        with self.lock:
            self.boxes[command] = Outbox()
        self._tell("Command", command)
        self.feed(command, data)

    def feed(self, command: str, data: bytes) -> None:
        self._tell("Data", command, data)

    def stop(self, command: str) -> None:
        self._tell("Signal", command)

    def terminate(self, command: str) -> None:
        self._tell("Close", command)
        with self.lock:
            self.boxes.pop(command, None)

    def close(self) -> None:
        super().close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def _tell(self, what: str, command: str, data: bytes | None = None) -> None:
        """Send a line and wait for its acknowledgement."""
        guid = command.lower() or _ITSELF
        line = f"<{what} PSGuid='{guid}' />"
        if data is not None:
            text = base64.b64encode(data).decode()
            line = f"<{what} Stream='Default' PSGuid='{guid}'>{text}</{what}>"
        with self._turn:
            try:
                assert self.process.stdin is not None
                self.process.stdin.write(line.encode() + b"\n")
                self.process.stdin.flush()
                answered = self._acknowledged.get(timeout=HANGS)
            except (OSError, ValueError):
                raise Fault(NO_SHELL, f"PowerShell is gone: {self._why}") from None
            except queue.Empty:
                raise Fault(ABORTED, f"PowerShell did not take {what}") from None
        if answered != (f"{what}Ack", guid):
            raise Fault(ABORTED, f"PowerShell answered {answered} to {what}: {self._why}")

    def _listen(self) -> None:
        """Read PowerShell's output to its end."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for raw in lines:
                self._take(raw.decode("utf-8", "replace").strip("\ufeff\r\n "))
        self._acknowledged.put(("End", ""))
        super().close()

    def _take(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:  # PowerShell's error message before it exits
            self._why = line or self._why
            return
        what, guid, text = found.groups()
        if what == "Data":
            self.say("" if guid == _ITSELF else guid.upper(), base64.b64decode(text or ""))
        else:
            self._acknowledged.put((what, guid))


class Computers:
    """The VMM server and the hosts of a world; a context manager. ``made`` holds all shells so far.

    With ``configuration`` our modules are installed there as a constrained endpoint of that name,
    in which only our functions can be called.
    """

    def __init__(
        self, modules: Path, world: int, hosts: Sequence[str], *, configuration: str | None = None
    ) -> None:
        self._configuration = configuration
        self.made: list[PowerShell] = []
        self._modules, self._world, self._names = modules, world, (stubs.VMM, *hosts)
        self._stack = contextlib.ExitStack()
        self._servers: dict[str, Server] = {}

    def __enter__(self) -> Computers:
        self._installed = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        write_modules(self._installed)
        self._stack.callback(self._end)
        for name in self._names:
            self._servers[name] = self._stack.enter_context(Server(self._endpoint(name)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def settings(self) -> Settings:
        """Settings with the addresses and the account."""
        ports = {name: server.port for name, server in self._servers.items()}
        logon = {"auth": "basic", "user": USER, "password": PASSWORD}
        logon |= {"configuration": self._configuration} if self._configuration else {}
        there = {"server": "vmm01", "address": "127.0.0.1", "port": ports.pop(stubs.VMM)}
        hosts = {name: {"address": "127.0.0.1", "port": port} for name, port in ports.items()}
        limits = ("limit_quick", "limit_read", "limit_change", "limit_reread", "patience")
        patient = dict.fromkeys(limits, HANGS)  # a busy machine may take long
        said = {"vmm": {**there, **logon, **patient}, "hosts": hosts}
        return from_mapping(said, "of the tests")

    def _endpoint(self, name: str) -> Endpoint:
        def make(id: str, configuration: str) -> Shell:
            world = stubs.environment(self._modules, self._world, name)
            opening = stubs.opening(name)
            if self._configuration:
                ours = imported(MODULES[name != stubs.VMM], self._installed)
                opening += f"; {ours}\n{_CONSTRAINED}"
            shell = PowerShell(id, configuration, opening, world)
            self.made.append(shell)
            return shell

        known = [self._configuration or DEFAULT]
        return Endpoint(make, accounts={USER: PASSWORD}, configurations=known)

    def _end(self) -> None:
        for shell in self.made:
            shell.close()
