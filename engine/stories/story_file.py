"""The story file: models of the tables of ``story.toml``, a format of the public contract.

A story is a folder: ``story.toml`` holds the happenings, ``fleet.toml`` the fleet, and
``expect.txt`` the expected result, which a person has checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, create_model, model_validator

from engine import toml_tables as toml
from engine.errors import Refused
from engine.model import same_host, short
from engine.settings import Settings
from engine.sim import fleet_file
from engine.sim.faults import HOSTLESS, NAMELESS, READING, Call, How
from engine.sim.fleet_file import FleetFile, Status, VmTable
from engine.sim.state import Restarted
from engine.sim.world import PLACES

Role = Literal["operator", "approver"]
ROLES: tuple[Role, ...] = get_args(Role)
_TRIGGER = re.compile(r"(?:start|arrive):(?P<vm>.+)|ask:[1-9][0-9]*")


@dataclass(frozen=True)
class Happening:
    """One ``[[at]]``. ``t`` is in seconds after the start or after the trigger ``on``."""

    t: float
    do: str
    on: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def text(self, key: str) -> str:
        """One of its words as text."""
        return str(self.words.get(key, ""))


@dataclass(frozen=True)
class Story:
    """A parsed story. ``until`` is seconds after the start; ``expected`` the expected text."""

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
        """The approvers among the story's people."""
        return frozenset(name for name, roles in self.people.items() if "approver" in roles)


# --- tables of the file -------------------------------------------------------------------------


def _trigger(on: str) -> str:
    if on and not _TRIGGER.fullmatch(on):
        raise toml.refusal(f'cannot be "{on}"', hint="Write start:VM, arrive:VM or ask:1.")
    return on


On = Annotated[
    toml.Text,
    AfterValidator(_trigger),
    WithJsonSchema(
        {"type": "string", "pattern": f"^(?:{_TRIGGER.pattern.replace('?P<vm>', '?:')})?$"}
    ),
]


class Doing(toml.Table):
    """``[[at]]``: when something happens. ``do`` names it; its words are the other keys."""

    t: toml.Duration = 0.0
    on: On = ""
    do: str

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.do in _CHECKS:
            _CHECKS[self.do](self)
        return self


def _check_decide(it: Any) -> None:
    if "vms" in it.model_fields_set and not it.vms:
        hint = "Leave it out to decide on all of them."
        raise toml.refusal("names no VM", key="vms", hint=hint)
    if it.vms and it.verdict == "deny":
        why = "goes with approve: a denial is about all VMs of the approval"
        raise toml.refusal(why, key="vms")


def _check_limit(it: Any) -> None:
    if it.live is None and it.storage is None:
        raise toml.refusal("or storage is required: a limit that changes", key="live")


def _check_server(it: Any) -> None:
    if bool(it.vmm) == (it.host is not None):
        state = {"hang": "hangs"}.get(it.do, f"is {it.do}")
        why = f"or vmm {state}: exactly one of them"
        raise toml.refusal(why, key="host", hint='Write host = "hv01", or vmm = true.')


def _check_fault(it: Any) -> None:
    is_delayed, has_delay = it.how == "delayed", "delay" in it.model_fields_set
    if it.vm and it.call in NAMELESS:
        raise toml.refusal(f"does not go with {it.call}, which is about whole hosts", key="vm")
    if it.host and it.call in HOSTLESS:
        raise toml.refusal(f"does not go with {it.call}, which is about no single host", key="host")
    if is_delayed and it.call in READING:
        raise toml.refusal(f"cannot be delayed: {it.call} only reads", key="how")
    if is_delayed and not has_delay:
        raise toml.refusal("is required", key="delay")
    if has_delay and not is_delayed:
        raise toml.refusal(f'goes with how = "delayed", not with "{it.how}"', key="delay")


def _check_kill(it: Any) -> None:
    if bool(it.call) == bool(it.write):
        why = "or write kills the engine: exactly one of them"
        raise toml.refusal(why, key="call", hint='Write call = "start_move", or write = 3.')


