"""Fleets for tests: what is known, as if everything had been asked just now; and its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.model import (
    Age,
    Fleet,
    HostInventory,
    HyperVState,
    JobList,
    KnownHost,
    KnownVm,
    LastWord,
    Part,
    PartKind,
    Says,
    ShownVm,
    Site,
    Vm,
    VmmInventory,
)
from engine.store.pen import Pen

REREADS, JOBS, HOSTS = 98, 99, 101
"""Numbers of the questions: re-reads first, then VMM's jobs, then everything about the hosts."""

OTHER = HyperVState.OTHER
Ages = Mapping[tuple[PartKind, str], Age]


def age(number: int, at: float | None) -> Age:
    """The age of an answer to the question of this number, which came at once."""
    return Age(number, number, at, at)


def fresh(fleet: Fleet, **changes: object) -> Fleet:
    """The fleet as if every part had been asked at ``fleet.at``, and nothing failed."""
    ages = {(kind, ""): age(JOBS, fleet.at) for kind in (PartKind.JOBS, PartKind.SITE)}
    kinds = (PartKind.KNOWN, PartKind.SHOWN, PartKind.PULSE)
    for host in fleet.hosts:
        ages[PartKind.VMS, host.name.casefold()] = age(REREADS, fleet.at)
        for kind in kinds:
            ages[kind, host.name.casefold()] = age(HOSTS, fleet.at)
        if host.seen_at is None:
            silent = replace(age(HOSTS, None), tries=1, tried=HOSTS + 1, error="no answer")
            ages[PartKind.SHOWN, host.name.casefold()] = silent
    words = {
        (host.name.casefold(), vm.id): LastWord(
            HOSTS, fleet.at, says(vm, host.name), fleet.at, fleet.at
        )
        for host in fleet.hosts
        for vm in fleet.vms
        if host.seen_at is not None
    }
    return replace(fleet, answered_at=fleet.at, ages=ages, words=words, **changes)


def says(vm: Vm, host: str) -> Says:
    """What the Hyper-V of this host says of the VM."""
    if host not in vm.seen_on:
        return Says.ABSENT
    return Says.MOVING if vm.migrating_by_hyperv else Says.AT_REST


def keep_fleet(pen: Pen, fleet: Fleet) -> None:
    """Write the fleet as the parts from which it is composed. A host without ``seen_at`` was asked
    in vain."""
    at = fleet.at
    jobs = JobList(fleet.server_time, fleet.jobs)
    pen.keep_part(fleet.vmm, Part(PartKind.JOBS, "", age(JOBS, at), jobs))
    names = {host.name.casefold() for host in fleet.hosts}
    rest = tuple(_known(vm) for vm in fleet.vms if (vm.vmm_host or "").casefold() not in names)
    hosts = tuple(_host(fleet, name.name) for name in fleet.hosts)
    pen.keep_part(fleet.vmm, Part(PartKind.SITE, "", age(JOBS, at), Site(hosts, rest)))
    for host in fleet.hosts:
        here = [vm for vm in fleet.vms if (vm.vmm_host or "").casefold() == host.name.casefold()]
        known = VmmInventory(_host(fleet, host.name), tuple(map(_known, here)))
        pen.keep_part(fleet.vmm, Part(PartKind.KNOWN, host.name, age(HOSTS, at), known))
        shown = HostInventory(
            host.name, host.live_limit, host.storage_limit, host.switches, _shown(fleet, host.name)
        )
        asked = age(HOSTS, host.seen_at)
        if host.seen_at is None:
            asked = replace(asked, tries=1, tried=HOSTS + 1, error=host.error or "no answer")
        pen.keep_part(fleet.vmm, Part(PartKind.SHOWN, host.name, asked, shown))


def _host(fleet: Fleet, name: str) -> KnownHost:
    host = fleet.host(name)
    assert host is not None
    return KnownHost(
        name=host.name,
        live_limit=host.live_limit,
        storage_limit=host.storage_limit,
        error=host.error,
        maintenance=host.maintenance,
        path=host.path,
        mb_per_s=host.mb_per_s,
        free_memory_mb=host.free_memory_mb,
        volumes=host.volumes,
    )


def _known(vm: Vm) -> KnownVm:
    return KnownVm(
        id=vm.id,
        name=vm.name,
        host=vm.vmm_host,
        status=vm.vmm_status,
        memory_mb=vm.memory_mb,
        disk_mb=vm.disk_mb,
        adapters=vm.adapters,
        blocks=vm.blocks,
        stored=vm.stored,
    )


def _shown(fleet: Fleet, host: str) -> tuple[ShownVm, ...]:
    return tuple(
        ShownVm(vm.id, vm.name, vm.hyperv_state or OTHER, vm.hyperv_status, switches=vm.switches)
        for vm in fleet.vms
        if host in vm.seen_on
    )
