"""A simulated world behind real HTTP, and both ports to it."""

from __future__ import annotations

from engine.clock import VirtualClock
from engine.settings import Settings
from engine.sim import fleet_file
from engine.sim.port import SimPort
from engine.sim.world import World
from engine.vmm.wire import WirePort
from tests.wire.world import Answering

HV1, HV2, HV3 = "hv01.corp.example", "hv02.corp.example", "hv03.corp.example"
FLEET = """
format = 1
clock_skew = "7s"
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
live = 1
switches = ["LS-Main", "LS-Other"]
[[host]]
name = "hv03.corp.example"
maintenance = true
acl_rights = false
[[vm]]
name = "web01"
host = "hv01"
minutes = 2
[[vm.nic]]
network = "VM-Net-10"
subnet = "Subnet 10"
classification = "High bandwidth"
guards = "dhcp,router"
classic_acl = ["Allow Inbound remote 10.0.0.0/8"]
switch = "LS-Main"
vlan = 10
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
protocol = "TCP"
local_port = "443"
stateful = true
[[vm.nic.acl]]
action = "Deny"
direction = "Outbound"
weight = 5
[[vm.nic]]
switch = "LS-Main"
trunk = [1, 2]
native_vlan = 1
[[vm]]
name = "db 01; Stop-Computer $(x)"
host = "hv01"
status = "PowerOff"
minutes = 1
[[vm.nic]]
network = "VM-Net-10"
switch = "LS-Main"
[[vm]]
name = "web03"
host = "hv02"
backup = [["0s", "3m"]]
blocks = ["pass_through"]
[lies]
lose_acls_live = 1.0
lose_acls_cold = 1.0
lose_nics_cold = 1.0
"""


class Wired:
    """A simulated world behind real HTTP, and both ports to it."""

    def __init__(self, ground, text: str = FLEET) -> None:
        self.world = World.of(fleet_file.parse(text))
        self.clock = VirtualClock(self.world.start)
        answering = Answering(self.world, self.clock)
        self.vmm = ground.serve("vmm01", answering.vmm())
        self.hosts = {
            name: ground.serve(name, answering.host(name)) for name in self.world.state.hosts
        }
        hosts = ground.hosts()
        self.settings = Settings(vmm=ground.settings(), hosts=hosts)
        self.port = WirePort(self.settings, self.clock)
        ground._stack.callback(self.port.close)
        self.sim = SimPort(self.world, self.clock)

    def vm(self, name: str) -> str:
        return self.world.state.vm(name).id
