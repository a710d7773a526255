"""The Bolt app, which routes Slack's payloads to the listeners."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from slack_bolt import App, BoltRequest, BoltResponse
from slack_bolt.authorization import AuthorizeResult
from slack_sdk import WebClient

from bot.slack.inbox.listeners import Listeners
from bot.slack.setup.manifest import EVENTS

log = logging.getLogger(__name__)

ANYTHING = re.compile(".*", re.DOTALL)


def build_app(
    listeners: Listeners, client: WebClient, bot_token: str, command: str, signing_secret: str = ""
) -> App:
    """Build an app that acks in the thread that received the payload, without a call to Slack.

    ``process_before_response``: the ack leaves as soon as the listener returns, not at Bolt's next
    10 ms poll. ``authorize`` uses the known token; without it Bolt would call auth.test before the
    first ack. ``client`` carries no token, since Bolt would only warn about it. ``signing_secret``
    is for HTTP mode; envelopes of a socket carry no signature.
    """

    def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=enterprise_id, team_id=team_id, bot_token=bot_token)

    app = App(
        name="vmferry",
        client=client,
        authorize=authorize,
        process_before_response=True,
        signing_secret=signing_secret,
        request_verification_enabled=bool(signing_secret),
    )
    app.error(_last_resort)
    app.command(command)(listeners.command)
    app.action(ANYTHING)(listeners.click)  # buttons of every version get an answer
    app.view(ANYTHING)(listeners.submitted)
    app.options(ANYTHING)(listeners.offered)
    app.shortcut(ANYTHING)(listeners.shortcut)
    for event in EVENTS:
        app.event(event)(listeners.mention)
    return app


def dispatch(app: App, request: Callable[[], BoltRequest]) -> BoltResponse:
    """Read a request and run the app. Never raises. Bolt itself raises on some payloads (no JSON, a
    click without an action), even from its own error handling; the connection must survive that."""
    try:
        return app.dispatch(request())
    except Exception as error:
        return _last_resort(error)


def _last_resort(error: Exception) -> BoltResponse:
    """Answer with status 503 instead of an ack if Bolt itself raises (listeners do not). Nothing
    was stored then, so Slack shows the person the failure."""
    log.error("Bolt failed", exc_info=error)
    return BoltResponse(status=503)
