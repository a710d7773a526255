"""Looks at VMM and at one host, each on its own: what they report, and what they cost."""

import pytest

from tests.powershell.pwsh import needs_checks
from tests.powershell.scene import DB01, FLEET, HV01, HV02, WEB01, Scene
from tests.powershell.vmm_side import object_id

pytestmark = needs_checks

NOBODY = "55555555-eeee-4eee-8eee-000000000005"
CIM = "Get-CimInstance"
JOBS, SERVICE = "Msvm_MigrationJob", "Msvm_VirtualSystemMigrationService"


def jobs(scene: Scene, *ids: str) -> dict:
    return scene.vmm("Get-VmfJobs", Ids=list(ids)).data


def forget(scene: Scene) -> None:
    """Make the shell forget hosts and VMs: it remembers those of one VMM server only."""
    scene.vmm("Get-VmfVersion", VmmServer="another")
    scene.vmm("Get-VmfVersion")
    scene.server.calls.clear()


def cmdlets(scene: Scene) -> list[str]:
    return [call.cmdlet for call in scene.server.calls]


def reread(scene: Scene, what: str = "vms", name: str = HV01) -> str:
    return scene.vmm("Start-VmfReread", What=what, Name=name, NotAfter=scene.at(60)).data["job"]


# --- jobs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["injected", "imported"])
def test_running_migrations_are_listed_with_vm_hosts_and_progress(open_scene, way):
    scene = open_scene(way)
    job = scene.start().data["job"]
    scene.pass_by(60)
    (found,) = jobs(scene)["jobs"]

    assert (found["id"], found["vm_id"], found["state"]) == (job, WEB01, "running")
    assert (found["source"], found["target"], found["progress"]) == (HV01, HV02, 10)
    assert "name" not in found


def test_no_migration_costs_one_cmdlet(scene):
    forget(scene)

    now = scene.at(0)[:-1] + ".000000Z"
    assert jobs(scene) == {"server_time": now, "jobs": [], "unknown": [], "unread": []}
    assert cmdlets(scene) == ["Get-SCJob"]


def test_the_time_of_the_server_is_read_before_the_jobs(scene):
    scene.play(FLEET.replace("format = 1", 'format = 1\nclock_skew = "90s"'))

    assert jobs(scene)["server_time"] == "2026-01-05T22:01:30.000000Z"


def test_hosts_and_vms_of_a_migration_are_asked_for_once(scene):
    scene.start()
    forget(scene)
    first = jobs(scene)
    costs = cmdlets(scene)
    scene.server.calls.clear()

    assert jobs(scene) == first
    assert costs == ["Get-SCJob", "Get-SCVMHost", "Get-SCVirtualMachine"]
    assert cmdlets(scene) == ["Get-SCJob"]


def test_no_look_at_jobs_lists_all_vms(scene):
    scene.start()
    forget(scene)
    jobs(scene)

    (call,) = scene.calls("Get-SCVirtualMachine")
    assert call.bound["ID"] == object_id("vm", WEB01)


def test_a_vm_that_an_inventory_showed_is_not_asked_for_again(scene):
    scene.start()
    forget(scene)
    scene.vmm("Get-VmfInventory", HostName=HV01)
    scene.server.calls.clear()

    assert [one["vm_id"] for one in jobs(scene)["jobs"]] == [WEB01]
    assert scene.calls("Get-SCVirtualMachine") == []


def test_hosts_are_listed_again_for_a_new_job_that_names_none_of_them(scene):
    scene.start()
    jobs(scene)
    elsewhere = FLEET.replace("hv01", "hv11").replace("hv02", "hv12")
    scene.play(elsewhere)
    scene.world.foreign(scene.clock.now(), "web01", "hv12")
    (found,) = jobs(scene)["jobs"]

    assert (found["source"], found["target"]) == ("hv11.corp.example", "hv12.corp.example")
    assert len(scene.calls("Get-SCVMHost")) == 1
    jobs(scene)
    assert len(scene.calls("Get-SCVMHost")) == 1


