"""Methods of the Web API in the stand-in's workspace, one function each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bot.standin.conversations import Conversations
from bot.standin.forms import Form, trigger_error, view_refusal
from bot.standin.refusals import TEXT_ON_POST, refusal
from bot.standin.values import Channel, Ephemeral, Json, Message, Version, blocks_of, raw, refused
from bot.standin.workspace import Workspace


class Methods:
    """The methods that there are; hangs them into the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        conversations = Conversations(workspace)
        workspace.methods |= {
            "auth.test": self._auth_test,
            "chat.getPermalink": self._permalink,
            "chat.postEphemeral": self._post_ephemeral,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": conversations.history,
            "conversations.info": conversations.info,
            "conversations.members": conversations.members,
            "conversations.open": conversations.open,
            "conversations.replies": conversations.replies,
            "usergroups.users.list": self._group,
            "users.info": self._user,
            "views.open": self._open_view,
        }

    def _auth_test(self, args: Json) -> dict[str, object]:
        return {
            "ok": True,
            "url": "https://stand-in.slack.example/",
            "team": "Stand-in",
            "team_id": self.workspace.team,
            "user_id": self.workspace.bot_user,
            "bot_id": self.workspace.bot,
            "user": "vmferry",
        }

    # --- people and forms -----------------------------------------------------------------

    def _user(self, args: Json) -> dict[str, object]:
        user = str(args.get("user") or "")
        if user not in self.workspace.users:
            return refused("user_not_found")
        usual = {
            "id": user,
            "team_id": self.workspace.team,
            "name": self.workspace.users[user],
            "deleted": False,
            "is_bot": user == self.workspace.bot_user,
            "is_restricted": False,
            "is_ultra_restricted": False,
        }
        return {"ok": True, "user": usual | self.workspace.profiles.get(user, {})}

    def _group(self, args: Json) -> dict[str, object]:
        group = str(args.get("usergroup") or "")
        if group not in self.workspace.groups:
            return refused("no_such_subteam")
        return {"ok": True, "users": list(self.workspace.groups[group])}

    def _open_view(self, args: Json) -> dict[str, object]:
        trigger = self.workspace.triggers.get(str(args.get("trigger_id") or ""))
        error = trigger_error(trigger, self.workspace.clock.now())
        if error or trigger is None:
            return refused(error)
        view = args.get("view")
        broken = view_refusal(view)
        if broken or not isinstance(view, Mapping):
            return refused("invalid_arguments", broken.where if broken else "view")
        trigger.used = True
        form = Form(f"V{len(self.workspace.forms) + 1}", trigger.user, view)
        self.workspace.forms.append(form)
        return {"ok": True, "view": {**view, "id": form.id}}

    # --- messages -------------------------------------------------------------------------

    def _room(self, channel: object) -> Channel | None:
        """Channel that a message goes to; the id of a person stands for their direct channel with
        the bot."""
        user = str(channel or "")
        if user in self.workspace.users and user != self.workspace.bot_user:
            return self.workspace.direct(user)
        return self.workspace.found(channel)

    def _refused(self, method: str, args: Json, room: Channel | None) -> dict[str, object] | None:
        if room is None:
            return refused("channel_not_found")
        if room.archived:
            return refused("is_inactive" if method == "chat.update" else "is_archived")
        if self.workspace.bot_user not in room.members:
            return refused("not_in_channel")
        broken = refusal(method, args)
        return refused(broken.code, broken.where) if broken else None

    def _post(self, args: Json) -> dict[str, object]:
        room = self._room(args.get("channel"))
        no = self._refused("chat.postMessage", args, room)
        if no or room is None:
            return no or {}
        thread = str(args.get("thread_ts") or "") or None
        parent = self.workspace.messages.get((room.id, thread)) if thread else None
        if thread and (parent is None or parent.thread_ts is not None):
            return refused("cannot_reply_to_message")
        metadata = args.get("metadata")
        text = str(args.get("text") or "")[:TEXT_ON_POST]
        message = Message(
            room.id,
            self.workspace.next_ts(),
            thread,
            self.workspace.bot_user,
            bool(args.get("reply_broadcast")),
            (Version(self.workspace.clock.now(), text, blocks_of(args)),),
            metadata if isinstance(metadata, Mapping) else {},
            self.workspace.bot,
        )
        self.workspace.keep(message)
        return {"ok": True, "channel": room.id, "ts": message.ts, "message": raw(message)}

    def _update(self, args: Json) -> dict[str, object]:
        room = self.workspace.found(args.get("channel"))
        no = self._refused("chat.update", args, room)
        if no or room is None:
            return no or {}
        old = self.workspace.messages.get((room.id, str(args.get("ts") or "")))
        if old is None:
            return refused("message_not_found")
        if old.user != self.workspace.bot_user:
            return refused("cant_update_message")
        text = str(args.get("text") or "")
        now = Version(self.workspace.clock.now(), text, blocks_of(args))
        metadata = args.get("metadata", old.metadata)
        assert isinstance(metadata, Mapping)
        fresh = replace(old, versions=(*old.versions, now), metadata=metadata)
        self.workspace.keep(fresh)
        shown = raw(fresh)
        return {"ok": True, "channel": room.id, "ts": old.ts, "text": text, "message": shown}

    def _post_ephemeral(self, args: Json) -> dict[str, object]:
        room = self.workspace.found(args.get("channel"))
        no = self._refused("chat.postEphemeral", args, room)
        if no or room is None:
            return no or {}
        user = str(args.get("user") or "")
        if user not in room.members:
            return refused("user_not_in_channel")
        thread = args.get("thread_ts")
        sent = {"ok": True, "message_ts": self.workspace.next_ts()}
        if thread and not self.workspace.is_thread(room.id, str(thread)):
            return sent  # Slack says yes, and shows it to nobody
        self.workspace.show_only(
            Ephemeral(
                self.workspace.clock.now(),
                user,
                room.id,
                str(args.get("text") or ""),
                blocks_of(args),
                str(thread) if thread else None,
                "chat.postEphemeral",
            )
        )
        return sent

    def _permalink(self, args: Json) -> dict[str, object]:
        room, ts = self.workspace.found(args.get("channel")), str(args.get("message_ts") or "")
        if room is None:
            return refused("channel_not_found")
        if (room.id, ts) not in self.workspace.messages:
            return refused("message_not_found")
        link = f"https://stand-in.slack.example/archives/{room.id}/p{ts.replace('.', '')}"
        return {"ok": True, "channel": room.id, "permalink": link}
