"""Sessions: number, lifetime and servers, and the pauses after failures."""

import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import (
    ContractError,
    Refused,
    VmmError,
    VmmLocked,
    VmmRefused,
    VmmUnavailable,
)
from engine.settings import load
from engine.vmm.powershell import module_text
from engine.vmm.psrp import AccountRefused, Deadline, Session, Target
from engine.vmm.sessions import LOCKOUT, PAUSE, STALE, Breaker
from tests.hangs import HANGS
from tests.wire.conftest import PASSWORD, RealClock, StoppedClock, echo
from tests.wire.endpoint import DEFAULT, Reaction
from tests.wire.functions import Asked
from tests.wire.world import bad, good

HV1, HV2, HV3 = "hv01.corp.example", "hv02.corp.example", "hv03.corp.example"


def failed(call, *words, seconds=5.0):
    with pytest.raises(VmmError) as caught:
        call(*words, {}, seconds)
    return caught.value


# --- opening and closing ----------------------------------------------------------------------


def test_a_session_is_reused_and_closed_at_the_end(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions()
    for _ in range(5):
        sessions.ask_vmm("Get-It", {}, 5)

    assert (vmm.opened, len(vmm.shells)) == (1, 1)
    sessions.close()
    assert vmm.shells == {}
    assert "were closed" in str(failed(sessions.ask_vmm, "Get-It"))


def test_a_session_in_use_is_closed_after_its_call(ground):
    begun, over = threading.Event(), threading.Event()

    def wait(asked: Asked) -> str:
        begun.set()
        over.wait(HANGS)
        return good({})

    vmm = ground.serve("vmm01", {"Get-It": wait})
    sessions = ground.sessions()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sessions.ask_vmm, "Get-It", {}, 10)
        assert begun.wait(HANGS)
        sessions.close()
        assert len(vmm.shells) == 1
        over.set()
        assert answer.result() == {}
    assert vmm.shells == {}


def test_our_functions_are_loaded_once_per_session(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    host = ground.serve(HV1, {"Get-It": echo})
    sessions = ground.sessions()
    for _ in range(2):
        sessions.ask_vmm("Get-It", {}, 5)
        sessions.ask_host(HV1, "Get-It", {}, 5)

    assert vmm.brought == [("VMFerry.Vmm", module_text("VMFerry.Vmm"))]
    assert host.brought == [("VMFerry.Host", module_text("VMFerry.Host"))]
    assert {shell.configuration for shell in vmm.shells.values()} == {DEFAULT}


def test_a_named_endpoint_gets_no_script(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo}, configurations=["VMFerry"])
    answer = ground.sessions(configuration="VMFerry").ask_vmm("Get-It", {"Name": "web01"}, 5)

    assert answer == {"name": "web01"}
    assert (vmm.brought, vmm.scripts) == ([], [])
    assert {shell.configuration for shell in vmm.shells.values()} == {"VMFerry"}


def test_a_missing_endpoint_is_reported_with_the_message_of_the_server(ground):
    ground.serve("vmm01", {"Get-It": echo})
    caught = failed(ground.sessions(configuration="VMFarry").ask_vmm, "Get-It")

    assert "Cannot find the VMFarry session configuration" in str(caught)
    assert caught.happened is False


