"""Settings: defaults, file, environment and refusals."""

import json

import pytest

from engine.errors import Refused
from engine.language.grammar import parse, parse_words
from engine.model import Options, Request
from engine.settings import Settings, load
from engine.stories import story_file


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
        (
            '[slack]\ncommand = "migrate"',
            "slack.command",
            "must be one word that begins with /, such as /migrate",
        ),
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
        ("hosts.hv01 = 3", "hosts.hv01", "must be a table: [hosts.hv01]."),
        ("'' = 3", '""', '"" is not a known key. Known: run, waits'),
        ("[run]\n'' = 3", 'run.""', "is not a known key. Known: path"),
        ("[approval]\nconfirm = -1", "approval.confirm", "confirm must not be negative, not -1."),
        ("[approval]\nconfirm = { a = 1 }", "approval.confirm", "whole number, not a table."),
        ('[pager]\nurl = "https://"', "pager.url", "an https address, such as https://example"),
        ('[pager]\nurl = "https://[x"', "pager.url", "an https address"),
        ('[slack]\napi_url = "https://[x"', "slack.api_url", "an https address"),
        (f"[vmm]\nport = 0x{'f' * 5000}", "vmm.port", "is at most 65535, not a huge number."),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tmp_path, text, what, sentence):
    error = refusal(tmp_path, text)

    assert error.what == what
    assert sentence in str(error)


@pytest.mark.parametrize(
    ("text", "what", "sentence"),
    [
        ("[run]\nparallel = true", "run.parallel", "must be a whole number, not true."),
        ('[run]\nattempts = "5"', "run.attempts", 'must be a whole number, not "5".'),
        ("[run]\nattempts = 5.0", "run.attempts", "must be a whole number, not 5.0."),
        ("[run]\nnow = 1", "run.now", "must be true or false, not 1."),
        ("[run]\nbackup = true", "run.backup", 'must be a duration such as "90s", not true.'),
        ("[run]\nbackup = []", "run.backup", 'must be a duration such as "90s", not a list.'),
        ('[run]\nbackup = "90"', "run.backup", 'is not a duration: "90".'),
        ("[run]\nbackup = nan", "run.backup", "must be a finite number, not nan."),
        ("[vmm]\nssl = 'yes'", "vmm.ssl", 'must be true or false, not "yes".'),
        ("[engine]\nmb_per_s = true", "engine.mb_per_s", "must be a number, not true."),
        ("[engine]\nlanes = '4'", "engine.lanes", 'must be a whole number, not "4".'),
        ("[approval]\nconfirm = '3'", "approval.confirm", 'a whole number, not "3".'),
        ("[approval]\nreminders = [true]", "approval.reminders[0]", "not true."),
        ("[hosts.hv01]\nport = '80'", "hosts.hv01.port", 'must be a whole number, not "80".'),
    ],
)
def test_a_file_has_to_spell_the_type_of_a_value(tmp_path, text, what, sentence):
    error = refusal(tmp_path, text)

    assert error.what == what
    assert sentence in str(error)


def test_flags_and_numbers_are_read_from_the_texts_of_the_environment():
    env = {
        "VMFERRY_RUN__BACKUP": "90",
        "VMFERRY_RUN__NOW": "yes",
        "VMFERRY_ENGINE__MB_PER_S": "200.5",
        "VMFERRY_ENGINE__LANES": "4",
        "VMFERRY_APPROVAL__REMINDERS": "900, 5m",
        "VMFERRY_APPROVAL__CONFIRM": "3",
        "VMFERRY_HOSTS__HV01__PORT": "80",
    }
    settings = load(None, env)

    assert (settings.run.backup, settings.run.now) == (90.0, True)
    assert (settings.engine.mb_per_s, settings.engine.lanes) == (200.5, 4)
    assert (settings.approval.reminders, settings.approval.confirm) == ((900.0, 300.0), 3)
    assert settings.hosts["hv01"].port == 80
    assert load(None, {"VMFERRY_APPROVAL__CONFIRM": "1"}).approval.confirm is True


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("approval = 3", "approval"),
        ('[[approval]]\nstarters = ["slack:U1"]', "approval"),
        ('[Approval]\nstarters = ["slack:U1"]', "Approval"),
        ('[approval]\napprovers = []\n[Approval]\nstarters = ["slack:U1"]', "Approval"),
        ('[Slack]\nstarters = ["U1"]', "Slack"),
        ("[approval]\nstarters = 3", "approval.starters"),
    ],
)
def test_the_environment_does_not_hide_a_mistake_in_the_file(tmp_path, text, what):
    env = {"VMFERRY_APPROVAL__APPROVERS": "slack:U2", "VMFERRY_APPROVAL__STARTERS": "slack:U3"}

    assert refusal(tmp_path, text, env).what == what


def test_the_environment_adds_to_a_host_of_the_file(tmp_path):
    path = written(tmp_path, '[hosts.HV01]\naddress = "192.0.2.11"\n[hosts.hv02]\nport = 1\n')
    hosts = load(path, {"VMFERRY_HOSTS__HV01__PORT": "5986"}).hosts

    assert [*hosts] == ["HV01", "hv02"]
    assert (hosts["HV01"].address, hosts["HV01"].port) == ("192.0.2.11", 5986)


