"""Happenings of a story: requests and decisions of people, and changes of the world."""

from __future__ import annotations

from dataclasses import dataclass

from engine.commands import verbs
from engine.commands.service import Service
from engine.errors import Refused
from engine.language import grammar
from engine.model import Request
from engine.sim.deaths import Deaths, Kill
from engine.sim.faults import Fault, FaultyWorld
from engine.store import queries
from engine.stories.story_file import Happening, Story


@dataclass(frozen=True)
class Stage:
    """The objects on which happenings act: the story's people, the service, the world."""

    story: Story
    service: Service
    world: FaultyWorld
    deaths: Deaths


def carry_out_happening(stage: Stage, it: Happening, now: float) -> None:
    """Carry out a happening. Raises ``Refused``, with its place in the file, for names that do not
    exist at this moment."""
    try:
        _let_happen(stage, it, now)
    except Refused as error:
        place = f"{it.where} ({it.do}): " if it.where else ""
        raise Refused(f"{place}{error.sentence}", what=error.what, hint=error.hint) from None


def _let_happen(stage: Stage, it: Happening, now: float) -> None:
    """Carry out a happening. Changes of the world are methods of it with the same names and
    words."""
    words, world = {**it.words}, stage.world
    if "for" in words:
        words["seconds"] = words.pop("for")
    match it.do:
        case "say":
            _say(stage, words["by"], words["text"])
        case "decide":
            _decide(stage, it)
        case "down" | "slow" | "hang":
            is_vmm, host = words.pop("vmm"), words.pop("host")
            getattr(world, it.do)(now, "vmm" if is_vmm else host, **words)
        case "fault":
            world.add_fault(_fault(world, it))
        case "kill":
            kill = Kill(words["point"], words["seconds"], words["call"], words["write"] or 0)
            stage.deaths.arm(kill)
        case _:
            getattr(world, it.do)(now, **words)


def _say(stage: Stage, by: str, text: str) -> None:
    service = stage.service
    try:
        command = grammar.parse(text)
        if isinstance(command, Request):
            service.submit(command, by=by)
        else:
            verbs.carry_out_verb(service, command, by=by, approvers=stage.story.approvers)
    except Refused as error:
        service.refuse(by, text, error)


def _decide(stage: Stage, it: Happening) -> None:
    service, by, verdict = stage.service, it.text("by"), it.words["verdict"]
    waiting = queries.open_approvals(service.store)
    label = it.words.get("approval") or (waiting[0].label if waiting else "")
    chosen = it.words.get("vms", ())
    try:
        if not label:
            raise Refused("There is no open approval.")
        number = grammar.approval_number(label)
        if queries.approval(service.store, number) is None:
            raise Refused(f"There is no approval {label}.", what=label)
        service.decide(
            number,
            verdict,
            by=by,
            approvers=stage.story.approvers,
            reason=it.text("reason"),
            vms=chosen or None,
        )
    except Refused as error:
        service.refuse(by, " ".join([verdict, label, *chosen]), error)


def _fault(world: FaultyWorld, it: Happening) -> Fault:
    words = it.words
    host, vm = words["host"], words["vm"]
    return Fault(
        call=it.text("call"),
        how=words["how"],
        host=world.state.host(host).name if host else None,
        vm=world.state.vm(vm).id if vm else None,
        times=words["times"],
        code=it.text("code"),
        delay=words["delay"],
    )
