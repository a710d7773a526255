"""Phrases that several messages share: counts, hosts, routes, names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bot.slack.kit.blocks import TEXT, Block, escape, fingerprint, fit, fit_blocks
from bot.slack.kit.message_kinds import Key
from engine.model import Run, RunRecord, short

#: Beginning of commands in a thread, where slash commands do not work. The outbox replaces it by a
#: mention of the bot, because the app may have another name.
SPOKEN = "@vmferry"
LISTED, NAME = 8, 120


def as_code(command: str, words: str) -> str:
    """A command to type, as code. A mention stands outside, because Slack shows none in code."""
    return f"{command} `{words}`" if command == SPOKEN else f"`{command} {words}`"


@dataclass(frozen=True)
class Rendered:
    """A message ready to be sent, and the hash that tells whether it needs an update."""

    text: str
    blocks: tuple[Block, ...]
    fingerprint: str


class Post(NamedTuple):
    """A message with its key and its urgency."""

    key: Key
    content: Rendered
    urgency: int

    @classmethod
    def of(cls, key: Key, content: Rendered) -> Post:
        """A message with the urgency of its kind."""
        return cls(key, content, key.kind.urgency)


def rendered(text: str, blocks: Sequence[Block], *worth: object) -> Rendered:
    """A message within Slack's limits. A change of ``worth`` (default: all) justifies an update."""
    return Rendered(fit(text, TEXT), fit_blocks(blocks), fingerprint(*(worth or (text, blocks))))


def several(names: Sequence[str]) -> str:
    """The first eight names, and the number of the others."""
    shown = ", ".join(fit(escape(name), NAME) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def vm_names(record: RunRecord, vm_ids: Sequence[str]) -> list[str]:
    """Names of these VMs of a run, given by id; an unknown id stays as it is."""
    names = {entry.move.vm_id: entry.move.vm for entry in record.moves}
    return [names.get(vm_id, vm_id) for vm_id in vm_ids]


def hosts(names: Sequence[str], join: str = ", ") -> str:
    """Short names of hosts."""
    return join.join(escape(short(name)) for name in names)


def route(run: Run, join: str = ", ") -> str:
    """Route of a run, such as ``hv01 → hv02, hv03``."""
    return f"{hosts(run.sources)} → {hosts(run.destinations, join)}".removeprefix(" ")


def count(number: int, noun: str) -> str:
    """A number with its noun, such as ``1 VM`` or ``4 VMs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
