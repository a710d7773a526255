"""Phrases that several messages share: counts, hosts, routes, names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bot.slack.kit.blocks import TEXT, Block, escape, fingerprint, fit, fit_blocks
from bot.slack.kit.message_kinds import Key
from engine.model import Run, RunRecord, short

#: How commands begin in a thread, where Slack takes no slash command.
SPOKEN = "@vmferry"
LISTED, NAME = 8, 120


@dataclass(frozen=True)
class Rendered:
    """A message ready to be sent, and the word that tells whether it has to be."""

    text: str
    blocks: tuple[Block, ...]
    fingerprint: str


class Post(NamedTuple):
    """A message under its key, and how urgent it is."""

    key: Key
    content: Rendered
    urgency: int

    @classmethod
    def of(cls, key: Key, content: Rendered) -> Post:
        """A message as urgent as its kind."""
        return cls(key, content, key.kind.urgency)


def rendered(text: str, blocks: Sequence[Block], *worth: object) -> Rendered:
    """A message within Slack's limits; ``worth``: what is worth an update, where not all is."""
    return Rendered(fit(text, TEXT), fit_blocks(blocks), fingerprint(*(worth or (text, blocks))))


def several(names: Sequence[str]) -> str:
    """The first few names; the rest as a number."""
    shown = ", ".join(fit(escape(name), NAME) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def vm_names(record: RunRecord, vm_ids: Sequence[str]) -> list[str]:
    """The names of these VMs of a run, by their ids; the id itself where it is none of them."""
    names = {entry.move.vm_id: entry.move.vm for entry in record.moves}
    return [names.get(vm_id, vm_id) for vm_id in vm_ids]


def hosts(names: Sequence[str], join: str = ", ") -> str:
    """The short names of hosts."""
    return join.join(escape(short(name)) for name in names)


def route(run: Run, join: str = ", ") -> str:
    """``hv01 → hv02, hv03``."""
    return f"{hosts(run.sources)} → {hosts(run.destinations, join)}".removeprefix(" ")


def count(number: int, noun: str) -> str:
    """``1 VM``, ``4 VMs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