def test_an_endpoint_that_rejects_our_module_is_reported_with_the_setting(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    vmm.modules = {}
    caught = failed(ground.sessions().ask_vmm, "Get-It")

    assert isinstance(caught, ContractError)
    assert "vmm01 rejected the module VMFerry.Vmm" in str(caught)
    assert "[vmm] configuration" in str(caught)
    assert vmm.shells == {}


def test_an_idle_session_that_still_lives_is_reused(ground):
    clock = StoppedClock()
    vmm = ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions(clock)
    sessions.ask_vmm("Get-It", {}, 60)
    clock.time += STALE + 1
    sessions.ask_vmm("Get-It", {}, 60)

    assert [message.action for message in vmm.heard].count("Get") == 1
    assert vmm.opened == 1


def drop_connections(ground, vmm):
    (shell,) = vmm.shells.values()
    shell.state = "Disconnected"


@pytest.mark.parametrize(
    "happens", [drop_connections, lambda ground, vmm: vmm.kill_shells()], ids=["idle", "gone"]
)
def test_an_idle_session_that_died_is_replaced_before_the_call(ground, happens):
    clock = StoppedClock()
    vmm = ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions(clock)
    sessions.ask_vmm("Get-It", {}, 60)
    happens(ground, vmm)
    clock.time += STALE + 1

    assert sessions.ask_vmm("Get-It", {"Name": "web01"}, 60) == {"name": "web01"}
    assert (vmm.opened, len(vmm.shells)) == (2, 1)
    assert len(vmm.asked) == 2


# --- how many ---------------------------------------------------------------------------------


def test_no_two_callers_share_a_session_and_the_cap_holds(ground):
    together = threading.Barrier(3, timeout=HANGS)
    users: dict[str, set[str]] = {}

    def meet(asked: Asked) -> str:
        users.setdefault(str(asked["Who"]), set()).add(asked.shell.id)
        together.wait()
        return good({"who": asked["Who"]})

    vmm = ground.serve("vmm01", {"Get-It": meet})
    sessions = ground.sessions(sessions=4)
    with ThreadPoolExecutor(9) as pool:
        answers = pool.map(lambda who: sessions.ask_vmm("Get-It", {"Who": who}, 10), range(9))
        assert [answer["who"] for answer in answers] == list(range(9))
    assert (vmm.opened, vmm.most) == (3, 3)
    assert set().union(*users.values()) == set(vmm.shells)


def test_a_call_waits_for_a_busy_session_until_its_deadline(ground):
    begun, over = threading.Event(), threading.Event()

    def wait(asked: Asked) -> str:
        begun.set()
        over.wait(HANGS)
        return good({})

    ground.serve("vmm01", {"Get-It": wait})
    sessions = ground.sessions(sessions=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sessions.ask_vmm, "Get-It", {}, 10)
        assert begun.wait(HANGS)
        caught = failed(sessions.ask_vmm, "Get-It", seconds=0.1)
        over.set()
        first.result()

    assert "All 1 sessions with vmm01 are busy" in str(caught)
    assert caught.happened is False


def hanging(over: threading.Event, begun: threading.Semaphore):
    """A function that begins and then waits."""

    def wait(asked: Asked) -> str:
        begun.release()
        over.wait(HANGS)
        return good({})

    return wait


def test_a_reserved_call_never_waits_for_other_calls(ground):
    over, begun = threading.Event(), threading.Semaphore(0)
    vmm = ground.serve("vmm01", {"Get-Much": hanging(over, begun), "Get-It": echo})
    sessions = ground.sessions(sessions=3)
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(sessions.ask_vmm, "Get-Much", {}, HANGS) for _ in range(4)]
        assert all(begun.acquire(timeout=HANGS) for _ in range(2))
        answers = [sessions.ask_vmm("Get-It", {}, HANGS, reserved=True) for _ in range(3)]
        late = failed(sessions.ask_vmm, "Get-It", seconds=0.1)
        assert not begun.acquire(blocking=False)
        over.set()
        assert [other.result() for other in others] == [{}] * 4

    assert answers == [{}] * 3
    assert "All 2 sessions with vmm01 are busy" in str(late)
    assert (vmm.opened, vmm.most) == (3, 3)


def test_a_reserved_call_may_use_every_session(ground):
    over, begun = threading.Event(), threading.Semaphore(0)
    ground.serve("vmm01", {"Get-Much": hanging(over, begun)})
    sessions = ground.sessions(sessions=2)

    def reserved() -> object:
        return sessions.ask_vmm("Get-Much", {}, HANGS, reserved=True)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(reserved) for _ in range(2)]
        assert all(begun.acquire(timeout=HANGS) for _ in range(2))
        over.set()
        assert [call.result() for call in calls] == [{}] * 2


