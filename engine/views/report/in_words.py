"""Report in words for people: the summary that terminal and Slack share, and its phrases.

All of it is read from one run of the JSON document, so that words and document agree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from engine.language.grammar import took as spell_time
from engine.language.sentence import Person, Sentence, join, say
from engine.model import MOVED, RUN_ENDS, Outcome, RunState, Wait, short
from engine.policy.approvals import review
from engine.views.report.as_json import tries


def headline(run: Mapping[str, Any]) -> str:
    """First line of the report: ``R214 ended: 41 of 42 moved, HV01 is not empty``."""
    moves = run["moves"]
    moved = sum(m["state"] in MOVED for m in moves)
    if not _is_over(run):
        return f"{run['id']} is {run['state']}: {moved} of {len(moves)} moved so far"
    hosts = [
        f"{short(host)} is {'empty' if empty else _not_empty(run, host)}"
        for host, empty in run["empty"].items()
    ]
    return ", ".join([f"{run['id']} ended: {moved} of {len(moves)} moved", *hosts])


def _not_empty(run: Mapping[str, Any], host: str) -> str:
    """Words for a host without proof that it is empty. ``not empty``: a VM is known to be on it."""
    stayed = [m for m in run["moves"] if m["state"] in ("failed", "skipped")]
    on_it = any(
        (m["host"] or m["source"]) == host and m["outcome"] != Outcome.VANISHED for m in stayed
    )
    return "not empty" if on_it else "not proven empty"


def summary(
    run: Mapping[str, Any], approvals: Sequence[Mapping[str, Any]] = (), *, says_who: bool = True
) -> list[str]:
    """List the report of one run, one fact per line: headline, needs of a person, the rest, and
    with ``says_who`` the requester. ``approvals``: those of this run in the document."""
    moves = run["moves"]
    moved = [m for m in moves if m["state"] in MOVED]
    live, cold = (sum(m["kind"] == kind for m in moved) for kind in ("live", "cold"))
    took = spell_time(run["makespan"])
    pace = _pace(run) if _is_over(run) else " until now"
    lines: list[str] = [f"{live} live, {cold} powered down, {took}{pace}"]
    for host, empty in run["empty"].items():
        if empty:
            lines.append(f"{short(host)}: VMM and Hyper-V showed no VM in two observations")
    retried = [m for m in moved if tries(m) > 1]
    if retried:
        names = [f"{m['vm']} ({tries(m)} attempts)" for m in retried]
        lines.append(f"Retried: {_some(names)}")
    if moved:
        lines.append(_network_line(moved))
    ends = {state: [_end(m) for m in moves if m["state"] == state] for state in _WORDS}
    unreviewed = [a["id"] for a in approvals if a["review"] and a["review"]["t"] is None]
    if unreviewed:
        asked = review.request(unreviewed, run["id"])
        ends["unknown"].append(say("{} {}", _WORDS["unknown"], asked))
    left = ends.pop("skipped")
    urgent = [line for group in ends.values() for line in group]
    who = [say("Asked by {}", Person(run["by"]))] if says_who else []
    return [headline(run), *urgent, *lines, *left, *who]


def _end(move: Mapping[str, Any]) -> Sentence:
    return join(" ", [_WORDS[move["state"]], move["sentence"], move["next"]])


def _is_over(run: Mapping[str, Any]) -> bool:
    return RunState(run["state"]) in RUN_ENDS


def _some(names: Sequence[str]) -> str:
    """First few names, and the number of the others, so that people still read on."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_NAMED = 8
_WORDS = {
    "damaged": "Damaged:",
    "unknown": "Needs a person:",
    "failed": "Not moved:",
    "skipped": "Left:",
}


def _pace(run: Mapping[str, Any]) -> str:
    bound = run["bound"]
    if bound <= 0:
        return ""
    return f" ({run['makespan'] / bound:.2f} x the lower bound of {spell_time(bound)})"


