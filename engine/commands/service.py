"""Requests and decisions of people, written as rows. Nothing here talks to the world.

Names are looked up in the last observation. A request that cannot be carried out is refused before
anything is written, with the wrong word and the nearest name that exists. Each method writes in one
transaction. A new run, a changed state and a decision that counts set :attr:`Service.wake`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

from engine.clock import Clock
from engine.commands.forecast import Forecast, forecast, shown_digest
from engine.errors import Refused
from engine.language import grammar
from engine.language.names import Chosen, moves_named, resolve
from engine.language.sentence import Person, Quote, join, say
from engine.model import (
    Approval,
    ApprovalState,
    Fleet,
    Options,
    Request,
    Run,
    RunRecord,
    RunState,
    short,
)
from engine.policy.approvals import approval as approvals
from engine.settings import Settings
from engine.store import queries
from engine.store.pen import Pen, writing
from engine.store.store import Store

BOARD = "board"  # cause of events that follow from posting a board, or from failing to post it


@dataclass(frozen=True)
class Submitted:
    """Run of a request. ``attached``: the run existed already, and nothing was started."""

    run: Run
    attached: bool


@dataclass(frozen=True)
class Decision:
    """Result of a decision on an approval.

    ``accepted``: it changed the approval; then ``code`` is granted, denied or withdrawn. Otherwise
    ``code`` is a key of ``ANSWERS``. ``by`` and ``at``: who decided, and when (Unix seconds).
    """

    accepted: bool
    code: str
    approval: Approval | None = None
    run: Run | None = None
    by: str | None = None
    at: float | None = None


class Service:
    """Writer of people's requests and decisions, for one VMM server."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, vmm: str = "vmm01") -> None:
        self.store, self.clock, self.settings, self.vmm = store, clock, settings, vmm
        self.wake = threading.Event()
        self.cause: str | None = None

    def because(self, cause: str) -> Service:
        """Return a copy of this service whose events have this cause, such as ``inbox:17``."""
        bound = copy.copy(self)
        bound.cause = cause
        return bound

    def writing(self, by: str) -> AbstractContextManager[Pen]:
        """Open one transaction of a person, or of a part of VMFerry (``board``). The cause of its
        events is that of this service, else ``by``."""
        return writing(self.store, self.clock.now(), cause=self.cause or by)

    def submit(
        self, request: Request, *, by: str, scheduled: bool = False, shown: str | None = None
    ) -> Submitted:
        """Open a run for a request. Idempotent while that run is unfinished: it is returned.

        ``scheduled``: the run waits for :meth:`activate` (in Slack, until its board is posted).
        ``shown``: digest of the forecast that the requester confirmed. Raises ``Refused``, also if
        the forecast has changed since; then nothing was written.
        """
        fleet = self._fleet()
        chosen = resolve(request, fleet)
        options = self.settings.options_for(request)
        if shown not in (None, shown_digest(chosen, options)):
            hint = "Repeat the request for a new preview."
            sentence = "The VMs of this request have just changed. Nothing started."
            raise Refused(sentence, hint=hint, says_nothing=True)
        options = replace(options, now=False)
        with self.writing(by) as pen:
            same = self._same(request, chosen, options)
            if same is not None:
                return Submitted(same, attached=True)
            number = pen.runs.open(
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
                pen.moves.open(number, vm, source)
        run = queries.run(self.store, number)
        assert run is not None
        self.wake.set()
        return Submitted(run, attached=False)

    def foresee(self, request: Request) -> Forecast | Run:
        """Forecast a request, or return the unfinished run of the same request. Writes nothing.
        Raises ``Refused`` as :meth:`submit` does."""
        fleet = self._fleet()
        chosen = resolve(request, fleet)
        options = self.settings.options_for(request)
        same = self._same(request, chosen, replace(options, now=False))
        if same is not None:
            return same
        others = queries.records(self.store, self.vmm)
        mb_per_s = self.settings.engine.mb_per_s
        return forecast(request, chosen, options, fleet, others, mb_per_s)

    def _fleet(self) -> Fleet:
        """Last observation. Raises ``Refused`` if there is none."""
        fleet = queries.fleet(self.store, self.vmm)
        if fleet is None:
            raise Refused(
                f"{self.vmm} has not been observed yet, so no name can be checked.",
                hint="Try again in a minute.",
            )
        return fleet

    def _same(self, request: Request, chosen: Chosen, options: Options) -> Run | None:
        """Unfinished run of this request, or ``None``. Raises ``Refused`` if it crosses another."""
        records = queries.records(self.store, self.vmm)
        same = next((r.run for r in records if _is_same(r, request, options, chosen)), None)
        if same is None:
            unfinished = queries.runs(self.store, unfinished=True)
            refuse_crossing(request.kind, chosen.sources, chosen.destinations, unfinished)
        return same

    def refuse(self, by: str, text: str, error: Refused) -> None:
        """Record a refused request in the audit."""
        with self.writing(by) as pen:
            said = join(" ", [error.sentence, error.hint])
            pen.event("refused", said, by=by, detail={"text": text, "what": error.what})

    def note(self, run_id: int, text: str) -> None:
        """Record an event about a run that happened outside of the engine."""
        with self.writing(BOARD) as pen:
            pen.event("run.noted", text, run=run_id)

    def activate(self, run_id: int) -> None:
        """Begin a scheduled run once its board is posted. Idempotent."""
        self._set_state(run_id, RunState.ACTIVE, "begins")

    def reject(self, run_id: int, why: str) -> None:
        """End a scheduled run whose board cannot be posted before it began. Idempotent."""
        self._set_state(run_id, RunState.REJECTED, say("was not started: {}", why))

    def _set_state(self, run_id: int, state: RunState, words: str) -> None:
        with self.writing(BOARD) as pen:
            run = queries.run(self.store, run_id)
            if run is None or run.state is not RunState.SCHEDULED:
                return
            pen.runs.set_state(run, state, say("{} {}", run.label, words))
        self.wake.set()

    def decide(
        self,
        approval_id: int,
        verdict: Literal["approve", "deny"],
        *,
        by: str,
        approvers: frozenset[str] | None = None,
        digest: str | None = None,
        reason: str = "",
        vms: Sequence[str] | None = None,
        glass: approvals.Glass | None = None,
    ) -> Decision:
        """Decide an approval. Only the first permitted decision counts; the others are kept in the
        audit, and the result says why they change nothing.

        ``approvers``: ``None`` for the terminal's user, who may decide on their own runs.
        ``digest``: the one on the button. ``vms``: approve only these VMs of the card. ``glass``:
        approve by break-glass. Raises ``Refused`` only for ``vms``: if one is not on the card, or
        if it is empty. Raises ``ValueError`` for a denial with ``glass``.
        """
        if glass is not None and verdict != "approve":
            raise ValueError("break-glass only approves")
        with self.writing(by) as pen:
            asked = queries.approval(self.store, approval_id)
            run = queries.run(self.store, asked.run) if asked else None
            if glass is None:
                answer = approvals.judge_click(asked, run, by, digest, approvers)
            else:
                may = approvers or frozenset()
                answer = approvals.judge_breaking(asked, run, by, digest, may, glass, reason)
            if asked is None or run is None or answer != "ok":
                return keep_refused(pen, approval_id, asked, run, verdict, by, answer)
            pen.approvals.vote(asked.id, by, verdict, answer)
            chosen = self._chosen(asked, vms) if verdict == "approve" else None
            state = _write_decision(pen, asked, chosen, by, reason, broken=glass is not None)
        return self.decided(approval_id, str(state), run, by)

    def decided(self, approval_id: int, code: str, run: Run, by: str) -> Decision:
        """Return the result of a decision that counts, and wake the engine."""
        now = queries.approval(self.store, approval_id)
        self.wake.set()
        return Decision(True, code, now, run, by, now.decided if now else None)

    def _chosen(self, asked: Approval, names: Sequence[str] | None) -> tuple[str, ...]:
        """Ids of the VMs that are approved: all of the card, or those named. Raises ``Refused``."""
        if names is None:
            return asked.vms
        if not names:
            hint = f"Name one, or deny {asked.label}."
            raise Refused(f"No VM of {asked.label} was chosen.", hint=hint)
        record = queries.record(self.store, asked.run)
        on_card = [m for m in record.moves if m.move.vm_id in asked.vms] if record else []
        wanted = {m.move.vm_id for m in moves_named(names, on_card, asked.label)}
        return tuple(vm for vm in asked.vms if vm in wanted)


def keep_refused(
    pen: Pen, number: int, asked: Approval | None, run: Run | None, verb: str, by: str, answer: str
) -> Decision:
    """Record a decision that changes nothing in the audit. ``answer``: a key of ``ANSWERS``."""
    form = "{} tried to {} A{}. Nothing changed: {}."
    text = say(form, Person(by), verb, number, approvals.ANSWERS[answer])
    if asked is None or run is None:
        pen.event("refused", text, by=by, detail={"approval": number})
        return Decision(False, answer)
    pen.approvals.vote(number, by, verb, answer)
    pen.event("refused", text, run=run.id, by=by, detail={"approval": number})
    return Decision(False, answer, asked, run, asked.by, asked.decided)


def _is_same(record: RunRecord, request: Request, options: Options, chosen: Chosen) -> bool:
    """Tell whether this run has exactly this request, in any spelling."""
    run = record.run
    if run.kind != request.kind or set(run.destinations) != set(chosen.destinations):
        return False
    if _spelled(run.options) != _spelled(options):
        return False
    if request.kind == "host":
        return set(run.sources) == set(chosen.sources)
    return {m.move.vm_id for m in record.moves} == {vm.id for vm, _ in chosen.vms}


def _spelled(options: Options) -> Options:
    """Normalise the words of ``except``, which people spell freely."""
    return replace(options, excluding=tuple(sorted(w.casefold() for w in options.excluding)))


def refuse_crossing(
    kind: str, sources: Sequence[str], destinations: Sequence[str], unfinished: Iterable[Run]
) -> None:
    """Raise ``Refused`` if a host that one run empties would be a destination of another."""
    for run in unfinished:
        both: set[str] = set()
        if run.kind == "host":
            both |= set(run.sources) & set(destinations)
        if kind == "host":
            both |= set(sources) & set(run.destinations)
        if both:
            name = short(min(both))
            form = "{} is used in the opposite direction by {} ({}, requested by {})."
            raise Refused(
                say(form, name, run.label, Quote(run.request), Person(run.by)),
                what=name,
                hint=f"Wait for {run.label} to end, or name another host. Nothing started.",
                says_nothing=True,
            )


def _write_decision(
    pen: Pen, asked: Approval, chosen: tuple[str, ...] | None, by: str, reason: str, *, broken: bool
) -> ApprovalState:
    """Grant ``chosen``, or deny all VMs if it is ``None``. ``broken``: by break-glass."""
    state = ApprovalState.DENIED if chosen is None else ApprovalState.GRANTED
    word = "denied" if chosen is None else "approved"
    if chosen is not None and len(chosen) < len(asked.vms):
        word = f"approved for {len(chosen)} of {len(asked.vms)} VMs"
    glass = ", who broke the glass" if broken else ""
    why = say(': "{}"', Quote(reason)) if reason else ""
    text = say("{} {} by {}{}{}", asked.label, word, Person(by), glass, why)
    pen.approvals.set_state(
        asked, state, text, by=by, granted=chosen or (), reason=reason, glass=broken
    )
    return state
