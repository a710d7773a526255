"""Ladder of a move in flight: its job is seen, overdue, ended or lost."""

from __future__ import annotations

from engine.language.sentence import Quote, say
from engine.model import Attempt, AttemptKind, Look, Outcome, PartKind, Wait, same_host
from engine.policy import freshness, rungs
from engine.policy.judging import arrival
from engine.policy.judging.arrival import Whereabouts
from engine.policy.steps import Arrive, StopJob
from engine.policy.verdict import Verdict, View, ended, hold_or


def moving(view: View) -> Verdict:
    """Watch a written start to its end, then find the VM."""
    attempt = view.record.open_migration
    if attempt is None:
        return Verdict(Arrive(view.move, view.move.host or view.move.source))
    job = view.fleet.job(attempt.job)
    if arrival.has_job(job, view.fleet, view.move.vm_id):
        return _stop(view, attempt) if view.run.aborting else Verdict()
    both = tuple(h for h in (attempt.source, attempt.destination) if h is not None)
    silent = view.silent(*both)
    if silent:
        return rungs.hold_silent(view, silent)
    if job is None and not freshness.is_overdue(view.fleet, attempt, view.run.options):
        return _look_for_arrival(view, attempt, both)
    if attempt.job is not None and attempt.job not in view.fleet.over:
        return _hold_untold(view, attempt.job)
    return _judge_end(view, attempt, both)


def _judge_end(view: View, attempt: Attempt, both: tuple[str, ...]) -> Verdict:
    """Judge an attempt whose job has ended or was lost, by looks that were asked after that."""
    looks = freshness.to_judge_end(view.fleet, both, attempt, view.run.options)
    if looks:
        return Verdict(looks=looks)
    vm = view.vm
    if vm is not None and vm.migrating_by_hyperv:
        return Verdict(due=view.now + view.rules.tick)
    if view.fleet.job(attempt.job) is None:
        after = view.fleet.over_since(attempt.job, attempt.vm_id)
        stale = [
            look for host in both for look in freshness.to_trust_status(view.fleet, host, after)
        ]
        if stale:
            return Verdict(looks=tuple(stale))
        if vm is not None and vm.migrating:
            return _hold_endless(view, both)
        place = arrival.find(attempt, vm, view.fleet).place
        at_rest = place in (Whereabouts.SOURCE, Whereabouts.BOTH)
        if attempt.kind is AttemptKind.COLD and at_rest:
            return _hold_unseen_copy(view, attempt)
    return _where_it_ended(view, attempt)


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


def _hold_endless(view: View, both: tuple[str, ...]) -> Verdict:
    """Hold a VM that VMM still shows as UnderMigration, without a job and with Hyper-V at rest."""
    ending = ended(
        view.move,
        Outcome.UNKNOWN,
        "VMM has shown {vm} as migrating for too long, although no job of the VM is running.",
        "Repair or refresh {vm} in VMM; its id is {id}. {settle}",
    )
    verdict = hold_or(view, Wait.FOREIGN, "VMM still shows UnderMigration, without a job", ending)
    look = Look(PartKind.VM, view.move.vm_id, host=both[0])
    may = freshness.may_reread(view.fleet, look, view.now, view.run.options)
    return Verdict(verdict.step, looks=(look,) if may else (), due=verdict.due)


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


def _hold_unseen_copy(view: View, attempt: Attempt) -> Verdict:
    """Hold a powered-down VM whose job is lost and that Hyper-V shows on its source. VMM copies it
    without a sign in Hyper-V, so the copy may go on: neither a retry nor an end is safe."""
    ending = ended(
        view.move,
        Outcome.UNKNOWN,
        "The job that moves {vm} was lost. The VM is at rest on {source}, but its copy may go on.",
        "Check in VMM that no job moves {vm}; its id is {id}. {settle}",
    )
    text = "its job was lost, and nothing shows whether its copy goes on"
    return hold_or(view, Wait.FOREIGN, text, ending)


def _look_for_arrival(view: View, attempt: Attempt, both: tuple[str, ...]) -> Verdict:
    """Wait for a job to appear. Until the last look-up, only an arrival proves anything."""
    ends = freshness.lookups_end(attempt, view.run.options)
    deadline = view.now + ends - view.fleet.server_time
    due = max(deadline + 0.001, view.now + view.rules.tick)
    found = arrival.find(attempt, view.vm, view.fleet)
    is_told = attempt.job is None or attempt.job in view.fleet.over
    if found.place is not Whereabouts.DESTINATION or not is_told:
        return Verdict(due=due)
    looks = freshness.to_judge_end(view.fleet, both, attempt, view.run.options)
    if looks:
        return Verdict(looks=looks, due=due)
    return _where_it_ended(view, attempt)


def _where_it_ended(view: View, attempt: Attempt) -> Verdict:
    """Judge the end of an attempt by the VM's location and the job's result."""
    found = arrival.find(attempt, view.vm, view.fleet)
    if found.place is Whereabouts.HOST_SILENT:
        return rungs.hold_silent(view, (found.silent or "?",))
    if found.place is Whereabouts.BOTH:
        return rungs.hold_two_places(view)
    if found.host is None:
        unasked = view.unasked()
        return Verdict(looks=unasked) if unasked else rungs.hold_missing(view)
    ended = arrival.result_of(attempt, found.place, view.fleet.job(attempt.job), view.move.vm)
    return Verdict(Arrive(view.move, found.host, ended))
