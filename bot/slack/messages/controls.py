"""Buttons that act on a run: which are shown, and their labels and values. Pure.

A button is shown only if its verb would do something now. Its value names rows and the version that
was shown, so a click does what was shown. The effect itself is not in the value: a button of any
age is judged by the rows at the time of the click.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.slack.kit.blocks import (
    BUTTON,
    Block,
    actions,
    button,
    confirm,
    fingerprint,
    fit,
    fit_blocks,
)
from bot.slack.kit.buttons import DETAILS, FORM, MORE, PREFIX, RUN, RunButton, version
from bot.slack.kit.phrases import Rendered, count
from bot.slack.messages.failures import by_cause
from bot.slack.modals.fields import plain
from engine.commands import retrying
from engine.commands.steering import DO, RULES
from engine.errors import Refused
from engine.model import MoveRecord, MoveState, Run, RunRecord, RunState, same_host, short
from engine.views.board import Stuck, failed

GO_BACK = "Go back"


# --- what a button is about -----------------------------------------------------------------


def aimed(control: RunButton, record: RunRecord) -> list[MoveRecord]:
    """The moves that a click would act on now; empty: none, or the button is about the run."""
    if control.subject in (RUN, FORM):
        return _left(record) if control.verb == "retry" else []
    group = by_cause(failed(record), record).get(control.subject, [])
    return _about(control.verb, record, group)


def _about(verb: str, record: RunRecord, group: Sequence[Stuck]) -> list[MoveRecord]:
    """Moves that a verb on the VMs of one cause acts on: all of them, only the first (``settle``),
    or all that hold their host up (``go-on``)."""
    ids = {stuck.vm_id for stuck in (group[:1] if verb == "settle" else group)}
    if verb == "go-on" and group:
        host = group[0].host
        return [e for e in record.moves if e.holds_its_host_up and same_host(e.move.host, host)]
    return [entry for entry in record.moves if entry.move.vm_id in ids]


def _left(record: RunRecord) -> list[MoveRecord]:
    """Moves that a retry of the run would take up; empty if it would be refused."""
    if not may("retry", record.run):
        return []
    try:
        chosen = retrying.chosen(record, ())
    except Refused:
        return []
    return chosen if _goes_on(record, chosen) else []


def _goes_on(record: RunRecord, chosen: Sequence[MoveRecord]) -> bool:
    """Tell whether a retry would continue the run, not stop it at once at another failure."""
    try:
        retrying.refuse_stopping_again(record, chosen)
    except Refused:
        return False
    return True


def may(verb: str, run: Run) -> bool:
    """Tell whether this verb would do something to a run in this state."""
    if verb == "abort" and run.aborting:
        return False
    return verb == DETAILS or RULES[verb][run.state] == DO


# --- where they are shown -------------------------------------------------------------------


def with_buttons(content: Rendered, buttons: Sequence[Block]) -> Rendered:
    """The message with these buttons, within Slack's limits."""
    if not buttons:
        return content
    blocks = fit_blocks([*content.blocks, *buttons])
    return replace(content, blocks=blocks, fingerprint=fingerprint(content.fingerprint, buttons))


def on_board(record: RunRecord) -> list[Block]:
    """Buttons of the board: Pause or Resume, Stop or Abort, and the overflow menu."""
    run, label = record.run, record.run.label
    if run.over:
        return []
    shown = []
    if may("pause", run):
        about = f"Start nothing more of {label} for now"
        shown.append(_button(record, "pause", RUN, (), "Pause", about=about))
    if may("resume", run):
        about = f"Resume {label}"
        shown.append(_button(record, "resume", RUN, (), "Resume", about=about, style="primary"))
    ending = run.state is RunState.STOPPING
    if ending and may("abort", run):
        shown.append(_ends(record, "abort"))
    if not ending and may("stop", run):
        shown.append(_ends(record, "stop"))
    return [actions(*shown, _more(record))]


_ENDS = {
    "stop": "Nothing more is started. Migrations in flight are watched to their end.",
    "abort": "VMM is asked to cancel the migrations in flight. Their VMs stay on their sources.",
}


def _ends(record: RunRecord, verb: str) -> Block:
    """A button that ends the run, with a confirmation."""
    what = f"{verb.capitalize()} {record.run.label}"
    sure = confirm(f"{what}?", _ENDS[verb], what, GO_BACK)
    label = f"{verb.capitalize()}…"
    return _button(record, verb, RUN, (), label, about=what, style="danger", confirm=sure)


