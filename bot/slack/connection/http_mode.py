"""HTTP mode: Slack's requests, verified by Bolt, for the same app as with sockets.

Bolt rejects requests that are not signed with our secret, or were signed more than five minutes
ago. TLS is left to a reverse proxy.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

from aiohttp import web
from slack_bolt import App, BoltRequest
from slack_bolt.adapter.aiohttp import to_aiohttp_response

from bot.slack.connection.background import Background
from bot.slack.setup.manifest import PATH
from engine.errors import Refused

DRAIN = 5.0
STAMP, SIGNATURE = "x-slack-request-timestamp", "x-slack-signature"
SECONDS = re.compile(r"[0-9]{1,12}")


class HttpMode(Background):
    """An HTTP server on the address ``listen`` and ``port``."""

    def __init__(self, app: App, listen: str, port: int) -> None:
        super().__init__(app, "slack-http")
        self._listen, self._port = listen, port
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start to listen. Raises ``Refused`` if the address is not available."""
        try:
            family = socket.AF_INET6 if ":" in self._listen else socket.AF_INET
            self._socket = socket.create_server((self._listen, self._port), family=family)
        except OSError as error:
            raise Refused(
                f"Cannot listen on {self._listen}:{self._port}: {error.strerror or error}.",
                what="slack.port",
                hint="Set another slack.port or slack.listen.",
            ) from None
        super().start()

    async def _live(self) -> None:
        server = web.Application()
        server.router.add_post(PATH, self._answer)
        runner = web.AppRunner(server, access_log=None, shutdown_timeout=DRAIN)
        await runner.setup()
        assert self._socket is not None
        try:
            await web.SockSite(runner, self._socket).start()
            self.connected.set()
            await self._halt.wait()
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if not _is_signed(request):
            return web.Response(status=401)
        text = (await request.read()).decode("utf-8", "replace")
        headers: dict[str, str | Sequence[str]] = dict(request.headers)
        try:
            asked = BoltRequest(body=text, headers=headers)
        except (ValueError, TypeError, AttributeError, LookupError):
            # Bolt parses before it verifies: not worth a line in the log.
            return web.Response(status=400)
        return await to_aiohttp_response(await self._dispatch(lambda: asked))


def _is_signed(request: web.Request) -> bool:
    """Tell whether these headers could be Slack's. Bolt would stumble over others, and the sender
    could fill our log with tracebacks."""
    stamp, signature = (request.headers.get(name, "") for name in (STAMP, SIGNATURE))
    return SECONDS.fullmatch(stamp) is not None and signature.isascii() and signature != ""
