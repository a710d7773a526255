"""The verbs of the command line beside a running engine and without one: words to exit codes."""

import json
import signal

import pytest

from engine.language.vocabulary import VERBS
from engine.store import queries
from engine.store.store import Store
from tests.console import both_streams as vmferry
from tests.console import process, sit_down
from tests.hangs import HANGS

FLEET = """
format = 1
host = [{ name = "hv01.corp.example" }, { name = "hv02.corp.example" }]
vm = [
  { name = "web01", host = "hv01", minutes = 30 },
  { name = "web02", host = "hv01", minutes = 30 },
  { name = "web03", host = "hv01", minutes = 30 },
  { name = "db 01", host = "hv01", minutes = 3, status = "PowerOff" },
]
"""


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    sit_down(tmp_path, monkeypatch, FLEET)
    return tmp_path


def told(child, what):
    """Wait until the child prints this."""
    for line in child.stdout:
        if what in line:
            return line
    raise AssertionError(f"{what} was not told: {child.stderr.read()}")


@pytest.fixture
def engine(desk):
    """A run with web01 and web02 in flight, and an engine that continues it."""
    child = process("run", "--fleet", "fleet.toml", "--speed", "20", "host", "hv01", "to", "hv02")
    told(child, "move.moving web02")
    yield child
    child.kill()
    child.communicate(timeout=HANGS)


def run_state(desk):
    store = Store(desk / "vmferry.db")
    try:
        return str(queries.run(store, 1).state)
    finally:
        store.close()


# --- beside a running engine ------------------------------------------------------------------


def test_a_run_is_paused_and_resumed_while_its_engine_is_running(engine, desk):
    code, out = vmferry("pause", "R1")
    told(engine, "move.waiting web03 waits: the run is paused")

    assert (code, run_state(desk)) == (0, "paused")
    assert "Still in flight, and watched to the end: web01, web02." in out
    assert "Needs a person: R1 was paused by terminal:" in vmferry("status")[1]

    assert vmferry("resume", "hv01") == (0, "R1 is resumed.\n")
    told(engine, "run.active")


def test_commands_warn_if_no_engine_is_running(engine, desk):
    assert "at work" not in vmferry("status")[1] + vmferry("list")[1]
    engine.kill()
    engine.communicate(timeout=HANGS)

    warning = "No engine is running on vmferry.db"
    for words in (("status",), ("list",), ("pause", "R1"), ("resume", "R1"), ("set", "R1")):
        code, out = vmferry(*words, *(("parallel", "2") if words[0] == "set" else ()))
        assert code == 0
        assert f"{warning}. Commands are saved, and nothing moves until" in out
    elsewhere = vmferry("--db", str(desk / "vmferry.db"), "status")[1]
    assert elsewhere.endswith(f"somebody types: vmferry --db {desk / 'vmferry.db'} run\n")


def test_abort_needs_yes_and_then_stops_the_jobs(engine, desk):
    code, out = vmferry("abort", "R1")
    assert (code, run_state(desk)) == (2, "active")
    assert "add --yes" in out

    assert vmferry("abort", "R1", "--yes")[0] == 0
    told(engine, "attempt.stopping web01")
    told(engine, "R1 ended: 0 of 4 moved")
    engine.communicate(timeout=HANGS)
    assert engine.returncode == 1


def test_events_follows_a_run_to_its_end(engine, desk):
    following = process("events", "R1", "--follow", "--json")
    first = json.loads(following.stdout.readline())
    vmferry("abort", "R1", "--yes")
    rest = [json.loads(line) for line in following.stdout]

    following.communicate(timeout=HANGS)

    assert (first["kind"], first["run"], first["t"]) == ("run.active", "R1", 0.0)
    assert rest[-1]["kind"] == "run.stopped"
    assert following.returncode == 0


def test_ctrl_c_ends_events_follow_with_exit_code_130(engine):
    following = process("events", "--follow", interrupted=True)
    told(following, "move.moving web02")
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=HANGS)

    assert following.returncode == 130
    assert "Traceback" not in err


# --- without an engine ------------------------------------------------------------------------


@pytest.fixture
def ended(desk):
    """R1 ended: the powered-down VM was denied."""
    vmferry("run", "--fleet", "fleet.toml", "--speed", "max", "host", "hv01", "to", "hv02")


def test_a_retried_vm_is_asked_about_again_and_denied_again_without_a_terminal(ended, desk):
    code, out = vmferry("retry", "R1", "db 01")
    assert (code, out.splitlines()[0]) == (0, "Retrying db 01.")
    assert out.endswith("nothing moves until somebody types: vmferry run\n")
    process_ = process("run", "--speed", "20")  # asks and, without a terminal, says no
    process_.communicate(timeout=HANGS)
    code, out = vmferry("list")

    assert code == 0
    assert out.splitlines()[0] == "Ended:"
    assert "Incomplete 3 of 4 moved" in out


