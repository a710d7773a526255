"""The documents describe the code: every public name is there, every example works.

docs/contract.md is the interface. Anything that the contract marks with "(not built yet)" must not
exist, and nothing that exists may be marked. Commands that a page shows are tried, and messages
that it explains are looked for in the code.
"""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from slack_bolt import App
from slack_sdk import WebClient

from bot import cli, exit_codes
from bot.slack.connection.bolt_app import build_app
from bot.slack.inbox.listeners import Listeners
from bot.slack.outbox.rows import Tables
from bot.slack.setup.manifest import EVENTS, SCOPES
from bot.slack.setup.manifest import manifest as manifest_text
from bot.slack.web_api.reply_urls import ReplyUrls
from engine.clock import SystemClock
from engine.commands.steering import RULES, Rule
from engine.errors import Refused
from engine.language import grammar
from engine.language.vocabulary import OPTIONS, VERBS
from engine.model import (
    ApprovalState,
    AttemptKind,
    MoveState,
    Outcome,
    Result,
    RunState,
    Wait,
)
from engine.settings import Settings, load
from engine.sim import faults, fleet_file
from engine.sim.fleet_file import FleetFile, FleetTable, HostSpec, Lies, VmSpec
from engine.store.store import Store
from engine.stories import story_file
from engine.stories.story import play
from engine.toml_tables import json_schema
from tests.console import process, sit_down
from tests.hangs import HANGS
from tests.test_architecture import LAYERS

ROOT = Path(__file__).resolve().parents[1]
DOCS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}
"""Every document by its path."""
README = DOCS["README.md"]
CONTRACT = DOCS["docs/contract.md"]
OPERATING = DOCS["docs/operating.md"]
ARCHITECTURE = DOCS["docs/architecture.md"]
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("contract", "first-run", "index", "operating", "settings")),
    "docs/slack.md",
]
"""Pages for people who use VMFerry."""
UNBUILT = "(not built yet)"
SOURCES = sorted(path for top in ("engine", "bot") for path in (ROOT / top).rglob("*.py"))


def section(text: str, title: str) -> str:
    """The text under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {title}"
    return found[1]


def block(text: str, mark: str) -> str:
    """The fenced block behind ``<!-- mark -->``."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w*\n(.*?)^```$", text, re.DOTALL | re.M)
    assert found, f"there is no block {mark}"
    return found[1]


def rows(title: str) -> dict[str, str]:
    """The rows of the contract's table in a section, by the first name in their first cell."""
    lines = [one for one in section(CONTRACT, title).splitlines() if one.startswith("| `")]
    return {re.match(r"\| `([^`\s|]+)", one)[1]: one for one in lines}


def names(row: str) -> set[str]:
    """The plain names in backticks of a row."""
    return set(re.findall(r"`([A-Za-z_.-]+)`", row))


def built(title: str) -> set[str]:
    return {name for name, row in rows(title).items() if UNBUILT not in row}


def unbuilt(title: str) -> set[str]:
    return {name for name, row in rows(title).items() if UNBUILT in row}


# --- the command line ------------------------------------------------------------------------


def test_the_contract_lists_exactly_the_built_verbs_of_the_command_line():
    assert built("Command line") == set(cli.cli.commands)


def test_an_unbuilt_verb_does_not_exist():
    assert unbuilt("Command line")
    assert unbuilt("Command line") & set(cli.cli.commands) == set()


@pytest.mark.parametrize("verb", sorted(cli.cli.commands))
def test_every_verb_has_help_and_all_its_options_are_in_the_contract(verb):
    command = cli.cli.commands[verb]
    long = [o for one in command.params for o in one.opts if o.startswith("--")]

    assert command.help
    assert [o for o in long if o not in rows("Command line")[verb]] == []
    assert [o.name for o in command.params if o.opts[0].startswith("--") and not o.help] == []


def test_the_options_before_the_verb_are_in_the_contract():
    said = section(CONTRACT, "Command line")

    for option in cli.cli.params:
        if option.name not in ("version", "help"):
            assert option.opts[0] in said
            assert str(option.envvar) in said


