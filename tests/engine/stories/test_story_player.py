"""Happenings of stories: faults at every call, deaths of the engine, and commands of people."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.clock import VirtualClock
from engine.errors import Refused, VMFerryError, VmmLocked, VmmRefused, VmmUnavailable
from engine.model import (
    Acl,
    Adapter,
    AdapterRepair,
    Expected,
    Fleet,
    MoveOrder,
    PartKind,
    Repair,
    Reread,
)
from engine.sim.costs import Costs
from engine.sim.deaths import Deaths, Kill, Killed, MortalStore
from engine.sim.faults import CALLS, HOSTLESS, HOWS, MEANT, NAMELESS, READING, Fault, FaultyWorld
from engine.sim.fleet_file import parse
from engine.sim.port import SimPort
from engine.sim.state import new_state
from engine.stories import story_file
from engine.stories.happenings import carry_out_happening
from engine.stories.story import Played, Player, play
from engine.stories.story_file import Happening
from tests.looking import networks_of, observe

HV01, HV02 = "hv01.corp.example", "hv02.corp.example"
FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[vm]]
name = "web01"
host = "hv01"
minutes = 5.0
[[vm.nic]]
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
[[vm.nic.acl]]
action = "Deny"
direction = "Inbound"
weight = 20
[[vm]]
name = "web02"
host = "hv01"
minutes = 5.0
"""
ASK = 'do = "say"\nby = "ann"\ntext = "host hv01 to hv02"'
START = (HV01, HV02, None, "running", None, 1e12)


