"""Settings: defaults of requests, limits of waits, the engine, approvals, Slack, VMM.

Settings come from a TOML file and from the environment (``VMFERRY_RUN__ATTEMPTS=3``), which wins. A
missing key has its default. An unknown key or a wrong value raises ``Refused`` before anything
happens. ``make docs`` writes docs/settings.md and settings.example.toml from the fields below.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_settings import EnvSettingsSource, NoDecode, SettingsError

from engine import toml_tables as toml
from engine.errors import Refused
from engine.language.grammar import nearest
from engine.language.vocabulary import BY_WORD
from engine.model import Options, Request, same_host
from engine.model.ids import SLACK, id_at, name_at
from engine.policy.waits import DEFAULT_LIMITS, Rules

PREFIX = "VMFERRY_"
_COMMAND = r"^/[^\s/]+$"


class _Variable(str):
    """Text of an environment variable. It may spell a flag or a number, unlike a text in a file."""


def _or_text_of(kind: type) -> BeforeValidator:
    """Read a value of this type also from an environment variable."""

    def read(value: object) -> object:
        with suppress(ValidationError):
            return TypeAdapter(kind).validate_python(str(value))
        return value

    return BeforeValidator(lambda value: read(value) if isinstance(value, _Variable) else value)


def _seconds(value: object, info: ValidationInfo) -> object:
    """Convert ``"4h"`` to 14400. Numbers are seconds already."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else toml.seconds(value, info)


def _names(value: object) -> object:
    """Split the comma-separated names of an environment variable. Other values pass unchanged."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        raise toml.refusal("must be separated by commas, without brackets")
    return tuple(type(value)(name.strip()) for name in value.split(",") if name.strip())


def _secret(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _check(address: str) -> None:
    """Refuse an address to which a secret would travel unencrypted. The address may contain a key,
    so the error does not show it."""
    with suppress(ValueError):  # brackets that do not match
        parts = urlsplit(address)
        is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.hostname and (parts.scheme == "https" or is_local):
            return
    raise toml.refusal("must be an https address, such as https://example.com/")


def _api_url(value: str) -> str:
    _check(value)
    return value.rstrip("/") + "/"


def _pager(value: SecretStr) -> SecretStr:
    if said := value.get_secret_value():
        _check(said)
    return value


def _slash(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(_COMMAND, value):
        raise toml.refusal(f'must be one word that begins with /, such as /migrate, not "{value}"')
    return value


def _in_slack(channel: str) -> str:
    """Add ``slack:`` to the id of a channel, because ``[slack]`` allows ids without it."""
    return channel and id_at(SLACK, name_at(SLACK, channel) or channel)


class _Ids(NamedTuple):
    """A kind of Slack id: its pattern, an example, and the place in Slack that shows it."""

    pattern: re.Pattern[str]
    like: str
    found: str


_PERSON = _Ids(
    re.compile(r"slack:[UW][A-Z0-9]+"),
    "slack:U0123",
    "in Slack behind the three dots of the person's profile, Copy member ID",
)
_GROUP = _Ids(
    re.compile(r"slack:S[A-Z0-9]+"),
    "slack:S0123",
    "in Slack behind the three dots of the user group's page",
)
_CHANNEL = _Ids(
    re.compile(r"(slack:[CG][A-Z0-9]+)?"),
    "slack:C0123",
    "in Slack at the end of the channel's details",
)


def _id_of(*kinds: _Ids) -> AfterValidator:
    """Check that a text is an id of one of these kinds. With a name instead of an id nobody could
    start or approve, and it would only be noticed during a run."""

    def check(said: str) -> str:
        if any(kind.pattern.fullmatch(said) for kind in kinds):
            return said
        like = " or ".join(kind.like for kind in kinds)
        hint = f"You find the id {kinds[0].found}."
        if _PERSON in kinds and _GROUP.pattern.fullmatch(said):
            hint = "User groups that decide stand in approval.oncall."
        raise toml.refusal(f'must be an id such as {like}, not "{said}"', hint=hint)

    return AfterValidator(check)


_SECONDS = WithJsonSchema({"anyOf": [toml.SPELLED, {"type": "number", "minimum": 0}]})
_NAMES = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {"type": ["string", "number"]}}, {"type": "string"}]}
)
_INT, _FLOAT = (Strict(), _or_text_of(int)), (Strict(), _or_text_of(float))
_DURATION = (BeforeValidator(_seconds), _or_text_of(float), _SECONDS)
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), *_DURATION]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), *_DURATION]
# Not toml.Count: in pydantic 2.7.0 the default of one key reaches all keys that share a Field.
Flag = Annotated[bool, Strict(), _or_text_of(bool)]
AtLeast0 = Annotated[int, Field(ge=0), *_INT]
AtLeast1 = Annotated[int, Field(ge=1), *_INT]
Port = Annotated[int, Field(ge=1, le=65535), *_INT]
_LIST = (NoDecode, BeforeValidator(_names), _NAMES)
Leads = Annotated[tuple[Positive, ...], *_LIST]
Channel = Annotated[str, AfterValidator(_in_slack), _id_of(_CHANNEL)]
Token = Annotated[SecretStr, BeforeValidator(_secret)]


class _Section(toml.Table):
    """Section of the settings. The docstring of a key describes the key in docs/settings.md and
    settings.example.toml."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def _example(value: object) -> Any:
    """Value that the example file shows for a key that is not set by default."""
    return Field(examples=[value])


