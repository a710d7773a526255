"""The stand-in's ``conversations.*`` methods: channels and their messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bot.standin.values import Channel, Json, Message, Refusal, raw
from bot.standin.workspace import Workspace

PAGE, MOST = 100, 999
MOMENT = re.compile(r"\d+(\.\d+)?")


class Conversations:
    """The ``conversations.*`` methods."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def info(self, args: Json) -> dict[str, object]:
        """Return the description of a channel."""
        return {"ok": True, "channel": self._shown(self.workspace.found(args))}

    def open(self, args: Json) -> dict[str, object]:
        """Open the direct channel between one person and the bot."""
        if args.get("channel"):
            room = self.workspace.found(args)
            if not room.im:
                raise Refusal("channel_not_found")
            return {"ok": True, "channel": {"id": room.id}}
        if not args.get("users"):
            raise Refusal("users_list_not_supplied")
        users = str(args["users"]).split(",")
        if len(users) > 1:
            raise Refusal("method_not_supported_for_channel_type")
        if users[0] not in self.workspace.users:
            raise Refusal("user_not_found")
        if users[0] == self.workspace.bot_user:
            raise Refusal("cannot_dm_bot")
        return {"ok": True, "channel": {"id": self.workspace.direct(users[0]).id}}

    def members(self, args: Json) -> dict[str, object]:
        """Return the members of a channel, page by page."""
        return self._page("members", sorted(self.workspace.found(args).members), args)

    def history(self, args: Json) -> dict[str, object]:
        """Return the messages of a channel outside threads, newest first."""
        lines = [m for m in self._lines(args) if m.thread_ts is None or m.broadcast]
        return self._history(lines[::-1], args)

    def replies(self, args: Json) -> dict[str, object]:
        """Return a message and its replies, oldest first."""
        lines = self._lines(args)
        top = next((m for m in lines if m.ts == args.get("ts")), None)
        if top is None:
            raise Refusal("thread_not_found")
        return self._history([m for m in lines if m.thread_ts == top.ts], args, top)

    def _lines(self, args: Json) -> list[Message]:
        """All messages in the channel of a call, oldest first."""
        room = self.workspace.found(args)
        if self.workspace.bot_user not in room.members:
            raise Refusal("not_in_channel")
        for end in ("oldest", "latest"):
            if not MOMENT.fullmatch(str(args.get(end) or "0")):
                raise Refusal(f"invalid_ts_{end}")
        return self.workspace.in_order(room.id)

    def _history(
        self, lines: Sequence[Message], args: Json, top: Message | None = None
    ) -> dict[str, object]:
        """The messages between ``oldest`` and ``latest``, and the first message of a thread."""
        oldest, latest = float(str(args.get("oldest") or 0)), str(args.get("latest") or "inf")
        inclusive = _yes(args.get("inclusive"))
        kept = [
            m
            for m in lines
            if oldest < float(m.ts) < float(latest)
            or (inclusive and float(m.ts) in (oldest, float(latest)))
        ]
        full = _yes(args.get("include_all_metadata"))
        shown = [
            raw(m) | ({"metadata": m.metadata} if full and m.metadata else {})
            for m in ([top] if top else []) + kept
        ]
        return self._page("messages", shown, args)

    def _page(self, name: str, rows: Sequence[object], args: Json) -> dict[str, object]:
        start, most = str(args.get("cursor") or "0"), str(args.get("limit") or PAGE)
        if not start.isdecimal():
            raise Refusal("invalid_cursor")
        if not most.isdecimal() or not 1 <= int(most) <= MOST:
            raise Refusal("invalid_limit")
        end = int(start) + int(most)
        more = end < len(rows)
        return {
            "ok": True,
            name: list(rows[int(start) : end]),
            "has_more": more,
            "response_metadata": {"next_cursor": str(end) if more else ""},
        }

    def _shown(self, room: Channel) -> dict[str, object]:
        if room.im:
            return {"id": room.id, "is_im": True, "user": room.im, "is_archived": room.archived}
        return {
            "id": room.id,
            "name": room.name,
            "is_channel": not room.private,
            "is_group": room.private,
            "is_im": False,
            "is_mpim": False,
            "is_private": room.private,
            "is_archived": room.archived,
            "is_member": self.workspace.bot_user in room.members,
            "is_shared": room.shared,
            "is_ext_shared": room.shared,
            "is_org_shared": False,
            "is_pending_ext_shared": False,
        }


def _yes(value: object) -> bool:
    """Read a flag from JSON or from a form."""
    return str(value).casefold() in ("true", "1")
