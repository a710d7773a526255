"""Lists, questions and answers at the terminal, on rows and beside a real engine that asks."""

import pytest

from engine.model import MoveState, Outcome, RunState
from tests.console import both_streams as vmferry
from tests.console import sit_down
from tests.desk import HOSTS, Desk

NAMES = ("web01", "web02", "web03", "web04", "db 01", "web06")
FLEET = """
format = 1
host = [{ name = "hv01.corp.example" }, { name = "hv02.corp.example" }]
vm = [
  { name = "web01", host = "hv01", minutes = 30 },
  { name = "old01", host = "hv01", minutes = 1, status = "PowerOff" },
  { name = "old02", host = "hv01", minutes = 1, status = "PowerOff" },
]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    sit_down(tmp_path, monkeypatch)
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def desk(folder):
    """A fleet with each of ``NAMES`` on a host of its own. The terminal's own user is the
    requester."""
    made = Desk(folder, dict(zip(NAMES, HOSTS, strict=False)), by="terminal:ann")
    yield made
    made.store.close()


def end(desk, run, how, outcome, last):
    """End the moves of a run like this, and then the run."""
    for entry in desk.record(run).moves:
        desk.put(how, entry.move.vm, outcome, HOSTS[6], run)
    desk.turn(last, run)


def groups(out):
    """The titles of a list, each with the labels below it, and the line of each run."""
    found, lines = {}, {}
    for line in out.splitlines():
        if not line.startswith(" "):
            title = line
        elif not line.startswith("      "):
            label = line.split()[0]
            found.setdefault(title, []).append(label)
            lines[label] = line
    return found, lines


# --- the list ------------------------------------------------------------


def test_runs_that_need_a_person_are_listed_first_with_the_command_to_type(desk):
    ended, going = RunState.INCOMPLETE, desk.ask("vm web06 to hv07")
    paused, asked = desk.ask("vm web01 to hv07"), desk.ask("vm web02 to hv07")
    end(desk, desk.ask("vm web03 to hv07"), MoveState.DAMAGED, Outcome.NETWORK, ended)
    end(desk, desk.ask('vm "db 01" to hv07'), MoveState.UNKNOWN, Outcome.UNKNOWN, ended)
    end(desk, desk.ask("vm web04 to hv07"), MoveState.FAILED, Outcome.STUCK, RunState.STOPPED)
    desk.question("web02", run=asked)
    vmferry("pause", f"R{paused}")
    code, out = vmferry("list")
    found, _ = groups(out)

    assert code == 0
    assert list(found) == ["Needs a person:", "In progress:"]
    assert set(found["Needs a person:"]) == {"R2", "R3", "R4", "R5", "R6"}
    assert found["In progress:"] == [f"R{going}"]
    for said in (
        "R2 was paused by terminal:",
        "A1 awaits a decision: approvals",
        "web03 is damaged on hv07: vmferry report R4, then: vmferry go-on R4 hv07",
        'settle R5 "db 01"',
        "web04 did not move: vmferry report R6, then: vmferry retry R6",
    ):
        assert said in " ".join(out.split())


def test_a_run_that_a_person_has_dealt_with_no_longer_needs_a_person(desk):
    short, damaged = desk.ask("vm web04 to hv07"), desk.ask("vm web03 to hv07")
    end(desk, short, MoveState.FAILED, Outcome.STUCK, RunState.INCOMPLETE)
    end(desk, damaged, MoveState.DAMAGED, Outcome.NETWORK, RunState.INCOMPLETE)
    assert groups(vmferry("list")[1])[0] == {"Needs a person:": ["R2", "R1"]}

    again = desk.ask("vm web04 to hv07")  # R1 failed, and its VM is somebody's again
    end(desk, again, MoveState.DONE, Outcome.MOVED, RunState.COMPLETED)
    assert vmferry("go-on", "R2", "hv07") == (0, "hv07 receives VMs again.\n")
    assert groups(vmferry("list")[1])[0] == {"Ended:": ["R3", "R2", "R1"]}


def test_a_run_whose_vm_was_denied_is_listed_as_ended(desk):
    run = desk.ask("vm web04 to hv07")
    end(desk, run, MoveState.SKIPPED, Outcome.DENIED, RunState.INCOMPLETE)

    assert groups(vmferry("list")[1])[0] == {"Ended:": ["R1"]}


def test_ended_runs_are_sorted_by_end_time_not_by_number(desk):
    first, second = desk.ask("vm web01 to hv07"), desk.ask("vm web02 to hv07")
    end(desk, second, MoveState.DONE, Outcome.MOVED, RunState.COMPLETED)
    end(desk, first, MoveState.DONE, Outcome.MOVED, RunState.COMPLETED)

    assert groups(vmferry("list")[1])[0] == {"Ended:": ["R1", "R2"]}


def test_a_run_is_listed_on_one_line_with_state_request_count_person_and_time(desk):
    desk.ask("vm web01 to hv07")
    _, lines = groups(vmferry("list")[1])

    assert " ".join(lines["R1"].split()).startswith("R1 Moving 0 of 1 moved 20")
    assert lines["R1"].endswith(" ann vm web01 to hv07")


def test_no_line_of_the_list_is_wider_than_a_terminal(desk):
    everything = ",".join(f'"{name}"' for name in NAMES)
    desk.ask(f"vm {everything} to hv07", by="terminal:somebody.with.a.long.name")
    end(desk, 1, MoveState.FAILED, Outcome.STUCK, RunState.INCOMPLETE)
    _, out = vmferry("list")

    assert max(map(len, out.splitlines())) <= 80
    assert "web01, web02, web03 and 3 more did not move" in " ".join(out.split())
    assert "somebody.wi…" in out


def test_an_empty_list_says_that_there_is_no_run(desk):
    assert vmferry("list") == (0, "There is no run yet.\n")


# --- questions on rows ------------------------------------------------------------


@pytest.fixture
def asked(desk):
    """A1 of R1 asks about two VMs."""
    desk.ask('vm web01,web02,"db 01" to hv07')
    desk.question("web01", "db 01")
    return desk


def test_an_open_approval_shows_its_vms_and_the_command_to_type(asked):
    code, out = vmferry("approvals")

    assert code == 0
    assert "A1: approve moving 2 powered-down VMs?" in out
    assert "web01" in out
    assert "db 01" in out
    assert "web02" not in out
    assert "Type: vmferry approve A1, or: vmferry deny A1 --reason TEXT" in out


def test_some_vms_of_an_approval_are_approved_by_name_and_only_once(asked):
    code, out = vmferry("approve", "A1", "db 01")
    assert (code, out.splitlines()[0]) == (0, "A1 is approved: 1 of 2 VMs may move.")
    assert asked.asked().granted == ("id-db 01",)

    code, out = vmferry("deny", "A1", "--reason", "too late")
    assert (code, str(asked.asked().state)) == (2, "granted")
    assert out.splitlines()[0] == "Nothing changed on A1: the approval was already decided."


def test_the_reason_of_a_denial_is_stored(asked):
    assert vmferry("deny", "A1", "--reason", "not tonight, please")[0] == 0
    assert asked.asked().reason == "not tonight, please"
    assert '"not tonight, please"' in vmferry("events", "R1")[1]


def test_an_approval_can_be_withdrawn_before_its_vms_are_started(asked):
    vmferry("approve", "A1")
    code, _ = vmferry("withdraw", "A1", "--reason", "wrong window")

    assert (code, str(asked.asked().state)) == (0, "withdrawn")
    assert asked.asked().reason == "wrong window"


def test_a_vm_outside_the_approval_cannot_be_approved(asked):
    code, out = vmferry("approve", "A1", "web02")

    assert (code, str(asked.asked().state)) == (2, "requested")
    assert "A1 has no VM web02." in out


def test_a_break_glass_approval_needs_a_person_until_another_person_reviews_it(desk):
    desk.ask()
    desk.break_glass("web01")
    asks = "Break-glass approval A1 awaits review by a second person: vmferry reviewed R1"
    assert asks in " ".join(vmferry("list")[1].split())
    assert f"Needs a person: {asks}" in " ".join(vmferry("status", "R1")[1].split())
    assert f"Needs a person: {asks}" in " ".join(vmferry("report", "R1")[1].split())

    code, out = vmferry("reviewed", "R1", "the", "ticket", "number was missing")

    assert code == 0
    assert out.splitlines()[0] == 'Reviewed A1 as not in order: "the ticket number was missing".'
    assert asks not in " ".join(vmferry("list")[1].split())
    code, out = vmferry("reviewed", "R1")
    assert (code, "A1 was reviewed by terminal:" in out) == (2, True)


# --- exit codes ------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("list",), ("events",), ("approvals",), ("pause", "R1"), ("approve", "A1")]
)
def test_a_file_that_is_not_a_database_is_left_unchanged(words, folder):
    (folder / "vmferry.db").write_bytes(b"a letter to the editor" * 100)

    assert vmferry(*words)[0] == 4
    assert (folder / "vmferry.db").read_bytes() == b"a letter to the editor" * 100


def test_a_refused_command_is_audited_with_its_author(desk):
    desk.ask("vm web01 to hv07")
    code, out = vmferry("resume", "R1")
    assert (code, out.splitlines()[0]) == (0, "R1 is not paused. Nothing changed.")
    assert vmferry("go-on", "R1", "hv07")[0] == 2
    assert "- refused R1 damaged no VM on hv07." in vmferry("events")[1].splitlines()[-1]


# --- in front of a person ------------------------------------------------------------


@pytest.mark.parametrize(("answer", "code", "state"), [("n", 2, "active"), ("y", 0, "stopping")])
def test_abort_at_a_terminal_asks_for_confirmation(answer, code, state, desk, at_terminal):
    desk.ask("vm web01 to hv07")
    seat = at_terminal("abort", "R1")
    seat.sees(r"Cancel the migrations in flight\?")
    assert str(desk.run().state) == "active"
    seat.types(f"{answer}\n")

    assert seat.leaves() == code
    assert str(desk.run().state) == state
    seat.sees(r"Nothing was aborted\." if answer == "n" else r"R1 is aborted\.")
    assert "abort R1 yes" not in seat.shown


def test_ctrl_c_at_the_abort_confirmation_leaves_the_run_unchanged(desk, at_terminal):
    desk.ask("vm web01 to hv07")
    seat = at_terminal("abort", "R1", interrupted=True)
    seat.sees(r"Cancel the migrations in flight\?")

    assert seat.interrupt() == 130
    assert str(desk.run().state) == "active"


def test_an_approval_can_be_decided_in_another_window_while_the_engine_asks(folder, at_terminal):
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    seat = at_terminal(
        "run", "--fleet", "fleet.toml", "--speed", "60", "vm", "old01,old02", "to", "hv02"
    )
    seat.sees(r"Approve 2\?")
    assert "A1: approve moving 2 powered-down VMs?" in vmferry("approvals")[1]
    assert "A1 awaits a decision" in vmferry("list")[1]

    assert vmferry("approve", "A1", "old01") == (0, "A1 is approved: 1 of 2 VMs may move.\n")
    assert seat.leaves() == 1  # old02 was not approved
    assert vmferry("approvals") == (0, "No approval is open.\n")
    said = vmferry("report", "R1")[1]
    assert said.startswith("R1 ended: 1 of 2 moved")


def test_the_board_says_who_paused_the_run_in_another_window(folder, at_terminal):
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    seat = at_terminal("run", "--fleet", "fleet.toml", "--speed", "20", "vm", "web01", "to", "hv02")
    seat.sees("Moving: web01")
    vmferry("pause", "R1")

    seat.sees("Needs a person: R1 was paused by terminal:")
