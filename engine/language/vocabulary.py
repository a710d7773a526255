"""The vocabulary: every verb and every option that can be typed, in two tables.

Terminal, Slack, stories, help and README all read them. Adding a verb is one entry in ``VERBS``;
adding an option is one entry in ``OPTIONS`` and one field in ``Options``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Verb:
    """One verb: how it is typed, an example, what it does, where it can be said, how many words
    follow.

    ``names``: the words after the first are VMs, with or without commas between them. ``free``:
    what follows the first word is text. ``changes``: it changes something.
    """

    name: str
    usage: str
    example: str
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
    example: str,
    about: str,
    least: int = 1,
    most: int = 0,
    *,
    names: bool = False,
    free: bool = False,
) -> Verb:
    """A verb that changes a run or an approval."""
    most = max(least, most)
    said, shown = f"{name} {usage}", f"{name} {example}"
    return Verb(name, said, shown, about, "both", least, most, False, names, free, changes=True)


MANY = 10_000
"""As many words as somebody may type."""

VERBS: tuple[Verb, ...] = (
    Verb(
        "host",
        "host H[,H] to H[,H]",
        "host hv01 to hv02,hv03 except db01 backup 90m",
        "move every VM of these hosts",
        request=True,
    ),
    Verb(
        "vm",
        "vm V[,V*] to H[,H]",
        "vm web01,web02 to hv02 parallel 2",
        "move these VMs; * and ? are wildcards",
        request=True,
    ),
    Verb("status", "status [RUN]", "status R2", "show what moves and why the rest waits", most=1),
    Verb("list", "list", "list", "show all runs, those that need a person first"),
    Verb(
        "report", "report RUN", "report R2", "show the result for every VM of a run", "both", 1, 1
    ),
    Verb("events", "events [RUN]", "events R2", "show the audit, one event a line", most=1),
    Verb("approvals", "approvals", "approvals", "show the open approvals"),
    _steer("pause", "RUN", "R2", "start nothing more for now; migrations in flight continue"),
    _steer("resume", "RUN", "R2", "go on with a paused run"),
    _steer("stop", "RUN", "R2", "start nothing more and end; migrations in flight continue"),
    _steer("abort", "RUN yes", "R2 yes", "stop the run and its migrations in flight", most=2),
    _steer("retry", "RUN [VM...]", "R2 db01", "try again what did not move", 1, MANY, names=True),
    _steer("skip", "RUN [VM...]", "R2 db01", "leave VMs where they are", 1, MANY, names=True),
    _steer("set", "RUN parallel|backup VALUE", "R2 parallel 4", "change a run", least=3),
    _steer("own", "RUN", "R2", "take over a run; you are notified from now on"),
    _steer("settle", "RUN VM", "R2 db01", "confirm that you have located a VM", least=2),
    _steer("go-on", "RUN HOST", "R2 hv02", "send VMs to a host again after damage", least=2),
    _steer(
        "approve",
        "APPROVAL [VM...]",
        "A3 web01 web02",
        "approve all VMs, or those named",
        most=MANY,
        names=True,
    ),
    _steer("deny", "APPROVAL [WHY]", "A3 not tonight", "deny an approval", 1, MANY, free=True),
    _steer(
        "withdraw",
        "APPROVAL [WHY]",
        "A3 wrong host",
        "withdraw an approval, or a question",
        most=MANY,
        free=True,
    ),
    _steer(
        "reviewed",
        "RUN [FINDING]",
        "R2 it should have waited for the on-call engineer",
        "review a break-glass approval; FINDING: what was not in order",
        most=MANY,
        free=True,
    ),
    Verb("help", "help [VERB]", "help retry", "show what can be typed, or one verb", most=1),
)


@dataclass(frozen=True)
class Option:
    """One word that may follow a request, and the field of ``Options`` that it sets."""

    word: str
    field: str
    takes: Literal["flag", "count", "duration", "path", "names"]
    about: str
    least: int = 0
    terminal_only: bool = False


OPTIONS: tuple[Option, ...] = (
    Option("path", "path", "path", "folder on the destination; default: the destination's own"),
    Option("except", "excluding", "names", "leave these VMs where they are"),
    Option(
        "parallel",
        "parallel",
        "count",
        "moves at the same time in this run; 0: no limit of its own",
    ),
    Option("attempts", "attempts", "count", "attempts for each VM", least=1),
    Option("backup", "backup", "duration", "how long a VM's backup is waited for, such as 90m"),
    Option("bulletproof", "bulletproof", "flag", "refresh hosts and VMs at every observation"),
    Option("stop-on-failure", "stop_on_failure", "flag", "stop at the first VM that cannot move"),
    Option("now", "now", "flag", "in Slack: start without a preview"),
    Option("pass", "pass_", "duration", "time between host refreshes", 1, terminal_only=True),
    Option(
        "lookups",
        "lookups",
        "count",
        "lookups for a job that VMM does not show yet",
        1,
        terminal_only=True,
    ),
    Option(
        "lookup-interval",
        "lookup_interval",
        "duration",
        "time between these lookups",
        terminal_only=True,
    ),
    Option("refreshes", "refreshes", "count", "attempts to refresh a host", terminal_only=True),
    Option(
        "refresh-interval",
        "refresh_interval",
        "duration",
        "time between these attempts",
        terminal_only=True,
    ),
)
BY_WORD = {option.word: option for option in OPTIONS}
KEYWORDS = frozenset(BY_WORD) | {"to"}