def _network_line(moved: Sequence[Mapping[str, Any]]) -> str:
    saved = [m for m in moved if any(a["kind"] == "baseline" for a in m["attempts"])]
    intact = sum(not m["missing"] for m in saved)
    line = f"Network: {intact} of {len(saved)} match their saved state"
    vms: defaultdict[str, list[str]] = defaultdict(list)
    for move in moved:
        for repair in move["repairs"]:
            vms[repair["what"]].append(move["vm"])
    restored = [
        f"{_count(len(names), what)} on {_some(sorted(set(names)))}"
        for what, names in sorted(vms.items())
    ]
    return f"{line}; restored {'; '.join(restored)}" if restored else line


NAMES = {
    "acl": "extended ACL",
    "classic_acl": "classic ACL",
    "network": "VM network",
    "subnet": "subnet",
    "switch": "switch",
    "vlan": "VLAN",
    "isolation": "isolation setting",
    "classification": "port classification",
    "port_acl": "port ACL",
    "spoofing": "spoofing setting",
    "guards": "guard setting",
}


def _count(number: int, what: str) -> str:
    name = NAMES.get(what, what)
    if number == 1:
        return f"1 {name}"
    return f"{number} {name}{'es' if name.endswith('h') else 's'}"


def counted(repairs: Sequence[Mapping[str, Any]]) -> str:
    """Counts of the settings restored on one VM: ``3 extended ACLs, 1 VLAN``."""
    counts = Counter(repair["what"] for repair in repairs)
    return ", ".join(_count(number, what) for what, number in sorted(counts.items()))


def lack(missing: Mapping[str, Any]) -> str:
    """One setting that is missing: ``VLAN of adapter 00:1D:D8:01:B9:A3: 10``."""
    what = NAMES.get(missing["what"], missing["what"])
    return f"{what} of adapter {missing['adapter']}: {missing['value']}"


#: Phrases for the waits, to follow a duration.
WAITED = {
    Wait.SLOT: "for a slot at both ends",
    Wait.ROOM: "for room",
    Wait.BACKUP: "in backup",
    Wait.APPROVAL: "for approval",
    Wait.RUNNING_FIRST: "for the running VMs to go first",
    Wait.BACKOFF: "between attempts",
    Wait.HOST_LOCKED: "for a locked host",
    Wait.HOST_DOWN: "for a host that does not answer",
    Wait.BREAKER: "for a host that failed too often",
    Wait.TRANSIENT: "between two states",
    Wait.MISSING: "shown by no host",
    Wait.FOREIGN: "for somebody else's migration",
    Wait.DOUBT: "for a lost job that may go on",
    Wait.STALLED: "for a migration that does not move",
    Wait.TWO_PLACES: "shown on two hosts",
    Wait.OTHER_RUN: "for another run",
    Wait.DAMAGE: "for go-on after damage",
    Wait.PAUSED: "paused",
    Wait.WINDOW: "for the hours of the request",
    Wait.VMM_DOWN: "for VMM to answer",
}


def span_words(waited: Mapping[str, float]) -> str:
    """Waits (seconds by code) in words, longest first: ``9 min in backup, 3 min for approval``."""
    long = [one for one in waited.items() if round(one[1]) > 0]
    longest = sorted(long, key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{spell_time(seconds)} {WAITED[Wait(code)]}" for code, seconds in longest)


def idle_line(run: Mapping[str, Any]) -> str:
    """Idle slots: ``Slots of hv01 were idle for 12 min: 9 min in backup, 3 min for approval``.

    Two free slots for one minute count as two minutes. Empty if no slot stood idle.
    """
    causes = span_words(run["idle"])
    if not causes:
        return ""
    hosts, total = _some([short(host) for host in run["sources"]]), sum(run["idle"].values())
    return f"Slots of {hosts} were idle for {spell_time(total)}: {causes}"
