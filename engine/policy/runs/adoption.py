"""Newcomers: VMs that appeared on a source of a run since it began."""

from __future__ import annotations

from collections.abc import Mapping

from engine.model import Fleet, RunRecord, Vm


def newcomers(record: RunRecord, fleet: Fleet) -> list[tuple[Vm, str]]:
    """VMs that a host run does not have yet, each with the source on which it appeared."""
    if record.run.kind != "host":
        return []
    known = {entry.move.vm_id for entry in record.moves}
    sources = {source.casefold(): source for source in record.run.sources}
    found = [(vm, _source_of(vm, sources)) for vm in fleet.vms if vm.id not in known]
    return [(vm, source) for vm, source in found if source is not None and not vm.stored]


def _source_of(vm: Vm, sources: Mapping[str, str]) -> str | None:
    """Source on which Hyper-V alone shows this VM, or ``None``. VMM's own view may be stale."""
    return sources.get(vm.seen_on[0].casefold()) if len(vm.seen_on) == 1 else None