class Teller:
    """Write a story of happenings, one text each, and play it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fleet, self.head = folder, FLEET, ""

    def write(self, *happenings: str) -> Path:
        (self.folder / "fleet.toml").write_text(self.fleet)
        people = '[people]\nann = ["operator"]\nbob = ["approver"]\n'
        told = "".join(f"[[at]]\n{one}\n" for one in happenings)
        (self.folder / "story.toml").write_text(f'about = "one"\n{self.head}\n{people}{told}')
        return self.folder

    def plays(self, *happenings: str) -> dict[str, Any]:
        played = play(self.write(*happenings))
        assert played.document["violations"] == []
        return played.document

    def played(self, *happenings: str) -> Played:
        return play(self.write(*happenings))


@pytest.fixture
def story(tmp_path: Path) -> Teller:
    return Teller(tmp_path)


def moves(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {move["vm"]: move for run in document["runs"] for move in run["moves"]}


def outcomes(document: Mapping[str, Any]) -> dict[str, str]:
    return {vm: move["outcome"] for vm, move in moves(document).items()}


def told(document: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    return [event for event in document["events"] if event["kind"] == kind]


def calls(document: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [call for call in document["calls"] if call["call"] == name]


# --- people and misfortune ---------------------------------------------------------------------


def test_a_vm_created_during_a_run_joins_the_run(story: Teller):
    late = '{ name = "late", host = "hv01", minutes = 2.0 }'
    document = story.plays(ASK, f't = "1m"\ndo = "create"\nvm = {late}')

    assert moves(document)["late"]["adopted"]
    assert outcomes(document) == {"web01": "MOVED", "web02": "MOVED", "late": "MOVED"}


def test_moves_wait_for_a_host_that_is_down(story: Teller):
    document = story.plays(ASK, 'do = "down"\nhost = "hv02"\nfor = "10m"')

    assert outcomes(document)["web01"] == "MOVED"
    assert moves(document)["web01"]["waited"]["HOST_DOWN"] >= 540
    assert calls(document, "start_move")[0]["t"] >= 600


@pytest.mark.parametrize("vmm", ["true", '"vmm01"', '"VMM01"'])
def test_moves_wait_for_a_vmm_that_is_down(story: Teller, vmm: str):
    document = story.plays(ASK, f't = "2m"\ndo = "down"\nvmm = {vmm}\nfor = "10m"')

    silent = [c for c in calls(document, "jobs") if c["error"]]
    assert silent
    assert all(120 <= c["t"] < 720 for c in silent)
    assert set(outcomes(document).values()) == {"MOVED"}


def test_moves_are_retried_after_a_vmm_restart_kills_their_jobs(story: Teller):
    document = story.plays(ASK, 't = "1m"\ndo = "restart"\nfor = "1m"')

    assert len([c for c in calls(document, "start_move") if c["vms"] == ["web01"]]) == 2
    assert set(outcomes(document).values()) == {"MOVED"}


def test_a_story_carries_out_commands_and_audits_refused_ones(story: Teller):
    document = story.plays(
        ASK,
        't = "10s"\ndo = "say"\nby = "ann"\ntext = "pause R1"',
        't = "20m"\ndo = "say"\nby = "bob"\ntext = "resume R1"',
        't = "21m"\ndo = "say"\nby = "ann"\ntext = "retry R7"',
    )

    assert [e["t"] for e in told(document, "run.paused")] == [10.0]
    assert told(document, "refused")[0]["detail"]["text"] == "retry R7"
    assert document["runs"][0]["state"] == "completed"


def test_only_the_named_vms_are_approved(story: Teller):
    story.fleet = FLEET.replace('host = "hv01"', 'host = "hv01"\nstatus = "PowerOff"')
    document = story.plays(
        ASK, 'on = "ask:1"\ndo = "decide"\nby = "bob"\nverdict = "approve"\nvms = ["web02"]'
    )

    (asked,) = document["approvals"]
    assert asked["state"] == "granted"
    assert outcomes(document)["web02"] == "MOVED"
    assert outcomes(document)["web01"] != "MOVED"


def test_two_happenings_at_one_instant_occur_in_the_order_of_their_planning(
    story: Teller,
):
    """Also if another happening was waiting when each of them was planned."""
    document = story.plays(
        ASK,
        't = "20s"\ndo = "limit"\nhost = "hv01"\nlive = 2',
        'on = "start:web01"\nt = "400s"\ndo = "say"\nby = "ann"\ntext = "retry R7"',
        'on = "arrive:web01"\nt = "100s"\ndo = "say"\nby = "ann"\ntext = "retry R8"',
    )

    said = [(e["t"], e["detail"]["text"]) for e in told(document, "refused")]
    assert said == [(400.0, "retry R7"), (400.0, "retry R8")]


OFF = FLEET.replace('host = "hv01"', 'host = "hv01"\nstatus = "PowerOff"')
NO = 'on = "ask:1"\nt = "10s"\ndo = "decide"\nby = "bob"\nverdict = "deny"'


@pytest.mark.parametrize(
    ("click", "typed", "why"),
    [
        ('approval = "A9"', "approve A9", "There is no approval A9."),
        ('approval = "first"', "approve first", '"first" is not an approval.'),
        ('vms = ["web09"]', "approve A1 web09", "A1 has no VM web09. Nearest: web0"),
        ('approval = "A1"\nvms = ["web01", "x"]', "approve A1 web01 x", "A1 has no VM x."),
    ],
)
def test_a_click_without_a_matching_approval_is_audited_and_decides_nothing(
    story: Teller, click: str, typed: str, why: str
):
    story.fleet = OFF
    document = story.plays(
        ASK, f'on = "ask:1"\ndo = "decide"\nby = "bob"\nverdict = "approve"\n{click}', NO
    )

    (refused,) = told(document, "refused")
    assert (refused["by"], refused["detail"]["text"]) == ("bob", typed)
    assert refused["text"].startswith(why)
    assert [(vote["verdict"], vote["by"]) for vote in document["approvals"][0]["votes"]] == [
        ("deny", "bob")
    ]


def test_a_click_without_an_open_approval_is_audited(story: Teller):
    document = story.plays(ASK, 't = "1m"\ndo = "decide"\nby = "bob"\nverdict = "approve"')

    assert [e["text"] for e in told(document, "refused")] == ["There is no open approval."]


def test_a_click_decides_the_older_of_two_open_approvals_unless_it_names_one(story: Teller):
    story.fleet = OFF
    yes = 'do = "decide"\nby = "bob"\nverdict = "approve"'
    late = '{ name = "late", host = "hv01", status = "PowerOff", minutes = 2.0 }'
    document = story.plays(
        ASK,
        f't = "1m"\ndo = "create"\nvm = {late}',
        f'on = "ask:2"\n{yes}\napproval = "2"',
        f'on = "ask:2"\nt = "1m"\n{yes}',
    )

    granted = [event["detail"]["approval"] for event in told(document, "approval.granted")]
    assert granted == [2, 1]
    assert set(outcomes(document).values()) == {"MOVED"}


def test_a_denied_vm_is_asked_about_again_after_a_retry(story: Teller):
    """The person who retried the VM may not approve it."""
    story.fleet = OFF
    yes = 'do = "decide"\nverdict = "approve"'
    bob = '[people]\nann = ["operator"]\nbob = ["approver"]\ncy = ["approver"]'
    folder = story.write(
        ASK,
        NO,
        'on = "ask:1"\nt = "10m"\ndo = "say"\nby = "bob"\ntext = "retry R1 web02"',
        f'on = "ask:2"\n{yes}\nby = "bob"',
        f'on = "ask:2"\nt = "1m"\n{yes}\nby = "cy"',
    )
    text = (folder / "story.toml").read_text()
    people = '[people]\nann = ["operator"]\nbob = ["approver"]'
    (folder / "story.toml").write_text(text.replace(people, bob))
    document = play(folder).document

    assert document["violations"] == []
    assert [asked["vms"] for asked in document["approvals"]] == [["web01", "web02"], ["web02"]]
    assert [asked["state"] for asked in document["approvals"]] == ["denied", "granted"]
    assert "bob tried to approve A2" in told(document, "refused")[0]["text"]
    assert outcomes(document) == {"web01": "DENIED", "web02": "MOVED"}


def test_the_delay_of_a_trigger_counts_from_its_event(story: Teller):
    again = 'do = "say"\nby = "ann"\ntext = "retry'
    document = story.plays(
        ASK,
        f'on = "start:WEB01"\nt = "20s"\n{again} R7"',
        f'on = "arrive:web02"\nt = "30s"\n{again} R8"',
        f'on = "ask:1"\n{again} R9"',
    )

    (started,) = [e["t"] for e in told(document, "attempt.issued") if e["vm"] == "web01"]
    (arrived,) = [e["t"] for e in told(document, "move.restoring") if e["vm"] == "web02"]
    said = {e["detail"]["text"]: e["t"] for e in told(document, "refused")}
    assert said == {"retry R7": started + 20, "retry R8": arrived + 30}


def test_each_start_of_a_vm_fires_its_trigger(story: Teller):
    failed = 'do = "outcome"\nvm = "web01"\njob = "failed"'
    said = 'on = "start:web01"\nt = "10s"\ndo = "say"\nby = "ann"\ntext = "retry R7"'
    document = story.plays(ASK, failed, said)

    starts = [call for call in calls(document, "start_move") if call["vms"] == ["web01"]]
    assert len(starts) == len(told(document, "refused")) == 2


def test_a_story_that_does_not_end_in_time_fails_and_says_so(story: Teller):
    story.head = 'until = "3m"'
    played = story.played(ASK)

    assert (played.document["ended"], played.document["exit"]) == (False, 1)
    assert played.text.endswith("The story did not end in time.\n")
    assert max(event["t"] for event in played.document["events"]) <= 180


# --- faults, at the port ------------------------------------------------------------------------


class Line:
    """A world with faults, and its one VM with two rules."""

    def __init__(self) -> None:
        self.world = FaultyWorld(new_state(parse(FLEET)))
        self.now = self.world.start
        self.vm = self.world.state.vm("web01").id
        self.other = self.world.state.vm("web02").id

    def ask(self, call: str) -> Any:
        """Make a call that would succeed without faults."""
        world, now = self.world, self.now
        acts: dict[str, Callable[[], Any]] = {
            "observe": lambda: self.observe(refresh=[HV01, HV02]),
            "networks": lambda: networks_of(self.port(), HV01, [self.vm, self.other]),
            "rights": lambda: world.rights(now, HV01),
            "start_move": lambda: world.start_move(now, MoveOrder(self.vm, *START)),
            "repair_network": lambda: [acts[half]() for half in ("put_ports", "put_models")],
            "dismiss": lambda: acts["clear"](),
            "refresh": lambda: acts["reread"](),
            "stop_job": lambda: acts["stop"](),
            "jobs": lambda: world.jobs(now),
            "pulse": lambda: world.pulse(now, HV01, [self.vm, self.other]),
            "shown": lambda: world.shown(now, HV01),
            "known": lambda: world.known(now, HV01),
            "site": lambda: world.site(now),
            "ports": lambda: world.ports(now, HV01, [self.vm, self.other]),
            "models": lambda: world.models(now, [self.vm, self.other]),
            "reread": lambda: world.reread(now, Reread.VM, self.vm, now),
            "put_ports": lambda: world.put_ports(now, self.vm, self.repair(), self.expected()),
            "put_models": lambda: world.put_models(now, self.vm, self.repair(), self.expected()),
            "clear": lambda: world.clear(now, self.vm, self.expected()),
            "stop": lambda: world.stop(now, world.state.open[0].id, now),
        }
        if call in ("stop_job", "stop") and not world.state.open:
            world.start_move(now, MoveOrder(self.vm, *START))
        return acts[call]()

    def observe(self, refresh: Sequence[str] = ()) -> Fleet:
        """Look at everything."""
        return observe(self.port(), self.now, [HV01, HV02], refresh=refresh)

    def port(self) -> SimPort:
        return SimPort(self.world, VirtualClock(self.now))

    def repair(self, vlan: int = 77) -> Repair:
        nic = self.world.state.vms[self.vm].nics[0]
        rules = tuple(Acl("Allow", "Outbound", weight) for weight in (1, 2, 3))
        return Repair(HV01, (AdapterRepair(nic.id, vlan=vlan, acls=rules),))

    def expected(self) -> Expected:
        return Expected(HV01, self.now + 60)

    def puts_back(self, call: str, **wanted: Any) -> Adapter:
        """A repair of one half whose answer is lost, and the adapter after it."""
        nic = self.world.state.vms[self.vm].nics[0]
        put = {"put_ports": self.world.put_ports, "put_models": self.world.put_models}[call]
        repair = Repair(HV01, (AdapterRepair(nic.id, **wanted),))
        with pytest.raises(VmmUnavailable):
            put(self.now, self.vm, repair, self.expected())
        return self.world.state.vms[self.vm].nics[0]

    def network(self) -> tuple[int, int]:
        nic = self.world.state.vms[self.vm].nics[0]
        return nic.vlan, len(nic.acls)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.mark.parametrize("call", CALLS)
def test_a_fault_occurs_the_given_number_of_times(line: Line, call: str):
    line.world.add_fault(Fault(call, "timeout_before", times=2))

    for _ in range(2):
        with pytest.raises(VmmUnavailable):
            line.ask(call)
    line.ask(call)


@pytest.mark.parametrize("call", [call for call in CALLS if call != "observe"])
@pytest.mark.parametrize(("how", "error"), [("refused", VmmRefused), ("locked", VmmLocked)])
def test_vmm_refuses_with_the_code_of_the_story(line: Line, call, how, error):
    line.world.add_fault(Fault(call, how, code="12711"))

    with pytest.raises(error) as raised:
        line.ask(call)

    assert raised.value.code == "12711"


def test_a_lock_without_a_code_in_the_story_has_the_vmm_error_number(line: Line):
    line.world.add_fault(Fault("refresh", "locked"))

    with pytest.raises(VmmLocked, match=r"\(2606\)"):
        line.ask("refresh")


@pytest.mark.parametrize(
    ("how", "started"), [("timeout_before", 0), ("timeout_after", 1), ("half", 1), ("refused", 0)]
)
def test_a_failed_start_call_may_or_may_not_have_started_the_move(
    line: Line, how: Any, started: int
):
    line.world.add_fault(Fault("start_move", how))

    with pytest.raises(VMFerryError):
        line.ask("start_move")

    assert len(line.world.state.open) == started


def test_a_refusal_lost_to_a_timeout_counts_as_no_answer(line: Line):
    line.ask("start_move")
    line.world.add_fault(Fault("dismiss", "timeout_after"))

    with pytest.raises(VmmUnavailable):  # the VM is locked by its migration
        line.ask("dismiss")


def test_a_start_refused_by_a_fault_is_judged_as_sent(line: Line):
    line.ask("start_move")
    line.world.add_fault(Fault("start_move", "refused"))

    with pytest.raises(VmmRefused):
        line.ask("start_move")

    assert [v["kind"] for v in line.world.violations] == ["double"]


def test_a_delayed_start_begins_after_its_delay(line: Line):
    line.world.add_fault(Fault("start_move", "delayed", delay=40.0, code="2927"))

    with pytest.raises(VmmUnavailable) as raised:
        line.ask("start_move")
    assert raised.value.code == "2927"
    line.world.advance(line.now + 39)
    (before,) = line.world.state.open
    assert before.started is None
    assert line.world.next_change(line.now + 39) == line.now + 40
    line.world.advance(line.now + 41)
    assert before.started == line.now + 40


def test_a_delay_used_up_by_a_locked_host_does_not_affect_the_next_start(line: Line):
    line.world.lock(line.now, HV02, 10)
    line.world.add_fault(Fault("start_move", "delayed", delay=40.0))
    with pytest.raises(VmmLocked):
        line.ask("start_move")

    line.now += 20

    assert line.ask("start_move")


def test_a_delayed_repair_takes_effect_later(line: Line):
    line.world.add_fault(Fault("repair_network", "delayed", delay=40.0))

    with pytest.raises(VmmUnavailable):
        line.ask("repair_network")

    assert line.network() == (10, 2)
    assert line.world.next_change(line.now) == line.now + 40
    line.world.advance(line.now + 40)
    assert line.network() == (77, 5)


def test_half_a_repair_restores_the_first_half(line: Line):
    line.world.add_fault(Fault("repair_network", "half"))

    with pytest.raises(VmmUnavailable):
        line.ask("repair_network")
    assert line.network() == (77, 3)  # of a VLAN and three rules: the VLAN and one rule

    line.ask("repair_network")
    assert line.network() == (77, 5)


MODELLED = ({"subnet": "Web"}, {"classification": "Fast"}, {"port_acl": "Shut"})
OF_PORTS = (
    {"isolation": 30}, {"spoofing": "On"}, {"guards": "dhcp"}, {"trunk": (5, 6)}, {"vlan": 0},
)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "setting"),
    [
        *itertools.product(["put_models"], MODELLED),
        *itertools.product(["put_ports"], OF_PORTS),
    ],
    ids=lambda one: one if isinstance(one, str) else next(iter(one)),
)
def test_half_a_repair_restores_the_setting_but_not_the_rule(line: Line, call: str, setting: dict):
    line.world.add_fault(Fault("repair_network", "half"))

    nic = line.puts_back(call, classic_acls=("Deny Inbound remote ANY",), **setting)

    assert {name: getattr(nic, name) for name in setting} == setting
    assert nic.classic_acls == ()


def test_half_a_repair_counts_classic_rules_after_the_extended_ones(line: Line):
    line.world.add_fault(Fault("repair_network", "half"))
    classic = tuple(f"Allow Inbound remote 10.0.0.{number}" for number in range(5))

    nic = line.puts_back("put_ports", acls=(Acl("Allow", "Outbound", 1),), classic_acls=classic)

    assert (len(nic.acls), nic.classic_acls) == (3, classic[:2])  # 3 of 6; two were there


def test_half_an_answer_to_networks_omits_vms(line: Line):
    line.world.add_fault(Fault("networks", "half"))

    assert list(line.ask("networks")) == [line.vm]
    assert list(line.ask("networks")) == [line.vm, line.other]


def test_the_second_half_of_the_hosts_is_silent_in_half_an_observation(line: Line):
    line.world.add_fault(Fault("observe", "half"))

    fleet = line.ask("observe")

    seen = {host.name: (host.seen_at is not None, host.error is not None) for host in fleet.hosts}
    assert seen == {HV01: (True, False), HV02: (False, True)}


def test_a_fault_can_silence_one_host_in_an_observation(line: Line):
    line.world.add_fault(Fault("observe", "timeout_before", host=HV01))

    fleet = line.ask("observe")

    assert fleet.host(HV01).seen_at is None
    assert fleet.host(HV01).error
    assert fleet.host(HV02).seen_at == line.now
    assert [vm.seen_on for vm in fleet.vms] == [(), ()]


@pytest.mark.parametrize(("how", "locked"), [("locked", True), ("refused", False)])
def test_the_observation_continues_if_a_host_refresh_fails(line: Line, how: Any, locked: bool):
    """VMM's refusal to re-read concerns one host; the port raises only if VMM is silent."""
    line.world.add_fault(Fault("observe", how, host=HV01))
    line.observe()  # re-reads no host: no fault applies

    fleet = line.ask("observe")

    assert (fleet.host(HV01).locked, bool(fleet.host(HV01).error)) == (locked, not locked)
    asked = [fleet.age(PartKind.VMS, host).asked_at for host in (HV01, HV02)]
    assert asked == [None, line.now]