_CHECKS = {
    "decide": _check_decide,
    "limit": _check_limit,
    "down": _check_server,
    "slow": _check_server,
    "hang": _check_server,
    "fault": _check_fault,
    "kill": _check_kill,
}
_NAME, _MAYBE, _TIMES = (toml.Name, ...), (toml.Maybe, None), (toml.Times, 1)
_LIMIT = (toml.Count | None, None)
_FOR = (toml.Duration, 0.0)
_SERVER = {"vmm": (toml.Flag | toml.Name, False), "host": _MAYBE}
#: The words of each ``do``, with type and default (``...``: required).
_WORDS: Mapping[str, Mapping[str, Any]] = {
    "say": {"by": _NAME, "text": _NAME},
    "decide": {
        "by": _NAME,
        "verdict": (Literal["approve", "deny"], ...),
        "approval": _MAYBE,
        "reason": (toml.Text, ""),
        "vms": (tuple[toml.Text, ...], ()),
    },
    "backup": {"vm": _NAME, "for": _FOR},
    "lock": {"host": _NAME, "for": _FOR},
    "limit": {"host": _NAME, "live": _LIMIT, "storage": _LIMIT},
    "foreign": {"vm": _NAME, "to": _NAME},
    "stall": {"vm": _NAME, "for": _FOR},
    "delete": {"vm": _NAME},
    "power": {"vm": _NAME, "status": (Status, ...)},
    "outcome": {"vm": _NAME, "job": (Literal["ok", "failed"], "ok"), "at": _MAYBE, "times": _TIMES},
    "lose": {
        "vm": _NAME,
        "acls": (Literal["all"] | toml.Count, 0),
        "nics": (toml.Flag, False),
        "power": (toml.Flag, False),
    },
    "create": {"vm": (VmTable, ...)},
    "down": {**_SERVER, "for": _FOR},
    "slow": {**_SERVER, "times": (Annotated[toml.Number, Field(gt=0)], ...), "for": _FOR},
    "hang": {**_SERVER, "call": (Call | None, None), "for": (toml.Duration | None, None)},
    "hang_reread": {"host": _NAME},
    "restart": {"for": _FOR, "jobs": (Restarted, "die")},
    "fault": {
        "call": (Call, ...),
        "how": (How, ...),
        "host": _MAYBE,
        "vm": _MAYBE,
        "times": _TIMES,
        "code": (toml.Word, ""),
        "delay": _FOR,
    },
    "kill": {
        "point": (Literal["before", "after"], ...),
        "call": (Call | None, None),
        "write": (toml.Times | None, None),
        "for": _FOR,
    },
}
DOINGS: Mapping[str, type[Doing]] = {
    do: create_model(do.capitalize(), __base__=Doing, **{"do": (Literal[do], ...), **words})
    for do, words in _WORDS.items()
}
"""The model of each ``do``."""

if TYPE_CHECKING:
    AnyDoing = Doing
else:
    AnyDoing = Annotated[reduce(or_, DOINGS.values()), Field(discriminator="do")]


class StoryTable(toml.Table):
    """A whole ``story.toml``."""

    about: toml.Name
    until: toml.Duration = 12 * 3600.0
    fleet: toml.Text = "fleet.toml"
    people: Mapping[str, tuple[Role, ...]] = {}
    settings: Settings = Settings()
    at: tuple[AnyDoing, ...] = ()


# --- relations between tables -------------------------------------------------------------------


def load(folder: Path) -> Story:
    """Read a story folder. Raises ``Refused`` with file, place and reason."""
    path, golden = folder / "story.toml", folder / "expect.txt"
    text = toml.load_text(path, "The story", "A story is a folder with story.toml and fleet.toml.")
    file = toml.read(StoryTable, toml.parse_toml(text, f"The story {path}"), str(path))
    fleet = fleet_file.load(folder / file.fleet)
    return Story(
        name=folder.resolve().name,
        about=file.about,
        until=file.until,
        fleet=fleet,
        people=file.people,
        settings=file.settings,
        happenings=_happenings(file, fleet, str(path)),
        expected=toml.load_text(golden, "The expected result") if golden.exists() else None,
    )


def _happenings(file: StoryTable, fleet: FleetFile, path: str) -> tuple[Happening, ...]:
    found = tuple(
        Happening(it.t, it.do, it.on, {key: getattr(it, key) for key in _WORDS[it.do]}, where)
        for it, where in ((it, f"{path}: at[{n}]") for n, it in enumerate(file.at))
    )
    names = [vm.name for vm in fleet.vms]
    names += [it.words["vm"].name for it in found if it.do == "create"]
    for it in found:
        _refuse_strangers(it, file.people, fleet, names)
    return found


def _refuse_strangers(
    it: Happening, people: Mapping[str, object], fleet: FleetFile, names: Sequence[str]
) -> None:
    """Refuse an unknown VM of a trigger, an unknown person, place or host of a created VM, or a
    wrong name of the VMM server."""
    trigger, words = _TRIGGER.fullmatch(it.on), it.words
    vm, by, at, vmm = trigger and trigger["vm"], words.get("by"), words.get("at"), words.get("vmm")
    hosts = [host.name for host in fleet.hosts]
    if vm and vm.casefold() not in [name.casefold() for name in names]:
        hint = toml.suggestion(vm, names)
        raise Refused(f'{it.where}: on: there is no VM "{vm}".', what=vm, hint=hint)
    if by is not None and by not in people:
        hint = toml.suggestion(by, tuple(people)) or "Name everybody under [people]."
        raise Refused(f'{it.where}: by: nobody is named "{by}".', what=by, hint=hint)
    places = [*PLACES, *hosts, *map(short, hosts)]
    if at and at.casefold() not in [place.casefold() for place in places]:
        hint = toml.suggestion(at, places) or f"Known: {', '.join(PLACES)}, or a host."
        raise Refused(f'{it.where}: at cannot be "{at}".', what=at, hint=hint)
    if it.do == "create":
        fleet_file.parse_vm(words["vm"], hosts, 0, f"{it.where}: vm")
    if isinstance(vmm, str) and not same_host(vmm, fleet.vmm):
        sentence = f'{it.where}: vmm is "{vmm}"; the server is {fleet.vmm}.'
        raise Refused(sentence, what="vmm", hint="Write vmm = true.")
