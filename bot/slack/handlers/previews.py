"""What whoever asked is asked back, with its two buttons: previews, and what came late. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bot.slack.handlers.confirmations import Draft
from bot.slack.kit.blocks import (
    BUTTON,
    Block,
    actions,
    button,
    date,
    escape,
    fit,
    fit_lines,
    section,
)
from bot.slack.messages.board import Rendered, count, hosts, rendered, several
from bot.slack.people.approvers import Deciders, mentions, person, slack_id
from engine.commands.forecast import Forecast, Hindered
from engine.language.grammar import took
from engine.model import Request

YES, NO = "draft.yes", "draft.no"
MANY = 5  # VMs that are moved without a question
GB, TB = 1024, 1024 * 1024


def value_of(draft: Draft) -> str:
    """What its buttons carry."""
    return f"{draft.id}.{draft.digest}"


def is_asked(request: Request, found: Forecast, confirm: bool | int) -> bool:
    """Is the requester shown first what it would do? ``confirm`` as in the settings."""
    if confirm is False or found.options.now:
        return False
    if confirm is not True:
        return len(found.moving) > confirm
    wild = any(set(word) & set("*?") for word in request.vms)
    return request.kind == "host" or wild or len(found.moving) > MANY


def preview_view(
    found: Forecast, draft: Draft, deciders: Deciders, now: float, first: str = ""
) -> Rendered:
    """What a request would do; ``first``: why it is shown (again)."""
    lines = [*([first] if first else []), *_lines(found, draft.row.by, deciders, now)]
    buttons = _buttons(draft, "Start", "Cancel", "Start these moves", "Start nothing")
    return _asked(fit_lines(lines, 2_900), buttons)


def _lines(found: Forecast, by: str, deciders: Deciders, now: float) -> list[str]:
    where = f"{hosts(found.sources)} → {hosts(found.destinations)}"
    lines = [f"{where} would move {_amount(found, now)}."]
    if found.down:
        lines.append(_down(found, by, deciders))
    lines += [f"{_number(names)} cannot move: {why}." for why, names in _by_why(found.stuck)]
    lines += [f"{_number(names)} would wait: {why}." for why, names in _by_why(found.held)]
    if found.there:
        lines.append(f"{_number(found.there, 'there already')}.")
    if found.excluded:
        lines.append(f"{count(found.excluded, 'VM')} left out, as you said.")
    lines += [f"{escape(host.vm)} {host.why} now; its VMs would wait." for host in found.hosts]
    lines.append(f"Seen {date(found.as_of, '{time_secs}')}. Nothing has started yet.")
    return lines


def _amount(found: Forecast, now: float) -> str:
    if not found.moving:
        also = ", and those that come there" if found.kind == "host" else ""
        return f"no VM now{also}"
    done = f"about {took(_coarse(found.seconds))}, done about {date(now + found.seconds)}"
    return f"{count(len(found.moving), 'VM')} ({_size(found.size_mb)}), {done}"


def _coarse(seconds: float) -> float:
    """An estimate in whole minutes, and above two hours in quarters of one."""
    step = 60 if seconds < 7_200 else 900
    return max(60.0, round(seconds / step) * float(step))


def _size(mb: int) -> str:
    return f"{mb / TB:.1f} TB" if mb >= TB else f"{max(1, round(mb / GB))} GB"


def _down(found: Forecast, by: str, deciders: Deciders) -> str:
    number = len(found.down)
    verb = "is" if number == 1 else "are"
    need = "needs" if number == 1 else "need"
    able = [user for user in deciders.asked if person(user) != by]
    if able:
        who = f"deciders now: {mentions(able)}"
    elif not deciders.known:
        who = "Slack has not said yet who is on call"
    else:
        others = [user for user in deciders.backup if user != slack_id(by)]
        who = "at present nobody may decide; settings slack.oncall and slack.approvers"
        if others:
            who += f"; I will ask {mentions(others)}"
    return f"{number} {verb} powered down and {need} approval ({who}): {several(found.down)}."


def _number(names: Sequence[str], how: str = "") -> str:
    """``1 (erp01)``, and ``is`` how it is."""
    told = f"{len(names)} ({several(names)})"
    return f"{told} {'is' if len(names) == 1 else 'are'} {how}" if how else told


def _by_why(hindered: Sequence[Hindered]) -> list[tuple[str, list[str]]]:
    """The VMs of each reason; the most frequent reason first."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one in hindered:
        groups[one.why].append(one.vm)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [(escape(why), names) for why, names in ordered]


# --- what came late, and what is confirmed ----------------------------------------------------


def late_view(what: str, draft: Draft, waited: float, *, asked: bool = False) -> Rendered:
    """Something was asked for so long ago that it may not be meant any more; or its person was
    ``asked`` so long ago. ``what``: in words, escaped."""
    ago = took(_coarse(waited))
    told = f"You asked {ago} ago for: {what}. I could not take it up until now."
    if asked:
        told = f"You were asked {ago} ago about: {what}. What it is about may be other than then."
    text = f"{told} Nothing has happened. Shall I still do it?"
    return _asked(text, _buttons(draft, "Do it", "Drop it", "Do it now", "Do nothing"))


def sure_view(what: str, label: str, draft: Draft) -> Rendered:
    """A stop or an abort that was said in a thread: ``what`` it does, ``label`` of the button."""
    buttons = _buttons(draft, label, "Go back", label, "Change nothing", style="danger")
    return _asked(f"{what} Nothing changed yet.", buttons)


def asked_at(waited: float) -> str:
    """The first line of a preview of what came late."""
    return f"You asked for this {took(_coarse(waited))} ago; I could not take it up until now."


def _asked(text: str, buttons: Block) -> Rendered:
    return rendered(text, [section(text), buttons])


def _buttons(
    draft: Draft, yes: str, no: str, about: str, about_no: str, style: str = "primary"
) -> Block:
    value = value_of(draft)
    return actions(
        button(fit(yes, BUTTON), YES, value, style=style, about=about),
        button(no, NO, value, about=about_no),
    )
