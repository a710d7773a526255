"""A shell whose functions are Python: PSRP by psrpcore, without PowerShell.

A function gets :class:`Asked` and returns a text or several values, or raises :class:`Broken`. As
on Windows, the default endpoint has no functions until a script loads a module there. Any other
configuration has all functions and runs no script.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from psrpcore import (
    CreatePipelineEvent,
    PSRPPayload,
    ServerPipeline,
    ServerRunspacePool,
    StreamType,
)
from psrpcore.types import (
    ErrorCategoryInfo,
    ErrorRecord,
    NETException,
    PSInvocationState,
    PSRPMessageType,
)

from tests.hangs import HANGS
from tests.wire.endpoint import DEFAULT, NO_SHELL, Endpoint, Fault, Outbox, Shell

FRAGMENT = 32768

Function = Callable[["Asked"], "str | Sequence[object] | None"]


class Broken(Exception):
    """A terminating error. ``id`` is the first part of its FullyQualifiedErrorId."""

    def __init__(self, text: str, id: str = "RuntimeException") -> None:
        super().__init__(text)
        self.id = id


@dataclass
class Asked:
    """One call of a function. Names of parameters ignore case."""

    function: str
    parameters: Mapping[str, object]
    stopped: threading.Event
    complain: Callable[[str], None]
    shell: Shell

    def __getitem__(self, name: str) -> object:
        return self.parameters.get(name.casefold())


class PythonEndpoint(Endpoint):
    """An endpoint with modules of functions: name of the module, name of the function.

    ``asked`` holds every call, ``brought`` every module (name, text), ``scripts`` every script.
    """

    def __init__(
        self,
        modules: dict[str, dict[str, Function]],
        *,
        accounts: Mapping[str, str],
        configurations: Sequence[str] = (DEFAULT,),
    ) -> None:
        super().__init__(
            lambda id, configuration: PythonShell(self, id, configuration),
            accounts=accounts,
            configurations=configurations,
        )
        self.modules = modules
        self.asked: list[Asked] = []
        self.news = threading.Condition()
        self.brought: list[tuple[str, str]] = []
        self.scripts: list[str] = []

    def came(self, number: int) -> list[str]:
        """Functions of all calls, after waiting for so many: calls may arrive late."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.asked) >= number, HANGS)
            return [asked.function for asked in self.asked]


class PythonShell(Shell):
    """PSRP by psrpcore, which is not thread-safe: the lock guards every use."""

    def __init__(self, endpoint: PythonEndpoint, id: str, configuration: str) -> None:
        super().__init__(id, configuration)
        self.endpoint = endpoint
        self.pool = ServerRunspacePool()
        self.pipes: dict[str, tuple[ServerPipeline, threading.Event]] = {}
        self.brought = set() if configuration == DEFAULT else set(endpoint.modules)

    def open(self, data: bytes) -> None:
        self.feed("", data)

    def begin(self, command: str, data: bytes) -> None:
        with self.lock:
            pipe = ServerPipeline(self.pool, uuid.UUID(command))
            self.pipes[command] = (pipe, threading.Event())
            self.boxes[command] = Outbox()
            self.feed(command, data)

    def feed(self, command: str, data: bytes) -> None:
        with self.lock:
            target = uuid.UUID(command) if command else None
            self.pool.receive_data(PSRPPayload(data, StreamType.default, target))
            while (event := self.pool.next_event()) is not None:
                if isinstance(event, CreatePipelineEvent):
                    name = str(event.pipeline_id).upper()
                    threading.Thread(target=self._run, args=[name], daemon=True).start()
            self._flush()

    def stop(self, command: str) -> None:
        with self.lock:
            pipe, stopped = self._pipe(command)
            stopped.set()
            if pipe.state == PSInvocationState.Running:
                pipe.stop()
                self._flush()
                self.say(command, b"", over=True)

    def terminate(self, command: str) -> None:
        with self.lock:
            self._pipe(command)[1].set()
            self.pool.pipeline_table.pop(uuid.UUID(command), None)
            del self.pipes[command], self.boxes[command]

    def close(self) -> None:
        super().close()
        for _, stopped in list(self.pipes.values()):
            stopped.set()

    def _pipe(self, command: str) -> tuple[ServerPipeline, threading.Event]:
        if command not in self.pipes:
            raise Fault(NO_SHELL, "There is no such command.", "w:InvalidSelectors")
        return self.pipes[command]

    def _flush(self) -> None:
        while (payload := self.pool.data_to_send(FRAGMENT)) is not None:
            target = str(payload.pipeline_id).upper() if payload.pipeline_id else ""
            self.say(target, payload.data)

    def _run(self, command: str) -> None:
        """Run one pipeline in its own thread, from its first command to its final state."""
        pipe, stopped = self.pipes[command]
        with self.lock:
            pipe.start()
        error = None
        try:
            self._call(pipe, stopped)
        except Broken as broken:
            error = _record(str(broken), broken.id)
        except Exception as bug:
            error = _record(f"{type(bug).__name__}: {bug}", "PythonException")
        with self.lock:
            if pipe.state != PSInvocationState.Running:
                return
            if error is not None:
                pipe._change_state(PSInvocationState.Failed, error=error)
            else:
                pipe.complete()
            self._flush()
            self.say(command, b"", over=True)

    def _call(self, pipe: ServerPipeline, stopped: threading.Event) -> None:
        (command,) = pipe.metadata.commands
        name = str(command.command_text)
        given = {str(key).casefold(): _plain(value) for key, value in command.parameters}

        def complain(text: str) -> None:
            with self.lock:
                record = _record(text, "Complaint")
                pipe.prepare_message(record, message_type=PSRPMessageType.ErrorRecord)
                self._flush()

        asked = Asked(name, given, stopped, complain, self)
        if command.is_script:
            self._bring(asked)
            return
        function = self._function(name)
        with self.endpoint.news:
            self.endpoint.asked.append(asked)
            self.endpoint.news.notify_all()
        output = function(asked)
        values = [output] if isinstance(output, str) else output or []
        with self.lock:
            if pipe.state == PSInvocationState.Running:
                for value in values:
                    pipe.write_output(value)
                self._flush()

    def _bring(self, script: Asked) -> None:
        """Load a module. This is the only script that the shell knows."""
        if self.configuration != DEFAULT:
            raise Broken("The syntax is not supported by this runspace.", "ScriptsNotAllowed")
        name, text = str(script["Name"]), str(script["Text"])
        self.endpoint.scripts.append(script.function)
        self.endpoint.brought.append((name, text))
        if name not in self.endpoint.modules:
            raise Broken(f"The module {name} is broken.", "ParseException")
        self.brought.add(name)

    def _function(self, name: str) -> Function:
        for module in self.brought:
            for known, function in self.endpoint.modules[module].items():
                if known.casefold() == name.casefold():
                    return function
        raise Broken(
            f"The term '{name}' is not recognized as the name of a cmdlet, function, script "
            "file, or operable program.",
            "CommandNotFoundException",
        )


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _record(text: str, id: str) -> ErrorRecord:
    exception = NETException(Message=text, HResult=-2146233087)
    record = ErrorRecord(
        Exception=exception,
        CategoryInfo=ErrorCategoryInfo(),
        FullyQualifiedErrorId=f"{id},Function",
    )
    record.PSObject.to_string = text
    return record
