"""The verbs beside ``run``: list, events, approvals, and everything that steers a run.

They work on the rows alone, beside a running engine or without one, and never make a database.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from bot.terminal.ask import card_lines
from bot.terminal.board import event_line, safe
from bot.terminal.listing import list_lines
from bot.terminal.reading import Place
from bot.terminal.watch import user
from engine import naming, report
from engine.clock import SystemClock
from engine.errors import Refused
from engine.grammar import Ask, parse_words
from engine.model import Event, Run
from engine.service import Service
from engine.store import events, queries
from engine.store.store import Store
from engine.verbs import carry_out
from engine.vocabulary import VERBS, Verb

LOOK_EVERY = 0.5
REFUSED = 2
Places = Callable[[click.Context], Place]


def register(group: click.Group, place_of: Places) -> None:
    """Add these verbs to the command line. ``place_of`` gives the database of a call."""
    group.add_command(_listing(place_of))
    group.add_command(_happened(place_of))
    group.add_command(_questions(place_of))
    for verb in VERBS:
        if verb.changes:
            group.add_command(_changing(verb, place_of))


@contextmanager
def _service(place: Place) -> Iterator[Service]:
    """The front door of an existing database, on the clock of its world."""
    store = place.reading()
    try:
        world = place.saved_world(store)
        clock = world.clock() if world else SystemClock()
        vmm = world.world.state.vmm if world else place.settings.vmm.server or "vmm01"
        yield Service(store, clock, place.settings, vmm)
    finally:
        store.close()


# --- what changes something ---------------------------------------------------------------------


def _changing(verb: Verb, place_of: Places) -> click.Command:
    """The command of one verb that changes something: its words are those of Slack."""

    @click.pass_context
    def run(ctx: click.Context, /, words: tuple[str, ...], **said: object) -> None:
        reason, sure = said.get("reason"), bool(said.get("yes"))
        place = place_of(ctx)
        with _service(place) as service:
            text = " ".join((verb.name, *words))
            try:
                command = _command(verb, words, reason, sure)
                made = carry_out(service, command, by=user(), deciders=None)
            except Refused as error:
                service.refuse(user(), text, error)
                raise
            click.echo(safe(made.sentence))
            _warn(place, service)
        ctx.exit(0 if made.accepted else REFUSED)

    # "parallel -1" has to be refused as a number, not as an option.
    context = {"ignore_unknown_options": True} if verb.name == "set" else {}
    usage = verb.usage.removeprefix(verb.name).replace(" yes", "").replace(" [WHY]", "").strip()
    params: list[click.Parameter] = [click.Argument(["words"], nargs=-1, metavar=usage)]
    if verb.free:
        params.append(click.Option(["--reason"], metavar="TEXT", help="Why; kept in the audit."))
    if verb.name == "abort":
        params.append(click.Option(["--yes"], is_flag=True, help="Do not ask whether it is meant."))
    about = f"{verb.about[:1].upper()}{verb.about[1:]}."
    named = " ".join(told for word, told in _NAMED.items() if word in usage.split())
    return click.Command(
        verb.name,
        callback=run,
        params=params,
        help=about,
        epilog=named or None,
        context_settings=context,
    )


#: What the words of the usage may be.
_NAMED = {
    "RUN": "RUN is R12, 12, or a host that only one unfinished run has.",
    "APPROVAL": "APPROVAL is A3 or 3; the open ones: vmferry approvals",
}


def _warn(place: Place, service: Service) -> None:
    """Say so where nothing carries out what was said; not among what a script reads."""
    warning = place.idle_warning(service.store)
    if warning:
        click.echo(warning, err=True)


def _command(verb: Verb, words: Sequence[str], reason: object, sure: bool) -> Ask:
    """The words as a command. Raises ``UsageError`` that points at the wrong one."""
    command = parse_words([verb.name, *words])
    assert isinstance(command, Ask)
    if isinstance(reason, str) and reason.strip():
        command = Ask(command.verb, (*command.words[:1], reason.strip()))
    if verb.name == "abort" and len(command.words) == 1:
        if not sure:
            _refuse_unmeant(command.words[0])
        command = Ask(command.verb, (*command.words, "yes"))
    return command


def _refuse_unmeant(run: str) -> None:
    """Ask whether jobs are to be stopped in mid-copy; without a terminal nobody can say so."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise Refused(
            "abort stops jobs in mid-copy; their VMs stay where they were.",
            what=run,
            hint="Add --yes, if that is meant.",
        )
    if not click.confirm("Stop jobs in mid-copy? Their VMs stay where they were."):
        raise Refused("Nothing was aborted.", what=run)


# --- what only looks ------------------------------------------------------------------------------


def _listing(place_of: Places) -> click.Command:
    @click.command("list")
    @click.pass_context
    def listing(ctx: click.Context) -> None:
        """Show all runs, those that need a person first."""
        place = place_of(ctx)
        with _service(place) as service:
            for line in list_lines(service):
                click.echo(line)
            _warn(place, service)

    return listing


def _questions(place_of: Places) -> click.Command:
    @click.command("approvals")
    @click.pass_context
    def approvals(ctx: click.Context) -> None:
        """Show what waits for a yes or no."""
        with _service(place_of(ctx)) as service:
            asked = queries.open_approvals(service.store)
            fleet = queries.fleet(service.store, service.vmm)
            for number, question in enumerate(asked):
                record = queries.record(service.store, question.run)
                assert record is not None
                lines = card_lines(question, record, fleet)
                label = question.label
                lines.append(
                    f"Type: vmferry approve {label}, or: vmferry deny {label} --reason TEXT"
                )
                click.echo(("\n" if number else "") + "\n".join(map(safe, lines)))
            if not asked:
                click.echo("Nothing waits for a yes or no.")
            for review in queries.open_reviews(service.store):
                who = safe(review.broken_by)
                click.echo(
                    f"{who} broke the glass for {review.label} of R{review.run}: somebody else "
                    "looks at that with Review in its thread in Slack."
                )

    return approvals


def _happened(place_of: Places) -> click.Command:
    @click.command("events")
    @click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C or the run is over.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
    @click.argument("run", metavar="[RUN]", required=False)
    @click.pass_context
    def happened(ctx: click.Context, run: str | None, follow: bool, as_json: bool) -> None:
        """Show what happened, line by line."""
        with _service(place_of(ctx)) as service:
            runs = queries.runs(service.store)
            one = naming.find_run(run, runs) if run else None
            first = one or (runs[0] if runs else None)
            start = first.created if first else service.clock.now()
            for event in _events(service.store, one, follow):
                click.echo(_json(event, start) if as_json else event_line(event, start))

    return happened


def _events(store: Store, run: Run | None, follow: bool) -> Iterator[Event]:
    seen = 0
    while True:
        over = not follow or (run is not None and _is_over(store, run.id))
        for event in events.since(store, seen, run=run.id if run else None):
            seen = event.seq
            yield event
        if over:
            return
        threading.Event().wait(LOOK_EVERY)


def _is_over(store: Store, run_id: int) -> bool:
    run = queries.run(store, run_id)
    return run is None or run.over


def _json(event: Event, start: float) -> str:
    return json.dumps(report.event_body(event, start), sort_keys=True, ensure_ascii=False)
