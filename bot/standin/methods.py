"""Web API methods of the stand-in's workspace, one function each."""

from __future__ import annotations

from dataclasses import replace

from bot.standin.conversations import Conversations
from bot.standin.forms import Form, view_refusal
from bot.standin.refusals import TEXT_ON_POST, refusal
from bot.standin.values import Channel, Json, Message, Refusal, Version, blocks_of, raw
from bot.standin.workspace import Workspace


class Methods:
    """The supported methods, registered in the workspace."""

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
            raise Refusal("user_not_found")
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
            raise Refusal("no_such_subteam")
        return {"ok": True, "users": list(self.workspace.groups[group])}

    def _open_view(self, args: Json) -> dict[str, object]:
        trigger = self.workspace.triggers.get(str(args.get("trigger_id") or ""))
        if trigger is None:
            raise Refusal("invalid_trigger_id")
        if trigger.used:
            raise Refusal("exchanged_trigger_id")
        if trigger.until < self.workspace.clock.now():
            raise Refusal("expired_trigger_id")
        view = args["view"]
        broken = view_refusal(view)
        if broken:
            raise broken
        trigger.used = True
        form = Form(f"V{len(self.workspace.forms) + 1}", trigger.user, view)
        self.workspace.forms.append(form)
        return {"ok": True, "view": {**view, "id": form.id}}

    # --- messages -------------------------------------------------------------------------

    def _written(self, method: str, args: Json) -> Channel:
        """The channel of a message that passed all checks. Raises ``Refusal``."""
        user = str(args.get("channel") or "")
        people = self.workspace.users.keys() - {self.workspace.bot_user}
        if method == "chat.postMessage" and user in people:
            room = self.workspace.direct(user)
        else:
            room = self.workspace.found(args)
        if room.archived:
            raise Refusal("is_inactive" if method == "chat.update" else "is_archived")
        if self.workspace.bot_user not in room.members:
            raise Refusal("not_in_channel")
        broken = refusal(method, args)
        if broken:
            raise broken
        return room

    def _post(self, args: Json) -> dict[str, object]:
        room = self._written("chat.postMessage", args)
        thread = str(args.get("thread_ts") or "") or None
        parent = self.workspace.messages.get((room.id, thread)) if thread else None
        if thread and (parent is None or parent.thread_ts is not None):
            raise Refusal("cannot_reply_to_message")
        text = str(args.get("text") or "")[:TEXT_ON_POST]
        message = Message(
            room.id,
            self.workspace.next_ts(),
            thread,
            self.workspace.bot_user,
            bool(args.get("reply_broadcast")),
            (Version(self.workspace.clock.now(), text, blocks_of(args)),),
            args.get("metadata") or {},
            self.workspace.bot,
        )
        self.workspace.keep(message)
        return {"ok": True, "channel": room.id, "ts": message.ts, "message": raw(message)}

    def _update(self, args: Json) -> dict[str, object]:
        room = self._written("chat.update", args)
        old = self._message(room, args.get("ts"))
        if old.user != self.workspace.bot_user:
            raise Refusal("cant_update_message")
        text = str(args.get("text") or "")
        now = Version(self.workspace.clock.now(), text, blocks_of(args))
        metadata = args.get("metadata", old.metadata)
        fresh = replace(old, versions=(*old.versions, now), metadata=metadata)
        self.workspace.keep(fresh)
        shown = raw(fresh)
        return {"ok": True, "channel": room.id, "ts": old.ts, "text": text, "message": shown}

    def _post_ephemeral(self, args: Json) -> dict[str, object]:
        room = self._written("chat.postEphemeral", args)
        user, thread = str(args.get("user") or ""), str(args.get("thread_ts") or "") or None
        if user not in room.members:
            raise Refusal("user_not_in_channel")
        # In a thread without replies Slack answers ok, but shows the message to nobody.
        if thread in (None, *(m.thread_ts for m in self.workspace.in_order(room.id))):
            self.workspace.show_only(user, room.id, args, thread, "chat.postEphemeral")
        return {"ok": True, "message_ts": self.workspace.next_ts()}

    def _permalink(self, args: Json) -> dict[str, object]:
        room = self.workspace.found(args)
        ts = self._message(room, args.get("message_ts")).ts
        link = f"https://stand-in.slack.example/archives/{room.id}/p{ts.replace('.', '')}"
        return {"ok": True, "channel": room.id, "permalink": link}

    def _message(self, room: Channel, ts: object) -> Message:
        found = self.workspace.messages.get((room.id, str(ts or "")))
        if found is None:
            raise Refusal("message_not_found")
        return found
