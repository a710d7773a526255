"""Settings: defaults, file, environment and refusals."""

import pytest

from engine.errors import Refused
from engine.language.grammar import parse, parse_words
from engine.model import Options, Request
from engine.settings import Settings, load


def written(folder, text):
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder, text, env=None):
    with pytest.raises(Refused) as caught:
        load(written(folder, text), env or {})
    return caught.value


def asked(text):
    command = parse(text)

    assert isinstance(command, Request)
    return command


def test_settings_without_file_or_environment_are_the_contract_defaults():
    settings = load(None, {})

    assert settings == Settings()
    assert settings.options_for(asked("host a to b")) == Options()
    assert (settings.waits.foreign, settings.engine.tick) == (14400.0, 5.0)
    assert settings.slack.command == "/migrate"


def test_the_settings_file_accepts_the_same_values_as_a_request(tmp_path):
    path = written(
        tmp_path,
        """
        [run]
        path = 'D:\\VMs'
        pass = "30s"
        stop_on_failure = true
        backup = 90
        [waits]
        foreign = "6h"
        [engine]
        tick = 2
        [approval]
        approvers = ["slack:U1", "slack:U2"]
        """,
    )
    settings = load(path, {})

    assert settings.run.path == "D:\\VMs"
    assert (settings.run.pass_, settings.run.backup) == (30.0, 90.0)
    assert settings.run.stop_on_failure
    assert settings.waits.foreign == 21600.0
    assert settings.engine.tick == 2.0
    assert settings.approval.approvers == ("slack:U1", "slack:U2")


def test_the_environment_overrides_the_settings_file(tmp_path):
    path = written(tmp_path, "[run]\nattempts = 5\nparallel = 2\n")
    env = {
        "VMFERRY_RUN__ATTEMPTS": "4",
        "VMFERRY_RUN__PASS": "2m",
        "VMFERRY_RUN__LOOKUP_INTERVAL": "20s",
        "VMFERRY_RUN__NOW": "true",
        "VMFERRY_WAITS__FOREIGN": "6h",
        "VMFERRY_APPROVAL__APPROVERS": "slack:U1, slack:U2",
        "VMFERRY_SLACK__BOT_TOKEN": " xoxb-secret ",
        "VMFERRY_CONFIG": "elsewhere.toml",
        "PATH": "/bin",
    }
    settings = load(path, env)

    assert (settings.run.attempts, settings.run.parallel) == (4, 2)
    assert (settings.run.pass_, settings.run.lookup_interval, settings.run.now) == (120, 20, True)
    assert settings.waits.foreign == 21600.0
    assert settings.approval.approvers == ("slack:U1", "slack:U2")
    assert settings.slack.bot_token.get_secret_value() == "xoxb-secret"
    assert "xoxb" not in repr(settings)


def test_a_typed_option_overrides_the_settings_even_if_it_is_the_default():
    settings = load(None, {"VMFERRY_RUN__ATTEMPTS": "5", "VMFERRY_RUN__PATH": r"E:\VMs"})

    assert settings.options_for(asked("host a to b")).attempts == 5
    assert settings.options_for(asked("host a to b attempts 3")).attempts == 3
    assert settings.options_for(asked(r"host a to b path D:\VMs")).path == r"D:\VMs"


def test_a_request_overrides_the_settings_for_its_options():
    command = parse_words(["host", "a", "to", "b", "except", "x", "pass", "5s"])
    settings = load(None, {"VMFERRY_RUN__PASS": "9s"})

    assert isinstance(command, Request)
    assert settings.options_for(command) == Options(excluding=("x",), pass_=5.0)


