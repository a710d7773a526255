"""Approval card: the question to the approvers, and its result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bot.slack.kit.blocks import (
    MESSAGE,
    Block,
    actions,
    button,
    confirm,
    context,
    date,
    escape,
    fit,
    fit_lines,
    section,
    size,
)
from bot.slack.kit.buttons import AGAIN, APPROVE, BREAK, CHOOSE, DENY, WITHDRAW, value_of
from bot.slack.kit.mentions import mention, mentions
from bot.slack.kit.phrases import Rendered, count, hosts, rendered, route, several, vm_names
from bot.slack.messages.board import coarse_time
from bot.slack.people.approvers import Approvers, nobody
from engine.model import Approval, ApprovalState, Fleet, MoveState, Outcome, Run, RunRecord, short
from engine.policy.approvals.approval import has_started

NAME, CHUNKS = 300, 3  # characters of a name; paragraphs of names in a message
_WHO = {False: "May decide", True: "On call now"}


@dataclass(frozen=True)
class Question:
    """Contents of a card. ``needed_by``: the time that all messages show; ``estimate``: the
    engine's current estimate. ``granter``: the person who had approved, if any. ``glass``: the
    settings allow break-glass."""

    approval: Approval
    record: RunRecord
    fleet: Fleet | None
    needed_by: float | None = None
    audit: str = ""
    granter: str | None = None
    glass: bool = False
    estimate: float | None = None

    @property
    def names(self) -> list[str]:
        """Names of the approval's VMs, in their order."""
        return vm_names(self.record, self.approval.vms)


def card_view(question: Question, approvers: Approvers) -> Rendered:
    """Card with the question to the approvers, or its result."""
    if question.approval.state is ApprovalState.REQUESTED and not question.record.run.over:
        coarse = replace(question, needed_by=coarse_time(question.needed_by))
        text, blocks, _ = _open_card(question, approvers)
        return rendered(text, blocks, _open_card(coarse, approvers))
    lines = [line for line in _closed_card(question) if line]
    more = _later_buttons(question)
    return rendered("\n".join(lines), [section("\n".join(lines)), *more])


def _open_card(question: Question, approvers: Approvers) -> tuple[str, list[Block], int]:
    """Text and blocks of an open card, and how many VMs did not fit."""
    approval, run = question.approval, question.record.run
    able = approvers.eligible(run)
    number = count(len(approval.vms), "powered-down VM")
    by = f" Needed by {date(question.needed_by)}" if question.needed_by else ""
    ask = f"Approve moving {number}?{by}"
    where = f"{run.label} · {route(run, ' or ')} · {escape(run.options.path or 'default path')}"
    rows = _vm_rows(question)
    left = "it stays" if len(rows) == 1 else "they stay"
    rules = [
        f"{left[0].upper()}{left[1:]} powered down. "
        "Network and extended ACLs are saved first, checked after.",
        f"Without approval {left} on {hosts(run.sources, ' or ')}; the others still move.",
    ]
    who = f"Asked by {mention(run.by)}, who cannot decide{_steered(run)}. " + (
        f"{_WHO[bool(approvers.groups)]}: {mentions(able)}"
        if able
        else f"At present {nobody(run, approvers)}."
    )
    ping = f"{mentions(able)} " if able else ""
    text = "\n".join([ask, ping + where, fit_lines(rows, 2_000), *rules, who])
    head = section(f"{ping}*{ask}*\n{where}")
    tail = [section("\n".join(rules)), context(who), _decision_buttons(question, approvers)]
    listed, hidden = _list_blocks(rows, MESSAGE - size([head, *tail]))
    return text, [head, *listed, *tail], hidden


def list_views(question: Question, approvers: Approvers) -> tuple[Rendered, ...]:
    """Names of all VMs of an open card, in as many messages as needed; empty if the card itself
    shows them all. Nobody approves VMs that they could not read."""
    if not _open_card(question, approvers)[2]:
        return ()
    asked = question.approval
    chunks = _chunked([f"• {fit(escape(name), NAME)}" for name in question.names])
    parts = [chunks[n : n + CHUNKS] for n in range(0, len(chunks), CHUNKS)]
    heads = [
        f"All {count(len(asked.vms), 'VM')} of {asked.label}, part {n} of {len(parts)}"
        for n in range(1, len(parts) + 1)
    ]
    return tuple(
        rendered("\n".join([head, *part]), [section(head), *map(section, part)])
        for head, part in zip(heads, parts, strict=True)
    )


def _steered(run: Run) -> str:
    """Clause about others who cannot decide because they resumed or retried the run."""
    others = [by for by in run.steered if by != run.by]
    return f", nor can {mentions(others)}, who resumed or retried it" if others else ""


