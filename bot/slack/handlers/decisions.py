"""Clicks on approval cards: decide, open a form, or ask again.

A click is bound to the digest on its button: what was shown is what is decided. If a row had begun
when the bot was killed, the result in the rows counts as its own success.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.slack.handlers import answers
from bot.slack.handlers.confirm import Outcome
from bot.slack.inbox.rows import Inbound, spelled
from bot.slack.kit import buttons
from bot.slack.kit.blocks import Block
from bot.slack.kit.phrases import vm_names
from bot.slack.messages.card import left_behind
from bot.slack.modals.decision import form
from bot.slack.modals.fields import FormPlace
from bot.slack.people.approvers import Approvers
from engine.commands.service import Decision, Service
from engine.commands.steering import Steering
from engine.errors import Refused
from engine.model import Approval, RunRecord
from engine.policy.approvals import approval as approvals
from engine.settings import Settings
from engine.store import queries

_CLICKS = {one: (one, False) for one in (buttons.APPROVE, buttons.AGAIN, *buttons.FORMS)}
_CLICKS |= {f"{verb}{buttons.SAID}": (verb, True) for verb in buttons.FORMS}
"""Verb of each action, and whether the action is a submitted form."""


@dataclass(frozen=True)
class DecisionClick:
    """A click on a card, or a submitted form: its verb, the approval, and the digest that was
    shown."""

    verb: str
    is_form: bool
    number: int
    digest: str

    @property
    def breaks(self) -> bool:
        """True if the click breaks the glass. The person need not be an approver then."""
        return self.verb == buttons.BREAK

    @property
    def what(self) -> str:
        """Name of the click for the audit: ``deny A3``."""
        return f"{self.verb} A{self.number}"


def read(row: Inbound) -> DecisionClick | None:
    """The click on a card; ``None`` for a button that VMFerry did not make."""
    clicked = _CLICKS.get(str(row.body.get("action")))
    shown = buttons.read_value(str(row.body.get("value")))
    return DecisionClick(*clicked, *shown) if clicked and shown else None


def place_of(row: Inbound, value: str) -> FormPlace:
    """The place for the answer to a form opened by this click, with the value of its button."""
    return FormPlace(value, row.channel, str(row.body.get("thread_ts") or ""))


class Decisions:
    """Handler of clicks on cards. ``approvers``: as known when the click is carried out."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self.service, self.store, self.settings = service, service.store, settings

    def answer(self, row: Inbound, clicked: DecisionClick, approvers: Approvers) -> Outcome:
        """Decide, open a form, or ask again. Raises ``Refused``."""
        if clicked.verb == buttons.AGAIN:
            return Outcome(self._ask_again(row, clicked))
        if clicked.verb in buttons.FORMS and not clicked.is_form:
            opened = self._form(row, clicked, approvers)
            if opened is not None:
                return Outcome(form=opened)
        made = self._decide(row, clicked, approvers)
        command = spelled(row, self.settings.slack.command)
        return Outcome(answers.decision(made, row.by, row.received, approvers, command))

    # --- decisions --------------------------------------------------------------------------

    def _decide(self, row: Inbound, clicked: DecisionClick, approvers: Approvers) -> Decision:
        people, reason = approvers.people(), str(row.body.get("reason") or "")
        service = self.service.because(row.cause)
        if clicked.verb == buttons.WITHDRAW:
            return Steering(service).withdraw(
                clicked.number, by=row.by, approvers=people, digest=clicked.digest, reason=reason
            )
        glass = None
        if clicked.breaks:
            glass = self._glass(row.by, approvers, self._asked(clicked)[1])
        return service.decide(
            clicked.number,
            "deny" if clicked.verb == buttons.DENY else "approve",
            by=row.by,
            approvers=people,
            digest=clicked.digest,
            reason=reason,
            vms=self._chosen(row, clicked),
            glass=glass,
        )

    def _glass(self, by: str, approvers: Approvers, record: RunRecord | None) -> approvals.Glass:
        return approvals.Glass(
            allowed=self.settings.approval.break_glass and approvers.is_trusted(by),
            fit=approvers.is_fit(by),
            others=approvers.others(record.run if record else None),
        )

    def _chosen(self, row: Inbound, clicked: DecisionClick) -> list[str] | None:
        """Ids of the VMs chosen in the form; ``None``: the button covers all VMs."""
        if clicked.verb != buttons.CHOOSE:
            return None
        asked = queries.approval(self.store, clicked.number)
        numbers = row.body.get("vms")
        if asked is None or not isinstance(numbers, list):
            return []
        return [f"id:{asked.vms[n]}" for n in map(int, numbers) if n < len(asked.vms)]

    # --- forms ------------------------------------------------------------------------------

    def _form(self, row: Inbound, clicked: DecisionClick, approvers: Approvers) -> Block | None:
        """The form, for a person who may decide; ``None``: the decision then says why not."""
        asked, record = self._asked(clicked)
        if asked is None or record is None:
            return None
        run, people = record.run, approvers.people()
        click = (asked, run, row.by, clicked.digest)
        if clicked.verb == buttons.WITHDRAW:
            started = approvals.has_started(asked, record.moves)
            word = approvals.judge_withdrawal(*click, people, started)
        elif clicked.breaks:
            glass, filled = self._glass(row.by, approvers, record), "x" * approvals.REASON_LEAST
            word = approvals.judge_breaking(*click, people, glass, filled)
        else:
            word = approvals.judge_click(*click, people)
        if word != "ok":
            return None
        place = place_of(row, buttons.value_of(asked))
        meant = asked.granted if clicked.verb == buttons.WITHDRAW and asked.granted else asked.vms
        return form(clicked.verb, asked, vm_names(record, meant), run, place)

    def _asked(self, clicked: DecisionClick) -> tuple[Approval | None, RunRecord | None]:
        asked = queries.approval(self.store, clicked.number)
        return asked, queries.record(self.store, asked.run) if asked else None

    # --- asking again -----------------------------------------------------------------------

    def _ask_again(self, row: Inbound, clicked: DecisionClick) -> str:
        """Retry VMs whose approval was denied or expired, so that approval is requested again."""
        asked, record = self._asked(clicked)
        if asked is None or record is None:
            raise Refused("This approval does not exist.")
        left = left_behind(asked, record)
        if asked.digest != clicked.digest or not left:
            raise Refused(f"No VM of {asked.label} needs a new approval.")
        words = [f"id:{vm_id}" for vm_id in left]
        steering = Steering(self.service.because(row.cause))
        return steering.retry(record.run.label, words, by=row.by)
