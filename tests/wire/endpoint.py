"""A server of WSMan and PSRP on loopback: named functions answered by Python, and by no Windows.

Three layers, none of which looks into another::

    Server     HTTP on a free port, Basic accounts
    Endpoint   WSMan: envelopes, the table of shells, Receive, faults
    Shell      one shell; PythonShell speaks PSRP (psrpcore) and calls Python functions

A function gets :class:`Asked` and returns a text, several values, or raises :class:`Broken`. As
on Windows, the default endpoint knows no function until a module is brought there by a script,
and any other configuration knows them all and runs no script.

Everything that can go wrong on the way is arranged by ``Endpoint.on``: it sees each message
before it is acted on, and may raise a :class:`Fault`, wait, or return a :class:`Reaction`.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
import uuid
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from xml.sax.saxutils import escape

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

DEFAULT = "Microsoft.PowerShell"
TIMED_OUT, NO_SHELL, ABORTED = 2150858793, 2150858843, 995
FRAGMENT = 32768

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
NAMES = {"s": SOAP, "a": WSA, "w": WSMAN, "x": TRANSFER, "rsp": SHELL}
NAMES["pwsh"] = "http://schemas.microsoft.com/powershell"

Function = Callable[["Asked"], "str | Sequence[str] | None"]


class Fault(Exception):
    """A SOAP fault. Code 0 leaves out the number, as WinRM does for some quotas."""

    def __init__(self, code: int, reason: str, word: str = "w:InternalError") -> None:
        super().__init__(reason)
        self.code, self.reason, self.word = code, reason, word

    def body(self) -> str:
        number = f'<f:WSManFault xmlns:f="{FAULT}" Code="{self.code}"/>' if self.code else ""
        return (
            f"<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{self.word}"
            f"</s:Value></s:Subcode></s:Code><s:Reason><s:Text>{escape(self.reason)}</s:Text>"
            f"</s:Reason><s:Detail>{number}</s:Detail></s:Fault>"
        )


@dataclass(frozen=True)
class Reaction:
    """What happens to a message instead of an answer: the connection is cut before or after it
    was acted on, or an HTTP status comes back."""

    cut: Literal["", "before", "after"] = ""
    status: int = 0
    text: str = ""


@dataclass(frozen=True)
class Message:
    """One envelope, as far as tests ask: its action, shell and command."""

    action: str
    id: str
    shell: str
    command: str
    envelope: ET.Element = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> Message:
        envelope = ET.fromstring(raw)
        action = envelope.findtext("s:Header/a:Action", "", NAMES).rsplit("/", 1)[-1]
        selectors = envelope.findall("s:Header/w:SelectorSet/w:Selector", NAMES)
        shell = next((s.text or "" for s in selectors if s.get("Name") == "ShellId"), "")
        command = next((e.get("CommandId", "") for e in envelope.iter() if e.get("CommandId")), "")
        message = envelope.findtext("s:Header/a:MessageID", "", NAMES)
        return cls(action, message, shell.upper(), command.upper(), envelope)

    def text(self, path: str) -> str:
        return self.envelope.findtext(path, "", NAMES) or ""

    @property
    def patience(self) -> float:
        """The seconds of OperationTimeout."""
        found = re.fullmatch(r"PT([\d.]+)S", self.text("s:Header/w:OperationTimeout"))
        return float(found[1]) if found else 20.0


# --- what a function sees ---------------------------------------------------------------------


class Broken(Exception):
    """A terminating error; ``id`` is what stands before the comma of its FullyQualifiedErrorId."""

    def __init__(self, text: str, id: str = "RuntimeException") -> None:
        super().__init__(text)
        self.id = id


@dataclass
class Asked:
    """One call of a function. Parameters are found in any case of their names."""

    function: str
    parameters: Mapping[str, object]
    stopped: threading.Event
    complain: Callable[[str], None]
    shell: Shell

    def __getitem__(self, name: str) -> object:
        return self.parameters.get(name.casefold())


def unknown(name: str) -> Broken:
    return Broken(
        f"The term '{name}' is not recognized as the name of a cmdlet, function, script file, or "
        "operable program.",
        "CommandNotFoundException",
    )


# --- shells -----------------------------------------------------------------------------------


class Outbox:
    """What one command, or the shell itself, has to say and nobody has received yet."""

    def __init__(self) -> None:
        self.blobs: deque[bytes] = deque()
        self.over = False
        self.turn = threading.Lock()
        self.answered: tuple[str, str] = ("", "")


class Shell:
    """One shell as WSMan sees it. A subclass fills the outboxes."""

    def __init__(self, endpoint: Endpoint, id: str, configuration: str) -> None:
        self.endpoint, self.id, self.configuration = endpoint, id, configuration
        self.lock = threading.Condition(threading.RLock())
        self.boxes: dict[str, Outbox] = {"": Outbox()}
        self.closed = False
        self.state = "Connected"

    def open(self, data: bytes) -> None: ...

    def begin(self, command: str, data: bytes) -> None: ...

    def feed(self, command: str, data: bytes) -> None: ...

    def stop(self, command: str) -> None: ...

    def terminate(self, command: str) -> None: ...

    def say(self, command: str, blob: bytes, *, over: bool = False) -> None:
        with self.lock:
            box = self.boxes.get(command)
            if box is None:
                return
            if blob:
                box.blobs.append(blob)
            box.over = box.over or over
            self.lock.notify_all()

    def receive(self, message: Message) -> str:
        """Wait for news; a repeated message gets the answer that it got before."""
        box = self.boxes.get(message.command)
        if box is None:
            raise Fault(NO_SHELL, "There is no such command.", "w:InvalidSelectors")
        with box.turn:
            if box.answered[0] == message.id:
                return box.answered[1]
            with self.lock:
                news = self.lock.wait_for(
                    lambda: box.blobs or box.over or self.closed, message.patience
                )
                if self.closed and not box.blobs:
                    raise Fault(ABORTED, "The I/O operation has been aborted.")
                if not news:
                    raise Fault(TIMED_OUT, "Nothing happened in the time given.", "w:TimedOut")
                blobs = [box.blobs.popleft() for _ in range(min(8, len(box.blobs)))]
            box.answered = (message.id, _received(message.command, blobs))
            return box.answered[1]

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.lock.notify_all()


def _received(command: str, blobs: Sequence[bytes]) -> str:
    which = f' CommandId="{command}"' if command else ""
    streams = (
        f'<rsp:Stream Name="stdout"{which}>{base64.b64encode(blob).decode()}</rsp:Stream>'
        for blob in blobs
    )
    return f"<rsp:ReceiveResponse>{''.join(streams)}</rsp:ReceiveResponse>"


class PythonShell(Shell):
    """PSRP by psrpcore, which is not thread safe: every touch of it is under the lock."""

    def __init__(self, endpoint: Endpoint, id: str, configuration: str) -> None:
        super().__init__(endpoint, id, configuration)
        self.pool = ServerRunspacePool()
        self.pipes: dict[str, tuple[ServerPipeline, threading.Event]] = {}
        self.functions: dict[str, Function] = {}
        if configuration != DEFAULT:
            for module in endpoint.modules.values():
                self.functions |= {name.casefold(): one for name, one in module.items()}

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
        """One pipeline, in its own thread, from its first command to its state."""
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
        function = self.functions.get(name.casefold())
        if function is None:
            raise unknown(name)
        self.endpoint.asked.append(asked)
        output = function(asked)
        values = [output] if isinstance(output, str) else output or []
        with self.lock:
            if pipe.state == PSInvocationState.Running:
                for value in values:
                    pipe.write_output(value)
                self._flush()

    def _bring(self, script: Asked) -> None:
        """The one script that is known here brings a module."""
        if self.configuration != DEFAULT:
            raise Broken("The syntax is not supported by this runspace.", "ScriptsNotAllowed")
        name, text = str(script["Name"]), str(script["Text"])
        self.endpoint.scripts.append(script.function)
        self.endpoint.brought.append((name, text))
        if name not in self.endpoint.modules:
            raise Broken(f"The module {name} is broken.", "ParseException")
        module = self.endpoint.modules[name]
        self.functions |= {key.casefold(): one for key, one in module.items()}


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


# --- WSMan ------------------------------------------------------------------------------------


class Endpoint:
    """Shells and what may be done with them.

    ``asked`` holds every call of a function, ``brought`` every module (name, text), ``heard``
    every message, ``shells`` those that are open, ``opened`` how many ever were.
    """

    def __init__(
        self,
        modules: Mapping[str, Mapping[str, Function]],
        *,
        accounts: Mapping[str, str] | None = None,
        configurations: Sequence[str] = (DEFAULT,),
        shell: Callable[[Endpoint, str, str], Shell] = PythonShell,
    ) -> None:
        self.modules, self.configurations, self.make_shell = modules, configurations, shell
        self.accounts = dict(accounts or {"ferry": "secret"})
        self.shells: dict[str, Shell] = {}
        self.opened = self.most = 0
        self.asked: list[Asked] = []
        self.brought: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.heard: list[Message] = []
        self.refused_logons = 0
        self.on: Callable[[Message], Reaction | None] = lambda message: None
        self._lock = threading.Lock()

    def kill_shells(self) -> None:
        """As if their process had died: what waits is aborted, what comes later finds nothing."""
        with self._lock:
            gone, self.shells = list(self.shells.values()), {}
        for shell in gone:
            shell.close()

    def answer(self, raw: bytes) -> tuple[int, str, bool]:
        """HTTP status, text, and whether the connection is cut instead."""
        message = Message.parse(raw)
        self.heard.append(message)
        try:
            reaction = self.on(message) or Reaction()
            if reaction.cut == "before":
                return 0, "", True
            if reaction.status:
                return reaction.status, reaction.text, False
            body = getattr(self, f"_{message.action.lower()}")(message)
            return 200, _enveloped(message, body), reaction.cut == "after"
        except Fault as fault:
            return 500, _enveloped(message, fault.body()), False

    def _shell(self, message: Message) -> Shell:
        with self._lock:
            shell = self.shells.get(message.shell)
        if shell is None:
            raise Fault(NO_SHELL, "The shell was not found on the server.", "w:InvalidSelectors")
        return shell

    def _create(self, message: Message) -> str:
        configuration = message.text("s:Header/w:ResourceURI").rsplit("/", 1)[-1]
        if configuration not in self.configurations:
            text = f"Cannot find the {configuration} session configuration."
            raise Fault(2150859113, text, "w:InvalidResourceURI")
        made = message.envelope.find("s:Body/rsp:Shell", NAMES)
        assert made is not None
        shell = self.make_shell(self, made.get("ShellId", "").upper(), configuration)
        shell.open(base64.b64decode(made.findtext("pwsh:creationXml", "", NAMES)))
        with self._lock:
            self.shells[shell.id] = shell
            self.opened += 1
            self.most = max(self.most, len(self.shells))
        selector = f'<w:SelectorSet><w:Selector Name="ShellId">{shell.id}</w:Selector>'
        return (
            f"<x:ResourceCreated><a:ReferenceParameters>{selector}</w:SelectorSet>"
            f"</a:ReferenceParameters></x:ResourceCreated>{_described(shell)}"
        )

    def _delete(self, message: Message) -> str:
        shell = self._shell(message)
        with self._lock:
            self.shells.pop(shell.id, None)
        shell.close()
        return ""

    def _get(self, message: Message) -> str:
        return _described(self._shell(message))

    def _command(self, message: Message) -> str:
        data = base64.b64decode(message.text("s:Body/rsp:CommandLine/rsp:Arguments"))
        self._shell(message).begin(message.command, data)
        said = f"<rsp:CommandId>{message.command}</rsp:CommandId>"
        return f"<rsp:CommandResponse>{said}</rsp:CommandResponse>"

    def _send(self, message: Message) -> str:
        data = base64.b64decode(message.text("s:Body/rsp:Send/rsp:Stream"))
        self._shell(message).feed(message.command, data)
        return "<rsp:SendResponse/>"

    def _receive(self, message: Message) -> str:
        return self._shell(message).receive(message)

    def _signal(self, message: Message) -> str:
        shell = self._shell(message)
        if message.text("s:Body/rsp:Signal/rsp:Code").endswith("/Terminate"):
            shell.terminate(message.command)
        else:
            shell.stop(message.command)
        return "<rsp:SignalResponse/>"


def _described(shell: Shell) -> str:
    return (
        f"<rsp:Shell><rsp:ShellId>{shell.id}</rsp:ShellId><rsp:State>{shell.state}</rsp:State>"
        "</rsp:Shell>"
    )


def _enveloped(message: Message, body: str) -> str:
    spaces = " ".join(f'xmlns:{key}="{space}"' for key, space in NAMES.items())
    head = f"<s:Header><a:RelatesTo>{message.id}</a:RelatesTo></s:Header>"
    return f"<s:Envelope {spaces}>{head}<s:Body>{body}</s:Body></s:Envelope>"


# --- HTTP -------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        endpoint = self.server.endpoint
        if not self._is_known():
            endpoint.refused_logons += 1
            self._reply(401, "", ("WWW-Authenticate", 'Basic realm="WSMAN"'))
            return
        status, text, cut = endpoint.answer(raw)
        if cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._reply(status, text)

    def _is_known(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return False
        name, _, password = base64.b64decode(token).decode().partition(":")
        return self.server.endpoint.accounts.get(name) == password

    def _reply(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        data = text.encode()
        try:
            self.send_response(status)
            for name, value in (("Content-Type", "application/soap+xml;charset=UTF-8"), *headers):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:  # the client did not wait; a Receive keeps its answer
            self.close_connection = True


class Server(ThreadingHTTPServer):
    """HTTP in front of one endpoint, on a free port of loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = endpoint
        self.port = int(self.server_address[1])

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.kill_shells()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""
