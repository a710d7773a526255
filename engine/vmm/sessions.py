"""Sessions with servers: one per call at a time, a limited number per server, closed at the end.

A call passes three checks, in this order:

* **The account's breaker.** After two servers in a row rejected the account, no server is asked
  for a while: every attempt counts towards locking the account, on whichever server.
* **The server's breaker.** After three calls without an answer the server is not asked for a
  minute. Then one call tries, and all others fail at once until it succeeds. A rejected account
  opens this breaker at the first time, and for longer.
* **The cap.** Each session serves one call at a time. If all are in use, a call waits for one
  until its deadline. One session with the VMM server is kept for reserved calls, which therefore
  never wait for other calls, unless there is only one session.

A session that was idle is checked before use: servers drop idle connections after two minutes. If a
session turns out to be gone before the call began, it is replaced and the call is made again. No
other call is repeated.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import SecretStr

from engine.clock import Clock, SystemClock
from engine.errors import Refused, VmmError, VmmUnavailable
from engine.model import same_host
from engine.settings import HostAddress, VmmSettings
from engine.vmm.powershell import module_text
from engine.vmm.psrp import (
    AccountRefused,
    Deadline,
    Parameters,
    Session,
    ShellGone,
    Target,
    Unreachable,
)

VMM_MODULE, HOST_MODULE = "VMFerry.Vmm", "VMFerry.Host"
PER_HOST = 2
"""Sessions with one Hyper-V host at a time. Further calls wait for one of them."""
STALE = 45.0
"""Seconds of idle time after which a session is checked before use."""
FAILURES, PAUSE = 3, 60.0
"""Calls in a row without an answer that open a server's breaker, and its pause in seconds."""
OPENING = 4
"""Sessions that are opened at the same time: as often a wrong password is offered at once."""
REFUSALS, LOCKOUT = 2, 900.0
"""Rejections in a row that open the account's breaker, and its pause in seconds."""


class Breaker:
    """Circuit breaker: blocks calls after too many failures in a row, then, after a pause, allows
    one at a time."""

    def __init__(self, clock: Clock, failures: int, pause: float) -> None:
        self._clock, self._failures, self._pause = clock, failures, pause
        self._lock = threading.Lock()
        self._in_a_row, self._until = 0, 0.0
        self._why = ""
        self._open = self._trying = False

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let one call pass. Raises ``Unreachable`` at once while the breaker is open."""
        with self._lock:
            trial = self._open
            if trial:
                left = self._until - self._clock.monotonic()
                if left > 0 or self._trying:
                    when = f"retry in {max(1, round(left))} s" if left > 0 else "one call is trying"
                    raise Unreachable(f"{self._why}; {when}", asked=False)
                self._trying = True
        try:
            yield
        finally:
            if trial:
                with self._lock:
                    self._trying = False

    def check(self) -> None:
        """Raise ``Unreachable`` if the breaker has opened since this call passed."""
        with self._lock:
            if self._open and not self._trying:
                raise Unreachable(self._why, asked=False)

    def passed(self) -> None:
        """Close the breaker after an answer of any kind."""
        with self._lock:
            self._in_a_row, self._open = 0, False

    def failed(self, why: str, *, pause: float | None = None) -> None:
        """Count a failure. With ``pause``, open the breaker at once, for that many seconds."""
        with self._lock:
            self._in_a_row += 1
            if pause is not None or self._open or self._in_a_row >= self._failures:
                self._open, self._why = True, why
                self._until = self._clock.monotonic() + (pause or self._pause)


class _Server:
    """One server: its target, its breaker and its idle sessions."""

    def __init__(self, target: Target, cap: int, kept: int, clock: Clock) -> None:
        self.target, self.cap, self.kept = target, cap, kept
        self.breaker = Breaker(clock, FAILURES, PAUSE)
        self.doubted = 0.0
        self._free = threading.Condition()
        self._idle: list[Session] = []
        self._out = 0
        self._closed = False

    def take(self, deadline: Deadline, reserved: bool) -> Session | None:
        """Take an idle session, or ``None`` for the right to open one. Give either back."""
        cap = self.cap if reserved else max(1, self.cap - self.kept)
        with self._free:
            while self._out >= cap:
                left = deadline.left()
                if left <= 0:
                    raise _not_asked(f"All {cap} sessions with {self.target.name} are busy")
                self._free.wait(left)
            if self._closed:
                raise _not_asked(f"The sessions with {self.target.name} were closed")
            self._out += 1
            return self._idle.pop() if self._idle else None

    def give(self, session: Session | None) -> None:
        """Return a session to the idle ones, or close it if it cannot be used again."""
        with self._free:
            self._out -= 1
            keep = session is not None and not session.broken and not self._closed
            if keep and session is not None:
                self._idle.append(session)
            self._free.notify_all()  # not each waiting call may take it
        if session is not None and not keep:
            session.close()

    def close(self) -> None:
        """Close idle sessions now, and sessions in use when they are returned."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()


