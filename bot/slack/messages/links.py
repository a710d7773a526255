"""Links to messages that a person can follow. Built from rows, nobody is asked.

Slack's address of a message is made of the workspace's, the channel and the ts; the workspace's own
address is asked for at a start.
"""

from __future__ import annotations

from bot.slack.kit.ids import bare
from bot.slack.kit.message_kinds import BOARD, Key
from bot.slack.outbox.rows import Sent, Tables
from bot.slack.people.roster import Lookups
from bot.slack.people.rows import HOME


def permalink(home: str, message: Sent) -> str:
    """The address of a message in the workspace at ``home``."""
    channel = bare(message.channel)
    address = f"{home.rstrip('/')}/archives/{channel}/p{message.ts.replace('.', '')}"
    if message.thread_ts is None:
        return address
    return f"{address}?thread_ts={message.thread_ts}&cid={channel}"


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
        return f"<{permalink(home, message)}|{words}>"

    def to_board(self, run: int) -> str:
        """A link to the board of a run; empty where Slack shows none."""
        return self.to(Key(BOARD, f"R{run}"), f"the board of R{run}")
