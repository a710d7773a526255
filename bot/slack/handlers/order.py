"""Order of inbox rows: rows about the same subject are carried out in the order they came.

The worker goes through the open rows from the oldest to the newest. A row that has to wait holds up
every later row that shares a subject with it, and these hold up theirs; all others pass it by. One
thread does it, and numbers are given in the order of the inserts, so of two rows that share a
subject the later one never overtakes. Subjects are the person and the run. Requests have one
subject in common, because which of two like requests begins the run depends on their order. A name
that matches no run may refer to a run that an earlier request creates, so it waits for that
request.
"""

from __future__ import annotations

from bot.slack.handlers import decisions, run_buttons
from bot.slack.handlers.verbs import DECISIONS
from bot.slack.inbox.rows import COMMAND, Inbound
from bot.slack.kit.buttons import AGAIN
from engine.errors import Refused
from engine.language import grammar, names
from engine.language.grammar import Ask, Command
from engine.model import Request
from engine.store import queries
from engine.store.store import Store

Subject = tuple[str, object]
STARTS: Subject = ("starts", "")
LOOKS_AT_NONE = frozenset({"help", "list", "approvals"})


def says(row: Inbound) -> Command | None:
    """The command that was typed, or that a button stands for; ``None``: a decision, or nothing
    that we know."""
    if row.kind != COMMAND:
        control = run_buttons.read(row)
        if control is not None:
            return Ask(control.verb, (control.label,))
        return Ask("retry") if row.body.get("action") == AGAIN and decisions.read(row) else None
    try:
        return grammar.parse(str(row.body.get("text", "")))
    except Refused:
        return None


def subjects(store: Store, row: Inbound) -> frozenset[Subject]:
    """The person and whatever the row is about. Reads rows."""
    return frozenset({("by", row.by), *_about(store, row)})


def _about(store: Store, row: Inbound) -> set[Subject]:
    clicked = decisions.read(row) if row.kind != COMMAND else None
    if clicked is not None:
        return _of_approval(store, clicked.number)
    command = says(row)
    if isinstance(command, Request):
        return {STARTS}
    if command is None or command.verb in LOOKS_AT_NONE or not command.words:
        return set()
    try:
        if command.verb in DECISIONS:
            return _of_approval(store, grammar.approval_number(command.words[0]))
        return {("run", names.find_run(command.words[0], queries.runs(store)).id)}
    except Refused:
        return {STARTS}


def _of_approval(store: Store, number: int) -> set[Subject]:
    asked = queries.approval(store, number)
    return {("run", asked.run)} if asked else set()