def test_every_exit_code_is_in_both_documents():
    codes = {"0", "1", "2", "3", "4", "5", "130"}

    for document in (CONTRACT, OPERATING):
        shown = section(document, "Exit codes")
        assert set(re.findall(r"^\| (\d+) \|", shown, re.MULTILINE)) == codes
    assert {str(code) for name, code in vars(exit_codes).items() if name.isupper()} == codes


# --- requests --------------------------------------------------------------------------------


def test_every_option_of_a_request_is_in_the_contract():
    assert set(rows("Requests")) == {option.word for option in OPTIONS}


def test_every_parameter_of_the_original_has_an_existing_counterpart():
    table = section(README, "Coming from SCVMReliableMigration")
    pairs = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    here = re.findall(r"`([a-z-]+)", " ".join(pair[1] for pair in pairs))
    words = {option.word for option in OPTIONS} | {verb.name for verb in VERBS} | {"vmferry"}

    assert set(re.findall(r"`-([A-Z]\w+)`", table)) >= ORIGINAL
    assert [word for word in here if word not in words and word != "settings"] == []
    assert words - set(here) <= WITHOUT_ORIGINAL | {verb.name for verb in VERBS}


ORIGINAL = {
    "SourceVMHost",
    "DestinationVMHost",
    "VM",
    "Path",
    "MaxAttempts",
    "MaxParallelMigrations",
    "Timeout",
    "BackupThreshold",
    "Bulletproof",
    "CrashOnUnmigratable",
    "MigrationJobGetMaxAttempts",
    "MigrationJobGetTimeout",
}
"""The parameters of Move-SCVirtualMachineReliably 1.2.0."""
WITHOUT_ORIGINAL = {"except", "now"}


def test_every_verb_of_the_grammar_is_in_the_contract():
    said = section(CONTRACT, "Requests") + section(CONTRACT, "Verbs")

    assert [verb.name for verb in VERBS if not re.search(rf"\b{verb.name} ", said)] == []


def test_the_table_of_verbs_and_states_in_the_contract_matches_the_engine():
    said = section(CONTRACT, "Verbs")
    table = re.search(r"^\| verb \| not begun .*?\n\n", said, re.DOTALL | re.MULTILINE)
    assert table
    _, _, *lines = table[0].strip().splitlines()
    shown = {}
    for line in lines:
        verbs, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        shown |= {verb.strip(): [cell == "refused" for cell in cells] for verb in verbs.split(",")}
    ended = (RunState.STOPPED, RunState.INCOMPLETE)
    states = [(RunState.SCHEDULED,), (RunState.ACTIVE,), (RunState.PAUSED,), (RunState.STOPPING,)]
    assert shown == {
        verb: [all(_is_refusal(row[one]) for one in each) for each in [*states, ended]]
        for verb, row in RULES.items()
    }
    nothing_left = (RunState.COMPLETED, RunState.REJECTED)
    allowed = {v for v, row in RULES.items() for s in nothing_left if not _is_refusal(row[s])}
    assert allowed == {"stop", "abort"}


def _is_refusal(rule: Rule) -> bool:
    return bool(rule.why)


# --- settings --------------------------------------------------------------------------------


EXAMPLE = ROOT / "settings.example.toml"


def test_the_page_and_the_example_of_the_settings_match_the_code():
    """If this test fails, run ``make docs``."""
    made = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))

    assert DOCS["docs/settings.md"] == made["page"]()
    assert EXAMPLE.read_text(encoding="utf-8") == made["example"]()


