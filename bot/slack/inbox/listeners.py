"""Listeners for Slack's payloads: parse, one durable insert, ack. Nothing else precedes the ack.

A listener never raises: Bolt would discard the ack (measured: 3 s and an error for the person,
although the work is done). An ack promises that the row is stored. If it cannot be, the ack of a
command says so; a click, form, mention or shortcut gets status 503 instead of an ack, so that Slack
shows the person the failure, or sends the event again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from slack_bolt import Ack, BoltResponse

from bot.slack.inbox import mentions
from bot.slack.inbox.rows import CLICK, COMMAND, LONGEST, MENTION, SHORTCUT, Inbound, Inbox
from bot.slack.kit import buttons, refusals
from bot.slack.kit.blocks import Block, fingerprint
from bot.slack.kit.ids import bare, in_slack
from bot.slack.modals import abort, decision, fields
from bot.slack.web_api.reply_urls import ReplyUrls
from engine.clock import Clock, SystemClock
from engine.errors import UsageError
from engine.language import grammar
from engine.store import queries

log = logging.getLogger(__name__)

Payload = Mapping[str, object]


class Listeners:
    """Listeners that Bolt calls. ``accepted`` is called after each new inbox row."""

    def __init__(
        self,
        inbox: Inbox,
        urls: ReplyUrls,
        clock: Clock,
        name: str,
        accepted: Callable[[], None],
        wall: Clock | None = None,
    ) -> None:
        self.inbox, self.urls, self.clock = inbox, urls, clock
        self.wall = wall or SystemClock()
        self.name, self.accepted = name, accepted

    def command(self, ack: Ack, body: Payload) -> BoltResponse:
        """Accept a slash command. Usage errors are answered at once, all else is stored."""
        try:
            answer = self._command(body)
        except Exception:
            log.exception("a command could not be accepted")
            answer = refusals.NOT_SAVED
        return ack(answer)

    def click(self, ack: Ack, body: Payload) -> BoltResponse:
        """Accept a click on any button, known or not: it is stored for the worker."""
        return _written_down("a click", self._click, ack, body)

    def submitted(self, ack: Ack, body: Payload) -> BoltResponse:
        """Accept a submitted form. Mistakes are shown in the form; otherwise it is stored."""
        try:
            wrong = self._submitted(body)
        except Exception:
            log.exception("a form could not be accepted")
            return BoltResponse(status=503)
        return ack(response_action="errors", errors=wrong) if wrong else ack()

    def offered(self, ack: Ack, body: Payload) -> BoltResponse:
        """Answer with the options of a menu for the typed text, from rows. Stores nothing."""
        try:
            found = self._offered(body)
        except Exception:
            log.exception("options could not be found")
            found = []
        return ack(options=found)

    def mention(self, ack: Ack, body: Payload) -> BoltResponse:
        """Accept a mention of the bot. Slack sends an event again until it is acked."""
        return _written_down("a mention", self._mention, ack, body)

    def shortcut(self, ack: Ack, body: Payload) -> BoltResponse:
        """Accept a shortcut in the menu of a message: it is stored like a click."""
        return _written_down("a shortcut", self._shortcut, ack, body)

    def _mention(self, body: Payload) -> None:
        event = _part(body, "event")
        user, text = _text(event, "user"), _text(event, "text")
        said = mentions.said_to(text, _text(_first(body.get("authorizations")), "user_id"))
        if said is None or not user or event.get("bot_id"):
            return  # not addressed to the bot, or written by a bot
        channel, ts = in_slack(_text(event, "channel")), _text(event, "ts")
        shown = {"text": said} if len(said) <= LONGEST else {"text": "", "long": "yes"}
        place = {"ts": ts, "thread_ts": _text(event, "thread_ts")}
        row = self._row(MENTION, in_slack(user), channel, {**shown, **place})
        # Slack sends an edited message again; it is new only if its text has changed.
        moment = ts or _text(event, "event_ts")
        self._keep(row, f"event:{bare(channel)}:{moment}:{user}:{fingerprint(said.split())}", body)

    def _shortcut(self, body: Payload) -> None:
        user = _text(_part(body, "user"), "id")
        channel = in_slack(_text(_part(body, "channel"), "id"))
        message, name = _part(body, "message"), _text(body, "callback_id")
        ts = _text(body, "message_ts") or _text(message, "ts")
        shown = {"name": name, "ts": ts, "thread_ts": _text(message, "thread_ts") or ts}
        row = self._row(SHORTCUT, in_slack(user), channel, shown)
        moment = _text(body, "action_ts") or _hidden(body) or str(row.received)
        self._keep(row, f"shortcut:{name}:{bare(channel)}:{ts}:{user}:{moment}", body)

    def _submitted(self, body: Payload) -> dict[str, str]:
        view, user = _part(body, "view"), in_slack(_text(_part(body, "user"), "id"))
        kind, place = _text(view, "callback_id"), fields.read_place(_text(view, "private_metadata"))
        said = decision.read(_part(view, "state").get("values"))
        content: dict[str, object] = {"thread_ts": place.thread_ts, "value": place.value}
        if kind == buttons.ABORT:
            content["action"] = abort.action_behind(place)
        else:
            content["action"] = f"{kind}{buttons.SAID}"
            content |= {"reason": _whole(said.reason), "vms": list(said.vms)}
        row = self._row(CLICK, user, place.channel, content)
        key = f"form:{_text(view, 'id')}:{user}:{fingerprint(content)}"
        wrong = self._mistake(kind, said, place) if kind in buttons.FORMS else None
        # Slack may deliver a submission again after the first delivery has taken effect, and its
        # own effect makes it invalid now. Checked last: the first delivery is stored by then.
        if wrong and not self.inbox.is_accepted(key):
            return dict([wrong])
        self._keep(row, key, body)
        return {}

    def _mistake(
        self, kind: str, said: fields.FormInput, place: fields.FormPlace
    ) -> tuple[str, str] | None:
        """The wrong field of a form with its error message; ``None``: the form is valid.

        Raises ``ValueError`` for a form that belongs to no approval.
        """
        shown = buttons.read_value(place.value)
        if shown is None:
            raise ValueError(f"the form of no question: {place.value[:40]}")
        number, digest = shown
        asked = queries.approval(self.inbox.store, number)
        run = queries.run(self.inbox.store, asked.run) if asked else None
        return decision.mistake(kind, said, digest, asked, run)

    def _offered(self, body: Payload) -> list[Block]:
        place = fields.read_place(_text(_part(body, "view"), "private_metadata"))
        shown = buttons.read_value(place.value)
        names = queries.names_on(self.inbox.store, shown[0]) if shown else ()
        return decision.offered(names, _text(body, "value"))

    def _command(self, body: Payload) -> str:
        text = _text(body, "text")
        if len(text) > LONGEST:
            return refusals.too_long(LONGEST)
        try:
            grammar.parse(text)
        except UsageError as error:
            return refusals.usage(error, self.name)
        by, channel = in_slack(_text(body, "user_id")), in_slack(_text(body, "channel_id"))
        row = self._row(COMMAND, by, channel, {"text": text})
        unique = _hidden(body) or fingerprint(row.by, row.channel, text, row.received)
        self._keep(row, f"command:{unique}", body)
        return ""

    def _click(self, body: Payload) -> None:
        user, container = _part(body, "user"), _part(body, "container")
        channel = _text(_part(body, "channel"), "id") or _text(container, "channel_id")
        pressed = _first(body.get("actions"))
        chosen = _part(pressed, "selected_option")  # of a menu
        action = _text(pressed, "action_id")
        said = {
            # Actions with this suffix come from submitted forms only, never from a button.
            "action": "" if action.endswith(buttons.SAID) else action,
            "value": (_text(pressed, "value") or _text(chosen, "value"))[:LONGEST],
            "message_ts": _text(container, "message_ts"),
            "thread_ts": _text(container, "thread_ts"),
            "trigger": _text(body, "trigger_id"),
        }
        row = self._row(CLICK, in_slack(_text(user, "id")), in_slack(channel), said)
        moment = _text(pressed, "action_ts") or _hidden(body) or str(row.received)
        self._keep(row, f"click:{said['action']}:{said['value']}:{row.by}:{moment}", body)

    def _row(self, kind: str, by: str, channel: str, said: Payload) -> Inbound:
        return Inbound(0, kind, by, channel, said, self.clock.now(), heard=self.wall.now())

    def _keep(self, row: Inbound, key: str, body: Payload) -> None:
        inbox = self.inbox.accept(row, key)
        if inbox is None:
            return  # a second delivery of a stored row
        address = _text(body, "response_url")
        if address.startswith(("https://", "http://")):  # the SDK logs any other in full
            self.urls.keep(inbox, address, self.wall.monotonic())
        self.accepted()


def _written_down(
    what: str, write: Callable[[Payload], None], ack: Ack, body: Payload
) -> BoltResponse:
    try:
        write(body)
    except Exception:
        log.exception("%s could not be accepted", what)
        return BoltResponse(status=503)
    return ack()


def _text(part: Payload, name: str) -> str:
    value = part.get(name)
    return _whole(value) if isinstance(value, str) else ""


def _whole(text: str) -> str:
    """Replace lone surrogates, which no database takes."""
    return text.encode("utf-8", "replace").decode()


def _hidden(body: Payload) -> str:
    """Fingerprint of the trigger, which identifies it without revealing it, since a trigger opens
    forms; empty: no trigger."""
    trigger = _text(body, "trigger_id")
    return fingerprint(trigger) if trigger else ""


def _part(body: Payload, name: str) -> Payload:
    value = body.get(name)
    return value if isinstance(value, Mapping) else {}


def _first(values: object) -> Payload:
    found = values[0] if isinstance(values, (list, tuple)) and values else None
    return found if isinstance(found, Mapping) else {}
