"""Settings of a night in short form.

Tests give settings of Slack, of approvals and of the pager by name alone, and ids as Slack does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bot.slack.kit.ids import in_slack
from engine.settings import ApprovalSettings

IDS = ("starters", "approvers", "oncall", "escalation")


def sections(**said: object) -> dict[str, Mapping[str, object]]:
    """The sections of the settings that hold these names."""
    approval, pager = {}, {}
    for name in [name for name in said if name in ApprovalSettings.model_fields]:
        value = said.pop(name)
        is_ids = name in IDS and isinstance(value, Iterable)
        approval[name] = tuple(map(with_door, value)) if is_ids else value
    if "approvals_channel" in said:
        approval["channel"] = with_door(str(said.pop("approvals_channel")))
    if "pager_url" in said:
        pager["url"] = said.pop("pager_url")
    return {"approval": approval, "pager": pager, "slack": said}


def with_door(one: str) -> str:
    return one if ":" in one else in_slack(one)
