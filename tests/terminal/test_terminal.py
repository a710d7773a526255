"""The texts of the terminal: board, events, the question and its answers."""

import io
import os
import signal
from dataclasses import replace

import pytest
from rich.console import Console

from bot.terminal.ask import (
    CLOSED,
    NO_TERMINAL,
    SAID_NO,
    ApprovalAnswer,
    Typed,
    answer_by_policy,
    card_lines,
    prompt,
    read_answer,
)
from bot.terminal.board import (
    LiveScreen,
    PlainScreen,
    board_lines,
    clock_time,
    event_line,
    safe,
    since_start,
)
from engine.model import (
    Approval,
    ApprovalState,
    Event,
    Fleet,
    HyperVState,
    Move,
    MoveRecord,
    MoveState,
    Options,
    Outcome,
    Run,
    RunRecord,
    RunState,
    Vm,
    Wait,
)
from engine.views.board import Board, Moving, Stuck, WaitGroup
from tests.console import sit_down
from tests.hangs import HANGS

START = 1767650400.0
RUN = Run(
    id=214,
    vmm="vmm01",
    kind="host",
    request="host hv01 to hv02,hv03",
    sources=("hv01.corp.example",),
    destinations=("hv02.corp.example", "hv03.corp.example"),
    options=Options(path="D:\\VMs"),
    by="terminal:ann",
    state=RunState.ACTIVE,
    created=START,
)
QUESTION = Approval(3, 214, ApprovalState.REQUESTED, "d1", ("id-crm", "id-db"), START)
BOARD = Board(
    run=RUN,
    total=42,
    moved=19,
    moving=(
        Moving("web07", "hv02.corp.example", 61, "live"),
        Moving("sql02", "hv03.corp.example", None, "live"),
    ),
    waiting=(
        WaitGroup(Wait.SLOT, 15, "2 of 2 on hv01: web07, sql02", START, ("a",)),
        WaitGroup(Wait.APPROVAL, 4, "powered down; somebody has to approve", START, ("b",)),
        WaitGroup(Wait.BACKUP, 1, "in backup", START + 60, ("c",)),
    ),
    restoring=("web01",),
    failed=(
        Stuck(
            "erp01",
            "id-erp",
            MoveState.FAILED,
            Outcome.BLOCKED,
            "erp01: hv02 has no such switch.",
            "Add it.",
            "hv01",
        ),
        Stuck("web03", "id-3", MoveState.DAMAGED, Outcome.NETWORK, "web03 lost a rule.", "", "h"),
    ),
    skipped=1,
    questions=(QUESTION,),
    needed_by=START + 3600,
    progress=0.456,
    done_about=START + 7200,
    as_of=START + 120,
)


def event(kind, text, at=START, run=214):
    return Event(1, at, kind, run, None, None, text, {}, "")


def test_the_terminal_board_matches_the_slack_board():
    at = clock_time

    assert board_lines(BOARD) == [
        "R214 · hv01 → hv02, hv03 · Moving",
        "19 of 42 moved · 2 moving · 1 being checked · 20 waiting · 1 failed · 1 damaged"
        " · 1 skipped",
        f"▓▓▓▓▓▓▓▓▓░░░░░░░░░░░ 46 % · done about {at(START + 7200)}",
        f"Needs a person: approve 2 powered-down VMs by {at(START + 3600)} (A3)",
        "Moving: web07 → hv02 61 %, sql02 → hv03",
        "Network: web01",
        f"Waiting: 15 no slot (2 of 2 on hv01: web07, sql02) · 4 powered down, approval needed · "
        f"1 in backup since {at(START + 60)}",
        "Failed: erp01: hv02 has no such switch.",
        "  Next: Add it.",
        "Damaged: web03 lost a rule.",
        f"Asked by terminal:ann {at(START)} · as of {at(START + 120)}",
    ]


