"""Costs of calls in the simulated world: the seconds that VMM and Hyper-V take for an answer.

The table ``[costs]`` of a fleet file. Nothing here waits. The caller of the port charges the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict

from engine import toml_tables as toml

AT_HOST = frozenset({"pulse", "shown", "ports", "put_ports", "rights"})
"""Calls that a host's own Hyper-V answers, even while VMM is down."""
_KEYS: Mapping[str, tuple[str, str]] = {
    "jobs": ("jobs", "job_by_id"),
    "pulse": ("pulse", ""),
    "shown": ("shown", "shown_vm"),
    "known": ("known", "known_vm"),
    "site": ("site", "site_host"),
    "ports": ("ports", "ports_vm"),
    "models": ("", "model_vm"),
    "rights": ("rights", ""),
    "start_move": ("start", ""),
    "reread": ("change", ""),
    "put_ports": ("change", ""),
    "put_models": ("change", ""),
    "clear": ("change", ""),
    "stop": ("change", ""),
    "job of vms": ("reread_vms", "reread_vms_vm"),
    "job of vm": ("reread_vm", ""),
    "job of host": ("reread_host", ""),
}
"""Keys of the table for each call, and for the job of each kind of re-read: for the call as a
whole, and for each of its VMs, jobs or hosts."""


@dataclass(frozen=True)
class Costs:
    """Seconds for each kind of call. ``like``: start from the costs of a real VMM.

    ``connect``: VMM's first answer to a caller takes so much longer. ``change``: to put back
    settings, to clear, to stop, and to ask for a re-read, whose job takes ``reread_...``.
    """

    like: Literal["vmm"] | None = None
    jobs: toml.Number = 0.0
    job_by_id: toml.Number = 0.0
    pulse: toml.Number = 0.0
    shown: toml.Number = 0.0
    shown_vm: toml.Number = 0.0
    known: toml.Number = 0.0
    known_vm: toml.Number = 0.0
    site: toml.Number = 0.0
    site_host: toml.Number = 0.0
    ports: toml.Number = 0.0
    ports_vm: toml.Number = 0.0
    model_vm: toml.Number = 0.0
    rights: toml.Number = 0.0
    start: toml.Number = 0.0
    change: toml.Number = 0.0
    reread_vms: toml.Number = 0.0
    reread_vms_vm: toml.Number = 0.0
    reread_vm: toml.Number = 0.0
    reread_host: toml.Number = 0.0
    connect: toml.Number = 0.0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def of(self, call: str, parts: int) -> float:
        """Seconds of a call with so many VMs, jobs or hosts."""
        whole, part = _KEYS[call]
        return (getattr(self, whole) if whole else 0) + parts * (getattr(self, part) if part else 0)


VMM: Mapping[str, float] = {
    "jobs": 0.5, "job_by_id": 0.3, "pulse": 1.0, "shown": 1.0, "shown_vm": 0.02, "known": 0.5,
    "known_vm": 0.02, "site": 1.0, "site_host": 0.05, "ports": 0.5, "ports_vm": 0.3,
    "model_vm": 0.3, "rights": 1.0, "start": 8.0, "change": 2.0, "reread_vms": 8.0,
    "reread_vms_vm": 0.05, "reread_vm": 4.0, "reread_host": 8.0, "connect": 10.0,
}  # fmt: skip
"""Costs of a real VMM. A start re-reads the VM first."""


def with_usual(costs: object) -> object:
    """Add the costs that the table's ``like`` stands for. Keys of the table take precedence."""
    if isinstance(costs, Mapping) and costs.get("like") == "vmm":
        return {**VMM, **costs}
    return costs
