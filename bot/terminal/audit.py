"""``audit verify``: is the audit what was written, and is a mark that was told elsewhere in it?"""

from __future__ import annotations

from contextlib import closing

import click

from bot.exit_codes import DIFFERS, DONE
from bot.terminal.reading import Place
from engine.errors import Refused
from engine.store import events

SHORTEST = 8  # characters of a mark, as reports and cards show them


def verify(place: Place, mark: str) -> int:
    """Walk the chain of events, look for ``mark`` unless it is empty; returns the exit code.

    Raises ``Refused`` for a mark that cannot be one.
    """
    if mark and (len(mark) < SHORTEST or not set(mark) <= set("0123456789abcdef")):
        raise Refused(
            f"{mark} is no mark of an event.",
            what=mark,
            hint="A mark has 8 or more of the characters 0-9 and a-f: audit verify 7f3a91c2",
        )
    with closing(place.reading()) as store:
        try:
            number = events.verify(store)
        except events.AuditBroken as broken:
            click.echo(str(broken), err=True)
            return DIFFERS
        found = events.marked(store, mark) if mark else None
        if mark and found is None:
            click.echo(
                f"The chain of {number} events holds, but none of them is {mark}: events are "
                "missing at its end, or the mark is of another database.",
                err=True,
            )
            return DIFFERS
        tail = f", and event {found.seq} is {mark}" if found else ""
        head = events.head(store)[:SHORTEST]
        click.echo(f"The audit is whole: {number} events, the last is {head}{tail}.")
        return DONE