def test_no_session_with_a_host_is_kept(ground):
    over, begun = threading.Event(), threading.Semaphore(0)
    ground.serve(HV1, {"Get-Much": hanging(over, begun)})
    sessions = ground.sessions(sessions=2)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(sessions.ask_host, HV1, "Get-Much", {}, HANGS) for _ in range(2)]
        assert all(begun.acquire(timeout=HANGS) for _ in range(2))
        over.set()
        assert [call.result() for call in calls] == [{}] * 2


def test_each_of_many_threads_gets_the_answer_to_its_own_call(ground):
    ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions()
    with ThreadPoolExecutor(8) as pool:
        names = [f"web{number:03}" for number in range(80)]
        answers = list(pool.map(lambda name: sessions.ask_vmm("Get-It", {"Name": name}, 20), names))

    assert [answer["name"] for answer in answers] == names


# --- pauses after failures --------------------------------------------------------------------


def test_a_silent_server_is_left_alone_for_a_while_and_then_tried_once(ground):
    clock = StoppedClock()
    vmm = ground.serve("vmm01", {"Get-It": echo})
    vmm.on = lambda message: Reaction(cut="before")
    sessions = ground.sessions(clock)
    for _ in range(3):
        failed(sessions.ask_vmm, "Get-It")
    heard = len(vmm.heard)
    caught = failed(sessions.ask_vmm, "Get-It")

    assert "the connection was lost; retry in 60 s" in str(caught)
    assert caught.happened is False
    assert len(vmm.heard) == heard
    clock.time += PAUSE
    failed(sessions.ask_vmm, "Get-It")
    assert len(vmm.heard) > heard
    assert "retry in 60 s" in str(failed(sessions.ask_vmm, "Get-It"))
    clock.time += PAUSE
    vmm.on = lambda message: None
    assert sessions.ask_vmm("Get-It", {}, 5) == {}
    assert sessions.ask_vmm("Get-It", {}, 5) == {}


def test_only_one_call_at_a_time_tries_a_server_after_the_pause():
    clock = StoppedClock()
    breaker = Breaker(clock, 1, PAUSE)
    breaker.failed("hv01 is down")
    clock.time += PAUSE
    with breaker.guard():
        with pytest.raises(VmmUnavailable, match="hv01 is down; one call is trying"):
            breaker.guard().__enter__()
        breaker.passed()
    with breaker.guard(), breaker.guard():
        pass


def test_a_refusal_by_vmm_does_not_count_as_a_failure_of_the_server(ground):
    vmm = ground.serve("vmm01", {"Get-It": lambda asked: bad("refused", "No such VM")})
    sessions = ground.sessions()
    for _ in range(5):
        assert isinstance(failed(sessions.ask_vmm, "Get-It"), VmmRefused)

    assert len(vmm.asked) == 5


def test_an_answer_resets_the_count_of_failures(ground):
    vmm = ground.serve("vmm01", {"Get-It": lambda asked: bad("locked", "Later")})
    sessions = ground.sessions()
    for _ in range(3):
        vmm.on = lambda message: Reaction(cut="before")
        told = [str(failed(sessions.ask_vmm, "Get-It")) for _ in range(2)]
        assert not any("retry in" in text for text in told)
        vmm.on = lambda message: None
        assert isinstance(failed(sessions.ask_vmm, "Get-It"), VmmLocked)


def test_a_silent_host_does_not_block_calls_to_others(ground):
    ground.serve("vmm01", {"Get-It": echo})
    ground.serve(HV1, {"Get-It": echo}).on = lambda message: Reaction(cut="before")
    ground.serve(HV2, {"Get-It": echo})
    sessions = ground.sessions()
    for _ in range(5):
        failed(sessions.ask_host, HV1, "Get-It")

    assert sessions.ask_host(HV2, "Get-It", {}, 5) == {}
    assert sessions.ask_vmm("Get-It", {}, 5) == {}


