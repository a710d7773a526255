"""Verbs on an existing run: pause, resume, stop, abort, retry, skip, settle and more.

The table ``RULES`` holds the effect of each verb on a run in each state. Every method is one
transaction, returns the result (for ``withdraw`` a ``Decision``, else a sentence), and wakes the
engine after a change. Verbs only write rows; the next plan acts on them. All methods but
``withdraw`` raise ``Refused``; then nothing was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from engine.commands import retrying
from engine.commands.service import Decision, Service, keep_refused, refuse_crossing
from engine.errors import Refused
from engine.language import grammar
from engine.language import names as naming
from engine.language.sentence import Command, HostName, Person, Quote, join, say
from engine.model import (
    MIGRATIONS,
    ApprovalState,
    Move,
    MoveRecord,
    MoveState,
    Options,
    Run,
    RunRecord,
    RunState,
    same_host,
    short,
)
from engine.policy.approvals import approval as approvals
from engine.policy.approvals import review as reviews
from engine.policy.approvals.review import NOTE_LEAST, Reviewer
from engine.policy.verdict import tell, typed
from engine.store import queries
from engine.store.pen import Pen


class Rule(NamedTuple):
    """The effect of a verb in one state.

    ``so``: the verb changes nothing, because this already holds. ``why``: the verb is refused for
    this reason, and ``verb`` helps instead. All empty: the verb acts.
    """

    so: str = ""
    why: str = ""
    verb: str = ""


DO = Rule()
_BEGIN = Rule(why="the run has not begun; to stop it: {}", verb="stop")
_STOPPING = Rule(why="the run is stopping; once it has ended: {}", verb="retry")
_OVER = Rule(why="the run has ended; to retry the VMs that did not move: {}", verb="retry")
_DONE = Rule(why="the run has ended with nothing left to do")
_NEVER = Rule(why="the run never began; repeat the request")
_PAUSED, _GOES = Rule(so="is paused already"), Rule(so="is not paused")
_ENDS, _ENDED = Rule(so="is being stopped already"), Rule(so="has ended already")

RULES: Mapping[str, Mapping[RunState, Rule]] = {
    verb: dict(zip(RunState, said, strict=True))
    for verb, said in {
        # scheduled, active, paused, stopping, stopped, completed, incomplete, rejected
        "pause": (_BEGIN, DO, _PAUSED, _STOPPING, _OVER, _DONE, _OVER, _NEVER),
        "resume": (_BEGIN, _GOES, DO, _STOPPING, _OVER, _DONE, _OVER, _NEVER),
        "stop": (DO, DO, DO, _ENDS, *[_ENDED] * 4),
        "abort": (DO, DO, DO, DO, *[_ENDED] * 4),
        "retry": (_BEGIN, DO, DO, _STOPPING, DO, _DONE, DO, _NEVER),
        "skip": (_BEGIN, DO, DO, _STOPPING, _OVER, _DONE, _OVER, _NEVER),
        "set": (DO, DO, DO, _STOPPING, _OVER, _DONE, _OVER, _NEVER),
        "own": (DO, DO, DO, DO, _OVER, _DONE, _OVER, _NEVER),
        "settle": (_BEGIN, DO, DO, DO, DO, _DONE, DO, _NEVER),
        "go-on": (_BEGIN, DO, DO, DO, DO, _DONE, DO, _NEVER),
    }.items()
}


class Unchanged(Exception):
    """A verb that changes nothing, because its result holds already; ``sentence`` says so."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Steering:
    """Verbs on existing runs. ``by``: the person. A verb without effect raises ``Unchanged``."""

    def __init__(self, service: Service) -> None:
        self.service, self.store, self.clock = service, service.store, service.clock

    # --- the run ------------------------------------------------------------------------------

    def pause(self, word: str, *, by: str) -> str:
        """Pause a run: start nothing more. Migrations in flight are watched to their end."""
        with self._changing("pause", word, by) as (pen, record):
            run, label = record.run, record.run.label
            text = say("{} was paused by {}.", label, Person(by))
            pen.runs.set_state(run, RunState.PAUSED, text, by)
        go_on = Command(f"resume {label}")
        return say("{} is paused.{} To resume: {}", label, _flying(record), go_on)

    def resume(self, word: str, *, by: str) -> str:
        """Resume a paused run. Breakers, checks of rights and the proof of emptiness begin anew."""
        with self._changing("resume", word, by) as (pen, record):
            run = record.run
            self._refuse_crossing(run)
            pen.runs.resume(run, say("{} was resumed by {}.", run.label, Person(by)), by)
        return f"{run.label} is resumed."

    def stop(self, word: str, *, by: str) -> str:
        """Stop a run: start nothing more, then end. Migrations in flight are watched to their end,
        and their networks are restored."""
        with self._changing("stop", word, by) as (pen, record):
            _end_run(pen, record.run, by)
        return _stopped(record)

    def abort(self, word: str, *, by: str) -> str:
        """Stop a run as ``stop`` does, and ask VMM to stop its jobs in flight."""
        with self._changing("abort", word, by) as (pen, record):
            run = record.run
            if run.aborting:
                raise Unchanged(f"{run.label} is being aborted already. Nothing changed.")
            if run.state is not RunState.STOPPING:
                _end_run(pen, run, by)
            if run.state is not RunState.SCHEDULED:
                pen.runs.abort(run)
                form = "{} was aborted by {}: VMM is asked to cancel its migrations."
                text = say(form, run.label, Person(by))
                pen.event("run.changed", text, run=run.id, by=by)
        if run.state is RunState.SCHEDULED:
            return _stopped(record)
        flying = naming.names(_moving(record))
        asks = f"VMM is asked to cancel the migration of {flying}."
        stopped = asks if flying else "No migration is in flight."
        return f"{run.label} is aborted. {stopped}"

    def own(self, word: str, *, by: str) -> str:
        """Make ``by`` the owner of a run: the person who is told how it goes."""
        with self._changing("own", word, by) as (pen, record):
            run, owner = record.run, Person(by)
            if run.contact == by:
                raise Unchanged(say("{} already owns {}. Nothing changed.", owner, run.label))
            text = say("{} was taken over by {} from {}.", run.label, owner, Person(run.contact))
            pen.runs.hand_over(run, by, text)
        return say("{} is now the owner of {}.", owner, run.label)

    def set(self, word: str, name: str, value: str, *, by: str) -> str:
        """Change the option ``parallel`` or ``backup`` of a run."""
        field = name.casefold()
        if field not in ("parallel", "backup"):
            near = grammar.nearest(name, ("parallel", "backup")) or "parallel or backup"
            raise Refused(f"{name} cannot be set.", what=name, hint=f"Did you mean {near}?")
        read = grammar.option_value(field, value)
        with self._changing("set", word, by) as (pen, record):
            run = record.run
            options = _with(run.options, field, read)
            if options == run.options:
                raise Unchanged(f"{field} of {run.label} is already {value}. Nothing changed.")
            text = say("{} set {} of {} to {}.", Person(by), field, run.label, value)
            pen.runs.change_options(run, options, text, by)
        return f"{field} of {run.label} is now {value}."

    # --- its VMs ------------------------------------------------------------------------------

    def retry(self, word: str, vms: Sequence[str] = (), *, by: str) -> str:
        """Retry VMs that did not move, with a new count of attempts. Damaged VMs are only checked
        again, where they are. A run that has ended becomes active again."""
        with self._changing("retry", word, by) as (pen, record):
            run, who = record.run, Person(by)
            chosen = retrying.chosen(record, vms)
            self._refuse_flying(run, chosen)
            retrying.refuse_stopping_again(record, chosen)
            if run.over:
                self._refuse_crossing(run)
                names = naming.names([entry.move for entry in chosen])
                text = say("{} was resumed by {} to retry {}.", run.label, who, names)
                pen.runs.resume(run, text, by)
                for old in record.approvals:
                    if old.state is ApprovalState.GRANTED:
                        expired = f"{old.label} expired: the run had ended."
                        pen.approvals.set_state(old, ApprovalState.EXPIRED, expired)
            else:
                pen.runs.note_steered(run, by)
            for entry in chosen:
                what = "check" if entry.move.state is MoveState.DAMAGED else "attempt"
                form = "{by} requested another {what} of {vm}."
                pen.moves.retry(entry.move, tell(entry.move, form, what=what, by=who), by)
        paused = ""
        if run.state is RunState.PAUSED:
            go_on = Command(f"resume {run.label}")
            paused = say("{} is still paused. To resume: {}", run.label, go_on)
        return join(" ", [retrying.tried(chosen), paused])

    def skip(self, word: str, vms: Sequence[str] = (), *, by: str) -> str:
        """Skip the named VMs that are pending or failed; without names, all pending ones."""
        with self._changing("skip", word, by) as (pen, record):
            label = record.run.label
            waiting = [m for m in record.moves if m.move.state is MoveState.PENDING]
            named = naming.moves_named(vms, record.moves, label) if vms else waiting
            for entry in named:
                _refuse_skip(entry.move)
            if not named:
                raise Refused(f"{label} has no waiting VM.", what=word)
            for entry in named:
                form = "{vm} stays where it is: skipped by {by}."
                pen.moves.leave(entry.move, tell(entry.move, form, by=Person(by)), by)
        names = naming.names([entry.move for entry in named])
        return f"{names} {'stays where it is' if len(named) == 1 else 'stay where they are'}."

    def settle(self, word: str, vm: str, *, by: str) -> str:
        """Settle a VM whose location was unknown, after a person has located it. The next complete
        observation is trusted, the VM's network checked, and runs may start the VM again. A run
        that has ended checks the VM, but does not move it."""
        with self._changing("settle", word, by) as (pen, record):
            run, who = record.run, Person(by)
            named = naming.moves_named([vm], record.moves, run.label)
            if len(named) > 1:
                sentence = f"{vm} matches {len(named)} VMs of {run.label}."
                raise Refused(sentence, what=vm, hint="Locate and settle one VM at a time.")
            [entry] = named
            move = entry.move
            if move.state is not MoveState.UNKNOWN:
                raise Refused(f"There is nothing to settle: {naming.stands(move)}.", what=vm)
            self._refuse_flying(run, [entry])
            for attempt in entry.of(*MIGRATIONS):
                if attempt.open:
                    pen.attempts.let_go(replace(attempt, error="Settled by a person"))
            if run.over:
                # A stopping run checks the VM and starts nothing: on a source the VM stays there.
                form = "{run} checks {vm} once more: settled by {by}."
                looks = tell(move, form, run=run.label, by=who)
                pen.runs.set_state(run, RunState.STOPPING, looks, by)
            form = "{vm} was settled by {by}: the next observation is trusted."
            pen.moves.settle(move, tell(move, form, by=who), by)
        return f"{move.vm} is settled: {run.label} will look for it and check its network."

    def go_on(self, word: str, host: str, *shown: str, by: str) -> str:
        """Reopen a host that was closed because of damaged VMs. ``shown``: the VMs whose damage the
        person has seen, as ``id:...``. Refused if another VM was damaged there since."""
        with self._changing("go-on", word, by) as (pen, record):
            run = record.run
            damaged = [m.move for m in record.moves if m.holds_its_host_up]
            name = naming.host_among(host, [move.host for move in damaged])
            if name is None:
                places = ", ".join(sorted({short(m.host) for m in damaged}))
                hint = f"It damaged VMs on {places}." if places else ""
                raise Refused(f"{run.label} damaged no VM on {host}.", what=host, hint=hint)
            there = [move for move in damaged if same_host(move.host, name)]
            fresh = [move.vm for move in there if shown and f"id:{move.vm_id}" not in shown]
            if fresh:
                more = ", ".join(fresh)
                look = say("See: {}", Command(f"report {run.label}"))
                raise Refused(f"{more} was damaged there after this message.", hint=look)
            for move in there:
                pen.moves.clear_damage(move)
            text = say("{} receives VMs again: cleared by {}.", HostName(name), Person(by))
            pen.event("host.cleared", text, run=run.id, by=by, detail={"host": name})
        return f"{short(name)} receives VMs again."

    # --- approvals ----------------------------------------------------------------------------

    def withdraw(
        self,
        approval_id: int,
        *,
        by: str,
        approvers: frozenset[str] | None = None,
        digest: str | None = None,
        reason: str = "",
    ) -> Decision:
        """Withdraw an open question, or a grant before its first VM starts. See ``decide``."""
        with self.service.writing(by) as pen:
            asked = queries.approval(self.store, approval_id)
            record = queries.record(self.store, asked.run) if asked else None
            run = record.run if record else None
            started = bool(asked and record and approvals.has_started(asked, record.moves))
            answer = approvals.judge_withdrawal(asked, run, by, digest, approvers, started)
            if asked is None or run is None or answer != "ok":
                return keep_refused(pen, approval_id, asked, run, "withdraw", by, answer)
            pen.approvals.vote(asked.id, by, "withdraw", answer)
            why = say(': "{}"', Quote(reason)) if reason else ""
            text = say("{} withdrawn by {}{}", asked.label, Person(by), why)
            pen.approvals.set_state(asked, ApprovalState.WITHDRAWN, text, by=by, reason=reason)
        return self.service.decided(approval_id, "withdrawn", run, by)

    def reviewed(self, word: str, note: str = "", *, by: str, who: Reviewer) -> str:
        """Close every open review of the run's break-glass approvals that this person may close.
        ``note``: the reason why it was not in order; empty: it was in order."""
        note, now = note.strip(), self.clock.now()
        with self.service.writing(by) as pen:
            run = naming.find_run(word, queries.runs(self.store))
            found = queries.reviews(self.store, run.id)
            judged = [(one, reviews.judge(one, run, by, who)) for one in found]
            mine = [one for one, answer in judged if answer == "ok"]
            others = [(one, answer) for one, answer in judged if answer in reviews.BARRED]
            left = [reviews.why_not(*one, now) for one in others or ([] if mine else judged)]
            if not judged:
                sentence = f"{run.label} has no break-glass approval."
                hint = say("To see the runs that need a person: {}", Command("list"))
                raise Refused(sentence, what=word, hint=hint)
            if not mine:
                raise Refused(join(" ", left), what=word)
            if note and len(note) < NOTE_LEAST:
                raise Refused(
                    f"A finding needs at least {NOTE_LEAST} characters.",
                    what=note,
                    hint=say("If all was in order, type: {}", Command(f"reviewed {run.label}")),
                )
            said = reviews.verdict(not note, note)
            for one in mine:
                form = "{} reviewed the break-glass approval {} by {}: {}"
                text = say(form, Person(by), one.label, Person(one.broken_by), said)
                pen.approvals.review(one, text, by=by, in_order=not note, note=note)
        labels = ", ".join(one.label for one in mine)
        self.service.wake.set()
        return join(" ", [say("Reviewed {} as {}.", labels, said), *left])

    # --- shared by verbs ----------------------------------------------------------------------

    @contextmanager
    def _changing(self, verb: str, word: str, by: str) -> Iterator[tuple[Pen, RunRecord]]:
        """Open a verb's transaction, then wake the engine. Raises ``Refused``, ``Unchanged``."""
        with self.service.writing(by) as pen:
            run = naming.find_run(word, queries.runs(self.store))
            record = queries.record(self.store, run.id)
            assert record is not None
            rule = RULES[verb][run.state]
            if rule.so:
                raise Unchanged(f"{run.label} {rule.so}. Nothing changed.")
            if rule is not DO:
                why = say(rule.why, *[Command(f"{one} {run.label}") for one in [rule.verb] if one])
                sentence = say("{} has no effect on {}: {}.", verb, run.label, why)
                raise Refused(sentence, what=word)
            yield pen, record
        self.service.wake.set()

    def _refuse_crossing(self, run: Run) -> None:
        others = [r for r in queries.runs(self.store, unfinished=True) if r.id != run.id]
        refuse_crossing(run.kind, run.sources, run.destinations, others)

    def _refuse_flying(self, run: Run, chosen: Sequence[MoveRecord]) -> None:
        """Raise ``Refused`` for a VM that another run has in flight: that run watches it."""
        wanted = {entry.move.vm_id for entry in chosen}
        for record in queries.records(self.store, run.vmm):
            for entry in record.moves if record.run.id != run.id else ():
                flies = entry.move.state in (MoveState.MOVING, MoveState.RESTORING)
                if flies and entry.move.vm_id in wanted:
                    label = record.run.label
                    sentence = f"{label} has {entry.move.vm} in flight."
                    raise Refused(sentence, what=entry.move.vm, hint=f"Wait for {label}.")


