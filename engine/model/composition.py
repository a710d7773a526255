"""The fleet, composed from the latest parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from engine.model.ages import HYPERV, NEVER, REREADS, Age, PartKind
from engine.model.fleet import Fleet, Host, Job, Vm, same_host
from engine.model.hearing import LastWord
from engine.model.looks import (
    HostInventory,
    JobList,
    KnownHost,
    KnownVm,
    Pulse,
    ShownVm,
    Site,
    VmmInventory,
)
from engine.model.parts import Part

Key = tuple[PartKind, str]
Answer = TypeVar("Answer")


def compose(vmm: str, parts: Iterable[Part]) -> Fleet:
    """Compose a fleet. A host is in it if VMM's latest list of hosts names it."""
    return _Composer({part.key: part for part in parts}).fleet(vmm)


class _Composer:
    def __init__(self, parts: Mapping[Key, Part]) -> None:
        self.parts = parts
        site = self._body(PartKind.SITE, "", Site)
        self.site = site or Site()
        self.names = [host.name for host in self.site.hosts]

    def fleet(self, vmm: str) -> Fleet:
        jobs = self._body(PartKind.JOBS, "", JobList)
        asked, vms = self._age(PartKind.JOBS), self._vms()
        return Fleet(
            vmm=vmm,
            at=asked.asked_at or 0.0,
            answered_at=asked.answered_at or 0.0,
            server_time=jobs.server_time if jobs else 0.0,
            hosts=tuple(self._host(host) for host in self.site.hosts),
            vms=vms,
            over=dict(jobs.over) if jobs else {},
            idle=dict(jobs.idle) if jobs else {},
            unread=dict(jobs.unread) if jobs else {},
            stood=dict(jobs.stood) if jobs else {},
            jobs=_with_hosts(jobs.jobs if jobs else (), vms, self.names),
            ages={key: part.age for key, part in self.parts.items()},
            words=self._words(),
        )

    def _age(self, kind: PartKind, name: str = "") -> Age:
        part = self.parts.get((kind, name.casefold()))
        return part.age if part else NEVER

    def _body(self, kind: PartKind, name: str, shape: type[Answer]) -> Answer | None:
        part = self.parts.get((kind, name.casefold()))
        return part.body if part and isinstance(part.body, shape) else None

    # --- hosts ------------------------------------------------------------------------------

    def _host(self, listed: KnownHost) -> Host:
        name = listed.name
        inventory = self._body(PartKind.KNOWN, name, VmmInventory)
        is_later = self._age(PartKind.KNOWN, name).asked > self._age(PartKind.SITE).asked
        known = inventory.host if inventory and is_later else listed
        shown = self._body(PartKind.SHOWN, name, HostInventory)
        pulse = self._body(PartKind.PULSE, name, Pulse)
        counts = [n for n in (pulse.live, pulse.storage) if n is not None] if pulse else []
        silence = self._silence(name)
        rereads = [self._age(kind, name) for kind in REREADS]
        failed = [age for age in rereads if age.failed]
        is_locked = any(age.locked for age in failed)
        why = next((age.error for age in failed if not age.locked), "")
        return Host(
            name=name,
            live_limit=min(one.live_limit for one in (known, shown) if one),
            storage_limit=min(one.storage_limit for one in (known, shown) if one),
            seen_at=self._age(PartKind.SHOWN, name).asked_at if silence is None else None,
            refreshed_at=self._age(PartKind.HOST, name).asked_at,
            locked=is_locked,
            error=silence or (f"VMM cannot re-read {name}: {why}" if why else None) or known.error,
            maintenance=known.maintenance,
            path=known.path,
            mb_per_s=known.mb_per_s,
            free_memory_mb=known.free_memory_mb,
            volumes=known.volumes,
            switches=shown.switches if shown else None,
            tries=max((age.tries for age in rereads), default=0),
            counted=max(counts, default=None),
            moving=tuple((m.vm_id, m.destination) for m in pulse.migrations) if pulse else (),
            ahead=pulse.ahead if pulse else None,
            replicas=self._replicas(name),
        )

    def _replicas(self, host: str) -> tuple[str, ...]:
        """Names of the VMs of which this host has a replica copy, by Hyper-V or by VMM."""
        inventory = self._body(PartKind.KNOWN, host, VmmInventory)
        known = [vm.name for vm in (inventory.vms if inventory else ()) if vm.replica]
        shown = [vm.name for vm in self._on(host) if vm.replica]
        return tuple(dict.fromkeys((*shown, *known)))

    def _silence(self, name: str) -> str | None:
        """Reason why this host's Hyper-V proves nothing now; ``None``: it answers. An empty reason:
        it was not asked yet."""
        if self._age(PartKind.SHOWN, name).asked == 0:
            return self._age(PartKind.SHOWN, name).error
        ages = [self._age(kind, name) for kind in HYPERV]
        latest = max(ages, key=lambda age: max(age.asked, age.tried))
        return latest.error or "It does not answer" if latest.tried > latest.asked else None

    # --- VMs --------------------------------------------------------------------------------

    def _vms(self) -> tuple[Vm, ...]:
        """VMM's VMs with Hyper-V's view of each, then VMs that only Hyper-V shows.

        A replica has the id of the VM that it copies. If VMM knows both, the copy is omitted. A
        copy that Hyper-V shows is never taken for the VM.
        """
        shown = self._shown()
        known = self._known()
        originals = {vm.id for vm in known if not vm.replica and not vm.stored}
        vms = [
            _vm(vm, {} if vm.stored else shown.get(vm.id, {}))
            for vm in known
            if not (vm.replica and vm.id in originals)
        ]
        ids = {vm.id for vm in known if not vm.stored}
        return (*vms, *(_only_shown(places) for id_, places in shown.items() if id_ not in ids))

    def _known(self) -> list[KnownVm]:
        """VMM's VMs. One that several lists name is where the list that was asked last says."""
        lists: list[tuple[int, tuple[KnownVm, ...]]] = [
            (self._age(PartKind.SITE).asked, self.site.vms)
        ]
        for name in self.names:
            inventory = self._body(PartKind.KNOWN, name, VmmInventory)
            if inventory is not None:
                lists.append((self._age(PartKind.KNOWN, name).asked, inventory.vms))
        found: dict[tuple[str, bool, bool], tuple[int, KnownVm]] = {}
        for asked, vms in lists:
            for vm in vms:
                key = vm.id, vm.stored, vm.replica
                if key not in found or found[key][0] < asked:
                    found[key] = asked, vm
        return [vm for _, vm in found.values()]

    def _shown(self) -> dict[str, dict[str, ShownVm]]:
        """By VM id: the hosts that show the VM, and how. A host that is silent shows nothing."""
        found: dict[str, dict[str, ShownVm]] = {}
        for name in self.names:
            if self._silence(name) is not None:
                continue
            for vm in self._on(name):
                if not vm.replica:
                    found.setdefault(vm.id, {})[name] = vm
        return found

    def _on(self, name: str) -> list[ShownVm]:
        """VMs on one host: the full list, corrected by a pulse that was asked after it."""
        inventory = self._body(PartKind.SHOWN, name, HostInventory)
        listed = {vm.id: vm for vm in inventory.vms} if inventory else {}
        pulse, asked = (
            self._body(PartKind.PULSE, name, Pulse),
            self._age(PartKind.SHOWN, name).asked,
        )
        for word in pulse.words if pulse else ():
            if word.asked < asked:
                continue
            before = listed.pop(word.vm_id, None)
            if word.vm is not None:
                switches = word.vm.switches or (before.switches if before else None)
                listed[word.vm_id] = replace(word.vm, switches=switches)
        return list(listed.values())

    def _words(self) -> dict[tuple[str, str], LastWord]:
        """By host, case folded, and VM id: its Hyper-V's last word on the VM alone."""
        pulses = ((part.key[1], part.body) for part in self.parts.values())
        return {
            (host, word.vm_id): LastWord(
                word.asked, word.asked_at, word.says, word.answered_at, word.clock
            )
            for host, pulse in pulses
            if isinstance(pulse, Pulse)
            for word in pulse.words
        }