class Sessions:
    """All sessions of one engine: with the VMM server and directly with the hosts."""

    def __init__(
        self,
        settings: VmmSettings,
        hosts: Mapping[str, HostAddress] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings, self.hosts = settings, hosts or {}
        self.clock = clock or SystemClock()  # deadlines are real time, in a simulated world too
        self._account = Breaker(self.clock, REFUSALS, LOCKOUT)
        self._opening = threading.Semaphore(OPENING)
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}

    def ask_vmm(
        self, function: str, parameters: Parameters, seconds: float, *, reserved: bool = False
    ) -> object:
        """Call a function on the VMM server within so many seconds. ``reserved``: the call may use
        the session that is kept for such calls. Raises ``VmmError``."""
        server = self._server(self.settings.server, VMM_MODULE)
        return self._ask(server, function, parameters, seconds, reserved)

    def ask_host(self, host: str, function: str, parameters: Parameters, seconds: float) -> object:
        """Call a function on a Hyper-V host within so many seconds. Raises ``VmmError``."""
        return self._ask(self._server(host, HOST_MODULE), function, parameters, seconds, False)

    def close(self) -> None:
        """Close every session. Later calls fail."""
        with self._lock:
            servers = list(self._servers.values())
        for server in servers:
            server.close()

    def _server(self, name: str, module: str) -> _Server:
        key = f"{module} {name.casefold()}"
        with self._lock:
            if key not in self._servers:
                is_vmm = module == VMM_MODULE
                target = self._target(name, module, is_vmm)
                cap = self.settings.sessions if is_vmm else min(PER_HOST, self.settings.sessions)
                self._servers[key] = _Server(target, cap, int(is_vmm), self.clock)
            return self._servers[key]

    def _target(self, name: str, module: str, is_vmm: bool) -> Target:
        vmm = self.settings
        named = next((one for host, one in self.hosts.items() if same_host(host, name)), None)
        address = (vmm.address if is_vmm else named and named.address) or name
        port = (not is_vmm and named and named.port) or vmm.transport_port()
        return Target(
            name=name,
            address=address,
            port=port,
            ssl=vmm.ssl,
            auth=vmm.auth,
            user=vmm.user,
            secret=self._secret,
            configuration=vmm.configuration,
            module=None if vmm.configuration else (module, module_text(module)),
        )

    def _secret(self) -> SecretStr:
        try:
            return self.settings.secret()
        except Refused as error:
            raise _not_asked(str(error)) from None

    def _ask(
        self,
        server: _Server,
        function: str,
        parameters: Parameters,
        seconds: float,
        reserved: bool,
    ) -> object:
        deadline = Deadline(self.clock, seconds)
        with self._account.guard(), server.breaker.guard():
            try:
                try:
                    answer = self._once(server, function, parameters, deadline, reserved)
                except ShellGone:  # other idle sessions may be gone, too
                    server.doubted = self.clock.monotonic()
                    answer = self._once(server, function, parameters, deadline, reserved)
            except VmmError as error:
                self._judge(server, error)
                raise
            self._passed(server)
            return answer

    def _once(
        self,
        server: _Server,
        function: str,
        parameters: Parameters,
        deadline: Deadline,
        reserved: bool,
    ) -> object:
        session = server.take(deadline, reserved)
        try:
            if session is not None and self._is_gone(server, session):
                session.close()
                session = None
            if session is None:
                session = self._open(server, deadline)
            try:
                return session.ask(function, parameters, deadline)
            except AccountRefused as error:
                self._refused(server, error)
                raise
        finally:
            server.give(session)

    def _open(self, server: _Server, deadline: Deadline) -> Session:
        """Log on, unless the account was rejected while this call waited for its turn."""
        if not self._opening.acquire(timeout=max(0.0, deadline.left())):
            raise _not_asked(f"No session with {server.target.name} could be opened in time")
        try:
            self._account.check()
            return Session(server.target, self.clock, deadline)
        except AccountRefused as error:
            self._refused(server, error)  # before the next one takes its turn
            raise
        finally:
            self._opening.release()

    def _refused(self, server: _Server, error: AccountRefused) -> None:
        server.breaker.failed(str(error), pause=LOCKOUT)
        self._account.failed(f"{REFUSALS} servers in a row rejected the configured account")

    def _is_gone(self, server: _Server, session: Session) -> bool:
        idle = self.clock.monotonic() - session.used
        doubtful = idle > STALE or session.used <= server.doubted
        return doubtful and not session.is_alive()

    def _judge(self, server: _Server, error: VmmError) -> None:
        """Update both breakers after an error. An error that the server itself returned shows that
        both server and account work; an error that never reached the server shows nothing."""
        if isinstance(error, AccountRefused):
            return
        if isinstance(error, Unreachable):
            server.doubted = self.clock.monotonic()
            server.breaker.failed(str(error))
        elif not isinstance(error, VmmUnavailable):
            self._passed(server)

    def _passed(self, server: _Server) -> None:
        server.breaker.passed()
        self._account.passed()


def _not_asked(text: str) -> VmmUnavailable:
    error = VmmUnavailable(text)
    error.happened = False
    return error
