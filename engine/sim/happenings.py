"""Carries out one happening of a story: what people say and decide, and what befalls the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from engine import grammar, verbs
from engine.errors import Refused
from engine.model import Request
from engine.service import Service
from engine.sim.deaths import Deaths, Kill, Point
from engine.sim.faults import Fault, FaultyWorld, How
from engine.sim.story_file import Happening, Story
from engine.store import queries


@dataclass(frozen=True)
class Stage:
    """What happenings act on: the story's people, the service in front of them, the world."""

    story: Story
    service: Service
    world: FaultyWorld
    deaths: Deaths


def carry_out(stage: Stage, it: Happening, now: float) -> None:
    """Let it happen. Raises ``Refused``, with its place in the file, for names that do not exist
    at this moment."""
    try:
        _let_happen(stage, it, now)
    except Refused as error:
        place = f"{it.where} ({it.do}): " if it.where else ""
        raise Refused(f"{place}{error.sentence}", what=error.what, hint=error.hint) from None


def _let_happen(stage: Stage, it: Happening, now: float) -> None:
    seconds = it.words.get("for")
    lasting = float(seconds) if isinstance(seconds, int | float) else 0.0
    world = stage.world
    match it.do:
        case "say":
            _say(stage, it.text("by"), it.text("text"))
        case "decide":
            _decide(stage, it)
        case "backup":
            world.backup(now, it.text("vm"), lasting)
        case "lock":
            world.lock(now, it.text("host"), lasting)
        case "down":
            world.down(now, "vmm" if it.words["vmm"] else it.text("host"), lasting)
        case "restart":
            world.restart(now, lasting)
        case "fault":
            world.add_fault(_fault(world, it))
        case "kill":
            stage.deaths.arm(_kill(it, lasting))
        case _:
            _change(world, it, now)


def _change(world: FaultyWorld, it: Happening, now: float) -> None:
    """What somebody does to hosts and VMs, and what the next migrations of a VM come to."""
    words = it.words
    match it.do:
        case "delete":
            world.delete(now, it.text("vm"))
        case "create":
            world.create(now, cast(Mapping[str, object], words["vm"]))
        case "power":
            world.power(now, it.text("vm"), it.text("status"))
        case "foreign":
            world.foreign(now, it.text("vm"), it.text("to"))
        case "limit":
            world.limit(now, it.text("host"), _count(words["live"]), _count(words["storage"]))
        case "outcome":
            at = words["at"]
            job: Literal["ok", "failed"] = "failed" if it.text("job") == "failed" else "ok"
            place = str(at) if at is not None else None
            world.outcome(now, it.text("vm"), job, place, _count(words["times"]) or 1)
        case "lose":
            acls: Any = words["acls"] if isinstance(words["acls"], int) else "all"
            world.lose(now, it.text("vm"), acls, bool(words["nics"]))


def _say(stage: Stage, by: str, text: str) -> None:
    service = stage.service
    try:
        command = grammar.parse(text)
        if isinstance(command, Request):
            service.submit(command, by=by)
        else:
            verbs.carry_out(service, command, by=by, deciders=stage.story.approvers)
    except Refused as error:
        service.refuse(by, text, error)


def _decide(stage: Stage, it: Happening) -> None:
    service, by, named = stage.service, it.text("by"), it.words.get("approval")
    waiting = queries.open_approvals(service.store)
    granted = it.text("verdict") == "approve"
    verdict: Literal["approve", "deny"] = "approve" if granted else "deny"
    chosen = cast(tuple[str, ...], it.words.get("vms") or ())
    label = str(named or (waiting[0].label if waiting else ""))
    try:
        if not label:
            raise Refused("There is no open question.")
        made = service.decide(
            grammar.approval_number(label),
            verdict,
            by=by,
            deciders=stage.story.approvers,
            reason=it.text("reason"),
            vms=chosen or None,
        )
        if made.code == "unknown":
            raise Refused(f"There is no approval {label}.", what=label)
    except Refused as error:
        service.refuse(by, " ".join([verdict, label, *chosen]), error)


def _fault(world: FaultyWorld, it: Happening) -> Fault:
    words = it.words
    host, vm = words["host"], words["vm"]
    return Fault(
        call=it.text("call"),
        how=cast(How, words["how"]),
        host=world.state.host(str(host)).name if host else None,
        vm=world.state.vm(str(vm)).id if vm else None,
        times=_count(words["times"]) or 1,
        code=it.text("code"),
        delay=cast(float, words["delay"]),
    )


def _kill(it: Happening, seconds: float) -> Kill:
    call = it.words["call"]
    return Kill(
        point=cast(Point, it.text("point")),
        seconds=seconds,
        call=str(call) if call else None,
        write=_count(it.words["write"]) or 0,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