class RunDefaults(_Section):
    """Defaults for requests. The words of a request win over them."""

    path: Annotated[str | None, _example(r"D:\VMs")] = None
    r"""Folder for the VMs' files on the destination. Not set: the default path of that host."""
    parallel: AtLeast0 = 0
    """Concurrent moves in one run. 0: only the hosts' slots limit them."""
    attempts: AtLeast1 = 3
    """Attempts for each VM. Live and powered-down moves share the count."""
    backup: Seconds = 3600.0
    """Time to wait for a VM's backup to end."""
    bulletproof: Flag = False
    """VMM re-reads the VMs of both hosts before each start and after each end. At most
    `engine.rereads` re-reads at a time."""
    stop_on_failure: Flag = False
    """Start nothing more after the first VM that cannot be moved. Moves in flight are completed."""
    now: Flag = False
    """Start requests from Slack without a preview."""
    pass_: Annotated[Positive, Field(alias="pass")] = 60.0
    """Interval between two inventories of a host, and the back-off after the first failed
    attempt."""
    lookups: AtLeast1 = 3
    """Lookups for a migration job that VMM does not show yet."""
    lookup_interval: Seconds = 10.0
    """Interval between these lookups."""
    refreshes: AtLeast0 = 3
    """Attempts to have VMM re-read a locked or failing host. Afterwards VMFerry tries once per
    `pass`."""
    refresh_interval: Seconds = 60.0
    """Interval between these attempts, and between two repairs of a failed or incomplete VM."""


class WaitLimits(_Section):
    """Limits of waits: how long a VM waits for each cause before VMFerry gives up or acts. Time in
    which VMFerry could not observe VMM, or in which the run was paused, does not count."""

    approval: Seconds = 28800.0
    """An open approval, counted from when the run has nothing else left to do. Then it expires."""
    host_locked: Seconds = 3600.0
    """A host that another VMM job has locked."""
    host_down: Seconds = 3600.0
    """A host that does not answer or is in maintenance mode, or rights that cannot be checked."""
    transient: Seconds = 1800.0
    """A VM between two states, such as one that was switched off a moment ago."""
    missing: Seconds = 600.0
    """A VM that no host shows."""
    foreign: Seconds = 14400.0
    """A migration of the VM that VMFerry did not start."""
    doubt: Seconds = 900.0
    """A powered-down VM whose job was lost and whose copy may go on. Then a person has to look."""
    two_places: Seconds = 600.0
    """A VM that Hyper-V shows on two hosts."""
    slot_notice: Seconds = 7200.0
    """A migration slot. After this time VMFerry reports the wait, and the VM goes on waiting."""
    stalled: Seconds = 1800.0
    """A migration without any progress. Large VMs have longer: this for each started 20 minutes of
    their estimate. VMFerry reports it and goes on watching."""
    room: Seconds = 600.0
    """Memory or disk space on the destination, while no VM is in flight to it."""
    breaker: Seconds = 900.0
    """A route or destination on which three VMs in a row failed. Then VMFerry tries one VM."""


