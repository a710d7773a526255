"""The forms behind a card's buttons: their layout, and their input. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.slack.kit.blocks import BUTTON, Block, section
from bot.slack.kit.buttons import BREAK, CHOOSE, DENY, WITHDRAW
from bot.slack.kit.phrases import count, hosts, several
from bot.slack.modals.fields import (
    LABEL,
    LISTED,
    OPTIONS,
    REASON,
    VMS,
    FormInput,
    FormPlace,
    field,
    modal,
    plain,
    reason,
    state_of,
)
from engine.model import Approval, ApprovalState, Run
from engine.policy.approvals.approval import REASON_LEAST

_WORD = {DENY: "Deny", CHOOSE: "Approve", WITHDRAW: "Withdraw", BREAK: "Break glass"}


def form(kind: str, approval: Approval, names: Sequence[str], run: Run, place: FormPlace) -> Block:
    """The form of that kind for this card. ``names``: names of its VMs, in their order."""
    number = len(approval.vms)
    vms = count(number, "powered-down VM")
    stay = f"{'It stays' if number == 1 else 'They stay'} on {hosts(run.sources, ' or ')}"
    about = f"{several(names)} · {run.label}"
    match kind:
        case "deny":
            text = f"Deny moving {vms}? {stay}; the others still move.\n{about}"
            fields = [reason("Why? The requester sees it on the card.", optional=False)]
        case "choose":
            text = f"Which of the {vms} of {run.label} may move? Those not chosen stay."
            fields = [_choice(names)]
        case "break":
            text = (
                f"Approve moving {vms} although you are not allowed to decide on {run.label}? All "
                f"approvers are notified at once, and the audit records it.\n{about}"
            )
            fields = [_label(run), reason(_WHY_BREAK, optional=False)]
        case _:
            text = f"Withdraw this approval? Its VMs stay where they are.\n{about}"
            fields = [reason("Why?", optional=True)]
    title = f"{_WORD[kind]} {approval.label}"
    return modal(kind, place, title, _WORD[kind], [section(text), *fields])


_WHY_BREAK = f"Why can it not wait? At least {REASON_LEAST} characters."


def _label(run: Run) -> Block:
    line: Block = {"type": "plain_text_input", "action_id": LABEL, "max_length": 20}
    return field(LABEL, f"Type {run.label}, the label of the run", line, optional=False)


def _choice(names: Sequence[str]) -> Block:
    """A menu of the VMs. With too many for a form, the menu asks VMFerry as the person types."""
    if len(names) > LISTED:
        hint = plain("Type part of a name", 150)
        asks: Block = {"type": "multi_external_select", "action_id": VMS, "placeholder": hint}
        return field(VMS, "VMs that may move", {**asks, "min_query_length": 0}, optional=False)
    options = [_option(number, name) for number, name in enumerate(names)]
    menu: Block = {"type": "multi_static_select", "action_id": VMS}
    if len(options) <= OPTIONS:
        menu["options"] = options
    else:
        menu["option_groups"] = [
            {
                "label": plain(f"{at + 1} to {min(at + OPTIONS, len(options))}", BUTTON),
                "options": options[at : at + OPTIONS],
            }
            for at in range(0, len(options), OPTIONS)
        ]
    return field(VMS, "VMs that may move", menu, optional=False)


def _option(number: int, name: str) -> Block:
    return {"text": plain(name, BUTTON), "value": str(number)}


def offered(names: Sequence[str], typed: str) -> list[Block]:
    """Options for the typed text: VMs whose names begin with it, then those that contain it; at
    most 100, Slack's limit."""
    wanted = typed.strip().strip("*").casefold()
    found = [(number, name) for number, name in enumerate(names) if wanted in name.casefold()]
    found.sort(key=lambda one: not one[1].casefold().startswith(wanted))
    return [_option(*one) for one in found[:OPTIONS]]


def read(values: object) -> FormInput:
    """Read a form's input from the state of its view."""
    why, label = (state_of(values, name).get("value") for name in (REASON, LABEL))
    chosen = state_of(values, VMS).get("selected_options")
    numbers = [
        str(one.get("value"))
        for one in (chosen if isinstance(chosen, list) else [])
        if isinstance(one, Mapping)
    ]
    return FormInput(
        why.strip() if isinstance(why, str) else "",
        tuple(int(n) for n in numbers if n.isascii() and n.isdigit() and len(n) < 6),
        label.strip() if isinstance(label, str) else "",
    )


def mistake(
    kind: str, said: FormInput, digest: str, asked: Approval | None, run: Run | None
) -> tuple[str, str] | None:
    """The wrong field and its error message; ``None``: the form is valid."""
    spot = VMS if kind == CHOOSE else REASON
    if asked is None or run is None:
        return spot, "This approval does not exist. Go back; nothing changed."
    if digest != asked.digest:
        return spot, "The approval has changed. Go back and use the newest card."
    open_still = {ApprovalState.REQUESTED}
    if kind == WITHDRAW:
        open_still.add(ApprovalState.GRANTED)
    if asked.state not in open_still:
        return spot, f"{asked.label} is {asked.state} already. Go back; the card says by whom."
    if run.over:
        return spot, f"{run.label} has ended. Go back; nothing changed."
    if kind == DENY and not said.reason:
        return spot, "Give a reason in a few words: the requester needs it."
    if kind == BREAK and said.label.casefold() != run.label.casefold():
        return LABEL, f"This is about {run.label}. Type {run.label}, or go back."
    if kind == BREAK and len(said.reason) < REASON_LEAST:
        return REASON, f"Give a reason of at least {REASON_LEAST} characters: everybody reads it."
    if kind == CHOOSE and not said.vms:
        return spot, "Choose at least one VM, or go back and deny."
    if any(number >= len(asked.vms) for number in said.vms):
        return spot, "One of these is not on the card. Go back and choose again."
    return None
