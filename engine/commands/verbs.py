"""Dispatch of the verbs that change something, for terminal, Slack and stories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from engine.commands.service import Decision, Service
from engine.commands.steering import Steering, Unchanged
from engine.errors import Refused
from engine.language import grammar
from engine.language.grammar import Ask
from engine.language.sentence import Command, say
from engine.policy.approvals import approval as approvals
from engine.policy.approvals.review import Reviewer
from engine.store import queries

#: The reviewer at the terminal or in a story, whose identity is not checked.
LOCAL = Reviewer(fit=True, trusted=True)


@dataclass(frozen=True)
class VerbResult:
    """Result of a verb, as a sentence. ``accepted``: False for a decision that changed nothing."""

    sentence: str
    accepted: bool = True


def carry_out_verb(
    service: Service,
    command: Ask,
    *,
    by: str,
    approvers: frozenset[str] | None,
    reviewer: Reviewer = LOCAL,
) -> VerbResult:
    """Carry out a verb that changes something. ``approvers`` as in ``Service.decide``;
    ``reviewer``: facts about ``by`` for a review.

    Raises ``Refused``, without any change, for wrong words and for verbs that are not permitted
    now. A decision that changes nothing is kept in the audit and answered.
    """
    steer = Steering(service)
    steers: dict[str, Callable[..., str]] = {
        "pause": steer.pause,
        "resume": steer.resume,
        "stop": steer.stop,
        "abort": partial(_abort, steer),
        "own": steer.own,
        "set": steer.set,
        "settle": steer.settle,
        "go-on": steer.go_on,
        "retry": lambda run, *vms, by: steer.retry(run, vms, by=by),
        "skip": lambda run, *vms, by: steer.skip(run, vms, by=by),
        "reviewed": lambda run, *note, by: steer.reviewed(run, " ".join(note), by=by, who=reviewer),
    }
    if command.verb in ("approve", "deny", "withdraw"):
        return _decide(service, steer, command, by, approvers)
    if command.verb not in steers:
        sentence = f'"{command.verb}" changes nothing.'
        raise Refused(sentence, what=command.verb, says_nothing=True)
    try:
        return VerbResult(steers[command.verb](*command.words, by=by))
    except Unchanged as unchanged:
        return VerbResult(unchanged.sentence)


def _abort(steer: Steering, *words: str, by: str) -> str:
    if len(words) > 1 and words[1].casefold() == "yes":
        return steer.abort(words[0], by=by)
    if len(words) > 1:
        hint = say("Type: {}", Command("abort RUN yes"))
        raise Refused(f'"{words[1]}" is one word too many.', what=words[1], hint=hint)
    raise Refused(
        "abort cancels the migrations in flight. Their VMs stay on their sources.",
        what=words[0],
        hint=say("To confirm, type: {}", Command(f"abort {words[0]} yes")),
    )


def _decide(
    service: Service, steer: Steering, command: Ask, by: str, approvers: frozenset[str] | None
) -> VerbResult:
    number = grammar.approval_number(command.words[0])
    rest = command.words[1:]
    if queries.approval(service.store, number) is None:
        sentence = f"There is no approval A{number}."
        hint = say("To see the open approvals: {}", Command("approvals"))
        raise Refused(sentence, what=command.words[0], hint=hint)
    if command.verb == "approve":
        made = service.decide(number, "approve", by=by, approvers=approvers, vms=rest or None)
    elif command.verb == "deny":
        made = service.decide(number, "deny", by=by, approvers=approvers, reason=" ".join(rest))
    else:
        made = steer.withdraw(number, by=by, approvers=approvers, reason=" ".join(rest))
    if made.accepted:
        return VerbResult(_accepted(made))
    return VerbResult(f"Nothing changed on A{number}: {approvals.ANSWERS[made.code]}.", False)


def _accepted(made: Decision) -> str:
    asked = made.approval
    assert asked is not None
    if made.code == "granted":
        vms = "VM" if len(asked.vms) == 1 else "VMs"
        return (
            f"{asked.label} is approved: {len(asked.granted)} of {len(asked.vms)} {vms} may move."
        )
    one = len(asked.vms) == 1
    stay = "1 VM stays where it is" if one else f"{len(asked.vms)} VMs stay where they are"
    return f"{asked.label} is {made.code}: {stay}."
