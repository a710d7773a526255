"""Scenes for the tests of both modules: their shells stay open for the whole session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.powershell import stubs
from tests.powershell.scene import FLEET, Scene, opened


@pytest.fixture(scope="session")
def stub_modules(tmp_path_factory: pytest.TempPathFactory):
    return stubs.write(tmp_path_factory.mktemp("stubs"))


@pytest.fixture(scope="session")
def open_scene(stub_modules) -> Iterator[Callable[[str], Scene]]:
    """The scene for a way to load our modules. Its shells are opened at the first use."""
    scenes: dict[str, Scene] = {}
    with ExitStack() as stack:

        def scene(way: str) -> Scene:
            if way not in scenes:
                scenes[way] = stack.enter_context(opened(way, stub_modules))
            scenes[way].play(FLEET)
            return scenes[way]

        yield scene


@pytest.fixture
def scene(open_scene) -> Scene:
    """A fresh world, with our modules loaded as text."""
    return open_scene("injected")