def test_the_example_of_the_settings_holds_the_defaults_and_every_key(tmp_path: Path):
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "all.toml").write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.M))

    assert load(EXAMPLE, env={}) == Settings()
    everything = load(tmp_path / "all.toml", env={})
    assert everything.vmm.model_fields_set == set(type(everything.vmm).model_fields)
    assert everything.hosts["hv01.corp.example"].port == 5985


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description_and_is_on_the_page_and_in_the_example(name):
    model, example = _section_of(Settings.model_fields[name].annotation), EXAMPLE.read_text()
    page = re.search(rf"^## \[{name}\b.*?(?=^## |\Z)", DOCS["docs/settings.md"], re.DOTALL | re.M)
    body = re.search(rf"^(?:# )?\[{name}\b.*?(?=\n\n|\Z)", example, re.DOTALL | re.M)
    keys = {field.alias or key for key, field in model.model_fields.items()}

    assert page
    assert body
    assert set(re.findall(r"^\| `(\w+)`", page[0], re.MULTILINE)) == keys
    assert set(re.findall(r"^(?:# )?(\w+) = ", body[0], re.MULTILINE)) == keys
    assert [key for key, one in model.model_fields.items() if not _is_prose(one.description)] == []
    assert _is_prose(model.__doc__)


def _is_prose(text: str | None) -> bool:
    return bool(text) and text.endswith(".") and "``" not in text


def test_settings_are_listed_on_no_other_page():
    """A default copied to another page would become outdated there."""
    for name in PAGES:
        if name != "docs/settings.md":
            sections = re.findall(r"^\[(\w+)\]", DOCS[name], re.MULTILINE)
            assert set(sections) & {"run", "waits", "engine"} == set(), name


@pytest.mark.parametrize("name", PAGES)
def test_settings_shown_on_a_page_can_be_loaded(name, tmp_path: Path):
    shown = re.findall(
        r"^ *<!-- settings -->\n *```toml\n(.*?)^ *```$", DOCS[name], re.DOTALL | re.M
    )
    for text in shown:
        (tmp_path / "settings.toml").write_text(text)
        assert load(tmp_path / "settings.toml", env={}) != Settings()


def _section_of(annotation: Any) -> Any:
    """The model of a section. For a section with names as keys, the model of its values."""
    return get_args(annotation)[-1] if get_args(annotation) else annotation


# --- fleet files ------------------------------------------------------------------------------


def keys_read(model: type[BaseModel]) -> set[str]:
    """Every key of the tables of a file. The keys of a mapping are data."""
    schema = json_schema(model)
    tables = [schema, *schema["$defs"].values()]
    return {key for table in tables for key in table.get("properties", ())}


def test_every_key_of_a_fleet_file_is_in_the_contract():
    shown = block(CONTRACT, "fleet")
    keys = set(re.findall(r"^(?:# )?(\w+) = ", shown, re.MULTILINE))
    keys |= {
        part for head in re.findall(r"^\[+([\w.]+)\]+", shown, re.M) for part in head.split(".")
    }

    assert keys_read(FleetTable) == keys


def test_the_fleet_file_of_the_contract_shows_the_defaults():
    shown = fleet_file.parse(block(CONTRACT, "fleet"))
    usual = FleetFile(name=shown.name, digest=shown.digest)
    (host,), (vm,) = shown.hosts, shown.vms
    (nic,) = vm.nics

    assert replace(shown, hosts=(), vms=()) == usual
    assert shown.lies == Lies()
    assert host == HostSpec(name=host.name)
    assert replace(vm, nics=()) == VmSpec(name=vm.name, host=host.name, id=vm.id)
    plain = 'format=1\nhost=[{name="a"}]\nvm=[{name="web01",host="a",nic=[{}]}]'
    (as_usual,) = fleet_file.parse(plain).vms[0].nics
    assert replace(nic, acls=()) == as_usual


def test_an_undocumented_key_of_a_fleet_file_is_refused():
    with pytest.raises(Refused, match="cpu"):
        fleet_file.parse('format = 1\n[[host]]\nname = "a"\ncpu = 4')


# --- stories ----------------------------------------------------------------------------------

