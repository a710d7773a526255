"""Records of the stand-in, as values: calls, channels, and messages with all their versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One Web API call (or one use of a response_url) with what was answered.

    ``status`` is that of HTTP; 0: the connection was dropped without an answer."""

    at: float
    method: str
    args: Json
    response: Json
    status: int = 200


@dataclass(frozen=True)
class Version:
    """A message as it stood from ``at`` on."""

    at: float
    text: str
    blocks: tuple[Json, ...]


@dataclass(frozen=True)
class Message:
    """A message as it stands, with everything that it was before."""

    channel: str
    ts: str
    thread_ts: str | None
    user: str
    broadcast: bool
    versions: tuple[Version, ...]
    metadata: Json = field(default_factory=dict)
    bot: str = ""

    @property
    def text(self) -> str:
        """Text that the notification and a screen reader say now."""
        return self.versions[-1].text

    @property
    def blocks(self) -> tuple[Json, ...]:
        """Blocks that are shown now."""
        return self.versions[-1].blocks

    @property
    def shown(self) -> str:
        """All words that a person sees now, block after block."""
        return "\n".join(words(block) for block in self.blocks) or self.text


@dataclass(frozen=True)
class Ephemeral:
    """Something that only one person saw. ``via``: ack, response_url or chat.postEphemeral."""

    at: float
    user: str
    channel: str
    text: str
    blocks: tuple[Json, ...]
    thread_ts: str | None
    via: str

    @property
    def ts(self) -> str:
        """Its ts in payloads; it cannot be looked up by it."""
        return f"{self.at:.6f}"


@dataclass
class Channel:
    """A channel, or with ``im`` what one person and the bot say to each other."""

    id: str
    name: str
    members: set[str]
    archived: bool = False
    private: bool = False
    shared: bool = False
    im: str = ""


@dataclass
class ResponseUrl:
    """Address at which an interaction may be answered: five times within 30 minutes."""

    user: str
    channel: str
    thread_ts: str | None
    until: float
    uses: int = 5


@dataclass(eq=False)
class Refusal(Exception):
    """Slack's no: an error code, what about the arguments was wrong, the status of HTTP, after how
    many seconds to come again, and what else is said."""

    code: str
    where: str = ""
    status: int = 200
    retry_after: int = 1
    more: Json = field(default_factory=dict)

    @property
    def body(self) -> dict[str, object]:
        """Body of the answer."""
        no = {"ok": False, "error": self.code, **self.more}
        said = {"response_metadata": {"messages": [f"[ERROR] {self.where}"]}}
        return no | (said if self.where else {})


def buttons(shown: Message | Ephemeral) -> Iterator[Json]:
    """Every button that is shown in it."""
    for block in shown.blocks:
        for element in block["elements"] if block["type"] == "actions" else ():
            if element["type"] == "button":
                yield element


def words(block: object) -> str:
    """Every text in a block, in order: what a person reads of it."""
    if isinstance(block, Mapping):
        if isinstance(block.get("text"), str) and "type" in block:
            return str(block["text"])
        parts = [words(block[key]) for key in ("text", "elements") if key in block]
        return " ".join(part for part in parts if part)
    if isinstance(block, (list, tuple)):
        return " ".join(words(each) for each in block)
    return ""


def raw(message: Message) -> dict[str, object]:
    """A message as Slack writes it in payloads."""
    body: dict[str, object] = {
        "type": "message",
        "user": message.user,
        "ts": message.ts,
        "text": message.text,
        "blocks": list(message.blocks),
    }
    if message.bot:
        body["bot_id"] = message.bot
    return body | ({"thread_ts": message.thread_ts} if message.thread_ts else {})


def blocks_of(args: Json) -> tuple[Json, ...]:
    """The blocks among the arguments of a call."""
    return tuple(args.get("blocks") or ())