def test_an_ended_run_shows_its_result_instead_of_a_progress_bar():
    ended = Board(
        **{
            **BOARD.__dict__,
            "run": Run(**{**RUN.__dict__, "state": RunState.INCOMPLETE, "ended": START}),
            "questions": (),
        }
    )
    lines = board_lines(ended)

    assert lines[0].endswith("Incomplete")
    assert not any("%" in line and "done about" in line for line in lines)


def test_the_board_counts_many_failures_instead_of_listing_them():
    many = Board(**{**BOARD.__dict__, "failed": BOARD.failed * 10})

    assert "  and 12 more; see: vmferry report R214" in board_lines(many)


def test_a_run_of_single_vms_is_titled_by_its_sources():
    assert board_lines(BOARD, plain_bar=True)[2].startswith("#########...........")


def test_an_event_is_one_line_with_the_time_since_the_start():
    line = event_line(event("move.done", "web01 is on hv02.", START + 3725), START)

    assert line == "1:02:05 R214 move.done web01 is on hv02."
    assert event_line(event("engine.started", "x", START, None), START) == (
        "0:00:00 - engine.started x"
    )
    assert since_start(START - 5, START) == "0:00:00"


def test_control_characters_never_reach_the_terminal():
    assert safe("web\x1b[31m01\r\n\u202e") == "web\ufffd[31m01\ufffd\ufffd\ufffd"


def test_plain_lines_can_be_written_in_an_old_code_page():
    raw = io.BytesIO()
    screen = PlainScreen(START, io.TextIOWrapper(raw, encoding="cp1252"))
    screen.tell([event("move.moving", "web01 → hv02")])
    screen.show(BOARD)
    screen.close()

    assert raw.getvalue().split() == b"0:00:00 R214 move.moving web01 ? hv02".split()


def test_important_events_stay_above_the_live_board():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, _environ={})
    screen = LiveScreen(console)
    screen.show(BOARD, ["Approve 2? Type y, or n and a reason, then Enter:"])
    screen.tell([event("host.empty", "hv01 is empty."), event("attempt.begun", "not told")])
    screen.close()
    screen.close()
    shown = console.file.getvalue()

    assert "R214 · hv01 → hv02, hv03 · Moving" in shown
    assert "Approve 2?" in shown
    assert "hv01 is empty." in shown
    assert "not told" not in shown


# --- the question ------------------------------------------------------------------------------


def record():
    crm = Move(1, 214, "id-crm", "old-crm", "hv01.corp.example", memory_mb=4096, disk_mb=211968)
    db = Move(2, 214, "id-db", "db 01", "hv01.corp.example", memory_mb=2048, disk_mb=79872)
    return RunRecord(RUN, (MoveRecord(crm), MoveRecord(db)), (QUESTION,))


def test_the_question_lists_every_vm_with_power_state_adapters_and_size():
    fleet = Fleet(
        "vmm01",
        START,
        START,
        vms=(
            Vm("id-crm", "old-crm", "hv01", "PowerOff", hyperv_state=HyperVState.OFF, adapters=3),
            Vm("id-db", "db 01", "hv01", "Saved", hyperv_state=HyperVState.SAVED, adapters=1),
        ),
    )

    assert card_lines(QUESTION, record(), fleet) == [
        "A3: approve moving 2 powered-down VMs?",
        "R214 · hv01 → hv02 or hv03 · D:\\VMs",
        "  • old-crm  Off     3 adapters   211 GB",
        "  • db 01    Saved   1 adapter     80 GB",
        "They stay powered down. Network and extended ACLs are saved first, checked after.",
        "Without approval they stay on hv01; the others still move.",
    ]
    assert prompt(QUESTION).startswith("Approve 2?")


def test_the_question_can_be_asked_before_the_first_observation():
    assert "  • db 01    ?       0 adapters    80 GB" in card_lines(QUESTION, record(), None)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("y\n", ApprovalAnswer("approve")),
        (" YES ", ApprovalAnswer("approve")),
        ("n", ApprovalAnswer("deny")),
        (
            "no vendor works on it until Monday\n",
            ApprovalAnswer("deny", "vendor works on it until Monday"),
        ),
        ("", None),
        ("maybe", None),
        ("yes but only crm", None),
    ],
)
def test_only_a_clear_answer_is_accepted(line, answer):
    assert read_answer(line) == answer