FLEET = 'format=1\nhost=[{name="hv01"},{name="hv02"}]\nvm=[{name="web01",host="hv01"}]\n'
EXAMPLES = {
    "say": 'by = "ann"\ntext = "vm web01 to hv02"',
    "decide": 'by = "ann"\nverdict = "deny"\napproval = "A1"\nreason = "no"',
    "backup": 'vm = "web01"\nfor = "1m"',
    "lock": 'host = "hv01"\nfor = "1m"',
    "limit": 'host = "hv01"\nlive = 1\nstorage = 1',
    "foreign": 'vm = "web01"\nto = "hv02"',
    "stall": 'vm = "web01"\nfor = "1h"',
    "delete": 'vm = "web01"',
    "power": 'vm = "web01"\nstatus = "PowerOff"',
    "outcome": 'vm = "web01"\njob = "failed"\nat = "source"\ntimes = 2',
    "lose": 'vm = "web01"\nacls = "all"\nnics = true\npower = true',
    "create": 'vm = { name = "web09", host = "hv01" }',
    "down": 'host = "hv01"\nfor = "1m"',
    "slow": 'host = "hv01"\ntimes = 2.5\nfor = "1m"',
    "hang": 'host = "hv01"\ncall = "known"\nfor = "1m"',
    "hang_reread": 'host = "hv01"',
    "restart": 'for = "1m"\njobs = "gone"',
    "fault": 'call = "refresh"\nhow = "delayed"\nhost = "hv01"\nvm = "web01"\ntimes = 2\n'
    'code = 2606\ndelay = "1m"',
    "kill": 'point = "after"\ncall = "observe"\nfor = "1m"',
}
#: Keys that exclude one of those above, in an example of their own.
OTHERS = {
    "decide": 'by = "ann"\nverdict = "approve"\nvms = ["web01"]',
    "down": 'vmm = true\nfor = "1m"',
    "slow": 'vmm = true\ntimes = 2\nfor = "1m"',
    "hang": "vmm = true",
    "kill": 'point = "after"\nwrite = 2\nfor = "1m"',
}


def story_of(folder: Path, happening: str) -> Path:
    (folder / "fleet.toml").write_text(FLEET)
    people = '[people]\nann = ["approver"]\n'
    (folder / "story.toml").write_text(f'about = "one"\n{people}[[at]]\n{happening}\n')
    return folder


def test_the_contract_lists_exactly_the_built_happenings():
    assert built("Story") == set(story_file.DOINGS)


@pytest.mark.parametrize("do", sorted(story_file.DOINGS))
def test_every_key_of_a_happening_is_in_its_row_of_the_contract(do, tmp_path):
    story = story_file.load(story_of(tmp_path, f'do = "{do}"\n{EXAMPLES[do]}'))
    (happening,) = story.happenings

    assert set(happening.words) <= names(rows("Story")[do])


def test_every_key_in_a_row_of_the_contract_is_accepted(tmp_path):
    """The reverse: an example with all keys of the row is not refused for any of them."""
    for do, example in EXAMPLES.items():
        other = OTHERS.get(do, "")
        story_file.load(story_of(tmp_path, f'do = "{do}"\n{other or example}'))
        shown = set(re.findall(r"^(\w+) = ", f"{example}\n{other}", re.MULTILINE))
        keys = set(re.findall(r"`(\w+)`", rows("Story")[do].split("|")[2]))
        assert shown == keys, do


def test_every_call_and_every_kind_of_fault_is_in_the_contract():
    said = section(CONTRACT, "Story")
    ways = re.search(r"^\| how \|.*?\n\n", said, re.DOTALL | re.MULTILINE)

    assert ways
    _, *shown = re.findall(r"^\| (\w+) \|", ways[0], re.MULTILINE)
    assert tuple(shown) == faults.HOWS
    for where in (said, section(CONTRACT, "JSON")):
        assert [call for call in faults.CALLS if f"`{call}`" not in where] == []


def test_the_contract_says_which_calls_a_name_of_a_whole_deed_means():
    lines = re.findall(r"^- `(\w+)` means (.*)$", section(CONTRACT, "Story"), re.MULTILINE)

    shown = {name: frozenset(re.findall(r"`(\w+)`", calls)) for name, calls in lines}
    assert shown == faults.MEANT


