"""Happenings of a story: what people say and decide, and what befalls the world."""

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
    """Stage on which happenings act: the story's people, the service in front of them, the
    world."""

    story: Story
    service: Service
    world: FaultyWorld
    deaths: Deaths


def carry_out_happening(stage: Stage, it: Happening, now: float) -> None:
    """Let it happen. Raises ``Refused``, with its place in the file, for names that do not exist
    at this moment."""
    try:
        _let_happen(stage, it, now)
    except Refused as error:
        place = f"{it.where} ({it.do}): " if it.where else ""
        raise Refused(f"{place}{error.sentence}", what=error.what, hint=error.hint) from None


def _let_happen(stage: Stage, it: Happening, now: float) -> None:
    lasting, world = it.words.get("for", 0.0), stage.world
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
    """Change hosts and VMs in the world, or the results of the next migrations of a VM."""
    words = it.words
    match it.do:
        case "delete":
            world.delete(now, it.text("vm"))
        case "create":
            world.create(now, words["vm"])
        case "power":
            world.power(now, it.text("vm"), it.text("status"))
        case "foreign":
            world.foreign(now, it.text("vm"), it.text("to"))
        case "limit":
            world.limit(now, it.text("host"), words["live"], words["storage"])
        case "outcome":
            world.outcome(now, it.text("vm"), words["job"], words["at"], words["times"])
        case "lose":
            world.lose(now, it.text("vm"), words["acls"], words["nics"])
        case _:
            raise NotImplementedError(it.do)


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
            raise Refused("There is no open question.")
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


def _kill(it: Happening, seconds: float) -> Kill:
    words = it.words
    return Kill(words["point"], seconds, call=words["call"], write=words["write"] or 0)
