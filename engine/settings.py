"""Settings: defaults of requests, limits of waits, the engine's rhythm, approvals, doors, VMM.

Read from a TOML file and from the environment (``VMFERRY_RUN__ATTEMPTS=3``), which wins. What is
not said keeps its default. An unknown key or a wrong value is refused with the nearest known key
before anything happens. This module reads that file, and the file of a password when it is used.
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


def _seconds(value: object) -> object:
    """``"4h"`` becomes 14400; numbers are seconds already."""
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
    """One name, or several with commas, as an environment variable spells them."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _secret(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _api_url(value: str) -> str:
    """Address with a slash at its end. The token goes there: encrypted, or on this machine."""
    if not _is_safe(value):
        raise toml.refusal(f'must begin with https://, not "{value}"')
    return value.rstrip("/") + "/"


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or local)


def _pager(value: SecretStr) -> SecretStr:
    """Check the address where the pager is called: encrypted, or on this machine. It may hold a
    key, so no error shows it."""
    said = value.get_secret_value()
    if said and not _is_safe(said):
        raise toml.refusal("must begin with https://")
    return value


def _in_slack(channel: str) -> str:
    """The id of a channel with its door. In ``[slack]`` it may be left out."""
    return channel and id_at(SLACK, name_at(SLACK, channel) or channel)


class _Ids(NamedTuple):
    """A kind of ids of Slack: what they look like, and where a person finds one."""

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
    """Check that a text is an id of one of these kinds. A name in the place of an id would leave
    nobody who may start or decide, and nothing would say so before the night."""

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
Channel = Annotated[str, AfterValidator(_in_slack)]
Token = Annotated[SecretStr, BeforeValidator(_secret)]


class RunDefaults(toml.Table):
    """``[run]``: what a request means where it does not say. The request's words with ``_``."""

    path: str | None = None
    parallel: AtLeast0 = 0
    attempts: AtLeast1 = 3
    backup: Seconds = 3600.0
    bulletproof: bool = False
    stop_on_failure: bool = False
    now: bool = False
    pass_: Annotated[Positive, Field(alias="pass")] = 60.0
    lookups: AtLeast1 = 3
    lookup_interval: Seconds = 10.0
    refreshes: AtLeast0 = 3
    refresh_interval: Seconds = 60.0


class WaitLimits(toml.Table):
    """``[waits]``: how long a move waits for each cause before the next thing happens."""

    slot_notice: Seconds = 7200.0
    room: Seconds = 600.0
    approval: Seconds = 28800.0
    host_locked: Seconds = 3600.0
    host_down: Seconds = 3600.0
    breaker: Seconds = 900.0
    transient: Seconds = 1800.0
    missing: Seconds = 600.0
    foreign: Seconds = 14400.0
    two_places: Seconds = 600.0


class EngineSettings(toml.Table):
    """``[engine]``: the rhythm of looking and acting."""

    tick: Positive = 5.0
    lanes: Annotated[int, Field(ge=1, le=64)] = 8
    start_window: Positive = 60.0
    down_after: Seconds = 600.0
    baseline_age: Seconds = 600.0
    backoff_max: Seconds = 900.0
    empty_gap: Seconds = 30.0
    sweep: Positive = 60.0
    max_parallel_cold: AtLeast0 = 0
    mb_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 400.0


class ApprovalSettings(toml.Table):
    """``[approval]``: who may start moves and who decides. Ids say their door: ``slack:U0123``.

    Empty ``starters`` (people and user groups) means every full member. Who is in ``approvers``,
    or now in one of the user groups ``oncall`` or ``escalation``, decides. ``reminders`` and
    ``escalate`` are seconds before a yes is needed. Copies of cards go to ``channel``; where that
    is empty, to approvers outside the run's channel. ``break_glass`` lets somebody decide whom the
    rules bar. ``confirm``: whoever asks is shown first what it would do, for hosts, wildcards and
    more than five VMs; a number: for more VMs than that; false: never.
    """

    starters: Annotated[tuple[Annotated[str, _id_of(_PERSON, _GROUP)], ...], *_LIST] = ()
    approvers: Annotated[tuple[Annotated[str, _id_of(_PERSON)], ...], *_LIST] = ()
    oncall: Annotated[tuple[Annotated[str, _id_of(_GROUP)], ...], *_LIST] = ()
    escalation: Annotated[tuple[Annotated[str, _id_of(_GROUP)], ...], *_LIST] = ()
    reminders: Leads = (900.0,)
    escalate: Positive = 300.0
    channel: Annotated[str, _id_of(_CHANNEL)] = ""
    break_glass: bool = False
    confirm: bool | AtLeast0 = True


