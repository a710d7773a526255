"""HTTP server of the stand-in on 127.0.0.1, in its own thread: Web API, response URLs, sockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Self

from aiohttp import web

from bot.standin.catalogue import EVERY_SCOPE, Limits
from bot.standin.methods import Methods
from bot.standin.transport.sockets import Sockets
from bot.standin.values import Json, Refusal
from bot.standin.workspace import OPEN, RESPONSE, Workspace
from engine.clock import Clock, SystemClock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SORRY = "<!DOCTYPE html><html><body><h1>Server error</h1><p>Something went wrong.</p></body></html>"


class Server(Sockets):
    """The server. ``with`` starts and stops it."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        ack_within: float = 3.0,
        trigger_life: float = 3.0,
        patience: float = 10.0,
        limits: bool = False,
        scopes: Iterable[str] = EVERY_SCOPE,
    ) -> None:
        """Create a stand-in with Slack's own time limits.

        ``ack_within`` and ``trigger_life`` are Slack's limits in seconds; ``patience`` is the
        timeout of ``wait_for``. With ``limits`` every method keeps its published rate limit, on the
        clock. ``scopes`` are the scopes of the app.
        """
        workspace = Workspace(clock or SystemClock(), scopes)
        super().__init__(workspace, ack_within, trigger_life, patience)
        self.bot_token, self.app_token = workspace.bot_token, workspace.app_token
        Methods(workspace)
        workspace.methods[OPEN] = self._open
        workspace.limits = Limits() if limits else None
        self._thread = threading.Thread(target=self._serve, name="slack-stand-in", daemon=True)
        self._listening: Future[int] = Future()
        self._halt = asyncio.Event()
        self._port = 0
        self._down = False

    # --- start and stop -------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        self._port = self._listening.result(self.patience)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close all sockets and the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._halt.set)
            self._thread.join(self.patience)

    @property
    def base_url(self) -> str:
        """The ``base_url`` for a WebClient."""
        return f"http://127.0.0.1:{self._port}/api/"

    # --- HTTP -----------------------------------------------------------------------------

    def _open(self, _: Json) -> dict[str, object]:
        """Return an address for one socket, valid once."""
        with self._changed:
            ticket = f"ticket-{next(self._numbers)}"
            self._tickets.add(ticket)
        return {"ok": True, "url": f"ws://127.0.0.1:{self._port}/link?ticket={ticket}"}

    def _serve(self) -> None:
        try:
            asyncio.run(self._listen())
        except BaseException as error:
            if not self._listening.done():
                self._listening.set_exception(error)
            raise

    async def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(middlewares=[self._outage])
        app.router.add_post("/api/{method}", self._api)
        app.router.add_get("/api/{method}", self._api)
        app.router.add_post("/response/{token}", self._respond)
        app.router.add_get("/link", self._link)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._listening.set_result(int(runner.addresses[0][1]))
        await self._halt.wait()
        for socket in tuple(self._sockets):
            await socket.close()
        await runner.cleanup()

    @web.middleware
    async def _outage(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._down:
            return await handler(request)
        method = request.match_info.get("method") or request.path.split("/")[1]
        method = RESPONSE if method == "response" else method
        self.workspace.record(method, await arguments(request), {}, 503)
        return web.Response(status=503, text=SORRY, content_type="text/html")

    async def _api(self, request: web.Request) -> web.Response:
        method, args = request.match_info["method"], await arguments(request)
        token = str(args.pop("token", ""))
        token = token or request.headers.get("Authorization", "").removeprefix("Bearer ")
        answer = self.workspace.answer(method, args, token)
        if answer.lost:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        headers = {"X-OAuth-Scopes": self.workspace.scopes} if answer.body["ok"] else {}
        if answer.status == 429:
            headers["Retry-After"] = str(answer.retry_after)
        return web.json_response(answer.body, status=answer.status, headers=headers)

    async def _respond(self, request: web.Request) -> web.Response:
        args = await arguments(request)
        try:
            self.workspace.respond(request.match_info["token"], args)
        except Refusal as no:
            self.workspace.record(RESPONSE, args, no.body, no.status)
            wait = {"Retry-After": str(no.retry_after)} if no.status == 429 else {}
            return web.Response(status=no.status, text=no.code, headers=wait)
        return web.Response(text="ok")


IN_JSON = ("blocks", "metadata", "view")


async def arguments(request: web.Request) -> dict[str, object]:
    """Arguments of a request, from the query, from JSON or from a form. Lists and objects may be
    JSON text; text that cannot be parsed stays text."""
    given: Mapping[str, object]
    if request.method == "GET":
        given = request.query
    elif request.content_type == "application/json":
        body = _parsed(await request.text())
        given = body if isinstance(body, dict) else {}  # Slack then names the missing arguments
    else:
        given = await request.post()
    return {name: _parsed(value) if name in IN_JSON else value for name, value in given.items()}


def _parsed(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
