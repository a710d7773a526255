"""Whole runs through both ports: the same report to the last byte, except for the list of calls.

The runs are the night of the demo and several stories. The same failures happen to the same fleet;
engine, policy and store are the same. Virtual time only jumps, so the duration of PowerShell calls
does not show. Only the simulated port records its calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from engine.advance.engine import Engine
from engine.advance.open_calls import limits_of
from engine.commands.service import Service
from engine.language import grammar
from engine.model import Request
from engine.settings import Settings
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.store import events, queries
from engine.store.store import Store
from engine.stories import story_file
from engine.stories.next_tick import Skip, next_tick
from engine.stories.queue import Queue
from engine.stories.story import Player
from engine.views import report
from engine.vmm.port import VmmPort
from tests.contract.conftest import DB01, FLEET, SIMULATED, WIRED, Begin, Scene, Wire
from tests.powershell.pwsh import ROOT, needs_checks
from tests.prove import spread

pytestmark = needs_checks

DEMO = files("bot.demo").joinpath("demo_fleet.toml").read_text(encoding="utf-8")
THINKING = 60.0
"""Seconds until on-call has read the question."""


def play(scene: Scene, path: Path, request: str, befall: Callable[[World], None]) -> dict[str, Any]:
    """Play a run to its end, with these happenings. Return the report."""
    world, clock, start = scene.world, scene.clock, scene.world.start
    settings, skip = Settings(), Skip(start)
    store = Store(path, durable=False)
    engine = Engine(store, scene.port, clock, settings)
    service = Service(store, clock, settings)
    try:
        engine.take_over()
        engine.look()
        befall(world)
        wish = grammar.parse(request)
        assert isinstance(wish, Request)
        service.submit(wish, by="slack:dana")
        while queries.runs(store, unfinished=True):
            assert clock.now() < start + 4 * 3600, "the night does not end"
            now = clock.now()
            answers = decide(service, store, now)
            if answers == now:
                skip.note_change(now)
            due = skip.moments(engine, world, engine.advance(), now)
            clock.jump(next_tick(now, start, settings.engine.tick, *due, answers))
        happened = {"calls": [], "fleet": world.truth(), "violations": world.violations}
        return report.document(store, "vmm01", clock.now(), start=start, world=happened)
    finally:
        engine.close()
        store.close()


def decide(service: Service, store: Store, now: float) -> float | None:
    """Approve, as Ravi, a question that is a minute old. Return the time at which he decides, or
    ``None`` if no question is open."""
    asked = [e for e in events.since(store) if e.kind == "approval.requested"]
    decides = None
    for waiting in queries.open_approvals(store):
        if now < asked[-1].at + THINKING:
            return asked[-1].at + THINKING
        service.decide(waiting.id, "approve", by="slack:ravi", approvers=frozenset({"slack:ravi"}))
        decides = now
    return decides


def as_in_the_demo(world: World) -> None:
    world.foreign(world.now, "guest07", "HV03")
    world.outcome(world.now, "erp01", "failed", "source")
    world.lose(world.now, "shop01", acls="all")
    world.lose(world.now, "old-crm", acls="all", nics=True)


@pytest.fixture(scope="module")
def nights(begin: Begin, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    room = tmp_path_factory.mktemp("nights")
    request = "host HV01 to HV02"
    return {
        way: play(begin(way, parse(DEMO)), room / f"{way}.db", request, as_in_the_demo)
        for way in (SIMULATED, WIRED)
    }


def test_the_report_over_the_wire_equals_that_of_the_simulated_port(nights):
    simulated, wired = nights[SIMULATED], nights[WIRED]

    assert wired["runs"] == simulated["runs"]
    assert wired["events"] == simulated["events"]
    assert wired == simulated


def test_the_failures_of_the_demo_are_repaired_over_the_wire(nights):
    document = nights[WIRED]

    (run,) = document["runs"]
    moves = {move["vm"]: move for move in run["moves"]}
    tries = [a["result"] for a in moves["erp01"]["attempts"] if a["kind"] == "live"]
    put_back = {vm: {repair["what"] for repair in moves[vm]["repairs"]} for vm in moves}
    assert (run["exit"], run["empty"]) == (0, {"HV01.corp.example": True})
    assert {move["state"] for move in moves.values()} == {"done"}
    assert any("SLOT" in move["waited"] for move in moves.values())
    assert "BACKUP" in moves["sql02"]["waited"]
    assert tries == ["failed", "ok"]
    assert put_back["shop01"] == {"acl"}
    assert put_back["old-crm"] == {"acl", "network", "switch", "vlan"}
    assert [approval["state"] for approval in document["approvals"]] == ["granted"]
    assert document["violations"] == []


def test_a_trunk_that_vmm_cannot_pin_is_restored_through_hyperv(begin: Begin, tmp_path: Path):
    trunk = FLEET.replace("]]\nvlan = 20\n", "]]\ntrunk = [20, 30]\nnative_vlan = 20\n")
    there = begin(WIRED, parse(trunk))
    before = list(there.nics(DB01))
    assert before[1].trunk == (20, 30)

    document = play(there, tmp_path / "run.db", "vm db01 to hv02", lambda world: None)

    (move,) = document["runs"][0]["moves"]
    assert (move["outcome"], move["kind"], move["missing"]) == ("MOVED", "cold", [])
    assert [repair["what"] for repair in move["repairs"]] == ["vlan"]
    assert there.nics(DB01) == before


TOLD = (
    *("02_lost_acls_are_put_back", "03_powered_down_keeps_its_network"),
    *("04_backup_is_waited_for", "05_a_failure_is_tried_again", "07_failed_but_moved"),
    *("10_a_stranger_moves_it", "11_damage_is_told_exactly"),
    *("12_status_lies_and_jobs_come_late", "13_no_answer_to_the_start"),
    *("14_deleted_in_mid_run", "15_a_reboot_is_not_powered_down"),
    *("26_room_is_waited_for", "29_a_missing_switch", "30_what_can_never_move"),
    *("35_aborted", "41_recreated_under_its_name", "51_every_field_of_a_network"),
    *("53_namesakes", "62_nothing_to_pin"),
)
"""Stories in which something happens that VMFerry has to see over the wire."""
COSTLY = ("65_a_re_read_that_hangs", "67_a_start_that_never_returns", "70_a_late_dismissal")
"""Stories with the costs of a real VMM, and with calls that hang."""


class Charged:
    """The port of the wire, with the costs of the simulated world."""

    def __init__(self, port: VmmPort, world: SimPort) -> None:
        self.port, self.seconds = port, world.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.port, name)


def wire_up(player: Player, wire: Wire) -> None:
    """Let the player's engine work over the wire, in the same virtual time."""
    story, store, clock = player.story, player.engine.store, player.clock
    port = Charged(wire.port(player.port.world, clock), player.port)
    caller = Queue(port, clock, limits_of(story.settings))
    player.engine.close()
    player._queues = [caller]
    player.engine = Engine(store, port, clock, story.settings, vmm=story.fleet.vmm, caller=caller)


