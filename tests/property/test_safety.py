"""Random fleets, random faults, random people: no safety rule is ever broken.

Each example is a whole night on the simulated world, which reports double moves, starts without a
free slot and cold moves without a grant. The networks are compared here once more, without any code
of the engine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import Refused
from engine.model import Acl, Adapter
from engine.settings import Settings
from engine.sim.costs import VMM, Costs
from engine.sim.faults import CALLS, HOWS
from engine.sim.fleet_file import START, FleetFile, HostSpec, HyperV, Lies, VmSpec, adapter_id
from engine.store import events
from engine.stories.story import Player
from engine.stories.story_file import Happening, Story
from tests.prove import REPEATABLE, size

HOSTS = ("hv01.corp.example", "hv02.corp.example", "hv03.corp.example")
PEOPLE = {"ann": ("operator",), "bob": ("approver",)}


@st.composite
def adapters(draw: st.DrawFn, vm_id: str, count: int) -> tuple[Adapter, ...]:
    made = []
    for position in range(count):
        keys = draw(
            st.lists(
                st.tuples(st.sampled_from(["Inbound", "Outbound"]), st.integers(1, 9)),
                max_size=4,
                unique=True,
            )
        )
        connected = draw(st.booleans()) or position == 0
        made.append(_adapter(vm_id, position, keys, connected))
    return tuple(made)


def _adapter(vm_id: str, position: int, keys: list[tuple[str, int]], connected: bool) -> Adapter:
    return Adapter(
        id=adapter_id(vm_id, position),
        mac=f"00:1D:D8:{vm_id[:2]}:{vm_id[2:4]}:{position:02X}",
        network="VM-Net-10" if connected else None,
        switch="LS-Main" if connected else None,
        vlan=10 + position,
        connected=connected,
        acls=tuple(
            Acl("Allow" if weight % 2 else "Deny", direction, weight) for direction, weight in keys
        ),
    )


@st.composite
def vms(draw: st.DrawFn) -> tuple[VmSpec, ...]:
    made = []
    for number in range(draw(st.integers(1, 7))):
        vm_id = f"{number:02X}{number:02X}0000-0000-4000-8000-0000000000{number:02X}"
        backup = draw(st.sampled_from([(), ((0.0, 900.0),), ((300.0, 5400.0),)]))
        made.append(
            VmSpec(
                name=f"vm{number}",
                host=draw(st.sampled_from([HOSTS[0], HOSTS[0], HOSTS[0], HOSTS[1]])),
                id=vm_id,
                status=draw(st.sampled_from(["Running"] * 5 + ["PowerOff", "Saved", "Paused"])),
                minutes=draw(st.floats(0.2, 25.0)),
                backup=backup,
                nics=draw(adapters(vm_id, draw(st.integers(0, 3)))),
            )
        )
    return tuple(made)


def chances() -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.6])


@st.composite
def lies(draw: st.DrawFn) -> Lies:
    late = st.sampled_from([(0.0, 0.0), (1.0, 25.0)])
    names = ("lose_acls_live", "lose_acls_cold", "lose_nics_cold", "refused", "timeout_before")
    names += ("timeout_after", "delayed", "failed", "failed_but_moved", "stayed")
    return Lies(
        **{name: draw(chances()) for name in names},
        job_delay=draw(late),
        target_delay=draw(late),
        status_stale=draw(st.sampled_from([(0.0, 0.0), (30.0, 110.0)])),
    )


def servers(host: str) -> st.SearchStrategy[dict[str, object]]:
    return st.sampled_from([{"host": host, "vmm": None}, {"host": None, "vmm": True}])


@st.composite
def misfortunes(draw: st.DrawFn, names: list[str]) -> Happening:
    vm, host = draw(st.sampled_from(names)), draw(st.sampled_from(HOSTS))
    t = draw(st.floats(0, 5400))
    lasting = draw(st.floats(10, 2400))
    place = st.sampled_from(["source", "destination", "both", "neither", HOSTS[2]])
    kinds = {
        "backup": {"vm": vm, "for": lasting},
        "lock": {"host": host, "for": lasting},
        "limit": {"host": host, "live": draw(st.integers(1, 3)), "storage": None},
        "foreign": {"vm": vm, "to": host},
        "stall": {"vm": vm, "for": draw(st.floats(0, 7200))},
        "delete": {"vm": vm},
        "power": {"vm": vm, "status": draw(st.sampled_from(["Running", "PowerOff", "Saved"]))},
        "outcome": {
            "vm": vm,
            "job": draw(st.sampled_from(["ok", "failed"])),
            "at": draw(place),
            "times": draw(st.integers(1, 3)),
        },
        "lose": {
            "vm": vm,
            "acls": draw(st.sampled_from([0, 1, "all"])),
            "nics": draw(st.booleans()),
            "power": draw(st.sampled_from([False, False, False, True])),
        },
        "down": {"host": host, "vmm": False, "for": lasting},
        "restart": {
            "for": draw(st.floats(0, 300)),
            "jobs": draw(st.sampled_from(["die", "failed", "gone"])),
        },
        "slow": {
            **draw(servers(host)),
            "times": draw(st.sampled_from([2.0, 8.0, 40.0])),
            "for": lasting,
        },
        "hang": {
            **draw(servers(host)),
            "call": draw(st.sampled_from([None, *CALLS])),
            "for": lasting,
        },
        "hang_reread": {"host": host},
        "create": {"vm": {"name": "late", "host": HOSTS[0], "minutes": 3.0}},
        "fault": {
            "call": draw(st.sampled_from(CALLS)),
            "how": draw(st.sampled_from(HOWS)),
            "host": draw(st.sampled_from([None, host])),
            "vm": None,
            "times": draw(st.integers(1, 4)),
            "code": "",
            "delay": 30.0,
        },
        "kill": {
            "point": draw(st.sampled_from(["before", "after"])),
            **draw(
                st.sampled_from(
                    [{"call": name, "write": 0} for name in CALLS]
                    + [{"call": None, "write": n} for n in (1, 2, 3, 7)]
                )
            ),
            "for": draw(st.sampled_from([0.0, 40.0, 400.0, 4000.0])),
        },
        "say": {"by": "ann", "text": draw(words(vm))},
    }
    do = draw(st.sampled_from(sorted(kinds)))
    return Happening(t, do, words=kinds[do])


def words(vm: str) -> st.SearchStrategy[str]:
    """Commands that people type in a night. Those that are not allowed at that moment are
    refused."""
    return st.sampled_from(
        ["pause R1", "resume R1", "stop R1", "abort R1 yes", "retry R1", f"retry R1 {vm}",
         f"skip R1 {vm}", "set R1 parallel 1", "set R1 backup 5m", "own R1", "withdraw A1",
         f"settle R1 {vm}", "go-on R1 hv02"]
    )  # fmt: skip


@st.composite
def nights(draw: st.DrawFn) -> Story:
    fleet_vms = draw(vms())
    names = [vm.name for vm in fleet_vms]
    hosts = tuple(
        HostSpec(name, live=draw(st.integers(1, 3)), storage=draw(st.integers(1, 3)))
        for name in HOSTS
    )
    request = draw(
        st.sampled_from(
            [
                "host hv01 to hv02",
                "host hv01 to hv02,hv03 backup 20m",
                "host hv01 to hv02 parallel 1 attempts 2",
                "vm vm* to hv03",
            ]
        )
    )
    asked = {"by": "ann", "text": request}
    answers = [
        Happening(
            draw(st.floats(0, 4000)),
            "decide",
            f"ask:{number}",
            {"by": "bob", "verdict": draw(st.sampled_from(["approve", "approve", "deny"])),
             "approval": f"A{number}"},
        )
        for number in range(1, 4)
        if draw(st.booleans())
    ]  # fmt: skip
    return Story(
        name="night",
        about="a random night",
        until=72 * 3600.0,
        fleet=FleetFile(
            name="fleet",
            digest="",
            start=START,
            seed=draw(st.integers(0, 999)),
            clock_skew=draw(st.sampled_from([0.0, 0.0, 300.0, -300.0])),
            hosts=hosts,
            vms=fleet_vms,
            lies=draw(lies()),
            costs=draw(st.sampled_from([Costs(), Costs(**VMM)])),
            hyperv=HyperV(incoming=draw(st.booleans())),
        ),
        people=PEOPLE,
        settings=Settings(),
        happenings=(
            Happening(0.0, "say", words=asked),
            *answers,
            *draw(st.lists(misfortunes(names), max_size=6)),
        ),
    )


class Night(Player):
    """A player that ignores happenings that come too late, and checks every arrival."""

    def _do(self, it: Happening) -> None:
        try:
            super()._do(it)
        except Refused:
            assert it.do not in ("say", "decide")

    def _notice(self) -> None:
        """Compare the network of a VM as soon as the VM counts as done. Resume, as a person,
        what only a person can resume."""
        for event in events.since(self.store, self._told):
            if event.kind == "attempt.ended" and event.detail["attempt_kind"] == "baseline":
                self.remember(str(event.detail["vm_id"]))
            if event.kind == "move.done" and event.detail["outcome"] == "MOVED":
                self.assert_network_is_kept(str(event.detail["vm_id"]))
            run, vm = f"R{event.run}", event.detail.get("vm_id")
            if event.kind == "run.paused":
                self._soon(f"resume {run}")
            if event.kind == "move.damaged":
                for host in HOSTS:
                    self._soon(f"go-on {run} {host}")
            if event.kind == "move.unknown" and self.settled() < 10:
                self._soon(f"settle {run} id:{vm}")
        super()._notice()

    def settled(self) -> int:
        """How often a person settled a VM. The world keeps some on two hosts for ever."""
        return sum(event.kind == "move.settled" for event in events.since(self.store))

    def _soon(self, text: str) -> None:
        late = self.clock.now() - self.start + 600
        self._plan(Happening(late, "say", words={"by": "ann", "text": text}), self.start)

    def remember(self, vm_id: str) -> None:
        """Keep the network that we save. Settings lost to others before are not ours to restore."""
        vm = self.port.world.state.vms.get(vm_id)
        if vm is not None:
            self.saved = {**getattr(self, "saved", {}), vm_id: tuple(vm.nics)}

    def assert_network_is_kept(self, vm_id: str) -> None:
        now = self.port.world.state.vms[vm_id]
        found = {nic.id: nic for nic in now.nics}
        for nic in self.saved[vm_id]:
            is_ = found[nic.id]
            assert set(nic.acls) <= set(is_.acls), self.telling()
            assert nic.vlan == is_.vlan, self.telling()
            if nic.connected:
                assert (nic.switch, nic.network) == (is_.switch, is_.network), self.telling()

    def telling(self) -> str:
        lines = (f"{e.at - self.start:9.1f} {e.kind:18} {e.text}" for e in events.since(self.store))
        return "\n" + "\n".join(lines)


@pytest.mark.prove
@settings(
    max_examples=size(15, 60, 1000),
    deadline=None,
    # The same nights every time, unless more of them are requested.
    derandomize=REPEATABLE,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
@given(nights())
def test_no_night_breaks_a_safety_rule(story: Story):
    with tempfile.TemporaryDirectory() as room:
        night = Night(story, Path(room) / "night.db")
        try:
            ended = night.play()
            document = night.document(ended)
            assert document["violations"] == [], night.telling()
            assert ended, night.telling()
            for move in (m for run in document["runs"] for m in run["moves"]):
                assert move["outcome"] is not None, night.telling()
                charged = [a for a in move["attempts"] if _is_charged(a)]
                tried = 1 + night.telling().count(f"another attempt of {move['vm']}.")
                assert len(charged) <= 3 * tried, night.telling()
                waits = night.telling().count(f" {move['vm']} waits: ")
                assert waits <= 200, night.telling()  # it does not flicker at each tick
        finally:
            night.close()


def _is_charged(attempt: dict[str, object]) -> bool:
    is_migration = attempt["kind"] in ("live", "cold")
    return is_migration and attempt["result"] in ("failed", "refused", "lost")
