"""Write docs/settings.md and settings.example.toml from engine/settings.py: ``make docs``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from engine.language.grammar import spell_duration
from engine.settings import Settings
from engine.toml_tables import SPELLED, json_schema

TARGET = Path(__file__).with_name("settings.md")
EXAMPLE = Path(__file__).resolve().parents[1] / "settings.example.toml"

PAGE = """\
# Settings

After reading this page you can set every default, limit and account of VMFerry. `make docs` writes
this page from `engine/settings.py`; do not edit it.

- **The file** is `settings.toml` in the current folder. `--config FILE` or `VMFERRY_CONFIG` names
  another file. To begin, copy [settings.example.toml](../settings.example.toml), which holds every
  key with its default.
- **The environment wins over the file.** A variable's name is `VMFERRY_`, the section, two
  underscores, the key: `VMFERRY_RUN__ATTEMPTS=5`. Commas separate the values of a list:
  `VMFERRY_APPROVAL__APPROVERS=slack:U0123,slack:U0456`.
- **Tokens and passwords** belong in the environment, or in a file that only VMFerry can read.
- **An unknown key or a wrong value** is refused before anything happens. The error names the
  nearest key that exists.
- **A duration** is a number with a unit, in quotation marks: `"90s"`, `"10m"`, `"1h"`, `"1d"`. A
  number without a unit is in seconds.
- **Your editor** can check the file: `vmferry schema settings` prints its JSON Schema.
- **The database** is no setting: it is `vmferry.db`, or what `--db FILE` or `VMFERRY_DB` names.

The keys are part of the [contract](contract.md).
"""

HEAD = """\
# Every setting of VMFerry with its default. To begin, copy this file to settings.toml. `make docs`
# writes it; the same text as tables is docs/settings.md. Environment variables win over the file:
# VMFERRY_RUN__ATTEMPTS=5. Tokens and passwords belong in the environment.
"""


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section: its header in TOML, and the model of its keys."""
    for name, field in Settings.model_fields.items():
        arguments = get_args(field.annotation)  # of a mapping, a name and a model
        if arguments:
            yield f'{name}."hv01.corp.example"', arguments[-1]
        else:
            assert isinstance(field.annotation, type)
            yield name, field.annotation


def keys(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """The keys of a section, as they are written."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def about(model: type[BaseModel]) -> str:
    """What a section is about, in one paragraph."""
    return " ".join((model.__doc__ or "").split())


def meaning(field: FieldInfo) -> str:
    """The meaning of a key, in one paragraph."""
    return " ".join((field.description or "").split())


def value(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    """The default in TOML; of a key that is not set by default, its example."""
    default = field.default if field.default is not None else (field.examples or [""])[0]
    if isinstance(default, SecretStr):
        return '""'
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return json.dumps([spell_duration(one) for one in default])
    if isinstance(default, float):
        return f'"{spell_duration(default)}"' if SPELLED in variants(schema) else f"{default:g}"
    if isinstance(default, str) and "\\" in default:
        return f"'{default}'"
    return json.dumps(default)


def variants(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The kinds of values that a key takes, without null."""
    return [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]


def takes(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    """The kind of values that a key takes, in words."""
    kinds = variants(schema)
    if SPELLED in kinds:
        return "duration"
    if any(one.get("type") == "array" for one in kinds):
        return "list of durations" if any(field.default) else "list of ids"
    return ", or ".join(_kind(one) for one in kinds)


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema.get("format") in ("password", "path"):
        return {"password": "secret", "path": "path"}[schema["format"]]
    if schema["type"] not in ("integer", "number"):
        return {"boolean": "true or false", "string": "text"}[schema["type"]]
    noun = "whole number" if schema["type"] == "integer" else "number"
    if "maximum" in schema:
        return f"{noun}, {schema['minimum']} to {schema['maximum']}"
    return f"{noun}, {schema['minimum']} or more" if "minimum" in schema else f"{noun} above 0"


def page() -> str:
    """The whole page."""
    tables = json_schema(Settings)["$defs"]
    lines = [PAGE]
    for header, model in sections():
        lines += [f"## [{header}]", "", *wrap(about(model), 110), ""]
        lines += ["| key | default | takes | meaning |", "|---|---|---|---|"]
        for key, field in keys(model):
            schema = tables[model.__name__]["properties"][key]
            default = "not set" if field.default is None else f"`{value(field, schema)}`"
            lines.append(f"| `{key}` | {default} | {takes(field, schema)} | {meaning(field)} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def example() -> str:
    """The whole example file."""
    tables = json_schema(Settings)["$defs"]
    lines = [HEAD]
    for header, model in sections():
        named = "." in header  # a section that nobody has by default
        lines += [*_comment(about(model)), f"{'# ' if named else ''}[{header}]"]
        for key, field in keys(model):
            off = "# " if field.default is None else ""
            shown = value(field, tables[model.__name__]["properties"][key])
            lines += [*_comment(meaning(field)), f"{off}{key} = {shown}"]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in wrap(text, 98, break_on_hyphens=False)]


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    EXAMPLE.write_text(example(), encoding="utf-8")
