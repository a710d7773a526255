"""Settings: defaults of requests, limits of waits, the engine, approvals, Slack, VMM.

Settings come from a TOML file and from the environment (``VMFERRY_RUN__ATTEMPTS=3``), which wins. A
missing key has its default. An unknown key or a wrong value raises ``Refused`` before anything
happens. ``make docs`` writes docs/settings.md and settings.example.toml from the fields below.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
    SettingsError,
)
from pydantic_settings import PydanticBaseSettingsSource as Source

from engine import toml_tables as toml
from engine.errors import Refused, UsageError
from engine.language.grammar import duration, nearest
from engine.language.vocabulary import BY_WORD
from engine.model import Options, Request
from engine.model.ids import SLACK, id_at, name_at
from engine.policy.waits import DEFAULT_LIMITS, Rules

PREFIX = "VMFERRY_"
_COMMAND = r"^/[^\s/]+$"


def _seconds(value: object) -> object:
    """Convert ``"4h"`` to 14400. Numbers, with or without quotes, are seconds already."""
    if not isinstance(value, str):
        return value
    try:
        return duration(value)
    except UsageError as error:
        try:
            return float(value)
        except ValueError:
            raise toml.refusal(f'is not a duration: "{value}"', hint=error.hint) from None


def _names(value: object) -> object:
    """Split the comma-separated names of an environment variable. Other values pass unchanged."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _secret(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _api_url(value: str) -> str:
    """Return the address with a final slash. It receives the token: https, or on this machine."""
    if not _is_safe(value):
        raise toml.refusal(f'must begin with https://, not "{value}"')
    return value.rstrip("/") + "/"


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or local)


def _pager(value: SecretStr) -> SecretStr:
    """Check that the pager's address is https or local. It may contain a key, so the error does not
    show it."""
    said = value.get_secret_value()
    if said and not _is_safe(said):
        raise toml.refusal("must begin with https://")
    return value


def _slash(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(_COMMAND, value):
        raise toml.refusal(f'must be one word that begins with /, such as /migrate, not "{value}"')
    return value


def _in_slack(channel: str) -> str:
    """Add the door to the id of a channel, because ``[slack]`` allows ids without it."""
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
        hint = f"The id stands {kinds[0].found}."
        if _PERSON in kinds and _GROUP.pattern.fullmatch(said):
            hint = "User groups that decide stand in approval.oncall."
        raise toml.refusal(f'must be an id such as {like}, not "{said}"', hint=hint)

    return AfterValidator(check)


_SECONDS = WithJsonSchema({"anyOf": [toml.SPELLED, {"type": "number", "minimum": 0}]})
_NAMES = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {"type": ["string", "number"]}}, {"type": "string"}]}
)
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False), _SECONDS]
Positive = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False), _SECONDS]
AtLeast0 = Annotated[int, Field(ge=0)]
AtLeast1 = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
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
    bulletproof: bool = False
    """Refresh the hosts at every observation, not once per `pass`."""
    stop_on_failure: bool = False
    """Start nothing more after the first VM that cannot be moved. Moves in flight are completed."""
    now: bool = False
    """Start requests from Slack without a preview."""
    pass_: Annotated[Positive, Field(alias="pass")] = 60.0
    """Interval between two refreshes of a host, and the back-off after the first failed attempt."""
    lookups: AtLeast1 = 3
    """Lookups for a migration job that VMM does not show yet."""
    lookup_interval: Seconds = 10.0
    """Interval between these lookups."""
    refreshes: AtLeast0 = 3
    """Attempts to refresh a locked or failing host. Afterwards VMFerry tries once per `pass`."""
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
    two_places: Seconds = 600.0
    """A VM that Hyper-V shows on two hosts."""
    slot_notice: Seconds = 7200.0
    """A migration slot. After this time VMFerry reports the wait, and the VM goes on waiting."""
    room: Seconds = 600.0
    """Memory or disk space on the destination, while no VM is in flight to it."""
    breaker: Seconds = 900.0
    """A route or destination on which three VMs in a row failed. Then VMFerry tries one VM."""


class EngineSettings(_Section):
    """The engine's rhythm, and how it acts."""

    tick: Positive = 5.0
    """Interval between two observations while VMs move."""
    lanes: Annotated[int, Field(ge=1, le=64)] = 8
    """Concurrent calls, at most one per host. Always 1 with `--speed max`."""
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
    """Interval between two observations while nothing moves."""
    max_parallel_cold: AtLeast0 = 0
    """Concurrent moves of powered-down VMs in one run. 0: only the hosts' slots limit them."""
    mb_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 400.0
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
    break_glass: bool = False
    """Let a person who may not approve do so in an emergency. It takes a reason, is announced to
    all approvers, and awaits a review by another person."""
    confirm: bool | AtLeast0 = True
    """Preview a request from Slack before it starts. true: requests for hosts, with a wildcard, or
    for more than 5 VMs. A number: requests for more VMs than that. false: never."""