@pytest.mark.parametrize("said", [True, False], ids=["source and target", "only the title"])
def test_hosts_are_listed_again_for_a_new_job_to_a_host_that_vmm_did_not_have(scene, said):
    scene.start()
    jobs(scene)
    new = "hv08" if said else "hv09"
    scene.play(FLEET + f'[[host]]\nname = "{new}.corp.example"\n')
    scene.server.quirks.job_hosts = said
    scene.world.foreign(scene.clock.now(), "web01", new)
    (found,) = jobs(scene)["jobs"]

    assert (found["source"], found["target"]) == ("hv01.corp.example", f"{new}.corp.example")
    assert len(scene.calls("Get-SCVMHost")) == 1


def test_a_job_that_names_no_host_does_not_list_the_hosts_at_every_look(scene):
    scene.play(FLEET + '[lies]\ntarget_delay = ["20s", "20s"]\n')
    scene.server.quirks.job_hosts = False
    scene.start()
    forget(scene)
    found = [jobs(scene) for _ in range(3)]

    assert [(one["source"], one["target"]) for one in found[0]["jobs"]] == [(None, None)]
    assert len(scene.calls("Get-SCVMHost")) == 1


def test_an_ended_job_is_asked_for_by_its_id_only_if_it_is_not_running(scene):
    job = scene.start().data["job"]
    scene.server.calls.clear()
    jobs(scene, job)
    assert [call.set for call in scene.calls("Get-SCJob")] == ["RunningJobs"]
    scene.pass_by(700)
    scene.server.calls.clear()
    (found,) = jobs(scene, job)["jobs"]

    assert (found["id"], found["vm_id"], found["state"]) == (job, WEB01, "completed")
    assert [call.set for call in scene.calls("Get-SCJob")] == ["RunningJobs", "NewestJobs"]
    assert jobs(scene)["jobs"] == []


def test_an_ended_job_has_the_hyperv_id_of_its_vm_in_a_new_session(scene):
    job = scene.start().data["job"]
    scene.pass_by(700)
    forget(scene)

    assert [one["vm_id"] for one in jobs(scene, job)["jobs"]] == [WEB01]


def test_a_job_of_a_vm_that_vmm_no_longer_knows_keeps_vmms_own_id_and_is_asked_for_once(scene):
    job = scene.start().data["job"]
    scene.pass_by(700)
    forget(scene)
    del scene.world.state.vms[WEB01]
    found = [jobs(scene, job)["jobs"][0]["vm_id"] for _ in range(2)]

    assert found == [object_id("vm", WEB01).upper()] * 2
    assert len(scene.calls("Get-SCVirtualMachine")) == 1


def test_ids_that_vmm_does_not_know_are_returned_as_they_were_asked(scene):
    job = scene.start().data["job"]
    found = jobs(scene, NOBODY.upper(), job, "no guid", "")

    assert sorted(found["unknown"]) == ["", NOBODY.upper(), "no guid"]
    assert [one["id"] for one in found["jobs"]] == [job]


@pytest.mark.parametrize(
    ("code", "said"),
    [("801", "unknown"), ("1604", "unread"), ("2606", "locked")],
    ids=["VMM cannot find it", "VMM refuses", "VMM is locked"],
)
def test_only_a_job_that_vmm_cannot_find_is_unknown(scene, code, said):
    problem = {"kind": "vmm", "id": code, "text": "VMM cannot do it."}
    scene.server.quirks.errors[f"Get-SCJob {NOBODY}"] = problem
    document = scene.vmm("Get-VmfJobs", Ids=[NOBODY]).document

    if said == "locked":
        assert document["error"]["class"] == said
        return
    refused = {"id": NOBODY, "error": "VMM cannot do it.", "code": code}
    wanted = {"unknown": [NOBODY], "unread": []} if said == "unknown" else {"unread": [refused]}
    assert {name: document["data"][name] for name in wanted} == wanted


def test_a_reread_is_shown_only_if_it_is_asked_for_and_moves_no_vm(scene):
    scene.server.quirks.reread_seconds = 5
    job = reread(scene)
    assert jobs(scene)["jobs"] == []
    (running,) = jobs(scene, job)["jobs"]
    scene.pass_by(6)
    (ended,) = jobs(scene, job)["jobs"]

    assert [(one["vm_id"], one["source"], one["state"]) for one in (running, ended)] == [
        ("", None, "running"),
        ("", None, "completed"),
    ]
    assert set(running) == set(ended) == set(scene_job(scene))