def _more(record: RunRecord) -> Block:
    """The overflow menu; with a single entry, a button."""
    run, left = record.run, _left(record)
    entries = [("Details", _control(record, DETAILS))]
    if left:
        entries.append(("Retry failed", _control(record, "retry", RUN, left)))
    if may("abort", run) and run.state is not RunState.STOPPING:
        entries.append(("Abort…", _control(record, "abort", FORM)))
    if len(entries) == 1:
        about = f"Details of {run.label}, for you alone"
        return _button(record, DETAILS, RUN, (), "Details", about=about)
    options = [{"text": plain(word, BUTTON), "value": control.value} for word, control in entries]
    return {"type": "overflow", "action_id": MORE, "options": options}


def on_failure(record: RunRecord, name: str, group: Sequence[Stuck]) -> list[Block]:
    """Buttons for the failures of one cause; ``name`` is that of the group."""
    if not group:
        return []
    match group[0].state:
        case MoveState.DAMAGED:
            shown = _for_damage(record, name, group)
        case MoveState.UNKNOWN:
            shown = _for_doubt(record, name, group)
        case _:
            shown = _for_failure(record, name, group)
    return [actions(*shown)] if shown else []


def _for_failure(record: RunRecord, name: str, group: Sequence[Stuck]) -> list[Block]:
    who, moves = _called(group), _about("retry", record, group)
    shown = []
    if may("retry", record.run) and _goes_on(record, moves):
        shown.append(_button(record, "retry", name, moves, f"Retry {who}"))
    if may("skip", record.run):
        shown.append(_button(record, "skip", name, moves, f"Skip {who}"))
    return shown


def _for_damage(record: RunRecord, name: str, group: Sequence[Stuck]) -> list[Block]:
    run, host = record.run, short(group[0].host)
    moves, holding = _about("retry", record, group), _about("go-on", record, group)
    shown = []
    if may("retry", run) and _goes_on(record, moves):
        about = f"Check the network of {_called(group)} again"
        shown.append(_button(record, "retry", name, moves, "Check again", about=about))
    if may("go-on", run) and holding:
        again = f"Go on with {host}"
        effect = f"{run.label} sends VMs to {host} again. {fit(_called(group), 80)} stays as it is."
        sure = confirm(f"{again}?", effect, "Go on", GO_BACK)
        go_on = _button(record, "go-on", name, holding, again, style="danger", confirm=sure)
        shown.append(go_on)
    return shown


def _for_doubt(record: RunRecord, name: str, group: Sequence[Stuck]) -> list[Block]:
    """Settle the first VM only: a person locates one VM at a time."""
    if not may("settle", record.run):
        return []
    vm, moves = group[0].vm, _about("settle", record, group)
    effect = f"Have you located {fit(vm, 100)}? VMFerry will trust what it observes next."
    sure = confirm("Settle the VM?", effect, "Yes, located", GO_BACK)
    return [_button(record, "settle", name, moves, f"Settle {vm}", confirm=sure)]


def on_report(record: RunRecord) -> list[Block]:
    """Button that retries the VMs that did not move, if a retry is possible."""
    left = _left(record) if record.run.over else []
    if not left:
        return []
    what = left[0].move.vm if len(left) == 1 else count(len(left), "VM")
    about = f"Retry {count(len(left), 'VM')} of {record.run.label}"
    return [actions(_button(record, "retry", RUN, left, f"Retry {what}", about=about))]


def _called(group: Sequence[Stuck]) -> str:
    return group[0].vm if len(group) == 1 else count(len(group), "VM")


def _control(
    record: RunRecord, verb: str, subject: str = RUN, moves: Sequence[MoveRecord] = ()
) -> RunButton:
    bare = RunButton(verb, record.run.id, subject)
    return replace(bare, version=version(bare, record.run, moves))


def _button(
    record: RunRecord,
    verb: str,
    subject: str,
    moves: Sequence[MoveRecord],
    label: str,
    *,
    about: str = "",
    style: str = "",
    confirm: Block | None = None,
) -> Block:
    return button(
        label,
        f"{PREFIX}{verb}",
        _control(record, verb, subject, moves).value,
        style=style,
        about=about or label,
        confirm=confirm,
    )
