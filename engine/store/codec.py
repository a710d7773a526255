"""Conversion between values of the model, JSON and rows."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NewType, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter

from engine.language.sentence import Person, Sentence
from engine.model import Doubt, Event, Network, Reading
from engine.model.ids import OLD_ID, read_id

Row = Mapping[str, Any]
Value = TypeVar("Value")


def dumps(value: object) -> str:
    """Return canonical JSON: sorted keys, no spaces, unescaped Unicode."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class _Adapters(dict[type[Any], TypeAdapter[Any]]):
    """Adapters of the model's types, made on first use. Unknown fields are errors.

    ``TypeAdapter`` takes no configuration for a dataclass, but does for a ``NewType`` of it.
    """

    def __missing__(self, kind: type[Any]) -> TypeAdapter[Any]:
        stored = cast(type[Any], NewType("Stored", kind))
        self[kind] = TypeAdapter(stored, config=ConfigDict(extra="forbid"))
        return self[kind]


_ADAPTERS = _Adapters()


def to_json(value: object) -> str:
    """Return a value of the model as JSON text."""
    return dumps(to_dict(value))


def to_dict(value: object) -> dict[str, Any]:
    """Return a value of the model as a dictionary of what JSON can hold."""
    said: dict[str, Any] = _ADAPTERS[type(value)].dump_python(value)
    return said


def from_dict(kind: type[Value], said: Mapping[str, Any]) -> Value:
    """Build a value from what :func:`to_dict` returned, also after its way through JSON."""
    value: Value = _ADAPTERS[kind].validate_python(said)
    return value


def from_json(kind: type[Value], text: str) -> Value:
    """Read a value that :func:`to_json` wrote."""
    value: Value = _ADAPTERS[kind].validate_json(text)
    return value


def sentence_columns(name: str, text: str) -> dict[str, str | None]:
    """Return the two columns of a sentence: its text, and its parts or ``None``."""
    parts = text.as_json() if isinstance(text, Sentence) else None
    return {name: str(text), f"{name}_parts": parts}


_JSON = frozenset(
    {"sources", "destinations", "options", "empty_seen", "empty", "steered", "detail", "vms"}
    | {"granted", "hosts", "moves", "attempts", "ids", "hearing", "empty_calm"}
)
"""Columns that hold JSON."""


def of_row(kind: type[Value], row: Row) -> Value:
    """Build a value from a row whose columns are its fields. Restores its sentences. Equal rows
    give the same value: most rows of a run are read at each step and seldom change."""
    value: Value = _of_columns(cast(Hashable, kind), tuple(row), tuple(row.values()))
    return value


@lru_cache(maxsize=1 << 15)
def _of_columns(kind: Any, names: tuple[str, ...], values: tuple[object, ...]) -> Any:
    return _build(kind, dict(zip(names, values, strict=True)))


def _build(kind: type[Value], row: Row) -> Value:
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
    read: Value = replace(cast(Any, value), **texts)  # ``value`` is a dataclass: its kind is one
    return read


def of_rows(kind: type[Value], rows: Iterable[Row]) -> tuple[Value, ...]:
    """Build the values of several rows."""
    return tuple(of_row(kind, row) for row in rows)


def doubt(row: Row) -> Doubt:
    """Build a doubt from the row of a move that ended UNKNOWN, joined with its run."""
    named = [row["host"], *json.loads(row["sources"]), *json.loads(row["destinations"])]
    return Doubt(row["vm_id"], row["run"], tuple(dict.fromkeys(h for h in named if h)))


def reading(row: Row) -> Reading:
    """Build a reading from a row of ``networks``."""
    network = _network(row["network"])
    return Reading(row["vm_id"], row["host"], network, row["taken"], row["asked"])


@lru_cache(maxsize=1 << 13)
def _network(text: str) -> Network:
    return from_json(Network, text)


def event(row: Row) -> Event:
    """Build an event from a row of ``events``. If its author's id has no door, all ids in its text
    get theirs."""
    said = {name: one for name, one in row.items() if name != "prev"}
    by = None if row["by"] is None else read_id(row["by"])
    found = _build(Event, {**said, "by": by})
    if by == row["by"] or by is None:
        return found
    words = enumerate(re.split(f"({OLD_ID})", found.text))
    return replace(found, text=Sentence(*(Person(read_id(w)) if n % 2 else w for n, w in words)))
