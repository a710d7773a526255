"""Records of the stand-in: calls, channels, and messages with all their versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One Web API call, or one use of a response_url, with its response.

    ``status`` is the HTTP status, or 0 if the connection was dropped without an answer."""

    at: float
    method: str
    args: Json
    response: Json
    status: int = 200


@dataclass(frozen=True)
class Version:
    """Text and blocks of a message from ``at`` on."""

    at: float
    text: str
    blocks: tuple[Json, ...]


@dataclass(frozen=True)
class Message:
    """A message with all its versions."""

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
        """Current text, as notifications and screen readers use it."""
        return self.versions[-1].text

    @property
    def blocks(self) -> tuple[Json, ...]:
        """Current blocks."""
        return self.versions[-1].blocks

    @property
    def shown(self) -> str:
        """All text that a person sees now, block after block."""
        return "\n".join(words(block) for block in self.blocks) or self.text


@dataclass(frozen=True)
class Ephemeral:
    """A message that only one person saw. ``via``: ack, response_url or chat.postEphemeral."""

    at: float
    user: str
    channel: str
    text: str
    blocks: tuple[Json, ...]
    thread_ts: str | None
    via: str

    @property
    def ts(self) -> str:
        """The ts in payloads. It does not identify the message in any method."""
        return f"{self.at:.6f}"


@dataclass
class Channel:
    """A channel. ``im`` is the user of a direct channel with the bot."""

    id: str
    name: str
    members: set[str]
    archived: bool = False
    private: bool = False
    shared: bool = False
    im: str = ""


@dataclass
class ResponseUrl:
    """An address for responses to an interaction: five uses within 30 minutes."""

    user: str
    channel: str
    thread_ts: str | None
    until: float
    uses: int = 5


@dataclass(eq=False)
class Refusal(Exception):
    """Slack's refusal of a call: error code, the invalid argument, HTTP status, seconds until a
    retry, and more fields of the answer."""

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
    """All buttons of a message."""
    for block in shown.blocks:
        for element in block["elements"] if block["type"] == "actions" else ():
            if element["type"] == "button":
                yield element


def words(block: object) -> str:
    """All text of a block, in the order in which people read it."""
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
