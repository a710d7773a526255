"""One call over PSRP: a named function with parameters, answered by one JSON text.

Guarantees to callers, and reasons why this is not left to pypsrp:

1. Values are sent as parameters of a named function. They never become part of a script text.
2. Every call has a deadline, from the first byte to the last. pypsrp has none: it waits minutes
   for a hung server, and forever for a long command or an answer that trickles.
3. A Receive whose answer was lost is sent again with the same message id; the server repeats its
   answer. Nothing else is sent twice, except messages that the server reports as unreadable.
4. In pypsrp a failed pipeline raises nothing, and a pipeline with errors may end as completed.
   Both the state and the error stream are checked.
5. Every pipeline is closed; the thousandth open one would end the session.
6. Errors are those of ``engine.errors``, without pypsrp's own, whose frames hold passwords.

A :class:`Session` is one connection with one runspace, for one thread at a time: neither pypsrp's
pool nor its encrypted connection can be shared.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr
from pypsrp.complex_objects import PSInvocationState
from pypsrp.exceptions import AuthenticationError, WinRMTransportError, WSManFaultError
from pypsrp.powershell import PowerShell, RunspacePool
from pypsrp.wsman import WSMan

from engine.clock import Clock
from engine.errors import ContractError, VmmError, VmmRefused, VmmUnavailable
from engine.vmm.answers import data_of
from engine.vmm.sockets import OpenSocket

# It logs every failure with a traceback, and can log every message. Our errors are enough.
logging.getLogger("pypsrp").setLevel(logging.CRITICAL)

Value = str | int | Sequence[str] | None
Parameters = Mapping[str, Value]

CONNECT, ANSWER, POLL, CLOSING = 10.0, 30.0, 15, 3.0
"""Seconds: to connect; to answer one message; for which one Receive waits for output; to clean
up after a failed call."""
PAUSES = (0.0, 0.2, 1.0)
"""Seconds before each retry of a message whose answer was lost."""
SHELL_LIVES = 900
"""Seconds after which a server drops an unused shell: VMFerry may have been killed."""

_SHELL_GONE = 2150858843
_WRONG_VERSION = frozenset({"CommandNotFoundException", "NamedParameterNotFound"})
_WRONG_VERSION |= {"MissingMandatoryParameter", "AmbiguousParameterSet", "AmbiguousParameter"}
_WRONG_VALUE = frozenset({"ParameterArgumentValidationError"})
_WRONG_VALUE |= {"ParameterArgumentTransformationError"}
# The module is a parameter, too: this script is the same for every module.
_IMPORT = """param([string] $Name, [string] $Text)
$ErrorActionPreference = 'Stop'
New-Module -Name $Name -ScriptBlock ([scriptblock]::Create($Text)) | Import-Module -Global"""


class Unreachable(VmmUnavailable):
    """No proper answer from the server. ``happened`` is ``False`` if no call can have reached
    it."""

    def __init__(self, text: str, *, code: str = "", asked: bool = True) -> None:
        super().__init__(text, code=code)
        self.happened = None if asked else False


class ShellGone(Unreachable):
    """The session ended before the call began: making the call in a new session repeats nothing."""


class AccountRefused(Unreachable):
    """The server rejected the account or its password. Further attempts can lock the account."""

    may_pass = False


class Deadline:
    """Time limit of an operation."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._end = clock, clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; 0 or less once the deadline has passed."""
        return self._end - self._clock.monotonic()


@dataclass(frozen=True)
class Target:
    """A server and how to log on to it.

    ``secret`` returns the password, which is not stored here. ``configuration`` names an endpoint
    where our functions are installed; without one, ``module`` (name, text) is sent to the server.
    """

    name: str
    address: str
    port: int
    ssl: bool = False
    auth: str = "negotiate"
    user: str = ""
    secret: Callable[[], SecretStr] = field(default=lambda: SecretStr(""), repr=False)
    configuration: str | None = None
    module: tuple[str, str] | None = field(default=None, repr=False)

    def refuse_to_shout(self) -> None:
        """Refuse Basic without TLS, which exposes the password to the network. Raises
        ``Unreachable``."""
        if self.auth != "basic" or self.ssl or _is_here(self.address):
            return
        raise Unreachable(
            f"{self.name} is not contacted: auth = basic without ssl = true would send the "
            "password unencrypted",
            asked=False,
        )