def test_event_times_of_a_resumed_run_never_go_back(ended):
    vmferry("retry", "R1")
    vmferry("run", "--speed", "max")
    _, out = vmferry("events", "R1", "--json")
    times = [json.loads(line)["t"] for line in out.splitlines()]

    assert "run.incomplete" in out
    assert times == sorted(times)


def test_approvals_are_listed_with_their_commands_and_decided_by_hand(desk):
    child = process("run", "--fleet", "fleet.toml", "--speed", "20", "--approve", "ask", "vm",
                    "db 01", "to", "hv02")  # fmt: skip
    child.communicate(timeout=HANGS)
    assert vmferry("approvals") == (0, "No approval is open.\n")

    store = Store(desk / "vmferry.db")
    approval = queries.approval(store, 1)
    store.close()
    assert str(approval.state) == "denied"
    code, out = vmferry("approve", "A1")
    assert (code, out) == (2, "Nothing changed on A1: the approval was already decided.\n")


def test_list_shows_runs_that_need_a_person_first(ended, desk):
    vmferry("retry", "R1")
    vmferry("pause", "R1")
    code, out = vmferry("list")

    assert code == 0
    assert out.splitlines()[0] == "Needs a person:"
    assert "R1 was paused by terminal:" in out


def test_events_prints_one_line_per_event(ended):
    code, out = vmferry("events", "R1")

    assert code == 0
    assert out.splitlines()[0] == "0:00:00 R1 run.active host hv01 to hv02"
    assert vmferry("events", "R9")[0] == 2


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.changes])
def test_no_verb_creates_a_database(verb, desk):
    code, out = vmferry(verb.name, *["R1", "web01", "x"][: max(1, verb.least)])

    assert code == 2
    assert f"There is no database {desk / 'vmferry.db'} yet." in out
    assert not (desk / "vmferry.db").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("pause", "R9"), "There is no run R9. The newest run is R1."),
        (("pause",), "pause needs one more word."),
        (("pause", "R1", "R2"), '"R2" is one word too many.'),
        (("retry", "R1", "web09"), "R1 has no VM web09."),
        (("skip", "R1"), "skip has no effect on R1: the run has ended"),
        (("set", "R1", "parallel"), "set needs one more word."),
        (("go-on", "R1", "hv02"), "R1 damaged no VM on hv02."),
        (("settle", "R1", "web01"), "There is nothing to settle: web01 has moved."),
        (("deny", "A7"), "There is no approval A7."),
        (("puase", "R1"), "Did you mean pause?"),
    ],
)
def test_a_wrong_command_is_refused_with_the_reason_and_changes_nothing(words, why, ended):
    code, out = vmferry(*words)

    assert code == 2
    assert why in out
    assert vmferry("report", "R1")[1].splitlines()[0].startswith("R1 ended")


def test_simulated_time_stands_still_while_a_run_needs_a_person(ended):
    vmferry("retry", "R1")
    vmferry("pause", "R1")
    code, out = vmferry("run", "--speed", "max")

    assert code == 1
    assert "R1 was paused by terminal:" in out
    assert "In another window: vmferry resume R1" in out
    assert "R1 waits for an answer" in out


def test_a_refused_withdrawal_is_written_to_the_audit(ended, desk):
    vmferry("retry", "R1")
    store = Store(desk / "vmferry.db")
    store.close()
    code, _ = vmferry("withdraw", "A1", "--reason", "not tonight")

    assert code == 2
    assert "tried to withdraw A1" in vmferry("events", "R1")[1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("list", "--db", "x"), "--db must come before the verb: vmferry --db FILE ..."),
        (("status", "--config", "x"), "--config must come before the verb: vmferry --config FILE"),
        (("set", "R1", "parallel", "-1"), "parallel needs a whole number"),
        (("set", "R1", "backup", "-1h"), "backup needs a duration"),
        (("status",), "vmferry.db yet. Start with: vmferry run, or name another one"),
    ],
)
def test_misplaced_words_are_refused_with_the_place_where_they_belong(words, why, desk):
    if words[0] == "set":
        vmferry("run", "--fleet", "fleet.toml", "--speed", "max", "host", "hv01", "to", "hv02")
    code, out = vmferry(*words)

    assert (code, why in out) == (2, True), out
    if words == ("status",):
        assert str(desk) in out, "an operator in the wrong folder sees it"
