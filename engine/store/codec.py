"""Values to JSON and back, and rows to values: the one place that knows both shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NewType, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter

from engine.language.sentence import Sentence
from engine.model import (
    Approval,
    Attempt,
    Doubt,
    Event,
    Fleet,
    Move,
    Network,
    Options,
    Reading,
    Review,
    Rights,
    Run,
)
from engine.model.ids import read_id

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


def sentence_columns(name: str, text: str) -> dict[str, str | None]:
    """A sentence as two columns: its text, and its parts where it has any."""
    parts = text.as_json() if isinstance(text, Sentence) else None
    return {name: str(text), f"{name}_parts": parts}


def _with_parts(value: Value, row: Row) -> Value:
    """The value with its sentences, not only their texts."""
    said = {name.removesuffix("_parts"): row[name] for name in row if name.endswith("_parts")}
    kept = {name: Sentence.read(row[name], parts) for name, parts in said.items() if parts}
    return replace(value, **kept) if kept else value  # type: ignore[type-var]


_NETWORK, _FLEET, _OPTIONS = _adapter(Network), _adapter(Fleet), _adapter(Options)
_RUN, _MOVE, _ATTEMPT = _adapter(Run), _adapter(Move), _adapter(Attempt)
_APPROVAL, _REVIEW = _adapter(Approval), _adapter(Review)
_JSON = frozenset(
    {"sources", "destinations", "options", "empty_seen", "empty", "steered", "detail", "vms"}
    | {"granted"}
)
"""Columns that hold JSON."""


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


def _value(adapter: TypeAdapter[Value], row: Row) -> Value:
    said = {
        name: json.loads(one) if name in _JSON else one
        for name, one in row.items()
        if not name.endswith("_parts")
    }
    return _with_parts(adapter.validate_python(said), row)


def run(row: Row) -> Run:
    """A row of ``runs``."""
    return _value(_RUN, row)


def move(row: Row) -> Move:
    """A row of ``moves``."""
    return _value(_MOVE, row)


def attempt(row: Row) -> Attempt:
    """A row of ``attempts``."""
    return _value(_ATTEMPT, row)


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
    return _value(_APPROVAL, row)


def review(row: Row) -> Review:
    """A row of ``reviews``."""
    return _value(_REVIEW, row)


def event(row: Row) -> Event:
    """A row of ``events``."""
    return Event(
        seq=row["seq"],
        at=row["at"],
        kind=row["kind"],
        run=row["run"],
        vm=row["vm"],
        by=None if row["by"] is None else read_id(row["by"]),
        text=Sentence.read(row["text"], row["text_parts"]),
        detail=json.loads(row["detail"]),
        hash=row["hash"],
        cause=row["cause"],
    )