def scene_job(scene: Scene) -> dict:
    scene.start()
    return jobs(scene)["jobs"][0]


def test_a_failed_reread_has_the_error_of_vmm(scene):
    scene.server.quirks.reread_seconds = 5
    job = reread(scene, "host")
    scene.world.down(scene.clock.now(), HV01, 60)
    scene.pass_by(6)
    (found,) = jobs(scene, job)["jobs"]

    assert (found["state"], found["code"]) == ("failed", "2916")
    assert "was lost" in found["error"]


def test_a_lost_connection_is_not_taken_for_unknown_jobs(scene):
    problem = {"kind": "lost", "id": "ConnectionLost", "text": "The connection was lost."}
    scene.server.quirks.errors["Get-SCJob"] = problem

    assert scene.vmm("Get-VmfJobs", Ids=[NOBODY]).error["class"] == "unavailable"


# --- re-reads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "name", "cmdlet", "bound"),
    [
        ("vms", HV01, "Read-SCVirtualMachine", {"VMHost": object_id("host", HV01)}),
        ("vm", WEB01, "Read-SCVirtualMachine", {"VM": object_id("vm", WEB01)}),
        ("host", HV01, "Read-SCVMHost", {"VMHost": object_id("host", HV01)}),
    ],
)
@pytest.mark.parametrize("way", ["injected", "imported"])
def test_a_reread_is_a_job_for_which_nobody_waits(open_scene, way, what, name, cmdlet, bound):
    scene = open_scene(way)
    scene.server.quirks.reread_seconds = 5
    job = reread(scene, what, name)
    (call,) = scene.calls(cmdlet)

    assert call.bound.pop("JobVariable").startswith("vmfJob")
    assert call.bound == {**bound, "RunAsynchronously": True}
    assert [one["state"] for one in jobs(scene, job)["jobs"]] == ["running"]


@pytest.mark.parametrize(("what", "name"), [("vms", HV01), ("vm", WEB01), ("host", HV01)])
def test_a_reread_that_comes_late_is_stale_and_reads_nothing(scene, what, name):
    reply = scene.vmm("Start-VmfReread", What=what, Name=name, NotAfter=scene.at(-1))

    assert (reply.error["class"], reply.error["code"]) == ("stale", "deadline")
    assert [one for one in cmdlets(scene) if one.startswith("Read-")] == []


@pytest.mark.parametrize("what", ["vms", "vm", "host"])
def test_a_reread_of_something_unknown_is_refused(scene, what):
    reply = scene.vmm("Start-VmfReread", What=what, Name=NOBODY, NotAfter=scene.at(60))

    assert (reply.error["class"], reply.error["code"]) == ("refused", "not_found")


@pytest.mark.parametrize(("what", "name"), [("vms", HV01), ("vm", WEB01), ("host", HV01)])
def test_a_reread_of_a_locked_host_is_locked(scene, what, name):
    scene.world.lock(scene.clock.now(), HV01, 60)
    reply = scene.vmm("Start-VmfReread", What=what, Name=name, NotAfter=scene.at(60))

    assert (reply.error["class"], reply.error["code"]) == ("locked", "2606")


@pytest.mark.parametrize(("what", "name"), [("vms", HV01), ("vm", WEB01), ("host", HV01)])
def test_a_reread_finds_its_running_job_if_vmm_leaves_the_variable_empty(scene, what, name):
    scene.play(FLEET.replace("format = 1", 'format = 1\nclock_skew = "30s"'))
    scene.server.quirks.reread_seconds = 5
    scene.server.quirks.job_variable = False
    others = [reread(scene, *one) for one in (("vms", HV02), ("host", HV02), ("vm", DB01))]
    job = reread(scene, what, name)

    assert job == scene.server.desk.rereads[-1].id
    assert len({job, *others}) == 4


