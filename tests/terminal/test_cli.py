"""The command line, from words to exit code: in this process, or as a real process if needed."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import click
import pytest

from bot.cli import cli
from engine.language import grammar
from engine.language.vocabulary import OPTIONS, VERBS, example
from engine.model import Request
from tests.console import ROOT, Said, process, sit_down, vmferry
from tests.hangs import HANGS

FLEET = """
format = 1
[[host]]
name = "hv01.corp.example"
[[host]]
name = "hv02.corp.example"
[[vm]]
name = "web01"
host = "hv01"
minutes = 2
[[vm.nic]]
network = "VM-Net-10"
switch = "LS-Main"
vlan = 10
[[vm.nic.acl]]
action = "Allow"
direction = "Inbound"
weight = 10
[[vm]]
name = "web02"
host = "hv01"
minutes = 3
[[vm]]
name = "web03"
host = "hv01"
minutes = 2
"""
OFF = """
[[vm]]
name = "db 01"
host = "hv01"
status = "PowerOff"
minutes = 1
[[vm.nic]]
network = "VM-Net-10"
switch = "LS-Main"
"""
MOVE = ("run", "--fleet", "fleet.toml", "--speed", "max")


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    """An empty folder with a fleet, in which every command works."""
    sit_down(tmp_path, monkeypatch, FLEET)
    return tmp_path


def finished(*words):
    child = process(*words)
    out, err = child.communicate(timeout=HANGS)
    return Said(child.returncode, out, err)


# --- run -----------------------------------------------------------------------------------


def test_a_run_in_a_pipe_prints_one_line_per_event_and_the_report():
    said = vmferry(*MOVE, "host", "hv01", "to", "hv02")

    assert said.code == 0
    assert said.lines[0] == "0:00:00 R1 run.active host hv01 to hv02"
    assert "0:00:00 R1 move.moving web02 moves to hv02 (live)" in said.lines
    assert any("host.empty hv01 is empty" in line for line in said.lines)
    assert "R1 ended: 3 of 3 moved, hv01 is empty" in said.lines
    assert "\x1b" not in said.out


def test_the_same_seed_produces_the_same_output(desk):
    first = vmferry("--db", "a.db", *MOVE, "--seed", "7", "host", "hv01", "to", "hv02")
    again = vmferry("--db", "b.db", *MOVE, "--seed", "7", "host", "hv01", "to", "hv02")

    assert first.out == again.out


def test_json_is_one_document_on_stdout_and_progress_goes_to_stderr():
    said = finished(*MOVE, "--json", "vm", "web01,web02", "to", "hv02")
    document = json.loads(said.out)

    assert said.code == 0
    assert (document["format"], document["exit"], document["ended"]) == (1, 0, True)
    assert [move["vm"] for move in document["runs"][0]["moves"]] == ["web01", "web02"]
    assert document["violations"] == []
    assert {vm["host"].split(".")[0] for vm in document["fleet"]["vm"]} == {"hv01", "hv02"}
    assert list(document) == sorted(document)
    assert "R1 run.active" in said.err


@pytest.mark.parametrize(("answer", "code", "state"), [("yes", 0, "done"), ("no", 1, "skipped")])
def test_the_approve_option_answers_the_question_about_powered_down_vms(desk, answer, code, state):
    (desk / "fleet.toml").write_text(FLEET + OFF, encoding="utf-8")
    said = finished(*MOVE, "--approve", answer, "--json", "vm", "db 01", "to", "hv02")
    document = json.loads(said.out)

    assert said.code == code
    assert document["runs"][0]["moves"][0]["state"] == state
    assert document["approvals"][0]["votes"][0]["by"].startswith("terminal:")


def test_powered_down_vms_are_denied_with_a_reason_without_a_terminal(desk):
    (desk / "fleet.toml").write_text(FLEET + OFF, encoding="utf-8")
    said = finished(*MOVE, "vm", "db 01", "to", "hv02")

    assert said.code == 1
    assert "denied by terminal:" in said.out
    assert "there is no terminal" in said.out


def test_a_request_that_is_already_fulfilled_succeeds(desk):
    vmferry(*MOVE, "vm", "web01", "to", "hv02")
    said = vmferry("run", "vm", "web01", "to", "hv02")

    assert said.code == 0
    assert "web01 was on hv02 already" in said.out


def test_ctrl_c_names_the_vms_in_flight_and_the_same_command_continues_the_run():
    words = ("--fleet", "fleet.toml", "--speed", "20", "host", "hv01", "to", "hv02")
    child = process("run", *words, interrupted=True)
    assert child.stdout is not None
    told = []
    for line in child.stdout:
        told.append(line)
        if "move.moving web02" in line:
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=HANGS)

    assert child.returncode == 130
    assert "web02 → hv02" in out
    assert "VMM completes these migrations. Repeat the command to watch them." in out
    assert "Traceback" not in err
    assert vmferry("status").lines[0] == "R1 · hv01 → hv02 · Moving"

    again = vmferry("run", "--speed", "max", "host", "hv01", "to", "hv02")

    assert again.code == 0
    assert again.lines[0] == "R1 continues: host hv01 to hv02"
    assert "R1 ended: 3 of 3 moved, hv01 is empty" in again.lines
    everything = "".join(told) + out + again.out
    assert everything.count("attempt.begun web02: live") == 1


def test_run_without_a_request_continues_the_only_unfinished_run():
    child = process("run", "--fleet", "fleet.toml", "--speed", "20", "host", "hv01", "to", "hv02")
    assert child.stdout is not None
    next(line for line in child.stdout if "move.moving" in line)
    child.kill()
    child.communicate(timeout=HANGS)

    said = vmferry("run", "--speed", "max")

    assert said.code == 0
    assert said.lines[0] == "R1 continues: host hv01 to hv02"


def test_run_without_a_request_or_an_unfinished_run_says_what_to_type():
    vmferry(*MOVE, "vm", "web01", "to", "hv02")
    said = vmferry("run")

    assert said.code == 2
    assert "no unfinished run to continue. Type: vmferry run host HV01 to HV02" in said.err


def test_a_second_engine_is_refused_but_status_and_report_work():
    child = process("run", "--fleet", "fleet.toml", "--speed", "20", "host", "hv01", "to", "hv02")
    assert child.stdout is not None
    next(line for line in child.stdout if "move.moving" in line)
    second = vmferry("run", "host", "hv01", "to", "hv02")
    status = vmferry("status", "R1")
    report = vmferry("report", "R1", "--json")
    child.kill()
    child.communicate(timeout=HANGS)

    assert second.code == 4
    assert "Another VMFerry is running on vmferry.db" in second.err
    assert (status.code, status.lines[0]) == (0, "R1 · hv01 → hv02 · Moving")
    assert json.loads(report.out)["ended"] is False


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_words", "sentence"),
    [
        ("host hv01 to hv09", "No host hv09. Nearest: hv0"),
        ("host hv01 to hv01", "hv01 is both source and destination."),
        ("vm wbe01 to hv02", "No VM wbe01. Nearest: web01 on hv01."),
        ("vm sql* to hv02", 'No VM matches "sql*".'),
        ("host hv01 to hv02 except wbe01", "Nearest: web01."),
        ("host hv01 to hv02 paralel 2", "Did you mean parallel?"),
        ("host hv01 to hv02 parallel -2", '0 or more; "-2" is not one.'),
        ("host hv01 hv02", "Type: vmferry run host hv01 to hv02"),
        ("status", '"status" is not a request. Type: vmferry status'),
        ("host hv01 to hv02 --aprove yes", "Did you mean --approve?"),
    ],
)
def test_an_impossible_request_is_refused_and_leaves_no_file(desk, request_words, sentence):
    said = vmferry(*MOVE, *request_words.split())

    assert said.code == 2
    assert sentence in said.err
    assert said.out == ""
    assert sorted(path.name for path in desk.iterdir()) == ["fleet.toml"]


def test_a_caret_points_at_a_wrong_word():
    lines = vmferry("run", "host", "hv01", "to", "hv02", "paralel", "2").err.splitlines()

    assert lines[0] == "host hv01 to hv02 paralel 2"
    assert lines[1] == " " * lines[0].index("paralel") + "^^^^^^^"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rnu"], 'I do not know the verb "rnu". Did you mean run?'),
        (["host", "a", "to", "b"], "Did you mean: vmferry run host a to b"),
        (["run"], "No VMM server is configured."),
        (["run", "host", "a", "to", "b"], "No VMM server is configured."),
        (["run", "retry", "R1", "db 01"], "Type: vmferry retry R1 'db 01'"),
        (["run", "retry R1 db01"], "Type: vmferry retry R1 db01"),
        (["audit", "nope"], 'I do not know the verb "nope". There are: verify.'),
        (["run", "--speed", "0"], "neither a number above 0 nor max"),
        (["run", "--speed", "nan"], "neither a number above 0 nor max"),
        (["run", "--approve", "maybe"], "maybe"),
        (["run", "--fleet", "none.toml", "host", "a", "to", "b"], "none.toml cannot be read"),
        (["status"], "vmferry.db yet. Start with"),
        (["report"], "RUN"),
        (["--db", "no/x.db", "status"], "There is no folder no"),
        (["--config", "none.toml", "status"], "none.toml cannot be read"),
    ],
)
def test_wrong_words_are_refused_with_advice(desk, words, sentence):
    said = vmferry(*words)

    assert said.code == 2
    assert sentence in said.err.replace("\n", " ")
    assert sorted(path.name for path in desk.iterdir()) == ["fleet.toml"]


def test_a_different_fleet_than_the_one_in_the_database_is_refused(desk):
    vmferry(*MOVE, "vm", "web01", "to", "hv02")
    (desk / "other.toml").write_text(FLEET.replace("web03", "web04"), encoding="utf-8")
    said = vmferry("run", "--fleet", "other.toml", "vm", "web02", "to", "hv02")

    assert said.code == 2
    assert "another simulated fleet than other.toml" in said.err


@pytest.mark.parametrize("verb", [["status"], [*MOVE, "host", "hv01", "to", "hv02"]])
def test_a_file_that_is_not_a_database_is_left_unchanged(desk, verb):
    (desk / "notes.db").write_text("not a database, but mine", encoding="utf-8")
    said = vmferry("--db", "notes.db", *verb)

    assert said.code == 4
    assert (desk / "notes.db").read_text(encoding="utf-8") == "not a database, but mine"
    assert not (desk / "notes.db.world.json").exists()


def test_a_database_of_a_newer_version_is_left_unchanged(desk):
    vmferry(*MOVE, "vm", "web01", "to", "hv02")
    with closing(sqlite3.connect(desk / "vmferry.db")) as db, db:
        table = "_sqlite_migrations"
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        row = dict(zip(columns, db.execute(f"SELECT * FROM {table}").fetchone(), strict=True))
        row |= {"name": "m999_later"} | ({"id": None} if "id" in row else {})
        marks = ", ".join("?" for _ in row)
        db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    db.close()
    said = vmferry("status")

    assert said.code == 4
    assert "newer VMFerry" in said.err


def test_control_characters_in_a_refusal_are_replaced(desk):
    said = vmferry("run", "--fleet", "\x1b[2Jx.toml", "vm", "web01", "to", "hv02")

    assert said.code == 2
    assert "\ufffd[2Jx.toml" in said.err
    assert "\x1b" not in said.err


# --- settings ----------------------------------------------------------------------------------


def test_settings_are_read_from_the_file_in_the_folder_and_the_environment(desk, monkeypatch):
    (desk / "settings.toml").write_text("[run]\nattempts = 0\n", encoding="utf-8")
    assert "run.attempts" in vmferry("status").err

    (desk / "settings.toml").write_text("[run]\nparallel = 1\n", encoding="utf-8")
    monkeypatch.setenv("VMFERRY_DB", "elsewhere.db")
    said = vmferry(*MOVE, "vm", "web0*", "to", "hv02")

    assert (desk / "elsewhere.db").exists()
    assert "1 of 1 moves that the request allows" in said.out


# --- status and report ---------------------------------------------------------------------------


def test_status_and_report_work_with_and_without_a_run_number(desk):
    vmferry(*MOVE, "host", "hv01", "to", "hv02")

    assert vmferry("status").out == "No run is in progress.\n"
    assert vmferry("status", "1").lines[:2] == ["R1 · hv01 → hv02 · Completed", "3 of 3 moved"]
    assert vmferry("report", "r1").lines[0] == "R1 ended: 3 of 3 moved, hv01 is empty"
    assert vmferry("report", "R9").err == "There is no run R9. The newest run is R1.\n"
    assert vmferry("report", "hv01").code == 2


def test_the_report_holds_the_same_runs_and_events_as_the_document_of_the_run(desk):
    ran = json.loads(vmferry(*MOVE, "--json", "host", "hv01", "to", "hv02").out)
    told = json.loads(vmferry("report", "R1", "--json").out)

    assert told["runs"] == ran["runs"]
    assert told["events"] == ran["events"]
    assert told["fleet"] == ran["fleet"]


def test_the_report_is_text_or_csv_and_refuses_json_and_csv_together(desk):
    vmferry(*MOVE, "host", "hv01", "to", "hv02")
    both = vmferry("report", "R1", "--json", "--csv")

    assert "On hv01 when asked: 3 VMs" in vmferry("report", "R1").lines
    assert vmferry("report", "R1", "--csv").out.count("\r\nR1,") == 3
    assert (both.code, both.out) == (2, "")
    assert "--json and --csv cannot be used together." in both.err


def test_control_characters_in_a_name_are_replaced(desk):
    evil = FLEET.replace('name = "web01"', 'name = "web\\u001b[31m01"')
    (desk / "fleet.toml").write_text(evil, encoding="utf-8")
    said = vmferry(*MOVE, "host", "hv01", "to", "hv02")

    assert "\x1b" not in said.out + said.err


# --- stories -----------------------------------------------------------------------------------


@pytest.fixture
def story(desk):
    folder = desk / "empties-a-host"
    folder.mkdir()
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    (folder / "story.toml").write_text(
        """
        about = "a host is emptied"
        until = "2h"
        fleet = "fleet.toml"
        [people]
        ann = ["operator"]
        [[at]]
        t = "0s"
        do = "say"
        by = "ann"
        text = "host hv01 to hv02"
        """,
        encoding="utf-8",
    )
    return folder


def test_a_story_is_compared_with_its_expected_text_and_a_difference_is_shown(story):
    assert vmferry("story", str(story)).code == 0  # nothing is expected yet

    assert vmferry("story", str(story), "--update").code == 0
    golden = (story / "expect.txt").read_text(encoding="utf-8")
    assert vmferry("story", str(story)).code == 0
    assert vmferry("story", str(story)).out == golden

    (story / "expect.txt").write_text(golden.replace("web01", "web9"), encoding="utf-8")
    said = vmferry("story", str(story))
    assert said.code == 5
    assert "differs from expect.txt" in said.err
    assert any(line.startswith("-") and "web9" in line for line in said.err.splitlines())


def test_stories_as_json_are_one_document_per_line(story):
    said = vmferry("story", "--json", str(story), str(story))
    first, second = map(json.loads, said.lines)

    assert said.code == 0
    assert first == second
    assert first["runs"][0]["exit"] == 0


def test_a_story_with_another_seed_is_not_compared_with_expect_txt(story):
    (story / "expect.txt").write_text("something else\n", encoding="utf-8")

    assert vmferry("story", str(story), "--seed", "3").code == 0


def test_a_folder_without_a_story_is_refused(desk):
    assert vmferry("story", str(desk)).code == 2
    assert vmferry("story", "nowhere").code == 2
    assert vmferry("story").code == 2
    assert vmferry("story", "--json", "--update", str(desk)).code == 2


# --- help --------------------------------------------------------------------------------------


def test_the_help_of_run_explains_every_word_of_a_request():
    out = vmferry("run", "--help").out

    for verb in VERBS:
        assert (verb.usage in out) is verb.request
    for option in OPTIONS:
        assert f"  {option.word} " in out


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_the_help_of_every_verb_shows_an_example(verb, desk):
    before = list(desk.iterdir())
    said = vmferry(verb, "-h")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: vmferry {verb} ")
    assert f"    vmferry {verb}" in said.out.split("Example")[1]
    assert vmferry("help", verb) == said
    assert list(desk.iterdir()) == before, "help makes no database"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_example_of_every_verb_is_a_valid_command_of_the_verb(verb):
    shown = example(verb.usage)
    said = grammar.parse(shown)

    assert re.search(r"[\[|]|[A-Z]{2}", shown) is None, "a place of the usage is left"
    assert isinstance(said, Request if verb.request else grammar.Ask)
    assert verb.request or said.verb == verb.name


def test_the_help_of_every_option_is_a_sentence():
    for command in (cli, *cli.commands.values(), *cli.commands["audit"].commands.values()):
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help is not None
                assert option.help[0].isupper(), option.help
                assert option.help.endswith("."), option.help


def test_help_without_a_verb_lists_every_verb():
    said = vmferry("help")

    assert said == vmferry("--help")
    assert all(f"  {verb} " in said.out for verb in cli.commands)
    assert not any(line.endswith("...") for line in said.lines[1:]), "no sentence is cut"


def test_help_for_an_unknown_verb_names_the_nearest_verb():
    said = vmferry("help", "retyr")

    assert said.code == 2
    assert 'I do not know the verb "retyr". Did you mean retry?' in said.err


def test_help_for_host_and_vm_equals_the_help_of_run():
    assert vmferry("help", "host") == vmferry("help", "vm") == vmferry("run", "-h")


def test_help_ignores_the_case_of_a_verb():
    assert vmferry("help", "RUN") == vmferry("help", "run")
    assert vmferry("help", "Audit", "Verify") == vmferry("help", "audit", "verify")


def test_a_closed_pipe_ends_the_output_quietly():
    child = process(*MOVE, "host", "hv01", "to", "hv02")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    child.stdout = None
    child.wait(timeout=HANGS)

    assert child.returncode in (0, 1)
    assert "Traceback" not in child.stderr.read()
    child.stderr.close()


def test_a_negative_duration_is_refused_and_not_answered_with_help(desk):
    said = vmferry("run", "--fleet", "fleet.toml", "host", "hv01", "to", "hv02", "backup", "-1h")

    assert said.code == 2
    assert "-1h" in said.err


def test_a_database_of_a_simulated_fleet_is_refused_for_the_server_of_the_settings(desk):
    request = ("host", "hv01", "to", "hv02")
    vmferry("run", "--fleet", "fleet.toml", "--speed", "max", "--approve", "yes", *request)
    (desk / "settings.toml").write_text('[vmm]\nserver = "vmm01.corp.example"\n')
    said = vmferry("run", "vm", "web01", "to", "hv01")

    assert said.code == 2
    assert "holds a simulated fleet, and the settings name vmm01.corp.example" in said.err
    assert "another --db" in said.err


def test_warnings_of_libraries_are_hidden_and_our_warnings_are_shown():
    said = """
