"""Two ports to the same world: the simulated port, and a real PowerShell in front of that world.

``begin(way, fleet)`` puts a fleet behind a port. The computers and our sessions with them stay open
for all tests, because opening a shell takes a second. Each ``begin`` puts another world behind
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from engine.clock import VirtualClock
from engine.model import (
    Adapter,
    Expected,
    Fleet,
    Job,
    MoveOrder,
    Network,
    Power,
    Repair,
    Reread,
)
from engine.sim.fleet_file import FleetFile, parse
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.vmm.port import VmmPort
from engine.vmm.sessions import Sessions
from engine.vmm.wire import WirePort
from tests import looking
from tests.contract.bridge import Computers
from tests.hangs import HANGS
from tests.powershell import stubs
from tests.powershell.pwsh import needs_checks
from tests.powershell.world_server import Call, WorldServer

SIMULATED, WIRED = "simulated", "wired"
WAYS = [SIMULATED, pytest.param(WIRED, marks=needs_checks)]
HV01, HV02, HV03 = HOSTS = tuple(f"hv0{n}.corp.example" for n in (1, 2, 3))
WEB01 = "11111111-AAAA-4AAA-8AAA-000000000001"
WEB02 = "11111111-AAAA-4AAA-8AAA-000000000002"
WEB03 = "11111111-AAAA-4AAA-8AAA-000000000003"
DB01 = "22222222-BBBB-4BBB-8BBB-000000000001"
EDGE01 = "33333333-CCCC-4CCC-8CCC-000000000001"
NOBODY = "99999999-DDDD-4DDD-8DDD-000000000009"
FLEET = f"""
format = 1
clock_skew = "40s"
[[host]]
name = "{HV01}"
[[host]]
name = "{HV02}"
live = 4
storage = 3
path = 'E:\\Machines'
[[host]]
name = "{HV03}"
switches = ["LS-Edge"]
acl_rights = false
[[vm]]
name = "web01"
id = "{WEB01}"
host = "hv01"
memory_gb = 8
minutes = 10
[[vm.nic]]
vlan = 10
subnet = "Subnet-10"
classification = "High bandwidth"
port_acl = "Front"
classic_acl = ["Allow Inbound remote 10.0.0.0/8", "Deny Outbound local 00-15-5D-00-00-01"]
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 20
protocol = "TCP"
remote_ip = "10.0.0.0/8"
local_port = 443
stateful = true
idle_timeout = 300
[[vm.nic.acl]]
action = "Deny"
direction = "Inbound"
weight = 1
isolation_id = 7
[[vm.nic]]
trunk = [20, 30]
native_vlan = 20
network = "VM-Net-20"
spoofing = "On"
guards = "dhcp,router"
subnet = "Subnet-20"
classification = "Low bandwidth"
port_acl = "Back"
[[vm.nic]]
connected = false
vlan = 0
[[vm]]
name = "web02"
id = "{WEB02}"
host = "hv01"
minutes = 10
[[vm.nic]]
vlan = 0
isolation = 77
[[vm]]
name = "web03"
id = "{WEB03}"
host = "hv01"
minutes = 10
[[vm]]
name = "db01"
id = "{DB01}"
host = "hv01"
status = "PowerOff"
minutes = 10
[[vm.nic]]
vlan = 10
[[vm.nic.acl]]
action = "Allow"
direction = "Outbound"
weight = 5
[[vm.nic]]
vlan = 20
network = "VM-Net-20"
subnet = "Subnet-20"
classification = "High bandwidth"
[[vm.nic]]
connected = false
vlan = 0
[[vm]]
name = "edge01"
id = "{EDGE01}"
host = "hv03"
minutes = 10
[[vm.nic]]
switch = "LS-Edge"
[[vm.nic.acl]]
action = "Deny"
direction = "Outbound"
weight = 9
"""


@dataclass
class Scene:
    """A world and the port to it."""

    way: str
    port: VmmPort
    world: World
    clock: VirtualClock

    @property
    def now(self) -> float:
        """The time of the world's clock."""
        return self.clock.now()

    def nics(self, vm: str) -> list[Adapter]:
        """The true adapters of a VM."""
        return self.world.state.vms[vm].nics

    def places(self, vm: str) -> list[str]:
        """The true hosts of a VM."""
        return self.world.state.vms[vm].hosts

    def start(
        self,
        vm: str = WEB01,
        source: str = HV01,
        destination: str = HV02,
        *,
        path: str | None = None,
        power: Power = "running",
        pin: Network | None = None,
        not_after: float | None = None,
    ) -> str | None:
        """Start to move web01 from hv01 to hv02, live, with a minute left on VMM's clock."""
        until = self.until if not_after is None else not_after
        return self.port.start_move(MoveOrder(vm, source, destination, path, power, pin, until))

    @property
    def until(self) -> float:
        """A minute from now, on VMM's clock."""
        return self.now + self.world.state.skew + 60

    def observe(
        self, hosts: Sequence[str] = (), jobs: Sequence[str] = (), refresh: Sequence[str] = ()
    ) -> Fleet:
        """Look at everything; see ``looking.observe``."""
        return looking.observe(self.port, self.now, hosts, jobs, refresh)

    def networks(self, host: str, vm_ids: Sequence[str]) -> Mapping[str, Network]:
        """Both halves of the networks of these VMs."""
        return looking.networks_of(self.port, host, vm_ids)

    def put_ports(self, vm: str, repair: Repair) -> None:
        """Restore Hyper-V's half within a minute."""
        self.port.put_ports(vm, repair, Expected(repair.host, self.now + 60))

    def put_models(self, vm: str, repair: Repair) -> None:
        """Restore VMM's half within a minute."""
        self.port.put_models(vm, repair, Expected(repair.host, self.until))

    def put_back(self, vm: str, repair: Repair) -> None:
        """Restore both halves, Hyper-V's first."""
        self.put_ports(vm, repair)
        self.put_models(vm, repair)

    def clear(self, vm: str, host: str = HV01) -> None:
        """Drop VMM's failed job on a VM within a minute."""
        self.port.clear(vm, Expected(host, self.until))

    def reread(self, vm: str) -> Job:
        """Let VMM re-read a VM, and return its job."""
        job = self.port.reread(Reread.VM, vm, self.until)
        return next(one for one in self.port.jobs([job or ""]).jobs if one.id == job)

    def stop(self, job: str) -> None:
        """Ask VMM to stop a job within a minute."""
        self.port.stop(job, self.until)

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.jump(self.clock.now() + seconds)
        self.world.advance(self.clock.now())