@pytest.mark.parametrize("call", [call for call in CALLS if call != "observe"])
def test_a_fault_of_another_host_affects_no_call(line: Line, call: str):
    line.world.add_fault(Fault(call, "refused", host="hv09.corp.example"))

    line.ask(call)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("observe", *HOSTLESS)])
def test_a_fault_of_a_host_affects_every_kind_of_call_about_the_host(line: Line, call: str):
    line.world.add_fault(Fault(call, "refused", host=HV01.upper()))

    with pytest.raises(VmmRefused):
        line.ask(call)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in NAMELESS])
def test_a_fault_of_a_vm_affects_only_that_vm(line: Line, call: str):
    line.world.add_fault(Fault(call, "refused", vm="somebody else"))
    line.ask(call)

    line = Line()
    line.world.add_fault(Fault(call, "refused", vm=line.vm))
    with pytest.raises(VmmRefused):
        line.ask(call)


def test_no_fault_is_used_up_while_vmm_is_down(line: Line):
    line.world.add_fault(Fault("refresh", "refused"))
    line.world.down(line.now, "vmm", 10)
    with pytest.raises(VmmUnavailable):
        line.ask("refresh")

    line.now += 20

    with pytest.raises(VmmRefused):
        line.ask("refresh")


@pytest.mark.parametrize("call", ["pulse", "shown", "ports", "put_ports"])
def test_a_call_to_a_host_meets_its_fault_unless_the_host_is_down(line: Line, call: str):
    line.world.add_fault(Fault(call, "refused"))
    line.world.down(line.now, "vmm", 60)
    line.world.down(line.now, "hv01", 10)
    with pytest.raises(VmmUnavailable):
        line.ask(call)

    line.now += 20

    with pytest.raises(VmmRefused):
        line.ask(call)
    line.ask(call)


