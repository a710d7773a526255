"""TOML tables as pydantic models: types of values, JSON Schemas, errors as sentences.

A model defines the content of a file, and :func:`read` checks a file against it. ``Refused`` names
the place of the first error, such as ``fleet.toml: vm[2] "web03": memory_gb`` (indexes begin with
0), and the nearest known key or word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema

from engine.errors import Refused, UsageError
from engine.language.grammar import duration, nearest, spell_duration

Model = TypeVar("Model", bound=BaseModel)


class Table(BaseModel):
    """A table of a file. Frozen; refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- files --------------------------------------------------------------------------------------


def load_text(path: Path, name: str, hint: str = "") -> str:
    """Read a UTF-8 file. ``name`` is a noun for messages (``The story``). Raises ``Refused``."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        text = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
        why = getattr(error, "strerror", None) or text
        sentence = f"{name} {path} cannot be read: {why}."
        raise Refused(sentence, what=str(path), hint=hint) from None


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse the text of a file. Raises ``Refused``, whose sentence begins with ``name``."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        is_toml_error = isinstance(error, tomllib.TOMLDecodeError)
        why = error if is_toml_error else "a number is too long, or lists are nested too deeply"
        is_text = re.search("Invalid (hex )?value|Unescaped", str(error))
        hint = r"Put texts in quotation marks, and paths in single ones: 'D:\VMs'."
        sentence = f"{name} is not TOML: {why}."
        raise Refused(sentence, what=name, hint=hint if is_text else "") from None


# --- values -------------------------------------------------------------------------------------


def refusal(why: str, *, key: str = "", hint: str = "") -> PydanticCustomError:
    """Return an error for a validator to raise. Its sentence is the place of the value, or of the
    table's ``key``, followed by ``why``."""
    return PydanticCustomError("refused", "{why}", {"why": why, "key": key, "hint": hint})


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return ``Did you mean "x"?`` with the nearest known word, or an empty string."""
    near = nearest(word, known)
    return f'Did you mean "{near}"?' if near else ""


def seconds(value: object, info: ValidationInfo, *, negative: bool = False) -> object:
    """Convert ``"25m"`` to 1500.0 seconds. Numbers pass in JSON, which VMFerry itself wrote."""
    if info.mode == "json" and not isinstance(value, str):
        return value
    if not isinstance(value, str):
        raise refusal(f'must be a duration such as "90s", not {_spelled(value)}')
    if value.startswith("-") and not negative:
        raise refusal(f'must not be negative, not "{value}"')
    try:
        return (-1.0 if value.startswith("-") else 1.0) * duration(value.removeprefix("-"))
    except UsageError as error:
        hint = error.hint or 'Write it as "90s", "10m", "1h" or "1d".'
        raise refusal(f'is not a duration: "{value}"', hint=hint) from None


def _pair(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    raise refusal('must be a pair of durations such as ["0s", "25m"]')


def _in_order(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] < value[0]:
        raise refusal("ends before it begins")
    return value


def _lasting(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] == value[0]:
        raise refusal("ends as it begins")
    return value


def _bare(value: object) -> object:
    """Convert a whole number to text: ``443`` to ``"443"``."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return str(value) if is_count else value


SPELLED = {"type": "string", "pattern": r"^-?[0-9]{1,9}(\.[0-9]{1,9})?[smhdSMHD]$"}

Text = Annotated[str, Strict()]
Name = Annotated[str, Strict(), Field(pattern=r"\S")]
Maybe = Annotated[str | None, Strict(), AfterValidator(lambda text: text or None)]
Word = Annotated[
    str, Strict(), BeforeValidator(_bare), WithJsonSchema({"type": ["string", "integer"]})
]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
Times = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Chance = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Duration = Annotated[float, BeforeValidator(seconds), WithJsonSchema(SPELLED)]
Skew = Annotated[float, BeforeValidator(partial(seconds, negative=True)), WithJsonSchema(SPELLED)]
Range = Annotated[tuple[Duration, Duration], BeforeValidator(_pair), AfterValidator(_in_order)]
Window = Annotated[Range, AfterValidator(_lasting)]