import logging, sys, warnings
from bot.cli import main
try:
    main(["--version"])
except SystemExit:
    pass
logging.getLogger("apscheduler.scheduler").warning("an overlap")
warnings.warn("an insecure request")
logging.getLogger("apscheduler.scheduler").error("a failure")
logging.getLogger("engine.advance.loop").warning("ours")
"""
    child = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, cwd=ROOT)

    assert child.stderr.splitlines() == ["a failure", "ours"]


def test_the_service_log_contains_our_messages_and_errors_of_libraries():
    said = """
import logging, warnings
from bot.logs import hide_library_warnings, log_to_stderr
hide_library_warnings()
log_to_stderr()
logging.getLogger("slack_sdk.web").info("a payload")
logging.getLogger("slack_sdk.web").warning("a retry")
warnings.warn("an insecure request")
logging.getLogger("slack_sdk.web").error("a failure")
logging.getLogger("bot.slack").info("ours")
"""
    child = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, cwd=ROOT)

    assert [line.split(" ", 2)[2] for line in child.stderr.splitlines()] == [
        "ERROR a failure",
        "INFO ours",
    ]


def test_modules_are_written_into_a_folder_and_listed_file_by_file(desk):
    said = vmferry("modules", "out")

    assert said.code == 0
    assert len(said.lines) == 4
    assert all((desk / line).is_file() for line in said.lines)
    assert "out/VMFerry.Host/VMFerry.Host.psm1" in said.lines


def test_a_folder_that_cannot_hold_the_modules_is_refused(desk):
    (desk / "out").write_text("a file")
    (desk / "out2").mkdir()
    (desk / "out2" / "VMFerry.Vmm").write_text("a file")

    assert "is a file" in vmferry("modules", "out").err
    said = vmferry("modules", "out2")
    assert (said.code, said.out) == (2, "")
    assert said.err == "The modules cannot be written: File exists. Name another folder.\n"
