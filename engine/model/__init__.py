"""The nouns of VMFerry as values: fleet, network, run, move, attempt, approval.

Everything here is frozen and does no I/O. Rules of the house:

* Times are ``float`` Unix seconds, UTC. Durations are seconds. Memory and disk are MB.
* A VM is identified by its Hyper-V VM id, never by its name.
* Hosts are named by FQDN, spelled as VMM spells them; compare with :func:`same_host`.
* What a fleet does not say is ``None`` or empty, never a guess.
"""

from __future__ import annotations

from engine.model.approvals import Approval, ApprovalState, Review
from engine.model.fleet import (
    DOWN,
    Fleet,
    Host,
    HyperVState,
    Job,
    JobState,
    Power,
    Vm,
    Volume,
    is_called,
    same_host,
    short,
)
from engine.model.network import (
    Acl,
    Adapter,
    AdapterRepair,
    Difference,
    Network,
    Repair,
    classic_key,
    classic_rule,
    guards_of,
)
from engine.model.runs import (
    CHARGED,
    MIGRATIONS,
    MOVE_ENDS,
    MOVED,
    RUN_ENDS,
    Attempt,
    AttemptKind,
    Damage,
    Doubt,
    Event,
    Move,
    MoveRecord,
    MoveState,
    Options,
    Outcome,
    Reading,
    Request,
    Result,
    Rights,
    Run,
    RunRecord,
    RunState,
    Wait,
)

__all__ = [
    "CHARGED",
    "DOWN",
    "MIGRATIONS",
    "MOVED",
    "MOVE_ENDS",
    "RUN_ENDS",
    "Acl",
    "Adapter",
    "AdapterRepair",
    "Approval",
    "ApprovalState",
    "Attempt",
    "AttemptKind",
    "Damage",
    "Difference",
    "Doubt",
    "Event",
    "Fleet",
    "Host",
    "HyperVState",
    "Job",
    "JobState",
    "Move",
    "MoveRecord",
    "MoveState",
    "Network",
    "Options",
    "Outcome",
    "Power",
    "Reading",
    "Repair",
    "Request",
    "Result",
    "Review",
    "Rights",
    "Run",
    "RunRecord",
    "RunState",
    "Vm",
    "Volume",
    "Wait",
    "classic_key",
    "classic_rule",
    "guards_of",
    "is_called",
    "same_host",
    "short",
]