class EngineSettings(_Section):
    """Timing and limits of the engine."""

    tick: Positive = 5.0
    """Interval between two looks at VMM's jobs while runs are unfinished."""
    lanes: Annotated[int, Field(ge=1, le=64), *_INT] = 8
    """Concurrent calls besides looks, at most `vmm.sessions`. At most one at a time changes
    something on a host."""
    rereads: Annotated[int, Field(ge=1, le=16), *_INT] = 4
    """Re-reads by VMM at a time. At most half of `vmm.sessions`."""
    start_window: Positive = 60.0
    """Time in which a start must reach VMM. A later start is void."""
    down_after: Seconds = 600.0
    """Time after which a VM that was switched off counts as powered down and not as rebooting."""
    baseline_age: Seconds = 600.0
    """Longest age of a saved network at a start. An older one is read again first."""
    backoff_max: Seconds = 900.0
    """Longest back-off. It begins with `pass` and doubles after each failed attempt."""
    empty_gap: Seconds = 30.0
    """Minimum interval between the two observations that prove a host empty."""
    sweep: Positive = 60.0
    """Interval between two inventories of every host while no run is unfinished."""
    max_parallel_cold: AtLeast0 = 0
    """Concurrent moves of powered-down VMs in one run. 0: only the hosts' slots limit them."""
    mb_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False), *_FLOAT] = 400.0
    """Copy rate in MB/s for estimates, until three moves have arrived."""


class ApprovalSettings(_Section):
    """The people who may start and approve runs, and when approvers are reminded. All ids begin
    with the system they belong to: `slack:U0123` is a person, `slack:S0123` a user group,
    `slack:C0123` a channel."""

    starters: Annotated[tuple[Annotated[str, _id_of(_PERSON, _GROUP)], ...], *_LIST] = ()
    """People and user groups that may start and steer runs. Empty: every full member."""
    approvers: Annotated[tuple[Annotated[str, _id_of(_PERSON)], ...], *_LIST] = ()
    """People who may approve."""
    oncall: Annotated[tuple[Annotated[str, _id_of(_GROUP)], ...], *_LIST] = ()
    """User groups whose current members may approve. VMFerry asks Slack at each decision."""
    escalation: Annotated[tuple[Annotated[str, _id_of(_GROUP)], ...], *_LIST] = ()
    """User groups whose members may approve, and are asked if nobody else decides or may decide."""
    reminders: Leads = (900.0,)
    """Approvers are reminded this long before the approval is needed."""
    escalate: Positive = 300.0
    """The escalation is asked this long before the approval is needed."""
    channel: Annotated[str, _id_of(_CHANNEL)] = ""
    """Channel for copies of approval cards. Empty: direct messages to approvers who cannot see the
    run's channel."""
    break_glass: Flag = False
    """Let a person who may not approve do so in an emergency. It takes a reason, is announced to
    all approvers, and awaits a review by another person."""
    confirm: Flag | AtLeast0 = True
    """Preview a request from Slack before it starts. true: requests for hosts, with a wildcard, or
    for more than 5 VMs. A number: requests for more VMs than that. false: never."""


class PagerSettings(_Section):
    """The pager, which wakes people. VMFerry calls it by HTTP POST."""

    url: Annotated[Token, AfterValidator(_pager)] = SecretStr("")
    """Address of the pager, https or on this machine. Better set in the environment."""


_MOVED = {
    **{name: ("approval", name) for name in ApprovalSettings.model_fields if name != "channel"},
    "approvals_channel": ("approval", "channel"),
    "pager_url": ("pager", "url"),
}
"""Section and key of settings that older versions kept in ``[slack]``."""
_MOVED_IDS = {"starters", "approvers", "oncall", "escalation", "approvals_channel"}


