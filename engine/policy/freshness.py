"""Freshness: how old the parts may be on which a decision rests. Each function returns the looks
that are needed first; none: decide now.

| decision | needs |
|---|---|
| a move has ended | both Hyper-Vs' word on the VM, asked after VMM's answer about its job |
| a start | jobs asked, counters and word on the VM answered 2 ticks ago; room, switches: a pass |
| VMM's status of a VM at rest | VMM's list of the host, asked after the last attempt ended |
| VMM's half of a network | asked after a re-read of the VM, asked after its last move |
| a host is empty | what is in flight to it, then both full lists, VMM's after a light re-read |

A ``bulletproof`` run wants a light re-read of both hosts before each start and after each end.

Order is decided by the numbers of calls, age by the time of the question.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.model import REREADS, Age, Attempt, Fleet, Look, Options, PartKind, Says, Vm
from engine.policy.judging.arrival import APART
from engine.policy.waits import Rules

BREATH = 30.0
"""Seconds between two pulses of a host on which nothing is about to change."""
_MOMENT = 0.001
"""Seconds by which a time has to have passed, not only come."""
AGAIN = 3
"""Ticks after a failure until the same question is asked again."""
Looks = tuple[Look, ...]


def word_asked(fleet: Fleet, host: str, vm_id: str) -> tuple[int, float]:
    """Return number and time of the latest question to a host's Hyper-V about a VM; 0: never."""
    shown = fleet.age(PartKind.SHOWN, host)
    word = fleet.words.get((host.casefold(), vm_id))
    asked = (word.asked, word.asked_at) if word is not None else (0, 0.0)
    return max(asked, (shown.asked, shown.asked_at or 0.0))


def to_judge_end(fleet: Fleet, attempt: Attempt, after: int, now: float, options: Options) -> Looks:
    """Looks before the end of an attempt is judged, which was known at call ``after``: at the hosts
    whose word is not known, or has to be heard again by now."""
    hosts = [h for h in (attempt.source, attempt.destination) if h is not None]
    if options.bulletproof:
        ages = [(host, fleet.age(PartKind.VMS, host)) for host in hosts]
        wanted = [h for h, a in ages if a.asked <= after and a.tries <= options.refreshes]
        if wanted:
            return tuple(Look(PartKind.VMS, host) for host in wanted)
    lacking = (h for h in hosts if _has_to_say(fleet, h, attempt, after, now))
    return tuple(Look(PartKind.PULSE, host, (attempt.vm_id,)) for host in lacking)


def _has_to_say(fleet: Fleet, host: str, attempt: Attempt, after: int, now: float) -> bool:
    """Tell whether this host is to be asked now. While it shows the VM in flight, the pulse of each
    tick is enough."""
    heard = attempt.hearing.of(host)
    if heard is not None:
        return not heard.twice and now >= heard.answered_at + APART
    word = fleet.words.get((host.casefold(), attempt.vm_id))
    if word is None or word.asked <= after:
        return True
    return word.asked <= attempt.hearing.after and word.says is not Says.MOVING


def is_overdue(fleet: Fleet, attempt: Attempt, now: float, options: Options, rules: Rules) -> bool:
    """Tell whether a start without a visible job can no longer begin."""
    return overdue_at(fleet, attempt, now, options, rules) <= now


def overdue_at(fleet: Fleet, attempt: Attempt, now: float, options: Options, rules: Rules) -> float:
    """Time after which a start without a visible job can no longer begin (Unix seconds).

    The guard at VMM refuses to begin it after ``not_after`` on the server's clock, and what has
    passed the guard shows a job at most ``lookups`` x ``lookup-interval`` seconds later. Clocks
    step, so it must be true by VMM's clock and by VMFerry's own, unless that one was set back.
    """
    last = options.lookups * options.lookup_interval
    begun_by = attempt.not_after if attempt.not_after is not None else attempt.begun
    by_vmm = now + begun_by + last - fleet.server_time + _MOMENT
    own = attempt.begun + rules.start_window + last + _MOMENT
    return by_vmm if now < attempt.begun else max(by_vmm, own)


def to_start(
    fleet: Fleet, source: str, target: str, vm_id: str, now: float, rules: Rules, options: Options
) -> Looks:
    """Looks before a start: what runs, whether the VM is as it was, and room and switches.

    If one of the fast looks is old, all are asked again, each once a tick: one after another, the
    first could be old when the last is answered, for ever. Ages count from the answers, because a
    busy Hyper-V takes long; the guards of the start itself see what has changed since. VMM's list
    of jobs counts from the question: the start itself would be too slow for a VMM that takes longer
    for it.
    """
    both = (source, target)
    jobs = fleet.age(PartKind.JOBS)
    pulses = [fleet.age(PartKind.PULSE, host) for host in both]
    words = [word_asked(fleet, host, vm_id) for host in both]
    since = now - 2 * rules.tick
    is_fresh = since <= (jobs.asked_at or 0.0) <= now and all(
        not age.failed
        and (age.answered_at or 0.0) >= since
        and now - BREATH <= (age.asked_at or 0.0) <= now
        and (0 < age.asked <= number or since <= at <= now)
        for (number, at), age in zip(words, pulses, strict=True)
    )
    looks = []
    if not is_fresh:
        looks = [
            Look(PartKind.PULSE, host, (vm_id,))
            for host, (_, at), age in zip(both, words, pulses, strict=True)
            if age.failed or not all(0 <= now - t < rules.tick for t in (at, age.asked_at or 0.0))
        ]
        if not now - rules.tick < (jobs.asked_at or 0.0) <= now:
            looks.insert(0, Look(PartKind.JOBS))
    for kind in (PartKind.KNOWN, PartKind.SHOWN):
        age = fleet.age(kind, target)
        if not now - options.pass_ <= (age.asked_at or 0.0) <= now:
            looks.append(Look(kind, target))
    if options.bulletproof:
        looks += _reread(fleet, (source, target), now - options.pass_, options)
    return tuple(looks)


