"""The vocabulary: every verb and every option, in two tables.

Terminal, Slack, stories, help and README read them. A new verb is one entry in ``VERBS``. A new
option is one entry in ``OPTIONS`` and one field in ``Options``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: What the words of a usage may be, in an example.
_SAMPLES = {
    "host H[,H] to H[,H]": "host hv01 to hv02,hv03 except db01 backup 90m",
    "V[,V*] to H[,H]": "web01,web02 to hv02 parallel 2",
    "[RUN]": "R2",
    "RUN": "R2",
    "[VM...]": "db01 db02",
    "VM": "db01",
    "HOST": "hv02",
    "APPROVAL": "A3",
    "[WHY]": "not tonight",
    "parallel|backup VALUE": "parallel 4",
    "[FINDING]": "the on-call engineer was not called",
    "[VERB]": "retry",
}


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


_PLACES = re.compile("|".join(map(re.escape, sorted(_SAMPLES, key=len, reverse=True))))


def example(usage: str) -> str:
    """Return an example of a usage, as a person would type it."""
    return _PLACES.sub(lambda found: _SAMPLES[found[0]], usage)


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
    Verb("report", "report RUN", "show the result for every VM of a run", least=1, most=1),
    Verb("events", "events [RUN]", "show the audit, one event per line", most=1),
    Verb("approvals", "approvals", "show the open approvals"),
    _steer("pause", "RUN", "start nothing more for now; migrations in flight continue"),
    _steer("resume", "RUN", "resume a paused run"),
    _steer("stop", "RUN", "end the run; migrations in flight continue"),
    _steer("abort", "RUN yes", "end the run and cancel migrations in flight", most=2),
    _steer("retry", "RUN [VM...]", "retry VMs that did not move", most=MANY, names=True),
    _steer("skip", "RUN [VM...]", "skip all waiting VMs, or the named ones", most=MANY, names=True),
    _steer("set", "RUN parallel|backup VALUE", "change an option of a run", least=3),
    _steer("own", "RUN", "become the owner, who gets the notifications"),
    _steer("settle", "RUN VM", "confirm that you have located a VM", least=2),
    _steer("go-on", "RUN HOST", "let a host receive VMs again after damage", least=2),
    _steer(
        "approve",
        "APPROVAL [VM...]",
        "approve all VMs, or only the named ones",
        most=MANY,
        names=True,
    ),
    _steer("deny", "APPROVAL [WHY]", "deny an approval", most=MANY, free=True),
    _steer(
        "withdraw", "APPROVAL [WHY]", "withdraw an open or granted approval", most=MANY, free=True
    ),
    _steer(
        "reviewed",
        "RUN [FINDING]",
        "review a break-glass approval. FINDING: what was not in order, if anything",
        most=MANY,
        free=True,
    ),
    Verb("help", "help [VERB]", "list all verbs, or show how to use one", most=1),
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
    Option("path", "path", "path", "folder for the VM's files; default: the host's own"),
    Option("except", "excluding", "names", "leave these VMs where they are"),
    Option(
        "parallel",
        "parallel",
        "count",
        "concurrent moves; 0: only the hosts' slots limit them",
    ),
    Option("attempts", "attempts", "count", "attempts for each VM", least=1),
    Option("backup", "backup", "duration", "time to wait for a VM's backup to end, such as 90m"),
    Option("bulletproof", "bulletproof", "flag", "refresh the hosts at every observation"),
    Option(
        "stop-on-failure", "stop_on_failure", "flag", "start nothing more once a VM cannot move"
    ),
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