def _with_hosts(jobs: Iterable[Job], vms: Iterable[Vm], hosts: Iterable[str]) -> tuple[Job, ...]:
    """Spell the hosts of jobs as VMM lists them, and fill in the source of running migrations for
    which VMM names none: while the job runs, its VM is there."""
    places = {vm.id: vm.vmm_host for vm in vms if not vm.stored}
    spelled = {host.casefold(): host for host in hosts}

    def spell(name: str | None) -> str | None:
        return spelled.get(name.casefold(), name) if name else None

    found = (replace(job, source=spell(job.source), target=spell(job.target)) for job in jobs)
    return tuple(
        replace(job, source=places.get(job.vm_id))
        if job.source is None and job.state == "running"
        else job
        for job in found
    )


def _vm(known: KnownVm, places: Mapping[str, ShownVm]) -> Vm:
    return Vm(
        id=known.id,
        name=known.name,
        vmm_host=known.host,
        vmm_status=known.status,
        memory_mb=known.memory_mb,
        disk_mb=known.disk_mb,
        adapters=known.adapters,
        blocks=known.blocks,
        stored=known.stored,
        **_places(places, known.host),
    )


def _only_shown(places: Mapping[str, ShownVm]) -> Vm:
    """A VM that VMM has not found yet."""
    vm = next(iter(places.values()))
    return Vm(id=vm.id, name=vm.name, vmm_host=None, vmm_status="", **_places(places, None))


def _places(places: Mapping[str, ShownVm], vmm_host: str | None) -> dict[str, Any]:
    """Hyper-V's view of a VM: on VMM's host, else on the first host that has it."""
    here = [vm for host, vm in places.items() if same_host(host, vmm_host)]
    own = next(iter([*here, *places.values()]), None)
    if own is None:
        return {}
    return {
        "seen_on": tuple(places),
        "hyperv_state": own.state,
        "hyperv_status": own.status,
        "switches": own.switches or (),
    }