def test_a_rejected_account_is_tried_once_per_server_and_not_at_a_third(ground):
    clock = StoppedClock()
    servers = [
        ground.serve(name, {"Get-It": echo}, accounts={"ferry": "changed yesterday"})
        for name in ("vmm01", HV1, HV2)
    ]
    sessions = ground.sessions(clock)
    first = failed(sessions.ask_vmm, "Get-It")
    again = failed(sessions.ask_vmm, "Get-It")
    failed(sessions.ask_host, HV1, "Get-It")
    third = failed(sessions.ask_host, HV2, "Get-It")

    assert "vmm01 rejected the configured account" in str(first)
    assert "retry in 900 s" in str(again)
    assert "2 servers in a row rejected the configured account" in str(third)
    assert [server.refused_logons for server in servers] == [1, 1, 0]
    assert {error.happened for error in (first, again, third)} == {False}

    for server in servers:
        server.accounts["ferry"] = PASSWORD
    clock.time += LOCKOUT
    assert sessions.ask_host(HV2, "Get-It", {}, 5) == {}
    assert sessions.ask_vmm("Get-It", {}, 5) == {}


def test_a_password_changed_during_a_session_is_tried_once(ground):
    vmm = ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions()
    sessions.ask_vmm("Get-It", {}, 5)
    vmm.accounts["ferry"] = "changed"
    caught = failed(sessions.ask_vmm, "Get-It")

    assert (type(caught), caught.happened) == (AccountRefused, False)
    assert vmm.refused_logons == 1
    assert len(vmm.asked) == 1


def test_an_account_accepted_in_between_is_still_tried_at_further_servers(ground):
    ground.serve("vmm01", {"Get-It": echo})
    hosts = [ground.serve(name, {"Get-It": echo}, accounts={}) for name in (HV1, HV2, HV3)]
    sessions = ground.sessions()
    for name in (HV1, HV2, HV3):
        sessions.ask_vmm("Get-It", {}, 5)
        failed(sessions.ask_host, name, "Get-It")

    assert [host.refused_logons for host in hosts] == [1, 1, 1]
    assert sessions.ask_vmm("Get-It", {}, 5) == {}


def test_a_wrong_password_is_offered_to_a_few_servers_at_once_and_then_to_none(ground):
    names = [f"hv{n:02}.corp.example" for n in range(24)]
    hosts = [ground.serve(name, {"Get-It": echo}, accounts={}) for name in names]
    sessions = ground.sessions()
    with ThreadPoolExecutor(len(names)) as pool:
        errors = list(pool.map(lambda name: failed(sessions.ask_host, name, "Get-It"), names))

    assert 2 <= sum(host.refused_logons for host in hosts) <= 5
    assert sum("servers in a row rejected the configured account" in str(e) for e in errors) >= 19


# --- secrets and addresses --------------------------------------------------------------------


def test_the_password_is_in_no_error_no_log_and_no_representation(ground, caplog):
    caplog.set_level(logging.DEBUG)
    vmm = ground.serve("vmm01", {"Get-It": echo})
    clock, settings = RealClock(), ground.settings()
    sessions = ground.sessions()
    sessions.ask_vmm("Get-It", {"Name": "web01"}, 5)
    target = Target(
        "vmm01", "127.0.0.1", ground.servers["vmm01"].port, auth="basic", user="ferry",
        secret=settings.secret, module=("VMFerry.Vmm", "text"),
    )  # fmt: skip
    session = Session(target, clock, Deadline(clock, 5))
    told = [repr(settings), str(settings), repr(target), repr(session), repr(sessions)]
    reactions = [Reaction(cut="before"), Reaction(status=500, text=PASSWORD), Reaction(status=401)]
    for reaction in reactions:
        vmm.on = lambda message, reaction=reaction: reaction
        try:
            session.ask("Get-It", {}, Deadline(clock, 5))
        except VmmError as error:
            told += [str(error), repr(error), "".join(traceback.format_exception(error))]
            told += [repr(error.__cause__)]
    vmm.on = lambda message: None
    vmm.accounts["ferry"] = "changed"
    told.append(repr(failed(ground.sessions().ask_vmm, "Get-It")))
    session.close()
    told += [caplog.text, *(str(record.args) for record in caplog.records)]

    assert len(told) > 10
    assert [text for text in told if PASSWORD in text] == []


