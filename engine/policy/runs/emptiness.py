"""Proof that the sources of a run are empty: VMM and Hyper-V both show nothing, twice.

In each round, what is in flight to a host is asked first, and both lists after that answer: what
arrives between them would be in neither otherwise. The second round begins ``empty_gap`` seconds
after the first was answered. Only complete answers count; a silent host is never empty.
``tests/model`` explores these rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.language.sentence import HostName, Sentence, VmName, join, say
from engine.model import Fleet, Look, PartKind, RunRecord, Vm, Wait, same_host
from engine.policy import freshness
from engine.policy.steps import Plan, SeeCalm, SeeEmpty
from engine.policy.waits import Rules

_NAMED = 5
"""Things on a host that are named before the rest is counted."""
_REPLICA = "replica of {}"


def occupants(host: str, fleet: Fleet) -> tuple[Sentence, ...]:
    """Name all that keeps a host from being called empty: VMs, also those that only one side shows,
    copies in a library or of a replica, and what is in flight to it."""
    found = (*_vms_on(host, fleet), *_copies_on(host, fleet), *_flights_to(host, fleet))
    return tuple(dict.fromkeys(found))  # VMM may know a copy, too


def _vms_on(host: str, fleet: Fleet) -> Iterator[Sentence]:
    for vm in fleet.vms:
        in_vmm, in_hyperv = same_host(vm.vmm_host, host), _is_shown(vm, host)
        if not (in_vmm or in_hyperv):
            continue
        if vm.stored:
            yield say("library copy of {}", VmName(vm.name))
            continue
        if "replica" in vm.blocks:
            yield say(_REPLICA, VmName(vm.name))
            continue
        form = "{}" if in_vmm and in_hyperv else "{} (only in VMM)" if in_vmm else "{} (not in VMM)"
        yield say(form, VmName(vm.name))


def _is_shown(vm: Vm, host: str) -> bool:
    return any(same_host(name, host) for name in vm.seen_on)


def _copies_on(host: str, fleet: Fleet) -> Iterator[Sentence]:
    found = fleet.host(host)
    for name in found.replicas if found is not None else ():
        yield say(_REPLICA, VmName(name))


def _flights_to(host: str, fleet: Fleet) -> Iterator[Sentence]:
    """Migrations to a host. One whose target VMM does not show yet may go there."""
    running = [job for job in fleet.jobs if job.state == "running" and job.vm_id]
    for job in running:
        vm = fleet.vm(job.vm_id)
        name = VmName(vm.name if vm is not None else job.vm_id)
        if same_host(job.target, host):
            yield say("{} (in flight to it)", name)
        elif job.target is None and not same_host(job.source, host):
            yield say("{} (in flight, VMM does not show where to)", name)
    found = fleet.host(host)
    counted = (found.counted or 0) if found is not None else 0
    named = sum(same_host(host, end) for job in running for end in (job.source, job.target))
    if counted > named:
        plural = "s" if counted - named > 1 else ""
        yield say("{} migration{} that only Hyper-V shows", str(counted - named), plural)


def _is_only_flown_to(host: str, fleet: Fleet) -> bool:
    """Tell whether only what is in flight to this host keeps it from being empty."""
    there = (*_vms_on(host, fleet), *_copies_on(host, fleet))
    return not there and any(_flights_to(host, fleet))


def _is_old(fleet: Fleet, host: str, now: float) -> bool:
    return not 0 <= now - (fleet.age(PartKind.PULSE, host).asked_at or 0.0) < freshness.BREATH


def name_occupants(hosts: Sequence[str], fleet: Fleet) -> Sentence:
    """Name what is on these hosts, in a sentence for each that is known not to be empty."""
    return join(" ", [_name(host, occupants(host, fleet)) for host in hosts])


def _name(host: str, there: Sequence[Sentence]) -> Sentence:
    if not there:
        return say("")
    rest = [f"and {len(there) - _NAMED} more"] if len(there) > _NAMED else []
    return say("{} is not empty: {}.", HostName(host), join(", ", [*there[:_NAMED], *rest]))


def prove(
    record: RunRecord, fleet: Fleet, now: float, last_end: float, rules: Rules
) -> Plan | None:
    """Next step of the proof; ``None``: nothing more can be proven. ``last_end``: when the last
    attempt ended, or a gap (Unix seconds)."""
    run = record.run
    hosts = tuple(s for s in run.sources if fleet.answers(s) and not occupants(s, fleet))
    no_longer = run.empty_first is not None and not set(run.empty_seen) <= set(hosts)
    if no_longer or not set(run.empty) <= set(hosts):
        return Plan((SeeEmpty(run.id, (), None, proven=False),))
    if not set(run.empty_calm) <= set(hosts):
        calm = {host: call for host, call in run.empty_calm.items() if host in hosts}
        return Plan((SeeCalm(run.id, calm),))
    silent = any(not fleet.answers(s) for s in run.sources)
    if silent and now - last_end < rules.limits[Wait.HOST_DOWN]:
        return Plan(due=now + run.options.pass_)
    coming = [s for s in run.sources if fleet.answers(s) and _is_only_flown_to(s, fleet)]
    if coming and now - last_end < rules.limits[Wait.MISSING]:
        # What arrives is adopted. What only an old pulse showed is asked for again.
        looks = tuple(Look(PartKind.PULSE, s) for s in coming if _is_old(fleet, s, now))
        return Plan(looks=looks, due=now + freshness.BREATH)
    stale = _only_in_vmm(run.sources, fleet)
    if stale and now - last_end < rules.limits[Wait.MISSING]:
        rereads = (Look(PartKind.VMS, host) for host in stale)
        looks = tuple(k for k in rereads if freshness.may_reread(fleet, k, now, run.options))
        return Plan(looks=looks, due=now + run.options.pass_)
    if set(hosts) <= set(run.empty):
        return None
    return _next_round(record, fleet, hosts, now, rules)


def _next_round(
    record: RunRecord, fleet: Fleet, hosts: Sequence[str], now: float, rules: Rules
) -> Plan:
    run, first = record.run, record.run.empty_first
    since = 0.0 if first is None else first + rules.empty_gap
    if now < since:
        return Plan(due=since)
    wanted = tuple(hosts) if first is None else run.empty_seen
    after = max((a.closed for m in record.moves for a in m.attempts), default=0)
    uneasy = [host for host in wanted if host not in run.empty_calm]
    asked = (freshness.to_see_flights(fleet, host, after, since) for host in uneasy)
    flights = tuple(look for looks in asked for look in looks)
    if uneasy and not flights:
        calm = {**run.empty_calm, **dict.fromkeys(uneasy, fleet.newest)}
        return Plan((SeeCalm(run.id, calm),), due=now + rules.tick)
    witnesses = tuple(
        look
        for host in wanted
        for look in freshness.to_prove_empty(
            fleet, host, after, run.empty_calm.get(host, fleet.newest), run.options
        )
        # VMM's re-read need not wait for what is in flight, the lists do.
        if look.kind is PartKind.VMS or host in run.empty_calm
    )
    if flights or witnesses:
        return Plan(looks=(*flights, *witnesses), due=now + rules.tick)
    if first is None:
        step = SeeEmpty(run.id, tuple(hosts), now, proven=False)
        return Plan((step,), due=now + rules.empty_gap)
    return Plan((SeeEmpty(run.id, run.empty_seen, first, proven=True),))


def _only_in_vmm(sources: Sequence[str], fleet: Fleet) -> tuple[str, ...]:
    """Sources on which VMM still shows a VM although Hyper-V shows none."""
    stale = []
    for source in filter(fleet.answers, sources):
        in_vmm = any(same_host(vm.vmm_host, source) and not vm.stored for vm in fleet.vms)
        if in_vmm and not any(_is_shown(vm, source) for vm in fleet.vms):
            stale.append(source)
    return tuple(stale)
