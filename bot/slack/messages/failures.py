"""Failures, grouped into messages by their cause and by the retry that they followed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bot.slack.kit.blocks import SECTION, fingerprint, fit, section
from bot.slack.kit.mentions import mention, mentions, render
from bot.slack.kit.message_kinds import again
from bot.slack.kit.phrases import Rendered, rendered, several
from bot.slack.messages.board import COMMAND
from bot.slack.people.approvers import Approvers
from engine.language.sentence import upper_first
from engine.model import Move, MoveState, Outcome, Run, RunRecord
from engine.views.board import Stuck


def by_cause(failed: Sequence[Stuck], record: RunRecord) -> dict[str, list[Stuck]]:
    """Groups of failures with one message each, by the part of the message's key."""
    retried = {entry.move.vm_id: entry.move.retried for entry in record.moves}
    groups: dict[str, list[Stuck]] = {}
    for stuck in failed:
        name = ":".join(filter(None, (cause(stuck)[:8], again(retried.get(stuck.vm_id)))))
        groups.setdefault(name, []).append(stuck)
    return groups


NEXT = 800  # characters about what a person is to do


def cause(stuck: Stuck) -> str:
    """Hash that equal failures share. For damage it includes the host, since ``go-on`` acts on a
    host."""
    where = [stuck.host] if stuck.state is MoveState.DAMAGED else []
    return fingerprint(stuck.state, stuck.outcome, *where, stuck.cause)


def stalled_view(run: Run, move: Move, approvers: Approvers) -> Rendered:
    """Message about a migration that makes no progress. Nothing is decided about it: it may go
    on."""
    called = mentions(approvers.asked) if approvers.asked else mention(run.contact)
    said = fit(render(upper_first(move.wait_text), COMMAND), SECTION - 200)
    text = f"⚠️ {called} {said}. Look for its job in VMM. The other VMs go on."
    return rendered(text, [section(text)])


def failure_view(
    run: Run, stuck: Sequence[Stuck], approvers: Approvers, command: str = COMMAND
) -> Rendered:
    """Message about one cause; further VMs with the same cause are added to it."""
    first, others = stuck[0], stuck[1:]
    urgent = first.state in (MoveState.DAMAGED, MoveState.UNKNOWN)
    called = mentions(approvers.asked) if urgent and approvers.asked else mention(run.contact)
    sentence = render(first.sentence, command, turn="\n")
    tail = []
    if others:
        own = " The report lists what each lacks." if first.outcome is Outcome.NETWORK else ""
        tail.append(f"The same happened to {several([one.vm for one in others])}.{own}")
    if first.next:
        tail.append(f"Next: {fit(render(first.next, command), NEXT)}")
    head = fit(
        f"{'🛑' if urgent else '❌'} {called} {sentence}", SECTION - len("\n".join(tail)) - 1
    )
    text = "\n".join([head, *tail])
    return rendered(text, [section(text)])
