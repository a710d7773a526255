"""A WSMan server on loopback: everything between pypsrp and the functions that answer.

Three independent layers::

    Server     HTTP on a free port, Basic accounts
    Endpoint   WSMan: envelopes, the table of shells, Receive, faults
    Shell      one shell: PSRP in, PSRP out; a subclass decides who speaks it

``Endpoint.on`` arranges all failures of the connection: it sees each message before it is
processed, and may raise a :class:`Fault`, wait, or return a :class:`Reaction`.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from xml.sax.saxutils import escape

DEFAULT = "Microsoft.PowerShell"
TRICKLE = 0.02  # seconds between two bytes of an answer that trickles
TIMED_OUT, NO_SHELL, ABORTED = 2150858793, 2150858843, 995

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
NAMES = {"s": SOAP, "a": WSA, "w": WSMAN, "x": TRANSFER, "rsp": SHELL}
NAMES["pwsh"] = "http://schemas.microsoft.com/powershell"


class Fault(Exception):
    """A SOAP fault. Code 0 omits the number, as WinRM does for some quotas."""

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
    """Replacement of an answer: the connection is cut before or after the message is processed, an
    HTTP status is returned, or the answer trickles, from its head or from its body on."""

    cut: Literal["", "before", "after"] = ""
    trickle: Literal["", "head", "body"] = ""
    status: int = 0
    text: str = ""


@dataclass(frozen=True)
class Message:
    """One envelope, as far as tests need it: action, shell and command."""

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


# --- shells -----------------------------------------------------------------------------------


class Outbox:
    """Output of one command, or of the shell itself, that nobody has received yet."""

    def __init__(self) -> None:
        self.blobs: deque[bytes] = deque()
        self.over = False
        self.turn = threading.Lock()
        self.answered: tuple[str, str] = ("", "")


class Shell:
    """One shell as WSMan sees it. A subclass receives PSRP and produces the output."""

    def __init__(self, id: str, configuration: str) -> None:
        self.id, self.configuration = id, configuration
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
        """Wait for output. A repeated message gets the same answer as before."""
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


# --- WSMan ------------------------------------------------------------------------------------


class Endpoint:
    """Shells and the operations on them.

    ``make_shell`` is called with the new shell's id and configuration. ``heard`` holds every
    message, ``shells`` the open shells, ``opened`` the number of shells so far, and ``most`` the
    largest number at the same time. ``hung_up``: a client ended an answer that trickled.
    """

    def __init__(
        self,
        make_shell: Callable[[str, str], Shell],
        *,
        accounts: Mapping[str, str],
        configurations: Sequence[str] = (DEFAULT,),
    ) -> None:
        self.make_shell, self.configurations = make_shell, configurations
        self.accounts = dict(accounts)
        self.shells: dict[str, Shell] = {}
        self.opened = self.most = 0
        self.heard: list[Message] = []
        self.refused_logons = 0
        self.on: Callable[[Message], Reaction | None] = lambda message: None
        self.hung_up, self.closing = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def kill_shells(self) -> None:
        """End all shells as if their processes had died: open requests are aborted."""
        with self._lock:
            gone, self.shells = list(self.shells.values()), {}
        for shell in gone:
            shell.close()

    def answer(self, raw: bytes) -> tuple[int, str, Reaction]:
        """HTTP status, text, and the reaction of a test to this message."""
        message = Message.parse(raw)
        self.heard.append(message)
        try:
            reaction = self.on(message) or Reaction()
            if reaction.cut == "before":
                return 0, "", reaction
            if reaction.status:
                return reaction.status, reaction.text, reaction
            body = getattr(self, f"_{message.action.lower()}")(message)
            return 200, _enveloped(message, body), reaction
        except Fault as fault:
            return 500, _enveloped(message, fault.body()), Reaction()

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
        shell = self.make_shell(made.get("ShellId", "").upper(), configuration)
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
        status, text, reaction = endpoint.answer(raw)
        if reaction.cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._reply(status, text, trickle=reaction.trickle)

    def _is_known(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return False
        name, _, password = base64.b64decode(token).decode().partition(":")
        return self.server.endpoint.accounts.get(name) == password

    def _reply(self, status: int, text: str, *headers: tuple[str, str], trickle: str = "") -> None:
        data = text.encode()
        try:
            self.send_response(status)
            for name, value in (("Content-Type", "application/soap+xml;charset=UTF-8"), *headers):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            if trickle == "head":
                self._trickle(b"X-Slow: " + b"x" * 2_000 + b"\r\n")
            self.end_headers()
            self._trickle(data) if trickle == "body" else self.wfile.write(data)
        except ConnectionError:  # the client did not wait; a Receive keeps its answer
            self.close_connection = True

    def _trickle(self, data: bytes) -> None:
        """Send a byte at a time until the client hangs up."""
        self.flush_headers()
        endpoint = self.server.endpoint
        for at in range(len(data)):
            try:
                self.wfile.write(data[at : at + 1])
            except ConnectionError:
                endpoint.hung_up.set()
                raise
            endpoint.closing.wait(TRICKLE)


class Server(ThreadingHTTPServer):
    """HTTP in front of one endpoint, on a free port of loopback."""

    daemon_threads = False  # the end waits for them
    request_queue_size = 128

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = endpoint
        self.port = int(self.server_address[1])
        self._open: set[socket.socket] = set()
        self._serving = threading.Thread(target=self.serve_forever, args=[0.005], daemon=True)

    def __enter__(self) -> Server:
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.closing.set()
        self.endpoint.kill_shells()
        self.shutdown()
        self._serving.join()
        for connection in tuple(self._open):  # a client that keeps its own alive
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: socket.socket, client_address: object) -> None:
        """Remember the connection, to close it at the end."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        """Close the connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up."""
