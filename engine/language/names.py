"""Names of hosts, VMs and runs, looked up in the last observation and in rows.

A name that matches nothing, or is ambiguous, raises ``Refused`` with a correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import Refused
from engine.language import grammar
from engine.model import (
    Fleet,
    Move,
    MoveRecord,
    MoveState,
    Outcome,
    Request,
    Run,
    Vm,
    is_called,
    same_host,
    short,
)

_STANDS = {
    MoveState.PENDING: "waits for its turn",
    MoveState.MOVING: "is in flight",
    MoveState.RESTORING: "is having its network checked",
    MoveState.DONE: "has moved",
    MoveState.DAMAGED: "is damaged",
    MoveState.FAILED: "did not move",
    MoveState.SKIPPED: "was left where it is",
    MoveState.UNKNOWN: "has an unknown location",
}
_GONE = {Outcome.ELSEWHERE: "is on another host", Outcome.VANISHED: "no longer exists"}


@dataclass(frozen=True)
class Chosen:
    """Hosts and VMs that a request names in a fleet, each VM with its source."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    vms: tuple[tuple[Vm, str], ...]


def resolve(request: Request, fleet: Fleet) -> Chosen:
    """Look up the hosts and VMs of a request. Raises ``Refused``."""
    destinations = _hosts(request.destinations, fleet)
    if request.kind == "host":
        sources = _hosts(request.sources, fleet)
        twice = next((s for s in sources if s in destinations), None)
        if twice is not None:
            raise Refused(
                f"{short(twice)} is both source and destination.",
                what=twice,
                hint="Name another host after `to`.",
            )
        vms = tuple(
            (vm, source)
            for vm in fleet.vms
            for source in sources
            if not vm.stored and same_host(source, _place(vm))
        )
        _check_exceptions(request, [vm for vm, _ in vms])
        return Chosen(sources, destinations, vms)
    vms = _named_vms(request, fleet)
    sources = tuple(dict.fromkeys(place for _, place in vms))
    return Chosen(sources, destinations, vms)


def _place(vm: Vm) -> str | None:
    """Return the one host on which Hyper-V shows the VM, else VMM's host for it."""
    return vm.seen_on[0] if len(vm.seen_on) == 1 else vm.vmm_host


def _hosts(words: tuple[str, ...], fleet: Fleet) -> tuple[str, ...]:
    """Return the FQDNs of hosts, each once, in the order of the words."""
    return tuple(dict.fromkeys(host_named(word, fleet) for word in words))


def host_named(word: str, fleet: Fleet) -> str:
    """Return the FQDN of the host with this full or short name. Raises ``Refused``."""
    names = [h.name for h in fleet.hosts]
    found = host_among(word, names)
    if found is not None:
        return found
    near = grammar.nearest(word, [short(n) for n in names])
    hint = f"Nearest: {near}." if near else f"There are: {', '.join(map(short, names[:8]))}."
    raise Refused(f"No host {word}.", what=word, hint=f"{hint} Nothing started.", says_nothing=True)


def host_among(word: str, hosts: Iterable[str | None]) -> str | None:
    """Return the host with this full or short name, or ``None``. Raises ``Refused`` if several
    hosts match."""
    known = {host.casefold(): host for host in hosts if host is not None}.values()
    exact = [h for h in known if same_host(h, word)]
    found = exact or sorted(h for h in known if is_called(h, word))
    if len(found) > 1:
        raise Refused(
            f'"{word}" matches {" and ".join(found)}.', what=word, hint="Write the full name."
        )
    return found[0] if found else None


def _named_vms(request: Request, fleet: Fleet) -> tuple[tuple[Vm, str], ...]:
    """Return the named VMs with their hosts. A name without wildcards must match exactly one."""
    chosen: dict[str, tuple[Vm, str]] = {}
    known = [(vm, place) for vm in fleet.vms if not vm.stored and (place := _place(vm))]
    for word in request.vms:
        for vm, place in _match(word, known, fleet):
            chosen.setdefault(vm.id, (vm, place))
    _check_exceptions(request, [vm for vm, _ in chosen.values()])
    return tuple(chosen.values())


def _match(word: str, known: list[tuple[Vm, str]], fleet: Fleet) -> list[tuple[Vm, str]]:
    if word.casefold().startswith("id:"):
        found = [(vm, p) for vm, p in known if vm.id.casefold() == word[3:].casefold()]
        if not found:
            raise Refused(
                f"No VM has the id {word[3:]}.",
                what=word,
                hint="Nothing started.",
                says_nothing=True,
            )
        return found
    name, _, at = word.rpartition("@")
    name = name or word
    host = host_named(at, fleet) if "@" in word else None
    found = [
        (vm, place)
        for vm, place in known
        if grammar.matches(name, vm.name) and (not host or same_host(place, host))
    ]
    if not found:
        raise _no_vm(word, name, host, known)
    if len(found) > 1 and not any(c in name for c in "*?"):
        ways = " or ".join(f"{name}@{short(place)}" for _, place in found)
        if len({place for _, place in found}) < len(found):
            ways = " or ".join(f"id:{vm.id}" for vm, _ in found)
        raise Refused(f"{len(found)} VMs are named {name}.", what=word, hint=f"Write {ways}.")
    return found


