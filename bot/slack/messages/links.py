"""Links to posted messages. Built from rows, without a call to Slack.

A link consists of the workspace's address, the channel and the ts of the message. The address is
looked up at each start.
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
        """A link to the message with that key. If the workspace's address is unknown, the channel;
        if the message is not posted, empty."""
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
        """A link to the board of a run; empty if it is not posted."""
        return self.to(Key(BOARD, f"R{run}"), f"the status message of R{run}")
