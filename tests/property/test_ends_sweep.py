"""A sweep of kills and cuts over the ends of moves: jobs that VMM forgets or calls failed while the
hosts go on, copies that nobody can see, a VM that arrives off. The world's own ledger judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.stories import story_file
from tests.property.test_safety import Night
from tests.prove import spread

FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[host]]
name = "hv03.corp.example"
[[vm]]
name = "web01"
host = "hv01"
minutes = 4.0
[[vm.nic]]
vlan = 10
[[vm.nic.acl]]
action = "Deny"
direction = "Inbound"
weight = 10
[[vm]]
name = "old01"
host = "hv01"
status = "PowerOff"
minutes = 4.0
[[vm.nic]]
vlan = 20
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
[lies]
lose_acls_live = 1.0
lose_acls_cold = 1.0
[costs]
like = "vmm"
"""
STORY = """
about = "A night of the sweep"
until = "12h"
[people]
ann = ["operator"]
bob = ["approver"]
[[at]]
do = "say"
by = "ann"
text = "host hv01 to hv02"
[[at]]
on = "ask:1"
t = "10s"
do = "decide"
by = "bob"
verdict = "approve"
"""


def happens(do: str, on: str = "", **words: object) -> str:
    """One happening, at once or two minutes after the start of a VM."""
    place = f'on = "start:{on}"\nt = "2m"\n' if on else ""
    lines = (f"{key.rstrip('_')} = {json.dumps(one)}\n" for key, one in words.items())
    return f'[[at]]\ndo = "{do}"\n{place}{"".join(lines)}'


ENDS = {
    "seen": "",
    "a live move is forgotten": happens("restart", "web01", for_="20s", jobs="gone"),
    "a live move is called failed": happens("restart", "web01", for_="20s", jobs="failed"),
    "a copy is forgotten": happens("restart", "old01", for_="20s", jobs="gone"),
    "a copy is called failed": happens("restart", "old01", for_="20s", jobs="failed"),
    "a copy fails unseen": happens("outcome", vm="old01", job="failed", at="source")
    + happens("restart", "old01", for_="20s", jobs="gone"),
    "a copy stays on both": happens("outcome", vm="old01", at="both")
    + happens("restart", "old01", for_="20s", jobs="gone"),
    "a VM arrives off": happens("lose", vm="web01", power=True),
    "a start begins late": happens(
        "fault", call="start_move", how="delayed", vm="web01", delay="50s"
    ),
    "a stranger moves it": happens("fault", call="start_move", how="timeout_before", vm="web01")
    + happens("foreign", "old01", vm="web01", to="hv03"),
}
KILLS = [
    happens("kill", point=point, write=write, for_="30s")
    for point in ("before", "after")
    for write in range(3, 120, 9)
]
CUTS = [
    happens("fault", t=at, call=call, how=how)
    for call in ("jobs", "pulse", "start_move", "ports", "put_ports", "models", "reread")
    for how in ("timeout_before", "timeout_after")
    for at in ("15s", "4m", "5m")
]
POINTS = [(name, blow) for name in ENDS for blow in [*KILLS, *CUTS]]


@pytest.mark.prove
@pytest.mark.parametrize(("name", "blow"), spread(POINTS, 20, 80))
def test_no_kill_and_no_cut_at_the_end_of_a_move_doubles_it_or_loses_a_rule(
    name, blow, tmp_path: Path
):
    (tmp_path / "fleet.toml").write_text(FLEET, encoding="utf-8")
    (tmp_path / "story.toml").write_text(STORY + ENDS[name] + blow, encoding="utf-8")
    night = Night(story_file.load(tmp_path), tmp_path / "night.db")
    try:
        ended = night.play()
        document = night.document(ended)
        assert document["violations"] == [], night.telling()
        assert ended, night.telling()
    finally:
        night.close()


def test_the_sweep_has_enough_points():
    assert len(POINTS) >= 250
