"""The rules of the house, checked in the source itself: imports, sizes and names.

Each test checks one rule and lists every offender with its file and line.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.rooms import House, cycles

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for top in ("engine", "bot") for path in (ROOT / top).rglob("*.py"))
CODE = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]

PURE = ("engine/policy/", "engine/model/", "engine/language/", "engine/errors.py")
PURE_MAY_IMPORT = {
    # Values and text; nothing that reads a clock, a file, the network or chance.
    "__future__", "collections", "dataclasses", "decimal", "difflib", "enum", "fnmatch",
    "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "textwrap",
    "statistics", "typing",
}  # fmt: skip
PURE_MAY_IMPORT_OURS = ("engine.policy", "engine.model", "engine.language", "engine.errors")

PYPSRP_ONLY_IN = ("engine/vmm/psrp.py", "engine/vmm/sessions.py")
ROWS = (
    "engine/store/",
    "bot/pager.py",
    "bot/slack/schema.py",
    "bot/slack/inbox/rows.py",
    "bot/slack/outbox/outage.py",
    "bot/slack/outbox/rows.py",
    "bot/slack/outbox/watched_runs.py",
    "bot/slack/people/rows.py",
)
"""Where statements of SQL stand. Everything else calls functions of these."""
KNOWS_SQLITE = ("engine/store/database.py", "engine/store/store.py")
MIGRATES = ("engine/store/schema.py", "bot/slack/schema.py")
SQL = re.compile(
    r"\b(?:SELECT\b.+\bFROM|INSERT\b.*\bINTO|UPDATE\b.+\bSET|DELETE FROM|CREATE TABLE"
    r"|CREATE \w* ?INDEX|ALTER TABLE|DROP (?:TABLE|INDEX)|PRAGMA|BEGIN IMMEDIATE)\b",
    re.DOTALL,
)
ONLY_SQLITE = re.compile(r"\b(?:rowid|json_\w+|INSERT OR|IS NOT \?|IFNULL|GLOB|strftime)\b", re.I)
"""Spellings that PostgreSQL does not take, where both take another."""
CMDLET = re.compile(
    r"\b(?:Get|Set|New|Add|Remove|Move|Read|Repair|Stop|Start|Restart|Test|Import|Export|Grant|"
    r"Revoke|Suspend|Resume|Save|Find|Register)-(?:SC[A-Z]|VM|Hyper)\w*"
)
LONGEST_MODULE = 700
BANNED_NAMES = re.compile(r"manager|helper|utils?(?:_|$)|common|misc")
BANNED_WORDS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def within(path: Path, *places: str) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(
        name == place or (place.endswith("/") and name.startswith(place)) for place in places
    )


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file, at any level: line and full dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where(path, node.lineno)}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node):
            name = node.args[0]
            yield node.lineno, name.value if isinstance(name, ast.Constant) else "(computed)"


def _is_import_call(node: ast.Call) -> bool:
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    return name in ("import_module", "__import__") and bool(node.args)


def offenders(paths: list[Path], forbidden: re.Pattern[str]) -> list[str]:
    return [
        f"{where(path, line)} imports {name}"
        for path in paths
        for line, name in imports(path)
        if forbidden.match(name)
    ]


def lines(paths: list[Path]) -> Iterator[tuple[Path, int, str]]:
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield path, number, line


def test_the_check_finds_source_files():
    assert len(SOURCES) > 10


def test_the_engine_imports_neither_the_bot_nor_slack():
    engine = [path for path in SOURCES if within(path, "engine/")]

    assert offenders(engine, re.compile(r"(?:bot|slack\w*)(?:\.|$)")) == []


def test_the_engine_imports_neither_click_nor_rich_nor_aiohttp():
    engine = [path for path in SOURCES if within(path, "engine/")]

    assert offenders(engine, re.compile(r"(?:click|rich|aiohttp)(?:\.|$)")) == []


def test_only_the_port_to_powershell_imports_pypsrp():
    others = [path for path in CODE if not within(path, *PYPSRP_ONLY_IN, "tests/")]

    assert offenders(others, re.compile(r"(?:pypsrp|psrpcore|spnego)(?:\.|$)")) == []


def test_policy_model_errors_and_grammar_import_nothing_that_does_io():
    found = [
        f"{where(path, line)} imports {name}"
        for path in SOURCES
        if within(path, *PURE)
        for line, name in imports(path)
        if not _pure(name)
    ]

    assert found == []


def _pure(name: str) -> bool:
    if name.split(".")[0] in PURE_MAY_IMPORT:
        return True
    return f"{name}.".startswith(tuple(f"{ours}." for ours in PURE_MAY_IMPORT_OURS))


def test_the_model_and_the_errors_import_no_other_module_of_the_project():
    lowest = [path for path in SOURCES if within(path, "engine/model/", "engine/errors.py")]

    assert lowest
    assert offenders(lowest, re.compile(r"(?:bot(?:\.|$)|engine\.(?!model(?:\.|$)))")) == []


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file that is not a docstring: line and text. Of f-strings, the literal
    parts."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value for part in node.values if isinstance(part, ast.Constant))
            yield node.lineno, "…".join(map(str, parts))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
        ):
            yield node.lineno, node.value


def test_sql_occurs_only_in_the_store_and_in_modules_of_rows():
    found = [
        f"{where(path, line)} {text[:40]}"
        for path in SOURCES
        if not within(path, *ROWS)
        for line, text in strings(path)
        if SQL.search(text)
    ]

    assert found == []
    assert all(
        any(SQL.search(text) for _, text in strings(ROOT / name))
        for name in ROWS
        if name.endswith(".py")
    ), "a module of rows without a statement"


def test_only_the_database_modules_import_sqlite():
    outside = [path for path in SOURCES if not within(path, *KNOWS_SQLITE, *MIGRATES)]
    migrations = [ROOT / name for name in MIGRATES]

    assert offenders(outside, re.compile(r"sqlite")) == []
    assert offenders(migrations, re.compile(r"sqlite3")) == []


def test_sql_is_valid_for_postgresql_too():
    """Except migrations, which are never edited once written."""
    found = [
        f"{where(path, line)} {text[:60]}"
        for path in SOURCES
        if within(path, *ROWS) and not within(path, *MIGRATES)
        for line, text in strings(path)
        if ONLY_SQLITE.search(text)
    ]

    assert found == []


def test_the_bot_never_names_a_cmdlet():
    bot = [path for path in SOURCES if within(path, "bot/")]
    found = [
        f"{where(path, number)} names {match[0]}"
        for path, number, line in lines(bot)
        if (match := CMDLET.search(line))
    ]

    assert found == []


def test_the_pattern_for_cmdlets_matches_a_cmdlet():
    assert CMDLET.search("Move-SCVirtualMachine")
    assert CMDLET.search("Get-VMNetworkAdapter")
    assert not CMDLET.search("move-VMs on hv01")


def test_only_the_clock_reads_the_time():
    """All other code gets a clock. The terminal and the Slack side time their own waits."""
    found = [
        f"{where(path, node.lineno)} calls {ast.unparse(node.func)}"
        for path in SOURCES
        if within(path, "engine/") and not within(path, "engine/clock.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and re.fullmatch(
            r"(?:time\.(?:time|monotonic|sleep)|datetime\.(?:datetime\.)?(?:now|utcnow|today))",
            ast.unparse(node.func),
        )
    ]

    assert found == []


def test_no_module_is_too_long():
    found = [
        f"{where(path, count)} has {count} lines"
        for path in SOURCES
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_MODULE
    ]

    assert found == []


def test_no_file_has_a_meaningless_name():
    found = [where(path, 1) for path in CODE if BANNED_NAMES.search(path.stem)]

    assert found == []


def test_no_class_or_function_has_a_meaningless_name():
    found = [
        f"{where(path, node.lineno)} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and re.search(r"Manager|Helper|(?:^|_)(?:manager|helper|utils|process)(?:_|$)", node.name)
    ]

    assert found == []


def test_the_code_contains_no_todo_comments():
    found = [
        f"{where(path, number)} {match[0]}"
        for path, number, line in lines(CODE)
        if (match := BANNED_WORDS.search(line))
    ]

    assert found == []


def test_every_module_has_a_docstring():
    found = [
        where(path, 1)
        for path in SOURCES
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert found == []


def test_the_manifest_requests_only_the_scopes_in_use():
    text = (ROOT / "manifest.yml").read_text(encoding="utf-8")
    scopes = re.search(r"scopes:\n\s+bot:\n((?:\s+- \S+\n)+)", text)

    assert scopes is not None
    used = ["app_mentions:read", "channels:history", "channels:read", "chat:write", "commands"]
    used += ["groups:history", "groups:read", "im:history", "im:write"]
    used += ["usergroups:read", "users:read"]
    assert [scope for scope in scopes[1].split() if scope != "-"] == used
    assert "should_escape: false" in text
    assert "socket_mode_enabled: true" in text


# --- rooms --------------------------------------------------------------------------------------

#: From low to high. A room imports its own layer and lower ones.
LAYERS = (
    ("engine.errors", "engine.clock", "engine.model"),
    ("engine.language",),
    ("engine.policy",),
    ("engine.toml_tables",),
    ("engine.settings",),
    ("engine.store",),
    ("engine.vmm", "engine.sim"),
    ("engine.views",),
    ("engine.commands",),
    ("engine.advance",),
    ("engine.stories",),
    ("bot.exit_codes", "bot.logs", "bot.standin"),
    ("bot.slack.kit", "bot.slack.schema", "bot.slack.web_api"),
    ("bot.pager", "bot.slack.people"),
    ("bot.slack.modals", "bot.slack.setup"),
    ("bot.slack.inbox",),
    ("bot.slack.outbox",),
    ("bot.slack.messages",),
    ("bot.slack.handlers",),
    ("bot.slack.connection",),
    ("bot.slack",),
    ("bot.terminal",),
    ("bot.demo",),
    ("bot",),
)
FREE = ("engine.model", "engine.errors", "bot.slack.kit")
"""Rooms of small parts, which do not count as something that a module depends on."""
MOST_IMPORTS, MOST_IMPORTS_OF_A_ROOT, MOST_MODULES, LONGEST_FUNCTION = 12, 20, 16, 40
ROOTS = {
    "bot.cli": "every command",
    "bot.demo.night": "a whole installation in one process",
    "bot.slack.handlers.decisions": "every click on a card",
    "bot.slack.handlers.verbs": "every verb that is typed",
    "bot.slack.handlers.worker": "every row of the inbox",
    "bot.slack.messages.publisher": "what is put where, and when",
    "bot.slack.messages.report": "the final report as blocks",
    "bot.slack.messages.run_messages": "every message about a run",
    "bot.slack.slack_side": "the Slack side as one object",
    "bot.terminal.running": "a whole installation in one process",
    "bot.terminal.verbs": "every verb that is typed",
    "engine.advance.engine": "one step: look, plan, write, call",
    "engine.policy.plan": "every judgement about all runs",
    "engine.stories.story": "a whole installation in one process",
}
"""Modules that put others together, and what."""
ONE_IMPORTER = {
    "bot.demo.night": "a command of its own",
    "bot.demo.transcript": "a channel as people read it, apart from the night that fills it",
    "bot.slack.connection.http_mode": "one of two ways to reach us",
    "bot.slack.connection.socket_mode": "one of two ways to reach us",
    "bot.slack.connection.websocket": "one socket; socket_mode keeps two of them",
    "bot.slack.handlers.looks": "answers to verbs that only look",
    "bot.slack.handlers.permits": "who may say what, tested alone",
    "bot.slack.handlers.threads": "mentions and shortcuts as commands",
    "bot.slack.handlers.worker": "put together in slack_side",
    "bot.slack.messages.expired_buttons": "what is said once a button does not apply",
    "bot.slack.messages.outage_news": "what Slack missed",
    "bot.slack.messages.pages": "what wakes people, tested alone",
    "bot.slack.messages.publisher": "put together in slack_side",
    "bot.slack.messages.report": "the final report as blocks",
    "bot.slack.messages.run_messages": "what is said, apart from when and where",
    "bot.slack.outbox.plain_text": "messages whose blocks Slack does not take",
    "bot.slack.outbox.sender": "put together in slack_side",
    "bot.standin.conversations": "one family of Slack's methods",
    "bot.standin.methods": "Slack's other methods",
    "bot.standin.transport.server": "a layer of the stand-in's server",
    "bot.standin.transport.signed": "requests of HTTP mode",
    "bot.terminal.listing": "one page of the terminal",
    "bot.terminal.serve": "a command of its own",
    "bot.terminal.verbs": "commands of their own",
    "engine.advance.looks": "the answers to looks as rows",
    "engine.advance.row_steps": "the only part of a step that writes rows alone",
    "engine.advance.watchdog": "outside of the step that it watches",
    "engine.model.calls": "reached through engine.model",
    "engine.model.composition": "reached through engine.model",
    "engine.model.runs": "reached through engine.model",
    "engine.policy.ladders.moving": "a ladder",
    "engine.policy.ladders.pending": "a ladder",
    "engine.policy.ladders.restoring": "a ladder",
    "engine.policy.plan": "the one question that the engine asks",
    "engine.policy.runs.emptiness": "the proof that a host is empty",
    "engine.policy.runs.gap": "rules of their own, tested alone",
    "engine.policy.starts.breakers": "rules of their own, tested alone",
    "engine.policy.starts.capacity": "rules of their own, tested alone",
    "engine.policy.starts.delays": "reasons of ready moves, apart from the allotment",
    "engine.policy.starts.ordering": "rules of their own, tested alone",
    "engine.policy.starts.starts": "which ready move starts",
    "engine.sim.looks": "looks, each on its own",
    "engine.sim.migrations": "how a simulated migration goes",
    "engine.sim.truth": "the world in the fleet file's words",
    "engine.store.pen_moves": "a part of the pen",
    "engine.store.pen_runs": "a part of the pen",
    "engine.store.schema": "migrations",
    "engine.stories.happenings": "what a story does, one function a kind",
    "engine.stories.story": "a command of its own",
    "engine.views.report.as_csv": "one form of the report",
    "engine.views.report.in_words": "one form of the report",
    "engine.vmm.looking": "looks, apart from changes",
    "engine.vmm.sockets": "the only part that reaches below the library's connections",
    "engine.vmm.wire": "one of two worlds behind the port",
}
"""Modules that a single other one imports, and why they are modules. The list may only shrink."""


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


def layer_of(module: str) -> int:
    for number, parts in enumerate(LAYERS):
        if any(f"{module}.".startswith(f"{part}.") for part in parts):
            return number
    return len(LAYERS) if module == "engine" else pytest.fail(f"{module} is in no layer")


def test_no_room_imports_a_higher_one(house):
    found = [
        f"{name} imports {other}"
        for name, imported in house.imports.items()
        for other in imported
        if layer_of(other) > layer_of(name)
    ]

    assert found == []


def test_there_are_no_circular_imports(house):
    assert cycles(house.rooms) == []
    assert cycles(house.imports) == []


def test_the_stand_in_of_slack_imports_no_other_part_of_the_bot(house):
    found = [
        f"{name} imports {other}"
        for name, imported in house.imports.items()
        if name.startswith("bot.standin")
        for other in imported
        if not other.startswith(("bot.standin", "engine.clock"))
    ]

    assert found == []


def test_only_the_demo_imports_the_stand_in(house):
    found = [
        name
        for name, imported in house.imports.items()
        if any(other.startswith("bot.standin") for other in imported)
    ]

    assert [name for name in found if not name.startswith(("bot.standin", "bot.demo"))] == []


def test_no_package_has_too_many_modules(house):
    assert [name for name, number in house.packages().items() if number > MOST_MODULES] == []


def test_no_module_imports_too_many_others(house):
    found = {}
    for name, imported in house.imports.items():
        number = sum(not other.startswith(FREE) for other in imported)
        if number > (MOST_IMPORTS_OF_A_ROOT if name in ROOTS else MOST_IMPORTS):
            found[name] = number

    assert found == {}


def test_every_module_with_a_single_importer_has_a_listed_reason(house):
    single = {
        name
        for name, path in house.paths.items()
        if path.name != "__init__.py" and len(house.importers(name)) == 1
    }

    assert single == set(ONE_IMPORTER)


def test_no_function_is_longer_than_a_screen():
    found = [
        f"{where(path, node.lineno)} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    ]

    assert found == []