def _no_vm(word: str, name: str, host: str | None, known: list[tuple[Vm, str]]) -> Refused:
    """Return a refusal of a word that matches no VM, with the nearest VM and its host."""
    near = grammar.nearest(name, [vm.name for vm, _ in known])
    where = next((place for vm, place in known if vm.name == near), None)
    hint = f"Nearest: {near} on {short(where)}. Nothing started." if near else "Nothing started."
    on = f" on {short(host)}" if host else ""
    if any(c in name for c in "*?"):
        return Refused(f'No VM{on} matches "{name}".', what=word, hint=hint, says_nothing=True)
    return Refused(f"No VM {name}{on}.", what=word, hint=hint, says_nothing=True)


def _check_exceptions(request: Request, vms: list[Vm]) -> None:
    """Refuse a name after `except` that matches no VM: with a typo, the meant VM would move."""
    names = [vm.name for vm in vms]
    for word in request.options.excluding:
        if any(grammar.matches(word, n) for n in names):
            continue
        near = grammar.nearest(word, names)
        hint = f"Nearest: {near}. Nothing started." if near else "Nothing started."
        sentence = f'No VM of this request matches "{word}" after except.'
        raise Refused(sentence, what=word, hint=hint, says_nothing=True)


def find_run(word: str, runs: Sequence[Run]) -> Run:
    """Return the run ``R12`` or ``12``, or the only unfinished run that uses this host. Raises
    ``Refused``. A label comes first, since buttons carry it: a host may be called ``r12``."""
    labelled = next((run for run in runs if run.label.casefold() == word.casefold()), None)
    if labelled is not None:
        return labelled
    by_host = [run for run in runs if not run.over and _has_host(run, word)]
    if len(by_host) == 1:
        return by_host[0]
    if by_host:
        labels = ", ".join(run.label for run in by_host)
        raise Refused(f"{word} is used by {labels}.", what=word, hint="Name one of these runs.")
    number = grammar.run_number(word)
    run = next((run for run in runs if run.id == number), None)
    if run is not None:
        return run
    hint = f"The newest run is {runs[-1].label}." if runs else "There is no run yet."
    raise Refused(f"There is no run R{number}.", what=word, hint=hint)


def _has_host(run: Run, word: str) -> bool:
    return any(is_called(host, word) for host in (*run.sources, *run.destinations))


def moves_named(words: Iterable[str], moves: Sequence[MoveRecord], where: str) -> list[MoveRecord]:
    """Return the moves of a run or card that these words name (wildcards, ``web01@hv01``,
    ``id:GUID``). ``where`` is the label of the run or card. Raises ``Refused``."""
    found: dict[int, MoveRecord] = {}
    by_id: dict[str, list[MoveRecord]] = {}  # a button may name thousands of VMs
    for entry in moves:
        by_id.setdefault(entry.move.vm_id.casefold(), []).append(entry)
    for word in words:
        if word.casefold().startswith("id:"):
            fitting = by_id.get(word[3:].strip().casefold(), [])
        else:
            fitting = [entry for entry in moves if _is_named(word, entry)]
        if not fitting:
            near = grammar.nearest(word, [entry.move.vm for entry in moves])
            hint = f"Nearest: {near}." if near else ""
            raise Refused(f"{where} has no VM {word}.", what=word, hint=hint)
        several = len(fitting) > 1 and not any(c in word for c in "*?")
        if several:
            ways = " or ".join(_by_id(entry) for entry in fitting)
            sentence, hint = f"{where} has {len(fitting)} VMs named {word}.", f"Write {ways}."
            raise Refused(sentence, what=word, hint=hint)
        found.update({entry.move.id: entry for entry in fitting})
    return list(found.values())


def _by_id(entry: MoveRecord) -> str:
    move = entry.move
    host = move.host or move.source
    came = "" if same_host(host, move.source) else f", from {short(move.source)}"
    return f"id:{move.vm_id} (on {short(host)}{came})"


def _is_named(word: str, entry: MoveRecord) -> bool:
    move = entry.move
    name, at, host = word.rpartition("@")
    if at and name and grammar.matches(name, move.vm):
        return is_called(move.host or move.source, host) or is_called(move.source, host)
    return grammar.matches(word, move.vm)


def stands(move: Move) -> str:
    """Return the state of a move in words: ``db01 did not move``."""
    said = _STANDS[move.state]
    return f"{move.vm} {_GONE.get(move.outcome, said) if move.outcome else said}"


def names(moves: Sequence[Move]) -> str:
    """Return the names of the moves' VMs, at most five, and the number of the others."""
    more = f" and {len(moves) - 5} more" if len(moves) > 5 else ""
    return ", ".join(move.vm for move in moves[:5]) + more
