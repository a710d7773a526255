"""Dependencies: pyproject.toml declares exactly what is imported, and the locks follow it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [Requirement(one) for one in PYPROJECT["project"]["dependencies"]]
DEV = [Requirement(one) for one in PYPROJECT["project"]["optional-dependencies"]["dev"]]
LOCKS = ("requirements/dev.txt", "requirements/lowest.txt")

SOURCES = sorted(path for top in ("bot", "engine") for path in (ROOT / top).rglob("*.py"))
TESTS = sorted(path for top in ("tests", "docs", ".ci") for path in (ROOT / top).rglob("*.py"))
OURS = {"bot", "docs", "engine", "tests", *(path.stem for path in TESTS)}

MODULES = {"pyyaml": "yaml", "pytest-xdist": "xdist"}
"""What a project is imported as, if not by its own name."""
PARTS = {"pydantic_core": "pydantic"}
"""Imports that come with another project, which asks for exactly one version of them."""
TOOLS = {"mypy", "pytest-cov", "pytest-random-order", "ruff", "setuptools"}
"""Development dependencies that are run, and never imported."""
PRIVATE = {
    "apscheduler": ["apscheduler.schedulers.background:BackgroundScheduler._thread"],
    "psrpcore": ["psrpcore:ServerPipeline._change_state"],
    "pydantic-settings": ["pydantic_settings:EnvSettingsSource._load_env_vars"],
    "pypsrp": ["pypsrp.wsman:_TransportHTTP.send", "pypsrp.wsman:_TransportHTTP.close"],
    "slack-bolt": [
        "slack_bolt.adapter.socket_mode.internals:build_headers",
        "slack_bolt.adapter.socket_mode.async_internals:send_async_response",
    ],
    "slack-sdk": [
        "slack_sdk.socket_mode.aiohttp:SocketModeClient.connect_to_new_endpoint",
        "slack_sdk.socket_mode.aiohttp:SocketModeClient.enqueue_message",
        "slack_sdk.socket_mode.aiohttp:SocketModeClient.receive_messages",
        "slack_sdk.socket_mode.aiohttp:SocketModeClient.run_message_listeners",
    ],
}
"""What we use of a library that its next release may change without a word."""


def imports(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """The imported projects: name of the module, and place of the import."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in OURS:
                    yield PARTS.get(top, top), f"{path.relative_to(ROOT)}:{node.lineno}"


def module_of(requirement: Requirement) -> str:
    return MODULES.get(requirement.name, requirement.name.replace("-", "_"))


def lowest(requirement: Requirement) -> Version:
    """The lower bound of a requirement."""
    (bound,) = (one for one in requirement.specifier if one.operator == ">=")
    return Version(bound.version)


def has_upper_bound(requirement: Requirement) -> bool:
    return any(one.operator == "<" for one in requirement.specifier)


def locked(lock: str) -> dict[str, Version]:
    """The locked versions by project."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def test_every_module_can_be_imported():
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES]

    assert len(names) > 100
    for name in names:
        import_module(name.removesuffix(".__init__"))


def test_every_import_of_another_project_is_declared():
    declared = {module_of(one) for one in RUNTIME}

    assert [found for found in imports(SOURCES) if found[0] not in declared] == []


def test_every_declared_dependency_is_imported():
    imported = {name for name, _ in imports(SOURCES)}

    assert [one.name for one in RUNTIME if module_of(one) not in imported] == []


def test_every_import_of_the_tests_is_declared():
    declared = {module_of(one) for one in (*RUNTIME, *DEV)}

    assert [found for found in imports(TESTS) if found[0] not in declared] == []


def test_every_development_dependency_is_imported_by_the_tests_or_is_a_tool():
    imported = {name for name, _ in imports(TESTS)}
    unused = {one.name for one in DEV if module_of(one) not in imported}

    assert unused == TOOLS


def test_the_build_backend_is_a_development_dependency_with_the_same_bounds():
    backend = [Requirement(one) for one in PYPROJECT["build-system"]["requires"]]

    assert backend == [one for one in DEV if one.name == "setuptools"]


@pytest.mark.parametrize("name", sorted(PRIVATE))
def test_a_library_with_used_private_names_has_an_upper_bound_and_those_names(name):
    (requirement,) = (one for one in (*RUNTIME, *DEV) if one.name == name)

    assert has_upper_bound(requirement)
    for part in PRIVATE[name]:
        resolve_name(part)


@pytest.mark.parametrize("requirement", [*RUNTIME, *DEV], ids=lambda one: one.name)
def test_the_locks_hold_each_dependency_within_its_bounds_and_at_its_lower_bound(requirement):
    newest, oldest = (locked(lock)[canonicalize_name(requirement.name)] for lock in LOCKS)

    assert requirement.specifier.contains(newest), "run: make lock"
    assert requirement.specifier.contains(oldest), "run: make lock"
    # Where the bound itself was never released, the first release after it is installed.
    assert oldest.release[:2] == (*lowest(requirement).release, 0)[:2], "run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_has_a_hash_for_every_version_and_no_url_or_path(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]

    assert len(entries) > len(RUNTIME) + len(DEV)
    assert [one.splitlines()[0] for one in entries if "--hash=sha256:" not in one] == []
    assert re.findall(r"://|^-|@|(?<![\w.])/\w+", text, re.MULTILINE) == []
