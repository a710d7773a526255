"""The rooms of the house: how many, on how many levels, and who imports whom.

``python docs/rooms.py [FOLDER]`` prints a table for this checkout, or for another one. A room is a
folder of modules. If a folder has folders of its own, each module directly in it is a room, too.
Imports under ``TYPE_CHECKING`` and inside functions count like all others.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

Graph = Mapping[str, set[str]]
TOPS = ("engine", "bot")


class House:
    """All modules below ``engine`` and ``bot`` of a checkout, by their dotted names."""

    def __init__(self, root: Path) -> None:
        paths = [path for top in TOPS for path in (root / top).rglob("*.py")]
        self.paths = {_dotted(path.relative_to(root)): path for path in sorted(paths)}

    @cached_property
    def lines(self) -> dict[str, int]:
        """Lines of each module."""
        texts = {name: path.read_text(encoding="utf-8") for name, path in self.paths.items()}
        return {name: len(text.splitlines()) for name, text in texts.items()}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """The modules of ours that each module imports."""
        return {name: set(self._imported(name)) - {name} for name in self.paths}

    @cached_property
    def rooms(self) -> dict[str, set[str]]:
        """The rooms that each room imports."""
        found: dict[str, set[str]] = defaultdict(set)
        for name, imported in self.imports.items():
            found[self.room(name)] |= {self.room(one) for one in imported}
        return {room: others - {room} for room, others in sorted(found.items())}

    def room(self, module: str) -> str:
        """The room of a module: its folder, unless that has folders of its own."""
        path = self.paths[module]
        if path.name == "__init__.py":
            return module
        has_folders = any(one.is_dir() and list(one.glob("*.py")) for one in path.parent.iterdir())
        return module if has_folders else module.rpartition(".")[0]

    def importers(self, module: str) -> set[str]:
        """The modules that import this one."""
        return {name for name, imported in self.imports.items() if module in imported}

    def packages(self) -> Counter[str]:
        """How many modules stand directly in each folder, ``__init__`` aside."""
        return Counter(
            name.rpartition(".")[0]
            for name, path in self.paths.items()
            if path.name != "__init__.py"
        )

    def _imported(self, name: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(self.paths[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name in self.paths)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    if full in self.paths:
                        yield full
                    elif node.module in self.paths:
                        yield node.module
            elif isinstance(node, ast.Call) and _is_import_call(node):
                (first, *_) = node.args
                name = first.value if isinstance(first, ast.Constant) else ""
                yield from {name} & set(self.paths)


def cycles(graph: Graph) -> list[list[str]]:
    """The groups that import each other in a circle."""
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in graph
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups)]


def levels(graph: Graph) -> dict[str, int]:
    """How far each one stands above what imports nothing; those of a circle stand together."""
    circle = {name: tuple(group) for group in cycles(graph) for name in group}
    found: dict[tuple[str, ...], int] = {}

    def level(group: tuple[str, ...]) -> int:
        if group not in found:
            below = {circle.get(b, (b,)) for a in group for b in graph.get(a, ())} - {group}
            found[group] = 1 + max(map(level, below), default=0)
        return found[group]

    return {name: level(circle.get(name, (name,))) for name in graph}


def table(house: House) -> list[tuple[str, str]]:
    """What the script prints, row by row."""
    rooms, imports = house.rooms, house.imports
    fan_out = Counter({name: len(imported) for name, imported in imports.items()})
    single = [name for name in imports if len(house.importers(name)) == 1]
    package, most = house.packages().most_common(1)[0]
    longest, lines = Counter(house.lines).most_common(1)[0]
    return [
        ("rooms", str(len(rooms))),
        ("levels of rooms", str(max(levels(rooms).values()))),
        ("arrows between rooms", str(sum(map(len, rooms.values())))),
        ("circles of rooms", _shown(cycles(rooms))),
        ("modules", str(len(imports))),
        ("levels of modules", str(max(levels(imports).values()))),
        ("imports between modules", str(sum(map(len, imports.values())))),
        ("circles of modules", _shown(cycles(imports))),
        ("most imports of ours", ", ".join(f"{n} {name}" for name, n in fan_out.most_common(5))),
        ("modules with one importer", str(len(single))),
        ("largest package", f"{most} modules in {package}"),
        ("longest module", f"{lines} lines in {longest}"),
        ("lines", str(sum(house.lines.values()))),
    ]


def _is_import_call(node: ast.Call) -> bool:
    """Tell whether a module is imported by a call."""
    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
    return name in ("import_module", "__import__") and bool(node.args)


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    left = [*graph.get(start, ())]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += graph.get(name, ())
    return seen


def _shown(groups: list[list[str]]) -> str:
    return "; ".join(", ".join(group) for group in groups) or "none"


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    ROOT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    for row in table(House(ROOT)):
        print(f"{row[0]:26} {row[1]}")
