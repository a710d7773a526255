"""Mentions and shortcuts, translated into commands: the message determines the run.

Decisions cannot be made by a mention in a thread. The answer is a link to the card, whose button is
bound to what it shows.
"""

from __future__ import annotations

from dataclasses import replace

from bot.slack.handlers import answers
from bot.slack.handlers.confirm import Outcome
from bot.slack.handlers.verbs import DECISIONS
from bot.slack.inbox import mentions
from bot.slack.inbox.rows import COMMAND, LONGEST, SHORTCUT, Inbound
from bot.slack.kit import refusals
from bot.slack.kit.message_kinds import CARD, Key
from bot.slack.kit.phrases import SPOKEN
from bot.slack.messages.links import Links
from bot.slack.outbox.rows import Tables
from engine.errors import UsageError
from engine.language import grammar
from engine.model import Approval, Run
from engine.store import queries
from engine.store.store import Store


class Threads:
    """Translator of mentions and shortcuts. Reads rows only."""

    def __init__(self, store: Store, tables: Tables, links: Links) -> None:
        self.store, self.tables, self.links = store, tables, links

    def as_command(self, row: Inbound) -> Inbound | Outcome:
        """The equivalent command of a mention or a shortcut, or the answer if it has none."""
        run = self._run_of(row)
        if row.kind == SHORTCUT:
            if run is None:
                return Outcome(answers.NO_RUN_HERE, done=False)
            return _command(row, f"status {run.label}")
        text = str(row.body.get("text"))
        if row.body.get("long"):
            return Outcome(refusals.too_long(LONGEST), done=False)
        if mentions.first_word(text) in DECISIONS:
            return Outcome(self._cards(text, run), done=False)
        try:
            _, said = mentions.read(text, run.label if run else "")
        except UsageError as error:
            return Outcome(refusals.usage(error, SPOKEN), done=False)
        return _command(row, said)

    def _run_of(self, row: Inbound) -> Run | None:
        """The run to which this message, or the thread that contains it, belongs."""
        for ts in (row.body.get("thread_ts"), row.body.get("ts")):
            key = self.tables.key_at(row.channel, str(ts))
            run = self._run_of_key(key) if key else None
            if run is not None:
                return run
        return None

    def _run_of_key(self, key: Key) -> Run | None:
        """The run of a message's key, which names the run or one of its approvals."""
        if key.approval is not None:
            asked = queries.approval(self.store, key.approval)
            return queries.run(self.store, asked.run) if asked else None
        return queries.run(self.store, key.run) if key.run is not None else None

    def _cards(self, text: str, run: Run | None) -> str:
        """Answer with links to the cards of the approvals that may be meant."""
        word = (text.split()[1:2] or [""])[0]
        asked = [a for a in queries.open_approvals(self.store) if _is_meant(a, word, run)]
        links = [self.links.to(Key(CARD, a.label), f"the card of {a.label}") for a in asked]
        return answers.on_the_card([link for link in links if link])


def _is_meant(asked: Approval, word: str, run: Run | None) -> bool:
    try:
        return asked.id == grammar.approval_number(word)
    except UsageError:
        return run is None or asked.run == run.id


def _command(row: Inbound, text: str) -> Inbound:
    return replace(row, kind=COMMAND, body={**row.body, "text": text, "spoken": True})