class Wire:
    """The computers, the world behind them, and our sessions with them."""

    def __init__(self, server: WorldServer, computers: Computers) -> None:
        self.server, self.computers = server, computers
        self.sessions = Sessions(computers.settings.vmm, computers.settings.hosts)

    def port(self, world: World, clock: VirtualClock) -> WirePort:
        """A port to this world. The previous port sees it, too."""
        self.server.play(world, clock)
        return WirePort(self.computers.settings, clock, sessions=self.sessions)

    def calls(self, cmdlet: str) -> list[Call]:
        """The calls of a cmdlet that reached VMM or Hyper-V in this world."""
        return self.server.of(cmdlet)


@pytest.fixture(autouse=True, scope="session")
def _no_hurry() -> Iterator[None]:
    """Extend the time limits: on a busy machine PowerShell may take long to open and to answer."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("psrp.CONNECT", "psrp.ANSWER"):
            patch.setattr(f"engine.vmm.{name}", HANGS)
        yield


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    nobody = World.of(parse(FLEET))
    modules = stubs.write(tmp_path_factory.mktemp("stubs"))
    with ExitStack() as stack:
        server = stack.enter_context(WorldServer(nobody, VirtualClock(nobody.now)))
        wire = Wire(server, stack.enter_context(Computers(modules, server.port, HOSTS)))
        stack.callback(wire.sessions.close)
        yield wire


Begin = Callable[[str, FleetFile], Scene]


@pytest.fixture(scope="session")
def begin(request: pytest.FixtureRequest) -> Begin:
    def one(way: str, fleet: FleetFile) -> Scene:
        world = World.of(fleet)
        clock = VirtualClock(world.now)
        if way == SIMULATED:
            return Scene(way, SimPort(world, clock), world, clock)
        wire: Wire = request.getfixturevalue("wire")
        return Scene(way, wire.port(world, clock), world, clock)

    return one


@pytest.fixture(params=WAYS)
def there(request: pytest.FixtureRequest, begin: Begin) -> Scene:
    """The fleet of this file behind each of the two ports."""
    return begin(request.param, parse(FLEET))


@pytest.fixture(params=WAYS)
def lying(request: pytest.FixtureRequest, begin: Begin) -> Callable[[str], Scene]:
    """The fleet of this file, with these misreports, behind each of the two ports."""
    return lambda lies: begin(request.param, parse(f"{FLEET}\n[lies]\n{lies}\n"))