@pytest.mark.parametrize(
    ("text", "what", "sentence"),
    [
        ("[run]\natempts = 3", "run.atempts", 'Did you mean "attempts"?'),
        ("[runs]\nattempts = 3", "runs", 'Did you mean "run"?'),
        ("colour = 1", "colour", "Known: run, waits, engine, approval, pager, slack, vmm, hosts."),
        ("[run]\nstop-on-failure = true", "run.stop-on-failure", 'Did you mean "stop_on_failure"?'),
        ("[run]\nattempts = 0", "run.attempts", "must be 1 or more, not 0."),
        ("[run]\nparallel = -2", "run.parallel", "must not be negative, not -2."),
        ('[run]\nbackup = "soon"', "run.backup", "90s, 10m, 1h or 1d"),
        ("[run]\nbackup = -1", "run.backup", "must not be negative, not -1."),
        ('[run]\npass = "0s"', "run.pass", 'must be more than 0, not "0s".'),
        ("[waits]\nforeign = inf", "waits.foreign", "finite"),
        ('[slack]\ncommand = "migrate"', "slack.command", "must be one word"),
        ('[slack]\napi_url = "http://slack.com/api/"', "slack.api_url", "https://"),
        ("[run]\nattempts = 2.5", "run.attempts", "must be a whole number, not 2.5."),
        (
            '[approval]\nconfirm = "x"',
            "approval.confirm",
            "true or false, or a whole number",
        ),
        (
            '[approval]\nreminders = ["1h", "soon"]',
            "approval.reminders[1]",
            'is not a duration: "soon".',
        ),
        ("[hosts.hv01]\nprot = 1", "hosts.hv01.prot", 'Did you mean "port"?'),
        ("[vmm]\npassword_file = 1", "vmm.password_file", "must be a path in quotes, not 1."),
        ("run = 3", "run", "must be a table: [run]."),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tmp_path, text, what, sentence):
    error = refusal(tmp_path, text)

    assert error.what == what
    assert sentence in str(error)


def test_broken_toml_is_refused_with_the_line(tmp_path):
    assert "line 2" in str(refusal(tmp_path, '[run]\npath = "D:\\VMs"\n'))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refused, match="cannot be read: No such file"):
        load(tmp_path / "none.toml", {})


def test_a_settings_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(Refused, match="not UTF-8"):
        load(path, {})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("VMFERRY_RUN__ATEMPTS", 'Did you mean "attempts"?'),
        ("VMFERRY_RNU__ATTEMPTS", "Did you mean VMFERRY_RUN__ATTEMPTS?"),
        ("VMFERRY_RUN_ATTEMPTS", "Did you mean VMFERRY_RUN__ATTEMPTS?"),
        ("VMFERRY_RUN", "cannot be read"),
    ],
)
def test_an_unknown_setting_in_the_environment_is_refused(name, sentence):
    with pytest.raises(Refused) as caught:
        load(None, {name: "x"})

    assert sentence in str(caught.value)


def test_the_address_of_the_pager_is_never_shown_in_an_error():
    with pytest.raises(Refused, match=r"pager\.url must begin with https://") as caught:
        load(None, {"VMFERRY_PAGER__URL": "ftp://example.com/secret"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "variable"),
    [
        ("approvers = []", "approval.approvers", "VMFERRY_APPROVAL__APPROVERS"),
        ("confirm = false", "approval.confirm", "VMFERRY_APPROVAL__CONFIRM"),
        ('approvals_channel = "C0123"', "approval.channel", "VMFERRY_APPROVAL__CHANNEL"),
        ('pager_url = "https://x.example/"', "pager.url", "VMFERRY_PAGER__URL"),
    ],
)
def test_a_setting_moved_out_of_the_slack_section_is_refused_with_its_new_name(
    tmp_path, old, new, variable
):
    error = refusal(tmp_path, f"[slack]\n{old}")

    assert error.what == f"slack.{old.split()[0]}"
    assert f"is {new} now ({variable})" in str(error)


@pytest.mark.parametrize(
    ("said", "what", "sentence"),
    [
        ('approvers = ["dana"]', "approvers[0]", 'an id such as slack:U0123, not "dana"'),
        ('approvers = ["slack:U1", "U0123"]', "approvers[1]", "Copy member ID"),
        (
            'approvers = ["slack:S0123"]',
            "approvers[0]",
            "decide stand in approval.oncall",
        ),
        ('oncall = ["slack:U0123"]', "oncall[0]", "an id such as slack:S0123"),
        ('starters = ["@U0123"]', "starters[0]", "slack:U0123 or slack:S0123"),
        ('channel = "#ops"', "channel", "an id such as slack:C0123"),
    ],
)
def test_a_name_instead_of_an_id_is_refused_in_the_approval_settings(
    tmp_path, said, what, sentence
):
    error = refusal(tmp_path, f"[approval]\n{said}")

    assert error.what == f"approval.{what}"
    assert sentence in str(error)


@pytest.mark.parametrize(
    "said",
    ['{"bot_token": ["xoxb-secret"]}', '"xoxb-secret"'],
)
def test_a_token_is_never_shown_in_an_error(said):
    with pytest.raises(Refused, match="slack") as caught:
        load(None, {"VMFERRY_SLACK": said})

    assert "xoxb" not in str(caught.value)
