"""Cmdlets that each call costs at VMM. The bench multiplies with these numbers."""

from __future__ import annotations

import pytest

from tests.bench.moves import CMDLETS
from tests.powershell.scene import HV01, WEB01

CALLS = {
    "known": lambda s: s.vmm("Get-VmfInventory", HostName=HV01),
    "site": lambda s: s.vmm("Get-VmfSite"),
    "models": lambda s: s.vmm("Get-VmfNetwork", VmIds=[WEB01]),
    "start_move": lambda s: s.start(),
    "reread": lambda s: s.vmm("Start-VmfReread", What="vms", Name=HV01, NotAfter=s.at(60)),
}


@pytest.mark.parametrize("call", sorted(CMDLETS))
def test_each_call_costs_as_many_cmdlets_as_the_bench_counts(call, scene):
    if call in ("known", "site", "models"):
        CALLS[call](scene)  # the shell remembers what it was told before
    scene.server.calls.clear()
    reply = CALLS[call](scene)

    assert reply.document["ok"]
    assert len(scene.server.calls) == CMDLETS[call]
