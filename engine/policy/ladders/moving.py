"""Ladder of a move in flight: its job is seen, overdue, ended or lost."""

from __future__ import annotations

import math

from engine.language.grammar import took
from engine.language.sentence import HostName, Quote, VmName, join, say
from engine.model import Attempt, Look, Outcome, PartKind, Wait, same_host
from engine.policy import freshness, rungs
from engine.policy.judging import arrival
from engine.policy.judging.arrival import Ending, Whereabouts
from engine.policy.starts import estimate
from engine.policy.steps import Arrive, StopJob
from engine.policy.verdict import Verdict, View, ended, hold, hold_or

_SHARE = 1200.0
"""Seconds of a move's estimate for which ``patience`` waits once."""


def moving(view: View) -> Verdict:
    """Watch a written start to its end, then find the VM."""
    attempt = view.record.open_migration
    if attempt is None:
        return Verdict(Arrive(view.move, view.move.host or view.move.source))
    job = view.fleet.job(attempt.known_job)
    if arrival.has_job(job, view.fleet, view.move.vm_id):
        return _stop(view, attempt) if view.run.aborting else _watch(view, attempt)
    both = tuple(h for h in (attempt.source, attempt.destination) if h is not None)
    silent = view.silent(*both)
    if silent:
        return rungs.hold_silent(view, silent)
    ending = arrival.ending_of(attempt, view.fleet)
    if ending is not None:
        return _judge_end(view, attempt, ending)
    options = view.run.options
    due = freshness.overdue_at(view.fleet, attempt, view.now, options, view.rules)
    known = attempt.known_job
    if due <= view.now and known is not None and known not in view.fleet.over:
        return _hold_untold(view, known)
    return Verdict(due=max(due, view.now + view.rules.tick))


def _watch(view: View, attempt: Attempt) -> Verdict:
    """Watch a running migration. One without any progress for long is called out, because only a
    person can find out why; it may still go on."""
    found = view.fleet.running_jobs(view.move.vm_id)
    since = max((view.fleet.stood.get(job.id, view.now) for job in found), default=view.now)
    window = patience(view)
    if view.now < since + window:
        return Verdict(due=since + window)
    at = max((job.progress for job in found), default=0)
    to = HostName(attempt.destination or "?")
    form, vm = "the migration of {} to {} has stood at {} % for {}", VmName(view.move.vm)
    text = say(form, vm, to, str(at), took(window))
    return hold(view, Wait.STALLED, text, needs_person=True)


def patience(view: View) -> float:
    """Seconds without progress after which people are told: ``stalled`` for each started
    ``_SHARE`` of the estimate, because large VMs make each percent slowly."""
    expected = estimate.seconds(view.move, view.rules.mb_per_s)
    return view.rules.stalled * math.ceil(expected / _SHARE)


def _judge_end(view: View, attempt: Attempt, ending: Ending) -> Verdict:
    """Judge an attempt whose job has ended or was lost, by what both hosts said after that."""
    looks = freshness.to_judge_end(view.fleet, attempt, ending.after, view.now, view.run.options)
    place = arrival.judge(attempt, ending)
    if place is None or any(look.kind is PartKind.VMS for look in looks):
        awaits = not arrival.is_shown_moving(attempt, view.fleet)
        return Verdict(looks=looks, due=view.now + view.rules.tick, awaits=awaits)
    if place is not Whereabouts.NEITHER and not arrival.is_proof(attempt, ending, place):
        return _hold_in_doubt(view, attempt, ending, place)
    if place is Whereabouts.BOTH:
        return rungs.hold_two_places(view)
    host = attempt.source if place is Whereabouts.SOURCE else attempt.destination
    if place is Whereabouts.NEITHER:
        seen = view.vm.seen_on if view.vm is not None else ()
        if len(seen) != 1 or any(same_host(seen[0], h) for h in (attempt.source, host)):
            unasked = view.unasked()
            return Verdict(looks=unasked) if unasked else rungs.hold_missing(view)
        place, host = Whereabouts.ELSEWHERE, seen[0]
    ends = arrival.result_of(attempt, place, ending.job, view.move.vm)
    ran = arrival.times_of(ending.job, view.fleet)
    return Verdict(Arrive(view.move, host or attempt.source, ends, ran))


def _stop(view: View, attempt: Attempt) -> Verdict:
    """Ask VMM to stop the job of an aborted run, once per ``pass``, until the job is over."""
    jobs = [j for j in view.fleet.running_jobs(attempt.vm_id) if j.id == attempt.job]
    if attempt.job is None:
        jobs = [
            job
            for job in view.fleet.running_jobs(attempt.vm_id)
            if same_host(job.source, attempt.source) and same_host(job.target, attempt.destination)
        ]
    if not jobs:
        return Verdict()
    asked = view.move.stop_asked
    if asked is not None and view.now - asked < view.run.options.pass_:
        return Verdict(due=asked + view.run.options.pass_)
    return Verdict(StopJob(view.move, jobs[0].id, attempt.source, view.valid_until))


def _hold_untold(view: View, job: str) -> Verdict:
    """Hold a VM of whose job VMM tells nothing: VMM was not asked for it since, or refused to read
    it. That does not end a move."""
    why = view.fleet.unread.get(job)
    said = say(": {}", Quote(why)) if why else ""
    ending = ended(
        view.move,
        Outcome.UNKNOWN,
        "VMM did not tell what became of the job that moves {vm}{said}.",
        "Look for job {job} in VMM, and whether it still runs. {settle}",
        said=said,
        job=Quote(job),
    )
    text = say("VMM does not tell what became of its job{}", said)
    return hold_or(view, Wait.FOREIGN, text, ending)


def _hold_in_doubt(view: View, attempt: Attempt, ending: Ending, place: Whereabouts) -> Verdict:
    """Hold a powered-down VM whose job is lost and that Hyper-V shows on its source, or on both
    hosts. VMM copies it without a sign in Hyper-V, so the copy may go on: neither a retry nor an
    end is safe. VMM re-reads the VM once, then a person looks, whatever VMM's status says."""
    job = ending.job
    is_on_both = place is Whereabouts.BOTH
    hosts = [attempt.source, attempt.destination if is_on_both else None]
    said = say(" VMM said of it: {}", Quote(job.error)) if job is not None and job.error else ""
    end = ended(
        view.move,
        Outcome.UNKNOWN,
        "The job that moves {vm} was lost. Hyper-V shows it at rest on {where}, but its copy "
        "may go on.{said}",
        "Check in VMM and on both hosts that nothing copies {vm} any more, and start it nowhere "
        "until then. Its id is {id}. {settle}",
        where=join(" and ", map(HostName, filter(None, hosts))),
        said=said,
    )
    text = say(
        "its job was lost, and nothing shows whether its copy goes on{}", said and "." + said
    )
    verdict = hold_or(view, Wait.DOUBT, text, end)
    look = Look(PartKind.VM, view.move.vm_id, host=attempt.source)
    is_asked = view.fleet.age(*look.key).asked > ending.after
    may = not is_asked and freshness.may_reread(view.fleet, look, view.now, view.run.options)
    return Verdict(verdict.step, looks=(look,) if may else (), due=verdict.due)
