"""Newcomers: VMs that appeared on a source of a run since it began."""

from __future__ import annotations

from collections.abc import Sequence

from engine.model import Fleet, RunRecord, Vm, same_host


def newcomers(record: RunRecord, fleet: Fleet) -> list[tuple[Vm, str]]:
    """VMs that a host run does not have yet, each with the source on which it appeared."""
    if record.run.kind != "host":
        return []
    known = {entry.move.vm_id for entry in record.moves}
    found = [(vm, _source_of(vm, record.run.sources)) for vm in fleet.vms]
    return [(vm, s) for vm, s in found if s is not None and vm.id not in known and not vm.stored]


def _source_of(vm: Vm, sources: Sequence[str]) -> str | None:
    """Source on which Hyper-V alone shows this VM, or ``None``. VMM's own view may be stale."""
    if len(vm.seen_on) != 1:
        return None
    return next((s for s in sources if same_host(s, vm.seen_on[0])), None)