def _reread(fleet: Fleet, hosts: Iterable[str], since: float, options: Options) -> Looks:
    """Light re-reads of these hosts' VMs, unless one ended at ``since`` or later, or failed again
    and again. Counted from the question, a re-read that takes long would be repeated for ever."""
    ages = [(host, fleet.age(PartKind.VMS, host)) for host in hosts]
    wanted = [h for h, a in ages if (a.answered_at or 0.0) < since and a.tries <= options.refreshes]
    return tuple(Look(PartKind.VMS, host) for host in wanted)


def to_trust_status(fleet: Fleet, host: str, after: int) -> Looks:
    """Looks before VMM's status of a VM on this host counts: asked after call ``after``."""
    is_later = fleet.age(PartKind.KNOWN, host).asked > after
    return () if is_later else (Look(PartKind.KNOWN, host),)


def to_read_models(
    fleet: Fleet, vm_id: str, host: str, after: int, since: float, options: Options
) -> Looks:
    """Re-read of a VM before VMM's half of its network is read: asked after call ``after`` and
    after ``since`` (Unix seconds). One that fails again and again is given up: VMM is then believed
    as it is."""
    age = fleet.age(PartKind.VM, vm_id)
    is_asked = age.asked > after and (age.asked_at or 0.0) > since
    is_tried = age.tried > after and (age.tried_at or 0.0) > since
    if is_asked or (is_tried and age.tries > options.refreshes):
        return ()
    return (Look(PartKind.VM, vm_id, host=host),)


def to_believe_migration(fleet: Fleet, vm: Vm, after: int, now: float, rules: Rules) -> Looks:
    """Look before VMM's status UnderMigration counts if no job and no Hyper-V shows a migration: it
    may be left from a move that is over. ``after``: call when our own last attempt ended. Its age
    counts from the answer: a VMM that takes long would be asked again and again, for ever."""
    if vm.migrating_by_hyperv or fleet.running_jobs(vm.id) or not vm.vmm_host:
        return ()
    age = fleet.age(PartKind.KNOWN, vm.vmm_host)
    is_fresh = age.asked > after and 0 <= now - (age.answered_at or 0.0) <= 2 * rules.tick
    return () if is_fresh else (Look(PartKind.KNOWN, vm.vmm_host),)


def to_see_flights(fleet: Fleet, host: str, after: int, since: float) -> Looks:
    """Looks at what is in flight to a host: VMM's jobs, and its own Hyper-V. Both asked after call
    ``after``, at ``since`` or later (Unix seconds)."""
    looks = (Look(PartKind.JOBS), Look(PartKind.PULSE, host))
    ages = ((look, fleet.age(*look.key)) for look in looks)
    return tuple(k for k, a in ages if a.asked <= after or (a.asked_at or 0.0) < since)


def to_prove_empty(fleet: Fleet, host: str, after: int, calm: int, options: Options) -> Looks:
    """Looks before a host is called empty: VMM's light re-read of its VMs, asked after call
    ``after``, then both lists, asked after call ``calm``, when nothing was in flight to the host. A
    re-read that fails again and again is given up: Hyper-V's own list is the first witness."""
    vms = fleet.age(PartKind.VMS, host)
    if vms.asked <= after and (vms.tried <= after or vms.tries <= options.refreshes):
        return (Look(PartKind.VMS, host),)
    reread = vms.answered if vms.asked > after else after
    looks = []
    if fleet.age(PartKind.SHOWN, host).asked <= calm:
        looks.append(Look(PartKind.SHOWN, host))
    if fleet.age(PartKind.KNOWN, host).asked <= max(calm, reread):
        looks.append(Look(PartKind.KNOWN, host))
    return tuple(looks)


def to_unlock(fleet: Fleet, hosts: Iterable[str], now: float, options: Options) -> Looks:
    """Re-reads that show whether these hosts are still locked: those that found the lock."""
    kinds = (PartKind.VMS, PartKind.HOST)
    looks = (Look(kind, host) for host in hosts for kind in kinds)
    return tuple(
        look
        for look in looks
        if fleet.age(*look.key).locked and may_reread(fleet, look, now, options)
    )


def may_reread(fleet: Fleet, look: Look, now: float, options: Options) -> bool:
    """Tell whether VMM may be asked for this re-read now: once a ``pass``; after a failure every
    ``refresh-interval``, ``refreshes`` times, and then once a ``pass``."""
    age = fleet.age(*look.key)
    last = max(age.asked_at or 0.0, age.tried_at or 0.0)
    return last > now or now >= last + _pause(age, options)


def _pause(age: Age, options: Options) -> float:
    return options.refresh_interval if 0 < age.tries <= options.refreshes else options.pass_


def again_at(fleet: Fleet, look: Look, now: float, rules: Rules, options: Options) -> float:
    """Return from when a needed look may be asked (Unix seconds): at once, and after a failure
    ``AGAIN`` ticks later, or as ``may_reread`` says. A failure in the future shows that the clock
    was set back."""
    age = fleet.age(*look.key)
    tried = age.tried_at or 0.0
    if not age.failed or tried > now:
        return now
    return tried + (_pause(age, options) if look.kind in REREADS else AGAIN * rules.tick)
