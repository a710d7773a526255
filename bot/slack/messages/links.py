"""Links to messages that a person can follow. Built from rows, nobody is asked.

Slack's address of a message is made of the workspace's, the channel and the ts; the workspace's own
address is asked for at a start.
"""

from __future__ import annotations

from bot.slack.kit.ids import bare
from bot.slack.kit.message_kinds import BOARD, Key
from bot.slack.outbox.rows import Tables
from bot.slack.people.roster import Lookups
from bot.slack.people.rows import HOME


class Links:
    """Links to posted messages."""

    def __init__(self, tables: Tables, lookups: Lookups) -> None:
        self.tables, self.lookups = tables, lookups

    def to(self, key: Key, words: str) -> str:
        """A link to the message of that key; where the address is not known, its channel; empty
        where it does not stand in Slack."""
        message = self.tables.message(key)
        if message is None:
            return ""
        home = str(self.lookups.of([HOME])[HOME].answer.get("url") or "")
        if not home.startswith("https://"):
            return f"{words} in <#{bare(message.channel)}>"
        channel, ts, thread = bare(message.channel), message.ts, message.thread_ts
        address = f"{home.rstrip('/')}/archives/{channel}/p{ts.replace('.', '')}"
        within = f"?thread_ts={thread}&cid={channel}" if thread is not None else ""
        return f"<{address}{within}|{words}>"

    def to_board(self, run: int) -> str:
        """A link to the board of a run; empty where Slack shows none."""
        return self.to(Key(BOARD, f"R{run}"), f"the board of R{run}")
