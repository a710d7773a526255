"""Buttons of old failure and report messages: removed once they no longer apply, though nothing
renders these messages any more.

A failure that was retried is no failure; its message stays, as what was said then, and says that it
is no longer so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from bot.slack.kit.blocks import TEXT, context, date, fingerprint, fit
from bot.slack.kit.message_kinds import FIRST, Key
from bot.slack.kit.phrases import Post, Rendered
from bot.slack.outbox.rows import Tables
from engine.store.database import Database


def strip_expired(
    tables: Tables, db: Database, run: int, messages: Iterable[Post], now: float
) -> list[Post]:
    """Keep which of a run's failures and reports have buttons; returns those of before that are no
    longer among its messages, without them. Writes inside the caller's transaction."""
    current = {post.key: post.content for post in messages}
    known = tables.with_buttons(db, run)
    having = {key: said for key, content in current.items() if (said := _said(key, content))}
    for key in known.keys() - having.keys():
        tables.drop_buttons(db, key)
    for key, said in having.items():
        if known.get(key) != said:  # nothing is written where nothing changed
            tables.keep_buttons(db, run, key, *said)
    gone = sorted(known.keys() - current.keys(), key=str)
    return [Post(key, _over(key, *known[key], now), FIRST) for key in gone]


def _said(key: Key, content: Rendered) -> tuple[str, str] | None:
    """Text and blocks of a failure or report with buttons, without the buttons; ``None`` for
    anything else."""
    bare = [block for block in content.blocks if block["type"] != "actions"]
    if not key.kind.over or len(bare) == len(content.blocks):
        return None
    return content.text, json.dumps(bare)


def _over(key: Key, text: str, blocks: str, now: float) -> Rendered:
    said = key.kind.over.format(date=date(now))
    shown = [*json.loads(blocks), context(said)]
    whole = fit(f"{said}\n{text}", TEXT)
    return Rendered(whole, tuple(shown), fingerprint(whole, shown))