class PagerSettings(toml.Table):
    """``[pager]``: ``url`` is called when somebody has to be woken."""

    url: Annotated[Token, AfterValidator(_pager)] = SecretStr("")


class SlackSettings(toml.Table):
    """``[slack]``: tokens, and the channels where requests are heard, by Slack's ids (``C0123``).

    Empty ``channels`` means every channel. ``fallback`` is the channel where a run is told about
    whose own channel is gone.
    ``mode`` is how Slack reaches us: over a socket that we open (``app_token``), or by HTTP
    requests to ``listen`` and ``port``, which are signed with ``signing_secret``.
    """

    mode: Literal["socket", "http"] = "socket"
    bot_token: Token = SecretStr("")
    app_token: Token = SecretStr("")
    signing_secret: Token = SecretStr("")
    listen: str = "127.0.0.1"
    port: Port = 3000
    api_url: Annotated[str, AfterValidator(_api_url)] = "https://slack.com/api/"
    command: Annotated[str, Field(pattern=r"^/[^\s/]+$")] = "/migrate"
    channels: Annotated[tuple[Channel, ...], *_LIST] = ()
    fallback: Channel = ""


class VmmSettings(toml.Table):
    """``[vmm]``: the VMM server, and how to log on to it and to the hosts.

    ``configuration`` names the endpoint where our functions are installed; without it they are
    brought along. ``vmm_port`` is the port of VMM itself on its server. ``sessions`` is how many
    are open to one server at a time. ``approve_yes`` lets ``run --approve yes`` approve moves of
    powered-down VMs here, not only in a simulated fleet.
    """

    server: str = ""
    address: str | None = None
    port: Port | None = None
    auth: Literal["negotiate", "kerberos", "ntlm", "basic"] = "negotiate"
    ssl: bool = False
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    configuration: str | None = None
    vmm_port: Port = 8100
    sessions: Annotated[int, Field(ge=1, le=10)] = 4
    approve_yes: bool = False

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password.get_secret_value() and self.password_file:
            raise toml.refusal("and password_file exclude each other", key="password")
        return self

    def transport_port(self) -> int:
        """The port of its remote management, where none is named: the usual one."""
        return self.port or (5986 if self.ssl else 5985)

    def secret(self) -> SecretStr:
        """The password; from its file, if that is named. Raises ``Refused``."""
        if self.password_file is None:
            return self.password
        said = toml.load_text(self.password_file, "The password file")
        return SecretStr(said.strip("\r\n"))


class HostAddress(toml.Table):
    """``[hosts."hv01.corp.example"]``: where a host is reached, if not by its own name."""

    address: str | None = None
    port: Port | None = None


class Settings(BaseSettings):
    """Settings, from the file (as arguments) and the environment."""

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
        """Use only what :func:`load` hands over: file and environment, merged."""
        return (init_settings,)

    def rules(self) -> Rules:
        """The numbers of the policy that are not words of a request."""
        engine, waits = self.engine, self.waits
        return Rules(
            **engine.model_dump(exclude={"lanes", "sweep"}),
            slot_notice=waits.slot_notice,
            gap=max(3 * engine.tick, 2 * engine.sweep),
            limits={wait: getattr(waits, wait.lower()) for wait in DEFAULT_LIMITS},
        )

    def options_for(self, request: Request) -> Options:
        """The request's options, where words that were not typed come from ``[run]``."""
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
"""Where the settings stand that were Slack's before other doors were foreseen."""


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the TOML file, if any, then the environment, which wins."""
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
    """Settings from sections that were read already; ``origin`` says where, for messages."""
    slack = said.get("slack")
    for key in slack if isinstance(slack, Mapping) else ():
        if key in _MOVED:
            section, name = _MOVED[key]
            raise Refused(
                f"{origin}: slack.{key} is {section}.{name} now.",
                what=f"slack.{key}",
                hint=f"Write it into [{section}], or as {PREFIX}{section.upper()}__{name.upper()}."
                " The ids of people, groups and channels there begin with slack: (slack:U0123).",
            )
    return toml.read(Settings, said, origin)


class _Environment(EnvSettingsSource):
    """The library's reading of an environment, from any mapping."""

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