class PagerSettings(_Section):
    """The pager, which wakes people. VMFerry calls it by HTTP POST."""

    url: Annotated[Token, AfterValidator(_pager)] = SecretStr("")
    """Address of the pager, https or on this machine. Better in the environment."""


class SlackSettings(_Section):
    """The Slack app and its channels. In this section a channel's id needs no `slack:`."""

    mode: Literal["socket", "http"] = "socket"
    """How Slack reaches VMFerry: over a socket that VMFerry opens, or by HTTP requests through your
    own TLS proxy."""
    bot_token: Token = SecretStr("")
    """Bot token, xoxb-... Better in the environment."""
    app_token: Token = SecretStr("")
    """App-level token for the socket, xapp-... Better in the environment."""
    signing_secret: Token = SecretStr("")
    """Secret that proves that an HTTP request is from Slack. Better in the environment."""
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
    ssl: bool = False
    """Use WinRM over HTTPS."""
    user: str = ""
    r"""Account, such as CORP\svc-vmferry."""
    password: SecretStr = SecretStr("")
    """Password of the account. Better in the environment or in `password_file`."""
    password_file: Annotated[Path | None, _example("/etc/vmferry/password")] = None
    """File that holds the password. It excludes `password`."""
    configuration: Annotated[str | None, _example("VMFerry")] = None
    """JEA endpoint on which VMFerry's PowerShell modules are installed. Not set: VMFerry loads them
    into each session."""
    vmm_port: Port = 8100
    """Port of VMM on its server."""
    sessions: Annotated[int, Field(ge=1, le=10)] = 4
    """Concurrent sessions with one server."""
    approve_yes: bool = False
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


class Settings(BaseSettings):
    """All settings. :func:`load` merges the file and the environment into the arguments."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    run: RunDefaults = RunDefaults()
    waits: WaitLimits = WaitLimits()
    engine: EngineSettings = EngineSettings()
    approval: ApprovalSettings = ApprovalSettings()
    pager: PagerSettings = PagerSettings()
    slack: SlackSettings = SlackSettings()
    vmm: VmmSettings = VmmSettings()
    hosts: Mapping[str, HostAddress] = Field(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Source, *_: Source, **__: Source
    ) -> tuple[Source, ...]:
        """Use only the arguments, because :func:`load` has already merged the environment."""
        return (init_settings,)

    def rules(self) -> Rules:
        """Return the policy's numbers that are not options of a request."""
        engine, waits = self.engine, self.waits
        return Rules(
            **engine.model_dump(exclude={"lanes", "sweep"}),
            slot_notice=waits.slot_notice,
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


_MOVED = {
    **{name: ("approval", name) for name in ApprovalSettings.model_fields if name != "channel"},
    "approvals_channel": ("approval", "channel"),
    "pager_url": ("pager", "url"),
}
"""Section and key of settings that older versions kept in ``[slack]``."""


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Load the TOML file, if any, and the environment, which wins. Raises ``Refused``."""
    name = "The settings file"
    said = toml.parse_toml(toml.load_text(path, name), f"{name} {path}") if path else {}
    try:
        for section, values in _environment(os.environ if env is None else env).items():
            known = said.get(section)
            said[section] = {**known, **values} if isinstance(known, dict) else values
    except SettingsError as error:
        raise Refused(f"The environment cannot be read: {error}.", what="VMFERRY_") from None
    return from_mapping(said, f"{path} or the environment" if path else "the environment")


def from_mapping(said: Mapping[str, Any], origin: str) -> Settings:
    """Check sections that were read already. Raises ``Refused``, which names ``origin``."""
    slack = said.get("slack")
    moved = [name for name in slack if name in _MOVED] if isinstance(slack, Mapping) else []
    if moved:
        names = {name: _MOVED[name] for name in moved}
        now = ", ".join(
            f"slack.{name} is {section}.{key} now ({PREFIX}{section.upper()}__{key.upper()})"
            for name, (section, key) in names.items()
        )
        hint = "Ids in [approval] begin with their door: slack:U0123."
        raise Refused(f"{origin}: {now}.", what=f"slack.{moved[0]}", hint=hint)
    return toml.read(Settings, said, origin)


class _Environment(EnvSettingsSource):
    """Source that reads any mapping the way pydantic-settings reads the environment."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._env.items()}


def _environment(env: Mapping[str, str]) -> dict[str, Any]:
    for name in sorted(env):
        section, separator, key = name.upper().removeprefix(PREFIX).partition("__")
        if not name.upper().startswith(PREFIX) or section.lower() in Settings.model_fields:
            continue
        known = [f"{PREFIX}{one.upper()}__" for one in Settings.model_fields]
        alike = next((one for one in known if name.upper().startswith(one[:-1])), None)
        if separator:
            near = nearest(section, Settings.model_fields)
            hint = f"Did you mean {PREFIX}{near.upper()}__{key}?" if near else ""
            raise Refused(f"There is no setting {name}.", what=name, hint=hint)
        if alike:
            hint = f"Did you mean {alike}{name[len(alike) - 1 :].upper()}?"
            raise Refused(f"There is no setting {name}.", what=name, hint=hint)
    return _Environment(env)()