@pytest.mark.parametrize(
    ("name", "calls"), [(name, calls) for name, calls in MEANT.items()], ids=list(MEANT)
)
def test_a_name_of_a_whole_deed_hangs_each_of_its_calls(line: Line, name: str, calls: set[str]):
    for server in ("vmm", "hv01"):
        line.world.hang(line.now, server, name)

    singles = set(CALLS) - set(MEANT)
    hung = {call for call in singles if math.isinf(line.world.seconds(call, [HV01]))}
    assert hung == calls


@pytest.mark.parametrize("call", ["ports", "models"])
def test_half_an_answer_about_one_half_of_networks_omits_the_second_half(line: Line, call: str):
    line.world.add_fault(Fault(call, "half"))

    assert list(line.ask(call)) == [line.vm]
    assert list(line.ask(call)) == [line.vm, line.other]


@pytest.mark.parametrize(("how", "ended"), [("timeout_before", 0), ("timeout_after", 1)])
def test_a_re_read_without_an_answer_may_or_may_not_have_begun(line: Line, how: Any, ended: int):
    line.world.add_fault(Fault("reread", how))
    with pytest.raises(VmmUnavailable):
        line.ask("reread")

    assert len(line.world.state.rereads) == ended


@pytest.mark.parametrize(
    ("how", "network"),
    [("half", (77, 3)), ("timeout_after", (77, 5)), ("timeout_before", (10, 2))],
)
def test_ports_without_an_answer_may_be_put_back_by_half(line: Line, how: Any, network: Any):
    line.world.add_fault(Fault("put_ports", how))
    with pytest.raises(VmmUnavailable):
        line.ask("put_ports")

    assert line.network() == network


