"""The fleet file: valid files, and refusals that name the wrong word."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import Refused
from engine.model import Acl
from engine.sim.fleet_file import START, Lies, load, parse

HOSTS = '[[host]]\nname = "hv01.corp.example"\n[[host]]\nname = "hv02.corp.example"\n'
VM = '[[vm]]\nname = "web01"\nhost = "hv01"\n'
NIC = f"{HOSTS}{VM}[[vm.nic]]\n"
ACL = f'{NIC}[[vm.nic.acl]]\naction = "Allow"\ndirection = "Inbound"\nweight = 10\n'


def refused(text: str) -> str:
    with pytest.raises(Refused) as caught:
        parse(text)
    return str(caught.value)


def test_keys_missing_from_the_file_have_the_defaults_of_the_contract() -> None:
    fleet = parse(NIC)
    host, vm = fleet.hosts[0], fleet.vms[0]
    assert (fleet.start, fleet.seed, fleet.vmm, fleet.clock_skew) == (START, 0, "vmm01", 0.0)
    assert (host.live, host.storage, host.memory_gb, host.mb_per_s) == (2, 2, 256, 400)
    assert (host.volumes, host.path) == ({"D:": 8000}, "D:\\VMs")
    assert (host.switches, host.networks) == (("LS-Main",), ("VM-Net-10",))
    assert (vm.status, vm.memory_gb, vm.disk_gb, vm.minutes, vm.backup) == (
        *("Running", 4, 60, None),
        (),
    )
    nic = vm.nics[0]
    assert (nic.network, nic.switch, nic.vlan, nic.connected) == ("VM-Net-10", "LS-Main", 10, True)
    assert fleet.lies == Lies()


def test_the_drive_of_a_path_is_a_volume_of_its_host() -> None:
    (host,) = parse("[[host]]\nname = 'hv01'\npath = 'e:\\Machines'\n").hosts
    assert host.volumes == {"E:": 8000}


def test_every_key_of_a_fleet_file_is_read() -> None:
    fleet = parse(
        f"""
        format = 1
        start = 2026-02-01T00:00:00+01:00
        seed = 7
        vmm = "vmm02"
        clock_skew = "-5s"
        {HOSTS}live = 1
        volumes = {{ "E:" = 10 }}
        acl_rights = false
        [[vm]]
        name = "db01"
        host = "HV02"
        id = "0aaaaaaa-0000-0000-0000-000000000001"
        status = "Saved"
        minutes = 2.5
        backup = [["0s", "25m"], ["1h", "2h"]]
        blocks = ["replica"]
        [[vm.nic]]
        mac = "00-15-5d-00-00-01"
        trunk = [1, 2]
        native_vlan = 1
        guards = "dhcp"
        [[vm.nic.acl]]
        action = "Deny"
        direction = "Outbound"
        weight = 3
        remote_port = 443
        stateful = true
        [lies]
        failed = 0.25
        job_delay = ["1s", "1m"]
        """
    )
    vm = fleet.vms[0]
    assert (fleet.seed, fleet.vmm, fleet.clock_skew) == (7, "vmm02", -5.0)
    assert (fleet.hosts[1].live, fleet.hosts[1].volumes) == (1, {"E:": 10})
    assert (vm.host, vm.id) == ("hv02.corp.example", "0AAAAAAA-0000-0000-0000-000000000001")
    assert (vm.minutes, vm.backup) == (2.5, ((0.0, 1500.0), (3600.0, 7200.0)))
    nic = vm.nics[0]
    assert (nic.mac, nic.vlan, nic.trunk, nic.native_vlan) == ("00:15:5D:00:00:01", 0, (1, 2), 1)
    assert nic.guards == "dhcp"
    assert nic.acls == (Acl("Deny", "Outbound", 3, remote_port="443", stateful=True),)
    assert fleet.lies == Lies(failed=0.25, job_delay=(1.0, 60.0))


def test_ids_and_macs_are_the_same_at_every_reading() -> None:
    one, other = parse(NIC).vms[0], parse(NIC).vms[0]
    assert one == other
    assert one.id == one.id.upper()
    assert len(one.id) == 36
    assert one.nics[0].mac.startswith("00:1D:D8:")
    assert one.nics[0].id.startswith(f"Microsoft:{one.id}\\")


def test_a_disconnected_adapter_has_no_switch_but_keeps_its_network() -> None:
    nic = parse(f"{NIC}connected = false").vms[0].nics[0]
    assert (nic.switch, nic.network, nic.connected) == (None, "VM-Net-10", False)


def test_two_vms_may_share_a_name_on_two_hosts_but_not_on_one() -> None:
    twin = '[[vm]]\nname = "web01"\nhost = "hv02"\n'
    fleet = parse(HOSTS + VM + twin)
    assert fleet.vms[0].id != fleet.vms[1].id
    assert "already has a VM of this name" in refused(HOSTS + VM + VM)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{HOSTS}{VM}memory = 4", 'vm[0] "web01": memory is not a known key'),
        (f"{HOSTS}{VM}memory = 4", 'Did you mean "memory_gb"?'),
        (f"{HOSTS}{VM}memory_gb = -1", 'vm[0] "web01": memory_gb must not be negative, not -1.'),
        (f'{HOSTS}{VM}memory_gb = "4"', 'vm[0] "web01": memory_gb must be a number, not "4".'),
        (f"{HOSTS}{VM}memory_gb = true", "memory_gb must be a number, not true."),
        (f"{HOSTS}{VM}disk_gb = nan", "disk_gb must be a finite number"),
        (f'{HOSTS}{VM}status = "Runing"', 'Did you mean "Running"?'),
        (f'{HOSTS}{VM}backup = [["2h", "1h"]]', "backup[0] ends before it begins."),
        (f'{HOSTS}{VM}backup = [["0s"]]', "backup[0] must be a pair of durations"),
        (f'{HOSTS}{VM}backup = [["0s", "soon"]]', 'backup[0][1] is not a duration: "soon".'),
        (f"{HOSTS}{VM}blocks = [1]", "blocks[0] must be a text in quotes, not 1."),
        (f'{HOSTS}{VM}id = "web"', 'id must be a GUID, not "web".'),
        (f'{HOSTS}[[vm]]\nname = "a"\nhost = "hv1"', 'vm[0] "a": host: there is no host "hv1".'),
        (f'{HOSTS}[[vm]]\nname = "a"\nhost = "hv1"', 'Did you mean "hv01"?'),
        (
            f'{HOSTS}[[vm]]\nname = "a"\nhots = "hv01"',
            'host is required. Is "hots" meant to be it?',
        ),
        (f"{NIC}vlan = 5000", 'vm[0] "web01": nic[0]: vlan is at most 4094, not 5000.'),
        (f"{NIC}vlan = 1\ntrunk = [2]", "trunk and vlan exclude each other."),
        (f'{NIC}mac = "00:11"', 'mac must be a MAC address, not "00:11".'),
        (f'{ACL}protocl = "TCP"', "nic[0]: acl[0]: protocl is not a known key"),
        (f"{ACL}stateful = 1", "stateful must be true or false, not 1."),
        (f'{NIC}[[vm.nic.acl]]\naction = "Alow"', 'Did you mean "Allow"?'),
        (f'{NIC}[[vm.nic.acl]]\naction = "Deny"\ndirection = "Inbound"', "weight is required."),
        (ACL + ACL.removeprefix(NIC), 'acl has direction and weight "Inbound 10" twice.'),
        (f'{HOSTS}[[host]]\nname = "HV01.corp.example"', 'host "HV01.corp.example" is listed'),
        (f"{HOSTS}live = 1.5", 'host[1] "hv02.corp.example": live must be a whole number'),
        (f"{HOSTS}mb_per_s = 0", "mb_per_s must be more than 0, not 0."),
        (f'{HOSTS}volumes = {{ "D:" = -1 }}', "volumes.D: must not be negative"),
        (f"{HOSTS}[lies]\nfailed = 2", "lies.failed: is a chance".replace("failed:", "failed")),
        (f"{HOSTS}[lies]\nfaild = 0.1", 'Did you mean "failed"?'),
        (f"format = 2\n{HOSTS}", "format must be 1, not 2."),
        (f'format = "1"\n{HOSTS}', 'format must be 1, not "1".'),
        ("[[host]]\nname = ' '", "name must not be empty."),
        (f"{HOSTS}[host.volumes]\n'' = 'x'", 'volumes."" must be a number, not "x".'),
        (f"sede = 1\n{HOSTS}", "fleet.toml: sede is not a known key."),
        (f"start = 2026-01-05T22:00:00\n{HOSTS}", "start must be a time with its zone"),
        ("[[hosts]]", 'host is required. Is "hosts" meant to be it?'),
        ("host = 1", "host must be tables: [[host]]."),
        ("host = [1]", "fleet.toml: host[0] must be a table: { ... }."),
        (f"lies = 1\n{HOSTS}", "fleet.toml: lies must be a table: [lies]."),
        (f"{NIC}acl = 1", "nic[0]: acl must be tables: [[vm.nic.acl]]."),
        (f'{NIC}trunk = [1, "2"]', 'nic[0]: trunk[1] must be a whole number, not "2".'),
        (f"{NIC}network = []", "nic[0]: network must be a text in quotes, not a list."),
        (f"{HOSTS}volumes = 1", 'host[1] "hv02.corp.example": volumes must be a table: { ... }'),
        (
            f"zzz = 1\n{HOSTS}",
            "Known: format, start, seed, vmm, clock_skew, host, vm, lies, hyperv, costs.",
        ),
        (f'clock_skew = "soon"\n{HOSTS}', 'clock_skew is not a duration: "soon". Write it as'),
        (
            f"{HOSTS}[lies]\njob_delay = [1, 2]",
            'lies.job_delay[0] must be a duration such as "90s"',
        ),
        ("", "fleet.toml: host is required."),
    ],
)
def test_an_invalid_file_is_refused_with_the_position_and_advice(text: str, sentence: str) -> None:
    assert sentence in refused(text)


def test_the_error_for_broken_toml_names_the_file_the_line_and_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "night.toml"
    path.write_text('[[host]]\nname "hv01"\n')
    with pytest.raises(Refused, match=r"night\.toml is not TOML: Expected '=' .*at line 2, column"):
        load(path)
    with pytest.raises(Refused, match=r"nowhere\.toml cannot be read: No such file"):
        load(tmp_path / "nowhere.toml")


def test_a_short_name_shared_by_two_hosts_is_refused() -> None:
    twins = '[[host]]\nname = "hv01.a.example"\n[[host]]\nname = "hv01.b.example"\n'
    assert 'host "hv01" is one of hv01.a.example, hv01.b.example.' in refused(twins + VM)