def _with(options: Options, field: str, read: object) -> Options:
    if field == "parallel" and isinstance(read, int):
        return replace(options, parallel=read)
    if field == "backup" and isinstance(read, float):
        return replace(options, backup=read)
    raise TypeError(f"{field} is not {read!r}")


def _end_run(pen: Pen, run: Run, by: str) -> None:
    state, form = RunState.STOPPING, "{} was stopped by {}."
    if run.state is RunState.SCHEDULED:
        state, form = RunState.REJECTED, "{} was stopped by {} before it began."
    pen.runs.set_state(run, state, say(form, run.label, Person(by)), by)


def _refuse_skip(move: Move) -> None:
    if move.state in (MoveState.PENDING, MoveState.FAILED):
        return
    hint = ""
    if move.state in (MoveState.MOVING, MoveState.RESTORING):
        hint = say("Wait until it has arrived, or: {}", Command(f"abort R{move.run}"))
    if move.state is MoveState.UNKNOWN:
        hint = say("Find the VM, then: {}", typed("settle", move.run, move))
    raise Refused(f"skip has no effect: {naming.stands(move)}.", what=move.vm, hint=hint)


def _moving(record: RunRecord) -> list[Move]:
    return [m.move for m in record.moves if m.move.state is MoveState.MOVING]


def _flying(record: RunRecord) -> str:
    """Sentence about the run's migrations that are still in flight; empty: none."""
    moving = _moving(record)
    if not moving:
        return ""
    return f" Still in flight, and watched to the end: {naming.names(moving)}."


def _stopped(record: RunRecord) -> str:
    if record.run.state is RunState.SCHEDULED:
        return f"{record.run.label} was stopped before it began."
    return f"{record.run.label} starts nothing more.{_flying(record)}"
