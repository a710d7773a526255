"""One call over the wire: parameters, answers, and the meaning of every failure."""

import json
import threading

import pytest

from engine.errors import (
    ContractError,
    VmmBusy,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmStale,
    VmmUnavailable,
)
from tests.hangs import HANGS
from tests.wire.conftest import echo, hang
from tests.wire.endpoint import Fault, Reaction
from tests.wire.functions import Asked, Broken
from tests.wire.world import bad, good

NASTY = [
    "it's",
    'say "hi"',
    "`whoami`",
    "$(Remove-Item C:\\ -Recurse)",
    "a; Stop-Computer",
    "a | Out-Null",
    "two\nlines\r\nand\ta tab",
    "-Force",
    "@{a=1}",
    "{ } [ ] % # & <tag> ]]>",
    "Größe 東京 \N{GRINNING FACE} \u202e",
    "_x000A_ stays as it is",
    "n" * 255,
    "",
]


def raised(sessions, function="Get-It", seconds=5.0, **parameters):
    with pytest.raises(VmmError) as caught:
        sessions.ask_vmm(function, parameters, seconds)
    return caught.value


# --- data in, data out ------------------------------------------------------------------------


@pytest.mark.parametrize("text", NASTY)
def test_names_arrive_as_data_whatever_they_contain(ground, text):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    answer = ground.sessions().ask_vmm("Get-It", {"Name": text, "Names": [text, text]}, 5)

    assert answer == {"name": text, "names": [text, text]}
    assert len(vmm.scripts) == 1
    assert not text or text not in vmm.scripts[0]


def test_numbers_stay_numbers_and_missing_values_are_not_sent(ground):
    ground.serve("vmm01", {"Get-It": echo})
    answer = ground.sessions().ask_vmm("Get-It", {"Port": 8100, "Path": None, "Ids": []}, 5)

    assert answer == {"port": 8100, "ids": []}


def test_a_large_call_and_a_large_answer_arrive_complete(ground):
    ground.serve("vmm01", {"Get-It": echo})
    text = "0123456789" * 100_000
    answer = ground.sessions().ask_vmm("Get-It", {"Text": text}, 20)

    assert answer == {"text": text}


# --- what an error means ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "happened"),
    [
        ("locked", VmmLocked, False),
        ("busy", VmmBusy, False),
        ("stale", VmmStale, False),
        ("refused", VmmRefused, False),
        ("unavailable", VmmUnavailable, None),
    ],
)
def test_an_error_has_the_class_that_the_server_chose(ground, kind, error, happened):
    ground.serve("vmm01", {"Get-It": lambda asked: bad(kind, "The words of VMM", "2606")})
    caught = raised(ground.sessions())

    assert type(caught) is error
    assert (caught.text, caught.code) == ("The words of VMM", "2606")
    assert caught.happened is happened


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (json.dumps({"contract": 1, "ok": True, "data": {}}), "uses contract 1, VMFerry uses 2"),
        (json.dumps({"ok": True, "data": {}}), "uses contract None"),
        (json.dumps({"contract": True, "ok": True, "data": {}}), "uses contract True"),
        (json.dumps({"contract": 2, "ok": True}), "neither data nor a known"),
        (json.dumps({"contract": 2, "ok": False, "error": {"class": "?"}}), "neither data nor"),
        (bad("frozen", "a class of tomorrow"), "neither data nor a known error"),
        ("[1]", "uses contract None"),
        ("VMM is fine", "is not JSON"),
        ([], "returned 0 values instead of one text"),
        ([good({}), good({})], "returned 2 values instead of one text"),
        ([7], "returned 1 values instead of one text"),
    ],
)
def test_an_answer_of_another_contract_is_a_contract_error(ground, output, why):
    ground.serve("vmm01", {"Get-It": lambda asked: output})
    caught = raised(ground.sessions())

    assert type(caught) is ContractError
    assert why in str(caught)
    assert "Install the same version" in str(caught)


@pytest.mark.parametrize(
    ("broken", "error", "why"),
    [
        (Broken("A parameter cannot be found", "NamedParameterNotFound"), ContractError, "version"),
        (Broken("too long", "ParameterArgumentValidationError"), VmmRefused, "too long"),
        (Broken("The pipeline fell over"), VmmUnavailable, "fell over"),
    ],
)
def test_a_failed_pipeline_is_never_taken_for_an_answer(ground, broken, error, why):
    def breaks(asked: Asked) -> str:
        raise broken

    ground.serve("vmm01", {"Get-It": breaks})
    caught = raised(ground.sessions())

    assert type(caught) is error
    assert why in str(caught)