class SlackSettings(_Section):
    """The Slack app and its channels. In this section a channel's id needs no `slack:`."""

    mode: Literal["socket", "http"] = "socket"
    """How Slack reaches VMFerry: over a socket that VMFerry opens, or by HTTP requests through your
    own TLS proxy."""
    bot_token: Token = SecretStr("")
    """Bot token, xoxb-... Better set in the environment."""
    app_token: Token = SecretStr("")
    """App-level token for the socket, xapp-... Better set in the environment."""
    signing_secret: Token = SecretStr("")
    """Secret that proves that an HTTP request is from Slack. Better set in the environment."""
    listen: str = "127.0.0.1"
    """Address on which VMFerry accepts HTTP requests from the proxy."""
    port: Port = 3000
    """Port on which VMFerry accepts HTTP requests from the proxy."""
    api_url: Annotated[str, AfterValidator(_api_url)] = "https://slack.com/api/"
    """Address of Slack's Web API."""
    command: Annotated[str, Field(pattern=_COMMAND), BeforeValidator(_slash)] = "/migrate"
    """Slash command. It must be the one in the app's manifest."""
    channels: Annotated[tuple[Channel, ...], *_LIST] = ()
    """Channels in which commands are accepted. Empty: every channel."""
    fallback: Channel = ""
    """Channel for runs whose own channel is gone. Empty: a direct message to the owner."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_moved(cls, said: Any) -> Any:
        moved = [name for name in said if name in _MOVED] if isinstance(said, Mapping) else []
        if not moved:
            return said
        why = ", ".join(
            f"{name} is {'.'.join(_MOVED[name])} now ({PREFIX}{'__'.join(_MOVED[name]).upper()})"
            for name in moved
        )
        hint = "Ids in [approval] begin with slack:, such as slack:U0123."
        hint = hint if _MOVED_IDS.intersection(moved) else ""
        raise toml.refusal(why.removeprefix(f"{moved[0]} "), key=moved[0], hint=hint)


class VmmSettings(_Section):
    """The VMM server, and the account for it and for the hosts. Without a server VMFerry moves VMs
    only on simulated fleets."""

    server: str = ""
    """Name of the VMM server."""
    address: Annotated[str | None, _example("192.0.2.10")] = None
    """Address of the server. Not set: its name."""
    port: Annotated[Port | None, _example(5985)] = None
    """WinRM port. Not set: 5985, with `ssl` 5986."""
    auth: Literal["negotiate", "kerberos", "ntlm", "basic"] = "negotiate"
    """Authentication method. basic needs `ssl`, except on this machine."""
    ssl: Flag = False
    """Use WinRM over HTTPS."""
    user: str = ""
    r"""Account, such as CORP\svc-vmferry."""
    password: SecretStr = SecretStr("")
    """Password of the account. Better set in the environment or in `password_file`."""
    password_file: Annotated[Path | None, _example("/etc/vmferry/password")] = None
    """File that holds the password. Not together with `password`."""
    configuration: Annotated[str | None, _example("VMFerry")] = None
    """JEA endpoint on which VMFerry's PowerShell modules are installed. Not set: VMFerry loads them
    into each session."""
    vmm_port: Port = 8100
    """Port of VMM on its server."""
    sessions: Annotated[int, Field(ge=1, le=16), *_INT] = 8
    """Concurrent sessions with one server. VMFerry keeps one of those with the VMM server for
    looks at its jobs."""
    limit_quick: Positive = 30.0
    """Time limit of a call that reads what runs now, checks rights, or stops a job."""
    limit_read: Positive = 60.0
    """Time limit of a call that lists VMM's hosts or a host's VMs, or reads networks."""
    limit_change: Positive = 120.0
    """Time limit of a call that starts a move or a re-read, repairs a network, or dismisses a
    failed job."""
    limit_reread: Positive = 60.0
    """Time limit of the job in which VMM re-reads a host or a VM."""
    patience: Positive = 30.0
    """Time for which the first look of an engine waits for the hosts. A host that is later counts
    as silent until it answers."""
    approve_yes: Flag = False
    """Allow `run --approve yes` to approve moves of powered-down VMs on this server."""

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password.get_secret_value() and self.password_file:
            raise toml.refusal("and password_file exclude each other", key="password")
        return self

    def transport_port(self) -> int:
        """Return the WinRM port: the setting, or 5986 with ``ssl``, else 5985."""
        return self.port or (5986 if self.ssl else 5985)

    def secret(self) -> SecretStr:
        """Return the password, from ``password_file`` if that is set. Raises ``Refused``."""
        if self.password_file is None:
            return self.password
        said = toml.load_text(self.password_file, "The password file")
        return SecretStr(said.strip("\r\n"))


class HostAddress(_Section):
    """A host that is not reached by its own name. One section per host."""

    address: Annotated[str | None, _example("192.0.2.11")] = None
    """Address of the host. Not set: its name."""
    port: Annotated[Port | None, _example(5985)] = None
    """WinRM port of the host. Not set: as for the server."""


def _each_once(hosts: Mapping[str, HostAddress]) -> Mapping[str, HostAddress]:
    for one, other in combinations(hosts, 2):
        if same_host(one, other):
            raise toml.refusal(f"and {one} are the same host, because case is ignored", key=other)
    return hosts


class Settings(toml.Table):
    """All settings. :func:`load` merges the file and the environment into the arguments."""

    run: RunDefaults = RunDefaults()
    waits: WaitLimits = WaitLimits()
    engine: EngineSettings = EngineSettings()
    approval: ApprovalSettings = ApprovalSettings()
    pager: PagerSettings = PagerSettings()
    slack: SlackSettings = SlackSettings()
    vmm: VmmSettings = VmmSettings()
    hosts: Annotated[Mapping[str, HostAddress], AfterValidator(_each_once)] = {}

    def rules(self) -> Rules:
        """Return the policy's numbers that are not options of a request."""
        engine, waits = self.engine, self.waits
        return Rules(
            **engine.model_dump(exclude={"lanes", "rereads"}),
            slot_notice=waits.slot_notice,
            stalled=waits.stalled,
            gap=max(3 * engine.tick, 2 * engine.sweep),
            limits={wait: getattr(waits, wait.lower()) for wait in DEFAULT_LIMITS},
        )

    def options_for(self, request: Request) -> Options:
        """Return the request's options. Options that were not typed come from ``[run]``."""
        typed = {BY_WORD[word].field for word in request.given}
        usual = Options()
        known = {field.name for field in fields(Options)} & set(RunDefaults.model_fields)
        filled = {
            name: getattr(self.run, name)
            for name in known - typed
            if getattr(request.options, name) == getattr(usual, name)
        }
        return replace(request.options, **filled)


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Load the TOML file, if any, and the environment, which wins. Raises ``Refused``."""
    name = "The settings file"
    file = toml.parse_toml(toml.load_text(path, name), f"{name} {path}") if path else {}
    from_mapping(file, str(path))  # before the environment can hide a mistake
    variables = _environment(os.environ if env is None else env)
    return from_mapping(_merged(file, variables), "the environment")


def from_mapping(said: Mapping[str, Any], origin: str) -> Settings:
    """Check sections that were read already. Raises ``Refused``, which names ``origin``."""
    return toml.read(Settings, said, origin)


def _merged(file: Mapping[str, Any], env: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the environment into the file, table by table. The case of a host's name is ignored."""
    merged = dict(file)
    for key, value in env.items():
        name = next((one for one in file if same_host(one, key)), key)
        is_table = isinstance(value, Mapping) and isinstance(file.get(name), Mapping)
        merged[name] = _merged(file[name], value) if is_table else value
    return merged


