"""The last observation of a VMM server in parts, of which only those that changed are written.

A part is a host with the VMs that VMM shows on it; the part without a name holds the jobs and all
other VMs. What every observation changes stands in the head: a small row with the times. Pure:
dictionaries as the codec makes them from a ``Fleet``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

Values = Mapping[str, Any]
ELSEWHERE = ""
_TIMES = ("seen_at", "refreshed_at")


def take_apart(fleet: Values) -> tuple[Values, Mapping[str, Values]]:
    """Return the head of a fleet, and its parts by the names of the hosts."""
    parts: dict[str, dict[str, Any]] = {ELSEWHERE: {"jobs": fleet["jobs"], "vms": []}}
    for host in fleet["hosts"]:
        lasting = {key: value for key, value in host.items() if key not in _TIMES}
        parts[host["name"]] = {"host": lasting, "vms": []}
    names = {name.casefold(): name for name in parts}
    for place, vm in enumerate(fleet["vms"]):
        name = names.get((vm["vmm_host"] or ELSEWHERE).casefold(), ELSEWHERE)
        parts[name]["vms"].append([place, vm])
    times = [[host["name"], *(host[key] for key in _TIMES)] for host in fleet["hosts"]]
    head = {key: fleet[key] for key in ("vmm", "at", "server_time")}
    return {**head, "hosts": times}, parts


def put_together(head: Values, parts: Mapping[str, Values]) -> Values:
    """Return the fleet that :func:`take_apart` took apart."""
    hosts = [
        {**parts[name]["host"], **dict(zip(_TIMES, times, strict=True))}
        for name, *times in head["hosts"]
    ]
    placed = sorted((vm for part in parts.values() for vm in part["vms"]), key=itemgetter(0))
    vms = [vm for _, vm in placed]
    return {**head, "hosts": hosts, "vms": vms, "jobs": parts[ELSEWHERE]["jobs"]}
