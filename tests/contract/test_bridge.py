"""The bridge itself: no PowerShell outlives its tests, and a dead shell is replaced."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from engine.clock import VirtualClock
from engine.errors import VmmError
from engine.model import MoveOrder
from engine.sim.fleet_file import parse
from engine.sim.world import World
from engine.vmm.wire import WirePort
from tests.contract.bridge import Computers
from tests.contract.conftest import FLEET, HOSTS, HV01, HV02, WEB01
from tests.hangs import HANGS
from tests.looking import networks_of, observe
from tests.powershell import stubs
from tests.powershell.pwsh import ROOT, needs_checks
from tests.powershell.world_server import WorldServer

pytestmark = needs_checks

CONFIGURATION = "VMFerry"


@pytest.fixture
def world() -> World:
    return World.of(parse(FLEET))


@pytest.fixture
def server(world):
    with WorldServer(world, VirtualClock(world.now)) as server:
        yield server


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    return stubs.write(tmp_path)


def port_to(computers: Computers, server: WorldServer) -> WirePort:
    return WirePort(computers.settings, server.clock)


def test_no_powershell_process_outlives_a_failed_test(server, modules):
    computers = Computers(modules, server.port, HOSTS)

    with pytest.raises(ZeroDivisionError), computers:
        port = port_to(computers, server)
        port.jobs()
        port.shown(HV01)
        assert [shell.process.poll() for shell in computers.made] == [None, None]
        raise ZeroDivisionError

    assert None not in [shell.process.poll() for shell in computers.made]
    port.close()


ENDLESS = """
import sys
from pathlib import Path
from tests.contract.test_bridge import *
modules, port = Path(sys.argv[1]), int(sys.argv[2])
with Computers(modules, port, HOSTS) as computers:
    WirePort(computers.settings, VirtualClock(0)).version()
    print(computers.made[0].process.pid, flush=True)
    sys.stdin.read()
"""


def test_powershell_exits_if_the_test_process_is_killed(server, modules):
    command = [sys.executable, "-c", ENDLESS, str(modules), str(server.port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as tests:
        assert tests.stdout is not None
        powershell = os.pidfd_open(int(tests.stdout.readline()))
        try:
            ready, _, _ = select.select([powershell], [], [], 0)
            assert ready == []

            tests.kill()

            ready, _, _ = select.select([powershell], [], [], 30)
            assert ready == [powershell]
        finally:
            os.close(powershell)


def test_the_next_call_replaces_a_shell_whose_process_died(server, modules):
    with Computers(modules, server.port, HOSTS) as computers:
        port = port_to(computers, server)
        port.jobs()
        port.shown(HV01)
        for shell in list(computers.made):
            shell.process.kill()
            shell.process.wait()

        assert port.jobs().jobs == ()
        assert WEB01 in {vm.id for vm in port.shown(HV01).vms}
        assert len(computers.made) == 4
        port.close()
        assert None not in [shell.process.wait(HANGS) for shell in computers.made]


def test_a_constrained_endpoint_runs_our_functions_and_nothing_else(world, server, modules):
    with Computers(modules, server.port, HOSTS, configuration=CONFIGURATION) as computers:
        port = port_to(computers, server)

        assert observe(port, world.now, [HV01]).vm(WEB01).seen_on == (HV01,)
        found = networks_of(port, HV01, [WEB01])[WEB01]
        assert found.adapters == tuple(world.state.vms[WEB01].nics)
        assert port.start_move(MoveOrder(WEB01, HV01, HV02, None, "running", None, world.now + 60))
        for ask in (port.sessions.ask_vmm, lambda *more: port.sessions.ask_host(HV01, *more)):
            for name in ("Get-Date", "Get-SCVirtualMachine", "Get-VM", "Find-VmfVm"):
                with pytest.raises(VmmError, match="is not recognized"):
                    ask(name, {}, 30.0)
        port.close()