@pytest.mark.parametrize(
    ("policy", "terminal", "answer"),
    [
        ("ask", True, None),
        ("ask", False, ApprovalAnswer("deny", NO_TERMINAL)),
        ("yes", False, ApprovalAnswer("approve")),
        ("no", True, ApprovalAnswer("deny", SAID_NO)),
    ],
)
def test_a_question_is_asked_only_if_a_person_is_at_the_terminal(policy, terminal, answer):
    assert answer_by_policy(policy, terminal) == answer


def test_lines_are_read_as_typed_and_a_closed_terminal_means_no():
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as keyboard:
        typed = Typed(keyboard)
        typed.listen()
        os.write(writer, b"perhaps\nn not tonight\n")
        os.close(writer)

        assert typed.answer(HANGS) == "perhaps"
        assert typed.answer(HANGS) == ApprovalAnswer("deny", "not tonight")
        assert typed.answer(HANGS) == ApprovalAnswer("deny", CLOSED)
        assert typed.answer() == ApprovalAnswer("deny", CLOSED)


# --- a real terminal -----------------------------------------------------------------------------

FLEET = """
format = 1
[[host]]
name = "hv01"
[[host]]
name = "hv02"
[[vm]]
name = "web01"
host = "hv01"
minutes = 20
[[vm]]
name = "db 01"
host = "hv01"
status = "PowerOff"
minutes = 1
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    sit_down(tmp_path, monkeypatch, FLEET)


def test_a_question_at_the_terminal_is_repeated_until_a_valid_answer_decides(at_terminal):
    seat = at_terminal("run", "--fleet", "fleet.toml", "--speed", "300", "host hv01 to hv02")
    seat.sees("db 01  Off .* GB")
    seat.sees("then Enter:")
    seat.types("perhaps\n")
    seat.sees('"perhaps" is neither y nor n')
    seat.sees("then Enter:")
    seat.types("y\n")
    seat.sees("A1 approved by terminal:")
    seat.sees("R1 ended: 2 of 2 moved, hv01 is empty")

    assert seat.leaves() == 0


def test_input_typed_before_the_question_does_not_answer_it():
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as keyboard:
        typed = Typed(keyboard)
        typed._lines.put("y\n")
        typed.forget()
        typed.listen()

        assert typed.answer() is None
        os.close(writer)
        assert typed.answer(HANGS) == ApprovalAnswer("deny", CLOSED)
    typed.forget()
    assert typed.answer() == ApprovalAnswer("deny", CLOSED)


def test_ctrl_c_at_a_terminal_names_the_vms_in_flight(at_terminal):
    seat = at_terminal(
        "run",
        "--fleet",
        "fleet.toml",
        "--speed",
        "5",
        "--approve",
        "no",
        "vm web01 to hv02",
        interrupted=True,
    )
    seat.sees("Moving: web01")
    seat.child.send_signal(signal.SIGINT)
    seat.sees("R1: in flight: web01 → hv02. VMM completes these migrations")

    assert seat.leaves() == 130


def test_simulated_time_stands_still_while_a_person_decides(at_terminal):
    seat = at_terminal(
        "run", "--fleet", "fleet.toml", "--speed", "max", "vm", "db 01", "to", "hv02"
    )
    seat.sees("then Enter:")
    seat.types("n not tonight\n")
    seat.sees("not tonight")

    assert seat.leaves() == 1


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 24), (40, 8)])
def test_the_question_stays_visible_on_a_small_screen(width, height):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=height)
    screen = LiveScreen(console)
    crowd = tuple(Moving(f"customer{n:02}-archive", "hv02", 5, "live") for n in range(40))
    screen.show(replace(BOARD, moving=crowd), ["Approve 12? Type y, or n and a reason:"])
    screen.close()

    first = next(line for line in out.getvalue().splitlines() if line.strip("\x1b[?25lhm1;0 "))
    assert "Approve 12?" in first