@pytest.mark.parametrize(("what", "name"), [("vms", HV01), ("vm", WEB01), ("host", HV01)])
def test_a_reread_that_began_earlier_is_not_taken_for_this_one(scene, what, name):
    scene.server.quirks.reread_seconds = 60
    reread(scene, what, name)
    scene.pass_by(30)
    scene.server.quirks.reread_seconds = 0
    scene.server.quirks.job_variable = False

    assert reread(scene, what, name) is None


def test_an_error_after_a_reread_has_begun_is_not_reported_as_a_refusal(scene):
    scene.server.quirks.reread_seconds = 5
    scene.server.quirks.job_variable = False
    scene.server.quirks.errors["Get-SCJob"] = {"kind": "vmm", "id": "640", "text": "No"}

    assert reread(scene) is None
    assert len(scene.calls("Read-SCVirtualMachine")) == 1


# --- VMM's database --------------------------------------------------------------------------


def test_an_inventory_holds_one_host_and_its_vms(scene):
    hosts = scene.vmm("Get-VmfSite").data["hosts"]
    scene.server.calls.clear()
    found = scene.vmm("Get-VmfInventory", HostName=HV01).data

    assert found["host"] == hosts[0]
    assert [(vm["id"], vm["host"]) for vm in found["vms"]] == [(WEB01, HV01), (DB01, HV01)]
    assert scene.vmm("Get-VmfInventory", HostName=HV02).data["vms"] == []
    assert {call.set for call in scene.calls("Get-SCVirtualMachine")} == {"VMHostGroup"}
    assert [one for one in cmdlets(scene) if one.startswith("Read-")] == []


def test_an_inventory_of_an_unknown_host_is_refused(scene):
    error = scene.vmm("Get-VmfInventory", HostName="hv99.corp.example").error

    assert (error["class"], error["code"]) == ("refused", "not_found")


def test_a_site_holds_all_hosts_and_only_the_vms_that_are_on_none_of_them(scene):
    stored = '[[vm]]\nname = "old01"\nhost = "hv02"\nstatus = "Stored"\n'
    scene.play(FLEET + stored)
    found = scene.vmm("Get-VmfSite").data
    known = [scene.vmm("Get-VmfInventory", HostName=name).data["host"] for name in (HV01, HV02)]

    assert found["hosts"] == known
    assert [(vm["name"], vm["stored"]) for vm in found["vms"]] == [("old01", True)]


def test_a_vm_whose_host_vmm_does_not_list_belongs_to_the_site(scene):
    scene.world.state.vms[WEB01].vmm_host = "gone.corp.example"

    assert [vm["name"] for vm in scene.vmm("Get-VmfSite").data["vms"]] == ["web01"]


# --- the pulse of a host ---------------------------------------------------------------------


def pulse(scene: Scene, *ids: str, on: str = HV01) -> dict:
    return scene.host("Get-VmfPulse", on=on, VmIds=list(ids)).data


@pytest.mark.parametrize("way", ["injected", "imported"])
def test_a_pulse_holds_migrations_counters_limits_and_the_vms_asked_for(open_scene, way):
    scene = open_scene(way)
    scene.start()
    scene.pass_by(60)
    found = pulse(scene, WEB01)

    assert found["time"] == "2026-01-05T22:01:00.000000Z"
    assert found["migrations"] == [{"vm_id": WEB01, "destination": HV02, "progress": 10}]
    assert (found["live"], found["storage"]) == (1, 1)
    assert (found["live_limit"], found["storage_limit"], found["live_enabled"]) == (2, 2, True)
    (vm,) = found["vms"]
    assert (vm["id"], vm["state"], vm["switches"]) == (WEB01, "Running", None)
    assert "MigratingVirtualMachine" in vm["status"]


def test_a_pulse_without_vms_and_migrations_returns_empty_lists(scene):
    found = pulse(scene, on=HV02)

    assert (found["vms"], found["migrations"], found["live"]) == ([], [], 0)


def test_incoming_migrations_count_on_the_destination(scene):
    scene.start()
    found = pulse(scene, on=HV02)

    assert (found["live"], found["migrations"]) == (1, [])


