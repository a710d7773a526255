"""Values to JSON and back, and rows to values: the one place that knows both shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NewType, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter

from engine.model import (
    Approval,
    ApprovalState,
    Attempt,
    AttemptKind,
    Doubt,
    Event,
    Fleet,
    Move,
    MoveState,
    Network,
    Options,
    Outcome,
    Reading,
    Result,
    Review,
    Rights,
    Run,
    RunState,
    Wait,
)

Row = Mapping[str, Any]
Value = TypeVar("Value")


def dumps(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, text as it is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _adapter(kind: type[Value]) -> TypeAdapter[Value]:
    """Adapter of a type of the model, for which a field that a newer contract added is an error.

    A class takes no configuration from outside; a new type of it hands one on to all its parts.
    """
    stored = cast(type[Value], NewType("Stored", kind))
    return TypeAdapter(stored, config=ConfigDict(extra="forbid"))


_NETWORK, _FLEET, _OPTIONS = _adapter(Network), _adapter(Fleet), _adapter(Options)


def network_to_json(network: Network) -> str:
    """A network as JSON text."""
    return dumps(_NETWORK.dump_python(network))


def network_from_json(text: str) -> Network:
    """The network that :func:`network_to_json` wrote."""
    return _NETWORK.validate_json(text)


def fleet_to_json(fleet: Fleet) -> str:
    """A fleet as JSON text."""
    return dumps(_FLEET.dump_python(fleet))


def fleet_from_json(text: str) -> Fleet:
    """The fleet that :func:`fleet_to_json` wrote."""
    return _FLEET.validate_json(text)


def options_to_json(options: Options) -> str:
    """Options as JSON text."""
    return dumps(_OPTIONS.dump_python(options))


def run(row: Row) -> Run:
    """A row of ``runs``."""
    return Run(
        id=row["id"],
        vmm=row["vmm"],
        kind=row["kind"],
        request=row["request"],
        sources=tuple(json.loads(row["sources"])),
        destinations=tuple(json.loads(row["destinations"])),
        options=_OPTIONS.validate_json(row["options"]),
        by=row["by"],
        state=RunState(row["state"]),
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
        quiet_since=row["quiet_since"],
        empty_first=row["empty_first"],
        empty_seen=tuple(json.loads(row["empty_seen"])),
        empty=tuple(json.loads(row["empty"])),
        owner=row["owner"],
        steered=tuple(json.loads(row["steered"])),
        resumed=row["resumed"],
        back=row["back"],
        aborting=bool(row["aborting"]),
        said=row["said"],
    )


def move(row: Row) -> Move:
    """A row of ``moves``."""
    return Move(
        **{
            **row,
            "state": MoveState(row["state"]),
            "kind": AttemptKind(row["kind"]) if row["kind"] else None,
            "wait": Wait(row["wait"]) if row["wait"] else None,
            "wait_kept": Wait(row["wait_kept"]) if row["wait_kept"] else None,
            "outcome": Outcome(row["outcome"]) if row["outcome"] else None,
            "adopted": bool(row["adopted"]),
        }
    )


def attempt(row: Row) -> Attempt:
    """A row of ``attempts``."""
    return Attempt(
        **{
            **row,
            "kind": AttemptKind(row["kind"]),
            "result": Result(row["result"]) if row["result"] else None,
            "detail": json.loads(row["detail"]),
        }
    )


def doubt(row: Row) -> Doubt:
    """A move that ended UNKNOWN, joined with its run."""
    named = [row["host"], *json.loads(row["sources"]), *json.loads(row["destinations"])]
    return Doubt(row["vm_id"], row["run"], tuple(dict.fromkeys(h for h in named if h)))


def rights(row: Row) -> Rights:
    """A row of ``rights``."""
    ok = None if row["ok"] is None else bool(row["ok"])
    return Rights(row["host"], row["at"], ok, row["why"])


def reading(row: Row) -> Reading:
    """A row of ``networks``."""
    return Reading(row["vm_id"], row["host"], network_from_json(row["network"]), row["taken"])


def approval(row: Row) -> Approval:
    """A row of ``approvals``."""
    return Approval(
        **{
            **row,
            "state": ApprovalState(row["state"]),
            "vms": tuple(json.loads(row["vms"])),
            "granted": tuple(json.loads(row["granted"])),
            "glass": bool(row["glass"]),
        }
    )


def review(row: Row) -> Review:
    """A row of ``reviews``."""
    in_order = row["in_order"]
    return Review(**{**row, "in_order": None if in_order is None else bool(in_order)})


def event(row: Row) -> Event:
    """A row of ``events``."""
    return Event(
        seq=row["seq"],
        at=row["at"],
        kind=row["kind"],
        run=row["run"],
        vm=row["vm"],
        by=row["by"],
        text=row["text"],
        detail=json.loads(row["detail"]),
        hash=row["hash"],
    )