# --- schemas ------------------------------------------------------------------------------------


class _Schema(GenerateJsonSchema):
    """JSON Schema that shows default durations as a file spells them. Only keys have defaults,
    tables have none."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        default = made.pop("default", None)
        if default is None or isinstance(default, dict):
            return made
        return {**made, "default": _in_words(default, made)}


def _in_words(default: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(default, list) and "prefixItems" in schema:
        return [_in_words(*pair) for pair in zip(default, schema["prefixItems"], strict=True)]
    is_duration = isinstance(default, float) and schema.get("type") == "string"
    return spell_duration(default) if is_duration else default


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a file format."""
    schema = model.model_json_schema(by_alias=True, schema_generator=_Schema)
    return {"$schema": _Schema.schema_dialect, **schema}


# --- refusals -----------------------------------------------------------------------------------

_EMPTY = '""'
"""Spelling of an empty key."""
_WHEN = "must be a time with its zone, such as 2026-01-05T22:00:00Z"
_TABLES = ("dict", "mapping", "model", "model_attributes", "dataclass")
_HIDDEN = {*(f"{kind}_type" for kind in _TABLES), "string_pattern_mismatch", "too_short"}
"""Pydantic's errors whose refusals do not show the value."""
_WHY = {
    "string": "must be a text in quotes",
    "bool": "must be true or false",
    "int": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a finite number",
    "tuple": "must be a list",
    "path": "must be a path in quotes",
    "datetime": _WHEN,
    "timezone_aware": _WHEN,
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge:g} or more",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "is at most {le:g}",
    "too_short": "must not be empty",
    "string_pattern_mismatch": "must not be empty",  # the pattern of Name
    **dict.fromkeys(_TABLES, "must be a table: {{ ... }}"),
}
"""Sentence part for each of pydantic's error types."""


def read(model: type[Model], values: object, where: str) -> Model:
    """Check the values of a file or table and return the model. Raises ``Refused``, which names the
    wrong place after ``where``."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        refused = _refused(error.errors(include_url=False), _Place(where, values, model))
        refused.what = refused.what.removeprefix(f"{where}: ")
        raise refused from None


class _Place(NamedTuple):
    """A place in a file: its path, values and type in the model, and the mark before a key."""

    path: str
    values: Any
    kind: Any
    mark: str = ": "

    def walk(self, loc: Sequence[int | str]) -> _Place:
        """Find the place of pydantic's ``loc``, which also contains names of models and types."""
        place = self
        for part in loc:
            path, values, kind, mark = place
            tables = _tables(kind)
            if isinstance(part, int):
                one = values[part] if isinstance(values, list) else None
                name = one.get("name") if isinstance(one, Mapping) else None
                label = f' "{name}"' if isinstance(name, str) else ""
                place = _Place(f"{path}[{part}]{label}", one, kind)
            elif isinstance(values, Mapping) and len(tables) > 1:
                (table,) = (t for t in tables if (part,) in map(get_args, _keys(t).values()))
                place = place._replace(kind=table)
            elif isinstance(values, Mapping) and (tables or get_origin(kind) is Mapping):
                below = get_args(kind)[1] if get_origin(kind) is Mapping else place.known.get(part)
                place = _Place(f"{path}{mark}{part or _EMPTY}", values.get(part), below, ".")
        return place

    @property
    def known(self) -> dict[str, Any]:
        """Allowed keys of this place, with their types."""
        return {key: kind for table in _tables(self.kind) for key, kind in _keys(table).items()}

    def refused(self, why: str, key: str = "", hint: str = "") -> Refused:
        """Return a refusal of the value at this place, or of its ``key``."""
        path = f"{self.path}{self.mark}{key}" if key else self.path
        return Refused(f"{path} {why}.", what=path, hint=hint)

    def lacks(self, key: str) -> Refused:
        """Return a refusal for a missing key, with a hint if an unknown key resembles it."""
        strange = [
            one for one in self.values if one not in self.known or len(_tables(self.kind)) > 1
        ]
        near = nearest(key, strange)
        return self.refused("is required", key, f'Is "{near}" meant to be it?' if near else "")


