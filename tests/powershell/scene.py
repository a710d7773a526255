"""A simulated world with open shells on its computers: the VMM server and two hosts.

Opening a shell takes a second, so ``Scene.play`` puts another world behind shells that stay open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from engine.clock import VirtualClock
from engine.sim.fleet_file import parse
from engine.sim.world import World
from engine.vmm.powershell import MODULES, module_text, write_modules
from tests.powershell import stubs
from tests.powershell.pwsh import Reply, Shell
from tests.powershell.world_server import Call, WorldServer

HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
WEB01 = "11111111-AAAA-4AAA-8AAA-000000000001"
DB01 = "22222222-BBBB-4BBB-8BBB-000000000002"
FLEET = f"""
format = 1
[[host]]
name = "{HV01}"
[[host]]
name = "{HV02}"
path = 'E:\\Machines'
[[vm]]
name = "web01"
id = "{WEB01}"
host = "hv01"
minutes = 10
[[vm.nic]]
mac = "00:1D:D8:B7:2C:01"
[[vm]]
name = "db01"
id = "{DB01}"
host = "hv01"
status = "PowerOff"
minutes = 10
[[vm.nic]]
mac = "00:1D:D8:B7:2C:02"
subnet = "Subnet-10"
classification = "High bandwidth"
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
remote_ip = "10.0.0.0/8"
remote_port = "443"
protocol = "TCP"
stateful = true
idle_timeout = 600
[[vm.nic.acl]]
action = "Deny"
direction = "Inbound"
weight = 1
isolation_id = 7
[[vm.nic]]
mac = "00:1D:D8:B7:2C:03"
network = "VM-Net-20"
trunk = [20, 30]
native_vlan = 20
[[vm.nic]]
mac = "00:1D:D8:B7:2C:04"
connected = false
"""


class Scene:
    """A world and the shells on its computers."""

    def __init__(self, server: WorldServer, shells: dict[str, Shell]) -> None:
        self.server, self.shells = server, shells
        self.play(FLEET)

    def play(self, fleet: str) -> None:
        """Put another world behind the open shells."""
        self.world = World.of(parse(fleet))
        self.clock = VirtualClock(self.world.now)
        self.server.play(self.world, self.clock)

    def vmm(self, function: str, **parameters: object) -> Reply:
        """Call a function on the VMM server."""
        return self.shells[stubs.VMM].call(function, **parameters)

    def host(self, function: str, *, on: str = HV01, **parameters: object) -> Reply:
        """Call a function on a host."""
        return self.shells[on].call(function, **parameters)

    def start(self, **changes: object) -> Reply:
        """Start a live move of web01 from hv01 to hv02, with a minute left."""
        plain = {"VmId": WEB01, "Source": HV01, "Destination": HV02, "Power": "running"}
        return self.vmm("Start-VmfMove", **{**plain, "NotAfter": self.at(60), **changes})

    def at(self, seconds: float) -> str:
        """The time in so many seconds, as callers write it."""
        when = datetime.fromtimestamp(self.clock.now(), UTC) + timedelta(seconds=seconds)
        return when.isoformat().replace("+00:00", "Z")

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.jump(self.clock.now() + seconds)
        self.world.advance(self.clock.now())

    def calls(self, cmdlet: str) -> list[Call]:
        """The calls of a cmdlet that reached VMM or Hyper-V."""
        return self.server.of(cmdlet)


def injected(name: str, installed: Path) -> str:
    return module_text(name)


def imported(name: str, installed: Path) -> str:
    """Import the modules that ``write_modules`` wrote into the folder ``installed``."""
    return f"Import-Module '{installed / name / name}.psd1' -Global"


WAYS: dict[str, Callable[[str, Path], str]] = {"injected": injected, "imported": imported}


@contextmanager
def opened(way: str, stub_modules: Path) -> Iterator[Scene]:
    """Open the shells; ``way`` (one of ``WAYS``) is how our modules are loaded."""
    with ExitStack() as stack:
        world = World.of(parse(FLEET))
        server = stack.enter_context(WorldServer(world, VirtualClock(world.now)))
        installed = Path(stack.enter_context(TemporaryDirectory()))
        write_modules(installed)
        shells = {}
        for name in (stubs.VMM, HV01, HV02):
            module = WAYS[way](MODULES[name != stubs.VMM], installed)
            environment = stubs.environment(stub_modules, server.port, name)
            shell = Shell(environment, f"{stubs.opening(name)}\n{module}")
            shells[name] = stack.enter_context(shell)
        yield Scene(server, shells)