def test_a_delayed_change_that_arrives_after_its_deadline_does_nothing(line: Line):
    for delay in (59, 61):
        line.world.add_fault(Fault("put_ports", "delayed", delay=delay))
    for vlan in (77, 88):
        with pytest.raises(VmmUnavailable):
            line.world.put_ports(line.now, line.vm, line.repair(vlan), line.expected())

    line.world.advance(line.now + 61)

    assert line.network()[0] == 77


# --- slow and hanging servers -------------------------------------------------------------------


def test_a_story_in_which_servers_are_slow_and_hang_is_played(story: Teller):
    document = story.plays(
        ASK,
        'do = "slow"\nvmm = true\ntimes = 3\nfor = "1m"',
        'do = "hang"\nhost = "hv01"\ncall = "site"',
        'do = "hang_reread"\nhost = "hv02"',
    )

    assert outcomes(document) == {"web01": "MOVED", "web02": "MOVED"}


def test_a_story_slows_and_hangs_servers(line: Line):
    stage: Any = SimpleNamespace(world=line.world)
    line.world.state.costs = Costs(pulse=1, jobs=1)
    one = {"vmm": False, "host": "hv01"}
    for do, words in (
        ("slow", {**one, "times": 3, "for": 60}),
        ("slow", {"vmm": True, "host": None, "times": 4, "for": 60}),
        ("hang", {**one, "call": "shown", "for": None}),
        ("hang_reread", {"host": "hv02"}),
    ):
        carry_out_happening(stage, Happening(0, do, words=words), line.now)

    assert (line.world.seconds("pulse", [HV01]), line.world.seconds("jobs")) == (3, 4)
    assert [line.world.seconds("shown", [host]) for host in (HV01, HV02)] == [math.inf, 0]
    assert line.world.state.hosts[HV02].rereads_hang


# --- faults, in a night -------------------------------------------------------------------------

PAIRS = [
    (call, how)
    for call, how in itertools.product(CALLS, HOWS)
    if not (how == "delayed" and call in READING)
]


@pytest.mark.parametrize(("call", "how"), PAIRS)
def test_a_run_recovers_from_every_fault(story: Teller, call: str, how: str):
    """Each fault happens twice: all VMs arrive with their rules, and nothing is done twice."""
    delay = '\ndelay = "30s"' if how == "delayed" else ""
    document = story.plays(
        ASK,
        'do = "lose"\nvm = "web01"\nacls = "all"',
        f'do = "fault"\ncall = "{call}"\nhow = "{how}"\ntimes = 2{delay}',
    )

    assert outcomes(document) == {"web01": "MOVED", "web02": "MOVED"}
    (rules,) = [vm["nic"][0]["acl"] for vm in document["fleet"]["vm"] if vm["name"] == "web01"]
    assert sorted(rule["weight"] for rule in rules) == [10, 20]