def _tables(kind: Any) -> list[type]:
    """Return the models within a type."""
    if parts := get_args(kind):
        return [table for part in parts for table in _tables(part)]
    is_model = isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))
    return [kind] if is_model else []


def _keys(table: type) -> Mapping[str, Any]:
    if not issubclass(table, BaseModel):
        return get_type_hints(table)
    return {one.alias or name: one.annotation for name, one in table.model_fields.items()}


def _refused(errors: Sequence[ErrorDetails], top: _Place) -> Refused:
    """Turn the first of pydantic's errors into a refusal."""
    first = errors[0]
    context, loc = first.get("ctx", {}), first["loc"]
    place, table, key = top.walk(loc), top.walk(loc[:-1]), str(*loc[-1:]) or _EMPTY
    said = first["input"] if place.values is None else place.values  # before it was converted
    match first["type"]:
        case "refused":
            return place.refused(**context)
        case "missing":
            return table.lacks(key)
        case "extra_forbidden" | "unexpected_keyword_argument":
            return table.refused("is not a known key", key, _known(key, [*table.known]))
        case "union_tag_not_found":
            return place.lacks(context["discriminator"].strip("'"))
        case "union_tag_invalid" if not isinstance(said := place.values["do"], str):
            return place.refused(f"{_WHY['string']}, not {_spelled(said)}", "do")
        case "union_tag_invalid":
            return _choice(place, context["tag"], context["expected_tags"], "do")
    same = [one for one in errors if top.walk(one["loc"]).path == place.path]
    # If one of the types of a union fits, only its limits matter.
    same = [one for one in same if not one["type"].endswith(("_type", "_error"))] or same
    words = [one["ctx"]["expected"] for one in same if one["type"] == "literal_error"]
    if isinstance(said, str) and "'" in "".join(words):
        return _choice(place, said, words[0])
    why, *others = dict.fromkeys(_why(one, place) for one in same)
    why += "".join(f", or {other.removeprefix('must ').removeprefix('be ')}" for other in others)
    # A value in place of a table may contain a secret. An empty one shows nothing.
    is_hidden = place.kind is SecretStr or any(one["type"] in _HIDDEN for one in same)
    is_hidden = is_hidden or bool(_tables(place.kind))
    return place.refused(why if is_hidden else f"{why}, not {_spelled(said)}")


def _choice(place: _Place, word: str, expected: str, key: str = "") -> Refused:
    choices = re.findall("'([^']*)'", expected)
    return place.refused(f'cannot be "{word}"', key, _known(word, choices))


def _known(word: str, known: Sequence[str]) -> str:
    return suggestion(word, known) or f"Known: {', '.join(known)}."


def _why(error: ErrorDetails, place: _Place) -> str:
    kind, loc, context = error["type"], error["loc"], error.get("ctx", {})
    header = ".".join(part for part in loc if isinstance(part, str))
    if kind == "tuple_type" and _tables(place.kind):
        return f"must be tables: [[{header}]]"
    if kind.removesuffix("_type") in _TABLES and header and all(isinstance(p, str) for p in loc):
        return f"must be a table: [{header}]"
    if context.get("ge") == 0:
        return "must not be negative"
    if context.get("le") == 1:
        return "is a chance from 0 to 1"
    known = _WHY.get(kind.removesuffix("_type").removesuffix("_parsing"), "has a wrong value")
    return known.format(**context)


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping | list | tuple):
        return "a table" if isinstance(value, Mapping) else "a list"
    return "a huge number" if isinstance(value, int) and abs(value) > 2**64 else str(value)
