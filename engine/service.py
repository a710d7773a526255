"""The front door: what people ask for becomes rows. Nothing here talks to the world.

Names are looked up in the last observation. A request that cannot be carried out is refused
before anything is written, with the word that is wrong and the nearest thing that exists.
Every method is one transaction; afterwards :attr:`Service.wake` is set.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Literal

from engine import grammar
from engine.clock import Clock
from engine.errors import Refused
from engine.model import (
    Approval,
    ApprovalState,
    Fleet,
    Options,
    Request,
    Run,
    RunRecord,
    RunState,
    Vm,
    same_host,
    short,
)
from engine.policy import approval as approvals
from engine.settings import Settings
from engine.store import queries
from engine.store.deeds import writing
from engine.store.store import Store


@dataclass(frozen=True)
class Submitted:
    """A run, and whether it was there already: then nothing was started."""

    run: Run
    attached: bool


@dataclass(frozen=True)
class Decision:
    """What a click came to.

    ``code``: granted, denied, already (``by`` decided at ``at``), not_a_decider, own_run, stale,
    expired, withdrawn, unknown. Only granted and denied changed anything.
    """

    accepted: bool
    code: str
    approval: Approval | None = None
    run: Run | None = None
    by: str | None = None
    at: float | None = None


class Service:
    """Intents of people, for one VMM server."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, vmm: str = "vmm01") -> None:
        self.store, self.clock, self.settings, self.vmm = store, clock, settings, vmm
        self.wake = threading.Event()

    def submit(self, request: Request, *, by: str, scheduled: bool = False) -> Submitted:
        """Make a run of a request. The request of an unfinished run is answered with that run.

        ``scheduled``: it waits for :meth:`activate` (Slack: until its board is posted). Raises
        ``Refused``; then nothing was written.
        """
        fleet = queries.fleet(self.store, self.vmm)
        if fleet is None:
            raise Refused(
                f"{self.vmm} was not looked at yet, so no name can be checked.",
                hint="Try again in a minute.",
            )
        chosen = _resolve(request, fleet)
        options = replace(self.settings.options_for(request), now=False)
        with writing(self.store, self.clock.now()) as pen:
            unfinished = queries.runs(self.store, unfinished=True)
            records = queries.records(self.store, self.vmm)
            alike = (r.run for r in records if _is_same(r, request, options, chosen))
            same = next(alike, None)
            if same is not None:
                return Submitted(same, attached=True)
            _refuse_crossing(request, chosen, unfinished)
            number = pen.open_run(
                vmm=self.vmm,
                kind=request.kind,
                request=grammar.render(
                    replace(request, options=replace(request.options, now=False))
                ),
                sources=chosen.sources,
                destinations=chosen.destinations,
                options=options,
                by=by,
                state=RunState.SCHEDULED if scheduled else RunState.ACTIVE,
            )
            for vm, source in chosen.vms:
                pen.open_move(number, vm, source)
        run = queries.run(self.store, number)
        assert run is not None
        self.wake.set()
        return Submitted(run, attached=False)

    def refuse(self, by: str, text: str, error: Refused) -> None:
        """Keep in the audit what somebody asked for in vain."""
        with writing(self.store, self.clock.now()) as pen:
            pen.event("refused", f"{error}", by=by, detail={"text": text, "what": error.what})

    def activate(self, run_id: int) -> None:
        """Its board is posted: a scheduled run begins. Idempotent."""
        self._turn(run_id, RunState.ACTIVE, "begins")

    def reject(self, run_id: int, why: str) -> None:
        """Its board cannot be posted: a scheduled run ends before it began. Idempotent."""
        self._turn(run_id, RunState.REJECTED, f"was not started: {why}")

    def _turn(self, run_id: int, state: RunState, words: str) -> None:
        with writing(self.store, self.clock.now()) as pen:
            run = queries.run(self.store, run_id)
            if run is None or run.state is not RunState.SCHEDULED:
                return
            pen.turn_run(run, state, f"{run.label} {words}")
        self.wake.set()

    def decide(
        self,
        approval_id: int,
        verdict: Literal["approve", "deny"],
        *,
        by: str,
        deciders: frozenset[str] | None = None,
        digest: str | None = None,
        reason: str = "",
    ) -> Decision:
        """One click on an approval. Exactly one counts; every one is kept.

        ``deciders`` ``None``: the terminal's own user, who may decide own runs. ``digest``: what
        the button showed. Never raises for a click that may not decide: the answer says why.
        """
        with writing(self.store, self.clock.now()) as pen:
            asked = queries.approval(self.store, approval_id)
            run = queries.run(self.store, asked.run) if asked else None
            answer = approvals.judge_click(asked, run, by, digest, deciders)
            if asked is None or run is None:
                return Decision(False, "unknown")
            pen.vote(asked.id, by, verdict, answer)
            if answer != "ok":
                why = approvals.ANSWERS[answer]
                text = f"{by} clicked {verdict} on {asked.label}. Nothing changed: {why}."
                pen.event("refused", text, run=run.id, by=by, detail={"approval": asked.id})
                return Decision(False, answer, asked, run, asked.by, asked.decided)
            granted = verdict == "approve"
            state = ApprovalState.GRANTED if granted else ApprovalState.DENIED
            word = "approved" if granted else "denied"
            why = f': "{reason}"' if reason else ""
            pen.turn_approval(
                asked,
                state,
                f"{asked.label} {word} by {by}{why}",
                by=by,
                granted=asked.vms if granted else (),
                reason=reason,
            )
        decided = queries.approval(self.store, approval_id)
        self.wake.set()
        return Decision(True, str(state), decided, run, by, decided.decided if decided else None)


