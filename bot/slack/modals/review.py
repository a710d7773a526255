"""Form in which a second person reviews a break-glass approval, and the answer to them. Pure."""

from __future__ import annotations

from bot.slack.kit.blocks import Block, date, escape, section
from bot.slack.kit.buttons import REVIEW
from bot.slack.kit.phrases import count, route, several
from bot.slack.kit.refusals import NOTHING
from bot.slack.modals.fields import REASON, VERDICT, FormPlace, Said, field, metadata, plain, reason
from bot.slack.people.mentions import mention
from engine.commands.reviewing import Reviewed
from engine.model import MOVED, Approval, Review, RunRecord
from engine.policy.approvals.review import NOTE_LEAST

IN_ORDER, NOT_IN_ORDER = "in_order", "not_in_order"
_SAID = {IN_ORDER: "In order", NOT_IN_ORDER: "Not in order"}


def review_form(review: Review, approval: Approval, record: RunRecord, place: FormPlace) -> Block:
    """Form for a review: who broke the glass, for what and why, and the result; then the reviewer's
    verdict."""
    run, label = record.run, approval.label
    moves = [e.move for e in record.moves if e.move.vm_id in approval.vms]
    moved = sum(move.state in MOVED for move in moves)
    text = "\n".join(
        (
            f"{mention(review.broken_by)} approved {count(len(moves), 'powered-down VM')} of "
            f"{run.label} · {route(run)} {date(review.broken)} though they may not decide on it.",
            f'Why: "{escape(review.why)}"',
            f"{several([move.vm for move in moves])}: {moved} of {len(moves)} moved"
            f"{'' if run.over else ' so far'}.",
        )
    )
    radio: Block = {
        "type": "radio_buttons",
        "action_id": VERDICT,
        "options": [{"text": plain(word, 75), "value": value} for value, word in _SAID.items()],
    }
    what = f"What did you find? {NOTE_LEAST} characters at least where it was not in order."
    return {
        "type": "modal",
        "callback_id": REVIEW,
        "private_metadata": metadata(place),
        "title": plain(f"Review {label}", 24),
        "submit": plain("Review", 24),
        "close": plain("Go back", 24),
        "blocks": [
            section(text),
            field(VERDICT, "Was it in order to break the glass?", radio, optional=False),
            reason(what, optional=True),
        ],
    }


def mistake(said: Said, review: Review | None) -> tuple[str, str] | None:
    """The field that is wrong and what about it; ``None`` where it can be carried out."""
    if review is None:
        return REASON, "I do not know this question any more. Go back; nothing changed."
    if not review.is_open:
        return REASON, f"{review.label} is reviewed already. Go back; its thread says by whom."
    if said.verdict not in _SAID:
        return VERDICT, "Say whether it was in order."
    if said.verdict == NOT_IN_ORDER and len(said.reason) < NOTE_LEAST:
        return REASON, f"Say what was not in order in {NOTE_LEAST} characters at least."
    return None


def answered(made: Reviewed, by: str) -> str:
    """Answer to the reviewer; empty: the message in the thread says it."""
    review = made.review
    if made.code == "ok":
        return ""
    if review is None:
        return f"I do not know this question any more. {NOTHING}"
    match made.code:
        case "already":
            who = "you" if review.by == by else mention(review.by)
            return f"{review.label} was reviewed by {who} {date(review.at or 0.0)}. {NOTHING}"
        case "broke_it":
            return f"You broke the glass yourself: somebody else reviews that. {NOTHING}"
        case "own_run":
            run = made.run.label if made.run else "the run"
            return f"You had {run} go: somebody else reviews what it was allowed. {NOTHING}"
        case "unfit":
            return f"Guests, bots and people from elsewhere never review. {NOTHING}"
        case "not_trusted":
            return f"Only those who may start runs review (setting slack.starters). {NOTHING}"
    return f"What was not in order is said in {NOTE_LEAST} characters at least. {NOTHING}"
