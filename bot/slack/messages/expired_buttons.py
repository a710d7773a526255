"""Removal of the buttons of old failure and report messages that no longer apply.

A failure that was retried is not rendered any more. Its message stays as it was posted, without its
buttons and with a note that it is resolved.
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
    """Record which failures and reports of a run have buttons. Returns the messages that the run no
    longer has, without their buttons. Writes inside the caller's transaction."""
    current = {post.key: post.content for post in messages}
    known = tables.with_buttons(db, run)
    having = {key: said for key, content in current.items() if (said := _said(key, content))}
    for key in known.keys() - having.keys():
        tables.drop_buttons(db, key)
    for key, said in having.items():
        if known.get(key) != said:  # no write without a change
            tables.keep_buttons(db, run, key, *said)
    gone = sorted(known.keys() - current.keys(), key=str)
    return [Post(key, _over(key, *known[key], now), FIRST) for key in gone]


def _said(key: Key, content: Rendered) -> tuple[str, str] | None:
    """Text and blocks of a failure or report without its buttons; ``None`` for a message without
    buttons or of another kind."""
    bare = [block for block in content.blocks if block["type"] != "actions"]
    if not key.kind.over or len(bare) == len(content.blocks):
        return None
    return content.text, json.dumps(bare)


def _over(key: Key, text: str, blocks: str, now: float) -> Rendered:
    said = key.kind.over.format(date=date(now))
    shown = [*json.loads(blocks), context(said)]
    whole = fit(f"{said}\n{text}", TEXT)
    return Rendered(whole, tuple(shown), fingerprint(whole, shown))