# --- names ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chosen:
    """What a request's words stand for in this fleet."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    vms: tuple[tuple[Vm, str], ...]


def _resolve(request: Request, fleet: Fleet) -> _Chosen:
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
        on = [(vm, _place(vm)) for vm in fleet.vms if not vm.stored]
        vms = tuple(
            (vm, next(s for s in sources if same_host(s, place)))
            for vm, place in on
            if any(same_host(s, place) for s in sources)
        )
        _check_exceptions(request, [vm for vm, _ in vms])
        return _Chosen(sources, destinations, vms)
    vms = _named_vms(request, fleet)
    sources = tuple(dict.fromkeys(place for _, place in vms))
    return _Chosen(sources, destinations, vms)


def _place(vm: Vm) -> str | None:
    """Where it is, by Hyper-V's word where we have it, else by VMM's."""
    return vm.seen_on[0] if len(vm.seen_on) == 1 else vm.vmm_host


def _hosts(words: tuple[str, ...], fleet: Fleet) -> tuple[str, ...]:
    """FQDNs, each once, in the order in which they were named."""
    return tuple(dict.fromkeys(_host(word, fleet) for word in words))


def _host(word: str, fleet: Fleet) -> str:
    """The one host of this FQDN or short name."""
    names = [h.name for h in fleet.hosts]
    exact = [n for n in names if same_host(n, word)]
    by_short = [n for n in names if same_host(short(n), word)]
    found = exact or by_short
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise Refused(
            f'"{word}" may be {" or ".join(found)}.', what=word, hint="Write the full name."
        )
    near = grammar.nearest(word, [short(n) for n in names])
    hint = f"Nearest: {near}." if near else f"There are: {', '.join(map(short, names[:8]))}."
    raise Refused(f"No host {word}.", what=word, hint=f"{hint} Nothing started.")


def _named_vms(request: Request, fleet: Fleet) -> tuple[tuple[Vm, str], ...]:
    """The VMs that the words name. A plain name must name exactly one."""
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
            raise Refused(f"No VM has the id {word[3:]}.", what=word, hint="Nothing started.")
        return found
    name, _, at = word.rpartition("@")
    name = name or word
    host = _host(at, fleet) if "@" in word else None
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
    """Nothing matches: the nearest name that exists, and where."""
    near = grammar.nearest(name, [vm.name for vm, _ in known])
    where = next((place for vm, place in known if vm.name == near), None)
    hint = f"Nearest: {near} on {short(where)}. Nothing started." if near else "Nothing started."
    on = f" on {short(host)}" if host else ""
    if any(c in name for c in "*?"):
        return Refused(f'No VM{on} matches "{name}".', what=word, hint=hint)
    return Refused(f"No VM {name}{on}.", what=word, hint=hint)


def _check_exceptions(request: Request, vms: list[Vm]) -> None:
    """A name after `except` that names nothing is a typo, and a typo would move the VM."""
    names = [vm.name for vm in vms]
    for word in request.options.excluding:
        if any(grammar.matches(word, n) for n in names):
            continue
        near = grammar.nearest(word, names)
        hint = f"Nearest: {near}. Nothing started." if near else "Nothing started."
        raise Refused(f'No VM of this request matches "{word}" after except.', what=word, hint=hint)


def _is_same(record: RunRecord, request: Request, options: Options, chosen: _Chosen) -> bool:
    """Was exactly this asked for already, however it was spelled?"""
    run = record.run
    if run.kind != request.kind or set(run.destinations) != set(chosen.destinations):
        return False
    if _spelled(run.options) != _spelled(options):
        return False
    if request.kind == "host":
        return set(run.sources) == set(chosen.sources)
    return {m.move.vm_id for m in record.moves} == {vm.id for vm, _ in chosen.vms}


def _spelled(options: Options) -> Options:
    """Options with what is spelled freely in one spelling."""
    return replace(options, excluding=tuple(sorted(w.casefold() for w in options.excluding)))


def _refuse_crossing(request: Request, chosen: _Chosen, unfinished: tuple[Run, ...]) -> None:
    """A host that is being emptied takes no VMs, and a host that takes VMs is not emptied."""
    for run in unfinished:
        both: set[str] = set()
        if run.kind == "host":
            both |= set(run.sources) & set(chosen.destinations)
        if request.kind == "host":
            both |= set(chosen.sources) & set(run.destinations)
        if both:
            name = short(min(both))
            raise Refused(
                f"{name} is on the other side of {run.label} ({run.request}, asked by {run.by}).",
                what=name,
                hint=f"Wait for {run.label} to end, or name another host. Nothing started.",
            )
