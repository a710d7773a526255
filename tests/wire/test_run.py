"""`vmferry run` on the servers of the settings: on loopback, in real time."""

import json
import time
from dataclasses import replace

import pytest

from engine.clock import SystemClock
from engine.sim import fleet_file
from engine.sim.world import World
from tests import console
from tests.wire.conftest import PASSWORD
from tests.wire.endpoint import Reaction
from tests.wire.world import Answering

FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[vm]]
name = "web01"
host = "hv01"
minutes = 0.005
[[vm]]
name = "db01"
host = "hv01"
status = "PowerOff"
minutes = 0.005
[[vm.nic]]
network = "VM-Net-10"
switch = "LS-Main"
vlan = 10
[[vm.nic.acl]]
action = "Deny"
direction = "Inbound"
weight = 10
[lies]
lose_acls_cold = 1.0
"""
QUICK = """
[run]
pass = "2s"
[engine]
tick = 0.5
empty_gap = 0.1
start_window = 5
"""


class Desk:
    """A folder with settings for servers on loopback, and the command line in it."""

    def __init__(self, ground, folder) -> None:
        fleet = fleet_file.parse(FLEET)
        self.world = World.of(replace(fleet, start=time.time()))
        answering = Answering(self.world, SystemClock())
        self.vmm = ground.serve("vmm01", answering.vmm())
        for name in self.world.state.hosts:
            ground.serve(name, answering.host(name))
        ports = {name: server.port for name, server in ground.servers.items()}
        self.write(folder, ports)

    def write(self, folder, ports, more=""):
        lines = [QUICK, "[vmm]", 'server = "vmm01"', 'address = "127.0.0.1"', 'auth = "basic"']
        lines += ['user = "ferry"', f"port = {ports['vmm01']}", more]
        for name, port in ports.items():
            lines += [f'[hosts."{name}"]', 'address = "127.0.0.1"', f"port = {port}"]
        (folder / "settings.toml").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def desk(ground, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMFERRY_VMM__PASSWORD", PASSWORD)
    return Desk(ground, tmp_path)


def vmferry(*words):
    said = console.vmferry(*words)
    return said.code, said.out, said.err


def test_a_run_uses_the_servers_of_the_settings(desk, monkeypatch):
    monkeypatch.setenv("VMFERRY_VMM__APPROVE_YES", "true")
    code, out, err = vmferry("run", "--json", "--approve", "yes", "host", "hv01", "to", "hv02")
    document = json.loads(out)
    (run,) = document["runs"]

    assert (code, document["ended"]) == (0, True), err
    assert {move["vm"]: (move["state"], move["kind"]) for move in run["moves"]} == {
        "web01": ("done", "live"),
        "db01": ("done", "cold"),
    }
    assert run["empty"] == {"hv01.corp.example": True}
    assert (document["fleet"], document["violations"]) == (None, None)
    assert {vm.hosts[0] for vm in desk.world.state.vms.values()} == {"hv02.corp.example"}
    assert desk.world.violations == ()
    assert desk.vmm.shells == {}
    assert PASSWORD not in out + err


def test_a_run_with_an_unreachable_vmm_exits_with_3_and_the_reason(desk):
    desk.vmm.on = lambda message: Reaction(cut="before")
    code, out, err = vmferry("run", "host", "hv01", "to", "hv02")

    assert (code, out) == (3, "")
    assert err.count("vmm01 cannot be reached: the connection was lost. Trying again in") == 2
    assert err.count("vmm01 cannot be reached: the connection was lost") == 3


def test_a_run_starts_if_vmm_answers_at_the_second_try(desk):
    lost = iter([Reaction(cut="before")])
    desk.vmm.on = lambda message: next(lost, None)
    code, out, err = vmferry("run", "vm", "web01", "to", "hv02")

    assert code == 0
    assert "R1 ended: 1 of 1 moved" in out
    assert "Trying again in" in err


def test_a_wrong_password_exits_with_3_and_is_tried_once(desk, monkeypatch):
    monkeypatch.setenv("VMFERRY_VMM__PASSWORD", "wrong")
    code, _, err = vmferry("run", "host", "hv01", "to", "hv02")

    assert code == 3
    assert "vmm01 rejected the configured account" in err
    assert desk.vmm.refused_logons == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--speed", "max"], "vmm01 is not a simulated fleet"),
        (["--seed", "1"], "vmm01 is not a simulated fleet"),
        (["--approve", "yes"], "[vmm] approve_yes = true"),
        ([], "Nearest: hv01."),
    ],
)
def test_invalid_options_are_refused_and_change_nothing(desk, tmp_path, words, sentence):
    code, _, err = vmferry("run", *words, "host", "hv0l", "to", "hv02")

    assert code == 2
    assert sentence.casefold() in err.casefold()
    assert [path.name for path in tmp_path.iterdir()] == ["settings.toml"]