def test_the_example_story_of_the_contract_plays_to_its_end(tmp_path):
    fleet = FLEET.replace('host="hv01"}]', 'host="hv01", status="PowerOff"}]')
    (tmp_path / "fleet.toml").write_text(fleet)
    (tmp_path / "story.toml").write_text(block(CONTRACT, "story"))

    played = play(tmp_path)

    assert played.document["ended"]
    (move,) = played.document["runs"][0]["moves"]
    assert (move["outcome"], move["waited"]) == ("DENIED", {"APPROVAL": 90.0})
    shown = set(re.findall(r"^(\w+) = ", block(CONTRACT, "story"), re.MULTILINE))
    keys = keys_read(story_file.StoryTable)
    assert {"about", "until", "fleet", "on", "t", "do"} <= shown & keys
    assert [role for role in story_file.ROLES if role not in block(CONTRACT, "story")] == []


# --- the document -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return play(ROOT / "tests" / "stories" / "11_damage_is_told_exactly").document


def keys_of(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every key of a document with its place, without keys that are data (hosts, waits)."""
    for key, value in document.items():
        yield "document", key
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, dict):
            yield from ((key, one) for one in first)
    for key in ("moves", "attempts", "repairs", "missing", "votes"):
        for found in _within(document, key):
            yield from ((key, one) for one in found)


def _within(value: Any, key: str) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get(key), list):
            yield from (one for one in value[key] if isinstance(one, dict))
        for one in value.values():
            yield from _within(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from _within(one, key)


def test_every_key_of_the_json_document_is_in_the_contract(document):
    shown = block(CONTRACT, "json")
    keys = set(keys_of(document))

    assert {place for place, _ in keys} >= {"runs", "moves", "attempts", "missing", "events"}
    assert [key for _, key in sorted(keys) if not re.search(rf"\b{key}\b", shown)] == []


def test_the_fleet_in_the_document_uses_the_keys_of_the_fleet_file(document):
    known = keys_read(FleetTable) | {"vmm_host", "vmm_status"}
    hosts, vms = document["fleet"]["host"], document["fleet"]["vm"]

    assert {key for one in (*hosts, *vms) for key in one} <= known


@pytest.mark.parametrize("words", [RunState, MoveState, ApprovalState, AttemptKind, Result])
def test_every_state_kind_and_result_is_in_the_contract(words):
    said = section(CONTRACT, "JSON")

    assert [str(word) for word in words if not re.search(rf"\b{word}\b", said)] == []


# --- events, waits, outcomes --------------------------------------------------------------------

STATES: Mapping[str, type[StrEnum]] = {
    "run": RunState,
    "move": MoveState,
    "approval": ApprovalState,
}


def emitted() -> Iterator[str]:
    """Every kind of event that the code writes. ``f"run.{state}"`` stands for all states."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("event", "move_event"):
                continue
            for word in node.args[:2]:
                if isinstance(word, ast.Constant) and re.fullmatch(r"[a-z.]+", str(word.value)):
                    yield str(word.value)
                if isinstance(word, ast.JoinedStr) and isinstance(word.values[0], ast.Constant):
                    noun = str(word.values[0].value).removesuffix(".")
                    yield from (f"{noun}.{state}" for state in STATES.get(noun, ()))


def test_every_kind_of_event_is_in_the_contract():
    kinds = set(emitted())

    assert {"run.active", "move.waiting", "attempt.begun", "refused", "host.empty"} <= kinds
    assert kinds - set(rows("Events")) == set()
    assert built("Events") <= kinds


def test_no_story_writes_an_event_that_the_contract_calls_unbuilt():
    told = {
        line.split()[1]
        for path in (ROOT / "tests" / "stories").glob("*/expect.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r" +\d+\.\d  \S", line)
    }

    assert len(told) > 10
    assert told <= built("Events")


def mentioned(words: type[StrEnum]) -> set[str]:
    """The words that the policy uses, beyond their limits."""
    rungs = [p for p in (ROOT / "engine" / "policy").rglob("*.py") if p.name != "waits.py"]
    rungs.append(ROOT / "engine" / "advance" / "engine.py")  # while VMM is silent there is no plan
    text = "\n".join(path.read_text(encoding="utf-8") for path in rungs)
    return set(re.findall(rf"\b{words.__name__}\.([A-Z_]+)", text))


@pytest.mark.parametrize(("words", "title"), [(Wait, "Waits"), (Outcome, "Outcomes")])
def test_the_contract_lists_every_wait_and_outcome_and_marks_unused_ones(words, title):
    every = {str(word) for word in words}

    assert set(rows(title)) == every
    assert built(title) <= mentioned(words)


# --- the readme ---------------------------------------------------------------------------------


def test_the_readme_begins_with_an_example_and_says_how_to_try_it():
    first, _, rest = README.partition("\n## ")

    assert "/migrate host HV01 to HV02" in first
    assert "`make demo`" in section(rest, "Try it")
    assert "`make test`" in section(rest, "Try it")
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("name", sorted(set(PAGES) - {"README.md"}))
def test_every_page_begins_with_what_the_reader_will_know(name):
    title, empty, first, *_ = DOCS[name].splitlines()

    assert title.startswith("# ")
    assert empty == ""
    assert first.startswith("After reading this page you ")


@pytest.mark.parametrize("name", PAGES)
def test_no_line_of_a_page_is_longer_than_120_characters(name):
    lines = [line for line in DOCS[name].splitlines() if not line.lstrip().startswith("|")]

    assert [line for line in lines if len(line) > 120] == []


def test_the_index_links_to_every_page():
    targets = re.findall(r"\]\(([\w./-]+)\)", DOCS["docs/index.md"])
    pages = {Path(name).name for name in DOCS if re.fullmatch(r"docs/[\w-]+\.md", name)}

    assert pages - {"index.md"} <= set(targets)


def code_map() -> list[str]:
    """The folders of the map."""
    (shown,) = re.findall(r"```\n(.*?)```", section(ARCHITECTURE, "The rooms"), re.DOTALL)
    return [line.split()[0] for line in shown.splitlines()]


def test_the_map_of_the_code_names_only_existing_paths():
    assert [path for path in code_map() if not (ROOT / path).exists()] == []


def test_the_map_of_the_code_names_every_folder_of_modules():
    folders = {f"{path.parent.relative_to(ROOT).as_posix()}/" for path in SOURCES}

    assert folders - set(code_map()) == set()


def test_every_file_named_in_a_document_exists():
    gone = {"CHANGELOG.md"}  # it names what was
    for name in sorted(set(DOCS) - gone):
        named = set(re.findall(r"`((?:engine|bot|tests|docs)/[\w./]+)`", DOCS[name]))
        named -= {"bot/teams/"}
        there = {one for one in named if (ROOT / one).exists() or (ROOT / f"{one}.py").exists()}
        assert sorted(named - there) == [], name


def test_every_test_and_story_named_in_a_document_exists():
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    stories = {path.name for path in (ROOT / "tests" / "stories").glob("[0-9]*")}
    for name, text in DOCS.items():
        assert set(re.findall(r"`(test_\w+)`", text)) - defined == set(), name
        assert set(re.findall(r"\b(\d\d_[a-z]\w+)", text)) - stories == set(), name
        assert set(re.findall(r"\b(\d\d+) stories", text)) <= {str(len(stories))}, name


TESTS = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("*.py"))


def stories_and_tests(text: str) -> tuple[list[str], list[str]]:
    return re.findall(r"`(\d\d_\w+)`", text), re.findall(r"`(test_\w+)`", text)


def test_every_name_of_the_code_in_the_contributing_steps_exists():
    steps = re.findall(r"^## Add .*?(?=^## |\Z)", DOCS["docs/contributing.md"], re.M | re.S)
    code = TESTS + "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    named = set(re.findall(r"`(_?[A-Za-z][A-Za-z_]+)`", "\n".join(steps)))

    assert len(steps) >= 7
    assert {"RUNGS", "VERBS", "DEFAULT_LIMITS", "hold_or"} <= named
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == []


def test_every_promise_names_an_existing_test_or_story():
    table = re.findall(r"^\| [^-|].*\|$", DOCS["docs/safety.md"], re.MULTILINE)
    promises = [row for row in table if not row.startswith("| promise |")]

    assert len(promises) > 30
    assert [row for row in promises if not any(stories_and_tests(row.split(" | ")[-1]))] == []


def test_every_decision_is_listed_with_context_decision_and_price():
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", DOCS["docs/decisions/README.md"])
    pages = {name: text for name, text in DOCS.items() if re.search(r"decisions/\d", name)}

    assert [f"docs/decisions/{name}" for name in listed] == [*pages]
    for number, (name, text) in enumerate(pages.items(), 1):
        assert text.startswith(f"# {number}. "), name
        headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Price"], name


def test_the_glossary_defines_each_word_once():
    cells = re.findall(r"^\| ([^|]+) \| ", DOCS["docs/glossary.md"], re.MULTILINE)
    words = [word for cell in cells for word in cell.split(", ") if word != "word"]

    assert len(words) > 80
    assert sorted(set(words)) == sorted(words)


def test_the_documented_layers_are_the_tested_layers():
    lines = re.findall(r"^\d+\. (`.*)$", section(ARCHITECTURE, "Layers"), re.MULTILINE)
    shown = [re.findall(r"`([\w/]+)`", line) for line in lines]

    assert shown == [[room.replace(".", "/") for room in layer] for layer in LAYERS]


# --- what the pages show ------------------------------------------------------------------------


def tries(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a page, each with the output lines that the page shows."""
    for shown in re.findall(r"<!-- try -->\n```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]:
            command, *printed = part.splitlines()
            yield command, [line for line in printed if line != "..."]


@pytest.mark.parametrize("name", ["README.md", "docs/first-run.md", "docs/operating.md"])
def test_the_commands_on_a_page_print_the_output_shown_there(name, tmp_path: Path, monkeypatch):
    sit_down(tmp_path, monkeypatch, block(DOCS[name], "file: fleet.toml"))
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    shown = list(tries(DOCS[name]))

    assert shown
    for command, printed in shown:
        program, *words = command.split()
        assert program == "vmferry"
        done = process(*words)
        out, err = done.communicate(timeout=HANGS)
        denied = "--approve no" in command  # then not everything moves
        assert done.returncode == (1 if denied else 0), err
        told = iter(out.splitlines())
        assert [line for line in printed if line not in told] == [], command


def test_every_command_shown_on_a_page_exists():
    verbs = "|".join(cli.cli.commands)
    for name in PAGES:
        for command in re.findall(
            r"(?:^|`)vmferry (?:--\w+ \S+ )?([a-z][a-z-]*)", DOCS[name], re.MULTILINE
        ):
            assert re.fullmatch(verbs, command), (name, command)
        for words in re.findall(r"`/migrate ([^`.]+)`", DOCS[name]):
            grammar.parse(words)


def test_commands_in_the_tables_of_operating_are_understood():
    typed = re.findall(r"`((?:pause|stop|abort|retry|skip|set|go-on|settle|own) R1.*?)`", OPERATING)

    assert len(typed) > 10
    for words in typed:
        grammar.parse(words.replace("--yes", "yes"))


def sayings() -> str:
    """Every text in the code, with a gap for each value."""
    texts = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    one.value if isinstance(one, ast.Constant) else "{}" for one in node.values
                ]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_the_code_contains_every_message_that_operating_explains():
    table = section(OPERATING, "Messages and what to do")
    messages = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    code = sayings()

    assert len(messages) > 30
    parts = {part.strip() for one in messages for part in re.split("…|: ", one) if len(part) > 4}
    assert [part for part in sorted(parts) if part not in code] == []


def without_blocks(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", DOCS)
def test_every_make_target_named_in_a_document_exists(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    spans = re.findall(r"`([^`\n]+)`", without_blocks(DOCS[name]))
    named = {target for one in spans for target in re.findall(r"\bmake ([a-z][\w-]*)", one)}

    assert named - targets == set()


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", DOCS)
def test_links_inside_the_repository_have_existing_targets(name):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", DOCS[name]):
        path, _, anchor = target.partition("#")
        place = (ROOT / name).parent / path if path else ROOT / name
        assert place.exists(), target
        if anchor:
            page = place.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors(DOCS[page]), target


@pytest.mark.parametrize("name", DOCS)
def test_the_documents_use_no_exclamation_marks(name):
    prose = re.sub(r"```.*?```|<!--.*?-->|`[^`]*`|!\[", "", DOCS[name], flags=re.DOTALL)

    assert "!" not in prose


# --- the Slack app ------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """The real app, wired but not connected."""
    store = Store(tmp_path / "vmferry.db", durable=False)
    command = Settings().slack.command
    listeners = Listeners(Tables(store).inbox, ReplyUrls(), SystemClock(), command, lambda: None)
    yield build_app(listeners, WebClient(), "xoxb-1", command)
    store.close()


def test_the_manifest_declares_every_command_event_and_scope_of_the_app(app: App):
    manifest = yaml.safe_load((ROOT / "manifest.yml").read_text(encoding="utf-8"))
    commands = [one["command"] for one in manifest["features"]["slash_commands"]]
    listeners = {one.ack_function.__name__ for one in app._listeners}

    assert commands == [Settings().slack.command]
    assert listeners == {"command", "click", "submitted", "offered", "shortcut", "mention"}
    assert manifest["settings"]["interactivity"]["is_enabled"]
    assert manifest["settings"]["socket_mode_enabled"]
    (shortcut,) = manifest["features"]["shortcuts"]
    assert shortcut["type"] == "message"
    assert len(shortcut["name"]) <= 24
    assert set(EVENTS) == set(manifest["settings"]["event_subscriptions"]["bot_events"])
    assert all({**SCOPES, **EVENTS}.values())
    assert set(SCOPES) == set(manifest["oauth_config"]["scopes"]["bot"])


def test_the_manifest_allows_direct_messages_to_and_from_the_bot():
    """Without its tab Slack takes no direct message (``messages_tab_disabled``)."""
    manifest = yaml.safe_load((ROOT / "manifest.yml").read_text(encoding="utf-8"))

    tab = manifest["features"]["app_home"]
    assert tab["messages_tab_enabled"] is True
    assert tab["messages_tab_read_only_enabled"] is False


def test_the_manifest_in_the_repository_equals_the_printed_one():
    assert (ROOT / "manifest.yml").read_text(encoding="utf-8") == manifest_text()


def test_the_manifest_for_http_holds_the_url_for_commands_and_clicks():
    manifest = yaml.safe_load(manifest_text("/move", "https://vmferry.example.com/"))
    (command,) = manifest["features"]["slash_commands"]

    assert command["command"] == "/move"
    assert command["url"] == "https://vmferry.example.com/slack/events"
    clicks = manifest["settings"]["interactivity"]
    assert clicks["request_url"] == clicks["message_menu_options_url"] == command["url"]
    assert manifest["settings"]["socket_mode_enabled"] is False


@pytest.mark.parametrize("address", ["vmferry.example.com", "http://a.example", 'https://a"b/'])
def test_an_address_that_slack_cannot_call_is_refused(address):
    with pytest.raises(Refused, match="is not an address that Slack can call"):
        manifest_text(http=address)


def test_the_usage_hint_of_the_slash_command_can_be_parsed():
    manifest = yaml.safe_load((ROOT / "manifest.yml").read_text(encoding="utf-8"))
    (command,) = manifest["features"]["slash_commands"]

    for usage in command["usage_hint"].split("|"):
        grammar.parse(usage)


@pytest.mark.parametrize("name", DOCS)
def test_toml_blocks_in_documents_are_valid_toml(name):
    for shown in re.findall(r"^ *```toml\n(.*?)^ *```", DOCS[name], re.DOTALL | re.MULTILINE):
        tomllib.loads(shown)
