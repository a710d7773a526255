"""The JSON samples of the PowerShell modules match what this side reads and writes.

``tests/powershell`` checks the same files from the other side: there the functions return exactly
these texts, here the client understands all of them.
"""

import json
from pathlib import Path

import pytest

from engine.errors import VmmBusy, VmmError, VmmLocked, VmmRefused, VmmStale, VmmUnavailable
from engine.model import Acl, Adapter, AdapterRepair
from engine.vmm import answers, values

SAMPLES = Path(__file__).resolve().parents[1] / "powershell" / "json"

SHAPES = {
    "vmm.version": answers.Version,
    "vmm.network": answers.ModelAnswer,
    "vmm.started": answers.Started,
    "vmm.started_cold": answers.Started,
    "vmm.jobs": answers.JobsAnswer,
    "vmm.inventory": answers.InventoryAnswer,
    "vmm.site": answers.SiteAnswer,
    "vmm.reread": answers.Started,
    "host.pulse": answers.PulseAnswer,
    "host.pulse_blind": answers.PulseAnswer,
    "host.state": answers.StateAnswer,
    "host.network": answers.PortAnswer,
    "host.rights": answers.RightsAnswer,
    "host.rights_missing": answers.RightsAnswer,
}
ERRORS = {
    "vmm.agent_lost": VmmUnavailable,
    "vmm.busy": VmmBusy,
    "vmm.late": VmmStale,
    "vmm.locked": VmmLocked,
    "vmm.not_found": VmmRefused,
    "vmm.refused": VmmRefused,
    "vmm.stale": VmmStale,
    "vmm.unavailable": VmmUnavailable,
    "host.refused": VmmRefused,
    "host.moving": VmmStale,
}
EMPTY = ("vmm.done", "vmm.model_done", "host.port_done")


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json").read_text(encoding="utf-8")


def test_every_sample_is_covered_by_a_test():
    there = {path.name.removesuffix(".json") for path in SAMPLES.glob("*.json")}
    answered = {name for name in there if not name.startswith("request.")}

    assert answered == {*SHAPES, *ERRORS, *EMPTY}


@pytest.mark.parametrize("name", SHAPES)
def test_the_client_reads_each_sample_of_an_answer(name):
    data = answers.data_of(name, [sample(name)])
    read = answers.read(SHAPES[name], data, name)

    assert set(read.model_dump()) <= set(data), "what is read has to be in the sample"


@pytest.mark.parametrize("name", ERRORS)
def test_each_sample_of_an_error_is_read_as_its_class(name):
    with pytest.raises(VmmError) as raised:
        answers.data_of(name, [sample(name)])

    assert type(raised.value) is ERRORS[name]


@pytest.mark.parametrize("name", EMPTY)
def test_the_client_reads_each_answer_without_data(name):
    assert answers.data_of(name, [sample(name)]) == {}


@pytest.mark.parametrize("name", [*SHAPES])
def test_a_missing_field_of_an_answer_is_an_error_that_names_the_field(name):
    data = answers.data_of(name, [sample(name)])
    first = next(iter(SHAPES[name].model_fields))
    del data[first]

    with pytest.raises(VmmError, match=first):
        answers.read(SHAPES[name], data, name)


def test_requests_have_the_fields_of_their_samples():
    rule = Acl("Allow", "Inbound", 10)
    repair = AdapterRepair("a", "m", network="n", switch="s", vlan=1, acls=(rule,))
    rows = {
        "request.pin": values.pinned(Adapter("a")),
        "request.repair": values.connection(repair),
        "request.add": values.port(repair),
    }

    for name, row in rows.items():
        shown = json.loads(sample(name))[0]
        assert set(row) == set(shown), name
    shown = json.loads(sample("request.add"))[0]["acls"][0]
    assert set(rows["request.add"]["acls"][0]) == set(shown)