def _list_blocks(rows: Sequence[str], room: int) -> tuple[list[Block], int]:
    """Blocks with as many rows as fit into ``room`` characters, and how many did not fit."""
    shown = min(len(rows), MESSAGE // 20)
    while True:
        hidden = len(rows) - shown
        more = [f"… and {count(hidden, 'VM')} more, all listed in the thread"] if hidden else []
        blocks = [section(text) for text in [*_chunked(rows[:shown]), *more]]
        if not shown or size(blocks) <= room:
            return blocks, hidden
        shown = shown * 9 // 10


def _chunked(rows: Sequence[str], longest: int = 2_800) -> list[str]:
    """The rows joined into paragraphs of at most ``longest`` characters."""
    if not rows:
        return []
    paragraphs: list[list[str]] = [[]]
    for row in rows:
        if paragraphs[-1] and sum(len(r) + 1 for r in paragraphs[-1]) + len(row) > longest:
            paragraphs.append([])
        paragraphs[-1].append(row)
    return ["\n".join(rows) for rows in paragraphs]


def _decision_buttons(question: Question, approvers: Approvers) -> Block:
    approval, run = question.approval, question.record.run
    value = value_of(approval)
    number = len(approval.vms)
    what = count(number, "powered-down VM")
    sources = " or ".join(short(s) for s in run.sources)
    yes = f"Approve {number}"
    sure = confirm(f"Approve {number}", f"Move {what} from {sources}?", yes, "Go back")
    buttons = [
        button(yes, APPROVE, value, style="primary", about=f"Approve moving {what}", confirm=sure),
        button("Deny…", DENY, value, style="danger", about=f"Deny moving {what}"),
    ]
    if number > 1:
        about = f"Choose which of {what} may move"
        buttons.append(button("Choose VMs…", CHOOSE, value, about=about))
    if question.glass and approvers.may_be_passed_over(run):
        about = f"Approve moving {what} in an emergency"
        buttons.append(button("Break glass…", BREAK, value, about=about))
    return actions(*buttons)


def _later_buttons(question: Question) -> list[Block]:
    """Buttons of a decided card: withdraw before the first start, or ask again."""
    approval, record = question.approval, question.record
    value = value_of(approval)
    buttons = []
    may_withdraw = approval.state is ApprovalState.GRANTED and not record.run.over
    if may_withdraw and not has_started(approval, record.moves):
        about = f"Withdraw {approval.label}"
        buttons.append(button("Withdraw…", WITHDRAW, value, about=about))
    if left_behind(approval, record):
        about = f"Request a new approval for the VMs of {approval.label}"
        buttons.append(button("Ask again", AGAIN, value, about=about))
    return [actions(*buttons)] if buttons else []


def left_behind(approval: Approval, record: RunRecord) -> list[str]:
    """VMs of a decided card that were skipped without an approval and are on no later card."""
    if approval.state is ApprovalState.REQUESTED:
        return []
    later = {vm for a in record.approvals if a.id > approval.id for vm in a.vms}
    stayed = {
        entry.move.vm_id
        for entry in record.moves
        if entry.move.state is MoveState.SKIPPED
        and entry.move.outcome in (Outcome.DENIED, Outcome.EXPIRED)
    }
    return [vm_id for vm_id in approval.vms if vm_id in stayed and vm_id not in later]


def _vm_rows(question: Question) -> list[str]:
    """One line per VM: name, power, adapters, size, as far as the last observation shows."""
    seen = {vm.id: vm for vm in question.fleet.vms if not vm.stored} if question.fleet else {}
    rows = []
    for vm_id, name in zip(question.approval.vms, question.names, strict=True):
        vm = seen.get(vm_id)
        row = f"• {escape(name)}"
        if vm is not None:
            power = vm.hyperv_state.value if vm.hyperv_state else vm.vmm_status
            size = f"{max(1, round(vm.disk_mb / 1024))} GB"
            row += f"  {power}  {count(vm.adapters, 'adapter')}  {size}"
        rows.append(row)
    return rows


def _closed_card(question: Question) -> list[str]:
    approval, run = question.approval, question.record.run
    names = several(question.names)
    who, at = mention(approval.by), date(approval.decided or approval.requested)
    about = f"{run.label} · {names}"
    why = f': "{escape(approval.reason)}"' if approval.reason else ""
    stay = _asked_again(question) or _stay(count(len(approval.vms), "VM"), len(approval.vms), run)
    audit = f" Audit {question.audit}" if question.audit else ""
    match approval.state:
        case ApprovalState.GRANTED:
            return _granted_card(question, f"by {who} {at} · {run.label}", audit)
        case ApprovalState.DENIED:
            return [f"⛔ Denied by {who} {at} · {about}{why}", stay + audit]
        case ApprovalState.WITHDRAWN:
            return [f"↩️ Withdrawn by {who} {at} · {about}{why}", stay + audit]
    ended = date(approval.decided or run.ended or approval.requested)
    if question.granter is not None:
        again = "Its VMs that have not moved need a new approval." + audit
        return [f"⌛ The approval by {mention(question.granter)} ended {ended} · {about}", again]
    return [f"⌛ Nobody decided in time {ended} · {about}", stay]


def _granted_card(question: Question, by: str, audit: str) -> list[str]:
    """Card after an approval of all or some VMs; in the latter case, which ones stay."""
    approval, run = question.approval, question.record.run
    they = "It moves" if len(approval.granted) == 1 else "They move"
    goes = "" if run.over else f"{they} after the running VMs."
    rest = [vm_id for vm_id in approval.vms if vm_id not in approval.granted]
    names = several(vm_names(question.record, approval.granted))
    if approval.glass:
        goes = f'The glass was broken: "{escape(approval.reason)}". {goes}'.rstrip()
    if not rest:
        return [f"✅ Approved {by} · {names}", f"{goes}{audit}".strip()]
    some = f"{len(approval.granted)} of {len(approval.vms)}"
    stay = _asked_again(question) or _stay(several(vm_names(question.record, rest)), len(rest), run)
    return [f"✅ Approved {some} {by} · {names}", f"{goes} {stay}{audit}".strip()]


def _asked_again(question: Question) -> str:
    """Sentence with the later cards that ask about the VMs that stayed; empty: none."""
    asked, later = question.approval, question.record.approvals
    rest = set(asked.vms).difference(asked.granted)
    cards = [a.label for a in later if a.id > asked.id and rest.intersection(a.vms)]
    return f"New approval requested: {', '.join(cards)}." if cards else ""


def _stay(who: str, number: int, run: Run) -> str:
    return f"{who} {'stays' if number == 1 else 'stay'} on {hosts(run.sources)}."
