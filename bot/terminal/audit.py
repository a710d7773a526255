"""``audit verify``: is the audit what was written, and is a mark that was told elsewhere in it?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import click

from bot.terminal.reading import Place
from engine.errors import Refused
from engine.store import events

BROKEN = 5
SHORTEST = 8  # characters of a mark, as reports and cards show them


def register(group: click.Group, place_of: Callable[[click.Context], Place]) -> None:
    """Add ``audit`` to the command line."""

    @group.group()
    def audit() -> None:
        """Check the audit."""

    @audit.command()
    @click.argument("mark", metavar="[MARK]", default="")
    @click.pass_context
    def verify(ctx: click.Context, mark: str) -> None:
        """Walk the whole chain of events.

        An event that was edited, deleted or moved breaks the chain. Events that are missing at its
        end do not: for that, name a MARK that was told elsewhere, such as the "audit 7f3a91c2" of a
        report in Slack. It is looked for.
        """
        ctx.exit(_verify(place_of(ctx), mark.casefold()))


def _verify(place: Place, mark: str) -> int:
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
            return BROKEN
        found = events.marked(store, mark) if mark else None
        if mark and found is None:
            click.echo(
                f"The chain of {number} events holds, but none of them is {mark}: events are "
                "missing at its end, or the mark is of another database.",
                err=True,
            )
            return BROKEN
        tail = f", and event {found.seq} is {mark}" if found else ""
        head = events.head(store)[:SHORTEST]
        click.echo(f"The audit is whole: {number} events, the last is {head}{tail}.")
        return 0