def test_the_list_of_calls_shows_the_error_of_a_fault(story: Teller):
    fault = 'do = "fault"\ncall = "start_move"\nhow = "refused"\nvm = "web02"\ncode = 12711'
    document = story.plays(ASK, fault)

    wrong = [c for c in calls(document, "start_move") if c["error"]]
    assert [(c["vms"], c["error"].endswith("(12711)")) for c in wrong] == [(["web02"], True)]


# --- death --------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("call", ["observe", "networks", "rights", "start_move"])
@pytest.mark.parametrize("dead", ["0s", "7m"])
def test_an_engine_that_dies_at_a_call_is_replaced_and_the_run_completes(
    story: Teller, call: str, point: str, dead: str
):
    kill = f'do = "kill"\npoint = "{point}"\ncall = "{call}"\nfor = "{dead}"'
    document = story.plays(ASK, kill)

    (killed,) = told(document, "engine.killed")
    last = max(c["t"] for c in document["calls"] if c["t"] <= killed["detail"]["died"])
    gap = [c for c in document["calls"] if killed["detail"]["died"] < c["t"] < killed["t"]]
    assert gap == []
    assert (last == killed["detail"]["died"]) or point == "before"
    assert killed["t"] - killed["detail"]["died"] == pytest.approx(
        420 if dead == "7m" else 5, abs=5
    )
    assert set(outcomes(document).values()) == {"MOVED"}


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("write", range(1, 16))
def test_an_engine_that_dies_at_any_write_is_replaced_and_the_run_completes(
    story: Teller, write: int, point: str
):
    kill = f'do = "kill"\npoint = "{point}"\nwrite = {write}\nfor = "1m"'
    document = story.plays(ASK, 'do = "lose"\nvm = "web01"\nacls = "all"', kill)

    assert len(told(document, "engine.killed")) == 1
    assert len(told(document, "engine.started")) == 2
    assert "epoch 2" in told(document, "engine.started")[1]["text"]
    assert set(outcomes(document).values()) == {"MOVED"}


def test_an_engine_that_dies_before_a_start_has_started_nothing(story: Teller):
    kill = 'do = "kill"\npoint = "before"\ncall = "start_move"\nfor = "3m"'
    document = story.plays(ASK, kill)

    (killed,) = told(document, "engine.killed")
    assert all(c["t"] >= killed["t"] for c in calls(document, "start_move"))
    assert len(calls(document, "start_move")) == 2


def test_an_engine_can_die_after_a_failed_call(story: Teller):
    fault = 'do = "fault"\ncall = "start_move"\nhow = "timeout_after"'
    kill = 'do = "kill"\npoint = "after"\ncall = "start_move"\nfor = "1m"'
    document = story.plays(ASK, fault, kill)

    (killed,) = told(document, "engine.killed")
    (made,) = [c for c in calls(document, "start_move") if c["t"] < killed["t"]]
    assert made["error"]
    assert killed["detail"]["died"] == made["t"]


def test_the_world_and_the_people_continue_while_the_engine_is_dead(story: Teller):
    kill = 'do = "kill"\npoint = "after"\ncall = "start_move"\nfor = "20m"'
    said = 't = "5m"\ndo = "say"\nby = "ann"\ntext = "set R1 parallel 1"'
    document = story.plays(ASK, kill, said)

    (killed,) = told(document, "engine.killed")
    changed = told(document, "run.changed")[0]
    assert killed["detail"]["died"] < changed["t"] < killed["t"]
    (arrived,) = [e for e in told(document, "move.restoring") if e["vm"] == "web01"]
    # It had arrived long before. Its start has no job: both hosts are heard twice, 30 s apart.
    assert 30 <= arrived["t"] - killed["t"] <= 40


def test_an_engine_may_die_while_it_takes_over_from_a_dead_one(story: Teller):
    first = 'do = "kill"\npoint = "after"\ncall = "start_move"\nfor = "2m"'
    second = 't = "1m"\ndo = "kill"\npoint = "before"\nwrite = 1\nfor = "3m"'
    third = 't = "1m"\ndo = "kill"\npoint = "after"\nwrite = 1\nfor = "4m"'
    document = story.plays(ASK, first, second, third)
    assert len(told(document, "engine.killed")) == 3
    assert set(outcomes(document).values()) == {"MOVED"}


def test_each_death_of_the_engine_has_its_own_duration(story: Teller):
    document = story.plays(
        ASK,
        'do = "kill"\npoint = "after"\ncall = "networks"\nfor = "2m"',
        'do = "kill"\npoint = "after"\ncall = "start_move"\nfor = "9m"',
    )

    gaps = [e["t"] - e["detail"]["died"] for e in told(document, "engine.killed")]
    assert gaps == [pytest.approx(120, abs=5), pytest.approx(540, abs=5)]


def test_a_story_does_not_end_before_a_dead_engine_is_replaced(story: Teller):
    """No run is left, and the audit still records that the engine died."""
    last = 'do = "kill"\npoint = "after"\ncall = "observe"\nfor = "1h"'
    document = story.plays(last, 't = "70s"\ndo = "lock"\nhost = "hv01"\nfor = "1s"')

    (killed,) = told(document, "engine.killed")
    assert killed["t"] - killed["detail"]["died"] == 3600


def test_the_text_of_a_story_shows_that_the_engine_died(story: Teller):
    played = story.played(ASK, 'do = "kill"\npoint = "after"\ncall = "start_move"\nfor = "2m"')

    assert (
        "engine.killed      The engine died after start_move; the next one took over."
        in played.text
    )
    assert "engine.started" not in played.text


def test_a_story_with_deaths_and_faults_gives_the_same_document_each_time(story: Teller):
    happenings = (
        ASK,
        'do = "kill"\npoint = "after"\nwrite = 5\nfor = "2m"',
        'do = "fault"\ncall = "start_move"\nhow = "delayed"\ndelay = "20s"',
    )

    assert story.played(*happenings).document == story.played(*happenings).document


