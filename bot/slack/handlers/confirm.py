"""Confirmations by the requester: before a large request, and for rows that waited too long.

A question is stored as a row, in the transaction that ends the requester's own row. A click on
*yes* carries out the request as if it had just arrived. Only then is the question closed, so a
request that could not be carried out can be confirmed again. A question closes once; a second click
is answered with what became of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.slack.inbox.rows import (
    CLICK,
    Confirmation,
    ConfirmationKind,
    ConfirmationState,
    Inbound,
    spelled,
)
from bot.slack.kit import refusals
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
from bot.slack.kit.buttons import NO, YES, read_value
from bot.slack.kit.mentions import mention, mentions, render
from bot.slack.kit.phrases import Rendered, count, hosts, rendered, route, several
from bot.slack.kit.refusals import NOTHING
from bot.slack.messages.links import Links
from bot.slack.people.approvers import Approvers
from engine.clock import Clock
from engine.commands.forecast import Forecast, Hindered
from engine.commands.service import Service
from engine.language import names
from engine.language.grammar import Ask, took
from engine.model import Request, Run
from engine.settings import Settings
from engine.store import queries

LATE = 15 * 60.0  # seconds (wall clock) after which a row needs confirmation
OLD = "That preview was more than 15 min old. Here is a new one."
OTHER = "The VMs have changed since that preview. Here is a new one."
_EFFECT = {
    "stop": "Nothing more is started; migrations in flight continue.",
    "abort": "VMM is asked to cancel the migrations in flight; their VMs stay on their sources.",
}


@dataclass(frozen=True)
class Taken:
    """The row to carry out. ``waited``: seconds that it waited if that is too long, else 0.
    ``confirmation``: the question that it confirms."""

    row: Inbound
    waited: float = 0.0
    confirmation: Confirmation | None = None


class Confirmer:
    """Questions to the requester, and their answers."""

    def __init__(self, service: Service, settings: Settings, links: Links, wall: Clock) -> None:
        self.service, self.settings, self.links, self.wall = service, settings, links, wall
        self.inbox = links.tables.inbox

    def taken(self, row: Inbound) -> Taken | Outcome:
        """The row to carry out: this one, or the row that it confirms. An outcome if this row
        cancels, or if its confirmation has no effect."""
        if row.kind != CLICK or row.body.get("action") not in (YES, NO):
            return Taken(row, self._waited(row))
        confirmation = self._confirmation(row)
        if confirmation is None:
            command = spelled(row, self.settings.slack.command)
            return Outcome(refusals.unknown_button(command), done=False)
        if confirmation.row.by != row.by:
            only = f"Only the requester, {mention(confirmation.row.by)}, can answer this. {NOTHING}"
            return Outcome(only, done=False, refused=f"answer question {confirmation.id}")
        if confirmation.state is not ConfirmationState.OPEN:
            run = queries.run(self.service.store, confirmation.run) if confirmation.run else None
            link = self.links.to_board(run.id) if run else ""
            return Outcome(answered_before(confirmation.state, run, link))
        if row.body.get("action") == NO:
            dropped = replace(confirmation, state=ConfirmationState.DROPPED)
            return Outcome(f"Dropped. {NOTHING}", closed=dropped)
        waited = self._waited(row)
        if confirmation.kind is not ConfirmationKind.PREVIEW:
            # A preview is compared with a new forecast. Other questions may refer to another run
            # by now.
            waited = waited or _too_long(self.wall.now() - confirmation.made)
        return Taken(_as_if_now(confirmation.row, row), waited, confirmation)

    def preview(
        self, taken: Taken, request: Request, found: Forecast, approvers: Approvers
    ) -> Outcome | None:
        """The preview of a request; ``None``: it may start without a preview."""
        first = self._why_again(taken, found)
        limit = self.settings.approval.confirm
        unasked = taken.confirmation is None and is_asked(request, found, limit)
        if not (first or unasked):
            return None
        confirmation = self._new(ConfirmationKind.PREVIEW, taken, found.digest)
        command, now = spelled(taken.row, self.settings.slack.command), self.service.clock.now()
        shown = preview_view(found, confirmation, approvers, now, command, first)
        return _question(confirmation, shown, taken.confirmation)

    def late(self, taken: Taken, what: str) -> Outcome:
        """Ask whether a late row is still meant. ``what``: the request, escaped."""
        confirmation = self._new(ConfirmationKind.LATE, taken, "late")
        asked = taken.confirmation is not None and not self._waited(taken.row)
        shown = late_view(what, confirmation, taken.waited, asked=asked)
        return _question(confirmation, shown, taken.confirmation)

    def sure(self, taken: Taken, ask: Ask) -> Outcome:
        """Ask for confirmation of a stop or an abort that was typed in a thread, which may be the
        wrong one."""
        run = names.find_run(ask.words[0], queries.runs(self.service.store))
        text = {"stop": f"stop {run.label}", "abort": f"abort {run.label} yes"}[ask.verb]
        taken = replace(taken, row=replace(taken.row, body={**taken.row.body, "text": text}))
        confirmation = self._new(ConfirmationKind.SURE, taken, "sure")
        label = f"{ask.verb.capitalize()} {run.label}"
        what = f"{label} ({route(run)})? {_EFFECT[ask.verb]} Nothing changed yet."
        buttons = _buttons(confirmation, label, "Go back", label, "Change nothing", style="danger")
        return _question(confirmation, _asked(what, buttons), taken.confirmation)

    def _why_again(self, taken: Taken, found: Forecast) -> str:
        """Reason why a confirmed or late request needs a new preview; empty: it does not."""
        confirmation = taken.confirmation
        if confirmation is None or confirmation.kind is not ConfirmationKind.PREVIEW:
            if not taken.waited:
                return ""
            ago = took(_coarse(taken.waited))
            return f"You requested this {ago} ago; I could not handle it until now."
        if max(self.wall.now() - confirmation.made, taken.waited) > LATE:
            return OLD
        return OTHER if confirmation.digest != found.digest else ""

    def _new(self, kind: ConfirmationKind, taken: Taken, digest: str) -> Confirmation:
        return Confirmation(kind, taken.row, digest, self.wall.now(), taken.row.id)

    def _confirmation(self, row: Inbound) -> Confirmation | None:
        """The question to which the button belongs; ``None``: VMFerry did not make it."""
        shown = read_value(str(row.body.get("value")))
        confirmation = self.inbox.confirmation(shown[0]) if shown else None
        return confirmation if confirmation and shown and confirmation.digest == shown[1] else None

    def _waited(self, row: Inbound) -> float:
        """Seconds that the row waited if that is too long, else 0."""
        return _too_long(self.wall.now() - row.heard) if row.heard is not None else 0.0


def _too_long(waited: float) -> float:
    return waited if waited > LATE else 0.0


def _as_if_now(asked: Inbound, answer: Inbound) -> Inbound:
    """The row that was asked about, as of its confirmation: the id, times and trigger are those of
    the answer."""
    body = {**asked.body, "trigger": answer.body.get("trigger", "")}
    return replace(answer, kind=asked.kind, channel=asked.channel, body=body)


def _question(confirmation: Confirmation, shown: Rendered, before: Confirmation | None) -> Outcome:
    closed = replace(before, state=ConfirmationState.REPLACED) if before else None
    return Outcome(
        shown.text, blocks=shown.blocks, confirmation=confirmation, closed=closed, done=False
    )


def answered_before(state: ConfirmationState, run: Run | None, link: str = "") -> str:
    """Answer to another click on a closed question. ``link``: to the board of its run."""
    match state:
        case ConfirmationState.REPLACED:
            return f"This question has a newer version. {NOTHING} Answer the newer one."
        case ConfirmationState.DROPPED:
            return f"You already dropped this. {NOTHING} Type it again if you want it after all."
    see = f"; see {link}" if link else ""
    opening = f"This already started as {run.label}{see}." if run else "This was already done."
    return f"{opening} {NOTHING}"


@dataclass(frozen=True)
class Outcome:
    """Outcome of a row: the reply to the person (empty: none), the run to watch from now on, and
    the form to open.

    ``blocks``: the reply with buttons. ``confirmation``: a new question to the requester.
    ``closed``: an answered question with its result; the reply takes its place. ``done``: the row
    was carried out, now or before; false if it was refused or asked about. ``refused``: name of
    what was refused, for the audit, if nothing else records it.
    """

    reply: str = ""
    run: Run | None = None
    form: Block | None = None
    blocks: tuple[Block, ...] = ()
    confirmation: Confirmation | None = None
    closed: Confirmation | None = None
    done: bool = True
    refused: str = ""


MANY = 5  # VMs that are moved without a preview
GB, TB = 1024, 1024 * 1024


def is_asked(request: Request, found: Forecast, confirm: bool | int) -> bool:
    """Tell whether the request needs a preview. ``confirm``: the setting ``approval.confirm``."""
    if confirm is False or found.options.now:
        return False
    if confirm is not True:
        return len(found.moving) > confirm
    wild = any(set(word) & set("*?") for word in request.vms)
    return request.kind == "host" or wild or len(found.moving) > MANY


def preview_view(
    found: Forecast,
    confirmation: Confirmation,
    approvers: Approvers,
    now: float,
    command: str,
    first: str = "",
) -> Rendered:
    """Preview of a request. ``first``: why it is shown (again)."""
    lines = [*filter(None, [first]), *_lines(found, confirmation.row.by, approvers, now, command)]
    buttons = _buttons(confirmation, "Start", "Cancel", "Start these moves", "Start nothing")
    return _asked(fit_lines(lines, 2_900), buttons)


def _lines(found: Forecast, by: str, approvers: Approvers, now: float, command: str) -> list[str]:
    where = f"{hosts(found.sources)} → {hosts(found.destinations)}"
    lines = [f"{where} would move {_amount(found, now)}."]
    if found.down:
        lines.append(_down(found, by, approvers))
    for hindered, how in ((found.stuck, "cannot move"), (found.held, "would wait")):
        lines += [f"{_number(names)} {how}: {why}." for why, names in _by_why(hindered, command)]
    if found.there:
        lines.append(f"{_number(found.there, 'there already')}.")
    if found.excluded:
        lines.append(f"{count(found.excluded, 'VM')} left out, as you said.")
    for host in found.hosts:
        lines.append(f"{escape(host.vm)} {render(host.why, command)} now; its VMs would wait.")
    lines.append(f"As of {date(found.as_of, '{time_secs}')}. Nothing has started yet.")
    return lines


def _amount(found: Forecast, now: float) -> str:
    if not found.moving:
        also = ", only VMs that appear there later" if found.kind == "host" else ""
        return f"no VM now{also}"
    done = f"about {took(_coarse(found.seconds))}, done about {date(now + found.seconds)}"
    return f"{count(len(found.moving), 'VM')} ({_size(found.size_mb)}), {done}"


def _coarse(seconds: float) -> float:
    """Round an estimate (seconds) to minutes; from two hours on, to quarters of an hour."""
    step = 60 if seconds < 7_200 else 900
    return max(60.0, round(seconds / step) * float(step))


def _size(mb: int) -> str:
    return f"{mb / TB:.1f} TB" if mb >= TB else f"{max(1, round(mb / GB))} GB"


def _down(found: Forecast, by: str, approvers: Approvers) -> str:
    number = len(found.down)
    verb = "is" if number == 1 else "are"
    need = "needs" if number == 1 else "need"
    able = [user for user in approvers.asked if user != by]
    if able:
        who = f"approvers now: {mentions(able)}"
    elif not approvers.known:
        who = "Slack has not said yet who is on call"
    else:
        others = [user for user in approvers.backup if user != by]
        who = "nobody may decide now; check the settings approval.oncall and approval.approvers"
        if others:
            who += f"; I will ask {mentions(others)}"
    return f"{number} {verb} powered down and {need} approval ({who}): {several(found.down)}."


def _number(names: Sequence[str], how: str = "") -> str:
    """Number and names, such as ``1 (erp01)``, with ``is`` or ``are`` and ``how`` if given."""
    number = f"{len(names)} ({several(names)})"
    return f"{number} {'is' if len(names) == 1 else 'are'} {how}" if how else number


def _by_why(hindered: Sequence[Hindered], command: str) -> list[tuple[str, list[str]]]:
    """VMs grouped by reason; the most frequent reason first."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one in hindered:
        groups[one.why].append(one.vm)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [(render(why, command), names) for why, names in ordered]


def late_view(
    what: str, confirmation: Confirmation, waited: float, *, asked: bool = False
) -> Rendered:
    """Question whether a late request is still meant. ``asked``: a question about it was answered
    late instead. ``what``: the request, escaped."""
    ago = took(_coarse(waited))
    opening = f"You requested this {ago} ago: {what}. I could not handle it until now."
    if asked:
        opening = f"You were asked about this {ago} ago: {what}. Things may have changed since."
    text = f"{opening} Nothing has happened yet. Should I still do it?"
    return _asked(text, _buttons(confirmation, "Do it", "Drop it", "Do it now", "Do nothing"))


def _asked(text: str, buttons: Block) -> Rendered:
    return rendered(text, [section(text), buttons])


def _buttons(
    confirmation: Confirmation, yes: str, no: str, about: str, about_no: str, style: str = "primary"
) -> Block:
    value = f"{confirmation.id}.{confirmation.digest}"  # same format as a card's, for read_value
    return actions(
        button(fit(yes, BUTTON), YES, value, style=style, about=about),
        button(no, NO, value, about=about_no),
    )
