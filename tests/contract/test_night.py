"""The night of the demo, played whole on both worlds: the same report, but for who was called.

The same misfortunes befall the same fleet; the engine, its policy and its store are the same.
Virtual time only jumps, so how long PowerShell takes cannot show.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from engine import grammar, report
from engine.model import Request
from engine.reconciler import Engine
from engine.service import Service
from engine.settings import Settings
from engine.sim import pace
from engine.sim.fleet_file import parse
from engine.store import events, queries
from engine.store.store import Store
from tests.contract.conftest import SIMULATED, WIRED, Begin, Scene
from tests.powershell.pwsh import needs_checks

FLEET = files("bot.terminal").joinpath("demo_fleet.toml").read_text(encoding="utf-8")
THINKING = 60.0
"""Seconds until on-call has read the question."""


def play(scene: Scene, path: Path) -> dict[str, Any]:
    """Play the night to its end; the report."""
    world, clock, start = scene.world, scene.clock, scene.world.start
    settings = Settings()
    store = Store(path, durable=False)
    engine = Engine(store, scene.port, clock, settings, lanes=1)
    service = Service(store, clock, settings)
    try:
        engine.take_over()
        engine.look()
        world.foreign(start, "guest07", "HV03")
        world.outcome(start, "erp01", "failed", "source")
        world.lose(start, "shop01", acls="all")
        world.lose(start, "old-crm", acls="all", nics=True)
        request = grammar.parse("host HV01 to HV02")
        assert isinstance(request, Request)
        service.submit(request, by="@dana")
        while queries.runs(store, unfinished=True):
            assert clock.now() < start + 4 * 3600, "the night does not end"
            answers = decide(service, store, clock.now())
            done = engine.advance()
            assert done.error is None
            due = (clock.now(),) if done.acted else (done.next_due, world.next_change(clock.now()))
            clock.jump(pace.next_tick(clock.now(), start, settings.engine.tick, *due, answers))
        happened = {"calls": [], "fleet": world.truth(), "violations": world.violations}
        return report.document(store, "vmm01", clock.now(), start=start, world=happened)
    finally:
        engine.close()
        store.close()


def decide(service: Service, store: Store, now: float) -> float | None:
    """Ravi approves what has waited a minute; else when he will."""
    asked = [e for e in events.since(store) if e.kind == "approval.requested"]
    for waiting in queries.open_approvals(store):
        if now < asked[-1].at + THINKING:
            return asked[-1].at + THINKING
        service.decide(waiting.id, "approve", by="@ravi", deciders=frozenset({"@ravi"}))
    return None


@pytest.fixture
def night(begin: Begin, tmp_path: Path):
    return lambda way: play(begin(way, parse(FLEET)), tmp_path / f"{way}.db")


@needs_checks
def test_the_night_over_the_wire_is_reported_as_the_simulated_one(night):
    simulated, wired = night(SIMULATED), night(WIRED)

    assert wired["runs"] == simulated["runs"]
    assert wired["events"] == simulated["events"]
    assert wired == simulated


@needs_checks
def test_the_night_over_the_wire_has_every_misfortune_of_the_demo(night):
    document = night(WIRED)

    (run,) = document["runs"]
    moves = {move["vm"]: move for move in run["moves"]}
    assert run["exit"] == 0
    assert run["empty"] == {"HV01.corp.example": True}
    assert {move["state"] for move in moves.values()} == {"done"}
    assert any("SLOT" in move["waited"] for move in moves.values())
    assert "BACKUP" in moves["sql02"]["waited"]
    assert [a["result"] for a in moves["erp01"]["attempts"] if a["kind"] == "live"] == [
        "failed",
        "ok",
    ]
    assert {repair["what"] for repair in moves["shop01"]["repairs"]} == {"acl"}
    whats = {repair["what"] for repair in moves["old-crm"]["repairs"]}
    assert whats == {"acl", "network", "switch", "vlan"}
    assert document["violations"] == []
