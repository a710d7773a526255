"""Values to JSON and back, and rows to values: the one place that knows both shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NewType, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter

from engine.language.sentence import Person, Sentence
from engine.model import Doubt, Event, Network, Reading
from engine.model.ids import read_id

Row = Mapping[str, Any]
Value = TypeVar("Value")


def dumps(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, text as it is."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class _Adapters(dict[type[Any], TypeAdapter[Any]]):
    """Adapters of types of the model, for which a field that a newer contract added is an error.

    A class takes no configuration from outside; a new type of it hands one on to all its parts.
    """

    def __missing__(self, kind: type[Any]) -> TypeAdapter[Any]:
        stored = cast(type[Any], NewType("Stored", kind))
        self[kind] = TypeAdapter(stored, config=ConfigDict(extra="forbid"))
        return self[kind]


_ADAPTERS = _Adapters()


def to_json(value: object) -> str:
    """A value of the model as JSON text."""
    return dumps(_ADAPTERS[type(value)].dump_python(value))


def from_json(kind: type[Value], text: str) -> Value:
    """The value that :func:`to_json` wrote."""
    value: Value = _ADAPTERS[kind].validate_json(text)
    return value


def sentence_columns(name: str, text: str) -> dict[str, str | None]:
    """A sentence as two columns: its text, and its parts where it has any."""
    parts = text.as_json() if isinstance(text, Sentence) else None
    return {name: str(text), f"{name}_parts": parts}


_JSON = frozenset(
    {"sources", "destinations", "options", "empty_seen", "empty", "steered", "detail", "vms"}
    | {"granted"}
)
"""Columns that hold JSON."""


def of_row(kind: type[Value], row: Row) -> Value:
    """The value of a row whose columns are its fields, with the parts of its sentences."""
    said: dict[str, object] = {}
    parts: dict[str, str] = {}
    for name, one in row.items():
        if not name.endswith("_parts"):
            said[name] = json.loads(one) if name in _JSON else one
        elif one:
            parts[name.removesuffix("_parts")] = one
    value: Value = _ADAPTERS[kind].validate_python(said)
    if not parts:
        return value
    texts = {name: Sentence.read(row[name], one) for name, one in parts.items()}
    return replace(value, **texts)  # type: ignore[type-var]


def of_rows(kind: type[Value], rows: Iterable[Row]) -> tuple[Value, ...]:
    """The values of rows."""
    return tuple(of_row(kind, row) for row in rows)


def doubt(row: Row) -> Doubt:
    """A move that ended UNKNOWN, joined with its run."""
    named = [row["host"], *json.loads(row["sources"]), *json.loads(row["destinations"])]
    return Doubt(row["vm_id"], row["run"], tuple(dict.fromkeys(h for h in named if h)))


def reading(row: Row) -> Reading:
    """A row of ``networks``."""
    network = from_json(Network, row["network"])
    return Reading(row["vm_id"], row["host"], network, row["taken"])


def event(row: Row) -> Event:
    """A row of ``events``, without what chains it; ``by`` may be from before ids had doors."""
    said = {name: one for name, one in row.items() if name != "prev"}
    by = None if row["by"] is None else read_id(row["by"])
    found = of_row(Event, {**said, "by": by})
    if by == row["by"] or by is None:
        return found
    words = found.text.split(row["by"])
    return replace(found, text=Sentence(*[p for w in words for p in (Person(by), w)][1:]))
