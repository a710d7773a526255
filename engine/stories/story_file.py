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
from typing import Any, NoReturn

from engine.errors import Refused
from engine.model import same_host, short
from engine.settings import Settings, from_mapping
from engine.sim import fleet_file
from engine.sim.faults import CALLS, HOWS, NAMELESS, READING
from engine.sim.fleet_file import STATUSES, FleetFile
from engine.sim.table import Table, suggestion
from engine.sim.world import PLACES

ROLES = ("operator", "approver")
_TRIGGER = re.compile(r"(?:start|arrive):(?P<vm>.+)|ask:[1-9][0-9]*")


@dataclass(frozen=True)
class Happening:
    """One ``[[at]]``: when (``t`` seconds after the start or the trigger ``on``), and what."""

    t: float
    do: str
    on: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

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
        """Approvers among the story's people."""
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
        settings=from_mapping(_sections(values.get("settings", {})), f"in {folder / 'story.toml'}"),
        happenings=_happenings(top, people, fleet),
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
    verdict = table.choice("verdict", None, ("approve", "deny"))
    vms = table.texts("vms", ())
    if table.has("vms") and not vms:
        _refuse(table, "vms", "names no VM.", "Leave it out to decide on all of them.")
    if vms and verdict == "deny":
        _refuse(table, "vms", "goes with approve: a deny is for every VM of the question.")
    return {
        "verdict": verdict,
        "approval": table.optional("approval"),
        "reason": table.text("reason", ""),
        "vms": vms,
    }


def _limit(table: Table) -> dict[str, object]:
    found: dict[str, object] = {"host": table.required("host")}
    for key in ("live", "storage"):
        found[key] = table.count(key, 0) if table.has(key) else None
    if found["live"] is None and found["storage"] is None:
        _refuse(table, "live", "or storage is required: a limit that changes.")
    return found


def _power(table: Table) -> dict[str, object]:
    return {"vm": table.required("vm"), "status": table.choice("status", None, STATUSES)}


def _times(table: Table) -> int:
    return table.count("times", 1) or _refuse(table, "times", "must be 1 or more.")


def _outcome(table: Table) -> dict[str, object]:
    return {
        "vm": table.required("vm"),
        "job": table.choice("job", "ok", ("ok", "failed")),
        "at": table.optional("at"),
        "times": _times(table),
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
    vmm, host = table.flag_or_text("vmm"), table.optional("host")
    if bool(vmm) == (host is not None):
        hint = 'Write host = "hv01", or vmm = true.'
        _refuse(table, "host", "or vmm is down: one of them, not both and not none.", hint)
    return {"vmm": vmm, "host": host, "for": table.seconds("for", 0.0)}


def _fault(table: Table) -> dict[str, object]:
    call, how = table.choice("call", None, CALLS), table.choice("how", None, HOWS)
    host, vm = table.optional("host"), table.optional("vm")
    times, code = _times(table), table.word("code", "")
    delay = table.seconds("delay", 0.0)
    if vm and call in NAMELESS:
        _refuse(table, "vm", f"does not go with {call}, which is about whole hosts.")
    if how == "delayed" and call in READING:
        _refuse(table, "how", f"cannot be delayed: {call} only reads.")
    if how == "delayed" and not table.has("delay"):
        table.missing("delay")
    if how != "delayed" and table.has("delay"):
        _refuse(table, "delay", f'goes with how = "delayed", not with "{how}".')
    words = {"call": call, "how": how, "host": host, "vm": vm}
    return {**words, "times": times, "code": code, "delay": delay}


def _kill(table: Table) -> dict[str, object]:
    point = table.choice("point", None, ("before", "after"))
    call = table.choice("call", None, CALLS) if table.has("call") else None
    write = table.count("write", 0)
    if table.has("write") and not write:
        _refuse(table, "write", "must be 1 or more: writes are counted from this moment.")
    if bool(call) == bool(write):
        hint = 'Write call = "start_move", or write = 3.'
        _refuse(table, "call", "or write kills the engine: one of them, not both.", hint)
    return {"point": point, "call": call, "write": write, "for": table.seconds("for", 0.0)}


def _refuse(table: Table, key: str, why: str, hint: str = "") -> NoReturn:
    raise Refused(f"{table.path(key)} {why}", what=key, hint=hint)


#: Every ``do`` that the player knows, and how its words are read.
DOINGS: Mapping[str, Reader] = {
    "say": _say,
    "decide": _decide,
    "backup": _lasting("vm"),
    "lock": _lasting("host"),
    "limit": _limit,
    "foreign": _words("vm", "to"),
    "delete": _words("vm"),
    "power": _power,
    "outcome": _outcome,
    "lose": _lose,
    "create": _create,
    "down": _down,
    "restart": _lasting(""),
    "fault": _fault,
    "kill": _kill,
}


def _happenings(
    top: Table, people: Mapping[str, tuple[str, ...]], fleet: FleetFile
) -> tuple[Happening, ...]:
    found = tuple(_happening(table, people, fleet) for table in top.tables("at"))
    names = [vm.name for vm in fleet.vms]
    names += [it.words["vm"]["name"] for it in found if it.do == "create"]
    for it in found:
        trigger = _TRIGGER.fullmatch(it.on)
        vm = trigger["vm"] if trigger else None
        if vm and vm.casefold() not in [name.casefold() for name in names]:
            raise Refused(
                f'{it.where}: on: there is no VM "{vm}".', what=vm, hint=suggestion(vm, names)
            )
    return found


def _happening(table: Table, people: Mapping[str, tuple[str, ...]], fleet: FleetFile) -> Happening:
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
    _refuse_strangers(table, words, fleet)
    return Happening(t, do, on, words, table.place)


def _refuse_strangers(table: Table, words: Mapping[str, object], fleet: FleetFile) -> None:
    """Say here what is wrong with a VM that comes later, or with the name of the VMM server."""
    vm, vmm, at = words.get("vm"), words.get("vmm"), words.get("at")
    hosts = [name for host in fleet.hosts for name in (host.name, short(host.name))]
    if isinstance(at, str) and at.casefold() not in [w.casefold() for w in (*PLACES, *hosts)]:
        known = suggestion(at, (*PLACES, *hosts)) or f"Known: {', '.join(PLACES)}, or a host."
        raise Refused(f'{table.path("at")} cannot be "{at}".', what=at, hint=known)
    if isinstance(vm, Mapping):
        fleet_file.parse_vm(vm, [host.name for host in fleet.hosts], 0, table.path("vm"))
    if isinstance(vmm, str) and not same_host(vmm, fleet.vmm):
        _refuse(table, "vmm", f'is "{vmm}"; the server is {fleet.vmm}.', "Write vmm = true.")