def test_a_changed_password_file_is_read_at_the_next_logon(ground, tmp_path):
    file = tmp_path / "password"
    file.write_text("old one\n", encoding="utf-8")
    vmm = ground.serve("vmm01", {"Get-It": echo}, accounts={"ferry": "new one"})
    clock = StoppedClock()
    sessions = ground.sessions(clock, password="", password_file=str(file))
    failed(sessions.ask_vmm, "Get-It")
    file.write_text("new one\n", encoding="utf-8")
    clock.time += LOCKOUT

    assert sessions.ask_vmm("Get-It", {}, 5) == {}
    assert vmm.refused_logons == 1


def test_an_unreadable_password_file_is_named_in_the_error(ground, tmp_path):
    ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions(password="", password_file=str(tmp_path / "nothing"))
    caught = failed(sessions.ask_vmm, "Get-It")

    assert f"The password file {tmp_path / 'nothing'} cannot be read" in str(caught)
    assert caught.happened is False


def test_settings_take_the_password_from_the_environment_and_hosts_by_name(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        '[vmm]\nserver = "vmm01.corp.example"\nssl = true\nuser = "CORP\\\\ferry"\n'
        f'[hosts."{HV1}"]\naddress = "10.0.0.1"\nport = 5985\n',
        encoding="utf-8",
    )
    settings = load(path, {"VMFERRY_VMM__PASSWORD": PASSWORD})

    assert settings.vmm.secret().get_secret_value() == PASSWORD
    assert (settings.vmm.user, settings.vmm.transport_port()) == ("CORP\\ferry", 5986)
    assert (settings.hosts[HV1].address, settings.hosts[HV1].port) == ("10.0.0.1", 5985)
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"VMFERRY_VMM__PASWORD": PASSWORD}, 'Did you mean "password"?'),
        (
            {"VMFERRY_VMM": f'{{"password": ["{PASSWORD}"]}}'},
            "vmm.password must be a text in quotes.",
        ),
        ({"VMFERRY_VMM": f'"{PASSWORD}"'}, "vmm must be a table: [vmm]."),
        (
            {"VMFERRY_VMM__PASSWORD": PASSWORD, "VMFERRY_VMM__PASSWORD_FILE": "/run/secret"},
            "password and password_file exclude each other",
        ),
        (
            {"VMFERRY_VMM__AUTH": "digest"},
            'cannot be "digest". Known: negotiate, kerberos, ntlm, basic.',
        ),
        ({"VMFERRY_VMM__PORT": "0"}, 'vmm.port must be 1 or more, not "0".'),
    ],
)
def test_wrong_settings_are_refused_without_showing_the_password(env, sentence):
    with pytest.raises(Refused) as caught:
        load(None, env)

    assert sentence in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_password_is_not_sent_in_clear_text_over_a_network():
    clock = RealClock()
    target = Target("vmm01", "vmm01.invalid", 5985, auth="basic", user="ferry")
    with pytest.raises(VmmUnavailable, match="basic without ssl = true") as caught:
        Session(target, clock, Deadline(clock, 5))

    assert caught.value.happened is False
    Target("vmm01", "vmm01.invalid", 5986, auth="basic", ssl=True).refuse_to_shout()
    Target("vmm01", "::1", 5985, auth="basic").refuse_to_shout()


def test_a_proxy_of_the_environment_is_ignored(ground, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    ground.serve("vmm01", {"Get-It": echo})

    assert ground.sessions().ask_vmm("Get-It", {}, 5) == {}


def test_a_host_without_an_address_in_the_settings_is_reached_by_its_name(ground):
    ground.serve("vmm01", {"Get-It": echo})
    sessions = ground.sessions(auth="ntlm", port=5985)
    caught = failed(sessions.ask_host, "hv09.invalid", "Get-It")

    assert "hv09.invalid cannot be reached: there is no such address" in str(caught)
