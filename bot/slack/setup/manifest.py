"""The Slack app's manifest: its name, events and scopes; ``manifest.yml`` is one.

Socket Mode needs no address. For HTTP mode the manifest names the URL for commands and clicks.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from engine.errors import Refused

PATH = "/slack/events"
EVENTS = {"app_mention": "hear @vmferry in threads, where no slash command can be typed"}
"""Events that the app receives without being called, and why."""

SHORTCUT = "run_status"
SCOPES = {
    "app_mentions:read": "hear @vmferry in threads",
    "channels:history": "find a message whose answer was lost before it is posted again",
    "channels:read": "see whether it is in its channels, and who else reads there",
    "chat:write": "write and update messages",
    "commands": "hear the slash command",
    "groups:history": "find the same in private channels",
    "groups:read": "see the same of private channels",
    "im:history": "find the same in what it wrote to somebody directly",
    "im:write": "ask approvers who are not in the channel",
    "usergroups:read": "know who is on call",
    "users:read": "know guests and bots, who may not decide",
}
"""The scopes of the bot token, and what each is for."""

_TEXT = """\
# The Slack app: https://api.slack.com/apps -> Create New App -> From a manifest.
# Then: {then}
_metadata:
  major_version: 2
  minor_version: 1
display_information:
  name: VMFerry
  description: Move Hyper-V VMs between hosts, with their networks intact.
  background_color: "#1d3557"
features:
  app_home:
    home_tab_enabled: false
    messages_tab_enabled: true
    messages_tab_read_only_enabled: false
  bot_user:
    display_name: vmferry
    always_online: false
  slash_commands:
    - command: {command}
{command_url}      description: Move VMs between Hyper-V hosts
      usage_hint: "host HV01 to HV02 | vm web01,web* to HV02 | status | help"
      should_escape: false
  shortcuts:
    - name: Status of this run
      type: message
      callback_id: {shortcut}
      description: What moves and why the rest waits, shown to you alone
oauth_config:
  scopes:
    bot:
{scopes}
settings:
  event_subscriptions:
{events_url}    bot_events:
{events}
  interactivity:
    is_enabled: true
{clicks_url}  org_deploy_enabled: false
  socket_mode_enabled: {socket}
  token_rotation_enabled: false
"""


def manifest(command: str = "/migrate", http: str = "") -> str:
    """The manifest as YAML. ``http``: the public address for HTTP mode; empty: Socket Mode.

    Raises ``Refused`` for an address that Slack would not call.
    """
    url = _request_url(http) if http else ""
    then = "create an app-level token with connections:write, install the app, and set both tokens."
    if url:
        then = "install the app, and set the bot token and the signing secret."
    return _TEXT.format(
        then=then,
        command=command,
        command_url=f'      url: "{url}"\n' if url else "",
        scopes="\n".join(f"      - {scope}" for scope in SCOPES),
        shortcut=SHORTCUT,
        events="\n".join(f"      - {event}" for event in EVENTS),
        events_url=f'    request_url: "{url}"\n' if url else "",
        clicks_url=_CLICKS.format(url=url) if url else "",
        socket="false" if url else "true",
    )


_CLICKS = '    request_url: "{url}"\n    message_menu_options_url: "{url}"\n'


def _request_url(http: str) -> str:
    """URL to which Slack sends everything: the given address, with our path if it has none. Raises
    ``Refused``."""
    address = urlsplit(http)
    plain = not address.query and not address.fragment and not set(http) & set(' "\\')
    if address.scheme != "https" or not address.hostname or not plain:
        raise Refused(
            f"{http} is not an address that Slack can call.",
            what=http,
            hint="Type: vmferry manifest --http https://vmferry.example.com",
        )
    return http if address.path.strip("/") else http.rstrip("/") + PATH