def test_a_transaction_that_is_rolled_back_does_not_count_as_a_write(tmp_path: Path):
    deaths = Deaths()
    store = MortalStore(tmp_path / "a.db", deaths)
    deaths.arm(Kill("after", 0.0, write=1))
    with pytest.raises(VMFerryError), store.transaction():
        raise VMFerryError("a person decided meanwhile")

    with pytest.raises(Killed), store.transaction() as db:
        db.execute("CREATE TABLE kept (one)")

    assert "kept" in store.database().raw.table_names()
    store.close()


def test_uncommitted_writes_are_lost_when_the_engine_dies(tmp_path: Path):
    deaths = Deaths()
    store = MortalStore(tmp_path / "a.db", deaths)
    deaths.arm(Kill("before", 0.0, write=2))
    with store.transaction() as db:
        db.execute("CREATE TABLE first (one)")

    with pytest.raises(Killed), store.transaction() as db:
        db.execute("CREATE TABLE second (one)")

    assert {"first", "second"} & set(store.database().raw.table_names()) == {"first"}
    store.close()


def test_an_unknown_happening_raises_an_error(story: Teller):
    told = story_file.load(story.write(ASK))
    player = Player(told, story.folder / "story.db")
    with closing(player), pytest.raises(AttributeError, match="dance"):
        carry_out_happening(player.stage, Happening(0.0, "dance"), player.start)


# --- strictness ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happening", "sentence"),
    [
        ('do = "falt"', 'Did you mean "fault"'),
        ('do = "fault"\ncall = "start_mov"\nhow = "half"', 'Did you mean "start_move"'),
        ('do = "fault"\ncall = "start_move"\nhow = "haf"', 'Did you mean "half"'),
        ('do = "fault"\ncall = "start_move"\nhow = "half"\nhots = "hv01"', 'Did you mean "host"'),
        ('do = "fault"\nhow = "half"', "call is required"),
        ('do = "fault"\ncall = "start_move"', "how is required"),
        ('do = "fault"\ncall = "rights"\nhow = "refused"\nvm = "web01"', "about whole hosts"),
        ('do = "fault"\ncall = "networks"\nhow = "delayed"\ndelay = "1m"', "only reads"),
        ('do = "fault"\ncall = "refresh"\nhow = "delayed"', "delay is required"),
        ('do = "fault"\ncall = "refresh"\nhow = "half"\ndelay = "1m"', "goes with how"),
        ('do = "fault"\ncall = "refresh"\nhow = "half"\ntimes = 0', "1 or more"),
        ('do = "kill"\npoint = "after"\ncall = "observ"', 'Did you mean "observe"'),
        ('do = "kill"\npoint = "afer"\ncall = "observe"', 'Did you mean "after"'),
        ('do = "kill"\npoint = "after"\ncall = "observe"\nwrite = 2', "exactly one of them"),
        ('do = "kill"\npoint = "after"', "exactly one of them"),
        ('do = "kill"\npoint = "after"\nwrite = 0', "1 or more"),
        ('do = "down"\nfor = "1m"', "one of them"),
        ('do = "slow"\ntimes = 2', "or vmm is slow: exactly one of them"),
        ('do = "slow"\nhost = "hv01"\ntimes = 0', "times must be more than 0"),
        ('do = "hang"\nhost = "hv01"\nvmm = true', "or vmm hangs: exactly one of them"),
        ('do = "hang"\nvmm = true\nfor = 5', 'for must be a duration such as "90s", not 5'),
        ('do = "hang"\nvmm = true\ncall = "puls"', 'Did you mean "pulse"'),
        ('do = "fault"\ncall = "jobs"\nhow = "half"\nhost = "hv01"', "about no single host"),
        ('do = "down"\nhost = "hv01"\nvmm = true\nfor = "1m"', "one of them"),
        ('do = "down"\nvmm = false\nfor = "1m"', "one of them"),
        ('do = "down"\nvmm = "vmm02"\nfor = "1m"', "the server is vmm01"),
        ('do = "restart"\nhost = "hv01"', "not a known key"),
        ('do = "create"', "vm is required"),
        ('do = "create"\nvm = "web03"', "must be a table"),
        ('do = "create"\nvm = { name = "x" }', "host is required"),
        ('do = "create"\nvm = { name = "x", host = "hv03" }', 'Did you mean "hv0'),
        ('do = "create"\nvm = { name = "x", host = "hv01", memroy_gb = 2 }', "memory_gb"),
        ('do = "decide"\nby = "bob"\nverdict = "deny"\nvms = ["web01"]', "goes with approve"),
        ('do = "decide"\nby = "bob"\nverdict = "approve"\nvms = []', "names no VM"),
        ('do = "decide"\nby = "bob"\nverdict = "approve"\nvms = "web01"', "a list"),
        ('do = "limit"\nhost = "hv01"', "live or storage is required"),
        ('do = "power"\nvm = "web01"\nstatus = "Powerof"', 'Did you mean "PowerOff"'),
        ('do = "outcome"\nvm = "web01"\nat = "sorce"', 'Did you mean "source"'),
        ('do = "outcome"\nvm = "web01"\ntimes = 0', "at[0]: times must be 1 or more"),
        ('on = "ask:first"\ndo = "restart"', "start:VM, arrive:VM or ask:1"),
        ('on = "arrive:web04"\ndo = "restart"', 'no VM "web04". Did you mean "web0'),
    ],
)
def test_invalid_happenings_are_refused_at_load_time(story: Teller, happening: str, sentence: str):
    with pytest.raises(Refused) as raised:
        story_file.load(story.write(happening))

    assert sentence in str(raised.value)
    assert "at[0]" in str(raised.value)