def _is_here(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.casefold() == "localhost"


class Session:
    """One runspace on one server with our functions in it, for one thread at a time.

    ``broken``: it cannot be used again. ``used`` is the time of its last answer, in monotonic
    seconds.
    """

    def __init__(self, target: Target, clock: Clock, deadline: Deadline) -> None:
        """Open the session. Raises ``Unreachable``, ``AccountRefused``, ``ContractError``."""
        self.target, self._clock = target, clock
        self.broken = self._refused = False
        target.refuse_to_shout()
        password = target.secret()
        with self._translated(password, asked=False):
            self._wsman = _wsman(target, password)
            self._link = _Link(self._wsman, clock, deadline)
            name = target.configuration or "Microsoft.PowerShell"
            self._pool = RunspacePool(
                self._wsman, configuration_name=name, idle_timeout=SHELL_LIVES
            )
        self._password = password
        try:
            with self._translated(password, asked=False):
                self._pool.open()
            if target.configuration is None and target.module is not None:
                self._bring(target.module, deadline)
        except BaseException:
            self.close()
            raise
        self.used = clock.monotonic()

    def __repr__(self) -> str:
        return f"Session({self.target.name})"

    def ask(self, function: str, parameters: Parameters, deadline: Deadline) -> object:
        """Call a function and return its ``data``. Parameters that are ``None`` are omitted."""
        shell = PowerShell(self._pool).add_cmdlet(function)
        for name, value in parameters.items():
            if value is not None:
                shell.add_parameter(name, value if isinstance(value, str | int) else list(value))
        self._run(shell, function, deadline)
        self.used = self._clock.monotonic()
        where = f"{function} on {self.target.name}"
        if shell.state != PSInvocationState.COMPLETED:
            raise _failure(where, shell.streams.error)
        data = data_of(where, shell.output)
        if shell.streams.error:
            said = shell.streams.error[0]
            raise VmmUnavailable(f"{where} answered, but also reported an error: {said}")
        return data

    def is_alive(self) -> bool:
        """Tell whether the server still knows this session, over its own connection."""
        self._link.deadline = Deadline(self._clock, CLOSING)
        try:
            self.broken = not self._pool.is_alive(timeout=int(CLOSING))
        except Exception:  # any error means that the session does not answer
            self.broken = True
        return not self.broken

    def close(self) -> None:
        """Close the runspace. Errors are ignored."""
        self._link.deadline = Deadline(self._clock, CLOSING)
        if self.broken:
            self._link.reset()
        self.broken = True
        with contextlib.suppress(Exception):
            if not self._refused:  # another logon would count towards locking the account
                self._pool.shell.close()
        with contextlib.suppress(Exception):
            self._wsman.close()
        self._link.close()

    def _bring(self, module: tuple[str, str], deadline: Deadline) -> None:
        """Load our functions into this runspace. They end with it."""
        shell = PowerShell(self._pool).add_script(_IMPORT)
        shell.add_parameter("Name", module[0]).add_parameter("Text", module[1])
        self._run(shell, module[0], deadline, asked=False)
        if shell.state != PSInvocationState.COMPLETED or shell.streams.error:
            said = shell.streams.error[0] if shell.streams.error else "no reason given"
            raise ContractError(
                f"{self.target.name} rejected the module {module[0]}: {said}. If the module is "
                "installed there as an endpoint, set its name in [vmm] configuration"
            )

    def _run(self, shell: PowerShell, what: str, deadline: Deadline, *, asked: bool = True) -> None:
        """Run a pipeline until it ends or the deadline passes, and close it."""
        self._link.deadline = deadline
        try:
            with self._translated(self._password, asked=asked, beginning=True):
                shell.begin_invoke()
            with self._translated(self._password, asked=asked):
                while shell.state == PSInvocationState.RUNNING and (left := deadline.left()) > 0:
                    shell.poll_invoke(timeout=max(1, min(POLL, math.ceil(left))))
            if shell.state == PSInvocationState.RUNNING:
                raise VmmUnavailable(f"{what} on {self.target.name} did not end in time")
        finally:
            self._tidy(shell)

    def _tidy(self, shell: PowerShell) -> None:
        """Stop and close a pipeline. If that fails, the session is not used again."""
        if self.broken:
            return
        self._link.deadline = Deadline(self._clock, CLOSING)
        try:
            if shell.state == PSInvocationState.RUNNING:
                shell.stop()
            shell.close()
        except Exception:  # the call already has its answer or its error
            self.broken = True

    @contextlib.contextmanager
    def _translated(
        self, password: SecretStr, *, asked: bool = True, beginning: bool = False
    ) -> Iterator[None]:
        """Translate errors of pypsrp, and of everything below it, to ours.

        Below it are requests, urllib3, spnego and an XML parser, whose errors are no closed list.
        So everything is caught, here and nowhere else.
        """
        try:
            yield
        except Exception as error:
            self.broken = True
            self._refused = isinstance(error, AuthenticationError)
            raise _in_our_words(self.target.name, error, password, asked, beginning) from None


def _wsman(target: Target, password: SecretStr) -> WSMan:
    plain = target.auth == "basic" and not target.ssl
    return WSMan(
        target.address,
        port=target.port,
        username=target.user or None,
        password=password.get_secret_value() or None,
        ssl=target.ssl,
        auth=target.auth,
        encryption="never" if plain else "auto",
        no_proxy=True,  # a proxy would answer for hosts that do not exist
        connection_timeout=int(CONNECT),
        read_timeout=int(ANSWER),
    )


class _Link:
    """Wrapper of pypsrp's transport: a deadline for every message, and retries of lost answers."""

    def __init__(self, wsman: WSMan, clock: Clock, deadline: Deadline) -> None:
        self._transport, self._clock, self.deadline = wsman.transport, clock, deadline
        self._send, build = wsman.transport.send, wsman.transport._build_session
        self._socket = OpenSocket()
        # pypsrp has no hook for either.
        wsman.transport.send = self.send  # type: ignore[method-assign]
        wsman.transport._build_session = lambda: self._socket.watch(build())  # type: ignore[method-assign]

    def send(
        self,
        message: bytes,
        *,
        retries_on_read_timeout: int = 0,
        timeout: int | float | tuple[int | float, int | float] | None = None,
    ) -> bytes:
        """Send one message and return its answer. Only a Receive comes with retries."""
        pauses = iter(PAUSES)
        wanted = timeout if isinstance(timeout, int | float) else ANSWER
        while True:
            left = self.deadline.left()
            if left <= 0:
                raise TimeoutError
            limit = min(wanted, left + 1)  # the server's own "nothing yet" should come first
            try:
                with self._socket.limit(left + 1):
                    answer = self._send(message, timeout=(min(CONNECT, limit), limit))
                if self._socket.was_shut:  # after the last byte
                    self.reset()
                return answer
            except (OSError, WinRMTransportError) as error:
                if self._socket.was_shut:
                    raise TimeoutError from error
                if not (_is_unread(error) or (retries_on_read_timeout and _is_lost(error))):
                    raise
                pause = next(pauses, None)
                if pause is None:
                    raise
                self.reset()
            self._clock.wait(threading.Event(), min(pause, max(0.0, self.deadline.left())))

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def reset(self) -> None:
        """Drop the connection and its encryption. The next message logs on again."""
        self._socket.close()
        with contextlib.suppress(Exception):
            self._transport.close()
        self._transport.session = None
        self._transport.encryption = None


def _is_unread(error: Exception) -> bool:
    """An empty 400: encrypted for a lost connection, so the server could not read it."""
    return isinstance(error, WinRMTransportError) and error.code == 400 and not error.response_text


def _is_lost(error: Exception) -> bool:
    """The answer was lost; the server may still have it."""
    if isinstance(error, WinRMTransportError):
        return error.code == 503 and not error.response_text
    return True


# --- translation of errors ----------------------------------------------------------------------


def _in_our_words(
    name: str, error: Exception, password: SecretStr, asked: bool, beginning: bool
) -> VmmError:
    """The error of ``engine.errors`` for one of the library's."""
    match error:
        case VmmError():
            return error
        case AuthenticationError():
            return AccountRefused(
                f"{name} rejected the configured account", asked=asked and not beginning
            )
        case WSManFaultError() if error.code == _SHELL_GONE and beginning:
            return ShellGone(f"{name} ended the session", code=str(error.code), asked=False)
        case WSManFaultError():
            why = " ".join(str(error.reason or "no reason given").split())
            return Unreachable(f"{name} reported a fault: {why}", code=str(error.code), asked=asked)
        case WinRMTransportError():
            return Unreachable(f"{name} answered with HTTP {error.code}", asked=asked)
        case OSError():
            return Unreachable(f"{name} cannot be reached: {_cause(error)}", asked=asked)
        case UnicodeError():  # its own message would show a part of the password
            return Unreachable(f"{name}: auth = basic cannot send that password", asked=asked)
    text = f"{type(error).__name__}: {error}"
    if password.get_secret_value():
        text = text.replace(password.get_secret_value(), "***")
    return Unreachable(f"Communication with {name} failed: {text}", asked=asked)


def _cause(error: BaseException) -> str:
    """The system's own reason, below the wrappers of the libraries."""
    link: BaseException | None = error
    while link is not None:
        match link:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted ({link.verify_message})"
            case ssl.SSLError():
                return "it does not speak TLS on that port"
            case socket.gaierror():
                return "there is no such address"
            case ConnectionRefusedError():
                return "it refused the connection"
            case TimeoutError():
                return "no answer in time"
        link = link.__cause__ or link.__context__
    return "the connection was lost"


def _failure(where: str, records: Sequence[object]) -> VmmError:
    """Error of a failed pipeline. Our functions catch every error of the cmdlets, so this one is
    PowerShell's own."""
    if not records:
        return VmmUnavailable(f"{where} failed without a reason")
    said = " ".join(str(records[-1]).split())
    kind = str(getattr(records[-1], "fq_error", "") or "").split(",")[0]
    if kind in _WRONG_VERSION:
        return ContractError(f"{where} has another version: {said} Install the same version.")
    if kind in _WRONG_VALUE:
        return VmmRefused(f"{where} rejected a value: {said}", code=kind)
    return VmmUnavailable(f"{where} failed: {said}", code=kind)
