"""The vocabulary: every verb and every option, in two tables.

Terminal, Slack, stories, help and README read them. A new verb is one entry in ``VERBS``. A new
option is one entry in ``OPTIONS`` and one field in ``Options``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Verb:
    """One verb: its syntax, its meaning, its doors, and the number of words that follow.

    ``names``: the words after the first are VMs, with or without commas between them. ``free``:
    the words after the first are free text. ``changes``: the verb changes rows.
    """

    name: str
    usage: str
    about: str
    where: Literal["terminal", "slack", "both"] = "both"
    least: int = 0
    most: int = 0
    request: bool = False
    names: bool = False
    free: bool = False
    changes: bool = False


def _steer(
    name: str,
    usage: str,
    about: str,
    least: int = 1,
    most: int = 0,
    *,
    names: bool = False,
    free: bool = False,
) -> Verb:
    """Return a verb that changes a run or an approval."""
    most = max(least, most)
    said = f"{name} {usage}"
    return Verb(name, said, about, "both", least, most, False, names, free, changes=True)


MANY = 10_000
"""Limit on words for verbs that take any number of them."""

VERBS: tuple[Verb, ...] = (
    Verb("host", "host H[,H] to H[,H]", "move every VM of these hosts", request=True),
    Verb("vm", "vm V[,V*] to H[,H]", "move these VMs; * and ? are wildcards", request=True),
    Verb("status", "status [RUN]", "show what moves and why the rest waits", most=1),
    Verb("list", "list", "show all runs, those that need a person first"),
    Verb("report", "report RUN", "show what became of every VM of a run", least=1, most=1),
    Verb("events", "events [RUN]", "show what happened, line by line", most=1),
    Verb("approvals", "approvals", "list open approvals"),
    _steer("pause", "RUN", "start nothing more for now; migrations in flight continue"),
    _steer("resume", "RUN", "go on with a paused run"),
    _steer("stop", "RUN", "start nothing more and end; migrations in flight continue"),
    _steer("abort", "RUN yes", "stop the run and its migrations in flight", most=2),
    _steer("retry", "RUN [VM...]", "try what did not move again", most=MANY, names=True),
    _steer("skip", "RUN [VM...]", "leave VMs where they are", most=MANY, names=True),
    _steer("set", "RUN parallel|backup VALUE", "change a run", least=3),
    _steer("own", "RUN", "take over a run; you are notified from now on"),
    _steer("settle", "RUN VM", "confirm that you have located a VM", least=2),
    _steer("go-on", "RUN HOST", "send VMs to a host again after damage", least=2),
    _steer("approve", "APPROVAL [VM...]", "approve all VMs, or those named", most=MANY, names=True),
    _steer("deny", "APPROVAL [WHY]", "deny an approval", most=MANY, free=True),
    _steer(
        "withdraw", "APPROVAL [WHY]", "withdraw an approval, or a question", most=MANY, free=True
    ),
    _steer(
        "reviewed",
        "RUN [FINDING]",
        "say that breaking the glass was in order, or what was not",
        most=MANY,
        free=True,
    ),
    Verb("help", "help [TOPIC]", "show what can be typed", most=1),
)


@dataclass(frozen=True)
class Option:
    """One option of a request, and the field of ``Options`` that it sets."""

    word: str
    field: str
    takes: Literal["flag", "count", "duration", "path", "names"]
    about: str
    least: int = 0
    terminal_only: bool = False


OPTIONS: tuple[Option, ...] = (
    Option("path", "path", "path", "folder on the destination; default: the destination's own"),
    Option("except", "excluding", "names", "leave these VMs where they are"),
    Option("parallel", "parallel", "count", "moves at once in this run; 0: no own limit"),
    Option("attempts", "attempts", "count", "tries for each VM", least=1),
    Option("backup", "backup", "duration", "how long to wait for a backup"),
    Option("bulletproof", "bulletproof", "flag", "refresh hosts and VMs at every look"),
    Option("stop-on-failure", "stop_on_failure", "flag", "stop at the first VM that cannot move"),
    Option("now", "now", "flag", "Slack: do not show first what it would do"),
    Option("pass", "pass_", "duration", "time between host refreshes", 1, terminal_only=True),
    Option("lookups", "lookups", "count", "looks for a lost job", 1, terminal_only=True),
    Option(
        "lookup-interval", "lookup_interval", "duration", "time between them", terminal_only=True
    ),
    Option("refreshes", "refreshes", "count", "tries to refresh a host", terminal_only=True),
    Option(
        "refresh-interval", "refresh_interval", "duration", "time between them", terminal_only=True
    ),
)
BY_WORD = {option.word: option for option in OPTIONS}
KEYWORDS = frozenset(BY_WORD) | {"to"}