def both_ways(name: str, wire: Wire, folder: Path) -> list[dict[str, Any]]:
    """Play a story through the simulated port and over the wire. Return the reports."""
    story = story_file.load(ROOT / "tests" / "stories" / name)
    # The simulated port alone knows who has connected already.
    costs = replace(story.fleet.costs, connect=0.0)
    story = replace(story, fleet=replace(story.fleet, costs=costs))
    documents = []
    for way in (SIMULATED, WIRED):
        player = Player(story, folder / f"{way}.db")
        if way == WIRED:
            wire_up(player, wire)
        try:
            documents.append({**player.document(player.play()), "calls": None})
        finally:
            player.close()
    assert wire.calls("Get-SCJob")
    return documents


@pytest.mark.prove
@pytest.mark.parametrize("name", spread(TOLD, 7, len(TOLD)))
def test_a_story_has_the_same_report_over_the_wire(name, wire: Wire, tmp_path: Path):
    simulated, wired = both_ways(name, wire, tmp_path)

    assert simulated["ended"]
    assert wired["events"] == simulated["events"]
    assert wired == simulated


@pytest.mark.prove
@pytest.mark.parametrize("name", COSTLY)
def test_a_story_with_costs_has_the_same_outcomes_over_the_wire(name, wire: Wire, tmp_path: Path):
    """Its times differ, and with them the choice of destinations: re-reads in jobs of their own
    take as long as the stub says."""
    simulated, wired = both_ways(name, wire, tmp_path)
    outcomes = [
        {move["vm"]: move["outcome"] for move in document["runs"][0]["moves"]}
        for document in (simulated, wired)
    ]

    assert [document["violations"] for document in (simulated, wired)] == [[], []]
    assert outcomes[1] == outcomes[0]