class _Environment(EnvSettingsSource):
    """Source that reads any mapping the way pydantic-settings reads the environment."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        # It reads only the fields, which any model has.
        super().__init__(Settings, env_prefix=PREFIX, env_nested_delimiter="__")  # type: ignore[arg-type]

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): _Variable(value) for name, value in self._env.items()}


def _environment(env: Mapping[str, str]) -> dict[str, Any]:
    sections = Settings.model_fields
    for name in sorted(env):
        said, separator, key = name.lower().removeprefix(PREFIX.lower()).partition("__")
        if not name.upper().startswith(PREFIX) or said in sections:
            continue
        near = nearest(said, sections) or ""
        if not separator:  # VMFERRY_RUN_ATTEMPTS, or VMFERRY_STARTERS
            near = "approval" if said in ApprovalSettings.model_fields else ""
            near = next((one for one in sections if said.startswith(f"{one}_")), near)
            key = said.removeprefix(f"{near}_")
        if separator or near:
            hint = f"Did you mean {PREFIX}{near.upper()}__{key.upper()}?" if near else ""
            raise Refused(f"There is no setting {name}.", what=name, hint=hint)
    try:
        return _Environment(env)()
    except (SettingsError, RecursionError) as error:
        raise Refused(f"The environment cannot be read: {error}.", what=PREFIX) from None