def test_two_names_of_a_host_that_differ_only_in_case_are_refused(tmp_path):
    error = refusal(tmp_path, "[hosts.HV01]\nport = 1\n[hosts.hv01]\nport = 2")

    assert error.what == "hosts.hv01"
    assert "hosts.hv01 and HV01 are the same host" in str(error)


def test_a_list_in_brackets_is_refused_in_the_environment():
    with pytest.raises(Refused, match=r"approval\.starters must be separated by commas, without"):
        load(None, {"VMFERRY_APPROVAL__STARTERS": '["slack:U1"]'})


@pytest.mark.parametrize(
    ("text", "sentence", "has_hint"),
    [
        ('[run]\npath = "D:\\VMs"\n', "line 2", True),
        ("[run]\npath = D:\\VMs\n", "Invalid value", True),
        ("[run\nattempts = 3", "line 1", False),
        ("[run]\nattempts = 3\nattempts = 4", "overwrite", False),
        (f"x = {'1' * 5000}", "a number is too long", False),
        (f"x = {'[' * 5000}", "lists are nested too deeply", False),
    ],
)
def test_broken_toml_is_refused_with_the_reason(tmp_path, text, sentence, has_hint):
    error = refusal(tmp_path, text)

    assert sentence in str(error)
    assert ("quotation marks" in error.hint) is has_hint


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
        ("VMFERRY_STARTERS", "Did you mean VMFERRY_APPROVAL__STARTERS?"),
        ("VMFERRY_RUN", "cannot be read"),
    ],
)
def test_an_unknown_setting_in_the_environment_is_refused(name, sentence):
    with pytest.raises(Refused) as caught:
        load(None, {name: "x"})

    assert sentence in str(caught.value)


def test_the_address_of_the_pager_is_never_shown_in_an_error():
    with pytest.raises(Refused, match=r"pager\.url must be an https address") as caught:
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
    assert ("begin with slack:" in error.hint) is ("approvers" in old or "channel" in old)


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


# --- secrets ------------------------------------------------------------------------------------

SECRET = "xoxb-do-not-print"
SECRETS = [
    ("slack", "bot_token"),
    ("slack", "signing_secret"),
    ("vmm", "password"),
    ("pager", "url"),
]


def planted(section, key, before=""):
    """Wrong files with the secret of a key. ``before``: the place of the settings in the file."""
    value, table = f'"{SECRET}"', f'{{ {key} = "{SECRET}" }}'
    return [
        f"{before}{section} = {value}",
        f"{before}{section} = [{value}]",
        f"{before}{section} = [[{value}]]",
        f"{before}{key} = {value}",
        f"[[{before}{section}]]\n{key} = {value}",
        f"[{before}{section.title()}]\n{key} = {value}",
        f"[{before}{section}]\n{key} = [{value}]",
        f"[{before}{section}]\n{key} = {table}",
        f"[{before}{section}]\n{key} = [{table}]",
        f"[{before}{section}]\n{key}s = {value}",
        f"[{before}slack]\nport = [{value}]\npager_url = {value}",
        f"[{before}vmm]\nserver = {table}",
        f"[{before}run]\nattempts = [{table}]\nbackup = {table}",
        f"[{before}run]\nbackup = [{value}]",
        f"[{before}approval]\nconfirm = {table}",
        f"[{before}approval]\nstarters = [{table}]",
        f"[{before}approval]\nreminders = [[{value}]]",
        f"[{before}hosts]\n{key} = {value}",
        f"[[{before}hosts]]\n{key} = {value}",
    ]


def shown(caught):
    return f"{caught.value} {caught.value.what} {caught.value.hint}"


@pytest.mark.parametrize(("section", "key"), SECRETS)
def test_a_refusal_of_a_file_never_shows_a_secret(tmp_path, section, key):
    for text in planted(section, key):
        with pytest.raises(Refused) as caught:
            load(written(tmp_path, text), {})
        assert SECRET not in shown(caught), text


@pytest.mark.parametrize(("section", "key"), SECRETS)
def test_a_refusal_of_a_story_never_shows_a_secret(tmp_path, section, key):
    (tmp_path / "fleet.toml").write_text('[[host]]\nname = "hv01"\n')
    for text in [*planted(section, key, "settings."), f'settings = [{{ {key} = "{SECRET}" }}]']:
        (tmp_path / "story.toml").write_text(f'about = "a"\n{text}')
        with pytest.raises(Refused) as caught:
            story_file.load(tmp_path)
        assert SECRET not in shown(caught), text


@pytest.mark.parametrize(("section", "key"), SECRETS)
def test_a_token_is_never_shown_in_an_error(section, key):
    name = f"VMFERRY_{section.upper()}"
    wrong = [[{key: SECRET}], SECRET, [SECRET], {key: [SECRET]}, {key: {"x": SECRET}}]
    wrong += [{f"{key}s": SECRET}, {"x": {key: SECRET}}]
    texts = [*map(json.dumps, wrong), SECRET, f'{{"{key}": "{SECRET}"']
    said = [{name: text} for text in texts]
    said += [{f"{name}__{key.upper()}{end}": SECRET} for end in ("S", "__X", "__X__Y")]
    for env in said:
        with pytest.raises(Refused) as caught:
            load(None, env)
        assert SECRET not in shown(caught), env
