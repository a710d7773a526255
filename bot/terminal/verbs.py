"""The verbs other than ``run``: list, events, approvals, audit, and all verbs that steer a run.

They only read and write rows, need no running engine, and never create a database.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence

import click

from bot.exit_codes import DIFFERS, DONE, REFUSED
from bot.terminal.ask import card_lines
from bot.terminal.board import event_line, safe
from bot.terminal.listing import list_lines
from bot.terminal.reading import Installation, is_over
from bot.terminal.watch import user
from engine.commands.verbs import carry_out_verb
from engine.errors import Refused
from engine.language import names
from engine.language.grammar import Ask, parse_words
from engine.language.vocabulary import Verb
from engine.model import Event, Run
from engine.store import events, queries
from engine.store.store import Store
from engine.views import report

LOOK_EVERY = 0.5
SHORTEST = 8  # characters of a mark, as reports and cards show them


# --- verbs that change rows ---------------------------------------------------------------------


def change(
    place: Installation, verb: Verb, words: Sequence[str], reason: str | None, *, sure: bool
) -> int:
    """Carry out a verb that changes rows. Returns the exit code. ``sure``: ``abort`` needs no
    confirmation. Raises ``Refused``, which is written to the audit."""
    with place.service() as service:
        text = " ".join((verb.name, *words))
        try:
            command = _command(verb, words, reason, sure)
            made = carry_out_verb(service, command, by=user(), approvers=None)
        except Refused as error:
            service.refuse(user(), text, error)
            raise
        click.echo(safe(made.sentence))
        place.warn(service.store)
    return DONE if made.accepted else REFUSED


def _command(verb: Verb, words: Sequence[str], reason: str | None, sure: bool) -> Ask:
    """Parse the words. Raises ``UsageError``, or ``Refused`` if an abort is not confirmed."""
    command = parse_words([verb.name, *words])
    assert isinstance(command, Ask)
    if reason and reason.strip():
        command = Ask(command.verb, (*command.words[:1], reason.strip()))
    if verb.name == "abort" and len(command.words) == 1:
        if not sure:
            _refuse_unmeant(command.words[0])
        command = Ask(command.verb, (*command.words, "yes"))
    return command


def _refuse_unmeant(run: str) -> None:
    """Ask for confirmation before jobs are canceled. Raises ``Refused`` on "no", or without a
    terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise Refused(
            "abort cancels the migrations in flight. Their VMs stay on their sources.",
            what=run,
            hint="To confirm, add --yes.",
        )
    if not click.confirm("Cancel the migrations in flight? Their VMs stay on their sources."):
        raise Refused("Nothing was aborted.", what=run)


# --- verbs that only read -------------------------------------------------------------------------


def list_runs(place: Installation) -> None:
    """Print all runs, those that need a person first."""
    with place.service() as service:
        for line in list_lines(service):
            click.echo(line)
        place.warn(service.store)


def show_approvals(place: Installation) -> None:
    """Print the open approvals."""
    with place.service() as service:
        asked = queries.open_approvals(service.store)
        fleet = queries.fleet(service.store, service.vmm)
        for number, question in enumerate(asked):
            record = queries.record(service.store, question.run)
            assert record is not None
            lines = card_lines(question, record, fleet)
            label = question.label
            lines.append(f"Type: vmferry approve {label}, or: vmferry deny {label} --reason TEXT")
            click.echo(("\n" if number else "") + "\n".join(map(safe, lines)))
        if not asked:
            click.echo("No approval is open.")


def show_events(place: Installation, run: str | None, *, follow: bool, as_json: bool) -> None:
    """Print the events of a run, or of all runs. ``follow``: wait for more until the run is
    over."""
    with place.service() as service:
        runs = queries.runs(service.store)
        one = names.find_run(run, runs) if run else None
        first = one or (runs[0] if runs else None)
        start = first.created if first else service.clock.now()
        for event in _events(service.store, one, follow):
            if as_json:
                body = report.event_body(event, start)
                click.echo(json.dumps(body, sort_keys=True, ensure_ascii=False))
            else:
                click.echo(event_line(event, start))


def _events(store: Store, run: Run | None, follow: bool) -> Iterator[Event]:
    seen = 0
    while True:
        over = not follow or (run is not None and is_over(store, run.id))
        for event in events.since(store, seen, run=run.id if run else None):
            seen = event.seq
            yield event
        if over:
            return
        threading.Event().wait(LOOK_EVERY)


def verify(place: Installation, mark: str) -> int:
    """Check the chain of events and, unless ``mark`` is empty, find the mark in it. Returns the
    exit code. Raises ``Refused`` for a malformed mark."""
    if mark and (len(mark) < SHORTEST or not set(mark) <= set("0123456789abcdef")):
        raise Refused(
            f"{mark} is not the mark of an event.",
            what=mark,
            hint="A mark has 8 or more of the characters 0-9 and a-f: audit verify 7f3a91c2",
        )
    with place.reading() as store:
        try:
            number = events.verify(store)
        except events.AuditBroken as broken:
            click.echo(str(broken), err=True)
            return DIFFERS
        found = events.marked(store, mark) if mark else None
        if mark and found is None:
            click.echo(
                f"The chain of {number} events is intact but does not contain {mark}: events are "
                "missing at its end, or the mark belongs to another database.",
                err=True,
            )
            return DIFFERS
        tail = f", and event {found.seq} is {mark}" if found else ""
        head = events.head(store)[:SHORTEST]
        click.echo(f"The audit is intact: {number} events, the last is {head}{tail}.")
        return DONE