def test_a_missing_function_is_named_in_the_error(ground):
    ground.serve("vmm01", {})

    assert "'Get-It' is not recognized" in str(raised(ground.sessions()))


def test_an_answer_with_an_error_beside_it_is_not_trusted(ground):
    def complains(asked: Asked) -> str:
        asked.complain("hv01 could not be read")
        return good({"hosts": []})

    ground.serve("vmm01", {"Get-It": complains})
    caught = raised(ground.sessions())

    assert type(caught) is VmmUnavailable
    assert "hv01 could not be read" in str(caught)


# --- deadlines and what gets lost -------------------------------------------------------------


@pytest.fixture
def no_limit_but_the_deadline(monkeypatch):
    """Make every other time limit of the client longer than the server hangs, so that without its
    deadline a call would return the server's answer."""
    for name in ("ANSWER", "POLL"):
        monkeypatch.setattr(f"engine.vmm.psrp.{name}", int(10 * HANGS))


@pytest.mark.usefixtures("no_limit_but_the_deadline")
def test_a_call_ends_at_its_deadline_and_is_stopped_on_the_server(ground):
    vmm = ground.serve("vmm01", {"Get-It": hang, "Get-Echo": echo})
    sessions = ground.sessions()
    sessions.ask_vmm("Get-Echo", {}, HANGS)  # opening may take longer than the call has
    caught = raised(sessions, seconds=1.5)

    assert type(caught) is VmmUnavailable
    assert caught.happened is None
    assert "did not end in time" in str(caught)
    assert vmm.asked[1].stopped.is_set()
    assert sessions.ask_vmm("Get-Echo", {}, 5) == {}
    assert vmm.opened == 1


@pytest.mark.usefixtures("no_limit_but_the_deadline")
@pytest.mark.parametrize("action", ["Create", "Command", "Receive"])
def test_a_server_that_accepts_a_call_but_never_answers_is_unavailable_in_time(ground, action):
    over = threading.Event()
    vmm = ground.serve("vmm01", {"Get-It": echo})
    vmm.on = lambda message: over.wait(HANGS) and None if message.action == action else None
    try:
        caught = raised(ground.sessions(), seconds=0.3)
    finally:
        over.set()

    assert isinstance(caught, VmmUnavailable)
    assert "no answer in time" in str(caught)


@pytest.mark.parametrize("trickle", ["head", "body"])
@pytest.mark.parametrize("action", ["Create", "Command", "Receive"])
def test_a_server_that_trickles_its_answer_is_cut_off_at_the_deadline(ground, action, trickle):
    vmm = ground.serve("vmm01", {"Get-It": echo, "Get-Echo": echo})
    sessions = ground.sessions()
    if action != "Create":
        sessions.ask_vmm("Get-Echo", {}, HANGS)
    slow = Reaction(trickle=trickle)
    vmm.on = lambda message: slow if message.action == action else None
    caught = raised(sessions, seconds=0.3)

    assert isinstance(caught, VmmUnavailable)
    assert caught.happened is (False if action == "Create" else None)
    assert "vmm01 cannot be reached: no answer in time" in str(caught)
    assert vmm.hung_up.wait(HANGS)
    vmm.on = lambda message: None
    assert sessions.ask_vmm("Get-Echo", {}, HANGS) == {}
    assert len(vmm.shells) == (2 if action == "Create" else 1)  # of the first nobody knows the id


def test_lost_answers_are_requested_again_and_arrive_complete(ground):
    text = "0123456789" * 100_000
    vmm = ground.serve("vmm01", {"Get-It": lambda asked: good(text)})
    lost = []

    def lose(message):
        if message.action == "Receive" and vmm.asked and message.id not in lost and len(lost) < 3:
            lost.append(message.id)
            return Reaction(cut="after")
        return None

    vmm.on = lose

    assert ground.sessions().ask_vmm("Get-It", {}, 20) == text
    assert len(lost) == 3
    assert len(vmm.asked) == 1
    ids = [message.id for message in vmm.heard]
    assert all(ids.count(one) == 2 for one in lost)