@pytest.mark.parametrize(
    "happening",
    [
        'do = "down"\nhost = "hv09"\nfor = "1m"',
        'do = "fault"\ncall = "refresh"\nhow = "half"\nvm = "web09"',
        'do = "fault"\ncall = "refresh"\nhow = "half"\nhost = "hv09"',
        'do = "create"\nvm = { name = "web01", host = "hv01" }',
    ],
)
def test_a_name_that_does_not_exist_at_that_moment_stops_the_story(story: Teller, happening: str):
    with pytest.raises(Refused, match=r"story.toml: at\[1\] \(\w+\): .*(web0\d|hv0\d)"):
        story.plays(ASK, happening)


def test_a_trigger_may_name_a_vm_that_the_story_creates(story: Teller):
    made = 'do = "create"\nvm = { name = "late01", host = "hv01" }'

    assert story_file.load(story.write(made, 'on = "start:late01"\ndo = "restart"')).happenings


def test_a_wrong_setting_is_refused_with_its_file(story: Teller):
    story.head = "[settings.run]\natempts = 2"

    with pytest.raises(Refused, match=r'story\.toml: settings\.run\.atempts is .*"attempts"\?'):
        story_file.load(story.write(ASK))


@pytest.mark.parametrize(
    ("happening", "sentence"),
    [
        (f'{ASK}\non = "begin:web01"', "Write start:VM, arrive:VM or ask:1."),
        (f'{ASK}\nt = "soon"', "at[0]: t is not a duration"),
        (f'{ASK}\nt = "-5s"', "at[0]: t must not be negative"),
        ('do = "say"\nby = "anne"\ntext = "list"', 'nobody is named "anne". Did you mean "ann"?'),
        ('do = "say"\nby = "ann"', "at[0]: text is required"),
        ('do = "say"\nby = "ann"\ntext = "list"\nvms = ["web01"]', "vms is not a known key"),
        ('do = "lose"\nvm = "web01"\nacls = "al"', 'Did you mean "all"?'),
        ('do = "outcome"\nvm = "web01"\njob = "fail"', 'Did you mean "failed"?'),
        ('do = "restart"\nfor = 60', "must be a duration"),
        ('dos = "say"', 'at[0]: do is required. Is "dos" meant to be it?'),
        (
            'do = "restart"\nhots = "hv01"',
            "at[0]: hots is not a known key. Known: t, on, do, for, jobs.",
        ),
        ('do = ["say"]', "at[0]: do must be a text in quotes, not a list."),
        ("do = 3", "at[0]: do must be a text in quotes, not 3."),
        ('do = "down"\nvmm = " "', "at[0]: vmm must not be empty."),
        ('do = "down"\nvmm = { a = 1 }', "vmm must be true or false, or a text in quotes, not a"),
        ('do = "down"\nvmm = 5', "at[0]: vmm must be true or false, or a text in quotes, not 5."),
        ('do = "lose"\nvm = "web01"\nacls = -1', "acls must not be negative, not -1."),
        (
            'do = "create"\nvm = { name = "x", host = 2 }',
            "vm.host must be a text in quotes, not 2.",
        ),
    ],
)
def test_happenings_with_invalid_triggers_or_values_are_refused(
    story: Teller, happening: str, sentence: str
):
    with pytest.raises(Refused) as raised:
        story_file.load(story.write(happening))

    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ('untill = "1h"', 'Did you mean "until"?'),
        ('fleet = "none.toml"', "none.toml cannot be read"),
        ("until = 3600", "must be a duration"),
        ("settings.run.attempts = 0", "settings.run.attempts must be 1 or more, not 0."),
        ("format = 1", "format is not a known key"),
        ("settings.vmm = 3", "settings.vmm must be a table: [settings.vmm]."),
        ("settings.run.attempts = '5'", 'attempts must be a whole number, not "5".'),
        ("settings.slack.starters = []", "settings.slack.starters is approval.starters now"),
        ('fleet = "a\\u0000"', "cannot be read: embedded null byte."),
        ("until", "is not TOML"),
    ],
)
def test_an_invalid_head_of_a_story_is_refused_when_the_story_is_read(
    story: Teller, head: str, sentence: str
):
    story.head = head
    with pytest.raises(Refused) as raised:
        story_file.load(story.write(ASK))

    assert sentence in str(raised.value)


def test_a_happening_that_is_no_table_is_refused(story: Teller):
    (story.write(ASK) / "story.toml").write_text('about = "a"\nat = ["say"]')

    with pytest.raises(Refused, match=r"at\[0\] must be a table: \{ \.\.\. \}\."):
        story_file.load(story.folder)


def test_an_expected_result_that_is_not_text_is_refused(story: Teller):
    (story.write(ASK) / "expect.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(
        Refused, match=r"The expected result .*expect\.txt cannot be read: it is not"
    ):
        story_file.load(story.folder)


def test_an_unknown_role_and_a_folder_without_a_story_are_refused(story: Teller):
    text = (story.write(ASK) / "story.toml").read_text()
    (story.folder / "story.toml").write_text(text.replace('"approver"', '"aprover"'))
    with pytest.raises(Refused, match=r'bob\[0\] cannot be "aprover"\. Did you mean "approver"\?'):
        story_file.load(story.folder)
    with pytest.raises(Refused, match=r"A story is a folder with story\.toml and"):
        story_file.load(story.folder / "nothing")