def test_migrations_are_read_before_the_counters_and_these_before_the_vms(scene):
    pulse(scene, WEB01)
    read = [call.bound.get("ClassName", call.cmdlet) for call in scene.server.calls]

    assert read == [JOBS, SERVICE, f"{SERVICE}SettingData", "Get-VM"]


def test_migrations_that_have_ended_are_omitted(scene):
    scene.start()
    scene.pass_by(601)
    scene.server.calls.clear()

    assert pulse(scene)["migrations"] == []


def test_the_cost_and_size_of_a_pulse_do_not_grow_with_the_vms_of_the_host(scene):
    many = "".join(f'[[vm]]\nname = "more{n}"\nhost = "hv01"\n' for n in range(40))
    few = scene.host("Get-VmfPulse", VmIds=[WEB01]).text
    calls = cmdlets(scene)
    scene.play(FLEET + many)

    assert scene.host("Get-VmfPulse", VmIds=[WEB01]).text == few
    assert cmdlets(scene) == calls
    assert [call.bound["Id"].upper() for call in scene.calls("Get-VM")] == [WEB01]


@pytest.mark.parametrize("word", ["InvalidParameter", "ObjectNotFound"])
def test_vms_that_are_not_on_the_host_are_omitted(scene, word):
    scene.server.quirks.no_vm = word

    assert [vm["id"] for vm in pulse(scene, NOBODY, DB01, "no guid", "")["vms"]] == [DB01]


def test_a_stopped_service_of_hyperv_is_not_taken_for_a_missing_vm(scene):
    text = "Hyper-V encountered an error trying to access an object"
    stopped = {"kind": "hyperv", "id": "ObjectNotFound", "text": text}
    scene.server.quirks.errors |= {"Get-VM": stopped, "Get-VMHost": stopped}

    assert scene.host("Get-VmfPulse", VmIds=[WEB01]).error["message"] == text


@pytest.mark.parametrize(("kind", "id"), [("hyperv", "AccessDenied"), ("lost", "ConnectionLost")])
def test_any_other_error_about_a_vm_fails_the_whole_pulse(scene, kind, id):
    scene.server.quirks.errors["Get-VM"] = {"kind": kind, "id": id, "text": "No"}

    assert scene.host("Get-VmfPulse", VmIds=[WEB01]).error["message"] == "No"


@pytest.mark.parametrize("number", ["80041003", "80070005", "80041010", "8004100E"])
def test_without_rights_or_classes_a_pulse_holds_no_counters_but_the_vms(scene, number):
    scene.start()
    problem = {"kind": "cim", "id": f"HRESULT 0x{number}", "text": "Access denied"}
    scene.server.quirks.errors[CIM] = problem
    found = pulse(scene, WEB01)

    assert [vm["id"] for vm in found["vms"]] == [WEB01]
    assert found["migrations"] == []
    names = ("live", "storage", "live_limit", "storage_limit", "live_enabled")
    assert [found[name] for name in names] == [None] * 5


def test_a_class_that_is_refused_hides_no_other_class(scene):
    scene.start()
    problem = {"kind": "cim", "id": "HRESULT 0x80041010", "text": "Invalid class"}
    scene.server.quirks.errors[f"{CIM} {SERVICE}"] = problem
    found = pulse(scene)

    assert (found["live"], found["live_limit"], len(found["migrations"])) == (None, 2, 1)


@pytest.mark.parametrize("name", [JOBS, SERVICE, f"{SERVICE}SettingData"])
def test_any_other_error_about_a_class_is_no_answer(scene, name):
    problem = {"kind": "cim", "id": "HRESULT 0x800706ba", "text": "The RPC server is unavailable"}
    scene.server.quirks.errors[f"{CIM} {name}"] = problem
    error = scene.host("Get-VmfPulse").error

    assert (error["class"], error["code"]) == ("unavailable", "cim")
    assert error["message"] == f"{name}: The RPC server is unavailable"


def test_the_pulse_of_a_silent_host_is_unavailable(scene):
    scene.world.down(scene.clock.now(), HV01, 60)

    assert scene.host("Get-VmfPulse").error["class"] == "unavailable"