def test_a_connection_that_breaks_before_the_module_is_loaded_means_nothing_happened(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    vmm.on = lambda message: Reaction(cut="after") if message.action == "Command" else None
    caught = raised(ground.sessions())

    assert isinstance(caught, VmmUnavailable)
    assert caught.happened is False
    assert vmm.asked == []


def test_a_start_whose_answer_is_lost_may_have_happened_and_is_not_repeated(ground):
    vmm = ground.serve("vmm01", {"Start-It": echo, "Get-It": echo})
    sessions = ground.sessions()
    sessions.ask_vmm("Get-It", {}, 5)
    vmm.on = lambda message: Reaction(cut="after") if message.action == "Command" else None
    caught = raised(sessions, "Start-It")

    assert isinstance(caught, VmmUnavailable)
    assert caught.happened is None
    assert vmm.came(2) == ["Get-It", "Start-It"]


def test_a_message_that_the_server_could_not_read_is_sent_again(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions()
    sessions.ask_vmm("Get-It", {}, 5)
    unread = []

    def refuse(message):
        if message.action == "Command" and not unread:
            unread.append(message.id)
            return Reaction(status=400)
        return None

    vmm.on = refuse

    assert sessions.ask_vmm("Get-It", {"Name": "web01"}, 5) == {"name": "web01"}
    assert len(vmm.asked) == 2


def test_a_call_in_a_killed_shell_may_have_happened_and_the_next_opens_a_new_shell(ground):
    vmm = ground.serve("vmm01", {"Get-It": hang, "Get-Echo": echo})
    vmm.on = lambda message: (
        vmm.kill_shells() if message.action == "Receive" and vmm.asked else None
    )
    sessions = ground.sessions()
    caught = raised(sessions)
    vmm.on = lambda message: None

    assert isinstance(caught, VmmUnavailable)
    assert caught.happened is None
    assert sessions.ask_vmm("Get-Echo", {}, 5) == {}
    assert len(vmm.asked) == 2


def test_a_shell_that_ended_before_the_call_is_replaced(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions()
    sessions.ask_vmm("Get-It", {}, 5)
    vmm.kill_shells()

    assert sessions.ask_vmm("Get-It", {"Name": "web01"}, 5) == {"name": "web01"}
    assert [asked.function for asked in vmm.asked] == ["Get-It", "Get-It"]
    assert vmm.opened == 2


@pytest.mark.parametrize(
    ("reaction", "why"),
    [
        (Reaction(status=404, text="a proxy"), "answered with HTTP 404"),
        (Reaction(status=200, text="<html>not WSMan"), "with vmm01 failed: ParseError"),
        (Reaction(cut="before"), "the connection was lost"),
    ],
)
def test_an_unusable_reply_is_reported_as_unavailable(ground, reaction, why):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    vmm.on = lambda message: reaction
    caught = raised(ground.sessions())

    assert isinstance(caught, VmmUnavailable)
    assert caught.happened is False
    assert why in str(caught)


def test_a_quota_fault_is_reported_with_the_message_of_the_server(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})

    def full(message):
        if message.action == "Create":
            raise Fault(2150859173, "This user is allowed 30 shells.", "w:QuotaLimit")

    vmm.on = full
    caught = raised(ground.sessions())

    assert "vmm01 reported a fault: This user is allowed 30 shells." in str(caught)
    assert caught.code == "2150859173"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"port": 1}, "it refused the connection"),
        ({"address": "no-such-host.invalid"}, "there is no such address"),
        ({"ssl": True}, "it does not speak TLS on that port"),
    ],
)
def test_an_unreachable_server_is_reported_with_the_reason(ground, changes, why):
    ground.serve("vmm01", {"Get-It": echo})
    if "address" in changes:
        changes = changes | {"auth": "ntlm"}
    caught = raised(ground.sessions(**changes))

    assert type(caught).__mro__[1] is VmmUnavailable
    assert f"vmm01 cannot be reached: {why}" in str(caught)
    assert caught.happened is False


def test_every_pipeline_is_closed_after_success_and_after_failure(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo, "Get-Bad": lambda asked: bad("refused", "no")})
    sessions = ground.sessions()
    for _ in range(3):
        sessions.ask_vmm("Get-It", {}, 5)
        raised(sessions, "Get-Bad")
    raised(sessions, "Get-Nothing")
    (shell,) = vmm.shells.values()

    assert shell.pipes == {}
    assert vmm.opened == 1
