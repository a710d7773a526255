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
from engine.model import Move, MoveState, Outcome, Run, RunRecord, Wait
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
_TOGETHER = 1800.0  # seconds


def cause(stuck: Stuck) -> str:
    """Hash that equal failures share. For damage it includes the host, since ``go-on`` acts on a
    host."""
    where = [stuck.host] if stuck.state is MoveState.DAMAGED else []
    return fingerprint(stuck.state, stuck.outcome, *where, stuck.cause)


def stalled(record: RunRecord) -> dict[str, list[Move]]:
    """Groups of moves whose migrations make no progress, by the part of the message's key. Those
    that were noticed in the same half hour have one message: a network that fails stops many."""
    groups: dict[str, list[Move]] = {}
    for move in (entry.move for entry in record.moves):
        if move.wait is Wait.STALLED and not move.over:
            groups.setdefault(f"{(move.wait_since or 0.0) // _TOGETHER:.0f}", []).append(move)
    return groups


def stalled_view(run: Run, moves: Sequence[Move], approvers: Approvers) -> Rendered:
    """Message about migrations that make no progress. Nothing is decided about them: they may go
    on."""
    first, others = moves[0], [move.vm for move in moves[1:]]
    said = fit(render(upper_first(first.wait_text), COMMAND), NEXT)
    same = f" The same holds for {several(others)}." if others else ""
    text = f"⚠️ {_called(run, approvers)} {said}. Look for its job in VMM.{same}"
    return rendered(text, [section(fit(text, SECTION))])


def _called(run: Run, approvers: Approvers) -> str:
    """People who are called to something urgent: who is on call, else the run's contact."""
    return mentions(approvers.asked) if approvers.asked else mention(run.contact)


def failure_view(
    run: Run, stuck: Sequence[Stuck], approvers: Approvers, command: str = COMMAND
) -> Rendered:
    """Message about one cause; further VMs with the same cause are added to it."""
    first, others = stuck[0], stuck[1:]
    urgent = first.state in (MoveState.DAMAGED, MoveState.UNKNOWN)
    called = _called(run, approvers) if urgent else mention(run.contact)
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
