"""The story file: strict reading of ``story.toml``, format of the public contract.

A story is a folder: ``story.toml`` says what happens, ``fleet.toml`` what there is, and
``expect.txt`` what came of it when somebody last looked and found it good.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import Refused
from engine.settings import Settings, from_mapping
from engine.sim import fleet_file
from engine.sim.faults import CALLS, HOWS
from engine.sim.fleet_file import FleetFile
from engine.sim.table import Table, suggestion

ROLES = ("operator", "approver")
_TRIGGER = re.compile(r"(start|arrive|ask):(.+)")


@dataclass(frozen=True)
class Happening:
    """One ``[[at]]``: when (``t`` seconds after the start or the trigger ``on``), and what."""

    t: float
    do: str
    on: str = ""
    words: Mapping[str, object] = field(default_factory=dict)

    def text(self, key: str, default: str = "") -> str:
        """A word of it, as text."""
        return str(self.words.get(key, default))


@dataclass(frozen=True)
class Story:
    """A whole folder. ``until`` is seconds after the start; ``expected`` the golden text."""

    name: str
    about: str
    until: float
    fleet: FleetFile
    people: Mapping[str, tuple[str, ...]]
    settings: Settings
    happenings: tuple[Happening, ...]
    expected: str | None = None

    @property
    def approvers(self) -> frozenset[str]:
        """Who may decide."""
        return frozenset(name for name, roles in self.people.items() if "approver" in roles)


def load(folder: Path) -> Story:
    """Read a story folder. Raises ``Refused`` with file, place and reason."""
    path = folder / "story.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(
            f"The story {path} cannot be read: {error.strerror}.",
            what=str(path),
            hint="A story is a folder with story.toml and fleet.toml.",
        ) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"The story {path} is not TOML: {error}.", what=str(path)) from None
    return _story(folder, Table(values, str(path)), values)


def _story(folder: Path, top: Table, values: Mapping[str, object]) -> Story:
    about = top.required("about")
    fleet = fleet_file.load(folder / top.text("fleet", "fleet.toml"))
    top.table("people")
    top.table("settings")
    people = _people(values.get("people", {}), top)
    golden = folder / "expect.txt"
    story = Story(
        name=folder.resolve().name,
        about=about,
        until=top.seconds("until", 12 * 3600.0),
        fleet=fleet,
        people=people,
        settings=from_mapping(_sections(values.get("settings", {})), f"in {folder.name}"),
        happenings=tuple(_happening(table, people) for table in top.tables("at")),
        expected=golden.read_text(encoding="utf-8") if golden.exists() else None,
    )
    top.done()
    return story


def _sections(values: object) -> dict[str, object]:
    return {str(k): v for k, v in values.items()} if isinstance(values, Mapping) else {}


def _people(values: object, top: Table) -> dict[str, tuple[str, ...]]:
    people: dict[str, tuple[str, ...]] = {}
    for name in values if isinstance(values, Mapping) else ():
        roles = top.table("people").texts(name, ())
        strange = next((r for r in roles if r not in ROLES), None)
        if strange is not None:
            raise Refused(
                f'{top.path("people")}.{name}: "{strange}" is not a role.',
                what=strange,
                hint=suggestion(strange, ROLES) or f"Known: {', '.join(ROLES)}.",
            )
        people[name] = roles
    return people


Reader = Callable[[Table], dict[str, object]]


def _say(table: Table) -> dict[str, object]:
    return {"text": table.required("text")}


def _decide(table: Table) -> dict[str, object]:
    return {
        "verdict": table.choice("verdict", None, ("approve", "deny")),
        "approval": table.optional("approval"),
        "reason": table.text("reason", ""),
        "vms": table.texts("vms", ()),
    }


def _limit(table: Table) -> dict[str, object]:
    found: dict[str, object] = {"host": table.required("host")}
    for key in ("live", "storage"):
        found[key] = table.count(key, 0) if table.has(key) else None
    return found


def _outcome(table: Table) -> dict[str, object]:
    return {
        "vm": table.required("vm"),
        "job": table.choice("job", "ok", ("ok", "failed")),
        "at": table.optional("at"),
        "times": table.count("times", 1),
    }


def _lose(table: Table) -> dict[str, object]:
    acls: object = 0
    if table.has("acls"):
        acls = table.word("acls", "all")
        acls = int(str(acls)) if str(acls).isdigit() else table.choice("acls", "all", ("all",))
    return {"vm": table.required("vm"), "acls": acls, "nics": table.flag("nics", False)}


def _words(*keys: str) -> Reader:
    return lambda table: {key: table.required(key) for key in keys}


def _lasting(key: str) -> Reader:
    def read(table: Table) -> dict[str, object]:
        words: dict[str, object] = {key: table.required(key)} if key else {}
        return {**words, "for": table.seconds("for", 0.0)}

    return read


def _create(table: Table) -> dict[str, object]:
    return {"vm": table.mapping("vm")}


def _down(table: Table) -> dict[str, object]:
    vmm, host = table.flag("vmm", False), table.optional("host")
    if vmm == (host is not None):
        hint = 'Write host = "hv01", or vmm = true.'
        sentence = f"{table.path('host')}: either a host or VMM is down."
        raise Refused(sentence, what="host", hint=hint)
    return {"vmm": vmm, "host": host, "for": table.seconds("for", 0.0)}


def _fault(table: Table) -> dict[str, object]:
    call = table.choice("call", None, CALLS)
    how = table.choice("how", None, HOWS)
    if how == "delayed" and call != "start_move":
        raise Refused(f"{table.path('how')}: only start_move can be delayed.", what="delayed")
    return {
        "call": call,
        "how": how,
        "host": table.optional("host"),
        "vm": table.optional("vm"),
        "times": table.count("times", 1),
        "code": table.word("code", ""),
        "delay": table.seconds("delay", 30.0),
    }


def _kill(table: Table) -> dict[str, object]:
    call = table.choice("call", "", ("", *CALLS)) if table.has("call") else None
    write = table.count("write", 0)
    if bool(call) == bool(write):
        hint = 'Write call = "start_move", or write = 3.'
        sentence = f"{table.path('call')}: the engine dies at a call or at a write."
        raise Refused(sentence, what="call", hint=hint)
    return {
        "point": table.choice("point", None, ("before", "after")),
        "call": call,
        "write": write,
        "for": table.seconds("for", 0.0),
    }


#: Every ``do`` that the player knows, and how its words are read.
DOINGS: Mapping[str, Reader] = {
    "say": _say,
    "decide": _decide,
    "backup": _lasting("vm"),
    "lock": _lasting("host"),
    "limit": _limit,
    "foreign": _words("vm", "to"),
    "delete": _words("vm"),
    "power": _words("vm", "status"),
    "outcome": _outcome,
    "lose": _lose,
    "create": _create,
    "down": _down,
    "restart": _lasting(""),
    "fault": _fault,
    "kill": _kill,
}


def _happening(table: Table, people: Mapping[str, tuple[str, ...]]) -> Happening:
    do = table.choice("do", None, tuple(DOINGS))
    on = table.text("on", "")
    if on and not _TRIGGER.fullmatch(on):
        raise Refused(
            f'{table.path("on")} cannot be "{on}".',
            what=on,
            hint="Write start:VM, arrive:VM or ask:1.",
        )
    words = DOINGS[do](table)
    t = table.seconds("t", 0.0)
    if do in ("say", "decide"):
        words["by"] = by = table.required("by")
        if by not in people:
            hint = suggestion(by, tuple(people)) or "Name everybody under [people]."
            raise Refused(f'{table.path("by")}: nobody is named "{by}".', what=by, hint=hint)
    table.done()
    return Happening(t, do, on, words)
