"""JSON Schemas: the examples and the files of the repository pass, invalid ones do not."""

from __future__ import annotations

import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from bot.cli import cli
from tests.engine.sim.test_fleet_file import ACL

ROOT = Path(__file__).resolve().parents[2]
FLEETS = [ROOT / "bot" / "demo" / "demo_fleet.toml", *ROOT.glob("tests/stories/*/fleet.toml")]
STORIES = [*ROOT.glob("tests/stories/*/story.toml")]


def schema(file: str) -> Draft202012Validator:
    """The schema that the command prints."""
    printed = CliRunner().invoke(cli, ["schema", file])
    assert printed.exit_code == 0, printed.output
    made = json.loads(printed.stdout)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def values(text: str) -> Any:
    """The values of a TOML file as JSON has them."""
    return json.loads(json.dumps(tomllib.loads(text), default=datetime.isoformat))


def block(mark: str) -> str:
    """The fenced block of the contract behind this mark."""
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    return contract.partition(f"<!-- {mark} -->\n```toml\n")[2].partition("```")[0]


def refused(file: str, text: str) -> list[str]:
    return [f"{one.json_path}: {one.message}" for one in schema(file).iter_errors(values(text))]


@pytest.mark.parametrize("file", ["fleet", "story"])
def test_the_defaults_of_the_contract_pass_their_schema(file: str) -> None:
    assert values(block(file))
    assert refused(file, block(file)) == []


def test_the_example_of_the_settings_passes_their_schema() -> None:
    assert refused("settings", (ROOT / "settings.example.toml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("file", "paths"), [("fleet", FLEETS), ("story", STORIES)])
def test_every_fleet_and_story_of_the_repository_passes_its_schema(
    file: str, paths: list[Path]
) -> None:
    validator = schema(file)
    wrong = {
        path.parent.name: [one.message for one in validator.iter_errors(values(path.read_text()))]
        for path in paths
    }

    assert len(paths) > 60
    assert {name: errors for name, errors in wrong.items() if errors} == {}


@pytest.mark.parametrize("file", ["settings", "fleet", "story"])
def test_the_defaults_in_a_schema_pass_the_schema(file: str) -> None:
    made = schema(file)
    parts = [made.schema, *made.schema["$defs"].values()]
    fields = [one for part in parts for one in part["properties"].values() if "default" in one]
    root = {"$defs": made.schema["$defs"]}

    assert len(fields) > 10
    for field in fields:
        errors = Draft202012Validator({**root, **field}).iter_errors(field["default"])
        assert [error.message for error in errors] == [], field


@pytest.mark.parametrize(
    ("file", "text", "word"),
    [
        ("settings", "[run]\natempts = 3", "atempts"),
        ("settings", "[run]\nattempts = 0", "minimum"),
        ("settings", '[run]\npass = "soon"', "soon"),
        ("settings", '[slack]\nmode = "sockets"', "sockets"),
        ("fleet", "", "host"),
        ("fleet", f"{ACL}wieght = 1", "wieght"),
        ("fleet", '[[host]]\nname = "a"\n[lies]\nfailed = 2', "maximum"),
        ("fleet", '[[host]]\nname = "a"\nlive = "2"', "integer"),
        ("story", 'about = "a"\n[[at]]\ndo = "dance"', "dance"),
        ("story", 'about = "a"\n[people]\nann = ["boss"]', "boss"),
        ("story", 'about = "a"\n[settings.run]\natempts = 3', "atempts"),
    ],
)
def test_a_wrong_key_or_value_does_not_pass_the_schema(file: str, text: str, word: str) -> None:
    assert word in " ".join(refused(file, text))


def test_the_schema_of_an_unknown_kind_of_file_is_refused() -> None:
    printed = CliRunner().invoke(cli, ["schema", "fleets"])

    assert printed.exit_code == 2
    assert "'settings', 'fleet', 'story'" in printed.output
