"""Slack in process, on 127.0.0.1 only: Web API over HTTP, Socket Mode over WebSocket, and people.

Tests and the demo talk to the real Bolt app through it. It rejects what Slack rejects
(``refusals``), optionally keeps Slack's rate limits (``catalogue``), and records every call and
every version of every message. It also plays the people: they type commands and click buttons, and
tests read what each of them sees.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from bot.standin import payloads
from bot.standin.blocks import offered
from bot.standin.forms import Form, Trigger, submission, suggestion
from bot.standin.transport.server import Server
from bot.standin.transport.sockets import Acked, NotAcked
from bot.standin.values import (
    Call,
    Channel,
    Ephemeral,
    Message,
    ResponseUrl,
    Version,
    buttons,
    words,
)

__all__ = ["Acked", "NotAcked", "Standin"]

RESPONSE_URL_LIFE = 30 * 60.0


class Standin(Server):
    """The server and the people. ``with Standin() as slack:`` starts and stops it."""

    # --- the workspace --------------------------------------------------------------------

    def user(self, name: str, **profile: object) -> str:
        """Add a member and return the user's id. The member belongs to every channel, present and
        future. ``profile`` overrides fields of users.info, such as ``is_restricted=True``."""
        with self._changed:
            user = f"U0{''.join(c for c in name.upper() if c.isalnum())}"
            self.workspace.users[user] = name
            self.workspace.profiles[user] = profile
            for channel in self.workspace.channels.values():
                if not channel.im:
                    channel.members.add(user)
            return user

    def group(self, name: str, *users: str) -> str:
        """Create a user group, or replace its members, and return the group's id."""
        with self._changed:
            group = f"S0{name.upper()}"
            self.workspace.groups[group] = users
            return group

    def channel(
        self, name: str, *, bot: bool = True, archived: bool = False, private: bool = False
    ) -> str:
        """Create a channel and return its id. ``bot``: the bot is a member."""
        with self._changed:
            made = f"C0{''.join(c for c in name.upper() if c.isalnum())}"
            members = set(self.workspace.users)
            if not bot:
                members.discard(self.workspace.bot_user)
            self.workspace.channels[made] = Channel(made, name, members, archived, private)
            return made

    def name(self, user: str) -> str:
        """Display name of a user."""
        return self.workspace.users.get(user, user)

    def direct(self, user: str) -> str:
        """The id of the direct channel between this person and the bot."""
        return self.workspace.direct(user).id

    # --- what people do -------------------------------------------------------------------

    def command(self, user: str, channel: str, text: str, command: str = "/migrate") -> str:
        """Type a slash command. Return the text of the ack ("" for a bare ack)."""
        acked = self.deliver("slash_commands", self.command_payload(user, channel, text, command))
        if acked.text:
            self.workspace.show_only(user, channel, {"text": acked.text}, None, "ack")
        return acked.text

    def click(self, user: str, message_ts: str, action_id: str, value: str | None = None) -> Acked:
        """Click a button of a message and wait for the ack.

        Raises ``LookupError`` if the message shows no such button. With ``value`` the click is that
        of a client that still shows an older version of the message.
        """
        return self.deliver("interactive", self.click_payload(user, message_ts, action_id, value))

    def click_private(self, user: str, action_id: str, value: str | None = None) -> Acked:
        """Click a button of the latest ephemeral message that has it. ``value`` overrides the
        button's value, for a click on an earlier version. Raises ``LookupError``."""
        for shown in reversed(self.ephemerals(user)):
            if any(one.get("action_id") == action_id for one in buttons(shown)):
                return self.deliver("interactive", self._clicked(user, shown, action_id, value))
        raise LookupError(f"nobody sees a button {action_id}")

    def form(self, user: str) -> Form:
        """The form that was opened last for this person. Waits for the first one."""
        return self.wait_for(lambda: [f for f in self.workspace.forms if f.user == user])[-1]

    def submit(self, form: Form, reason: str | None = None, chosen: Sequence[str] = ()) -> Acked:
        """Fill in a form and submit it. The payload of the ack holds validation errors, if any."""
        return self.deliver("interactive", self.submit_payload(form, reason, chosen))

    def type_into(self, form: Form, typed: str) -> list[str]:
        """Type into the external menu of a form. Return the texts of the options that the app
        offers. Raises ``AssertionError`` if Slack would reject the app's answer."""
        asked = suggestion(form, self._who(form.user), typed)
        answer = self.deliver("interactive", asked).payload
        complaint = next(offered(answer, "/options"), "")
        assert not complaint, complaint
        with self._changed:
            self.workspace.suggested.setdefault(form.id, []).extend(answer["options"])
        return [words(option) for option in answer["options"]]

    def say(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> Message:
        """Write a message, or a reply to ``thread_ts``."""
        now = self.workspace.clock.now()
        ts = self.workspace.next_ts()
        said = Message(channel, ts, thread_ts, user, False, (Version(now, text, ()),))
        self.workspace.keep(said)
        return said

    def mention(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> Message:
        """Mention the bot in a message; ``text`` as Slack writes it in payloads. Return the
        message. The bot receives the event if it is a member of the channel."""
        said = self.say(user, channel, f"<@{self.workspace.bot_user}> {text}", thread_ts)
        if self.workspace.bot_user in self.workspace.channels[channel].members:
            self.event(payloads.app_mention(self.workspace.team, said))
        return said

    def shortcut(self, user: str, message_ts: str, callback_id: str) -> Acked:
        """Choose a shortcut in the menu of a message and wait for the ack."""
        message, at = self.message(message_ts), f"{self.workspace.clock.now():.6f}"
        moment = {"callback_id": callback_id, "action_ts": at, "message_ts": message.ts}
        chosen = self._on_message("message_action", user, message, **moment)
        return self.deliver("interactive", chosen)

    def command_payload(
        self, user: str, channel: str, text: str, command: str = "/migrate"
    ) -> dict[str, object]:
        """Payload of a slash command."""
        room, common = self.workspace.channels.get(channel), self._common(user, channel, None)
        return payloads.command(common, self._who(user), room, channel, command, text)

    def click_payload(
        self, user: str, message_ts: str, action_id: str, value: str | None = None
    ) -> dict[str, object]:
        """Payload of a click on a button of a message."""
        return self._clicked(user, self.message(message_ts), action_id, value)

    def _clicked(
        self, user: str, shown: Message | Ephemeral, action_id: str, value: str | None
    ) -> dict[str, object]:
        button = next((b for b in buttons(shown) if b.get("action_id") == action_id), {})
        if not button and value is None:
            raise LookupError(f"no button {action_id} in: {words(shown.blocks)}")
        number, now = next(self._numbers), self.workspace.clock.now()
        pressed = {
            "type": "button",
            "action_id": action_id,
            "text": button.get("text", {"type": "plain_text", "text": action_id}),
            "value": button.get("value") if value is None else value,
            "block_id": f"block-{number}",
            "action_ts": f"{now:.6f}{number}",
        }
        return self._on_message(
            "block_actions",
            user,
            shown,
            container=payloads.container(shown),
            state={"values": {}},
            actions=[pressed],
        )

    def _on_message(
        self, kind: str, user: str, shown: Message | Ephemeral, **more: object
    ) -> dict[str, object]:
        room = self.workspace.channels.get(shown.channel)
        common = self._common(user, shown.channel, shown.thread_ts)
        return payloads.on_message(kind, self._who(user), room, shown, **common, **more)

    def submit_payload(
        self, form: Form, reason: str | None = None, chosen: Sequence[str] = ()
    ) -> dict[str, object]:
        """Payload of a submitted form. Its trigger can open one more form."""
        found = self.workspace.suggested.get(form.id, ())
        filled = submission(form, self._who(form.user), reason, chosen, found)
        return filled | {"trigger_id": self._trigger(form.user)}

    # --- what people see ------------------------------------------------------------------

    def messages(self, channel: str) -> tuple[Message, ...]:
        """Messages of a channel outside threads, oldest first, with broadcast replies."""
        said = self.workspace.in_order(channel)
        return tuple(m for m in said if m.thread_ts is None or m.broadcast)

    def thread(self, channel: str, ts: str) -> tuple[Message, ...]:
        """Replies to a message, oldest first."""
        return tuple(m for m in self.workspace.in_order(channel) if m.thread_ts == ts)

    def message(self, ts: str) -> Message:
        """The current message with this ts. Raises ``LookupError``."""
        found = next((m for m in self.workspace.in_order() if m.ts == ts), None)
        if found is None:
            raise LookupError(f"no message {ts}")
        return found

    def ephemerals(self, user: str) -> tuple[Ephemeral, ...]:
        """Messages that only this person saw, oldest first, including acks with text."""
        with self._changed:
            return tuple(e for e in self.workspace.ephemerals if e.user == user)

    def calls(self, method: str = "") -> tuple[Call, ...]:
        """All recorded calls, or those of one method (``response_url`` counts as a method)."""
        with self._changed:
            return tuple(c for c in self.workspace.calls if method in ("", c.method))

    # --- parts of an interaction ----------------------------------------------------------

    def _who(self, user: str) -> dict[str, object]:
        return {
            "id": user,
            "username": self.name(user),
            "name": self.name(user),
            "team_id": self.workspace.team,
        }

    def _trigger(self, user: str) -> str:
        # Like Slack's own, unique also beside a database that met another stand-in before.
        trigger = f"{next(self._numbers)}.{secrets.token_hex(8)}.stand-in"
        with self._changed:
            self.workspace.triggers[trigger] = Trigger(
                user, self.workspace.clock.now() + self.trigger_life
            )
        return trigger

    def _common(self, user: str, channel: str, thread_ts: str | None) -> dict[str, object]:
        number = next(self._numbers)
        with self._changed:
            until = self.workspace.clock.now() + RESPONSE_URL_LIFE
            self.workspace.response_urls[str(number)] = ResponseUrl(user, channel, thread_ts, until)
        address = f"http://127.0.0.1:{self._port}/response/{number}"
        return {"trigger_id": self._trigger(user), "response_url": address}
